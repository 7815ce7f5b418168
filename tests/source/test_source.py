"""Reading YAML: values by the 1.2 core schema, places to the character, one error for one mistake."""

from __future__ import annotations

import gc
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from graphspec.diagnostics import CODES, Diagnostic, Diagnostics, Span, render, split_lines
from graphspec.source import Document, Path, read
from graphspec.source.writing import write
from tests import bundled, one_in


def diagnose(text: str | bytes) -> tuple[Document | None, list[Diagnostic]]:
    diagnostics = Diagnostics()
    document = read(text, "a.yaml", diagnostics)
    return document, list(diagnostics)


def values(text: str | bytes) -> Any:
    document, found = diagnose(text)
    assert not found, [render(diagnostic, {}) for diagnostic in found]
    assert document is not None
    return document.value


def document_of(text: str) -> Document:
    document, found = diagnose(text)
    assert document is not None and not found
    return document


def cut_out(text: str, span: Span) -> str:
    """The text of a span."""
    lines = split_lines(text)[span.line - 1 : span.end_line]
    lines[-1] = lines[-1][: span.end_column - 1]
    lines[0] = lines[0][span.column - 1 :]
    return "\n".join(lines)


# --- values

SCALARS: list[tuple[str, Any]] = [
    ("", None),
    ("~", None),
    ("null", None),
    ("NULL", None),
    ("nULL", "nULL"),
    ("true", True),
    ("False", False),
    ("tRue", "tRue"),
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("0", 0),
    ("-0", 0),
    ("+12", 12),
    ("010", 10),
    ("-007", -7),
    ("0o17", 15),
    ("0x1F", 31),
    ("-0x1F", "-0x1F"),
    ("0b11", "0b11"),
    ("1_000", "1_000"),
    ("12:30", "12:30"),
    ("1:2:3", "1:2:3"),
    ("2001-12-14", "2001-12-14"),
    ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
    ("1e-3", 0.001),
    ("1E3", 1000.0),
    ("2e5", 200000.0),
    (".5", 0.5),
    ("-.5e1", -5.0),
    ("1.", 1.0),
    ("1.001e-5", 1.001e-5),
    (".inf", math.inf),
    ("-.Inf", -math.inf),
    (".e5", ".e5"),
    (".", "."),
    ("1e", "1e"),
    ("1.2.3", "1.2.3"),
    ("0e999", 0.0),
    ("999999999999999999", 999999999999999999),
    ("-000000000000000000000000001", -1),
    ("١٢", "١٢"),
    ("=", "="),
    ("'1'", "1"),
    ('"true"', "true"),
    ('"a\\tb\\u00e9"', "a\tbé"),
    ("'it''s'", "it's"),
    ("a  b # c", "a  b"),
    ("$(depths[0])", "$(depths[0])"),
    ("[1, [2], {a: b}, ]", [1, [2], {"a": "b"}]),
    ("{a: , b: ~}", {"a": None, "b": None}),
    ("[a: 1]", [{"a": 1}]),
    ("|\n  a\n   b\n", "a\n b\n"),
    (">-\n  a\n  b\n", "a b"),
    ("\n  - 1\n  -\n    - 2", [1, [2]]),
    ("a\n  b", "a b"),
]


@bundled(16, "text,expected", SCALARS, ids=[text for text, _ in SCALARS])
def test_value(text: str, expected: Any) -> None:
    value = values(f"key: {text}\n")["key"]
    assert type(value) is type(expected) and value == expected


def test_nan() -> None:
    assert math.isnan(values("key: .NaN")["key"])


def test_keys_are_their_text() -> None:
    assert values("on: 1\n2: 2\n1.50: 3\ntrue: 4\n'null': 5\n? a b\n: 6\n") == {
        "on": 1,
        "2": 2,
        "1.50": 3,
        "true": 4,
        "null": 5,
        "a b": 6,
    }


def test_aliases_are_copies() -> None:
    value = values("a: &a {x: [1, &b 2]}\nb: *a\nc: [*a, *b]\na2: &a 7\nd: *a\n")
    assert value["b"] == value["c"][0] == value["a"] and value["c"][1] == 2 and value["d"] == 7
    value["b"]["x"].append(3)
    assert value["a"] == value["c"][0] == {"x": [1, 2]}


