"""The result of an import of a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from graphspec.convert.nodes import ConvertedBody, StoredPlace
from graphspec.convert.pytorch.tracing import TracedModule
from graphspec.convert.pytorch.writer import NodeWriter
from graphspec.convert.weights import write_model
from graphspec.diagnostics.arguments import checked
from graphspec.program import Program
from graphspec.transfer.origins import WeightOrigins


@dataclass(frozen=True, slots=True)
class TorchProof:
    """How far both were apart, relative to the largest value; None where it was not compared, and why.
    `steps` is the difference of what steps of training change the loss by.
    """

    outputs: float
    batches: tuple[int, ...]
    loss: float | None
    gradient: float | None
    steps: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Conversion:
    """The sources of a conversion, and its result."""

    graph: TracedModule
    sizes: Mapping[Any, str]
    body: ConvertedBody


@dataclass(frozen=True, slots=True)
class FromTorch:
    """A module as a spec: its YAML, its program, a state dict, and what was proved of both."""

    name: str
    text: str
    program: Program
    weights: dict[str, Tensor]
    places: Mapping[str, StoredPlace]
    writer: NodeWriter
    frozen: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]  # the module's path, its class, what it became
    inputs: tuple[
        tuple[str, Any], ...
    ] = ()  # each by the name of `forward`, with its shape, but for the batch
    notes: tuple[str, ...] = field(default=())
    proved: TorchProof | None = None
    turned: Mapping[int, int] = field(default_factory=dict)  # outputs with the batch elsewhere, and where
    conversion: Conversion | None = field(default=None, repr=False)
    origins: WeightOrigins | None = None  # of the weights, in the module's tensors
    random: frozenset[str] = frozenset()  # the paths of the modules that draw random numbers in training

    @checked
    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Writes `NAME.yaml` and `NAME.safetensors`; returns both paths."""
        words = None if self.origins is None else self.origins.words()
        spec, weights = write_model(Path(folder), self.name, self.text, self.weights, words)
        assert weights is not None
        return spec, weights
