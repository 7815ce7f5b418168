"""Diagnostics: the closed set of codes, collecting, the nearest word, and rendering to the character."""

from __future__ import annotations

import io
import json
import math
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.diagnostics import (
    CODES,
    Diagnostic,
    Diagnostics,
    Label,
    Span,
    SpecError,
    nearest,
    render,
    rendering,
    split_lines,
    visible,
)
from graphspec.diagnostics.foreign_terms import as_in_keras, bare
from graphspec.diagnostics.terminal import say_json
from tests import bundled


def span(line: int, start: int, end: int, file: str = "a.yaml", end_line: int | None = None) -> Span:
    return Span(file, line, start, end_line or line, end)


def rendered(text: str, place: Span, **more: object) -> str:
    return render(Diagnostic("cycle", "a cycle", place, **more), {"a.yaml": text})  # type: ignore[arg-type]


# --- values


def test_json_has_null_for_what_is_not_finite() -> None:
    stream = io.StringIO()
    say_json({"a": [math.nan, 1.0], "b": {"c": (math.inf, 2)}}, stream)
    assert json.loads(stream.getvalue()) == {"a": [None, 1.0], "b": {"c": [None, 2]}}


def test_codes() -> None:
    for code, meaning in CODES.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert meaning and not meaning.endswith(".") and "\n" not in meaning
    with pytest.raises(ValueError, match="no-such-code"):
        Diagnostic("no-such-code", "message", None)


def test_a_place_without_a_line_is_told_in_words() -> None:
    assert str(Span("d.npz", 0, 0, 0, 0, "row 3")) == "d.npz: row 3"
    assert str(Span("d.npz", 0, 0, 0, 0)) == "d.npz" and str(span(2, 5, 6)) == "a.yaml:2:5"


def test_the_class_in_a_path_or_a_call() -> None:
    written = ("torch.nn.ReLU", "Dense(32)", "keras.layers.Dense(32)", "Dense", "two words")
    assert [*map(bare, written)] == ["ReLU", "Dense", "Dense", "Dense", "two words"]


def test_momentum_of_pytorch_is_the_share_of_a_new_batch() -> None:
    assert as_in_keras("nn.BatchNorm2d", {"momentum": 0.1, "eps": 1e-3}) == {"momentum": 0.9, "eps": 1e-3}
    assert as_in_keras("BatchNormalization", {"momentum": 0.1}) == {"momentum": 0.1}


def test_json() -> None:
    place = Span("a.yaml", 3, 5, 4, 1)
    labels = (Label(span(1, 2, 3), "first"),)
    diagnostic = Diagnostic("cycle", "a", place, label="l", labels=labels, notes=("n",), help="h")
    assert diagnostic.to_json() == {
        "code": "cycle",
        "severity": "error",
        "message": "a",
        "file": "a.yaml",
        "line": 3,
        "column": 5,
        "end_line": 4,
        "end_column": 1,
        "help": "h",
        "notes": ["n", "a.yaml:1:2: first"],
    }
    assert Diagnostic("cycle", "a", None).to_json()["line"] is None


def test_collecting() -> None:
    found = Diagnostics()
    assert not found.errors and found.sorted() == []
    found.raise_if_errors()
    found.add(Diagnostic("cycle", "a warning", span(9, 1, 2), severity="warning"))
    assert not found.errors
    found.raise_if_errors()
    late, early = Diagnostic("cycle", "late", span(2, 1, 2)), Diagnostic("bad-name", "early", span(1, 7, 9))
    other_file = Diagnostic("cycle", "other", span(1, 1, 2, "b.yaml"))
    nowhere = Diagnostic("cycle", "nowhere", None)
    again = Diagnostic("cycle", "another message", span(2, 1, 2))
    for diagnostic in (other_file, late, again, early, nowhere, nowhere, Diagnostic("cycle", "too", None)):
        found.add(diagnostic)
    messages = [diagnostic.message for diagnostic in found.sorted()]
    assert messages == ["nowhere", "too", "early", "late", "a warning", "other"]
    assert len(found) == 8
    with pytest.raises(SpecError) as caught:
        found.raise_if_errors()
    assert list(caught.value.diagnostics) == found.sorted()
    assert "error[bad-name]: early\n --> a.yaml:1:7" in str(caught.value)


