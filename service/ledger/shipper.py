"""Carries what the spool holds into the database: each exchange whole, in one transaction, once it is closed."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.gate.exchange import Json
from service.ledger import records
from service.ledger.bulk import Records
from service.ledger.spool import Segment, Spool
from service.ledger.store import Store, unreachable, unstorable
from service.ledger.trail import Trail

IDLE_S: Final = 0.2
CHUNK_BYTES: Final = 256 << 10
CHUNK_EVENTS: Final = 128  # parsing them is work on the event loop that streams wait for
BATCH: Final = 512  # exchanges in one transaction, when there is a backlog
LONGEST_BACKOFF_S: Final = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of spool and shipper.

    `records`: not in the database yet. `bytes`: size of the spool. `oldest_s`: how long the database has lacked
    something that the spool has. `review_open`: items that wait for reviewers, as last known. `short`: only the
    reserve of the `room_bytes` is left. `shed_exchanges`: clean samples whose texts were given up for it.
    """

    records: int
    bytes: int
    oldest_s: float
    review_open: int
    open_exchanges: int
    shipped_exchanges: int
    damaged_bytes: int
    refused_exchanges: int
    database_up: bool
    room_bytes: int
    short: bool
    shed_exchanges: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """The first trails that are ready, and what the store made of them beforehand."""

    trails: list[Trail]
    made: list[Records] | None


