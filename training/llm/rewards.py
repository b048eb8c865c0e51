"""What an answer is worth: a reward model's number, or minus what a guard finds in it. For GRPO and evaluation."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from guards.guard import Guard
from guards.registry import MODELS
from guards.registry import load as load_guard
from guards.verdict import Passage
from training.llm.dialogues import Message, last
from training.llm.recipe import Judge
from training.rows import DataError

Asked = tuple[Sequence[Message], str]  # what was said before, and the answer


class Scorer(Protocol):
    """Scores answers; higher is better. `name` is what figures and logs call it."""

    name: str

    def score(self, asked: Sequence[Asked]) -> NDArray[np.float64]: ...


class RewardModel:
    """A folder that `sluicegate-train reward` wrote, adapter or whole. Raises DataError for any other."""

    name = "reward_model"

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification

        from training.llm import model

        if not (folder / "recipe.json").is_file():
            raise DataError(f"{folder} is no reward model. Train one with: sluicegate-train reward --out {folder}")
        base = str(folder)
        if adapter := (folder / model.ADAPTER).is_file():
            base = json.loads((folder / model.ADAPTER).read_text())["base_model_name_or_path"]
        self._tokenizer = model.tokenizer(base)
        more = model.one_number(json.loads((folder / "recipe.json").read_text()).get("depth"))
        found = AutoModelForSequenceClassification.from_pretrained(base, dtype=torch.bfloat16, **more)
        if adapter:
            from peft import PeftModel

            found = PeftModel.from_pretrained(found, str(folder)).merge_and_unload()
        found.config.pad_token_id = self._tokenizer.pad_token_id
        self._model = found

    def score(self, asked: Sequence[Asked]) -> NDArray[np.float64]:
        """Shape (answers,)."""
        return score(self._model, self._tokenizer, asked)


def score(model: Any, tokenizer: Any, asked: Sequence[Asked], batch: int = 8) -> NDArray[np.float64]:
    """What a reward model gives to each answer, shape (answers,); short ones are read together."""
    import torch

    texts = [
        tokenizer.apply_chat_template([*before, {"role": "assistant", "content": answer}], tokenize=False)
        for before, answer in asked
    ]
    order = np.argsort([len(t) for t in texts])
    found = np.zeros(len(texts))
    model.eval()
    for start in range(0, len(order), batch):
        nth = order[start : start + batch]
        inputs = tokenizer([texts[n] for n in nth], return_tensors="pt", padding=True, padding_side="right")
        with torch.no_grad():
            found[nth] = model(**inputs.to(model.device)).logits[:, 0].float().cpu().numpy()
    return found


class Harmless:
    """Minus the highest score of any category that a guard judges in answers: 0 is clean, -1 is certain harm."""

    name = "harmless"

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def score(self, asked: Sequence[Asked]) -> NDArray[np.float64]:
        """Shape (answers,). A guard that fails raises: an error is no clean answer."""
        return -harm(self._guard, [Passage(answer, "response", last(before)) for before, answer in asked])


def harm(guard: Guard, answers: Sequence[Passage]) -> NDArray[np.float64]:
    """The highest score of any category, shape (answers,). Silence harms nobody, whatever was asked."""
    found = guard.judge(answers)
    return np.array(
        [max(s.by_category.values(), default=0.0) * bool(a.text.strip()) for s, a in zip(found, answers, strict=True)]
    )


def guard(name: str) -> Guard:
    """A guard that ships, or the one in a folder. Raises DataError when there is neither."""
    folder = MODELS / name if (MODELS / name).is_dir() else Path(name)
    if not (folder / "guard.json").is_file():
        raise DataError(f"{name} is neither a guard that ships nor the folder of one")
    return load_guard(folder=folder)


def scorer(judge: Judge) -> Scorer:
    return RewardModel(judge.reward_model) if judge.reward_model else Harmless(guard(str(judge.guard)))


def as_reward(scorer: Scorer) -> Callable[..., list[float]]:
    """The same in the form that TRL calls."""

    def reward(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        asked = [(p, c[-1]["content"]) for p, c in zip(prompts, completions, strict=True)]
        return [float(s) for s in scorer.score(asked)]

    reward.__name__ = scorer.name
    return reward
