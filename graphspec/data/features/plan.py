"""Which feature or which columns fill each input and each target, and whether they fit. It needs no data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphspec.data.features.settings import Category, Feature, Number, Set
from graphspec.data.features.texts import Listed, Shifted
from graphspec.data.features.vision import BoxesFeature, ImageFeature
from graphspec.data.features.windows import Steps, Windows
from graphspec.diagnostics import did_you_mean, gain
from graphspec.elaborated import OutputSpec
from graphspec.objectives.custom import CustomLoss
from graphspec.objectives.losses import Binary, Categorical, SparseLoss
from graphspec.objectives.sequence_losses import CTC
from graphspec.objectives.vector_losses import Circle
from graphspec.settings import Problem
from graphspec.tensor import Limit, Tensor, show_size

Outputs = Mapping[str, Any]
"""`OutputSpec`s by name."""


@dataclass(frozen=True, slots=True)
class Fill:
    """The source of one field. Without a feature it is columns of the field's name: `x`, or `x_0`, `x_1`, ...

    `tensor` is the type of one row. Where a window has several `steps` of it, `field_tensor` is that of the
    field, and else the same.
    """

    field: str
    tensor: Tensor
    feature: Feature | None
    output: str | None = None
    """The output whose target it is; None for an input."""
    limit: int | None = None
    """How many ids there may be: what the readers of an input take, or the classes of a target."""
    steps: Steps | None = None
    stepped: Tensor | None = None

    @property
    def field_tensor(self) -> Tensor:
        return self.stepped or self.tensor

    @property
    def target(self) -> bool:
        return self.output is not None

    @property
    def classes(self) -> bool:
        """Whether its values are classes."""
        return self.limit is not None or not self.tensor.is_float

    @property
    def one_hot(self) -> bool:
        """Whether a target's classes are written as a 1 among zeros, [batch, classes]."""
        return self.target and self.tensor.is_float and self.tensor.shape[1:] == (self.limit,)

    @property
    def positions(self) -> bool:
        """Whether a target has many classes: of the pixels of a mask, or of the steps of a list."""
        many = not self.one_hot and self.tensor.shape[1:] not in ((), (1,))
        return self.mask or (self.target and self.classes and (many or self.steps is not None))

    @property
    def one_unit(self) -> bool:
        """Whether a target's ids are the two of one probability."""
        return self.target and self.tensor.is_float and not self.one_hot

    @property
    def mask(self) -> bool:
        """Whether it is a target of images whose pixels are classes."""
        if not self.target or not isinstance(self.feature, ImageFeature):
            return False
        return self.feature.values is not None or not self.tensor.is_float


@dataclass(frozen=True, slots=True)
class FillPlan:
    """All fields of a program and what fills them; targets without a reader are left out."""

    fills: tuple[Fill, ...]

    def of(self, field: str) -> Fill:
        return next(fill for fill in self.fills if fill.field == field)


def plan_fills(
    inputs: Mapping[str, Tensor],
    outputs: Outputs,
    features: Mapping[str, Feature],
    ranges: Mapping[str, Limit],
    absent: Collection[str] = (),
    windows: Windows | None = None,
) -> FillPlan:
    """The plan of a program. `ranges` is the number of ids that the readers of an input take; inputs that are
    `absent` are filled by nothing.

    A target that is also an input is filled as the input is.
    """
    fills = {
        name: Fill(name, tensor, features.get(name), None, _most(ranges.get(name)))
        for name, tensor in inputs.items()
        if name not in absent
    }
    for name, output in outputs.items():
        tensor, target = target_type(output), output.target
        if tensor is not None and target not in fills:
            fills[target] = Fill(target, tensor, features.get(target), name, classes_of(output, tensor))
    all_fills = fills.values()
    return FillPlan(tuple(all_fills if windows is None else (_stepped(fill, windows) for fill in all_fills)))


def _stepped(fill: Fill, windows: Windows) -> Fill:
    """The fill of one row, for a field that has several steps: without their axis, the first one."""
    steps, tensor = windows.steps(fill.feature), fill.tensor
    if steps is None:
        return fill
    row = Tensor((tensor.shape[0], *tensor.shape[2:]), tensor.dtype)
    return replace(fill, tensor=row, steps=steps, stepped=tensor)


