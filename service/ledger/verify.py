"""Is the ledger whole? Reads the spool without touching it, and asks the database for what should be there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.gate.exchange import Json
from service.ledger import audit, records
from service.ledger.spool import alive, boots, logs
from service.ledger.store import Store
from service.ledger.trail import Trail

ASKED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class File:
    """One spool file. `tail_bytes`: an incomplete record at its end, left by a crash or by a writer at work."""

    name: str
    alive: bool
    records: int
    size_bytes: int
    damaged_bytes: int
    tail_bytes: int


@dataclass(slots=True)
class Finding:
    """Exchange ids by what is the matter with them.

    `unshipped`: closed, and not in the database yet. `orphans`: their process died before they were closed. Both are
    mended by the next start. `audit`: where its chain is broken; `audit_head`: its last row, to be noted elsewhere.
    `unreadable`: stored texts (event ids) that the master keys at hand do not open.
    """

    files: list[File] = field(default_factory=list)
    unshipped: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    audit: list[str] = field(default_factory=list)
    audit_head: str = ""

    @property
    def faults(self) -> list[str]:
        """What nothing mends by itself; empty when the ledger is whole."""
        damaged = [f"{f.name}: {f.damaged_bytes} damaged bytes" for f in self.files if f.damaged_bytes]
        return damaged + [f"{e}: its text cannot be opened" for e in self.unreadable] + self.audit


async def verify(folder: Path, store: Store) -> Finding:
    """Checks every record's CRC, every exchange in the spool against the database, and that every text opens."""
    finding, trails, living = Finding(), dict[str, Trail](), set[str]()
    for path, running in spool_files(folder):
        file, events = read_file(path, running)
        finding.files.append(file)
        for event in events:
            trails.setdefault(event["exchange_id"], Trail(event["exchange_id"])).add(event)
        living |= {event["exchange_id"] for event in events} if running else set()
    stored = await _stored(store, list(trails))
    for trail in trails.values():
        if trail.exchange_id in stored:
            continue
        if trail.complete and trail.kept:
            finding.unshipped.append(trail.exchange_id)
        elif not trail.complete and trail.exchange_id not in living:
            finding.orphans.append(trail.exchange_id)
    finding.unreadable = await store.unreadable()
    finding.audit, head = await audit.faults(store)
    finding.audit_head = "{}:{}".format(*head)
    return finding


def spool_files(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Files in order, those with known damage last, and whether the process that writes them runs."""
    for boot in sorted(boots(folder)):
        running = alive(folder, boot)
        yield from ((path, running) for path in logs(folder, boot))
    yield from ((path, False) for path in sorted(folder.glob("*.damaged")))


def read_file(path: Path, running: bool = False) -> tuple[File, list[Json]]:
    """One file's figures and events; of a file that is shipped and removed meanwhile, none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    found = records.read(data)
    tail_bytes = len(data) - found.end
    return File(path.name, running, len(found.events), len(data), found.damaged_bytes, tail_bytes), found.events


async def _stored(store: Store, ids: Sequence[str]) -> set[str]:
    parts = [ids[i : i + ASKED_AT_ONCE] for i in range(0, len(ids), ASKED_AT_ONCE)]
    return set().union(*[await store.known(part) for part in parts])
