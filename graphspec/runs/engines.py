"""What computes a program's outputs: PyTorch, or another engine that runs its export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graphspec.diagnostics.packages import needing
from graphspec.program import BaseProgram

if TYPE_CHECKING:
    import torch
    from torch import nn

Values = dict[str, NDArray[Any]]
ENGINES = ("torch", "onnxruntime", "openvino")
"""The engines, the one that all others must agree with first."""


class Engine(Protocol):
    """Computes the outputs of a program for a batch of inputs."""

    name: str

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        """The outputs by the keys of the program, float32, for arrays or tensors by the names of inputs. An
        input that is left out has its default.
        """
        ...


class TorchEngine:
    """The emitted module, on a number of threads that suits it."""

    name = "torch"

    def __init__(self, program: BaseProgram, module: nn.Module, device: torch.device):
        from graphspec.train import device as devices

        self.module, self.device = module, device
        self.threads = devices.threads(program)
        self.inputs = tuple(program.inputs)
        self.outputs = keys_of(program)

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        import torch

        from graphspec.train.device import computing

        given = {name: torch.as_tensor(array).to(self.device) for name, array in inputs.items()}
        with torch.no_grad(), computing(self.threads):
            values = self.module(*(given.get(name) for name in self.inputs))
        found = values if isinstance(values, dict) else {self.outputs[0]: values}
        return {key: found[key].float().cpu().numpy() for key in self.outputs if key in found}


class OnnxEngine:
    """onnxruntime on the export of a program. Raises `SpecError` (package-missing)."""

    name = "onnxruntime"

    def __init__(self, program: BaseProgram, file: Path, threads: int):
        with needing("`--engine onnxruntime`", "onnx"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.outputs, self.defaults = keys_of(program), _defaults(program)

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        values = self.session.run(None, _arrays(inputs, self.defaults))
        return {key: _float(value) for key, value in zip(self.outputs, values, strict=True)}


class OpenVinoEngine:
    """OpenVINO on the export of a program, in float32. Raises `SpecError` (package-missing)."""

    name = "openvino"

    def __init__(self, program: BaseProgram, file: Path, threads: int):
        with needing("`--engine openvino`", "openvino"):
            import openvino
        exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self.model = openvino.Core().compile_model(str(file), "CPU", exact)
        self.outputs, self.defaults = keys_of(program), _defaults(program)

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        values = self.model(_arrays(inputs, self.defaults))
        return {key: _float(values[place]) for place, key in enumerate(self.outputs)}


def keys_of(program: BaseProgram) -> list[str]:
    """The names of what a program's module returns, in order."""
    return [key for output in program.outputs.values() for key in output.keys]


def _defaults(program: BaseProgram) -> dict[str, NDArray[Any]]:
    """What fills the inputs that may be left out, for a batch of 1."""
    found = {}
    for name, value in program.defaults.items():
        tensor = program.inputs[name]
        sizes = [size for size in tensor.shape[1:] if isinstance(size, int)]
        if len(sizes) == tensor.rank - 1:
            found[name] = np.full([1, *sizes], value, tensor.dtype)
    return found


def _arrays(inputs: Mapping[str, Any], defaults: Mapping[str, NDArray[Any]]) -> Values:
    found = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    for name, value in defaults.items():
        if name not in found:
            count = len(next(iter(found.values())))
            found[name] = np.ascontiguousarray(np.broadcast_to(value, (count, *value.shape[1:])))
    return found


def _float(value: Any) -> NDArray[Any]:
    return np.asarray(value).astype(np.float32)
