"""What a spec means: its graph, the types of its inputs, and the losses and metrics of its outputs.

Elaboration makes it; folding, emission, the summary and the plot read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from graphspec.data.row_settings import RowSettings
from graphspec.graph import Graph, Value
from graphspec.objectives import Loss, Metric
from graphspec.tensor import Limit, Tensor
from graphspec.train.config import TrainConfig

if TYPE_CHECKING:
    from graphspec.data.config import DataConfig
    from graphspec.tune.config import TuneConfig


@dataclass(frozen=True, eq=False, slots=True)
class OutputSpec:
    """One output of a program: the tensors it returns (usually one), with its loss and metrics.

    `activation` is the activation that `forward(..., logits=True)` leaves off, if any, and `mask` the key
    under which that returns the mask, [batch, steps]: the steps that losses and metrics look at. `rows`
    says which rows count, and how much.
    """

    name: str
    tensors: tuple[Tensor, ...]
    loss: Loss | None
    loss_weight: float | Literal["learned"]
    metrics: tuple[Metric, ...]
    target: str
    activation: str | None = None
    mask: str | None = None
    rows: RowSettings = field(default_factory=RowSettings)

    @property
    def keys(self) -> list[str]:
        """The names under which a module returns its tensors: from the second on with a number."""
        return [f"{self.name}.{index}" if index else self.name for index in range(len(self.tensors))]

    @property
    def columns(self) -> list[str]:
        """The names of its tensors in predictions: where there are several, what a loss that compares them
        calls each, behind the output's name; else those of `keys`.
        """
        takes = self.loss.takes if self.loss is not None else ()
        if len(self.tensors) == 1 or len(takes) != len(self.tensors):
            return self.keys
        return [f"{self.name}.{word}" for word in takes]


@dataclass(frozen=True, eq=False)
class Elaborated:
    """A program without errors, as far as the front half can tell.

    `masks` is what `forward(..., logits=True)` returns beside the outputs; inputs of `channels_first` come
    so, and lie so in memory; those of `defaults` may be left out.
    """

    name: str
    graph: Graph
    inputs: dict[str, Tensor]
    outputs: dict[str, OutputSpec]
    training: TrainConfig
    data: DataConfig | None
    tuning: TuneConfig | None = None
    ranges: dict[str, Limit] = field(default_factory=dict)
    minimum_sizes: dict[str, int] = field(default_factory=dict)
    maximum_sizes: dict[str, int] = field(default_factory=dict)
    masks: dict[str, Value] = field(default_factory=dict)
    channels_first: frozenset[str] = frozenset()
    defaults: dict[str, int | float | bool] = field(default_factory=dict)

    @property
    def takes_logits(self) -> bool:
        """Whether `forward` has the argument `logits`: it leaves something off, or returns masks beside."""
        return any(output.activation is not None for output in self.outputs.values()) or bool(self.masks)

    @property
    def augmentations(self) -> dict[str, list[dict[str, Any]]]:
        """The layers of `augment` by the input that they apply to."""
        features = self.data.features if self.data is not None else {}
        found = {name: getattr(feature, "augment", None) for name, feature in features.items()}
        return {name: layers for name, layers in found.items() if layers and name in self.inputs}
