"""The step of a program as a file of ONNX or torch.export, whose states are inputs and outputs: the caller
keeps them. What is computed once for a sequence, of inputs that do not go on, is a second file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from graphspec.contract.stepping import StateBuffer
from graphspec.contract.streaming import LONGEST as ROOM
from graphspec.contract.streaming import StepState
from graphspec.diagnostics import fail
from graphspec.export import export, onnx, pt2
from graphspec.export.failures import FAILURES, failing
from graphspec.export.tracing import arguments, exporting
from graphspec.files.whole import beside, put
from graphspec.tensor import names_of, unit_of, value_of
from graphspec.version import __version__
from graphspec.weights import layers

if TYPE_CHECKING:
    from graphspec.program import Program

BATCH, LENGTH, SOURCE, LONGEST = 3, 4, 5, 9
"""The sizes of a trace: so many sequences, new steps, steps of other inputs, and steps in all."""
TOLERANCE = 1e-4

Tensors = dict[str, Tensor]
RunStep = Callable[[Tensors, Tensors, Tensors], tuple[Tensor, Tensors]]
"""From inputs, states and those that the encoder gives to the output and what becomes of the states."""


@dataclass(frozen=True, slots=True)
class ExportedStep:
    """The result of an export."""

    file: Path
    encoder: Path | None
    """What is computed once for a sequence; None of a model that reads nothing else."""
    states: dict[str, list[Any]]
    """The shape of each state by its name: those that a step changes."""
    given: dict[str, list[Any]]
    """The same of those that the encoder gives."""
    difference: float
    """The largest difference from the whole."""

    def to_json(self) -> dict[str, Any]:
        encoder = None if self.encoder is None else str(self.encoder)
        made = {"file": str(self.file), "encoder": encoder, "states": self.states, "given": self.given}
        return {**made, "difference": self.difference}


class StatesOutside(nn.Module):
    """A step that takes its inputs, its states and what its encoder gives, and returns its output and what
    becomes of the states.
    """

    def __init__(self, module: nn.Module, names: list[str]):
        super().__init__()
        self.module, self.names = module, names

    def forward(self, inputs: Tensors, states: Tensors, given: Tensors) -> tuple[Tensor, Tensors]:
        states = {path: state.clone() for path, state in states.items()}
        output = torch.func.functional_call(
            self.module, states | given, tuple(inputs[name] for name in self.names)
        )
        return output, states


def export_step(
    program: Program, format: str, path: Path, weights: Any, seed: int, second: Path | None = None
) -> ExportedStep:
    """Writes the step of a program, the encoder that it may have to a `second` file, and compares what these
    compute with the whole.

    The batch, the new steps (with recurrent layers one at a time), the sizes of other inputs and the room of
    states are free. Raises `SpecError` (not-causal, export-failed, export-differs).
    """
    if format == "onnx":
        onnx.need_packages()
    whole = program.module(seed=seed, weights=weights).eval().requires_grad_(False)
    named = [each.source for each in (program.generation or {}).values() if each.source is not None]
    step = program.step(named or None, encoded=True)
    outputs = [key for output in step.outputs.values() for key in output.keys]
    if len(outputs) > 1:
        message = f"the model has the outputs {', '.join(outputs)}, and a file of steps has one"
        raise fail("export-failed", message, "name one: `generate: {tokens: {from: next}}`")
    module = step.module(weights=whole.state_dict(), exporting=True).eval().requires_grad_(False)
    traced = _Traced(step, module)
    shapes = [
        {name: ["batch", *map(_shown, each.shape)] for name, each in part.items()} for part in traced.parts
    ]
    description = json.dumps(
        {"graphspec": __version__, "name": program.name, "states": shapes[0], "given": shapes[1]}
    )
    encoder = None if step.encoder is None else second or path.with_name(f"{path.stem}_encoder{path.suffix}")
    with beside(path) as folder:
        run = traced.write(format, outputs[0], description, folder / path.name)
        if step.encoder is not None and encoder is not None:
            export(step.encoder, format, folder / encoder.name, weights=whole.state_dict())
        encode = _encoding(step, format, encoder and folder / encoder.name)
        difference = traced.compared(program, whole, encode, run)
        for part in sorted(folder.iterdir(), reverse=True):
            put(part, path.parent / part.name)
    return ExportedStep(path, encoder, shapes[0], shapes[1], difference)


def _shown(size: Any) -> Any:
    return size if isinstance(size, int) else str(size)


def _encoding(step: Program, format: str, file: Path | None) -> Callable[[Mapping[str, Tensor]], Tensors]:
    """What a file of an encoder computes; nothing without one."""
    encoder = step.encoder
    if encoder is None or file is None:
        return lambda inputs: {}
    if format == "onnx":
        run = onnx.run_of(encoder, [*encoder.outputs], file)
    else:
        run = pt2.run_of(encoder, arguments(encoder.module()), file)
    return lambda inputs: run([inputs[name] for name in encoder.inputs])


class _Traced:
    """The exported step, and how many new steps it takes: None for any number."""

    def __init__(self, step: Program, module: nn.Module):
        self.step = step
        held = [
            (name, op.layer.state) for name, op in layers(step.graph) if isinstance(op.layer, StateBuffer)
        ]
        self.states: dict[str, StepState] = {name: each for name, each in held if not each.given}
        self.given: dict[str, StepState] = {name: each for name, each in held if each.given}
        self.parts = self.states, self.given
        with failing(step, "the step cannot be exported"), exporting(module), torch.no_grad():
            self.exported, self.at_once = self._export(StatesOutside(module, [*step.inputs]).eval())

    def _export(self, outside: nn.Module) -> tuple[ExportedProgram, int | None]:
        stepping = self.step.stepping
        assert stepping is not None
        free = {name: Dim(f"all_{name}") for name in self.step.minimum_sizes}
        free |= dict.fromkeys(names_of(ROOM), Dim("longest"))
        for at_once in (None, 1):
            sizes = dict.fromkeys(free, SOURCE) | dict.fromkeys(names_of(ROOM), LONGEST)
            sizes[stepping.size] = at_once or LENGTH
            known = {name: size for name, size in sizes.items() if name in self.step.minimum_sizes}
            inputs = dict(self.step.example_inputs(BATCH, known))
            inputs[stepping.places] = torch.arange(BATCH)
            moving = {**free, stepping.size: Dim("steps") if at_once is None else None}
            dims = [
                {name: _dims(self.step.inputs[name].shape[1:], moving) for name in inputs},
                *({name: _dims(state.shape, moving) for name, state in part.items()} for part in self.parts),
            ]
            given = inputs, *(_empty(part, BATCH, sizes) for part in self.parts)
            try:
                return torch.export.export(outside, given, dynamic_shapes=tuple(dims), strict=False), at_once
            except FAILURES:
                if at_once is not None:
                    raise
        raise AssertionError("the last attempt raises")

    def write(self, format: str, output: str, description: str, path: Path) -> RunStep:
        """Writes the file, and returns what runs it."""
        inputs, states, given = [*self.step.inputs], [*self.states], [*self.given]
        if format == "pt2":
            pt2.save(self.step, self.exported, description, path)
            return pt2.load(self.step, path)
        names = [output, *(f"{name}.next" for name in states)]
        onnx.save(self.step, self.exported, [*inputs, *states, *given], names, description, path)
        run = onnx.session_of(self.step, path)

        def run_step(inputs: Tensors, states: Tensors, given: Tensors) -> tuple[Tensor, Tensors]:
            arrays = {name: value.numpy() for name, value in (inputs | states | given).items()}
            made = {name: torch.from_numpy(value) for name, value in run(arrays).items()}
            return next(iter(made.values())), {name: made[f"{name}.next"] for name in states}

        return run_step

    def compared(
        self,
        program: Program,
        whole: nn.Module,
        encode: Callable[[Mapping[str, Tensor]], Tensors],
        run: RunStep,
    ) -> float:
        """The largest difference of steps of another batch, with other room, from the whole."""
        stepping, length = self.step.stepping, 6
        assert stepping is not None
        inputs = program.example_inputs(2, dict.fromkeys(program.minimum_sizes, length), seed=1, least=1)
        given = encode(inputs)
        states = _empty(self.states, 2, dict.fromkeys([*program.minimum_sizes, *names_of(ROOM)], length + 1))
        parts, cuts = [], range(length + 1) if self.at_once else (0, 3, 4, length)
        for first, last in pairwise(cuts):
            fresh = {name: inputs[name][:, first:last] for name in stepping.inputs}
            fresh[stepping.places] = torch.full([2], first)
            made, states = run({name: fresh[name] for name in self.step.inputs}, states, given)
            parts.append(made)
        found = whole(*inputs.values())
        wanted = found[next(iter(self.step.outputs))] if isinstance(found, dict) else found
        (output,) = (tensor for each in self.step.outputs.values() for tensor in each.tensors)
        apart = torch.cat(parts, stepping.axis(output)) - wanted
        difference = float(apart.abs().max()) / max(1.0, float(wanted.abs().max()))
        if not difference <= TOLERANCE:
            raise fail("export-differs", f"steps of the file differ from the whole by {difference:.1e}", None)
        return difference


def _dims(shape: Any, free: Mapping[str, Any]) -> dict[int, Any]:
    """The free axes of a tensor, the batch before those of `shape`."""
    found: dict[int, Any] = {0: Dim("batch")}
    for axis, size in enumerate(shape, 1):
        if isinstance(size, int):
            continue
        unit = unit_of(size)
        dim = Dim.AUTO if unit is None else free[unit[0]]
        if dim is not None:
            found[axis] = dim if unit is None or unit[1] == 1 else unit[1] * dim
    return found


def _empty(states: Mapping[str, StepState], batch: int, sizes: Mapping[str, int]) -> Tensors:
    """States before the first step."""
    return {
        name: torch.zeros(
            [batch, *(value_of(size, sizes) for size in state.shape)], dtype=getattr(torch, state.dtype)
        )
        for name, state in states.items()
    }
