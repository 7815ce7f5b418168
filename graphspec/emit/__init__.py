"""Graph to Python source: what an expert would have written, and the spec's place of every line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphspec.contract import HELPERS
from graphspec.contract.helpers import helper
from graphspec.diagnostics import Span
from graphspec.emit.classes import Classes, closure
from graphspec.emit.construct import Constructor
from graphspec.emit.forward import Forward
from graphspec.emit.initialization import Initialization
from graphspec.emit.printer import WIDTH, comment
from graphspec.emit.writer import Writer, write_definition
from graphspec.graph import Value
from graphspec.passes.layout import Layout
from graphspec.passes.logits import inside
from graphspec.program import Elaborated
from graphspec.tensor import BATCH, Tensor, show_size, symbol

helper(
    "freeze",
    '''
def freeze(module: nn.Module) -> None:
    """Takes a module out of training: no gradients, and batch normalization keeps its statistics."""
    module.requires_grad_(False)
    for layer in module.modules():
        layer.frozen = True
''',
)


@dataclass(frozen=True, slots=True)
class Emitted:
    """A Python file. `places` gives, for its line numbers from 1, where in the spec a line comes from."""

    source: str
    places: dict[int, Span]
    class_name: str


def emit(program: Elaborated, initialize: bool = True) -> Emitted:
    """The source of a program. Deterministic to the byte; formatted as ruff formats; it needs torch and
    nothing else.

    `initialize` fills the weights; without, the module is for inference, and its weights come from a file.
    """
    graph = program.graph
    inputs = [value for name in program.channels_first if (value := graph.inputs.get(name)) is not None]
    layout = Layout(inputs)
    layout.run(graph, True)
    classes = Classes(graph, layout, logit_values(program))
    root = classes.of[graph]
    root.logits = program.takes_logits
    parts = []
    for group in classes.groups:
        constructor = Constructor(classes, group)
        constructor.write()
        forward = Forward(constructor, group is root, program.masks if group is root else {})
        forward.write()
        if constructor.is_empty and group is not root:
            group.become_function(classes.space)
        parts.append((group, constructor, forward))
    fills = Initialization(classes) if initialize else None
    bodies = Writer()
    program_bytes = classes.peaks.of(graph)
    for group, _, forward in parts:
        forward.finish(program_bytes)
        write_definition(bodies, forward, program if group is root else None, fills)
    return assemble(program, bodies, classes.helpers, fills, root.name)


def logit_values(program: Elaborated) -> set[Value]:
    """The values whose last activation `logits=True` leaves off, in every graph that they pass."""
    judged = (
        program.graph.outputs[name] for name, judgement in program.outputs.items() if judgement.activation
    )
    return {each for value in judged for each in inside(value)}


def assemble(
    program: Elaborated,
    bodies: Writer,
    helpers: frozenset[str],
    fills: Initialization | None,
    name: str,
) -> Emitted:
    """The whole file: docstring, imports, helpers, initializers, classes."""
    top = Writer()
    arrow = ", ".join(f"{name} {_type(tensor)}" for name, tensor in program.inputs.items())
    results = ", ".join(
        f"{name} {_type(judgement.tensors[0])}" for name, judgement in program.outputs.items()
    )
    docstring = comment(f"{program.name}: {arrow} -> {results}.")
    folded = [] if fills is not None else ["", "Folded for inference; its weights come from a file."]
    if len(docstring) + 6 > WIDTH:
        top.add(f'"""{comment(program.name)}: {comment(arrow)}', f"-> {comment(results)}.", *folded)
        top.add('"""', "")
    elif folded:
        top.add(f'"""{docstring}', *folded, '"""', "")
    else:
        top.add(f'"""{docstring}"""', "")
    middle, initializers = Writer(), Writer()
    if fills is not None and fills.needed:
        initializers.add("", "")
        initializers.add(*fills.lines())
    for word in closure(helpers & words("\n".join([*initializers.lines, *bodies.lines]))):
        middle.add("", "", *HELPERS[word].source.split("\n"))
    middle.add(*initializers.lines)
    used = words("\n".join([*middle.lines, *bodies.lines]))
    imports = ["import math"] if "math" in used else []
    imports += ["from collections.abc import Callable"] if "Callable" in used else []
    imports += [""] if imports else []
    imports += ["import torch"] if "torch" in used else []
    imports += ["from torch import Tensor, nn"]
    imports += ["from torch.nn import functional as F"] if "F" in used else []
    top.add(*imports)
    offset = len(top.lines) + len(middle.lines)
    source = "\n".join([*top.lines, *middle.lines, *bodies.lines]) + "\n"
    return Emitted(source, {number + offset: span for number, span in bodies.places.items()}, name)


def words(source: str) -> set[str]:
    """The names that source reads or calls, but for attributes."""
    code = re.sub(r'"""[^"]*"""|"(\\.|[^"\\\n])*"|#.*', "", source)
    return set(re.findall(r"(?<![.\w])[A-Za-z_]\w*", code))


def _type(tensor: Tensor) -> str:
    shape = ", ".join("N" if size == symbol(BATCH) else show_size(size) for size in tensor.shape)
    return f"{tensor.dtype}[{shape}]"


__all__ = ["Emitted", "emit"]
