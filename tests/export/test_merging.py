"""Texts whose letters or bytes are merged in a file of ONNX: the ids of the tokenizers library."""

from __future__ import annotations

import csv
import json
import random
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import graphspec
from graphspec.data.encoders.lists import TextEncoder
from graphspec.data.encoders.tokenizers import trained
from graphspec.data.features.plan import Fill
from graphspec.data.features.texts import TextFeature
from graphspec.export.columns import encoding, texts
from graphspec.export.columns.graph import EXTENSIONS, OPSETS, TEXT, WHOLE, GraphWriter
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
    """A file that reads texts, and returns their ids, and where there are any."""
    g, options = GraphWriter(""), onnxruntime.SessionOptions()
    text, opsets = g.column("name", TEXT), dict(OPSETS)
    if texts.merges_bytes(encoder):
        from onnxruntime_extensions import get_library_path

        options.register_custom_ops_library(get_library_path())
        opsets[EXTENSIONS] = 1
        ids, there = texts.byte_tokens(g, encoder, text)
    else:
        ids, there = texts.tokens(g, encoder, "name", text)
    given = helper.make_tensor_value_info("name", TEXT, ["batch"])
    answers = [
        helper.make_tensor_value_info(ids, WHOLE, None),
        helper.make_tensor_value_info(there, TensorProto.BOOL, None),
    ]
    graph = helper.make_graph(g.nodes, "texts", [given], answers, list(g.constants.values()))
    domains = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def assert_same_ids(encoder: TextEncoder, given: list[str]) -> None:
    session = session_of(encoder)
    for first in range(0, len(given), 50):
        some = given[first : first + 50]
        found, there = session.run(None, {"name": np.array([*some, ""], object)})
        for ids, marks, text in zip(found, there, [*some, ""], strict=True):
            wanted = encoder.tokenizer.encode(text).ids
            assert ids[marks].tolist() == wanted and marks[: len(wanted)].all(), text
    found, there = session.run(None, {"name": np.array(["", ""], object)})
    assert found.shape[0] == 2 and not there.any()


@pytest.mark.parametrize("size", [40, 120, 400])
def test_ids_are_those_of_the_library(size: int) -> None:
    encoder, draw = encoder_of(size), random.Random(3)
    assert texts.readable(encoder)
    letters = "".join({*"".join([*names(), *ODD])} - {"\ufb01"})
    drawn = ("".join(draw.choices(letters, k=draw.randint(1, 24))) for _ in range(600))
    assert_same_ids(encoder, [*names(), *ODD, *drawn])


def is_read(session: onnxruntime.InferenceSession, text: str) -> bool:
    try:
        session.run(None, {"name": np.array([text], object)})
    except Exception as error:
        assert "column name: a letter that is written as several characters" in str(error)
        return False
    return True


def test_a_mark_that_joins_no_letter_is_read() -> None:
    """Each alone, between letters that it could move past; and words in scripts that have them."""
    encoder = encoder_of(120)
    session = session_of(encoder)
    marks = [letter for letter in map(chr, range(texts.LAST)) if unicodedata.combining(letter)]
    given = [
        text for mark in marks for text in (f"a{mark}b\u00e9 {mark}a", f"x2{mark}") if is_read(session, text)
    ]
    words = ["\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e38\u0e02"]
    assert len(given) > 1000 and all(is_read(session, word) for word in words)
    assert not any(is_read(session, text) for text in ("e\u0301", "a\u05c1\u05b8", "\u0915\u093c"))
    assert_same_ids(encoder, [*given, *words])


def of_bytes() -> Any:
    """A tokenizer as that of GPT-2."""
    library = pytest.importorskip("tokenizers")
    pytest.importorskip("onnxruntime_extensions", reason="the extra `extensions` is not installed")
    made = library.ByteLevelBPETokenizer()
    given: dict[str, Any] = {"vocab_size": 500, "special_tokens": [texts.ENDS], "show_progress": False}
    made.train_from_iterator([*names(), *ODD], **given)
    return made


LETTERS = {
    "ascii": [chr(code) for code in range(32, 127)],
    "spaces": ["a", "b", " ", "  ", "\t", "\n", "\r", "\u00a0", "\u3000", "'s", "'LL", "1"],
    "latin": [" ", *map(chr, range(0xA0, 0x250))],
    "any": [chr(code) for code in range(32, 0x20000, 7) if not 0xD800 <= code < 0xE000],
    "marks": ["e\u0301", "u\u0308", "\u00df", "o", " ", "1", texts.ENDS],
}


@pytest.mark.parametrize("kind", LETTERS)
def test_bytes_are_merged_as_by_the_library(kind: str) -> None:
    encoder, draw, made = encoder_of(40), random.Random(4), of_bytes()
    encoder.tokenizer = made._tokenizer
    assert texts.merges_bytes(encoder) and not texts.readable(encoder)
    drawn = ("".join(draw.choices(LETTERS[kind], k=draw.randint(1, 24))) for _ in range(500))
    assert_same_ids(encoder, [*names(), *ODD, *drawn])


def test_another_tokenizer_of_bytes_stays_outside() -> None:
    encoder, made = encoder_of(40), of_bytes()
    state = json.loads(made._tokenizer.to_str())
    changes: list[dict[str, Any]] = [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {**state["pre_tokenizer"], "add_prefix_space": True}},
        {"added_tokens": []},
        {"added_tokens": [{**state["added_tokens"][0], "lstrip": True}]},
    ]
    for change in changes:
        encoder.tokenizer = type(made._tokenizer).from_str(json.dumps({**state, **change}))
        assert not texts.merges_bytes(encoder), change


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


@pytest.mark.parity
def test_a_run_that_merges_bytes_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_bytes()._tokenizer.save(str(tmp_path / "bytes.json"))
    shutil.copy(CARS, tmp_path / "cars.csv")
    spec = SPEC.replace("tokenizer: bpe, vocabulary: 150", "tokenizer: bytes.json")
    spec = spec.replace("data/cars.csv", "cars.csv").replace("$(vocabulary(name))", "600")
    (tmp_path / "spec.yaml").write_text(spec)
    program = graphspec.compile(tmp_path / "spec.yaml")
    train(program, root=tmp_path, run_dir=tmp_path / "run", tell=lambda line: None)
    run, path = Run(tmp_path / "run"), tmp_path / "model.onnx"
    assert built(run, path)["needs"] == form_of(path)["needs"] == ["onnxruntime-extensions"]
    built(run, tmp_path / "folder", "--fastest")
    built(run, tmp_path / "repository", "--triton")
    config = (tmp_path / "repository" / "config.pbtxt").read_text()
    assert "# Name the library of onnxruntime-extensions: model_operations { op_library_filename" in config
    rows: list[dict[str, Any]] = [{"name": name} for name in [*names(), *ODD]]
    expected = run.predict(rows, batch_size=len(rows))
    for file in (path, tmp_path / "folder" / "predict.py"):
        (found,) = alone(file, [feed({"name": "text"}, rows)], tmp_path, "onnxruntime-extensions")
        assert_equal(found, expected, form_of(path))
    monkeypatch.setattr(encoding, "find_spec", lambda name: None)
    said = built(run, path)["arrays"]["name"]
    assert said.endswith("pip install onnxruntime-extensions") and not form_of(path)["needs"]
