"""Masks in random graphs: what Keras' functional API makes of the same layers, with masks of its own."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import graphspec
from bench.keras_models import Builder, copy
from graphspec import passes
from graphspec.graph import Op, Value
from graphspec.program import Program
from tests import oracle
from tests.emit.test_emit import named, randomized
from tests.emit.test_random import padded
from tests.random_specs import sequences

pytestmark = [
    pytest.mark.hypothesis,
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
]


class Copy(keras.layers.Layer):
    """A tensor of its own: attention marks those it is given with their masks."""

    supports_masking = True

    def call(self, x: Any) -> Any:
        return x * 1.0


class MaskBuilder(Builder):
    """Leaves all masks to Keras; wraps layers, and takes lists."""

    def op(self, op: Op, prefix: str, arguments: list[Any]) -> dict[Value, Any]:
        if op.title == "split":
            parts = keras.ops.split(arguments[0], **op.options)
            return dict(zip(op.outputs.values(), parts, strict=True))
        return super().op(op, prefix, arguments)

    def call(self, op: Op, path: str, arguments: list[Any]) -> Any:
        if op.title in ("Attention", "MultiHeadAttention"):
            arguments = [None if x is None else Copy()(x) for x in arguments]
        if op.wrapper is not None:
            made = {"wraps": {"layer": type(op.layer).__name__, **op.options}}
        elif op.title in ("Attention", "Bidirectional"):
            made = dict(op.options)
        else:
            return super().call(op, path, arguments)
        if path not in self.layers:
            self.layers[path] = oracle.make(type(op.wrapper or op.layer).__name__, made)
        given = [x for x in arguments if x is not None]
        return self.layers[path](given if op.title == "Attention" else given[0])


def unmasked(spec: str) -> Program:
    """The program before masks are carried along its graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "carry_masks", lambda graph, masked: (graph, {}))
        return graphspec.compile(spec)


def of_keras(program: Program, module: torch.nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The outputs of the functional model, with the weights of `module`."""
    symbols = {
        name: keras.Input(
            [size if isinstance(size, int) else None for size in tensor.shape[1:]],
            dtype=str(inputs[name].dtype).removeprefix("torch."),
            name=name,
        )
        for name, tensor in program.inputs.items()
    }
    builder = MaskBuilder()
    tensors = builder.body(program.graph, "", [*symbols.values()])
    model = keras.Model(symbols, [tensors[value] for value in program.graph.outputs.values()])
    copy(program, module, builder.layers)
    return list(model(inputs, training=False))


@settings(max_examples=settings().max_examples // 2)
@given(sequences())
@torch.no_grad()
def test_random_masks(spec: str) -> None:
    program = graphspec.compile(spec)
    module, inputs = randomized(program), padded(program)
    with oracle.double_precision():
        expected = of_keras(unmasked(spec), module, inputs)
    actual = named(program, module(*inputs.values()))
    for name, value in zip(actual, expected, strict=True):
        torch.testing.assert_close(actual[name], value, rtol=1e-5, atol=1e-6, equal_nan=True)
