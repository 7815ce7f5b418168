"""A shared entry whose weights are a moving average of those of another."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from graphspec.diagnostics import by_word
from graphspec.elaborate.instance import NodeInstance, near_help
from graphspec.graph import WeightAverage
from graphspec.settings import Setting, SettingError, show, validate
from graphspec.traced import plain


class _Average(Setting):
    """The settings of an average besides what it averages."""

    synonyms: ClassVar = by_word(momentum="decay tau beta alpha ema_decay ema_momentum")
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.99


def read_average(node: NodeInstance) -> WeightAverage | None:
    """The average that an entry declares; None after an error."""
    declared, of = node.body.declared, node.declared.average_of
    others = [word for word, entry in declared.shared.items() if entry.form != "average_of"]
    if of not in others:
        if of in declared.failed or declared.incomplete:
            return None
        chained = isinstance(of, str) and of in declared.shared
        message = (
            f"`{of}` is an average itself" if chained else f"{show(of)} is not another entry of `shared`"
        )
        help = near_help(str(of), others)
        if chained and (first := declared.shared[of].average_of) in others:
            help = f"write average_of: {first}"
        node.error("unknown-reference", node.span_of("average_of"), message, help)
        return None
    arguments = plain(node.arguments())
    if arguments is None:
        return None
    from graphspec.train.config.varying import read_varying  # few specs have an average

    try:
        varying = read_varying(arguments, "momentum", 0, 1)
        said = validate(_Average, arguments, "an average of weights")
        return WeightAverage(of, varying or said.momentum)
    except SettingError as error:
        node.setting_error(error)
        return None
