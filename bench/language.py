"""What telling the language of every passage costs, and how often it is wrong: beside the default guard's own judging.

    python -m bench.language        # needs the labelled data (SLUICEGATE_DATA)

Shares are of CPU time in the same run on the same texts, one passage a call.
"""

import argparse
import gzip
import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import report
from guards.guard import Guard
from guards.language import CERTAIN, HOME, LanguageGuard
from guards.registry import load
from guards.verdict import Passage

DATA: Final = Path(os.environ.get("SLUICEGATE_DATA", "../shared/data")) / "train"
ENGLISH: Final = ("WildGuardTrainR", "AegisTrainR", "harmfulqa", "catqa_english", "arena_hard", "arena_hard_answers")
ENGLISH_TOO: Final = ("gsm8k", "self_instruct", "t0_prompts")
OTHERS: Final = {"catqa_vietnamese": "vi", "catqa_chinese": "zh"}
LENGTHS: Final = ((20, 80), (80, 200), (200, 400), (400, 1000), (1000, 4000))


def texts() -> dict[str, list[str]]:
    """Prompts and answers by source."""
    found: dict[str, list[str]] = {}
    for name in ("prompt_harm", "benign"):
        with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if text := row["response"] or row["prompt"]:
                    found.setdefault(row["source"], []).append(text)
    return found


def told(guard: Guard, some: Sequence[str], language: str) -> dict[str, Any]:
    """Of texts in one language: how many are taken for another for certain, how many for it."""
    category = f"language:{language}"
    certain = [{c for c, s in g.by_category.items() if s >= CERTAIN} for g in guard.judge([Passage(t) for t in some])]
    other, right = sum(bool(c - {category}) for c in certain), sum(category in c for c in certain)
    return {"texts": len(some), "told": right, "taken_for_another": other, "share": round(other / len(some), 5)}


def cost(guards: Mapping[str, Guard], some: Sequence[str]) -> list[dict[str, Any]]:
    """CPU seconds of each guard by length of text, and the language guard's share of the default guard's."""
    rows = []
    for least, most in LENGTHS:
        fitting = [Passage(t) for t in some if least <= len(t) < most][:150]
        spent = {}
        for name, guard in guards.items():
            started = time.process_time()
            for passage in fitting:
                guard.judge([passage])
            spent[name] = (time.process_time() - started) / len(fitting)
        shown = {f"{name}_us": round(s * 1e6) for name, s in spent.items()}
        rows.append({"chars": [least, most], **shown, "share": round(spent["language"] / spent["default"], 4)})
    return rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    guards: dict[str, Guard] = {"language": LanguageGuard(), "default": load()}
    found = texts()
    english = [t for source in ENGLISH for t in found[source]]
    random.Random(7).shuffle(english)
    every = [t for source in (*ENGLISH, *ENGLISH_TOO) for t in found[source]]
    figures: dict[str, Any] = {
        "english": {s: told(guards["language"], found[s], HOME) for s in (*ENGLISH, *ENGLISH_TOO)},
        "all_english": told(guards["language"], every, HOME),
        "others": {code: told(guards["language"], found[source], code) for source, code in OTHERS.items()},
        "cost": cost(guards, english),
    }
    figures["most_share"] = max(row["share"] for row in figures["cost"])
    report.write("language", "python -m bench.language", figures)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
