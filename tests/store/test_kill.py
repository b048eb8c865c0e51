import os
import random
import signal
import subprocess
import sys
import time

import sqlalchemy as sa

from service.ledger.ledger import SqlLedger
from service.ledger.models import Exchange, VerdictRow
from service.ledger.verify import verify
from service.settings import Settings

ROUNDS = 100 if os.environ.get("SLUICEGATE_PROVE") else 10


def committed_before_a_kill(home):
    """Runs the writer, kills it at a random moment; the event ids whose commit had returned."""
    environment = os.environ | {"SLUICEGATE_HOME": str(home), "PYTHONPATH": "."}
    command = [sys.executable, "-W", "ignore", "-m", "tests.store.writer"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        time.sleep(random.random() * 0.6)
        process.send_signal(signal.SIGKILL)
        return [line.strip() for line in process.stdout if line.endswith("\n")]


async def test_what_was_committed_survives_kill_9(tmp_path):
    """However often the process is killed, the next start stores every event whose commit had returned."""
    settings = Settings(home=tmp_path)
    committed = []
    for _ in range(ROUNDS):  # each writer also adopts what the one before it left
        committed += committed_before_a_kill(tmp_path)
    ledger = SqlLedger(settings)
    await ledger.start()
    assert await ledger.drain(60)
    async with ledger.store.read() as session:
        stored = set(await session.scalars(sa.select(VerdictRow.event_id)))
        outcomes = set(await session.scalars(sa.select(Exchange.outcome)))
    finding = await verify(settings.spool, ledger.store)
    await ledger.stop()
    assert len(committed) > 10 * ROUNDS
    assert not set(committed) - stored
    assert outcomes <= {"completed", "interrupted"}
    assert not finding.faults
    assert not finding.unshipped
    assert list(settings.spool.iterdir()) == []
