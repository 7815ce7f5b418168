"""The options of all commands have one grammar, which a page of the docs says in tables."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from graphspec.cli.app import app
from tests.cli.test_help import commands

PAGE = Path(__file__).parents[2] / "docs" / "language" / "options.md"
Shared = dict[tuple[str, str], list[str]]
Single = dict[str, list[tuple[str, str]]]
SEVERAL = {
    "--weights": {"best|last|FILE", "FILE"},
    "-o, --output": {"FILE", "DIR"},
    "--from": {"FILE", "RUN"},
}
"""Options with values of more than one kind: what can be there depends on the command."""


@cache
def tables() -> tuple[Shared, Single]:
    """What `--help` says: the commands of each option and kind of value; and those of one command alone."""
    found: Shared = defaultdict(list)
    for name, command in commands(get_command(app)):
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                found[", ".join(parameter.opts), parameter.metavar or ""].append(name)
    named = [option for option, _ in found]
    shared = {key: names for key, names in found.items() if len(names) > 1 or named.count(key[0]) > 1}
    single: Single = defaultdict(list)
    for key, (name, *_) in found.items():
        if key not in shared:
            single[name].append(key)
    return dict(sorted(shared.items(), key=lambda row: row[0][0].lstrip("-"))), dict(single)


def test_the_page_has_every_option_of_every_command() -> None:
    rows = re.findall(r"^\| (`.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    written = [[cell.replace("\\|", "|") for cell in re.split(r" *(?<!\\)\| *", row)] for row in rows]
    shared = {
        (row[0].replace("`", ""), row[1].strip("`")): re.findall("`(.*?)`", row[2])
        for row in written
        if len(row) == 3
    }
    single = {row[0].strip("`"): re.findall("`(.*?)`", row[1]) for row in written if len(row) == 2}
    known, alone = tables()
    assert shared == known
    assert single == {
        name: [f"{option} {value}".strip() for option, value in rows] for name, rows in alone.items()
    }


def test_an_option_has_one_kind_of_value() -> None:
    kinds = defaultdict(set)
    for (option, value), _ in tables()[0].items():
        kinds[option].add(value)
    assert {option: values for option, values in kinds.items() if len(values) > 1} == {
        **SEVERAL,
        "--batch-size": {"N", "auto|N"},
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    {
        "train s.yaml --overwrite": "write `--force`",
        "serve runs/a-1 --batch 8": "write `--batch-size 8`",
        "runs compare a b --plot a.svg": "write `-o a.svg`",
        "runs compare a b --table a.md": "write `-o a.md`",
        "check s.yaml --data": "write `--inspect`",
        "train s.yaml --batch 8": "write `--batch-size 8`",
        "evaluate runs/a-1 --progress bar": "is not one of auto, lines, json, none",
        "check s.yaml --inspect --no-data": "it reads the data, and --no-data opens none",
    }.items(),
)
def test_earlier_words_are_answered_with_the_present_ones(written: str, meant: str) -> None:
    done = CliRunner().invoke(app, written.split(), prog_name="graphspec")
    assert done.exit_code == 2 and meant in " ".join(done.stderr.split())


def test_json_before_the_command_is_not_ignored() -> None:
    done = CliRunner().invoke(app, ["--json", "check", "s.yaml"], prog_name="graphspec")
    assert done.exit_code == 2 and "write `graphspec check ... --json`" in done.stdout
