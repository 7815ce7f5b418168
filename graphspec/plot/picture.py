"""A program as nested boxes and edges: the content of a drawing, without positions.

A box is a node, an input, an output, a set of shared weights, or a stack of identical instances of a repeated
node. Blocks and models have a body of boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from graphspec.diagnostics import Span, visible
from graphspec.elaborated import BaseProgram
from graphspec.graph import Graph, Op, OpKind, Unit, Value, flatten, read_by, steps
from graphspec.objectives.custom import CustomLoss
from graphspec.plot.repeats import Kinship
from graphspec.tensor import BATCH, Dim, Tensor, show_size, sum_of, symbol
from graphspec.view.summary import Row

OtherKind = Literal["input", "output", "shared", "section", "entry", "exit"]
Kind = OpKind | OtherKind
TIMES = "\N{MULTIPLICATION SIGN}"
ENDS = ("input", "output", "entry", "exit")
"""Kinds of boxes that are not nodes."""
DETAIL_WIDTH = 36
"""Characters of a node's arguments that are drawn."""
LABEL_WIDTH = 44
"""Characters of a shape that are drawn."""


@dataclass(eq=False, slots=True)
class Port:
    """An output of a box that is read. Its label is its type, and the number of instances that have it."""

    name: str
    label: str


@dataclass(eq=False, slots=True)
class Box:
    """One box, with its body if it is a block, a model or a section.

    `params` and costs cover all `count` instances of a stack. `nodes` is the number of nodes that the box
    stands for, without those inside a block or model; `path` is the name from the root; `again` marks a later
    call of shared weights. `reads` are its inputs: the source of each, and its type. An `entry` and an `exit`
    are the ends of a body. Among its boxes they have the order of the slots and ports of the owner.
    """

    kind: Kind
    name: str
    title: str = ""
    detail: str = ""
    path: str = ""
    count: int = 1
    params: int = 0
    trainable: int = 0
    flops: Dim = 0
    memory: Dim = 0
    nodes: int = 1
    shared: str = ""
    spans: tuple[Span, ...] = ()
    reads: tuple[tuple[str, str], ...] = ()
    ports: list[Port] = field(default_factory=list)
    arguments: tuple[tuple[str, str, bool], ...] = ()
    """Each with its value, and whether it is the default."""
    weights: tuple[tuple[str, str], ...] = ()
    """The keys of its own weights in the state dict, below its path, and their shapes."""
    body: Picture | None = None
    again: bool = False
    open: bool = False
    opaque: bool = False
    """Whether `params` lack those of a custom module."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge from a port of a box to a slot of another, by their numbers in the body.

    `weights` marks edges that are not data. The slot is an entry of the target's body; None if the target has
    none for it.
    """

    source: int
    port: int
    target: int
    slot: int | None
    weights: bool = False


