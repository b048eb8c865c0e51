"""What clients said, and what comes again and again."""

from starlette.requests import Request
from starlette.responses import Response

from service.review.appeals import appeals
from service.review.console.auth import visitor
from service.review.console.view import render
from service.review.feedback import reports
from service.review.similar import clusters


async def page(request: Request) -> Response:
    store, who = request.app.state.console.store, visitor(request).reviewer
    return render(
        request,
        "voices.html",
        title="Appeals and reports",
        appeals=await appeals(store, who),
        reports=await reports(store, who),
        groups=await clusters(store),
    )
