"""Keras' initializers that few specs name. The file is imported when a spec names one."""

from __future__ import annotations

from typing import Literal

from graphspec.contract.initializers import Initializer, Scaled


class Constant(Initializer, word="constant"):
    """All `value`."""

    value: float = 0.0

    def statement(self) -> str:
        return f"nn.init.constant_({{w}}, {self.value!r})"


class Normal(Initializer, word="random_normal"):
    """Drawn from a normal distribution."""

    mean: float = 0.0
    stddev: float = 0.05

    def statement(self) -> str:
        return f"nn.init.normal_({{w}}, {self.mean!r}, {self.stddev!r})"


class TruncatedNormal(Initializer, word="truncated_normal"):
    """Drawn from a normal distribution truncated at two standard deviations from the mean."""

    mean: float = 0.0
    stddev: float = 0.05

    def statement(self) -> str:
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        return f"nn.init.trunc_normal_({{w}}, {self.mean!r}, {self.stddev!r}, {low!r}, {high!r})"


class VarianceScaling(Initializer, word="variance_scaling"):
    """Drawn with a variance of `scale` over the number of inputs, of outputs, or their mean."""

    uses_fans = True
    scale: float = 1.0
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal"

    @property
    def is_symmetric(self) -> bool:
        return self.mode == "fan_avg"

    def statement(self) -> str:
        return f'variance_scaling_({{w}}, {self.scale!r}, "{self.mode}", "{self.distribution}")'


class HeUniform(Scaled, word="he_uniform"):
    """Drawn evenly, with a variance of 2 / inputs (He et al., 2015)."""

    scaling = (2.0, "fan_in", "uniform")
    torch = 'nn.init.kaiming_uniform_({w}, nonlinearity="relu")'


class LecunUniform(Scaled, word="lecun_uniform"):
    """Drawn evenly, with a variance of 1 / inputs (LeCun et al., 1998)."""

    scaling = (1.0, "fan_in", "uniform")
    torch = 'nn.init.kaiming_uniform_({w}, nonlinearity="linear")'


class GlorotNormal(Scaled, word="glorot_normal"):
    """Drawn from a truncated normal, with a variance of 2 / (inputs + outputs) (Glorot and Bengio, 2010)."""

    scaling = (1.0, "fan_avg", "truncated_normal")


class HeNormal(Scaled, word="he_normal"):
    """Drawn from a truncated normal, with a variance of 2 / inputs (He et al., 2015)."""

    scaling = (2.0, "fan_in", "truncated_normal")


class Eye(Initializer, word="identity"):
    """The identity matrix, times `gain`."""

    ranks = (2, 2)
    gain: float = 1.0

    def statement(self) -> str:
        fill = "nn.init.eye_({w})"
        return fill if self.gain == 1.0 else f"{fill}.detach().mul_({self.gain!r})"
