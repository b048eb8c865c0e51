"""Fine-tuning of a guard's network in place: whole or by adapters, with a loss of choice, until it gets no better."""

import hashlib
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from guards.windows import Window
from training.checkpoint import Checkpoint, Progress
from training.encode import Batch, Encoded, shuffled, tensors
from training.network import GuardNetwork
from training.recipe import Loss, Recipe, Stop

DECIDING: Final = {"seed", "heads", "epochs", "batch_tokens", "lr", "head_lr", "warmup", "weight_decay", "frozen"} | {
    "lora", "loss", "stop"
}  # fmt: skip


def fit(network: GuardNetwork, data: Encoded, held: Encoded, made_by: Recipe, out: Path) -> dict[str, Any]:
    """Trains in place; returns the loss about ten times along the way, and of `stop` what was seen."""
    digest, plan = run_digest(network, data, made_by), _plan(data, made_by)
    _adapt(network, made_by)
    optimizer, schedule = _optimizer(network, made_by, len(plan))
    best = Best(network, held, made_by, made_by.stop, len(plan)) if made_by.stop else None
    state = (network, optimizer, schedule, *filter(None, [best]))
    checkpoint = Checkpoint(checkpoint_of(out), digest, made_by.checkpoint_s, *state)
    step, losses = checkpoint.restore()
    progress = Progress(step, len(plan), losses)
    while step < len(plan) and not (best and best.over):
        loss = masked_loss(network, tensors(data, plan[step]), made_by.loss)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        progress.after(step, loss.item())
        if best:
            best.after(step)
        checkpoint.save_if_due(step, losses)
    checkpoint.save(step, losses)
    found = {"loss": losses} | ({"stopped": best.take()} if best else {})
    if made_by.lora:
        network.encoder = network.encoder.merge_and_unload()
    return found


class Best:
    """Keeps the weights that held-back rows like best; early stopping as Prechelt has it (1998): by patience."""

    def __init__(self, network: GuardNetwork, held: Encoded, made_by: Recipe, stop: Stop, steps: int) -> None:
        self.network, self.loss, self.patience = network, made_by.loss, stop.patience
        self.every = max(1, steps // stop.looks)
        rows = held.some(stop.rows, made_by.seed)
        self.batches = [tensors(rows, batch) for batch in shuffled(rows, made_by.batch_tokens, 0)]
        self.looks: list[float] = []
        self.weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether the last `patience` looks were no better than one before them."""
        since = len(self.looks) - 1 - int(np.argmin(self.looks)) if self.looks else 0
        return since >= self.patience

    def after(self, step: int) -> None:
        """To be called when `step` steps are done."""
        if step % self.every:
            return
        self.looks.append(self._held_back())
        print(f"step {step}  held-back loss {self.looks[-1]:.4f}", flush=True)
        if self.looks[-1] == min(self.looks):
            self.weights = {k: v.detach().clone() for k, v in self.network.state_dict().items()}

    def take(self) -> dict[str, Any]:
        """Puts the best weights back; returns the looks and which was best, from 1."""
        if self.weights:
            self.network.load_state_dict(self.weights)
        return {"held_back_loss": [round(x, 4) for x in self.looks], "best": int(np.argmin(self.looks or [0])) + 1}

    def _held_back(self) -> float:
        with torch.no_grad():
            losses = [masked_loss(self.network, batch, self.loss) for batch in self.batches]
        return float(np.average([x.item() for x in losses], weights=[b[2].sum().item() + 1e-9 for b in self.batches]))

    def state_dict(self) -> dict[str, Any]:
        return {"looks": self.looks, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.looks, self.weights = state["looks"], state["weights"]


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


def masked_loss(network: GuardNetwork, batch: Batch, how: Loss | None = None) -> Tensor:
    """Binary cross entropy over the labels that are known (a weight of 0 says unknown), focused as `how` says."""
    inputs, labels, weights = batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(**inputs).float()
    how = how or Loss()
    each = binary_cross_entropy_with_logits(logits, labels, reduction="none")
    if how.gamma:
        each = each * (labels - logits.sigmoid()).abs() ** how.gamma
    if how.tilt:
        known = weights > 0
        shares = torch.where(known, how.tilt * each.detach(), -torch.inf).flatten().softmax(0).view_as(each)
        weights = weights * torch.nan_to_num(shares) * known.sum()
    return (each * weights).sum() / weights.sum().clamp(min=1)


def _plan(data: Encoded, made_by: Recipe) -> list[list[Window]]:
    """The batches of all epochs, in order; the last epoch may be a part of one."""
    epochs = math.ceil(made_by.epochs)
    plan = [b for epoch in range(epochs) for b in shuffled(data, made_by.batch_tokens, made_by.seed + epoch)]
    return plan[: max(1, round(len(plan) * made_by.epochs / epochs))]


def _adapt(network: GuardNetwork, made_by: Recipe) -> None:
    """Marks what is trained; puts low-rank adapters into the encoder if the recipe has them."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith((*made_by.frozen, "wide.")))
    if made_by.lora:
        from peft import get_peft_model

        from training.llm.model import low_rank

        network.encoder = get_peft_model(network.encoder, low_rank(made_by.lora))


def _optimizer(
    network: GuardNetwork, made_by: Recipe, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW, linear warm-up, linear decay; frozen parameters get no gradient."""
    body = [p for p in network.encoder.parameters() if p.requires_grad]
    groups = [{"params": body, "lr": made_by.lr}, {"params": list(network.heads.parameters()), "lr": made_by.head_lr}]
    optimizer = torch.optim.AdamW(groups, weight_decay=made_by.weight_decay)
    rise = max(1, round(steps * made_by.warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, max(0.0, (steps - step) / max(1, steps - rise)))
    )
    return optimizer, schedule
