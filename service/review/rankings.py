"""Which of several answers is better: anonymous candidates in a random order, ranked by people, as preference pairs.

Candidates come through the gate: whatever it flagged is none.
"""

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from random import SystemRandom
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import CandidateRow, RankingRow
from service.ledger.models import Exchange
from service.ledger.store import Store
from service.review import outbox
from service.review.decisions import UNDO_S
from service.review.export import LICENSE
from service.review.feedback import kept_apart, scrubbed
from service.review.reviewer import Reviewer, ReviewError, Unknown

QUALITIES: Final = ("accuracy", "relevance", "coherence", "safety")


@dataclass(frozen=True, slots=True)
class Drawn:
    """An answer that came through the gate."""

    exchange_id: str
    model: str
    answer: str


@dataclass(frozen=True, slots=True)
class Task:
    """`answers`: candidate -> text, in the order they are to be shown. Whose answers they are is not told."""

    id: str
    prompt: str
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ranking:
    """`places`: every candidate's, 1 is best, ties share one. `scores`: candidate -> quality -> 1 to 5, where given.

    `preferred`: an answer better than all of them, an edited one say.
    """

    places: Mapping[str, int]
    scores: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    all_bad: bool = False
    preferred: str = ""


async def ask(store: Store, prompt: str, drawn: Sequence[Drawn], by: str) -> str:
    """Puts 2 to 4 different answers up for ranking, shuffled; returns the task's id. Raises ReviewError."""
    if not 2 <= len(drawn) <= 4 or len({d.answer for d in drawn}) != len(drawn):
        raise ReviewError("a ranking is between 2 to 4 different answers")
    task_id, now = "task_" + uuid.uuid4().hex, time.time()
    async with store.write() as connection:
        ids = {d.exchange_id for d in drawn}
        clean = sa.select(Exchange.id).where(Exchange.id.in_(ids), ~Exchange.flagged, Exchange.erased_at.is_(None))
        clean = clean.where(Exchange.outcome == "completed")
        if missing := sorted(ids - set(await connection.scalars(clean))):
            raise ReviewError(f"no clean exchange on record: {', '.join(missing)}; such an answer is no candidate")
        for position, one in enumerate(SystemRandom().sample(list(drawn), len(drawn))):
            row = {"id": "cand_" + uuid.uuid4().hex, "task_id": task_id, "position": position, "at": now}
            row |= {"exchange_id": one.exchange_id, "model": one.model}
            await connection.execute(sa.insert(CandidateRow).values(**row))
            texts = {"prompt": scrubbed(prompt), "answer": scrubbed(one.answer)}
            await store.add_text(connection, one.exchange_id, str(row["id"]), texts)
        await audit.append(connection, store.vault, by, "ranking_ask", task_id, candidates=len(drawn))
    return task_id


async def next_task(store: Store, reviewer: Reviewer, after: str = "") -> Task | None:
    """The oldest task that they have not ranked and whose texts are all there. None: there is none.

    `after`: a task that they leave to others; only later ones then.
    """
    query = _unranked(reviewer, sa.select(CandidateRow.task_id))
    if after:
        begun = sa.select(sa.func.min(CandidateRow.at)).where(CandidateRow.task_id == after).scalar_subquery()
        key = sa.tuple_(CandidateRow.at, CandidateRow.task_id)
        query = query.where(key > sa.tuple_(begun, sa.literal(after)))
    async with store.read() as session:
        task_id = await session.scalar(query.order_by(CandidateRow.at, CandidateRow.task_id).limit(1))
    if task_id is None:
        return None
    await audit.record(store, reviewer.name, "read", task_id)
    return await read_task(store, task_id)


async def to_rank(store: Store, reviewer: Reviewer) -> int:
    """How many tasks wait for them."""
    query = _unranked(reviewer, sa.select(sa.func.count(sa.distinct(CandidateRow.task_id))))
    async with store.read() as session:
        return await session.scalar(query) or 0


def _unranked(reviewer: Reviewer, query: Any) -> Any:
    """Of candidates: those of tasks that they have not ranked, and of which nothing is erased or restricted."""
    theirs = RankingRow.reviewer == reviewer.name, ~RankingRow.withdrawn
    mine = sa.exists().where(RankingRow.task_id == CandidateRow.task_id, *theirs)
    gone = sa.exists().where(Exchange.id == CandidateRow.exchange_id, Exchange.erased_at.is_not(None))
    apart = sa.select(CandidateRow.task_id).where(sa.or_(gone, kept_apart(CandidateRow.exchange_id)))
    return query.where(~mine, CandidateRow.task_id.not_in(apart))


