"""Texts that go on: rows of joined documents, what comes next, and what a model does not learn to say."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from graphspec.compiler import compile
from graphspec.data.batches import Shuffle
from graphspec.data.encoders.lists import TextEncoder
from graphspec.data.loading import Data, load
from graphspec.data.tables import texts as text_tables
from graphspec.diagnostics import SpecError
from graphspec.runs.run import Run
from graphspec.train.loop import train

CPU = torch.device("cpu")
SPEC = """
inputs:
  tokens: {shape: [length], dtype: int64}
nodes:
  words: {layer: Embedding, input_dim: 400, output_dim: 4}
  next: {layer: Dense, units: 400, activation: softmax}
outputs:
  next: {loss: sparse_categorical_crossentropy}
data:
  train: DATA
  validation: {split: 0.25}
  features:
    tokens: {column: text, encode: text, FEATURE}
    next: {of: tokens, shift: 1}
train: {epochs: 2, batch_size: 4, seed: 3}
"""
END = 2
TOKENIZERS = {
    "characters": "tokenizer: characters",
    "bytes": "tokenizer: bytes",
    "words": "tokenizer: words",
    "bpe": "tokenizer: bpe, vocabulary: 300",
}
WORDS = ["Alice", "was", "beginning", "to", "get", "very", "tired", "—", "of", "sitting,", "by", "her"]
WORDS += ["sister.", "", "\n"]


def text(words: int, seed: int = 0) -> str:
    """A text in which no two places look alike for long."""
    drawn = np.random.default_rng(seed).integers(0, len(WORDS), words)
    return " ".join(WORDS[word] for word in drawn)


def spec(data: str, feature: str, **changes: str) -> str:
    written = SPEC.replace("DATA", data).replace("FEATURE", feature)
    for old, new in changes.items():
        assert old in written
        written = written.replace(old, new)
    return written


def loaded(folder: Path, written: str, **options: Any) -> Data:
    return load(compile(written), None, folder, CPU, **options)


def documents(folder: Path, texts: list[str], kind: str = "txt") -> str:
    """Texts as a folder of files, a file of JSON lines or a table; what the spec names."""
    if kind == "txt":
        (folder / "books").mkdir()
        for number, each in enumerate(texts):
            (folder / "books" / f"{number:03}.txt").write_text(each, encoding="utf-8")
        return "books"
    if kind == "jsonl":
        lines = "".join(json.dumps({"text": each}) + "\n" for each in texts)
        (folder / "books.jsonl").write_text(lines, encoding="utf-8")
        return "books.jsonl"
    import pandas as pd

    pd.DataFrame({"text": texts}).to_parquet(folder / "books.parquet")
    return "books.parquet"


def arrays(examples: Any, shuffle: Shuffle | None = None, start: int = 0) -> tuple[Any, Any]:
    """All rows of tokens, and what comes next."""
    batches = list(examples.batches(4, shuffle, start))
    tokens, after = (torch.cat([b.arrays[name] for b in batches]).numpy() for name in ("tokens", "next"))
    return tokens, after


def encoder_of(data: Data) -> TextEncoder:
    assert data.encoders is not None
    encoder = data.encoders.encoders["tokens"]
    assert isinstance(encoder, TextEncoder)
    return encoder


def said(data: Data, ids: Any) -> str:
    text: str = encoder_of(data).tokenizer.decode(np.asarray(ids).tolist(), skip_special_tokens=False)
    return text


def held(folder: Path, data: Data, texts: list[str]) -> tuple[list[str], list[str]]:
    """The documents of training and of validation, as their streams say."""
    parts = []
    for examples in (data.training, data.validation):
        tokens, after = arrays(examples)
        parts.append(said(data, [*tokens.reshape(-1), after[-1, -1]]).split("<|end|>"))
    return parts[0], parts[1]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_what_comes_next_is_the_next_token_of_the_stream(tmp_path: Path, kind: str, tokenizer: str) -> None:
    texts = [text(20 + 7 * number, number) for number in range(12)]
    feature = f'{TOKENIZERS[tokenizer]}, pack: 16, end: "<|end|>"'
    data = loaded(tmp_path, spec(documents(tmp_path, texts, kind), feature))
    rest = set(texts)
    for examples in (data.training, data.validation):
        tokens, after = arrays(examples)
        assert tokens.shape[1] == 16 and (tokens.reshape(-1)[1:] == after.reshape(-1)[:-1]).all()
        *whole, begun = said(data, [*tokens.reshape(-1), after[-1, -1]]).split("<|end|>")
        assert whole and rest.issuperset(whole)  # whole documents, of no other part
        rest -= {*whole}
        assert not begun or any(each.startswith(begun) for each in rest)
        rest -= {each for each in rest if begun and each.startswith(begun)}
        assert [each for each in texts if each in whole] == whole  # in the order of the file
    assert len(rest) <= 2  # those of which all is in the part that fills no row


def test_a_book_ends_in_validation(tmp_path: Path) -> None:
    book = "\n".join(text(9, number) for number in range(40))
    (tmp_path / "book.txt").write_text(book, encoding="utf-8")
    feature = 'tokenizer: characters, pack: 8, end: "<|end|>"'
    data = loaded(tmp_path, spec("book.txt", feature))
    (first, after_first), (second, after_second) = arrays(data.training), arrays(data.validation)
    training = said(data, [*first.reshape(-1), after_first[-1, -1]])
    validation = said(data, [*second.reshape(-1), after_second[-1, -1]])
    border = book.index(validation)
    assert book[border - 1] == "\n" and len(book) * 0.7 < border < len(book) * 0.76
    assert book.startswith(training) and border - 9 < len(training) <= border
    assert "training" in data.notes[0] and "validation" in data.notes[0]


def test_order_depends_on_seed_and_epoch_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    name = documents(tmp_path, [text(30, number) for number in range(8)])
    data = loaded(tmp_path, spec(name, 'tokenizer: bytes, pack: 24, end: "<|end|>"'))
    rows = np.hstack(arrays(data.training))
    assert len(np.unique(rows, axis=0)) == len(rows)
    for epoch in (0, 1):
        mixed = np.hstack(arrays(data.training, Shuffle(3, epoch)))
        assert sorted(map(bytes, mixed)) == sorted(map(bytes, rows)) and not (mixed == rows).all()
        resumed = np.hstack(arrays(data.training, Shuffle(3, epoch), 12))
        assert (resumed == mixed[12:]).all()


def test_in_files_rows_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = documents(tmp_path, [text(40, number) for number in range(30)])
    written = spec(name, 'tokenizer: words, pack: 8, end: "<|end|>"')
    in_memory = loaded(tmp_path, written)
    monkeypatch.setenv("GRAPHSPEC_MEMORY", "1K")
    filed = loaded(tmp_path, written)
    assert any("are read from" in note for note in filed.notes)
    for part in ("training", "validation"):
        for one, other in zip(*(arrays(getattr(d, part)) for d in (in_memory, filed)), strict=True):
            assert (one == other).all()
    rows, mixed = (np.hstack(arrays(filed.training, each)) for each in (None, Shuffle(3, 0)))
    assert sorted(map(bytes, mixed)) == sorted(map(bytes, rows)) and not (mixed == rows).all()


def test_a_text_in_pieces_is_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text(200, number) for number in range(3)] + ["ä" * 300, "", "one\r\ntwo"]
    name = documents(tmp_path, texts)
    marks = 'begin: "<|begin|>", end: "<|end|>"'
    written = spec(name, f"tokenizer: bytes, pack: 4, {marks}", **{"  validation: {split: 0.25}\n": ""})
    whole = loaded(tmp_path, written)
    monkeypatch.setattr(text_tables, "PIECE", 100)
    pieces = loaded(tmp_path, written)
    assert whole.fingerprint == pieces.fingerprint
    tokens, after = arrays(pieces.training)
    stream = "".join(f"<|begin|>{each}<|end|>" for each in texts if each).replace("\r", "")
    found = said(pieces, [*tokens.reshape(-1), after[-1, -1]])
    assert stream.startswith(found) and len(found) > len(stream) - 14


@given(
    st.lists(st.text(st.sampled_from("ab é\n漢"), max_size=40), min_size=1, max_size=4),
    st.integers(1, 60),
    st.integers(0, 200),
)
def test_pieces_are_cut_at_the_border_and_between_characters(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], piece: int, border: int
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    whole = "\n".join(lines).encode()
    path.write_bytes(whole)
    while border and border < len(whole) and whole[border] & 0xC0 == 0x80:
        border -= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_tables, "PIECE", piece)
        pieces = list(text_tables.pieces(path, "utf-8", border))
    assert b"".join(pieces) == whole and all(pieces)
    ends = np.cumsum([0, *map(len, pieces)]).tolist()
    assert border in ends or border > len(whole)
    assert all(stop - start <= piece + 3 for start, stop in pairwise(ends))
    for each in pieces:
        each.decode()


@pytest.mark.parametrize("tokenizer", [*TOKENIZERS])
def test_nothing_of_a_text_is_lost(tmp_path: Path, tokenizer: str) -> None:
    texts = ["  Zwei  Wörter\n\n\tund\u00a0mehr: [PAD] [UNK] naïve ½", "emoji 😀 e\u0301 <|end|> x"]
    written = spec(
        documents(tmp_path, texts, "jsonl"),
        f'{TOKENIZERS[tokenizer]}, pack: 1, end: "<|end|>"',
        **{"  validation: {split: 0.25}\n": ""},
    )
    data = loaded(tmp_path, written)
    tokens, after = arrays(data.training)
    assert said(data, [*tokens.reshape(-1), after[-1, -1]]) == "".join(f"{each}<|end|>" for each in texts)
    encoder = encoder_of(data)
    library = encoder.tokenizer.encode(texts[1], add_special_tokens=False).ids  # as what runs it alone does
    assert library == tokens.reshape(-1).tolist()[-len(library) :]
    assert library.count(END) == 1


def test_short_texts_and_wrong_keys_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("too short", encoding="utf-8")
    with pytest.raises(SpecError) as told:
        loaded(tmp_path, spec("a.txt", "tokenizer: characters, pack: 16"))
    (mistake,) = told.value.diagnostics
    assert mistake.code == "data-empty" and "takes 17" in mistake.message and "pack" in (mistake.help or "")


# --- a row a document

PAIRS = [("say hi", "hi"), ("say more than that", "more than that"), ("", "x"), ("say no", "")]
ANSWERS = """
inputs:
  tokens: {shape: [LENGTH], dtype: int64}
