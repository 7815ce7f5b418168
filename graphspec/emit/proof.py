"""Runs a module once, and compares the outputs of custom modules with what their nodes declare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from graphspec.contract.custom_module import CustomModule
from graphspec.custom.adapting import adapted
from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import Elaborated
from graphspec.emit.load import TORCH_DTYPES, example_inputs, is_of_module, need_module_of
from graphspec.emit.states import beginning
from graphspec.graph import Op, Unit
from graphspec.tensor import BATCH, Dim, Size, Tensor, names_of, unit_of, value_of
from graphspec.weights import layers


def prove(program: Elaborated, module: nn.Module) -> None:
    """Runs a module once in inference on examples, and compares what custom modules give with what is
    declared. Raises `SpecError` (weights-misfit, module-differs).
    """
    need_module_of(program, module)
    inputs = example_inputs(program, 2, {}, 0)
    sizes = {BATCH: 2}
    for name, tensor in program.inputs.items():
        for size, actual in zip(tensor.shape, inputs[name].shape, strict=True):
            unit = unit_of(size)
            sizes |= {unit[0]: actual // unit[1]} if unit is not None else {}
    device = next((each.device for each in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    hooks = [
        module.get_submodule(path).register_forward_hook(DeclaredOutputs(op.unit, sizes).hook)
        for path, op in layers(program.graph)
        if isinstance(op.layer, CustomModule) and op.unit is not None
    ]
    training = module.training
    if beginning(program.graph):
        begin: Any = module.begin
        begin(2, max(sizes.values()))
    try:
        passed = {name: tensor.to(device) for name, tensor in inputs.items()}
        with untouched(module), torch.no_grad(), adapted(program.graph, passed, module, lambda: [passed]):
            module.eval()(*passed.values())
            if program.defaults:
                module(*(None if name in program.defaults else each for name, each in passed.items()))
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()


def check_declared(program: Elaborated, module: nn.Module) -> None:
    """The same of a new module; one that random inputs fail is left to tell so where it is called."""
    try:
        prove(program, module)
    except SpecError:
        raise
    except Exception as error:
        if not is_of_module(error):
            raise


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Restores buffers and random states afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    devices = {tensor.device for tensor in module.parameters() if tensor.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        yield
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)


@dataclass(frozen=True, slots=True)
class DeclaredOutputs:
    """Outputs of a custom module beside those that its calls declare. `sizes` are those of this run."""

    unit: Unit
    sizes: dict[str, int]

    def hook(self, module: nn.Module, inputs: Any, output: Any) -> None:
        declared = [self._declared(op) for op in self.unit.calls]
        if any(self._fits(types, output) for types in declared):
            return
        rank = output.dim() if isinstance(output, torch.Tensor) else None
        near = next((number for number, types in enumerate(declared) if types[0].rank == rank), 0)
        wanted, call = ", ".join(map(str, declared[near])), self.unit.calls[near]
        returned = describe(output)
        help = (
            "declare its output with `shape` and `dtype`; several outputs with `outputs`, returned as a tuple"
        )
        message = f"`{call.name}` declares {wanted}, and `{type(module).__name__}` gives {returned}"
        sizes = ", ".join(f"{name} = {size}" for name, size in self.sizes.items() if name[0] != "?")
        notes = (f"tried with {sizes}",)
        raise fail("module-differs", message, help, *notes, span=call.span)

    def _declared(self, op: Op) -> list[Tensor]:
        """The types of the outputs in the order of axes that the module has."""
        tensors = op.inner_outputs or tuple(value.tensor for value in op.outputs.values())
        turned = isinstance(op.layer, CustomModule) and op.layer.channels_first
        return [channels_first(tensor) if turned else tensor for tensor in tensors]

    def _fits(self, declared: list[Tensor], output: Any) -> bool:
        returned = list(output) if isinstance(output, tuple | list) else [output]
        if isinstance(output, tuple | list) != (len(declared) > 1) or len(returned) != len(declared):
            return False
        return all(self._is(tensor, value) for tensor, value in zip(declared, returned, strict=True))

    def _is(self, tensor: Tensor, value: Any) -> bool:
        if not isinstance(value, torch.Tensor) or value.dim() != tensor.rank:
            return False
        if value.dtype != TORCH_DTYPES[tensor.dtype]:
            return False
        wrapped = self.unit.first_call.wrapper is not None  # its batch is another
        axes = zip(tensor.shape[wrapped:], value.shape[wrapped:], strict=True)
        return all(self._agrees(size, found) for size, found in axes)

    def _agrees(self, size: Dim, actual: int) -> bool:
        """Whether a size is what was found; one that nothing was known of is that from now on."""
        unknown = names_of(size) - self.sizes.keys()
        if isinstance(size, Size) and unknown:
            if str(size) in unknown:
                self.sizes[str(size)] = actual
            return True
        return value_of(size, self.sizes) == actual


def channels_first(tensor: Tensor) -> Tensor:
    """A type with its channels at axis 1, where PyTorch has them."""
    if tensor.rank not in (3, 4, 5):
        return tensor
    batch, *space, channels = tensor.shape
    return Tensor((batch, channels, *space), tensor.dtype)


def describe(value: Any) -> str:
    """Describes the result of a module, in words."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}: {', '.join(map(describe, value[:4]))}"
    return f"a {type(value).__name__}"
