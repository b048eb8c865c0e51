"""What every area may use, and which tests run beside which."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.plugins.engine"]
ROOT = Path(__file__).parents[1]
# how fast an example is says more of the machine's other work than of the code
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
LONG = ("engine", "training")  # begun first where areas run side by side


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs the real engine runs last: the rest should fail first. Side by side what is long is first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _area(item.nodeid) not in LONG)
    else:
        items.sort(key=lambda item: item.get_closest_marker("engine") is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """An area's tests share what they set up: one process runs them. Files that need the real engine are one area."""
    from xdist.scheduler import LoadScopeScheduling

    class ByArea(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _area(nodeid)

    return ByArea(config, log)


def _area(nodeid: str) -> str:
    return _area_of(nodeid.partition("::")[0])


@cache
def _area_of(file: str) -> str:
    return "engine" if "mark.engine" in (ROOT / file).read_text() else Path(file).parts[1]