nodes:
  words: {layer: Embedding, input_dim: 60, output_dim: 4}
  next: {layer: Dense, units: 60, activation: softmax}
outputs:
  next: {loss: sparse_categorical_crossentropy, metrics: [perplexity]}
data:
  train: pairs.jsonl
  features:
    tokens: {column: answer, encode: text, tokenizer: characters, FEATURE}
    next: {of: tokens, shift: 1}
train: {epochs: 1, batch_size: 4, seed: 3}
"""
MARKS = 'begin: "<", end: ">", fill: ""'


def answers(folder: Path, length: str, feature: str) -> Data:
    lines = [json.dumps({"prompt": prompt, "answer": answer}) + "\n" for prompt, answer in PAIRS]
    (folder / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    return loaded(folder, ANSWERS.replace("LENGTH", length).replace("FEATURE", feature))


@pytest.mark.parametrize("prompted", [False, True])
@pytest.mark.parametrize("length", ["length", "40"])
@pytest.mark.parametrize("memory", ["1G", "1K"])
def test_a_row_a_document_learns_what_comes_after_its_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: str, prompted: bool, memory: str
) -> None:
    monkeypatch.setenv("GRAPHSPEC_MEMORY", memory)
    data = answers(tmp_path, length, f"{MARKS}, prompt: prompt" if prompted else MARKS)
    (batch,) = data.training.batches(8, Shuffle(1, 0))
    rows = zip(batch.arrays["tokens"], batch.arrays["next"], batch.masks["next"], strict=True)
    found = []
    for tokens, after, counted in rows:
        there = tokens[tokens != 0]
        assert (
            after[: len(there) - 1][counted[: len(there) - 1]] == there[1:][counted[: len(there) - 1]]
        ).all()
        assert not counted[len(there) - 1 :].any() and len(counted) == len(tokens)
        found.append((said(data, there), said(data, after[counted])))
    expected = [(f"<{p}{a}>" if prompted else f"<{a}>", f"{a}>") for p, a in PAIRS]
    assert sorted(found) == sorted(expected)


def test_prompts_of_joined_documents_are_not_learned(tmp_path: Path) -> None:
    data = answers(tmp_path, "length", 'end: ">", fill: "", prompt: prompt, pack: 4')
    batches = list(data.training.batches(3))
    after = torch.cat([b.arrays["next"][b.masks["next"]] for b in batches])
    assert "hi>more than that>x>>".startswith(said(data, after)) and len(after) > 15
    stream = "".join(f"{prompt}{answer}>" for prompt, answer in PAIRS)
    tokens = torch.cat([b.arrays["tokens"].flatten() for b in batches])
    assert stream.startswith(said(data, tokens))


def test_a_longer_row_is_cut_and_its_last_place_knows_what_comes_next(tmp_path: Path) -> None:
    data = answers(tmp_path, "length", f"{MARKS}, length: 6")
    (batch,) = data.training.batches(8)
    row, after, counted = (
        each[1] for each in (batch.arrays["tokens"], batch.arrays["next"], batch.masks["next"])
    )
    assert said(data, row) == "<more " and said(data, after) == "more t" and counted.all()


TRANSLATION = """
inputs:
  source: {shape: [words], dtype: int64}
  target: {shape: [said], dtype: int64}
