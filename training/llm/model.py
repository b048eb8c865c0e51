"""Models, tokenizers and adapters, loaded as a recipe says."""

import os
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from training.llm.dialogues import Length, Message
from training.llm.recipe import Lora, Recipe, Reward
from training.rows import DataError

SMALL: Final = "smollm2-135m-instruct"
ADAPTER: Final = "adapter_config.json"
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def source(model: str) -> str:
    """Folder or hub id of `model`; `small` is the one that `sluicegate engine model` brings.

    Raises:
        DataError: there is no such folder.
    """
    if model == "small":
        folder = Path(os.environ.get("SLUICEGATE_HOME") or "var") / "cache" / "models" / SMALL
        if not (folder / "config.json").is_file():
            raise DataError(f"the small model is not in {folder}. Run: .venv/bin/sluicegate engine model")
        return str(folder)
    if model.startswith((".", "/", "~")) or Path(model).is_dir():
        folder = Path(model).expanduser()
        if not (folder / "config.json").is_file():
            raise DataError(f"{folder} is no model folder: it has no config.json")
        return str(folder)
    return model


def tokenizer(model: str) -> Any:
    """Of a model folder or hub id; padding is a token that no answer ends with. Raises DataError if there is none."""
    try:
        found = AutoTokenizer.from_pretrained(source(model))
    except OSError as error:
        raise DataError(f"{model} is no model folder and no hub id that can be reached: {error}") from error
    if found.pad_token_id in (None, found.eos_token_id):
        found.pad_token = found.unk_token or found.eos_token
    return found


def causal(recipe: Recipe, pad: int | None = None) -> Any:
    """The language model of a recipe, the adapter it starts from merged in."""
    return begun(AutoModelForCausalLM, recipe, pad)


def scorer(recipe: Reward, pad: int) -> Any:
    """The same with one number as its output in place of a vocabulary; that head is new."""
    return begun(AutoModelForSequenceClassification, recipe, pad, **one_number(recipe.depth))


def one_number(depth: int | None) -> dict[str, int]:
    """How a reward model differs from the model it is made of."""
    return {"num_labels": 1} | ({"num_hidden_layers": depth} if depth else {})


def begun(kind: Any, recipe: Recipe, pad: int | None, **more: Any) -> Any:
    """A model of one of transformers' auto classes; new weights are drawn by the recipe's seed."""
    torch.manual_seed(recipe.seed)
    more |= {"dtype": DTYPES[recipe.dtype] if recipe.lora else torch.float32}  # what is trained whole stays exact
    if recipe.lora and recipe.lora.bits:
        more |= {"quantization_config": _quantised(recipe.lora.bits)}
    model = kind.from_pretrained(source(recipe.model), **more)
    if recipe.adapter is not None:
        if not (recipe.adapter / ADAPTER).is_file():
            raise DataError(f"{recipe.adapter} is no adapter: it has no {ADAPTER}")
        model = PeftModel.from_pretrained(model, str(recipe.adapter)).merge_and_unload()
    model.config.pad_token_id = model.config.pad_token_id if pad is None else pad
    model.config.use_cache = False
    return model


def _quantised(bits: int) -> Any:
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise DataError("lora.bits: a quantised base needs a GPU. Leave `bits` out here")
    return BitsAndBytesConfig(
        load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip


def adapters(recipe: Recipe, task: str = "CAUSAL_LM") -> LoraConfig | None:
    """What PEFT adds to the model; None: all weights are trained."""
    return low_rank(recipe.lora, task) if recipe.lora else None


def low_rank(lora: Lora, task: str | None = None) -> LoraConfig:
    """PEFT's configuration of adapters."""
    return LoraConfig(
        task_type=task,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        layers_to_transform=list(range(*lora.layers)) if lora.layers else None,
    )


def length(tokenizer: Any) -> Length:
    """Tokens of a dialogue and its answer, as the chat template writes them."""

    def count(messages: list[Message], answer: str) -> int:
        turns = [*messages, {"role": "assistant", "content": answer}]
        return len(tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False))

    return count


def trainable(model: Any) -> tuple[int, int]:
    """Parameters that are trained, and all."""
    each = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, on in each if on), sum(n for n, _ in each)
