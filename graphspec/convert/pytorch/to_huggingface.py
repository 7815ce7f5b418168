"""A language model as a folder of Hugging Face: the inverse of its import, by the same rules.

The class of the library is made of a config that the graph tells. Which element of its tensors a weight takes
at an import is found by importing the numbers of the elements; there the weight's own are put.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from graphspec.contract.arrays import shape_of
from graphspec.contract.buffers import ConstantTensor
from graphspec.contract.layer import Layer
from graphspec.convert.differences import apart, flat
from graphspec.convert.pytorch.pretrained import offline
from graphspec.diagnostics import fail
from graphspec.files.whole import replacing
from graphspec.program import Program
from graphspec.transfer.checkpoints import Checkpoint, StoredCheckpoint
from graphspec.transfer.matching import Plan, match
from graphspec.transfer.rules import load_rules
from graphspec.transfer.targets import targets

TOLERANCE = 1e-4
COMPARISONS = ("less", "less_equal", "greater", "greater_equal")
BANDS = ("tril", "triu")
OF_PLACES = (*COMPARISONS, "equal", "not_equal", "add", "subtract", "floor_divide", "mod")
"""Ops that may make a mask of places, by their whole numbers."""
USUAL, LONGEST = 256, 8192
"""Tokens that the logits are compared at, at least where the model takes as many, and at most."""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class SavedTokenizer:
    """A tokenizer of the tokenizers library, and the token of its that begins a text."""

    tokenizer: Any
    begin: int | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """The files of a folder, the class of the library, and how far its logits are from ours."""

    files: tuple[str, ...]
    kind: str
    difference: float


@dataclass(frozen=True, slots=True)
class LibraryClass:
    """A class of the library: its name, what its config may be, of the shapes of weights and the layers of a
    graph, the rules of its import, and whether attention has a window. A graph that lacks what a config needs
    raises `KeyError`.
    """

    kind: str
    rules: str
    configs: Callable[[Shapes, list[Layer]], list[dict[str, Any]]]
    windowed: bool = False


def _field(layers: Iterable[Layer], spec_name: str, field: str) -> Any:
    """The value of a field of the first layer of this name that has one. Raises `KeyError`."""
    values = (getattr(each, field, None) for each in layers if each.spec_name == spec_name)
    found = next((value for value in values if value is not None), None)
    if found is None:
        raise KeyError(spec_name)
    return found


def _depth(shapes: Shapes) -> int:
    numbers = {key.split(".")[1] for key in shapes if key.startswith("layers.")}
    return len(numbers)


def _windows(layers: Iterable[Layer]) -> set[Any]:
    """How many places attention sees back: constants that places are compared with, and options of layers."""
    found = {
        getattr(each, field, None)
        for each in layers
        for field in (("x1", "x2") if each.spec_name in COMPARISONS else ("sliding_window",))
    }
    bands = {getattr(each, "k", 0) for each in layers if each.spec_name in BANDS} - {-1, 0, 1}
    return (found - {None}) | {abs(k) + 1 for k in bands}


def _reach(layers: Iterable[Layer]) -> int:
    """How many places back a mask may change, by all whole numbers that may make one."""
    fields = {**dict.fromkeys(OF_PLACES, ("x1", "x2")), **dict.fromkeys(BANDS, ("k",))}
    found = [0]
    for each in layers:
        found += [getattr(each, name, 0) for name in fields.get(each.spec_name, ("sliding_window",))]
        found += shape_of(each.values) if isinstance(each, ConstantTensor) else ()
    return max(abs(number) for number in found if type(number) is int)


def _gpt2(shapes: Shapes, layers: list[Layer]) -> list[dict[str, Any]]:
    vocabulary, width = shapes["embedding.weight"]
    rates = [rate for each in layers if (rate := getattr(each, "rate", None)) is not None]
    dropout = float(max(rates, default=0.0))
    config = {
        "vocab_size": vocabulary,
        "n_positions": shapes["positions.weight"][0],
        "n_embd": width,
        "n_layer": _depth(shapes),
        "n_head": _field(layers, "MultiHeadAttention", "num_heads"),
        "layer_norm_epsilon": _field(layers, "LayerNormalization", "epsilon"),
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout),
    }
    inner = shapes["layers.0.expanded.weight"][0]
    config |= {} if inner == 4 * width else {"n_inner": inner}
    return [{**config, "activation_function": word} for word in ("gelu_new", "gelu")]


def _llama(shapes: Shapes, layers: list[Layer]) -> list[dict[str, Any]]:
    vocabulary, width = shapes["words.weight"]
    heads, size = _field(layers, "Reshape", "target_shape")[-2:]
    config = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes["layers.0.gate.weight"][0],
        "num_hidden_layers": _depth(shapes),
        "num_attention_heads": heads,
        "num_key_value_heads": shapes["layers.0.key.weight"][0] // size,
        "rms_norm_eps": _field(layers, "RMSNormalization", "epsilon"),
        "rope_theta": float(_field(layers, "power", "x1")),
        "max_position_embeddings": 4096,
        "hidden_act": "silu",
    }
    return [config]


FAMILIES = (
    LibraryClass("GPT2LMHeadModel", "gpt2", _gpt2),
    LibraryClass("LlamaForCausalLM", "llama", _llama),
    LibraryClass("MistralForCausalLM", "llama", _llama, windowed=True),
)


def save_huggingface(
    program: Program,
    weights: Mapping[str, Tensor],
    folder: Path,
    tokens: SavedTokenizer | None = None,
    ends: Sequence[int] = (),
) -> Saved:
    """Writes a model with these weights, a state dict, its tokenizer, and the tokens that end a text.

    Raises `SpecError` (not-supported) for a model that is of no known class, (export-differs) where the
    logits are others, (package-missing).
    """
    with offline():
        marks = {
            "bos_token_id": None if tokens is None else tokens.begin,
            "eos_token_id": [*ends] if len(ends) > 1 else next(iter(ends), None),
        }
        model, difference = _model(program, weights, marks)
        with TemporaryDirectory() as own:
            model.save_pretrained(own)
            if tokens is not None:
                _save_tokenizer(tokens, ends, program, own)
            made = sorted(path.name for path in Path(own).iterdir())
            folder.mkdir(parents=True, exist_ok=True)
            for name in made:
                with replacing(folder / name) as temporary:
                    shutil.copyfile(Path(own, name), temporary)
    return Saved(tuple(made), type(model).__name__, difference)


def _save_tokenizer(tokens: SavedTokenizer, ends: Sequence[int], program: Program, folder: str) -> None:
    import transformers

    numbers = {"bos_token": tokens.begin, "eos_token": next(iter(ends), None)}
    special = {key: tokens.tokenizer.id_to_token(n) for key, n in numbers.items() if n is not None}
    longest = next(iter(program.maximum_sizes.values()), None)
    limit = {} if longest is None else {"model_max_length": longest}
    kept = transformers.PreTrainedTokenizerFast(tokenizer_object=tokens.tokenizer, **special, **limit)
    kept.save_pretrained(folder)


def _model(program: Program, weights: Mapping[str, Tensor], marks: Mapping[str, Any]) -> tuple[Any, float]:
    """The model of the library with these weights and marks, of the config whose logits are nearest."""
    found: list[tuple[float, Any]] = []
    for family, config in _configs(program, weights):
        _length(program)  # which is known before anything is computed
        model = _filled(program, weights, family, {**config, **marks})
        if model is not None:
            found.append((_difference(program, weights, model), model))
    if not found:
        known = "GPT-2 (as specs/gpt.yaml), Llama, and with one window Mistral (as specs/llama.yaml)"
        message = "the library has no class for this model that is known here"
        raise fail("not-supported", message, f"known are {known}, by the names of their nodes")
    difference, model = min(found, key=lambda each: each[0])
    if not difference <= TOLERANCE:
        message = f"the logits of {type(model).__name__} differ from those of the spec by {difference:.1e}"
        raise fail("export-differs", message, "leave the layers as they are in the spec of the gallery")
    return model, difference


def _configs(
    program: Program, weights: Mapping[str, Tensor]
) -> Iterator[tuple[LibraryClass, dict[str, Any]]]:
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    layers = [op.layer for op in program.graph.walk() if op.layer is not None]
    windows = _windows(layers)
    for family in FAMILIES:
        if len(windows) != family.windowed or not all(type(each) is int and each > 0 for each in windows):
            continue
        try:
            configs = family.configs(shapes, layers)
        except (KeyError, ValueError, TypeError):  # its layers are others
            continue
        for config in configs:
            tied = "next.weight" in weights and torch.equal(weights["next.weight"], weights["words.weight"])
            window = {"sliding_window": max(windows)} if family.windowed else {}
            yield family, {**config, **window, "tie_word_embeddings": family.rules == "gpt2" or tied}


def _filled(
    program: Program, weights: Mapping[str, Tensor], family: LibraryClass, config: Mapping[str, Any]
) -> Any:
    """The model of a config with these weights; None where they are not its own."""
    import transformers

    kind = getattr(transformers, family.kind)
    try:
        model = kind(kind.config_class(**config)).eval()
    except (ValueError, TypeError, RuntimeError):  # sizes that do not go together
        return None
    state = model.state_dict()
    stored = {key: StoredCheckpoint(key, tuple(v.shape), str(v.dtype)) for key, v in state.items()}
    checkpoint = Checkpoint(Path(family.kind), stored, state.__getitem__)
    plan = match(list(targets(program.graph)), checkpoint, load_rules(family.rules))
    if plan.missing or plan.misfits or plan.unused:
        return None
    model.load_state_dict(_moved_back(plan, weights, state), strict=False)
    model.tie_weights()
    return model


def _moved_back(plan: Plan, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors from which an import by this plan makes the weights."""
    made: dict[str, Tensor] = {}
    for key, found in plan.matches.items():
        (source,) = found.sources
        shape = state[source].shape
        places = found.move.apply([torch.arange(shape.numel()).view(shape)])
        flat_tensor = made.setdefault(source, torch.full((shape.numel(),), torch.nan))
        flat_tensor[places.flatten()] = weights[key].detach().cpu().float().flatten()
    return {source: tensor.view(state[source].shape) for source, tensor in made.items()}


def _difference(program: Program, weights: Mapping[str, Tensor], model: Any) -> float:
    ours = program.module(weights=weights).eval()
    logits = {"logits": True} if any(o.activation is not None for o in program.outputs.values()) else {}
    worst = 0.0
    for seed, (batch, length) in enumerate(((2, 9), (3, 5), (1, _length(program)))):
        sizes = {name: min(length, program.maximum_sizes.get(name, length)) for name in program.minimum_sizes}
        (ids,) = program.example_inputs(batch_size=batch, sizes=sizes, seed=seed).values()
        with torch.no_grad():
            worst = max(worst, apart(flat(ours(ids, **logits)), [model(ids).logits]))
    return worst


def _length(program: Program) -> int:
    """The tokens at which masks show. Raises `SpecError` (not-supported) where they are too many."""
    reach = _reach(op.layer for op in program.graph.walk() if op.layer is not None)
    length = max(reach + 4, USUAL)
    length = min([length, *program.maximum_sizes.values()])
    if length > LONGEST:
        message = f"a mask may begin {reach:,} places back, and at most {LONGEST:,} tokens are compared"
        raise fail("not-supported", message, "give a window and other numbers of masks that are smaller")
    return length
