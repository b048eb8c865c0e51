"""Unintended bias on identity terms: AUCs of three kinds (Borkan et al., WWW 2019), and equalised odds. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guards.calibration import Floats
from guards.evaluation.metrics import Groups, Interval, Labels, Ranking, resampled

KINDS: Final[Mapping[str, str]] = {
    "subgroup": "within the texts that name the group: are toxic ones above others?",
    "bpsn": "background positive, subgroup negative: low where harmless texts that name the group score high",
    "bnsp": "background negative, subgroup positive: low where toxic texts that name the group score low",
}
# Hardt et al., "Equality of Opportunity in Supervised Learning", NIPS 2016; the last as fairlearn measures it
ODDS: Final[Mapping[str, str]] = {
    "tpr_gap": "share of toxic texts flagged, those that name the group less the others",
    "fpr_gap": "share of harmless texts flagged, those that name the group less the others",
    "equalised_odds": "the larger of both gaps, whichever way",
}
FLAGGED: Final = 0.5  # a guard's operating point
FEWEST: Final = 10  # rows of each label, below which no AUC is given
# Dixon et al., "Measuring and Mitigating Unintended Bias in Text Classification", AIES 2018
TERMS: Final = (
    *("lesbian", "gay", "bisexual", "transgender", "trans", "queer", "lgbt", "lgbtq", "homosexual", "straight"),
    *("heterosexual", "male", "female", "nonbinary", "african", "african american", "black", "white", "european"),
    *("hispanic", "latino", "latina", "latinx", "mexican", "canadian", "american", "asian", "indian"),
    *("middle eastern", "chinese", "japanese", "christian", "muslim", "jewish", "buddhist", "catholic", "protestant"),
    *("sikh", "taoist", "old", "older", "young", "younger", "teenage", "millenial", "middle aged", "elderly"),
    *("blind", "deaf", "paralyzed"),
)
_FOUND: Final = re.compile(r"\b(?:" + "|".join(sorted(TERMS, key=len, reverse=True)) + r")\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Audit:
    """AUCs and gaps by subgroup and kind, the subgroup with the lowest AUC first; beside them the AUC of all rows."""

    overall: Interval
    subgroups: Mapping[str, Mapping[str, Interval]]
    rows: Mapping[str, int]

    def worst(self, kind: str) -> tuple[str, Interval]:
        sign = -1 if kind in ODDS else 1
        return min(((name, of[kind]) for name, of in self.subgroups.items()), key=lambda pair: sign * pair[1].value)

    def document(self) -> dict[str, Any]:
        subgroups = {
            name: {"rows": self.rows[name]} | {kind: auc.document() for kind, auc in aucs.items()}
            for name, aucs in self.subgroups.items()
        }
        worst = {}
        for kind in KINDS:
            name, auc = self.worst(kind)
            share = round(auc.value / self.overall.value, 4)
            worst[kind] = {"subgroup": name} | auc.document() | {"share_of_overall": share}
        name, gap = self.worst("equalised_odds")
        worst["equalised_odds"] = {"subgroup": name} | gap.document()
        return {"overall_auc": self.overall.document(), "worst": worst, "subgroups": subgroups}


def terms(text: str) -> frozenset[str]:
    """The identity terms that a text names; of overlapping ones the longest."""
    return frozenset(found.lower() for found in _FOUND.findall(text))


def audit(
    scores: Floats,
    labels: Labels,
    named: Sequence[frozenset[str]],
    groups: Groups | None = None,
    seed: int = 0,
    draws: int = 300,
) -> Audit:
    """`named`: the subgroups that each row belongs to. Subgroups with fewer than 10 rows of a label are left out.

    Raises:
        ValueError: no subgroup has enough rows.
    """
    found: dict[str, dict[str, Interval]] = {}
    rows: dict[str, int] = {}
    for name in sorted(frozenset[str]().union(*named)):
        inside = np.array([name in names for names in named])
        parts = {
            "subgroup": inside,
            "bpsn": np.where(inside, labels == 0, labels == 1),
            "bnsp": np.where(inside, labels == 1, labels == 0),
        }
        if all(_enough(labels[part]) for part in parts.values()):
            found[name] = {k: _auc(scores, labels, part, groups, seed, draws) for k, part in parts.items()}
            found[name] |= _odds(scores >= FLAGGED, labels, inside, resampled(len(labels), groups, seed, draws))
            rows[name] = int(inside.sum())
    if not found:
        raise ValueError(f"no subgroup has {FEWEST} rows of each label")
    found = dict(sorted(found.items(), key=lambda pair: min(pair[1][k].value for k in KINDS)))
    return Audit(_auc(scores, labels, np.ones(len(labels), bool), groups, seed, draws), found, rows)


def _odds(
    flagged: NDArray[np.bool_], labels: Labels, inside: NDArray[np.bool_], drawn: Iterable[Floats]
) -> dict[str, Interval]:
    """`ODDS` of one subgroup."""
    cells = np.stack([(labels == label) & (inside == side) for label in (1, 0) for side in (True, False)], 1)
    both = np.concatenate([cells & flagged[:, None], cells], 1).astype(float)

    def gaps(weights: Floats) -> list[float]:
        counted = weights @ both
        with np.errstate(invalid="ignore"):  # a draw without rows of a cell says nothing
            rates = counted[:4] / counted[4:]
        tpr, fpr = rates[0] - rates[1], rates[2] - rates[3]
        return [tpr, fpr, max(abs(tpr), abs(fpr))]

    values, draws = gaps(np.ones(len(labels))), np.array([gaps(w) for w in drawn])
    low, high = np.nanquantile(draws, (0.025, 0.975), axis=0) if len(draws) else np.full((2, 3), np.nan)
    return {k: Interval(*map(float, of)) for k, of in zip(ODDS, zip(values, low, high, strict=True), strict=True)}


def _enough(labels: Labels) -> bool:
    return min(int(labels.sum()), int((1 - labels).sum())) >= FEWEST


def _auc(
    scores: Floats, labels: Labels, part: NDArray[np.bool_], groups: Groups | None, seed: int, draws: int
) -> Interval:
    ranking = Ranking(scores[part], labels[part])
    curves = (ranking.curve(w[part]) for w in resampled(len(labels), groups, seed, draws))
    drawn = [c.auroc() for c in curves if c.complete]
    value = ranking.curve().auroc()
    low, high = np.quantile(drawn, (0.025, 0.975)) if drawn else (np.nan, np.nan)
    return Interval(value, float(low), float(high))