def test_collecting_ends() -> None:
    found = Diagnostics()
    with pytest.raises(SpecError) as caught:
        for line in range(1, 10_000):
            found.add(Diagnostic("cycle", "again", span(line, 1, 2)))
    assert len(caught.value.diagnostics) == len(found) < 1_000


# --- the nearest word

LAYERS = ["Dense", "Conv1D", "Conv2D", "MaxPooling2D", "BatchNormalization", "LSTM", "Dropout", "GRU"]
KEYS = ["units", "activation", "kernel_size", "strides", "filters", "use_bias", "learning_rate", "from"]
LOSSES = ["mse", "mae", "huber", "categorical_crossentropy", "binary_crossentropy"]


@bundled(
    16,
    "word,candidates,expected",
    [
        ("dense", LAYERS, "Dense"),
        ("conv_2d", LAYERS, "Conv2D"),
        ("CONV2D", LAYERS, "Conv2D"),
        ("batch_normalization", LAYERS, "BatchNormalization"),
        ("BatchNorm", LAYERS, "BatchNormalization"),
        ("MaxPool2D", LAYERS, "MaxPooling2D"),
        ("Dnese", LAYERS, "Dense"),
        ("Dens", LAYERS, "Dense"),
        ("LTSM", LAYERS, "LSTM"),
        ("untis", KEYS, "units"),
        ("unit", KEYS, "units"),
        ("kernal_size", KEYS, "kernel_size"),
        ("kernelSize", KEYS, "kernel_size"),
        ("act", KEYS, "activation"),
        ("bias", KEYS, "use_bias"),
        ("fro", KEYS, "from"),
        ("learningrate", KEYS, "learning_rate"),
        ("crossentropy", LOSSES, "binary_crossentropy"),
        ("catgorical_crosentropy", LOSSES, "categorical_crossentropy"),
        ("xyzzy", LAYERS + KEYS, None),
        ("q", KEYS, None),
        ("no", ["on", "from"], None),
        ("transformer", LAYERS, None),
        ("weights", KEYS, None),
        ("", KEYS, None),
        ("___", KEYS, None),
        ("x" * 100_000, ["x" * 100_001], None),
        ("units", [], None),
    ],
)
def test_nearest(word: str, candidates: list[str], expected: str | None) -> None:
    assert nearest(word, candidates) == expected


def test_nearest_with_synonyms() -> None:
    synonyms = {"Linear": "Dense", "out_channels": "filters", "stride": "strides", "Mamba": "SSM"}
    assert nearest("Linear", LAYERS, synonyms) == "Dense"
    assert nearest("linear", LAYERS, synonyms) == "Dense"
    assert nearest("outChannels", KEYS, synonyms) == "filters"
    assert nearest("Mamba", LAYERS, synonyms) is None, "a synonym must be legal here"


def test_nearest_among_many() -> None:
    many = [f"layer_{i}" for i in range(10_000)]
    assert nearest("layer_1x234", many) == "layer_1234"
    assert nearest("Layer_77", many) == "layer_77"
    assert nearest("something_else", many) is None
    assert nearest("Lstmm", [*many, "LSTM"]) == "LSTM"
    assert nearest("relux", [*many, "ReLU", "relu"]) == "relu", "the same case is nearer"


WORDS = st.text(alphabet="abcdefgh_", min_size=4, max_size=12)


@given(WORDS.filter(lambda word: len(word.replace("_", "")) > 3), st.data())
def test_one_typing_mistake_is_mended(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 2))
    mistakes = [
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + "x" + word[at:],
        word[:at] + "x" + word[at + 1 :],
    ]
    wrong = data.draw(st.sampled_from(mistakes))
    if wrong.strip("_"):
        assert nearest(wrong, ["zzzzzzzzzzzz", word, "qqqqqq"]) == word


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=8))
def test_nearest_is_a_candidate(word: str, candidates: list[str]) -> None:
    assert nearest(word, candidates) in [None, *candidates]
    if word in candidates and any(char.isalnum() for char in word):
        found = nearest(word, candidates)
        assert found is not None and re.sub(r"[\W_]", "", found.casefold()) == re.sub(
            r"[\W_]", "", word.casefold()
        )


