"""A module that returns its outputs and what losses read of them: logits and masks."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from graphspec.elaborated import returned
from graphspec.objectives.formulas import activate

if TYPE_CHECKING:
    from graphspec.program import Program


class WithLogits(nn.Module):
    """A module with the arguments of another one, which returns more: logits and masks after the outputs."""

    def __init__(self, program: Program, module: nn.Module):
        super().__init__()
        self.program = module
        names, outputs = returned(program.outputs, logits=True), program.outputs

        def forward(*arguments: Any, **named: Any) -> dict[str, Tensor]:
            values = module(*arguments, **named, logits=True)
            values = dict(values) if isinstance(values, dict) else {next(iter(outputs)): values}
            for name, output in outputs.items():
                if output.activation is not None:
                    values[output.logits_key] = values[name]
                    values[name] = activate(values[name], output.activation)
            return {name: values[name] for name in names}

        signature = inspect.signature(module.forward)
        taken = [each for each in signature.parameters.values() if each.name != "logits"]
        forward.__signature__ = signature.replace(parameters=taken)  # type: ignore[attr-defined]  # what export reads
        self.forward = forward
