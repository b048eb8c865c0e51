"""A disk that fills up: clean samples are given up first, then nothing flagged is released, and all of it is told."""

import asyncio
import contextlib
import os
import subprocess
import time
from contextlib import aclosing
from pathlib import Path

import pytest
import sqlalchemy as sa

from guards.policy import Policy
from guards.verdict import Passage
from service.gate.exchange import Asked, Caller, LedgerUnavailable, Piece
from service.gate.pipeline import Gate, answer
from service.judges import BatchedJudges
from service.ledger.desk import ReviewItem
from service.ledger.ledger import SqlLedger
from service.ledger.models import Exchange
from service.ledger.spool import Spool
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.fakes import ScriptedEngine, WordGuard, text_deltas

SIZE = 1 << 20
RESERVE = 300_000
RULES = Policy.model_validate(
    {
        "name": "test",
        "version": 1,
        "guards": ["words"],
        "lookahead_chars": 8,
        "deadline_s": 60,
        "store": "sampled",
        "sample_share": 1.0,
        "output": {"harm": {"action": "flag"}},
    }
)
LONG = "A long and harmless beginning. " * 300  # more than what is left of a page of the disk


class Disk:
    """A small real file system, with something on it that takes room."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / "ballast"

    def leave(self, room: int) -> None:
        """Fills it up to `room` bytes."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while (free := os.statvfs(self.folder).f_bavail * 4096) > room:
                file.write(b"x" * min(free - room, 65_536))

    def clear(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield Disk(folder)
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
async def gate(disk, tmp_path):
    """A real gate whose ledger has its spool on the small disk, and its database elsewhere."""
    ledger = SqlLedger(Settings(home=tmp_path), Spool(disk.folder / "spool", reserve_bytes=RESERVE))
    await ledger.start()
    async with BatchedJudges([WordGuard({"harm": "BOMB"})], Metrics()) as judges:
        yield Gate(ScriptedEngine([]), judges, ledger, lambda _: RULES, Metrics())
    await ledger.stop()


async def converse(gate, words, prompt=LONG, on_release=None):
    """Runs one exchange; its id, the text that left, and what the ledger refused."""
    gate.engine.deltas = text_deltas(words)
    asked = Asked("chat", {"model": "m"}, (Passage(prompt),), lambda texts: {"model": texts[0]}, stream=True)
    left, error = "", None
    try:
        async with aclosing(answer(gate, asked, Caller("key_1", "acme"))) as releases:
            async for release in releases:
                if isinstance(release, Piece):
                    left += release.text
                    if on_release:
                        await on_release()
    except LedgerUnavailable as raised:
        error = raised
    return asked.id, left, error


async def eventually(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def exchange(gate, exchange_id):
    async with gate.ledger.store.read() as session:
        row = await session.get(Exchange, exchange_id)
        items = await session.scalar(
            sa.select(sa.func.count()).select_from(ReviewItem).where(ReviewItem.exchange_id == exchange_id)
        )
    return row, items, await gate.ledger.store.texts(exchange_id)


def refusals(gate, operation):
    return gate.metrics.registry.get_sample_value("sluicegate_ledger_errors_total", {"operation": operation})


async def test_when_room_runs_short_clean_samples_are_given_up_first(gate, disk):
    """With the reserve alone left a clean sample is served and not kept; what is flagged is kept with all its texts."""
    disk.leave(RESERVE - 50_000)
    await eventually(lambda: gate.ledger.spool.short)
    clean, left, error = await converse(gate, "A clean answer.")
    assert (left, error) == ("A clean answer.", None)
    flagged, left, error = await converse(gate, "How a BOMB is made.")
    assert (left, error) == ("How a BOMB is made.", None)
    assert await gate.ledger.drain(20)
    stats = await gate.ledger.stats()
    assert (stats.short, stats.shed_exchanges) == (True, 1)
    row, items, texts = await exchange(gate, clean)
    assert (row.sampled, row.flagged, items, texts) == (False, False, 0, {})
    row, items, texts = await exchange(gate, flagged)
    assert (row.flagged, items) == (True, 1)
    assert texts[f"{flagged}:asked"]["passages"][0]["text"] == LONG
    assert texts[f"{flagged}:closed"]["generated"] == {"0/content": "How a BOMB is made."}
    disk.clear()
    await eventually(lambda: not gate.ledger.spool.short)
    clean, *_ = await converse(gate, "A clean answer.")
    assert await gate.ledger.drain(20)
    row, items, texts = await exchange(gate, clean)
    assert (row.sampled, items, len(texts)) == (True, 1, 2)


async def test_a_sample_begun_with_room_is_given_up_whole(gate, disk):
    """Room that runs short while a clean sample is under way costs the sample all its texts, not a half of them."""

    async def run_short():
        disk.leave(RESERVE - 50_000)
        await eventually(lambda: gate.ledger.spool.short)

    clean, left, _ = await converse(gate, LONG, on_release=run_short)
    assert left == LONG
    assert await gate.ledger.drain(20)
    row, items, texts = await exchange(gate, clean)
    assert (row.sampled, items, texts) == (False, 0, {})


async def test_on_a_full_disk_nothing_flagged_is_released(gate, disk):
    """A finding that cannot be made durable ends the answer before its text leaves, nothing new begins, and both are
    counted; with room again the ledger has what happened."""

    async def run_full():
        disk.leave(0)

    cut, left, error = await converse(gate, LONG + "How a BOMB is made.", on_release=run_full)
    assert isinstance(error, LedgerUnavailable)
    assert "BOMB" not in left
    assert (LONG + "How").startswith(left)
    assert refusals(gate, "commit") == 1
    assert not gate.ledger.writable
    _, left, error = await converse(gate, "A clean answer.")
    assert (left, refusals(gate, "begin")) == ("", 1)
    assert "No space left" in str(error)
    disk.clear()
    await eventually(lambda: gate.ledger.writable)
    assert await gate.ledger.drain(20)
    row, items, texts = await exchange(gate, cut)
    assert (row.flagged, row.outcome, items) == (True, "ledger_unavailable", 1)
    assert "BOMB" in texts[f"{cut}:closed"]["generated"]["0/content"]
