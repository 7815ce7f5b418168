"""The options of all commands have one grammar, which a page of the docs has as a table."""

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
SEVERAL = {
    "--against": {"FILE.py:CALLABLE", "SOLUTION"},
    "--batch-size": {"N", "auto|N"},
    "--from": {"FILE", "RUN"},
    "--weights": {"best|last|FILE", "FILE"},
    "-o, --output": {"FILE", "DIR"},
}
"""Options whose values depend on the command: weights of a run have names, those of a spec a file."""


@cache
def values() -> dict[str, set[str]]:
    """The kinds of values that each option has in some command; "" of one that is a flag."""
    found = defaultdict(set)
    for _, command in commands(get_command(app)):
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                found[", ".join(parameter.opts)].add(parameter.metavar or "")
    return dict(found)


def test_the_table_has_every_option_of_every_command() -> None:
    rows = re.findall(r"^\| (`-.*?`) \| (.*?) \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    written = {
        option.replace("`", ""): {*re.findall("`(.*?)`", kinds.replace("\\|", "|"))} or {""}
        for option, kinds in rows
    }
    assert written == values()


def test_an_option_has_one_kind_of_value() -> None:
    assert {option: kinds for option, kinds in values().items() if len(kinds) > 1} == SEVERAL


@pytest.mark.parametrize(
    ("written", "meant"),
    {
        "train s.yaml --overwrite": "write `--force`",
        "serve runs/a-1 --batch 8": "write `--batch-size 8`",
        "runs compare a b --plot a.svg": "write `-o a.svg`",
        "runs compare a b --table a.md": "write `-o a.md`",
        "check s.yaml --data --no-data": "`--data` is called `--inspect`",
        "train s.yaml --batch 8": "write `--batch-size 8`",
        "evaluate runs/a-1 --progress bar": "is not one of auto, lines, json, none",
        "weights s.yaml --from a.pt -o w.pt": "`-o`: w.pt does not end in .safetensors",
        "build s.yaml -o": "`-o` needs a value",
        "learnt s.yaml": "there is no command `learnt`",
        "check s.yaml --inspect --no-data": "it reads the data, and --no-data opens none",
    }.items(),
)
def test_earlier_words_are_answered_with_the_present_ones(written: str, meant: str) -> None:
    done = CliRunner().invoke(app, written.split(), prog_name="graphspec")
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2 and meant in said and "Invalid value" not in said


def test_json_before_the_command_is_not_ignored() -> None:
    done = CliRunner().invoke(app, ["--json", "check", "s.yaml"], prog_name="graphspec")
    assert done.exit_code == 2 and "write `graphspec check ... --json`" in done.stdout
