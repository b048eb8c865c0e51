"""From a trained candidate to the guard in force, one step at a time, over HTTP.

sluicegate-train promote check var/guard --against guards/models/default --recent traffic=feed.jsonl --out report
sluicegate-train promote register var/guard
sluicegate-train promote shadow default@0.4.0      # judges beside, enforces nothing
sluicegate-train promote status default@0.4.0      # how often it agrees with the enforced guard and with people
sluicegate-train promote canary default@0.4.0 --share 0.1
sluicegate-train promote enforce default@0.4.0
sluicegate-train promote rollback default --reason "too many refusals"
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from guards.classifier import read_manifest
from guards.evaluation.page import columns
from guards.evaluation.rows import Line, SetError, read
from guards.guard import GuardError
from guards.policy import Policy
from training import gates
from training.compare import Use, measure_all
from training.gates import Outcome
from training.gates_report import html, rows
from training.rows import DataError
from training.service_client import KEY, URL, Service

LINEAGE: Final = "lineage.json"
ADAPTER: Final = "adapter_config.json"  # of an adapter of the LLM, which `evaluate-llm --gates` checks
USES: Final[Mapping[Use, str]] = {
    "frozen": "a labelled set that never changes",
    "recent": "human-labelled traffic (sluicegate review export)",
    "benign": "harmless texts: how many are stopped",
    "bias": "texts that name identity groups",
}
STOPPED: Final = 3  # exit status of `check` when a gate stops the candidate
Sets = dict[str, tuple[Use, list[Line]]]


def main(argv: Sequence[str] | None = None) -> None:
    """Exit status 3: a gate stops the candidate. 2: it could not be asked, or the service says no."""
    options = _options().parse_args(argv)
    if options.verb == "check":
        raise SystemExit(0 if checked(options) else STOPPED)
    try:
        print(ASKED[options.verb](Service(options.url, options.key), options))
    except GuardError as error:
        raise DataError(str(error)) from error


def _options() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="sluicegate-train promote", description=__doc__, formatter_class=plain)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _check_options(verbs.add_parser("check", help="hold a candidate against the serving guard; exit status 3: stopped"))
    asking = {
        "register": "make a checked candidate known to the service",
        "shadow": "let a version judge beside the enforced one; nothing it says is enforced",
        "canary": "enforce a version for a share of the exchanges, or for some keys",
        "enforce": "put a version in force for everybody",
        "rollback": "back to what was enforced before",
        "status": "which versions there are; of one: how often it agrees, by category",
    }
    for verb, what in asking.items():
        sub = verbs.add_parser(verb, help=what, description=f"{what[0].upper()}{what[1:]}.")
        sub.add_argument("--url", default=URL, help=f"of the service; {URL} if not given")
        sub.add_argument("--key", help=f"operator or admin key; else from {KEY}")
        _asking_options(verb, sub)
    return parser


def _asking_options(verb: str, sub: argparse.ArgumentParser) -> None:
    if verb == "register":
        sub.add_argument("folder", type=Path, help="the candidate, with the lineage.json that `check` completed")
        return
    needed = {} if verb != "status" else {"nargs": "?"}
    sub.add_argument("model", help="name of the model" if verb == "rollback" else "NAME@VERSION", **needed)  # type: ignore[arg-type]  # nargs or nothing
    if verb in ("shadow", "canary", "enforce"):
        sub.add_argument("--override", action="store_true", help="though a gate stopped it: needs an admin key")
    if verb in ("shadow", "canary", "enforce", "rollback"):
        sub.add_argument("--reason", default="", help="kept in the audit log")
    if verb == "canary":
        sub.add_argument("--share", type=float, help="of the exchanges, 0 to 1")
        sub.add_argument("--for-key", action="append", default=[], metavar="KEY_ID", help="may be given again")


def _check_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("folder", type=Path, help="the candidate's folder")
    sub.add_argument("--against", type=Path, default=Path("guards/models/default"), help="folder of the serving guard")
    for use, what in USES.items():
        sub.add_argument(f"--{use}", action="append", default=[], metavar="NAME=FILE", help=what)
    sub.add_argument("--policy", type=Path, help="its thresholds count; .5 if not given")
    sub.add_argument("--thresholds", type=Path, default=gates.RECIPE, help="what a candidate may lose")
    sub.add_argument("--out", type=Path, help="folder for report.html and gates.json; the candidate's if not given")


def checked(options: argparse.Namespace) -> bool:
    """Runs the gates, writes report and lineage, prints the table; whether the candidate passed."""
    sets = {name: (use, lines) for use in USES for name, lines in _read(getattr(options, use)).items()}
    outcome = run_gates(
        options.folder, options.against, sets, gates.thresholds(options.thresholds), thresholds_of(options.policy)
    )
    write_report(outcome, options.folder, options.out or options.folder)
    print(columns(rows(outcome)))
    print(*(f"not checked: {what}" for what in outcome.not_checked), sep="\n")
    print("all gates passed" if outcome.passed else "stopped: see the lines that say so")
    return outcome.passed


def run_gates(
    folder: Path, serving: Path, sets: Sets, limits: gates.Thresholds, at: Mapping[str, float] | None = None
) -> Outcome:
    """Raises DataError when there is no set or a guard cannot be loaded or judge."""
    from guards.registry import load

    if not sets:
        raise DataError("no set to judge: give --frozen, --recent, --benign or --bias NAME=FILE")
    try:
        return measure_all(load(folder=folder), load(folder=serving), sets, limits, at)
    except GuardError as error:
        raise DataError(str(error)) from error


def write_report(outcome: Outcome, folder: Path, out: Path) -> None:
    """`report.html` and `gates.json` in `out`, and what they say into the candidate's lineage."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "gates.json").write_text(json.dumps(outcome.document(), indent=1) + "\n", encoding="utf-8")
    report = out / "report.html" if out != folder else out.with_name(f"{out.name}.report.html")  # a guard holds no HTML
    report.write_text(html(outcome, lineage(folder)), encoding="utf-8")
    write_lineage(folder, gates=outcome.document())