def _most(limit: Limit | None) -> int | None:
    """The number of ids that the readers of an input take, where positions differ that of the largest."""
    if isinstance(limit, tuple):
        return None if None in limit else max(each for each in limit if each is not None)
    return limit


def of_images(plan: FillPlan) -> FillPlan:
    """The plan for a folder of images, whose columns are `file`, `image` and `label`: without features, one
    input of pictures and one target of classes read these.
    """
    pictures = [f.field for f in plan.fills if f.feature is None and not f.target and f.tensor.rank == 4]
    classes = [f.field for f in plan.fills if f.feature is None and f.target and f.classes]
    features: dict[str, Feature] = {}
    if len(pictures) == 1:
        features[pictures[0]] = ImageFeature(column="image")
    if len(classes) == 1:
        features[classes[0]] = Category(column="label")
    return FillPlan(tuple(replace(f, feature=features.get(f.field, f.feature)) for f in plan.fills))


def pictured(plan: FillPlan, feature: BoxesFeature) -> Fill | None:
    """The input of pictures in which boxes lie: the one that they name, or the first one."""
    pictures = [f for f in plan.fills if not f.target and isinstance(f.feature, ImageFeature)]
    named = [fill for fill in pictures if feature.of in (None, fill.field)]
    return named[0] if named else None


def image_misfits(plan: FillPlan) -> Iterator[tuple[Fill, Misfit]]:
    """Reasons why a folder of images cannot fill the inputs of a plan of `of_images`."""
    inputs = [fill for fill in plan.fills if not fill.target]
    pictures = [fill for fill in inputs if isinstance(fill.feature, ImageFeature)]
    for fill in pictures:
        assert isinstance(fill.feature, ImageFeature)
        if (problem := _shape(fill, fill.feature) or _dtype(fill, fill.feature)) is not None:
            yield fill, problem
    if not pictures and inputs:
        several = [fill for fill in inputs if fill.tensor.rank == 4]
        fill = (several or inputs)[0]
        feature = f"data: {{features: {{{fill.field}: {{column: image, encode: image}}}}}}"
        wanted = "one input [height, width, channels]"
        message = f"a folder of images fills {wanted}: {_what(fill)} is {fill.tensor}"
        help = "write `shape: [height, width, 3]` at the input"
        if fill.tensor.rank == 3:
            sizes = ", ".join(map(show_size, fill.tensor.shape[1:]))
            help = f"write `shape: [{sizes}, 3]` at the input, or `[{sizes}, 1]` for gray images"
        if several:
            message = f"a folder of images fills one input, and {len(several)} take images"
            help = f"name it: {feature}"
        yield fill, ("feature-misfit", message, help, None)


def reading_images(plan: FillPlan) -> FillPlan:
    """The plan for predictions of a folder of images, of which no target is read: the only input, if its
    feature is of images, reads them, whatever column of a table it learned from.
    """
    features = [fill.feature for fill in plan.fills if not fill.target]
    feature = features[0] if len(features) == 1 else None
    if not isinstance(feature, ImageFeature):
        return plan
    images = feature.model_copy(update={"column": "image", "root": None, "ending": None})
    return FillPlan(tuple(f if f.target else replace(f, feature=images) for f in plan.fills))


def classes_of(output: OutputSpec, target: Tensor) -> int | None:
    """How many values the target of an output has, where those are classes."""
    if isinstance(output.loss, Circle) or (isinstance(output.loss, CustomLoss) and not target.is_float):
        return None  # class numbers, and not a unit for each
    units = output.tensors[0].shape[-1]
    if target.is_float and not isinstance(output.loss, Categorical):
        return 2 if _binary(output) else None
    return units if isinstance(units, int) else None


def target_type(output: OutputSpec) -> Tensor | None:
    """The type of an output's target; None where nothing reads a target."""
    tensor = output.tensors[0]
    if output.loss is not None and output.loss.takes_target:
        return output.loss.target(tensor)
    if output.ranks_candidates:  # the keys of other rows
        return None
    return output.metrics[0].resolve(tensor, None).target(tensor) if output.metrics else None


def unread(declared: Iterable[str], features: Mapping[str, Feature]) -> Iterator[Problem]:
    """Features that no input and no target has the name of; `declared` are those names."""
    names = list(declared)
    for name in features:
        if name not in names:
            help = did_you_mean(name, names, f"inputs and targets here: {', '.join(names)}")
            message = f"the feature `{name}` has a name that no input and no target has"
            yield Problem("unused-feature", message, help, (name,))


