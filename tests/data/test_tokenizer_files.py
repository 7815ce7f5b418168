"""`encode: text` with a tokenizer of a file: the ids are those that its library gives."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

import graphspec
from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.lists import TextEncoder
from graphspec.data.encoders.tokenizers import of_file
from graphspec.data.encoding import new_encoders
from graphspec.data.features import parse_features
from graphspec.data.features.plan import plan_fills
from graphspec.diagnostics import SpecError
from graphspec.tensor import Tensor
from tests.data.test_encoders import BATCH, IDS, output, part, source

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "Ünïcode",
    "wörds,",
    "dots...",
    "and",
    "12,5",
    "numbers!",
    "tokenization",
    "naïve",
    "漢字",
    "emoji",
    "🙂",
]


def texts(count: int) -> list[str]:
    chance = random.Random(3)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, 12))) for _ in range(count)]


def trained(kind: str) -> tokenizers.Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if kind == "wordpiece":
        made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    elif kind == "bpe":
        made = tokenizers.Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    else:
        made = tokenizers.Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=120, special_tokens=special, unk_token="[UNK]", show_progress=False
        )
    made.train_from_iterator(texts(400), trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.enable_truncation(5)
    made.enable_padding(length=7)
    return made


SPEC = """
inputs:
  text: {shape: [length], dtype: int64}
nodes:
  words: {layer: Embedding, input_dim: 400, output_dim: 4}
  mean:  {layer: GlobalAveragePooling1D}
  label: {layer: Dense, units: 1}
outputs:
  label: {loss: mse}
data:
  train: texts.csv
  features:
    text: {encode: text, tokenizer: TOKENIZER}
train: {epochs: 1, batch_size: 100}
"""


def spec_in(directory: Path, tokenizer: str = "tokenizer.json", more: str = "") -> Any:
    path = directory / "spec.yaml"
    path.write_text(SPEC.replace("TOKENIZER", tokenizer + more))
    return graphspec.compile(path)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_ids_are_those_of_the_library_on_a_thousand_texts(kind: str, tmp_path: Path) -> None:
    made = trained(kind)
    made.save(str(tmp_path / "tokenizer.json"))
    written = texts(1000)
    encoder = new_encoders(spec_in(tmp_path)).encoders["text"]
    assert isinstance(encoder, TextEncoder)
    encoder.finish()
    whole = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    whole.no_padding()
    whole.no_truncation()
    assert [encoder.text_ids(text) for text in written] == [one.ids for one in whole.encode_batch(written)]
    assert all(ids is not None and (ids[0], ids[-1]) == (2, 3) for ids in map(encoder.text_ids, written))


@pytest.mark.parametrize("part", ["ids", "types"])
def test_pairs_go_by_the_template_of_the_tokenizer(part: str, tmp_path: Path) -> None:
    trained("wordpiece").save(str(tmp_path / "tokenizer.json"))
    first, second = texts(1000), texts(2000)[1000:]
    with (tmp_path / "texts.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(
            [("text", "other", "label"), *zip(first, second, range(1000), strict=True)]
        )
    program = spec_in(tmp_path, more=f", pair: other, part: {part}")
    encoder = new_encoders(program).encoders["text"]
    assert isinstance(encoder, TextEncoder)
    encoder.finish()
    whole = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    whole.no_padding()
    whole.no_truncation()
    wanted = whole.encode_batch(list(zip(first, second, strict=True)))
    expected = [one.ids if part == "ids" else one.type_ids for one in wanted]
    pairs = [{"text": a, "other": b} for a, b in zip(first, second, strict=True)]
    read = encoder.in_row()
    assert read is not None and [list(read(row)) for row in pairs] == expected
    table = pa.table({"text": first, "other": second})
    ragged = encoder.ids(TablePart(table, np.arange(1000), "texts.csv", str)).ragged
    assert ragged.values.tolist() == [number for row in expected for number in row]
    assert read({"text": "a", "other": None}) is None


def test_pairs_need_the_file_of_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="template of a tokenizer of a file"):
        spec_in(tmp_path, tokenizer="word", more=", pair: other")


def test_a_training_reads_a_tokenizer_and_keeps_it(tmp_path: Path) -> None:
    trained("wordpiece").save(str(tmp_path / "tokenizer.json"))
    with (tmp_path / "texts.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows([text, len(text)] for text in texts(60))
    spec_in(tmp_path).fit(run_dir=tmp_path / "run")
    (tmp_path / "tokenizer.json").unlink()
    found = graphspec.Run(tmp_path / "run").predict(tmp_path / "texts.csv")
    assert len(found["label"]) == 60


@pytest.mark.parametrize(
    ("content", "code"), [(None, "data-missing"), ("{}", "data-format"), ("x", "data-format")]
)
def test_files_that_are_no_tokenizer(content: str | None, code: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpecError) as error:
        of_file(path)
    assert error.value.diagnostics[0].code == code


def test_check_misses_the_file(tmp_path: Path) -> None:
    from graphspec.data.checking import check_files

    (tmp_path / "texts.csv").write_text("text,label\na,1\nb,2\n")
    found = list(check_files(spec_in(tmp_path), tmp_path))
    assert [each.code for each in found] == ["data-missing"]


def test_a_file_has_its_own_tokens(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has its own tokens"):
        spec_in(tmp_path, more=", vocabulary: 100")


def test_a_missing_text_has_no_steps_that_count(tmp_path: Path) -> None:
    """A tokenizer with marks of its own has ids for an empty text, too."""
    trained("wordpiece").save(str(tmp_path / "tokenizer.json"))
    outputs = {"y": output(Tensor((BATCH, 5, 400)), "sparse_categorical_crossentropy", missing="ignore")}
    columns = {"x": ["a", "b"], "y": ["the house", None]}
    file = {"encode": "text", "tokenizer": "tokenizer.json"}
    features = parse_features({"x": {"encode": "category"}, "y": file})
    made = Encoders(plan_fills({"x": IDS}, outputs, features, {}), outputs, root=tmp_path)
    made.bind(source(columns))
    made.fit([part(columns)])
    there, missing = made.encode(part(columns)).masks["y"].tolist()
    assert any(there) and not any(missing)
