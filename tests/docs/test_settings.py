"""docs/settings.md says what the code says."""

import json
import re
from pathlib import Path

from service.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/settings.md").read_text()


def test_defaults_are_those_of_the_code():
    """A default that the page gives as a value is the one in force."""
    rows = re.findall(r"^\| `SLUICEGATE_(\w+)` \| `([^`]+)` \|", PAGE, re.M)
    assert len(rows) > 25
    own = {name: Settings.model_fields[name.lower()].default for name, _ in rows}
    assert {name: shown for name, shown in rows if shown != written(own[name])} == {}


def written(value: object) -> str:
    """A default as one sets it in an environment."""
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value) if isinstance(value, bool | dict) else str(value)
