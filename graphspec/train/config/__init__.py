"""The section `train:` of a spec: Keras' optimizers, with its names and defaults, and the run's settings.

Nothing here imports torch; the optimizers themselves are in `graphspec.train.optimizers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny
from pydantic_core import PydanticCustomError

from graphspec.diagnostics import become, by_word, delete
from graphspec.settings import Problem, Problems, Setting, show, unfit, validate
from graphspec.train.config.adapters import AdapterSettings, parse_adapters
from graphspec.train.config.callbacks import CALLBACKS, CallbackSettings, misfits, parse_callbacks
from graphspec.train.config.groups import ParameterGroup, matches_any
from graphspec.train.config.optimizers import OPTIMIZERS, OptimizerSettings, RMSprop
from graphspec.train.config.phases import (
    OF_OPTIMIZER,
    PHASE_READERS,
    Frozen,
    PhaseSettings,
    StepSettings,
    in_optimizer,
    parse_phases,
    read_keys,
)
from graphspec.train.config.schedules import SCHEDULES, Schedule

__all__ = [
    "CALLBACKS",
    "OPTIMIZERS",
    "SCHEDULES",
    "OptimizerSettings",
    "Schedule",
    "StepSettings",
    "TrainConfig",
    "effective_batch",
    "misfits",
    "parse_train",
]

READERS = {
    **PHASE_READERS,
    "adapters": parse_adapters,
    "phases": parse_phases,
    "callbacks": parse_callbacks,
}
"""Readers of the keys whose values have names of their own."""


Precision = Literal["float32", "tf32", "bf16"]
_PRECISIONS = {"float16": "bf16", "fp16": "bf16", "half": "bf16", "mixed_float16": "bf16", "fp32": "float32"}
_PRECISIONS |= {"16": "bf16", "32": "float32"}
_PRECISIONS |= {"bfloat16": "bf16", "mixed_bfloat16": "bf16", "bf16-mixed": "bf16", "16-mixed": "bf16"}


_CALLBACK = "it is a callback: callbacks: {early_stopping: {patience: VALUE:3}}"
_SHOWN = "`graphspec train` shows what it does: see `--progress`, `--verbose` and `--plot`"
REMEDIES = {
    **OF_OPTIMIZER,
    "vary": "the number itself varies: {constant: {from: 1, to: 0.1}}, or `loss_weight: {from: 0, to: 1}`",
    **dict.fromkeys(("fp16", "bf16", "amp", "half"), "write `precision: bf16`"),
    "loss": "a loss belongs to its output: outputs: {name: {loss: ...}}",
    "loss_weights": "a weight belongs to its output: outputs: {name: {loss: ..., loss_weight: ...}}",
    "metrics": "metrics belong to their output: outputs: {name: {metrics: [accuracy]}}",
    "class_weight": "it belongs to its output: outputs: {name: {class_weight: balanced}}",
    "device": "it belongs to the machine, not to the spec: `graphspec train --device cuda`",
    **dict.fromkeys(
        ("accelerator", "gpu", "gpus", "cuda"),
        "it belongs to the machine, not to the spec: `graphspec train --device cuda`",
    ),
    **dict.fromkeys(("num_workers", "workers"), delete("graphspec chooses how to read data")),
    **dict.fromkeys(
        ("devices", "num_gpus", "n_gpus", "num_processes", "world_size"),
        "it belongs to the machine, not to the spec: `graphspec train --devices VALUE:2`",
    ),
    "compile": "it belongs to the command: `graphspec train --compile on`",
    **dict.fromkeys(
        ("output_dir", "save_dir", "log_dir", "run_dir"),
        "it belongs to the command: `graphspec train --run-dir DIR`",
    ),
    **dict.fromkeys(
        ("save_best", "save_best_only"), delete("every run writes `best.safetensors`, too", only_for="true")
    ),
    "weights": "it belongs to the command: `graphspec train --weights FILE`; or to a node of a model",
    "mixed_precision": "write `precision: bf16`",
    "shuffle": delete("training rows are shuffled in each epoch, from the run's seed", only_for="true"),
    "data": "it is a section of its own: data: {train: FILE}",
    **dict.fromkeys(
        ("validation_split", "validation", "val_split", "validation_fraction"),
        "it belongs to the data: data: {validation: {split: VALUE:0.1}}",
    ),
    **dict.fromkeys(
        ("n_estimators", "max_depth", "num_leaves", "max_features", "kernel", "C", "gamma"),
        "it is a setting of another kind of model: a spec trains a network of layers",
    ),
    "validation_data": "it belongs to the data: data: {validation: FILE}",
    **dict.fromkeys(("max_steps", "num_steps"), "`epochs` sets the length of a training"),
    "steps_per_epoch": delete("an epoch is all training rows; `--limit` reads fewer", safe=False),
    "early_stop": _CALLBACK,
    "early_stopping": _CALLBACK,
    "patience": _CALLBACK,
    "n_iter_no_change": _CALLBACK,
    "hidden_layer_sizes": "each layer is a node: nodes: {hidden: {layer: ..., units: 64}}",
    "checkpoint": "every run has them; callbacks: {model_checkpoint: {monitor: val_loss}} keeps the best",
    "tensorboard": "it is a callback: callbacks: {tensorboard: {}}",
    **dict.fromkeys(
        ("warmup_steps", "warmup_ratio", "warmup", "lr_scheduler_type", "lr_scheduler"),
        "it belongs to the schedule: schedule: {name: cosine_decay, warmup_steps: 100}",
    ),
    **dict.fromkeys(
        ("cv", "folds", "k_folds", "n_splits"), "it belongs to the command: `graphspec train --folds VALUE:5`"
    ),
    "verbose": _SHOWN,
    **dict.fromkeys(
        ("log_every", "log_every_n_steps", "logging_steps", "log_interval", "progress_bar"), _SHOWN
    ),
    "resume": "it belongs to the command: `graphspec train --resume`",
    **dict.fromkeys(
        ("n_critic", "d_steps", "discriminator_steps", "critic_steps"),
        "`steps` says it: steps: [{outputs: [gap], update: critic.*, repeat: 5}, ...]",
    ),
}
"""Keys that many expect here."""


def _precision(value: object) -> object:
    if isinstance(value, str | int) and (word := _PRECISIONS.get(str(value))) is not None:
        raise PydanticCustomError(
            "other_word", f"`precision` is float32, tf32 or bf16, not `{value}`", {"instead": word}
        )
    return value


class TrainConfig(Setting):
    """How a spec is trained.

    The defaults are Keras' (`fit` and `compile`), with one seed for weights, order and split.
    """

    optimizer: SerializeAsAny[OptimizerSettings] = Field(default_factory=RMSprop)
    schedule: SerializeAsAny[Schedule] | None = None
    """Schedule of the learning rate."""
    parameter_groups: tuple[ParameterGroup, ...] = ()
    adapters: tuple[AdapterSettings, ...] = ()
    """Low-rank adapters, the only weights that train: where, their rank, alpha and dropout."""
    freeze: Frozen = ()
    """Weights that do not train, by patterns of their paths. Normalizations among them run as in
    inference.
    """
    unfreeze_at: Annotated[int, Field(ge=1)] | None = None
    """Number of epochs after which frozen weights train."""
    phases: tuple[PhaseSettings, ...] = ()
    """Parts of the training, one after another, each with settings of its own. Without them there is one."""
    steps: tuple[StepSettings, ...] = ()
    """Updates on each batch: which losses move which weights, by which optimizer. Without them there is
    one.
    """
    epochs: Annotated[int, Field(ge=1)] = 1
    """Number of passes over all training rows."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Rows of each step."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of weights, order, split and random layers."""
    bucket: Annotated[str, Field(min_length=1)] | None = None
    """Named size by which rows are sorted, so that batches have similar lengths."""
    precision: Annotated[Precision, BeforeValidator(_precision)] = "float32"
    """Precision of the computation: float32, tf32 or bf16."""
    parallel: Literal["ddp", "fsdp", "hsdp"] = "ddp"
    """How processes share the model: `ddp` copies it to each, `fsdp` shards its weights over all, `hsdp` over
    those of each machine.
    """
    callbacks: tuple[SerializeAsAny[CallbackSettings], ...] = ()
    """Callbacks: early stopping, checkpoints, TensorBoard and others."""

    def freezes(self, path: str) -> bool:
        """Whether `freeze` has the weight of this path; with adapters, all weights are frozen."""
        return bool(self.adapters) or matches_any(self.freeze, path)

    @property
    def parts(self) -> tuple[TrainConfig, ...]:
        """The settings of each phase, without phases of its own."""
        if not self.phases:
            return (self,)
        alone = self.model_copy(update={"phases": ()})
        return tuple(alone.model_copy(update=phase.own_settings) for phase in self.phases)

    def sections(self) -> Iterator[tuple[tuple[str | int, ...], TrainConfig | PhaseSettings | StepSettings]]:
        """`train` itself, its phases, and the steps of each, with their paths."""
        parts: list[tuple[tuple[str | int, ...], TrainConfig | PhaseSettings]] = [((), self)]
        parts += [(("phases", index), phase) for index, phase in enumerate(self.phases)]
        for path, part in parts:
            yield path, part
            yield from (((*path, "steps", index), step) for index, step in enumerate(part.steps or ()))

    def written_steps(self) -> Iterator[tuple[tuple[str | int, ...], StepSettings]]:
        """The steps that are written, of all phases, with their paths."""
        for path, part in self.sections():
            if isinstance(part, StepSettings):
                yield path, part

    @property
    def updates(self) -> tuple[StepSettings, ...]:
        """The updates of a phase on each batch."""
        return self.steps or (StepSettings(),)

    @property
    def varies(self) -> bool:
        """Whether other weights train from one update to another."""
        return bool(self.phases or self.steps) or self.unfreeze_at is not None

    @property
    def optimizers(self) -> tuple[OptimizerSettings, ...]:
        """The optimizers of all updates of all phases."""
        return tuple(step.optimizer or part.optimizer for part in self.parts for step in part.updates)

    synonyms: ClassVar = by_word(
        optimizer="optim solver",
        freeze="frozen freeze_layers",
        adapters="lora peft adapter",
        unfreeze_at="unfreeze unfreeze_epoch unfreeze_at_epoch",
        phases="stages",
        steps="updates alternate alternating",
        schedule="scheduler lr_schedule",
        parameter_groups="param_groups groups",
        batch_size="batch per_device_train_batch_size train_batch_size",
        epochs="num_epochs max_epochs num_train_epochs n_epochs max_iter n_iter",
        seed="random_state",
        parallel="strategy distributed",
    )
    remedies: ClassVar = REMEDIES

    @classmethod
    def meaning(cls, key: str, beside: dict[str, Any]) -> str | None:
        """Weights of losses, each at its output."""
        weights = beside[key]
        if key != "loss_weights" or not isinstance(weights, dict) or not weights:
            return None
        shown = ", ".join(f"{name}: {{loss_weight: {show(weight)}}}" for name, weight in weights.items())
        return f"a weight belongs to its output: outputs: {{{shown}}}"


def parse_train(value: object) -> TrainConfig:
    """The `train:` section of a spec; None gives the defaults. Raises `SettingError` with every problem."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        word = value[0] if isinstance(value, list) and len(value) == 1 else value
        known = isinstance(word, str) and word in OPTIMIZERS.members
        help = f"write train: {{optimizer: {word if known else 'adam'}, epochs: 3}}"
        raise unfit("wrong-type", f"`train` is a mapping, not {show(value)}", help)
    problems = Problems()
    rest = read_keys(value, READERS, problems)
    with problems.under():
        config = validate(TrainConfig, rest, "`train`")
        if config.phases and "epochs" not in rest:
            config = config.model_copy(update={"epochs": sum(phase.epochs for phase in config.phases)})
        problems.collected += [*_two_rates(config), *_whole_weights(config), *_unfreezing(config)]
        problems.collected += _varying(config)
    problems.collected = [_where_it_belongs(problem, value) for problem in problems.collected]
    problems.raise_any()
    return config


