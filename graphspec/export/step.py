"""The step of a program as a file of ONNX, whose states are inputs and outputs: the caller keeps them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from graphspec.contract.stepping import StateBuffer
from graphspec.contract.streaming import StepState
from graphspec.diagnostics import fail
from graphspec.export import onnx
from graphspec.export.failures import FAILURES, failing
from graphspec.export.tracing import exporting
from graphspec.files.whole import beside, put
from graphspec.version import __version__
from graphspec.weights import layers

if TYPE_CHECKING:
    from graphspec.program import Program

BATCH, LENGTH, SOURCE, LONGEST = 3, 4, 5, 9
"""The sizes of a trace: so many sequences, new steps, steps of other inputs, and steps in all."""
TOLERANCE = 1e-4


class StatesOutside(nn.Module):
    """A step that takes its states after its inputs, and returns what becomes of them after its outputs."""

    def __init__(self, module: nn.Module, paths: list[str]):
        super().__init__()
        self.module, self.paths = module, paths

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        count = len(given) - len(self.paths)
        states = {path: state.clone() for path, state in zip(self.paths, given[count:], strict=True)}
        output = torch.func.functional_call(self.module, states, given[:count])
        return (output, *states.values())


def export_step(program: Program, path: Path, weights: Any, seed: int) -> tuple[dict[str, list[Any]], float]:
    """Writes the step of a program, and compares steps that onnxruntime computes with the whole. Returns the
    shape of each state by its name, and the largest difference.

    The batch, the new steps (with recurrent layers one at a time), the sizes of other inputs and the room of
    states are free. Raises `SpecError` (not-causal, export-failed, export-differs).
    """
    onnx.need_packages()
    whole = program.module(seed=seed, weights=weights).eval().requires_grad_(False)
    named = [each.source for each in (program.generation or {}).values() if each.source is not None]
    step = program.step(named or None)
    module = step.module(weights=whole.state_dict(), exporting=True).eval().requires_grad_(False)
    held = ((name, op.layer) for name, op in layers(step.graph))
    states = {name: layer.state for name, layer in held if isinstance(layer, StateBuffer)}
    outputs = [key for output in step.outputs.values() for key in output.keys]
    if len(outputs) > 1:
        message = f"the model has the outputs {', '.join(outputs)}, and a file of steps has one"
        raise fail("export-failed", message, "name one: `generate: {tokens: {from: next}}`")
    outside = StatesOutside(module, [*states]).eval()
    with failing(program, "the step cannot be exported"), exporting(module), torch.no_grad():
        exported, at_once = _exported(program, step, outside, states)
    names = [*step.inputs, *states], [*outputs, *(f"{name}.next" for name in states)]
    shapes = {name: ["batch", *map(_shown, state.shape)] for name, state in states.items()}
    description = {"graphspec": __version__, "name": program.name, "states": shapes}
    with beside(path) as folder:
        onnx.save(program, exported, *names, json.dumps(description), folder / path.name)
        difference = _compared(program, step, whole, states, folder / path.name, at_once)
        for part in sorted(folder.iterdir(), reverse=True):
            put(part, path.parent / part.name)
    return shapes, difference


def _shown(size: Any) -> Any:
    return size if isinstance(size, int) else str(size)


def _exported(
    program: Program, step: Program, outside: nn.Module, states: dict[str, StepState]
) -> tuple[Any, int | None]:
    """The exported step, and how many new steps it takes: None for any number."""
    assert step.stepping is not None
    batch, steps, longest = Dim("batch"), Dim("steps"), Dim("longest")
    own = {name: Dim(f"all_{name}") for name in program.minimum_sizes if name != step.stepping.size}
    for at_once in (None, 1):
        lengths = dict.fromkeys(program.minimum_sizes, SOURCE) | {step.stepping.size: at_once or LENGTH}
        inputs = program.example_inputs(BATCH, lengths)
        given = [*inputs.values(), torch.arange(BATCH), *_empty(states, BATCH, LONGEST).values()]
        dims: list[dict[int, Any]] = []
        for name in inputs:
            free = {
                axis: own[str(size)]
                for axis, size in enumerate(program.inputs[name].shape)
                if str(size) in own
            }
            fresh = name in step.stepping.inputs and at_once is None
            dims.append({**free, 0: batch} | ({1: steps} if fresh else {}))
        dims.append({0: batch})
        for state in states.values():
            free = {axis: longest for axis, size in enumerate(state.shape, 1) if not isinstance(size, int)}
            dims.append({0: batch, **free})
        try:
            return torch.export.export(
                outside, (*given,), dynamic_shapes=(tuple(dims),), strict=False
            ), at_once
        except FAILURES:
            if at_once is not None:
                raise
    raise AssertionError("the last attempt raises")


def _empty(states: dict[str, StepState], batch: int, longest: int) -> dict[str, Tensor]:
    """States before the first step."""
    return {
        name: torch.zeros(
            [batch, *(size if isinstance(size, int) else longest for size in state.shape)],
            dtype=getattr(torch, state.dtype),
        )
        for name, state in states.items()
    }


def _compared(
    program: Program,
    step: Program,
    whole: nn.Module,
    states: dict[str, StepState],
    file: Path,
    at_once: int | None,
) -> float:
    """The largest difference of steps of another batch, and of buffers of another size, from the whole."""
    assert step.stepping is not None
    run, length = onnx.session_of(program, file), 6
    inputs = program.example_inputs(2, dict.fromkeys(program.minimum_sizes, length), seed=1, least=1)
    kept = {name: state.numpy() for name, state in _empty(states, 2, length + 1).items()}
    parts, cuts = [], range(length + 1) if at_once else (0, 3, 4, length)
    for first, last in pairwise(cuts):
        fresh = {k: v[:, first:last] if k in step.stepping.inputs else v for k, v in inputs.items()}
        places = {step.stepping.places: np.full(2, first, np.int64)}
        made = run({name: value.numpy() for name, value in fresh.items()} | places | kept)
        parts.append(torch.from_numpy(next(iter(made.values()))))
        kept = {name: made[f"{name}.next"] for name in states}
    given = whole(*inputs.values())
    expected = given[next(iter(step.outputs))] if isinstance(given, dict) else given
    (output,) = (tensor for each in step.outputs.values() for tensor in each.tensors)
    found = torch.cat(parts, step.stepping.axis(output))
    difference = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    if not difference <= TOLERANCE:
        raise fail("export-differs", f"steps of the file differ from the whole by {difference:.1e}", None)
    return difference