@pytest.mark.parametrize("text", ["---\na: 1\n", "a: 1\n...\n", "\ufeffa: 1", "# c\n\na: 1 # d", "a: 1\r\n"])
def test_frames_of_a_document(text: str) -> None:
    assert values(text) == values(text.encode()) == {"a": 1}


# --- places

PLACES = """\
name: "日本 😀"   # comment
inputs: {image: {shape: [8, "8", null]}}
nodes:
  a: {layer: Dense, units: 8}
  b:
    - x
    -   [y,
         z]
  empty:
text: |
  one
  two
again: &again {deep: [1]}
use: *again
"""


@bundled(
    16,
    "path,value,key",
    [
        (("name",), '"日本 😀"', "name"),
        (("inputs",), '{image: {shape: [8, "8", null]}}', "inputs"),
        (("inputs", "image", "shape", 1), '"8"', '"8"'),
        (("inputs", "image", "shape", 2), "null", "null"),
        (
            ("nodes",),
            "a: {layer: Dense, units: 8}\n  b:\n    - x\n    -   [y,\n         z]\n  empty:",
            "nodes",
        ),
        (("nodes", "a", "units"), "8", "units"),
        (("nodes", "b"), "- x\n    -   [y,\n         z]", "b"),
        (("nodes", "b", 1, 1), "z", "z"),
        (("nodes", "empty"), "", "empty"),
        (("again", "deep", 0), "1", "1"),
        (("use",), "*again", "use"),
        (("use", "deep"), "[1]", "deep"),
        # what is not there has the place of the nearest that is
        (("nodes", "a", "activation"), "{layer: Dense, units: 8}", "{layer: Dense, units: 8}"),
        (("nodes", "a", "units", "x", 3), "8", "8"),
        (("nodes", "b", 7), "- x\n    -   [y,\n         z]", "- x\n    -   [y,\n         z]"),
        (("nodes", "b", -1), "- x\n    -   [y,\n         z]", "- x\n    -   [y,\n         z]"),
        (("nodes", "b", "x"), "- x\n    -   [y,\n         z]", "- x\n    -   [y,\n         z]"),
    ],
)
def test_place(path: Path, value: str, key: str) -> None:
    document = document_of(PLACES)
    assert cut_out(PLACES, document.span(path)) == value
    assert cut_out(PLACES, document.key(path)) == key


def test_lines_and_columns() -> None:
    document = document_of("a: 1\r\nb:\r  日: [x, 😀y]\n")
    assert document.span(("a",)) == Span("a.yaml", 1, 4, 1, 5)
    assert document.key(("b",)) == Span("a.yaml", 2, 1, 2, 2)
    assert document.span(("b", "日", 1)) == Span("a.yaml", 3, 10, 3, 12)
    assert document.span(()).line == 1 and document.key(()).line == 1


# --- refusals: each text with its errors as code, line, column, and the words they point at

