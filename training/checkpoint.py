"""A run that was killed goes on where it stood, and tells how long it still needs."""

import time
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """Weights, optimizer and step in one file, replaced whole; one of other rows or settings is not used.

    Args:
        digest: of what decides the weights.
        parts: what has `state_dict` and `load_state_dict`.
    """

    def __init__(self, path: Path, digest: str, every_s: float, *parts: Any) -> None:
        self.path, self.digest, self.every_s, self.parts = path, digest, every_s, parts
        self._saved = time.monotonic()

    def save(self, step: int, losses: list[float]) -> None:
        parts = [part.state_dict() for part in self.parts]
        unfinished = self.path.with_suffix(".part")
        torch.save({"digest": self.digest, "step": step, "losses": losses, "parts": parts}, unfinished)
        unfinished.replace(self.path)
        self._saved = time.monotonic()

    def save_if_due(self, step: int, losses: list[float]) -> None:
        if time.monotonic() - self._saved > self.every_s:
            self.save(step, losses)

    def restore(self) -> tuple[int, list[float]]:
        """The step to go on from and the losses so far; 0 and none without a checkpoint."""
        if not self.path.is_file():
            return 0, []
        state = torch.load(self.path, weights_only=True)
        if state.get("digest") != self.digest:
            print(f"{self.path} is of other rows or another recipe and will be replaced", flush=True)
            return 0, []
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        print(f"going on from step {state['step']}", flush=True)
        return int(state["step"]), list(state["losses"])


class Progress:
    """The running loss: kept ten times in a run, printed with the time that is left."""

    def __init__(self, first: int, steps: int, losses: list[float], report_every: int = 50) -> None:
        self.first, self.steps, self.losses, self.report_every = first, steps, losses, report_every
        self._loss = losses[-1] if losses else None
        self._started = time.monotonic()

    def after(self, step: int, loss: float) -> None:
        """To be called when `step` steps are done."""
        self._loss = loss if self._loss is None else self._loss + 0.02 * (loss - self._loss)
        if step % max(1, self.steps // 10) == 0:
            self.losses.append(round(self._loss, 4))
        if step % self.report_every == 0 or step == self.steps:
            left_s = (time.monotonic() - self._started) / (step - self.first) * (self.steps - step)
            print(f"step {step}/{self.steps}  loss {self._loss:.4f}  {left_s / 60:.1f} min left", flush=True)
