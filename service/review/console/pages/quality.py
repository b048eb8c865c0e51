"""How well review goes, and the policies in force."""

import asyncio
from difflib import unified_diff
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from guards.policy import DEFAULT_POLICY, PolicyError, load_file
from guards.taxonomy import CATEGORIES
from service.review.console.auth import visitor
from service.review.console.view import render
from service.review.entries import counts
from service.review.quality import ALL, quality


async def page(request: Request) -> Response:
    found = await quality(request.app.state.console.store, draws=200)
    queues = await counts(request.app.state.console.store, visitor(request).reviewer)
    figures = sorted(found.by_category.get(ALL, {}).items())
    return render(request, "quality.html", title="Quality", found=found, figures=figures, queues=queues)


async def policies(request: Request) -> Response:
    """The policy file as it is understood now; it is changed where it is kept, not here."""
    path = request.app.state.console.settings.policy
    try:
        policy, fault = load_file(path).base, ""
    except (PolicyError, OSError) as error:
        policy, fault = None, str(error)
    changes = await asyncio.to_thread(_changes, path)
    found = {"policy": policy, "fault": fault, "taxonomy": CATEGORIES, "changes": changes, "file": path.name}
    return render(request, "policies.html", title="Policies", **found)


def _changes(path: Path) -> str:
    """How the file differs from the policy that ships, as a unified diff; empty: in nothing."""
    try:
        now, shipped = (p.read_text(errors="replace").splitlines(keepends=True) for p in (path, DEFAULT_POLICY))
    except OSError:
        return ""
    return "".join(unified_diff(shipped, now, "as shipped", path.name, n=1))
