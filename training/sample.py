"""Lets a chat model write user turns: after the header of a user turn it writes what users ask.

sluicegate-train sample --url http://127.0.0.1:8000 --model NAME --out training/data/chat_turns.jsonl.gz
"""

import argparse
import asyncio
import gzip
import json
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp

from guards.classifier import Classifier
from guards.verdict import Passage
from training.near import Seen
from training.rows import DataError

# without the system turn that it was trained with, the small model writes code and noise
HEADER: Final = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n"
)
END: Final = "<|im_end|>"
LABELS: Final = {"harm": 0, "injection": 0, "toxicity": 0, "hate": 0}
OPENINGS: Final = (  # a turn may begin in any way; half of them begin as the model likes
    "How do I", "How can I", "how to", "What is", "what are", "what's the best", "Why", "why does my", "Can you",
    "Could you please", "Please", "Write", "Write a story about", "Explain", "Give me", "Tell me", "Is it", "Do you",
    "Which", "Who", "When did", "Where can I", "Should I", "Help me", "I", "I'm", "i need", "I feel", "My", "my friend",
    "Hi", "hey", "Hello!", "Thanks", "Translate", "Summarize", "Make a list of", "Imagine", "You are", "Act as",
    "Are there", "Does", "What happens if", "What would", "Tips for", "Suggest", "Compare", "Let's", "The", "In",
)  # fmt: skip
KEY: Final = "SLUICEGATE_ENGINE_KEY"
_WORD: Final = re.compile(r"[^\W\d_]+")


def main(argv: Sequence[str] | None = None) -> None:
    """Writes rows until there are enough or the time is over; says how many were dropped, and why."""
    options = _options().parse_args(argv)
    keep = Keep(_judge(options.guard), {c: options.most_harm if c == "harm" else options.most_other for c in LABELS})
    asyncio.run(_fill(options, keep))
    if not keep.rows:
        raise DataError(f"nothing worth keeping came from {options.url}: {dict(keep.dropped)}")
    write(options.out, keep.rows)
    print(json.dumps({"kept": len(keep.rows), "dropped": dict(keep.dropped), "out": str(options.out)}))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluicegate-train sample", description=__doc__)
    parser.add_argument("--url", required=True, help=f"of an OpenAI-compatible engine; its key comes from ${KEY}")
    parser.add_argument("--model", required=True, help="name the engine serves it under")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file, gzipped if its name ends in .gz")
    parser.add_argument("--guard", type=Path, default=Path("guards/models/default"), help="drops what it finds unsafe")
    # what a guard wrongly calls harmful is worth most here: raise this if somebody reads what it then lets in
    parser.add_argument("--most-harm", type=float, default=0.5, help="harm from which a turn is dropped")
    parser.add_argument("--most-other", type=float, default=0.5, help="injection, toxicity or hate, the same")
    parser.add_argument("--count", type=int, default=4000, help="rows to keep")
    parser.add_argument("--seconds", type=float, default=600.0, help="most time to spend")
    parser.add_argument("--batch", type=int, default=32, help="turns asked for at a time")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--header", default=HEADER, help="what comes before a user turn in the model's chat template")
    return parser


class Keep:
    """Rows worth keeping, in the order they came. `judge` gives the scores of a text by category."""

    def __init__(self, judge: Callable[[str], Mapping[str, float]], most: Mapping[str, float]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.dropped: Counter[str] = Counter()
        self._judge, self._most, self._seen = judge, most, Seen()

    def know(self, texts: Iterable[str]) -> None:
        """What is like one of these will not be kept."""
        for text in texts:
            self._seen.add(text)

    def take(
        self, turns: Sequence[str], made_by: str, labels: Mapping[str, int] = LABELS, license_: str = "Apache-2.0"
    ) -> list[str]:
        """Keeps, and returns, those that read like a user, are new, and are not what the guard calls unsafe."""
        kept = []
        for turn in self._fresh(turns):
            scores = self._judge(turn)
            if any(scores.get(c, 0.0) >= most for c, most in self._most.items()):
                self.dropped["unsafe"] += 1
                continue
            row = {"prompt": turn, "response": None, "labels": labels, "source": "machine", "license": license_}
            self.rows.append(row | {"group": f"sampled/{len(self.rows)}", "made_by": made_by})
            kept.append(turn)
        return kept

    def _fresh(self, turns: Sequence[str]) -> list[str]:
        fresh = []
        for turn in turns:
            fault = flaw(turn) or ("near another" if self._seen.near(turn) else "")
            if fault:
                self.dropped[fault] += 1
                continue
            self._seen.add(turn)
            fresh.append(turn)
        return fresh


def flaw(turn: str) -> str:
    """Why a turn is not worth keeping, or nothing: length in characters, letters other than ASCII, repetition."""
    words = [w.casefold() for w in _WORD.findall(turn)]
    if not 8 <= len(turn) <= 400 or len(words) < 2:
        return "length"
    if sum(c.isascii() and (c.isalnum() or c.isspace()) for c in turn) < 0.85 * len(turn) or "<|" in turn:
        return "noise"
    runs = Counter(zip(words, words[1:], words[2:], strict=False))
    if (runs.total() and runs.most_common(1)[0][1] > 2) or len(set(words)) < 0.4 * len(words):
        return "repetition"
    return ""


async def turns(session: aiohttp.ClientSession, body: dict[str, Any], seed: int) -> AsyncIterator[list[str]]:
    """Batches of finished turns, for ever. Raises DataError."""
    random = Random(seed)
    while True:
        opening = random.choice(OPENINGS) if random.random() < 0.5 else ""
        asked = body | {"prompt": body["prompt"] + opening, "seed": random.randrange(2**31)}
        yield [(opening + text).strip() for text in await completed(session, asked)]


async def completed(session: aiohttp.ClientSession, body: Mapping[str, Any]) -> list[str]:
    """The completions of a prompt that came to an end. Raises DataError when the engine refuses or is not reached."""
    try:
        async with session.post("/v1/completions", json=body) as response:
            if response.status != 200:
                raise DataError(f"the engine answers {response.status}: {(await response.text())[:200]}")
            return [c["text"] for c in (await response.json())["choices"] if c["finish_reason"] == "stop"]
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DataError(f"no answer from the engine: {error or type(error).__name__}. Is --url right?") from error


def engine(url: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {os.environ.get(KEY, 'none')}"})


async def _fill(options: argparse.Namespace, keep: Keep) -> None:
    body = {"model": options.model, "prompt": options.header, "n": options.batch, "stop": [END], "max_tokens": 80}
    body |= {"temperature": options.temperature, "top_p": 0.97}
    ends = time.monotonic() + options.seconds
    async with engine(options.url) as session:
        async for batch in turns(session, body, options.seed):
            await asyncio.to_thread(keep.take, batch, options.model)
            print(f"{len(keep.rows)} kept, {keep.dropped.total()} dropped", end="\r", flush=True)
            if len(keep.rows) >= options.count or time.monotonic() > ends:
                break
    del keep.rows[options.count :]


def _judge(folder: Path) -> Callable[[str], Mapping[str, float]]:
    guard = Classifier(folder)
    return lambda turn: guard.judge([Passage(turn)])[0].by_category


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One JSON object a line; the same rows give the same bytes."""
    body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(body, mtime=0) if path.suffix == ".gz" else body)


if __name__ == "__main__":
    main()
