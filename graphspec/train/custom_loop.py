"""The loss and metrics of a program, for custom training loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphspec.data.batches import Batch
from graphspec.data.config import DataConfig
from graphspec.data.features.plan import Fill, plan_fills
from graphspec.data.features.settings import Category
from graphspec.data.features.vision import ImageFeature
from graphspec.data.fields import Checker, fields
from graphspec.data.lookalikes import is_number
from graphspec.data.mistakes import need_classes, row_in_words
from graphspec.data.weighed import ClassWeights
from graphspec.diagnostics import did_you_mean, fail
from graphspec.diagnostics.arguments import brief, checked
from graphspec.elaborated import BaseProgram, OutputSpec
from graphspec.emit.load import out_of_memory
from graphspec.objectives.custom import CustomLoss, CustomMetric
from graphspec.settings import a
from graphspec.train.batch_result import BatchResult
from graphspec.train.custom import bound
from graphspec.train.meter import Meter, Values
from graphspec.train.objective import Objective

Tensors = Tensor | Mapping[str, Tensor]
CLOSE = 0.01
"""How far the probabilities of one softmax may be from 1 in all, in 16 bits too."""
CERTAIN = 8
"""From this number of softmaxes on, values that look like probabilities do so not by chance."""


def objective(
    program: BaseProgram, outputs: Tensors, targets: Tensors, logits: bool, weights: Tensors | None = None
) -> dict[str, Tensor]:
    """`loss`, the weighted sum of the outputs' losses, to differentiate; then each output's own, detached.

    `outputs` are what the module returned, with `logits=True` or without; `targets` are by output or by the
    target's name, or one tensor where there is one output; `weights` are those of examples, by output, or one
    tensor. Loss weights that are `learned` are 1. Regularizers of weights and activities are the module's,
    and are left out. Raises `SpecError` (data-column, data-shape, loss-misfit).
    """
    objective, result, _ = _evaluated(program, outputs, targets, logits, weights)
    parts = {f"{name}_loss": result.terms[name].value for name in objective.with_loss}
    return {"loss": result.loss, **parts}


class Metrics:
    """The mean losses and the metrics of a program's outputs over all batches so far, named and
    computed as in a training. Nothing is read from the device before `compute`, but what tells logits from
    probabilities.
    """

    def __init__(self, program: BaseProgram, logits: bool = False):
        self._program, self._logits = program, logits
        self._meter: Meter | None = None

    @torch.no_grad()
    @checked
    def update(self, outputs: Tensors, targets: Tensors, weights: Tensors | None = None) -> None:
        """Adds the outputs of the module for a batch, the targets of the batch, and the weights of its
        examples, as `Program.loss` takes them. Raises `SpecError` (data-column, data-shape, loss-misfit).
        """
        objective, result, batch = _evaluated(
            self._program, outputs, targets, self._logits, weights, measured=True
        )
        if self._meter is None:
            self._meter = objective.meter()
        self._meter.add(result, batch)

    def compute(self) -> Values:
        """The values so far, `loss` first; empty before the first batch."""
        return self._meter.result() if self._meter is not None else {}

    def reset(self) -> None:
        """Resets to the state before the first batch."""
        self._meter = None


def _evaluated(
    program: BaseProgram,
    outputs: Tensors,
    targets: Tensors,
    logits: bool,
    weights: Tensors | None,
    measured: bool = False,
) -> tuple[Objective, BatchResult, Batch]:
    """The result of what a module returned; where it is `measured`, metrics want their targets, too."""
    by_name = dict(outputs) if isinstance(outputs, Mapping) else {next(iter(program.outputs)): outputs}
    _need_tensors("output", by_name)
    _need_shapes(program, by_name)
    device = next(iter(by_name.values())).device
    specs = bound(program, device)
    wanted = [name for name, spec in specs.items() if spec.loss is not None or (measured and spec.metrics)]
    for name in wanted:
        _need_kind(specs[name], by_name, logits)
    if not logits:
        specs = {name: replace(spec, activation=None, mask=None) for name, spec in specs.items()}
    objective = Objective([], specs, device)
    arrays = {"": next(iter(by_name.values()))} | _arrays(program, wanted, targets)
    batch = Batch(arrays, _weights(program, objective.with_loss, targets, arrays, weights))
    try:
        return objective, objective(lambda **options: by_name, batch), batch  # type: ignore[arg-type]
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        own = any(
            isinstance(each, CustomLoss | CustomMetric) for spec in specs.values() for each in _of(spec)
        )
        if not own and not out_of_memory(error):
            _need_fitting(program, by_name, {name: arrays[name] for name in arrays if name})
        raise


def _of(spec: OutputSpec) -> Iterator[Any]:
    yield from (spec.loss, *spec.metrics)


def _need_tensors(what: str, given: Mapping[str, Any]) -> None:
    """Raises `SpecError` (wrong-type) for values of which one is no tensor; there is at least one."""
    if not given:
        raise fail("data-column", f"there is no {what}", "give a tensor, or a dict of tensors by name")
    for name, value in given.items():
        if not isinstance(value, Tensor):
            help = f"`torch.as_tensor(...)` makes one of {a(type(value).__name__)}"
            listed = isinstance(value, list | tuple | np.ndarray)
            message = f"the {what} `{name}` is {brief(value)}, but must be a tensor"
            raise fail(
                "wrong-type", message, help if listed else "give a tensor, or a dict of tensors by name"
            )


def _need_shapes(program: BaseProgram, outputs: Mapping[str, Tensor]) -> None:
    """Raises `SpecError` (data-shape) for outputs that are not of this program."""
    for name, output in program.outputs.items():
        wanted, shape = output.tensors[0].shape, tuple(outputs[name].shape) if name in outputs else None
        same = shape is None or (
            len(shape) == len(wanted)
            and all(
                not isinstance(size, int) or size == each for size, each in zip(wanted, shape, strict=True)
            )
        )
        if not same:
            message = f"the output `{name}` has the shape {list(shape or ())}, and is {output.tensors[0]}"
            raise fail("data-shape", message, "give what a module of this program returned")


def _need_fitting(program: BaseProgram, outputs: Mapping[str, Tensor], arrays: Mapping[str, Tensor]) -> None:
    """Raises `SpecError` (data-shape, data-dtype, data-range) for targets that do not fit the outputs."""
    wanted_fields = [field for field in fields(program) if field.name in arrays]
    checker = Checker("targets", row_in_words, wanted_fields, typed=True)
    values = {field.name: arrays[field.name].detach().cpu().numpy() for field in wanted_fields}
    for name, array in values.items():
        checker.check(name, array)
    lengths = {f"output {name}": len(output) for name, output in outputs.items() if output.dim()}
    checker.finish(lengths | {name: len(array) for name, array in values.items() if array.ndim})


def _need_kind(spec: OutputSpec, outputs: Mapping[str, Tensor], logits: bool) -> None:
    """Raises `SpecError` where an output is not what a module returns that was called with this `logits`."""
    for key in spec.keys:
        if key not in outputs:
            help = did_you_mean(key, outputs, f"outputs here: {', '.join(outputs)}")
            raise fail("data-column", f"the output `{key}` is not among the outputs", help)
    if spec.mask is not None and not (logits and spec.mask in outputs):
        lost = f"the mask of the output `{spec.name}`, without which its padding counts,"
        message = f"{lost} is returned by a module that is called with `logits=True`"
        raise fail(
            "loss-misfit", message, "call both with it: module(x, logits=True), loss(..., logits=True)"
        )
    if spec.activation is None or not outputs[spec.name].numel():
        return
    if not logits and not _are_probabilities(outputs[spec.name], spec.activation, CLOSE):
        message = f"the output `{spec.name}` holds logits, and the loss is called as for probabilities"
        raise fail("loss-misfit", message, "call it with them: loss(outputs, targets, logits=True)")
    several = outputs[spec.name].shape[:-1].numel() >= CERTAIN and outputs[spec.name].shape[-1] > 1
    certain = logits and several and spec.activation == "softmax"
    if certain and _are_probabilities(outputs[spec.name], spec.activation, 1e-5):
        message = f"the output `{spec.name}` holds probabilities, and the loss is called with `logits=True`"
        raise fail("loss-misfit", message, "call the module with it, too: module(x, logits=True)")


def _are_probabilities(values: Tensor, activation: str, close: float) -> bool:
    """Whether values may be those of a softmax over the last axis, or of a sigmoid; NaN may be."""
    values = values.detach()
    outside = (values < 0) | (values > 1)
    if activation == "softmax":
        outside = outside | ((values.float().sum(-1, keepdim=True) - 1).abs() > close)
    return not bool(outside.any())


def _arrays(
    program: BaseProgram, with_loss: list[str], targets: Tensor | Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The targets that the losses read, by their own names."""
    outputs = [program.outputs[name] for name in with_loss]
    wanted = {each.name: each.target for each in outputs if each.loss is None or each.loss.takes_target}
    if not isinstance(targets, Mapping):
        arrays = dict.fromkeys(list(wanted.values())[:1], targets)
        _need_tensors("target", arrays or {"": targets})
        return arrays
    arrays = {}
    for name, target in wanted.items():
        key = target if target in targets else name
        if key not in targets:
            help = did_you_mean(target, targets, f"targets here: {', '.join(map(str, targets)) or 'none'}")
            message = f"output `{name}` is compared with `{target}`, which is not among the targets"
            raise fail("data-column", message, help)
        arrays[target] = targets[key]
    if arrays:
        _need_tensors("target", arrays)
    return arrays


