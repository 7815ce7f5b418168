"""What the values of an epoch are called: in the history, in `monitor` and `objective`, on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphspec.objectives.metrics import Metric


def metric_names(metrics: Sequence[Metric]) -> list[str]:
    """The names of one output's metrics: `as`, else the name that was written, from its second use on with a
    number, as in Keras: `auc`, `auc_1`.
    """
    names: list[str] = []
    for index, metric in enumerate(metrics):
        before = sum(other.label is None and other.name == metric.name for other in metrics[:index])
        names.append(metric.label or (f"{metric.name}_{before}" if before else metric.name))
    return names


def history_names(outputs: Mapping[str, Any]) -> list[str]:
    """`loss`, each output's loss where there are several, then the metrics, with the output's name where
    there are several. Those of validation have `val_` in front.
    """
    several = len(outputs) > 1
    names = ["loss"]
    if several:
        names += [f"{name}_loss" for name, output in outputs.items() if output.loss is not None]
    for name, output in outputs.items():
        start = f"{name}_" if several else ""
        names += [start + metric for metric in metric_names(output.metrics)]
    return names
