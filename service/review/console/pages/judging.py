"""What a reviewer does with an item: takes it, decides, skips, escalates, comments, takes back."""

import json
import time
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.gate.exchange import Json
from service.review.adjudication import adjudicate, comment, escalate
from service.review.blind import guard_visible
from service.review.cases import item as open_item
from service.review.claims import claim, heartbeat, release_claim, skip
from service.review.console.auth import visitor
from service.review.console.pages.item import show
from service.review.console.pages.shift import onward
from service.review.console.state import claim_of, decision_of, give_all_back
from service.review.console.view import render
from service.review.decisions import Decision, submit, undo
from service.review.parts import Part, parts
from service.review.reviewer import ReviewError


async def take(request: Request) -> Response:
    item_id = request.path_params["item_id"]
    await claim(request.app.state.console.store, item_id, visitor(request).reviewer)
    return RedirectResponse(f"/items/{item_id}?said=claimed", 303)


async def give_back(request: Request) -> Response:
    await release_claim(request.app.state.console.store, str((await request.form()).get("token", "")))
    return RedirectResponse("/?said=released", 303)


async def submit_decision(request: Request) -> Response:
    console, who = request.app.state.console, visitor(request).reviewer
    item_id, given = request.path_params["item_id"], await request.form()
    try:
        held = await claim_of(console.store, item_id, who)
        taken_at = held.taken_at if held else time.time()
        visible = guard_visible(console.store, item_id, who, console.settings.console_blind_share)
        said = await _decision(request, given, visible, time.time() - taken_at)
        decision_id = await submit(console.store, str(given.get("token", "")), said)
    except ReviewError as error:
        return await show(request, item_id, _filled(given), str(error))
    return RedirectResponse(await onward(request, "decided", decision_id), 303)


async def settle(request: Request) -> Response:
    store, who = request.app.state.console.store, visitor(request).reviewer
    item_id, given = request.path_params["item_id"], await request.form()
    try:
        said = await _decision(request, given, None, None)
        await adjudicate(store, item_id, who, said, str(given.get("cause", "")))
    except ReviewError as error:
        return await show(request, item_id, _filled(given), str(error))
    return RedirectResponse(f"/items/{item_id}?said=adjudicated", 303)


async def skip_item(request: Request) -> Response:
    given = await request.form()
    await skip(request.app.state.console.store, str(given.get("token", "")), str(given.get("reason", "")))
    return RedirectResponse(await onward(request, "skipped"), 303)


async def escalate_item(request: Request) -> Response:
    store, who, given = request.app.state.console.store, visitor(request).reviewer, await request.form()
    why = str(given.get("why", ""))
    await escalate(store, request.path_params["item_id"], who, why, urgent=bool(given.get("urgent")))
    return RedirectResponse(await onward(request, "escalated"), 303)


async def add_comment(request: Request) -> Response:
    store, who, given = request.app.state.console.store, visitor(request).reviewer, await request.form()
    item_id = request.path_params["item_id"]
    await comment(store, item_id, who, str(given.get("text", "")))
    return RedirectResponse(f"/items/{item_id}?said=commented", 303)


async def take_back(request: Request) -> Response:
    """Undo: the decision's item is theirs again, and no other."""
    store, who, given = request.app.state.console.store, visitor(request).reviewer, await request.form()
    decision_id = str(given.get("id", ""))
    if await decision_of(store, decision_id, who) is None:
        raise ReviewError("there is no such decision of yours")
    await give_all_back(store, who)
    held = await undo(store, decision_id, who)
    return RedirectResponse(f"/items/{held.item.id}?said=undone&again={decision_id}", 303)


async def beat(request: Request) -> Response:
    """Keeps a claim alive while its page is open."""
    ends = await heartbeat(request.app.state.console.store, str((await request.form()).get("token", "")))
    return render(request, "lease.html", ends=ends)


async def _decision(request: Request, given: FormData, visible: bool | None, lasted_s: float | None) -> Decision:
    """What the form says. Raises ReviewError."""
    categories = tuple(dict.fromkeys(str(c) for c in given.getlist("category")))
    severity, confidence = _number(given, "severity"), _number(given, "confidence")
    spans = [*_marked(given), *await _quoted(request, given, categories)]
    fields: Any = {name: str(given.get(name, "")) or None for name in ("input", "output", "action")}
    return Decision(
        visitor(request).reviewer.name,
        **fields,
        categories=categories,
        note=str(given.get("note", "")).strip(),
        severity=severity or None,
        confidence=None if confidence is None else confidence / 4,
        spans=tuple(spans),
        guard_visible=visible,
        duration_s=lasted_s,
    )


def _number(given: FormData, name: str) -> int | None:
    text = str(given.get(name, ""))
    if text and not text.isdigit():
        raise ReviewError(f"{name} is a number")
    return int(text) if text else None


def _marked(given: FormData) -> list[tuple[str, int, int, str]]:
    """What the script marked: `[[part, start, end, category], ...]`."""
    try:
        return [(str(p), int(a), int(b), str(c)) for p, a, b, c in json.loads(str(given.get("spans") or "[]"))]
    except (ValueError, TypeError):
        raise ReviewError("the marked words cannot be read; mark them again") from None


async def _quoted(request: Request, given: FormData, categories: tuple[str, ...]) -> list[tuple[str, int, int, str]]:
    """Words that were typed, found in the text: the way to mark without a mouse and without a script."""
    words = str(given.get("quote", "")).strip()
    if not words:
        return []
    if not categories:
        raise ReviewError("choose the category that the quoted words are of")
    found = await open_item(request.app.state.console.store, request.path_params["item_id"], visitor(request).reviewer)
    places = [(p, p.text.find(words)) for p in _judged_first(parts(found.case))]
    for part, at in places:
        if at >= 0:
            return [(part.name, at, at + len(words), categories[0])]
    raise ReviewError("the quoted words are nowhere in the text; copy them as they are written")


def _judged_first(found: list[Part]) -> list[Part]:
    return sorted(found, key=lambda p: not p.judged)


def _filled(given: FormData) -> Json:
    """The form as it was sent, to be shown again."""
    names = ("input", "output", "action", "note", "quote", "cause", "spans")
    filled: Json = {name: str(given.get(name, "")) for name in names}
    severity, confidence = str(given.get("severity", "")), str(given.get("confidence", ""))
    filled["severity"] = int(severity) if severity.isdigit() else 0
    filled["confidence"] = int(confidence) if confidence.isdigit() else ""
    return filled | {"categories": tuple(str(c) for c in given.getlist("category"))}