def _weights(
    program: BaseProgram,
    with_loss: list[str],
    targets: Tensors,
    arrays: Mapping[str, Tensor],
    sample_weight: Tensors | None,
) -> dict[str, Tensor]:
    """The weight of each example, by output: that of `sample_weight`, else what the spec says, its
    `sample_weight` times `class_weight`.
    """
    by_output: dict[str, Tensor] = {}
    if isinstance(sample_weight, Mapping):
        by_output = dict(sample_weight)
    elif sample_weight is not None:
        by_output = dict.fromkeys(with_loss[:1], sample_weight)
    if by_output:
        _need_tensors("weight of", by_output)
    for name in by_output:
        if name not in with_loss:
            help = did_you_mean(name, with_loss, f"outputs with a loss: {', '.join(with_loss)}")
            raise fail(
                "data-column", f"there are weights for `{name}`, which is not an output with a loss", help
            )
    weights = {name: _of_rows(name, weight.float(), arrays[""]) for name, weight in by_output.items()}
    for name in with_loss:
        output = program.outputs[name]
        if name in by_output:
            continue
        if output.rows.class_weight is not None:
            weights[name] = _of_classes(program, output, arrays[output.target])
        if (column := output.rows.sample_weight) is not None:
            sample = _of_rows(name, _sample(name, column, targets), arrays[""])
            weights[name] = sample * weights[name] if name in weights else sample
    return weights


