"""Classifiers in Hugging Face's form: real files, real inference, on both runtimes; torch in its own environment."""

import json
import math
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from guards.guard import GuardError
from guards.huggingface import HuggingFaceGuard, HuggingFaceSpec
from guards.redact import redact
from guards.registry import GuardsFile, Loading, build
from guards.verdict import Passage
from tests import models

ROOT = Path(__file__).resolve().parents[2]
TORCH = ROOT / ".venv-engine" / "bin" / "python"
BACKENDS = ("openvino", "onnxruntime")
SEQUENCE = {"model": "m", "labels": {"UNSAFE": "harm"}}
ENTITIES = {"model": "m", "labels": {"PER": "pii", "B-LOC": "privacy"}}


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> Path:
    """`bomb` makes a text unsafe, `toy` takes half of it back."""
    words = {"a": (0, 0), "bomb": (0, 9), "toy": (0, -4), "good": (0, 0), "morning": (0, 0)}
    return models.write(tmp_path_factory.mktemp("sequence") / "m", ["SAFE", "UNSAFE"], words, (0, -4))


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Path:
    words = {"bomb": (9, 0, 0), "idiot": (0, 9, 5)}
    folder = tmp_path_factory.mktemp("several") / "m"
    labels = ["violence", "insult", "threat"]
    return models.write(folder, labels, words, (-5, -5, -5), problem_type="multi_label_classification")


@pytest.fixture(scope="module")
def entities(tmp_path_factory) -> Path:
    words = {
        "anna": (0, 9, 0, 0),
        "smith": (0, 0, 9, 0),
        "##bel": (9, 0, 0, 0),
        "berlin": (0, 0, 0, 9),
        "meets": (9, 0, 0, 0),
        "in": (9, 0, 0, 0),
        ".": (9, 0, 0, 0),
    }
    folder = tmp_path_factory.mktemp("entities") / "m"
    return models.write(folder, ["O", "B-PER", "I-PER", "B-LOC"], words, (4, 0, 0, 0), tokens=True)


def guard(folder: Path, **spec) -> HuggingFaceGuard:
    return HuggingFaceGuard("hf", HuggingFaceSpec(**spec), folder)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_label_of_a_text_is_a_softmax(sequence, backend):
    """With labels that exclude each other a category's probability is the softmax of its label."""
    scores = guard(sequence, **SEQUENCE, backend=backend).judge([Passage("a bomb"), Passage("a toy bomb"), Passage("")])
    expected = [1 / (1 + math.exp(-logit)) for logit in (5, 1, -4)]
    assert [s.by_category["harm"] for s in scores] == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_labels_of_a_text_are_sigmoids(several, backend):
    """With labels beside each other each has its own probability; of those of one category the highest counts."""
    labels = {"violence": "violence", "insult": "toxicity", "threat": "toxicity"}
    judged = guard(several, model="m", labels=labels, backend=backend).judge([Passage("bomb idiot"), Passage("")])
    high, low = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(5))
    assert judged[0].by_category == pytest.approx({"violence": high, "toxicity": high}, abs=5e-3)
    assert judged[1].by_category == pytest.approx({"violence": low, "toxicity": low}, abs=5e-3)


def test_calibration_corrects_a_probability(sequence):
    """`slope` and `intercept` act on the logit of a category's probability."""
    calibrated = guard(sequence, **SEQUENCE, calibration={"harm": {"slope": 2, "intercept": -1}}, backend="onnxruntime")
    assert calibrated.judge([Passage("a toy bomb")])[0].by_category["harm"] == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize("place", [0, 0.3, 1])
def test_every_part_of_a_long_text_is_read(sequence, place):
    """A word is found wherever it is in a text many times as long as the model's window."""
    words = ["good", "morning"] * 300
    words.insert(int(place * len(words)), "bomb")
    found, clean = guard(sequence, **SEQUENCE).judge([Passage(" ".join(words)), Passage("good morning " * 300)])
    assert found.by_category["harm"] > 0.9 > 0.1 > clean.by_category["harm"]


def test_it_judges_where_the_spec_says(sequence):
    """A guard for prompts covers no answer, and scores none."""
    prompts = guard(sequence, **SEQUENCE, stages=["input"])
    assert prompts.covers("output") == frozenset()
    asked, answered = prompts.judge([Passage("bomb"), Passage("bomb", "response", "bomb")])
    assert asked.by_category["harm"] > 0.9
    assert answered.by_category == {}