def misfits(plan: FillPlan, outputs: Outputs, windows: Windows | None = None) -> Iterator[Problem]:
    """Features that make another array than the field wants that they fill."""
    for fill in plan.fills:
        wrong = _step_misfit(fill, plan) if windows is not None else None
        if wrong is not None:
            code, message, help, key = wrong
            yield Problem(code, message, help, (fill.field, key) if key else (fill.field,))
            continue
        if fill.feature is None:
            continue
        output = outputs[fill.output] if fill.output is not None else None
        problem = _steps(fill, fill.feature) or _shape(fill, fill.feature) or _dtype(fill, fill.feature)
        if problem is None and output is None:
            problem = _vocabulary(fill, fill.feature)
        if problem is None and output is not None:
            problem = _target(fill, fill.feature, output)
        if problem is not None:
            code, message, help, key = problem
            if (
                windows is not None
                and code == "feature-misfit"
                and fill.steps is None
                and len(fill.tensor.shape) == 2
            ):
                which, count = ("next", windows.next) if fill.target else ("past", windows.past)
                words = f"write `steps: {which}`: a value for each step; {help}"
                meant = fill.tensor.shape[1] == count and len(fill.feature.read(fill.field)) == 1
                help = gain({"steps": which}, words, safe=meant) if help else None
            yield Problem(code, message, help, (fill.field, key) if key else (fill.field,))


def _steps(fill: Fill, feature: Feature) -> Misfit | None:
    """The mistake of several steps of a feature whose rows differ in length."""
    if fill.steps is None or not isinstance(feature, Listed | ImageFeature):
        return None
    message = f"the feature `{fill.field}` has `steps`, but `encode: {feature.encode}` reads one row"
    return "windows-misfit", message, "leave `steps` out: it is read at the last step of the past", "steps"


Misfit = tuple[str, str, str | None, str | None]
"""A code, a message, a remedy, and the feature's key that is at fault."""


def _step_misfit(fill: Fill, plan: FillPlan) -> Misfit | None:
    """Why the steps of a field do not fit: a code, a message, a remedy, and the key at fault."""
    steps, feature = fill.steps, fill.feature
    what = _what(fill)
    if feature is None or steps is None:
        if fill.target:
            feature_text = f"`{fill.field}: {{encode: number, steps: next}}`"
            message = f"{what} has no `steps`, but a forecast is of the steps that come next"
            return "windows-misfit", message, f"write under `features`: {feature_text}", None
        return None
    if fill.target and feature.steps != "next":
        message = f"{what} lies in the past, which the model reads"
        return "windows-misfit", message, "write `steps: next`", "steps"
    wanted = fill.field_tensor.shape[1:2] or (1,)
    if isinstance(wanted[0], int) and wanted[0] != steps.count:
        said = f"`steps: {feature.steps}` of the feature `{fill.field}` are {steps.count}"
        message = f"{said}, and {what} is {fill.field_tensor}"
        return "windows-misfit", message, f"its first size must be {steps.count}", "steps"
    if not fill.target and feature.steps == "next":
        return _known_ahead(fill, plan, what)
    return None


def _known_ahead(fill: Fill, plan: FillPlan, what: str) -> Misfit | None:
    """Why an input cannot read the steps that are to be predicted: it would be given the answer."""
    assert fill.feature is not None
    answers = {
        column
        for other in plan.fills
        if other.target and other.feature is not None
        for column in other.feature.read(other.field)
    }
    answer_columns = [column for column in fill.feature.read(fill.field) if column in answers]
    if not answer_columns:
        return None
    message = f"{what} reads `{answer_columns[0]}` of the next steps, which the model is to predict"
    return "windows-misfit", message, "take the column out, or write `steps: past`", "steps"


def _what(fill: Fill) -> str:
    return f"the target of output `{fill.output}`" if fill.target else f"the input `{fill.field}`"


