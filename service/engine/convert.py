"""Turns a GGUF file into a model folder. Run by the engine's Python: `convert.py FILE.gguf TEMPLATE.jinja OUT`.

Imports nothing of the service: that is not installed where vLLM lives alone.
"""

import sys
from pathlib import Path


def convert(gguf: Path, template: Path, out: Path) -> None:
    """Writes weights in bfloat16, tokenizer and chat template to `out`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    tokenizer.save_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    # what its makers advise; vLLM takes it as the default of a request, and without it a small model babbles
    model.generation_config.update(do_sample=True, temperature=0.2, top_p=0.9)
    model.save_pretrained(out)


if __name__ == "__main__":
    convert(*(Path(argument) for argument in sys.argv[1:4]))
