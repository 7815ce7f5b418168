"""Which classes of a file's library code derive from which. A base of one class is merged into it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping

from graphspec.emit.library_source import Node, known_names
from graphspec.emit.printer import flat
from graphspec.emit.rewriting import assigned


class ClassTree:
    """The classes of a file's library code. `orders` have for each the order in which Python looks up its
    methods: the class, then its bases. Functions have only themselves.
    """

    def __init__(self, nodes: Mapping[str, Node]):
        self._nodes = nodes
        self.orders = {name: self._order(name) for name in nodes}

    def _order(self, name: str) -> list[str]:
        upward = dict.fromkeys(reversed(list(self._above(name))))
        return list(reversed(upward))

    def _above(self, name: str) -> Iterator[str]:
        if name in self._nodes:
            yield name
            for base in named_bases(self._nodes[name]):
                yield from self._above(base)

    def after(self, name: str) -> set[str]:
        """The classes that `super()` may reach from a class, in whatever class it is a base of."""
        return {
            each for order in self.orders.values() if name in order for each in order[order.index(name) + 1 :]
        }

    def inherited(self, name: str) -> dict[str, ast.FunctionDef]:
        """The methods that `super()` reaches from a class, by name: those that it reaches in all below it."""
        after = [order[order.index(name) + 1 :] for order in self.orders.values() if name in order]
        rows = [
            {f.name: f for each in order[::-1] for f in functions_of(self._nodes[each])} for order in after
        ]
        return {word: f for word, f in rows[0].items() if all(row.get(word) is f for row in rows)}

    def related(self, name: str, among: Collection[str] | None = None) -> set[str]:
        """A class with its bases, its subclasses, and all classes that these are related to: all, or `among`
        these.
        """
        related = {name}
        orders = [
            {*order}.intersection({name, *(order if among is None else among)})
            for order in self.orders.values()
        ]
        while more := {each for order in orders if not related.isdisjoint(order) for each in order} - related:
            related |= more
        return related


def functions_of(node: Node) -> list[ast.FunctionDef]:
    """A function itself, or a class's methods."""
    if isinstance(node, ast.FunctionDef):
        return [node]
    return [each for each in node.body if isinstance(each, ast.FunctionDef)]


def constructor_of(node: Node) -> ast.FunctionDef | None:
    """A function itself, or a class's constructor."""
    return next((each for each in functions_of(node) if each is node or each.name == "__init__"), None)


def named_bases(node: Node) -> list[str]:
    """The names of a class's bases that are no attributes of PyTorch's modules."""
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    return [each.id for each in bases if isinstance(each, ast.Name)]


def joined(nodes: Mapping[str, Node], wanted: Collection[str]) -> dict[str, Node]:
    """The definitions, with each base class merged into its only user.

    `wanted` are the names that the file's own code reads.
    """
    merged = dict(nodes)
    while (pair := next(_pairs(merged, wanted), None)) is not None:
        name, base = pair
        lower, upper = merged[name], merged.pop(base)
        assert isinstance(lower, ast.ClassDef) and isinstance(upper, ast.ClassDef)
        merged[name] = _joined(lower, upper, nodes)
    return merged


def _pairs(nodes: Mapping[str, Node], wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    """The classes that can absorb their first base.

    Nothing else may read the base, and no method of either class may hide one of the other.
    """
    readers: dict[str, set[str]] = {}
    for name, node in nodes.items():
        for word in known_names(node):
            readers.setdefault(word, set()).add(name)
    for name, node in nodes.items():
        base = node.bases[0] if isinstance(node, ast.ClassDef) and node.bases else None
        upper = nodes.get(base.id) if isinstance(base, ast.Name) else None
        if not isinstance(upper, ast.ClassDef) or not isinstance(node, ast.ClassDef):
            continue
        alone = upper.name not in wanted and readers[upper.name] == {name}
        if alone and not _methods(node) & _methods(upper):
            yield name, upper.name


def _methods(node: ast.ClassDef) -> set[str]:
    return {each.name for each in functions_of(node)}


def _is_of_torch(base: ast.expr, nodes: Mapping[str, Node]) -> bool:
    """Whether a base class is PyTorch's, or derives from one that is."""
    node = nodes.get(base.id) if isinstance(base, ast.Name) else None
    if isinstance(node, ast.ClassDef):
        return any(_is_of_torch(each, nodes) for each in node.bases)
    return flat(base) != "nn.Module"


def _joined(lower: ast.ClassDef, upper: ast.ClassDef, nodes: Mapping[str, Node]) -> ast.ClassDef:
    """One class for a base and its subclass.

    It has the docstring of the subclass, or of the base if that has all of the code. It drops declarations of
    the base for what the subclass assigns, or inherits from a PyTorch class that the base does not have.
    """
    from_torch = len(lower.bases) > 1 and not any(_is_of_torch(base, nodes) for base in upper.bases)
    given = _methods(lower) | {
        word for each in lower.body if isinstance(each, ast.Assign) for word, _ in assigned(each)
    }
    docstring, *own = lower.body
    upper_docstring, *others = upper.body
    inherited = [
        each
        for each in others
        if not (isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name))
        or not (from_torch or each.target.id in given)
    ]
    fields = [each for each in (*inherited, *own) if not isinstance(each, ast.FunctionDef)]
    methods = [each for each in (*own, *inherited) if isinstance(each, ast.FunctionDef)]
    methods.sort(key=lambda each: each.name != "__init__")
    body = [docstring if own else upper_docstring, *fields, *methods]
    definition = ast.ClassDef(lower.name, _bases(lower, upper), [], body, [])
    return ast.copy_location(definition, lower)


def _bases(lower: ast.ClassDef, upper: ast.ClassDef) -> list[ast.expr]:
    """The bases of both. PyTorch's class of the subclass already derives from that of the base."""
    ours = [base for base in upper.bases if isinstance(base, ast.Name)]
    return [*ours, *lower.bases[1:]] or upper.bases
