"""`sluicegate policy`: look at a policy and check it before it is in force."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from service.cli import rehearsal

if TYPE_CHECKING:
    from guards.policy import Coverage, Policies, Policy

app = typer.Typer(
    help="Policies: which score of which guard does what. docs/policy.md has every field.",
    no_args_is_help=True,
    add_completion=False,
)
rehearsal.register(app)
REFUSED: Final = 1
File = Annotated[Path | None, typer.Argument(help="a policy file; by default the one in force (SLUICEGATE_POLICY)")]


@app.command()
def check(file: File = None) -> None:
    """Check a policy file against the guards there are: what holds for everybody, each tenant, key and schedule.

    Prints it with its digests, or every fault, and exits 1 then. With SLUICEGATE_GUARDS the guards of that file are
    loaded for it.

    Example: sluicegate policy check my-policy.yaml
    """
    policies = _loaded(file)
    if faults := policies.faults(*_judged()):
        typer.echo("This policy cannot be used:" + "".join(f"\n  {fault}" for fault in faults), err=True)
        raise typer.Exit(REFUSED)
    _print(policies.base)
    _print_others(policies)
    for note in dict.fromkeys(note for policy in policies.resolved.values() for note in _notes(policy)):
        typer.echo(f"note: {note}")


@app.command()
def show(file: File = None) -> None:
    """Print a policy file as it is understood: every field, defaults filled in, as JSON.

    Example: sluicegate policy show guards/policies/strict.yaml
    """
    policies = _loaded(file)
    content = policies.file.model_dump(mode="json", by_alias=True)
    typer.echo(json.dumps({"digest": policies.digest} | content, indent=2, ensure_ascii=False))


@app.command("schema")
def print_schema() -> None:
    """Print the JSON schema of policy files, for an editor that completes and checks while you type.

    Example: sluicegate policy schema > policy.schema.json
    """
    from guards.policy import schema

    typer.echo(json.dumps(schema(), indent=2))


def _loaded(file: Path | None) -> "Policies":
    from guards.policy import PolicyError, load_file
    from service.settings import Settings

    try:
        return load_file(file or Settings().policy)
    except PolicyError as error:
        typer.echo(f"This policy cannot be used. {error}\nEvery field is in docs/policy.md.", err=True)
        raise typer.Exit(REFUSED) from None


def _judged() -> "tuple[Coverage, dict[str, int]]":
    """What each guard judges, and what a stream must hold back for it; of those that ship without loading weights."""
    from guards.guard import GuardError
    from guards.patterns import PatternGuard
    from guards.registry import shipped
    from guards.trigger import TriggerGuard
    from service.settings import Settings

    settings = Settings()
    try:
        if settings.guards:
            from service.app import load_guards
            from service.policies import coverage_of, reach_of

            guards = load_guards(settings)
            return coverage_of(guards), reach_of(guards)
        manifests = shipped()
    except GuardError as error:
        typer.echo(f"A guard is broken: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    coverage: dict[str, dict[str, frozenset[str]]] = {
        m.name: {s: frozenset(c for c, h in m.heads.items() if s in h.stages) for s in ("input", "output")}
        for m in manifests
    }
    for guard in (PatternGuard(), TriggerGuard()):
        coverage[guard.name] = {"input": guard.covers("input"), "output": guard.covers("output")}
    return coverage, {}  # type: ignore[return-value]  # the keys are the two stages


def _print_others(policies: "Policies") -> None:
    """For whom something differs, with the digests that verdicts carry, and the one of the file."""
    if len(policies.resolved) > 1:
        typer.echo("\ndigest            for")
        for source, policy in policies.resolved.items():
            typer.echo(f"{policy.digest}  {source}")
        typer.echo(f"{policies.digest}  the whole file")


def _print(policy: "Policy") -> None:
    typer.echo(f"{policy.name} version {policy.version}, digest {policy.digest}")
    if policy.description:
        typer.echo(policy.description)
    typer.echo(f"guards: {', '.join(policy.guards)}; streaming: {policy.streaming}; store: {policy.store}\n")
    rows = [("stage", "category", "threshold", "action", "mode", "on_error")]
    for stage, rules in (("input", policy.input), ("output", policy.output)):
        rows += [
            (stage, name, f"{rule.threshold:g}", rule.action, rule.mode, rule.on_error or policy.on_error)
            for name, rule in rules.items()
        ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _notes(policy: "Policy") -> list[str]:
    """What is allowed and may surprise."""
    from guards.patterns import FOUND

    notes = [
        f"{stage}.{name}: no guard marks the characters of {name}, so `redact` refuses"
        for stage, rules in (("input", policy.input), ("output", policy.output))
        for name, rule in rules.items()
        if rule.action == "redact" and name not in FOUND
    ]
    if not policy.input:
        notes.append("no rule for input: what callers send is not judged")
    if not policy.output:
        notes.append("no rule for output: what the model writes is not judged")
    return notes
