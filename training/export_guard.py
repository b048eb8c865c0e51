"""A trained guard as ONNX: weights under their torch names, widened where they are used; or eight-bit ones."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils import prune

from guards.calibration import Floats
from guards.classifier import MODEL
from guards.runtime import opened
from guards.windows import Window
from training.encode import each
from training.network import GuardNetwork
from training.recipe import Export

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def export(network: GuardNetwork, path: Path, how: Export) -> dict[str, Any]:
    """Writes `path`: inputs of shape (batch, length), output `logits` of shape (batch, heads); returns what it is.

    Pruning (by magnitude, layer by layer: Han et al. 2015) changes `network`, too.
    """
    if how.prune:
        _prune(network, how.prune)
    model = _graph(network)
    parameters = {name: p.detach().float().numpy() for name, p in network.named_parameters()}
    if how.weights == "int8":
        model = _eight_bits(model)
    _store_by_name(model, parameters, np.float32 if how.weights == "float32" else np.float16)
    if how.weights != "int8" and (lost := parameters.keys() - {t.name for t in model.graph.initializer}):
        raise RuntimeError(f"the exported graph lacks {sorted(lost)}")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return {"weights": how.weights, "pruned": how.prune, "megabytes": round(path.stat().st_size / 1e6, 1)}


def said(network: GuardNetwork, windows: Sequence[Window]) -> Floats:
    """Logits of the network in 32 bits, shape (windows, heads)."""

    def run(inputs: Any) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(network.eval()(**{name: torch.from_numpy(inputs[name]) for name in INPUTS}))

    return each(run, windows).astype(np.float64)


def said_by(path: Path, windows: Sequence[Window]) -> Floats:
    """The same of an exported model."""
    return each(opened(path, "onnxruntime", torch.get_num_threads()), windows).astype(np.float64)


def _prune(network: GuardNetwork, share: float) -> None:
    for module in network.encoder.modules():
        if isinstance(module, nn.Linear):
            prune.l1_unstructured(module, "weight", share)
            prune.remove(module, "weight")


def _eight_bits(model: ModelProto) -> ModelProto:
    """Linear layers with eight-bit weights, a scale for each output; activations are scaled as they come.

    All eight bits are used: a CPU without VNNI instructions adds such products less exactly.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        linear = ["MatMul", "Gemm"]
        quantize_dynamic(model, path, linear, per_channel=True, weight_type=QuantType.QInt8)
        return onnx.load(str(path))


def _graph(network: GuardNetwork) -> ModelProto:
    ids = torch.randint(1000, 2000, (2, 16), generator=torch.Generator().manual_seed(0))
    example = (ids % network.encoder.config.vocab_size, torch.ones_like(ids), torch.zeros_like(ids))
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        network.eval(),
        example,
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_shapes=(free, free, free),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    _strip(model)
    return model


def _store_by_name(
    model: ModelProto, parameters: dict[str, NDArray[np.float32]], kept_as: type[np.floating[Any]]
) -> None:
    """Replaces float initialisers by ones of type `kept_as` with the parameter's name and shape.

    A Cast (and a Transpose) follow. The exporter folds transposed weights into constants with names of its own: they
    are found by their values. What is no parameter (a buffer, a scale of eight-bit weights) stays.
    """
    graph, widened = model.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) == 0:
            continue
        name, turned = _whose(numpy_helper.to_array(tensor), tensor.name, parameters)
        if name is None:
            continue
        used = tensor.name if tensor.name != name else f"{name}.float"
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(parameters[name].astype(kept_as), name))
        _rename_inputs(graph, tensor.name, used)
        wide = f"{name}.wide" if turned else used
        widened.append(helper.make_node("Cast", [name], [wide], to=TensorProto.FLOAT))
        if turned:
            widened.append(helper.make_node("Transpose", [wide], [used], perm=[1, 0]))
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _whose(
    value: NDArray[np.float32], name: str, parameters: dict[str, NDArray[np.float32]]
) -> tuple[str | None, bool]:
    """The parameter that an initialiser is, and whether it is turned."""
    if name in parameters:
        return name, False
    for candidate, weight in parameters.items():
        if weight.T.shape == value.shape and np.array_equal(weight.T, value):
            return candidate, True
    return None, False


def _rename_inputs(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new


def _strip(model: ModelProto) -> None:
    """Drops what differs between runs or tells of the machine: source lines, shapes of intermediate values."""
    model.doc_string = ""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    for put in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(put.type.tensor_type.shape.dim):
            if dim.dim_param:
                dim.dim_param = ("batch", "length")[axis]
