"""Writes an adapter into its base: sluicegate-train merge --adapter var/sft --out var/sft-merged.

In bfloat16 a merged model is not the same model: some first choices of a token change. So it is compared with the
unmerged one before it is written, and the figures go with it.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.rows import DataError

TEXTS = (
    "What should I cook for eight friends?",
    "Explain why the sky is blue, in two sentences.",
    "I was told to reset my password, but the link does not work. What now?",
    "Write a short poem about a river.",
)
KINDS = {"CAUSAL_LM": "AutoModelForCausalLM", "SEQ_CLS": "AutoModelForSequenceClassification"}


def main(argv: Sequence[str] | None = None) -> None:
    """Merges, compares, writes a model folder that any engine loads."""
    given = _options().parse_args(argv)
    metrics = merge(given.adapter, given.out, given.dtype, given.threads)
    changed = metrics["changed"]
    print(f"done: {given.out}, first choice changed for {changed:.1%} of tokens", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluicegate-train merge", description=__doc__)
    parser.add_argument("--adapter", type=Path, required=True, help="folder that sft, reward, dpo or grpo wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the merged model")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch decides")
    return parser


def merge(adapter: Path, out: Path, dtype: str = "bfloat16", threads: int = 0) -> dict[str, Any]:
    """The merged model in folder `out`; returns how its outputs differ from those of base and adapter in float32.

    Raises:
        DataError: `adapter` holds no adapter.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise DataError(f"{adapter} is no adapter: it has no adapter_config.json")
    import torch
    import transformers
    from peft import PeftModel

    from training.llm import model, run

    run.prepare(threads)
    config = json.loads((adapter / model.ADAPTER).read_text())
    kind = getattr(transformers, KINDS[config["task_type"]])
    more = model.one_number(_depth(adapter)) if config["task_type"] == "SEQ_CLS" else {}
    base = config["base_model_name_or_path"]
    tokenizer = model.tokenizer(base)
    with_adapter = PeftModel.from_pretrained(kind.from_pretrained(base, dtype=torch.float32, **more), str(adapter))
    wanted = outputs(with_adapter, tokenizer)
    merged = with_adapter.merge_and_unload().to(model.DTYPES[dtype])
    merged.config.pad_token_id = tokenizer.pad_token_id
    metrics = differences(wanted, outputs(merged, tokenizer))
    merged.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))
    inherit(adapter, out, "merge", metrics)
    return metrics


def _depth(adapter: Path) -> int | None:
    recipe = adapter / "recipe.json"
    return json.loads(recipe.read_text()).get("depth") if recipe.is_file() else None


def inherit(parent: Path, out: Path, verb: str, metrics: dict[str, Any]) -> None:
    """Writes `lineage.json` for weights made from others: same data and recipe, another digest, nothing passed yet."""
    from training.llm import run

    found = parent / run.LINEAGE
    lineage = (
        json.loads(found.read_text()) if found.is_file() else {"name": parent.name, "version": "0", "datasets": []}
    )
    lineage |= {"parent": f"{lineage['name']}@{lineage['version']}", "verb": verb, "kind": "model"}
    lineage |= {"digest": run.weights_digest(out), "revision": run.revision()}
    lineage |= {"metrics": {verb: metrics}, "gates": {"passed": False, "checks": []}}
    (out / run.LINEAGE).write_text(json.dumps(lineage, indent=1) + "\n", encoding="utf-8")
    if (recipe := parent / "recipe.json").is_file():
        shutil.copy(recipe, out)


def outputs(model: Any, tokenizer: Any) -> list[Any]:
    """Logits for each of a few texts, in 32 bits."""
    import torch

    model.eval()
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).logits[0].float() for text in TEXTS]


def differences(wanted: Sequence[Any], found: Sequence[Any]) -> dict[str, float]:
    """Largest and mean difference of a probability (of a score: of itself), share of changed first choices."""
    import torch

    pairs = [(a, b) if a.shape[-1] == 1 else (a.softmax(-1), b.softmax(-1)) for a, b in zip(wanted, found, strict=True)]
    apart = [(a - b).abs() for a, b in pairs]
    changed = torch.cat([(a.argmax(-1) != b.argmax(-1)).float().flatten() for a, b in pairs])
    return {
        "largest": round(max(float(d.max()) for d in apart), 5),
        "mean": round(float(torch.cat([d.max(-1).values.flatten() for d in apart]).mean()), 5),
        "changed": round(float(changed.mean()), 4),
    }


if __name__ == "__main__":
    main()
