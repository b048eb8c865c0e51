"""What to label next: sluicegate-train select --url http://127.0.0.1:8080 --strategy threshold --count 50.

The candidates that a strategy likes best are taken for certain; a random share of the others with one and the same
probability. Both are written down, so that estimates over all traffic stay unbiased: each row weighs one over its
inclusion probability (Horvitz and Thompson, 1952).
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.rows import DataError

Floats = NDArray[np.float64]
RANDOM: Final = "random"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An exchange that nobody reviewed yet. `scores`: guard -> category -> probability. `embedding` may be empty."""

    exchange_id: str
    scores: Mapping[str, Mapping[str, float]]
    embedding: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Selected:
    """`reason`: the strategy, or `random`."""

    exchange_id: str
    reason: str
    inclusion_probability: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """`count` items, `random_share` of them at random. `thresholds`: category -> where it is held back, else .5."""

    strategy: str = "threshold"
    count: int = 50
    random_share: float = 0.2
    seed: int = 7
    guard: str = "default"
    thresholds: Mapping[str, float] = field(default_factory=dict)


def select(candidates: Sequence[Candidate], wanted: Wanted) -> list[Selected]:
    """At most `wanted.count` of them, what the strategy likes best first.

    Raises:
        DataError: the strategy is not known, or the candidates lack what it needs.
    """
    if wanted.strategy not in STRATEGIES:
        raise DataError(f"strategy {wanted.strategy!r} is not known; give one of: {', '.join(STRATEGIES)}")
    if not candidates:
        return []
    best = 0 if wanted.strategy == RANDOM else round(wanted.count * (1 - wanted.random_share))
    order = STRATEGIES[wanted.strategy](candidates, wanted, best)[:best]
    chosen = [Selected(candidates[i].exchange_id, wanted.strategy, 1.0) for i in order]
    rest = sorted(set(range(len(candidates))) - set(order))
    few = min(wanted.count - len(chosen), len(rest))
    drawn = np.random.default_rng(wanted.seed).permutation(rest)[:few]
    return chosen + [Selected(candidates[i].exchange_id, RANDOM, few / len(rest)) for i in drawn]


def uncertain(scores: Floats) -> Floats:
    """Entropy of the most doubtful category, in bits. Scores: (rows, categories)."""
    p = np.clip(scores, 1e-9, 1 - 1e-9)
    return np.asarray((-p * np.log2(p) - (1 - p) * np.log2(1 - p)).max(1))


def narrow(scores: Floats) -> Floats:
    """How near the two likeliest categories are: 1 is a tie. With one category, how near it is to .5 (margin)."""
    if scores.shape[1] == 1:
        return np.asarray(1 - np.abs(2 * scores[:, 0] - 1))
    two = np.sort(scores, 1)[:, -2:]
    return np.asarray(1 - (two[:, 1] - two[:, 0]))


def close(scores: Floats, thresholds: Floats) -> Floats:
    """How near the nearest category is to its threshold, in log odds: 0 is at it, the others are below 0."""
    distance = np.abs(_log_odds(scores) - _log_odds(thresholds))
    return np.asarray(-distance.min(1))


def divided(by_guard: Floats) -> Floats:
    """How far guards are apart about the category they differ on most. Scores: (guards, rows, categories)."""
    return np.asarray((by_guard.max(0) - by_guard.min(0)).max(1))


