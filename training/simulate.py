"""How many labels each strategy of `select` saves: sluicegate-train simulate --out bench/results/learning_curves.json.

A source is left out: a head is trained on the others, then on more and more rows of it that a strategy picks from a
pool, and measured on rows of it that nobody picks from. The encoder is frozen and has learned from none of the sources.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from guards.evaluation.metrics import Ranking
from training.curves import finite, labels_needed, plot, report
from training.dataset.build import revision
from training.embed import PACKAGE, embed
from training.rows import Row, data_folder, read
from training.select import OVERDRAWN, Floats, close, divided, spread, uncertain
from training.split import dedupe, fingerprint

LEFT_OUT: Final = ("WildGuardTrainR", "toxigen_human", "implicit_hate")
BESIDE: Final = ("AegisTrainR", "catqa_english", "arena_hard", "self_instruct", "deepset_train", *LEFT_OUT)
BUDGETS: Final = (10, 20, 40, 60, 80, 120, 160, 200)
STRATEGIES: Final = ("random", "uncertainty", "threshold", "disagreement", "diversity", "mixed")
WEIGHT: Final = 5.0  # of a row of the left-out source beside one of the others
FLAGGED: Final = 0.02  # the threshold lies where so many of the pool are above it
INVERSE_PENALTY: Final = 0.01
COMPONENTS: Final = 64  # of what the encoder says: heads are fitted in a hundredth of a second


@dataclass(frozen=True, slots=True)
class Rows:
    """What heads see of texts: `deep` (rows, features) of the encoder, `lexical` of a bag of words; labels 0 or 1."""

    deep: Floats
    lexical: Any
    labels: NDArray[np.int64]

    def of(self, chosen: Sequence[int] | NDArray[np.int64]) -> "Rows":
        index = np.asarray(chosen, np.int64)
        return Rows(self.deep[index], self.lexical[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Plan:
    """`prevalence`: share of unsafe rows in pool and test."""

    seeds: int = 10
    budgets: Sequence[int] = BUDGETS
    pool: int = 1200
    test: int = 600
    base: int = 1500
    prevalence: float = 0.1


class Heads:
    """Two guards, a lexical one for disagreement alone. Fitted on base rows and, weighing more, on chosen ones."""

    def __init__(self, base: Rows, lexical: bool) -> None:
        self._base, self._both = base, lexical
        self._deep = LogisticRegression(C=INVERSE_PENALTY, max_iter=300, warm_start=True)
        self._lexical = LogisticRegression(C=10, max_iter=300, solver="liblinear")

    def fit(self, chosen: Rows) -> None:
        labels = np.concatenate([self._base.labels, chosen.labels])
        weights = np.concatenate([np.ones(len(self._base)), np.full(len(chosen), WEIGHT)])
        self._deep.fit(np.concatenate([self._base.deep, chosen.deep]), labels, sample_weight=weights)
        if self._both:
            self._lexical.fit(_stacked(self._base.lexical, chosen.lexical), labels, sample_weight=weights)

    def scores(self, rows: Rows) -> Floats:
        return np.asarray(self._deep.predict_proba(rows.deep)[:, 1])

    def by_guard(self, rows: Rows) -> Floats:
        """(guards, rows, one category)"""
        other = self._lexical.predict_proba(rows.lexical)[:, 1]
        return np.stack([self.scores(rows), other])[:, :, None]


def curve(strategy: str, base: Rows, pool: Rows, test: Rows, budgets: Sequence[int], seed: int) -> list[float]:
    """Area under precision-recall on `test` with no label of the source, then at each budget."""
    heads, random = Heads(base, strategy == "disagreement"), np.random.default_rng(seed)
    chosen: list[int] = []
    heads.fit(pool.of(chosen))
    found = [_quality(heads, test)]
    for budget in budgets:
        chosen += _next(strategy, heads, pool, chosen, budget - len(chosen), random)
        heads.fit(pool.of(chosen))
        found.append(_quality(heads, test))
    return found


def _next(
    strategy: str, heads: Heads, pool: Rows, chosen: list[int], count: int, random: np.random.Generator
) -> list[int]:
    rest = np.setdiff1d(np.arange(len(pool)), chosen)
    left = pool.of(rest)
    if strategy == "random":
        return [int(i) for i in random.permutation(rest)[:count]]
    if strategy == "diversity":
        return spread(pool.deep, count, chosen)
    scores = heads.scores(left)[:, None]
    if strategy == "mixed":
        doubtful = rest[np.argsort(-uncertain(scores), kind="stable")[: OVERDRAWN * count]]
        return [int(doubtful[i]) for i in spread(pool.deep[doubtful], count)]
    priority = {
        "uncertainty": lambda: uncertain(scores),
        "threshold": lambda: close(scores, np.quantile(heads.scores(pool), [[1 - FLAGGED]]).astype(np.float64)),
        "disagreement": lambda: divided(heads.by_guard(left)),
    }[strategy]()
    return [int(i) for i in rest[np.argsort(-priority, kind="stable")[:count]]]


def _quality(heads: Heads, test: Rows) -> float:
    return Ranking(heads.scores(test), test.labels).curve().auprc()


def _stacked(one: Any, other: Any) -> Any:
    from scipy.sparse import vstack

    return vstack([one, other]).tocsr()


def drawn(rows: Rows, plan: Plan, seed: int) -> tuple[Rows, Rows]:
    """Pool and test of the plan's prevalence; nothing is in both."""
    random = np.random.default_rng(seed)
    ones, zeros = (random.permutation(np.flatnonzero(rows.labels == label)) for label in (1, 0))
    total = min(plan.pool + plan.test, int(len(ones) / plan.prevalence), int(len(zeros) / (1 - plan.prevalence)))
    share = plan.pool / (plan.pool + plan.test)
    parts = []
    for found, many in ((ones, total * plan.prevalence), (zeros, total * (1 - plan.prevalence))):
        cut = round(many * share)
        parts.append((found[:cut], found[cut : round(many)]))
    return tuple(rows.of(np.concatenate(side)) for side in zip(*parts, strict=True))  # type: ignore[return-value]


