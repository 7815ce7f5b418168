"""Exercises: holes in a spec, whether an answer means what its solution does, and hints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphspec import compile
from graphspec.cli.app import app
from graphspec.compare.meaning import hints

ROOT = Path(__file__).parents[2]
EXERCISES = ROOT / "docs" / "exercises"
SOLUTION = """
inputs: {image: {shape: [28, 28, 1]}}
nodes:
  conv: {layer: Conv2D, filters: 8, kernel_size: 3, activation: relu}
  pool: {layer: MaxPooling2D, pool_size: 2}
  flat: {layer: Flatten}
  digit: {layer: Dense, units: 10, activation: softmax}
outputs: {digit: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
train: {optimizer: {name: adam, learning_rate: 0.01}, epochs: 3}
"""
CONV = "{layer: Conv2D, filters: 8, kernel_size: 3, activation: relu}"
POOL = "  pool: {layer: MaxPooling2D, pool_size: 2}\n"
BLOCK = "blocks: {b: {inputs: [x], nodes: {c: {layer: Conv2D, filters: 8, kernel_size: 3}, a: {op: relu}}}}\n"


@pytest.mark.parametrize(
    "edits",
    [
        {"digit": "klass", "conv": "first", "image": "picture"},
        {CONV: "{block: b}", "nodes:\n": BLOCK + "nodes:\n"},
        {", activation: relu}": "}\n  act: {layer: ReLU}"},
        {", activation: relu}": "}\n  act: {layer: Activation, activation: relu}"},
        {"units: 10": "units: $(5 * 2)"},
        {"pool_size: 2": "pool_size: [2, 2], padding: valid"},
    ],
)
def test_answers_that_mean_the_same(edits: dict[str, str]) -> None:
    assert hints(compile(edited(edits)), compile(SOLUTION)) == []


def edited(edits: dict[str, str]) -> str:
    text = SOLUTION
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        (
            {"units: 10": "units: 12"},
            ["the output `digit` should have shape [10], yours has [12]", "`units` of"],
        ),
        ({"filters: 8": "filters: 9"}, ["look at `filters` of `conv` (Conv2D): it should give [26, 26, 8]"]),
        ({"relu": "gelu"}, ["look at the activation of `conv`"]),
        (
            {"MaxPooling2D": "AveragePooling2D"},
            ["another layer in place of `pool` (AveragePooling2D): it gives"],
        ),
        ({POOL: ""}, ["something is missing before `flat` (Flatten); the solution has 13,610 parameters"]),
        (
            {POOL: POOL + "  drop: {layer: Dropout, rate: 0.2}\n"},
            ["the solution does without `drop` (Dropout)"],
        ),
        ({", activation: softmax": "", "sparse_categorical_crossentropy": "mse"}, ["goes on after `digit`"]),
        ({"sparse_categorical_crossentropy": "categorical_crossentropy"}, ["look at `outputs.digit.loss`"]),
        ({"digit": "klass", "[accuracy]": "[]"}, ["look at `outputs.klass.metrics`"]),
        ({"[28, 28, 1]": "[28, 28, 3]"}, ["the input `image` should be float32[batch, 28, 28, 1], yours is"]),
        ({"outputs: {": "outputs: {flat: {}, "}, ["the solution has 1 output, yours 2"]),
        ({"learning_rate: 0.01": "learning_rate: 0.1"}, ["look at `train.optimizer.learning_rate`"]),
        ({"epochs: 3": "batch_size: 8"}, ["look at `train.epochs`", "look at `train.batch_size`"]),
    ],
)
def test_the_first_place_that_differs_is_told(edits: dict[str, str], told: list[str]) -> None:
    found = hints(compile(edited(edits)), compile(SOLUTION))
    assert len(found) == len(told)
    assert all(part in hint for part, hint in zip(told, found, strict=True)), found


SHARED = """
inputs: {x: {shape: [8]}}
shared: {dense: {layer: Dense, units: 8}}
nodes:
  a: {call: dense}
  b: {call: dense}
  sum: {merge: add, from: [x, b]}
outputs: {sum: {loss: mse}}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[x, b]", "[b, x]", None),
        ("{merge: add, from: [x, b]}", "{compute: b + x}", None),
        ("[x, b]", "[a, b]", "`sum` (add) should read something else"),
        ("{call: dense}", "{layer: Dense, units: 8}", "other layers share their weights"),
    ],
)
def test_what_is_read_and_shared_counts_and_its_order_does_not(old: str, new: str, told: str | None) -> None:
    text = SHARED.replace(old, new)
    text = text if "call" in text else text.replace("shared: {dense: {layer: Dense, units: 8}}\n", "")
    found = hints(compile(text), compile(SHARED))
    assert found == [] if told is None else told in found[0], found


