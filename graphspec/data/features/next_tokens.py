"""Whether the tokens that come next fit the output that says them, and the input whose tokens they are."""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.data.features.plan import Fill, FillPlan, Misfit, Outputs
from graphspec.data.features.shifts import packed
from graphspec.data.features.texts import Listed, Shifted
from graphspec.diagnostics import Diagnostic
from graphspec.elaborated import BaseProgram
from graphspec.objectives.losses import SparseLoss
from graphspec.settings import Problem
from graphspec.tensor import unit_of


def next_misfits(plan: FillPlan, outputs: Outputs) -> Iterator[Problem]:
    """Why what comes next does not fit; of the paths of the keys in `features`."""
    for fill in plan.fills:
        misfit = _misfit(fill, plan, outputs) if isinstance(fill.feature, Shifted) else None
        if misfit is not None:
            code, message, help, key = misfit
            yield Problem(code, message, help, (fill.field, key) if key else (fill.field,))
    joined = packed({fill.field: fill.feature for fill in plan.fills if fill.feature is not None})
    for fill in plan.fills if joined is not None else ():
        assert joined is not None
        if fill.feature is None:
            what = f"the target of output `{fill.output}`" if fill.target else f"the input `{fill.field}`"
            message = f"`pack` cuts rows across documents, and {what} has something for each document"
            help = "leave `pack` out, so that a row is a document"
            yield Problem("feature-misfit", message, help, (joined[0], "pack"))
        elif fill.output is not None and outputs[fill.output].rows.sample_weight is not None:
            message = f"`sample_weight` of output `{fill.output}` is of documents, which `pack` joins"
            yield Problem("feature-misfit", message, "leave `sample_weight` out", (joined[0], "pack"))


def _misfit(fill: Fill, plan: FillPlan, outputs: Outputs) -> Misfit | None:
    feature = fill.feature
    assert isinstance(feature, Shifted)
    if fill.output is None:
        message = f"the input `{fill.field}` would be given what the model is to say"
        return "feature-misfit", message, f"name it as the output, and the input `{feature.of}`", "of"
    source = next((each for each in plan.fills if each.field == feature.of and not each.target), None)
    if source is None or not isinstance(source.feature, Listed):
        message = f"`{fill.field}` has the tokens of `{feature.of}`, which no input reads"
        return "feature-misfit", message, f"give the model the input `{feature.of}`", "of"
    output = outputs[fill.output]
    if not isinstance(output.loss, SparseLoss):
        message = f"`{fill.field}` makes ids, and the target of the output `{fill.output}` is {fill.tensor}"
        return "feature-misfit", message, "use the loss `sparse_categorical_crossentropy`", None
    if output.rows.class_weight is not None:
        message = f"`class_weight` is by the values of a column, and `{fill.field}` has none"
        return "feature-misfit", message, "leave `class_weight` out", None
    if fill.tensor.shape[1:] != source.tensor.shape[1:]:
        message = (
            f"`{fill.field}` has a token for each of `{feature.of}`, which is {source.tensor}, "
            f"and the target of the output `{fill.output}` is {fill.tensor}"
        )
        return "feature-misfit", message, "the output needs scores for each place", None
    count = source.feature.feature_type(target=False).vocabulary
    if count is not None and fill.limit is not None and count > fill.limit:
        message = f"the output `{fill.output}` has {fill.limit} units, and `{feature.of}` has {count} ids"
        return "feature-misfit", message, f"write `units: $(vocabulary({feature.of}))`", None
    return None


def pack_misfit(program: BaseProgram) -> Diagnostic | None:
    """Why a model does not take rows of so many tokens."""
    joined = packed(program.data.features) if program.data is not None else None
    if joined is None or joined[0] not in program.inputs:
        return None
    name, feature = joined
    unit = unit_of(program.inputs[name].shape[1])
    if unit is None or feature.pack is None:
        return None
    count, factor = feature.pack, unit[1]
    least, most = program.minimum_sizes.get(unit[0], 1) * factor, program.maximum_sizes.get(unit[0])
    span = program.span(("data", "features", name, "pack"))
    message = f"a row has `pack: {count}` tokens, and the model takes "
    if most is not None and count > most * factor:
        help = f"write `pack: {most * factor}`, or raise the `sequence_length` of its positions"
        return Diagnostic("feature-misfit", f"{message}at most {most * factor}", span, help=help)
    if count < least:
        help = f"write `pack: {least}`, or more"
        return Diagnostic("feature-misfit", f"{message}at least {least}", span, help=help)
    if count % factor:
        help = f"write `pack: {-(-count // factor) * factor}`"
        return Diagnostic("feature-misfit", f"{message}multiples of {factor}", span, help=help)
    return None