class Shipper:
    """One task: each `step` stores a batch. Everything may be read and stored twice without a change."""

    def __init__(self, spool: Spool, store: Store) -> None:
        self._spool, self._store = spool, store
        self._at: dict[Path, int] = {}  # bytes read of a file
        self._damaged: set[Path] = set()
        self._open: dict[str, tuple[Trail, Path]] = {}  # with the file that holds its first event
        self._ready: list[tuple[Trail, Path]] = []
        self._batch: _Batch | None = None  # the first of them, put together
        self._adopting = True
        self._caught_up_at = time.monotonic()
        self._read_records = self._shipped = self._damaged_bytes = self._refused = self._review_open = 0
        self._up = True
        self._nudge = asyncio.Event()

    async def run(self) -> None:
        """Ships until cancelled; while the database is away it waits longer and longer, up to half a minute."""
        backoff_s = IDLE_S
        while True:
            try:
                busy = await self.step()
                self._up, backoff_s = True, IDLE_S
            except Exception as error:
                if not unreachable(error):
                    log.exception("shipper_failed")  # a defect: the spool keeps everything until it is mended
                elif self._up:
                    log.error("database_unreachable", error=type(error).__name__)
                busy, self._up, backoff_s = False, False, min(backoff_s * 2, LONGEST_BACKOFF_S)
            await self._rest(0 if busy else backoff_s)

    async def _rest(self, seconds: float) -> None:
        if seconds == 0:
            await asyncio.sleep(0)
            return
        self._nudge.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may swallow a cancel, and never end
                await self._nudge.wait()

    async def drain(self, timeout_s: float) -> bool:
        """Waits until everything written so far is in the database. False when the time is over."""
        deadline = time.monotonic() + timeout_s
        while self._spool.unwritten_bytes or self._backlog_bytes() or self._ready or self._adopting:
            if time.monotonic() > deadline:
                return False
            self._nudge.set()
            await asyncio.sleep(0.02)
        return True

    async def step(self) -> bool:
        """Stores one batch; meanwhile it reads on and puts the next one together. True when something moved.

        Raises what the database raises.
        """
        if len(self._ready) < BATCH:
            moved = await self._fill(BATCH)
            if not self._ready:
                self._done()
                return moved
        if self._batch is None:
            self._batch = await self._made(0)
        ended = len(self._batch.trails)
        kept, ahead = await asyncio.gather(self._keep(self._batch), self._ahead(ended), return_exceptions=True)
        if isinstance(kept, BaseException):
            raise kept
        self._ready, self._batch = self._ready[ended:], None
        if isinstance(ahead, BaseException):
            raise ahead
        self._batch = ahead
        self._done()
        return True

    async def _ahead(self, start: int) -> _Batch | None:
        await self._fill(2 * BATCH)
        return await self._made(start) if len(self._ready) >= start + BATCH else None

    async def _made(self, start: int) -> _Batch:
        trails = [trail for trail, _ in self._ready[start : start + BATCH]]
        return _Batch(trails, await self._store.made(trails))

    async def _fill(self, most: int) -> bool:
        """Reads until so many exchanges are ready, or there is no more. True when something was read."""
        moved = False
        while len(self._ready) < most and (segment := self._next()) is not None:
            if not self._take(segment, await asyncio.to_thread(self._read, segment)):
                break
            moved = True
        return moved

    def _next(self) -> Segment | None:
        """The file to read on in: those of dead processes come first, and what they left open is closed then."""
        segment = next((s for s in self._spool.segments if self._unread(s)), None)
        if self._adopting and not (segment and segment.adopted):
            self._close_orphans()
        return segment

    def _done(self) -> None:
        self.discard()
        if not self._backlog_bytes() and not self._ready:
            self._caught_up_at = time.monotonic()

    async def stats(self) -> Stats:
        """Never fails: what only the database knows stays as it was while it is away."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            self._review_open = await self._store.review_open()
        return Stats(
            records=max(0, self._spool.records - self._read_records) + sum(len(t.events) for t, _ in self._ready),
            bytes=self._spool.size_bytes,
            oldest_s=time.monotonic() - self._caught_up_at if self._backlog_bytes() or self._ready else 0.0,
            review_open=self._review_open,
            open_exchanges=len(self._open),
            shipped_exchanges=self._shipped,
            damaged_bytes=self._damaged_bytes,
            refused_exchanges=self._refused,
            database_up=self._up,
            room_bytes=self._spool.room_bytes,
            short=self._spool.short,
        )

    def _unread(self, segment: Segment) -> int:
        return max(0, segment.size_bytes - self._at.get(segment.path, 0))

    def _backlog_bytes(self) -> int:
        return sum(map(self._unread, self._spool.segments))

    def _read(self, segment: Segment) -> records.Read:
        """The next records of a file; a longer stretch is read when a short one holds no whole record."""
        start, end, sealed = self._at.get(segment.path, 0), segment.size_bytes, segment.sealed
        size = CHUNK_BYTES
        try:
            with segment.path.open("rb") as file:
                while True:
                    file.seek(start)
                    found = records.read(file.read(min(size, end - start)), CHUNK_EVENTS)
                    if found.events or size >= end - start:
                        break
                    size *= 4
        except FileNotFoundError:  # somebody removed it: the loss is told, the rest goes on
            return records.Read([], end - start, end - start)
        if not found.events and sealed:  # a tail that a crash cut short
            return records.Read([], end - start, 0 if segment.adopted else end - start)
        return found

    def _take(self, segment: Segment, found: records.Read) -> bool:
        self._at[segment.path] = self._at.get(segment.path, 0) + found.end
        self._read_records += 0 if segment.adopted else len(found.events)
        if found.damaged_bytes:
            self._damaged.add(segment.path)
            self._damaged_bytes += found.damaged_bytes
            log.error("spool_damaged", file=segment.path.name, damaged_bytes=found.damaged_bytes)
        for event in found.events:
            self._add(event, segment.path)
        return found.end > 0

    def _add(self, event: Json, path: Path) -> None:
        exchange_id = event["exchange_id"]
        trail, first = self._open.pop(exchange_id, (Trail(exchange_id), path))
        trail.add(event)
        if trail.complete:
            self._ready.append((trail, first))
        else:
            self._open[exchange_id] = trail, first

    def _close_orphans(self) -> None:
        """All that is open now was begun by processes that are dead: their files are read before any of our own."""
        for trail, first in self._open.values():
            trail.interrupt()
            self._ready.append((trail, first))
        self._open.clear()
        self._adopting = False

    async def _keep(self, batch: _Batch) -> None:
        try:
            await self._store.keep(batch.trails, batch.made)
        except Exception as error:
            if not unstorable(error):
                raise
            await self._keep_singly(batch.trails)
        self._shipped += len(batch.trails)

    async def _keep_singly(self, batch: list[Trail]) -> None:
        """One exchange that the database cannot take must not hold up the others: it is put aside, still sealed."""
        for trail in batch:
            try:
                await self._store.keep([trail])
            except Exception as error:
                if not unstorable(error):
                    raise
                self._refused += 1
                log.error("exchange_put_aside", exchange_id=trail.exchange_id, error=type(error).__name__)
                await asyncio.to_thread(self._put_aside, trail)

    def _put_aside(self, trail: Trail) -> None:
        with (self._spool.folder / "refused.aside").open("ab") as file:
            file.writelines(records.frame(orjson.dumps(event)) for event in trail.events.values())

    def discard(self) -> None:
        """Removes files from the oldest on, as long as nothing in them is needed any more."""
        pinned = {first for _, first in (*self._open.values(), *self._ready)}
        for segment in list(self._spool.segments):
            if not segment.sealed or self._unread(segment) or segment.path in pinned:
                return
            self._spool.discard(segment, damaged=segment.path in self._damaged)
            self._at.pop(segment.path, None)