nodes:
  given: {layer: Embedding, from: source, input_dim: 40, output_dim: 8, mask_zero: true}
  code:  {layer: GRU, units: 8}
  known: {layer: Embedding, from: target, input_dim: 40, output_dim: 8, mask_zero: true}
  heard: {layer: GRU, units: 8, from: {sequences: known, initial_state: [code]}, return_sequences: true}
  next:  {layer: Dense, units: 40, activation: softmax}
outputs:
  next: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
data:
  train: pairs.jsonl
  features:
    source: {column: english, encode: text, tokenizer: characters}
    target: {column: french, encode: text, tokenizer: characters, begin: "<s>", end: "</s>"}
    next:   {of: target, shift: 1}
train: {epochs: 1, batch_size: 2, seed: 3}
"""


def test_a_translation_is_learned_after_its_begin(tmp_path: Path) -> None:
    pairs = [("one", "un"), ("two", "deux"), ("three", "trois"), ("four", "quatre")]
    lines = [json.dumps({"english": e, "french": f}) + "\n" for e, f in pairs]
    (tmp_path / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(TRANSLATION)
    program = compile(tmp_path / "spec.yaml")
    data = load(program, None, tmp_path, CPU)
    assert data.encoders is not None
    said = data.encoders.encoders["target"].tokenizer  # type: ignore[attr-defined]
    for batch in data.training.batches(3):
        for target, after, counted in zip(
            batch.arrays["target"], batch.arrays["next"], batch.masks["next"], strict=True
        ):
            row = said.decode(target[target != 0].tolist(), skip_special_tokens=False)
            assert row.startswith("<s>") and row.endswith("</s>") and row[3:-4] in dict(pairs).values()
            assert said.decode(after[counted].tolist(), skip_special_tokens=False) == row[3:]
    run = Run(train(program, data=None, root=tmp_path, run_dir=tmp_path / "run", device="cpu").run_dir)
    table = run.predict([{"english": "one", "french": "un"}])
    assert table.num_rows == 1 and len(table.column("next")[0]) == 3  # after the begin, `u` and `n`


# --- in a training

GPT = """
params: {vocabulary: 30, context: 8, width: 8, heads: 2}
inputs:
  tokens: {shape: [length], dtype: int64}
