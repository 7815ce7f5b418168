"""Graph to Python source: what an expert would have written, and the spec's place of every line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from graphspec.contract import HELPERS
from graphspec.contract.helpers import helper
from graphspec.diagnostics import Span
from graphspec.emit.classes import Classes, closure
from graphspec.emit.construct import Constructor, Line, signature
from graphspec.emit.format import WIDTH, comment, lines, literal, split_items
from graphspec.emit.forward import Forward
from graphspec.emit.group import ModuleClass
from graphspec.emit.initialization import Initialization
from graphspec.graph import Graph, Value
from graphspec.passes.layout import Layout
from graphspec.passes.logits import inside
from graphspec.program import Elaborated
from graphspec.tensor import BATCH, Size, Tensor, names_of, show_size, symbol

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


@dataclass(eq=False, slots=True)
class Writer:
    """Collects the file's lines with their places."""

    lines: list[str] = field(default_factory=list)
    places: dict[int, Span] = field(default_factory=dict)

    def add(self, *texts: str, span: Span | None = None) -> None:
        for text in texts:
            self.lines.append(text)
            if span is not None:
                self.places[len(self.lines)] = span

    def statement(self, line: Line) -> None:
        """One statement, wrapped; its comment behind it where there is room."""
        written = lines(line.prefix, line.expression, line.indent, line.suffix)
        if line.comment and len(written) == 1 and len(written[0]) + len(line.comment) + 4 <= WIDTH:
            written[0] += f"  # {line.comment}"
        self.add(*written, span=line.span)


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
    bodies = Writer()
    parts = []
    for group in classes.groups:
        constructor = Constructor(classes, group)
        constructor.write()
        forward = Forward(constructor, group is root, program.masks if group is root else {})
        forward.write()
        forward.release(classes.peaks.of(graph))
        parts.append((group, constructor, forward))
    fills = Initialization(classes) if initialize else None
    for group, constructor, forward in parts:
        write_class(bodies, group, constructor, forward, program if group is root else None, fills)
    return assemble(program, bodies, classes.helpers, fills, root.name)


def logit_values(program: Elaborated) -> set[Value]:
    """The values whose last activation `logits=True` leaves off, in every graph that they pass."""
    judged = (
        program.graph.outputs[name] for name, judgement in program.outputs.items() if judgement.activation
    )
    return {each for value in judged for each in inside(value)}


def _keeps_channels_last(layout: Layout, graph: Graph) -> bool:
    """Whether weights are to lie as images do. A module with weights of five axes cannot be told so."""
    ops = [op for op in graph.walk() if op.present]
    return any(
        op.layer and layout.op_first(op) and op.site().x.rank == 4 and op.weights() for op in ops
    ) and not any(len(weight.shape) == 5 for op in ops for weight in op.weights())


def write_class(
    writer: Writer,
    group: ModuleClass,
    constructor: Constructor,
    forward: Forward,
    program: Elaborated | None,
    fills: Initialization | None,
) -> None:
    """One class: its docstring where it is the program, `__init__`, `forward`."""
    writer.add("", "", f"class {group.name}(nn.Module):")
    closing = []
    if program is not None:
        if fills is not None and fills.needed:
            closing.append(Line("", "self.apply(init_weights)"))
        if _keeps_channels_last(constructor.classes.layout, group.graph):
            closing.append(Line("", "self.to(memory_format=torch.channels_last)"))
    if constructor.lines or closing or group.args:
        writer.add(*_signature("def __init__(", signature(group), "):"))
        writer.add("        super().__init__()")
        for line in [*constructor.lines, *closing]:
            writer.statement(line)
        writer.add("")
    inputs = []
    for name in group.graph.inputs:
        optional = any(body.inputs[name] is None for body in group.bodies)
        inputs.append(
            f"{group.local(name)}: Tensor | None = None" if optional else f"{group.local(name)}: Tensor"
        )
    if group.logits or program is not None:  # every program takes it, so that one loop serves them all
        inputs.append("*, logits: bool = False")
    count = len(group.graph.outputs)
    result = (
        "Tensor"
        if count == 1
        else "dict[str, Tensor]"
        if program is not None
        else f"tuple[{', '.join(['Tensor'] * count)}]"
    )
    if program is not None and program.masks and count == 1:
        result = "Tensor | dict[str, Tensor]"
    writer.add(*_signature("def forward(", ", ".join(["self", *inputs]), f") -> {result}:"))
    if program is not None:
        writer.add(*size_checks(program, group))
    for line in forward.lines:
        writer.statement(line)


def _signature(head: str, parameters: str, tail: str) -> list[str]:
    single = f"    {head}{parameters}{tail}"
    if len(single) <= WIDTH:
        return [single]
    if len(parameters) + 8 <= WIDTH:
        return [f"    {head}", f"        {parameters}", f"    {tail}"]
    return [f"    {head}", *(f"        {item}," for item in split_items(parameters)), f"    {tail}"]


def size_checks(program: Elaborated, group: ModuleClass) -> list[str]:
    """The statements that refuse sequences too short or too long for the model, and sizes that should be
    one and are two.
    """
    out: list[str] = []
    seen: dict[str, str] = {}
    for name, tensor in program.inputs.items():
        for axis, size in enumerate(tensor.shape):
            if not isinstance(size, Size) or size == symbol(BATCH):
                continue
            (word,) = names_of(size) if len(names_of(size)) == 1 else ("",)
            if size != symbol(word):
                continue
            here = f"{group.local(name)}.shape[{axis}]"
            least = program.minimum_sizes.get(word, 1)
            label = "size" if word.startswith("?") else word
            if word in seen:
                message = f"{name}: `{label}` is {{{here}}}, and {{{seen[word]}}} before"
                out += _check(f"{here} != {seen[word]}", message)
                continue
            seen[word] = here
            if least > 1:
                out += _check(
                    f"{here} < {least}", f"{name}: `{label}` must be at least {least}, not {{{here}}}"
                )
            if (most := program.maximum_sizes.get(word)) is not None:
                out += _check(f"{here} > {most}", f"{name}: `{label}` must be at most {most}, not {{{here}}}")
    return out


def _check(condition: str, message: str) -> list[str]:
    return [f"        if {condition}:", *lines("raise ", f'ValueError(f"{message}")', 12)]


def assemble(
    program: Elaborated, bodies: Writer, helpers: frozenset[str], fills: Initialization | None, name: str
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


__all__ = ["Emitted", "emit", "literal"]
