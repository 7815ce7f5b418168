"""A node becomes its instances: how often, with which arguments, fed by what, or left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphspec.diagnostics import Span, nearest
from graphspec.elaborate.body import Instance, Repeated, Run, expressions_in, failed
from graphspec.elaborate.context import FAILED, NOTHING, Bound, Exports, Failed, Nothing, Read
from graphspec.expressions import Expression, ExpressionError, parse_value
from graphspec.graph import Op, Unit, Value
from graphspec.objectives.setting import show
from graphspec.schema import MISSING, Node
from graphspec.source import Path

MAX_REPEAT = 10_000


@dataclass(eq=False, slots=True)
class Feed:
    """What is fed to a node: by position, or by argument name. `listed` when the spec wrote a list or `*`."""

    positional: list[Bound] = field(default_factory=list)
    named: dict[str, list[Bound]] = field(default_factory=dict)
    listed: bool = False

    @property
    def broken(self) -> bool:
        """Whether a value of it has failed, so that its reader fails silently."""
        return any(isinstance(bound.value, Failed) for bound in self.all())

    def all(self) -> list[Bound]:
        return [*self.positional, *(bound for group in self.named.values() for bound in group)]


@dataclass(eq=False)
class Use:
    """One instance to be: the node's text and place, its number, its own arguments from a repeat list, and
    its feed.
    """

    run: Run
    name: str
    node: Node
    path: Path
    index: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    feed: Feed = field(default_factory=Feed)
    exports: Exports = field(default_factory=Exports)
    unit: Unit | None = None  # the shared one, for a call
    given: dict[str, Any] = field(default_factory=dict)  # a shared entry's arguments, already evaluated
    count: int | None = None  # how many instances its node has

    @cached_property
    def span(self) -> Span:
        return self.run.body.document.key(self.path)

    @property
    def title(self) -> str:
        return self.name if self.index is None else f"{self.name}.{self.index}"

    def key_of(self, key: str) -> Span:
        """Where an argument's name is written."""
        varies = "repeat" if self.node.repeat is not MISSING else "parallel"
        path = (*self.path, varies, key) if key in self.overrides else (*self.path, key)
        return self.run.body.document.key(path)

    def span_of(self, *keys: str | int) -> Span:
        """Where an argument is written, a repeat list's included."""
        document = self.run.body.document
        if keys and keys[0] in self.overrides:
            where = "repeat" if self.node.repeat is not MISSING else "parallel"
            return document.span((*self.path, where, keys[0], self.index or 0))
        return document.span((*self.path, *keys))

    def error(self, code: str, span: Span | None, message: str, help: str | None = None, **more: Any) -> None:
        notes = more.pop("notes", ())
        if self.index is not None and self.overrides is not None:
            notes = (*notes, f"in repetition {self.index} of `{self.name}`")
        self.run.error(code, span, message, help, notes=notes, **more)

    def arguments(self) -> dict[str, Any] | None:
        """The plain arguments of the instance; None where an expression failed. A repeat list's come over
        the node's.
        """
        if self.given:
            return dict(self.given)
        result = {}
        for key, value in self.node.extra.items():
            result[key] = self.run.evaluate(value, (*self.path, key), self.index)
        for key, value in self.overrides.items():
            if key != "from":
                result[key] = value
        return None if any(value is FAILED for value in result.values()) else result

    def expressions(self, arguments: dict[str, Any]) -> tuple[tuple[Expression, Any], ...]:
        """The expressions behind the arguments, for emission."""
        raw = {key: value for key, value in self.node.extra.items() if key not in self.overrides}
        found = list(expressions_in(raw, arguments))
        count = _expression(self.node.repeat if self.node.repeat is not MISSING else self.node.parallel)
        return (*found, *([(count, self.count)] if count is not None and self.count is not None else ()))


