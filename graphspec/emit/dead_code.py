"""Removes dead code of a function: names of known values, assignments that nothing reads."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from graphspec.emit.code import same_items, walk, with_fields
from graphspec.emit.library_source import KEPT
from graphspec.emit.rewriting import assigned, has_pairs, is_super, with_pairs


@lru_cache(KEPT)
def _reads(node: ast.AST) -> tuple[str, ...]:
    """The names that are read, with repetitions."""
    return tuple(
        each.id for each in walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    )


def assigned_once(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """The names that the outermost block assigns once, to a constant or to a name that does not change."""
    assignments: dict[str, list[ast.expr | None]] = {}
    for statement in body:
        for word, value in assigned(statement):
            assignments.setdefault(word, []).append(value)
    outermost: set[str] = set()
    settled: set[str] = set()  # other names of what was assigned before, and never is again
    for statement in body:
        pairs = assigned(statement) if isinstance(statement, ast.Assign) else ()
        settled |= {w for w, v in pairs if isinstance(v, ast.Name) and v.id in outermost}
        outermost |= {word for word, _ in pairs}
    known = {
        word: values[0]
        for word, values in assignments.items()
        if len(values) == 1 and word in outermost
        if isinstance(values[0], ast.Constant)
        or (isinstance(values[0], ast.Name) and _stays(word, values[0].id, assignments, settled))
    }
    # what is another name of a known one has its value in the next round
    return {word: value for word, value in known.items() if getattr(value, "id", None) not in known}


def _stays(
    word: str, source: str, assigned_values: Mapping[str, Sequence[ast.expr | None]], settled: Collection[str]
) -> bool:
    """Whether the name that another one is assigned to has the same value wherever that one is read."""
    return source not in assigned_values or (word in settled and len(assigned_values[source]) == 1)


def straightened(body: list[ast.stmt]) -> list[ast.stmt]:
    """Merges `y = value; return y` into one statement."""
    if len(body) < 2:
        return body
    before, last = body[-2:]
    if not isinstance(before, ast.Assign) or not isinstance(last, ast.Return) or len(before.targets) > 1:
        return body
    (target,) = before.targets
    if not isinstance(target, ast.Name) or not isinstance(last.value, ast.Name):
        return body
    if target.id != last.value.id:
        return body
    return straightened([*body[:-2], ast.copy_location(ast.Return(before.value), before)])


def without_dead(body: list[ast.stmt], known: Collection[str]) -> list[ast.stmt]:
    """Removes dead assignments.

    These are assignments to names that are known, never read, or assigned again before any read. Where one
    value is unpacked, such a name becomes `_`.
    """
    read = Counter(word for statement in body for word in _reads(statement))
    statements: list[ast.stmt] = []
    for index, statement in enumerate(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and not read[statement.target.id]
            and (statement.value is None or _is_pure(statement.value))
        ):
            continue
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            (target,) = statement.targets
            if isinstance(target, ast.Name):
                unread = not read[target.id] or _is_assigned_next(target.id, body[index + 1 :])
                if target.id in known or (unread and _is_pure(statement.value)):
                    continue
            elif isinstance(target, ast.Tuple):
                kept = _without_unread(statement, target, read)
                if kept is None:
                    continue
                statement = kept
        elif isinstance(statement, ast.For):
            statement = _uncounted(statement, read)
        statements.append(statement)
    return statements


def _without_unread(statement: ast.Assign, target: ast.Tuple, read: Mapping[str, int]) -> ast.Assign | None:
    """An assignment to several targets without the names that are never read; None if nothing is left."""
    if not has_pairs(statement):
        short = _named(target, read)
        return statement if short is target else with_fields(statement, targets=[short])
    return with_pairs(
        statement, lambda a, b: not isinstance(a, ast.Name) or bool(read.get(a.id)) or not _is_pure(b)
    )


def _uncounted(loop: ast.For, read: Mapping[str, int]) -> ast.For:
    """`for x in xs` of `for number, x in enumerate(xs)`, if nothing reads the number."""
    match loop:
        case ast.For(
            target=ast.Tuple(elts=[ast.Name(id=number), item]),
            iter=ast.Call(func=ast.Name(id="enumerate"), args=[items]),
        ) if not read[number]:
            return with_fields(loop, target=item, iter=items)
    return loop


def _is_assigned_next(word: str, body: Sequence[ast.stmt]) -> bool:
    """Whether statements assign a name before any of them reads it."""
    for statement in body:
        if word in _reads(statement):
            return False
        if isinstance(statement, ast.Assign) and any(name == word for name, _ in assigned(statement)):
            return True
    return False


def _named(target: ast.expr, read: Mapping[str, int], inside: bool = False) -> ast.expr:
    """Targets, with `_` for names that are never read, and for a tuple of these `inside` another."""
    if isinstance(target, ast.Name):
        return target if read.get(target.id) or target.id == "_" else ast.Name("_", ast.Store())
    if isinstance(target, ast.Tuple):
        parts = [_named(part, read, inside=True) for part in target.elts]
        if inside and all(isinstance(part, ast.Name) and part.id == "_" for part in parts):
            return ast.Name("_", ast.Store())
        return target if same_items(parts, target.elts) else ast.Tuple(parts, ast.Store())
    return target


def _is_pure(value: ast.expr) -> bool:
    """Whether an expression has no side effects: it calls no in-place method, and no method of a parent."""
    calls = [each for each in walk(value) if isinstance(each, ast.Call)]
    return not any(is_super(each) or ast.unparse(each.func).endswith("_") for each in calls)
