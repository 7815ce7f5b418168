"""What models say: greedy texts beside transformers', draws and their seeds, beams, texts, wrong input."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from typer.testing import CliRunner

import graphspec
from graphspec import Run, SpecError
from graphspec.cli.app import app
from graphspec.convert.pytorch.huggingface import import_huggingface
from graphspec.files.tensors import save
from graphspec.generate.batch import Going, GoingBatch
from graphspec.generate.beams import Beams
from graphspec.generate.config import GenerateSettings, settings_of
from graphspec.generate.sampling import generator, next_tokens, penalized

WIDE: dict[str, Any] = {"initializer_range": 0.6, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2}
"""Weights so large that what follows is not always the same token."""

LANGUAGE = """
inputs: {letters: {shape: [length], dtype: int64}}
nodes:
  codes: {layer: Embedding, input_dim: $(vocabulary(letters)), output_dim: 8}
  read:  {layer: GRU, units: 16, return_sequences: true}
  next:  {layer: Dense, units: $(vocabulary(letters)), activation: softmax}
outputs:
  next: {loss: sparse_categorical_crossentropy}
data:
  train: songs.txt
  features:
    letters: {column: text, encode: text, tokenizer: characters, pack: 8, end: "|", vocabulary: 20}
    next:    {of: letters, shift: 1}
