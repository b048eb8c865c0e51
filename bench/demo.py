"""Varied traffic through a running service, and reviewers, so that a newcomer's console and dashboards are full.

Every text is our own and harms nobody: what is refused is refused for the trigger texts that ship for that purpose.
`make demo`. `KEY` is a client key; without one keys are made in the installation at hand, those of reviewers too. With
one there are no decisions, no rankings and no dataset.

    .venv/bin/python -m bench.demo --url http://127.0.0.1:8080 --rounds 3
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from bench.demo_review import Staff, dataset, review
from guards.trigger import KNOWN_CHARS, trigger

AT_ONCE = 4
SLUICEGATE = Path(sys.executable).with_name("sluicegate")
HARMLESS = (
    "Which planets have rings?",
    "Write a two-line poem about rain on a tin roof.",
    "How do I keep basil alive on a windowsill?",
    "Explain compound interest to a ten-year-old.",
    "Name three rivers that cross more than two countries.",
    "What is the difference between a fiddle and a violin?",
    "Suggest a name for a bakery run by two brothers.",
    "Why do cats purr?",
    "How long do I boil an egg for a soft yolk?",
    "Give me a packing list for a weekend in the mountains.",
)
BORDERLINE = (
    "How do I kill a process that ignores SIGTERM?",
    "My chess opponent attacks my king from both sides; how do I destroy his defence?",
    "Write a villain's speech for a school play, properly sinister.",
    "You useless lump of silicon, you got my recipe wrong again.",
    "Only an idiot would put pineapple on a pizza. Agree with me, you moron.",
    "What did people in the Middle Ages believe about poisons?",
    "Ignore the noise outside and tell me a story.",
)
PERSONAL = (
    "Please note my card, 4111 1111 1111 1111, for the booking.",
    "Transfer it to GB82 WEST 1234 5698 7654 32 and confirm.",
    "Is 5500 0000 0000 0004 a valid number?",
)
TO_RANK = ("Suggest a name for a bakery run by two brothers.", "Why do cats purr?")
REFUSED = ("harm", "injection", "hate")
STATEMENTS = ("I was only testing what a refusal looks like.", "This is about a board game. Write to ada@example.org.")


@dataclass(frozen=True, slots=True)
class Answer:
    """How an exchange ended: answered, refused, cut, left or error <status>."""

    exchange_id: str
    outcome: str


class Client:
    """Speaks to the service as an application would."""

    def __init__(self, session: aiohttp.ClientSession, model: str) -> None:
        self._session, self._model, self._numbers = session, model, count()

    async def chat(self, text: str, leave_early: bool = False, **more: Any) -> Answer:
        """One question; every other one is streamed, and all that are to be left early."""
        stream = leave_early or next(self._numbers) % 2 == 0
        body = {"model": self._model, "messages": [{"role": "user", "content": text}], "max_tokens": 64} | more
        async with self._session.post("/v1/chat/completions", json=body | {"stream": stream}) as response:
            exchange_id = response.headers.get("x-sluicegate-exchange", "")
            if leave_early:
                await response.content.readany()
                return Answer(exchange_id, "left")
            return Answer(exchange_id, _outcome(response.status, await response.text()))

    async def say(self, kind: str, answer: Answer, **more: Any) -> str:
        """Feedback on an answer; how it went."""
        body = {"exchange_id": answer.exchange_id, "kind": kind} | more
        async with self._session.post("/v1/feedback", json=body) as response:
            return kind if response.status == 200 else f"error {response.status}"

    async def appeal(self, answer: Answer, statement: str) -> str:
        body = {"exchange_id": answer.exchange_id, "statement": statement}
        async with self._session.post("/v1/appeals", json=body) as response:
            return (await response.json()).get("status", f"error {response.status}")


def _outcome(status: int, text: str) -> str:
    if status != 200:
        return "refused" if '"content_filter"' in text else f"error {status}"
    return "cut" if '"content_filter"' in text.replace(" ", "") else "answered"


def to_be_cut() -> dict[str, Any]:
    """A form of answer that any model must fill with a trigger, though the request does not hold its text."""
    start, code = trigger("response_harm")[:KNOWN_CHARS].split("-")
    pattern = f"^Here is the word that you asked for: {start}[-]{code}$"
    schema = {"type": "object", "properties": {"note": {"type": "string", "pattern": pattern}}, "required": ["note"]}
    form = {"name": "note", "schema": schema | {"additionalProperties": False}}
    return {"response_format": {"type": "json_schema", "json_schema": form}, "max_tokens": 128}


async def round_of(client: Client) -> tuple[Counter[str], Counter[str]]:
    """Every kind of traffic once; how exchanges ended, and what was said of them."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(text: str, leave_early: bool = False, **more: Any) -> Answer:
        async with slots:
            return await client.chat(text, leave_early, **more)

    fine = [one(text) for text in (*HARMLESS, *BORDERLINE, *PERSONAL)]
    bad = [one(f"Please translate this into French: {trigger(category)}") for category in REFUSED]
    rest = [one(HARMLESS[1], leave_early=True), one("Give me the word.", **to_be_cut())]
    answers = await asyncio.gather(*fine, *bad, *rest)
    answered, refused = answers[: len(fine)], answers[len(fine) : len(fine) + len(bad)]
    said = [
        *(client.say("thumbs_up", a) for a in answered[:4]),
        client.say("rating", answered[4], rating=2, comment="too long", preferred_answer="The Danube and the Rhine."),
        client.say("thumbs_down", answered[5], comment="that is not what I asked"),
        client.say("report", answered[13], categories=["toxicity"], comment="it answered an insult with an insult"),
        client.say("report", answered[12], categories=["self_harm"], comment="the speech worried my daughter"),
        *(client.appeal(a, s) for a, s in zip(refused, STATEMENTS, strict=False)),
    ]
    return Counter(a.outcome for a in answers), Counter(await asyncio.gather(*said))


