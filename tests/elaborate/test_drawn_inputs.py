"""Inputs with a default that is drawn, and gradients by an input."""

from __future__ import annotations

import pytest
import torch

import graphspec

SPEC = """
inputs:
  x: {shape: [4], dtype: DTYPE}
  noise: {shape: [3], default: DRAWN}
nodes:
  y: {compute: "noise + 0 * sum(cast(x, dtype='float32'), axis=-1, keepdims=true)"}
outputs: [y]
"""


@pytest.mark.parametrize(("drawn", "low", "mean"), [("random_normal", -5, 0), ("random_uniform", 0, 0.5)])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_a_default_is_drawn_anew_at_each_call(drawn: str, low: float, mean: float, dtype: str) -> None:
    module = graphspec.compile(SPEC.replace("DRAWN", drawn).replace("DTYPE", dtype)).module()
    x = torch.ones(2000, 4, dtype=getattr(torch, dtype))
    torch.manual_seed(0)
    first, second = module(x), module(x)
    assert first.shape == (2000, 3) and first.dtype == torch.float32
    assert not torch.equal(first, second) and float(first.min()) >= low
    assert float(first.mean()) == pytest.approx(mean, abs=0.1)
    given = torch.ones(2000, 3)
    assert torch.equal(module(x, given), given)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_default_is_drawn_in_the_type_of_its_input(dtype: str) -> None:
    text = """
inputs: {x: {shape: [4]}, noise: {shape: [4], dtype: DTYPE, default: random_normal}}
nodes: {y: {layer: Dense, from: x, units: 2}, z: {op: add, from: noise, x2: 1}}
outputs: [y, z]
"""
    program = graphspec.compile(text.replace("DTYPE", dtype))
    assert program.module()(torch.ones(3, 4))["z"].dtype == getattr(torch, dtype)


def test_integers_are_not_drawn() -> None:
    text = SPEC.replace("DRAWN", "random_normal").replace("DTYPE", "float32")
    with pytest.raises(graphspec.SpecError) as caught:
        graphspec.compile(text.replace("shape: [3]", "shape: [3], dtype: int64"))
    (found,) = caught.value.diagnostics
    assert found.code == "default-misfit" and "draws floats" in found.message


PENALTY = """
inputs: {x: {shape: [5]}}
shared: {critic: {block: two}}
blocks:
  two:
    inputs: [x]
    nodes: {a: {layer: Dense, units: 6, activation: tanh}, b: {layer: Dense, units: 1, activation: sigmoid}}
nodes:
  slope: {layer: InputGradient, wraps: {call: critic}}
  far: {compute: "square(sqrt(sum(square(slope), axis=-1)) - 1)"}
  score: {call: critic, from: x}
outputs: {far: {loss: mean}, score: {loss: mse}}
"""


def test_a_penalty_on_gradients_is_that_of_autograd() -> None:
    module = graphspec.compile(PENALTY).module(seed=1)
    critic = module.get_submodule("critic")
    x = torch.randn(7, 5)
    watched = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(critic(watched).sum(), watched, create_graph=True)
    expected = (slope.square().sum(-1).sqrt() - 1).square()
    found = module(x)["far"]
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.mean(), list(critic.parameters()), allow_unused=True)
    mine = torch.autograd.grad(found.mean(), list(critic.parameters()), allow_unused=True)
    for one, other in zip(mine, wanted, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        torch.testing.assert_close(module(x)["far"], expected.detach())
    with torch.inference_mode():
        torch.testing.assert_close(module(x.clone())["far"], expected.detach())
    assert "input_gradient(self.critic, x)" in graphspec.compile(PENALTY).source


def test_a_gradient_is_wrapped_in_nothing() -> None:
    text = PENALTY.replace("wraps: {call: critic}", "wraps: {layer: InputGradient, wraps: {call: critic}}")
    with pytest.raises(graphspec.SpecError, match="cannot wrap another wrapper"):
        graphspec.compile(text)
