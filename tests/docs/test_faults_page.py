"""docs/faults.md names the faults that are tried, and the tests that it names are there."""

import re
from pathlib import Path

from tests.faults import page
from tests.faults.conftest import TOLD

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/faults.md").read_text()
NOT_IN_THE_LIST = {"rolling restart of both gateways", "slow clients by the hundred"}


def test_every_fault_has_its_line():
    """The table has a line for each fault that tests/faults tries, what clients may see included, and no other."""
    table = PAGE.split("Proved elsewhere:")[0]
    lines = {name: sees for name, sees in re.findall(r"^\| ([^|]+) \| ([^|]+) \|", table, re.M) if "---" not in name}
    lines.pop("fault")
    assert lines.keys() - NOT_IN_THE_LIST == {f.name for f in TOLD}
    for fault in TOLD:
        codes = {code for code in fault.sees if code != "cut"}
        said = lines[fault.name]
        assert codes <= set(re.findall(r"`(\w+_unavailable)`", said)) or said.startswith("the same"), fault.name
        assert ("connection ends" in said) == ("cut" in fault.sees)
        assert said.startswith("nothing") == (not fault.sees)


def test_the_table_is_what_was_measured():
    """The figures on the page are those of the last run of all faults."""
    assert page.written(PAGE) == PAGE, "run python -m tests.faults.page"


def test_the_tests_named_are_there():
    """A test that the page points to exists."""
    for path in re.findall(r"`(tests/[\w/]+\.py)`", PAGE):
        assert (ROOT / path).is_file(), path
