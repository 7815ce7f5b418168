"""Compares Keras with the imported module on the same random input."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphspec.convert.differences import apart
from graphspec.convert.tracing.live import inputs_of
from graphspec.diagnostics import fail
from graphspec.language.naming import identifier, snake_case
from graphspec.program import Program


def _ends_in(layer: Any, word: str) -> bool:
    activation = getattr(layer, "activation", None)
    return layer.spec_name == word or getattr(activation, "word", None) == word


ERRS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (
        lambda layer: (
            layer.spec_name.startswith(("AveragePooling", "average_pool")) and layer.padding == "same"
        ),
        "counts the padding of an average with `padding: same`",
    ),
    (lambda layer: _ends_in(layer, "sparsemax"), "gives a sparsemax whose values do not sum to 1"),
    (lambda layer: layer.spec_name == "count_nonzero", "counts along the axes that are not named"),
    (
        lambda layer: (
            snake_case(layer.spec_name) in ("layer_normalization", "rms_normalization")
            and layer.axis not in (-1, (-1,))
        ),
        "normalizes along the last axis, whatever `axis` says",
    ),
    (lambda layer: layer.spec_name.startswith("random_"), "draws other numbers at each call"),
    (lambda layer: layer.spec_name == "MelSpectrogram", "cuts each signal by the loudest of its batch"),
    (lambda layer: layer.spec_name == "RandomCrop", "passes whole images through in inference"),
)
"""Layers that Keras computes wrongly on torch, or other than its documentation says."""


def errs(program: Program) -> list[str]:
    """The layers of a program that Keras itself computes wrongly on torch."""
    import keras

    if keras.backend.backend() != "torch":
        return []
    layers = [op.layer for op in program.graph.walk() if op.layer is not None]
    inner = [getattr(layer, "layer", None) for layer in layers]
    errors = (
        what for layer in (*layers, *inner) if layer is not None for is_so, what in ERRS if is_so(layer)
    )
    return list(dict.fromkeys(errors))


def keras_installed() -> bool:
    """Whether Keras can be run here; it is imported by `load` alone."""
    return importlib.util.find_spec("keras") is not None


def load(path: Path) -> Any:
    """The model as Keras loads it. Only for archives that have been translated: these name Keras' own classes
    alone, or such as were imported with permission, so that Keras imports nothing else for them.
    """
    import os

    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    with warnings.catch_warnings():  # of custom layers that have no `build`, which calling them builds
        warnings.simplefilter("ignore")
        return keras.models.load_model(path, compile=False, safe_mode=True)


ALIKE = 1e-3
"""Of the largest output: a traced model that differs by more computes something else."""


def prove(program: Program, weights: Mapping[str, Tensor], model: Any) -> tuple[str, ...]:
    """Compares a traced model with the original, whose Python code may do what no graph shows. Returns notes.
    Raises `SpecError` (import-unsupported).
    """
    uncompared = "the numbers are not compared with those of Keras, which "
    why = errs(program)
    if why:
        return (uncompared + why[0],)
    gap = difference(program, weights, model)
    if gap > ALIKE and _draws(model, program.example_inputs()):
        return (f"{uncompared}draws other numbers at each call",)
    if gap > ALIKE:
        message = (
            f"the graph of the model computes something else than the model: outputs differ by {gap:.1g}"
        )
        help = "look for Python code in it that depends on the number of examples, or on their values"
        raise fail("import-unsupported", message, help)
    return ()


def difference(program: Program, weights: Mapping[str, Tensor], model: Any) -> float:
    """The difference of the outputs of Keras' model and of the module, relative to the largest output.

    It is infinite where shapes differ, or only one of the two is NaN.
    """
    module = program.module().eval()
    module.load_state_dict({**module.state_dict(), **weights})
    inputs = program.example_inputs()
    try:
        gap = _beside(module, inputs, model)
    except IndexError:  # an index into a constant, whose size no input tells
        return _beside(module, {name: x.clamp(0, 0) if _whole(x) else x for name, x in inputs.items()}, model)
    padded = [name for name, x in inputs.items() if _whole(x) and (x == 0).any()]
    if gap > ALIKE and padded:
        # at steps that are masked Keras' attention gives what its backend does with a row without numbers
        inputs = {name: x.clamp(min=1) if name in padded else x for name, x in inputs.items()}
        gap = min(gap, _beside(module, inputs, model))
    return gap


def _draws(model: Any, inputs: Mapping[str, Tensor]) -> bool:
    """Whether a model gives something else at each call, on the same inputs."""
    structured = _structured(model, inputs)
    with torch.no_grad():
        one, other = (_tensors(model(structured, training=False)) for _ in range(2))
    return apart(one, other) > 0


def _whole(x: Tensor) -> bool:
    return not x.is_floating_point() and x.dtype is not torch.bool


def _beside(module: Any, inputs: Mapping[str, Tensor], model: Any) -> float:
    with torch.no_grad():
        ours = module(*inputs.values())
        theirs = model(_structured(model, inputs), training=False)
    outputs = list(ours.values()) if isinstance(ours, dict) else [ours]
    if isinstance(theirs, Mapping) and isinstance(ours, dict):  # Keras may sort them
        by_name = {identifier(str(key), "output"): value for key, value in theirs.items()}
        outputs, theirs = [ours[name] for name in by_name], list(by_name.values())
    return apart(outputs, _tensors(theirs))


def _tensors(outputs: Any) -> list[Tensor]:
    """The outputs of Keras' model, on whatever backend, as tensors."""
    leaves = torch.utils._pytree.tree_leaves(outputs)
    return [x.detach().cpu() if isinstance(x, Tensor) else torch.as_tensor(np.array(x)) for x in leaves]


def _structured(model: Any, inputs: Mapping[str, Tensor]) -> Any:
    """Inputs in the structure in which the model takes them; zeros for those that nothing reads."""
    import keras

    examples = next(iter(inputs.values())).shape[0]
    structure = inputs_of(model, examples, frozenset())
    flat, tensors = torch.utils._pytree.tree_leaves(structure), list(inputs.values())
    if len(flat) != len(tensors):
        zeros = [torch.zeros([size or 1 for size in x.shape]) for x in flat]
        names = [identifier(x.name, "input") for x in flat]
        tensors = [inputs.get(name, zero) for name, zero in zip(names, zeros, strict=True)]
    tensors_by_id = {id(x): tensor for x, tensor in zip(flat, tensors, strict=True)}
    return keras.tree.map_structure(lambda x: tensors_by_id[id(x)], structure)
