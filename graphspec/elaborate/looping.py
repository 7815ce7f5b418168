"""The loop of `generate:`: of the graph of a program that of one of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from graphspec.diagnostics import did_you_mean, write
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.forms.compute import Broken, FormulaBuilder
from graphspec.elaborate.instance import NodeInstance
from graphspec.elaborate.lookup import reference
from graphspec.elaborate.values import Resolved
from graphspec.elaborated import SampleLoop
from graphspec.graph import Formula, Graph, Value, replaced
from graphspec.language.schema import DRAWN, MISSING, Node
from graphspec.passes import run_passes
from graphspec.passes.copying import Copy
from graphspec.tensor import names_of, unit_of
from graphspec.weights import shapes

if TYPE_CHECKING:
    from graphspec.generate.loop_config import LoopSettings

NEXT, AFTER = "next", "next_"
"""The key of the formula, and what it puts before an input whose value after the step it reads."""


@dataclass(slots=True)
class LoopElaborator:
    """Makes the step of the loop, if a file has one; mistakes are reported at their places in `generate`.

    First it reads what the section names, so that nodes which only a loop needs count as read; then it cuts
    the graph, at the values of which `replaced` ones are in the place.
    """

    body: BodyElaborator
    section: tuple[str, LoopSettings] | None
    replaced: dict[str, Value] = field(default_factory=dict)
    after: dict[str, Value] = field(default_factory=dict)
    inner: Graph | None = None
    outputs: dict[str, Value] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The value that goes on."""
        return self.section[0] if self.section is not None else ""

    @property
    def settings(self) -> LoopSettings:
        """Those of the section."""
        assert self.section is not None
        return self.section[1]

    def read(self, bound: dict[str, Resolved]) -> None:
        """Reads what the section names; `bound` are the outputs of the body."""
        if self.section is None or self.body.context.diagnostics.errors:
            return
        settings, repeated = self.settings, self.settings.repeat or {}
        for name in (self.name, *repeated):
            self._replace(name)
        source = settings.source
        if source is not None and source not in bound:
            help = did_you_mean(source, bound, f"the outputs: {', '.join(bound)}")
            self._error("unknown-reference", f"there is no output `{source}`", help, "from")
        elif source == self.name:
            message = f"`{source}` is both the value that goes on and an output"
            self._error("two-forms", message, "leave `from` out: the last value is the result", "from")
        if len(self.replaced) <= len(repeated):
            return
        value = self.replaced[self.name]
        if not value.tensor.is_float or value.tensor.rank < 2:
            message = f"`{self.name}` is {value.tensor}, and noise is floats [N, ...]"
            self._error("wrong-dtype", message, "name the value that the model makes of noise")
        elif settings.next is not None:
            self.after = {each: Value(self.replaced[each].tensor, AFTER + each) for each in repeated}
            self._read_next(value)
        if source is not None and isinstance(made := bound.get(source), Value):
            self.outputs[source] = made

    def _error(self, code: str, message: str, help: str | None, *path: str) -> None:
        document, where = self.body.declared.document, ("generate", self.name, *path)
        self.body.error(code, document.span(where) if path else document.key(where), message, help)

    def _replace(self, name: str) -> None:
        """Finds the value in the place of which an input of the loop is."""
        body, path = self.body, () if name == self.name else ("repeat", name)
        known = [*body.inputs, *body.declared.nodes]
        if name.partition(".")[0] not in known:
            help = did_you_mean(name, known, f"names here: {', '.join(known[:12])}")
            where = body.declared.document.key(("generate", self.name, *path))
            body.error("unknown-reference", where, f"`{name}` is not a node or an input", help)
            return
        bounds = reference(body, name, ("generate", self.name, *path), "")
        if len(bounds) == 1 and isinstance(bounds[0].value, Value):
            self.replaced[name] = bounds[0].value

    def _read_next(self, value: Value) -> None:
        """Makes the ops of the formula, in a graph of their own."""
        body, text = self.body, self.settings.next
        node = Node.model_validate({NEXT: text})
        instance = NodeInstance(body, AFTER + self.name, node, ("generate", self.name))
        builder = _NextBuilder(instance, Formula(str(text)), NEXT, of=value)
        for name, each in self.after.items():
            if body.has(each.name):
                message = f"`{each.name}` is a node or an input, and `{name}` after a step in the formula"
                self._error("duplicate-name", message, f"give the node `{each.name}` another name", "repeat")
                return
        body.inputs |= {each.name: each for each in self.after.values()}
        try:
            self.outputs[self.name] = builder.next()
            self.inner = builder.inner
        except Broken:
            pass
        for each in self.after.values():
            del body.inputs[each.name]
        edges = body.reads.edges
        edges.setdefault("", set()).update(
            edges.pop(instance.name, set()) - {v.name for v in self.after.values()}
        )

    def loop(self, whole: Graph) -> SampleLoop | None:
        """The loop, with the weights of the `whole` graph; None after an error, or without a section."""
        if self.section is None:
            return None
        body, graph = self.body, self.body.graph
        made = [] if self.inner is None else self.inner.ops
        inputs = {**graph.inputs, **{each.name: each for each in self.after.values()}}
        ops = [*(op for op in graph.ops if not op.updates), *made]
        copy = Copy(replace(graph, ops=ops, inputs=inputs, outputs=self.outputs))
        step = copy.graph
        fresh = {copy.values[old]: Value(old.tensor, name) for name, old in self.replaced.items()}
        for op in step.ops:
            op.arguments = replaced(op.arguments, fresh)
        step.outputs = {name: fresh.get(value, value) for name, value in step.outputs.items()}
        others = {name: value for name, value in step.inputs.items() if value not in fresh}
        step.inputs = {**{value.name: value for value in fresh.values()}, **others}
        findings = run_passes(step, (), body.context.diagnostics)
        if findings is None:
            return None
        step = findings.graph
        read = {value for op in step.ops for value in op.inputs}
        step.inputs = {name: value for name, value in step.inputs.items() if value in read}
        if self.name not in step.inputs:
            message = f"what a step makes does not depend on `{self.name}`"
            self._error("expression-form", message, "read it in `next`, or in what makes `from`")
            return None
        return self._checked(
            step, whole, SampleLoop(self.name, self.settings, step, self._drawn(step), findings.ranges)
        )

    def _drawn(self, step: Graph) -> dict[str, str]:
        """The inputs of which each step draws new values, and how."""
        drawn = {}
        for name in step.inputs:
            declared = self.body.declared.inputs.get(name)
            if name not in self.replaced and declared is not None and declared.default in DRAWN:
                drawn[name] = declared.default
        return drawn

    def _checked(self, step: Graph, whole: Graph, loop: SampleLoop) -> SampleLoop | None:
        """The loop, if its draws are those of each sample, and its weights those of the training."""
        for op in step.walk():
            if op.kind == "op" and op.layer is not None and op.layer.random:
                help = "read an input with `default: random_normal`, which is drawn for each sample"
                what = f"`{op.name}` draws random numbers in the steps of the loop"
                self.body.error("not-supported", op.span, what, help)
                return None
        if not self._sized(loop):
            return None
        known = {key for key, _, _ in shapes(whole)}
        for key, _, span in shapes(step):
            if key not in known:
                help = "let an output with a loss read it, or leave it out of the loop"
                self.body.error(
                    "unreachable-node", span, f"nothing trains `{key}`, which the loop reads", help
                )
                return None
        return loop

    def _sized(self, loop: SampleLoop) -> bool:
        """Whether the named sizes of what the loop makes are those of inputs that rows give."""
        made = {*self.replaced, *(value.name for value in self.after.values()), *loop.drawn}
        declared = self.body.declared.inputs.items()
        defaults = {name for name, each in declared if each is not None and each.default is not MISSING}
        asked = [tensor for name, tensor in loop.inputs.items() if name not in {*made, *defaults}]
        told = {unit[0] for tensor in asked for unit in map(unit_of, tensor.shape) if unit is not None}
        for name, tensor in loop.inputs.items():
            lacking = {each for size in tensor.shape[1:] for each in names_of(size)} - told
            if name in made and lacking:
                message = f"`{name}` is {tensor}, and nothing says how large `{min(lacking)}` is in a sample"
                help = "write a number in `inputs`; or let a step read an input of that size, which rows give"
                self._error("unknown-size", message, help)
                return False
        return True


class _NextBuilder(FormulaBuilder):
    """Builds the formula of a step as ops that are not the program's."""

    def __init__(self, node: NodeInstance, formula: Formula, key: str, *, of: Value):
        super().__init__(node, formula, key)
        outer = node.body.graph
        self.inner = Graph(outer.definition, visible=outer.visible)
        self.of = of

    @property
    def graph(self) -> Graph:
        return self.inner

    def next(self) -> Value:
        """The value after a step. Raises `Broken` after an error."""
        root, name = self.parsed().root, self.node.path[1]
        result = self.value(root)
        if not isinstance(result, Value):
            message = f"the formula of `{name}` reads no node"
            self.fail("expression-form", root, message, write(f"{name} + ...", safe=False))
        if result is self.of:
            self.fail(
                "expression-form", root, f"a step does not change `{name}`", "read what the model makes"
            )
        if result.tensor != self.of.tensor:
            message = f"`next` gives {result.tensor}, and `{name}` is {self.of.tensor}"
            self.fail("shapes-differ", root, message, "a step makes another value of the same type")
        if result.op in self.inner.ops:
            result.op.node = result.name = self.node.name
            result.op.options = {"formula": self.formula.text}
        return result
