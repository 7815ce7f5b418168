"""One layout: whatever the blanks of a spec, it comes out the same, with its values and its comments."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.diagnostics import Diagnostics
from graphspec.formatting import formatted, laid_out
from graphspec.formatting.tokens import tokens
from graphspec.source import read
from tests import bundled
from tests.random_specs import images, sequences

SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*.yaml"))


@bundled(16, "path", SPECS, ids=lambda path: path.stem)
def test_the_gallery_has_the_layout(path: Path) -> None:
    assert formatted(path.read_text()) == path.read_text()


def value(text: str) -> object:
    document = read(text, "", Diagnostics())
    assert document is not None
    return document.value


def roughened(text: str, seed: int) -> str:
    """A text with other blanks: deeper lines, none or several after commas, before comments and at ends."""
    draw = random.Random(seed)
    step = draw.choice([1, 3, 4])
    lines = []
    for line in text.splitlines():
        body = line.lstrip(" ")
        indent = (len(line) - len(body)) // 2 * step
        if "#" not in body and "'" not in body and '"' not in body and "(" not in body:
            body = re.sub(r",(?= )", lambda match: draw.choice([",", ", ", " ,"]), body)
            body = re.sub(r"(?<=[{\[])|(?=[}\]])", lambda match: draw.choice(["", " ", "  "]), body)
            body = re.sub(r": (?=\S)", lambda match: draw.choice([": ", ":  "]), body)
        lines.append(" " * indent + body + draw.choice(["", " "]))
    return "\n".join(lines) + draw.choice(["", "\n", "\n\n\n"])


@given(st.one_of(sequences(), images()), st.integers(0, 2**20))
def test_blanks_do_not_matter_and_values_stay(spec: str, seed: int) -> None:
    text = formatted(spec)
    assert text is not None and value(text) == value(spec)
    assert formatted(text) == text
    assert formatted(roughened(text, seed)) == text


@given(st.sampled_from(SPECS), st.integers(0, 2**20))
def test_a_spec_of_the_gallery_comes_back_from_any_blanks(path: Path, seed: int) -> None:
    assert formatted(roughened(path.read_text(), seed)) == path.read_text()


def comments(text: str) -> list[str]:
    return [comment for token in tokens(text) for comment, _, _ in token.comments]


@given(
    st.sampled_from(SPECS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9)), min_size=1, max_size=8),
    st.integers(0, 2**20),
)
def test_comments_anywhere_stay_in_their_order(path: Path, places: list[tuple[int, int]], seed: int) -> None:
    lines = path.read_text().splitlines()
    for number, (line, indent) in enumerate(places):
        lines.insert(line % (len(lines) + 1), " " * indent + f"# note {number}")
    spec = roughened("\n".join(lines), seed) if seed % 2 else "\n".join(lines)
    if read(spec, "", Diagnostics()) is None or value(spec) != value(path.read_text()):
        return  # a comment ends or joins a text over several lines
    text = formatted(spec)
    assert text is not None and value(text) == value(spec)
    assert comments(text) == comments(spec)
    assert formatted(text) == text


COMMENTED = """\
# yaml-language-server: $schema=x.json

inputs:   # what comes in
    x: { shape : [ 8,8 , 1 ] }   #an image
    # the second
    longer: {shape: [8]}


    # the end of inputs
nodes:
  a:
    # first in a
    layer: Dense
    units: 3
  b: {layer: Dense,   # kind
      units: 4}
edges:
- x -> a
-   longer -> b  # why
train:
  callbacks:
    note: |
       two
         lines
"""
LAID_OUT = """\
# yaml-language-server: $schema=x.json

inputs:  # what comes in
  x:      {shape: [8, 8, 1]}  # an image
  # the second
  longer: {shape: [8]}

  # the end of inputs
nodes:
  a:
    # first in a
    layer: Dense
    units: 3
  b: {layer: Dense,  # kind
    units: 4}
edges:
  - x -> a
  - longer -> b  # why
train:
  callbacks:
    note: |
      two
        lines
