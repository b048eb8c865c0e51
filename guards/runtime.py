"""Runs a model: exported ones on OpenVINO in bf16 where the CPU has it, else on ONNX Runtime; others on torch."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from guards.guard import GuardError

Backend = Literal["auto", "openvino", "onnxruntime"]
Inputs = Mapping[str, NDArray[np.int64]]
Run = Callable[[Inputs], NDArray[np.float32]]

LOGITS: Final = "logits"
INPUTS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids"})  # what guards.windows.pad gives


def fastest() -> Backend:
    """OpenVINO where the CPU computes in bf16, else ONNX Runtime."""
    return "openvino" if _bf16() else "onnxruntime"


def opened(model: bytes | Path, backend: Backend, threads: int) -> Run:
    """The logits of a model, from as many of the inputs as it takes. Not for two threads at once.

    Args:
        model: ONNX as bytes, or the path of an ONNX or OpenVINO file, whose weights may be in another one beside it.

    Raises:
        GuardError: it takes what it cannot be given, or no output can be told to be the logits.
    """
    backend = fastest() if backend == "auto" else backend
    return (_openvino if backend == "openvino" else _onnxruntime)(model, threads)


def torch_opened(folder: Path, *, tokens: bool) -> Run:
    """The logits of a Hugging Face model, from safetensors alone: in bf16 on a GPU where there is one.

    `tokens`: one row of them a token, not a text. Never in the gateway, which has no torch.

    Raises:
        GuardError: torch is not installed, or the folder holds no such model.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise GuardError(
            "torch is not installed here: serve the guard where it is (sluicegate guards serve)"
        ) from error

    auto = transformers.AutoModelForTokenClassification if tokens else transformers.AutoModelForSequenceClassification
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = auto.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.bfloat16 if device == "cuda" else torch.float32,
        )
    except (OSError, ValueError) as error:
        raise GuardError(f"{folder}: torch cannot load it: {str(error).splitlines()[0]}") from error
    model = model.to(device).eval()
    taken = {*inspect.signature(model.forward).parameters} & INPUTS

    def run(inputs: Inputs) -> NDArray[np.float32]:
        with torch.inference_mode():
            given = {name: torch.from_numpy(inputs[name]).to(device) for name in taken}
            logits: NDArray[np.float32] = model(**given).logits.float().cpu().numpy()
        return logits

    return run


def _bf16() -> bool:
    import openvino as ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino(model: bytes | Path, threads: int) -> Run:
    import openvino as ov

    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if _bf16() else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # the machine is shared with the engine
    }
    core = ov.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", settings)
    taken = _taken([i.get_any_name() for i in compiled.inputs])
    logits = compiled.output(_logits([o.get_any_name() for o in compiled.outputs]))
    request = compiled.create_infer_request()
    return lambda inputs: request.infer({name: inputs[name] for name in taken})[logits].copy()


def _onnxruntime(model: bytes | Path, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the engine alone
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    taken = _taken([i.name for i in session.get_inputs()])
    names = [o.name for o in session.get_outputs()]
    logits = names[_logits(names)]
    return lambda inputs: session.run([logits], {name: inputs[name] for name in taken})[0]


def _taken(names: list[str]) -> list[str]:
    if strange := sorted({*names} - INPUTS):
        raise GuardError(f"the model takes {strange}, which a text does not give")
    return names


def _logits(names: list[str]) -> int:
    if len(names) > 1 and LOGITS not in names:
        raise GuardError(f"the model gives {names}: none is called {LOGITS}")
    return names.index(LOGITS) if LOGITS in names else 0
