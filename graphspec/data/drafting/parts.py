"""The parts of a spec that `new` writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphspec.data.drafting.words import word


@dataclass(slots=True)
class Draft:
    """The parts of the spec, line by line."""

    inputs: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    """The nodes that are put together."""
    body: str = "drop"
    """The node that outputs read."""
    gaps: bool = False
    """Whether cells of inputs are missing. Then other rows may lack those of columns that have all here."""

    curves: bool = False
    """Whether there are rows enough to learn curves of numbers."""
    named: set[str] = field(default_factory=set)
    """The names that columns have got."""

    def name(self, column: str, instead: str = "column") -> str:
        """A name of its own for a column: `%` and `"` are both `column`, or what is said `instead`."""
        name = word(column, instead)
        while name in self.named:
            name += "_"
        self.named.add(name)
        return name

    def graph(self) -> list[str]:
        """The sections that say what the model is."""
        return [
            *("inputs:", *self.inputs, ""),
            *(["blocks:", *self.blocks] if self.blocks else []),
            *("nodes:  # each reads the node above it, unless it has `from`", *self.nodes, ""),
            *("outputs:", *self.outputs, ""),
        ]


def training(
    rate: float, epochs: int, batch_size: int, patience: int, plateau: int, decay: float = 0.01
) -> list[str]:
    """The section `train`: as many epochs as help, with a rate that falls where they help no more."""
    return [
        "train:",
        f"  optimizer: {{name: adamw, learning_rate: {rate}, weight_decay: {decay:g}}}",
        f"  epochs: {epochs}  # at most: it ends where validation gets no better",
        f"  batch_size: {batch_size}",
        "  callbacks:",
        f"    early_stopping: {{monitor: val_loss, patience: {patience}, restore_best_weights: true}}",
        f"    reduce_lr_on_plateau: {{monitor: val_loss, factor: 0.3, patience: {plateau}}}",
    ]