@dataclass(eq=False, slots=True)
class Picture:
    """Boxes in data order: an edge leads from an earlier box to a later one."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)

    def walk(self) -> Iterator[Box]:
        """All boxes, each followed by the boxes inside it."""
        for box in self.boxes:
            yield box
            if box.body is not None:
                yield from box.body.walk()


def draw(program: BaseProgram) -> Picture:
    """The picture of a program, with all groups closed."""
    rows = program.summary().rows
    count = sum(value is not None for value in program.graph.inputs.values())
    return _Drawer(Kinship(), program).body(program.graph, rows[count:])


class _Drawer:
    def __init__(self, kinship: Kinship, program: BaseProgram):
        self._kinship, self._program = kinship, program

    def body(self, graph: Graph, rows: Iterable[Row], exits: Mapping[str, Value] | None = None) -> Picture:
        """The body of a graph. `exits` are the values that its owner passes on; None for the program."""
        canvas = _Canvas(Picture())
        root = exits is None
        for name, value in graph.inputs.items():
            if value is not None:
                named = name if root or len(graph.inputs) > 1 else ""
                if root and (default := self._program.defaults.get(name)) is not None:
                    named = f"{name} = {str(default).lower()}"
                box = Box("input" if root else "entry", named, path=name)
                canvas.add(box, {"": value})
        calls = {unit: canvas.add(_weights(unit), {}) for unit in graph.units if unit.shared and unit.calls}
        nodes = {step[-1]: step for step in steps(graph.ops)}
        ops = [op for op in nodes if op.present]
        rows_of = dict(zip(ops, rows, strict=True))
        results = graph.outputs if exits is None else exits
        read = set(results.values()) | {value for op in graph.ops for value in op.inputs}
        runs = {run[0]: run for run in self._kinship.runs(ops)}
        for op in graph.ops:
            if not op.present:
                if op.inputs:
                    canvas.alias(op.output, op.inputs[0])
            elif op in runs:
                values = read_by(nodes[op])
                self._run(canvas, runs[op], [rows_of[each] for each in runs[op]], read, calls, values)
        for name, value in results.items():
            box = self._output(name) if root else Box("exit", name if len(results) > 1 else "")
            canvas.connect(value, canvas.add(box, {}), None)
        canvas.label()
        return canvas.body

    def _run(
        self,
        canvas: _Canvas,
        run: list[Op],
        rows: list[Row],
        read: set[Value],
        calls: Mapping[Unit, int],
        values: tuple[Value, ...],
    ) -> None:
        """One box for a node, or for identical instances of it; the first instance reads `values`."""
        op, row, unit = run[0], rows[0], run[0].unit
        spans = [each for each in (op.span, unit.span if unit else None) if each is not None]
        box = Box(
            op.kind if op.formula is None else "compute",
            op.name if len(run) == 1 else op.node,
            visible(row.type),
            _detail(op.options) if op.formula is None else _cut(op.formula.text),
            row.name if len(run) == 1 else f"{row.name} … {rows[-1].name.rpartition('.')[2]}",
            len(run),
            sum(each.params for each in rows),
            sum(each.trainable_params for each in rows),
            sum_of(each.flops for each in rows),
            sum_of(each.activation_bytes for each in rows),
            len(run),
            row.shared or "",
            tuple(dict.fromkeys(spans)),
        )
        box.again, box.opaque = row.repeated_call, row.opaque
        sources = zip(row.connected_to, values, strict=True)
        box.reads = tuple((source, _type(value.tensor)) for source, value in sources)
        box.arguments = tuple(_arguments(op))
        box.weights = tuple((each.name, _text(each.shape)) for each in op.weights())
        keys = [key for key in op.outputs if any(each.outputs[key] in read for each in run)]
        if op.graph is not None and not op.updates:
            box.body = self.body(op.graph, row.rows, {key: op.results[key] for key in keys})
        index = canvas.add(box, {key: op.outputs[key] for key in keys})
        for each in run[1:]:
            canvas.adopt(index, {key: each.outputs[key] for key in keys})
        for slot, value in _slots(op, values):
            canvas.connect(value, index, slot)
        if unit is not None and unit in calls:
            weights = canvas.body.boxes[calls[unit]]
            weights.params, weights.trainable = weights.params + box.params, weights.trainable + box.trainable
            weights.opaque, box.opaque = weights.opaque or box.opaque, False
            weights.title, box.params, box.trainable = box.title, 0, 0
            canvas.body.edges.append(Edge(calls[unit], 0, index, None, weights=True))

    def _output(self, name: str) -> Box:
        result = self._program.outputs.get(name)
        title = detail = ""
        if result is not None and result.loss is not None:
            title = result.loss.name if isinstance(result.loss, CustomLoss) else result.loss.canonical
            if (weight := result.loss_weight) != 1:
                detail = f"loss_weight {format(weight, 'g') if isinstance(weight, float) else weight}"
        return Box("output", name, title, detail, name)


class _Canvas:
    """A body while it is built: the box and output of each value."""

    def __init__(self, body: Picture):
        self.body = body
        self._origins: dict[Value, tuple[int, str]] = {}
        self._read: dict[tuple[int, str], list[Value]] = {}
        self._ports: dict[tuple[int, str], int] = {}
        self._edges: set[Edge] = set()

    def add(self, box: Box, values: Mapping[str, Value]) -> int:
        """The number of a new box that computes these values. Each gets a port."""
        index = len(self.body.boxes)
        self.body.boxes.append(box)
        for key, value in values.items():
            self._origins[value] = index, key
            self._ports[index, key] = len(box.ports)
            self._read[index, key] = []
            box.ports.append(Port(key, "" if box.kind == "entry" else _type(value.tensor)))
        if box.kind == "shared":
            box.ports.append(Port("", ""))
        return index

    def adopt(self, index: int, values: Mapping[str, Value]) -> None:
        """Adds the values that further instances of a stack compute."""
        self._origins |= {value: (index, key) for key, value in values.items()}

    def alias(self, value: Value, other: Value) -> None:
        self._origins[value] = self._origins[other]

    def connect(self, value: Value, target: int, slot: int | None) -> None:
        origin = self._origins[value]
        if value not in self._read[origin]:
            self._read[origin].append(value)
        edge = Edge(origin[0], self._ports[origin], target, slot)
        if edge not in self._edges:  # add(x, x) reads a value twice
            self._edges.add(edge)
            self.body.edges.append(edge)

    def label(self) -> None:
        """Labels ports with the number of instances that are read, if it is not one."""
        for (index, key), values in self._read.items():
            if len(values) > 1:
                self.body.boxes[index].ports[self._ports[index, key]].label += f" {TIMES} {len(values)}"


def _weights(unit: Unit) -> Box:
    calls = len(unit.calls)
    detail = f"shared by {calls} call{'' if calls == 1 else 's'}"
    if unit.average is not None:
        detail = f"average of {unit.average.of}"
    return Box(
        "shared", unit.name, detail=detail, path=unit.name, spans=(unit.span,) if unit.span else (), nodes=0
    )


def _slots(op: Op, values: tuple[Value, ...]) -> Iterator[tuple[int | None, Value]]:
    """The values that a node reads. For a block or model, each comes with the entry of its body."""
    if op.graph is None or op.updates:
        yield from ((None, value) for value in values)
        return
    slot = 0
    for inner, outer in op.passed():
        if inner is not None:
            yield from ((slot, value) for value in flatten((outer,)))
            slot += 1


def _arguments(op: Op) -> Iterator[tuple[str, str, bool]]:
    """All arguments of a node: those that are given first, expressions as their values."""
    for key, value in op.options.items():
        yield key, visible(_text(value)), False
    for key, about in type(op.layer).model_fields.items() if op.layer is not None else ():
        value = getattr(op.layer, key)
        if key not in op.options and (about.alias or key) not in op.options and value is not None:
            yield about.alias or key, visible(_text(getattr(value, "word", value))), True


def _detail(options: Mapping[str, Any]) -> str:
    parts, left = [], DETAIL_WIDTH
    for key, value in options.items():
        text = visible(f"{key} {_text(value)}")
        if len(text) > left:
            parts.append("…")
            break
        parts.append(text)
        left -= len(text) + 2
    return ", ".join(parts)


def _cut(text: str) -> str:
    text = " ".join(visible(text).split())
    return text if len(text) <= DETAIL_WIDTH else text[: DETAIL_WIDTH - 1] + "…"


NAMING = ("name", "layer", "block", "call", "model", "module")
"""The keys by which a mapping in a spec names what it is."""


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return str(next((value[key] for key in NAMING if key in value), "…"))
    return str(value)


def _type(tensor: Tensor) -> str:
    """A tensor's sizes without the batch axis, as a spec writes them, and its dtype unless it is float32."""
    batched = bool(tensor.shape) and tensor.shape[0] in (symbol(BATCH), 1)
    text = f"[{', '.join(show_size(size) for size in tensor.shape[batched:])}]"
    text = text if len(text) <= LABEL_WIDTH else text[: LABEL_WIDTH - 2] + "…]"
    return text if tensor.dtype == "float32" else f"{text} {tensor.dtype}"