shared:
  embedding: {layer: ReversibleEmbedding, input_dim: $vocabulary, output_dim: $width}
nodes:
  words:     {call: embedding, from: tokens}
  places:    {layer: PositionEmbedding, sequence_length: $context}
  sum:       {merge: add, from: [words, places]}
  norm1:     {layer: LayerNormalization, epsilon: 1e-5}
  attention:
    layer: MultiHeadAttention
    from: {query: norm1, value: norm1}
    num_heads: $heads
    key_dim: $(width // heads)
    use_causal_mask: true
  seen:      {merge: add, from: [sum, attention]}
  norm2:     {layer: LayerNormalization, epsilon: 1e-5}
  wide:      {layer: Dense, units: $(4 * width), activation: gelu}
  narrow:    {layer: Dense, units: $width}
  out:       {merge: add, from: [seen, narrow]}
  norm:      {layer: LayerNormalization, epsilon: 1e-5}
  scores:    {call: embedding, reverse: true}
  next:      {layer: Activation, activation: softmax}
outputs:
  next: {loss: sparse_categorical_crossentropy, metrics: [perplexity]}
data:
  train: books
  validation: {split: 0.25}
  features:
    tokens: {column: text, encode: text, tokenizer: characters, vocabulary: 30, pack: $context, end: "|"}
    next: {of: tokens, shift: 1}
train:
  optimizer: {name: sgd, learning_rate: 0.5}
  epochs: 2
  batch_size: 16
  seed: 3
  callbacks: {backup_and_restore: {save_freq: 4}}
"""


def scores_by_hand(w: dict[str, torch.Tensor], tokens: torch.Tensor, heads: int = 2) -> torch.Tensor:
    """A GPT of one layer, as one writes it without a library of layers: [batch, length] to scores."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    count, length = tokens.shape
    x = w["embedding.weight"][tokens] + w["places.weight"][:length]
    y = norm(x, "norm1")
    q, k, v = (
        linear(y, f"attention.{name}").view(count, length, heads, -1).transpose(1, 2)
        for name in ("query", "key", "value")
    )
    past = torch.ones(length, length).tril() == 0
    weight = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).masked_fill(past, -torch.inf).softmax(-1)
    x = x + linear((weight @ v).transpose(1, 2).reshape(count, length, -1), "attention.output")
    x = x + linear(torch.nn.functional.gelu(linear(norm(x, "norm2"), "wide")), "narrow")
    return norm(x, "norm") @ w["embedding.weight"].T