BAD: list[tuple[str, list[tuple[str, int, int, str]]]] = [
    ("", [("empty-document", 1, 1, "")]),
    ("# nothing\n", [("empty-document", 1, 1, "")]),
    ("---\n...\n", [("empty-document", 1, 1, "")]),
    ("~", [("empty-document", 1, 1, "")]),
    ("- a", [("not-a-mapping", 1, 1, "")]),
    ("\na:1", [("not-a-mapping", 2, 1, "")]),
    ("a: 1\nb: 2\na: 3\n", [("duplicate-key", 3, 1, "a")]),
    ('{a: 1, "a": 2}', [("duplicate-key", 1, 8, '"a"')]),
    ("a: {1: x, '1': y}", [("duplicate-key", 1, 11, "'1'")]),
    ("a: 1\na: {x: 1e999}", [("duplicate-key", 2, 1, "a"), ("number-too-large", 2, 8, "1e999")]),
    ("a: {: 1}", [("yaml-syntax", 1, 5, ":")]),
    ("a: {? : 1}", [("null-key", 1, 7, "")]),
    ("~: 1", [("null-key", 1, 1, "~")]),
    ("? \n: 1", [("null-key", 1, 2, "")]),
    ("a: {b, c: d}", [("null-key", 1, 5, "b")]),
    ("a: {b: c, d}", [("null-key", 1, 11, "d")]),
    ("a: {'b'}", [("null-key", 1, 5, "'b'")]),
    ("? [a]\n: b", [("complex-key", 1, 3, "[a]")]),
    ("a: {{ b }}", [("complex-key", 1, 5, "{ b }")]),
    ("a: &x b\n*x : c", [("complex-key", 2, 1, "*x")]),
    ("<<: {a: b}", [("merge-key", 1, 1, "<<")]),
    ("a: !x b", [("yaml-tag", 1, 4, "!x")]),
    ("a: !!python/object:os.system [x]", [("yaml-tag", 1, 4, "!!python/object:os.system")]),
    ("a: ! b\n!!str c: d", [("yaml-tag", 1, 4, "!"), ("yaml-tag", 2, 1, "!!str")]),
    ("a: !e!x b", [("yaml-syntax", 1, 4, "!")]),
    ("%YAML 1.2\n---\na: b", [("yaml-directive", 1, 1, "%YAML 1.2")]),
    ("%YAML 3.0\n---\na: b", [("yaml-directive", 1, 1, "%YAML 3.0")]),
    ("%TAG ! x\n---\na: b", [("yaml-directive", 1, 1, "%TAG ! x")]),
    ("%FOO\n---\na: b", [("yaml-directive", 1, 1, "%FOO")]),
    ("a: 1\n---\nb: 2\n---\nc: 3", [("several-documents", 2, 1, "---")]),
    ("a: *b", [("unknown-anchor", 1, 4, "*b")]),
    ("a: &a [*a]", [("recursive-anchor", 1, 8, "*a")]),
    ("a: &a {b: {c: *a}}", [("recursive-anchor", 1, 15, "*a")]),
    ("a:\n\tb: 1", [("yaml-tab", 2, 1, "\t")]),
    ("a:\n  b: 1\n \tc: 1", [("yaml-tab", 3, 2, "\t")]),
    ("a: 1234567890123456789", [("number-too-large", 1, 4, "1234567890123456789")]),
    ("a: " + "9" * 5000, [("number-too-large", 1, 4, "9" * 5000)]),
    ("a: 0xFFFFFFFFFFFFFFFF", [("number-too-large", 1, 4, "0xFFFFFFFFFFFFFFFF")]),
    ("a: [1e999, -1e-999]", [("number-too-large", 1, 5, "1e999"), ("number-too-large", 1, 12, "-1e-999")]),
    ("a\u200b:\n\u202e", [("control-character", 1, 2, "\u200b"), ("control-character", 2, 1, "\u202e")]),
    ("a: \x00", [("control-character", 1, 4, "\x00")]),
    ("# \x1b[31m\na: b", [("control-character", 1, 3, "\x1b")]),
    ("a: b\x85c", [("control-character", 1, 5, "\x85")]),
    ("a: \u2028", [("control-character", 1, 4, "\u2028")]),
    ("a: b\ufeff", [("control-character", 1, 5, "\ufeff")]),
    ("a: \ud800", [("control-character", 1, 4, "\ud800")]),
    ('a: "x\\u202e\\0"', [("control-character", 1, 4, '"x\\u202e\\0"')]),
    ("a: [1, 2\nb: c\n", [("yaml-syntax", 1, 4, "[")]),
    ("a: [1, 2\n", [("yaml-syntax", 1, 4, "[")]),
    ("a: {b: [c, {d: e", [("yaml-syntax", 1, 12, "{")]),
    ("a: 'b\n\n", [("yaml-syntax", 1, 4, "'")]),
    ("a: [b}", [("yaml-syntax", 1, 6, "}")]),
    ("a: b: c", [("yaml-syntax", 1, 5, ":")]),
    ("a:\n  b: 1\n c: 2", [("yaml-syntax", 3, 2, "c")]),
    ("a:\n  b: 1\n   c: 2", [("yaml-syntax", 3, 4, "c")]),
    ("a:\n  b:1\n  # c\n\n  d: 2", [("yaml-syntax", 2, 4, ":")]),
    ("a: {b:1, c: d:e, f:g}", [("yaml-syntax", 1, 6, ":"), ("yaml-syntax", 1, 19, ":")]),
    ("a: {b: 1}}", [("yaml-syntax", 1, 10, "}")]),
    ('a: "b" c\n', [("yaml-syntax", 1, 8, "c")]),
    ("- a\n-b", [("yaml-syntax", 2, 1, "-")]),
    ("a: {b: 1\nc: {d: 2}", [("yaml-syntax", 1, 4, "{")]),
    ("a: @b", [("yaml-syntax", 1, 4, "@")]),
    ("a: `b`", [("yaml-syntax", 1, 4, "`")]),
    ('a: "\\q"', [("yaml-syntax", 1, 5, "\\")]),
    ("a: *", [("yaml-syntax", 1, 5, "")]),
    ("a\nb: c", [("yaml-syntax", 1, 1, "a")]),
    ("a: }", [("yaml-syntax", 1, 4, "}")]),
    # expressions that YAML cuts: one error each, and the rest of the file is read
    ("a: {b: $(max(c, d))}", [("unquoted-expression", 1, 8, "$(max(c, d))")]),
    ("a: {b: $(c[0])}", [("unquoted-expression", 1, 8, "$(c[0])")]),
    ("a: {b: $(c[1:]), d: 1}", [("unquoted-expression", 1, 8, "$(c[1:])")]),
    ("a: [$(max(c, d)), e]", [("unquoted-expression", 1, 5, "$(max(c, d))")]),
    ("a: {b: x.$(max(c, d)).y}", [("unquoted-expression", 1, 10, "$(max(c, d))")]),
    ("a: {b: $(c == 'x: y')}", [("unquoted-expression", 1, 8, "$(c == 'x: y')")]),
    ("a: $(c == 'x: y')", [("unquoted-expression", 1, 4, "$(c == 'x: y')")]),
    ("a: $(c == 'x # y')", [("unquoted-expression", 1, 4, "$(c == 'x # y')")]),
    ("a: {b: $(c[0]), b: 2}", [("unquoted-expression", 1, 8, "$(c[0])"), ("duplicate-key", 1, 17, "b")]),
    ("a: {b: $(max(1, 2))}\nc: {d: $(e[0])}\nf: !g h", [
        ("unquoted-expression", 1, 8, "$(max(1, 2))"),
        ("unquoted-expression", 2, 8, "$(e[0])"),
        ("yaml-tag", 3, 4, "!g"),
    ]),
    ("a: {b: $(max(c, d)).$(min(c, d))}", [
        ("unquoted-expression", 1, 8, "$(max(c, d))"),
        ("unquoted-expression", 1, 21, "$(min(c, d))"),
    ]),
    ("a: {b: $(max(1,\n  2)), d: e}", [("unquoted-expression", 1, 8, "$(max(1,\n  2))")]),
    ("a: {b: $(c[0}, d: e}", [("unclosed-expression", 1, 8, "$(c[0")]),
    ("a: {b: ${c}}", [("dollar-brace", 1, 8, "${c}")]),
    ("a: [${c}, x_${d.e}_y]", [("dollar-brace", 1, 5, "${c}"), ("dollar-brace", 1, 13, "${d.e}")]),
]  # fmt: skip