def _where_it_belongs(problem: Problem, written: dict[str, Any]) -> Problem:
    """The same problem; of a key of the optimizer, and of a callback, with the mapping that has it there."""
    if problem.code != "unknown-key" or len(problem.path) != 1 or problem.path[0] not in written:
        return problem
    key = str(problem.path[0])
    help = in_optimizer(key, written, RMSprop.names()[0]) or _in_callbacks(key, written)
    return problem if help is None else replace(problem, help=help)


def _in_callbacks(key: str, beside: dict[str, Any]) -> str | None:
    """The remedy for a callback that is beside `callbacks`: the same mapping with the callback inside."""
    name, inner, callbacks = key, beside[key], beside.get("callbacks") or {}
    for word in CALLBACKS.members:
        field = key.removeprefix(f"{word}_")  # `early_stopping_patience`
        if field != key and field in CALLBACKS.members[word].model_fields:
            name, inner = word, {field: inner}
    if name not in CALLBACKS.members or not isinstance(inner, dict | None):
        return None
    if not isinstance(callbacks, dict) or name in callbacks:
        return None
    rest = {word: item for word, item in beside.items() if word != key}
    new = {**rest, "callbacks": {**callbacks, name: inner or {}}}
    return become(new, f"it is a callback: callbacks: {show({name: inner or {}})}", around=True)


