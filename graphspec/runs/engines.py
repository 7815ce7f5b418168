"""What computes a program's outputs: PyTorch, or another engine that runs its export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import nn

Values = dict[str, NDArray[Any]]


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

    def __init__(self, program: Any, module: nn.Module, device: torch.device):
        from graphspec.train import device as devices

        self.module, self.device = module, device
        self.threads = devices.threads(program)
        self.inputs = tuple(program.inputs)
        self.outputs = [key for output in program.outputs.values() for key in output.keys]

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        import torch

        from graphspec.train.device import computing

        given = {name: torch.as_tensor(array).to(self.device) for name, array in inputs.items()}
        with torch.no_grad(), computing(self.threads):
            values = self.module(*(given.get(name) for name in self.inputs))
        found = values if isinstance(values, dict) else {self.outputs[0]: values}
        return {key: found[key].float().cpu().numpy() for key in self.outputs if key in found}
