"""ARCHITECTURE.md follows values through the code: a walk that is run calls what it names, in that order."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests import ROOT, processes

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
WALKS = {
    title: re.findall(r"`([\w/]+\.py): ([\w.]+)`", text)
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}

TRACED = """
import sys
import torch
from pathlib import Path
import graphspec

ROOT = str(Path(graphspec.__file__).parent) + "/"
seen = {}


def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(ROOT):
        seen.setdefault(f"{code.co_filename.removeprefix(ROOT)} {code.co_qualname}")


sys.setprofile(note)
program = graphspec.compile("spec.yaml")
program.module()
program.fit(run_dir="run", device="cpu")
sys.setprofile(None)
Path("calls.txt").write_text("\\n".join(seen))
"""
SPEC = """
inputs: {size: {shape: [1]}}
nodes:
  hidden: {layer: Dense, units: 64, from: size}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
train: {epochs: 1, batch_size: 8}
data: {train: rows.csv, features: {size: {encode: number, scale: standard}, y: {encode: number}}}
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """The functions that a small training calls, in the order of their first calls."""
    place: Path = tmp_path_factory.mktemp("walks")
    (place / "spec.yaml").write_text(SPEC)
    (place / "rows.csv").write_text("size,y\n" + "".join(f"{row},{2 * row}\n" for row in range(32)))
    (place / "walk.py").write_text(TRACED)
    with contextlib.chdir(place):
        done = processes.run(["walk.py"])
    assert done.returncode == 0, done.stderr
    lines = (place / "calls.txt").read_text().splitlines()
    return [(file, name) for file, _, name in (line.partition(" ") for line in lines)]


def test_there_are_four_walks() -> None:
    assert [len(walk) > 5 for walk in WALKS.values()] == [True] * 4


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_calls_what_it_names_in_order(title: str, calls: list[tuple[str, str]]) -> None:
    assert [step for step in WALKS[title] if step not in calls] == []
    assert sorted(WALKS[title], key=calls.index) == WALKS[title]
