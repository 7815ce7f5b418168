"""Position encodings without weights: sinusoids and rotations. From KerasHub, not Keras."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from graphspec.contract.input_checks import known_channels, need_features
from graphspec.contract.layer import Argument, Code, Example, Layer, LayerError, Leaf, Site
from graphspec.contract.stepping import PLACES
from graphspec.contract.streaming import Streaming, apart_from, streamed_axes
from graphspec.tensor import Tensor

Wavelength = Annotated[float, Field(gt=0)]


class SinePositionEncoding(Layer, also="PositionalEncoding SinusoidalPositionalEncoding"):
    """Sines and cosines of each position, in the shape of its input `[..., length, features]`, to add to it.

    Wavelengths grow along the features, up to `max_wavelength` times 2 pi. Source: Vaswani et al., 2017.
    """

    flops_per_input = 2
    supports_masking = True

    max_wavelength: Wavelength = 10000

    examples = (Example({}, ((6, 8),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_features(x, layer="SinePositionEncoding")
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        if streamed_axes(roles[0]) != (site.x.rank - 2,) or "new" not in roles[0]:
            return None
        return Streaming("place", (roles[0],), step=StepWaves(of=self))

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"most": self.max_wavelength}
        return Code("sine_positions({x}, {most})", constants=constants)


class RotaryEmbedding(Layer, also="RoPE RotaryPositionalEmbeddings"):
    """Rotates each pair of features by the position along `sequence_axis` (Su et al., 2021).

    A pair is a feature of the first half and the same one of the second half. It is applied to queries and
    keys of attention, `[batch, length, heads, features]`. `scaling_factor` divides the positions.
    """

    flops_per_input = 3
    supports_masking = True

    max_wavelength: Wavelength = 10000
    scaling_factor: Wavelength = 1.0
    """Divisor of positions."""
    sequence_axis: int = 1
    """Axis of the positions."""
    feature_axis: Literal[-1] = -1
    """Axis of the features."""

    examples = (Example({}, ((6, 8),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_features(x, layer="RotaryEmbedding")
        if known_channels(x, layer="RotaryEmbedding", what="features") % 2:
            message = f"RotaryEmbedding turns pairs of features, and {x} has {x.shape[-1]}"
            raise LayerError("out-of-range", message, inputs=(0,))
        if self.axis(x) not in range(1, x.rank - 1):
            message = f"`sequence_axis` is {self.sequence_axis}; that of {x} lies from 1 to {x.rank - 2}"
            raise LayerError("out-of-range", message, argument="sequence_axis")
        return x

    def axis(self, x: Tensor) -> int:
        """The axis of positions, counted from 0."""
        return self.sequence_axis + x.rank if self.sequence_axis < 0 else self.sequence_axis

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        axis = self.axis(site.x)
        if roles[0][axis] is None:
            return apart_from(roles[0], (-1,))
        if streamed_axes(roles[0]) != (axis,) or "new" not in roles[0]:
            return None
        return Streaming("place", (roles[0],), step=StepWaves(of=self))

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {
            "axis": self.axis(site.x),
            "most": self.max_wavelength,
            "scale": self.scaling_factor,
        }
        text = "rotate_positions({x}, {axis}, {most}" + (", {scale})" if self.scaling_factor != 1 else ")")
        if self.scaling_factor == 1:
            del constants["scale"]
        return Code(text, constants=constants)


class StepWaves(Layer, abstract=True, spec_name="positions"):
    """Waves of the places of new steps: an encoding, or a rotation."""

    arguments = (Argument("x"), PLACES)

    of: SinePositionEncoding | RotaryEmbedding

    def infer(self, x: Tensor, places: Tensor) -> Tensor:
        return x

    def code(self, site: Site) -> Code:
        code = self.of.code(Site((site.x,), site.outputs))
        return replace(code, call=code.call.replace("({x}", "_at({places}, {x}"))
