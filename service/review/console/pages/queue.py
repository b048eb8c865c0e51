"""What waits, page by page, and what is found by its marks. No text."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from guards.taxonomy import CATEGORIES
from service.ledger.desk import STATES, WHYS
from service.review.console.auth import visitor
from service.review.console.view import render
from service.review.entries import counts, list_items, search
from service.review.reviewer import ReviewError


async def page(request: Request) -> Response:
    store, reviewer, asked = request.app.state.console.store, visitor(request).reviewer, request.query_params
    queues = await counts(store, reviewer)
    chosen = {
        "queue": asked.get("queue") or "default",
        "state": asked.get("state") or "open",
        "category": asked.get("category", ""),
        "why": asked.get("why", ""),
    }
    wanted: dict[str, Any] = {name: value or None for name, value in chosen.items()}
    found = await list_items(store, reviewer, after=asked.get("after"), **wanted)
    return render(
        request,
        "queue.html",
        title="Queue",
        queues=queues,
        chosen=chosen,
        found=found,
        states=STATES,
        whys=[w for w in WHYS if w != "gold"],
        categories=list(CATEGORIES),
        more=urlencode({**chosen, "after": found.after}) if found.after else "",
    )


async def found(request: Request) -> Response:
    store, asked = request.app.state.console.store, request.query_params
    names = ("text", "tenant", "category", "outcome", "state", "since", "until")
    chosen = {name: asked.get(name, "").strip()[:200] for name in names}
    wanted: dict[str, Any] = {name: chosen[name] or None for name in names[1:5]}
    wanted |= {name: _day(chosen[name]) for name in names[5:]}
    result = await search(store, chosen["text"], after=asked.get("after"), **wanted)
    return render(
        request,
        "search.html",
        title="Search",
        chosen=chosen,
        asked=any(chosen.values()),
        found=result,
        states=STATES,
        categories=list(CATEGORIES),
        more=urlencode({**chosen, "after": result.after}) if result.after else "",
    )


def _day(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() if text else None
    except ValueError:
        raise ReviewError(f"{text!r} is no date; write it like 2026-11-30") from None
