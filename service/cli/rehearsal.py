"""`sluicegate policy diff | test | replay`: what a policy would do, before it is in force."""

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.opened import refuse, told

if TYPE_CHECKING:
    from guards.guard import Guard
    from guards.policy import Policies
    from service.rehearsal.cases import Outcome

DIFFERS = 1
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text")]
File = Annotated[Path, typer.Argument(help="a policy file")]


def register(app: typer.Typer) -> None:
    app.command()(diff)
    app.command("test")(run_cases)
    app.command()(replay)


def diff(before: File, after: File, as_json: AsJson = False) -> None:
    """Show what differs in effect: rules with defaults filled in, release settings. Exit code 1 if anything does.

    Example: sluicegate policy diff guards/policies/default.yaml my-policy.yaml
    """
    from guards.evaluation.page import columns
    from service.rehearsal.changes import differences

    found = differences(_policies(before), _policies(after))
    if as_json:
        typer.echo(json.dumps([asdict(c) for c in found], indent=1))
    elif found:
        rows = [(c.whom, c.place, c.field, c.before, c.after, c.effect) for c in found]
        typer.echo(columns([("for", "where", "what", before.name, after.name, "effect"), *rows]))
    else:
        typer.echo("no difference in effect")
    if found:
        raise typer.Exit(DIFFERS)


def run_cases(
    file: Annotated[Path | None, typer.Argument(help="cases, YAML or JSONL; by default those that ship")] = None,
    policy: Annotated[Path | None, typer.Option(help="a policy file; by default the one in force")] = None,
    as_json: AsJson = False,
) -> None:
    """Run cases through the real gate and guards, with the answers they name; exit code 1 if one goes otherwise.

    A case is {prompt or messages, response, expect: allow | flag | redact | replace | refuse, categories, note}.

    Example: sluicegate policy test my-cases.yaml --policy my-policy.yaml
    """
    from service.judges import BatchedJudges
    from service.rehearsal.cases import SHIPPED, CaseError, read, run
    from service.telemetry.metrics import Metrics

    try:
        cases = read(file or SHIPPED)
    except CaseError as error:
        refuse(str(error))
    policies, guards = _guarded(policy)

    async def work() -> "list[Outcome]":
        async with BatchedJudges(guards, Metrics()) as judges:
            return await run(judges, policies, cases)

    outcomes = told(work())
    typer.echo(json.dumps([_plain(o) for o in outcomes], indent=1) if as_json else _table(outcomes))
    if failed := sum(bool(o.fault) for o in outcomes):
        typer.echo(f"{failed} of {len(outcomes)} cases go otherwise", err=True)
        raise typer.Exit(1)


def replay(
    file: Annotated[Path, typer.Argument(help="the candidate: a policy file")],
    since: Annotated[str, typer.Option(help="how far back: 24h, 7d, 4w, or a time such as 2026-11-20T08:00")] = "7d",
    limit: Annotated[int, typer.Option(min=1, help="at most so many exchanges, newest first")] = 10_000,
    rejudge: Annotated[bool, typer.Option(help="open kept texts and judge them anew with the guards of now")] = False,
    any_version: Annotated[bool, typer.Option(help="take scores of other versions of the guards too")] = False,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="file for an HTML report; holds no text")] = None,
) -> None:
    """Run a candidate policy over stored traffic: which exchanges would go otherwise, against what people decided.

    Example: sluicegate policy replay my-policy.yaml --since 24h --html replay.html
    """
    from service.cli.opened import opened
    from service.judges import BatchedJudges
    from service.rehearsal import report
    from service.rehearsal.replay import Candidate, Replayed, policy_of
    from service.rehearsal.replay import replay as run
    from service.telemetry.metrics import Metrics

    begun, (policies, guards) = _moment(since), _guarded(file)

    async def work() -> list[Replayed]:
        async with opened() as (store, _), BatchedJudges(guards, Metrics()) as judges:
            named = {g.name: g for g in guards}
            candidate = Candidate(policy_of(policies), named, any_version, judges if rejudge else None)
            return await run(store, candidate, begun, limit)

    figures = report.figures(told(work()), policies.base)
    typer.echo(json.dumps(figures, indent=1) if as_json else report.plain(figures))
    if html:
        html.write_text(report.html(figures), encoding="utf-8")


def _policies(file: Path) -> "Policies":
    from guards.policy import PolicyError, load_file

    try:
        return load_file(file)
    except PolicyError as error:
        refuse(str(error))


def _guarded(file: Path | None) -> "tuple[Policies, tuple[Guard, ...]]":
    """A policy file and the guards, loaded and checked as at the start of the service."""
    from service.app import StartError, checked
    from service.policies import coverage_of
    from service.settings import Settings

    settings = Settings()
    at = file or settings.policy
    try:
        policies, guards = _policies(at), checked(settings.model_copy(update={"policy": at})).guards
    except StartError as error:
        refuse(str(error))
    if faults := policies.faults(coverage_of(guards)):  # in an overlay, too
        refuse(f"{at} names what nobody judges:\n  " + "\n  ".join(faults))
    return policies, guards


def _moment(since: str) -> float:
    """Unix seconds of `24h` ago, or of a time; one without a zone is UTC."""
    if found := re.fullmatch(r"(\d+)([mhdw])", since):
        ago = timedelta(**{UNITS[found[2]]: int(found[1])})
        return (datetime.now(UTC) - ago).timestamp()
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        refuse(f"--since {since}: such as 24h, 7d, 4w or 2026-11-20T08:00")
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _plain(outcome: "Outcome") -> dict[str, Any]:
    """No text of the case: what it is about, and what became of it."""
    effects = {stage: {"action": e.action, "found": dict(e.found)} for stage, e in outcome.rehearsed.effects.items()}
    case = outcome.case
    return {"note": case.note, "expect": case.expect, "passed": not outcome.fault, "fault": outcome.fault} | effects


def _table(outcomes: "list[Outcome]") -> str:
    from guards.evaluation.page import columns

    rows = [
        (str(nth), "pass" if not o.fault else "FAIL", o.case.expect, o.case.note or "-", o.fault)
        for nth, o in enumerate(outcomes, 1)
    ]
    passed = sum(not o.fault for o in outcomes)
    return columns([("case", "", "expected", "about", "fault"), *rows]) + f"\n{passed} of {len(outcomes)} as expected"
