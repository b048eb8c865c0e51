"""Where a shift begins, pauses and goes on."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.review.console.auth import DECIDES, visitor
from service.review.console.care import day
from service.review.console.state import give_all_back, next_of, undoable
from service.review.console.view import render
from service.review.entries import counts
from service.review.rankings import to_rank


async def page(request: Request) -> Response:
    console, reviewer = request.app.state.console, visitor(request).reviewer
    after = request.query_params.get("after", "")
    decides = bool(reviewer.roles & DECIDES)
    return render(
        request,
        "shift.html",
        title="My shift",
        queues=await counts(console.store, reviewer),
        day=await day(console.store, reviewer, console.settings.console_daily_chars),
        decides=decides,
        ranks=await to_rank(console.store, reviewer) if decides else 0,
        undo=await undoable(console.store, after, reviewer),
    )


async def go_on(request: Request) -> Response:
    """To the next item."""
    return RedirectResponse(await onward(request, ""), 303)


async def onward(request: Request, said: str, after: str = "") -> str:
    """Where to go once an item is done: to the next one, claimed; else to the shift's page."""
    found = await next_of(request.app.state.console.store, visitor(request).reviewer)
    query = urlencode({"said": said or ("" if found else "nothing"), "after": after})
    path = f"/items/{found.item.id}" if found else "/"
    return f"{path}?{query}"


async def pause(request: Request) -> Response:
    await give_all_back(request.app.state.console.store, visitor(request).reviewer)
    return RedirectResponse("/?said=break", 303)


async def keys(request: Request) -> Response:
    return render(request, "keys.html", title="Keys")
