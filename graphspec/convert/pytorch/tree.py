"""Nodes of one graph to a body with blocks: a class that is used more than once is one, with its attributes
as the names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from graphspec.convert.nodes import (
    SOURCES,
    ConvertedBody,
    ConvertedInput,
    ConvertedNode,
    ConvertedValue,
    Read,
    rename,
)
from graphspec.convert.pytorch.writer import CallOrigin
from graphspec.language.naming import snake_case

CONTAINERS = ("Sequential", "ModuleList", "ModuleDict", "ParameterList", "GRUCell", "LSTMCell", "RNNCell")
"""Classes of PyTorch that are no blocks, whatever is in them."""


class Tree:
    """Builds the body of the whole model; `leaves` are the paths of modules that hold no others, `plain` of
    those that are PyTorch's own, which are no blocks.
    """

    def __init__(self, origins: dict[ConvertedNode, CallOrigin], leaves: set[str], plain: set[str]):
        self.origins, self.leaves, self.plain = origins, leaves, plain
        self.blocks: set[str] = set()

    def body(
        self,
        name: str,
        inputs: list[ConvertedInput],
        nodes: list[ConvertedNode],
        outputs: dict[str, ConvertedValue],
    ) -> ConvertedBody:
        """The body with its blocks."""
        sizes: Counter[tuple[str, str]] = Counter()
        for node in nodes:
            for key, path, kind in self.origins[node].modules:
                if path not in self.plain:
                    sizes[key, kind] += 1
        count = Counter(kind for (_, kind), size in sizes.items() if size > 1 and kind not in CONTAINERS)
        self.blocks = {kind for kind, times in count.items() if times > 1}
        root = self._body(name, inputs, nodes, outputs, 0, "")
        rename(root.inputs, root.nodes, len(root.inputs) == 1, False)
        return root

    def _body(
        self,
        name: str,
        inputs: list[ConvertedInput],
        nodes: Sequence[ConvertedNode],
        outputs: dict[str, ConvertedValue],
        depth: int,
        front: str,
    ) -> ConvertedBody:
        groups: dict[str, list[ConvertedNode]] = {}
        level: dict[str, int] = {}
        for node in nodes:
            index = self._outermost(node, depth)
            if index is not None:
                groups.setdefault(self.origins[node].modules[index][0], []).append(node)
                level[self.origins[node].modules[index][0]] = index
        self._lend(groups, nodes, outputs)
        groups = {
            key: inner for key, inner in groups.items() if len(inner) > 1 and self._is_closed(inner, nodes)
        }
        inside = {node: key for key, inner in groups.items() for node in inner}
        where = {node: position for position, node in enumerate(nodes)}
        places = {key: max(where[node] for node in inner) for key, inner in groups.items()}
        listed: list[ConvertedNode] = []
        moved: dict[ConvertedValue, ConvertedValue] = {}
        words = self._names([node for node in nodes if node not in inside], depth, front)
        for position, node in enumerate(nodes):
            key = inside.get(node)
            if key is None:
                node.reads = [(slot, _changed(read, moved)) for slot, read in node.reads]
                word = words.get(node)
                if word:
                    node.name, node.automatic = word, False
                listed.append(node)
            elif places[key] == position:
                listed.append(self._block(groups[key], nodes, outputs, level[key], moved, front))
        outputs = {key: moved.get(value, value) for key, value in outputs.items()}
        self._block_names(listed)
        return ConvertedBody(name, inputs, listed, outputs)

    @staticmethod
    def _lend(
        groups: dict[str, list[ConvertedNode]],
        nodes: Sequence[ConvertedNode],
        outputs: dict[str, ConvertedValue],
    ) -> None:
        """Takes out of blocks what reads nothing of them and is read outside: what dense layers join, say."""
        readers: dict[ConvertedNode, set[ConvertedNode | None]] = {}
        for node in nodes:
            for value in node.sources():
                readers.setdefault(value.maker, set()).add(node)  # type: ignore[arg-type]
        for value in outputs.values():
            readers.setdefault(value.maker, set()).add(None)  # type: ignore[arg-type]
        for inner in groups.values():
            members = set(inner)
            for node in list(inner):
                sources = {value.maker for value in node.sources()}
                if sources and not sources & members and readers.get(node, set()) - members:
                    inner.remove(node)
                    members.remove(node)

    def _outermost(self, node: ConvertedNode, depth: int) -> int | None:
        modules = self.origins[node].modules
        for level in range(depth, len(modules)):
            if modules[level][2] in self.blocks and modules[level][1] not in self.plain:
                return level
        return None

    @staticmethod
    def _is_closed(inner: Sequence[ConvertedNode], nodes: Sequence[ConvertedNode]) -> bool:
        """Whether a block reads a tensor, and nothing between its nodes depends on them and feeds them."""
        members, after = set(inner), set[ConvertedNode]()
        reads = False
        for node in nodes:
            makers = {value.maker for value in node.sources()}
            if node in members:
                if makers & after:
                    return False
                reads = reads or bool(makers - members)
            elif makers & members or makers & after:
                after.add(node)
        return reads

    def _block(
        self,
        inner: list[ConvertedNode],
        nodes: Sequence[ConvertedNode],
        outputs: dict[str, ConvertedValue],
        level: int,
        moved: dict[ConvertedValue, ConvertedValue],
        front: str,
    ) -> ConvertedNode:
        members = set(inner)
        _, path, kind = self.origins[inner[0]].modules[level]
        outside: dict[ConvertedValue, ConvertedInput] = {}
        for node in inner:
            for value in node.sources():
                if value.maker not in members and value not in outside:
                    outside[value] = ConvertedInput("x" if not outside else f"x{len(outside) + 1}")
        entering = {value: ConvertedValue(made) for value, made in outside.items()}
        for node in inner:
            node.reads = [(slot, _changed(read, entering)) for slot, read in node.reads]
        read = dict.fromkeys(
            value
            for node in nodes
            if node not in members
            for value in node.sources()
            if value.maker in members
        )
        read |= dict.fromkeys(value for value in outputs.values() if value.maker in members)
        leaving = {("y" if k == 0 else f"y{k + 1}"): value for k, value in enumerate(read)}
        body = self._body(snake_case(kind), list(outside.values()), inner, leaving, level + 1, f"{path}.")
        body.classed = True
        rename(body.inputs, body.nodes, len(body.inputs) == 1, True)
        reads: list[tuple[str, Read]] = [
            (made.name, moved.get(value, value)) for value, made in outside.items()
        ]
        node = ConvertedNode(
            path.removeprefix(front),
            "block",
            body.name,
            {},
            reads,
            "one" if len(reads) == 1 else "list",
            tuple(list(leaving)[1:]),
            body,
        )
        self.origins[node] = CallOrigin(self.origins[inner[0]].modules[: level + 1], "", True)
        for k, value in enumerate(read):
            moved[value] = ConvertedValue(node, k)
        return node

    # --- names

    def _names(self, nodes: Iterable[ConvertedNode], depth: int, front: str) -> dict[ConvertedNode, str]:
        """Names for nodes: the attribute of a module that becomes a single node."""
        first: dict[str, ConvertedNode] = {}
        for node in nodes:
            origin = self.origins[node]
            if origin.modules and len(origin.modules) > depth and origin.main and node.form not in SOURCES:
                key, path, _ = origin.modules[-1]
                if path in self.leaves or origin.line == "whole":
                    first.setdefault(key, node)
        paths = {node: self.origins[node].modules[-1][1].removeprefix(front) for node in first.values()}
        return dict(zip(paths, shortened(list(paths.values())), strict=True))

    def _block_names(self, listed: list[ConvertedNode]) -> None:
        """Blocks and layers of one body, by the shortest ends of their paths that tell them apart."""
        blocks = [node for node in listed if node.form == "block"]
        others = {node.name for node in listed if node.form != "block"}
        for node, word in zip(blocks, shortened([node.name for node in blocks]), strict=True):
            node.name = word if word not in others else node.name.replace(".", "_")


def _changed(read: Read, moved: dict[ConvertedValue, ConvertedValue]) -> Read:
    if isinstance(read, ConvertedValue):
        return moved.get(read, read)
    return tuple(moved.get(value, value) for value in read)


def shortened(paths: Sequence[str]) -> list[str]:
    """The ends of paths that tell them apart: `fc` of `classifier.fc`, `layer1_0` of `layer1.0`."""
    counts = []
    ends: dict[str, list[int]] = {}
    parts = [path.split(".") for path in paths]

    def end(k: int, count: int) -> str:
        return "_".join(parts[k][-count:])

    for k, steps in enumerate(parts):
        count = 1
        while count < len(steps) and steps[-count].isdigit():
            count += 1
        ends.setdefault(end(k, count), []).append(k)
        counts.append(count)
    changed = True
    while changed:
        changed = False
        groups: dict[str, list[int]] = {}
        for k, count in enumerate(counts):
            groups.setdefault(end(k, count), []).append(k)
        for group in groups.values():
            if len(group) > 1:
                for k in group:
                    if counts[k] < len(parts[k]) and len({paths[n] for n in group}) > 1:
                        counts[k] += 1
                        changed = True
    return [end(k, count) for k, count in enumerate(counts)]
