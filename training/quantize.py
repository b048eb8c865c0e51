"""Makes a model smaller: sluicegate-train quantize --model var/sft-merged --out var/sft-int8.

Eight-bit weights with a scale for each output, activations scaled for each token as they come (W8A8), in the
compressed-tensors form that vLLM serves on CPUs and GPUs. Weights are rounded to the nearest step: no data is needed.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from training.merge import differences, inherit, outputs
from training.rows import DataError

STEPS: Final = 127
SCHEME: Final = {
    "format": "int-quantized",
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
            "input_activations": {
                "num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True,
            },
        }
    },
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Quantises, compares with what it was made from, writes a model folder."""
    parser = argparse.ArgumentParser(prog="sluicegate-train quantize", description=__doc__)
    parser.add_argument("--model", default="small", help="`small`, or the folder of a whole model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the smaller model")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch decides")
    given = parser.parse_args(argv)
    metrics = quantize(given.model, given.out, given.threads)
    print(
        f"done: {given.out}, {metrics['mb']['before']} to {metrics['mb']['after']} MB, first choice changed for "
        f"{metrics['changed']:.1%} of tokens",
        flush=True,
    )


def quantize(source: str, out: Path, threads: int = 0) -> dict[str, Any]:
    """A model folder `out` with eight-bit linear layers; returns how its outputs differ, and megabytes.

    Raises:
        DataError: `source` is no whole model.
    """
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    from training.llm import model, run

    run.prepare(threads)
    folder = model.source(source)
    if (Path(folder) / model.ADAPTER).is_file():
        raise DataError(f"{folder} is an adapter. First: sluicegate-train merge --adapter {folder} --out ...")
    found = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    tokenizer = model.tokenizer(folder)
    wanted = outputs(found, tokenizer)
    before = megabytes(found.state_dict())
    stored = compress(found)
    metrics: dict[str, Any] = differences(wanted, outputs(found, tokenizer))
    metrics["mb"] = {"before": before, "after": megabytes(stored)}
    out.mkdir(parents=True, exist_ok=True)
    save_file(stored, out / "model.safetensors", metadata={"format": "pt"})
    config = found.config.to_dict() | {"quantization_config": SCHEME}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    found.generation_config.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))
    inherit(Path(folder), out, "quantize", metrics)
    return metrics


def compress(model: Any) -> dict[str, Any]:
    """What is stored, by name; and in place the weights are what the stored ones mean, so that outputs can be compared.

    What is compared has rounded weights, not rounded activations: those are scaled as they come, by the engine.
    """
    import torch

    stored: dict[str, Any] = {}
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}
    for name, value in model.state_dict().items():
        module = name.removesuffix(".weight")
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if module not in linear:
            stored[name] = value.contiguous().clone()
            continue
        scale = value.float().abs().amax(1, keepdim=True).clamp(min=1e-8) / STEPS
        rounded = (value.float() / scale).round().clamp(-STEPS, STEPS).to(torch.int8)
        stored[name], stored[f"{module}.weight_scale"] = rounded, scale.to(value.dtype)
        value.copy_((rounded.float() * stored[f"{module}.weight_scale"].float()).to(value.dtype))
    return stored


def megabytes(tensors: dict[str, Any]) -> int:
    each = {t.data_ptr(): t.numel() * t.element_size() for t in tensors.values()}  # tied weights count once
    return int(sum(each.values()) / 1e6)


if __name__ == "__main__":
    main()
