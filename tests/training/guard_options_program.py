"""What recipes of guards can ask for beyond the default, each on a tiny encoder; prints what came of it as JSON.

Run by test_guard_options.py in the environment that has torch: the folder for all files is the argument.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from guards.classifier import Classifier
from guards.verdict import Passage
from training import fit_guard, recipe, train_guard
from training.build_guard import begin, build, encoded
from training.encode import Encoded, encode
from training.recipe import Loss
from training.rows import DataError, Row

WORK, PLAIN = Path(sys.argv[1]), Path(sys.argv[2])
SIZES = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 64, "max_position_embeddings": 66}
SIZES |= {"bos_token_id": 0, "cls_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
SAID = [Passage("How do I rob a bank, version aaa?"), Passage("How do I learn chess, version bbb?")]


def tokenizer_of(texts, roberta):
    """Byte pairs as RoBERTa has them: types say nothing of which sequence a token is of."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=380, special_tokens=marks, show_progress=False))
    if roberta:
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        marked = [("<s>", 0), ("</s>", 2)]
        made.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B:1 </s>:1", marked)
    return made


def encoder(kind, rows, name="", of=transformers.AutoModel, **sizes):
    """An encoder of another kind in a folder, as Hugging Face writes it."""
    folder = WORK / (name or kind)
    config = transformers.AutoConfig.for_model(kind, **SIZES | sizes)
    torch.manual_seed(0)
    of.from_config(config).save_pretrained(folder)
    texts = [r.text for part in rows.values() for r in part]
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_of(texts, kind == "roberta"), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return str(folder)


def emptied(folder):
    """The folder with weights under names that say nothing."""
    path = folder / "model.safetensors"
    save_file({f"other.{name}": value for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    return str(folder)


def made(name, rows, **changes):
    """A guard by the plain recipe with changes: its figures, what it says, how large it is."""
    given = yaml.safe_load(PLAIN.read_text()) | changes
    path = WORK / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in given.items() if value is not None}))
    out = WORK / name
    out.mkdir()
    metrics = build(recipe.load(path), rows, out)
    said = {b: Classifier(out, b).logits(SAID)[:, 0].tolist() for b in ("onnxruntime", "openvino")}
    return metrics | {"said": said, "bytes": (out / "model.onnx").stat().st_size}


def weights(folder):
    """Stored initialisers by name."""
    graph = onnx.load(str(folder / "model.onnx")).graph
    return {t.name: onnx.numpy_helper.to_array(t).astype(np.float32) for t in graph.initializer}


def changed(name, layer="encoder.encoder.layer.1.attention.self"):
    """The rank of what a run changed in a weight that has an adapter, and the most it changed in one that has none."""
    before, after = weights(Path("guards/models/default")), weights(WORK / name)
    size = np.linalg.svd(after[f"{layer}.query.weight"] - before[f"{layer}.query.weight"], compute_uv=False)
    other = f"{layer}.key.weight"
    return {"rank": int((size > 1e-3 * size[0]).sum()), "other": float(np.abs(after[other] - before[other]).max())}


def zeros(name):
    """Share of zeros in the encoder's linear layers."""
    found = [v for n, v in weights(WORK / name).items() if "layer." in n and v.ndim == 2]
    return float(np.mean([(v == 0).mean() for v in found]))


def types_of(name):
    """Which tokens of a question and its answer are judged."""
    made = Tokenizer.from_file(str(WORK / name / "tokenizer.json"))
    pair, alone = made.encode("rob", "rob"), made.encode("rob")
    return {"pair": pair.type_ids, "alone": alone.type_ids, "ids": pair.ids}


def pretrained(rows):
    """Whether a guard begins with the encoder of a model of hidden tokens."""
    folder = encoder("bert", rows, "masked", transformers.AutoModelForMaskedLM)
    start = recipe.Start(encoder=folder)
    network, _, _ = begin(recipe.load(PLAIN).model_copy(update={"start": start}))
    stored = load_file(f"{folder}/model.safetensors")
    return all(torch.equal(value, stored[f"bert.{name}"]) for name, value in network.encoder.named_parameters())


