"""Files of columns: names that values inside could have, and cells that the check of a field refuses."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import onnxruntime
import pytest

import graphspec
from graphspec.diagnostics import SpecError
from graphspec.export.columns.proof import feed
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests.export.alone import assert_equal, built, form_of

SPEC = """\
inputs:
  cast_1: {shape: [2]}
  place:  {shape: [1], dtype: int64}
  small:  {shape: [1], dtype: int32}
  half:   {shape: [1], dtype: float16}
  step:   {shape: [words], dtype: int64}
  whole:  {shape: [letters], dtype: int64}
  tones:  {shape: [sounds], dtype: int64}
nodes:
  places: {layer: Embedding, from: place, input_dim: 10, output_dim: 2}
  flat:   {layer: Flatten}
  words:  {layer: Embedding, from: step, input_dim: 40, output_dim: 3, mask_zero: true}
  read:   {layer: GlobalAveragePooling1D}
  parts:  {layer: Embedding, from: whole, input_dim: 40, output_dim: 3, mask_zero: true}
  spelled: {layer: GlobalAveragePooling1D}
  notes:  {layer: Embedding, from: tones, input_dim: 8, output_dim: 3, mask_zero: true}
  heard:  {layer: GlobalAveragePooling1D}
  number: {layer: Rescaling, from: small, scale: 0.1}
  part:   {layer: Rescaling, from: half, scale: 0.1}
  all:    {merge: concatenate, from: [cast_1, flat, read, spelled, heard, number, part]}
  co2:    {layer: Dense, units: 1}
outputs: {co2: {loss: mse}}
data:
  train: rows.jsonl
  na_values: ["", "0", "-7"]
  features:
    cast_1: {columns: [co2, co2_1], encode: number, fill: mean, scale: standard}
    step:   {column: graphspec/cast_1, encode: text, vocabulary: 40}
    whole:  {column: word_ids, encode: text, tokenizer: bpe, vocabulary: 40}
    tones:  {column: constant_0, encode: tokens, vocabulary: 8}
    co2:    {column: target, encode: number}
train: {epochs: 1, batch_size: 8}
"""
WORDS = ("house", "Stra\u00dfe", "\u00e9t\u00e9", "\U0001f600", "\u0130stanbul")
NOT_ALONE = "i\u0307stanbul"
"""What the last of the words is in lower case, with a letter that is written as two characters."""


def row(draw: random.Random, words: tuple[str, ...] = WORDS[:-1]) -> dict[str, Any]:
    return {
        "co2": draw.gauss(1, 0.01),
        "co2_1": draw.gauss(0, 1),
        "place": draw.randint(1, 9),
        "small": draw.randint(1, 9),
        "half": draw.random(),
        "graphspec/cast_1": " ".join(draw.choices(words, k=3)),
        "word_ids": " ".join(draw.choices(words, k=3)),
        "constant_0": draw.choices(["do", "re", "mi"], k=draw.randint(1, 4)),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, draw = tmp_path_factory.mktemp("hard"), random.Random(0)
    lines = [json.dumps({**row(draw, WORDS), "target": draw.random()}) for _ in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "hard.yaml").write_text(SPEC)
    program = graphspec.compile(folder / "hard.yaml")
    train(program, root=folder, run_dir=folder / "run", tell=lambda line: None)
    built(Run(folder / "run"), folder / "model.onnx")
    return Run(folder / "run")


@pytest.fixture(scope="module")
def session(run: Run) -> onnxruntime.InferenceSession:
    path = run.path.parent / "model.onnx"
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answer(session: onnxruntime.InferenceSession, run: Run, rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = [value.name for value in session.get_outputs()]
    columns = form_of(run.path.parent / "model.onnx")["columns"]
    return dict(zip(names, session.run(None, feed(columns, rows)), strict=True))


def test_columns_may_be_called_as_values_inside(run: Run, session: onnxruntime.InferenceSession) -> None:
    draw, form = random.Random(1), form_of(run.path.parent / "model.onnx")
    rows = [row(draw) for _ in range(30)]
    rows[3]["co2_1"], rows[7]["co2"] = 0.0, -7.0  # they mean a missing value
    assert form["predictions"] == {"co2_2": "co2"} and not form["arrays"]
    encoders = run.encoders()
    assert encoders is not None and NOT_ALONE in encoders.encoders["step"].tokenizer.get_vocab()  # type: ignore[attr-defined]
    assert_equal(answer(session, run, rows), run.predict(rows), form)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("place", -1),
        ("place", 10),
        ("small", -7),
        ("small", 2**31),
        ("small", -(2**40)),
        ("half", 1e5),
        ("half", np.nan),
        ("co2", 1e38),
        ("co2", -np.inf),
    ],
)
def test_a_number_that_the_check_of_a_table_refuses_ends_the_run(
    column: str, value: Any, run: Run, session: onnxruntime.InferenceSession
) -> None:
    rows = [row(random.Random(2)), {**row(random.Random(3)), column: value}]
    with pytest.raises(SpecError):
        run.predict(rows)
    with pytest.raises(Exception, match=f"column {column}[:,]"):
        answer(session, run, rows)


def test_an_empty_text_within_a_list_is_not_taken_for_its_end(
    run: Run, session: onnxruntime.InferenceSession
) -> None:
    rows = [{**row(random.Random(4)), "constant_0": ["do", "", "re"]}]
    assert run.predict(rows).num_rows == 1
    with pytest.raises(Exception, match="column constant_0: an empty text before other elements"):
        answer(session, run, rows)