def elaborate_node(run: Run, name: str) -> Instance | Repeated:
    """All instances of a node. Its errors are reported, and give a failed instance."""
    node = run.body.nodes[name]
    path = run.path("nodes", name)
    if node.repeat is MISSING and node.parallel is MISSING:
        return _instance(Use(run, name, node, path), None)
    parallel = node.repeat is MISSING
    plan = _plan(run, name, node, path, "parallel" if parallel else "repeat")
    if plan is None:
        return failed()
    if not plan and not parallel:
        use = Use(run, name, node, path, 0)
        first = _first_input(use)
        return Repeated([], False, first.value if first is not None else NOTHING)
    exports = Exports()
    instances: list[Instance] = []
    for index, overrides in enumerate(plan):
        use = Use(run, name, node, path, index, overrides, exports=exports, count=len(plan))
        previous = instances[-1] if instances and not parallel else None
        instance = _instance(use, previous)
        if instance.op is not None:
            instance.op.repeated = "parallel" if parallel else "repeat"
        instances.append(instance)
        if isinstance(instance.first, Failed):
            return Repeated(instances, parallel, broken=True)  # the next would fail for the same reason
    return Repeated(instances, parallel)


def _plan(run: Run, name: str, node: Node, path: Path, key: str) -> list[dict[str, Any]] | None:
    """The arguments of each instance that its `repeat` or `parallel` gives; None after an error."""
    raw = node.repeat if key == "repeat" else node.parallel
    here = (*path, key)
    value = run.evaluate(raw, here)
    span = run.body.document.span(here)
    if value is FAILED:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= MAX_REPEAT:
            return [{} for _ in range(value)]
        run.error(
            "out-of-range",
            span,
            f"`{name}` is repeated {value} times; a count lies between 0 and {MAX_REPEAT:,}",
        )
        return None
    if not isinstance(value, dict):
        help = (
            f"write {int(value)}, or use `//`"
            if isinstance(value, float) and value.is_integer()
            else f"write {key}: 3, or {key}: {{units: [64, 32]}}"
        )
        run.error(
            "wrong-type",
            span,
            f"`{key}` is a count, or a mapping from arguments to lists, not {show(value)}",
            help,
        )
        return None
    for word, items in value.items():
        if not isinstance(items, list):
            run.error(
                "wrong-type",
                run.body.document.span((*here, word)),
                f"`{word}` under `{key}` is a list with one item for each instance",
            )
            return None
        if word in node.extra or (word == "from" and node.source is not MISSING):
            run.error(
                "duplicate-key",
                run.body.document.key((*here, word)),
                f"`{word}` stands in `{key}` and beside it",
            )
            return None
        if word in ("when", "else", "trainable", "weights") or (word == "from" and key == "repeat"):
            run.error(
                "unknown-key",
                run.body.document.key((*here, word)),
                f"`{word}` cannot vary in `{key}`",
                "it may use `index` where it stands",
            )
            return None
    lengths = {word: len(items) for word, items in value.items()}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"`{word}` has {count}" for word, count in lengths.items()) or "it is empty"
        run.error("wrong-type", span, f"the lists of `{key}` must be equally long: {counts}")
        return None
    count = next(iter(lengths.values()))
    return [{word: items[i] for word, items in value.items()} for i in range(count)]


def _instance(use: Use, previous: Instance | None) -> Instance:
    run, node = use.run, use.node
    run.context.count(use.span)
    when = run.evaluate(node.when, (*use.path, "when"), use.index)
    if when is FAILED:
        return failed()
    if not isinstance(when, bool):
        use.error("wrong-type", use.span_of("when"), f"`when` is true or false, not {show(when)}")
        return failed()
    if not when:
        return _left_out(use, previous)
    use.feed = _feed(use, previous)
    from graphspec.elaborate.forms import build

    instance = build(use)
    if instance.op is not None:
        instance.op.when = _expression(node.when)
    return instance


def _expression(value: Any) -> Expression | None:
    if not isinstance(value, str):
        return None
    try:
        parsed = parse_value(value)
    except ExpressionError:
        return None
    return parsed if isinstance(parsed, Expression) else None