def test_a_training_is_the_loop_that_one_writes_by_hand(tmp_path: Path) -> None:
    documents(tmp_path, [text(20, number) for number in range(12)])
    program = compile(GPT, settings={"train.epochs": 1})
    module, first = program.module(), tmp_path / "first.safetensors"
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, first)
    run = train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", weights=first)
    weights = {name: value.clone().requires_grad_() for name, value in module.state_dict().items()}
    total = places = 0.0
    data = load(program, None, tmp_path, CPU)
    for batch in data.training.batches(16, Shuffle(3, 0)):
        scores = scores_by_hand(weights, batch.arrays["tokens"])
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), batch.arrays["next"].flatten())
        gradients = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for weight, gradient in zip(weights.values(), gradients, strict=True):
                weight -= 0.5 * gradient
        count = batch.arrays["next"].numel()
        total, places = total + loss.item() * count, places + count
    history = [json.loads(line) for line in (run.run_dir / "history.jsonl").read_text().splitlines()]
    assert history[0]["loss"] == pytest.approx(total / places, rel=1e-5)
    assert history[0]["val_perplexity"] == pytest.approx(np.exp(history[0]["val_loss"]), rel=1e-5)
    last = load_file(run.run_dir / "last.safetensors")
    for name, weight in weights.items():
        torch.testing.assert_close(last[name], weight.detach(), rtol=1e-4, atol=1e-5)


class Stop(Exception):
    pass


class StopAt:
    """A callback that ends the training in the middle of an epoch."""

    def __init__(self, batch: int):
        self.left = batch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.left -= 1
        if not self.left:
            raise Stop


def test_a_run_on_joined_documents_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents(tmp_path, [text(20, number) for number in range(12)])
    program = compile(GPT)
    whole = train(program, root=tmp_path, run_dir=tmp_path / "whole", device="cpu").run_dir
    monkeypatch.setenv("GRAPHSPEC_MEMORY", "1G")
    with pytest.raises(Stop):
        train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", callbacks=[StopAt(6)])
    run = train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu", resume=True).run_dir
    for name in ("last.safetensors", "history.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    scores = Run(run).evaluate(tmp_path / "books")
    assert scores["perplexity"] == pytest.approx(np.exp(scores["loss"]), rel=1e-5)


def test_what_a_single_text_cannot_have_and_what_documents_need_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one and two " * 30, encoding="utf-8")
    with pytest.raises(SpecError) as told:
        written = spec("a.txt", "tokenizer: characters, pack: 4", **{"split: 0.25": "split: 0.25, fold: 1"})
        loaded(tmp_path, written)
    assert told.value.diagnostics[0].span is not None and "one document" in told.value.diagnostics[0].message
    alone = loaded(tmp_path, spec("a.txt", "tokenizer: characters, pack: 4"))
    assert not any("run into" in note for note in alone.notes)
    several = loaded(
        tmp_path, spec(documents(tmp_path, ["a b c d", "e f g"] * 4), "tokenizer: words, pack: 2")
    )
    assert any("run into" in note for note in several.notes)
    (tmp_path / "b.txt").write_text("one and two " * 30 + "\n" + "six " * 30, encoding="utf-8")
    strange = loaded(tmp_path, spec("b.txt", "tokenizer: characters, pack: 4"))
    assert "validation: 121 tokens (91 unseen), 30 rows of 4" in strange.notes[0]
