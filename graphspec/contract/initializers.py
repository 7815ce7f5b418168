"""Keras' initializers, statements that fill a PyTorch parameter: the family, and those that draw nothing."""

from __future__ import annotations

from math import inf
from typing import ClassVar

from graphspec.contract.layer import Layer, LayerError
from graphspec.contract.named import NamedValue
from graphspec.traced import text_of


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


class Constant(Initializer, word="constant"):
    """All `value`."""

    value: float = 0.0
    """Value of all elements."""

    def statement(self) -> str:
        return text_of("nn.init.constant_({w}, ", self.value, ")")


class Eye(Initializer, word="identity"):
    """The identity matrix, times `gain`."""

    ranks = (2, 2)
    gain: float = 1.0
    """Value on the diagonal."""

    def statement(self) -> str:
        fill = "nn.init.eye_({w})"
        return fill if self.gain == 1.0 else text_of(f"{fill}.detach().mul_(", self.gain, ")")


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
