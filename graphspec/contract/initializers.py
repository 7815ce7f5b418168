"""Keras' initializers, as the statements that fill a PyTorch parameter.

`rare_initializers.py` has those that few specs name.
"""

from __future__ import annotations

from importlib import import_module
from math import inf
from typing import ClassVar

from graphspec.contract.layer import Layer, LayerError
from graphspec.contract.named import NamedValue


class Initializer(NamedValue, family="initializer"):
    """How a weight starts. `seed` is accepted for Keras' sake where it is null: the run has one seed."""

    synonyms: ClassVar = {
        "xavier": "glorot_uniform",
        "xavier_uniform": "glorot_uniform",
        "xavier_normal": "glorot_normal",
        "glorot": "glorot_uniform",
        "kaiming": "he_uniform",
        "kaiming_uniform": "he_uniform",
        "kaiming_normal": "he_normal",
        "he": "he_uniform",
        "lecun": "lecun_uniform",
        "normal": "random_normal",
        "gaussian": "random_normal",
        "trunc_normal": "truncated_normal",
        "zero": "zeros",
        "one": "ones",
        "eye": "identity",
    }

    seed: None = None
    uses_fans: ClassVar[bool] = False
    ranks: ClassVar[tuple[float, float]] = (1, inf)  # how few and many axes it can fill

    def statement(self) -> str:
        """A statement that fills `{w}`, a weight laid out [out, in, *kernel]."""
        raise TypeError(f"{type(self).__name__} says no statement")

    @property
    def is_symmetric(self) -> bool:
        """Whether it fills a matrix as it fills its transpose."""
        return not self.uses_fans and self.ranks[0] == 1

    def vector_statement(self) -> str:
        """A statement that fills `{w}`, a weight of one axis: PyTorch refuses fans there."""
        return self.statement()

    def unturned(self, rank: int) -> str:
        """A statement that fills `{w}`, of `rank` axes laid out as in Keras."""
        if rank == 1:
            return self.vector_statement()
        statement = self.statement()
        if not self.is_symmetric or (self.uses_fans and rank > 2):
            order = ", ".join(map(str, (rank - 1, rank - 2, *range(rank - 2))))
            statement = statement.replace("{w}", "{w}.T" if rank == 2 else f"{{w}}.permute({order})")
        return statement


class Zeros(Initializer, word="zeros"):
    """All 0."""

    def statement(self) -> str:
        return "nn.init.zeros_({w})"


class Ones(Initializer, word="ones"):
    """All 1."""

    def statement(self) -> str:
        return "nn.init.ones_({w})"


class Uniform(Initializer, word="random_uniform", aliases=("uniform",)):
    """Drawn evenly from `minval` to `maxval`."""

    minval: float = -0.05
    maxval: float = 0.05

    def statement(self) -> str:
        return f"nn.init.uniform_({{w}}, {self.minval!r}, {self.maxval!r})"


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


class LecunNormal(Scaled, word="lecun_normal"):
    """Drawn from a truncated normal, with a variance of 1 / inputs (LeCun et al., 1998)."""

    scaling = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer, word="orthogonal"):
    """A random matrix with orthogonal rows or columns, times `gain` (Saxe et al., 2014)."""

    ranks = (2, inf)
    gain: float = 1.0

    def statement(self) -> str:
        return (
            "nn.init.orthogonal_({w})" if self.gain == 1.0 else f"nn.init.orthogonal_({{w}}, {self.gain!r})"
        )

    def unturned(self, rank: int) -> str:
        if rank < 3:  # PyTorch's writes into a view of one memory order
            return super().unturned(rank)
        gain = "" if self.gain == 1.0 else f", {self.gain!r}"
        return f"orthogonal_({{w}}{gain})"


Initializer.members.announce(
    [
        *("constant", "random_normal", "truncated_normal", "variance_scaling", "identity"),
        *("he_uniform", "lecun_uniform", "glorot_normal", "he_normal"),
    ],
    lambda: import_module("graphspec.contract.rare_initializers"),
)


def need_fillable(layer: Layer, **ranks: int) -> None:
    """Refuses initializers that cannot fill a weight; `ranks` has its number of axes by argument."""
    for argument, rank in ranks.items():
        initializer = getattr(layer, argument)
        least, most = initializer.ranks
        if not least <= rank <= most:
            kind = "vector" if rank == 1 else f"kernel with {rank} axes"
            raise LayerError(
                "out-of-range",
                f"the initializer `{initializer.word}` cannot fill a {kind}",
                help="it takes exactly two axes" if most == 2 else "it takes two axes or more",
                argument=argument,
            )
