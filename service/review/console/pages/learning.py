"""What was learned from what, and which version stands where: read by those who answer for it, moved by operators."""

import json
from datetime import UTC, datetime
from typing import Any, Final, cast, get_args

import sqlalchemy as sa
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.learning.errors import LearningError
from service.learning.lineage import Version, datasets, model, models, runs
from service.learning.report import report
from service.learning.stages import To, move, rollback
from service.ledger.desk import ExportRow
from service.review.console.auth import OPERATES, visitor
from service.review.console.view import render
from service.review.export import note
from service.review.feeds import FEEDS, What
from service.review.reviewer import ReviewError, Role

SHOWN: Final = 50  # runs, exports


async def page(request: Request) -> Response:
    store = request.app.state.console.store
    newest = sa.select(ExportRow).order_by(ExportRow.at.desc()).limit(SHOWN)
    async with store.read() as session:
        exports = (await session.scalars(newest)).all()
    return render(
        request,
        "learning.html",
        title="Models",
        operates=_operates(request),
        models=await models(store),
        datasets=await datasets(store),
        runs=await runs(store, SHOWN),
        exports=exports,
        feeds=list(FEEDS),
    )


async def export(request: Request) -> Response:
    """A file of training data, written down like one of `sluicegate review export`."""
    store, what = request.app.state.console.store, str((await request.form()).get("what", ""))
    if what not in FEEDS:
        raise ReviewError(f"there is no such export; there are: {', '.join(FEEDS)}")
    made = [row async for row in FEEDS[cast(What, what)](store)]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made).encode()
    await note(store, visitor(request).user.login, what, made, data)
    name = f"{what}-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    return Response(
        data, headers={"content-disposition": f'attachment; filename="{name}"'}, media_type="application/x-ndjson"
    )


async def version(request: Request, fault: str = "", form: FormData | None = None) -> Response:
    store, at = request.app.state.console.store, request.path_params
    found = await model(store, at["name"], at["version"])
    learned = [d for d in await datasets(store) if d.digest in found.datasets]
    return render(
        request,
        "version.html",
        422 if fault else 200,
        title=found.id,
        version=found,
        datasets=learned,
        shadow=await report(store, found),
        fault=fault,
        form=form or {},
        operates=_operates(request),
        overrides=Role.ADMIN in visitor(request).user.roles,
        moves=_moves(found),
    )


async def stage(request: Request) -> Response:
    """Moves a version. The gates hold here as they do over HTTP; only an admin goes past them."""
    console, who, at = request.app.state.console, visitor(request).user, request.path_params
    given = await request.form()
    try:
        await move(
            console.store,
            at["name"],
            at["version"],
            _to(given),
            who.login,
            share=_share(given),
            keys=_keys(given),
            reason=_reason(given),
            override=bool(given.get("override")) and Role.ADMIN in who.roles,
            four_eyes=console.settings.four_eyes,
        )
    except LearningError as error:
        return await version(request, str(error), given)
    return RedirectResponse(f"/models/{at['name']}/{at['version']}?said=moved", 303)


async def back(request: Request) -> Response:
    """One step back for a name."""
    name = request.path_params["name"]
    reason = _reason(await request.form())
    await rollback(request.app.state.console.store, name, visitor(request).user.login, reason)
    return RedirectResponse("/models?said=rolled_back", 303)


def _operates(request: Request) -> bool:
    return bool(visitor(request).user.roles & OPERATES)


def _moves(found: Version) -> list[str]:
    """Where it may go from here; `move` has the last word."""
    if found.stage == "enforced":
        return []
    return [to for to in get_args(To) if to != found.stage and (found.kind, to) != ("adapter", "shadow")]


def _to(given: FormData) -> To:
    to: Any = str(given.get("to", ""))
    if to not in get_args(To):
        raise LearningError(f"choose where it is to stand: {', '.join(get_args(To))}")
    return cast(To, to)


def _share(given: FormData) -> float | None:
    """Of a canary, in per cent; none where it is for keys alone."""
    text = str(given.get("share", "")).strip()
    if given.get("to") != "canary" or (not text and _keys(given)):
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise LearningError("the share of a canary is 1 to 100 per cent")
    return int(text) / 100


def _keys(given: FormData) -> list[str]:
    """Whose exchanges a canary judges, all of them."""
    if given.get("to") != "canary":
        return []
    return list(dict.fromkeys(str(given.get("keys", "")).replace(",", " ").split()))


def _reason(given: FormData) -> str:
    reason = str(given.get("reason", "")).strip()[:500]
    if not reason:
        raise LearningError("say why; it is kept with the change")
    return reason