def _varying(config: TrainConfig) -> list[Problem]:
    """Mistakes of a training in which other weights train from one update to another."""
    if not config.varies:
        return []
    problems = []
    word = next(key for key in ("steps", "phases", "unfreeze_at") if getattr(config, key))
    if config.unfreeze_at is not None and word != "unfreeze_at":
        message = f"`unfreeze_at` and `{word}` both say what trains when"
        problems.append(Problem("out-of-range", message, "write it as phases", ("unfreeze_at",)))
    counts = {each.gradient_accumulation_steps or 1 for each in config.optimizers}
    if len(counts) > 1:
        message = "all optimizers of a training must accumulate gradients over the same number of batches"
        help = "give each the same `gradient_accumulation_steps`"
        problems.append(Problem("out-of-range", message, help, (word,)))
    return problems


def _unfreezing(config: TrainConfig) -> list[Problem]:
    """`unfreeze_at` without anything frozen."""
    if config.unfreeze_at is None or config.freeze:
        return []
    message = "`unfreeze_at` needs `freeze`, which names the weights that train from then on"
    return [Problem("out-of-range", message, 'write freeze: ["backbone.*"]', ("unfreeze_at",))]


def effective_batch(config: TrainConfig) -> int:
    """The examples of one step: those of all batches whose gradients it accumulates."""
    return config.batch_size * (config.optimizers[0].gradient_accumulation_steps or 1)


