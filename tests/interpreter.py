"""The elaborated graph run op by op, in the spec's memory order: what an emitted module must compute.

It shares nothing with the emitter but the layers' own code: no classes, no loops, no layout.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphspec.contract.layer import Code, Leaf, ModuleCall, Ref
from graphspec.emit.library_source import FOLDER
from graphspec.graph import Graph, Op, Unit, Value
from graphspec.program import Program
from graphspec.weights import key_prefix


def library() -> dict[str, Any]:
    """Every class and function that emitted files may carry."""
    space: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, "Tensor": Tensor}
    for path in sorted(FOLDER.glob("*.py")):
        space |= vars(import_module(f"graphspec.emit.library.{path.stem}"))
    return space


def interpret(program: Program, module: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The program's outputs, with the weights of its emitted module."""
    state = dict(module.state_dict())
    given: list[Tensor | None] = [
        x.movedim(1, -1) if name in program.channels_first else x for name, x in inputs.items()
    ]
    found = Interpreter(state, library()).body(program.graph, "", given)
    return {name: found[value] for name, value in program.graph.outputs.items()}


class Interpreter:
    """Runs graphs on `state`, the weights by their keys."""

    def __init__(self, state: dict[str, Tensor], defined: dict[str, Any]):
        self.state, self.library = state, defined
        self.prefixes: dict[Unit, str] = {}

    def body(self, graph: Graph, prefix: str, inputs: list[Tensor | None]) -> dict[Value, Tensor]:
        """The values of a graph, whose weights lie below `prefix`."""
        self.prefixes |= {unit: key_prefix(prefix, unit) for unit in graph.units}
        values: dict[Value, Tensor] = {}
        for value, tensor in zip(graph.inputs.values(), inputs, strict=True):
            if value is not None:
                assert tensor is not None
                values[value] = tensor
        for op in graph.ops:
            for value, tensor in zip(op.outputs.values(), self.op(op, prefix, values), strict=True):
                values[value] = tensor
        return values

    def op(self, op: Op, prefix: str, values: dict[Value, Tensor]) -> list[Tensor]:
        """The outputs of one op."""

        def read(argument: Any) -> Any:
            if isinstance(argument, tuple):
                return [read(item) for item in argument]
            return values[argument] if argument is not None else None

        arguments = [read(argument) for argument in op.arguments]
        if not op.present:
            return [arguments[0]]
        path = self.prefixes[op.unit] if op.unit is not None else prefix
        if op.parameter is not None:
            return [self.state[path.removesuffix(".")]]
        if op.wrapper is None:
            return self.inner(op, path, arguments)
        wrapper = op.wrapper.in_inference()
        entered = self.template(wrapper.enter_code(), {"x": arguments[0]})
        outputs = self.inner(op, path, [entered])
        return [self.template(wrapper.leave_code(), {"x": arguments[0], "y": y}) for y in outputs]

    def inner(self, op: Op, path: str, arguments: list[Any]) -> list[Tensor]:
        if op.graph is not None:
            found = self.body(op.graph, path, arguments)
            return [found[op.results[key]] for key in op.outputs]
        assert op.layer is not None
        first = op.layer.memory(*op.site().inputs) == "first"
        code = op.layer.code(op.site(first))
        arguments = [turned(argument, True) for argument in arguments] if first else arguments
        holes: dict[str, Any] = {name: self.leaf(value) for name, value in code.constants.items()}
        holes["self"] = self.module(code, path)
        holes["float"] = next((x.dtype for x in self.state.values() if x.is_floating_point()), torch.float64)
        if op.layer.variadic:
            holes |= {str(position): tensor for position, tensor in enumerate(arguments)} | {
                "list": arguments
            }
        else:
            names = [argument.name for argument in op.layer.arguments]
            holes |= dict(zip(names, arguments, strict=True))
        result = self.template(code.call.replace("{*}", "*{list}"), holes)
        result = self.template(code.activation.expression(), {"x": result})
        outputs = list(result) if isinstance(result, tuple) else [result]
        return [turned(output, False) for output in outputs] if first else outputs

    def template(self, text: str, holes: dict[str, Any]) -> Any:
        names = {hole: f"_{number}" for number, hole in enumerate(holes)}
        source = re.sub(r"\{([\w*]+)\}", lambda match: f"{names[match[1]]}", text)
        return eval(source, self.library | {names[hole]: value for hole, value in holes.items()})

    def leaf(self, value: Leaf) -> Any:
        if isinstance(value, Ref):
            return eval(value.text, dict(self.library))
        return tuple(self.leaf(item) for item in value) if isinstance(value, tuple) else value

    def module(self, code: Code, path: str) -> nn.Module | Tensor | None:
        """The layer's own module, with the weights that lie at `path`."""
        if code.construct is None:
            return None
        module = self.made(code.construct)
        if isinstance(module, Tensor):  # a buffer
            return module.double() if module.is_floating_point() else module
        module = module.double().eval()
        own = {key.removeprefix(path): value for key, value in self.state.items() if key.startswith(path)}
        module.load_state_dict(own)
        return module

    def made(self, construct: ModuleCall) -> Any:
        """A layer's module as it is made, or its buffer."""
        target = eval(construct.target, dict(self.library))
        positional = [self.leaf(value) for value in construct.positional.values()]
        keyword = {
            name: self.leaf(value)
            for name, (value, default) in construct.keyword.items()
            if (type(value), value) != (type(default), default)
        }
        module = target(*positional, **keyword)
        return self.template(construct.around, {"module": module})


def turned(value: Any, to_first: bool) -> Any:
    """The spec's last axis moved to axis 1, or back; vectors stay."""
    if isinstance(value, list):
        return [turned(item, to_first) for item in value]
    if value is None or value.dim() < 3:
        return value
    return value.movedim(-1, 1) if to_first else value.movedim(1, -1)
