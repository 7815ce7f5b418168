"""Compares the features of `data` with the inputs and outputs that they fill.

A spec without data does not import their settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graphspec.elaborate.body import BodyElaborator
from graphspec.program import OutputSpec
from graphspec.tensor import Limit, Tensor

if TYPE_CHECKING:
    from graphspec.data.config import DataConfig

PATH = ("data", "features")


def read_features(body: BodyElaborator, data: DataConfig | None) -> None:
    """Gives the file's expressions their `vocabulary(name)`, and reports features that nothing reads.

    Where `data` are wrong, which is reported, `data` is None and what reads a vocabulary is no mistake.
    """
    sizes: dict[str, int | None] = {}
    body.context.vocabularies[body.declared.document.file] = sizes
    if data is None:
        written = body.declared.document.value.get("data")
        features = written.get("features") if isinstance(written, dict) else None
        sizes.update({f"vocabulary({name})": None for name in features or ()})
        body.scope.unknown |= sizes.keys()
        return
    from graphspec.data.features.plan import unread, vocabulary_of

    inputs, outputs = body.declared.inputs, body.declared.outputs
    for name, feature in data.features.items():
        sizes[f"vocabulary({name})"] = vocabulary_of(feature, target=name not in inputs)
    targets = [getattr(output, "target", None) or name for name, output in outputs.items()]
    written = body.declared.document.value.get("outputs")
    broken = isinstance(written, dict) and not set(written) <= set(outputs)  # its target may be misspelt
    if not broken and not any(isinstance(target, str) and "$" in target for target in targets):
        body.scope.problems(unread([*inputs, *targets], data.features), PATH)


def check_features(
    body: BodyElaborator,
    data: DataConfig,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, OutputSpec],
    ranges: Mapping[str, Limit],
) -> bool:
    """Whether each feature fits the input or target that it fills, and whether examples can be mixed that
    are to be; misfits are reported.
    """
    from graphspec.data.features.following import follow_misfits
    from graphspec.data.features.plan import misfits, plan
    from graphspec.data.mixing import mix_misfits

    found = plan(inputs, outputs, data.features, ranges, windows=data.windows)
    problems = [*misfits(found, outputs, data.windows), *follow_misfits(found)]
    body.scope.problems(problems, PATH)
    classless = [
        fill
        for fill in found.fills
        if fill.output is not None
        and (fill.mask or not fill.classes)
        and outputs[fill.output].rows.class_weight is not None
    ]
    for fill in classless:
        assert fill.output is not None
        path = (*body.declared.output_path(fill.output), "class_weight")
        what = "one for each pixel" if fill.mask else "none"
        message = f"`class_weight` weighs rows by their class, and the output `{fill.output}` has {what}"
        help = "weight rows by a column: `sample_weight: ...`"
        if fill.mask:
            help = "write `loss: dice`, which weighs regions of any size alike, or a focal loss"
        body.error("feature-misfit", body.declared.document.key(path), message, help)
    mixed = list(mix_misfits(data.mix, inputs, outputs, ranges))
    body.scope.problems(mixed, ("data", "mix"))
    return not problems and not classless and not mixed
