"""Spool files from elsewhere, read into the database: a copy, one set aside, a disk saved from a dead machine."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from service.ledger.store import Store, StoreError, unstorable
from service.ledger.trail import Trail
from service.ledger.verify import read_file


@dataclass(slots=True)
class Replayed:
    """Exchanges by what came of them. `open`: without an end in these files, left alone."""

    stored: int = 0
    known: int = 0
    open: int = 0
    refused: int = 0
    damaged_bytes: int = 0


async def replay(store: Store, paths: Iterable[Path], close_open: bool = False) -> Replayed:
    """Stores what is not stored yet; may be done twice. `close_open`: those without an end are closed as interrupted.

    That is right only when nobody else has their end: not for the files of a gateway that runs. Raises StoreError.
    """
    found, trails = Replayed(), dict[str, Trail]()
    for path in paths:
        if not path.is_file():
            raise StoreError(f"{path} is no file; give files of a spool: *.log, *.damaged, refused.aside")
        file, events = await asyncio.to_thread(read_file, path)
        found.damaged_bytes += file.damaged_bytes
        for event in events:
            trails.setdefault(event["exchange_id"], Trail(event["exchange_id"])).add(event)
    for trail in trails.values():
        if not trail.complete:
            if not close_open:
                found.open += 1
                continue
            trail.interrupt()
        await _keep(store, trail, found)
    return found


async def _keep(store: Store, trail: Trail, found: Replayed) -> None:
    if trail.began and await store.known([trail.exchange_id]):
        found.known += 1
        return
    try:
        await store.keep([trail])
    except Exception as error:
        if not unstorable(error):
            raise
        found.refused += 1
    else:
        found.stored += 1
