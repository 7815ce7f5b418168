"""A node becomes its instances: how often, with which arguments, left out or not, and what each reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphspec.contract import argument_names
from graphspec.declarations import reads_nothing
from graphspec.diagnostics import Diagnostic, become, write_value
from graphspec.elaborate.body import BodyElaborator, InnerPaths, NodeResult, Repeated, failed
from graphspec.elaborate.forms import build, first_output, input_names
from graphspec.elaborate.indexing import numbered, of_instance, settle_last
from graphspec.elaborate.instance import NodeInputs, NodeInstance
from graphspec.elaborate.lookup import reference, resolve
from graphspec.elaborate.scope import expression_in
from graphspec.elaborate.values import FAILED, NOTHING, Bound, Resolved
from graphspec.expressions import names_in
from graphspec.graph import Op, Unit, Value, chained_inputs
from graphspec.language.schema import MISSING, Node
from graphspec.settings import show
from graphspec.source import Path
from graphspec.traced import Symbolic, TracedInt, formula, formula_of, traced

MAX_REPEAT = 10_000


def elaborate_node(body: BodyElaborator, name: str) -> NodeResult | Repeated:
    """Elaborates all instances of a node. Errors are reported, and give a failed result."""
    declared = body.declared.nodes[name]
    path = body.path("nodes", name)
    if declared.repeat is MISSING and declared.parallel is MISSING:
        return _elaborate_instance(NodeInstance(body, name, declared, path), None)
    parallel = declared.repeat is MISSING
    plan = _plan(body, name, declared, path, "parallel" if parallel else "repeat")
    if plan is None:
        if not isinstance(declared.repeat, dict) and not isinstance(declared.parallel, dict):
            _elaborate_instance(NodeInstance(body, name, declared, path, 0), None)  # for its other mistakes
        return failed()
    tree = _count(body, declared)
    if not plan and not parallel:
        none = _none_of(NodeInstance(body, name, declared, path, 0, count=0))
        if isinstance(none, Value) and none.op is not None:
            none.op.count = traced(0, tree)
        return Repeated([], False, none)
    inner_paths = InnerPaths()
    results: list[NodeResult] = []
    for index, overrides in enumerate(plan):
        node = NodeInstance(body, name, declared, path, index, overrides, count=len(plan))
        node.inner_paths = inner_paths
        if results:
            numbered(results[-1], formula("constant", index - 1))
        result = _elaborate_instance(node, results[-1] if results and not parallel else None)
        if result.op is not None:
            result.op.repeated = "parallel" if parallel else "repeat"
            result.op.count = traced(len(plan), tree)
        results.append(result)
        if result.first_output is FAILED:
            return Repeated(results, parallel, broken=True)  # the next would fail for the same reason
    if body.scope.formulas is not None:
        settle_last(results, tree)
    return Repeated(results, parallel)


def _count(body: BodyElaborator, declared: Node) -> Symbolic | None:
    """The formula of how often a node is repeated, by a count or by a list; None where it is a number."""
    raw = declared.parallel if declared.repeat is MISSING else declared.repeat
    if body.scope.formulas is None:
        return None
    for items in raw.values() if isinstance(raw, dict) else ():
        listed = body.scope.traced(items)
        first = formula_of(listed[0]) if isinstance(listed, list) and listed else None
        if first is not None and first.kind == "item" and first.parts[0].kind in ("param", "file"):
            return formula("call", formula("constant", "len"), first.parts[0])
    count = body.scope.traced(raw)
    return formula_of(count) if isinstance(count, TracedInt) else None


def _none_of(node: NodeInstance) -> Resolved:
    """The result of a node that is repeated 0 times: its first input, as the output of an op without a
    number.
    """
    first = _first_input(node)
    if first is None or not isinstance(first.value, Value):
        return first.value if first is not None else NOTHING
    form: Any = node.form
    op = Op(node.name, None, node.span, form, (first.value,), present=False, repeated="repeat")
    op.title, op.expressions = str(node.declared.target), node.expressions({})
    value = Value(first.value.tensor, node.name, op)
    op.outputs = {first_output(node): value}
    node.body.graph.ops.append(op)
    return value


# --- how often, and with which arguments


def _plan(
    body: BodyElaborator, name: str, declared: Node, path: Path, key: str
) -> list[dict[str, Any]] | None:
    """The arguments of each instance that its `repeat` or `parallel` gives; None after an error."""
    raw = declared.repeat if key == "repeat" else declared.parallel
    here = (*path, key)
    value = body.scope.evaluate(raw, here)
    span = body.declared.document.span(here)
    if value is FAILED:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= MAX_REPEAT:
            return [{} for _ in range(value)]
        message = f"`{name}` is repeated {value} times; a count lies between 0 and {MAX_REPEAT:,}"
        body.error("out-of-range", span, message)
        return None
    if not isinstance(value, dict):
        integral = isinstance(value, float) and value.is_integer()
        help = f"write {int(value)}, or use `//`" if integral else body.scope.param_remedy(raw, value, "3")
        if isinstance(value, str):
            help = body.scope.insertion(value) or (write_value(value) if value.isdecimal() else help)
        help = help or f"write {key}: 3, or {key}: {{units: [64, 32]}}"
        message = f"`{key}` is a count, or a mapping from arguments to lists, not {show(value)}"
        body.error("wrong-type", span, message, help)
        return None
    return _varied(body, declared, here, raw, value)


def _varied(
    body: BodyElaborator, declared: Node, here: Path, raw: Any, lists: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """The arguments of each instance, from a list for each argument; None after an error."""
    key, span = here[-1], body.declared.document.span(here)
    if not lists:
        help = f"write {key}: 3, or {key}: {{units: [64, 32]}}"
        body.error("wrong-type", span, f"`{key}` names no argument", help)
        return None
    if not all(_may_vary(body, declared, here, raw, word, items) for word, items in lists.items()):
        return None
    lengths = {word: len(items) for word, items in lists.items()}
    count = max(lengths.values())
    if min(lengths.values()) < count:
        counts = ", ".join(f"`{word}` has {length}" for word, length in lengths.items())
        message = f"the lists of `{key}` must be equally long: {counts}"
        help = f"write {count} items in each; an argument that all instances share is written next to `{key}`"
        body.error("wrong-type", span, message, help)
        return None
    return [{word: of_instance(items[i], i) for word, items in lists.items()} for i in range(count)]


def _may_vary(body: BodyElaborator, declared: Node, here: Path, raw: Any, word: str, items: Any) -> bool:
    """Whether a key under `repeat` or `parallel` may have a list there; `here` is its path."""
    key, document = here[-1], body.declared.document
    if not isinstance(items, list):
        message = f"`{word}` under `{key}` is a list with one item for each instance, not {show(items)}"
        help = body.scope.param_remedy(raw[word], items)
        count = len(raw) == 1 and word in ("n", "times", "count") and type(items) is int
        help = help or (
            f"write `{key}: {items}`"
            if count
            else f"write a list; a value that all instances share is written next to `{key}`"
        )
        body.error("wrong-type", document.span((*here, word)), message, help)
        return False
    if word in declared.extra or (word == "from" and declared.source is not MISSING):
        message = f"`{word}` is given twice, in `{key}` and next to it"
        body.error("duplicate-key", document.key((*here, word)), message, "delete one of them")
        return False
    if word in ("when", "else", "trainable", "weights", "checkpoint") or (word == "from" and key == "repeat"):
        help = "it may use `index` in its own value"
        body.error("unknown-key", document.key((*here, word)), f"`{word}` cannot vary in `{key}`", help)
        return False
    return True


# --- one instance


def _elaborate_instance(node: NodeInstance, previous: NodeResult | None) -> NodeResult:
    """One instance, added to the graph; `previous` is the one before it in a chain."""
    node.body.context.count(node.span)
    when = node.flag("when", node.declared.when)
    if when is False:
        return _left_out(node, previous)
    node.inputs = _inputs(node, previous)
    result = build(node)
    if when is None:
        return failed()
    if result.op is not None:
        result.op.when = expression_in(node.declared.when)
        result.op.passes = node.declared.otherwise is MISSING and not reads_nothing(node.declared)
        _register_op(node, result.op)
        if node.flag("checkpoint", node.declared.checkpoint):
            _checkpoint(node, result.op)
    return result


def _checkpoint(node: NodeInstance, op: Op) -> None:
    """Marks an instance for activation checkpointing, if computing it twice gives the same."""
    if op.graph is None:
        message = f"`{node.declared.target}` is a layer, and `checkpoint` is for blocks and models"
        node.error("unknown-key", node.key("checkpoint"), message, "call it in a block")
        return
    inner_units = {unit for graph in op.graph.graphs() for unit in graph.units}
    for inner in (each for each in op.graph.walk() if each.present):
        if inner.layer is None:
            continue
        outside = inner.unit is not None and inner.unit not in inner_units
        if not inner.layer.rerunnable or (
            outside and any(not weight.trainable for weight in inner.weights())
        ):
            what = "shares statistics with the file" if outside else "changes its weights when it runs"
            message = f"`{node.name}` cannot be computed a second time: `{inner.name}` in it {what}"
            help = "leave `checkpoint` out here, and write it on blocks without such a layer"
            node.error("not-supported", node.span_of("checkpoint"), message, help)
            return
    op.checkpoint = True


def _register_op(node: NodeInstance, op: Op) -> None:
    """Adds an op to its graph, with its unit: that of the shared entry for a call, else one of its own."""
    graph = node.body.graph
    graph.ops.append(op)
    if node.unit is not None:
        op.unit = node.unit
    elif op.layer is None or op.kind in ("layer", "module") or op.weights():
        trainable = node.flag("trainable", node.declared.trainable)
        op.unit = Unit(node.name, node.index, node.span, False, trainable is not False, node.weights())
        graph.units.append(op.unit)
    if op.unit is not None:
        op.unit.calls.append(op)


def _left_out(node: NodeInstance, previous: NodeResult | None) -> NodeResult:
    """The value that replaces a node whose `when` is false: its `else`, else its first input."""
    declared = node.declared
    if declared.otherwise is not MISSING:
        if declared.otherwise is None:
            return NodeResult({"": NOTHING})
        bounds = _reference(node, declared.otherwise, (*node.path, "else"))
        value = bounds[0].value if len(bounds) == 1 else FAILED
        if len(bounds) != 1:
            node.error("wrong-type", node.span_of("else"), "`else` names one node")
    elif reads_nothing(declared):
        return NodeResult({"": NOTHING})
    elif previous is not None:
        value = previous.first_output
    else:
        first = _first_input(node)
        value = first.value if first is not None else FAILED
    if not isinstance(value, Value):
        return NodeResult({"": value})
    title, form = str(declared.target), declared.form
    op = Op(node.name, node.index, node.span, form, (value,), present=False, title=title)  # type: ignore[arg-type]
    op.outputs = {first_output(node): Value(value.tensor, node.name, op)}
    op.when = expression_in(declared.when)
    node.body.graph.ops.append(op)
    return NodeResult(dict(op.outputs), op)


# --- what an instance reads


def _reference(node: NodeInstance, text: Any, path: Path) -> list[Bound]:
    constant = _constant_help(node, text, path[-1]) if type(text) in (int, float) else ""
    return reference(node.body, text, path, node.name, node.index, constant)


def _constant_help(node: NodeInstance, number: float, place: str | int) -> str:
    """Remedy for a number among the inputs, which has the `place` of one or its name."""
    if isinstance(number, int) and number < 0 and place == "from":
        rest = {key: item for key, item in node.written.items() if key != "from"}
        words = "leave `from` out: a node reads the one above it" if number == -1 else "write the node's name"
        return become(rest, words, around=True, drops=True) if number == -1 else words
    names = input_names(node)
    name = place if isinstance(place, str) else names[place] if place < len(names) else ""
    if name in argument_names({node.form: node.declared.target}):
        return f"a number is an argument: write `{name}: {show(number)}` next to `from`"
    if node.form == "op":
        read = node.declared.source
        items = [*read.values()] if isinstance(read, dict) else read if isinstance(read, list) else [read]
        call = f"{node.declared.target}({', '.join(str(item) for item in items)})"
        return f"write a number in a formula: {{compute: {show(call)}}}"
    return "write a number in a formula: {compute: x + 1}"


@dataclass(frozen=True, slots=True)
class InputText:
    """One reference of a node's `from`, or of an edge to it: its text, its place, and the name of the input,
    where that is written.
    """

    text: Any
    path: Path
    name: str | None = None


def _reads(node: NodeInstance, edges: list[tuple[str, Path]]) -> list[InputText]:
    """The references of a node, in order; empty where it reads the node above."""
    raw, path = node.declared.source, (*node.path, "from")
    if "from" in node.overrides:
        raw, path = node.overrides["from"], (*node.path, "parallel", "from", node.index or 0)
    if raw is MISSING:
        return [InputText(text, where) for text, where in edges]
    texts: list[InputText] = []
    for name, item in raw.items() if isinstance(raw, dict) else [(None, raw)]:
        where = path if name is None else (*path, name)
        if isinstance(item, list):
            texts += [InputText(part, (*where, index), name) for index, part in enumerate(item)]
        else:
            texts.append(InputText(item, where, name))
    return texts


def _inputs(node: NodeInstance, previous: NodeResult | None) -> NodeInputs:
    """The inputs of a node: its `from`, its edges, or the node above; in a chain, the outputs of the instance
    before.
    """
    raw = node.overrides.get("from", node.declared.source)
    edges = (node.body.declared.edges or {}).get(node.name, [])
    if node.form == "compute" or reads_nothing(node.declared):
        return NodeInputs() if raw is MISSING and not edges else _refused_inputs(node, edges)
    if raw is not MISSING and edges:
        node.error(
            "from-and-edges",
            node.span_of("from"),
            f"`{node.name}` has both `from` and edges",
            f"remove one; its edges begin at {node.body.declared.document.span(edges[0][1])}",
        )
        return _broken()
    chained = _chained(node, previous) if previous is not None else {}
    reads = _reads(node, edges)
    if not reads and raw is MISSING and not chained:
        return _node_above(node)
    names = input_names(node) if chained else []
    if "" in chained and isinstance(raw, dict):
        chained = {names[0] if names else next(iter(raw), ""): chained[""]}
    inputs = NodeInputs(listed=isinstance(raw, list) or (isinstance(raw, str) and "*" in raw))
    for position, read in enumerate(reads):
        name = read.name or (names[position] if position < len(names) else None)
        if name in chained or ("" in chained and position == 0):
            _warn_of_index(node, read, name)
            continue
        bounds = _reference(node, read.text, read.path)
        if read.name is not None:
            inputs.named.setdefault(read.name, []).extend(bounds)
        elif not chained or "" in chained:
            inputs.positional += bounds
        elif name is not None:  # positions are shifted: bind what is left by name
            inputs.named[name] = bounds
    if raw is MISSING:
        inputs.listed = len(inputs.positional) > 1
    for name, bound in chained.items():
        if name:
            inputs.named[name] = [bound]
        else:
            inputs.positional.insert(0, bound)
    return inputs


def _warn_of_index(node: NodeInstance, read: InputText, name: str | None) -> None:
    """Warns of `index` in a reference that only the first instance of a chain reads, where it is 0."""
    if node.index != 1 or "index" not in names_in(read.text):
        return
    fed = f"`{name}`" if name else "it"
    message = f"`index` is always 0 here: after the first instance, {fed} comes from the instance before it"
    help = "write the number, or `parallel` if each instance does not read the one before"
    others = [each for each in input_names(node) if each != name] if node.form == "block" else []
    if others:
        help += f"; to chain `{others[0]}` instead, give the block `outputs: {{{others[0]}: ...}}`"
    span = node.body.declared.document.span(read.path)
    node.body.context.diagnostics.add(
        Diagnostic("chained-input", message, span, severity="warning", help=help)
    )


def _refused_inputs(node: NodeInstance, edges: list[tuple[str, Path]]) -> NodeInputs:
    """Reports inputs that are written for a node that takes none, or whose formula names them."""
    span = node.span_of("from") if not edges else node.body.declared.document.span(edges[0][1])
    what = {"parameter": "is a parameter", "constant": "is a constant", "op": "is a constant tensor"}
    what["state"] = "reads what its `update` names"
    message = f"`{node.name}` {what.get(node.form, '')} and takes no input"
    if node.form == "compute":
        message = f"`{node.name}` reads what its formula names, and nothing else"
    written = "delete the edges that end in it" if edges else "delete `from`"
    node.error("input-count", span, message, written)
    return _broken()


def _broken() -> NodeInputs:
    """The inputs of a failed instance, whose error is reported already."""
    return NodeInputs([Bound(FAILED, "", None)])


def _chained(node: NodeInstance, previous: NodeResult) -> dict[str, Bound]:
    """The inputs that the instance before gives, by name; "" is the first."""
    text = f"{node.name}.{(node.index or 1) - 1}"
    if node.form in ("block", "model", "call", "module"):
        names = chained_inputs(input_names(node), previous.outputs)
        if names:
            return {name: Bound(previous.outputs[name], f"{text}.{name}", node.span) for name in names}
    return {"": Bound(previous.first_output, text, node.span)}


def _node_above(node: NodeInstance) -> NodeInputs:
    """The inputs of a node that names none: the node above, or the only input."""
    body, declared = node.body.declared, node.declared
    renamed = declared.form in ("layer", "merge") and (
        "input" in declared.extra or "inputs" in declared.extra
    )
    if body.torn or renamed:  # which is reported where it is written
        return _broken()
    if body.edges is not None:
        message = f"`{node.name}` has no `from`, and no edge leads to it"
        node.error("no-input", node.span, message, f"write the edge `... -> {node.name}`")
        return _broken()
    above = body.above[node.name]
    if above is None and len(body.inputs) == 1:
        above = next(iter(body.inputs))
    if above is not None:
        values = resolve(node.body, above, node.span, node.name)
        return NodeInputs([Bound(value, above, node.span) for value in values])
    if body.inputs:
        names = ", ".join(body.inputs)
        message = f"`{node.name}` is the first node, and there are {len(body.inputs)} inputs: {names}"
        wanted = input_names(node)
        every = ", ".join(f"{name}: {name if name in body.inputs else '...'}" for name in wanted)
        named = len(wanted) > 1 and node.form in ("block", "model", "call")
        node.error(
            "no-input", node.span, message, f"write from: {{{every}}}" if named else "choose one with `from`"
        )
    elif not body.incomplete:
        help = "declare one: inputs: {x: {shape: [64]}}"
        message = f"`{node.name}` is the first node, and there is no input"
        node.error("no-input", node.span, message, help)
    return _broken()


def _first_input(node: NodeInstance) -> Bound | None:
    """The input that a left-out node passes on: the first that what it names declares. Nothing else is
    resolved.
    """
    if node.form == "compute":
        from graphspec.elaborate.forms.compute import first_reference

        return first_reference(node)
    if node.declared.source is MISSING:
        inputs = _inputs(node, None)
        return inputs.positional[0] if inputs.positional else None
    reads = _reads(node, [])
    first = reads[0] if reads else None
    if first is not None and first.name is not None:
        by_name = {read.name: read for read in reversed(reads)}
        first = next((by_name[name] for name in input_names(node) if name in by_name), None)
    if first is None:
        message = f"`{node.name}` is left out and has no first input to replace it"
        node.error("no-input", node.span, message, "use `else` to name a replacement")
        return None
    bounds = _reference(node, first.text, first.path)
    return bounds[0] if bounds else None
