"""What the batcher adds to a bare call of the guard's model, tokenisation included, and what batches gain.

    python -m bench.judging            # half an hour on two cores; --quick for a short one

Texts are made for each round, so that nobody has seen one before; sides take turns (ABBA) in one process with as many
threads. The bare side tokenises with the same tokenizer, pads to the longest and calls the same model in the same
precision; a text longer than a window is cut into the same windows. It does nothing else: no queue, no other thread, no
normalisation, no calibration.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import uvloop
from tokenizers import Tokenizer

from bench.report import write
from bench.stats import median_ratio
from guards.classifier import MODEL, Classifier, read_manifest
from guards.registry import MODELS, load
from guards.verdict import Passage
from service.judges import BatchedJudges
from service.telemetry.metrics import Metrics

GUARD: Final = MODELS / "default"
SENTENCE: Final = (
    "the river carries what it is given down to wide and open sea where boats come in every morning with fish for "
    "market people buy bread talk about weather children run along old harbour wall while gulls wait on roofs"
)
TENANT: Final = "bench"


@dataclass(frozen=True, slots=True)
class Size:
    """`lengths` in tokens; `singles` texts one after the other, `queue` texts at once, in each of `rounds`."""

    lengths: tuple[int, ...] = (16, 32, 64, 120, 512)
    singles: int = 24
    queue: int = 64
    rounds: int = 24
    threads: int = 1
    batch_tokens: int = 4096


class Bare:
    """The least a judge can be: tokenizer and model."""

    def __init__(self, folder: Path, backend: str, size: Size) -> None:
        manifest, _ = read_manifest(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(manifest.max_tokens, stride=manifest.overlap_tokens, direction="left")
        self._tokenizer.enable_padding()
        self._batch_tokens = size.batch_tokens
        self._call = (_openvino if backend == "openvino" else _onnxruntime)(folder / MODEL, size.threads)

    def one(self, text: str) -> None:
        encoding = self._tokenizer.encode(text)
        self._infer([encoding, *encoding.overflowing])

    def many(self, texts: Sequence[str]) -> None:
        """In batches of like length, as many tokens in each as the batcher takes."""
        encodings = [e for text in self._tokenizer.encode_batch(texts) for e in (text, *text.overflowing)]
        most = max(1, self._batch_tokens // max(len(e.ids) for e in encodings))
        for i in range(0, len(encodings), most):
            self._infer(encodings[i : i + most])

    def _infer(self, encodings: Sequence[Any]) -> None:
        names = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        self._call({n: np.array([getattr(e, a) for e in encodings], np.int64) for n, a in names.items()})


def _openvino(model: Path, threads: int) -> Callable[[dict[str, Any]], object]:
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    compiled = ov.Core().compile_model(model, "CPU", settings)  # bf16 by itself where the CPU has it
    return compiled.create_infer_request().infer


def _onnxruntime(model: Path, threads: int) -> Callable[[dict[str, Any]], object]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


class Texts:
    """Different texts of a length in tokens, as many as are asked for."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._random, self._words = Random(1), SENTENCE.split()

    def of(self, tokens: int, count: int) -> list[str]:
        return [self._one(tokens) for _ in range(count)]

    def _one(self, tokens: int) -> str:
        text = " ".join(self._random.choices(self._words, k=tokens))
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return text[: offsets[min(tokens - 2, len(offsets)) - 1][1]]  # two are the special ones


async def measure(size: Size, backend: str, folder: Path = GUARD) -> dict[str, Any]:
    """Figures by length."""
    guard = load(folder=folder, backend=backend, threads=size.threads, batch_tokens=size.batch_tokens)  # type: ignore[arg-type]
    bare, texts = Bare(folder, backend, size), Texts(folder)
    async with BatchedJudges([guard], Metrics()) as judges:
        found = {}
        for tokens in size.lengths:
            print(f"{backend}: texts of {tokens} tokens", file=sys.stderr, flush=True)
            found[str(tokens)] = await _length(tokens, size, judges, guard, bare, texts)
    return {"backend": guard.backend, "threads": size.threads, "queue": size.queue, "tokens": found}


async def _length(
    tokens: int, size: Size, judges: BatchedJudges, guard: Classifier, bare: Bare, texts: Texts
) -> dict[str, Any]:
    async def one(text: str) -> None:
        judged = await judges.ask([guard.name], [Passage(text)], 600, TENANT)
        assert judged[0][0].scores is not None

    async def single(some: Sequence[str]) -> None:
        for text in some:
            await one(text)

    async def queue(some: Sequence[str]) -> None:
        await asyncio.gather(*map(one, some))

    async def bare_single(some: Sequence[str]) -> None:
        for text in some:
            bare.one(text)

    async def bare_queue(some: Sequence[str]) -> None:
        bare.many(some)

    sides = {"single": (single, size.singles), "queue": (queue, size.queue)}
    sides |= {"bare_single": (bare_single, size.singles), "bare_queue": (bare_queue, size.queue)}
    each_s: dict[str, list[float]] = {name: [] for name in sides}  # seconds a text
    for number in range(size.rounds + 2):  # two to warm up: kernels are compiled by shape
        for name in list(sides) if number % 2 else reversed(sides):
            side, count = sides[name]
            some = texts.of(tokens, count)
            begun = time.perf_counter()
            await side(some)
            each_s[name].append((time.perf_counter() - begun) / count)
    each_s = {name: values[2:] for name, values in each_s.items()}
    figures: dict[str, Any] = {f"{name}_ms": round(1e3 * float(np.median(v)), 3) for name, v in each_s.items()}
    return figures | {
        "single_to_bare": median_ratio(each_s["single"], each_s["bare_single"]).document(),
        "queue_to_bare": median_ratio(each_s["queue"], each_s["bare_queue"]).document(),
        "gain_of_batches": median_ratio(each_s["single"], each_s["queue"]).document(),
        "bare_gain_of_batches": median_ratio(each_s["bare_single"], each_s["bare_queue"]).document(),
    }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few short rounds; writes nothing")
    parser.add_argument("--rounds", type=int, default=Size().rounds)
    parser.add_argument("--threads", type=int, default=Size().threads, help="CPU threads of either side")
    parser.add_argument("--backend", action="append", choices=["openvino", "onnxruntime"], help="both if not given")
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    size = replace(Size(), rounds=options.rounds, threads=options.threads)
    if options.quick:
        size = replace(size, lengths=(16, 120), singles=8, queue=32, rounds=4)
    backends = options.backend or ["openvino", "onnxruntime"]
    figures = {backend: uvloop.run(measure(size, backend)) for backend in backends}
    for backend, found in figures.items():
        for tokens, row in found["tokens"].items():
            ratios = {n: v["value"] for n, v in row.items() if isinstance(v, dict)}
            print(backend, tokens, {n: v for n, v in row.items() if not isinstance(v, dict)}, ratios)
    if not options.quick:
        print(write("judging", "python -m bench.judging", figures))


if __name__ == "__main__":
    main(arguments())