def _shape(fill: Fill, feature: Feature) -> Misfit | None:
    wanted, shape = fill.tensor.shape[1:], feature.feature_type(target=fill.target).shape
    if isinstance(feature, BoxesFeature) and wanted[1:] == shape[1:]:
        if not isinstance(wanted[0], int) or wanted[0] == shape[0]:
            return None
    elif isinstance(feature, ImageFeature) and len(wanted) == (
        3 if fill.tensor.is_float or not fill.mask else 2
    ):
        return _unsized(fill) or (_mask(fill, feature) if fill.mask else _picture(fill, feature))
    elif len(wanted) == 1 and feature.may_list:
        length = feature.most if isinstance(feature, Listed) else None
        if length is None or wanted[0] == length or not isinstance(wanted[0], int):
            return None
    elif wanted == shape or (not wanted and shape == (1,)):
        return None
    shown = ", ".join("any" if size is None else str(size) for size in shape)
    message = f"the feature `{fill.field}` makes [{shown}] of a row, and {_what(fill)} is {fill.tensor}"
    return "feature-misfit", message, _shape_help(fill, feature, shape), None


def _shape_help(fill: Fill, feature: Feature, made: tuple[int | None, ...]) -> str | None:
    if isinstance(feature, ImageFeature):
        return "give the input `shape: [height, width, channels]`"
    if isinstance(feature, Shifted):
        return "it makes class numbers: use the loss `sparse_categorical_crossentropy`"
    if isinstance(feature, Listed):
        return "write `shape: [length]`" + (f", or `length: {feature.length}`" if feature.length else "")
    if isinstance(feature, Number) and feature.columns is None and fill.tensor.rank == 2:
        lists = "; a column of lists of numbers needs no feature, and `{layer: Normalization}` scales it"
        return "name the `columns`" + (lists if not fill.target else lists.partition(", and")[0])
    if fill.target and isinstance(feature, Category):
        return "ids are the targets of `sparse_categorical_crossentropy`"
    if fill.target:
        return f"the output needs {made[0]} values: `units: {made[0]}`"
    return gain({"shape": [made[0]]}, f"write `shape: [{made[0]}]`", safe=False)


def _unsized(fill: Fill) -> Misfit | None:
    if all(isinstance(size, int) for size in fill.tensor.shape[1:]):
        return None
    message = f"{_what(fill)} is {fill.tensor}, and images are resized to one size"
    return "feature-misfit", message, "give it a height and a width", None


def _mask(fill: Fill, feature: ImageFeature) -> Misfit | None:
    channels = fill.tensor.shape[-1]
    units = fill.limit if not fill.tensor.is_float else 2 if channels == 1 else channels
    if feature.values is not None and units is not None and len(feature.values) != units:
        message = f"{_what(fill)} has {units} classes, and `{fill.field}` has {len(feature.values)} `values`"
        return "feature-misfit", message, "name the pixel value of each class", "values"
    return None


def _picture(fill: Fill, feature: ImageFeature) -> Misfit | None:
    sizes = fill.tensor.shape[1:]
    if feature.values is not None:
        message = f"`values` are the classes of a target, and {_what(fill)} holds images"
        return "feature-misfit", message, "leave `values` out", "values"
    if sizes[-1] not in (1, 3, 4):
        message = f"{_what(fill)} has {sizes[-1]} channels, and an image has 1 (grey), 3 (RGB) or 4 (RGBA)"
        first, *others = (str(size) for size in sizes)
        help = "write `shape: [height, width, 3]`"
        if sizes[0] in (1, 3, 4):
            help = f"channels come last: write `shape: [{', '.join([*others, first])}]`"
        return "feature-misfit", message, help, None
    return None


def _dtype(fill: Fill, feature: Feature) -> Misfit | None:
    dtype = feature.feature_type(target=fill.target).dtype
    integer = dtype == "int64"
    if isinstance(feature, ImageFeature):
        fits = fill.tensor.is_float or fill.tensor.dtype in ("uint8", "int16", "int32", "int64")
    elif fill.target:
        return None  # the loss says what ids and numbers can be; `_target` compares them
    else:
        fits = (fill.tensor.dtype in ("int64", "int32")) if integer else fill.tensor.is_float
    if fits:
        return None
    message = (
        f"the feature `{fill.field}` makes {'ids' if integer else dtype}, and {_what(fill)} is {fill.tensor}"
    )
    return "feature-misfit", message, f"write `dtype: {dtype}` at the input", None


def _vocabulary(fill: Fill, feature: Feature) -> Misfit | None:
    count, limit = feature.feature_type(target=False).vocabulary, fill.limit
    if count is None or limit is None or count <= limit:
        return None
    message = f"the feature `{fill.field}` has {count} ids, and the layer that reads it takes {limit}"
    return "feature-misfit", message, f"write `input_dim: $(vocabulary({fill.field}))`", None


