"""Keras' initializers whose variance depends on the number of inputs and outputs."""

from __future__ import annotations

from typing import ClassVar, Literal

from graphspec.contract.initializers import Initializer
from graphspec.traced import text_of


class VarianceScaling(Initializer, word="variance_scaling"):
    """Drawn with a variance of `scale` over the number of inputs, of outputs, or their mean."""

    uses_fans = True
    scale: float = 1.0
    """Factor of the variance."""
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    """Number that the variance is divided by: of inputs, of outputs, or their mean."""
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal"
    """Distribution that values are drawn from."""

    @property
    def is_symmetric(self) -> bool:
        return self.mode == "fan_avg"

    def statement(self) -> str:
        return text_of("variance_scaling_({w}, ", self.scale, f', "{self.mode}", "{self.distribution}")')


class Scaled(Initializer):
    """A variance scaling with a name: `scaling` is its scale, mode and distribution.

    `torch` is PyTorch's own function where it has one.
    """

    uses_fans = True
    scaling: ClassVar[tuple[float, str, str]]
    torch: ClassVar[str] = ""

    @property
    def is_symmetric(self) -> bool:
        return self.scaling[1] == "fan_avg"

    def statement(self) -> str:
        return self.torch or self.vector_statement()

    def vector_statement(self) -> str:
        scale, mode, distribution = self.scaling
        return f'variance_scaling_({{w}}, {scale!r}, "{mode}", "{distribution}")'


class GlorotUniform(Scaled, word="glorot_uniform"):
    """Drawn evenly, with a variance of 2 / (inputs + outputs) (Glorot and Bengio, 2010)."""

    scaling = (1.0, "fan_avg", "uniform")
    torch = "nn.init.xavier_uniform_({w})"


class GlorotNormal(Scaled, word="glorot_normal"):
    """Drawn from a truncated normal, with a variance of 2 / (inputs + outputs) (Glorot and Bengio, 2010)."""

    scaling = (1.0, "fan_avg", "truncated_normal")


class HeUniform(Scaled, word="he_uniform"):
    """Drawn evenly, with a variance of 2 / inputs (He et al., 2015)."""

    scaling = (2.0, "fan_in", "uniform")
    torch = 'nn.init.kaiming_uniform_({w}, nonlinearity="relu")'


class HeNormal(Scaled, word="he_normal"):
    """Drawn from a truncated normal, with a variance of 2 / inputs (He et al., 2015)."""

    scaling = (2.0, "fan_in", "truncated_normal")


class LecunUniform(Scaled, word="lecun_uniform"):
    """Drawn evenly, with a variance of 1 / inputs (LeCun et al., 1998)."""

    scaling = (1.0, "fan_in", "uniform")
    torch = 'nn.init.kaiming_uniform_({w}, nonlinearity="linear")'


class LecunNormal(Scaled, word="lecun_normal"):
    """Drawn from a truncated normal, with a variance of 1 / inputs (LeCun et al., 1998)."""

    scaling = (1.0, "fan_in", "truncated_normal")