def _left_out(use: Use, previous: Instance | None) -> Instance:
    """What a node whose `when` is false hands on: its `else`, else its first input."""
    run, node = use.run, use.node
    if node.otherwise is not MISSING:
        if node.otherwise is None:
            return Instance({"": NOTHING})
        bounds = run.reference(node.otherwise, (*use.path, "else"), use.name, use.index)
        value: Read = bounds[0].value if len(bounds) == 1 else FAILED
        if len(bounds) != 1:
            use.error("wrong-type", use.span_of("else"), "`else` names one node")
    elif node.form == "parameter":
        return Instance({"": NOTHING})
    elif previous is not None:
        value = previous.first
    else:
        first = _first_input(use)
        value = first.value if first is not None else FAILED
    if not isinstance(value, Value):
        return Instance({"": value})
    title = str(node.target)
    op = Op(use.name, use.index, use.span, node.form, (value,), present=False, title=title)  # type: ignore[arg-type]
    op.outputs = {_first_output(use): Value(value.tensor, use.name, op)}
    op.when = _expression(node.when)
    if use.index is not None:
        op.repeated = "repeat" if node.repeat is not MISSING else "parallel"
    run.graph.ops.append(op)
    return Instance(dict(op.outputs), op)


def _first_output(use: Use) -> str:
    """The name of the first output that a left-out node would have."""
    from graphspec.elaborate.bodies import find_body

    form, target = use.node.form, use.node.target
    if form == "call" and (entry := use.run.body.shared.get(target)) is not None:
        form, target = entry.form, entry.target
    found = find_body(use, form, target, quiet=True) if form == "block" else None
    return next(iter(found[1].outputs), "") if found is not None else ""


def _first_input(use: Use) -> Bound | None:
    """The input that a left-out node hands on: the first that what it names declares. Nothing else is
    resolved.
    """
    from graphspec.elaborate.forms import declared_inputs

    raw = use.node.source
    if isinstance(raw, dict):
        names = declared_inputs(use)
        key = next((name for name in names if name in raw), None)
        if key is None:
            use.error(
                "no-input",
                use.span,
                f"`{use.name}` is left out and has no first input to hand on",
                "say with `else:` what it hands on",
            )
            return None
        item, path = raw[key], (*use.path, "from", key)
    elif isinstance(raw, list) and raw:
        item, path = raw[0], (*use.path, "from", 0)
    elif raw is MISSING:
        feed = _feed(use, None)
        return feed.positional[0] if feed.positional else None
    else:
        item, path = raw, (*use.path, "from")
    bounds = use.run.reference(item, path, use.name, use.index)
    return bounds[0] if bounds else None


def _feed(use: Use, previous: Instance | None) -> Feed:
    """What a node reads: its `from`, its edges, or the node above; in a chain, what comes out of the
    instance before.
    """
    node, body = use.node, use.run.body
    raw, path = node.source, (*use.path, "from")
    if "from" in use.overrides:
        raw, path = use.overrides["from"], (*use.path, "parallel", "from", use.index or 0)
    if node.form == "parameter":
        if raw is not MISSING:
            use.error("input-count", use.span_of("from"), f"`{use.name}` is a parameter and takes no input")
        return Feed()
    edges = (body.edges or {}).get(use.name, [])
    if raw is not MISSING and edges:
        use.error(
            "from-and-edges",
            use.span_of("from"),
            f"`{use.name}` has both `from` and edges",
            f"remove one; its edges begin at {body.document.span(edges[0][1])}",
        )
        return Feed([Bound(FAILED, "", None)])
    chained = _chained(use, previous) if previous is not None else {}
    if raw is MISSING:
        feed = _default_feed(use, edges, skip=bool(chained))
    else:
        feed = _written_feed(use, raw, path, chained)
    for name, bound in chained.items():
        if name == "":
            if isinstance(raw, dict):
                from graphspec.elaborate.forms import declared_inputs

                names = declared_inputs(use)
                feed.named[names[0] if names else next(iter(raw))] = [bound]
            else:
                feed.positional.insert(0, bound)
        else:
            feed.named[name] = [bound]
    return feed