# --- rendering


def test_rendering_of_the_reference() -> None:
    """The example of the language's own page."""
    diagnostic = Diagnostic(
        "shapes-differ",
        "`sum` adds tensors of different shapes",
        Span("specs/resnet.yaml", 31, 28, 31, 33),
        label="float32[batch, 28, 28, 64]",
        labels=(Label(Span("specs/resnet.yaml", 31, 35, 31, 36), "float32[batch, 56, 56, 64]"),),
        notes=("`x` is the input of block `residual`, used at specs/resnet.yaml:44",),
        help="bring `x` to the same shape",
    )
    text = "\n" * 30 + "  sum: {merge: add, from: [conv3, x]}\n"
    assert render(diagnostic, {"specs/resnet.yaml": text}) == (
        "error[shapes-differ]: `sum` adds tensors of different shapes\n"
        "  --> specs/resnet.yaml:31:28\n"
        "   |\n"
        "31 |   sum: {merge: add, from: [conv3, x]}\n"
        "   |                            ^^^^^  - float32[batch, 56, 56, 64]\n"
        "   |                            float32[batch, 28, 28, 64]\n"
        "note: `x` is the input of block `residual`, used at specs/resnet.yaml:44\n"
        "help: bring `x` to the same shape"
    )


RENDERED = {
    "wide characters": (
        "  名: 日本 x",
        span(1, 6, 8),
        {"label": "here"},
        "1 |   名: 日本 x\n  |       ^^^^ here",
    ),
    "combining characters": (
        "a: e\u0301e\u0301 x",
        span(1, 9, 10),
        {},
        "1 | a: e\u0301e\u0301 x\n  |       ^",
    ),
    "tab": ("a:\tb\tc", span(1, 6, 7), {}, "1 | a:    b    c\n  |            ^"),
    "tab marked": ("a:\tb", span(1, 3, 4), {}, "1 | a:    b\n  |   ^^^^"),
    "hidden characters": (
        "a\u200bb\u202ec",
        span(1, 4, 5),
        {},
        "1 | a<U+200B>b<U+202E>c\n  |           ^^^^^^^^",
    ),
    "byte order mark": ("\ufeffa: b", span(1, 4, 5), {}, "1 | a: b\n  |    ^"),
    "end of line": ("ab\ncd", span(1, 3, 3), {"label": "here"}, "1 | ab\n  |   ^ here"),
    "end of file": ("ab\n", span(2, 1, 1), {"label": "here"}, "2 |\n  | ^ here"),
    "beyond the file": ("ab", span(7, 3, 4), {"label": "here"}, "7 |\n  |  ^ here"),
    "empty file": ("", span(1, 1, 1), {}, "1 |\n  | ^"),
    "carriage returns": ("a\r\nb\rc", span(3, 1, 2), {}, "3 | c\n  | ^"),
    "several lines": (
        "ab: {c,\n d}",
        span(1, 5, 3, end_line=2),
        {"label": "here"},
        "1 | ab: {c,\n  |     ^^^ here",
    ),
    "labels on other lines": (
        "a: 1\nb\nc\na: 2",
        span(4, 1, 2),
        {"label": "again", "labels": (Label(span(1, 1, 2), "first"),)},
        "1 | a: 1\n  | - first\n...\n4 | a: 2\n  | ^ again",
    ),
    "three labels on a line": (
        "ab cd ef",
        span(1, 4, 6),
        {"label": "two", "labels": (Label(span(1, 1, 3), "one"), Label(span(1, 7, 9), "three"))},
        "1 | ab cd ef\n  | -- ^^ -- three\n  | |  two\n  | one",
    ),
    "labels at one place": (
        "ab cd",
        span(1, 4, 6),
        {"label": "two", "labels": (Label(span(1, 4, 6), "one"),)},
        "1 | ab cd\n  |    ^^ two\n  |    one",
    ),
    "label within": (
        "abcdef",
        span(1, 1, 7),
        {"label": "all", "labels": (Label(span(1, 3, 4), "one"),)},
        "1 | abcdef\n  | ^^-^^^ all\n  |   one",
    ),
    "label without text": (
        "ab cd",
        span(1, 1, 3),
        {"label": "one", "labels": (Label(span(1, 4, 6), ""),)},
        "1 | ab cd\n  | ^^ --\n  | one",
    ),
    "wide line numbers": ("\n" * 99 + "a", span(100, 1, 2), {}, "100 | a\n    | ^"),
}


