import os
from contextlib import ExitStack

import pytest

from bench import report
from bench.postgres import NoPostgres
from tests.faults.apart import NoNamespaces
from tests.faults.faults import APART, FAULTS, MORE, SQUEEZED
from tests.faults.world import World

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
TOLD = (*FAULTS, *MORE, *APART, SQUEEZED)


@pytest.fixture(scope="session")
def told():
    """What each fault did; written when all of them were tried."""
    lines: dict[str, dict] = {}
    yield lines
    if PROVE and {fault.name for fault in TOLD} <= lines.keys():
        report.write("faults", "SLUICEGATE_PROVE=1 pytest tests/faults", {"faults": dict(sorted(lines.items()))})


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    yield from _started(World(tmp_path_factory.mktemp("faults")))


@pytest.fixture(scope="session")
def apart(tmp_path_factory):
    """The same with each gateway in a network namespace of its own."""
    yield from _started(World(tmp_path_factory.mktemp("apart"), apart=True))


def _started(world):
    pytest.importorskip("asyncpg", reason="PostgreSQL's driver is not installed (extra: postgres)")
    with ExitStack() as stack:
        try:
            stack.enter_context(world)
        except (NoPostgres, NoNamespaces) as error:
            pytest.skip(str(error))
        yield world
