"""Folders of Hugging Face as specs: those of the gallery, others traced, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import constants
from tokenizers import Tokenizer, models
from transformers.integrations import hub_kernels
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.convert.pytorch.huggingface import _inputs, import_huggingface
from graphspec.diagnostics import SpecError
from graphspec.generate.stepper import Stepper
from graphspec.runs import generation

ENDS = ("attention.output", "projected")
"""The last layers of the branches of a block, which is an identity where they give 0."""
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 60,
    "max_position_embeddings": 40,
}


BART = {"layers": 1, "attention_heads": 4, "ffn_dim": 48}


def folder_of(kind: str, directory: Path) -> Path:
    torch.manual_seed(0)
    if kind == "llama":
        config = transformers.LlamaConfig(num_key_value_heads=2, bos_token_id=1, eos_token_id=2, **SMALL)
        model: Any = transformers.LlamaForCausalLM(config)
    elif kind == "mistral":
        sliding: dict[str, Any] = {"num_key_value_heads": 2, "sliding_window": 5, **SMALL}
        model = transformers.MistralForCausalLM(transformers.MistralConfig(**sliding))
    elif kind == "gpt_neox":
        model = transformers.GPTNeoXForCausalLM(
            transformers.GPTNeoXConfig(use_parallel_residual=False, **SMALL)
        )
    elif kind == "mamba":
        mamba: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 60, "state_size": 4}
        model = transformers.MambaForCausalLM(transformers.MambaConfig(**mamba))
    elif kind == "rwkv":
        rwkv: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 60}
        model = transformers.RwkvForCausalLM(transformers.RwkvConfig(**rwkv))
    elif kind == "bert":
        model = transformers.BertModel(transformers.BertConfig(**SMALL))
    elif kind == "gpt2":
        size: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "vocab_size": 60}
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(bos_token_id=1, eos_token_id=2, **size))
    elif kind == "qwen2":
        model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(num_key_value_heads=2, **SMALL))
    elif kind == "t5 decoder":
        t5: dict[str, Any] = {
            "d_model": 32,
            "d_kv": 6,
            "d_ff": 48,
            "num_layers": 1,
            "num_heads": 4,
            "vocab_size": 60,
        }
        near: dict[str, Any] = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 9}
        gated = transformers.T5Config(num_decoder_layers=2, feed_forward_proj="gated-gelu", **near, **t5)
        model = transformers.T5ForConditionalGeneration(gated)
    elif kind == "bart":
        parts: dict[str, Any] = {
            f"{part}_{key}": n for part in ("encoder", "decoder") for key, n in BART.items()
        }
        bart = transformers.BartConfig(
            d_model=32, vocab_size=60, max_position_embeddings=40, scale_embedding=True, **parts
        )
        model = transformers.BartForConditionalGeneration(bart)
    elif kind == "t5":
        sizes: dict[str, Any] = {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": 60,
        }
        model = transformers.T5EncoderModel(transformers.T5Config(**sizes))
    else:
        words = {key: value for key, value in SMALL.items() if "v" not in key[:2] and "max" not in key}
        model = transformers.ViTModel(transformers.ViTConfig(image_size=16, patch_size=8, **words))
    model.save_pretrained(directory)
    return directory


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("llama", "kv_heads: +2"),
        ("mistral", "window: +5"),
        ("gpt_neox", "at_once: +false"),
        ("mamba", "inner: +64"),
        ("rwkv", "hidden: +128"),
        ("bart", "scale: +5.65"),
        ("t5 decoder", "furthest: +9"),
        ("gpt2", "context: +40"),
        ("bert", "longest: +40"),
    ],
)
def test_specs_of_the_gallery_take_their_params_from_the_config(kind: str, word: str, tmp_path: Path) -> None:
    imported = import_huggingface(folder_of(kind, tmp_path / kind))
    assert imported.proved is not None and imported.proved.outputs < 1e-5
    assert re.search(word, imported.text) and "shape: [length]" in imported.text
    if kind != "bert":
        step = imported.program.step()
        assert step.stepping is not None
        inputs = imported.program.example_inputs(2, dict.fromkeys(imported.program.minimum_sizes, 11), seed=3)
        stepper = Stepper(step, step.module(weights=imported.weights).eval(), 11)
        stepper.begin(2)
        with torch.no_grad():
            whole = imported.program.module(weights=imported.weights).eval()(**inputs, logits=True)
            parts = []
            for n in range(11):
                now = {
                    key: v[:, n : n + 1] if key in step.stepping.inputs else v for key, v in inputs.items()
                }
                parts.append(stepper.step(now, logits=True)["next"])
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


def test_a_llama_has_no_window_whatever_its_config_holds(tmp_path: Path) -> None:
    other: dict[str, Any] = {"sliding_window": 5}
    config = transformers.LlamaConfig(num_key_value_heads=2, **other, **SMALL)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    imported = import_huggingface(tmp_path)
    assert imported.proved is not None and imported.proved.outputs < 1e-5
    assert json.loads((tmp_path / "config.json").read_text())["sliding_window"] == 5
    assert re.search(r"window: +0\b", imported.text) and re.search("kv_heads: +2", imported.text)


@pytest.mark.parity
@pytest.mark.parametrize(("kind", "shape"), [("qwen2", "[length]"), ("t5", "[128]")])
def test_traced_folders_learn_the_same_and_keep_their_length_open_where_they_can(
    kind: str, shape: str, tmp_path: Path
) -> None:
    imported = import_huggingface(folder_of(kind, tmp_path / kind))
    assert imported.proved is not None and imported.proved.outputs < 1e-5
    assert imported.proved.gradient is not None and imported.proved.gradient < 1e-5
    assert (
        f"input_ids:      {{shape: {shape}" in imported.text
        or f"input_ids: {{shape: {shape}" in imported.text
    )
    assert any("does not stay open" in note for note in imported.notes) == (kind == "t5")
    if kind == "t5":  # the biases of distances are learned, of one table
        assert not imported.frozen and "output_dim: 4" in imported.text


def test_two_imports_share_a_folder_and_each_has_its_tokenizer(tmp_path: Path) -> None:
    folder, out = folder_of("gpt2", tmp_path / "gpt2"), tmp_path / "out"
    for name, words in (("one", "a b c"), ("two", "x y z"), ("three", "a b c")):
        tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words.split())}, "a"))
        tokenizer.save(str(folder / "tokenizer.json"))
        command = ["import", "huggingface", str(folder), "-o", str(out), "--name", name, "--no-check"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert {file.name for file in out.glob("*.json")} == {"tokenizer.json", "two.tokenizer.json"}
    for name, word in (("one", "c"), ("two", "z"), ("three", "c")):
        run = graphspec.Run(out / f"{name}.yaml", weights=out / f"{name}.safetensors")
        assert list(generation.codec(run.program, run.files, None).ids(word)) == [2]


def test_an_imported_gpt_that_grows_still_says_the_same(tmp_path: Path) -> None:
    """More blocks, which begin as identities, and a longer context, compared with the model it came from."""
    folder, out = folder_of("gpt2", tmp_path / "gpt2"), tmp_path / "out"
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    imported = CliRunner().invoke(
        app, ["import", "huggingface", str(folder), "-o", str(out), "--name", "gpt", "--no-check"]
    )
    assert imported.exit_code == 0, imported.output
    text = (out / "gpt.yaml").read_text()
    (out / "deep.yaml").write_text(text.replace("depth: 2", "depth: 3").replace("context: 40", "context: 64"))
    files = [str(out / name) for name in ("gpt.yaml", "deep.yaml", "gpt.safetensors", "start.safetensors")]
    command = ["migrate", *files[:2], "--weights", files[2], "-o", files[3], "--limit", "8", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["measured"]["same_function"] is True
    became = {row["key"]: row["change"] for row in found["weights"]}
    fresh = {key: what for key, what in became.items() if key.startswith("layers.2.")}
    ends = {f"layers.2.{name}.{w}" for name in ENDS for w in ("weight", "bias")}
    assert {key for key, what in fresh.items() if what == "deepened"} == ends
    assert {became[key] for key in became.keys() - fresh.keys()} == {"same", "widened"}

    module = graphspec.compile(out / "deep.yaml").module(weights=files[3]).eval()
    tokens = torch.randint(60, (3, 40))
    expected = theirs(tokens).logits.log_softmax(-1)
    torch.testing.assert_close(module(tokens).log(), expected, atol=1e-5, rtol=1e-5)
    module(tokens)[..., 7].log().mean().neg().backward()
    assert all(module.get_parameter(key).grad.any() for key in ends)  # type: ignore[union-attr]


def test_another_class_is_traced_and_the_command_copies_the_tokenizer(tmp_path: Path) -> None:
    folder = folder_of("vit", tmp_path / "vit")
    (folder / "tokenizer.json").write_text("{}")
    result = CliRunner().invoke(app, ["import", "huggingface", str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "gradients to" in result.output
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"
    text = (tmp_path / "out" / "vit.yaml").read_text()
    assert "MultiHeadAttention" in text and "repeat: 2" in text
    weights = tmp_path / "out" / "vit.safetensors"
    module = graphspec.compile(tmp_path / "out" / "vit.yaml").module(weights=weights).eval()
    theirs = transformers.ViTModel.from_pretrained(folder).eval()
    x = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected = theirs(x)
        found = list(module(x).values())
    torch.testing.assert_close(found[0], expected.last_hidden_state, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], expected.pooler_output, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (None, "import-format"),
        ("{", "import-format"),
        ("[]", "import-format"),
        (json.dumps({"model_type": "x", "auto_map": {"AutoModel": "evil.Model"}}), "import-unsafe"),
        (json.dumps({"model_type": "bert", "architectures": ["os"]}), "import-unsupported"),
        (json.dumps({"model_type": "bert", "architectures": [3]}), "import-unsupported"),
        (json.dumps({"model_type": "bert", "architectures": ["BertModel"]}), "weights-missing"),
    ],
)
def test_what_is_no_model_is_refused(config: str | None, code: str, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(SpecError) as error:
        import_huggingface(tmp_path)
    assert error.value.diagnostics[0].code == code


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of("bert", tmp_path_factory.mktemp("bert"))


def with_entries(folder: Path, entries: dict[str, Any], place: Path) -> Path:
    """A copy of a folder whose config has other entries, too."""
    shutil.copytree(folder, place)
    config = {**json.loads((folder / "config.json").read_text()), **entries}
    (place / "config.json").write_text(json.dumps(config))
    return place


BEYOND: dict[str, tuple[dict[str, Any], str]] = {
    "kernel": ({"attn_implementation": "evil/kernel"}, "import-unsafe"),
    "kernel inside": ({"_attn_implementation": "evil/kernel@main:f"}, "import-unsafe"),
    "word": ({"attn_implementation": "evil"}, "import-unsafe"),
    "parts": ({"attn_implementation": {"": "sdpa", "text_config": "evil/kernel"}}, "import-unsafe"),
    "number": ({"_experts_implementation_internal": 7}, "import-unsafe"),
    "nested": ({"text_config": {"vision_config": [{"attn_implementation": "a/b"}]}}, "import-unsafe"),
    "nested code": ({"text_config": {"auto_map": {"AutoConfig": "evil.Config"}}}, "import-unsafe"),
    "experts": ({"experts_implementation": "sonicmoe"}, "import-unsafe"),
    "generation": ({"custom_generate": "evil"}, "import-unsafe"),
    "fusions": ({"fusion_config": {"patch_embeddings": True}}, "import-unsafe"),
    "file": ({"transformers_weights": "other.safetensors"}, "import-unsafe"),
    "repository": ({"backbone": "hf-hub:evil"}, "import-unsafe"),
    "address": ({"vision_tower": "https://evil.example"}, "import-unsafe"),
    "path": ({"tokenizer_file": "..\\x"}, "import-unsafe"),
    "quantized": ({"quantization_config": {"quant_method": "gptq"}}, "import-unsupported"),
    "layers": ({"num_hidden_layers": 10**8}, "import-unsupported"),
    "deep": ({"a": json.loads("[" * 400 + "]" * 400)}, "import-format"),
}


@pytest.mark.parametrize("case", BEYOND)
def test_a_config_names_nothing_beyond_the_library(case: str, bert: Path, tmp_path: Path) -> None:
    entries, code = BEYOND[case]
    with pytest.raises(SpecError) as error:
        import_huggingface(with_entries(bert, entries, tmp_path / "x"))
    assert error.value.diagnostics[0].code == code


def test_only_the_config_and_the_tensors_are_read(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the Hub nor another model, though the library was imported before. Known words change
    nothing.
    """
    said = []
    harmless = {
        "attn_implementation": "flash_attention_2",
        "experts_implementation": {"": "eager", "text_config": "grouped_mm"},
        "torch_dtype": "bfloat16",
        "_name_or_path": "/home/someone/bert",
        "return_dict": False,
        "id2label": {"0": "a/b: c", "1": "no"},
        "quantization_config": None,
    }
    folder = with_entries(bert, harmless, tmp_path / "x")
    (folder / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "evil/base", "peft_type": "LORA"}'
    )
    (folder / "generation_config.json").write_text("{")
    called = transformers.BertModel.__init__

    def has_kernels() -> bool:
        enabled = vars(hub_kernels)["_kernels_enabled"]  # a function since 5.25
        return bool(enabled() if callable(enabled) else enabled)

    def spied(self: Any, *arguments: Any, **options: Any) -> None:
        said.append((constants.is_offline_mode(), has_kernels(), os.environ["HF_HUB_OFFLINE"]))
        called(self, *arguments, **options)

    monkeypatch.setattr(transformers.BertModel, "__init__", spied)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("USE_HUB_KERNELS", "1")
    if not callable(vars(hub_kernels)["_kernels_enabled"]):
        monkeypatch.setattr(hub_kernels, "_kernels_enabled", True)
    imported, before = import_huggingface(folder), import_huggingface(bert)
    assert said == [(True, False, "1")] * 2
    assert not constants.HF_HUB_OFFLINE and has_kernels() and "HF_HUB_OFFLINE" not in os.environ
    assert imported.text == before.text and imported.proved is not None and imported.proved.outputs < 1e-5


def test_shards_are_the_tensors_that_their_index_names(tmp_path: Path) -> None:
    folder_of("vit", tmp_path / "whole")
    whole = transformers.ViTModel.from_pretrained(tmp_path / "whole")
    whole.save_pretrained(tmp_path / "parts", max_shard_size="10KB")
    assert (tmp_path / "parts" / "model.safetensors.index.json").is_file()
    imported, parts = (import_huggingface(tmp_path / word, check=False) for word in ("whole", "parts"))
    assert all(torch.equal(value, parts.weights[key]) for key, value in imported.weights.items())


@pytest.mark.parametrize(
    "sizes", [{"image_size": 10**6}, {"image_size": "9"}, {"image_size": None}, {"num_channels": 0}]
)
def test_an_example_has_sizes_that_can_be_tried(sizes: dict[str, Any]) -> None:
    module = SimpleNamespace(main_input_name="pixel_values", config=SimpleNamespace(**sizes))
    with pytest.raises(SpecError, match="the config gives the input the sizes"):
        _inputs(module)


def test_weights_that_are_damaged_are_refused(tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(SpecError) as error:
        import_huggingface(folder)
    assert error.value.diagnostics[0].code == "weights-missing"
