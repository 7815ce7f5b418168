"""Models of Keras that look up texts and numbers themselves: the data of a spec do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest
import yaml
from keras import layers

from graphspec.convert import import_keras
from graphspec.diagnostics import SpecError
from tests.keras_saved import KERAS_WARNS

pytestmark = KERAS_WARNS


def looking_up(folder: Path, kind: str, shape: tuple[int, ...] = (1,), **config: Any) -> Path:
    """The config of a model that begins with a lookup, which Keras makes with TensorFlow alone."""
    x = keras.Input(shape, dtype="int64", name="word")
    y = layers.Embedding(9, 4)(layers.Identity(name="lookup")(x))
    model = json.loads(keras.Model(x, layers.Dense(2, name="y")(y)).to_json())
    entry = next(each for each in model["config"]["layers"] if each["config"]["name"] == "lookup")
    entry["class_name"], entry["config"] = kind, {"name": "lookup", **config}
    path = folder / "model.json"
    path.write_text(json.dumps(model))
    return path


def test_a_vocabulary_becomes_the_values_of_a_feature(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "vocabulary": ["[UNK]", "a", "b"],
        "oov_token": "[UNK]",
        "mask_token": None,
        "num_oov_indices": 1,
    }
    imported = import_keras(looking_up(tmp_path, "StringLookup", **given))
    document = yaml.safe_load(imported.text)
    assert document["data"] == {"features": {"word": {"encode": "category", "values": ["a", "b"]}}}
    assert document["inputs"]["word"] == {"shape": [1], "dtype": "int64"}
    assert not imported.notes and "lookup" not in document["nodes"]


def test_ids_are_those_of_keras(tmp_path: Path) -> None:
    """Without one for what is unseen they begin at 0; with one for masks, too, at 2."""
    given: dict[str, Any] = {"vocabulary": [3, 5], "num_oov_indices": 0, "mask_token": None}
    text = import_keras(looking_up(tmp_path, "IntegerLookup", (), **given)).text
    assert "{op: squeeze, axis: 1}" in text and "{op: add, x2: -1}" in text
    given = {"vocabulary": ["a"], "num_oov_indices": 1, "mask_token": ""}
    imported = import_keras(looking_up(tmp_path, "StringLookup", **given))
    assert "{op: add, x2: 1}" in imported.text and "mask token" in imported.notes[0]


def test_what_differs_is_told(tmp_path: Path) -> None:
    imported = import_keras(looking_up(tmp_path, "Hashing", num_bins=9))
    assert "word: {encode: hash, bins: 9}" in imported.text and "train" in imported.notes[0]
    given: dict[str, Any] = {"max_tokens": 9, "output_mode": "int", "output_sequence_length": 7}
    imported = import_keras(looking_up(tmp_path, "TextVectorization", **given))
    assert "word: {encode: text, vocabulary: 9}" in imported.text and "shape: [7]" in imported.text
    assert "vocabulary of their own" in imported.notes[0]


@pytest.mark.parametrize("given", [{"invert": True}, {"num_oov_indices": 3}, {"output_mode": "tf_idf"}])
def test_what_no_feature_does_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`lookup`"):
        import_keras(looking_up(tmp_path, "StringLookup", vocabulary=["a"], **given))
