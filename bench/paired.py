"""The guarded service beside the very same vLLM without it: `make bench`.

    python -m bench.paired             # starts vLLM and the gateway, a quarter of an hour on two cores
    python -m bench.paired --quick     # two minutes, wide intervals, writes nothing
    python -m bench.paired --engine-url URL --engine-key KEY     # this vLLM; with --url and --key this gateway too

Rounds of the same prompts and seeds in turns (ABBA), the first pair dropped. Before that, vLLM against itself: what no
difference looks like. Only answers that have the same number of tokens on both sides are compared.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.flops import flops
from bench.load import Answer, Job, Load, Round
from bench.prompts import PROMPTS
from bench.report import write
from bench.sides import Side, Sides, both
from bench.stats import Interval, median_ratio, quantile_ratio
from guards.policy import Policy, load
from guards.registry import MODELS
from service.settings import Settings

ROWS = {
    "first_content_p50": "time to first content, median",
    "first_content_p99": "time to first content, 99th percentile",
    "first_content_to_text_needed_p50": "the same median, against the moment vLLM had delivered the text it needs",
    "per_token_p50": "time per output token (whole answer / tokens), median",
    "tokens_per_s": "tokens per second",
}


@dataclass(frozen=True, slots=True)
class Size:
    streams: tuple[int, ...] = (1, 8, 16)
    rounds: int = 6
    same_rounds: int = 2
    tokens: int = 96
    waves: int = 2  # answers of each stream in a round
    least: int = 6  # answers in a round, however few streams

    def prompts(self, streams: int) -> list[str]:
        count = max(self.least, streams * self.waves)
        return [PROMPTS[i % len(PROMPTS)] for i in range(count)]


QUICK = Size(streams=(1, 4), rounds=1, same_rounds=1, tokens=48, waves=1, least=2)


@dataclass(frozen=True, slots=True)
class Paired:
    """Rounds of both sides, in pairs."""

    ours: list[Round]
    bare: list[Round]

    def compared(self) -> list[tuple[list[Answer], list[Answer]]]:
        """Answers of each pair of rounds, without those whose token counts differ."""
        out = []
        for ours, bare in zip(self.ours, self.bare, strict=True):
            pairs = [(a, b) for a, b in zip(ours.answers, bare.answers, strict=True) if a.tokens == b.tokens]
            out.append(([a for a, _ in pairs], [b for _, b in pairs]))
        return [pair for pair in out if pair[0]]


async def pairs(load: Load, ours: Side, bare: Side, size: Size, streams: int, rounds: int) -> Paired:
    """Rounds in the order ABBA; the first pair warms caches up and is dropped."""
    done = Paired([], [])
    for number in range(rounds + 1):
        for side, kept in ((bare, done.bare), (ours, done.ours))[:: 1 if number % 2 == 0 else -1]:
            bodies = [_body(side, prompt, nth, size.tokens) for nth, prompt in enumerate(size.prompts(streams))]
            kept.append(await load.run(Job(side.url, bodies, streams, side.key)))
        speeds = [f"{r[-1].tokens / r[-1].wall_s:.0f}" for r in (done.bare, done.ours)]
        _tell(f"{streams} streams, {bare.name} and {ours.name}, {number}/{rounds}: {' and '.join(speeds)} tokens/s")
    return Paired(done.ours[1:], done.bare[1:])


def _body(side: Side, prompt: str, seed: int, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": side.model, "messages": messages, "max_tokens": tokens, "temperature": 0, "seed": seed}


def figures(paired: Paired, needed_chars: int) -> dict[str, Any]:
    """Ratios of ours to bare, and what share of the answers could be compared."""
    kept = paired.compared()
    if not kept:
        raise RuntimeError("no answer had the same number of tokens on both sides")
    ours, bare = [a for a, _ in kept], [b for _, b in kept]

    def first(rounds: Sequence[Sequence[Answer]]) -> list[list[float]]:
        return [[a.first_s for a in r] for r in rounds]

    def per_token(rounds: Sequence[Sequence[Answer]]) -> list[list[float]]:
        return [[a.end_s / a.tokens for a in r] for r in rounds]

    needed = [[a.reached_s(needed_chars) for a in r] for r in bare]
    speed, bare_speed = ([r.tokens / r.wall_s for r in side] for side in (paired.ours, paired.bare))
    ratios: dict[str, Interval] = {
        "first_content_p50": quantile_ratio(first(ours), first(bare), 0.5),
        "first_content_p99": quantile_ratio(first(ours), first(bare), 0.99),
        "first_content_to_text_needed_p50": quantile_ratio(first(ours), needed, 0.5),
        "per_token_p50": quantile_ratio(per_token(ours), per_token(bare), 0.5),
        "tokens_per_s": median_ratio(speed, bare_speed),
    }
    answers = sum(len(r.answers) for r in paired.ours)
    return {
        **{name: ratio.document() for name, ratio in ratios.items()},
        "bare_first_content_p50_s": round(_median([s for r in first(bare) for s in r]), 4),
        "bare_tokens_per_s": round(_median(bare_speed), 1),
        "compared_share": round(sum(map(len, ours)) / answers, 3),
        "load_cpu_share": round(_median([r.cpu_s / r.wall_s for r in (*paired.ours, *paired.bare)]), 3),
    }


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


async def measure(sides: Sides, size: Size, policy: Policy) -> dict[str, Any]:
    needed = policy.lookahead_chars + policy.first_segment_chars
    streams: dict[str, Any] = {}
    last: Paired | None = None
    async with Load() as load:
        for count in size.streams:
            same = await pairs(load, sides.bare, sides.bare, size, count, size.same_rounds)
            last = await pairs(load, sides.ours, sides.bare, size, count, size.rounds)
            streams[str(count)] = {"vllm_to_itself": figures(same, needed), **figures(last, needed)}
    assert last
    document = {
        "model": sides.ours.model,
        "policy": f"{policy.name}@{policy.version}",
        "text_needed_chars": needed,
        "tokens": size.tokens,
        "streams": streams,
    }
    if sides.model_folder:
        answers = [a for r in last.ours for a in r.answers]
        guard = MODELS / policy.guards[0]
        prompts = size.prompts(size.streams[-1])
        document["flops"] = flops(sides.model_folder, guard, policy, prompts, answers).document()
    return document


def table(document: dict[str, Any]) -> str:
    """Markdown: a row a figure, a column a number of streams."""
    streams = document["streams"]
    lines = ["| ratio to vLLM alone, median (95 % interval) | " + " | ".join(f"{s} streams" for s in streams) + " |"]
    lines.append("|---" * (len(streams) + 1) + "|")
    for name, words in ROWS.items():
        lines.append(f"| {words} | " + " | ".join(_cell(s[name]) for s in streams.values()) + " |")
    for name in ("first_content_p50", "tokens_per_s"):
        cells = (_cell(s["vllm_to_itself"][name]) for s in streams.values())
        lines.append(f"| vLLM against itself: {ROWS[name]} | " + " | ".join(cells) + " |")
    if "flops" in document:
        lines.append(f"\nThe guard computes at most {document['flops']['guard_to_llm']:.2f} times what the model does.")
    return "\n".join(lines)


def _cell(figure: dict[str, float]) -> str:
    return str(Interval(figure["value"], figure["low"], figure["high"], int(figure["rounds"])))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def run(options: argparse.Namespace) -> None:
    size = QUICK if options.quick else Size(rounds=options.rounds)
    async with both(options.url, options.key, options.engine_url, options.engine_key, _tell) as sides:
        document = await measure(sides, size, load(Settings().policy))
    print(table(document))
    if options.out or not options.quick:
        print(write(options.out or "paired", "make bench", document))


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few minutes; writes nothing unless --out is given")
    parser.add_argument("--rounds", type=int, default=Size().rounds, help="paired rounds for each number of streams")
    parser.add_argument("--out", help="name of the results file, without .json")
    parser.add_argument("--engine-url", help="a vLLM that runs")
    parser.add_argument("--engine-key", help="and its key")
    parser.add_argument("--url", help="a gateway that runs in front of it")
    parser.add_argument("--key", help="and its key")
    options = parser.parse_args(argv)
    if options.url and not options.engine_url:
        parser.error("--url needs --engine-url: what is compared must be the very same vLLM")
    return options


if __name__ == "__main__":
    asyncio.run(run(arguments()))