def losses():
    """The loss of four logits under each way, to be compared with figures made by hand."""
    logits = torch.tensor([[2.0], [-1.0], [0.5], [3.0]])
    batch = ({}, torch.tensor([[1.0], [1.0], [0.0], [0.25]]), torch.tensor([[1.0], [1.0], [2.0], [0.0]]))
    ways = {"plain": Loss(), "focal": Loss(gamma=2), "tilted": Loss(tilt=1.5)}
    return {name: fit_guard.masked_loss(lambda: logits, batch, how).item() for name, how in ways.items()}


def votes(tokenizer_json):
    """Labels with and without shares of votes; the second row is a view that says otherwise than people did."""
    rows = [
        Row("a", {"harm": 1}, "ours", "MIT", extra={"distribution": {"harm": 0.7}}),
        Row("b", {"harm": 1}, "ours", "MIT", extra={"distribution": {"harm": 0.0}}),
        Row("c", {"harm": 0}, "ours", "MIT"),
    ]
    both = [encode(rows, tokenizer_json, ["harm"], 32, 8, votes=v).labels[:, 0].tolist() for v in (False, True)]
    return {"majority": both[0], "votes": both[1]}


def patience():
    """What `fit` says when held-back rows say the opposite of what is learnt; then again, from its checkpoint."""
    made_by = recipe.load(PLAIN).model_copy(update={"stop": recipe.Stop(looks=4, patience=2, rows=32)})
    parts = train_guard.gather(made_by)
    tokenizer_json = (WORK / "whole" / "tokenizer.json").read_text()
    data = encoded(parts["train"], 0, made_by, tokenizer_json)
    lies = Encoded(data.windows, 1 - data.labels, data.weights)
    return [fit_guard.fit(begin(made_by)[0], data, lies, made_by, WORK / "lies") for _ in ("first", "again")]


def fault(call):
    try:
        call()
    except DataError as error:
        return str(error)
    return ""


rows = train_guard.gather(recipe.load(PLAIN))
found = {
    "whole": made("whole", rows, export={"weights": "float32"}),
    "lora": made("lora", rows, lora={"r": 4, "targets": ["query", "value"]}, lr=1e-2, export={"weights": "float32"}),
    "focal": made("focal", rows, loss={"gamma": 2.0, "tilt": 0.5, "classes": {"harm": 2.0}}),
    "int8": made("int8", rows, export={"weights": "int8"}),
    "pruned": made("pruned", rows, export={"weights": "float32", "prune": 0.5}),
    "losses": losses(),
    "votes": votes((WORK / "whole" / "tokenizer.json").read_text()),
    "stopped": patience(),
    "changed": changed("lora"),
    "zeros": {name: zeros(name) for name in ("whole", "pruned")},
}
for kind in ("roberta", "modernbert"):
    other = {"start": {"encoder": encoder(kind, rows)}, "finish": None, "frozen": [], "epochs": 12}
    found[kind] = made(f"{kind}-guard", rows, **other) | {"types": types_of(f"{kind}-guard")}
found["pretrained"] = pretrained(rows)
found["refused"] = {
    "finish": fault(lambda: made("f", rows, start={"encoder": encoder("roberta", rows, "large", vocab_size=40_000)})),
    "nothing": fault(lambda: made("n", rows, start={"encoder": str(WORK / "nothing")})),
    "long": fault(lambda: made("l", rows, start={"encoder": str(WORK / "roberta")}, finish=None, max_tokens=128)),
    "other weights": fault(lambda: made("o", rows, start={"encoder": emptied(WORK / "roberta")}, finish=None)),
    "from int8": fault(lambda: made("i", rows, start={"guard": str(WORK / "int8")})),
}
print("FOUND", json.dumps(found, default=np.ndarray.tolist))