"""


def test_comments_stay_where_they_belong() -> None:
    assert formatted(COMMENTED) == LAID_OUT
    assert formatted(COMMENTED.replace("\n", "\r\n")) == LAID_OUT.replace("\n", "\r\n")


def test_files_are_written_checked_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(COMMENTED)
    Path("b.yaml").write_text(LAID_OUT)
    done = CliRunner().invoke(app, ["fmt", ".", "--check"])
    assert (done.exit_code, Path("a.yaml").read_text()) == (1, COMMENTED)
    done = CliRunner().invoke(app, ["fmt", ".", "--diff"])
    assert done.exit_code == 1 and "\n+  x:      {shape: [8, 8, 1]}  # an image\n" in done.output
    done = CliRunner().invoke(app, ["fmt", ".", "--json"])
    told = json.loads(done.output)
    assert [each["changed"] for each in told["files"]] == [True, False] and done.exit_code == 0
    assert Path("a.yaml").read_text() == LAID_OUT
    assert CliRunner().invoke(app, ["fmt", ".", "--check"]).exit_code == 0
    done = CliRunner().invoke(app, ["fmt", "-"], input=COMMENTED)
    assert done.output == LAID_OUT


def test_standard_input_is_checked_and_compared() -> None:
    for options in (["--check"], ["--diff"]):
        done = CliRunner().invoke(app, ["fmt", "-", *options], input=COMMENTED)
        assert done.exit_code == 1 and done.output.endswith(
            "1 file would change, 0 files as they should be\n"
        )
    (told,) = json.loads(CliRunner().invoke(app, ["fmt", "-", "--diff", "--json"], input=COMMENTED).output)[
        "files"
    ]
    assert told["changed"] and "+  x:      {shape: [8, 8, 1]}  # an image" in told["diff"]


def test_a_file_that_is_left_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphspec.formatting.layout._Layout.run", lambda self: value_only(COMMENTED))
    path = tmp_path / "a.yaml"
    path.write_text(COMMENTED)
    for options in ([], ["--check"]):
        done = CliRunner().invoke(app, ["fmt", str(path), *options])
        assert done.exit_code == 1 and "left as it is: the layout would change" in done.output
        assert path.read_text() == COMMENTED


def value_only(text: str) -> str:
    return re.sub(r"#[^\n]*", "", text)


LAYOUTS = {
    "# top\n---\nnodes: {a: 3}\n": "# top\n---\nnodes: {a: 3}\n",
    "--- # top\n# below\nnodes: {a: 3}\n...\n# end\n": "---  # top\n# below\nnodes: {a: 3}\n\n# end\n",
    "nodes: {a: {units: 2, name_: }}\n": "nodes: {a: {units: 2, name_: }}\n",
    "nodes:\n  a:\n    # why\n   {b: 3}\n": "nodes:\n  a:\n    # why\n    {b: 3}\n",
    "nodes:\n a: |+\n   b\n\n\nc: >+\n  d\n\n": "nodes:\n  a: |+\n    b\n\n\nc: >+\n  d\n\n",
    "nodes:\n   a: |2\n       b\n      c\n": "nodes:\n  a: |2\n      b\n     c\n",
    "nodes:\n a:\n  b: 3\n # of nodes\n c: 4\n    # deep\n": "nodes:\n"
    "  a:\n    b: 3\n  # of nodes\n  c: 4\n  # deep\n",
    "edges:\n- a: 3\n  # in item\n # in list\n# after\nb: 4\n": "edges:\n"
    "  - a: 3\n    # in item\n  # in list\n# after\nb: 4\n",
    "edges: [\n  a,\n  # alone\n]\n": "edges: [\n  a,\n  # alone\n]\n",
    "outputs:\n   # how\n  y: 3\n": "outputs:\n  # how\n  y: 3\n",
}


@pytest.mark.parametrize(("written", "right"), LAYOUTS.items())
def test_what_a_comment_or_a_text_is_part_of_stays(written: str, right: str) -> None:
    assert laid_out(written) == (right, True)
    assert laid_out(right) == (right, True)


def test_what_is_not_yaml_stays_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("nodes: {a: [}\n")
    done = CliRunner().invoke(app, ["fmt", str(path)])
    assert done.exit_code == 1 and "yaml-syntax" in done.output
    assert path.read_text() == "nodes: {a: [}\n"
