"""Which node of the old spec became which of the new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphspec.compare.outline import Outline, OutlineNode

SURE = 2
"""How many of these must agree in two nodes of one type, for one to be the other under a new name: their
arguments, what they read, and what reads them.
"""


def pairs(old: Outline, new: Outline) -> dict[str, str]:
    """For each node of the new spec that was in the old one, its path there.

    Of two graphs that belong together, nodes of one name do, unless one is a block and the other none; of
    those that are left, nodes of one type that agree in at least two ways. What is then left of all graphs
    is paired where one of these ways is its arguments: it moved into a block, or out of one.
    """
    return _Matcher(old, new).run()


class _Matcher:
    def __init__(self, old: Outline, new: Outline):
        self.old, self.new = old, new
        self.mates: dict[str, str] = {name: name for name in new.inputs if name in old.inputs}
        self.taken: set[str] = set(self.mates.values())
        self.old_readers, self.new_readers = _readers(old), _readers(new)

    def run(self) -> dict[str, str]:
        self._rename_inputs()
        self._graphs("", "")
        self._left(list(self.old.nodes.values()), list(self.new.nodes.values()), True)
        return {path: before for path, before in self.mates.items() if path in self.new.nodes}

    def _rename_inputs(self) -> None:
        """Inputs under other names, where the types leave one way only."""
        for name, tensor in self.new.inputs.items():
            alike = [n for n, t in self.old.inputs.items() if t == tensor and n not in self.taken]
            others = [n for n, t in self.new.inputs.items() if t == tensor and n not in self.mates]
            if name not in self.mates and len(alike) == len(others) == 1:
                self._pair(name, alike[0])

    def _pair(self, path: str, before: str) -> None:
        self.mates[path] = before
        self.taken.add(before)

    def _graphs(self, before: str, after: str) -> None:
        """Pairs the nodes of two graphs that belong together, and those inside them."""
        olds, news = self.old.children.get(before, []), self.new.children.get(after, [])
        names = {node.name: node for node in olds}
        mates = []
        for node in news:
            mate = names.get(node.name)
            if mate is not None and _is_body(mate) == _is_body(node) and node.path not in self.mates:
                self._pair(node.path, mate.path)
        self._left(olds, news, False)
        mates = [(self.mates[node.path], node.path) for node in news if node.path in self.mates]
        for old, new in mates:
            self._graphs(old, new)

    def _left(self, olds: list[OutlineNode], news: list[OutlineNode], equal: bool) -> None:
        """Pairs what is left, in data order: what a node reads has been paired before it. `equal` asks
        for the same arguments.
        """
        for node in news:
            if node.path in self.mates:
                continue
            open_ones = [mate for mate in olds if mate.path not in self.taken and _same_kind(mate, node)]
            open_ones = [mate for mate in open_ones if not equal or mate.arguments == node.arguments]
            scored = [(self._score(mate, node), mate) for mate in open_ones]
            best = max((score for score, _ in scored), default=0)
            if best >= SURE:
                mate = next(mate for score, mate in scored if score == best)
                self._pair(node.path, mate.path)

    def _score(self, old: OutlineNode, new: OutlineNode) -> int:
        read = [called_before(name, self.mates) for name in new.inputs]
        return (
            (old.arguments == new.arguments and bool(new.arguments or new.inputs))
            + (read == list(old.inputs))
            + (self._read_by(new, True) == self._read_by(old, False))
        )

    def _read_by(self, node: OutlineNode, is_new: bool) -> list[str]:
        """The readers of a node, by their paths in the old spec; readers without a partner, by their type."""
        outline, readers = (self.new, self.new_readers) if is_new else (self.old, self.old_readers)
        names = []
        for path in readers.get(node.path, ()):
            known = self.mates.get(path) if is_new else path if path in self.taken else None
            names.append(known or f"?{outline.nodes[path].type}")
        return sorted(names)


def called_before(label: str, mates: Mapping[str, str]) -> str:
    """A label of the new spec as the old one has it; `mates` are its nodes by their paths in the new one."""
    path, rest = label, ""
    while path:
        if path in mates:
            return mates[path] + rest
        path, dot, last = path.rpartition(".")
        rest = dot + last + rest
    return label


def _is_body(node: OutlineNode) -> bool:
    return node.kind in ("block", "model")


def _same_kind(a: OutlineNode, b: OutlineNode) -> bool:
    """Whether two nodes are of one type; blocks and models of any name are."""
    return _is_body(a) == _is_body(b) if _is_body(a) else a.type == b.type


def _readers(outline: Outline) -> dict[str, set[str]]:
    """The paths of the nodes that read each node."""
    readers: dict[str, set[str]] = {}
    for node in outline.nodes.values():
        for label in node.inputs:
            for path in _prefixes(label):
                if path in outline.nodes or path in outline.inputs:
                    readers.setdefault(path, set()).add(node.path)
                    break
    return readers


def _prefixes(label: str) -> Iterator[str]:
    while label:
        yield label
        label = label.rpartition(".")[0]
