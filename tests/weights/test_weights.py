"""The weights of a program, and the files that a spec names for them."""

from __future__ import annotations

from pathlib import Path

from graphspec.weights import averages, no_file
from tests import ROOT
from tests.programs import program_of


def test_an_average_is_told_with_what_it_follows() -> None:
    found = averages(program_of(ROOT / "specs" / "byol.yaml").graph)
    assert [(path, other) for path, other, _ in found] == [("target", "online")]


def test_a_file_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").touch()
    helps = [
        no_file(tmp_path / name).diagnostics[0].help for name in ("lost.safetensors", "other.safetensors")
    ]
    assert helps == ["did you mean `last.safetensors`?", "files there: last.safetensors"]
    assert no_file(tmp_path / "none" / "a.safetensors").diagnostics[0].help is None
