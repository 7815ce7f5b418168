"""Compares the features of `data` with the inputs and outputs that they fill.

A spec without data does not import their settings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from graphspec.diagnostics import did_you_mean, moved, nearest
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.outputs import is_unbound
from graphspec.elaborated import OutputSpec
from graphspec.settings import Problem
from graphspec.tensor import Limit, Tensor

if TYPE_CHECKING:
    from graphspec.data.config import DataConfig
    from graphspec.data.mixing import Mixing

PATH = ("data", "features")


def read_features(body: BodyElaborator, data: DataConfig | None) -> None:
    """Gives the file's expressions their `vocabulary(name)`, and reports features that nothing reads.

    Where `data` are wrong, which is reported, `data` is None and what reads a vocabulary is no mistake.
    """
    sizes: dict[str, int | None] = {}
    body.context.vocabularies[body.declared.document.file] = sizes
    document, inputs, outputs = body.declared.document.value, body.declared.inputs, body.declared.outputs
    targets = [output.get("target") or name for name, output in outputs.items()]
    if data is None:
        written = document.get("data")
        features = written.get("features") if isinstance(written, dict) else None
        meant = features if isinstance(features, dict) else [*inputs, *targets]
        sizes.update({f"vocabulary({name})": None for name in meant if written is not None})
        body.scope.unknown |= sizes.keys()
        return
    from graphspec.data.features.plan import unread, vocabulary_of

    for name, feature in data.features.items():
        sizes[f"vocabulary({name})"] = vocabulary_of(feature, target=name not in inputs)
    written = document.get("outputs")
    broken = isinstance(written, dict) and not set(written) <= set(outputs)  # its target may be misspelt
    broken |= not (inputs and outputs) or any(is_unbound(body, *each) for each in outputs.items())
    if not broken and all(isinstance(target, str) and "$" not in target for target in targets):
        misspelt = _misspelt_targets(body, data)
        known = [*inputs, *targets, *misspelt]
        body.scope.problems(unread(known, data.features), PATH)


def _misspelt_targets(body: BodyElaborator, data: DataConfig) -> list[str]:
    """Reports targets that no feature has, of an output whose own name one has, or beside one that nothing
    else reads; the names of these.
    """
    found: list[str] = []
    targets = [output.get("target") or name for name, output in body.declared.outputs.items()]
    free = {
        name: each for name, each in data.features.items() if name not in (*body.declared.inputs, *targets)
    }
    for name, output in body.declared.outputs.items():
        target = output.get("target")
        features = data.features if name in data.features else free
        if target is None or target in data.features:
            continue
        if (near := nearest(target, features)) is not None:
            message = f"the output `{name}` has the target `{target}`, and the features have none"
            path = (*body.declared.output_path(name), "target")
            help = did_you_mean(target, features, None)
            body.error("unused-feature", body.declared.document.span(path), message, help)
            found.append(near)
    return found


def check_features(
    body: BodyElaborator,
    data: DataConfig,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, OutputSpec],
    ranges: Mapping[str, Limit],
    whole: bool,
) -> None:
    """Reports features that do not fit the input or target that they fill, and examples that cannot be mixed
    though they are to be. These inputs and outputs are all where they are the `whole`; else others have
    mistakes.
    """
    from graphspec.data.features.following import follow_misfits
    from graphspec.data.features.next_tokens import next_misfits
    from graphspec.data.features.plan import misfits, plan_fills
    from graphspec.data.features.vision import ImageFeature

    feature_plan = plan_fills(inputs, outputs, data.features, ranges, windows=data.windows)
    problems = [*misfits(feature_plan, outputs, data.windows), *follow_misfits(feature_plan)]
    problems += next_misfits(feature_plan, outputs)
    body.scope.problems((_with_place(body, problem) for problem in problems), PATH)
    wrong = {problem.path[0] for problem in problems}
    body.context.augmented = {
        fill.field: (fill.feature.augment, fill.tensor)
        for fill in feature_plan.fills
        if isinstance(fill.feature, ImageFeature) and fill.feature.augment and fill.field not in wrong
    }
    classless = [
        fill
        for fill in feature_plan.fills
        if fill.output is not None
        and outputs[fill.output].rows.class_weight is not None
        and (not fill.classes or (fill.positions and not _by_position(outputs[fill.output])))
    ]
    for fill in classless:
        assert fill.output is not None
        path, loss = (*body.declared.output_path(fill.output), "class_weight"), outputs[fill.output].loss
        message = f"`class_weight` weighs rows by their class, but the output `{fill.output}` has no classes"
        help = "weight rows by a column: `sample_weight: ...`"
        if fill.positions and loss is not None:
            each = "pixel" if fill.mask else "step"
            message = (
                f"`class_weight` weighs the loss of each {each}, and `{loss.name}` has none of one {each}"
            )
            help = "leave `class_weight` out, or use a crossentropy"
        body.error("feature-misfit", body.declared.document.key(path), message, help)
    if whole:
        body.scope.problems(_mix_misfits(data.mix, inputs, outputs, ranges), ("data", "mix"))


def _with_place(body: BodyElaborator, problem: Problem) -> Problem:
    """The same problem: a shape that it advises is written at the input."""
    at = body.declared.document.span(("inputs", *problem.path[:1]))
    return Problem(problem.code, problem.message, moved(problem.help, "shape", at), problem.path)


def check_class_weights(
    body: BodyElaborator, outputs: Mapping[str, OutputSpec], features: Collection[str]
) -> None:
    """Reports weights of class numbers that an output has not; those of a feature are known with its data."""
    from graphspec.objectives.losses import Binary, Categorical

    for name, output in outputs.items():
        weights, size = output.rows.class_weight, output.tensors[0].shape[-1]
        several = size if isinstance(output.loss, Categorical) and isinstance(size, int) else None
        count = 2 if isinstance(output.loss, Binary) else several
        if output.target in features or not isinstance(weights, dict) or count is None:
            continue
        for key in weights:
            if key.isdecimal() and int(key) >= count:
                message = f"`class_weight` names class {key}, and `{name}` has the classes 0 to {count - 1}"
                path = (*body.declared.output_path(name), "class_weight")
                body.error("out-of-range", body.declared.document.span(path), message, "they count from 0")


def _by_position(output: OutputSpec) -> bool:
    """Whether the loss of an output has a value for each pixel or step of the target."""
    from graphspec.objectives.losses import Binary, Categorical

    return isinstance(output.loss, Binary | Categorical)


def _mix_misfits(
    steps: Sequence[Mixing],
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, OutputSpec],
    ranges: Mapping[str, Limit],
) -> Iterator[Problem]:
    """The first reason why the examples of a program cannot be mixed; `ranges` are of inputs that are ids."""
    if not steps:
        return
    from graphspec.data.features.plan import target_type
    from graphspec.data.mixing import IMAGE, MixUp, Mosaic

    name = steps[0].layer
    for key, tensor in inputs.items():
        is_image = tensor.rank == IMAGE and tensor.dtype != "bool"
        if key in ranges or not (tensor.is_float or is_image):
            what = "ids" if key in ranges else f"{tensor.dtype} values"
            message = f"`{name}` mixes the inputs of examples, and the input `{key}` has {what}"
            yield Problem("feature-misfit", message, "leave `mix` out, or mix a model of floats and images")
            return
    pictures = [tensor for tensor in inputs.values() if tensor.rank == IMAGE]
    cut = next((step.layer for step in steps if not isinstance(step, MixUp)), None)
    if cut is not None and not pictures:
        message = f"`{cut}` pastes parts of images, and no input has the shape [height, width, channels]"
        yield Problem("feature-misfit", message, "`{layer: MixUp}` mixes any floats")
        return
    for key, output in outputs.items():
        target = target_type(output)
        mask = target is not None and target.rank == IMAGE - 1 and bool(pictures)
        if mask and all(isinstance(step, Mosaic) for step in steps):
            continue
        if target is not None and not target.is_float:
            message = f"`{name}` mixes targets, and the target of the output `{key}` is class numbers"
            yield Problem("feature-misfit", message, _one_hot(output))
            return


def _one_hot(output: OutputSpec) -> str:
    """Remedy for class numbers as targets."""
    if output.loss is not None and output.loss.name.startswith("sparse_"):
        instead = output.loss.name.removeprefix("sparse_")
        return f"write `loss: {instead}`: a feature `encode: category` then makes one-hot targets"
    return "mixed targets are floats: use a loss of one-hot targets, such as `categorical_crossentropy`"
