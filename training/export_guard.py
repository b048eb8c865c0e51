"""A trained guard as ONNX: half-precision weights under their torch names, widened where they are used."""

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from training.network import GuardNetwork

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def export(network: GuardNetwork, path: Path) -> None:
    """Writes `path`: inputs of shape (batch, length), output `logits` of shape (batch, heads)."""
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
    _store_by_name(model, {name: p.detach().float().numpy() for name, p in network.named_parameters()})
    _strip(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _store_by_name(model: ModelProto, parameters: dict[str, NDArray[np.float32]]) -> None:
    """Replaces float initialisers by fp16 ones with the parameter's name and shape; a Cast (and a Transpose) follow.

    The exporter folds transposed weights into constants with names of its own: they are found by their values.
    """
    graph, widened = model.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) == 0:
            continue
        name, turned = _whose(numpy_helper.to_array(tensor), tensor.name, parameters)
        used = tensor.name if tensor.name != name else f"{name}.float"
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(parameters[name].astype(np.float16), name))
        _rename_inputs(graph, tensor.name, used)
        wide = f"{name}.wide" if turned else used
        widened.append(helper.make_node("Cast", [name], [wide], to=TensorProto.FLOAT))
        if turned:
            widened.append(helper.make_node("Transpose", [wide], [used], perm=[1, 0]))
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    if lost := parameters.keys() - {t.name for t in graph.initializer}:
        raise RuntimeError(f"the exported graph lacks {sorted(lost)}")


def _whose(value: NDArray[np.float32], name: str, parameters: dict[str, NDArray[np.float32]]) -> tuple[str, bool]:
    if name in parameters:
        return name, False
    for candidate, weight in parameters.items():
        if weight.T.shape == value.shape and np.array_equal(weight.T, value):
            return candidate, True
    raise RuntimeError(f"initialiser {name} of shape {value.shape} is no parameter of the network")


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
