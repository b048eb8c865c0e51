"""Attacks a running service, keeps every attempt, and puts what got through before reviewers.

sluicegate-train redteam --url http://127.0.0.1:8080 --seeds training/recipes/machine_harms.yaml --budget 200
sluicegate-train redteam replay var/redteam/pack.jsonl --url http://127.0.0.1:8080
sluicegate-train redteam garak --garak garak-env/bin/garak --probes encoding,dan --out var/redteam
sluicegate-train redteam pyrit --python pyrit-env/bin/python --seeds training/recipes/machine_harms.yaml

Attack only services that are yours. The key is an admin's, of SLUICEGATE_ADMIN_KEY: it chats, sees the guards' scores
and fills the queue; with --client-key that one chats, under its own policy. --blind sees no scores. Give the key a
policy with `store: sampled` and `sample_share: 1.0`: of what nobody flagged reviewers see no text otherwise.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from guards.evaluation.page import columns
from training.redteam import garak, pack, pyrit, report
from training.redteam.judged import judge_at
from training.redteam.mutations import MUTATIONS, NAMES
from training.redteam.queue import ask_about
from training.redteam.search import Attempt, Judge, Plan, Seed, attempt, campaign
from training.redteam.target import Target, reached
from training.rows import DataError
from training.service_client import KEY, URL, Service

Options = argparse.Namespace
Attacks = Callable[[Target, Judge | None], AsyncIterator[Attempt]]
OUT: Final = Path("var/redteam")


def main(argv: Sequence[str] | None = None) -> None:
    """A campaign, or one verb of it. Raises DataError."""
    given = list(sys.argv[1:] if argv is None else argv)
    verb = given.pop(0) if given and given[0] in VERBS else "run"
    parse, run = VERBS[verb]
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog=f"sluicegate-train redteam{'' if verb == 'run' else ' ' + verb}",
        description=__doc__,
        formatter_class=plain,
    )
    parse(parser)
    run(parser.parse_args(given))


def _asking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=URL, help="the running service")
    parser.add_argument("--key", default=os.environ.get(KEY, ""), help=f"an admin's; by default {KEY}")
    parser.add_argument("--client-key", default="", help="chats in its place; then --key may be an operator's")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--judge-url", help="endpoint of a language model that says whether an answer helps")
    parser.add_argument("--judge", default="judge", help="the name it serves")


def _seeded(parser: argparse.ArgumentParser) -> None:
    _asking(parser)
    parser.add_argument("--seeds", type=Path, required=True, help="labelled rows (.jsonl) or templates (.yaml)")
    parser.add_argument("--most-seeds", type=int, default=20, help="drawn of them")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--blind", action="store_true", help="guided by outcomes alone, as an outsider is")
    parser.add_argument("--no-queue", action="store_true", help="puts nothing into the review queue")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of attempts.jsonl, pack.jsonl, report.html")


def _running(parser: argparse.ArgumentParser) -> None:
    _seeded(parser)
    parser.add_argument("--budget", type=int, default=200, help="attempts in all")
    parser.add_argument("--beam", type=int, default=3, help="attempts that each round goes on from")
    parser.add_argument("--depth", type=int, default=3, help="mutations on top of each other")
    parser.add_argument("--enough", type=int, default=1, help="successes of a seed before the next one is tried")
    parser.add_argument("--only", default="", help=f"kinds of mutation, by commas: {', '.join(MUTATIONS)}")


def _converting(parser: argparse.ArgumentParser) -> None:
    _seeded(parser)
    pyrit.options(parser)


def _replaying(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pack", type=Path, help="successes of the past, as a campaign leaves them")
    parser.add_argument("--queue", action="store_true", help="puts those that still get through into the review queue")
    _asking(parser)


def run_campaign(options: Options) -> None:
    """Exit code 0 whatever it finds; `replay` is the one that fails."""
    plan = Plan(
        options.budget,
        options.beam,
        depth=options.depth,
        enough=options.enough,
        seed=options.seed,
        names=_names(options),
    )
    seeds = pack.seeds(options.seeds, options.most_seeds, options.seed)

    def attacks(target: Target, judge: Judge | None) -> AsyncIterator[Attempt]:
        return campaign(target, seeds, plan, judge)

    _told(options, attacks, plan.budget)


def run_pyrit(options: Options) -> None:
    """Each request in each disguise, once; exit code 0 whatever it finds."""
    _place(options)
    steps = pyrit.converted(options, pack.seeds(options.seeds, options.most_seeds, options.seed))

    async def attacks(target: Target, judge: Judge | None) -> AsyncIterator[Attempt]:
        for seed, name, text in steps:
            yield await attempt(target, seed, (f"pyrit/{name}",), (("user", text),), judge)

    _told(options, attacks, len(steps))


def _told(options: Options, attacks: Attacks, most: int) -> None:
    """Makes the attempts; leaves pack, report and items of the queue; says how it went."""
    service = None if options.no_queue else Service(options.url, options.key)
    attempts = asyncio.run(_made(options, attacks, most))
    new = pack.add(options.out / "pack.jsonl", attempts)
    with pack.opened(options.out / "report.html") as file:
        file.truncate(0)
        file.write(report.html(attempts))
    found = report.figures(attempts)
    print(columns(report.rows(found)))
    print(report.summary(found))
    print(f"{new} new in {options.out / 'pack.jsonl'}; report: {options.out / 'report.html'}")
    if service is not None:
        print(f"{ask_about(service, attempts)} new items in the review queue")


def _names(options: Options) -> tuple[str, ...]:
    kinds = [k for k in options.only.split(",") if k]
    if unknown := sorted(set(kinds) - set(MUTATIONS)):
        raise DataError(f"--only: {', '.join(unknown)} unknown; give some of: {', '.join(MUTATIONS)}")
    return tuple(n for n in NAMES if not kinds or n.partition("/")[0] in kinds)


async def _made(options: Options, attacks: Attacks, most: int) -> list[Attempt]:
    found = []
    with pack.opened(options.out / "attempts.jsonl") as file:
        async with reached(*_place(options), options.max_tokens) as target:
            async for made in attacks(target, judge_at(options.judge_url, options.judge)):
                pack.keep(file, made)
                found.append(made)
                print(f"{len(found)} of {most}: {sum(a.success for a in found)} got through", end="\r")
    print()
    return found


def _place(options: Options) -> tuple[str, str, str]:
    calls = options.client_key or options.key
    if not calls:
        raise DataError(f"no key: give --key, or set {KEY} (sluicegate keys create --role admin makes one)")
    return options.url, calls, "" if getattr(options, "blind", True) else options.key


def replay(options: Options) -> None:
    """Sends every success of the past again. Exit code 1 when any still gets through, or was not answered."""
    attempts = pack.read(options.pack)
    if not attempts:
        raise DataError(f"{options.pack}: an empty pack proves nothing")
    found = asyncio.run(_again(options, attempts))
    through = sum(a.success for a in found)
    unknown = sum(a.outcome == "error" or a.verdict == "unclear" for a in found)
    print(report.summary(report.figures(found)))
    print(f"{through} of {len(found)} still get through, {unknown} were not answered or not judged")
    if options.queue:
        print(f"{ask_about(Service(options.url, options.key), found)} new items in the review queue")
    if through or unknown:
        raise SystemExit(1)


async def _again(options: Options, attempts: Sequence[Attempt]) -> list[Attempt]:
    async with reached(*_place(options), options.max_tokens) as target:
        judge = judge_at(options.judge_url, options.judge)
        return [
            await attempt(target, Seed(a.turns[-1][1], a.categories, a.seed), a.steps, a.turns, judge) for a in attempts
        ]


VERBS: Final[dict[str, tuple[Any, Any]]] = {
    "run": (_running, run_campaign),
    "replay": (_replaying, replay),
    "pyrit": (_converting, run_pyrit),
    "garak": (garak.options, garak.run),
}


if __name__ == "__main__":
    main()
