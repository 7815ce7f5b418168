"""A module that returns what people get, and what losses read of it: logits, points and masks."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from graphspec.elaborated import returned
from graphspec.objectives.formulas import activate
from graphspec.objectives.loss import Select

if TYPE_CHECKING:
    from graphspec.program import Program


class Returning(nn.Module):
    """A module with the arguments of another one, which answers as a detector does; with `logits` it returns
    more: what losses read, and masks, after the outputs. `select` is as in `Loss.answer`.
    """

    def __init__(self, program: Program, module: nn.Module, logits: bool, select: Select | None = None):
        super().__init__()
        self.program = module
        names, outputs = returned(program.outputs, logits), program.outputs
        asked = {"logits": True} if logits and program.takes_logits else {}

        def forward(*arguments: Any, **named: Any) -> dict[str, Tensor]:
            values = module(*arguments, **named, **asked)
            values = dict(values) if isinstance(values, dict) else {next(iter(outputs)): values}
            for name, output in outputs.items():
                if output.returns_more:
                    values[output.logits_key] = values[name]
                    whole = activate(values[name], output.activation) if asked else values[name]
                    values[name] = output.answered(whole, select)
            return {name: values[name] for name in names}

        signature = inspect.signature(module.forward)
        taken = [each for each in signature.parameters.values() if each.name != "logits"]
        forward.__signature__ = signature.replace(parameters=taken)  # type: ignore[attr-defined]  # what export reads
        self.forward = forward
