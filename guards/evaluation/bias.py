"""Unintended bias on identity terms: subgroup, BPSN and BNSP AUC (Borkan et al., WWW 2019). Pure."""

import re
from collections.abc import Mapping, Sequence
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
    """AUCs by subgroup and kind, beside the one of all rows."""

    overall: Interval
    subgroups: Mapping[str, Mapping[str, Interval]]
    rows: Mapping[str, int]

    def worst(self, kind: str) -> tuple[str, Interval]:
        return min(((name, aucs[kind]) for name, aucs in self.subgroups.items()), key=lambda pair: pair[1].value)

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
            rows[name] = int(inside.sum())
    if not found:
        raise ValueError(f"no subgroup has {FEWEST} rows of each label")
    return Audit(_auc(scores, labels, np.ones(len(labels), bool), groups, seed, draws), found, rows)


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
