"""An example of a layer, merge or op at work: the shapes of its tensors, its weights, and its PyTorch."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.diagnostics import SpecError
from graphspec.reference.entries import ReferenceEntry

LONGEST = 12
"""Lines of PyTorch that a page shows."""


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """The example of a page of the reference, compiled."""

    shapes: str
    parameters: int
    pytorch: tuple[str, ...]

    def text(self) -> str:
        count = f", {self.parameters:,} parameters" if self.parameters else ""
        lines = [f"shapes: {self.shapes}{count}", "PyTorch:", *(f"  {line}" for line in self.pytorch)]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "shapes": self.shapes,
            "parameters": self.parameters,
            "pytorch": "\n".join(self.pytorch),
        }


def page(entry: ReferenceEntry) -> str:
    """The page of an entry, with its example at work."""
    example = worked_example(entry)
    return entry.text() + (f"\n{example.text()}" if example is not None else "")


def worked_example(entry: ReferenceEntry) -> WorkedExample | None:
    """The compiled example of an entry; None if it is not a node, or not one by itself (a cell)."""
    from graphspec import compiler

    if entry.kind not in REGISTRY or not entry.example:
        return None
    example = REGISTRY[entry.kind][entry.name].examples[0]
    several = "from: [" in entry.example
    names = list("abcdefgh")[: len(example.shapes)] if several else ["x"] * len(example.shapes)
    dtypes = example.dtypes or (example.dtype,) * len(example.shapes)
    inputs = {
        name: {"shape": list(shape), "dtype": dtype}
        for name, shape, dtype in zip(names, example.shapes, dtypes, strict=True)
    }
    declared = "".join(f"  {name}: {_flow(value)}\n" for name, value in inputs.items())
    text = f"inputs:\n{declared}nodes:\n  y: {entry.example}\noutputs: [y]\n"
    try:
        program = compiler.compile(text)
    except SpecError:
        return None
    outputs = next(iter(program.outputs.values())).tensors
    shapes = f"{', '.join(map(str, program.inputs.values()))} -> {', '.join(map(str, outputs))}"
    return WorkedExample(shapes, program.summary().total_params, _pytorch(program.source))


def _flow(value: dict[str, Any]) -> str:
    from graphspec.source.writing import write_flow

    return write_flow(value)


def _pytorch(source: str) -> tuple[str, ...]:
    """The lines of the model's class for the node: its part of `__init__`, and of `forward`."""
    model = next(node for node in reversed(ast.parse(source).body) if isinstance(node, ast.ClassDef))
    lines = source.splitlines()
    excerpt: list[str] = []
    for function in model.body:
        for statement in function.body if isinstance(function, ast.FunctionDef) else ():
            written = ast.unparse(statement)
            if not written.startswith(("super()", "self.apply(", "self.to(")):
                part = lines[statement.lineno - 1 : statement.end_lineno]
                excerpt += [line.removeprefix(" " * 8) for line in part]
    return tuple(excerpt) if len(excerpt) <= LONGEST else (*excerpt[:LONGEST], "...")
