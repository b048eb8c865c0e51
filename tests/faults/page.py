"""Writes what a run measured into docs/faults.md: `python -m tests.faults.page`."""

import json
from pathlib import Path

from bench.report import RESULTS

PAGE = Path(__file__).parents[2] / "docs/faults.md"
BEGIN, END = "<!-- measured: faults.json -->\n", "<!-- end of measured -->\n"
WELL = {"answered", "refused"}


def table() -> str:
    """A line for each fault of bench/results/faults.json; nothing where there is no such file."""
    file = RESULTS / "faults.json"
    if not file.exists():
        return ""
    named = ["fault", "well, failed while it lasted", "longest request", "normal after", "flagged: seen, kept"]
    lines = [f"| {' | '.join(named)} |", "|---|---|---|---|---|"]
    lines += [_line(name, told) for name, told in json.loads(file.read_text())["faults"].items()]
    return "\n".join(lines) + "\n"


def _line(name: str, told: dict) -> str:
    saw = told["client_saw"]
    well = sum(count for outcome, count in saw.items() if outcome in WELL)
    failed = ", ".join(f"{count} `{outcome}`" for outcome, count in saw.items() if outcome not in WELL) or "none"
    normal = f"{told['normal_after_s']} s" if "normal_after_s" in told else ""
    flagged = f"{told['flagged_seen']}, {told['flagged_kept']}" if "flagged_seen" in told else ""
    return f"| {name} | {well}, {failed} | {told['longest_request_s']} s | {normal} | {flagged} |"


def written(page: str) -> str:
    """The page with the table of today in its place."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