def test_a_response_is_read_alone_or_with_its_prompt(sequence):
    """Only with `with_prompt` does a response's score depend on what it answers."""
    passages = [Passage("morning", "response", p) for p in ("good", "bomb")]
    alone = [s.by_category["harm"] for s in guard(sequence, **SEQUENCE).judge(passages)]
    paired = [
        s.by_category["harm"]
        for s in guard(sequence, **SEQUENCE, with_prompt=True, prompt_tokens=8, overlap_tokens=8).judge(passages)
    ]
    assert alone[0] == pytest.approx(alone[1])
    assert paired[0] < 0.1 < 0.9 < paired[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_tokens_become_spans(entities, backend):
    """Neighbouring tokens of an entity are one span, a beginning starts another, a word is never cut in two."""
    found = guard(entities, **ENTITIES, backend=backend)
    text = "Anna Smith meets Annabel in Berlin. Anna Anna"
    scores = found.judge([Passage(text)])[0]
    assert [(text[s.start : s.end], s.category) for s in scores.spans] == [
        ("Anna Smith", "pii"),
        ("Annabel", "pii"),
        ("Berlin", "privacy"),
        ("Anna", "pii"),
        ("Anna", "pii"),
    ]
    assert redact(text, scores.spans) == "[pii] meets [pii] in [privacy]. [pii] [pii]"
    assert all(p > 0.9 for p in scores.by_category.values())
    assert found.judge([Passage("meets in.")])[0].by_category == pytest.approx({"pii": 0, "privacy": 0}, abs=0.05)


def test_spans_of_a_long_text_are_in_its_characters(entities):
    """Entities are found once each, at their place, in every window of a long text and whatever came before `since`."""
    text = "".join(f"{'äö ' * 7}Anna Smith meets in Berlin. " for _ in range(40))
    found = guard(entities, **ENTITIES)
    spans = found.judge([Passage(text)])[0].spans
    assert sorted({text[s.start : s.end] for s in spans}) == ["Anna Smith", "Berlin"]
    assert len(spans) == 80
    since = len(text) - 100
    late = found.judge([Passage(text, "response", since=since)])[0].spans
    assert late == tuple(s for s in spans if s.end > since)


@pytest.mark.parametrize("cut", [1, 5, 13])
def test_a_stream_finds_the_spans_of_the_whole(entities, cut):
    """At every cut of a growing text, what was released never reaches into an entity of the whole."""
    found = guard(entities, **ENTITIES)
    text = "so it is. Anna Smith meets Annabel in Berlin. and so on, as it was before. " * 2
    whole = found.judge([Passage(text, "response")])[0].spans
    seen = set()
    for end in range(cut, len(text) + cut, cut):
        since = max(0, min(end, len(text)) - cut - 24)
        seen |= {*found.judge([Passage(text[:end], "response", since=since)])[0].spans}
    assert {*whole} <= seen


def test_the_digest_is_that_of_files_and_meaning(sequence, tmp_path):
    """Other weights, another tokenizer or another meaning of a label is another digest; where it lies is not."""
    first = guard(sequence, **SEQUENCE).digest
    copy = models.write(tmp_path / "copy", ["SAFE", "UNSAFE"], {"a": (0, 0), "bomb": (0, 8)}, (0, -4))
    digests = {
        first,
        guard(copy, **SEQUENCE).digest,
        guard(sequence, model="m", labels={"UNSAFE": "violence"}).digest,
        guard(sequence, **SEQUENCE, calibration={"harm": {"slope": 2}}).digest,
    }
    assert len(digests) == 4
    assert guard(sequence, **SEQUENCE | {"model": "elsewhere"}, revision="abc").digest == first


WRONG = [
    ({"labels": {"BAD": "harm"}}, {}, r"labels \['BAD'\]: the model has \['SAFE', 'UNSAFE'\]"),
    ({}, {"architectures": ["LlamaForCausalLM"]}, "say `task: sequence`"),
    ({}, {"problem_type": "regression"}, "no probabilities"),
    ({"max_tokens": 900}, {}, "the model reads 64 at most"),
    ({"overlap_tokens": 60}, {}, "leave nothing of a window"),
    ({}, {"id2label": {"1": "SAFE", "2": "UNSAFE"}}, "does not count from 0"),
    ({}, {"id2label": "none"}, "config.json: id2label"),
]


@pytest.mark.parametrize(("spec", "config", "message"), WRONG, ids=range(len(WRONG)))
def test_a_spec_that_does_not_fit_the_model_is_refused(tmp_path, spec, config, message):
    """What the spec says and the model has not is told before anything is judged."""
    folder = models.write(tmp_path / "m", ["SAFE", "UNSAFE"], {"a": (0, 0)}, (0, 0))
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | config))
    with pytest.raises(GuardError, match=message):
        guard(folder, **SEQUENCE | spec)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.onnx"])
def test_a_missing_file_is_named(tmp_path, name):
    """A folder that lacks one of the files says which."""
    folder = models.write(tmp_path / "m", ["SAFE", "UNSAFE"], {"a": (0, 0)}, (0, 0))
    (folder / name).unlink()
    with pytest.raises(GuardError, match=name.replace(".", r"\.")):
        guard(folder, **SEQUENCE)