WHOLE = ("adafactor", "lamb", "muon")
"""Optimizers that look at a weight as a whole, and not at each of its values."""


def _whole_weights(config: TrainConfig) -> list[Problem]:
    """Sharded weights under an optimizer that wants whole ones."""
    name = next((each.canonical for each in config.optimizers if each.canonical in WHOLE), None)
    if config.parallel == "ddp" or name is None:
        return []
    how = f"`parallel: {config.parallel}`"
    message = f"`{name}` needs whole weights, but with {how} each process has only a part"
    help = "take another optimizer, such as adamw, or `parallel: ddp`"
    return [Problem("out-of-range", message, help, ("parallel",))]


def _two_rates(config: TrainConfig) -> list[Problem]:
    """Callbacks that set a learning rate which a schedule gives, or that is one of several."""
    schedules = [step.own_schedule(part.schedule) for part in config.parts for step in part.updates]
    scheduled = any(each is not None for each in schedules)
    if not scheduled and all(len(part.updates) == 1 for part in config.parts):
        return []
    also, help = "so does `schedule`", "keep one of them"
    if not scheduled:
        also, help = "each of `steps` has one", "give the steps a `schedule` instead"
    return [
        Problem(
            "out-of-range",
            f"`{callback.name}` sets the learning rate, and {also}",
            help,
            ("callbacks", callback.name),
        )
        for callback in config.callbacks
        if callback.sets_rate
    ]
