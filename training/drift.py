"""Whether the traffic still looks like that of a frozen window: scores, categories, languages, all of it together.

sluicegate-train drift freeze --out var/drift/reference.json --days 14
sluicegate-train drift check --reference var/drift/reference.json --days 1 --textfile var/drift/sluicegate.prom
sluicegate-train drift texts --before march.jsonl --now april.jsonl      # of reviewed rows, by an encoder (needs torch)

The first two read scores, never texts. Pure but for the verbs.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import chi2

from guards.calibration import Floats
from guards.evaluation.page import columns
from training.rows import DataError
from training.service_client import KEY, URL, Service

ALARM: Final = 0.25  # of the population stability index: Siddiqi, Credit Risk Scorecards, 2006
SURE: Final = 0.001  # so often an index is so high by chance; dozens are looked at
BINS: Final = 10
MOST_VECTORS: Final = 400
FEWEST: Final = 50  # exchanges in a window, below which nothing is said
NOTICED: Final = 0.01  # of a discrepancy
DAY_S: Final = 86_400.0
LANGUAGE: Final = "language"
ALARMED: Final = 3  # exit status


@dataclass(frozen=True, slots=True)
class Window:
    """What exchanges scored. `scores`: "guard/stage/category" -> one score an exchange that has it.

    `vectors`: the scores of an exchange side by side, shape (exchanges, series), NaN where it has none.
    """

    rows: int
    scores: Mapping[str, Floats]
    categories: Mapping[str, int]
    languages: Mapping[str, int]
    series: tuple[str, ...] = ()
    vectors: Floats = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True, slots=True)
class Shift:
    """One figure. `name`: psi or mmd; `alarmed`: it is large, and hardly by chance. `p`: how often by chance."""

    name: str
    series: str
    value: float
    p: float
    alarmed: bool


def window(rows: Iterable[Mapping[str, Any]]) -> Window:
    """From rows `{scores: {guard: {input: {category: p}, output: ...}}, categories: [flagged]}`."""
    found: list[dict[str, float]] = []
    categories, languages = Counter[str](), Counter[str]()
    for row in rows:
        found.append(dict(_series(row.get("scores") or {})))
        categories.update(row.get("categories") or ["none"])
        spoken = (row.get("scores") or {}).get(LANGUAGE, {}).get("input", {})
        if spoken:
            languages[max(spoken, key=spoken.__getitem__)] += 1
    names = tuple(sorted(frozenset[str]().union(*found)))
    vectors = np.array([[one.get(n, np.nan) for n in names] for one in found]).reshape(len(found), len(names))
    scores = {n: column[~np.isnan(column)] for n, column in zip(names, vectors.T, strict=True)}
    return Window(len(found), scores, dict(categories), dict(languages), names, vectors)


def _series(scores: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for guard, known in scores.items():
        if guard != LANGUAGE:
            for stage in ("input", "output"):
                yield from ((f"{guard}/{stage}/{c}", float(p)) for c, p in known.get(stage, {}).items())


def shifts(frozen: Window, now: Window, seed: int = 0, draws: int = 500) -> list[Shift]:
    """Every figure of `now` against the frozen window, the alarmed first.

    Raises:
        DataError: one of the windows has fewer than 50 exchanges.
    """
    if min(frozen.rows, now.rows) < FEWEST:
        raise DataError(f"{frozen.rows} frozen exchanges and {now.rows} of now: {FEWEST} of each are needed")
    found = [
        _index(name, *binned(frozen.scores[name], now.scores[name]))
        for name in sorted(frozen.scores.keys() & now.scores.keys())
        if min(len(frozen.scores[name]), len(now.scores[name])) >= FEWEST
    ]
    found += [_index("categories", *_counted(frozen.categories, now.categories))]
    if frozen.languages and now.languages:
        found += [_index("languages", *_counted(frozen.languages, now.languages))]
    shared = sorted(set(frozen.series) & set(now.series))
    if shared:
        found.append(_together(_picked(frozen, shared), _picked(now, shared), seed, draws))
    return sorted(found, key=lambda s: (not s.alarmed, -s.value))


def binned(frozen: Floats, now: Floats, bins: int = BINS) -> tuple[Floats, Floats]:
    """Counts in bins that hold as many of the frozen values each, as far as ties allow."""
    edges = np.unique(np.quantile(frozen, np.linspace(0, 1, bins + 1)[1:-1]))
    places = len(edges) + 1
    one, other = (np.bincount(np.searchsorted(edges, v, "right"), minlength=places) for v in (frozen, now))
    return one.astype(float), other.astype(float)


def _counted(frozen: Mapping[str, int], now: Mapping[str, int]) -> tuple[Floats, Floats]:
    names = sorted(frozen.keys() | now.keys())
    return np.array([frozen.get(n, 0) for n in names], float), np.array([now.get(n, 0) for n in names], float)


def stability(frozen: Floats, now: Floats) -> tuple[float, float]:
    """Population stability index of two rows of counts, and how often chance gives one so high.

    Under no change it is chi-square with bins - 1 degrees, times 1/n + 1/m: Yurdakul, 2018. Half a count is added to
    each bin, so that an empty one does not make it endless.
    """
    shares = [(counts + 0.5) / (counts + 0.5).sum() for counts in (frozen, now)]
    index = float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
    by_chance = 1 / frozen.sum() + 1 / now.sum()
    return index, float(chi2.sf(index / by_chance, max(1, len(frozen) - 1)))


def _index(series: str, frozen: Floats, now: Floats) -> Shift:
    index, p = stability(frozen, now)
    return Shift("psi", series, index, p, index >= ALARM and p < SURE)


def discrepancy(x: Floats, y: Floats, seed: int = 0, draws: int = 500) -> tuple[float, float]:
    """Squared maximum mean discrepancy of samples of shape (rows, numbers), and the p of a permutation test.

    Gaussian kernel as wide as the median distance: Gretton et al., A Kernel Two-Sample Test, JMLR 2012.
    """
    both, n = np.concatenate([x, y]), len(x)
    squares = np.sum(both**2, 1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * both @ both.T, 0)
    middle = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
    kernel = np.exp(-distances / middle)
    np.fill_diagonal(kernel, 0)
    random = np.random.default_rng(seed)
    sides = np.zeros((1 + draws, len(both)))
    sides[0, :n] = 1
    for side in sides[1:]:
        side[random.permutation(len(both))[:n]] = 1
    found = _mmd(kernel, sides, n)
    return float(found[0]), (1 + int((found[1:] >= found[0]).sum())) / (1 + draws)


def _mmd(kernel: Floats, sides: Floats, n: int) -> Floats:
    """One figure a row of `sides`, which say (1 or 0) which `n` of all are on the first side."""
    of_one, m = sides @ kernel, sides.shape[1] - n
    one, across = (sides * of_one).sum(1), ((1 - sides) * of_one).sum(1)
    other = kernel.sum() - one - 2 * across
    return np.asarray(one / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m))


def _together(frozen: Floats, now: Floats, seed: int, draws: int) -> Shift:
    random = np.random.default_rng(seed)
    x, y = (v[random.permutation(len(v))[:MOST_VECTORS]] for v in (frozen, now))
    scale = frozen.std(0) + 1e-6
    value, p = discrepancy(x / scale, y / scale, seed, draws)
    return Shift("mmd", "scores", value, p, _alarming(value, p, draws))


def _picked(of: Window, series: Sequence[str]) -> Floats:
    """Score vectors over `series` as logits; a score that an exchange has not counts as none was found."""
    found = np.nan_to_num(of.vectors[:, [of.series.index(s) for s in series]], nan=0.0).clip(1e-4, 1 - 1e-4)
    return np.asarray(np.log(found / (1 - found)))


def exposition(found: Sequence[Shift], rows: int) -> str:
    """Prometheus' text format, for node_exporter's textfile collector."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    labels = ("series",)
    psi = Gauge(
        "sluicegate_drift_psi", "Population stability index against the frozen window.", labels, registry=registry
    )
    mmd = Gauge("sluicegate_drift_mmd", "Squared maximum mean discrepancy of scores.", labels, registry=registry)
    p = Gauge("sluicegate_drift_p", "How often chance gives so high a figure.", ("name", *labels), registry=registry)
    alarm = Gauge("sluicegate_drift_alarms", "Figures that are large, and hardly by chance.", registry=registry)
    counted = Gauge("sluicegate_drift_exchanges", "Exchanges in the window looked at.", registry=registry)
    for shift in found:
        (psi if shift.name == "psi" else mmd).labels(shift.series).set(shift.value)
        p.labels(shift.name, shift.series).set(shift.p)
    alarm.set(sum(s.alarmed for s in found))
    counted.set(rows)
    return generate_latest(registry).decode()


