"""The figures of a replay: flips, counts and precision with intervals; for a terminal and as HTML. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from guards.evaluation.metrics import Interval, wilson
from guards.evaluation.page import Cells, columns, heading, interval, note, page, table
from guards.policy import Policy
from guards.verdict import Stage
from service.rehearsal.replay import STAGES, Replayed

Figures = dict[str, Any]
CAUTIONS: Final = (
    "Stored are the highest scores of each exchange; an answer that was stopped was not judged beyond that point, and "
    "the answer to a refused prompt not at all: what the candidate lets through may still be refused later.",
    "Labels are those of decided exchanges, most of them flagged ones: recall is among these, not among all traffic.",
)
SHOWN: Final = 20


def figures(found: Sequence[Replayed], policy: Policy) -> Figures:
    """Plain JSON. Shares are of the exchanges that could be replayed, with Wilson's intervals."""
    known = [r for r in found if not r.unknown]
    flipped = [r for r in known if r.states[0] != r.states[1]]
    moves = Counter(r.states for r in flipped)
    return {
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
        "exchanges": len(found),
        "replayed": len(known),
        "rejudged": sum(r.rejudged for r in known),
        "left_out": dict(Counter(r.unknown for r in found if r.unknown)),
        "flipped": _share(len(flipped), len(known)),
        "transitions": [{"before": b, "after": a} | _share(n, len(known)) for (b, a), n in moves.most_common()],
        "categories": [row for stage in STAGES for row in _categories(known, stage)],
        "labels": [row for stage in STAGES for row in _labelled(known, stage)],
        "flips": [{"id": r.id, "before": r.states[0], "after": r.states[1], "why": _why(r)} for r in flipped],
        "cautions": list(CAUTIONS),
    }


def _share(count: int, of: int) -> Figures:
    return {"exchanges": count} | ({"share": wilson(count, of).document()} if of else {})


def _categories(known: Sequence[Replayed], stage: Stage) -> Iterable[Figures]:
    """For each category: exchanges where it was found before, would be now, and which are new or gone."""
    here = [r for r in known if stage in r.after]
    names = sorted({c for r in here for side in (r.before, r.after) for c in side[stage].found})
    for name in names:
        pairs = [(r.before[stage].found.get(name), r.after[stage].found.get(name)) for r in here]
        yield {
            "stage": stage,
            "category": name,
            "before": sum(b is not None for b, _ in pairs),
            "after": sum(a is not None for _, a in pairs),
            "gained": sum(b is None and a is not None for b, a in pairs),
            "lost": sum(b is not None and a is None for b, a in pairs),
            "other_action": sum(b is not None and a is not None and a != b for b, a in pairs),
        }


def _labelled(known: Sequence[Replayed], stage: Stage) -> Iterable[Figures]:
    """Against what people decided: precision and recall of what was blocked, and of all that was found."""
    labelled = [r for r in known if stage in r.after and stage in r.labels]
    for what, blocking in (("blocked", True), ("flagged or more", False)):
        if not labelled:
            return
        harmful = [r.labels[stage] == "harmful" for r in labelled]
        row: Figures = {"stage": stage, "what": what, "labelled": len(labelled), "harmful": sum(harmful)}
        for side in ("before", "after"):
            effects = [getattr(r, side)[stage] for r in labelled]
            positive = [e.blocked if blocking else e.action != "allow" for e in effects]
            both = sum(p and h for p, h in zip(positive, harmful, strict=True))
            row[side] = {n: i.document() for n, i in _rates(both, sum(positive), sum(harmful)).items()}
        yield row


def _rates(both: int, positive: int, harmful: int) -> dict[str, Interval]:
    return {"precision": wilson(both, positive), "recall": wilson(both, harmful)}


def _why(replayed: Replayed) -> list[str]:
    """The categories that changed, as `stage.category: before -> after`."""
    said = []
    for stage in replayed.after:
        before, after = replayed.before[stage].found, replayed.after[stage].found
        for c in sorted({*before, *after}):
            if before.get(c) != after.get(c):
                said.append(f"{stage}.{c}: {before.get(c, 'nothing')} -> {after.get(c, 'nothing')}")
    return said


def plain(f: Figures) -> str:
    """For a terminal."""
    lines = [summary(f), *(f"left out: {n}: {why}" for why, n in f["left_out"].items())]
    lines += [f"\n{columns(rows)}" for rows in tables(f)]
    lines += [""] + [f"{x['id']}  {x['before']} -> {x['after']}  {'; '.join(x['why'])}" for x in f["flips"][:SHOWN]]
    if len(f["flips"]) > SHOWN:
        lines.append(f"... and {len(f['flips']) - SHOWN} more; --json has them all")
    return "\n".join(lines + [f"note: {c}" for c in f["cautions"]])


def html(f: Figures) -> str:
    """One file that loads nothing; it holds ids and figures, no text."""
    blocks = [note(summary(f)), *(note(f"left out: {n}: {why}") for why, n in f["left_out"].items())]
    blocks += map(table, tables(f))
    if f["flips"]:
        flips = [(x["id"], x["before"], x["after"], "; ".join(x["why"])) for x in f["flips"]]
        blocks += [heading("Exchanges that flip"), table([("exchange", "before", "after", "why"), *flips])]
    return page("Policy replay", [*blocks, *map(note, f["cautions"])])


def summary(f: Figures) -> str:
    policy, anew = f["policy"], f"{f['rejudged']} of them judged anew"
    share = f" = {interval(f['flipped']['share'])}" if "share" in f["flipped"] else ""
    return (
        f"{policy['name']} version {policy['version']} ({policy['digest']}) over {f['replayed']} of {f['exchanges']} "
        f"exchanges, {anew}: {f['flipped']['exchanges']} would go otherwise{share}"
    )


def tables(f: Figures) -> list[list[Cells]]:
    """Transitions, categories, and labels where there are any; heads first."""
    made: list[list[Cells]] = []
    if f["transitions"]:
        moves = [(t["before"], t["after"], str(t["exchanges"]), interval(t["share"])) for t in f["transitions"]]
        made.append([("before", "after", "exchanges", "share"), *moves])
    if f["categories"]:
        names = ("stage", "category", "before", "after", "gained", "lost", "other_action")
        rows: list[Cells] = [tuple(str(c[n]) for n in names) for c in f["categories"]]
        made.append([("stage", "category", "found before", "found after", "gained", "lost", "other action"), *rows])
    if f["labels"]:
        head = ("stage", "what", "labelled", "harmful", "side", "precision", "recall")
        made.append([head, *(_label(row, side) for row in f["labels"] for side in ("before", "after"))])
    return made


def _label(row: Figures, side: str) -> Cells:
    rates = (interval(row[side][n]) for n in ("precision", "recall"))
    return row["stage"], row["what"], str(row["labelled"]), str(row["harmful"]), side, *rates
