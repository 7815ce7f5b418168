"""A graph to the rows of its summary. Weights are only shapes here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphspec.contract.layer import Weight
from graphspec.elaborated import Elaborated
from graphspec.graph import Graph, Op, Unit, Value, read_by, steps
from graphspec.tensor import BATCH, Dim, Size, Tensor, nbytes, sum_of
from graphspec.view.costs import activation_bytes, flops
from graphspec.view.summary import Row, Summary
from graphspec.weights import unit_keys
from graphspec.weights.adaptable import adapter_params
from graphspec.weights.trainable import trains


def summarize(elaborated: Elaborated) -> Summary:
    """The summary of a program."""
    graph = elaborated.graph
    labels: dict[Value, str] = {}
    rows = []
    for name, value in graph.inputs.items():
        if value is not None:
            labels[value] = name
            rows.append(
                Row(
                    name,
                    "InputLayer",
                    (_shape(elaborated.inputs[name]),),
                    0,
                    0,
                    (),
                    activation_bytes=nbytes(value.tensor),
                    default=elaborated.defaults.get(name),
                )
            )
    rows += _rows(graph, "", labels, _trains(elaborated), True)
    total, trainable = sum(row.params for row in rows), sum(row.trainable_params for row in rows)
    adapters = adapter_params(graph, elaborated.training)
    return Summary(elaborated.name, tuple(rows), total, trainable, elaborated.training.optimizer, adapters)


Trains = Callable[[Unit | None, Weight], bool]
"""Whether training changes a weight of a layer or parameter."""


def _nothing(unit: Unit | None, weight: Weight) -> bool:
    return False


def _trains(elaborated: Elaborated) -> Trains:
    keys, trainable = dict(unit_keys(elaborated.graph)), trains(elaborated.graph, elaborated.training)

    def changed(unit: Unit | None, weight: Weight) -> bool:
        here = keys.get(unit, "") if unit is not None else ""
        return (f"{here}{weight.name}" if weight.name else here.removesuffix(".")) in trainable

    return changed


def _rows(graph: Graph, prefix: str, labels: dict[Value, str], trainable: Trains, counted: bool) -> list[Row]:
    """The rows of a graph whose inputs are labelled. Weights are not `counted` in a later call of them."""
    rows = []
    for step in steps(graph.ops):
        op = step[-1]
        name = prefix + op.name
        if not op.present:
            labels[op.output] = labels[op.inputs[0]]
            continue
        if op.formula is not None:
            rows.append(_formula(step, prefix, labels))
            continue
        _label(op, name, labels)
        rows.append(_row(op, name, labels, trainable, counted))
    return rows


def _label(op: Op, name: str, labels: dict[Value, str]) -> None:
    for position, (key, value) in enumerate(op.outputs.items()):
        labels[value] = name if position == 0 else f"{name}.{key}"


def _formula(step: tuple[Op, ...], prefix: str, labels: dict[Value, str]) -> Row:
    """The row of a formula, with one for each of its ops inside it."""
    inside = []
    for op in step:
        _label(op, prefix + op.name, labels)
        inside.append(_row(op, prefix + op.name, labels, _nothing, False))
    return replace(
        inside[-1],
        type="Formula",
        connected_to=tuple(labels[value] for value in read_by(step)),
        rows=tuple(inside) if len(inside) > 1 else (),
        flops=sum_of(row.flops for row in inside),
        activation_bytes=sum_of(row.activation_bytes for row in inside),
    )


def _row(op: Op, name: str, labels: dict[Value, str], trainable: Trains, counted: bool) -> Row:
    unit = op.unit
    again = unit is not None and unit.shared and unit.first_call is not op
    counted = counted and not again
    inside: list[Row] = []
    if op.graph is not None:
        for inner, outer in op.passed():
            if inner is not None and outer is not None:
                labels[inner] = labels[outer] if isinstance(outer, Value) else name
        inside = _rows(op.graph, f"{name}.", labels, trainable, counted)
    weights = op.weights() if counted else ()
    averaged = unit.average.of if unit is not None and unit.average is not None else None
    title = op.title if averaged is None else f"average of {averaged}"
    return Row(
        name,
        title if op.wrapper is None else f"{op.wrapper.title}({title})" if title else op.wrapper.title,
        tuple(_shape(value.tensor) for value in op.outputs.values()),
        sum(w.size for w in weights) + sum(row.params for row in inside),
        sum(w.size for w in weights if w.trainable and trainable(unit, w))
        + sum(row.trainable_params for row in inside),
        tuple(labels[value] for value in op.inputs),
        unit.name if unit is not None and unit.shared else None,
        again or (not counted and (bool(op.weights()) or (op.layer is not None and op.layer.opaque))),
        tuple(inside),
        flops(op, [row.flops for row in inside]),
        activation_bytes(op, [row.activation_bytes for row in inside]),
        (op.layer is not None and op.layer.opaque) or any(row.opaque for row in inside),
    )


def _shape(tensor: Tensor) -> tuple[Dim | None, ...]:
    return tuple(None if isinstance(size, Size) and str(size) == BATCH else size for size in tensor.shape)
