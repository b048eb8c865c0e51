"""One run, whatever the verb: arguments for TRL, going on after a kill, figures, and where the weights come from."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import datasets
import torch
import transformers
from transformers import PrinterCallback, TrainerCallback

from training.llm import dialogues
from training.llm.cost import Estimate, Work, estimate
from training.llm.dialogues import Example, Length
from training.llm.ranks import first, say
from training.llm.recipe import Recipe
from training.rows import DataError

LINEAGE: Final = "lineage.json"
WEIGHTS: Final = ("adapter_model.safetensors", "model*.safetensors")
STATE: Final = "trainer_state.json"  # of a checkpoint, written last
OPTIMIZER: Final = ("optimizer*", "global_step*")  # the latter under DeepSpeed


def prepare(threads: int) -> None:
    """Torch as all verbs want it. `threads`: of the CPU; 0: torch decides."""
    torch.set_flush_denormal(True)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)


def checkpoints_of(out: Path) -> Path:
    """Beside the folder of the weights, not in it: a checkpoint holds pickles."""
    return out.with_name(f"{out.name}.checkpoint")


def arguments(kind: Any, recipe: Recipe, out: Path, **more: Any) -> Any:
    """TRL's (or transformers') configuration of class `kind` from a recipe.

    Raises:
        DataError: the recipe's `trl` names a field that there is not.
    """
    recipe.beyond(kind.__dataclass_fields__)
    checkpoints = checkpoints_of(out)
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(out.with_name(f"{out.name}.tracking")))
    common = {
        "output_dir": str(checkpoints),
        "seed": recipe.seed,
        "per_device_train_batch_size": recipe.batch,
        "per_device_eval_batch_size": recipe.batch,
        "gradient_accumulation_steps": recipe.accumulate,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "learning_rate": recipe.lr,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup,  # below 1 it is a share
        "weight_decay": recipe.weight_decay,
        "gradient_checkpointing": recipe.checkpointing,
        "bf16": recipe.dtype == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "save_steps": recipe.save_steps,
        "save_total_limit": 2,
        "logging_steps": 5,
        "report_to": [t for t in recipe.tracking if find_spec(t)],
        "disable_tqdm": True,
    }
    return kind(**(common | more | recipe.trl))


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """A line with the loss and the time that is left, about every half minute."""

    def __init__(self) -> None:
        self._begun, self._said, self._first = 0.0, 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begun, self._first = time.monotonic(), state.global_step
        if state.global_step:
            say(f"going on from step {state.global_step}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        now, done = time.monotonic(), state.global_step - self._first
        if now - self._said > 30 or state.global_step == state.max_steps:
            self._said = now
            left_min = (now - self._begun) / max(1, done) * (state.max_steps - state.global_step) / 60
            of_run = f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}"
            say(f"{of_run}  {left_min:.1f} min left")


@dataclass(frozen=True, slots=True)
class Parts:
    """What is learnt from and what is held back, cut to length; `lengths`: tokens of every text learnt from."""

    train: list[Example]
    held: list[Example]
    lengths: list[int]


def fit_in(recipe: Recipe, length: Length, train: Sequence[Example], held: Sequence[Example]) -> Parts:
    """Leaves out turns, or examples, that are too long; says how many."""
    (kept, dropped), (kept_held, _) = (dialogues.fitted(part, recipe.max_tokens, length) for part in (train, held))
    if not kept or not kept_held:
        raise DataError(f"no example is of at most {recipe.max_tokens} tokens: raise max_tokens")
    say(f"{len(kept)} examples to learn from, {len(kept_held)} held back, {dropped} too long")
    return Parts(kept, kept_held, [length(list(e.messages), a) for e in kept for a in (e.answer, e.worse) if a])


def fit(trainer: Any, recipe: Recipe, out: Path, lengths: Sequence[int], work: Work = Work()) -> dict[str, Any]:  # noqa: B008 - frozen
    """Says what it will cost, trains (after a kill: goes on), saves the weights; returns figures of the run."""
    expected = estimate(trainer.model, lengths, recipe, work, trainer.args.world_size)
    say(str(expected))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress())
    begun = time.monotonic()
    with trainer.args.main_process_first(desc="looking for a checkpoint"):
        last = _last(checkpoints_of(out), recipe.digest)
    trainer.train(resume_from_checkpoint=last)
    elapsed_s = time.monotonic() - begun
    if trainer.is_fsdp_enabled:  # shards are for checkpoints: of them alone nothing would be saved here
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(out))
    if first():
        _tidy(out)
    return {"cost": figures(expected), "elapsed_s": round(elapsed_s, 1), "loss": logged(trainer), "peak_gib": _peak()}


def _tidy(out: Path) -> None:
    """No pickle among the weights, and the same configuration for the same run: PEFT writes a set as it comes."""
    (out / "training_args.bin").unlink(missing_ok=True)  # recipe.json says the same
    if (path := out / "adapter_config.json").is_file():
        config = json.loads(path.read_text())
        if isinstance(targets := config.get("target_modules"), list):
            config["target_modules"] = sorted(targets)
        path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def logged(trainer: Any) -> list[float]:
    """The losses of the whole run, those before a kill too."""
    return [round(float(entry["loss"]), 4) for entry in trainer.state.log_history if "loss" in entry]


def figures(expected: Estimate) -> dict[str, Any]:
    return {name: getattr(expected, name) for name in expected.__slots__}


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def _last(folder: Path, recipe_digest: str) -> str | None:
    """The newest whole checkpoint of this recipe. What a kill left half-written is passed over, and then removed."""
    mark = folder / "recipe"
    if mark.is_file() and mark.read_text() != recipe_digest:
        print(f"{folder} is of another recipe and will be replaced", flush=True)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(recipe_digest)
    for found in sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]), reverse=True):
        if whole(found):
            return str(found)
        shutil.rmtree(found)
    return None


def whole(checkpoint: Path) -> bool:
    """Whether a kill left it complete."""
    try:
        json.loads((checkpoint / STATE).read_text())
    except (OSError, ValueError):
        return False
    return any(any(checkpoint.glob(pattern)) for pattern in OPTIMIZER)


def finish(out: Path, recipe: Recipe, verb: str, learnt: Sequence[Example], metrics: dict[str, Any]) -> dict[str, Any]:
    """Writes `metrics.json`, `recipe.json` and `lineage.json`, as promotion wants them; returns the lineage.

    Of several processes only the first writes; the others return nothing.
    """
    if not first():
        return {}
    lineage = {
        "name": recipe.name,
        "version": recipe.version,
        "kind": "adapter" if (out / WEIGHTS[0]).is_file() else "model",
        "verb": verb,
        "digest": weights_digest(out),
        "parent": _parent(str(recipe.adapter or recipe.model)),
        "datasets": dialogues.origins(recipe, learnt),
        "recipe": f"{verb}/{recipe.name}",
        "recipe_digest": recipe.digest,
        "revision": revision(),
        "run": f"run_{uuid.uuid4().hex}",
        "metrics": metrics,
        "gates": {"passed": False, "checks": []},  # nothing has been compared yet
    }
    for name, body in (
        ("metrics.json", metrics),
        ("recipe.json", recipe.model_dump(mode="json")),
        (LINEAGE, lineage),
    ):
        (out / name).write_text(json.dumps(body, indent=1, default=sorted) + "\n", encoding="utf-8")
    (out / "README.md").write_text(_card(lineage), encoding="utf-8")
    return lineage


def _parent(of: str) -> str:
    """`name@version` of what training made, else the name of a folder, else a hub id."""
    if not Path(of).is_dir():
        return of
    lineage = Path(of) / LINEAGE
    found = json.loads(lineage.read_text()) if lineage.is_file() else {}
    return f"{found['name']}@{found['version']}" if found else Path(of).name


def _card(lineage: dict[str, Any]) -> str:
    """What the weights are, for people: PEFT's own page says nothing of this run."""
    told = ("verb", "parent", "datasets", "recipe", "recipe_digest", "revision", "digest")
    lines = [f"# {lineage['name']} {lineage['version']}", "", *(f"- {name}: {lineage[name]}" for name in told)]
    return "\n".join([*lines, "", "```json", json.dumps(lineage["metrics"], indent=1), "```", ""])


def weights_digest(folder: Path) -> str:
    """Of configuration and weights; of an adapter the same that the service computes of it."""
    config = "adapter_config.json" if (folder / WEIGHTS[0]).is_file() else "config.json"
    names = [config, *(p.name for pattern in WEIGHTS for p in sorted(folder.glob(pattern)))]
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def revision() -> str:
    """The commit of this code, with a `+` where files differ from it."""
    try:
        head, changed = (
            subprocess.run(["git", *a], cwd=Path(__file__).parent, check=True, capture_output=True, text=True).stdout
            for a in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + ("+" if changed.strip() else "")
