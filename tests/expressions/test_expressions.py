"""The expression language: values, refusals with their places, and Python that means the same."""

from __future__ import annotations

import ast
import keyword
import math
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphspec.diagnostics import CODES
from graphspec.emit.printer import flat
from graphspec.expressions import (
    Expression,
    ExpressionError,
    Template,
    brace_help,
    evaluate,
    names_in,
    parse_value,
)
from graphspec.expressions.formula import parse_formula
from tests import bundled

SCOPE: dict[str, Any] = {
    "filters": 64,
    "depth": 3,
    "rate": 0.5,
    "index": 2,
    "project": False,
    "activation": None,
    "padding": "same",
    "depths": [3, 4, 6, 3],
    "class": 7,
    "lambda": 0.1,
    "nested": [[1, 2], [3]],
}
CHANNELS = {"x": 256}


def value_of(text: str, **more: Any) -> Any:
    return evaluate(text, {**SCOPE, **more}, CHANNELS.__getitem__)


def same(a: Any, b: Any) -> bool:
    """Equal in type and value; 0.0 differs from -0.0."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


VALUES: list[tuple[str, Any]] = [
    ("plain", "plain"),
    ("", ""),
    ("$$filters costs $$5", "$filters costs $5"),
    ("$filters", 64),
    ("$rate", 0.5),
    ("$project", False),
    ("$activation", None),
    ("$depths", [3, 4, 6, 3]),
    ("$class", 7),
    ("$true", True),
    ("$null", None),
    ("$( filters + 1 )", 65),
    ("$(\n  filters\n  + 1\n)", 65),
    ("$(4 * filters)", 256),
    ("$(filters / 2)", 32.0),
    ("$(filters // 3 % 5)", 1),
    ("$(2 ** index)", 4),
    ("$(-2 ** 2)", -4),
    ("$(2 ** -1)", 0.5),
    ("$(2 ** 3 ** 2)", 512),
    ("$(1 < depth <= 3)", True),
    ("$(depth > 1 or channels(x) != 4 * filters)", True),
    ("$(channels(x) != 4 * filters)", False),
    ("$(not project and true)", True),
    ("$('relu' if activation == null else activation)", "relu"),
    ("$(None == null and True == true and False == false)", True),
    ('$(padding == "same")', True),
    ("$(padding == 'it''s' or padding != \"a)b\")", True),
    ("$(depths[0])", 3),
    ("$(depths[-1])", 3),
    ("$(depths[:index])", [3, 4]),
    ("$(depths[::-1])", [3, 6, 4, 3]),
    ("$(sum(depths[:index]))", 7),
    ("$(nested[0][1])", 2),
    ("$(len(depths) + len('ab'))", 6),
    ("$(min(depths))", 3),
    ("$(max(1, rate, 2))", 2),
    ("$(max('a', 'b'))", "b"),
    ("$(round(2.5) + ceil(1.2) + floor(1.8) + int(-1.9) + abs(-3))", 7),
    ("$(round(3.14159, 2))", 3.14),
    ("$([1, 2] + [3])", [1, 2, 3]),
    ("$([filters] * depth)", [64, 64, 64]),
    ("$('a' + 'b')", "ab"),
    ("$(index in [0, 2])", True),
    ("$(index not in [0, 2])", False),
    ("$(project + 1)", 1),
    ("$(class * 2)", 14),
    ("$(lambda * 2)", 0.2),
    ("$(sqrt(16) + exp(0) + log(1) + log2(8) + log10(100))", 10.0),
    ("$(int(sqrt(filters)) + sin(0) - cos(2 * pi) + tanh(0))", 7.0),
    ("$pi", math.pi),
    ("$(0x1F + 0o17 + 0b11)", 49),
    ("downs.$(depth - 1 - index).skip", "downs.0.skip"),
    ("block_$index", "block_2"),
    ("$index.$index", "2.2"),
    ("$$$(index)", "$2"),
    ("$$(index)", "$(index)"),
    ("$project and $(true) or $activation", "false and true or null"),
    ("$rate%", "0.5%"),
    ("x$(1.0)", "x1.0"),
]


@bundled(16, "text,expected", VALUES, ids=[text for text, _ in VALUES])
def test_value(text: str, expected: Any) -> None:
    assert same(value_of(text), expected)


# Each text with the code of its error and the characters that the error points at.
REFUSED: list[tuple[str, str, str]] = [
    ("$", "lone-dollar", "$"),
    ("a $ b", "lone-dollar", "$"),
    ("5$", "lone-dollar", "$"),
    ("$1", "lone-dollar", "$"),
    ("$é", "lone-dollar", "$"),
    ("${filters}", "dollar-brace", "${filters}"),
    ("a_${index}_b", "dollar-brace", "${index}"),
    ("${index", "dollar-brace", "${index"),
    ("$(filters", "unclosed-expression", "$(filters"),
    ("$(max(1, 2)", "unclosed-expression", "$(max(1, 2)"),
    ("$([1)", "unclosed-expression", "$([1)"),
    ("$('a)", "unclosed-expression", "$('a)"),
    ("$()", "expression-syntax", ""),
    ("$( )", "expression-syntax", " "),
    ("$(1 +)", "expression-syntax", "+"),
    ("$(a b)", "expression-syntax", "a"),
    ("$(index = 1)", "expression-syntax", "="),
    ("$(index && 1)", "expression-syntax", "&&"),
    ("$(index || 1)", "expression-syntax", "||"),
    ("$(!index)", "expression-syntax", "!"),
    ("$(index ? 1 : 2)", "expression-syntax", "?"),
    ("$(1 + $index)", "expression-syntax", "$"),
    ("$(1 # one)", "expression-syntax", "#"),
    ("$(naïve)", "expression-syntax", "ï"),
    ("$(1 \\ 2)", "expression-syntax", "\\"),
    ("$(010)", "expression-syntax", "0"),
    ("$(import os)", "expression-syntax", "i"),
    ("$(lambda: 1)", "expression-form", "lambda: 1"),
    ("$([x for x in depths])", "expression-form", "[x for x in depths]"),
    ("$(sum(x for x in depths))", "expression-form", "(x for x in depths)"),
    ("$(f'{index}')", "expression-form", "f'{index}'"),
    ("$(b'a')", "expression-form", "b'a'"),
    ("$(1j)", "expression-form", "1j"),
    ("$(...)", "expression-form", "..."),
    ("$((1, 2))", "expression-form", "(1, 2)"),
    ("$(depths[0, 1])", "expression-form", "0, 1"),
    ("$({1: 2})", "expression-form", "{1: 2}"),
    ("$({1})", "expression-form", "{1}"),
    ("$(x := 1)", "expression-form", "x := 1"),
    ("$(index is 2)", "expression-form", "index is 2"),
    ("$(2 ^ 3)", "expression-form", "2 ^ 3"),
    ("$(~index)", "expression-form", "~index"),
    ("$(1 << 2)", "expression-form", "1 << 2"),
    ("$(filters.real)", "expression-attribute", "filters.real"),
    ("$(''.join(depths))", "expression-attribute", "''.join"),
    ("$(().__class__)", "expression-attribute", "().__class__"),
    ("$(open('f'))", "unknown-function", "open"),
    ("$(__import__('os'))", "unknown-function", "__import__"),
    ("$(depths[0](1))", "unknown-function", "depths[0]"),
    ("$(pow(2, 3))", "unknown-function", "pow"),
    ("$(min())", "call-arguments", "min()"),
    ("$(abs(1, 2))", "call-arguments", "abs(1, 2)"),
    ("$(round(1.5, ndigits=1))", "call-arguments", "round(1.5, ndigits=1)"),
    ("$(max(*depths))", "call-arguments", "max(*depths)"),
    ("$(channels(1))", "call-arguments", "1"),
    ("$(channels(y))", "unknown-channels", "y"),
    ("$filtres", "unknown-name", "filtres"),
    ("$(4 * filtres)", "unknown-name", "filtres"),
    ("$('é' == filtres)", "unknown-name", "filtres"),
    ("$(1 + sqrt(-depth))", "operand-type", "sqrt(-depth)"),
    ("$(log(index - 2))", "operand-type", "log(index - 2)"),
    ("$(exp(1000))", "number-too-large", "exp(1000)"),
    ("$(sin('a'))", "operand-type", "sin('a')"),
    ("a_$(1 / 0)", "division-by-zero", "1 / 0"),
    ("$(1 // 0.0)", "division-by-zero", "1 // 0.0"),
    ("$(1 % (index - 2))", "division-by-zero", "1 % (index - 2)"),
    ("$(0 ** -1)", "division-by-zero", "0 ** -1"),
    ("$(depths[4])", "index-out-of-range", "depths[4]"),
    ("$(depths[-5])", "index-out-of-range", "depths[-5]"),
    ("$([][0])", "index-out-of-range", "[][0]"),
    ("$(depths[0.5])", "operand-type", "0.5"),
    ("$(depths[true])", "operand-type", "true"),
    ("$(depths[::0])", "operand-type", "::0"),
    ("$(padding[0])", "operand-type", "padding"),
    ("$(padding * 2)", "operand-type", "padding * 2"),
    ("$(padding + 1)", "operand-type", "padding + 1"),
    ("$(activation + 1)", "operand-type", "activation + 1"),
    ("$(-padding)", "operand-type", "padding"),
    ("$(padding < 1)", "operand-type", "padding < 1"),
    ("$(padding == 1)", "operand-type", "padding == 1"),
    ("$(project == 0)", "operand-type", "project == 0"),
    ("$(depths < nested)", "operand-type", "depths < nested"),
    ("$(1 in 'ab')", "operand-type", "1 in 'ab'"),
    ("$(sum(nested))", "operand-type", "sum(nested)"),
    ("$(max([]))", "operand-type", "max([])"),
    ("$(max(1))", "operand-type", "max(1)"),
    ("$(max(1, 'a'))", "operand-type", "max(1, 'a')"),
    ("$(len(1))", "operand-type", "len(1)"),
    ("$(int('3'))", "operand-type", "int('3')"),
    ("$(round(5, -10 ** 17))", "operand-type", "-10 ** 17"),
    ("$((-8) ** 0.5)", "operand-type", "(-8) ** 0.5"),
    ("list: $depths", "operand-type", "depths"),
    ("$(9 ** 9 ** 9)", "number-too-large", "9 ** 9 ** 9"),
    ("$(10 ** 18)", "number-too-large", "10 ** 18"),
    ("$(1e308 * 10)", "number-too-large", "1e308 * 10"),
    ("$(1e999)", "number-too-large", "1e999"),
    ("$(1000000000000000000)", "number-too-large", "1000000000000000000"),
    ("$(10.0 ** 400)", "number-too-large", "10.0 ** 400"),
    ("$([0] * 1000000000)", "value-too-long", "[0] * 1000000000"),
    ("$([[[0] * 99] * 99] * 99)", "value-too-long", "[[0] * 99] * 99"),
]


@bundled(16, "text,code,pointed", REFUSED, ids=[text for text, _, _ in REFUSED])
def test_refusal(text: str, code: str, pointed: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of(text)
    error = caught.value
    assert (error.code, text[error.start : error.end]) == (code, pointed), error.message
    assert code in CODES


@pytest.mark.parametrize(
    "text,help",
    [
        ("${filters}", "write `$filters` or `$(filters)`"),
        ("${a.b}", "write `$(a.b)`"),
        ("$filtres", "did you mean `filters`?"),
        ("$(maximum(1, 2))", "did you mean `max`?"),
        ("$(index = 1)", "compare with `==`"),
        ("$(index && 1)", "write `and`"),
        ("$(index ? 1 : 2)", "write `a if condition else b`"),
        ("$(2 ^ 3)", "write a power as `**`"),
        ("$(depths[0.5])", "divide with `//`"),
        ("5$", "write `$$` for a dollar sign"),
    ],
)
def test_help(text: str, help: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value_of(text)
    assert caught.value.help is not None and caught.value.help.startswith(help)


HEAVY = [
    "$(" + "(" * 900 + ")" * 900 + ")",
    "$(" + "-" * 1900 + "1)",
    "$(" + "not " * 450 + "1)",
    "$(" + "+".join("1" * 900) + ")",
    "$(" + "1" * 1900 + ")",
    "$(" + "9**" * 600 + "9)",
    "$(" + "1 if 1 else " * 150 + "1)",
    "$(" + "a[" * 600 + "]" * 600 + ")",
    "$(" + "'" + "x" * 100_000 + "')",
    "$(" * 300_000,
    "$(a" * 200_000,
    "${" * 300_000,
    "$padding" * 100_000,
    "$(padding + padding)" * 50_000,
    "$([[[[[[[0]*9]*9]*9]*9]*9]*9]*9)",
    "$(" + " + ".join(["(padding" + " + padding" * 20 + ")"] * 10) + ")",
]


@bundled(16, "text", HEAVY, ids=range(len(HEAVY)))
def test_bounds(text: str) -> None:
    """What grows without end, in time, depth or size, is refused or done at once."""
    start = time.process_time()
    try:
        value = value_of(text, padding="x" * 9_000)
        assert len(value) < len(text) + 20_000
    except ExpressionError as error:
        assert error.code in CODES and 0 <= error.start <= error.end <= len(text)
        assert len(error.message) < 300
    assert time.process_time() - start < 2


def test_kinds_and_names() -> None:
    expression = parse_value("$(channels(x) + max(filters, depths[index]) + (true if a else null))")
    assert isinstance(expression, Expression)
    assert expression.names == {"filters", "depths", "index", "a"}
    assert expression.channels == {"x"}
    template = parse_value("$a.$(b + channels(y)).$$c")
    assert isinstance(template, Template)
    assert (template.names, template.channels) == ({"a", "b"}, {"y"})
    assert parse_value("$(a+1)") == parse_value("$(a+1)") != parse_value("$(a + 1)")
    assert names_in({"a": ["$x", {"b": "$(y + 1)_$z"}], "$key": 3}) == {"x", "y", "z"}


def test_nested_data() -> None:
    data = {"a": [1, "$filters", {"b": "$(index * 2)"}], "c": None, "d": "$$"}
    assert evaluate(data, SCOPE) == {"a": [1, 64, {"b": 4}], "c": None, "d": "$"}
    with pytest.raises(ExpressionError) as caught:
        evaluate({"a": [1, {"b": "x$(1 / 0)"}]}, SCOPE)
    assert (caught.value.path, caught.value.start, caught.value.end) == (("a", 1, "b"), 3, 8)
    with pytest.raises(ExpressionError) as caught:
        names_in({"a": [1, {"b": "$(1"}]})
    assert caught.value.path == ("a", 1, "b")


def test_channels() -> None:
    with pytest.raises(ExpressionError, match="no meaning here") as caught:
        evaluate("$(1 + channels(x))", {})
    assert (caught.value.code, caught.value.start, caught.value.end) == ("unknown-channels", 6, 17)

    def refuse(name: str) -> int:
        raise ExpressionError("unknown-size", f"the last axis of `{name}` is not known", help="write it")

    with pytest.raises(ExpressionError, match="of `x` is not known") as caught:
        evaluate("$(1 + channels(x))", {}, refuse)
    assert (caught.value.code, caught.value.start, caught.value.end) == ("unknown-size", 6, 17)
    assert caught.value.help == "write it"


def test_an_error_is_the_same_the_second_time() -> None:
    for _ in range(2):
        with pytest.raises(ExpressionError) as caught:
            evaluate("ab$(1 + filtres)", SCOPE)
        assert (caught.value.start, caught.value.end) == (8, 15)


KEPT = [word for word in keyword.kwlist if word not in ("True", "False", "None")]


def test_params_may_have_the_names_that_python_keeps() -> None:
    for word in KEPT:
        for text, value in [
            (f"${word}", 3),
            (f"$({word})", 3),
            (f"$(2 * {word} + ({word}) ** 2 - {word})", 12),
            (f"$(max({word}, 1) // {word})", 1),
            (f"$([{word}, {word}][0] - 1 - {word})", -1),
            (f"$(items[0 * {word}:{word}])", [5, 6]),
            (f"$({word} if {word} else {word})", 3),
            (f"$(1 if 2 in [{word}] else {word})", 3),
            (f"$({word} in [{word}] and {word} not in items)", True),
            (f"$(not {word} or '{word}' not in ['{word}'])", False),
            (f"a.$({word}).b", "a.3.b"),
        ]:
            assert evaluate(text, {word: 3, "items": [5, 6]}) == value, text


def test_formulas_may_have_the_names_that_python_keeps() -> None:
    for word in keyword.kwlist:
        text = (
            f"{word} - {word}[:, 0:1] + relu(-{word}.out, axis=-1) @ stack([{word}.0, ({word})]) < {word}.*"
        )
        read = [part.text for part in parse_formula(text).references()]
        assert read == [word, word, f"{word}.out", f"{word}.0", word, f"{word}.*"], text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("a and b", "`and` or `or`"), ("a or in", "`and` or `or`"), ("a if b else c", "`if`")),
        *(("not a", "`not`"), ("a in b", "two sides"), ("a is not b", "two sides")),
        *(("x for x in y", "comprehension"), ("lambda x: x", "lambda"), ("a for", "cannot be read")),
        *(("in a", "`in` is an operator"), ("a + and b", "`and` is an operator")),
    ],
)
def test_operators_of_python_are_none_of_a_formula(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        parse_formula(text)


# --- generated expressions


def _binary(operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    words = [
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "<",
        "<=",
        "==",
        "!=",
        ">",
        ">=",
        "and",
        "or",
        "in",
        "not in",
    ]
    return st.builds("{} {} {}".format, operands, st.sampled_from(words), operands)


def _grown(operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    bracketed = operands.map("({})".format)
    either = operands | bracketed
    functions = st.sampled_from(
        ["min", "max", "abs", "len", "sum", "int", "round", "ceil", "floor", "sqrt", "exp"]
    )
    return st.one_of(
        bracketed,
        _binary(either),
        _binary(bracketed),
        either.map("-{}".format),
        either.map("not {}".format),
        st.builds("{} if {} else {}".format, either, either, either),
        st.builds("{}[{}]".format, st.sampled_from(["depths", "nested"]), either),
        st.builds("depths[{}:{}]".format, either, st.just("") | either),
        st.builds("depths[{}:{}:{}]".format, st.just("") | either, st.just("") | either, either),
        st.builds("[{}, {}]".format, operands, operands),
        st.builds("{}({})".format, functions, operands),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max", "round"]), operands, operands),
    )


NAMES = ["filters", "depth", "rate", "index", "project", "activation", "padding", "depths", "nested"]
LITERALS = ["0", "1", "2", "3", "10", "0.5", "1e-3", "2.0", "'a'", '"it\'s"', "True", "None", "[]", "[1, 2]"]
ATOMS = st.sampled_from(NAMES + LITERALS)


def _parses(source: str) -> bool:
    """Whether it is Python: `1 + not a` is not."""
    try:
        compile(source, "", "eval")
    except SyntaxError:
        return False
    return True


EXPRESSIONS = st.recursive(ATOMS, _grown, max_leaves=8).filter(_parses)
STRICTER = {"operand-type", "number-too-large", "value-too-long"}
"""Where Python goes on: comparing across types, `"a" * 3`, big integers, infinity."""
PYTHON: dict[str, Any] = {
    **{f.__name__: f for f in (min, max, abs, len, sum, int, round)},
    "math": math,
    **{name: getattr(math, name) for name in ("ceil", "floor", "sqrt", "exp")},
    "__builtins__": {},
}


@given(EXPRESSIONS)
def test_values_are_those_of_python(source: str) -> None:
    try:
        ours = value_of(f"$({source})")
    except ExpressionError as error:
        if error.code not in STRICTER:
            expected = {"division-by-zero": ZeroDivisionError, "index-out-of-range": IndexError}[error.code]
            with pytest.raises(expected):
                eval(source, PYTHON, SCOPE)
        return
    assert same(ours, eval(source, PYTHON, SCOPE))


def python(expression: object, rename: dict[str, str]) -> str:
    """An expression as emission writes it, with Python in the place of names."""
    assert isinstance(expression, Expression)
    return flat(expression.python({name: ast.parse(text, mode="eval").body for name, text in rename.items()}))


@given(EXPRESSIONS)
def test_written_python_means_the_same(source: str) -> None:
    expression = parse_value(f"$({source})")
    assert isinstance(expression, Expression)
    written = python(expression, {"filters": "self.filters", "index": "index + 1", "depth": "depth_"})

    class Self:
        filters = SCOPE["filters"]

    names = {**SCOPE, "self": Self, "index": SCOPE["index"] - 1, "depth_": SCOPE["depth"]}
    try:
        ours = expression.evaluate(SCOPE)
    except ExpressionError:
        return
    assert same(ours, eval(written, PYTHON, names))


@settings(max_examples=max(4, settings().max_examples // 500))  # each starts a process
@given(st.lists(EXPRESSIONS, min_size=90, max_size=120))
def test_written_python_is_formatted(sources: list[str]) -> None:
    lines = [python(parse_value(f"$({source})"), {"rate": "self.rate"}) for source in sources]
    text = "".join(f"x = {line}\n" for line in lines)
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "320", "-"]
    formatted = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    assert formatted.splitlines() == text.splitlines()


WRITTEN = [
    ("$filters", {}, "filters"),
    ("$class", {"class": "class_"}, "class_"),
    ("$(true if a else null)", {}, "True if a else None"),
    ("$(4*filters)", {"filters": "a + b"}, "4 * (a + b)"),
    ("$(filters+1)", {"filters": "a + b"}, "a + b + 1"),
    ("$(depth-1-index)", {}, "depth - 1 - index"),
    ("$(depth-(1-index))", {}, "depth - (1 - index)"),
    ("$(channels(x)!=4*filters)", {"channels(x)": "in_channels"}, "in_channels != 4 * filters"),
    ("$(channels(x)*2)", {"channels(x)": "x.shape[-1]"}, "x.shape[-1] * 2"),
    ("$(2**index)", {}, "2**index"),
    ("$(2**(index+1))", {}, "2 ** (index + 1)"),
    ("$((-1)**index)", {}, "(-1) ** index"),
    ("$(-1**index)", {}, "-(1**index)"),
    ("$(sum(depths[:index+1]))", {}, "sum(depths[: index + 1])"),
    ("$(ceil(a/2))", {}, "math.ceil(a / 2)"),
    ("$(a=='x')", {}, 'a == "x"'),
    ("$(a=='say \"é\"')", {}, "a == 'say \"\\xe9\"'"),
    ("$(not(a or b)and c)", {}, "not (a or b) and c"),
]


@bundled(16, "text,rename,expected", WRITTEN, ids=[text for text, _, _ in WRITTEN])
def test_written_python(text: str, rename: dict[str, str], expected: str) -> None:
    expression = parse_value(text)
    assert isinstance(expression, Expression)
    assert python(expression, rename) == expected


DENSE = st.text(alphabet="$(){}[]'\"\\ab1.0 +-*/%<=>!,:#\n\tnotifelse\u00e9\u200b\ud800", max_size=60)


@given(st.text() | DENSE | DENSE.map("$({})".format) | DENSE.map("x$({})y".format))
def test_any_text_ends_in_a_value_or_an_error_with_a_place(text: str) -> None:
    try:
        parsed = parse_value(text)
        if not isinstance(parsed, str):
            parsed.evaluate(SCOPE, CHANNELS.__getitem__)
    except ExpressionError as error:
        assert error.code in CODES
        assert 0 <= error.start <= error.end <= len(text)
        assert error.message


@given(EXPRESSIONS, st.integers(0, 200), st.text(alphabet="()[]+*.,:'x1 ", max_size=3))
def test_a_broken_expression_is_refused_within_it(source: str, at: int, more: str) -> None:
    text = f"$({source[:at] + more + source[at:]})"
    try:
        value_of(text)
    except ExpressionError as error:
        assert 0 <= error.start <= error.end <= len(text)


def test_braces_around_a_variable_of_the_environment_are_told_apart() -> None:
    assert "a spec reads no environment" in brace_help("HOME")
    assert brace_help("width") == "write `$width` or `$(width)`" == brace_help("params.width")
