"""A program as the nodes and settings that a comparison looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphspec.contract import REGISTRY
from graphspec.contract.named import NamedValue
from graphspec.graph import Graph, Op, steps
from graphspec.reference.resolution import as_written, with_defaults
from graphspec.tensor import Dim
from graphspec.train.config.varying import Varying
from graphspec.view.summary import Row, show_shape

if TYPE_CHECKING:
    from graphspec.program import Program

SECTIONS = ("params", "outputs", "data", "train", "tune")
"""The parts of a spec whose settings are compared as they are written; nodes and inputs as what they mean."""


@dataclass(frozen=True, slots=True)
class OutlineNode:
    """A node by its path from the root. `inputs` are the paths of what it reads, `arguments` all that its
    layer or block takes, with defaults.
    """

    path: str
    parent: str
    kind: str
    type: str
    arguments: Mapping[str, Any]
    inputs: tuple[str, ...]
    shapes: tuple[str, ...]
    params: int
    flops: Dim

    @property
    def name(self) -> str:
        return self.path[len(self.parent) + 1 :] if self.parent else self.path


@dataclass(frozen=True, slots=True)
class Outline:
    """All nodes of a program in data order, blocks before what is inside them; the types of its inputs; its
    settings by dotted path, with defaults, and as they are written.
    """

    name: str
    nodes: dict[str, OutlineNode]
    inputs: dict[str, str]
    settings: dict[str, Any]
    written: Mapping[str, Any]
    params: int
    flops: Dim
    children: dict[str, list[OutlineNode]] = field(default_factory=dict)


def outline(program: Program) -> Outline:
    """The outline of a compiled spec."""
    summary = program.summary()
    rows = {row.name: row for row in _unfolded(summary.rows)}
    nodes = {node.path: node for node in _nodes(program.graph, "", rows)}
    written = {key: value for key, value in program.document.items() if key in SECTIONS}
    if isinstance(written.get("outputs"), list):
        written["outputs"] = {name: {} for name in written["outputs"]}
    outputs = written["outputs"].values() if isinstance(written.get("outputs"), dict) else ()
    losses = [loss for each in outputs if isinstance(loss := (each or {}).get("loss"), dict)]
    blocks = program.document.get("blocks") or {}
    computed = {loss["block"]: blocks[loss["block"]] for loss in losses if loss.get("block") in blocks}
    document = with_defaults(dict(program.document), program.training)
    sections = {key: document[key] for key in SECTIONS if key in written}
    if computed:
        written["blocks"] = sections["blocks"] = computed
    sections["outputs"] = document["outputs"] if isinstance(document["outputs"], dict) else written["outputs"]
    costs = summary.step().forward_flops
    inputs = {name: str(tensor) for name, tensor in program.inputs.items()}
    program_outline = Outline(
        program.name, nodes, inputs, dict(flat(sections)), written, summary.total_params, costs
    )
    for node in nodes.values():
        program_outline.children.setdefault(node.parent, []).append(node)
    return program_outline


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The settings in nested mappings by dotted path; a list is one value, unless it has mappings in it."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or (path and not value):
        yield path, value
        return
    for key, item in value.items():
        yield from flat(item, f"{path}.{key}" if path else str(key))


def _unfolded(rows: tuple[Row, ...]) -> Iterator[Row]:
    for row in rows:
        yield row
        yield from _unfolded(row.rows)


def _nodes(graph: Graph, prefix: str, rows: Mapping[str, Row]) -> Iterator[OutlineNode]:
    for step in steps(graph.ops):
        op = step[-1]
        path = prefix + op.name
        row = rows.get(path)
        if row is None or not op.present or op.updates:  # a state has its formula
            continue
        yield OutlineNode(
            path,
            prefix.removesuffix("."),
            op.kind,
            row.type,
            _arguments(op),
            row.connected_to,
            tuple(map(show_shape, row.output_shapes)),
            row.params,
            row.flops,
        )
        if op.graph is not None:
            yield from _nodes(op.graph, f"{path}.", rows)


def _arguments(op: Op) -> dict[str, Any]:
    """The arguments of a node, with defaults."""
    return {"compute": op.formula.text} if op.formula is not None else arguments_of(op)


def arguments_of(op: Op) -> dict[str, Any]:
    """The arguments of an op, with defaults; also of one that a formula has made."""
    arguments: dict[str, Any] = {}
    if op.graph is not None:
        arguments |= {name: _value(value) for name, value in op.graph.params.items()}
    elif op.kind in ("module", "constant", "state"):
        arguments |= op.options
    elif op.parameter is not None:
        arguments["parameter"] = list(op.parameter.shape[1:])
    elif op.layer is not None:
        fields = type(op.layer).model_fields
        arguments |= {
            each.alias or name: as_written(getattr(op.layer, name)) for name, each in fields.items()
        }
    around = REGISTRY["layer"].get(op.wrapper.spec_name) if op.wrapper is not None else None
    if around is not None:
        arguments |= {name: getattr(op.wrapper, name) for name in around.model_fields}
    if op.unit is not None and op.unit.average is not None:
        arguments |= {"average_of": op.unit.average.of, "momentum": _value(op.unit.average.momentum)}
    elif op.unit is not None and not op.unit.trainable:
        arguments["trainable"] = False
    if op.unit is not None and op.unit.weights is not None:
        arguments["weights"] = op.unit.weights
    return arguments


def _value(value: Any) -> Any:
    if isinstance(value, Varying):
        return value.model_dump(by_alias=True, exclude_unset=True)
    return as_written(value) if isinstance(value, NamedValue | tuple | list) else value
