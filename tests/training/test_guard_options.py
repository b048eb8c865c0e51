"""What a recipe of a guard can ask for: adapters, losses, shares of votes, an early end, other weights and encoders."""

import json
import math
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("guard_options_program.py")
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def found(train, data, command, tmp_path_factory):
    if train("-c", "import peft", check=False).returncode:
        pytest.skip("no PEFT in .venv-engine: run `make train-env`")
    folder = tmp_path_factory.mktemp("options")
    done = train(str(PROGRAM), str(folder), command[1], SLUICEGATE_DATA=str(data))
    return json.loads(done.stdout.rpartition("FOUND ")[2])


def test_adapters(found):
    """Adapters change what they are put into by their rank, nothing else, and the guard learns."""
    assert found["changed"] == {"rank": 4, "other": 0}
    bad, good = found["lora"]["said"]["onnxruntime"]
    assert bad > good


def test_losses(found):
    """Plain, focal and softmax-weighted losses are what their formulas give; a label of weight 0 counts in none."""
    p = [1 / (1 + math.exp(-x)) for x in (2.0, -1.0, 0.5)]
    each = [-math.log(p[0]), -math.log(p[1]), -math.log(1 - p[2])]
    wrong = [1 - p[0], 1 - p[1], p[2]]
    weights = [1, 1, 2]
    assert found["losses"]["plain"] == pytest.approx(_mean(each, weights), rel=1e-5)
    focal = [e * w**2 for e, w in zip(each, wrong, strict=True)]
    assert found["losses"]["focal"] == pytest.approx(_mean(focal, weights), rel=1e-5)
    tilted = [w * math.exp(1.5 * e) for e, w in zip(each, weights, strict=True)]
    assert found["losses"]["tilted"] == pytest.approx(_mean(each, tilted), rel=1e-5)
    assert found["focal"]["recipe"] != found["whole"]["recipe"]
    assert found["focal"]["loss"] != found["whole"]["loss"]


def _mean(values, weights):
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def test_votes(found):
    """A label is the share of votes where the row tells one; a view that says otherwise keeps its own."""
    assert found["votes"]["majority"] == [1, 1, 0]
    assert found["votes"]["votes"] == pytest.approx([0.7, 1, 0])


def test_early_end(found):
    """A run that held-back rows like less and less ends after `patience` looks, with the first look's weights."""
    first, again = found["stopped"]
    looks = first["stopped"]["held_back_loss"]
    assert len(looks) == 3
    assert looks[0] < min(looks[1:])
    assert first["stopped"]["best"] == 1
    assert again == first  # its checkpoint says that it is over


def test_export_tells_what_it_changed(found):
    """32 bits change nothing, 16 next to nothing, eight and zeros something: told, and the file is as small as said."""
    furthest = {name: found[name]["export"]["furthest"]["score"] for name in ("whole", "focal", "int8", "pruned")}
    assert furthest["whole"] < 1e-4 < furthest["focal"] < 0.02 < furthest["int8"] < 0.5
    assert furthest["pruned"] > furthest["whole"]
    assert found["zeros"]["pruned"] == pytest.approx(0.5, abs=0.01)
    assert found["zeros"]["whole"] < 0.01
    assert found["int8"]["bytes"] < found["focal"]["bytes"] < found["whole"]["bytes"]
    assert all(
        found[n]["export"]["megabytes"] == pytest.approx(found[n]["bytes"] / MEGABYTE, abs=0.1) for n in furthest
    )


@pytest.mark.parametrize("name", ["whole", "int8", "pruned", "roberta", "modernbert"])
def test_both_runtimes_load_it(found, name):
    """OpenVINO and ONNX Runtime say nearly the same, the former in bf16."""
    one, other = found[name]["said"].values()
    assert one == pytest.approx(other, abs=0.6 if name == "int8" else 0.1)


@pytest.mark.parametrize("kind", ["roberta", "modernbert"])
def test_encoders_of_other_kinds(found, kind):
    """An encoder that knows no token types learns, and the tokens of an answer are told from those of its prompt."""
    metrics, types = found[kind], found[kind]["types"]
    assert metrics["loss"][-1] < metrics["loss"][0]
    assert metrics["export"]["furthest"]["score"] < 0.02
    answer = types["pair"].index(1)
    assert types["pair"] == sorted(types["pair"])
    assert types["ids"][answer:-1] == types["ids"][1 : len(types["alone"]) - 1]
    assert not any(types["alone"])


def test_what_pretraining_wrote_is_begun_with(found):
    """The encoder under a model of hidden tokens, as `pretrain` writes it, is the guard's."""
    assert found["pretrained"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("finish", "vocabularies of at most 32768"),
        ("nothing", "no encoder's folder"),
        ("long", "reads 66 tokens at most"),
        ("other weights", "it lacks"),
        ("from int8", "start from a float16 export"),
    ],
)
def test_what_does_not_fit_is_refused(found, what, said):
    """An encoder that is not there or another's, a vocabulary or window too large, weights no longer torch's."""
    assert said in found["refused"][what]
