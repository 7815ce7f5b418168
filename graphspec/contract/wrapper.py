"""The contract of layers around another: `wraps: {layer: ...}`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from graphspec.contract.layer import Layer
from graphspec.tensor import Dim, Tensor


class Wrapper(Layer, abstract=True):
    """A layer around the layer, block or model under `wraps`, which may see other types than the wrapper. A
    wrapper with its own weights or module becomes one layer together with the wrapped one: `around`.
    """

    inside_it: ClassVar[str] = "wraps: {layer: Dense, units: 8}"  # an example of what it wraps
    passes_on: ClassVar[bool] = True  # what it gives are the values of what it wraps
    exports: ClassVar[bool] = True  # torch.export can trace it
    several: ClassVar[bool] = False  # a block that it wraps may have inputs beside the one that it sees

    @property
    def title(self) -> str:
        """Its type in a summary."""
        return self.spec_name

    def around(self, layer: Layer | None, *inputs: Tensor) -> Layer | None:
        """The layer that it and the wrapped layer form together, called on these inputs; None if they stay
        apart.

        `layer` is None for a block or model. Raises `LayerError`.
        """
        return None

    def wrapping(self, layers: Iterable[Layer]) -> Wrapper:
        """The wrapper around what these layers compute."""
        return self

    def in_inference(self) -> Wrapper:
        """A wrapper that does the same in inference, whatever it wraps."""
        return self

    def place(self, names: list[str]) -> int:
        """Which of the inputs of these names it sees."""
        return 0

    def enter(self, *inputs: Any) -> tuple[Tensor, ...]:
        """The inputs of the wrapped layer."""
        return inputs

    def leave(self, output: Tensor, *inputs: Any) -> Tensor:
        """The wrapper's output for one output of the wrapped layer."""
        return output

    def enter_code(self) -> str:
        """The input of the wrapped layer, as an expression of `{x}`, the wrapper's input."""
        return "{x}"

    def leave_code(self) -> str:
        """The wrapper's output, as an expression of `{y}`, the wrapped layer's output, and `{x}`."""
        return "{y}"

    def times(self, *inputs: Any) -> Dim:
        """How often the wrapped one runs for one example."""
        return 1


class NestedWrapper(Wrapper, abstract=True):
    """A wrapper around another, as one: what enters goes through `outer`, then through `inner`."""

    supports_masking = True

    outer: Any
    inner: Any

    @property
    def title(self) -> str:
        return str(self.outer.title)

    def in_inference(self) -> Wrapper:
        return type(self)(outer=self.outer.in_inference(), inner=self.inner.in_inference())

    def enter(self, *inputs: Any) -> tuple[Tensor, ...]:
        entered: tuple[Tensor, ...] = self.inner.enter(*self.outer.enter(*inputs))
        return entered

    def leave(self, output: Tensor, *inputs: Any) -> Tensor:
        between = self.inner.leave(output, *self.outer.enter(*inputs))
        result: Tensor = self.outer.leave(between, *inputs)
        return result

    def enter_code(self) -> str:
        return str(self.inner.enter_code().replace("{x}", self.outer.enter_code()))

    def leave_code(self) -> str:
        between = self.inner.leave_code().replace("{x}", self.outer.enter_code())
        return str(self.outer.leave_code().replace("{y}", between))

    def times(self, *inputs: Any) -> Dim:
        times: Dim = self.inner.times(*self.outer.enter(*inputs)) * self.outer.times(*inputs)
        return times
