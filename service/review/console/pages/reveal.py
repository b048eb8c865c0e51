"""Showing what is covered, folded or redacted: always a POST, and always written down."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.review.console.auth import visitor
from service.review.console.exhibit import Exhibit, chunk, place
from service.review.console.pages.item import look
from service.review.console.view import render
from service.review.exposures import expose
from service.review.reviewer import ReviewError


async def reveal(request: Request) -> Response:
    """A chunk of a part: `reveal` keeps it open, `peek` shows it once, `personal_data` shows what was redacted."""
    item_id, given = request.path_params["item_id"], await request.form()
    action, name = str(given.get("action", "reveal")), str(given.get("part", ""))
    seen = await look(request, item_id)
    found = next((e for e in seen.exhibits if e.part.name == name), None)
    number = str(given.get("chunk", "0"))
    if found is None or not number.isdigit() or int(number) >= found.part.chunks:
        raise ReviewError("there is no such text; reload the page")
    await _expose(request, found, int(number), action, str(given.get("reason", ""))[:500])
    if not request.headers.get("hx-request"):
        return RedirectResponse(f"/items/{item_id}#{found.id}", 303)
    shown = chunk(found.part, int(number), action != "personal_data")
    if int(number) and action == "reveal":  # the next stretch of a long text: what is open stays as it is
        more = Exhibit(found.part, [shown], found.covered)
        return render(request, "more.html", item_id=item_id, exhibit=more, chunk=shown)
    if action == "personal_data":
        opened = [chunk(found.part, c.number, redacted=False) for c in found.chunks]
    else:
        opened = [shown, *found.chunks[1:]]
    changed = Exhibit(found.part, opened, found.covered)
    return render(request, "part.html", item_id=item_id, exhibit=changed, peeked=action == "peek")


async def _expose(request: Request, found: Exhibit, number: int, action: str, reason: str) -> None:
    """Personal data is shown in all that is open of the part; else it is one chunk."""
    store, who = request.app.state.console.store, visitor(request).reviewer
    item_id = request.path_params["item_id"]
    numbers = [c.number for c in found.chunks] if action == "personal_data" else [number]
    for n in numbers:
        chars = chunk(found.part, n).chars
        await expose(store, item_id, who, place(found.part.name, n), chars, action, None, reason)