def _target(fill: Fill, feature: Feature, output: OutputSpec) -> Misfit | None:
    empty = isinstance(feature, Set) and feature.fill == ""  # a row without any of the values
    if getattr(feature, "fill", None) is not None and not empty:
        message = f"{_what(fill)} cannot have a `fill`: the model would learn invented values"
        help = f"rows without a target do not count with `missing: ignore` at the output `{fill.output}`"
        return "feature-misfit", message, help, "fill"
    if not feature.target:
        message = (
            f"`{feature.encode}` encodes no targets, but `{fill.field}` is the target of `{fill.output}`"
        )
        return "feature-misfit", message, "use `number` or `category`", "encode"
    sparse = isinstance(output.loss, SparseLoss) or not fill.tensor.is_float
    if isinstance(feature, Category):
        return _classes(fill, feature, output, sparse)
    count = feature.feature_type(target=True).vocabulary if isinstance(feature, Listed) else None
    if count is not None and fill.limit is not None and count > fill.limit:
        message = f"the output `{fill.output}` has {fill.limit} units, and `{fill.field}` has {count} ids"
        return "feature-misfit", message, f"write `units: $(vocabulary({fill.field}))`", None
    if isinstance(feature, Listed) and not sparse:
        message = f"the feature `{fill.field}` makes ids, and {_what(fill)} is {fill.tensor}"
        return "feature-misfit", message, "use the loss `sparse_categorical_crossentropy`", None
    if isinstance(feature, Number | Set) and sparse:
        message = f"the feature `{fill.field}` makes numbers, and {_what(fill)} is class numbers"
        return "feature-misfit", message, "write `encode: category`", "encode"
    return None


def sees_padding(output: OutputSpec) -> bool:
    """Whether the loss of an output knows by itself where a padded target ends."""
    return output.loss is not None and output.loss.sees_padding


def _classes(fill: Fill, feature: Category, output: OutputSpec, sparse: bool) -> Misfit | None:
    if isinstance(output.loss, CTC):
        message = f"class 0 of `{output.loss.name}` is the blank, and ids of `{fill.field}` count from 0"
        return "feature-misfit", message, "write `encode: tokens`, whose ids count from 1", "encode"
    if feature.vocabulary is not None:
        message = f"the target `{fill.field}` has an id for each value, none of which may be left out"
        return "feature-misfit", message, "leave `vocabulary` out, or list the `values`", "vocabulary"
    if feature.unseen == "own":
        message = f"the target `{fill.field}` has no id for unseen values"
        return "feature-misfit", message, "leave `unseen` out: an unseen value is an error", "unseen"
    if feature.min_count > 1:
        message = f"the target `{fill.field}` has an id for each value, including rare ones"
        return "feature-misfit", message, "leave `min_count` out", "min_count"
    if not (sparse or fill.one_hot or _binary(output)):
        message = f"the feature `{fill.field}` makes ids, and {_what(fill)} is {fill.tensor}"
        return "feature-misfit", message, "use the loss `sparse_categorical_crossentropy`", None
    units = fill.limit
    if feature.values is not None and units is not None and len(feature.values) != units:
        has = "has one unit, for two values" if fill.one_unit else f"has {units} units"
        named = f"{len(feature.values)} value{'s' if len(feature.values) > 1 else ''}"
        message = f"the output `{fill.output}` {has}, and `{fill.field}` has {named}"
        help = (
            f"write `units: {len(feature.values)}`"
            if not fill.one_unit
            else "use a softmax with one unit for each value"
        )
        return "feature-misfit", message, help, "values"
    return None


def _binary(output: OutputSpec) -> bool:
    """Whether an output is one probability, of the second of two values."""
    tensor = output.tensors[0]
    one = tensor.rank == 1 or tensor.shape[-1] == 1
    return one and (output.loss is None or isinstance(output.loss, Binary))


def vocabulary_of(feature: Feature, *, target: bool) -> int | None:
    """The value of `$(vocabulary(name))`: the declared number of ids, None where training data decide it."""
    made = feature.feature_type(target=target)
    return made.shape[0] if isinstance(feature, Set) else made.vocabulary
