"""A tensor that training remembers from batch to batch, and the formula that changes it."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, ClassVar, Literal, NoReturn

from graphspec.contract.initializers import Constant, Initializer, Ones, Zeros
from graphspec.contract.state import StateTensor, Updating
from graphspec.diagnostics import by_word
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.forms.compute import Broken, FormulaBuilder
from graphspec.elaborate.forms.parameter import fill_of
from graphspec.elaborate.instance import NodeInstance
from graphspec.elaborate.scope import expressions_in
from graphspec.elaborate.values import FAILED, Bound
from graphspec.expressions.formula import Applied, Part
from graphspec.graph import Definition, Formula, Graph, Op, Unit, Value
from graphspec.settings import Setting, SettingError, show, validate
from graphspec.tensor import Tensor, is_size
from graphspec.traced import attached, plain

UPDATE = "update"


class _State(Setting):
    """The settings of a state besides its shape and what changes it."""

    synonyms: ClassVar = by_word(initializer="init initial value fill", update="push next formula")
    initializer: Initializer = Zeros()
    dtype: Literal["float32", "float64", "int64", "int32", "bool"] = "float32"
    update: Any


def build(node: NodeInstance) -> NodeResult:
    """A state of the shape that the node names, with a batch axis of 1 before it; once all nodes are there,
    what changes it is built.
    """
    shape = node.target()
    said = _read(node)
    if shape is FAILED or said is None:
        return failed()
    if not (isinstance(shape, list) and all(is_size(size) for size in shape)):
        message = f"the shape of a state is a list of positive integers, not {show(shape)}"
        sizes = [shape] if is_size(shape) else [1, 768]
        return node.failure("wrong-type", node.span_of("state"), message, f"write state: {sizes}")
    fill = fill_of(node, said.initializer, len(shape))
    if fill is None:
        return failed()
    fill = "" if isinstance(said.initializer, Zeros) else fill
    layer = StateTensor(shape=tuple(shape), dtype=said.dtype, fill=fill)
    op = Op(node.name, node.index, node.span, "state", layer=layer, title="State")
    op.outputs = {"": Value(layer.infer(), node.name, op)}
    op.options = {"state": shape, "dtype": said.dtype, "initializer": said.initializer.word}
    op.options[UPDATE] = node.declared.extra[UPDATE]
    op.expressions = tuple(expressions_in(node.declared.target, shape, ("shape",)))
    node.body.later.append(partial(_update, node, op))
    return NodeResult(dict(op.outputs), op)


def _read(node: NodeInstance) -> _State | None:
    """The settings of a state; its formula is read when all nodes are there."""
    extra = node.declared.extra
    given = {key: node.evaluate(item, key) for key, item in extra.items() if key != UPDATE}
    if any(value is FAILED for value in given.values()):
        return None
    written = given | ({UPDATE: extra[UPDATE]} if UPDATE in extra else {})
    try:
        said: _State = attached(written, validate(_State, plain(written), "a state"))
    except SettingError as error:
        node.setting_error(error)
        return None
    if said.dtype not in ("float32", "float64") and not isinstance(said.initializer, Constant | Ones | Zeros):
        message = f"`{said.initializer.word}` fills floats, and this state is {said.dtype}"
        node.error(
            "wrong-dtype", node.span_of("initializer"), message, "write `zeros`, `ones` or a `constant`"
        )
        return None
    return said


def _update(node: NodeInstance, state: Op) -> None:
    """Adds what changes a state to the graph."""
    builder = _UpdateBuilder(node, Formula(str(state.options[UPDATE])), UPDATE, state=state)
    try:
        builder.add()
    except Broken:
        node.body.results[node.name] = failed()


class _UpdateBuilder(FormulaBuilder):
    """Builds a formula as a graph of its own, in which the batch is one example."""

    def __init__(self, node: NodeInstance, formula: Formula, key: str, *, state: Op):
        super().__init__(node, formula, key)
        outer = node.body.graph
        title = f"update_{node.name}"
        own = outer.definition
        self.inner = Graph(Definition(own.file, f"{own.block or ''}.{title}", title), visible=outer.visible)
        self.state = state
        self.entered: dict[Value, Value] = {}
        self.value_of(Bound(state.output, node.name, node.span))

    @property
    def graph(self) -> Graph:
        return self.inner

    def value_of(self, bound: Bound) -> Value:
        outer = super().value_of(bound)
        if outer not in self.entered:
            x, known = outer.tensor, {value.name for value in self.entered.values()}
            name = stem = re.sub(r"\W", "_", outer.name)
            while name in known:
                name = f"{stem}_{len(known)}"
            shape = x.shape if x.shape[0] == 1 else (1, *x.shape)
            self.entered[outer] = Value(Tensor(shape, x.dtype), name)
        return self.entered[outer]

    def fail(self, code: str, part: Part, message: str, help: str | None = None, **more: Any) -> NoReturn:
        if "may not mix examples" in message:
            help = "axis 1 counts the examples of the batch here"
        super().fail(code, part, message, help, **more)

    def add(self) -> None:
        """Adds the op that changes the state. Raises `Broken` after an error."""
        node, root = self.node, self.parsed().root
        result = self.value(root)
        if not isinstance(result, Value):
            message = f"`update` of `{node.name}` reads no node"
            self.fail("expression-form", root, message, f"write what is left of it: 0.9 * {node.name} + ...")
        if result is self.entered[self.state.output]:
            message = f"`update` of `{node.name}` changes nothing"
            self.fail("expression-form", root, message, "write a fixed tensor as {constant: [0.2, 0.7]}")
        if any(op.layer is not None and op.layer.random for op in self.inner.ops):
            help = "draw them in a node, which the formula reads"
            self.fail("not-supported", root, f"`update` of `{node.name}` draws random numbers", help)
        if result.tensor != self.state.output.tensor:
            self._refuse(result.tensor)
        body, inner = node.body, self.inner
        if isinstance(root, Applied) and result.op is not None:
            result.op.node = result.name = "next"
        batch = [each for each in self.entered if each.tensor.shape[0] != 1]
        others = [each for each in self.entered if each.tensor.shape[0] == 1]
        order = [*others[:1], *batch, *others[1:]]
        inner.inputs = {self.entered[each].name: self.entered[each] for each in order}
        inner.outputs = {"next": result}
        op = Op(self._fresh(UPDATE), None, node.span, "block", tuple(order), graph=inner)
        op.wrapper = Updating(batch=len(batch))
        op.inner = tuple(self.entered[each].tensor for each in order)
        op.inner_outputs = (result.tensor,)
        op.outputs, op.results = {"next": Value(result.tensor, op.node, op)}, {"next": result}
        op.unit = Unit(op.node, None, op.span, calls=[op])
        body.graph.ops.append(op)
        body.graph.units.append(op.unit)

    def _refuse(self, found: Tensor) -> NoReturn:
        """Reports a formula that gives another type than the state has."""
        state = self.state.output.tensor
        message = f"`update` gives {found}, and `{self.node.name}` is {state}"
        help = "axis 1 counts the examples of the batch: reduce it, as `mean(x, axis=1)`"
        if found.shape == state.shape:
            help = f"write `dtype: {found.dtype}`, or cast it: `cast(..., dtype={state.dtype!r})`"
        elif found.shape[0] != 1 or found.rank == state.rank:
            help = f"write state: {show(list(found.shape[1:]))}, or change the formula"
        self.fail("shapes-differ", self.parsed().root, message, help)
