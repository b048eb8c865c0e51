"""The learning loop once, from nothing, on real data with the real engine: make loop-demo.

A starting guard is trained without one source. That source's texts are then the traffic of a live service; a scripted
reviewer decides them through the review API as its people labelled them; `sluicegate-train loop` makes dataset and
candidate, holds it against the gates, puts it in shadow, and enforces it because it was told to. Measured: recall at
1 % false positives on the source's held-back texts, before and after.
"""

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp
import numpy as np
import yaml

from bench.loop_service import KEYS, ask_all, in_force, review, scores, serving, session
from bench.report import write
from guards.evaluation.metrics import compare, measure
from training.near import Seen
from training.rows import DataError, Row, data_folder, read
from training.split import dedupe


@dataclass(frozen=True, slots=True)
class Source:
    """Texts that people labelled in `category`, of which `held_back` are measured on."""

    name: str
    file: str
    category: str
    held_back: int


REQUESTS: Final = Source("WildGuardTrainR", "prompt_harm.jsonl.gz", "harm", 2000)
POSTS: Final = Source("toxigen_human", "toxicity.jsonl.gz", "hate", 2500)
SOURCES: Final = {source.name: source for source in (REQUESTS, POSTS)}
IN_SHADOW: Final = 200
RECIPES: Final = Path("training/recipes")


def main() -> None:
    options = _options().parse_args()
    options.source = source = SOURCES[options.source]
    options.work = options.work or Path("var/loop-demo") / source.name
    try:
        texts = parts_of(source, options.traffic, options.decisions)
    except DataError as error:
        sys.exit(_fail(f"{error}. The demo replays people's labels of real texts: see docs/loop.md"))
    began, took = time.monotonic(), {}
    home = options.work / "home"
    home.mkdir(parents=True, exist_ok=True)
    cache = Path(os.environ.get("SLUICEGATE_HOME") or "var") / "cache"
    if cache.is_dir() and not (home / "cache").exists():
        (home / "cache").symlink_to(cache.absolute())  # the model need not be brought again
    print(f"{source.name} is left out of the starting guard: {', '.join(f'{n} {len(r)}' for n, r in texts.items())}")
    with timed("starting guard", took):
        start = options.start or start_guard(options)
    write_files(options, start, texts["held back"])
    found = asyncio.run(live(options, texts, took))
    with timed("measuring", took):
        figures = measured({"before": start, "after": Path(found.pop("folder"))}, texts["held back"], source.category)
    figures |= found | {"took_s": took | {"all": round(time.monotonic() - began)}, "source": source.name}
    show(figures)
    print(write(f"loop_{source.name}", f"make loop-demo SOURCE={source.name}", figures, options.results))


def _options() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--source", choices=SOURCES, default=REQUESTS.name, help="requests, or posts about people")
    parser.add_argument("--work", type=Path, help="folder for all that is made; var/loop-demo/SOURCE")
    parser.add_argument(
        "--start", type=Path, help="a starting guard that is there already; it must not know the source"
    )
    parser.add_argument("--traffic", type=int, default=1200, help="texts that are asked, if there are so many")
    parser.add_argument("--decisions", type=int, default=500, help="of them, those that are reviewed")
    parser.add_argument("--plan", type=Path, default=RECIPES / "loop_demo.yaml")
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: it decides")
    return parser


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def parts_of(source: Source, traffic: int, decisions: int) -> dict[str, list[Row]]:
    """The source's texts: held back, traffic, and traffic while the candidate is in shadow. None is like another's.

    Raises:
        DataError: there is no data, or too little of the source.
    """
    rows = dedupe(read([data_folder() / "train" / source.file]))
    ours = [r for r in rows if r.source == source.name and not r.is_response and source.category in r.labels]
    ours.sort(key=lambda r: r.text)
    Random(7).shuffle(ours)
    held, seen = ours[: source.held_back], Seen()
    for row in held:
        seen.add(row.text)
    rest = [row for row in ours[source.held_back :] if not seen.near(row.text)][: traffic + IN_SHADOW]
    if len(rest) < decisions + IN_SHADOW:
        raise DataError(f"{len(ours)} texts of {source.name} in the data folder are too few")
    return {"held back": held, "traffic": rest[:-IN_SHADOW], "traffic in shadow": rest[-IN_SHADOW:]}


def start_guard(options: argparse.Namespace) -> Path:
    """Trained by the recipe unless an earlier run left it."""
    folder = Path(options.work / "start")
    if not (folder / "metrics.json").is_file():
        made_by = without(options, RECIPES / "loop_start.yaml")
        train(["guard", "--recipe", str(made_by), "--out", str(folder), "--threads", str(options.threads)], options)
    return folder


def without(options: argparse.Namespace, recipe: Path) -> Path:
    """A recipe that does not know the source."""
    made_by, path = yaml.safe_load(recipe.read_text()), Path(options.work / recipe.name)
    made_by["sources"].pop(options.source.name, None)
    path.write_text(yaml.safe_dump(made_by, sort_keys=False))
    return path


def train(arguments: Sequence[str], options: argparse.Namespace, **more: str) -> str:
    """A verb of sluicegate-train in the environment that has torch; what it says goes to the terminal, too."""
    home = {"SLUICEGATE_HOME": str(options.work / "home")} if more else {}
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"} | home | more
    engine = Path(os.environ.get("SLUICEGATE_ENGINE_ENV") or ".venv-engine") / "bin" / "python"
    command = [engine, "-c", "from training.cli import main; main()", *arguments]
    said = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {line}", end="", flush=True)
            said.append(line)
    if process.returncode:
        sys.exit(f"error: sluicegate-train {arguments[0]} ended with {process.returncode}")
    return "".join(said)


