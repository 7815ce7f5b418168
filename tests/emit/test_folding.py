"""Constant folding changes how an expression reads, not what it gives."""

import ast

import pytest

from graphspec.emit.folding import asked, folded


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("2 * 3 + n", "6 + n"),
        ("n * 1", "n"),
        ("1 * n", "n"),
        ("n * 1.0", "n * 1.0"),
        ("2 * (3 * n)", "6 * n"),
        ("-1 * n", "-n"),
        ("n - -n", "n + n"),
        ("n // 0 if n < 0 else 7 // 2", "n // 0 if n < 0 else 3"),
        ("2 ** 40 * n", "2 ** 40 * n"),
        ("n and True", "n and True"),
        ("n or False", "n or False"),
        ("True and n", "n"),
        ("0 or n", "n"),
        ("n and 3 < 2", "n and False"),
        ("n or 3 or n", "n or 3"),
        ("not (n, n)", "False"),
        ("(n == None, 3 == None, None is not None)", "(n is None, False, False)"),
        ("n if 2 > 1 else 3", "n"),
        ("n if n else n", "n"),
        ("(n, 3)[0] + len((n, 3))", "n + 2"),
        ("(*(n,), 3)[1] + len((*(n,), 3))", "(*(n,), 3)[1] + len((*(n,), 3))"),
        ("not (*(),)", "not (*(),)"),
    ],
)
def test_a_folded_expression_gives_the_same(text: str, short: str) -> None:
    shown = ast.unparse(folded(ast.parse(text, mode="eval").body))
    assert shown == short
    for n in (0, 1, 4):
        found, expected = eval(shown, {"n": n}), eval(text, {"n": n})
        assert found == expected and type(found) is type(expected)


def test_what_has_no_constant_part_stays_the_same_object() -> None:
    node = ast.parse("f(n + 1, [n[0] for n in x if not n], a and b)", mode="eval").body
    assert folded(node) is node


@pytest.mark.parametrize(
    ("text", "short"),
    [("n and True", "n"), ("n or False", "n"), ("n and False", "False"), ("n or True", "True"), ("n", "n")],
)
def test_a_test_asks_for_its_truth_alone(text: str, short: str) -> None:
    assert ast.unparse(asked(ast.parse(text, mode="eval").body)) == short