def test_outputs_are_those_of_their_names() -> None:
    text = SHARED.replace("outputs: {sum: {loss: mse}}", "outputs: {sum: {loss: mse}, b: {}}")
    turned = text.replace("{sum: {loss: mse}, b: {}}", "{b: {}, sum: {loss: mse}}")
    assert hints(compile(turned), compile(text)) == []
    other = text.replace("{sum: {loss: mse}, b: {}}", "{b: {loss: mse}, sum: {}}")
    assert set(hints(compile(other), compile(text))) == {"look at `outputs.b`", "look at `outputs.sum`"}
    two = "inputs: {x: {shape: [8]}}\nnodes: {a: {layer: Dense, units: 8}, b: {op: relu}}\noutputs: [a, b]\n"
    named = two.replace("{a:", "{c:").replace("b:", "a:").replace("c:", "b:")
    assert hints(compile(named), compile(two)) == ["the output `a` should be another value"]


def filled(name: str) -> str:
    """The exercise with each hole filled as the solution of this test."""
    answers = iter(ANSWERS[name])
    text = (EXERCISES / f"{name}.yaml").read_text()
    return re.sub(r"\.\.\.", lambda hole: next(answers), text)


ANSWERS = {
    "sequential": [
        "32",
        "{layer: Dense, units: 32, activation: relu}",
        "10",
        "softmax",
        CATEGORIES := "sparse_categorical_crossentropy",
    ],
    "question_answering": ["question", "concatenate", "text_code, question_code"],
    "several_outputs": ["hidden", "softmax", "1", "sigmoid", "0.25", CATEGORIES, "binary_crossentropy"],
    "residual": ["image", "128", "1", "2", "{merge: add, from: [pool, shortcut]}"],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_exercises_of_the_page_are_solved(name: str, tmp_path: Path) -> None:
    assert f"(exercises/{name}.yaml)" in (ROOT / "docs" / "exercises.md").read_text()
    exercise = EXERCISES / f"{name}.yaml"
    left = CliRunner().invoke(app, ["check", str(exercise), "--json"])
    holes = json.loads(left.output)["files"][0]["diagnostics"]
    assert {each["code"] for each in holes} == {"hole"} and len(holes) == len(ANSWERS[name])
    laid_out = CliRunner().invoke(app, ["fmt", "--check", str(exercise), str(EXERCISES / "solutions")])
    assert laid_out.exit_code == 0, laid_out.output
    (tmp_path / "answer.yaml").write_text(filled(name))
    solution = str(EXERCISES / "solutions" / f"{name}.yaml")
    done = CliRunner().invoke(app, ["check", str(tmp_path / "answer.yaml"), "--against", solution])
    assert done.exit_code == 0 and "means the same as" in done.output, done.output


def test_the_command_gives_hints_and_refuses_what_has_no_solution(tmp_path: Path) -> None:
    answer = tmp_path / "answer.yaml"
    answer.write_text(filled("sequential").replace("units: 10", "units: 12"))
    solution = str(EXERCISES / "solutions" / "sequential.yaml")
    done = CliRunner().invoke(app, ["check", str(answer), "--against", solution])
    assert (
        done.exit_code == 1
        and "hint: the output `label` should have shape [10], yours has [12]" in done.output
    )
    told = json.loads(CliRunner().invoke(app, ["check", str(answer), "--against", solution, "--json"]).output)
    assert told["ok"] is False and told["files"][0]["against"]["same"] is False
    page = (ROOT / "docs" / "exercises.md").read_text()
    shown = CliRunner().invoke(app, ["check", str(EXERCISES / "sequential.yaml")]).output
    assert shown.split("\n\n")[0].replace(f"{ROOT}/", "") in page
    assert all(f"hint: {hint}" in page for hint in told["files"][0]["against"]["hints"])
    several = CliRunner().invoke(app, ["check", str(answer), solution, "--against", solution])
    assert several.exit_code == 2 and "one spec is compared" in several.stderr
    broken = CliRunner().invoke(app, ["check", solution, "--against", str(EXERCISES / "residual.yaml")])
    assert broken.exit_code == 1 and "error[hole]" in broken.output + broken.stderr
    missing = CliRunner().invoke(app, ["check", solution, "--against", str(tmp_path / "none.yaml")])
    assert missing.exit_code == 1 and "spec-missing" in missing.output + missing.stderr
