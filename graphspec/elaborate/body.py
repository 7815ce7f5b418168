"""One body at work: a file's or a block's nodes, taken in data order, become the ops of one graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphspec.declarations import Body, File
from graphspec.diagnostics import Span, nearest
from graphspec.elaborate.context import (
    FAILED,
    MAX_DEPTH,
    Bound,
    Context,
    Exports,
    Failed,
    Nothing,
    OutOfBudget,
    Resolved,
)
from graphspec.expressions import Expression, ExpressionError, evaluate, names_in, parse_value
from graphspec.graph import Definition, Graph, Op, Value
from graphspec.objectives.settings import show
from graphspec.schema import MISSING
from graphspec.source import Path
from graphspec.tensor import show_size


@dataclass(eq=False, slots=True)
class Instance:
    """One instance of a node: its outputs by name, the first first; for a block or model, the run of its
    body.
    """

    outputs: dict[str, Resolved]
    op: Op | None = None
    run: BodyElaborator | None = None
    exports: Exports | None = None

    @property
    def first(self) -> Resolved:
        return next(iter(self.outputs.values()), FAILED)


def failed() -> Instance:
    """An instance whose error has been reported."""
    return Instance({"": FAILED})


@dataclass(eq=False, slots=True)
class Repeated:
    """All instances of a repeated node; `passed` is what a chain of none hands on."""

    instances: list[Instance]
    parallel: bool
    passed: Resolved = FAILED
    broken: bool = False  # the last instance failed, and those after it were not tried


@dataclass(eq=False, slots=True)
class BodyElaborator:
    """The elaboration of one body for given params and inputs. `notes` tell where it is used, for its
    errors.
    """

    context: Context
    file: File
    body: Body
    graph: Graph
    scope: dict[str, Any]
    inputs: dict[str, Resolved]
    notes: tuple[str, ...] = ()
    open_files: tuple[str, ...] = ()
    open_blocks: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()  # params whose own mistake is reported: what uses them is none
    results: dict[str, Instance | Repeated] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    shared: dict[str, Any] = field(default_factory=dict)  # name -> what elaborate.shared knows of the entry

    @property
    def definition(self) -> Definition:
        return self.graph.definition

    def path(self, *keys: str | int) -> Path:
        return (*self.body.path, *keys)

    def error(self, code: str, span: Span | None, message: str, help: str | None = None, **more: Any) -> None:
        if span is None:
            return  # asked for another instance's sake, which has reported it
        notes = (*more.pop("notes", ()), *self.notes)
        self.context.error(code, span, message, help, notes=notes, **more)

    def channels(self, name: str) -> int:
        """`channels(name)` in an expression: the last axis of an input, which must be known."""
        value = self.inputs.get(name)
        if isinstance(value, Value):
            size = value.tensor.shape[-1]
            if isinstance(size, int):
                return size
            message = f"the last axis of `{name}` is `{show_size(size)}`, and `channels` needs a number"
            help = f"write a number for it where `{name}` comes from, or a param in place of `channels`"
            raise ExpressionError("unknown-channels", message, help=help)
        if name in self.inputs:
            raise ExpressionError("unknown-channels", f"`{name}` is left out here, and has no last axis")
        word = nearest(name, self.inputs)
        help = f"did you mean `channels({word})`?" if word else f"inputs here: {', '.join(self.inputs)}"
        raise ExpressionError("unknown-channels", f"`{name}` is no input here", help=help)

    def evaluate(self, value: Any, path: Path, index: int | None = None) -> Any:
        """A plain value with its expressions computed, or FAILED after reporting why not."""
        if value is None or isinstance(value, int | float):
            return value
        scope = self.scope if index is None else {**self.scope, "index": index}
        try:
            if self.unknown and names_in(value) & self.unknown:
                return FAILED
            return evaluate(value, scope, self.channels if self.body.block is not None else None)
        except ExpressionError as error:
            if error.code == "unknown-name" and index is None and error.message.startswith("`index`"):
                error.help = "`index` counts the instances of a node with `repeat` or `parallel`"
            self.context.expression_error(error, self.body.document, path, self.notes)
            return FAILED

    def flag(
        self, value: Any, path: Path, index: int | None = None, notes: tuple[str, ...] = ()
    ) -> bool | None:
        """A key that is true or false, such as `when`; None after reporting that it is neither."""
        found = self.evaluate(value, path, index)
        if isinstance(found, bool):
            return found
        if found is not FAILED:
            message = f"`{path[-1]}` is true or false, not {show(found)}"
            self.error("wrong-type", self.body.document.span(path), message, notes=notes)
        return None

    def elaborate(self) -> None:
        """Elaborates every node, in file order wherever the data allow it."""
        for name in self._order():
            self.node(name)

    def node(self, name: str) -> Instance | Repeated:
        """What has become of a node, elaborated now if it was not yet."""
        # here, for the recursion is real: a node may be a block, whose body is elaborated node by node
        from graphspec.elaborate.instance import elaborate_node

        if name in self.results:
            return self.results[name]
        if name in self.active:
            self.cycle([*self.active[self.active.index(name) :], name])
            return failed()
        if self.context.depth >= MAX_DEPTH:
            span = self.body.document.key(self.path("nodes", name))
            message = f"nodes read computed names of one another more than {MAX_DEPTH} deep"
            self.error("too-deep", span, message, "write the names out, or the nodes in the order of reading")
            raise OutOfBudget
        self.active.append(name)
        self.context.depth += 1
        result = elaborate_node(self, name)
        self.context.depth -= 1
        self.active.pop()
        self.results.setdefault(name, result)
        return self.results[name]

    def cycle(self, names: list[str]) -> None:
        chain = " -> ".join(reversed(names))
        span = self.body.document.key(self.path("nodes", names[0]))
        self.error(
            "cycle",
            span,
            f"nodes depend on one another in a circle: {chain}",
            "cut the circle: a graph runs one way",
        )
        for name in names:
            self.results[name] = failed()

    def _order(self) -> list[str]:
        """The nodes, each after those it is written to read; a circle is reported and its nodes fail."""
        order: list[str] = []
        state: dict[str, bool] = {}  # False while its sources are being visited
        for root in self.body.nodes:
            stack: list[tuple[str, Iterator[str]]] = []
            if root not in state:
                state[root] = False
                stack.append((root, self.sources(root)))
            while stack:
                name, sources = stack[-1]
                for source in sources:
                    if source not in state:
                        state[source] = False
                        stack.append((source, self.sources(source)))
                        break
                    if not state[source] and source not in self.results:
                        names = [n for n, _ in stack]
                        self.cycle([*names[names.index(source) :], source])
                else:
                    state[name] = True
                    order.append(name)
                    stack.pop()
        return order

    def sources(self, name: str) -> Iterator[str]:
        """The nodes that a node is written to read, as far as its text says so without computing anything."""
        node = self.body.nodes[name]
        texts: list[Any] = [node.source, node.otherwise]
        if isinstance(node.parallel, dict):
            texts.append(node.parallel.get("from"))
        if node.source is MISSING:
            if self.body.edges is not None:
                texts += [source for source, _ in self.body.edges.get(name, [])]
            elif node.form != "parameter" and (above := self.body.above.get(name)) is not None:
                texts.append(above)
        for text in _texts(texts):
            head = text.partition(".")[0]
            if head in self.body.nodes:
                yield head

    # --- references

    def reference(self, text: Any, path: Path, reader: str, index: int | None = None) -> list[Bound]:
        """What a written reference stands for: one value, or for `*` all instances'."""
        text = self.evaluate(text, path, index)
        span = self.body.document.span(path)
        if text is FAILED:
            return [Bound(FAILED, "", span)]
        if not isinstance(text, str):
            listed = isinstance(text, list)
            help = "several for one input have its name: from: {name: [a, b]}" if listed else None
            message = f"a reference is the name of a node or input, not {show(text)}"
            self.error("wrong-type", span, message, help)
            return [Bound(FAILED, str(text), span)]
        return [Bound(value, text, span) for value in self.resolve(text, span, reader)]

    def has(self, name: str) -> bool:
        """Whether a name stands for something here, were it only a mistake that is reported."""
        body = self.body
        return name in body.nodes or name in body.inputs or name in body.failed or body.incomplete

    def resolve(self, text: str, span: Span | None, reader: str) -> list[Resolved]:
        head, *rest = text.split(".")
        self.context.reads_of(self.definition, self.body).edges.setdefault(reader, set()).add(head)
        if head in self.inputs:
            if rest:
                self.error("unknown-reference", span, f"`{head}` is an input and has no `{rest[0]}`")
                return [FAILED]
            return [self.inputs[head]]
        if head in self.body.nodes:
            result = self.node(head)
            if isinstance(result, Repeated):
                return self._in_repeated(result, head, rest, span)
            return [self._in_instance(result, head, rest, span)]
        if head in self.body.inputs or head in self.body.failed:
            return [FAILED]
        if head in self.body.shared:
            self.error(
                "unknown-reference",
                span,
                f"`{head}` is a shared layer; read a node that calls it",
                f"write {{call: {head}, from: ...}}",
            )
        elif not self.body.incomplete:
            word = nearest(head, [*self.body.nodes, *self.inputs])
            names = [*self.inputs, *self.body.nodes]
            help = (
                f"did you mean `{word}`?"
                if word
                else f"names here: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
            )
            self.error("unknown-reference", span, f"`{head}` is no node or input here", help)
        return [FAILED]

    def _in_repeated(self, result: Repeated, head: str, rest: list[str], span: Span | None) -> list[Resolved]:
        count = len(result.instances)
        if rest and rest[0] == "*":
            return [
                self._in_instance(i, f"{head}.{n}", rest[1:], span) for n, i in enumerate(result.instances)
            ]
        if rest and rest[0].lstrip("-").isdigit():
            number = int(rest[0]) if len(rest[0]) < 10 else count
            if number >= count and result.broken:
                return [FAILED]
            if not 0 <= number < count:
                numbers = f"0 to {count - 1}" if count else "none: it is repeated 0 times"
                self.error(
                    "unknown-reference",
                    span,
                    f"`{head}` has no instance {rest[0]}; its instances are {numbers}",
                )
                return [FAILED]
            return [self._in_instance(result.instances[number], f"{head}.{number}", rest[1:], span)]
        if result.parallel:
            help = f"write `{head}.*` for all of them, or `{head}.0` for one"
            self.error(
                "unknown-reference",
                span,
                f"`{head}` is a parallel node, so its bare name stands for no one instance",
                help,
            )
            return [FAILED]
        if not result.instances:
            if rest:
                message = f"`{head}` is repeated 0 times, and hands on only its first input, no `{rest[0]}`"
                self.error("left-out", span, message)
                return [FAILED]
            return [result.passed]
        return [self._in_instance(result.instances[-1], f"{head}.{count - 1}", rest, span)]

    def _in_instance(self, instance: Instance, name: str, rest: list[str], span: Span | None) -> Resolved:
        if not rest:
            return instance.first
        if isinstance(instance.first, Failed) and instance.op is None:
            return FAILED
        word = ".".join(rest)
        if word in instance.outputs:
            return instance.outputs[word]
        if isinstance(instance.first, Nothing) or (instance.op is not None and not instance.op.present):
            self.error(
                "left-out", span, f"`{name}` is left out here, and hands on only its first input, no `{word}`"
            )
            return FAILED
        if instance.run is not None and instance.exports is not None:
            return self._export(instance, tuple(rest), span)
        names = [key for key in instance.outputs if key]
        layer = instance.op.layer if instance.op is not None else None
        near, option = nearest(word, names), layer.option_for(word) if layer is not None else None
        help = f"its outputs: {', '.join(names)}" if names else f"write `{name}`: it has one output"
        if near or (option and not names):
            help = f"did you mean `{near}`?" if near else f"write `{option}: true` on it"
        self.error("unknown-reference", span, f"`{name}` has no output `{word}`", help)
        return FAILED

    def _export(self, instance: Instance, path: tuple[str, ...], span: Span | None) -> Resolved:
        """Makes an inner value of an instance an output of it, and of all instances that share its class."""
        assert instance.exports is not None and instance.op is not None
        if instance.op.wrapper is not None:
            self.error(
                "unknown-reference",
                span,
                f"what is inside `{instance.op.name}` runs once a step and cannot be read",
            )
            return FAILED
        if instance.run is not None and not instance.run.has(path[0]):
            names = list(dict.fromkeys([*filter(None, instance.outputs), *instance.run.body.nodes]))
            near = nearest(path[0], names)
            help = f"did you mean `{near}`?" if near else f"its outputs and nodes: {', '.join(names[:12])}"
            message = f"`{instance.op.name}` has no output and no node `{path[0]}`"
            self.error("unknown-reference", span, message, help)
            return FAILED
        if path not in instance.exports.paths:
            instance.exports.paths.append(path)
            for op, run in instance.exports.ops:
                export(op, run, path, span if op is instance.op else None)
        value = instance.op.outputs.get(".".join(path))
        return value if value is not None else FAILED


