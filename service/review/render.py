"""A case on a terminal. Text of strangers moves no cursor, changes no colour, and passes for no line of ours. Pure."""

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from service.ledger.desk import DecisionRow
from service.ledger.models import VerdictRow
from service.review.queue import Case, Item

WIDTH: Final = 78
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def harmless(text: str) -> str:
    """Text with every control, format, private or unassigned character written out (`\\x1b`); lines and tabs stay."""
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN and c not in "\n\t" else c for c in text)


def flat(text: str) -> str:
    """`harmless`, on one line."""
    return harmless(text).replace("\n", "\\n")


def line(item: Item) -> str:
    """One line of the queue."""
    mark = "decided" if item.decisions else "open"
    kinds = ",".join(item.categories) or "-"
    return flat(f"{moment(item.asked_at)}  {mark:7}  {item.outcome:18}  {kinds:24}  {item.tenant:12}  {item.id}")


def shown(found: Case) -> str:
    """The whole case: what was asked, what was judged, what was released and withheld, what was decided."""
    return "\n".join(_lines(found))


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _lines(found: Case) -> Iterator[str]:
    exchange = found.exchange
    yield flat(f"{exchange.id}  {exchange.outcome}")
    yield flat(
        f"{moment(exchange.asked_at)} UTC  tenant {exchange.tenant}  key {exchange.key_id}  model {exchange.model}"
        f"  policy {exchange.policy} v{exchange.policy_version} ({exchange.policy_digest})"
    )
    if exchange.erased_at is not None:
        yield f"texts erased {moment(exchange.erased_at)} UTC"
    elif not found.texts:
        yield f"no text was kept (store: {exchange.store})"
    for passage in found.passages:
        yield _rule(f"asked: {passage['kind']}")
        yield _quoted(passage["text"], "|")
    yield from _generated(found)
    yield _rule("verdicts")
    yield from map(_verdict, found.verdicts)
    if not found.generated:  # interrupted: what the guards read is all there is of the answer
        for event_id in dict.fromkeys(v.event_id for v in found.verdicts if v.stage == "output"):
            if judged := found.texts.get(event_id, {}).get("judged"):
                yield _quoted(judged, "judged |")
    if found.decisions:
        yield _rule("decisions")
        yield from (_decision(d, found) for d in found.decisions)


def _generated(found: Case) -> Iterator[str]:
    texts = found.generated
    for delivery in found.deliveries:
        name = f"{delivery.choice}/{delivery.channel}"
        yield _rule(
            f"generated: {name}  {delivery.generated_chars} characters, {delivery.released_chars} released, "
            f"{delivery.withheld_chars} withheld"
        )
        if text := texts.get(name):
            released, withheld = text[: delivery.released_chars], text[delivery.released_chars :]
            if released:
                yield _quoted(released, "released |")
            if withheld:
                yield _quoted(withheld, "withheld #")


def _verdict(verdict: VerdictRow) -> str:
    score = (
        f"failed: {verdict.error}" if verdict.score is None else f"{verdict.score:.3f} (from {verdict.threshold:.3f})"
    )
    where = f"{verdict.stage} {verdict.channel or ''}".strip()
    what = f"{verdict.action}{', shadow' if verdict.mode == 'shadow' else ''}{', blocked' if verdict.blocked else ''}"
    return flat(f"{where:20}  {verdict.category:14}  {score:24}  {what}  by {verdict.guard} {verdict.version}")


def _decision(decision: DecisionRow, found: Case) -> str:
    said = {"input": decision.input, "output": decision.output, "action": decision.action}
    words = "  ".join(f"{name} {value}" for name, value in said.items() if value)
    state = "" if decision in found.in_force else "  (superseded)"
    kinds = f"  categories {','.join(decision.categories)}" if decision.categories else ""
    head = flat(f"{moment(decision.at)}  {decision.reviewer}: {words}{kinds}{state}")
    note = found.texts.get(decision.id, {}).get("note")
    return f"{head}\n{_quoted(note, 'note |')}" if note else head


def _quoted(text: str, mark: str) -> str:
    return "\n".join(f"{mark} {part}" for part in harmless(text).split("\n"))


def _rule(title: str) -> str:
    return f"--- {flat(title)} ".ljust(WIDTH, "-")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