async def rank(store: Store, task_id: str, reviewer: Reviewer, said: Ranking) -> str:
    """Records a ranking; a reviewer ranks a task once. Returns its id. Raises ReviewError."""
    task = await read_task(store, task_id)
    check(task, said)
    ranking_id, now = "rank_" + uuid.uuid4().hex, time.time()
    row: Json = {"id": ranking_id, "task_id": task_id, "reviewer": reviewer.name, "at": now}
    row |= {"places": dict(said.places), "all_bad": said.all_bad}
    row["scores"] = {candidate: dict(given) for candidate, given in said.scores.items()}
    try:
        async with store.write() as connection:
            await connection.execute(sa.insert(RankingRow).values(**row))
            if said.preferred:
                first = sa.select(CandidateRow.exchange_id).where(CandidateRow.task_id == task_id).limit(1)
                exchange_id = str(await connection.scalar(first.order_by(CandidateRow.position)))
                await store.add_text(connection, exchange_id, ranking_id, {"preferred": scrubbed(said.preferred)})
            await outbox.put(connection, "ranked", ranking_id, now + UNDO_S, task_id=task_id)
            await audit.append(connection, store.vault, reviewer.name, "rank", task_id, ranking_id=ranking_id)
    except IntegrityError:
        raise ReviewError("you ranked this already; take the next one") from None
    return ranking_id


async def take_back(store: Store, ranking_id: str, reviewer: Reviewer, now: float | None = None) -> None:
    """Withdraws a ranking within `UNDO_S`: its task waits for them again. Raises ReviewError when it is too late."""
    now = time.time() if now is None else now
    async with store.write() as connection:
        mine = RankingRow.id == ranking_id, RankingRow.reviewer == reviewer.name, ~RankingRow.withdrawn
        found = (await connection.execute(sa.select(RankingRow.__table__).where(*mine).with_for_update())).first()
        if found is None:
            raise ReviewError("there is no such ranking of yours")
        if now - found.at > UNDO_S:
            raise ReviewError("it is too late to take this back")
        await connection.execute(sa.update(RankingRow).where(RankingRow.id == ranking_id).values(withdrawn=True))
        await outbox.cancel(connection, ranking_id)
        await audit.append(connection, store.vault, reviewer.name, "unrank", found.task_id, ranking_id=ranking_id)


async def ranking_of(store: Store, ranking_id: str, reviewer: Reviewer) -> tuple[RankingRow, Ranking] | None:
    """A ranking of theirs, withdrawn or not; None when there is none."""
    mine = RankingRow.id == ranking_id, RankingRow.reviewer == reviewer.name
    first = sa.select(CandidateRow.exchange_id).where(CandidateRow.task_id == RankingRow.task_id)
    first = first.order_by(CandidateRow.position).limit(1)
    async with store.read() as session:
        found = (await session.execute(sa.select(RankingRow, first.scalar_subquery()).where(*mine))).first()
    if found is None:
        return None
    row, exchange_id = found
    return row, _said(row, await store.texts(exchange_id))


def check(task: Task, said: Ranking) -> None:
    """Raises ReviewError when not every candidate has a place, or something is unknown."""
    if said.places.keys() != task.answers.keys():
        raise ReviewError(f"every candidate has a place: {', '.join(task.answers)}")
    if not all(1 <= place <= len(task.answers) for place in said.places.values()):
        raise ReviewError(f"places are 1 (best) to {len(task.answers)}; ties share one")
    for candidate, given in said.scores.items():
        if candidate not in task.answers or not given.keys() <= set(QUALITIES):
            raise ReviewError(f"scores are of candidates of this task, for: {', '.join(QUALITIES)}")
        if not all(1 <= score <= 5 for score in given.values()):
            raise ReviewError("scores are 1 to 5")


