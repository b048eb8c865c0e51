"""What every area may use."""

import pytest

pytest_plugins = ["tests.plugins.engine"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with the real engine run last: what needs no engine should fail first."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is not None)
