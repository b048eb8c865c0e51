"""The policy file as it is understood now, and every file that was in force."""

import asyncio
from collections.abc import Sequence
from difflib import unified_diff
from itertools import zip_longest
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from guards.policy import DEFAULT_POLICY, PolicyError, load_file
from guards.taxonomy import CATEGORIES
from service.ledger.models import PolicyRow
from service.ledger.policies import noted
from service.review.console.view import render

SHOWN: Final = 50  # files that were in force


async def page(request: Request) -> Response:
    """The policy file is changed where it is kept, not here."""
    console = request.app.state.console
    path = console.settings.policy
    try:
        policy, fault = load_file(path).base, ""
    except (PolicyError, OSError) as error:
        policy, fault = None, str(error)
    changes = await asyncio.to_thread(_changes, path)
    found = {"policy": policy, "fault": fault, "taxonomy": CATEGORIES, "changes": changes, "file": path.name}
    was = _history(await noted(console.store, SHOWN + 1))[:SHOWN]
    return render(request, "policies.html", title="Policies", **found, was=was)


def _changes(path: Path) -> str:
    """How the file differs from the policy that ships, as a unified diff; empty: in nothing."""
    try:
        now, shipped = (p.read_text(errors="replace") for p in (path, DEFAULT_POLICY))
    except OSError:
        return ""
    return _difference(shipped, now, "as shipped", path.name)


def _history(files: Sequence[PolicyRow]) -> list[tuple[PolicyRow, str]]:
    """Each with what it changed of the one before; of the first that was noted, nothing."""
    return [
        (row, _difference(before.text, row.text, _name(before), _name(row)) if before else "")
        for row, before in zip_longest(files, files[1:])
    ]


def _name(row: PolicyRow) -> str:
    return f"{row.name}, version {row.version}"


def _difference(before: str, after: str, was: str, now: str) -> str:
    return "".join(unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), was, now, n=1))
