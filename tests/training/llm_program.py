"""Runs every verb of the LLM's training once on a model of two layers; prints what came of it as JSON.

One process, since starting torch costs more than all of it. Usage: python llm_program.py FOLDER
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training import dpo, evaluate_llm, grpo, llm_bias, merge, pretrain, quantize, reward, sft
from training.llm import run as checkpoints

ROOT = Path(__file__).parents[2]
FOLDER = Path(sys.argv[1])
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[MASK]"]
COMMON = {"version": "0.0.1", "model": str(FOLDER / "base"), "held": 0.3, "lr": 1e-2, "batch": 8, "max_tokens": 160}
COMMON |= {"lora": {"r": 8, "alpha": 16}, "dtype": "float32", "tracking": [], "schedule": "constant", "epochs": 5}
RECIPES = {
    "sft": {"save_steps": 4, "dtype": "float32"},
    "reward": {},
    "dpo": {"beta": 0.5},
    "kto": {"loss": ["kto"], "max_steps": 4},
    "grpo": {
        "max_steps": 2, "answers": 4, "answer_tokens": 6, "beta": 0.01, "batch": 4,
        "rewards": [{"reward_model": str(FOLDER / "reward")}, {"guard": "default", "weight": 0.5}],
    },
    "rloo": {
        "max_steps": 2, "answers": 2, "answer_tokens": 4, "batch": 2, "algorithm": "rloo",
        "rewards": [{"guard": "default"}],
    },
    "pretrain": {"max_tokens": 32, "max_steps": 8, "lora": None},
    "encoder": {
        "model": str(FOLDER / "encoder"), "objective": "masked", "max_tokens": 32, "max_steps": 8, "lora": None,
    },
}  # fmt: skip


def made(verb: str) -> Path:
    path = FOLDER / f"{verb}.yaml"
    data = {"name": verb, "data": [{"file": str(FOLDER / "pairs.jsonl")}]}
    path.write_text(yaml.safe_dump(COMMON | data | RECIPES[verb]))
    return path


def world() -> None:
    """Pairs that a small model can learn, a tokenizer of bytes, a language model and an encoder without knowledge."""
    rows = [
        {
            "prompt": f"Question {n} about {what}?", "chosen": f"Yes, {what} is fine.", "rejected": "No, go away!!",
            "license": "MIT", "group": str(n),
        }
        for n, what in enumerate(["bread", "chess", "trains", "cats"] * 12)
    ]  # fmt: skip
    (FOLDER / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    letters = {c: n for n, c in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=SPECIAL[0], bos_token=SPECIAL[1], eos_token=SPECIAL[2],
        pad_token=SPECIAL[0], mask_token=SPECIAL[3],
    )  # fmt: skip
    fast.chat_template = (ROOT / "service" / "engine" / "smollm2.jinja").read_text()
    torch.manual_seed(0)
    sizes = {"vocab_size": len(letters), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "max_position_embeddings": 256}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    llama = LlamaConfig(**sizes, **heads, **ends, num_key_value_heads=1, tie_word_embeddings=True)
    LlamaForCausalLM(llama).save_pretrained(FOLDER / "base")
    BertForMaskedLM(BertConfig(**sizes, **heads, pad_token_id=0)).save_pretrained(FOLDER / "encoder")
    for folder in ("base", "encoder"):
        fast.save_pretrained(FOLDER / folder)


def run(verb: str, main, out: str = "") -> dict:
    out = out or verb
    main(["--recipe", str(made(verb)), "--out", str(FOLDER / out), "--threads", "1"])
    return json.loads((FOLDER / out / "lineage.json").read_text())


def killed_in_between() -> int:
    """An `sft` that is killed (-9) as soon as its first checkpoint is whole; how its process ended."""
    child = os.fork()
    if child == 0:
        run("sft", sft.main, "broken")
        os._exit(0)
    first = FOLDER / "broken.checkpoint" / "checkpoint-4" / "trainer_state.json"
    ends = time.monotonic() + 120
    while not first.exists() and time.monotonic() < ends:
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def together() -> dict:
    """An `sft` of two processes, as a launcher starts them."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "training.sft"]
    options = ["--recipe", str(made("sft")), "--out", str(FOLDER / "together"), "--threads", "1"]
    alone = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *options], env=alone, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((FOLDER / "together" / "metrics.json").read_text()) | {"said": done.stdout}


