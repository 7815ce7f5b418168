"""`tokenizer: bpe` in a file of ONNX: the ids of the tokenizers library, text by text."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import graphspec
from graphspec.data.encoders.lists import TextEncoder
from graphspec.data.encoders.tokenizers import trained
from graphspec.data.features.plan import Fill
from graphspec.data.features.settings import TextFeature
from graphspec.export.columns import texts
from graphspec.export.columns.graph import OPSETS, TEXT, WHOLE, GraphWriter
from graphspec.export.columns.proof import feed
from graphspec.runs.run import Run
from graphspec.tensor import Tensor, symbol
from graphspec.train.loop import train
from tests import ROOT
from tests.export.alone import alone, assert_equal, built, form_of

CARS = ROOT / "specs" / "data" / "cars.csv"
ODD = [
    "\u00c9t\u00e9 \u00e0 Paris",
    "Stra\u00dfe x2,y3!  don't",
    "\u65e5\u672c\u8a9e \u30c6\u30b9\u30c8",
    "tab\tnew\nline",
    "\U0001f600 ok \ufb01ne foo_bar",
    "a" * 70 + " " + "ab" * 40,
    "[UNK] [PAD]",
    "...",
    "2024-01-31T10:00",
]


def names() -> list[str]:
    with CARS.open(newline="") as stream:
        return [row["name"] for row in csv.DictReader(stream)]


def encoder_of(size: int) -> TextEncoder:
    feature = TextFeature.model_validate({"encode": "text", "tokenizer": "bpe", "vocabulary": size})
    encoder = TextEncoder(Fill("name", Tensor((symbol("batch"), symbol("n")), "int64"), feature))
    encoder.tokenizer = trained(feature, [[*names(), *ODD]])
    return encoder


def session_of(encoder: TextEncoder) -> onnxruntime.InferenceSession:
    """A file that reads texts, and returns their ids."""
    g = GraphWriter()
    ids = texts.tokens(g, encoder, "name", g.column("name", TEXT))
    given = helper.make_tensor_value_info("name", TEXT, ["batch"])
    answer = helper.make_tensor_value_info(ids, WHOLE, None)
    graph = helper.make_graph(g.nodes, "texts", [given], [answer], list(g.constants.values()))
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("size", [40, 120, 400])
def test_ids_are_those_of_the_library(size: int) -> None:
    encoder, draw = encoder_of(size), random.Random(3)
    assert texts.readable(encoder)
    session, letters = session_of(encoder), "".join({*"".join([*names(), *ODD])} - {"\ufb01"})
    given = [*names(), *ODD, *("".join(draw.choices(letters, k=draw.randint(1, 24))) for _ in range(600))]
    for first in range(0, len(given), 50):
        some = given[first : first + 50]
        (found,) = session.run(None, {"name": np.array([*some, ""], object)})
        for row, text in zip(found.tolist(), some, strict=False):
            wanted = encoder.tokenizer.encode(text).ids
            assert row[: len(wanted)] == wanted and not any(row[len(wanted) :]), text
        assert not found[-1].any()
    (found,) = session.run(None, {"name": np.array(["", ""], object)})
    assert found.shape[0] == 2 and not found.any()


SPEC = """
inputs: {name: {shape: [words], dtype: int64}}
nodes:
  vectors: {layer: Embedding, input_dim: $(vocabulary(name)), output_dim: 4, mask_zero: true}
  mean: {layer: GlobalAveragePooling1D}
  origin: {layer: Dense, units: 3, activation: softmax}
outputs: {origin: {loss: sparse_categorical_crossentropy}}
data:
  train: data/cars.csv
  features:
    name: {encode: text, tokenizer: bpe, vocabulary: 150, length: 9}
    origin: {encode: category}
train: {epochs: 1}
"""


def test_a_run_that_merges_letters_reads_columns(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    program = graphspec.compile(tmp_path / "spec.yaml")
    train(program, root=ROOT / "specs", run_dir=tmp_path / "run", tell=lambda line: None)
    run, path = Run(tmp_path / "run"), tmp_path / "model.onnx"
    assert built(run, path)["columns"] == {"name": "text"}
    rows: list[dict[str, Any]] = [{"name": name} for name in [*names(), *ODD]]
    (found,) = alone(path, [feed({"name": "text"}, rows)], tmp_path)
    assert_equal(found, run.predict(rows, batch_size=len(rows)), form_of(path))
