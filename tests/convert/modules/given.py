"""What modules of the tests are called with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Case:
    """A class, its example inputs, and the words for sizes that stay open."""

    cls: type[nn.Module]
    inputs: tuple[Tensor, ...]
    dynamic: dict[str, Sequence[str | int | None]] | None


CASES: dict[str, Case] = {}


def case(
    *inputs: Tensor, dynamic: dict[str, Sequence[str | int | None]] | None = None
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Registers a class with its example inputs."""

    def register(cls: type[nn.Module]) -> type[nn.Module]:
        CASES[cls.__name__] = Case(cls, inputs, dynamic)
        return cls

    return register


def differences(notes: Sequence[str]) -> list[str]:
    """The notes of an import, but for that of weights that are drawn, as those of most modules are."""
    return [note for note in notes if "other numbers" not in note]


def floats(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def ids(length: int = 9, most: int = 40) -> Tensor:
    return torch.randint(1, most, (2, length), generator=torch.Generator().manual_seed(1))
