"""A process to be killed: many exchanges at once; prints an id once its commit has returned."""

import asyncio
import os
import random
import sys
from pathlib import Path

from service.ledger.ledger import SqlLedger
from service.ledger.spool import Spool
from service.settings import Settings
from tests.store.events import asked, closed, new_id, verdict


async def exchanges(ledger: SqlLedger) -> None:
    while True:
        exchange_id = new_id()
        ledger.append(asked(exchange_id, store=random.choice(["flagged", "none"])))
        for number in range(random.randrange(1, 4)):
            event = verdict(exchange_id, number)
            await ledger.commit(event)
            os.write(1, f"{event['id']}\n".encode())
            await asyncio.sleep(random.random() / 50)
        ledger.append(closed(exchange_id, flagged=True))


async def main() -> None:
    settings = Settings()
    ledger = SqlLedger(settings, Spool(settings.spool, rotate_bytes=100_000))
    await ledger.start()
    os.write(1, b"started\n")
    await asyncio.gather(*(exchanges(ledger) for _ in range(16)))


if __name__ == "__main__":
    assert Path(os.environ["SLUICEGATE_HOME"]).is_dir()
    sys.exit(asyncio.run(main()))