def test_a_broken_model_is_an_error(tmp_path):
    """Bytes that are no model end in a clear error, on either runtime."""
    folder = models.write(tmp_path / "m", ["SAFE", "UNSAFE"], {"a": (0, 0)}, (0, 0))
    (folder / "model.onnx").write_bytes(b"not a model")
    for backend in BACKENDS:
        with pytest.raises(GuardError, match="cannot load it"):
            guard(folder, **SEQUENCE, backend=backend)


def test_pickles_are_never_read(tmp_path):
    """Weights in a pickle are no weights, with or without torch."""
    folder = models.write(tmp_path / "m", ["SAFE", "UNSAFE"], {"a": (0, 0)}, (0, 0))
    (folder / "model.onnx").rename(folder / "pytorch_model.bin")
    with pytest.raises(GuardError, match=r"has none of model\.onnx"):
        guard(folder, **SEQUENCE)


def test_numbers_that_are_not_finite_are_an_error(tmp_path):
    """A model that answers NaN has judged nothing."""
    folder = models.write(tmp_path / "m", ["SAFE", "UNSAFE"], {"a": (0, float("nan"))}, (0, 0))
    with pytest.raises(GuardError, match="not finite"):
        guard(folder, **SEQUENCE).judge([Passage("a")])


def test_by_name_from_a_guards_file(sequence):
    """A guards file brings it by name; torch stays out of the gateway, and what is no folder must be on a hub."""
    file = GuardsFile.model_validate({"guards": {"mine": {"kind": "huggingface"} | SEQUENCE}})
    assert build(file, Loading(sequence.parent), ["mine"])["mine"].judge([Passage("bomb")])[0].by_category["harm"] > 0.9
    torch = GuardsFile.model_validate({"guards": {"mine": {"kind": "huggingface", "backend": "torch"} | SEQUENCE}})
    with pytest.raises(GuardError, match="which gateways never load"):
        build(torch, Loading(sequence.parent), ["mine"])
    with pytest.raises(GuardError, match="no such folder, and 'm' is no hub id"):
        build(file, Loading(sequence), ["mine"])


def test_a_hub_that_cannot_be_reached_is_an_error(monkeypatch):
    """Without a hub, a model that is not there yet is a clear error at the start."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    file = GuardsFile.model_validate(
        {"guards": {"far": {"kind": "huggingface", "model": "nobody/none-such", "labels": {"A": "harm"}}}}
    )
    with pytest.raises(GuardError, match="from the hub it cannot be fetched"):
        build(file, Loading(), ["far"])


def test_a_label_needs_a_category():
    """A spec without labels, or with a name that is no category name, is a fault of the file."""
    for labels in ({}, {"UNSAFE": "Very Bad"}):
        with pytest.raises(ValidationError):
            HuggingFaceSpec(model="m", labels=labels)


@pytest.mark.skipif(not TORCH.exists(), reason="torch is in the engine's environment: make .venv-engine/.ready")
def test_torch_gives_what_its_export_gives(tmp_path):
    """A transformers model scores the same from its safetensors on torch as from its ONNX export here."""
    code = f"""
import json, torch, sys
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification
from tests import models
words = {{w: (0, 0) for w in "a bomb toy good morning".split()}}
folder = models.write(Path({str(tmp_path)!r}) / "m", ["SAFE", "UNSAFE"], words, (0, 0))
torch.manual_seed(1)
config = BertConfig(vocab_size=9, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=66, id2label={{0: "SAFE", 1: "UNSAFE"}}, attn_implementation="eager")
model = BertForSequenceClassification(config).eval()
model.save_pretrained(folder)
ids = torch.ones((2, 8), dtype=torch.long)
mask = ids.clone()
mask[0, 5:] = 0  # a mask of ones would be left out of the export
given = dict(input_ids=ids, attention_mask=mask, token_type_ids=ids * 0)
shape = {{name: {{0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}} for name in given}}
torch.onnx.export(model, kwargs=given, f=str(folder / "model.onnx"), input_names=[*given], output_names=["logits"],
    dynamo=True, dynamic_shapes=shape, external_data=False)
from guards.huggingface import HuggingFaceGuard, HuggingFaceSpec
from guards.verdict import Passage
guard = HuggingFaceGuard("t", HuggingFaceSpec(model="m", labels={{"UNSAFE": "harm"}}, backend="torch"), folder)
print(json.dumps([s.by_category["harm"] for s in guard.judge([Passage("a toy bomb"), Passage("good morning " * 60)])]))
"""
    done = subprocess.run([TORCH, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    passages = [Passage("a toy bomb"), Passage("good morning " * 60)]
    ours = guard(tmp_path / "m", **SEQUENCE, backend="onnxruntime").judge(passages)
    assert [s.by_category["harm"] for s in ours] == pytest.approx(theirs, abs=1e-4)
