"""What the interface says is in plain words: help, codes, and the sentences of keys and arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from graphspec.cli.app import app
from graphspec.diagnostics import CODES
from graphspec.language.glossary import keys_of, meaning
from graphspec.reference.codes import page
from graphspec.reference.layers import classes

GUESSED = re.compile(
    r"\b(stands?|behind|beside|hands? on|(?<!there )is no|is none|are none|none of them|mostly|anew|told)\b"
)
"""Words that a reader must guess, where the field has a term."""


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
