import os

import pytest

from bench import report
from bench.postgres import NoPostgres
from tests.faults.faults import FAULTS, MORE
from tests.faults.world import World

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))


@pytest.fixture(scope="session")
def told():
    """What each fault did; written when all of them were tried."""
    lines: dict[str, dict] = {}
    yield lines
    if PROVE and len(lines) >= len(FAULTS) + len(MORE):
        report.write("faults", "make prove (tests/faults)", {"faults": dict(sorted(lines.items()))})


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    pytest.importorskip("asyncpg", reason="PostgreSQL's driver is not installed (extra: postgres)")
    try:
        made = World(tmp_path_factory.mktemp("faults"))
    except NoPostgres as error:
        pytest.skip(str(error))
    with made as running:
        yield running
