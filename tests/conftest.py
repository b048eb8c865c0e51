"""What every area may use, and which tests run beside which."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.plugins.engine"]
HERE = Path(__file__).parent
LONG = ("engine", "training")  # begun first where areas run side by side


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """An area's tests share what they set up, so they run one after the other; those with the real engine are one area.

    Alone, that area comes last: what needs no engine should fail first.
    """
    beside = hasattr(config, "workerinput")
    for item in items:
        area = "engine" if item.get_closest_marker("engine") else item.path.relative_to(HERE).parts[0]
        item.add_marker(pytest.mark.xdist_group(area))
    if beside:
        items.sort(key=lambda item: _area(item) not in LONG)
    else:
        items.sort(key=lambda item: item.get_closest_marker("engine") is not None)


def _area(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    assert mark
    return mark.args[0]
