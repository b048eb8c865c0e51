"""Decisions as training data: the JSONL that `training` reads. Pure but for `rows` and `note`."""

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, Literal

import sqlalchemy as sa

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import AdjudicationRow, DecisionRow, ExportItem, ExportRow, ReviewItem
from service.ledger.store import Store
from service.review.queue import Case, case

LICENSE: Final = "private"  # traffic of the service's own users: not to be published
FINAL: Final = frozenset({"decided", "adjudicated"})
Vote = DecisionRow | AdjudicationRow
Side = Literal["input", "output"]
GENERAL: Final[Mapping[Side, str]] = {"input": "harm", "output": "response_harm"}
NOT_OF: Final[Mapping[Side, frozenset[str]]] = {  # categories that say nothing of a side
    "input": frozenset({"response_harm"}),
    "output": frozenset({"harm", "injection"}),
}
Keyed = Callable[[str, str], str]  # purpose, name -> its keyed hash


async def rows(store: Store) -> AsyncIterator[Json]:
    """One object a judged text, oldest decision first.

    Exchanges without text or with undecided texts give none; restricted ones never do.
    """
    async with store.read() as session:
        query = sa.select(DecisionRow.exchange_id).group_by(DecisionRow.exchange_id)
        ids = (await session.scalars(query.order_by(sa.func.min(DecisionRow.at)))).all()
    for exchange_id in ids:
        found = await case(store, exchange_id)
        if not found.restricted:
            for row in examples(found, store.vault.keyed_hash):
                yield row


async def note(store: Store, by: str, kind: str, made: Sequence[Json], data: bytes) -> str:
    """Writes down what left in a file, so that an erasure can say where texts are still. Returns the export's id."""
    export_id = "xpt_" + uuid.uuid4().hex
    row = {"id": export_id, "at": time.time(), "by": by, "kind": kind, "examples": len(made)}
    async with store.write() as connection:
        await connection.execute(sa.insert(ExportRow).values(**row, digest=hashlib.sha256(data).hexdigest()))
        if ids := sorted({id_ for example in made for id_ in _exchanges(example)}):
            items = [{"export_id": export_id, "exchange_id": id_} for id_ in ids]
            await connection.execute(sa.insert(ExportItem), items)
        await audit.append(connection, store.vault, by, "export", export_id, kind=kind, examples=len(made))
    return export_id


def _exchanges(example: Json) -> Sequence[str]:
    return example.get("exchanges") or (example.get("exchange_id") or example["group"],)


def examples(found: Case, keyed: Keyed) -> list[Json]:
    """The prompt, and each generated answer, with the labels of the adjudication, else of the reviewers' majority.

    `keyed` hides who reviewed, and makes a conversation's key of its first prompt.
    """
    prompts = [p["text"] for p in found.passages if p["kind"] == "prompt"]
    prompt = prompts[-1] if prompts else ""
    item, said = last_word(found)
    came = _origin(found, item, keyed, prompts[0] if prompts else "")
    made = [_example(found, said, "input", came, {"prompt": prompt})] if prompt else []
    answers = [(name, text) for name, text in found.generated.items() if name.endswith("/content") and text]
    if len(answers) == 1:  # a decision on the output does not say which of several answers it means
        made.append(_example(found, said, "output", came, {"prompt": prompt, "response": answers[0][1]}))
    return [
        row | {"id": f"{found.exchange.id}:{row['kind']}", "by": sorted(keyed("reviewer", name)[:16] for name in by)}
        for row, by in filter(None, made)
    ]


def last_word(found: Case) -> tuple[ReviewItem | None, Sequence[Vote]]:
    """What counts, and the item it was said on: the newest that is settled (an appeal corrects), else all decisions.

    What was answered on gold items is a reviewer's test and no label.
    """
    gold = {item.id for item in found.items if item.gold is not None}
    spoken = [d for d in found.in_force if d.item_id not in gold]
    for item in reversed(found.items):
        settled = [a for a in found.adjudications if a.item_id == item.id]
        said: Sequence[Vote] = settled[-1:] or [d for d in spoken if d.item_id == item.id]
        if said and item.state in FINAL and item.gold is None:
            return item, said
    asked = {d.item_id for d in spoken}
    return next((i for i in reversed(found.items) if i.id in asked), None), found.adjudications[-1:] or spoken


def _origin(found: Case, item: ReviewItem | None, keyed: Keyed, opening: str) -> Json:
    """Where a row comes from, and how it came to be reviewed: what datasets weigh, cap and split by."""
    exchange = found.exchange
    begun = f"{exchange.tenant}/{exchange.key_id}/{exchange.subject or ''}/{opening}"
    return {
        "source": "human",
        "policy_version": exchange.policy_version,
        "license": LICENSE,
        "group": keyed("conversation", begun)[:16] if opening else exchange.id,
        "exchange_id": exchange.id,
        "caller": exchange.key_id,
        "subject": exchange.subject,
        "at": exchange.asked_at,
        "item_id": item.id if item else None,
        "why": item.why if item else None,
        "state": item.state if item else None,
        "inclusion_probability": item.inclusion_probability if item else None,
    }


def _example(found: Case, said: Sequence[Vote], side: Side, came: Json, texts: Json) -> tuple[Json, set[str]] | None:
    """A row, and who stands behind it."""
    votes = [d for d in said if getattr(d, side) is not None]
    label, agreement = majority([getattr(d, side) for d in votes])
    if label is None:
        return None
    labels = _labels(found, side, label, [d for d in votes if getattr(d, side) == label])
    row = {"kind": "prompt" if side == "input" else "response", **texts, "labels": labels}
    row |= {"distribution": {category: _share(votes, side, category) for category in labels}}
    row |= {"reviewers": len(votes), "agreement": agreement, "weight": 1.0, "decisions": [d.id for d in votes]}
    return row | came, {d.reviewer if isinstance(d, DecisionRow) else d.adjudicator for d in votes}


def _share(votes: Sequence[Vote], side: Side, category: str) -> float:
    """Of the votes, those for the category; who is unsure is half for it."""
    said = Counter(getattr(v, side) for v in votes)
    named = sum(category in _named([v], side) for v in votes if getattr(v, side) == "harmful")
    return round((named + said["unsure"] / 2) / len(votes), 4)


def majority(votes: Sequence[str]) -> tuple[str | None, float]:
    """The label that more than half gave, and their share; None when there is none, or they are unsure."""
    if not votes:
        return None, 0.0
    label, count = Counter(votes).most_common(1)[0]
    return (label, count / len(votes)) if count * 2 > len(votes) and label != "unsure" else (None, 0.0)


def _labels(found: Case, side: Side, label: str, agreeing: Sequence[Vote]) -> dict[str, int]:
    """Harmful: the categories named, else the side's general one. Fine: 0 for that one and all that guards claimed."""
    if label == "ok":
        claimed = {v.category for v in found.verdicts if v.stage == side}
        return dict.fromkeys(sorted({GENERAL[side], *claimed}), 0)
    return dict.fromkeys(sorted(_named(agreeing, side)), 1)


def _named(votes: Sequence[Vote], side: Side) -> set[str]:
    named = {c for v in votes for c in v.categories if c not in NOT_OF[side]}
    return named or {GENERAL[side]}
