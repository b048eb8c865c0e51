"""The steps of one round of the loop. Each returns what the next ones need, as JSON; what is done is not done again."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from guards.classifier import read_manifest
from guards.evaluation.rows import Line, read
from training import gates, promote, recipe
from training.compare import Use
from training.dataset import build as dataset_build
from training.dataset import recipe as dataset_recipe
from training.dataset import version as dataset_version
from training.dataset.texts import materialise
from training.loop_plan import Plan
from training.recipe import Recipe, Start
from training.rows import DataError, Row
from training.service_client import Service
from training.views import completed

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Round:
    """`serving`, `parent`: folder and id of the guard in force. `done`: what earlier steps returned."""

    plan: Plan
    service: Service
    folder: Path
    serving: Path
    parent: str
    done: Mapping[str, Result]

    @property
    def feed(self) -> str:
        return f"{self.service.url}/v1/review/export?what=guards"

    @property
    def candidate(self) -> Path:
        return self.folder / "guard"


def steps(of: Round) -> Sequence[tuple[str, Callable[[], Result]]]:
    """In their order."""
    named = (("data", data), ("train", train), ("gate", gate), ("register", register), ("shadow", shadow))
    return [(name, lambda step=step: step(of)) for name, step in named]  # type: ignore[misc]  # bound at once


def data(of: Round) -> Result:
    """A version of the dataset from what was reviewed, known to the service."""
    given = {"name": of.plan.name, "feeds": [of.feed]} | of.plan.dataset
    made = dataset_build.build(dataset_recipe.recipe(given), of.service.key)
    exchanges = dataset_version.exchanges(made)
    body = {"name": of.plan.name, "version": made.manifest["version"], "digest": made.digest}
    of.service.post("/v1/learning/datasets", body | {"manifest": made.manifest, "exchanges": exchanges})
    return {"folder": str(made.folder), "digest": made.digest, "version": made.manifest["version"]} | {
        "rows": len(made.items)
    }


def train(of: Round) -> Result:
    """The candidate, from the guard in force, on old rows and reviewed ones."""
    from training import train_guard
    from training.build_guard import build, prepare_torch

    made_by = _recipe(of)
    run: dict[str, Any] = {
        "id": f"run-{of.folder.name}",
        "verb": "guard",
        "recipe": str(of.plan.train),
        "revision": _revision(),
    }
    run |= {"recipe_digest": made_by.digest, "datasets": [of.done["data"]["digest"]]}
    of.service.post("/v1/learning/runs", run | {"state": "running"})
    prepare_torch()
    parts, fresh = train_guard.gather(made_by), reviewed(of)
    old = parts["train"]
    parts["train"] = Random(made_by.seed).sample(old, min(len(old), of.plan.replay))
    for part in ("train", "validation"):
        parts[part] += [_prepared(row, made_by, of.plan, part) for row in fresh[part]]
    of.candidate.mkdir(exist_ok=True)
    metrics = build(made_by, parts, of.candidate)
    rows = {part: len(found) for part, found in parts.items()}
    kept = {"rows": rows, "calibration": metrics["calibration"]}
    of.service.post("/v1/learning/runs", run | {"state": "done", "metrics": kept})
    told = {k: run[k] for k in ("datasets", "recipe", "recipe_digest", "revision")} | {"run": run["id"]}
    promote.write_lineage(of.candidate, parent=of.parent, metrics=kept, **told)
    return {"version": made_by.version, "run": run["id"], "rows": rows}


def gate(of: Round) -> Result:
    """Raises DataError when a gate stops the candidate: the round is over then."""
    sets = frozen_sets(of) | recent_set(of)
    outcome = promote.run_gates(of.candidate, of.serving, sets, gates.thresholds(of.plan.gates.thresholds))
    promote.write_report(outcome, of.candidate, of.folder / "gates")
    stopped = [f"{c.name} {c.set} {c.category or ''}".strip() for c in outcome.checks if not c.passed]
    if not outcome.passed:
        raise DataError(f"the gates stop the candidate ({', '.join(stopped)}): see {of.folder / 'gates'}/report.html")
    return {"passed": True, "checks": len(outcome.checks)}


def register(of: Round) -> Result:
    """The candidate in the registry, known to the service."""
    version = read_manifest(of.candidate)[0].version
    place = of.plan.registry / "models" / of.plan.name / version
    if not place.is_dir():
        shutil.copytree(of.candidate, place)
    made = promote.register(of.service, place)
    return {"id": made["id"], "folder": str(place)}


def shadow(of: Round) -> Result:
    moved = promote.to_stage(of.service, str(of.done["register"]["id"]), "shadow", reason="loop: gates passed")
    return {"stage": moved["stage"]}


def reviewed(of: Round) -> dict[str, list[Row]]:
    """Texts and labels of the dataset by split; an `ok` denies what the plan says it does."""
    parts = materialise(Path(of.done["data"]["folder"]), [of.feed], of.service.key)
    return {part: [denied(row, of.plan.ok_means) for row in rows] for part, rows in parts.items()}


def denied(row: Row, ok_means: Sequence[str]) -> Row:
    """A row on which a reviewer found nothing: 0 for what an `ok` denies."""
    if not row.labels or any(row.labels.values()):
        return row
    return replace(row, labels=dict.fromkeys(ok_means, 0) | row.labels)


def _prepared(row: Row, made_by: Recipe, plan: Plan, part: str) -> Row:
    weight = row.weight * plan.weight if part == "train" else row.weight
    return replace(completed(row, made_by.implied, made_by.assumed), weight=weight)


def _recipe(of: Round) -> Recipe:
    base = read_manifest(of.serving)[0].version.partition("+")[0]
    version = f"{base}+{of.done['data']['version'][:8]}"
    made_by = recipe.load(of.plan.train)
    return made_by.model_copy(
        update={"name": of.plan.name, "version": version, "start": Start(package=None, guard=of.serving)}
    )


def frozen_sets(of: Round) -> promote.Sets:
    """At most so many rows of each as the plan says, drawn with a fixed seed."""
    found: promote.Sets = {}
    uses: tuple[Use, ...] = ("frozen", "benign", "bias")
    for use in uses:
        for name, where in getattr(of.plan.gates, use).items():
            lines = [line for path in dataset_recipe.files(where) for line in read(path)]
            found[name] = use, Random(0).sample(lines, min(len(lines), of.plan.gates.most))
    return found


def recent_set(of: Round) -> promote.Sets:
    """What was reviewed and not trained on."""
    fresh = reviewed(of)
    lines = [_line(row) for part in ("validation", "test") for row in fresh[part]]
    return {"reviewed": ("recent", lines)} if lines else {}


def _line(row: Row) -> Line:
    texts = (row.prompt, row.text) if row.is_response else (row.text, "")
    return Line(*texts, row.labels, {"group": row.group} if row.group else {})


def _revision() -> str:
    from training.evaluate_guard import revision

    return revision()
