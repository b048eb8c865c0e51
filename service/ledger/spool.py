"""The append log of one process. One thread writes: all that is pending, one fdatasync, then everybody who waits.

`<boot>-<n>.log` files belong to whoever holds the flock on `<boot>.lock`, so a dead process's files can be adopted.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from service.gate.exchange import LedgerUnavailable
from service.ledger.crypto import sync_folder
from service.ledger.records import frame

RETRY_S: Final = 1.0  # between attempts of a disk that fails
SYNC_BYTES: Final = 1 << 20  # most that clean events leave unsynced
NAMES: Final = 10  # tried at a start
RESERVE: Final = 1.25  # exchanges under way are recorded to their end beyond the limit, up to here

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Segment:
    """One file. `size_bytes` of it can be read; `sealed` when nothing will be added."""

    path: Path
    size_bytes: int = 0
    sealed: bool = False
    adopted: bool = False


class Spool:
    """Started within an event loop, used from that loop only. `sync` makes a file descriptor's data durable."""

    def __init__(
        self,
        folder: Path,
        limit_bytes: int = 1 << 30,
        reserve_bytes: int = 0,
        rotate_bytes: int = 16 << 20,
        rotate_s: float = 600,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.folder, self._limit, self._rotate_s = folder, limit_bytes, rotate_s
        self._rotate_bytes = min(rotate_bytes, limit_bytes // 8)  # only whole files make room again
        self._reserve, self._free_bytes = min(reserve_bytes, limit_bytes // 4), 0
        self._sync = sync
        self.segments: list[Segment] = []  # oldest first: those adopted, then our own; the last one is written to
        self._files_bytes = 0  # of all of them together: adding them up for each event takes longer than writing it
        self.records = 0  # of this process, written or not
        self._locks: dict[str, int] = {}
        self._wake = threading.Condition()
        self._pending: list[tuple[bytes, asyncio.Future[None] | None]] = []
        self.unwritten_bytes = 0
        self._closing = False
        self._error: OSError | None = None
        self._frames: list[bytes] = []  # not durable yet; the first `_flushed` are in the file
        self._flushed = 0
        self._synced_bytes = self._end_bytes = 0
        self._fd = -1
        self._opened_at = 0.0
        self._made = 0
        self._boot = ""

    async def start(self) -> None:
        """Adopts what dead processes left, then opens a file of our own. Raises LedgerUnavailable."""
        self._loop = asyncio.get_running_loop()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._adopt()
            self._boot, self._locks[self._boot] = self._named()
            self._open_next()
        except OSError as error:
            self.release()
            raise LedgerUnavailable(f"the spool {self.folder} cannot be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._write_on, name="spool", daemon=True)
        self._thread.start()

    def _named(self) -> tuple[str, int]:
        """A name of our own, and its lock. Who adopts just now may take a new name before us: then another one."""
        for _ in range(NAMES):
            boot = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
            with contextlib.suppress(BlockingIOError):
                return boot, _lock(self.folder, boot)
        raise BlockingIOError(errno.EAGAIN, "its locks are taken by others, again and again")

    async def stop(self) -> None:
        """Makes all pending events durable and ends the writer; the files stay ours until `release`."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        if self._frames:
            log.error("spool_events_lost", records=len(self._frames), error=str(self._error))
        os.close(self._fd)
        self.segments[-1].sealed = True

    def release(self) -> None:
        """Lets the files go: from now on another process may adopt them."""
        self._unlock(list(self._locks))

    @property
    def size_bytes(self) -> int:
        return self._files_bytes + self.unwritten_bytes

    @property
    def room_bytes(self) -> int:
        """What can still be written: up to the limit, and as far as the disk goes."""
        return max(0, min(self._limit - self.size_bytes, self._free_bytes - self.unwritten_bytes))

    @property
    def short(self) -> bool:
        """Whether only the reserve is left, which is for what was flagged."""
        return self._error is not None or self.room_bytes < self._reserve

    @property
    def writable(self) -> bool:
        """Whether a new exchange may begin: the disk takes writes and there is room."""
        return self._error is None and self.size_bytes < self._limit

    def check(self) -> None:
        """Raises LedgerUnavailable when not writable, saying why."""
        if self._error is not None:
            raise _unavailable(self._error)
        if self.size_bytes >= self._limit:
            raise LedgerUnavailable("the ledger's spool is full; is the database reachable?")

    def append(self, payload: bytes) -> None:
        """Puts an event in order; it is written soon. Raises LedgerUnavailable when there is no room at all."""
        self._put(payload, None)

    async def commit(self, payload: bytes) -> None:
        """Returns when the event and all before it are durable. Raises LedgerUnavailable."""
        done = self._loop.create_future()
        self._put(payload, done)
        await done

    def _put(self, payload: bytes, done: "asyncio.Future[None] | None") -> None:
        if self._closing:
            raise LedgerUnavailable("the ledger is shut down")
        if self.size_bytes + len(payload) > self._limit * RESERVE:
            raise LedgerUnavailable("the ledger's spool is full beyond its reserve; is the database reachable?")
        framed = frame(payload)
        with self._wake:
            self._pending.append((framed, done))
            self.unwritten_bytes += len(framed)
            self.records += 1
            self._wake.notify()

    # From here on: the writer's thread.

    def _write_on(self) -> None:
        closing = False
        while not closing:
            with self._wake:
                self._wake.wait_for(lambda: self._pending or self._closing, timeout=RETRY_S)
                batch, self._pending = self._pending, []
                closing = self._closing
            self._frames += [framed for framed, _ in batch]
            waiting = [done for _, done in batch if done is not None]
            error = self._attempt(durable=bool(waiting) or closing)
            if waiting:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(_settle, waiting, error)

    def _attempt(self, durable: bool) -> Exception | None:
        """Writes what is not in the file yet; after a failure everything not known to be durable, again."""
        try:
            if self._error is not None:
                os.ftruncate(self._fd, self._synced_bytes)  # what the failed write left behind
            self._flush()
            if durable or self._end_bytes - self._synced_bytes >= SYNC_BYTES:
                self._make_durable()
            self._rotate_if_due()
            self._free_bytes = _free_bytes(self._fd)
        except OSError as error:
            if self._error is None:
                log.error("spool_write_failed", error=error.strerror)
            return self._failed(error)
        except Exception as error:  # a writer that died would leave every commit waiting for ever
            log.exception("spool_writer_failed")
            return self._failed(OSError(0, type(error).__name__))
        if self._error is not None:
            log.info("spool_writes_again")
        self._error = None
        return None

    def _failed(self, error: OSError) -> LedgerUnavailable:
        self._error, self._flushed, self._end_bytes = error, 0, self._synced_bytes
        return _unavailable(error)

    def _flush(self) -> None:
        data = memoryview(b"".join(self._frames[self._flushed :]))
        at = self._end_bytes
        while data:
            written = os.pwrite(self._fd, data, at)
            at, data = at + written, data[written:]
        self._flushed, self._end_bytes = len(self._frames), at
        with self._wake:
            self._files_bytes += at - self.segments[-1].size_bytes
            self.segments[-1].size_bytes = at
            self.unwritten_bytes = sum(len(framed) for framed, _ in self._pending)

    def _make_durable(self) -> None:
        if not self._frames:
            return
        self._sync(self._fd)
        self._synced_bytes = self._end_bytes
        self._frames, self._flushed = [], 0

    def _rotate_if_due(self) -> None:
        size, age_s = self.segments[-1].size_bytes, time.monotonic() - self._opened_at
        if size and (size >= self._rotate_bytes or age_s >= self._rotate_s):
            self._make_durable()
            self._open_next()

    def _open_next(self) -> None:
        path = self.folder / f"{self._boot}-{self._made + 1:06d}.log"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # there only if an attempt failed half-way
        try:
            sync_folder(self.folder)
        except OSError:
            os.close(fd)
            raise
        if self._made:
            os.close(self._fd)
            self.segments[-1].sealed = True
        self._fd, self._opened_at, self._free_bytes = fd, time.monotonic(), _free_bytes(fd)
        self._synced_bytes = self._end_bytes = 0
        self._made += 1
        self.segments.append(Segment(path))

    # Files of others, and files that are done.

    def _adopt(self) -> None:
        for boot in sorted(boots(self.folder)):
            try:
                self._locks[boot] = _lock(self.folder, boot)
            except BlockingIOError:
                continue  # its process lives
            self.segments += [Segment(p, p.stat().st_size, sealed=True, adopted=True) for p in logs(self.folder, boot)]
        self._files_bytes = sum(segment.size_bytes for segment in self.segments)

    def discard(self, segment: Segment, damaged: bool = False) -> None:
        """Removes a file whose every event is in the database; a damaged one is put aside under another name."""
        self.segments.remove(segment)
        with self._wake:
            self._files_bytes -= segment.size_bytes
        if damaged:
            with contextlib.suppress(FileNotFoundError):
                segment.path.rename(segment.path.with_suffix(".damaged"))
        else:
            segment.path.unlink(missing_ok=True)
        self._unlock([b for b in self._locks if b != self._boot and not logs(self.folder, b)])

    def _unlock(self, names: Iterable[str]) -> None:
        """Lets locks go; a lock without files is removed, while it is still held."""
        for boot in names:
            if not logs(self.folder, boot):
                (self.folder / f"{boot}.lock").unlink(missing_ok=True)
            os.close(self._locks.pop(boot))


def boots(folder: Path) -> set[str]:
    """Names of the processes that have files in the spool."""
    names = {p.stem for p in folder.glob("*.lock")}
    return names | {p.stem.rpartition("-")[0] for p in folder.glob("*.log")}


def logs(folder: Path, boot: str) -> list[Path]:
    """The files of one process, oldest first."""
    return sorted(folder.glob(f"{boot}-*.log"))


def alive(folder: Path, boot: str) -> bool:
    """Whether the process that owns these files runs."""
    try:
        os.close(_lock(folder, boot))
    except BlockingIOError:
        return True
    return False


def _lock(folder: Path, boot: str) -> int:
    """A descriptor that holds the lock. Raises BlockingIOError when another process has it, and not just looks."""
    path, patience_s = folder / f"{boot}.lock", [0.02, 0.02]
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, fd):
                return fd
            os.close(fd)  # whoever held it removed it meanwhile: a lock that nobody else would meet
        except BlockingIOError:
            os.close(fd)
            if not patience_s:
                raise
            time.sleep(patience_s.pop())


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _free_bytes(fd: int) -> int:
    """Of the disk that holds the file, for us."""
    disk = os.fstatvfs(fd)
    return disk.f_bavail * disk.f_frsize


def _unavailable(error: OSError) -> LedgerUnavailable:
    return LedgerUnavailable(f"the ledger cannot be written: {error.strerror}")


def _settle(waiting: "list[asyncio.Future[None]]", error: Exception | None) -> None:
    for done in waiting:
        if done.done():
            continue  # whoever waited has gone
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
