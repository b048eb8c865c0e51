"""`sluicegate guards eval`, `bias` and `robust`: how good a guard is on labelled files."""

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from guards.evaluation.evaluate import Figures
    from guards.evaluation.rows import Line
    from guards.guard import Guard
    from guards.policy import Policy

NEEDED = ("sklearn", "matplotlib")
Sets = Annotated[
    list[str], typer.Option("--set", metavar="NAME=FILE", help="a labelled JSONL file (.gz too); may be given again")
]
GuardName = Annotated[str, typer.Option("--guard", help="name of a guard, or its folder")]
Against = Annotated[str | None, typer.Option(help="another guard to hold it against, such as the previous one")]
By = Annotated[list[str] | None, typer.Option(help="a field to divide a set by; may be given again")]
Group = Annotated[str, typer.Option(help="the field of rows that belong together: drawn, and trained on, as one")]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="thresholds are this policy's; by default .5, the guard's own")
]
Draws = Annotated[int, typer.Option(min=10, help="bootstrap draws")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="file for the figures")]


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)
    app.command()(bias)
    app.command()(robust)


def evaluate(
    sets: Sets,
    guard: GuardName = "default",
    against: Against = None,
    by: By = None,
    group: Group = "group",
    policy: PolicyFile = None,
    out: Annotated[Path | None, typer.Option(help="file for an HTML report with plots; holds no text")] = None,
    as_json: JsonFile = None,
    draws: Draws = 1000,
    seed: Annotated[int, typer.Option(help="of the bootstrap and the folds")] = 0,
) -> None:
    """Measure a guard on labelled files: ranking, operating points, calibration, latency; beside a lexical floor.

    A line is {"prompt": ..., "response": ..., "labels": {"harm": 1}}, with source, group, language or other fields.

    Example: sluicegate guards eval --set mail=mail.jsonl --against old/ --by language --out report.html
    """
    _installed()
    from guards.evaluation import evaluate as measuring
    from guards.evaluation import report
    from guards.guard import GuardError

    named = _read(sets)
    ours = _guard(guard)
    plan = measuring.Plan(
        policy=_policy(policy) if policy else None,
        against=_guard(against) if against else None,
        by=tuple(by or measuring.BY),
        group=group,
        training=_training(),
        seed=seed,
        draws=draws,
        said=lambda line: typer.echo(line, err=True),
    )
    try:
        result = measuring.evaluate(ours, named, plan)
    except GuardError as error:
        _fail(error)
    typer.echo(report.plain(result.figures))
    if as_json:
        _write(as_json, json.dumps(result.figures, indent=1) + "\n")
    if out:
        _write(out, report.html(result))


def bias(
    sets: Sets,
    guard: GuardName = "default",
    category: Annotated[str, typer.Option(help="the category whose scores are audited")] = "toxicity",
    by: Annotated[str | None, typer.Option(help="field that names the groups; else identity terms are found")] = None,
    group: Group = "group",
    as_json: JsonFile = None,
    draws: Draws = 300,
) -> None:
    """Audit a guard for bias on identity terms: AUC within each group, and against the others (Borkan et al. 2019).

    Example: sluicegate guards bias --set identity=dev/identity_templates.jsonl.gz --category toxicity
    """
    from guards.evaluation.audit import audited, shown
    from guards.guard import GuardError

    named, ours = _read(sets), _guard(guard)
    try:
        found = {name: audited(ours, lines, category, by, group, draws) for name, lines in named.items()}
    except (ValueError, GuardError) as error:
        _fail(error)
    _tell(ours, category, found, shown, as_json)


def robust(
    sets: Sets,
    guard: GuardName = "default",
    category: Annotated[str, typer.Option(help="the category whose verdicts are looked at")] = "harm",
    threshold: Annotated[float, typer.Option(help="from which on a text is flagged")] = 0.5,
    group: Group = "group",
    as_json: JsonFile = None,
    draws: Draws = 300,
) -> None:
    """Say every text in other words, and see which verdicts do not hold (CheckList's invariance tests).

    Lines with "paraphrase_of" and the "id" of another line are paraphrases of your own, and count beside.

    Example: sluicegate guards robust --set mail=mail.jsonl --category harm
    """
    from guards.evaluation.robust import robustness, shown
    from guards.guard import GuardError

    named, ours = _read(sets), _guard(guard)
    try:
        found = {name: robustness(ours, lines, category, threshold, group, draws) for name, lines in named.items()}
    except (ValueError, GuardError) as error:
        _fail(error)
    _tell(ours, category, found, shown, as_json)


def _tell(
    guard: "Guard", category: str, found: "dict[str, Figures]", shown: "Callable[[Figures], str]", as_json: Path | None
) -> None:
    """Figures of each set, on the terminal and in a file."""
    for name, figures in found.items():
        typer.echo(f"{name}, {category}: {guard.name} {guard.version}\n{shown(figures)}")
    if as_json:
        _write(as_json, json.dumps({"guard": guard.digest, "category": category, "sets": found}, indent=1) + "\n")


def _installed() -> None:
    if missing := [m for m in NEEDED if importlib.util.find_spec(m) is None]:
        _fail(f"{', '.join(missing)} missing; install the extra: pip install 'sluicegate[evaluation]'")


def _read(sets: list[str]) -> "dict[str, list[Line]]":
    from guards.evaluation.rows import SetError, read

    found: dict[str, list[Line]] = {}
    for given in sets:
        name, equals, file = given.partition("=")
        if not (name and equals and file) or name in found:
            _fail(f"--set {given}: NAME=FILE, each name once")
        try:
            found[name] = read(Path(file))
        except SetError as error:
            _fail(str(error))
    return found


def _guard(named: str) -> "Guard":
    """By its name in the guards file, or from its folder."""
    import os

    from guards.guard import GuardError
    from guards.registry import build, load
    from service.cli.guards import specified

    try:
        if Path(named).is_dir():
            return load(named, Path(named), threads=os.cpu_count() or 1, batch_tokens=8192)
        return build(*specified(None), [named])[named]
    except GuardError as error:
        _fail(str(error))


def _policy(file: Path) -> "Policy":
    from guards.policy import PolicyError, load

    try:
        return load(file)
    except PolicyError as error:
        _fail(error)


def _training() -> "list[Line]":
    """Labelled rows of SLUICEGATE_DATA; none where there is no such folder."""
    import os

    from guards.evaluation.rows import training

    return list(training(Path(os.environ.get("SLUICEGATE_DATA") or "../shared/data")))


def _write(path: Path, body: str) -> None:
    try:
        path.write_text(body, encoding="utf-8")
    except OSError as error:
        _fail(f"{path}: cannot be written ({error.strerror})")


def _fail(message: Any) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)