@bundled(16, "text,expected", BAD, ids=[text[:40] for text, _ in BAD])
def test_refusal(text: str, expected: list[tuple[str, int, int, str]]) -> None:
    _, found = diagnose(text)
    spans = [diagnostic.span for diagnostic in found if diagnostic.span is not None]
    pointed = [cut_out(text, span) for span in spans]
    shown = [
        (diagnostic.code, span.line, span.column, text)
        for diagnostic, span, text in zip(found, spans, pointed, strict=True)
    ]
    assert shown == expected, "\n".join(render(diagnostic, {"a.yaml": text}) for diagnostic in found)


@pytest.mark.parametrize(
    "text,value",
    [
        ("a: {b: $(max(c, d)), e: f}", {"a": {"b": "$(max(c, d))", "e": "f"}}),
        ("a: [$(c[0]), x.$(c[1]).y]", {"a": ["$(c[0])", "x.$(c[1]).y"]}),
        ("a: {b: ${c}, d: x_${e}_y}", {"a": {"b": "$(c)", "d": "x_$(e)_y"}}),
        ("a: {b: $(max(c, d), e: f}", {"a": {"b": "$(max(c, d)", "e": "f"}}),
        ("a: {b: $(c[0, e: f}", {"a": {"b": "$(c[0", "e": "f"}}),
        ("a: 1\na: 2\nb: 3", {"a": 1, "b": 3}),
        ("a: {b:1, c:x, d: 2}", {"a": {"b": 1, "c": "x", "d": 2}}),
        ("a: {b: $(max(c,\n  d)), e: f}", {"a": {"b": "$(max(c, d))", "e": "f"}}),
        ("a: {b, c: d}", {"a": {"b": None, "c": "d"}}),
        ("a: {b: c, d}", {"a": {"b": "c"}}),
        ("a: !x 5", {"a": 5}),
        ("a: [99999999999999999999, 1e999]", {"a": [1, 1.0]}),
        ("a: 1\n---\nb: 2", {"a": 1}),
    ],
)
def test_reading_goes_on_with_what_was_meant(text: str, value: Any) -> None:
    document, _ = diagnose(text)
    assert document is not None and document.value == value


