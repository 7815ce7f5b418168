"""A folder of Hugging Face, as `save_pretrained` writes it, as a spec and its weights.

config.json -> the library's own class (pretrained.py) -> traced as any module
            -> a spec of the gallery, where one is this architecture: with its params from the config
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.compiler import compile
from graphspec.convert.differences import apart, flat
from graphspec.convert.pytorch import from_torch
from graphspec.convert.pytorch.asked import LARGEST
from graphspec.convert.pytorch.pretrained import config_of, offline, pretrained
from graphspec.convert.pytorch.result import FromTorch, TorchProof
from graphspec.convert.pytorch.writer import NodeWriter
from graphspec.convert.writing import text
from graphspec.diagnostics import Diagnostics, SpecError, fail, shortened
from graphspec.language.naming import identifier
from graphspec.program import Program
from graphspec.source import read
from graphspec.transfer import transfer
from graphspec.transfer.rules import load_rules

LONGEST = 128
"""Tokens of the example of a model whose length does not stay open."""
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class ShippedSpec:
    """A spec of the gallery for an architecture: its params from a config, and whether it is this one."""

    file: str
    classes: tuple[str, ...]
    params: Callable[[Mapping[str, Any]], dict[str, Any]]
    fits: Callable[[Mapping[str, Any]], bool]
    inputs: tuple[str, ...]
    rules: str


def _llama(config: Mapping[str, Any]) -> dict[str, Any]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {
        "vocabulary": config["vocab_size"],
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "kv_heads": config.get("num_key_value_heads") or config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "depth": config["num_hidden_layers"],
        "theta": float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0),
        "epsilon": config["rms_norm_eps"],
    }


def _mistral(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**_llama(config), "window": config["sliding_window"]}


def _is_mistral(config: Mapping[str, Any]) -> bool:
    return _is_llama(config) and type(config.get("sliding_window")) is int


def _is_llama(config: Mapping[str, Any]) -> bool:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    size = config["hidden_size"] // config["num_attention_heads"]
    default_rope = rope.get("rope_type", rope.get("type", "default")) == "default"
    biased = config.get("attention_bias") or config.get("mlp_bias")
    return bool(
        default_rope
        and config.get("hidden_act") == "silu"
        and config.get("head_dim") in (None, size)
        and not biased
    )


def _gpt(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "vocabulary": config["vocab_size"],
        "context": config["n_positions"],
        "width": config["n_embd"],
        "heads": config["n_head"],
        "depth": config["n_layer"],
        "dropout": config.get("resid_pdrop", 0.1),
        "approximate": config.get("activation_function") == "gelu_new",
    }


def _is_gpt(config: Mapping[str, Any]) -> bool:
    drops = {config.get(word, 0.1) for word in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    inner = config.get("n_inner") in (None, 4 * config["n_embd"])
    act = config.get("activation_function") in ("gelu_new", "gelu")
    default_scale = config.get("scale_attn_weights", True) and not config.get(
        "scale_attn_by_inverse_layer_idx"
    )
    tied = config.get("tie_word_embeddings", True)
    return bool(
        len(drops) == 1
        and inner
        and act
        and default_scale
        and tied
        and config.get("layer_norm_epsilon") == 1e-5
    )


def _bert(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "vocabulary": config["vocab_size"],
        "longest": config["max_position_embeddings"],
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "depth": config["num_hidden_layers"],
        "dropout": config.get("hidden_dropout_prob", 0.1),
    }


def _is_bert(config: Mapping[str, Any]) -> bool:
    same = config.get("hidden_dropout_prob") == config.get("attention_probs_dropout_prob")
    act_and_norm = config.get("hidden_act") == "gelu" and config.get("layer_norm_eps") == 1e-12
    absolute = config.get("position_embedding_type", "absolute") == "absolute"
    kinds = config.get("type_vocab_size", 2) == 2 and config.get("pad_token_id", 0) == 0
    return bool(same and act_and_norm and absolute and kinds and not config.get("is_decoder"))


SHIPPED = (
    ShippedSpec("llama", ("LlamaForCausalLM",), _llama, _is_llama, ("input_ids",), "llama"),
    ShippedSpec("mistral", ("MistralForCausalLM",), _mistral, _is_mistral, ("input_ids",), "llama"),
    ShippedSpec("gpt", ("GPT2LMHeadModel",), _gpt, _is_gpt, ("input_ids",), "gpt2"),
    ShippedSpec("bert", ("BertModel",), _bert, _is_bert, ("input_ids", "token_type_ids"), "bert"),
)


def import_huggingface(
    folder: str | Path,
    *,
    name: str | None = None,
    flat: bool = False,
    check: bool = True,
    shipped: bool = True,
) -> FromTorch:
    """The model of a folder. `shipped=False` traces the library's class even where the gallery has a spec.

    Raises `SpecError` (import-format, import-unsafe, import-unsupported, import-differs, weights-missing,
    weights-misfit, package-missing).
    """
    folder = Path(folder)
    config = config_of(folder)
    with offline():
        module = pretrained(folder, config)
        return _imported(folder, module, name or config["model_type"], flat, check, shipped)


def _imported(folder: Path, module: Any, name: str, flat: bool, check: bool, shipped: bool) -> FromTorch:
    config = module.config.to_dict()
    word = identifier(name, "model")
    kind = type(module).__name__
    spec = (
        next((each for each in SHIPPED if kind in each.classes and each.fits(config)), None)
        if shipped
        else None
    )
    if spec is not None:
        return _from_gallery(spec, folder, config, module, word, check)
    inputs = _inputs(module)
    traced = partial(from_torch, module, inputs, name=word, flat=flat, check=check)
    if module.main_input_name != "input_ids":
        return traced()
    try:
        return traced(dynamic={name: ["length"] for name in inputs})
    except SpecError:  # its length does not stay open
        imported = traced()
        length = inputs["input_ids"].shape[1]
        note = f"it takes {length} tokens: the length of this model does not stay open"
        return replace(imported, notes=(*imported.notes, note))


def _inputs(module: Any) -> dict[str, Tensor]:
    """An example of what the model takes, by its kind of input."""
    config, word = module.config, module.main_input_name
    if word == "input_ids":
        most = getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", LONGEST)
        ids = torch.ones(2, *_tried([min(most, LONGEST) if type(most) is int else most]), dtype=torch.int64)
        decoder = getattr(config, "is_decoder", False) or "CausalLM" in type(module).__name__
        mask = (
            {} if decoder or "LMHead" in type(module).__name__ else {"attention_mask": torch.ones_like(ids)}
        )
        return {"input_ids": ids, **mask}
    if word == "pixel_values":
        size = getattr(config, "image_size", 224)
        sizes = _tried(
            [getattr(config, "num_channels", 3), *(size if isinstance(size, list | tuple) else (size, size))]
        )
        return {word: torch.rand(2, *sizes, generator=torch.Generator().manual_seed(0))}
    message = f"`{type(module).__name__}` takes `{word}`, for which no example is known"
    raise fail(
        "import-unsupported", message, "import the class: graphspec import torch PKG:CALLABLE --input ..."
    )


def _tried(sizes: list[Any]) -> list[int]:
    """The sizes of an example. Raises `SpecError` where the config has others than numbers, or too many."""
    if not all(type(size) is int and size > 0 for size in sizes) or math.prod(sizes) > LARGEST:
        message = f"the config gives the input the sizes {shortened(str(sizes))}"
        raise fail("import-unsupported", message, f"an example has at most {LARGEST:,} numbers")
    return sizes


# --- specs of the gallery


def gallery(name: str) -> Path:
    """The file of a shipped spec: beside this package in a checkout, inside it where it is installed."""
    home = Path(__file__).parents[2]
    inside = home / "convert" / "specs_shipped" / f"{name}.yaml"
    return inside if inside.is_file() else home.parent / "specs" / f"{name}.yaml"


def _from_gallery(
    spec: ShippedSpec, folder: Path, config: Mapping[str, Any], module: nn.Module, name: str, check: bool
) -> FromTorch:
    path = gallery(spec.file)
    diagnostics = Diagnostics()
    document = read(path.read_text(encoding="utf-8"), str(path), diagnostics)
    if document is None or diagnostics.errors:
        raise SpecError(diagnostics.sorted())
    sections: dict[str, Any] = {
        key: value for key, value in document.value.items() if key not in ("presets", "train")
    }
    sections["params"] = {**sections["params"], **spec.params(config)}
    written = text(sections, f"{type(module).__name__} of Hugging Face, as specs/{spec.file}.yaml")
    program = compile(written)
    moved = transfer(program.graph, folder, load_rules(spec.rules))
    if moved.plan.missing:
        lacking = ", ".join(sorted(map(str, moved.plan.missing))[:3])
        raise fail("weights-misfit", f"the weights in `{folder}` lack {lacking}")
    proved = _prove_gallery(spec, program, moved.weights, module) if check else None
    rows = (("", type(module).__name__, f"specs/{spec.file}.yaml"),)
    return FromTorch(name, written, program, moved.weights, {}, NodeWriter(), (), rows, (), (), proved)


def _prove_gallery(
    spec: ShippedSpec, program: Program, weights: Mapping[str, Tensor], module: Any
) -> TorchProof:
    ours = program.module().eval()
    ours.load_state_dict(weights)
    worst = 0.0
    for seed, (batch, length) in enumerate(((2, 9), (3, 13))):
        examples = program.example_inputs(batch_size=batch, sizes={"length": length}, seed=seed)
        examples = {key: value.clamp(min=1) if key == "tokens" else value for key, value in examples.items()}
        inputs = dict(zip(spec.inputs, examples.values(), strict=True))
        with torch.no_grad():
            logits = {"logits": True} if spec.file != "bert" else {}
            expected = module(**inputs)
            wanted = (
                [expected.logits]
                if spec.file != "bert"
                else [expected.last_hidden_state, expected.pooler_output]
            )
            actual = flat(ours(*examples.values(), **logits))
        worst = max(worst, apart(actual, wanted))
    if not worst <= TOLERANCE:
        message = f"the outputs of specs/{spec.file}.yaml differ from those of the module by {worst:.1e}"
        raise fail(
            "import-differs", message, "please report the config; `--no-shipped` traces the class instead"
        )
    return TorchProof(worst, (2, 3), None, None, why="the gallery's specs are compared in inference")
