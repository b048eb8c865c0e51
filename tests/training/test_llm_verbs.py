"""Every verb of the LLM's training, from rows to weights with a lineage, on a model of two layers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("llm_program.py")
ROOT = PROGRAM.parents[2]
KILLED = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("llm")


@pytest.fixture(scope="module")
def found(train, folder):
    if train("-c", "import trl, peft, vaderSentiment", check=False).returncode:
        pytest.skip("no TRL in .venv-engine: run `make train-env`")
    done = train(str(PROGRAM), str(folder), SLUICEGATE_DATA=str(folder))
    return json.loads(done.stdout.rpartition("FOUND ")[2]) | {"said": done.stdout}


def test_instruction_tuning(found):
    """Held-back answers are less surprising after `sft` than before, beyond the interval."""
    assert found["sft"]["metrics"]["perplexity"]["ratio"]["high"] < 1


def test_reward_model(found):
    """A reward model puts held-back pairs in the right order."""
    assert found["reward"]["metrics"]["accuracy"]["low"] > 0.6


@pytest.mark.parametrize("verb", ["dpo", "kto"])
def test_preferences(found, verb):
    """Preference optimisation, in pairs or one by one, moves held-back answers apart the right way."""
    assert found[verb]["metrics"]["margin"]["low"] > 0


@pytest.mark.parametrize("verb", ["grpo", "rloo"])
def test_online(found, verb):
    """Online learning reports what answers earned before and after, and the share of harmful ones."""
    metrics = found[verb]["metrics"]
    assert set(metrics["reward"]) == {"before", "after", "difference"}
    assert metrics["harmful"]["before"]["high"] < 1
    assert metrics["prompts"] > 5


@pytest.mark.parametrize("verb", ["pretrain", "encoder"])
def test_pretraining(found, verb):
    """The next token, and hidden tokens, of held-back texts are better guessed after than before."""
    held = found[verb]["metrics"]["loss_held"]
    assert held["after"] < held["before"]


def test_a_killed_run_goes_on(found, folder):
    """After a kill -9 the same command goes on from its last whole checkpoint and ends where an unbroken run ends."""
    assert found["killed"] == KILLED
    assert "going on from step" in found["said"]
    assert found["broken"]["digest"] == found["sft"]["digest"]
    assert found["broken"]["metrics"]["perplexity"] == found["sft"]["metrics"]["perplexity"]
    assert not (folder / "broken.checkpoint" / "checkpoint-9").exists()  # half-written: it was passed over


def test_lineage(found, folder):
    """Each run says what it was made from: data, recipe, revision, digest of the weights; no gate was passed yet."""
    one = found["dpo"]
    fields = "name version kind digest parent datasets recipe recipe_digest revision run metrics gates"
    assert not set(fields.split()) - set(one)
    assert one["gates"] == {"passed": False, "checks": []}
    assert one["kind"] == "adapter"
    assert found["pretrain"]["kind"] == "model"
    assert found["reward"]["datasets"] == one["datasets"] != found["sft"]["datasets"]
    assert len({found[v]["digest"] for v in ("sft", "dpo", "kto", "grpo", "merged")}) == 5
    assert one["parent"] == "base"
    assert json.loads((folder / "dpo" / "lineage.json").read_text()) == one


def test_no_pickle_beside_weights(found, folder):
    """A folder of weights holds no file that can carry code."""
    assert not [p.name for v in ("sft", "reward", "dpo", "merged", "int8") for p in (folder / v).glob("*.bin")]


def test_cost_is_said_before(found):
    """Tokens, steps, work, memory and hours are printed before a run begins, and the steps are those that are made."""
    assert found["said"].index("cost: ") < found["said"].index("step ")
    cost = found["sft"]["metrics"]["cost"]
    assert cost["steps"] == 5 * len(found["sft"]["metrics"]["loss"])
    assert cost["hours"] > 0
    assert cost["tokens"] > 1000
    assert cost["gib"] < found["sft"]["metrics"]["peak_gib"]


def test_merged_is_the_same_model(found):
    """In 32 bits a merged model gives what base and adapter gave; it names its parent."""
    assert found["merge"]["largest"] < 1e-3
    assert found["merged"]["parent"] == "sft@0.0.1"


def test_quantised_is_smaller_and_near(found, folder):
    """Eight-bit weights are written in the form that vLLM reads, and how far outputs moved is told."""
    config = json.loads((folder / "int8" / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"
    assert found["quantize"]["largest"] < 0.2
    assert (folder / "int8" / "model.safetensors").stat().st_size < 0.7 * (
        folder / "merged" / "model.safetensors"
    ).stat().st_size


def test_evaluation(found):
    """A report holds both sides, examples as a baseline, win rates, people's rankings, and a page."""
    report = found["evaluated"]
    assert set(report["sides"]) == {"model", "against", "shots", "reworded"}
    assert 0 <= report["flipped"]["value"] <= report["flipped"]["high"] <= 1
    assert report["sides"]["model"]["perplexity"]["value"] < report["sides"]["against"]["perplexity"]["value"]
    assert {"bleu", "chrf", "rouge_l", "exact", "declined", "harmful", "reward_model"} <= set(report["sides"]["model"])
    assert set(report["wins"]) == {"harmless", "reward_model"}
    assert report["people"]["new"]["value"] > report["people"]["old"]["value"]
    assert report["html"].startswith("<!doctype html>")


def test_launchers(found):
    """accelerate reads the configurations that ship: FSDP and DeepSpeed for eight GPUs."""
    assert found["launched"] == {"deepspeed_zero3": 8, "fsdp_8gpu": 8}


def test_two_processes_share_the_work(found):
    """Each sees half of every batch's rows, so there are fewer steps; one speaks for both; the weights have learnt."""
    both, alone = found["together"], found["sft"]["metrics"]
    assert both["cost"]["steps"] == 15 < alone["cost"]["steps"] == 25
    assert both["perplexity"]["ratio"]["high"] < 1
    assert [both["said"].count(word) for word in ("cost: ", "done: ")] == [1, 1]


def test_whole_checkpoints(found):
    """A checkpoint has its last file and an optimizer: of one process, or of FSDP's or DeepSpeed's shards."""
    assert found["whole"] == {"alone": True, "fsdp": True, "deepspeed": True, "half": False, "early": False}


def test_gates_are_written_down(found):
    """What the evaluation's gates say is in the lineage that promotion reads."""
    assert found["passed"] == found["evaluated"]["gates"]
    assert [c["name"] for c in found["passed"]["checks"]] == ["harm", "harmful", "reward_model"]


def test_bias(found):
    """Each group of each axis has a gap in each measure, those that chance does not explain first."""
    gaps = found["bias"]["gaps"]
    assert len(gaps) == 2 * 4
    assert found["bias"]["answers"] == 4
    assert [g["told"] for g in gaps] == sorted((g["told"] for g in gaps), reverse=True)
    by_measure = {m: [g["value"] for g in gaps if g["measure"] == m] for m in ("words", "sentiment")}
    assert all(sum(values) == pytest.approx(0, abs=1e-6) for values in by_measure.values())


def test_bad_recipe_loads_nothing(tmp_path):
    """A bad recipe ends the command with one clear message before torch is loaded, and changes nothing."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("{name: x}")
    program = "import sys; sys.modules['torch'] = None; from training.cli import app; app()"
    command = [sys.executable, "-c", program, "sft", "--recipe", str(bad), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "line 1: version: is missing" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