def test_values_that_were_meant_have_places() -> None:
    text = "a: {b: x.$(max(c, d)).y, e: f}"
    document, _ = diagnose(text)
    assert document is not None
    assert cut_out(text, document.span(("a", "b"))) == "x.$(max(c, d)).y"
    assert cut_out(text, document.key(("a", "e"))) == "e"


@pytest.mark.parametrize(
    "text,help",
    [
        ("a: {b: $(max(c, d))}", 'write "$(max(c, d))"'),
        ("a: {b: x.$(c[0]).y}", 'write "x.$(c[0]).y"'),
        ('a: {b: $(max(c, "it\'s"))}', "write '$(max(c, \"it''s\"))'"),
        ("a: {b: ${c}}", "write `$c` or `$(c)`"),
        ("a: {b: ${c + 1}}", "write `$(c + 1)`"),
        ("a: {b: c, d}", "write `d: value`; in {...} YAML requires quotes"),
        ("a: {{ b }}", "write `$b`"),
        ("x: &apple 1\na: *aple", "did you mean `*apple`?"),
    ],
)
def test_help(text: str, help: str) -> None:
    _, found = diagnose(text)
    assert found[0].help is not None and found[0].help.startswith(help)


def test_a_duplicate_key_shows_both_places() -> None:
    _, found = diagnose("a: 1\nb: 2\na: 3\n")
    assert found[0].labels[0].span == Span("a.yaml", 1, 1, 1, 2)


@pytest.mark.parametrize(
    "data,code,column",
    [
        (b"a: \xff\xfe", "encoding", 4),
        ("é: ".encode() + b"\xc3", "encoding", 4),
        (b"a: \xed\xa0\x80", "encoding", 4),
        ("a: é".encode("latin-1"), "encoding", 4),
        ("a: b".encode("utf-16"), "encoding", 1),
        ("a: b".encode("utf-16-le"), "encoding", 1),
        ("a: b".encode("utf-16-be"), "encoding", 1),
        ("a: b".encode("utf-32"), "encoding", 1),
        (b"a: \x00", "control-character", 4),
        (b"\xef\xbb\xbfa: \x00", "control-character", 4),
        (b"a: b\n" * 2**18, "file-too-large", 1),
        ("a: " + "é" * 2**19, "file-too-large", 1),
    ],
)
def test_bytes(data: bytes | str, code: str, column: int) -> None:
    document, found = diagnose(data)
    assert document is None and [diagnostic.code for diagnostic in found] == [code]
    assert found[0].span is not None and (found[0].span.line, found[0].span.column) == (1, column)


# --- budgets


def nested(depth: int) -> str:
    return "".join("  " * i + "a:\n" for i in range(depth))


DEEP = [
    *("[" * depth for depth in (101, 3_000, 100_000)),
    *("{a: " * depth for depth in (101, 3_000, 100_000)),
    *("a: " + "[" * depth + "]" * depth for depth in (100, 3_000, 100_000)),
    *("- " * depth for depth in (101, 3_000, 100_000)),
    *("? " * depth for depth in (101, 3_000, 100_000)),
    nested(102),
    nested(1_000),
    "\n".join(f"a{i}: &a{i} {'[' * 50}{f'*a{i - 1}' if i else ''}{']' * 50}" for i in range(3)),
]


