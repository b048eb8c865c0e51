"""What the verbs that train the LLM do to the small model, on held-back data, beside the model they start from.

.venv-engine/bin/python -m bench.llm        # about 40 minutes on two quiet cores; goes on after a kill

Each verb runs by the recipe that ships. A stage that is done for the same recipe is not run again.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bench import report
from training import document
from training.llm import dialogues, recipe
from training.llm.options import RECIPES

WORK: Final = Path("var/llm")
STAGES: Final = {"reward": recipe.Reward, "sft": recipe.Sft, "dpo": recipe.Dpo, "grpo": recipe.Grpo}
QUIET: Final = {
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch decides")
    parser.add_argument("--only", choices=[*STAGES, "answers"], action="append", help="stages to run; all if not given")
    parser.add_argument("--prompts", type=int, default=48, help="held-back prompts that both models answer")
    given = parser.parse_args()
    for verb in STAGES:
        if not given.only or verb in given.only:
            run(verb, given.threads)
    figures: dict[str, Any] = {"stages": {verb: found for verb in STAGES if (found := of(verb))}}
    if (not given.only or "answers" in given.only) and {"reward", "dpo"} <= figures["stages"].keys():
        (WORK / "answers.json").write_text(json.dumps(answers(given.prompts, given.threads), indent=1))
    if (WORK / "answers.json").is_file():
        figures["dpo_answers"] = json.loads((WORK / "answers.json").read_text())
    figures["missing"] = sorted(STAGES.keys() - figures["stages"].keys())
    print(report.write("llm", "python -m bench.llm", figures))


def run(verb: str, threads: int) -> None:
    """One verb in a process of its own, unless it is done for this recipe."""
    lineage = WORK / verb / "lineage.json"
    wanted = document.load(STAGES[verb], RECIPES / f"{verb}.yaml").digest
    if lineage.is_file() and json.loads(lineage.read_text())["recipe_digest"] == wanted:
        print(f"{verb}: done before", flush=True)
        return
    print(f"{verb} ...", flush=True)
    command = [sys.executable, "-m", f"training.{verb}", "--out", str(WORK / verb), "--threads", str(threads)]
    subprocess.run(command, check=True, env=QUIET | os.environ)


def of(verb: str) -> dict[str, Any] | None:
    """What a stage found, with what it was made from."""
    lineage = WORK / verb / "lineage.json"
    if not lineage.is_file():
        return None
    found = json.loads(lineage.read_text())
    metrics = {k: v for k, v in found["metrics"].items() if k != "loss"}
    losses = found["metrics"]["loss"]
    return metrics | {"loss": [losses[0], losses[-1]], "recipe_digest": found["recipe_digest"]}


def answers(most: int, threads: int) -> dict[str, Any]:
    """Win rate of what `dpo` made over the base, on prompts it did not learn from: by reward model and guard."""
    from training.evaluate_llm import Asked, measured, wins
    from training.llm.answers import local
    from training.llm.rewards import Harmless, RewardModel, guard
    from training.llm.run import prepare

    prepare(threads)
    made_by = document.load(recipe.Dpo, RECIPES / "dpo.yaml")
    held = dialogues.gather(made_by, pairs=True)[1][:most]
    asked = [Asked(e.messages[-1:], e.answer) for e in held]
    said = {side: local(model, 40).answer([q.messages for q in asked]) for side, model in
            (("base", made_by.model), ("dpo", str(WORK / "dpo")))}  # fmt: skip
    scorers = [RewardModel(WORK / "reward"), Harmless(guard("default"))]
    sides = {side: measured(asked, texts, scorers) for side, texts in said.items()}
    return {"prompts": len(asked), "wins": wins(asked, said["dpo"], said["base"], scorers, None), "sides": sides}


if __name__ == "__main__":
    main()
