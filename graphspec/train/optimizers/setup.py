"""The optimizer of a program, with its schedule and `parameter_groups`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn

from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.train.config import OptimizerSettings, StepSettings, TrainConfig
from graphspec.train.config.groups import particulars
from graphspec.train.optimizers import Optimizer
from graphspec.train.schedules import schedule
from graphspec.weights import held_weights

OWN = "loss_weight/"
"""The prefix of learned loss weights; they are no weights of the model, and never decay."""


def need_trainable(program: BaseProgram, module: nn.Module, config: TrainConfig) -> None:
    """Raises `SpecError` (nothing-to-train) where a phase with the settings `config`, whose weights are
    frozen, or one of its updates has nothing to move.
    """
    if all(output.loss is None for output in program.outputs.values()):
        name, span = next(iter(program.outputs)), program.span(("outputs",))
        help = f"give one a loss: outputs: {{{name}: {{loss: ...}}}}"
        raise fail("nothing-to-train", "no output has a loss", help, span=span)
    trained = [name for name, weight in module.named_parameters() if weight.requires_grad]
    if not trained:
        help = "no layer has weights, or each says `trainable: false`; `graphspec evaluate SPEC` measures it"
        raise _refused("no weight is trainable", help)
    for number, step in enumerate(config.updates, 1):
        if not any(map(step.updates, trained)):
            help = f"`update` matches paths of trainable weights, for example `{min(trained)}`"
            raise _refused(f"step {number} changes no trainable weight", help)


def optimizer_for(
    program: BaseProgram,
    module: nn.Module,
    loss_weights: Mapping[str, Tensor],
    steps: int,
    config: TrainConfig | None = None,
    update: StepSettings | None = None,
) -> Optimizer:
    """The optimizer of the weights that train, and of learned loss weights, for so many steps.

    `config` are the settings of a phase, by default those of the program; an `update` of it takes the weights
    that it moves.
    """
    config, update = config or program.training, update or StepSettings()
    named = module.named_parameters()
    weights: dict[str, Tensor] = {n: w for n, w in named if w.requires_grad and update.updates(n)}
    apart: dict[tuple[float, float | None], list[str]] = defaultdict(list)
    base, said_schedule = update.optimizer or config.optimizer, update.own_schedule(config.schedule)
    for name, said in particulars(config.parameter_groups, weights).items():
        factor = 1.0 if said.learning_rate is None else said.learning_rate / base.learning_rate
        if factor != 1 or said.weight_decay is not None:
            apart[factor, said.weight_decay].append(name)
    loss_tensors = {OWN + name: weight for name, weight in loss_weights.items()}
    if loss_tensors:
        apart[1.0, 0.0] += loss_tensors
    groups = [(names, decayed(base, decay), factor) for (factor, decay), names in apart.items()]
    rate = schedule(said_schedule, base.learning_rate, steps) if said_schedule is not None else None
    layouts = {each.key: each.weight for each in held_weights(program.graph)}
    return Optimizer(base, weights | loss_tensors, schedule=rate, groups=groups, layouts=layouts)


def decayed(settings: OptimizerSettings, decay: float | None) -> OptimizerSettings:
    """The same settings with another weight decay, unless that is None."""
    if decay is None:
        return settings
    names = {"weight_decay", "adam_weight_decay"} & type(settings).model_fields.keys()
    return settings.model_copy(update=dict.fromkeys(names, decay))


def _refused(message: str, help: str) -> SpecError:
    return fail("nothing-to-train", message, help)
