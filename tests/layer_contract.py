"""What the tests of the layer contract share: one example of one layer, and comparisons with Keras."""

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import graphspec
from graphspec.contract.layer import Example, Layer, Weight
from graphspec.contract.wrapper import Wrapper
from graphspec.graph import Op
from graphspec.tensor import Size
from graphspec.tensor import Tensor as Type
from graphspec.train.penalties import from_keras
from tests import oracle

BATCH = 4
RTOL, ATOL = 1e-5, 1e-9

compiled = lru_cache(8)(graphspec.compile)
"""A text's program, which keeps its source: the checks of one case ask for the same few texts."""


@dataclass(frozen=True)
class Case:
    """One example of one class, with everything that the tests need of it."""

    cls: type[Layer]
    example: Example

    @cached_property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The inputs' shapes with the batch axis, masks last."""
        return tuple((BATCH, *shape) for shape in (*self.example.shapes, *self.example.masks.values()))

    @cached_property
    def others(self) -> tuple[str, ...]:
        """The names of its outputs after the first."""
        if issubclass(self.cls, Wrapper):
            return ()
        return self.cls.model_validate({**self.example.arguments, **self.example.call}).output_names()

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """The inputs' types, but masks'."""
        return self.example.dtypes or (self.example.dtype,) * len(self.example.shapes)

    @cached_property
    def text(self) -> str:
        """The spec with this one node."""
        return self.spec()

    def spec(self, symbols: dict[int, str] | None = None, **node: Any) -> str:
        """The same; sizes in `symbols` become names. JSON is YAML."""
        names = [f"x{position}" for position in range(len(self.example.shapes))]
        shapes = dict(zip(names, self.example.shapes, strict=True))
        dtypes = dict(zip(names, self.dtypes, strict=True))
        inputs = {
            name: {
                "shape": [(symbols or {}).get(size, size) for size in shape],
                "dtype": dtypes.get(name, "bool"),
            }
            for name, shape in {**shapes, **self.example.masks}.items()
        }
        source: Any = names
        if self.cls.kind == "layer" and not self.cls.variadic and len(inputs) > 1:
            source = {**oracle.named(self.cls, names), **{name: name for name in self.example.masks}}
        body = {
            self.cls.kind: self.cls.spec_name,
            "from": source,
            **self.example.arguments,
            **self.example.call,
        }
        outputs = {"node": {}, **{name: {"from": f"node.{name}"} for name in self.others}}
        return json.dumps({"inputs": inputs, "nodes": {"node": {**body, **node}}, "outputs": outputs}) + "\n"

    def behind(self) -> str | None:
        """The same after a pooling that only leaves channels at axis 1 in memory; None where none fits."""
        rank = len(self.example.shapes[0])
        if len(self.sizes) > 1 or rank not in (2, 3, 4) or self.example.dtype != "float32":
            return None
        spec = json.loads(self.text)
        spec["nodes"]["node"]["from"] = "before"
        before = {"layer": f"MaxPooling{rank - 1}D", "from": "x0", "pool_size": 1}
        return json.dumps({**spec, "nodes": {"before": before, **spec["nodes"]}}) + "\n"

    def tensors(self, batch: int = BATCH) -> list[Tensor]:
        """Seeded inputs: floats that require gradients, or integers below the example's bound; then masks,
        of which one example is masked wholly, and one begins masked.
        """
        generator = torch.Generator().manual_seed(0)
        drawn = []
        for shape, dtype in zip(self.example.shapes, self.dtypes, strict=True):
            if dtype.startswith("float"):
                x = torch.randn((batch, *shape), generator=generator, dtype=torch.float64)
                x = x @ x.mT + torch.eye(shape[-1]) if self.example.definite else x
                x.requires_grad_()
            else:
                x = torch.randint(self.example.high, (batch, *shape), generator=generator)
                x = x.to(getattr(torch, dtype))
            drawn.append(x)
        for shape in self.example.masks.values():
            mask = torch.rand((batch, *shape), generator=generator) < 0.6
            mask[-1], mask[0, ..., 0], mask[0, ..., 1:2] = False, False, True
            drawn.append(mask)
        return drawn

    def op(self, symbols: dict[int, str] | None = None) -> Op:
        """The compiled node. Raises `SpecError` where a size may not be unknown."""
        return compiled(self.spec(symbols) if symbols else self.text).graph.ops[-1]

    @cached_property
    def twin(self) -> oracle.Twin:
        """Keras' counterpart: what it is, not the values of its weights, which each check sets."""
        return oracle.build(self.cls, self.example, self.tensors())

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        return self.op().weights()

    @cached_property
    def own(self) -> nn.Module:
        """The compiled module, which some checks share: they set its weights first."""
        return self.module()

    def module(self, text: str | None = None, seed: int = 0) -> nn.Module:
        """The compiled module, in float64."""
        return compiled(text or self.text).module(seed=seed).double()


def as_tuple(value: Any) -> tuple[Any, ...]:
    if isinstance(value, dict):
        return tuple(value.values())
    if isinstance(value, (tuple, list)):
        return tuple(part for each in value for part in as_tuple(each))
    return (value,)


def copy_weights(case: Case, variables: list[oracle.Variable], module: nn.Module) -> dict[str, Tensor]:
    """Loads Keras' variables into the module as `Weight` says; returns the module's tensors by weight."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    held = {}
    for weight, variable in paired(case.weights, variables):
        held[weight.name] = state[f"node.{weight.name}"]
        with torch.no_grad():
            held[weight.name].copy_(from_keras(weight, variable.value))
    return held


def paired(
    weights: tuple[Weight, ...], variables: list[oracle.Variable]
) -> list[tuple[Weight, oracle.Variable]]:
    """Each weight with the variable that it is, or is a row of."""
    rest = iter(variables)
    pairs: list[tuple[Weight, oracle.Variable]] = []
    for weight in weights:
        pairs.append((weight, pairs[-1][1] if weight.row else next(rest)))
    assert next(rest, None) is None
    return pairs


def gradients(outputs: tuple[Tensor, ...], wanted: list[Tensor]) -> list[Tensor]:
    """The gradients of a fixed random combination of the outputs; zeros where there is none."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=torch.float64)
    for output in outputs:
        if output.dtype.is_floating_point and output.requires_grad:
            total = (
                total + (output * torch.randn(output.shape, generator=generator, dtype=output.dtype)).sum()
            )
    if not wanted or not total.requires_grad:
        return [torch.zeros_like(x) for x in wanted]
    found = torch.autograd.grad(total, wanted, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True)]


def assert_equal(actual: Tensor, expected: Tensor, what: str) -> None:
    """Equal shapes, and numbers equal to RTOL; small ones to what float32 leaves of the largest, in which
    both compute sines, powers and the like of positions.
    """
    assert actual.shape == expected.shape, what
    if not actual.dtype.is_floating_point:
        assert torch.equal(actual, expected.to(actual.dtype)), what
        return
    actual, expected = actual.detach(), expected.detach()
    finite = expected[expected.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    atol = ATOL + RTOL * 3e-2 * scale
    if actual.dtype == expected.dtype and torch.allclose(actual, expected, RTOL, atol, equal_nan=True):
        return
    np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=RTOL, atol=atol, err_msg=what)


def numbers(tensor: Type, sizes: dict[str, int] | None = None) -> tuple[int, ...]:
    """A type's shape, given its named sizes; the batch has BATCH examples."""
    known = {"batch": BATCH, **(sizes or {})}
    return tuple(size.evaluate(known) if isinstance(size, Size) else size for size in tensor.shape)
