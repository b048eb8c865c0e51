import asyncio
import os
import random
import resource
import threading
from pathlib import Path

import orjson
import pytest

from service.gate.exchange import LedgerUnavailable
from service.ledger import spool as spools
from service.ledger.records import read
from service.ledger.spool import Spool


def payload(number, size=0):
    return orjson.dumps({"id": number, "exchange_id": "exc", "fill": "x" * size})


def ids(folder):
    return [e["id"] for path in sorted(folder.glob("*.log")) for e in read(path.read_bytes()).events]


class Disk:
    """Counts syncs, lets them take as long as the test wants, and fails them when told to."""

    def __init__(self):
        self.count, self.error = 0, None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, fd):
        self.gate.wait(10)
        self.count += 1
        if self.error:
            raise self.error
        os.fdatasync(fd)


@pytest.fixture
async def spool_at(tmp_path):
    started = []

    async def start(folder=tmp_path / "spool", **options):
        spool = Spool(folder, **options)
        await spool.start()
        started.append(spool)
        return spool

    yield start
    for spool in started:
        if not spool._closing:
            await spool.stop()
            spool.release()


async def test_events_are_on_disk_in_order(spool_at, tmp_path):
    """Appends and commits from many tasks end up whole, each once, appends before the commits that follow them."""
    spool = await spool_at()

    async def writer(number):
        spool.append(payload(2 * number))
        await spool.commit(payload(2 * number + 1))

    await asyncio.gather(*map(writer, range(50)))
    found = ids(tmp_path / "spool")
    assert sorted(found) == list(range(100))
    assert all(found.index(2 * n) < found.index(2 * n + 1) for n in range(50))


async def test_one_sync_serves_all_who_wait(spool_at):
    """While one sync is under way all further commits gather, and the next sync resolves them together."""
    disk = Disk()
    spool = await spool_at(sync=disk)
    disk.gate.clear()
    first = asyncio.create_task(spool.commit(payload(0)))
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(spool.commit(payload(n))) for n in range(1, 65)]
    await asyncio.sleep(0.05)
    assert not first.done()
    disk.gate.set()
    await asyncio.gather(first, *others)
    assert disk.count == 2


async def test_clean_appends_are_written_without_a_sync(spool_at, tmp_path):
    """An append returns at once, reaches the file by itself and costs no sync."""
    disk = Disk()
    spool = await spool_at(sync=disk)
    for n in range(20):
        spool.append(payload(n))
    for _ in range(100):
        if len(ids(tmp_path / "spool")) == 20:
            break
        await asyncio.sleep(0.02)
    assert ids(tmp_path / "spool") == list(range(20))
    assert disk.count == 0


async def test_an_append_never_waits_for_the_disk(spool_at):
    """With a disk that hangs, appends still return; only commits wait."""
    disk = Disk()
    spool = await spool_at(sync=disk)
    disk.gate.clear()
    commit = asyncio.create_task(spool.commit(payload(0)))
    await asyncio.sleep(0.02)
    for n in range(1, 1000):
        spool.append(payload(n))
    assert not commit.done()
    disk.gate.set()
    await commit


async def test_a_full_spool_refuses_new_exchanges(spool_at):
    """Beyond its size limit the spool takes no new exchange; those under way have a reserve, and then an end."""
    spool = await spool_at(limit_bytes=10_000)
    for n in range(3):
        await spool.commit(payload(n, 3_000))
    spool.check()
    await spool.commit(payload(3, 1_000))
    assert not spool.writable
    with pytest.raises(LedgerUnavailable, match="full"):
        spool.check()
    await spool.commit(payload(4, 1_000))
    with pytest.raises(LedgerUnavailable, match="reserve"):
        await spool.commit(payload(5, 3_000))


async def test_a_failing_sync_fails_every_waiting_commit_and_is_made_good(spool_at, tmp_path):
    """While syncs fail every commit fails and nothing new may begin; once one works, all events are there, in order."""
    disk = Disk()
    spool = await spool_at(sync=disk)
    spool.append(payload(0))
    await spool.commit(payload(1))
    spool.append(payload(2))
    disk.error = OSError(5, "Input/output error")
    for n in (3, 4):
        with pytest.raises(LedgerUnavailable, match="Input/output error"):
            await spool.commit(payload(n))
    assert not spool.writable
    with pytest.raises(LedgerUnavailable):
        spool.check()
    disk.error = None
    await spool.commit(payload(5))
    assert spool.writable
    assert ids(tmp_path / "spool") == list(range(6))


async def test_a_disk_that_is_full_fails_closed_and_recovers_by_itself(spool_at, tmp_path):
    """Out of space commits fail; with space again the spool goes on by itself, without a torn record in its middle."""
    spool = await spool_at()
    await spool.commit(payload(0, 1_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, hard))
    try:
        for n in (1, 2):
            with pytest.raises(LedgerUnavailable, match="File too large"):
                await spool.commit(payload(n, 1_000))
        assert not spool.writable
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for _ in range(60):
        if spool.writable:
            break
        await asyncio.sleep(0.05)
    assert spool.writable
    spool.append(payload(3))
    await spool.commit(payload(4))
    assert ids(tmp_path / "spool") == list(range(5))