def whole() -> dict[str, bool]:
    """Which checkpoints count as whole: of one process, of shards, and of some that a kill left half-written."""
    left = {
        "alone": "optimizer.pt",
        "fsdp": "optimizer_0/x.distcp",
        "deepspeed": "global_step8/x.pt",
        "half": "model.pt",
    }
    for name, file in left.items():
        path = FOLDER / "left" / name / file
        path.parent.mkdir(parents=True)
        path.touch()
        (FOLDER / "left" / name / "trainer_state.json").write_text("{}")
    (FOLDER / "left" / "early").mkdir()
    (FOLDER / "left" / "early" / "optimizer.pt").touch()
    return {path.name: checkpoints.whole(path) for path in (FOLDER / "left").iterdir()}


def main() -> None:
    torch.set_num_threads(1)
    world()
    found: dict = {"killed": killed_in_between()}
    half_written = FOLDER / "broken.checkpoint" / "checkpoint-9"
    half_written.mkdir()
    for verb, of in (("sft", sft), ("reward", reward), ("dpo", dpo), ("kto", dpo), ("grpo", grpo), ("rloo", grpo)):
        found[verb] = run(verb, of.main)
    found["broken"] = run("sft", sft.main, "broken")
    found["together"], found["whole"] = together(), whole()
    found["pretrain"], found["encoder"] = run("pretrain", pretrain.main), run("encoder", pretrain.main)
    found["merge"] = merge.merge(FOLDER / "sft", FOLDER / "merged", "float32")
    found["merged"] = json.loads((FOLDER / "merged" / "lineage.json").read_text())
    found["quantize"] = quantize.quantize(str(FOLDER / "merged"), FOLDER / "int8")
    local, said = ["--tokens", "6", "--out"], FOLDER / "said.jsonl"
    asked = ["--data", str(FOLDER / "pairs.jsonl"), "--most", "8", "--shots", "1", "--reworded"]
    asked += ["--rankings", str(said)]
    said.write_text('{"places": {"new": 1, "old": 2}}\n' * 5 + '{"places": {"new": 2, "old": 1}}\n')
    sides = ["--model", str(FOLDER / "sft"), "--against", str(FOLDER / "base")]
    evaluate_llm.main(
        [*sides, "--gates", "--reward-model", str(FOLDER / "reward"), *asked, *local, str(FOLDER / "evaluated")]
    )
    (FOLDER / "who.yaml").write_text(yaml.safe_dump({
        "requests": ["{who} moved in. What now?", "Describe {who}."],
        "axes": {"age": {"groups": {"old": "An old man", "young": "A young man"}}},
    }))  # fmt: skip
    audited = ["--model", str(FOLDER / "base"), "--identities", str(FOLDER / "who.yaml")]
    llm_bias.main([*audited, *local, str(FOLDER / "bias")])
    found["passed"] = json.loads((FOLDER / "sft" / "lineage.json").read_text())["gates"]
    for page in ("evaluated", "bias"):
        found[page] = json.loads((FOLDER / page / "report.json").read_text())
        found[page]["html"] = (FOLDER / page / "report.html").read_text()[:60]
    configs = sorted((ROOT / "training" / "recipes" / "accelerate").glob("*.yaml"))
    found["launched"] = {c.stem: load_config_from_file(str(c)).num_processes for c in configs}
    print("FOUND " + json.dumps(found))


if __name__ == "__main__":
    main()
