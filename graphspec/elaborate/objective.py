"""Whether a run reports the objective of `tune:`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from graphspec.diagnostics import did_you_mean
from graphspec.elaborate.body import BodyElaborator

if TYPE_CHECKING:
    from graphspec.tune.config import TuneConfig


def check_objective(body: BodyElaborator, tune: TuneConfig, names: Collection[str]) -> None:
    """Reports an objective that is none of `names`, the values that a run reports."""
    if tune.objective in names:
        return
    help = did_you_mean(tune.objective, names, f"it reports: {', '.join(names)}")
    if tune.objective.startswith("val_") and tune.objective.removeprefix("val_") in names:
        help = "hold examples out: `data: {validation: {split: 0.1}}`"
    document = body.declared.document
    written = "objective" in (document.value.get("tune") or {})
    span = document.span(("tune", "objective")) if written else document.key(("tune",))
    body.error("unknown-objective", span, f"a run of this spec reports no `{tune.objective}`", help)
