"""Writers to be killed: `python -m tests.durability.writer` forks one for each line it reads.

What a writer acknowledges, as to a client, it appends to a file, which outlives `kill -9`.
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

import structlog

from service.ledger.ledger import SqlLedger
from service.ledger.spool import Spool
from service.settings import Settings
from tests.durability.nursery import bear
from tests.store.events import asked, closed, new_id, verdict

AT_ONCE = 16
ROTATE_BYTES = 60_000


def textless(exchange_id: str) -> bool:
    """Under `store: none` no text is kept; told by the id, so that whoever checks knows."""
    return exchange_id.endswith(("0", "1"))


def text_of(event_id: str) -> str:
    """What the event says: nobody need remember it to check it."""
    return f"the text of {event_id}, long enough to be told from others. " * (1 + int(event_id[4:6], 16) // 32)


def new_verdict(exchange_id: str, number: int) -> dict[str, Any]:
    return verdict(exchange_id, number, judged=text_of(f"{exchange_id}:verdict:{number}"))


async def exchanges(ledger: SqlLedger, acknowledge: Any) -> None:
    """One after the other: half of them flagged, and acknowledged once that is durable."""
    while True:
        exchange_id = new_id()
        store = "none" if textless(exchange_id) else "flagged"
        ledger.append(asked(exchange_id, store=store, text=text_of(f"{exchange_id}:asked")))
        flagged = random.randrange(4) if random.random() < 0.5 else 0
        for number in range(flagged):
            event = new_verdict(exchange_id, number)
            await ledger.commit(event)
            acknowledge(event["id"])
        await asyncio.sleep(random.random() / 100)
        ledger.append(closed(exchange_id, flagged=bool(flagged)))


async def live(home: str, database_url: str, acks: str, writers: int) -> None:
    settings = Settings(home=Path(home), database_url=database_url or None)
    fd = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    ledger = SqlLedger(settings, Spool(settings.spool, rotate_bytes=ROTATE_BYTES))
    await ledger.start()
    await asyncio.gather(*(exchanges(ledger, lambda i: os.write(fd, f"{i}\n".encode())) for _ in range(writers)))
    await asyncio.Event().wait()  # ships on


def write(*asked: Any) -> None:
    random.seed()
    asyncio.run(live(*asked))


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for answers
    bear(write)