def read_window(service: Service, since: float, until: float) -> list[dict[str, Any]]:
    """Rows of the exchanges between two moments (unix seconds). Raises ServiceError."""
    text = service.text("GET", "/v1/learning/scores", query={"since": str(since), "until": str(until)})
    return [json.loads(line) for line in text.splitlines() if line]


def load_rows(path: Path) -> list[dict[str, Any]]:
    """A frozen window. Raises DataError."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no frozen window ({error}); make one: sluicegate-train drift freeze") from error
    return rows


def of_texts(before: str, now: str, seed: int = 0, draws: int = 500) -> Shift:
    """The discrepancy of what an encoder makes of the texts of two review feeds (files or URLs). Raises DataError."""
    from training.dataset.feed import feed
    from training.dataset.texts import row
    from training.embed import embed

    sides = [[row(e) for e in feed(uri).examples if e.item.kind in ("prompt", "response")] for uri in (before, now)]
    if min(map(len, sides)) < FEWEST:
        raise DataError(f"{len(sides[0])} rows before and {len(sides[1])} now: {FEWEST} of each are needed")
    random = np.random.default_rng(seed)
    drawn = [[side[i] for i in random.permutation(len(side))[:MOST_VECTORS]] for side in sides]
    found = embed(drawn[0] + drawn[1])
    value, p = discrepancy(found[: len(drawn[0])], found[len(drawn[0]) :], seed, draws)
    return Shift("mmd", "embeddings", value, p, _alarming(value, p, draws))


def _alarming(discrepancy: float, p: float, draws: int) -> bool:
    """As rare as so many permutations can tell, and not only because there were many rows."""
    return p < max(SURE, 1.5 / (1 + draws)) and discrepancy > NOTICED


def main(argv: Sequence[str] | None = None) -> None:
    """Exit status 3 when there is an alarm."""
    options = _options().parse_args(argv)
    if options.verb == "texts":
        found = [of_texts(options.before, options.now)]
    else:
        until = time.time()
        rows = read_window(Service(options.url, options.key), until - options.days * DAY_S, until)
        if options.verb == "freeze":
            _freeze(options.out, rows, until)
            return
        found = shifts(window(load_rows(options.reference)), window(rows))
        if options.textfile:
            unfinished = options.textfile.with_suffix(".part")
            unfinished.write_text(exposition(found, len(rows)), encoding="utf-8")
            unfinished.replace(options.textfile)
    print(columns([("", "figure", "of", "value", "p"), *map(_line, found)]))
    raise SystemExit(ALARMED if any(s.alarmed for s in found) else 0)


def _freeze(out: Path, rows: Sequence[Mapping[str, Any]], at: float) -> None:
    if len(rows) < FEWEST:
        raise DataError(f"{len(rows)} exchanges in the window: {FEWEST} are needed")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"at": at, "rows": rows}) + "\n", encoding="utf-8")
    print(f"{len(rows)} exchanges frozen: {out}")


def _line(shift: Shift) -> tuple[str, str, str, str, str]:
    return "ALARM" if shift.alarmed else "", shift.name, shift.series, f"{shift.value:.3f}", f"{shift.p:.3f}"


def _options() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="sluicegate-train drift", description=__doc__, formatter_class=plain)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    freeze = verbs.add_parser("freeze", help="keep the scores of a window as what is normal")
    freeze.add_argument("--out", type=Path, required=True, help="file for the window")
    check = verbs.add_parser("check", help="hold a window against the frozen one; exit status 3: alarm")
    check.add_argument("--reference", type=Path, required=True, help="the frozen window")
    check.add_argument("--textfile", type=Path, help="file for Prometheus metrics")
    texts = verbs.add_parser("texts", help="hold the reviewed texts of two times against each other")
    texts.add_argument("--before", required=True, help="what sluicegate review export wrote, or the URL of an export")
    texts.add_argument("--now", required=True, help="the same, later")
    for sub in (freeze, check):
        sub.add_argument("--days", type=float, default=1.0, help="length of the window, up to now")
        sub.add_argument("--url", default=URL, help=f"of the service; {URL} if not given")
        sub.add_argument("--key", help=f"operator or admin key; else from {KEY}")
    return parser


if __name__ == "__main__":
    main()