@bundled(16, "name", RENDERED)
def test_rendering(name: str) -> None:
    text, place, more, expected = RENDERED[name]
    head = f"error[cycle]: a cycle\n{' ' * len(str(place.line))}--> a.yaml:{place.line}:{place.column}\n"
    bar = " " * (len(str(place.line)) + 1) + "|\n"
    assert rendered(text, place, **more) == head + bar + expected  # type: ignore[arg-type]


def test_rendering_of_several_files() -> None:
    diagnostic = Diagnostic(
        "cycle",
        "a cycle",
        span(1, 1, 2),
        labels=(Label(span(12, 1, 2, "b.yaml"), "there"), Label(span(3, 4, 5, "c.yaml"), "and there")),
    )
    assert render(diagnostic, {"a.yaml": "a", "b.yaml": "\n" * 11 + "b"}) == (
        "error[cycle]: a cycle\n"
        "  --> a.yaml:1:1\n"
        "   |\n"
        " 1 | a\n"
        "   | ^\n"
        "  ::: b.yaml:12:1\n"
        "   |\n"
        "12 | b\n"
        "   | - there\n"
        "  ::: c.yaml:3:4\n"
        "note: c.yaml:3:4: and there"
    )


def test_rendering_without_a_place() -> None:
    diagnostic = Diagnostic("cycle", "a\nb\x1b[31m", None, severity="warning", help="one\ntwo\u202e")
    assert render(diagnostic, {}) == ("warning[cycle]: a<U+000A>b<U+001B>[31m\nhelp: one\n      two<U+202E>")


def test_colors_change_nothing_else() -> None:
    text = "\n" * 30 + "  sum: {merge: add, from: [conv3, x]}\n"
    labels = (Label(span(31, 35, 36), "float32[56]"), Label(span(2, 1, 1), "there"))
    diagnostic = Diagnostic(
        "cycle", "a cycle", span(31, 28, 33), label="float32[28]", labels=labels, notes=("n",), help="h"
    )
    colored = render(diagnostic, {"a.yaml": text}, color=True)
    assert "\x1b[1;31m^^^^^\x1b[0m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render(diagnostic, {"a.yaml": text})


def test_long_lines_are_cut_around_the_mark() -> None:
    text = "x" * 500 + "HERE" + "y" * 500
    lines = rendered(text, span(1, 501, 505), label="here").splitlines()
    assert re.fullmatch(r"1 \| \.\.\.x+HEREy+\.\.\.", lines[3])
    assert lines[4].index("^") == lines[3].index("HERE") and lines[4].endswith("^^^^ here")
    assert all(len(line) < 140 for line in lines)
    lines = rendered(text, span(1, 1, 2), label="here").splitlines()
    assert lines[3].startswith("1 | xxxx") and lines[3].endswith("...") and lines[4] == "  | ^ here"
    lines = rendered(text, span(1, 1004, 1005)).splitlines()
    assert lines[3].endswith("y") and lines[3].startswith("1 | ...") and len(lines[4]) == len(lines[3])
    lines = rendered(text, span(1, 1, 1005)).splitlines()
    assert len(lines[3]) < 140 and len(lines[4]) < 140
    far = (Label(span(1, 990, 992), "far"),)
    lines = rendered(text, span(1, 501, 505), label="here", labels=far).splitlines()
    assert lines[4].endswith("^^^^ here") and lines[6].endswith("-- far")
    assert lines[5].startswith("1 | ...")


