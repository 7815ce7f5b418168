"""What the interface says is in plain words: help, codes, sentences of keys and arguments, and messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.diagnostics import CODES
from graphspec.language.glossary import keys_of, meaning
from graphspec.reference.codes import page
from graphspec.reference.layers import classes

GUESSED = re.compile(
    r"\b(stands?|behind|beside|hands? on|(?<![Tt]here )(is|are) no(?! longer)|(?<![Tt]here )(is|are) none"
    r"|none of them|mostly|anew|told|judged?)\b"
)
"""Words that a reader must guess, where the field has a term."""


PACKAGE = Path(graphspec.__file__).parent


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name in group.commands:
        command = group.commands[name]
        yield f"{path}{name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")


def sentences() -> Iterator[tuple[str, str]]:
    """Where a sentence is, and the sentence."""
    for name, command in commands(get_command(app)):
        yield name, command.help or ""
        for parameter in command.params:
            yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
    for code, what in CODES.items():
        yield code, what
        yield code, page(code).why
    for place, cls in classes():
        yield from ((f"{key} of {place}", meaning(cls, key)) for key, _ in keys_of(cls))


def test_the_interface_has_no_word_that_a_reader_must_guess() -> None:
    assert [(place, text) for place, text in sentences() if GUESSED.search(text)] == []


def piece(part: ast.expr) -> str:
    """A part of an f-string; of a choice between two words both."""
    match part:
        case ast.Constant(value):
            return str(value)
        case ast.FormattedValue(ast.IfExp(body=ast.Constant(str(one)), orelse=ast.Constant(str(other)))):
            return f"{one}/{other}"
    return "{}"


def written(path: Path) -> Iterator[tuple[str, str]]:
    """The texts of a file that people may read, each with its line; what is computed in them is `{}`."""
    inner: set[int] = set()  # docstrings, and parts of what was seen: a walk meets a node after its parent
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = None
        if isinstance(node, ast.Expr):
            inner.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            inner.update(map(id, node.values))
            text = "".join(map(piece, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            text = node.value
        if text is not None and " " in text:
            yield f"{path.name}:{getattr(node, 'lineno', 0)}", text


def test_messages_have_no_word_that_a_reader_must_guess() -> None:
    """All texts in the code but docstrings: what becomes a message is not known before it is shown."""
    texts = [text for path in PACKAGE.rglob("*.py") for text in written(path)]
    assert len(texts) > 5000
    assert [(place, text) for place, text in texts if GUESSED.search(text)] == []


def test_pages_have_no_word_that_a_reader_must_guess() -> None:
    """But those of tools, and tables of measurements, which compare one thing beside another."""
    files = [*PACKAGE.parent.glob("*.md"), *PACKAGE.parent.glob("docs/**/*.md")]
    assert len(files) > 20
    for file in files:
        text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        guessed = [line for line in text.splitlines() if GUESSED.search(line)]
        assert guessed == [] or file.name == "benchmarks.md", file.name


def test_options_are_sentences() -> None:
    """A capital letter, a full stop, and perhaps what is the default."""
    wrong = [
        (name, parameter.name, parameter.help)
        for name, command in commands(get_command(app))
        for parameter in command.params
        if getattr(parameter, "help", None)
        and parameter.name != "help"
        and not re.fullmatch(r"[^ ].*[.](?: \[default: .*\])?", parameter.help)
    ]
    assert wrong == []


def test_the_options_of_a_training_are_grouped() -> None:
    from graphspec.cli import train

    (command,) = [each for name, each in commands(get_command(app)) if name == "train"]
    grouped = [name for names in train.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(p.name for p in command.params if p.param_type_name == "option")


def test_every_command_has_its_place_in_the_list() -> None:
    from graphspec.cli.help import HEADINGS

    listed = [name for names in HEADINGS.values() for name in names]
    assert sorted(listed) == sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("command", "usage", "arguments"),
    [
        ("check", "check [OPTIONS] SPEC...", ["SPEC..."]),
        ("diff", "diff [OPTIONS] A [B]", ["A", "[B]"]),
        ("layers", "layers [OPTIONS] [NAME]", ["[NAME]"]),
        ("migrate", "migrate [OPTIONS] RUN SPEC", ["RUN SPEC"]),
        ("runs", "runs [OPTIONS] [DIR | compare RUN...]", ["[DIR | compare RUN...]"]),
        ("import torch", "import torch [OPTIONS] PKG:CALLABLE", ["PKG:CALLABLE"]),
    ],
)
def test_arguments_have_their_names_alone(command: str, usage: str, arguments: list[str]) -> None:
    """Neither braces nor types of Python, which typer would write."""
    words = [*command.split(), "--help"]
    first, *lines = CliRunner().invoke(app, words, prog_name="graphspec").stdout.splitlines()
    assert first == f"Usage: graphspec {usage}"
    section = lines[lines.index("Arguments:") + 1 :]
    named = [line.strip().split("  ")[0] for line in section[: section.index("")] if line[2] != " "]
    assert named == arguments


def test_help_says_ranges_in_words_and_is_as_wide_as_the_terminal() -> None:
    for name, _ in commands(get_command(app)):
        for columns in (80, 120):
            lines = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": str(columns)}).stdout
            assert "x>=" not in lines and "<=x" not in lines
            assert max(map(len, lines.splitlines())) <= columns
    wide = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "120"}, terminal_width=120).stdout
    assert "[default: 8000; 0 to 65535]" in wide and "[default: 16777216; at least 1]" in wide
    assert max(map(len, wide.splitlines())) > 80
