"""Counterfactual audit of an LLM: the same request for another group of people, and what changes in the answer.

sluicegate-train llm-bias --model small --out var/bias
sluicegate-train llm-bias --url http://127.0.0.1:8080 --model served --out var/bias

Prompts come from `training/recipes/identities.yaml`: an axis (gender, ethnicity, ...), its groups, and requests with a
place for them. For each axis and measure a group is compared with the mean of all groups on the same requests; what
differs most comes first. Measures: sentiment (VADER), harm (a guard), refusal, length.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from guards.document import Strict
from guards.guard import Guard
from guards.verdict import Passage
from training import document
from training.llm.answers import Answerer, Endpoint, local
from training.llm.intervals import mean
from training.llm.options import RECIPES
from training.llm.refusals import declines
from training.llm.rewards import guard, harm

PLACE: Final = "{who}"
SCALE: Final = {"sentiment": 1.0, "harm": 1.0, "refusal": 1.0, "words": 100.0}  # to order measures among each other


class Axis(Strict):
    """One thing people differ in. `groups`: name -> what stands for {who}, or the same requests in its words."""

    groups: dict[str, str | tuple[str, ...]] = Field(min_length=2)
    requests: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _alike(self) -> "Axis":
        said = [g for g in self.groups.values() if not isinstance(g, str)]
        if not said and (not self.requests or not all(PLACE in r for r in self.requests)):
            raise ValueError(f"every request has a place {PLACE}")
        if said and (len(said) != len(self.groups) or len({len(g) for g in said}) != 1 or self.requests):
            raise ValueError("groups that say requests in their own words all say the same ones, and there is no list")
        return self

    def prompts(self, group: str) -> list[str]:
        """The requests as this group makes or meets them, in the same order for each group."""
        given = self.groups[group]
        return [r.replace(PLACE, given) for r in self.requests] if isinstance(given, str) else list(given)


class Identities(Strict):
    axes: dict[str, Axis] = Field(min_length=1)
    requests: tuple[str, ...] = Field((), description="of all axes that have none of their own")

    @model_validator(mode="before")
    @classmethod
    def _shared(cls, given: dict[str, Any]) -> dict[str, Any]:
        for axis in given.get("axes", {}).values():
            if all(isinstance(g, str) for g in axis.get("groups", {}).values()):
                axis.setdefault("requests", given.get("requests", []))
        return given


@dataclass(frozen=True, slots=True)
class Gap:
    """By how much a group's answers differ from the mean of all groups, with a 95 % interval over requests."""

    axis: str
    group: str
    measure: str
    value: float
    low: float
    high: float

    @property
    def told(self) -> bool:
        """Whether chance alone is an unlikely reason: the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def main(argv: Sequence[str] | None = None) -> None:
    """Asks, measures, writes `report.json` and `report.html`, the largest gap first."""
    given = _options().parse_args(argv)
    identities = document.load(Identities, given.identities)
    answerer = Endpoint(given.url, given.model, given.tokens) if given.url else local(given.model, given.tokens)
    gaps, answered = audit(identities, answerer, guard(given.guard))
    _write(given.out, gaps, answered)
    worst = gaps[0]
    print(f"done: {given.out / 'report.html'}, worst: {worst.group} ({worst.axis}), {worst.measure} {worst.value:+.3f}")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluicegate-train llm-bias", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="`small`, a folder, an adapter; with --url a served name")
    parser.add_argument("--url", help="of an OpenAI-compatible endpoint; its key comes from SLUICEGATE_ENGINE_KEY")
    parser.add_argument("--identities", type=Path, default=RECIPES / "identities.yaml", help="axes, groups, requests")
    parser.add_argument("--guard", default="default", help="a guard that ships, or the folder of one")
    parser.add_argument("--tokens", type=int, default=48, help="longest answer")
    parser.add_argument("--out", type=Path, required=True, help="folder for report.json and report.html")
    return parser


def audit(identities: Identities, answerer: Answerer, judge: Guard) -> tuple[list[Gap], int]:
    """Gaps, those that chance does not explain first and among them the largest; and how many answers there were."""
    asked = [(axis, group, p) for axis, a in identities.axes.items() for group in a.groups for p in a.prompts(group)]
    said = answerer.answer([[{"role": "user", "content": prompt}] for _, _, prompt in asked])
    values = measures([prompt for _, _, prompt in asked], said, judge)
    gaps: list[Gap] = []
    for axis, about in identities.axes.items():
        nth = {g: [i for i, (a, b, _) in enumerate(asked) if (a, b) == (axis, g)] for g in about.groups}
        for measure, found in values.items():
            gaps += _gaps(axis, measure, {g: found[i] for g, i in nth.items()})
    return sorted(gaps, key=lambda g: (not g.told, -abs(g.value) / SCALE[g.measure])), len(said)


def measures(prompts: Sequence[str], said: Sequence[str], judge: Guard) -> dict[str, NDArray[np.float64]]:
    """Each measure of each answer, of shape (answers,). Sentiment is from -1 to 1, harm from 0 to 1."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    feel = SentimentIntensityAnalyzer()
    return {
        "sentiment": np.array([feel.polarity_scores(a)["compound"] for a in said]),
        "harm": harm(judge, [Passage(a, "response", p) for p, a in zip(prompts, said, strict=True)]),
        "refusal": np.array([float(declines(a)) for a in said]),
        "words": np.array([float(len(a.split())) for a in said]),
    }


def _gaps(axis: str, measure: str, by_group: Mapping[str, NDArray[np.float64]]) -> list[Gap]:
    middle = np.mean(list(by_group.values()), axis=0)  # of each request, over the groups
    made = []
    for group, values in by_group.items():
        found = mean(values - middle)
        made.append(Gap(axis, group, measure, found.value, found.low, found.high))
    return made


def _write(out: Path, gaps: Sequence[Gap], answered: int) -> None:
    import json

    from guards.evaluation.page import image, note, page, table
    from training.llm.report import whiskers

    out.mkdir(parents=True, exist_ok=True)
    rows = [{n: getattr(g, n) for n in g.__slots__} | {"told": g.told} for g in gaps]
    (out / "report.json").write_text(json.dumps({"answers": answered, "gaps": rows}, indent=1) + "\n")
    cells = [[g.axis, g.group, g.measure, f"{g.value:+.3f} ({g.low:+.3f} to {g.high:+.3f})"] for g in gaps]
    about = (
        f"{answered} answers. A group against the mean of all groups of its axis on the same requests; 95 % intervals."
    )
    plot = whiskers([(f"{g.group} ({g.measure})", [("gap", _scaled(g))]) for g in gaps[:16]], "gap; words in hundreds")
    blocks = [note(about), image(plot, "the largest gaps"), table([["axis", "group", "measure", "gap"], *cells])]
    (out / "report.html").write_text(page("Bias of an LLM", blocks), encoding="utf-8")


def _scaled(gap: Gap) -> dict[str, float]:
    return {n: getattr(gap, n) / SCALE[gap.measure] for n in ("value", "low", "high")}


if __name__ == "__main__":
    main()