def test_of_a_long_line_only_what_is_near_the_mark_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def visible(char: str) -> str:
        seen.append(char)
        return char

    monkeypatch.setattr(rendering, "visible", visible)
    text = "x" * 100_000 + "HERE" + "y" * 100_000
    lines = rendered(text, span(1, 100_001, 100_005), label="here").splitlines()
    assert re.fullmatch(r"1 \| \.\.\.x+HEREy+\.\.\.", lines[3])
    assert lines[4].index("^") == lines[3].index("HERE")
    assert len(seen) < 10_000


def width(text: str) -> int:
    marks = ("Mn", "Me")
    return sum(
        0 if unicodedata.category(c) in marks else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def drawn(text: str) -> str:
    return visible(text.replace("\t", "    "))


LINES = st.text(
    alphabet=st.sampled_from(list("ab {}:\t日本é\u0301\u200b\x00\U0001f600")) | st.characters(), max_size=40
)


@given(LINES, st.integers(0, 8), st.data())
def test_marks_stand_under_what_they_mark(line: str, copies: int, data: st.DataObject) -> None:
    line = re.sub(r"[\r\n]", "", line) * copies
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(len(line), start + 20)))
    if "\ufeff" in line[:1]:
        return
    out = rendered("first\n" + line + "\nlast", span(2, start + 1, end + 1)).splitlines()
    assert len(out) == 5
    marks = out[4].removeprefix("  | ")
    before, marked = len(marks) - len(marks.lstrip(" ")), marks.strip(" ")
    assert set(marked) == {"^"}
    assert width(out[3]) < 135
    if width(drawn(line)) <= 120:
        assert out[3] == f"2 | {drawn(line)}".rstrip()
        assert before == width(drawn(line[:start]))
        assert len(marked) == max(width(drawn(line[start:end])), 1)
    elif start < end and width(drawn(line[start:end])) < 60:
        shown = out[3].removeprefix("2 | ")
        under = [column for char in shown for column in [char] * width(char)]
        assert len(marked) == max(width(drawn(line[start:end])), 1)
        assert "".join(under[before : before + len(marked)])[:1] in drawn(line[start:end])


@given(st.text(max_size=60), st.lists(st.tuples(*[st.integers(1, 70)] * 4, st.text(max_size=5)), max_size=4))
def test_rendering_never_fails(text: str, places: list[tuple[int, int, int, int, str]]) -> None:
    spans = [Span("a.yaml", min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d, _ in places]
    labels = tuple(Label(place, label[4]) for place, label in zip(spans, places, strict=True))
    for color in (False, True):
        diagnostic = Diagnostic("cycle", text, spans[0] if spans else None, labels=labels[1:], help=text)
        out = render(diagnostic, {"a.yaml": text}, color)
        assert not re.search("[\x00-\x09\x0b-\x1a\x1c-\x1f\u200b\u202e]", out)


def test_lines_end_as_in_yaml() -> None:
    assert split_lines("a\nb\r\nc\rd\u2028e\x85f\x0bg") == ["a", "b", "c", "d\u2028e\x85f\x0bg"]


@given(st.integers(0, 150), st.integers(1, 40), st.integers(40, 140))
def test_a_snippet_fits_into_the_terminal(before: int, length: int, columns: int) -> None:
    """The code, and the marks under it, on one line each; the marked text is where its marks are."""
    line = f"{'a' * before}{'b' * length}{'c' * 60}"
    place = Span("s.yaml", 7, before + 1, 7, before + 1 + length)
    shown = render(Diagnostic("unknown-key", "m", place), {"s.yaml": "\n" * 6 + line}, columns=columns)
    code, marks = shown.split("\n")[3:5]
    assert max(len(code), len(marks)) <= columns
    assert {code[at] for at, sign in enumerate(marks) if sign == "^"} <= {"b", "."}