READABLE = 120
"""Boxes that are shown at first, unless the program itself has more."""
SMALL = 60
"""Boxes up to which groups that only chain some layers are opened, too."""


def unfold(body: Picture, everything: bool = False, depth: int | None = None) -> None:
    """Opens groups: `everything`, or those of the outermost `depth` levels, or as many as stay readable.

    The last option goes from the outside in, and opens all groups of one depth or none. Groups that only
    chain some layers are last, because their own line says as much. A later call of a shared block or model
    stays closed: the first call shows its content.
    """
    if depth is not None:
        _unfold_to(body, depth)
        return
    shown = len(body.boxes)
    for limit, chains in ((READABLE, False), (SMALL, True)):
        level = [body]
        while level:
            boxes = [box for each in level for box in each.boxes if everything or not box.again]
            groups = [(box, box.body) for box in boxes if box.body is not None]
            closed = [
                (box, inside) for box, inside in groups if not box.open and (chains or not _is_chain(inside))
            ]
            more = sum(box.kind not in ENDS for _, inside in closed for box in inside.boxes)
            if shown + more > limit and not everything:
                break
            shown += more
            for box, _ in closed:
                box.open = True
            level = [inside for box, inside in groups if box.open]


def _unfold_to(body: Picture, depth: int) -> None:
    for box in body.boxes:
        if box.body is not None:
            box.open = depth > 0 and not box.again
            _unfold_to(box.body, depth - 1)


def depth_of(body: Picture) -> int:
    """The number of levels of groups in a picture."""
    return max((1 + depth_of(box.body) for box in body.boxes if box.body is not None), default=0)


def _is_chain(body: Picture) -> bool:
    sources = [edge.source for edge in body.edges]
    targets = [edge.target for edge in body.edges]
    return (
        len(set(sources)) == len(sources)
        and len(set(targets)) == len(targets)
        and all(box.body is None for box in body.boxes)
    )
