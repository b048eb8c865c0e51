"""Policies that change while streams run, through the real process: no exchange is judged by two, none is lost."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp

from bench import report
from guards.policy import parse_file
from service.ledger.models import VerdictRow
from tests.gateway import KEY, gateway, stored, streamed, wire

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
CHANGES = 100 if PROVE else 20
STREAMS = 16
CARD, MAIL = "4111 1111 1111 1111", "somebody@example.com"
ASKED = f"write to {MAIL}"
TEXT = (
    f"First {MAIL} and some words, then {CARD} and more of them, again {CARD} and {MAIL}, and that is the end of it. "
    * 3
)
ACTIONS = ("flag", "redact", "allow", "refuse")


def policy(version: int) -> str:
    """Versions differ in what becomes of a card number, of an address, and in the size of segments."""
    card, mail = ACTIONS[version % 4], ACTIONS[version % 3]
    return (
        f"name: changing\nversion: {version}\nguards: [patterns]\nfirst_segment_chars: {1 + version % 7}\n"
        f"most_segment_chars: 40\ninput: {{email: {{action: flag}}}}\n"
        f"output: {{card: {{action: {card}}}, email: {{action: {mail}}}}}\n"
    )


def expected(version: int, got: str, finish: str) -> str | None:
    """What is wrong with an answer under a version, if something is."""
    card, mail = ACTIONS[version % 4], ACTIONS[version % 3]
    whole = TEXT
    if "refuse" in (card, mail):
        whole = whole.replace(MAIL, "[email]") if mail == "redact" else whole
        return None if finish == "content_filter" and whole.startswith(got) and CARD not in got else "not refused"
    for action, text, name in ((card, CARD, "[card]"), (mail, MAIL, "[email]")):
        whole = whole.replace(text, name) if action == "redact" else whole
    return None if (got, finish) == (whole, "stop") else "another text"


async def in_force(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(f"{url}/v1/coverage") as response:
        return (await response.json())["policy"]["file"]["digest"]


def written(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


async def test_policies_change_while_streams_run(tmp_path):
    """Each exchange and all its verdicts name one policy, its text is what that one says, and none is lost."""
    path, home, answers, done = tmp_path / "policy.yaml", tmp_path / "home", {}, asyncio.Event()
    written(path, policy(1))
    digests = {parse_file(policy(v)).digest: v for v in range(1, CHANGES + 2)}

    async def stream(session: aiohttp.ClientSession, url: str) -> None:
        while not done.is_set():
            exchange, text, finish = await streamed(session, url, ASKED)
            answers[exchange] = text, finish, digests[await in_force(session, url)]

    async with (
        wire(TEXT, cut=4, pause_s=0.005) as engine,
        gateway(home, policy=str(path), engine_url=engine, policy_watch_s="0.05") as (process, url),
        aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {KEY}"}, connector=aiohttp.TCPConnector(limit=0)
        ) as session,
    ):
        streams = [asyncio.create_task(stream(session, url)) for _ in range(STREAMS)]
        for version in range(2, CHANGES + 2):
            written(path, policy(version))
            if version % 5 == 0:
                process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(60):
                while digests[await in_force(session, url)] != version:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
        done.set()
        await asyncio.gather(*streams)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0

    exchanges, verdicts = await stored(home, VerdictRow.policy_digest)
    assert exchanges.keys() == answers.keys()
    faults, outlived = {}, 0
    for exchange_id, (text, finish, at_end) in answers.items():
        exchange = exchanges[exchange_id]
        assert digests[exchange.policy_digest] == exchange.policy_version
        assert verdicts[exchange_id] == {exchange.policy_digest}
        outlived += at_end != exchange.policy_version
        if fault := expected(exchange.policy_version, text, finish):
            faults[exchange_id] = exchange.policy_version, fault, text
    assert faults == {}
    assert outlived > CHANGES, "the streams were too short to see a change"
    used = len({e.policy_version for e in exchanges.values()})
    assert used > CHANGES / 4
    if PROVE:
        figures = {"changes": CHANGES, "streams": STREAMS, "exchanges": len(answers), "outlived_a_change": outlived}
        report.write("reload", "make prove (tests/stream/test_reload.py)", figures | {"mixtures": 0, "lost": 0})


async def test_what_is_wrong_while_streams_run_changes_nothing(tmp_path):
    """Broken, half-written, deleted, unreadable files: the answers stay those of the last good policy."""
    path, home = tmp_path / "policy.yaml", tmp_path / "home"
    written(path, policy(2))  # card: allow, mail: allow
    good = parse_file(policy(2)).digest

    def half() -> None:
        path.write_text(policy(1)[: len(policy(1)) // 2])

    wrongs = [lambda: path.write_text("name: ["), half, path.unlink, path.mkdir]
    async with (
        wire(TEXT, cut=40) as engine,
        gateway(home, policy=str(path), engine_url=engine, log_level="critical") as (process, url),
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}-admin"}) as admin,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
    ):
        for wrong in wrongs:
            wrong()
            process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(30):
                while True:
                    async with admin.get(f"{url}/v1/coverage") as response:
                        file = (await response.json())["policy"]["file"]
                    if file["rejected"] and str(path) in file["rejected"]["faults"]:
                        break
                    await asyncio.sleep(0.02)
            assert file["digest"] == good
            _, text, finish = await streamed(session, url, ASKED)
            assert expected(2, text, finish) is None
        path.rmdir()
        written(path, policy(3))
        async with asyncio.timeout(30):
            while await in_force(session, url) == good:
                await asyncio.sleep(0.02)
