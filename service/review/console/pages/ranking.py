"""Which answer is better: one task after the other, candidates without their models in the order that was drawn."""

from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.gate.exchange import Json
from service.review.console.auth import visitor
from service.review.console.state import taking_back
from service.review.console.view import render
from service.review.parts import CHUNK
from service.review.pieces import Piece, pieces
from service.review.rankings import (
    QUALITIES,
    Ranking,
    Task,
    next_task,
    rank,
    ranking_of,
    read_task,
    take_back,
    to_rank,
)
from service.review.reviewer import ReviewError

LETTERS = "ABCD"


async def page(request: Request) -> Response:
    """The next task; `after`: one that is left to others, then the one behind it; `again`: a ranking taken back."""
    store, who, asked = request.app.state.console.store, visitor(request).reviewer, request.query_params
    if (found := await ranking_of(store, asked.get("again", ""), who)) and found[0].withdrawn:
        return await _shown(request, await read_task(store, found[0].task_id), _form(found[1]))
    after = asked.get("after", "")[:64]
    return await _shown(request, await next_task(store, who, after), {}, left_some=bool(after))


async def submit(request: Request) -> Response:
    store, who, given = request.app.state.console.store, visitor(request).reviewer, await request.form()
    task = await read_task(store, request.path_params["task_id"])
    try:
        ranking_id = await rank(store, task.id, who, _said(task, given))
    except ReviewError as error:
        return await _shown(request, task, {name: str(value) for name, value in given.items()}, str(error))
    return RedirectResponse(f"/rankings?said=ranked&ranked={ranking_id}", 303)


async def undo(request: Request) -> Response:
    """The task is theirs to rank again, the form as they filled it in."""
    ranking_id = str((await request.form()).get("id", ""))
    await take_back(request.app.state.console.store, ranking_id, visitor(request).reviewer)
    return RedirectResponse(f"/rankings?said=unranked&again={ranking_id}", 303)


async def _shown(request: Request, task: Task | None, form: Json, fault: str = "", left_some: bool = False) -> Response:
    store, who = request.app.state.console.store, visitor(request).reviewer
    ranked = await ranking_of(store, request.query_params.get("ranked", ""), who)
    return render(
        request,
        "rankings.html",
        422 if fault else 200,
        title="Rankings",
        scope="ranking",
        task=task,
        prompt=_stretches(task.prompt) if task else (),
        candidates=[
            (letter, id_, _stretches(text)) for letter, (id_, text) in zip(LETTERS, task.answers.items(), strict=False)
        ]
        if task
        else (),
        qualities=QUALITIES,
        form=form,
        fault=fault,
        waiting=await to_rank(store, who),
        left_some=left_some,
        undo=taking_back("/rankings/undo", ranked[0]) if ranked else None,
    )


def _stretches(text: str) -> list[tuple[int, list[Piece]]]:
    """Start and pieces of each stretch of a text."""
    return [(start, pieces(text, start, start + CHUNK)) for start in range(0, max(len(text), 1), CHUNK)]


def _said(task: Task, given: FormData) -> Ranking:
    """What the form says. Raises ReviewError."""
    scores: dict[str, dict[str, int]] = {}
    for candidate in task.answers:
        own = {q: n for q in QUALITIES if (n := _number(given.get(f"score/{candidate}/{q}"))) is not None}
        if own:
            scores[candidate] = own
    places = {c: n for c in task.answers if (n := _number(given.get(f"place/{c}"))) is not None}
    return Ranking(places, scores, bool(given.get("all_bad")), str(given.get("preferred", "")).strip())


def _form(said: Ranking) -> Json:
    """A ranking as the form's fields."""
    places = {f"place/{candidate}": str(place) for candidate, place in said.places.items()}
    scores = {f"score/{c}/{quality}": str(n) for c, given in said.scores.items() for quality, n in given.items()}
    return places | scores | {"all_bad": "1" if said.all_bad else "", "preferred": said.preferred}


def _number(value: Any) -> int | None:
    if not value:
        return None
    if not str(value).isdecimal():
        raise ReviewError("places and scores are numbers")
    return int(value)
