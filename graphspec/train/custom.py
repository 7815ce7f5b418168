"""Custom losses and metrics: imported and constructed for the objective."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graphspec import custom
from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram, Elaborated
from graphspec.emit import emit
from graphspec.emit.emitted import EmitOptions
from graphspec.emit.load import make_module
from graphspec.objectives.custom import TARGET, CustomLoss, CustomMetric
from graphspec.objectives.formulas import activate, mean_sums
from graphspec.objectives.loss import NO_CONTEXT, LossContext


class BoundLoss(CustomLoss):
    """One that can be called."""

    function: Any

    def values(self, output: Any, target: Tensor | None, given: LossContext = NO_CONTEXT) -> Tensor:
        output = activate(output, given.activation) if isinstance(output, Tensor) else output
        return _values(self, output, target, given.weight is not None or given.mask is not None)

    @torch.no_grad()
    def is_one_number(
        self, output: Tensor | Sequence[Tensor], target: Tensor | None, activation: str | None
    ) -> bool:
        """Whether it gives one number for all examples, not one for each; not known, and False, of [1] for a
        single one.
        """
        count = len(output if isinstance(output, Tensor) else output[0])
        loss = self.function(activate(output, activation) if isinstance(output, Tensor) else output, target)
        return not isinstance(loss, Tensor) or not loss.dim() or (loss.numel() == 1 and count > 1)


class BoundMetric(CustomMetric):
    """One that can be called."""

    function: Any

    def sums(self, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        return mean_sums(_values(self, output, target, weight is not None), weight)


def bound(program: BaseProgram, device: torch.device) -> dict[str, Any]:
    """The outputs of a program, with custom losses and metrics constructed on a device.

    Raises `SpecError` where they may not be imported, or cannot be.
    """
    wanted = custom.objectives(program)
    classes = custom.bring(wanted, program.folder, program.allow) if wanted else {}
    outputs = {}
    for name, output in program.outputs.items():
        loss, metrics = output.loss, []
        if isinstance(loss, CustomLoss):
            span = program.span(("outputs", name, "loss"))
            if loss.program is not None:
                function = _of_block(loss.program)
            else:
                function = _function(classes[loss.path], loss.path, loss.arguments, span, device)
            loss = BoundLoss.model_construct(**vars(loss), function=function)
        for metric in output.metrics:
            if isinstance(metric, CustomMetric):
                span = program.span(("outputs", name, "metrics"))
                function = _function(classes[metric.path], metric.path, metric.arguments, span, device)
                metric = BoundMetric.model_construct(**vars(metric), function=function)
            metrics.append(metric)
        outputs[name] = replace(output, loss=loss, metrics=tuple(metrics))
    return outputs


def _of_block(program: Elaborated) -> Any:
    """A function of outputs and targets that a block computes, for which the batch is one example."""
    module = make_module(emit(program, EmitOptions(params=False, initialize=False)), {})

    def loss(outputs: Tensor | Sequence[Tensor], target: Tensor | None) -> Tensor:
        given = [outputs] if isinstance(outputs, Tensor) else [*outputs]
        named = dict(zip((name for name in program.inputs if name != TARGET), given, strict=True))
        if target is not None:
            named[TARGET] = target
        values: Tensor = module(*(named[name].unsqueeze(0) for name in program.inputs))
        return values.reshape(-1)

    return loss


def _function(what: Any, path: str, arguments: Mapping[str, Any], span: Any, device: torch.device) -> Any:
    """A function of outputs and targets: an object of a class, or a function with its arguments."""
    if not callable(what):
        raise fail("module-missing", f"`{path}` is neither a class nor a function", span=span)
    if not isinstance(what, type):
        _need_arguments(what, path, arguments, span)
        return lambda outputs, targets: what(outputs, targets, **arguments)
    try:
        function = what(**arguments)
    except Exception as error:
        message = f"`{path}` cannot be made: {type(error).__name__}: {error}"
        raise fail("build-failed", message, None, *custom.raised_at(error), span=span) from error
    if not callable(function):
        raise fail("module-missing", f"an object of `{path}` cannot be called", span=span)
    if not isinstance(function, nn.Module):
        return function
    trainable = next((name for name, each in function.named_parameters() if each.requires_grad), None)
    if trainable is not None:
        message = f"`{path}` has the parameter `{trainable}`, and a loss or a metric is not trained"
        help = "make it a module of the graph, whose output has `loss: mean`; or `requires_grad_(False)` it"
        raise fail("not-supported", message, help, span=span)
    return function.to(device)


def _need_arguments(function: Callable[..., Any], path: str, arguments: Mapping[str, Any], span: Any) -> None:
    """Raises `SpecError` (build-failed) where a function does not take what its calls will give it."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions of C have none
        return
    try:
        signature.bind(None, None, **arguments)
    except TypeError as error:
        named = [each.name for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        message = f"`{path}` cannot be called with outputs, targets and the keys of the spec: {error}"
        help = f"its arguments are: {', '.join(named) or 'none'}"
        raise fail("build-failed", message, help, span=span) from error


def _values(
    bound: BoundLoss | BoundMetric, output: Tensor | Sequence[Tensor], target: Tensor | None, weighted: bool
) -> Tensor:
    """The value of a custom loss or metric for each example: [n] or [n, ...]. One number counts for all of
    them.

    Raises `SpecError` (loss-misfit) for another shape, and for one number where examples have weights.
    """
    first = output if isinstance(output, Tensor) else output[0]
    values = bound.function(output, target)
    what = f"`{bound.path}`"
    if not isinstance(values, Tensor):
        if not isinstance(values, int | float):
            raise _misfit(f"{what} gives a {type(values).__name__}", "give a tensor: one number, or [batch]")
        values = first.new_tensor(float(values))
    if values.dim() and values.shape[0] == len(first):
        return values
    if values.numel() != 1:
        shape = list(values.shape)
        raise _misfit(f"{what} gives {shape} for {len(first)} examples", "give one number, or [batch]")
    if weighted:
        message = f"{what} gives one number for all examples, but they have different weights here"
        raise _misfit(message, "give a value for each example, [batch]")
    return values.reshape(()).expand(len(first))


def _misfit(message: str, help: str) -> SpecError:
    return fail("loss-misfit", message, help)
