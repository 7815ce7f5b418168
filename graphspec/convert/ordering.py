"""The order of nodes in a file: connected nodes are adjacent, so that `from` is rarely needed."""

from __future__ import annotations

from graphspec.convert.nodes import ConvertedBody, ConvertedInput, ConvertedNode


def ordered(body: ConvertedBody) -> list[ConvertedNode]:
    """The nodes that outputs need, each after those that it reads, chains whole.

    A node's inputs come in order of their depth, the deepest first; branches off one value in the order in
    which they are read.
    """
    depth = _depths(body)
    position: dict[ConvertedNode, int] = {}
    listed: list[ConvertedNode] = []
    for value in body.outputs.values():
        if isinstance(value.maker, ConvertedNode):
            _visit(value.maker, depth, position, listed)
    return listed


def _depths(body: ConvertedBody) -> dict[ConvertedNode, int]:
    """The length of the longest chain that ends in each node."""
    depth: dict[ConvertedNode, int] = {}
    stack = [value.maker for value in body.outputs.values() if isinstance(value.maker, ConvertedNode)]
    while stack:
        node = stack[-1]
        makers = _makers(node)
        missing = [maker for maker in makers if maker not in depth]
        if missing:
            stack += missing
        else:
            stack.pop()
            depth[node] = 1 + max((depth[maker] for maker in makers), default=0)
    return depth


def _makers(node: ConvertedNode) -> list[ConvertedNode]:
    """The nodes it reads, each once, in order."""
    return list(dict.fromkeys(v.maker for v in node.sources() if isinstance(v.maker, ConvertedNode)))


def _visit(
    root: ConvertedNode,
    depth: dict[ConvertedNode, int],
    position: dict[ConvertedNode, int],
    listed: list[ConvertedNode],
) -> None:
    """Lists a node after all that it reads; `position` is the place of each node listed, from the start."""
    # a frame: a node, those it reads that are left, and where the part of the list begins that each began
    stack: list[tuple[ConvertedNode, list[ConvertedNode], list[tuple[ConvertedNode, int]]]] = [
        (root, _by_depth(root, depth), [])
    ]
    if root in position:
        return
    while stack:
        node, left, begun = stack[-1]
        while left and left[0] in position:
            left.pop(0)
        if left:
            maker = left.pop(0)
            begun.append((maker, len(listed)))
            stack.append((maker, _by_depth(maker, depth), []))
            continue
        stack.pop()
        if node in position:
            continue
        _branches(node, begun, position, listed)
        position[node] = len(listed)
        listed.append(node)


def _by_depth(node: ConvertedNode, depth: dict[ConvertedNode, int]) -> list[ConvertedNode]:
    return sorted(_makers(node), key=lambda maker: -depth[maker])


def _branches(
    node: ConvertedNode,
    begun: list[tuple[ConvertedNode, int]],
    position: dict[ConvertedNode, int],
    listed: list[ConvertedNode],
) -> None:
    """Brings the parts of the list that a node's inputs began into the order in which it reads them, where
    all are branches off one value, or off inputs of the graph.
    """
    if len(begun) < 2:
        return
    bounds = [start for _, start in begun] + [len(listed)]
    parts = {maker: listed[a:b] for (maker, a), b in zip(begun, bounds[1:], strict=True)}
    first, *others = begun
    outside = {
        position[source]
        for maker, start in others
        for inner in parts[maker]
        for source in _makers(inner)
        if position[source] < start and source not in parts[maker]
    }
    if len(outside) > 1:
        return
    fork = next(iter(outside), -1)
    tail = parts[first[0]] if fork < first[1] else listed[fork + 1 : bounds[1]]
    begin = first[1] if fork < first[1] else fork + 1
    inside = set(tail)
    if any(position[s] != fork for inner in tail for s in _makers(inner) if s not in inside):
        return
    if fork >= 0 and any(isinstance(v.maker, ConvertedInput) for inner in tail for v in inner.sources()):
        return
    parts[first[0]] = tail
    listed[begin:] = [inner for maker in _makers(node) if maker in parts for inner in parts[maker]]
    for place in range(begin, len(listed)):
        position[listed[place]] = place
