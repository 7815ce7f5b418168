"""Functions that no handler knows, in a graph, as others that PyTorch defines them by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from graphspec.convert.pytorch.functions import PART_OF, depends, known, word_of
from graphspec.diagnostics import by_word


def write_in_parts(program: ExportedProgram) -> None:
    """Changes the graph of a program. What does not depend on data stays: it is computed, not translated."""
    for node in list(program.graph.nodes):
        if node.op == "call_function":
            _without_writing(program.graph, node)
    users = set(program.graph_signature.user_inputs)
    data = {node for node in program.graph.nodes if node.op == "placeholder" and node.name in users}
    for node in list(program.graph.nodes):
        if node.op != "call_function" or not depends(node, data):
            continue
        data.add(node)
        target = node.target
        if isinstance(target, torch._ops.OpOverload) and not known(target):
            function = _definition(target)
            if function is not None:
                data |= _replace(program.graph, node, function)


SCATTERS: dict[str, Any] = {
    "slice": torch.ops.aten.slice_scatter.default,
    "select": torch.ops.aten.select_scatter.default,
}
VIEWS = frozenset(by_word(of="view permute transpose t squeeze unsqueeze unflatten narrow"))
"""Functions that show a tensor in another way: what is written there is not taken apart."""
MAY_COPY = frozenset(by_word(of="reshape flatten expand"))
"""Such that show it, or copy it."""


def _without_writing(graph: fx.Graph, node: fx.Node) -> None:
    """A write into a part of a tensor, or into one that was shown in part before, as a new tensor, which is
    read from there on.
    """
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or not target._schema.name.endswith("_"):
        return
    part = node.args[0] if node.args else None
    if not isinstance(part, fx.Node):
        return
    word = target._schema.name.removesuffix("_").partition("::")[2]
    pure = getattr(getattr(torch.ops.aten, word, None), target._overloadname, None)
    chain: list[fx.Node] = []  # a part of a part of a tensor
    base: Any = part
    while isinstance(base, fx.Node) and word_of(base) in SCATTERS:
        chain.append(base)
        base = base.args[0]
    if pure is None or not isinstance(base, fx.Node) or shows(base):
        return
    if not chain and not any(
        shows(user) and _is_read_after(user, node) for user in part.users if user < node
    ):
        return
    with graph.inserting_after(node):
        pure_call = last = graph.call_function(pure, node.args, node.kwargs)
    pure_call.meta = dict(node.meta)
    changed = [(part, pure_call), (node, pure_call)]
    for each in chain:
        before: Any = each.args[0]
        with graph.inserting_after(last):
            arguments = (before, last, *each.args[1:])
            last = graph.call_function(SCATTERS[word_of(each)], arguments, dict(each.kwargs))
        last.meta = {**node.meta, "val": before.meta["val"]}
        changed.append((before, last))
    for old, new in changed:
        for user in [user for user in old.users if last < user]:
            user.replace_input_with(old, new)
    for old, new in changed:
        last = _shown_again(graph, old, new, last, set(chain))
    graph.erase_node(node)


def _shown_again(
    graph: fx.Graph, old: fx.Node, new: fx.Node, place: fx.Node, changed: set[fx.Node]
) -> fx.Node:
    """Replaces views of the old tensor after `place` by those of the new one; returns the last node made."""
    for view in [user for user in old.users if user < place and user not in changed]:
        if not shows(view) or not _is_read_after(view, place):
            continue
        with graph.inserting_after(place):
            copy = graph.node_copy(view, lambda each: new if each is old else each)
        readers = [user for user in view.users if place < user and user is not copy]
        place = _shown_again(graph, view, copy, copy, changed)
        for user in readers:
            user.replace_input_with(view, copy)
    return place


def shows(node: fx.Node) -> bool:
    """Whether it shows a tensor, or a part of it: what is written into one is written into both."""
    word = word_of(node)
    return word in SCATTERS or word in VIEWS or (word in MAY_COPY and _share_memory(node, node.args[0]))


def _share_memory(*nodes: Any) -> bool:
    return len({each.meta["val"].untyped_storage()._cdata for each in nodes}) == 1


def _is_read_after(view: fx.Node, place: fx.Node) -> bool:
    return any(place < user or (shows(user) and _is_read_after(user, place)) for user in view.users)


def _definition(target: torch._ops.OpOverload) -> Callable[..., Any] | None:
    from torch._decomp import core_aten_decompositions

    usual: Any = core_aten_decompositions()
    if target in usual:  # whose `get` does not look into all of it
        decomposition: Callable[..., Any] = usual[target]
        return decomposition
    return target.decompose if target._can_decompose() else None


def _replace(graph: fx.Graph, node: fx.Node, function: Callable[..., Any]) -> set[fx.Node]:
    """Puts what a function does in the place of a node; returns the nodes of that."""
    inputs = node.all_input_nodes

    def run(*values: Any) -> Any:
        held = dict(zip(inputs, values, strict=True))
        args, kwargs = fx.map_arg((node.args, node.kwargs), held.__getitem__)
        return function(*args, **kwargs)

    try:
        traced = make_fx(run)(*(each.meta["val"] for each in inputs))
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return set()  # PyTorch cannot trace its own definition: the function is refused by its name
    several = not isinstance(node.meta["val"], Tensor)
    end = next(each for each in traced.graph.nodes if each.op == "output")
    if several and not isinstance(end.args[0], (list, tuple)):
        return set()  # one call that gives several: its definition says no more of them
    holders = [each for each in traced.graph.nodes if each.op == "placeholder"]
    mapped: dict[fx.Node, fx.Node] = dict(zip(holders, inputs, strict=True))
    before = set(graph.nodes)
    for each in traced.graph.nodes:
        if each.op == "get_attr":
            name = f"{node.name}{each.target}"
            setattr(graph.owning_module, name, getattr(traced, each.target))
            each.target = name
    with graph.inserting_before(node):
        result: Any = graph.graph_copy(traced.graph, mapped)
    added = set(graph.nodes) - before
    for each in added:
        each.meta |= {key: node.meta[key] for key in ("nn_module_stack", "stack_trace") if key in node.meta}
        each.meta[PART_OF] = node.meta.get(PART_OF, word_of(node))
    if several:
        for user in list(node.users):
            place: Any = user.args[1]
            user.replace_all_uses_with(result[place])
            graph.erase_node(user)
    else:
        node.replace_all_uses_with(result)
    graph.erase_node(node)
    return added
