"""Where a spec and its module begin to differ: the first node, and the smallest submodule that it is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphspec.compiler import check
from graphspec.convert.differences import apart, flat
from graphspec.convert.folding import unfolded
from graphspec.convert.nodes import ConvertedBody, ConvertedNode
from graphspec.convert.pytorch.converting import Converter
from graphspec.convert.pytorch.functions import word_of
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.result import Conversion
from graphspec.convert.pytorch.rewiring import NodeGraph
from graphspec.convert.pytorch.state import state
from graphspec.convert.pytorch.tracing import line_in
from graphspec.convert.pytorch.tying import states
from graphspec.convert.pytorch.writer import Known, NodeWriter
from graphspec.convert.writing import text
from graphspec.diagnostics import Diagnostics


def first_difference(
    conversion: Conversion, writer: NodeWriter, module: nn.Module, inputs: Mapping[str, Tensor], most: float
) -> str:
    """The first place where both differ by more than `most` of the largest value, as the end of a sentence;
    "" where none is found.
    """
    converter = Converter(conversion.graph, conversion.sizes, writer.common)
    try:
        return _first(converter, conversion, writer, module, inputs, most)
    except Exception:  # what differs may break anywhere: then the difference is told without its place
        return ""


def _first(
    converter: Converter,
    conversion: Conversion,
    writer: NodeWriter,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    most: float,
) -> str:
    converter.run()
    traced = _traced(converter, inputs)
    for node, difference in _differences(converter, traced, inputs):
        if difference > most:
            return _said(node, _path(converter, node, writer, conversion.body))
    return _submodule(converter, traced, module, inputs, most)


class _Recorded(fx.Interpreter):
    """Keeps what each node gives, as it is when it is given: others may write into it later."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.kept[n] = value.clone() if isinstance(value, Tensor) else value
        return value

    kept: dict[fx.Node, Any]


def _traced(converter: Converter, inputs: Mapping[str, Tensor]) -> dict[fx.Node, Any]:
    """The outputs of each node of the traced graph on new inputs."""
    program = converter.traced.program
    holders = [node for node in program.graph.nodes if node.op == "placeholder"]
    known = [converter.values.get(node) for node in holders]
    values = [
        each.tensor.clone() if isinstance(each, Known) else inputs.get(node.name)
        for node, each in zip(holders, known, strict=True)
    ]
    interpreter = _Recorded(program.graph_module)
    interpreter.kept = {}
    with torch.no_grad():
        interpreter.run(*values)
    return interpreter.kept


def _differences(
    converter: Converter, traced: Mapping[fx.Node, Any], inputs: Mapping[str, Tensor]
) -> Iterator[tuple[fx.Node, float]]:
    """By how much the spec of each node differs from the traced one, relative to the largest value there or
    in what it reads; in the order of the graph.
    """
    watched: dict[str, tuple[fx.Node, Laid]] = {}
    for node, value in converter.values.items():
        varies = isinstance(value, Laid) and not value.is_free and isinstance(traced.get(node), Tensor)
        if varies and isinstance(value.value.maker, ConvertedNode):
            watched[f"o{len(watched)}"] = (node, value)
    graph = NodeGraph(converter.writer.nodes, {name: laid.value for name, (_, laid) in watched.items()})
    graph.prune()
    states(converter.writer, graph)
    found = _run(converter, graph, inputs)
    for name, (node, laid) in watched.items():
        theirs, ours = traced[node].double(), found[name].double()
        gap = (_arranged(theirs, laid, ours) - ours).abs().nan_to_num().max() if ours.numel() else 0.0
        reads = [traced[each] for each in node.all_input_nodes if isinstance(traced.get(each), Tensor)]
        scale = max(float(x.double().nan_to_num(0, 0, 0).abs().max()) for x in (theirs, *reads) if x.numel())
        yield node, float(gap) / max(scale, 1e-30)