train: {epochs: 12, batch_size: 4, optimizer: {name: adam, learning_rate: 0.02}}
generate: {letters: {from: next, length: 30, temperature: 0.7}}
"""


def config_of(kind: str) -> Any:
    if kind == "gpt2":
        return transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=40, **WIDE)
    if kind == "mamba":
        return transformers.MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, **WIDE)
    if kind == "rwkv":
        return transformers.RwkvConfig(hidden_size=32, num_hidden_layers=2, vocab_size=60, eos_token_id=2)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    if kind == "gpt_neox":
        return transformers.GPTNeoXConfig(**sizes, **WIDE)
    if kind == "mistral":
        return transformers.MistralConfig(num_key_value_heads=2, sliding_window=12, **sizes, **WIDE)
    return transformers.LlamaConfig(num_key_value_heads=2, **sizes, **WIDE)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Any]:
    """A folder of Hugging Face as a run, and its model."""
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_config(config_of(request.param)).eval()
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder / "theirs")
    out = folder / "ours"
    result = CliRunner().invoke(app, ["import", "huggingface", str(folder / "theirs"), "-o", str(out)])
    assert result.exit_code == 0, result.output
    return Run(out / f"{request.param}.yaml", out / f"{request.param}.safetensors"), model


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("songs")
    (folder / "songs.txt").write_text("la la li\nlo la\n" * 12)
    (folder / "songs.yaml").write_text(LANGUAGE)
    graphspec.compile(folder / "songs.yaml").fit(run_dir=folder / "run")
    return Run(folder / "run")


def test_greedy_texts_are_those_of_transformers(imported: tuple[Run, Any]) -> None:
    run, model = imported
    prompts = [[5, 17, 9], [3], [40, 41, 42, 43]]
    texts = run.generate([" ".join(map(str, each)) for each in prompts], length=20, temperature=0.0, end=2)
    for prompt, text in zip(prompts, texts, strict=True):
        with torch.no_grad():
            ids = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20, pad_token_id=0)
        theirs = ids[0, len(prompt) :].tolist()
        ours = [int(word) for word in text.split()]
        assert ours == (theirs[:-1] if theirs[-1] == 2 else theirs)
        assert len(set(ours)) > 3


@pytest.mark.parametrize("traced", [False, pytest.param(True, marks=pytest.mark.parity)])
def test_texts_end_where_those_of_transformers_do(traced: bool, tmp_path: Path) -> None:
    """Any of several tokens ends one; a token that the model lacks ends none."""
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_config(config_of("llama")).eval()
    options = {"do_sample": False, "max_new_tokens": 20, "pad_token_id": 0}
    with torch.no_grad():
        ids = model.generate(torch.tensor([[5, 17, 9]]), eos_token_id=None, **options)[0, 3:].tolist()
        model.generation_config.eos_token_id = [999, ids[6], next(each for each in ids if each != ids[6])]
        found = model.generate(torch.tensor([[5, 17, 9]]), **options)[0, 3:].tolist()
    model.save_pretrained(tmp_path)
    imported = import_huggingface(tmp_path, check=False, shipped=not traced)
    (tmp_path / "a.yaml").write_text(imported.text)
    save(tmp_path / "a.safetensors", dict(imported.weights), {})
    run = Run(tmp_path / "a.yaml", tmp_path / "a.safetensors")
    (text,) = run.generate(["5 17 9"], length=20, temperature=0.0)
    assert [int(word) for word in text.split()] == found[:-1] and len(found) < 20
    assert len(next(run.generate(["5 17 9"], length=20, temperature=0.0, end=[])).split()) == 20


@pytest.mark.parametrize("kind", ["gpt_neox", "mamba", "rwkv"])
def test_greedy_texts_of_other_architectures(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_config(config_of(kind)).eval()
    if kind == "rwkv":
        for name, weight in model.named_parameters():
            weight.data *= 1000 if "embeddings" in name else 2 if weight.dim() == 2 else 1
    model.save_pretrained(tmp_path)
    imported = import_huggingface(tmp_path, check=False)
    (tmp_path / "a.yaml").write_text(imported.text)
    save(tmp_path / "a.safetensors", dict(imported.weights), {})
    run = Run(tmp_path / "a.yaml", tmp_path / "a.safetensors")
    texts = run.generate(["5 17 9", "3"], length=12, temperature=0.0)
    for prompt, text in zip([[5, 17, 9], [3]], texts, strict=True):
        options = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": None, "pad_token_id": 0}
        with torch.no_grad():
            ids = model.generate(torch.tensor([prompt]), **options)
        ours = [int(word) for word in text.split()]
        assert ours == ids[0, len(prompt) :].tolist() and len(set(ours)) > 3


def encoded_of(kind: str) -> Any:
    torch.manual_seed(6)
    if kind == "bart":
        sizes: dict[str, Any] = {
            f"{part}_{key}": n for part in ("encoder", "decoder") for key, n in BART.items()
        }
        model: Any = transformers.BartForConditionalGeneration(
            transformers.BartConfig(d_model=32, vocab_size=60, forced_eos_token_id=None, **sizes)
        )
    elif kind == "marian":  # traced
        sizes = {f"{part}_{key}": n for part in ("encoder", "decoder") for key, n in BART.items()}
        marks = {"pad_token_id": 58, "eos_token_id": 2, "decoder_start_token_id": 58}
        options: dict[str, Any] = {"max_position_embeddings": 40, "forced_eos_token_id": None, **marks}
        model = transformers.MarianMTModel(
            transformers.MarianConfig(d_model=32, vocab_size=60, **options, **sizes)
        )
    else:
        sizes = {"d_model": 32, "d_kv": 6, "d_ff": 48, "num_layers": 1, "num_heads": 4, "vocab_size": 60}
        model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes))
        model.generation_config.decoder_start_token_id = 3
    for weight in model.parameters():
        if weight.dim() == 2 and weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.5)
    return model.eval()


BART = {"layers": 1, "attention_heads": 4, "ffn_dim": 48}


@pytest.mark.parametrize("kind", ["bart", "t5", pytest.param("marian", marks=pytest.mark.parity)])
def test_what_an_encoder_reads_is_read_once(kind: str, tmp_path: Path) -> None:
    """Sources of different lengths go on together; each text is that of transformers, beams, too."""
    model = encoded_of(kind)
    model.save_pretrained(tmp_path)
    imported = import_huggingface(tmp_path, check=False)
    assert f"begin: {model.generation_config.decoder_start_token_id}" in imported.text
    (tmp_path / "a.yaml").write_text(imported.text)
    save(tmp_path / "a.safetensors", dict(imported.weights), {})
    run = Run(tmp_path / "a.yaml", tmp_path / "a.safetensors")
    sources = [[5, 17, 9, 7], [33, 4], [40, 41, 42, 43], [8]]
    words = [" ".join(map(str, each)) for each in sources]
    texts = list(run.generate(words, length=8, temperature=0.0, repetition_penalty=3.0))
    for source, text in zip(sources, texts, strict=True):
        options = {"do_sample": False, "max_new_tokens": 8, "repetition_penalty": 3.0, "num_beams": 1}
        with torch.no_grad():
            ids = model.generate(torch.tensor([source]), **options)[0, 1:].tolist()
        ours = [int(word) for word in text.split()]
        assert ours == (ids[:-1] if ids[-1] == model.config.eos_token_id else ids) and len(set(ours)) > 3
    maker = run.maker({"length": 4})
    encoder, calls = maker.scorer.encoder, list[int]()
    assert encoder is not None
    encoder.register_forward_hook(lambda *_: calls.append(1))
    assert len(list(maker.make(maker.ids(words)))) == 4 * 4 and len(calls) == 3
    ended = [*run.generate(words, length=4, beams=3)]
    assert ended == [next(run.generate([word], length=4, beams=3)) for word in words]
    with pytest.raises(SpecError, match=r"prompt-misfit.*is not a token of the model|without|no tokenizer"):
        run.generate("5", begin="<s>")
    with pytest.raises(SpecError, match="prompt is empty"):
        run.generate("")


def test_penalized_texts_are_those_of_transformers(imported: tuple[Run, Any]) -> None:
    run, model = imported
    (text,) = run.generate(["5 17 9"], length=12, temperature=0.0, repetition_penalty=1.8)
    with torch.no_grad():
        options = {"do_sample": False, "max_new_tokens": 12, "repetition_penalty": 1.8, "eos_token_id": None}
        ids = model.generate(torch.tensor([[5, 17, 9]]), pad_token_id=0, **options)
    assert [int(word) for word in text.split()] == ids[0, 3:].tolist()


def test_a_draw_depends_on_its_number_alone(imported: tuple[Run, Any]) -> None:
    run, _ = imported
    prompts = ["5 17 9", "3", "5 17 9", "8 8"]
    drawn = {size: list(run.generate(prompts, length=8, seed=3, batch_size=size)) for size in (1, 2, 4)}
    assert drawn[1] == drawn[2] == drawn[4]
    assert drawn[1][0] != drawn[1][2], "two samples of one prompt"
    assert list(run.generate(prompts, length=8, seed=4)) != drawn[4]
    assert "".join(run.generate("5 17 9", length=8, seed=3)) == drawn[4][0], "in pieces"


def test_sequences_join_and_leave_between_two_tokens(imported: tuple[Run, Any]) -> None:
    """What each says is what it says alone, with its own settings."""
    maker, draw = imported[0].maker({}), random.Random(5)

    def sequence(number: int) -> Going:
        settings = GenerateSettings(length=3 + number, temperature=number % 3, top_k=20, seed=number)
        return maker.sequence([5 + number] * (1 + number % 4), number, settings)

    def alone(each: Going) -> list[int]:
        batch = GoingBatch(maker.scorer)
        batch.join([each])
        while batch.going:
            batch.draw()
            batch.advance()
        return each.ids

    expected, going = [alone(sequence(number)) for number in range(9)], [sequence(n) for n in range(9)]
    batch, waiting, gone = GoingBatch(maker.scorer), [*going], list[Going]()
    while batch.going or waiting:
        leaving = [each for each in batch.going if each.number in (4, 7) and each.made == 2]
        gone += leaving
        batch.leave(leaving)
        batch.advance()
        count = draw.randint(0, 2)
        if waiting[:count]:
            batch.join(waiting[:count])
        del waiting[:count]
        batch.draw()
    assert {each.number for each in gone} == {4, 7} and all(each.made == 2 for each in gone)
    for each, ids in zip(going, expected, strict=True):
        assert each.ids == ids[: len(each.ids)] and (each in gone or each.ended is not None)


SCORES = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(500, 4)


@pytest.mark.parametrize(
    ("settings", "drawn"),
    [
        ({}, {0, 1, 2, 3}),
        ({"temperature": 0.0}, {3}),
        ({"top_k": 2}, {2, 3}),
        ({"top_p": 0.39}, {3}),
        ({"top_p": 0.8}, {1, 2, 3}),
        ({"min_p": 0.6}, {2, 3}),
        ({"temperature": 0.01}, {3}),
    ],
    ids=str,
)
def test_what_is_drawn(settings: dict[str, Any], drawn: set[int]) -> None:
    drawing = [generator(1, row) for row in range(500)]
    tokens = next_tokens(SCORES, [GenerateSettings(**settings)] * 500, drawing)
    assert set(tokens.tolist()) == drawn
    if not settings:
        shares = tokens.bincount() / 500
        torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.05, rtol=0)


def test_tokens_that_were_there_become_less_likely() -> None:
    assert penalized(torch.tensor([2.0, -2.0, 2.0, -2.0]), [0, 1, 1], 2.0).tolist() == [1.0, -4.0, 2.0, -2.0]


@pytest.mark.parametrize("end", [None, 2])
def test_a_wide_search_finds_the_best_of_all(end: int | None) -> None:
    """Against all continuations of a table of probabilities: those that end count by their mean."""
    table = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(5)).log_softmax(-1)

    def score(tokens: tuple[int, ...]) -> tuple[float, list[int]]:
        kept = list(tokens[: tokens.index(end) + 1] if end in tokens else tokens)
        before = [0, *kept]
        return sum(table[i, before[i], token].item() for i, token in enumerate(kept)) / len(kept), kept

    beams = Beams(64, 3, [] if end is None else [end])
    scores = table[0, :1]
    while (found := beams.add(scores)) is not None:
        scores = table[len(beams.tokens[0]), found[1]]
    assert beams.best() == max(score(each) for each in product(range(4), repeat=3))[1]


def test_a_search_is_at_least_as_likely_as_the_greedy_text(imported: tuple[Run, Any]) -> None:
    run, model = imported

    def likelihood(text: str) -> float:
        ids = torch.tensor([[5, *map(int, text.split())]])
        with torch.no_grad():
            logs = model(ids).logits.log_softmax(-1)[0, :-1]
        return float(logs.gather(1, ids[0, 1:, None]).sum())

    (greedy,) = run.generate(["5"], length=6, temperature=0.0)
    (searched,) = run.generate(["5"], length=6, beams=8)
    assert len(searched.split()) == 6 and likelihood(searched) >= likelihood(greedy) - 1e-4


def test_a_text_in_pieces(songs: Run) -> None:
    pieces = list(songs.generate("la "))
    assert 1 < len(pieces) <= 30 and all(len(piece) == 1 for piece in pieces)
    assert "".join(pieces) == next(songs.generate(["la "]))
    drawn = "".join(songs.generate(["la "] * 20, temperature=3.0))
    assert set(drawn) <= set("lai o\n"), "no padding, and nothing that the tokenizer does not know"


def test_the_command_prints_and_writes(songs: Run, tmp_path: Path) -> None:
    def told(*words: str) -> Any:
        result = CliRunner().invoke(app, ["generate", str(songs.path), *words])
        assert result.exit_code == 0, result.output
        return result

    said = told("--prompt", "la ", "--length", "5", "--seed", "2")
    text = "".join(songs.generate("la ", length=5, seed=2))
    assert said.stdout == f"la {text}\n" and "tokens in" in said.stderr
    document = json.loads(told("--prompt", "la ", "-n", "2", "--length", "5", "--json").stdout)
    assert [len(each["text"]) for each in document["texts"]] == [5, 5] and document["tokens"] == 10
    (tmp_path / "prompts.csv").write_text("prompt,other\nla,1\nlo l,2\n")
    written = tmp_path / "answers.csv"
    told("--data", str(tmp_path / "prompts.csv"), "-o", str(written), "--length", "4")
    with written.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == ["la", "lo l"]
    assert [row["text"] for row in rows] == list(songs.generate(["la", "lo l"], length=4))


def test_answers_are_apart_from_their_prompts(tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("question,said\nla?,li\nlo?,lu\n")
    column = 'column: said, prompt: question, encode: text, tokenizer: characters, end: "|", vocabulary: 20'
    text = LANGUAGE.replace('column: text, encode: text, tokenizer: characters, pack: 8, end: "|"', "")
    text = text.replace("{, vocabulary: 20}", f"{{{column}}}").replace("songs.txt", "asked.csv")
    (tmp_path / "asked.yaml").write_text(text.replace("epochs: 12", "epochs: 1"))
    graphspec.compile(tmp_path / "asked.yaml").fit(run_dir=tmp_path / "run")
    words = ["generate", str(tmp_path / "run"), "--prompt", "la?", "--prompt", "lo?", "--length", "4"]
    lines = CliRunner().invoke(app, words).stdout.splitlines()
    assert lines[0].startswith("[1] la?: ") and lines[1].startswith("[2] lo?: ")


def test_the_end_ends_a_text(songs: Run) -> None:
    (text,) = songs.generate(["la "], length=30, temperature=0.0, end="a")
    assert "a" not in text


WRONG: dict[str, tuple[Callable[[Run], Any], str, str]] = {
    "an empty prompt": (lambda run: run.generate(""), "prompt-misfit", "empty"),
    "an empty one of several": (lambda run: run.generate(["la", ""]), "prompt-misfit", "prompt 2 is empty"),
    "an unknown token": (lambda run: run.generate("la ß"), "prompt-misfit", '"ß" of the prompt'),
    "no such end": (lambda run: run.generate("la", end="<|end|>"), "prompt-misfit", "not a token"),
    "a temperature below 0": (lambda run: run.generate("la", temperature=-1.0), "out-of-range", "at least 0"),
    "a share above 1": (lambda run: run.generate("la", top_p=1.5), "out-of-range", "top_p"),
    "no length": (lambda run: run.generate("la", length=0), "out-of-range", "length"),
    "a search that draws": (lambda run: run.generate("la", beams=2, top_k=3), "two-forms", "draws nothing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_before_anything_is_computed(case: str, songs: Run) -> None:
    call, code, words = WRONG[case]
    with pytest.raises(SpecError) as caught:
        call(songs)
    (found,) = caught.value.diagnostics
    assert found.code == code and words in found.message


def test_a_prompt_is_shorter_than_what_the_model_takes(imported: tuple[Run, Any]) -> None:
    run, _ = imported
    if run.program.maximum_sizes:
        with pytest.raises(SpecError, match="has 40 tokens, and the model takes at most 40"):
            run.generate("7 " * 40)
        (text,) = run.generate(["7 " * 35], length=20)
        assert len(text.split()) == 5, "up to the longest that it takes"
    with pytest.raises(SpecError, match="60 of the prompt is not a token: there are 60"):
        run.generate("60")
    with pytest.raises(SpecError, match='"la" of the prompt is not the number'):
        run.generate("la")


def test_what_does_not_go_on_is_refused(tmp_path: Path) -> None:
    spec = Path("specs/bert.yaml").resolve()
    with pytest.raises(SpecError, match="not-causal"):
        Run(spec, tmp_path / "none.safetensors").generate("1")


def test_settings_that_a_search_lacks() -> None:
    assert settings_of({"from": "next", "beams": 3}, "`tokens`").beams == 3


@pytest.mark.parametrize(
    ("section", "code", "words"),
    [
        ("{token: {from: next}}", "unknown-reference", "no input `token`"),
        ("{letters: {from: nxt}}", "unknown-reference", "no output `nxt`"),
        ("{letters: {from: next, temperature: -1}}", "out-of-range", "`temperature`"),
        ("{letters: {max_new_tokens: 9}}", "unknown-key", "max_new_tokens"),
        ("7", "wrong-type", "a mapping"),
    ],
)
def test_the_section_is_checked(section: str, code: str, words: str) -> None:
    text = LANGUAGE.split("data:")[0].replace("$(vocabulary(letters))", "9") + f"generate: {section}\n"
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text)
    (found,) = caught.value.diagnostics
    assert found.code == code and words in found.message and found.span is not None
