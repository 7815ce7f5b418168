"""The names of the values of an epoch: in the history, in `monitor` and `objective`, on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from graphspec.objectives.metrics import Metric

Direction = Literal["up", "down"]
"""Which way is better."""


def metric_names(metrics: Sequence[Metric]) -> list[str]:
    """The names of one output's metrics: `as`, else the name that was written, from its second use on with a
    number, as in Keras: `auc`, `auc_1`.
    """
    names: list[str] = []
    for index, metric in enumerate(metrics):
        before = sum(other.label is None and other.name == metric.name for other in metrics[:index])
        names.append(metric.label or (f"{metric.name}_{before}" if before else metric.name))
    return names


def directions(outputs: Mapping[str, Any], validated: bool | None = None) -> dict[str, Direction]:
    """The names of an epoch's values, and which way is better in each: `loss`, each output's loss where there
    are several, then the metrics, with the output's name where there are several. With `validated` also those
    of validation, with `val_` in front; what only validation measures is then there alone. None is for the
    names of an evaluation.
    """
    ways: dict[str, Direction] = dict.fromkeys(loss_names(outputs), "down")
    held: dict[str, Direction] = {}
    for name, output in outputs.items():
        start = f"{name}_" if len(outputs) > 1 else ""
        for word, metric in zip(metric_names(output.metrics), output.metrics, strict=True):
            ranked = output.ranks_candidates and validated is not None
            (held if ranked else ways)[start + word] = metric.direction
    return ways | {f"val_{name}": way for name, way in (ways | held).items()} if validated else ways


def loss_names(outputs: Mapping[str, Any]) -> list[str]:
    """`loss`, and each output's own where there are several."""
    of_outputs = [f"{name}_loss" for name, output in outputs.items() if output.loss is not None]
    return ["loss", *(of_outputs if len(outputs) > 1 else [])]