def thresholds_of(path: Path | None) -> dict[str, float]:
    """Lowest threshold of each category in a policy. Raises DataError."""
    if path is None:
        return {}
    from guards.policy import PolicyError, load_file

    try:
        policy: Policy = load_file(path).base
    except PolicyError as error:
        raise DataError(str(error)) from error
    found: dict[str, float] = {}
    for rules in (policy.rules("input"), policy.rules("output")):
        for category, rule in rules.items():
            found[category] = min(rule.threshold, found.get(category, 1.0))
    return found


def lineage(folder: Path) -> dict[str, Any]:
    """What is known of where a version comes from: `lineage.json`, of a guard over its manifest. Raises DataError."""
    try:
        if (folder / ADAPTER).is_file():
            return dict(json.loads((folder / LINEAGE).read_text(encoding="utf-8")))
        manifest, body = read_manifest(folder)
        path = folder / LINEAGE
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (GuardError, OSError, ValueError) as error:
        raise DataError(f"{folder}: no guard or adapter with a readable lineage: {error}") from error
    known: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "parent": None,
        "datasets": [],
        "run": None,
    }
    known |= {"recipe_digest": manifest.training.get("recipe"), "metrics": {}, "gates": {"passed": False, "checks": []}}
    return known | told | {"digest": hashlib.sha256(body).hexdigest()}  # that of its verdicts


def write_lineage(folder: Path, **more: Any) -> None:
    body = lineage(folder) | more
    (folder / LINEAGE).write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def register(service: Service, folder: Path) -> dict[str, Any]:
    """What the service answers: `{id: "name@version", stage}`. Raises ServiceError."""
    told = lineage(folder)
    card = folder / "README.md"
    body = {name: told[name] for name in ("name", "version", "digest", "run", "datasets", "parent", "metrics", "gates")}
    kind = "adapter" if (folder / ADAPTER).is_file() else "guard"
    body |= {"kind": kind, "folder": str(folder.absolute())}
    body |= {"card": card.read_text(encoding="utf-8") if card.is_file() else ""}
    answer: dict[str, Any] = service.post("/v1/learning/models", body)
    return answer


def to_stage(service: Service, model: str, stage: str, **more: Any) -> dict[str, Any]:
    """Moves NAME@VERSION to a stage. Raises ServiceError: a gate stopped it (409), or there is none (404)."""
    answer: dict[str, Any] = service.post(
        f"/v1/learning/models/{_place(model)}/stage", {"to": stage} | {k: v for k, v in more.items() if v}
    )
    return answer


def roll_back(service: Service, name: str, reason: str) -> dict[str, Any]:
    """Back to what was enforced before. Raises ServiceError."""
    answer: dict[str, Any] = service.post(f"/v1/learning/models/{name}/rollback", {"reason": reason})
    return answer


def shadow_figures(service: Service, model: str) -> dict[str, Any]:
    """How often a version agrees with the enforced one and with people. Raises ServiceError."""
    found: dict[str, Any] = service.get(f"/v1/learning/models/{_place(model)}/shadow")
    return found


def _place(model: str) -> str:
    name, at, version = model.partition("@")
    if not (name and at and version):
        raise DataError(f"{model!r} is not NAME@VERSION, as `promote status` lists them")
    return f"{name}/{version}"


def _staged(stage: str) -> "Callable[[Service, argparse.Namespace], str]":
    def ask(service: Service, options: argparse.Namespace) -> str:
        given = {"reason": options.reason, "override": options.override}
        if stage == "canary":
            given |= {"share": options.share, "keys": options.for_key}
        to_stage(service, options.model, stage, **given)
        return f"{options.model}: {stage}. Gateways take it within seconds"

    return ask


def _register(service: Service, options: argparse.Namespace) -> str:
    made = register(service, options.folder)
    return f"{made['id']}: {made['stage']}. Next: sluicegate-train promote shadow {made['id']}"


def _rollback(service: Service, options: argparse.Namespace) -> str:
    return json.dumps(roll_back(service, options.model, options.reason or "no reason given"))


def _status(service: Service, options: argparse.Namespace) -> str:
    if options.model:
        figures = service.get(f"/v1/learning/models/{_place(options.model)}")
        return json.dumps({"model": figures, "shadow": shadow_figures(service, options.model)}, indent=1)
    found = service.get("/v1/learning/models")["data"]
    lines = [(f"{m['name']}@{m['version']}", m["kind"], m["stage"], str(m["digest"])[:12]) for m in found]
    return columns([("model", "kind", "stage", "digest"), *lines])


ASKED: Final[Mapping[str, Callable[[Service, argparse.Namespace], str]]] = {
    "register": _register,
    "shadow": _staged("shadow"),
    "canary": _staged("canary"),
    "enforce": _staged("enforced"),
    "rollback": _rollback,
    "status": _status,
}


def _read(named: Sequence[str]) -> dict[str, list[Line]]:
    found = {}
    for given in named:
        name, is_, file = given.partition("=")
        if not is_:
            raise DataError(f"{given!r} is not NAME=FILE")
        try:
            found[name] = read(Path(file))
        except SetError as error:
            raise DataError(str(error)) from error
    return found


if __name__ == "__main__":
    main()
