"""Decisions as training data: the JSONL that `training` reads. Pure but for `rows` and `note`."""

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal

import sqlalchemy as sa

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import AdjudicationRow, DecisionRow, ExportItem, ExportRow
from service.ledger.store import Store
from service.review.queue import Case, case

LICENSE: Final = "private"  # traffic of the service's own users: not to be published
RESPONSE_ONLY: Final = frozenset({"response_harm"})


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
            for row in examples(found):
                yield row


async def note(store: Store, by: str, kind: str, made: Sequence[Json], data: bytes) -> str:
    """Writes down what left in a file, so that an erasure can say where texts are still. Returns the export's id."""
    export_id = "xpt_" + uuid.uuid4().hex
    row = {"id": export_id, "at": time.time(), "by": by, "kind": kind, "examples": len(made)}
    async with store.write() as connection:
        await connection.execute(sa.insert(ExportRow).values(**row, digest=hashlib.sha256(data).hexdigest()))
        if ids := sorted({id_ for example in made for id_ in example.get("exchanges", (example["group"],))}):
            items = [{"export_id": export_id, "exchange_id": id_} for id_ in ids]
            await connection.execute(sa.insert(ExportItem), items)
        await audit.append(connection, store.vault, by, "export", export_id, kind=kind, examples=len(made))
    return export_id


def examples(found: Case) -> list[Json]:
    """The prompt, and each generated answer, with the labels of the adjudication, else of the reviewers' majority."""
    prompt = next((p["text"] for p in reversed(found.passages) if p["kind"] == "prompt"), "")
    made = [_example(found, "input", "prompt", {"prompt": prompt})] if prompt else []
    answers = [(name, text) for name, text in found.generated.items() if name.endswith("/content") and text]
    if len(answers) == 1:  # a decision on the output does not say which of several answers it means
        made.append(_example(found, "output", "response", {"prompt": prompt, "response": answers[0][1]}))
    return [row for row in made if row is not None]


def _example(found: Case, side: Literal["input", "output"], kind: str, texts: Json) -> Json | None:
    said: Sequence[DecisionRow | AdjudicationRow] = found.adjudications[-1:] or found.in_force
    votes = [d for d in said if getattr(d, side) is not None]
    label, agreement = majority([getattr(d, side) for d in votes])
    if label is None:
        return None
    exchange = found.exchange
    return {
        "id": f"{exchange.id}:{kind}",
        "kind": kind,
        **texts,
        "labels": _labels(found, side, label, [d for d in votes if getattr(d, side) == label]),
        "source": "human",
        "reviewers": len(votes),
        "agreement": agreement,
        "weight": 1.0,
        "policy_version": exchange.policy_version,
        "license": LICENSE,
        "group": exchange.id,
    }


def majority(votes: Sequence[str]) -> tuple[str | None, float]:
    """The label that more than half gave, and their share; None when there is none, or they are unsure."""
    if not votes:
        return None, 0.0
    label, count = Counter(votes).most_common(1)[0]
    return (label, count / len(votes)) if count * 2 > len(votes) and label != "unsure" else (None, 0.0)


def _labels(found: Case, side: str, label: str, agreeing: Sequence[DecisionRow | AdjudicationRow]) -> dict[str, int]:
    """Harmful: the categories named, else the side's general one. Fine: 0 for that one and all that guards claimed."""
    general = "harm" if side == "input" else "response_harm"
    if label == "ok":
        claimed = {v.category for v in found.verdicts if v.stage == side}
        return dict.fromkeys(sorted({general, *claimed}), 0)
    named = {c for d in agreeing for c in d.categories if side == "output" or c not in RESPONSE_ONLY}
    return dict.fromkeys(sorted(named or {general}), 1)