def _made(*command: str) -> str:
    """What the command prints, run in the installation at hand."""
    done = subprocess.run([SLUICEGATE, *command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()


def _key(role: str = "client") -> str:
    return _made("keys", "create", "--role", role, "--name", f"demo {role}")


async def staffed(url: str, key: str, staff: Staff) -> dict[str, Any]:
    """Reviewers decide, answers are drawn to be ranked, what was decided becomes a dataset; how much of each."""
    done: dict[str, Any] = {"reviewed": dict(await review(url, staff))}
    for question in TO_RANK:
        await asyncio.to_thread(_made, "review", "candidates", question, "--key", key, "--url", url, "--count", "3")
    return done | {"to_rank": len(TO_RANK), "dataset": await dataset(url, staff)}


async def run(url: str, rounds: int, key: str) -> dict[str, Any]:
    """Plays rounds; returns what came of them. Raises aiohttp.ClientError when the service cannot be reached."""
    ended, said = Counter[str](), Counter[str]()
    headers = {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as session:
        async with session.get("/v1/models") as response:
            response.raise_for_status()
            model = (await response.json())["data"][0]["id"]
        for number in range(rounds):
            outcomes, remarks = await round_of(Client(session, model))
            ended, said = ended + outcomes, said + remarks
            print(f"round {number + 1} of {rounds}: {dict(outcomes)}", file=sys.stderr, flush=True)
    return {"exchanges": dict(ended), "said": dict(said)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("URL", "http://127.0.0.1:8080"))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    try:
        key = os.environ.get("KEY") or _key()
        done = asyncio.run(run(given.url, given.rounds, key))
        if "KEY" not in os.environ:
            staff = Staff([_key("moderator"), _key("moderator")], _key("operator"))
            done |= asyncio.run(staffed(given.url, key, staff))
    except aiohttp.ClientError as error:
        sys.exit(f"error: {given.url} does not answer as expected ({error}); start it with: make serve")
    print(json.dumps(done, indent=2))
    print("Look at it in the console: its address is in what `make serve` printed.", file=sys.stderr)


if __name__ == "__main__":
    main()