def spread(embeddings: Floats, count: int, known: Sequence[int] = ()) -> list[int]:
    """Rows so that every row is near one of them: greedy k-centre (Gonzalez 1985; Sener and Savarese, ICLR 2018).

    `known`: rows that are labelled; without any, the row nearest to the mean comes first.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    first = list(known) or [int(np.argmax(unit @ unit.mean(0)))]
    chosen = [] if known else list(first)
    distance = (1 - unit @ unit[first].T).min(1)
    while len(chosen) < min(count, len(unit) - len(known)):
        farthest = int(np.argmax(distance))
        chosen.append(farthest)
        distance = np.minimum(distance, 1 - unit @ unit[farthest])
    return chosen[:count]


def _log_odds(p: Floats) -> Floats:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p / (1 - p)))


def _scores(candidates: Sequence[Candidate], guard: str) -> tuple[Floats, list[str]]:
    """(rows, categories), 0 where a guard does not know a category. Raises DataError."""
    categories = sorted({c for one in candidates for c in one.scores.get(guard, {})})
    if not categories:
        known = sorted({name for one in candidates for name in one.scores})
        raise DataError(f"no candidate was scored by guard {guard!r}; --guard may be: {', '.join(known) or 'none'}")
    return np.array([[one.scores.get(guard, {}).get(c, 0.0) for c in categories] for one in candidates]), categories


def _ranked(priority: Floats) -> list[int]:
    return [int(i) for i in np.argsort(-priority, kind="stable")]


def _uncertainty(candidates: Sequence[Candidate], wanted: Wanted, count: int) -> list[int]:
    return _ranked(uncertain(_scores(candidates, wanted.guard)[0]))


def _margin(candidates: Sequence[Candidate], wanted: Wanted, count: int) -> list[int]:
    return _ranked(narrow(_scores(candidates, wanted.guard)[0]))


def _threshold(candidates: Sequence[Candidate], wanted: Wanted, count: int) -> list[int]:
    scores, categories = _scores(candidates, wanted.guard)
    return _ranked(close(scores, np.array([[wanted.thresholds.get(c, 0.5) for c in categories]])))


def _disagreement(candidates: Sequence[Candidate], wanted: Wanted, count: int) -> list[int]:
    guards = sorted({name for one in candidates for name in one.scores})
    shared = sorted({c for g in guards for c in _scores(candidates, g)[1]})
    if len(guards) < 2:
        raise DataError(f"disagreement needs two guards or more; the candidates were scored by: {', '.join(guards)}")
    unknown = {c: [g for g in guards if any(c in one.scores.get(g, {}) for one in candidates)] for c in shared}
    both = [c for c, by in unknown.items() if len(by) > 1]
    if not both:
        raise DataError(f"no two of the guards {', '.join(guards)} judge the same category")
    return _ranked(
        np.max(
            [
                divided(np.array([[[one.scores.get(g, {}).get(c, 0.0)] for one in candidates] for g in unknown[c]]))
                for c in both
            ],
            axis=0,
        )
    )


def _diversity(candidates: Sequence[Candidate], wanted: Wanted, count: int) -> list[int]:
    return spread(_embeddings(candidates), count)


def _mixed(candidates: Sequence[Candidate], wanted: Wanted, count: int) -> list[int]:
    """Different ones among the most doubtful."""
    doubtful = _uncertainty(candidates, wanted, count)[: OVERDRAWN * count]
    return [doubtful[i] for i in spread(_embeddings([candidates[i] for i in doubtful]), count)]


OVERDRAWN: Final = 4  # as many doubtful ones as this to choose different ones from


def _embeddings(candidates: Sequence[Candidate]) -> Floats:
    if len({len(one.embedding) for one in candidates}) != 1 or not candidates[0].embedding:
        raise DataError("this strategy needs an `embedding` in every row, all of one length: see --in")
    return np.array([one.embedding for one in candidates])


STRATEGIES: Final[Mapping[str, Callable[[Sequence[Candidate], Wanted, int], list[int]]]] = {
    "uncertainty": _uncertainty,
    "margin": _margin,
    "threshold": _threshold,
    "disagreement": _disagreement,
    "diversity": _diversity,
    "mixed": _mixed,
    RANDOM: lambda candidates, wanted, count: [],
}


def main(argv: Sequence[str] | None = None) -> None:
    """Selects, and puts what it selected into the review queue or into a file. Raises DataError."""
    options = _options().parse_args(argv)
    thresholds = {c: float(t) for c, _, t in (given.partition("=") for given in options.threshold)}
    wanted = Wanted(
        options.strategy, options.count, options.random_share, options.seed, options.guard, thresholds=thresholds
    )
    chosen = select(_from_file(options.rows) if options.rows else _from_service(options), wanted)
    if options.out:
        options.out.write_text("".join(json.dumps(asdict(one)) + "\n" for one in chosen), encoding="utf-8")
        print(f"{len(chosen)} selected, in {options.out}")
        return
    from training.service_client import Service

    items = [asdict(one) for one in chosen]
    told = Service(options.url, options.key).post("/v1/review/items", {"items": items}) if items else {"data": []}
    added = sum(one["added"] for one in told["data"])
    print(f"{len(chosen)} selected, {added} new in the review queue")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluicegate-train select", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strategy", default="threshold", help=", ".join(STRATEGIES))
    parser.add_argument("--count", type=int, default=50, help="items to put into the queue")
    parser.add_argument("--random-share", type=float, default=0.2, help="of them at random: for honest estimates")
    parser.add_argument("--guard", default="default", help="whose scores count")
    parser.add_argument(
        "--threshold", action="append", default=[], metavar="CATEGORY=P", help="the policy's, if not .5"
    )
    parser.add_argument("--in", dest="rows", type=Path, help="candidates as JSONL {exchange_id, scores, embedding?}")
    parser.add_argument("--out", type=Path, help="a JSONL file instead of the review queue")
    parser.add_argument("--limit", type=int, default=5000, help="newest exchanges to choose from")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the running service")
    parser.add_argument("--key", help="an operator's; by default SLUICEGATE_ADMIN_KEY")
    return parser


def _from_service(options: argparse.Namespace) -> list[Candidate]:
    from training.service_client import Service

    text = Service(options.url, options.key).text("GET", f"/v1/review/candidates?limit={options.limit}")
    return [_candidate(json.loads(line)) for line in text.splitlines()]


def _from_file(path: Path) -> list[Candidate]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(_candidate(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}:{number}: not a candidate ({error!r}); see docs/datasets.md") from error
    return found


def _candidate(row: Mapping[str, Any]) -> Candidate:
    """`scores` of a guard are by category, or by stage and then category: the highest counts."""
    scores = {}
    for guard, given in row["scores"].items():
        stages = [given[stage] for stage in ("input", "output") if isinstance(given.get(stage), dict)] or [given]
        flat: dict[str, float] = {}
        for stage in stages:
            for category, score in stage.items():
                flat[category] = max(flat.get(category, 0.0), float(score))
        scores[guard] = flat
    return Candidate(str(row["exchange_id"]), scores, tuple(row.get("embedding") or ()))


if __name__ == "__main__":
    main()