def export(op: Op, run: BodyElaborator, path: tuple[str, ...], span: Span | None) -> None:
    """Gives `op` an output for the value at `path` inside it; an error is reported at `span`."""
    found = run.resolve(".".join(path), span, "")
    if len(found) != 1:
        run.error(
            "unknown-reference",
            span,
            f"`{'.'.join(path)}` stands for {len(found)} values inside `{op.name}`, not for one",
        )
        return
    if isinstance(found[0], Value):
        key = ".".join(path)
        op.outputs[key] = Value(found[0].tensor, f"{op.node}_{'_'.join(path)}", op)
        op.results[key] = found[0]


def _texts(value: Any) -> Iterator[str]:
    """All strings in a raw `from`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))


def expressions_in(value: Any, result: Any) -> Iterator[tuple[Expression, Any]]:
    """The expressions written in a raw value, each with what it evaluated to."""
    if isinstance(value, str):
        try:
            parsed = parse_value(value)
        except ExpressionError:
            return
        if isinstance(parsed, Expression):
            yield parsed, result
    elif isinstance(value, list) and isinstance(result, list | tuple) and len(value) == len(result):
        for item, part in zip(value, result, strict=True):
            yield from expressions_in(item, part)
    elif isinstance(value, dict) and isinstance(result, Mapping):
        for key, item in value.items():
            if key in result:
                yield from expressions_in(item, result[key])
