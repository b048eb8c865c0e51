"""Templates, and how values look on a page. Autoescape is on; no template may switch it off."""

import time
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from service.review.console.auth import ACCESS, mark
from service.review.console.keyboard import KEYS
from service.review.pieces import pieces

SAID: Final = {
    "decided": "Decided.",
    "undone": "Taken back. The item is yours again.",
    "skipped": "Skipped. It will not come to you again, and it counts against nobody.",
    "escalated": "Escalated. A lead takes it from here.",
    "released": "Given back.",
    "commented": "Comment kept.",
    "adjudicated": "Settled.",
    "nothing": "Nothing waits for you right now.",
    "break": "Your items are given back. Take the time you need; nobody counts it.",
    "saved": "Saved.",
    "claimed": "The item is yours.",
    "moved": "Moved. Gateways take it within seconds.",
    "rolled_back": "Rolled back. Gateways take it within seconds.",
    "ranked": "Your ranking is kept.",
    "unranked": "Taken back. The answers are yours to rank again.",
    "elsewhere": "Somebody else took this item.",
}
_NAVIGATION: Final = (
    ("/", "My shift"),
    ("/queue", "Queue"),
    ("/search", "Search"),
    ("/voices", "Appeals"),
    ("/rankings", "Rankings"),
    ("/quality", "Quality"),
    ("/models", "Models"),
    ("/policies", "Policies"),
    ("/audit", "Audit"),
    ("/users", "Users"),
)


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 172_800), ("h", 7200), ("min", 120)):
        if seconds >= size:
            return f"{seconds / {'d': 86_400, 'h': 3600, 'min': 60}[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"


def ago(at: float) -> str:
    return duration(max(0.0, time.time() - at))


def until(at: float) -> str:
    left = at - time.time()
    return f"in {duration(left)}" if left >= 0 else f"overdue by {duration(-left)}"


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def figure(value: object) -> str:
    """A number of somebody else's report; what is none is none."""
    return f"{value:.3g}" if isinstance(value, int | float) else "–"


def words(name: str | None) -> str:
    return (name or "").replace("_", " ")


def _environment() -> Environment:
    loaded = Environment(
        loader=PackageLoader("service.review.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loaded.globals |= {"pieces": pieces, "KEYS": KEYS, "now": time.time}
    loaded.filters |= {
        "ago": ago,
        "until": until,
        "moment": moment,
        "words": words,
        "figure": figure,
        "duration": duration,
    }
    return loaded


_ENVIRONMENT: Final = _environment()


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a fragment of one."""
    visitor = getattr(request.state, "visitor", None)
    token = visitor.token if visitor else getattr(request.state, "token", "")
    shared = {
        "visitor": visitor,
        "csrf": mark(request, token) if token else "",
        "navigation": _links(request, visitor),
        "said": SAID.get(request.query_params.get("said", "")),
        "undo": None,
        "scope": "item",
        "title": "",
        "path": request.url.path,
    }
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(shared | values), status)


def _links(request: Request, visitor: Any) -> list[tuple[str, str, bool]]:
    """Path, name and whether it is open now, of the pages that the visitor may open."""
    if visitor is None:
        return []
    here = request.url.path
    return [(p, name, p == here) for p, name in _NAVIGATION if visitor.user.roles & (ACCESS[p] or frozenset())]
