"""Simplifies a function with partly known values: substitutes them, and decides the branches.

Unchanged statements stay the same objects, so that they keep their text.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from graphspec.emit.code import equal, rewritten, rewritten_fields, same_items, with_fields
from graphspec.emit.dead_code import assigned_once, straightened, without_dead
from graphspec.emit.folding import asked, folded_one, truth
from graphspec.emit.rewriting import (
    attribute_of_self,
    has_pairs,
    is_function,
    is_none,
    is_super,
    with_pairs,
)

ROUNDS = 10
Constants = Mapping[str, ast.expr]


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a function.

    The names in `present` are not None. `attributes` of `self` are constants. `defaults` are those of other
    definitions, whose calls may leave out arguments with their default values.
    """

    present: Collection[str]
    attributes: Constants
    defaults: Mapping[str, Sequence[ast.expr | None]]
    exporting: bool


def simplified(body: list[ast.stmt], constants: Constants, facts: Facts) -> list[ast.stmt]:
    """The simplified body of a function. `constants` are the values of parameters."""
    known = dict(constants)
    for _ in range(ROUNDS):
        decided = straightened(Decide(known, facts).block(body))
        known = assigned_once(decided)
        before, body = body, without_dead(decided, known)
        if not known and same_items(body, before):
            return before
    return body


class Decide:
    """Substitutes known values, and decides the branches that depend on them."""

    def __init__(self, known: Constants, facts: Facts):
        self.known, self.facts, self.attributes = known, facts, facts.attributes

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        statements: list[ast.stmt] = []
        for statement in body:
            statements += self.statement(statement)
            if statements and isinstance(statements[-1], ast.Return | ast.Raise):
                break
        return statements

    def statement(self, statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, ast.If):
            test = asked(self.expression(statement.test))
            known = truth(test)
            if known is not None:
                return self.block(statement.body if known else statement.orelse)
            body, orelse = self.block(statement.body), self.block(statement.orelse)
            unchanged = test is statement.test and same_items(body, statement.body)
            if unchanged and same_items(orelse, statement.orelse):
                return [statement]
            return [_at(statement, ast.If(test, body, orelse))] if body else []
        if isinstance(statement, ast.For | ast.With | ast.While):
            inner = self.block(statement.body)
            changed = rewritten_fields(statement, self.expression, skip=("body", "orelse"))
            if same_items(inner, statement.body) and changed is statement:
                return [statement]
            return [with_fields(changed, body=inner)]
        if isinstance(statement, ast.FunctionDef):
            return [statement]
        decided = rewritten_fields(statement, self.expression)
        if isinstance(decided, ast.Assign):
            return self._assignment(decided)
        return [decided]

    def _assignment(self, statement: ast.Assign) -> list[ast.stmt]:
        """An assignment without the parts that set known constant attributes, or a name to itself."""
        if has_pairs(statement):
            kept = with_pairs(statement, lambda target, value: not self._is_idle(target, value))
            return [] if kept is None else [kept]
        if len(statement.targets) == 1 and self._is_idle(statement.targets[0], statement.value):
            return []
        return [statement]

    def _is_idle(self, target: ast.expr, value: ast.expr) -> bool:
        if isinstance(target, ast.Name):
            return isinstance(value, ast.Name) and value.id == target.id
        return isinstance(value, ast.Constant) and attribute_of_self(target) in self.attributes

    def expression(self, node: ast.expr) -> ast.expr:
        """An expression, simplified from its parts up."""
        return rewritten(node, self._decided)

    def _decided(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Name(id=word, ctx=ast.Load()) if word in self.known:
                return self.known[word]
            case ast.Attribute(ctx=ast.Load()) if (word := attribute_of_self(node)) in self.attributes:
                return self.attributes[word]
            case ast.Attribute(value=ast.Attribute(attr=word), attr="__name__") if is_function(node.value):
                return ast.Constant(word)
            case ast.Compare(left, [ast.Is() | ast.IsNot() as op], [ast.Constant(value=None)]) if (
                self._is_present(left)
            ):
                return ast.Constant(isinstance(op, ast.IsNot))
            case ast.Tuple(ctx=ast.Load()) if any(map(_is_spread, node.elts)):
                return ast.Tuple(_spread_out(node.elts), node.ctx)
            case ast.Call():
                return self._call(node)
        return folded_one(node)

    def _is_present(self, node: ast.expr) -> bool:
        """Whether an expression is known not to be None, whatever else it is."""
        present = isinstance(node, ast.Name) and node.id in self.facts.present
        return present or isinstance(node, ast.Tuple | ast.List) or is_function(node)

    def _call(self, node: ast.Call) -> ast.expr:
        function = ast.unparse(node.func)
        if function == "torch.compiler.is_exporting":
            return ast.Constant(self.facts.exporting)
        if function == "F.dropout" and len(node.args) > 1 and _is(node.args[1], 0.0):
            return node.args[0]
        args, keywords = _spread_out(node.args), [part for each in node.keywords for part in _spread(each)]
        if isinstance(node.func, ast.Attribute) and is_super(node.func.value):
            while args and is_none(args[-1]) and not keywords:
                args.pop()
        # an option that is passed on under its own name has the same default there
        keywords = [k for k in keywords if not (k.arg in DEFAULTS and _is(k.value, DEFAULTS[k.arg]))]
        defaults: Sequence[ast.expr | None] = self.facts.defaults.get(function, POSITIONAL.get(function, ()))
        while args and len(args) <= len(defaults) and _equal(args[-1], defaults[len(args) - 1]):
            args.pop()
        if function.startswith("nn.Conv"):
            keywords = [k for k in keywords if not (k.arg == "stride" and _is(k.value, 1))]
        if len(args) == len(node.args) and same_items(keywords, node.keywords):
            return node
        return ast.Call(node.func, args, keywords)


DEFAULTS: dict[str | None, object] = {
    "bias": True,
    "dilation": 1,
    "groups": 1,
    "is_causal": False,
    "enable_gqa": False,
    "keepdim": False,
    "affine": True,
    "nonlinearity": "tanh",
    "initial_state": None,
    "mask": None,
}
"""Keywords of PyTorch's modules and of recurrent layers with their defaults, which need not be given."""
POSITIONAL: dict[str, list[ast.expr | None]] = {
    "F.scaled_dot_product_attention": [None, None, None, *map(ast.Constant, (None, 0.0, False))]
}
"""The defaults of functions of PyTorch, by position."""


def _is_spread(item: ast.expr) -> bool:
    return isinstance(item, ast.Starred) and isinstance(item.value, ast.Tuple)


def _spread_out(items: Sequence[ast.expr]) -> list[ast.expr]:
    """Items where `*(a, b)` is `a, b`."""
    return [
        part
        for item in items
        for part in (
            item.value.elts if isinstance(item, ast.Starred) and isinstance(item.value, ast.Tuple) else [item]
        )
    ]


def _spread(keyword: ast.keyword) -> list[ast.keyword]:
    """`**{"bias": True}` as its keywords."""
    if keyword.arg is not None or not isinstance(keyword.value, ast.Dict):
        return [keyword]
    names = [str(key.value) for key in keyword.value.keys if isinstance(key, ast.Constant)]
    return [ast.keyword(name, value) for name, value in zip(names, keyword.value.values, strict=True)]


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value


def _equal(node: ast.expr, other: ast.expr | None) -> bool:
    return other is not None and isinstance(node, ast.Constant) and equal(node, other)


def _at(place: ast.stmt, node: ast.stmt) -> ast.stmt:
    return ast.copy_location(node, place)
