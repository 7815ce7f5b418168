"""The layers of a graph that learn of training data before the first step, and where they may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphspec.contract.learned import Learned, Quantiles
from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.graph import Graph, Op
from graphspec.weights import key_prefix, weight_files


@dataclass(frozen=True, slots=True)
class Adaptive:
    """A layer that learns of training data: the path of its module, and the ops in front of it. `called` is
    how often it is called.
    """

    path: str
    op: Op
    learned: Learned
    before: tuple[Op, ...]
    called: int


def adaptive(
    graph: Graph, prefix: str = "", around: tuple[Op, ...] = (), called: int = 1
) -> Iterator[Adaptive]:
    """The layers of a graph that learn of training data, at any depth. `around` are the ops around it."""
    for unit in graph.units:
        op, here = unit.first_call, key_prefix(prefix, unit)
        times = called * len(unit.calls)
        if op.graph is not None:
            yield from adaptive(op.graph, here, (*around, op), times)
        elif op.layer is not None and op.present:
            learned = op.layer.learned(*op.site().inputs)
            if learned is not None:
                before = tuple(each for outer in (*around, op) for each in _before(outer))
                yield Adaptive(here.removesuffix("."), op, learned, before, times)


def _before(op: Op) -> list[Op]:
    """The ops of the same graph that an op depends on."""
    ops: dict[Op, None] = {}
    open_ops = [op]
    while open_ops:
        for value in open_ops.pop().inputs:
            if value.op is not None and value.op not in ops:
                ops[value.op] = None
                open_ops.append(value.op)
    return list(ops)


def check_adaptive(graph: Graph, diagnostics: Diagnostics) -> None:
    """Reports the layers that could not learn in a training, but for those whose numbers `weights:` gives."""
    filled = tuple(prefix for prefix, _, _ in weight_files(graph))
    for problem in misplaced(each for each in adaptive(graph) if not f"{each.path}.".startswith(filled)):
        diagnostics.add(problem)


def misplaced(layers: Iterable[Adaptive]) -> list[Diagnostic]:
    """The mistakes (cannot-adapt) of layers that cannot learn; none for what comes after another one."""
    problems, wrong = [], set[Op]()
    for each in sorted(layers, key=lambda each: len(each.before)):
        problem = _problem(each)
        if problem is not None:
            if wrong.isdisjoint(each.before):
                problems.append(problem)
            wrong.add(each.op)
    return problems


def _problem(each: Adaptive) -> Diagnostic | None:
    """The mistake where what a layer sees changes in training, or differs from call to call."""
    name = each.op.layer.spec_name if each.op.layer is not None else each.op.node
    cause = None
    for op in each.before:
        inner = [op, *(op.graph.walk() if op.graph is not None else ())]
        frozen = op.unit is not None and not op.unit.trainable
        if not frozen and any(weight.trainable for one in inner for weight in one.weights()):
            cause = f"the weights of `{op.node}` come before it, and change in training"
        elif any(one.layer is not None and one.layer.random for one in inner):
            cause = f"`{op.node}` comes before it, and is random in training"
        elif not frozen and any(one.layer is not None and one.layer.opaque for one in inner):
            cause = f"`{op.node}` comes before it, a module of your own that may change in training"
    if each.called > 1:
        cause = f"it is called {each.called} times, on inputs that may differ"
    sizes = each.op.site().x.shape[1:]
    if cause is None and not all(isinstance(size, int) for size in sizes):
        cause = f"its input is {each.op.site().x}, and rows of different lengths are padded"
    if cause is None:
        return None
    message = f"`{name}` learns from training data before the first step, but {cause}"
    numbers = (
        "`bin_boundaries: [...]`" if isinstance(each.learned, Quantiles) else "`mean: ...`, `variance: ...`"
    )
    help = f"move it to the inputs, or give it its numbers: {numbers}"
    return Diagnostic("cannot-adapt", message, each.op.span, help=help)
