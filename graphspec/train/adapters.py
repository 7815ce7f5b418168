"""Low-rank adapters: in a module that trains, in files, and merged into its weights.

An adapter is a part of the layer that it adapts: `lora_A` and `lora_B` are its modules, whose product a hook
adds to what the layer gives. Their names and shapes are those of PEFT, which reads what is written.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.emit.load import read_weights
from graphspec.train.config.adapters import AdapterSettings
from graphspec.weights.adaptable import EinsumTerms, adapted

PREFIX = "base_model.model."
"""The prefix of PEFT's keys."""
PARTS = ("lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B")


def is_adapter(key: str) -> bool:
    """Whether a key of a state dict is an adapter's."""
    return key.endswith(PARTS)


def attach(program: BaseProgram, module: nn.Module) -> None:
    """Freezes a module, and gives it the adapters of its program, which change nothing at first.

    Raises `SpecError` (not-supported) for a layer that can have none.
    """
    wanted = adapted(program.graph, program.training)
    if not wanted:
        return
    module.requires_grad_(False)
    known = dict(module.named_modules())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(program.training.seed)
        for path, (settings, _) in wanted.items():
            layer = known[path]
            if isinstance(layer, nn.Linear):
                _to_linear(layer, settings)
            elif hasattr(layer, "equation"):
                _to_einsum(layer, settings)
            elif isinstance(layer, nn.Embedding) and type(layer).forward is nn.Embedding.forward:
                _to_embedding(layer, settings)
            else:
                message = f"`{path}` is a {type(layer).__name__}, which cannot have an adapter"
                raise fail(
                    "not-supported",
                    message,
                    "match layers with a kernel, embeddings and the projections of attention only",
                )


def _add_factors(layer: nn.Module, inputs: int, outputs: int, settings: AdapterSettings) -> None:
    """Gives a layer the factors of a matrix, whose product is zero at first."""
    weight: Any = layer.weight
    place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    down = nn.Linear(inputs, settings.rank, bias=False, **place)
    up = nn.Linear(settings.rank, outputs, bias=False, **place)
    nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
    nn.init.zeros_(up.weight)
    layer.lora_A, layer.lora_B = down, up


def _to_linear(layer: nn.Linear, settings: AdapterSettings) -> None:
    _add_factors(layer, layer.in_features, layer.out_features, settings)
    scale, rate = settings.alpha / settings.rank, settings.dropout

    def added(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        x = functional.dropout(arguments[0], rate, layer.training)
        change: Tensor = layer.lora_B(layer.lora_A(x)) * scale
        return output + change

    layer.register_forward_hook(added)


def _to_einsum(layer: Any, settings: AdapterSettings) -> None:
    """The equation in two: to the rank, along the letters that are summed, and from it."""
    einsum = EinsumTerms.of(layer.equation)
    sizes = dict(zip(einsum.kernel, layer.weight.shape, strict=True))
    inner, outer = ([sizes[letter] for letter in part] for part in (einsum.inner, einsum.outer))
    _add_factors(layer, math.prod(inner), math.prod(outer), settings)
    rank = next(letter for letter in string.ascii_letters if letter not in layer.equation)
    left = "".join(letter for letter in einsum.x if letter not in einsum.inner) + rank
    down, up = f"{einsum.x},{rank}{einsum.inner}->{left}", f"{left},{einsum.outer}{rank}->{einsum.output}"
    scale, rate = settings.alpha / settings.rank, settings.dropout

    def added(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        x = functional.dropout(arguments[0], rate, layer.training)
        x = torch.einsum(down, x, layer.lora_A.weight.unflatten(1, inner))
        return output + torch.einsum(up, x, layer.lora_B.weight.unflatten(0, outer)) * scale

    layer.register_forward_hook(added)


def _to_embedding(layer: nn.Embedding, settings: AdapterSettings) -> None:
    place: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    layer.lora_embedding_A = nn.Parameter(torch.zeros(settings.rank, layer.num_embeddings, **place))
    layer.lora_embedding_B = nn.Parameter(torch.randn(layer.embedding_dim, settings.rank).to(**place))
    scale = settings.alpha / settings.rank

    def added(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        rows = functional.embedding(arguments[0], layer.lora_embedding_A.T)
        change: Tensor = rows @ layer.lora_embedding_B.T * scale
        return output + change

    layer.register_forward_hook(added)


def written_weights(
    program: BaseProgram, state: Mapping[str, Tensor], module: nn.Module, trained: Container[str]
) -> Mapping[str, Tensor]:
    """The tensors that a run with adapters writes: the adapters, other weights that are `trained` in one of
    its phases, and buffers.
    """
    if not program.training.adapters:
        return state
    frozen = {name for name, _ in module.named_parameters() if name not in trained}
    return {key: value for key, value in state.items() if key not in frozen}


def merged(
    program: BaseProgram, base: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of the program with those of its adapters added; other tensors replace the base's.

    `tensors` are a run's own, or those of a file of PEFT's.
    """
    weights = {key.removeprefix(PREFIX): value for key, value in tensors.items()}
    result = dict(base) | {key: value for key, value in weights.items() if not is_adapter(key)}
    for path, (settings, matrix) in adapted(program.graph, program.training).items():
        scale = settings.alpha / settings.rank
        key = f"{path}.weight"
        if f"{path}.lora_B.weight" in weights:
            delta = weights[f"{path}.lora_B.weight"].double() @ weights[f"{path}.lora_A.weight"].double()
            if matrix.axes:
                delta = delta.reshape([base[key].shape[axis] for axis in matrix.axes])
                delta = delta.permute([matrix.axes.index(axis) for axis in range(delta.ndim)])
        elif f"{path}.lora_embedding_B" in weights:
            delta = (
                weights[f"{path}.lora_embedding_B"].double() @ weights[f"{path}.lora_embedding_A"].double()
            ).T
        else:
            raise fail("weights-misfit", f"the adapter of `{path}` is not in the file", "train it again")
        result[key] = (base[key].double() + scale * delta).to(base[key].dtype)
    return result


def with_adapters(
    program: BaseProgram, path: Path, base: Callable[[BaseProgram], Path | None]
) -> Path | dict[str, Tensor]:
    """The weights of a run with adapters, whose file is at `path`, with them in the base; that file itself
    where it holds none, but a whole model. `base` finds the file that they were trained for.
    """
    tensors = read_weights(path, None)
    if not any(map(is_adapter, tensors)):
        return path
    initial = program.module(seed=program.training.seed, weights=base(program))
    return merged(program, initial.state_dict(), tensors)


def peft_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapters among tensors, under PEFT's keys."""
    return {PREFIX + key: value.contiguous() for key, value in tensors.items() if is_adapter(key)}


def peft_config(program: BaseProgram, base: str | None) -> str:
    """PEFT's `adapter_config.json` for the adapters of a program."""
    adapters = adapted(program.graph, program.training)
    ranks = {path: settings.rank for path, (settings, _) in adapters.items()}
    alphas = {path: settings.alpha for path, (settings, _) in adapters.items()}
    first = next(settings for settings, _ in adapters.values())
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": first.dropout,
        "bias": "none",
        "target_modules": list(adapters),
        "rank_pattern": {path: rank for path, rank in ranks.items() if rank != first.rank},
        "alpha_pattern": {path: alpha for path, alpha in alphas.items() if alpha != first.alpha},
        "inference_mode": True,
    }
    return json.dumps(config, indent=2) + "\n"