async def test_files_rotate_by_size_and_by_age(spool_at, tmp_path):
    """A new file is begun when one is big or old, and no event is lost between them."""
    spool = await spool_at(rotate_bytes=2_000, rotate_s=3_600)
    for n in range(10):
        await spool.commit(payload(n, 900))
    assert len(spool.segments) >= 4
    assert spool.size_bytes == sum(path.stat().st_size for path in (tmp_path / "spool").glob("*.log"))
    assert ids(tmp_path / "spool") == list(range(10))
    aging = await spool_at(tmp_path / "other", rotate_s=0.1)
    await aging.commit(payload(0))
    for _ in range(100):
        if len(aging.segments) > 1:
            break
        await asyncio.sleep(0.05)
    assert aging.segments[0].sealed
    assert ids(tmp_path / "other") == [0]


async def test_two_processes_never_share_a_file(spool_at, tmp_path):
    """A second process writes files of its own; it adopts those of the first only once that one is gone."""
    first = await spool_at()
    await first.commit(payload(1))
    second = await spool_at()
    await second.commit(payload(2))
    assert not any(s.adopted for s in second.segments)
    assert {s.path for s in first.segments}.isdisjoint(s.path for s in second.segments)
    assert all(spools.alive(tmp_path / "spool", boot) for boot in spools.boots(tmp_path / "spool"))
    for spool in (first, second):
        await spool.stop()
        spool.release()
    third = await spool_at()
    adopted = [s for s in third.segments if s.adopted]
    assert [read(s.path.read_bytes()).events[0]["id"] for s in adopted] == [1, 2]
    fourth = await spool_at()
    assert not any(s.adopted for s in fourth.segments)


async def test_a_name_that_somebody_adopted_before_its_owner_locked_it_is_left(spool_at, tmp_path, monkeypatch):
    """Between making a lock's file and locking it another process may adopt the name: the owner takes another one."""
    names = iter(["taken", "taken", "free"])
    monkeypatch.setattr(spools.uuid, "uuid4", lambda: type("Name", (), {"hex": next(names)}))
    monkeypatch.setattr(spools.time, "time_ns", lambda: 1)
    folder = tmp_path / "spool"
    folder.mkdir()
    with (folder / f"{1:020d}-taken.lock").open("w") as file:
        spools.fcntl.flock(file, spools.fcntl.LOCK_EX)
        spool = await spool_at()
    await spool.commit(payload(1))
    assert [path.name for path in folder.glob("*.log")] == [f"{1:020d}-free-000001.log"]


def test_a_lock_is_held_where_others_meet_it(tmp_path, monkeypatch):
    """A file that is removed between its opening and its locking is not the one that others will lock."""
    path, flock = tmp_path / "x.lock", spools.fcntl.flock

    def late(fd, how):
        monkeypatch.setattr(spools.fcntl, "flock", flock)
        path.unlink()
        flock(fd, how)

    monkeypatch.setattr(spools.fcntl, "flock", late)
    ours = spools._lock(tmp_path, "x")
    assert spools.alive(tmp_path, "x")
    os.close(ours)
    assert not spools.alive(tmp_path, "x")


async def test_after_stop_nothing_is_taken(spool_at, tmp_path):
    """Stopping makes what was appended durable, and later events are refused instead of lost."""
    spool = await spool_at()
    spool.append(payload(1))
    await spool.stop()
    spool.release()
    assert ids(tmp_path / "spool") == [1]
    with pytest.raises(LedgerUnavailable, match="shut down"):
        spool.append(payload(2))


async def test_a_waiting_commit_that_is_cancelled_harms_nobody(spool_at, tmp_path):
    """Whoever stops waiting for a commit leaves the event in the log, and the others are served."""
    disk = Disk()
    spool = await spool_at(sync=disk)
    disk.gate.clear()
    gone, stays = (asyncio.create_task(spool.commit(payload(n))) for n in range(2))
    await asyncio.sleep(0.02)
    gone.cancel()
    disk.gate.set()
    await stays
    assert gone.cancelled()
    assert ids(tmp_path / "spool") == [0, 1]


async def test_a_folder_that_cannot_be_written_is_told_at_start(tmp_path):
    """A spool that cannot be made is an error at start, with the folder's name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match="file/spool"):
        await Spool(tmp_path / "file" / "spool").start()


async def test_through_any_sequence_of_failures_nothing_is_lost_torn_or_out_of_order(spool_at, tmp_path):
    """With syncs that fail at random and files that rotate, every event is in the log once the disk works, none torn,
    in the order it was put, and every commit that returned was made durable by a sync that succeeded."""
    dice = random.Random(7)
    synced = set()

    def sync(fd):
        if dice.random() < 0.4:
            raise OSError(5, "Input/output error")
        synced.update(e["id"] for e in read(Path(f"/proc/self/fd/{fd}").read_bytes()).events)

    spool = await spool_at(sync=sync, rotate_bytes=3_000)
    committed, refused = set(), 0
    for number in range(400):
        if dice.random() < 0.5:
            spool.append(payload(number, 100))
            continue
        try:
            await spool.commit(payload(number, 100))
            assert number in synced
            committed.add(number)
        except LedgerUnavailable:
            refused += 1
    while not spool.writable or spool.unwritten_bytes:
        await asyncio.sleep(0.05)
    await spool.stop()
    files = [read(path.read_bytes()) for path in sorted((tmp_path / "spool").glob("*.log"))]
    assert [e["id"] for found in files for e in found.events] == list(range(400))
    assert not any(found.damaged_bytes for found in files)
    assert len(files) > 5
    assert committed
    assert refused > 50