def write_files(options: argparse.Namespace, start: Path, held: Sequence[Row]) -> None:
    """Policy, guards file and plan of the loop; the held-back texts, so that none of them is learnt."""
    import json

    rules = {"harm": {"action": "flag", "threshold": 0.9}, options.source.category: {"action": "flag"}}
    policy = {"name": "loop-demo", "version": 1, "guards": ["loop"], "input": rules, "store": "sampled"}
    (options.work / "policy.yaml").write_text(yaml.safe_dump(policy | {"sample_share": 1.0, "deadline_s": 60.0}))
    guards = {"guards": {"loop": {"kind": "classifier", "folder": str(start.absolute())}}}
    (options.work / "guards.yaml").write_text(yaml.safe_dump(guards))
    lines = [json.dumps({"prompt": r.text, "labels": r.labels, "source": r.source, "license": r.license}) for r in held]
    (options.work / "held.jsonl").write_text("\n".join(lines) + "\n")
    plan = yaml.safe_load(options.plan.read_text()) | {"serving": str(start), "enough": options.decisions - 50}
    plan["train"] = str(without(options, Path(plan["train"])))
    plan["dataset"] |= {"leakage": {"sets": {"held_back": str(options.work / "held.jsonl")}}}
    (options.work / "plan.yaml").write_text(yaml.safe_dump(plan))


async def live(options: argparse.Namespace, texts: Mapping[str, Sequence[Row]], took: dict[str, int]) -> dict[str, Any]:
    """Everything that needs the service; the promoted guard's folder, and what was counted on the way."""
    keys = {role: f"sg-{role}-{secrets.token_hex(16)}" for role in KEYS}
    with timed("start of the service", took):
        service = serving(options.work, keys)
        url = await anext(service)
    try:
        async with session(url, keys["client"]) as client, session(url, keys["admin"]) as admin:
            with timed("traffic", took):
                asked = await ask_all(client, texts["traffic"])
            with timed("review", took):
                decided = await review(admin, asked, options.decisions)
            given = ["loop", "--once", "--plan", str(options.work / "plan.yaml"), "--work", str(options.work / "loop")]
            given += ["--url", url, "--promote-after-shadow", str(IN_SHADOW // 2)]
            with timed("dataset, training, gates", took):
                await asyncio.to_thread(train, given, options, **of_home(keys))
            with timed("shadow and promotion", took):
                again = partial(ask_all, client, texts["traffic in shadow"])
                shadow, folder = await promoted(admin, options, partial(train, given, options, **of_home(keys)), again)
            took_over = await in_force(client, folder, texts["held back"][:20], options.source.category)
    finally:
        await service.aclose()
    engine = "elsewhere" if os.environ.get("SLUICEGATE_ENGINE_URL") else "vLLM beside the gateway"
    return {
        "engine": engine,
        "decisions": decided,
        "shadow": shadow,
        "folder": str(folder),
        "live_scores_are_the_new_guards": took_over,
    }


def of_home(keys: Mapping[str, str]) -> dict[str, str]:
    return {"SLUICEGATE_ADMIN_KEY": keys["admin"]}


async def promoted(
    admin: aiohttp.ClientSession,
    options: argparse.Namespace,
    loop: Callable[[], str],
    traffic: Callable[[], Awaitable[Any]],
) -> tuple[dict[str, Any], Path]:
    """Traffic and the loop in turns until it has promoted; what the shadow said, and the folder of what is in force."""
    for _ in range(20):  # what a busy shadow has no time for is dropped
        await traffic()
        if "promoted" in await asyncio.to_thread(loop):
            break
    else:
        sys.exit("error: the candidate did not judge enough exchanges in shadow")
    async with admin.get("/v1/learning/models") as response:
        models = (await response.json())["data"]
    now = next(m for m in models if m["stage"] == "enforced")
    async with admin.get(f"/v1/learning/models/{now['name']}/{now['version']}/shadow") as response:
        shadow = await response.json()
    return shadow, options.work / "home" / "registry" / now["folder"]


def measured(guards: Mapping[str, Path], held: Sequence[Row], category: str) -> dict[str, Any]:
    """Of each guard, and after - before, with 95 % intervals; the difference's from the same draws for both."""
    labels = np.array([r.labels[category] for r in held])
    found = {name: scores(folder, held, category) for name, folder in guards.items()}
    figures: dict[str, Any] = {"held_back": len(labels), "positive": int(labels.sum())}
    names = ("recall_at_1pct_fpr", "auprc", "auroc")
    for name, of in found.items():
        each = measure(of, labels)
        figures[name] = {n: each[n].document() for n in names}
    gained = compare(found["after"], found["before"], labels)
    return figures | {"gained": {n: gained[n].document() for n in names}}


def show(figures: Mapping[str, Any]) -> None:
    of = f"{figures['held_back']} held-back texts of {figures['source']}, {figures['positive']} harmful"
    print(f"\n{of}; {figures['decisions']}")
    print(f"{'':20}{'before':>24}{'after':>24}{'gained':>26}")
    for name in ("recall_at_1pct_fpr", "auprc", "auroc"):
        cells = [figures[side][name] for side in ("before", "after", "gained")]
        print(f"{name:20}" + "".join(f"{c['value']:>8.3f} ({c['low']:.3f} to {c['high']:.3f})" for c in cells))
    print(f"seconds: {figures['took_s']}")


@contextmanager
def timed(what: str, took: dict[str, int]) -> Iterator[None]:
    print(f"== {what}", flush=True)
    began = time.monotonic()
    yield
    took[what] = round(time.monotonic() - began)


if __name__ == "__main__":
    main()
