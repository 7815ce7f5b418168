"""Folders of Hugging Face that `build --huggingface` writes: what they hold, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from typer.testing import CliRunner

import graphspec
from graphspec import Run
from graphspec.cli.app import app
from graphspec.convert.pytorch.huggingface import import_huggingface
from graphspec.convert.pytorch.to_huggingface import save_huggingface
from graphspec.files.tensors import save
from tests import ROOT
from tests.generate.test_generate import config_of


def build(spec: Path, folder: Path, *words: str) -> Any:
    given = ["build", str(spec), "--huggingface", "-o", str(folder), *words]
    return CliRunner().invoke(app, given)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "llama, tied", "mistral"])
def test_what_was_imported_goes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = config_of(kind.split(",")[0])
    config.tie_word_embeddings = kind != "llama"
    model: Any = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path / "theirs")
    imported = import_huggingface(tmp_path / "theirs")
    (tmp_path / "a.yaml").write_text(imported.text)
    save(tmp_path / "a.safetensors", dict(imported.weights), {})
    result = build(
        tmp_path / "a.yaml", tmp_path / "back", "--weights", str(tmp_path / "a.safetensors"), "--json"
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["difference"] < 1e-5 and told["class"] == type(model).__name__

    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    state = model.state_dict()
    assert back.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in back.state_dict().items())
    kept = {key: getattr(config, key) for key in ("vocab_size", "tie_word_embeddings", "num_hidden_layers")}
    assert {key: getattr(back.config, key) for key in kept} == kept
    assert getattr(back.config, "sliding_window", None) == getattr(config, "sliding_window", None)
    ids = torch.randint(0, 60, (2, 20))
    with torch.no_grad():
        torch.testing.assert_close(back(ids).logits, model(ids).logits)

    again = import_huggingface(tmp_path / "back")
    assert again.text == imported.text
    assert all(torch.equal(value, imported.weights[key]) for key, value in again.weights.items())


@pytest.fixture(scope="module")
def novel(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The spec of a novel, trained for a moment on a few lines."""
    folder = tmp_path_factory.mktemp("novel")
    (folder / "lines.txt").write_text("la la li\nlo la\n" * 12)
    settings = {"data.train": "lines.txt", "data.validation": None, "train.epochs": 2}
    settings |= {"data.features.tokens.vocabulary": 12, "train.batch_size": 4}
    (folder / "novel.yaml").write_text((ROOT / "specs" / "novel.yaml").read_text())
    params = {"width": 16, "depth": 1, "context": 16}
    program = graphspec.compile(folder / "novel.yaml", params=params, settings=settings)
    program.fit(run_dir=folder / "run")
    return Run(folder / "run")


def test_a_run_has_its_tokenizer_and_says_the_same(novel: Run, tmp_path: Path) -> None:
    result = build(novel.path, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "GPT2LMHeadModel, whose logits are equal to" in result.output
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = tokenizer("la li lo", return_tensors="pt").input_ids
    made = novel.maker({})
    assert ids.tolist() == made.ids(["la li lo"]) and tokenizer.eos_token == "<|end|>"
    assert model.config.eos_token_id == tokenizer.eos_token_id == made.texts.last
    assert (model.config.n_positions, tokenizer.model_max_length) == (16, 16)
    module = novel.module("cpu")
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, module(ids, logits=True), atol=1e-5, rtol=1e-4)


GPT = (
    (ROOT / "specs" / "gpt.yaml")
    .read_text()
    .replace("width: 64", "width: 16")
    .replace("depth: 3", "depth: 1")
)
LLAMA = (
    (ROOT / "specs" / "llama.yaml")
    .read_text()
    .replace("width: 64", "width: 16")
    .replace("window: 0", "window: 12")
)
BAND = """      even:    {compute: gaps - gaps}
      full:    {op: ones_like}
      band:    {op: triu, k: -11}
      recent:  {op: cast, dtype: bool}
"""
"""The same window as the upper part of a matrix."""
LESS = "      recent:  {op: less, x2: $window}\n"
PARTS = """      part:    {compute: "floor_divide(rows, 300) - floor_divide(rows - gaps, 300)"}
      recent:  {op: equal, x2: 0}
"""
REFUSED = {
    "another network": """
inputs: {tokens: {shape: [length], dtype: int64}}
nodes:
  codes: {layer: Embedding, input_dim: 9, output_dim: 8}
  read: {layer: GRU, units: 4, return_sequences: true}
  next: {layer: Dense, units: 9}
outputs: [next]
""",
    "another activation": GPT.replace("active:    {op: gelu,", "warm: {op: relu}\n      active: {op: gelu,"),
    "a window in GPT-2": GPT.replace(
        "use_causal_mask: true", "use_causal_mask: true\n        sliding_window: 12"
    ),
    "a window that ends later": LLAMA.replace("{op: less, x2: $window}", "{op: less_equal, x2: $window}"),
    "places in parts": LLAMA.replace(LESS, PARTS),
    "a band that ends later": LLAMA.replace(LESS, BAND.replace("-11", "-1")),
    "a window too large to compare": LLAMA.replace("window: 12", "window: 9000"),
    "another layer": GPT.replace("  scores:", "  more: {layer: Dense, units: $width}\n  scores:"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_of_no_class_of_the_library_is_refused(case: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(REFUSED[case])
    program = graphspec.compile(tmp_path / "a.yaml")
    save(tmp_path / "a.safetensors", dict(program.module(seed=0).state_dict()), {})
    result = build(tmp_path / "a.yaml", tmp_path / "out", "--weights", str(tmp_path / "a.safetensors"))
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
    differs = case in ("another activation", "places in parts") or case.endswith("ends later")
    assert ("export-differs" if differs else "not-supported") in result.stderr


def test_a_window_of_a_band_is_that_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LLAMA.replace(LESS, BAND))
    program = graphspec.compile(tmp_path / "a.yaml")
    saved = save_huggingface(program, program.module(seed=0).state_dict(), tmp_path / "out")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    assert saved.kind == "MistralForCausalLM" and config.sliding_window == 12


def test_options_of_the_folder(novel: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for words, told in (
        (["-o", str(tmp_path / "out")], "not an empty folder"),
        (["-o", "-"], "name a folder"),
        (["-o", str(tmp_path / "new"), "--fold"], "not with --huggingface"),
        (["-o", str(tmp_path / "new"), "--fastest"], "not with --huggingface"),
        (["-o", str(tmp_path / "new"), "--format", "onnx"], "--huggingface writes its own"),
    ):
        result = CliRunner().invoke(app, ["build", str(novel.path), "--huggingface", *words])
        assert result.exit_code == 2 and told in result.stderr.replace("\n", " "), result.output