def _run(converter: Converter, graph: NodeGraph, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs of a spec's nodes; each becomes an output of it."""
    names = [item.name for item in converter.inputs]
    for k, node in enumerate(graph.nodes):
        node.name = f"n{k}"
    for k, item in enumerate(converter.inputs):
        item.name = f"i{k}"
    unique = dict.fromkeys(graph.outputs.values())
    body = ConvertedBody("all", converter.inputs, graph.nodes, {f"o{k}": v for k, v in enumerate(unique)})
    diagnostics, written = Diagnostics(), unfolded(body, {}, True)
    program = check(text(written.document), diagnostics, {})
    diagnostics.raise_if_errors()
    assert program is not None
    module = program.module().eval()
    module.load_state_dict(state(program.graph, written.places, converter.writer.weights))
    with torch.no_grad():
        given = module(*(inputs[name] for name in names))
    results = dict(zip(unique, flat(given), strict=True))
    return {name: results[value] for name, value in graph.outputs.items()}


def _arranged(tensor: Tensor, laid: Laid, like: Tensor) -> Tensor:
    """A tensor of PyTorch in the axes of a value."""
    for i in laid.stretched():
        tensor = tensor.narrow(i, 0, 1)
    order = [j for axis in laid.axes for j in axis]
    missing = [j for j in range(like.dim()) if j not in order]
    tensor = tensor.reshape([like.shape[j] for j in order] + [1] * len(missing))
    order += missing
    return tensor.permute([order.index(j) for j in range(like.dim())])


def _path(converter: Converter, node: fx.Node, writer: NodeWriter, body: ConvertedBody) -> str:
    """The path in the spec of the node that a traced one became; "" where others have taken it in."""
    value = converter.values[node]
    twin = writer.nodes[converter.writer.nodes.index(value.value.maker)]
    return next((path for path, each in _paths(body, "") if each is twin), "")


def _paths(body: ConvertedBody, front: str) -> Iterator[tuple[str, ConvertedNode]]:
    for node in body.nodes:
        yield f"{front}{node.name}", node
        if node.body is not None:
            yield from _paths(node.body, f"{front}{node.name}.")


def _said(node: fx.Node, path: str) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    inside, kind = stack[-1] if stack else ("", "")
    where = line_in(node.meta.get("stack_trace") or "")
    parts = [f"first in `{word_of(node)}`"]
    parts += [f"which is the node `{path}`"] if path else []
    parts += [f"of the submodule `{inside}` ({str(kind).rpartition('.')[2]})"] if inside else []
    return f", {', '.join(parts)}" + (f", at {where}" if where else "")


def _submodule(
    converter: Converter,
    traced: Mapping[fx.Node, Any],
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    most: float,
) -> str:
    """The first submodule that gives something else than when it was traced, the smallest of those that end
    there.
    """
    last: dict[tuple[str, int], fx.Node] = {}
    calls: dict[str, list[str]] = {}
    for node in converter.traced.program.graph.nodes:
        for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
            keys = calls.setdefault(path, [])
            keys += [key] if key not in keys else []
            if isinstance(traced.get(node), Tensor):
                last[path, keys.index(key)] = node
    for path, call, output in _outputs(module, inputs):
        before = traced.get(last[path, call]) if (path, call) in last else None
        if path and before is not None and apart([output], [before]) > most:
            kind = type(module.get_submodule(path)).__name__
            said = "which computes something else on these inputs than on those that it was traced with"
            return f", first in the submodule `{path}` ({kind}), {said}"
    return ""


def _outputs(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[tuple[str, int, Tensor]]:
    """The outputs of each call of a submodule, its first tensor, in the order in which calls end."""
    found: list[tuple[str, int, Tensor]] = []
    count: Counter[str] = Counter()

    def keep(path: str, output: Any) -> None:
        first = next(iter(flat(output)), None)
        if first is not None:
            found.append((path, count[path], first.clone()))
        count[path] += 1

    hooks = [
        each.register_forward_hook(lambda _, __, output, path=path: keep(path, output))
        for path, each in module.named_modules()
    ]
    try:
        with torch.no_grad():
            module(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
