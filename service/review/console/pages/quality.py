"""How well review goes."""

from starlette.requests import Request
from starlette.responses import Response

from service.review.console.auth import visitor
from service.review.console.view import render
from service.review.entries import counts
from service.review.quality import ALL, quality


async def page(request: Request) -> Response:
    found = await quality(request.app.state.console.store, draws=200)
    queues = await counts(request.app.state.console.store, visitor(request).reviewer)
    figures = sorted(found.by_category.get(ALL, {}).items())
    return render(request, "quality.html", title="Quality", found=found, figures=figures, queues=queues)