def simulate(left_out: Rows, base: Rows, plan: Plan, strategies: Sequence[str] = STRATEGIES) -> dict[str, Floats]:
    """Curves by strategy, shape (seeds, 1 + budgets): the same pool, test and base for all strategies of a seed."""
    curves: dict[str, list[list[float]]] = {name: [] for name in strategies}
    for seed in range(plan.seeds):
        pool, test = drawn(left_out, plan, seed)
        some = base.of(np.random.default_rng(seed).permutation(len(base))[: plan.base])
        for name in strategies:
            curves[name].append(curve(name, some, pool, test, plan.budgets, seed))
    return {name: np.array(found) for name, found in curves.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the figures and the plot beside them. Raises DataError."""
    options = _options().parse_args(argv)
    plan = Plan(seeds=options.seeds, prevalence=options.prevalence, budgets=BUDGETS[: options.rounds])
    every = dedupe(read(sorted((data_folder() / "train").glob("*.jsonl*"))))
    rows = _most([r for r in every if r.source in BESIDE and not r.is_response], options.most)[: options.texts]
    print(f"{len(rows)} texts to embed", flush=True)
    seen = _components(embed(rows, options.encoder))
    found = {}
    for source in options.source or LEFT_OUT:
        of_it = np.array([r.source == source for r in rows])
        found[source] = simulate(_rows(rows, seen, of_it), _rows(rows, seen, ~of_it), plan)
        random = found[source]["random"]
        needed = {name: finite(labels_needed(c, random, plan.budgets)) for name, c in found[source].items()}
        print(source, json.dumps(needed), flush=True)
    asked = {
        "seeds": plan.seeds,
        "pool": plan.pool,
        "test": plan.test,
        "base": plan.base,
        "prevalence": plan.prevalence,
    }
    made = {"revision": revision(), "encoder": options.encoder, "plan": asked} | report(found, plan.budgets)
    options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".svg").write_text(plot(made), encoding="utf-8")
    print(json.dumps({"mean_share": made["mean_share"], "best": made["best"], "out": str(options.out)}))


def _most(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many safe rows of a source, and a quarter as many unsafe ones, the first by a hash of their text."""
    counted: dict[tuple[str, int], int] = {}
    kept = []
    for row in sorted(rows, key=lambda r: fingerprint(r.text)):
        key = row.source, _unsafe(row)
        counted[key] = counted.get(key, 0) + 1
        kept += [row] if counted[key] <= (most // 4 if _unsafe(row) else most) else []
    return kept


def _components(seen: Floats) -> Floats:
    """The first principal components, fitted without labels."""
    from sklearn.decomposition import PCA

    return np.asarray(PCA(COMPONENTS, random_state=0).fit_transform(seen))


def _unsafe(row: Row) -> int:
    return int(any(row.labels.values()))


def _rows(rows: Sequence[Row], seen: Floats, which: NDArray[np.bool_]) -> Rows:
    from sklearn.feature_extraction.text import HashingVectorizer

    some = [row for row, holds in zip(rows, which, strict=True) if holds]
    lexical = HashingVectorizer(n_features=2**16, ngram_range=(1, 2), alternate_sign=False).transform(
        r.text for r in some
    )
    return Rows(seen[which], lexical, np.array([_unsafe(r) for r in some]))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluicegate-train simulate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; the plot is written beside it")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=len(BUDGETS), help="of labelling; fewer take less time")
    parser.add_argument("--prevalence", type=float, default=0.1, help="share of unsafe rows in what is picked from")
    parser.add_argument("--most", type=int, default=3400, help="safe rows of a source to embed")
    parser.add_argument("--texts", type=int, help="embed so many of them alone, drawn by a hash; by default all")
    parser.add_argument("--source", action="append", help="leave this one out; may be given again")
    parser.add_argument("--encoder", default=PACKAGE, help="a pinned package, or the folder of a guard")
    return parser


if __name__ == "__main__":
    main()