@bundled(16, "text", DEEP, ids=range(len(DEEP)))
def test_depth(text: str) -> None:
    document, found = diagnose(text)
    assert document is None and [diagnostic.code for diagnostic in found] == ["too-deep"]


def test_depth_that_is_allowed() -> None:
    value = values("a: " + "[" * 99 + "]" * 99)["a"]
    for _ in range(98):
        (value,) = value
    assert value == []


BOMBS = [
    "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
    "a: &a {b: 1, c: 2, d: 3}\nb: [" + "*a, " * 100_000 + "]",
    "a: &a x\nb: [" + "*a, " * 100_001 + "]",
]


@pytest.mark.parametrize("text", BOMBS, ids=range(len(BOMBS)))
def test_aliases_have_a_budget(text: str) -> None:
    document, found = diagnose(text)
    assert document is None and [diagnostic.code for diagnostic in found] == ["too-many-aliases"]


def test_many_aliases_are_allowed() -> None:
    assert len(values("a: &a x\nb: [" + "*a, " * 99_999 + "]")["b"]) == 99_999


LARGE = [
    "a: [" + "1," * 250_000 + "]",
    "a: [" + "[]," * 165_000 + "]",
    "a: [" + "x: y, " * 75_000 + "]",
    "".join(f"k{i}: {{a: 1, b: [x]}}\n" for i in range(20_000)),
    "k: 1\n" * 100_000,
    "a: " + "'" * 500_000,
    "a: " + "9" * 500_000,
    "a" * 500_000 + ": 1",
    "\n" * 500_000,
    "\t" * 500_000,
    "\ufeff" * 150_000,
    "{" * 99 + "a" * 500_000,
    "a: [" + "$(b," * 125_000 + "]",
    "a: [" + "$($(b),c)," * 50_000 + "]",
    "a: [\n" + "$(b\n," * 85_000 + "]",
    "a: {" + "$(b: " * 100_000 + "]",
    "a: [" + "${" * 250_000 + "]",
    "a: " + "$(" * 250_000,
    "a: [" + "'$('," * 100_000 + "]",
    "".join(f"k{i}: {{a: $(x[1])}}\n" for i in range(20_000)),
    "".join(f"k{i}: {{a: ${{x}}}}\n" for i in range(20_000)),
    "a: [\n" + "  {a: $(x},\n" * 40_000,
    "".join(f"a{i}: &a{i} 1\n" for i in range(25_000)) + "z: *a99999",
    "a: [" + "!x y," * 100_000 + "]",
    "a: |\n" + " x\n" * 170_000,
]


@pytest.mark.parametrize("text", one_in(3, LARGE), ids=range(len(LARGE)))
def test_half_a_mebibyte_of_anything(text: str) -> None:
    """Linear in its length; what is not takes many seconds."""
    gc.disable()  # as `compile` does: it would walk what other tests have left, again and again
    try:
        start = time.process_time()
        _, found = diagnose(text)
        taken = time.process_time() - start
    finally:
        gc.enable()
    assert len(found) <= 110 and all(len(d.message) < 300 for d in found)
    assert taken < 2


# --- generated texts

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda key: key not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
)
TEXTS = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"]),
    max_size=12,
)
NUMBERS = st.integers(-(10**18) + 1, 10**18 - 1) | st.floats(allow_nan=False, width=32)
PLAIN = st.none() | st.booleans() | NUMBERS | TEXTS | KEYS
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
DATA = st.dictionaries(KEYS, NESTED, min_size=1, max_size=5)
STYLES: list[dict[str, Any]] = [
    {},
    {"default_flow_style": True},
    {"default_flow_style": False, "indent": 4},
    {"default_style": '"'},
    {"default_style": "'"},
    {"width": 20, "allow_unicode": True},
]


