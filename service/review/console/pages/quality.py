"""How well review goes, and the policies in force."""

from starlette.requests import Request
from starlette.responses import Response

from guards.policy import PolicyError, load_file
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
    try:
        policy, fault = load_file(request.app.state.console.settings.policy).base, ""
    except (PolicyError, OSError) as error:
        policy, fault = None, str(error)
    return render(request, "policies.html", title="Policies", policy=policy, fault=fault, taxonomy=CATEGORIES)
