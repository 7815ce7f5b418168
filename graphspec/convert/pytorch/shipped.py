"""Architectures of Hugging Face that have a spec: its params from their configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ShippedSpec:
    """A spec for an architecture, of the gallery or in `specs_shipped`: the classes of the library, its
    params from a config, and whether it is this one. `inputs` are the arguments of the class by the inputs
    of the spec, `outputs` its results in their order; `rules` say where weights come from.
    """

    file: str
    classes: tuple[str, ...]
    params: Callable[[Config], dict[str, Any]]
    fits: Callable[[Config], bool]
    rules: str
    inputs: Mapping[str, str] = field(default_factory=lambda: {"tokens": "input_ids"})
    outputs: tuple[str, ...] = ("logits",)


def _rope(config: Config) -> Config:
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _plain_rope(config: Config) -> bool:
    rope = _rope(config)
    return bool(rope.get("rope_type", rope.get("type", "default")) == "default")


def _llama(config: Config) -> dict[str, Any]:
    window = config.get("sliding_window") if config.get("model_type") == "mistral" else None
    return {
        "vocabulary": config["vocab_size"],
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "kv_heads": config.get("num_key_value_heads") or config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "depth": config["num_hidden_layers"],
        "theta": float(config.get("rope_theta") or _rope(config).get("rope_theta") or 10000.0),
        "epsilon": config["rms_norm_eps"],
        **({"window": window} if window else {}),
    }


def _is_llama(config: Config) -> bool:
    size = config["hidden_size"] // config["num_attention_heads"]
    biased = config.get("attention_bias") or config.get("mlp_bias")
    return bool(
        _plain_rope(config)
        and config.get("hidden_act") == "silu"
        and config.get("head_dim") in (None, size)
        and not biased
    )


def _gpt(config: Config) -> dict[str, Any]:
    return {
        "vocabulary": config["vocab_size"],
        "context": config["n_positions"],
        "width": config["n_embd"],
        "heads": config["n_head"],
        "depth": config["n_layer"],
        "dropout": config.get("resid_pdrop", 0.1),
        "approximate": config.get("activation_function") == "gelu_new",
    }


def _is_gpt(config: Config) -> bool:
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


def _bert(config: Config) -> dict[str, Any]:
    return {
        "vocabulary": config["vocab_size"],
        "longest": config["max_position_embeddings"],
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "depth": config["num_hidden_layers"],
        "dropout": config.get("hidden_dropout_prob", 0.1),
    }


def _is_bert(config: Config) -> bool:
    same = config.get("hidden_dropout_prob") == config.get("attention_probs_dropout_prob")
    act_and_norm = config.get("hidden_act") == "gelu" and config.get("layer_norm_eps") == 1e-12
    absolute = config.get("position_embedding_type", "absolute") == "absolute"
    kinds = config.get("type_vocab_size", 2) == 2 and config.get("pad_token_id", 0) == 0
    return bool(same and act_and_norm and absolute and kinds and not config.get("is_decoder"))


def _gpt_neox(config: Config) -> dict[str, Any]:
    size = config["hidden_size"] // config["num_attention_heads"]
    return {
        "vocabulary": config["vocab_size"],
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "depth": config["num_hidden_layers"],
        "rotary": int(size * _rope(config).get("partial_rotary_factor", 1.0)),
        "theta": float(_rope(config)["rope_theta"]),
        "epsilon": config["layer_norm_eps"],
        "at_once": config["use_parallel_residual"],
        "use_bias": config["attention_bias"],
        "approximate": config["hidden_act"] != "gelu",
    }


def _is_gpt_neox(config: Config) -> bool:
    drops = config["attention_dropout"] or config["hidden_dropout"]
    acts = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
    return _plain_rope(config) and not drops and config["hidden_act"] in acts


def _mamba(config: Config) -> dict[str, Any]:
    return {
        "vocabulary": config["vocab_size"],
        "width": config["hidden_size"],
        "inner": config["expand"] * config["hidden_size"],
        "size": config["state_size"],
        "rank": config["time_step_rank"],
        "kernel": config["conv_kernel"],
        "depth": config["num_hidden_layers"],
        "epsilon": config["layer_norm_epsilon"],
        "use_bias": config["use_bias"],
        "conv_bias": config["use_conv_bias"],
    }


def _is_mamba(config: Config) -> bool:
    return bool(config["hidden_act"] == "silu")


def _rwkv(config: Config) -> dict[str, Any]:
    width = config["hidden_size"]
    return {
        "vocabulary": config["vocab_size"],
        "width": width,
        "inner": config.get("attention_hidden_size") or width,
        "hidden": config.get("intermediate_size") or 4 * width,
        "depth": config["num_hidden_layers"],
        "epsilon": config["layer_norm_epsilon"],
    }


def _bart(config: Config) -> dict[str, Any]:
    return {
        "vocabulary": config["vocab_size"],
        "context": config["max_position_embeddings"],
        "width": config["d_model"],
        "encoder_heads": config["encoder_attention_heads"],
        "decoder_heads": config["decoder_attention_heads"],
        "encoder_hidden": config["encoder_ffn_dim"],
        "decoder_hidden": config["decoder_ffn_dim"],
        "encoder_depth": config["encoder_layers"],
        "decoder_depth": config["decoder_layers"],
        "scale": float(config["d_model"]) ** 0.5 if config["scale_embedding"] else 1.0,
        "pad": config["pad_token_id"],
        "activation": config["activation_function"],
        "dropout": config["dropout"],
    }


def _is_bart(config: Config) -> bool:
    alike = not config["attention_dropout"] and not config["activation_dropout"]
    skips = config["encoder_layerdrop"] or config["decoder_layerdrop"]
    return bool(
        alike
        and not skips
        and config["activation_function"] in ("gelu", "relu")
        and config["pad_token_id"] is not None
    )


def _t5(config: Config) -> dict[str, Any]:
    return {
        "vocabulary": config["vocab_size"],
        "width": config["d_model"],
        "heads": config["num_heads"],
        "size": config["d_kv"],
        "hidden": config["d_ff"],
        "encoder_depth": config["num_layers"],
        "decoder_depth": config["num_decoder_layers"],
        "buckets": config["relative_attention_num_buckets"],
        "furthest": config["relative_attention_max_distance"],
        "epsilon": config["layer_norm_epsilon"],
        "scale": config["d_model"] ** -0.5 if config["scale_decoder_outputs"] else 1.0,
        "pad": config["pad_token_id"],
        "activation": config["dense_act_fn"],
        "gated": config["is_gated_act"],
        "dropout": config["dropout_rate"],
    }


def _is_t5(config: Config) -> bool:
    buckets, known = config["relative_attention_num_buckets"], config["dense_act_fn"] in ("relu", "gelu_new")
    return bool(known and buckets % 4 == 0 and config["pad_token_id"] is not None)


ENCODED = {"source": "input_ids", "tokens": "decoder_input_ids"}

SHIPPED = (
    ShippedSpec("llama", ("LlamaForCausalLM", "MistralForCausalLM"), _llama, _is_llama, "llama"),
    ShippedSpec("gpt", ("GPT2LMHeadModel",), _gpt, _is_gpt, "gpt2"),
    ShippedSpec("gpt_neox", ("GPTNeoXForCausalLM",), _gpt_neox, _is_gpt_neox, "gpt_neox"),
    ShippedSpec("mamba", ("MambaForCausalLM",), _mamba, _is_mamba, "mamba"),
    ShippedSpec("bart", ("BartForConditionalGeneration",), _bart, _is_bart, "bart", ENCODED),
    ShippedSpec("t5", ("T5ForConditionalGeneration",), _t5, _is_t5, "t5", ENCODED),
    ShippedSpec("rwkv", ("RwkvForCausalLM",), _rwkv, bool, "rwkv"),
    ShippedSpec(
        "bert",
        ("BertModel",),
        _bert,
        _is_bert,
        "bert",
        {"tokens": "input_ids", "segments": "token_type_ids"},
        ("last_hidden_state", "pooler_output"),
    ),
)