def _chained(use: Use, previous: Instance) -> dict[str, Bound]:
    """The inputs that the instance before feeds: by name where its outputs are named like inputs, else ("")
    the first.
    """
    from graphspec.elaborate.forms import declared_inputs

    span = use.span
    text = f"{use.name}.{(use.index or 1) - 1}"
    if use.node.form in ("block", "model", "call"):
        names = [name for name in declared_inputs(use) if name in previous.outputs]
        if names:
            return {name: Bound(previous.outputs[name], f"{text}.{name}", span) for name in names}
    return {"": Bound(previous.first, text, span)}


def _written_feed(use: Use, raw: Any, path: Path, chained: dict[str, Bound]) -> Feed:
    from graphspec.elaborate.forms import declared_inputs

    run, feed = use.run, Feed()
    names = declared_inputs(use) if chained else []

    def skipped(position: int) -> bool:
        if "" in chained:
            return position == 0
        return position < len(names) and names[position] in chained

    if isinstance(raw, dict):
        for key, item in raw.items():
            if key in chained or ("" in chained and names and key == names[0]):
                continue
            items = item if isinstance(item, list) else [item]
            for position, part in enumerate(items):
                where = (*path, key, position) if isinstance(item, list) else (*path, key)
                feed.named.setdefault(key, []).extend(run.reference(part, where, use.name, use.index))
        return feed
    items = raw if isinstance(raw, list) else [raw]
    feed.listed = isinstance(raw, list) or (isinstance(raw, str) and "*" in raw)
    for position, item in enumerate(items):
        where = (*path, position) if isinstance(raw, list) else path
        if not skipped(position):
            bounds = run.reference(item, where, use.name, use.index)
            if chained and "" not in chained:  # positions are shifted: bind what is left by name
                if position < len(names):
                    feed.named[names[position]] = bounds
                continue
            feed.positional += bounds
    return feed


def _default_feed(use: Use, edges: list[tuple[str, Path]], skip: bool) -> Feed:
    run, body = use.run, use.run.body
    if edges:
        bounds = []
        for text, path in edges[1:] if skip else edges:
            bounds += run.reference(text, path, use.name, use.index)
        return Feed(bounds, listed=len(bounds) > 1)
    if skip:
        return Feed()
    if body.edges is not None:
        use.error(
            "no-input",
            use.span,
            f"`{use.name}` has no `from`, and no edge leads to it",
            f"write the edge `... -> {use.name}`",
        )
        return Feed([Bound(FAILED, "", None)])
    above = body.above[use.name]
    if above is not None:
        return Feed([Bound(value, above, use.span) for value in run.resolve(above, use.span, use.name)])
    if len(body.inputs) == 1:
        name = next(iter(body.inputs))
        return Feed([Bound(value, name, use.span) for value in run.resolve(name, use.span, use.name)])
    if not body.inputs:
        if not body.incomplete:
            help = "declare one: inputs: {x: {shape: [64]}}"
            use.error("no-input", use.span, f"`{use.name}` is the first node, and there is no input", help)
        return Feed([Bound(FAILED, "", None)])
    names = ", ".join(body.inputs)
    use.error(
        "no-input",
        use.span,
        f"`{use.name}` is the first node, and there are {len(body.inputs)} inputs: {names}",
        "say which with `from:`",
    )
    return Feed([Bound(FAILED, "", None)])


def refuse_nothing(use: Use, bounds: list[Bound]) -> bool:
    """Reports inputs that were left out, for a reader that needs them."""
    for bound in bounds:
        if isinstance(bound.value, Nothing):
            use.error(
                "left-out",
                bound.span,
                f"`{use.name}` reads `{bound.text}`, which is left out here and is nothing",
                "give the reader a `when`, or the node an `else`",
            )
            return True
    return False


def near_help(word: str, names: list[str]) -> str | None:
    near = nearest(word, names)
    return (
        f"did you mean `{near}`?" if near else (f"one of: {', '.join(sorted(names)[:20])}" if names else None)
    )
