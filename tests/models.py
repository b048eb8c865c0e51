"""Tiny real classifiers in Hugging Face's form: what each token adds to each label is a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def write(
    folder: Path,
    labels: Sequence[str],
    words: Mapping[str, Sequence[float]],
    bias: Sequence[float],
    *,
    tokens: bool = False,
    **config: Any,
) -> Path:
    """A folder with `model.onnx`, `tokenizer.json` and `config.json`.

    A text's logits are `bias` and the sum of its `words`' rows; with `tokens`, a token's are `bias` and its row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *words))}
    table = np.zeros((len(vocabulary), len(labels)), np.float32)
    for word, row in words.items():
        table[vocabulary[word]] = row
    (folder / "model.onnx").write_bytes(_model(table, np.array(bias, np.float32), tokens).SerializeToString())
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    architecture = "TinyForTokenClassification" if tokens else "TinyForSequenceClassification"
    content = {"architectures": [architecture], "id2label": dict(enumerate(labels)), "max_position_embeddings": 66}
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def _model(table: np.ndarray, bias: np.ndarray, tokens: bool) -> onnx.ModelProto:
    constants = {"table": table, "bias": bias, "words": np.array([1]), "labels": np.array([2])}
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    if tokens:
        nodes.append(helper.make_node("Add", ["rows", "bias"], ["logits"]))
    else:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "labels"], ["column"]),
            helper.make_node("Mul", ["rows", "column"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "words"], ["sum"], keepdims=0),
            helper.make_node("Add", ["sum", "bias"], ["logits"]),
        ]
    taken = ["input_ids"] if tokens else ["input_ids", "attention_mask"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in taken]
    shape = ["texts", "tokens", len(bias)] if tokens else ["texts", len(bias)]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model