def _sample(name: str, column: str, targets: Tensors) -> Tensor:
    """The column that `sample_weight` names."""
    if not isinstance(targets, Mapping) or column not in targets:
        message = f"the rows of output `{name}` are weighted by `{column}`, which is not among the targets"
        help = f'give it with the targets: {{"{column}": ...}}; or the product of all weights: `weights=...`'
        raise fail("data-column", message, help)
    _need_tensors("target", {column: targets[column]})
    return targets[column].float()


def _of_rows(name: str, weight: Tensor, rows: Tensor) -> Tensor:
    """[n]; one axis of size 1 may follow."""
    if weight.shape[1:].numel() != 1 or len(weight) != len(rows):
        message = f"the weights of output `{name}` have the shape {list(weight.shape)}, for {len(rows)} rows"
        raise fail("data-shape", message, "give one weight for each row")
    return weight.reshape(len(rows))


def _of_classes(program: BaseProgram, output: OutputSpec, target: Tensor) -> Tensor:
    """The weights of the classes of rows, or of their positions; a class without a weight has 1."""
    classes, help = output.rows.class_weight, f'give them: `weights={{"{output.name}": ...}}`'
    if classes == "balanced":
        message = f"the weights of the classes of `{output.name}` are balanced by the training data"
        raise fail("data-column", message, help)
    fill = _fill(program, output)
    numbers = _class_numbers(program, output, fill.limit if fill is not None else None)
    for value in classes or () if numbers is None else ():
        message = f"which class of `{output.name}` is `{value}` is learned from the training data"
        raise fail("data-column", message, help)
    numbers = numbers or {}
    classes = classes or {}
    need_classes(classes, output.name, numbers, "is not one of its classes", "its classes")
    weights = {numbers[value]: float(weight) for value, weight in classes.items()}

    def table(count: int) -> list[float]:
        return [weights.get(number, 1.0) for number in range(count)]

    if fill is not None and (fill.positions or fill.one_hot):
        by = ClassWeights.by(fill, table)
        if by.shares and target.shape[-1] != len(by.weights):
            message = f"the target of `{output.name}` has the shape {list(target.shape)}"
            raise fail("data-shape", message, f"its last axis holds the shares of {len(by.weights)} classes")
        return by.of(target)
    known = target.reshape(len(target)) if target.shape[1:].numel() == 1 else target
    if known.dim() > 1 and known.is_floating_point():
        message = f"`class_weight` of `{output.name}` is by class numbers, and its target is floats"
        raise fail("data-shape", f"{message}, {list(target.shape)}", help)
    row_weights = torch.ones(known.shape, device=known.device)
    for number, weight in weights.items():
        row_weights = torch.where(known == number, weight, row_weights)
    return row_weights


def _fill(program: BaseProgram, output: OutputSpec) -> Fill | None:
    """The fill of an output's target."""
    data = program.data or DataConfig()
    feature_plan = plan_fills(
        program.inputs, program.outputs, data.features, program.ranges, windows=data.windows
    )
    return next((fill for fill in feature_plan.fills if fill.field == output.target), None)


def _class_numbers(program: BaseProgram, output: OutputSpec, limit: int | None) -> dict[str, float] | None:
    """The names of an output's classes in the spec, and the number of each in a target, of up to `limit`
    classes; None where only training data have them.
    """
    feature = program.data.features.get(output.target) if program.data is not None else None
    if isinstance(feature, Category) and feature.values:
        return {str(value): number for number, value in enumerate(feature.values)}
    if isinstance(feature, ImageFeature):
        return {str(value): number for number, value in enumerate(feature.values or range(limit or 256))}
    class_weight = output.rows.class_weight
    words = {"false": 0.0, "true": 1.0} if limit in (None, 2) else {}
    if feature is not None or not all(value in words or is_number(value) for value in class_weight or ()):
        return None
    names = map(str, range(limit)) if limit is not None else set(class_weight or ()) - words.keys()
    return {name: float(name) for name in names} | words
