"""More rows like given ones, written by a language model: Self-Instruct (Wang et al. 2023).

sluicegate-train self-instruct rows.jsonl --category harm --url http://127.0.0.1:8000 --model NAME --out more.jsonl

The model is shown a list of prompts of one label, some of its own among them, and goes on with it. What it writes gets
their label and licence, marked `source: machine`; what is near a prompt that was there before is dropped, and so is
what confident learning doubts (`sluicegate-train noise`). Let people look at a part of it: `sluicegate-train annotate`.
"""

import argparse
import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from training.noise import doubtful
from training.rows import LICENSES, DataError, Row, read
from training.sample import KEY, Keep, completed, engine, write

ASKED: Final = "Different people sent these requests to a chatbot. Here is the list:\n"
SHOWN, OWN = 6, 2  # of them at most so many that the model wrote itself, as in the paper
LONGEST: Final = 300  # characters of a prompt that is shown
Kind = tuple[int, str]  # label and licence


@dataclass(frozen=True, slots=True)
class Seeds:
    """Prompts by label and licence: what people wrote, and what was written after it."""

    given: Mapping[Kind, Sequence[str]]
    own: Mapping[Kind, list[str]]

    def kinds(self) -> list[Kind]:
        """Both labels take turns, whatever there is more of."""
        by_label: dict[int, list[Kind]] = defaultdict(list)
        for kind in sorted(self.given):
            by_label[kind[0]].append(kind)
        most = max(map(len, by_label.values()))
        return [kinds[nth % len(kinds)] for nth in range(most) for kinds in by_label.values()]

    def shown(self, kind: Kind, random: Random) -> str:
        """A list of prompts of one kind that has yet to be gone on with."""
        own = random.sample(self.own[kind], min(OWN, len(self.own[kind])))
        shown = [*random.sample(self.given[kind], min(SHOWN - len(own), len(self.given[kind]))), *own]
        random.shuffle(shown)
        listed = [f"{nth}. {' '.join(text.split())}\n" for nth, text in enumerate(shown, 1)]
        return f"{ASKED}{''.join(listed)}{len(shown) + 1}."


def seeds_of(rows: Sequence[Row], category: str) -> Seeds:
    """Raises DataError when a label has fewer than three prompts of one licence."""
    given: dict[Kind, list[str]] = defaultdict(list)
    for row in rows:
        if category in row.labels and not row.is_response and len(row.text) <= LONGEST:
            given[row.labels[category], row.license].append(row.text)
    given = {kind: texts for kind, texts in given.items() if len(texts) >= 3}
    if not given:
        raise DataError(f"fewer than three prompts of at most {LONGEST} characters are labelled {category}")
    return Seeds(given, {kind: [] for kind in given})


def main(argv: Sequence[str] | None = None) -> None:
    """Writes rows until there are enough or the time is over; says how many were dropped, and why."""
    options = _options().parse_args(argv)
    rows = read(options.rows, frozenset(options.licenses))
    seeds = seeds_of(rows, options.category)
    keep = Keep(lambda _: {}, {})
    keep.know(row.text for row in rows)
    asyncio.run(_fill(options, seeds, keep))
    if not keep.rows:
        raise DataError(f"nothing worth keeping came from {options.url}: {dict(keep.dropped)}")
    doubted = doubted_of(seeds, keep.rows, options.category)
    keep.dropped["doubtful"] = len(doubted)
    kept = [row for nth, row in enumerate(keep.rows) if nth not in doubted]
    write(options.out, kept)
    print(json.dumps({"kept": len(kept), "dropped": dict(keep.dropped), "out": str(options.out)}))


def _options() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="sluicegate-train self-instruct", description=__doc__, formatter_class=plain)
    parser.add_argument("rows", type=Path, nargs="+", help="labelled rows to write more of")
    parser.add_argument("--category", required=True, help="both its labels are written to, in turns")
    parser.add_argument("--url", required=True, help=f"of an OpenAI-compatible engine; its key comes from ${KEY}")
    parser.add_argument("--model", required=True, help="name the engine serves it under")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file, gzipped if its name ends in .gz")
    parser.add_argument("--licenses", nargs="+", default=sorted(LICENSES), help="of rows shown")
    parser.add_argument("--count", type=int, default=400, help="rows to write, before doubtful ones are dropped")
    parser.add_argument("--seconds", type=float, default=600.0, help="most time to spend")
    parser.add_argument("--batch", type=int, default=8, help="prompts asked for at a time")
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=7)
    return parser


async def _fill(options: argparse.Namespace, seeds: Seeds, keep: Keep) -> None:
    body = {"model": options.model, "n": options.batch, "stop": ["\n"], "max_tokens": 100}
    body |= {"temperature": options.temperature, "top_p": 0.95}
    random, kinds, ends = Random(options.seed), seeds.kinds(), time.monotonic() + options.seconds
    turn = 0
    async with engine(options.url) as session:
        while len(keep.rows) < options.count and time.monotonic() < ends:
            kind = kinds[turn % len(kinds)]
            asked = body | {"prompt": seeds.shown(kind, random), "seed": random.randrange(2**31)}
            written = [text.strip().strip('"') for text in await completed(session, asked)]
            seeds.own[kind].extend(keep.take(written, options.model, {options.category: kind[0]}, kind[1]))
            turn += 1
            print(f"{len(keep.rows)} kept, {keep.dropped.total()} dropped", end="\r", flush=True)
    del keep.rows[options.count :]


def doubted_of(seeds: Seeds, made: Sequence[Mapping[str, Any]], category: str) -> set[int]:
    """Places of the made rows whose label is likely wrong, as people's rows and they together have it."""
    known = [(text, kind[0]) for kind, texts in seeds.given.items() for text in texts]
    both = [*known, *((str(row["prompt"]), int(row["labels"][category])) for row in made)]
    texts, labels = zip(*both, strict=True)
    found = doubtful(texts, labels, [str(nth) for nth in range(len(both))])
    return {nth - len(known) for nth in found if nth >= len(known)}


if __name__ == "__main__":
    main()