def dumped(value: Any, style: dict[str, Any]) -> str:
    """PyYAML's text, without the tags that it needs where a style would make strings of numbers."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, **style)


class _Dumper(yaml.SafeDumper):
    """Quotes numbers never and strings as YAML 1.1 demands, which 1.2 reads alike; uses no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_scalar(self, tag: str, value: str, style: str | None = None) -> yaml.ScalarNode:
        # What 1.1 takes for a string and 1.2 for a number, such as `1e5`, wants quotes, too.
        looks_plain = tag != "tag:yaml.org,2002:str" or not re.match(r"[-+.0-9]|0o", value)
        node = yaml.SafeDumper.represent_scalar(self, tag, value, style if looks_plain else '"')
        if tag != "tag:yaml.org,2002:str":
            node.style = ""
        return node


def paths(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*path, key))


@given(DATA, st.sampled_from(STYLES))
def test_round_trip_with_places(data: dict[str, Any], style: dict[str, Any]) -> None:
    text = dumped(data, style)
    document = document_of(text)
    assert repr(document.value) == repr(data)
    for path, value in paths(data):
        span = document.span(path)
        # A piece is put back at its column: indentation is part of what it means.
        piece = " " * (span.column - 1) + cut_out(text, span)
        again = values(f"x:\n{piece}")["x"] if path else values(piece)
        assert repr(again) == repr(value)
        if path and isinstance(path[-1], str):
            assert cut_out(text, document.key(path)).strip("\"'") == path[-1]


@given(st.text() | st.binary())
def test_any_text_ends_in_a_document_or_in_errors(text: str | bytes) -> None:
    check_any(text)


PIECES = [
    "a: ",
    "b",
    "- ",
    "\n",
    "\n  ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    ": ",
    "$(",
    ")",
    "${",
    "$x",
    "'",
    '"',
    "&a ",
]
PIECES += [
    "*a",
    "? ",
    "<<: ",
    "!t ",
    "|\n",
    "> ",
    "#",
    " ",
    "\t",
    "---\n",
    "...\n",
    "%",
    "~",
    "1e999",
    "max(",
    "\\",
]
FRAGMENTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(FRAGMENTS)
def test_any_pieces_of_yaml_end_in_a_document_or_in_errors(text: str) -> None:
    check_any(text)
    check_any("a: {b: " + text + "}")


def check_any(text: str | bytes) -> None:
    document, found = diagnose(text)
    assert document is not None or found
    source = text if isinstance(text, str) else text.decode("utf-8", "replace")
    lines = split_lines(source.removeprefix("\ufeff"))
    for diagnostic in found:
        span = diagnostic.span
        assert diagnostic.code in CODES and span is not None
        assert (span.line, span.column) <= (span.end_line, span.end_column)
        assert 1 <= span.line <= span.end_line <= len(lines)
        if diagnostic.code != "encoding":
            assert span.column <= len(lines[span.line - 1]) + 1
        render(diagnostic, {"a.yaml": source})
    if document is not None:
        assert isinstance(document.value, dict)
        for path, _ in paths(document.value):
            document.span(path)
            document.key(path)


@given(FRAGMENTS)
def test_what_is_read_is_what_yaml_says(text: str) -> None:
    """Where nothing is refused, the structure is that of PyYAML's own composer."""
    document, found = diagnose(text)
    if document is not None and not found:
        assert document.value == built(yaml.compose(text, Loader=LOADER))


def built(node: yaml.Node | None) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: built(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [built(item) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return values(f"x: {node.value}")["x"] if not node.style and "\n" not in node.value else node.value


TRICKY = [
    "1e3",
    "0o17",
    "0x1F",
    "yes",
    "12:30",
    "null",
    "~",
    "",
    "1_000",
    "-.5",
    ".inf",
    "a: b",
    "# x",
    "- x",
]
TRICKY += ["$(a + b)", "$(max(a, b))", "2001-12-14", "9" * 30, "1e999", "'", '"', " x ", "x" * 300]
TEXTS = st.sampled_from(TRICKY) | st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$")
)
PLAIN = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | TEXTS
PLAIN |= st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text("abc_1", min_size=1, max_size=3)


@given(
    st.recursive(
        PLAIN, lambda x: st.lists(x, max_size=3) | st.dictionaries(KEYS, x, max_size=3), max_leaves=9
    )
)
def test_what_is_written_reads_back(value: object) -> None:
    assert values(write({"key": value})) == {"key": value}
