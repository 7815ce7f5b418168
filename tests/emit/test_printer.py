"""Trees as text: an expression of any kind, with any room for it, reads back as it was."""

from __future__ import annotations

import ast
import re
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.emit.code import Variable, call
from graphspec.emit.printer import flat, lines

ATOMS = ["x", "length", "1", "2.5", "'text'", "None", "True", "...", "-1", "1j"]
KINDS = """
-(A)  not (A)  ~(A)  (A).shape  (A)[0]  (A)[1:]  (A)[:, None, ::2]  (A)()  [(A)]  ((A),)  {(A)}
lambda: (A)  lambda a, *b, c=1: (A)  g(*(A))  g(**(A))  (y := (A))  (yield (A))  (yield from (A))  (await (A))
[each for each in (A)]  g(each for each in (A))  {each for each in (A)}  {each: 0 for each in (A)}
(A) + (B)  (A) - (B)  (A) ** (B)  (A) @ (B)  (A) // (B)  (A) << (B)  (A) and (B)  (A) or (B)  (A) < (B)
(A) is not (B)  (A)[(B)]  (A)[(B) :]  (A)[: (B), ::-1]  g((A), key=(B))  {(A): (B)}  (A).view((B), -1)
[(A) for a in (B) if a]  g((A) for a in b for c in (B) if a if c)
(A) if (B) else (C)  (A)[(B) : (C)]  (A)[..., (B) : (C) : 2]  g(A, (B), [(C)])
"""
FORMS = re.findall(r"\S(?:\S| (?! ))*", KINDS)


def filled(form: str, *parts: str) -> str:
    return re.sub("[ABC]", lambda hole: parts["ABC".index(hole[0])], form)


def expressions() -> st.SearchStrategy[str]:
    def wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.builds(filled, st.sampled_from(FORMS), inner, inner, inner)

    return st.recursive(st.sampled_from(ATOMS), wider, max_leaves=12)


def same(text: str, indent: int) -> None:
    tree = ast.parse(text, mode="eval").body
    written = textwrap.dedent("\n".join(lines("y = ", tree, indent)))
    read = ast.parse(written).body[0]
    assert isinstance(read, ast.Assign)
    assert ast.dump(read.value) == ast.dump(tree), written


@pytest.mark.parametrize("indent", [0, 60, 84])
@pytest.mark.parametrize("form", [*ATOMS, *FORMS, "f'{A} of {B!r:>9}: {{}}'"])
def test_each_kind_reads_back(form: str, indent: int) -> None:
    same(filled(form, "x", "long_name_of_a_tensor", "z"), indent)


@given(expressions(), st.sampled_from([0, 40, 76]))
def test_random_expressions_read_back(text: str, indent: int) -> None:
    same(text, indent)


def test_a_variable_has_its_name_in_every_kind() -> None:
    read = Variable("x", name="hidden").read()
    assert flat(ast.Await(call("g", read))) == "await g(hidden)"