def preferences(task: Task, said: Sequence[Ranking]) -> list[Json]:
    """Pairs in TRL's conversational form: what most reviewers place higher against what they place lower.

    Ties and draws give none; who calls all of them bad prefers none of them; an edited answer is preferred to each.
    """
    wins = Counter[tuple[str, str]]()
    for one in (one for one in said if not one.all_bad):
        wins.update((a, b) for a, b in permutations(one.places, 2) if one.places[a] < one.places[b])
    pairs = [
        _pair(task, task.answers[a], task.answers[b], wins[a, b] / (wins[a, b] + wins[b, a]))
        for a, b in permutations(task.answers, 2)
        if wins[a, b] > wins[b, a]
    ]
    edited = [one.preferred for one in said if one.preferred]
    return pairs + [
        _pair(task, text, other, 1.0) for text in edited for other in task.answers.values() if text != other
    ]


async def pairs(store: Store) -> AsyncIterator[Json]:
    """Of all rankings whose texts are all there; `exchanges` are those they came from. None of what is restricted."""
    async for task, exchange_ids, said in _ranked(store):
        for number, pair in enumerate(preferences(task, said)):
            yield {"id": f"{task.id}:{number}", **pair, "group": exchange_ids[0], "exchanges": exchange_ids}


async def preferred(store: Store) -> AsyncIterator[Json]:
    """Answers that reviewers wrote because they are better than every candidate, as conversations to learn from."""
    async for task, exchange_ids, said in _ranked(store):
        edited = Counter(one.preferred for one in said if one.preferred)
        for number, (text, reviewers) in enumerate(edited.items()):
            turns = (("user", task.prompt), ("assistant", text))
            row: Json = {"id": f"{task.id}:preferred:{number}", "kind": "preferred"}
            row |= {"messages": [{"role": role, "content": content} for role, content in turns]}
            row |= {"source": "human", "reviewers": reviewers, "weight": 1.0, "license": LICENSE}
            yield row | {"group": exchange_ids[0], "exchanges": exchange_ids}


async def _ranked(store: Store) -> AsyncIterator[tuple[Task, list[str], list[Ranking]]]:
    """Tasks with the exchanges of their candidates and what reviewers said; what was erased or is restricted: never."""
    async with store.read() as session:
        standing = sa.select(RankingRow).where(~RankingRow.withdrawn).order_by(RankingRow.at)
        ranked = (await session.scalars(standing)).all()
        candidates = (await session.scalars(sa.select(CandidateRow).order_by(CandidateRow.position))).all()
        apart = sa.select(CandidateRow.task_id).where(kept_apart(CandidateRow.exchange_id))
        hidden = set(await session.scalars(apart))
    of_task: dict[str, list[RankingRow]] = defaultdict(list)
    for row in ranked:
        of_task[row.task_id].append(row)
    sources: dict[str, list[str]] = defaultdict(list)
    for candidate in candidates:
        sources[candidate.task_id].append(candidate.exchange_id)
    for task_id, rows in of_task.items():
        if task_id in hidden:
            continue
        try:
            task = await read_task(store, task_id)
        except Unknown:
            continue
        texts = await store.texts(sources[task_id][0])
        yield task, sources[task_id], [_said(row, texts) for row in rows]


async def read_task(store: Store, task_id: str) -> Task:
    """Raises Unknown when there is none, a text of it was erased, or one is restricted."""
    async with store.read() as session:
        query = sa.select(CandidateRow).where(CandidateRow.task_id == task_id).order_by(CandidateRow.position)
        rows = (await session.scalars(query)).all()
        apart = await session.scalar(query.where(kept_apart(CandidateRow.exchange_id)).limit(1))
    found: dict[str, Any] = {}
    for row in rows:
        found[row.id] = (await store.texts(row.exchange_id)).get(row.id)
    if not found or apart is not None or None in found.values():
        raise Unknown(f"there is no task {task_id!r}, or its texts were erased")
    return Task(task_id, next(iter(found.values()))["prompt"], {id_: text["answer"] for id_, text in found.items()})


def _said(row: RankingRow, texts: Mapping[str, Any]) -> Ranking:
    """`texts`: those of the exchange of the task's first candidate, where an edited answer is kept."""
    return Ranking(row.places, row.scores, row.all_bad, texts.get(row.id, {}).get("preferred", ""))


def _pair(task: Task, chosen: str, rejected: str, agreement: float) -> Json:
    return {
        "prompt": [{"role": "user", "content": task.prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "agreement": agreement,
        "source": "human",
        "license": LICENSE,
    }
