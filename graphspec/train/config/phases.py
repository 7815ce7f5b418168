"""`phases` and `steps`: a training in parts one after another, and the updates on each batch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from graphspec.diagnostics import become, by_word, delete
from graphspec.settings import Problems, Setting, Word, each_of, show, unfit, validate
from graphspec.train.config.groups import ParameterGroup, matches_any, parse_groups
from graphspec.train.config.optimizers import OPTIMIZERS, OptimizerSettings
from graphspec.train.config.schedules import SCHEDULES, Schedule


def _as_texts(value: object) -> object:
    """One text, or a list of them."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Texts = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_as_texts),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


def _frozen(value: object) -> object:
    if value is True:
        raise PydanticCustomError(
            "named_type", "a list says which weights are frozen", {"written": "`freeze: [encoder.*]`"}
        )
    return value


Frozen = Annotated[Texts, BeforeValidator(_frozen)]


_FIELDS = {
    **{key: key for key in ("weight_decay", "momentum", "clipnorm", "clipvalue", "global_clipnorm")},
    **by_word(
        learning_rate="lr learning_rate learning_rate_init eta0",
        global_clipnorm="clip clip_norm grad_clip clip_grad gradient_clip gradient_clipping "
        "gradient_clip_val gradient_clip_norm grad_clip_norm clip_grad_norm clip_gradients max_grad_norm",
        gradient_accumulation_steps="gradient_accumulation_steps gradient_accumulation "
        "accumulate_grad_batches accumulate",
        use_ema="ema use_ema",
    ),
}
_SAMPLES = {"learning_rate": "0.001", "use_ema": "true"}
OF_OPTIMIZER = {
    key: f"it belongs to the optimizer: optimizer: {{name: adam, {field}: {_SAMPLES.get(field, '...')}}}"
    for key, field in _FIELDS.items()
}
"""Keys that many expect beside the optimizer."""


def in_optimizer(key: str, beside: dict[str, Any], default: str) -> str | None:
    """The remedy for a key of the optimizer that is `beside` it: the same mapping with the key inside."""
    optimizer, field = beside.get("optimizer", default), _FIELDS.get(key)
    settings = {"name": optimizer} if isinstance(optimizer, str) else optimizer
    if field is None or not isinstance(settings, dict) or field in settings:
        return None
    inner = {**settings, field: beside[key]}
    shown = {word: Word(item) if word == "name" else item for word, item in inner.items()}
    rest = {name: item for name, item in beside.items() if name not in (key, "optimizer")}
    return become(
        {"optimizer": inner, **rest}, f"it belongs to the optimizer: optimizer: {show(shown)}", around=True
    )


NOTHING = {"optimizer": "adam", "parameter_groups": "[]", "freeze": "[]", "steps": "[{}]"}
"""The values that mean the absence of each; of an optimizer there is always one."""


def _no_null(*keys: str) -> Any:
    """Refuses null for keys that are as outside where they are left out: it looks as if there were none."""

    def refuse_null(value: object, info: ValidationInfo) -> object:
        if value is None:
            key = info.field_name or ""
            message = f"`{key}: null` could mean none, or the one outside of `phases`"
            written = f"`{key}: {NOTHING[key]}`, or leave it out for the one outside"
            raise PydanticCustomError("named_type", message, {"written": written})
        return value

    return field_validator(*keys, mode="before")(refuse_null)


class StepSettings(Setting):
    """One update of the weights on each batch: the losses of `outputs`, by default of all, move the weights
    that `update` matches, by default all that train. It has an optimizer of its own, and is done `repeat`
    times. Of several sources of rows it may read some: `data`.
    """

    outputs: Annotated[Texts, Field(min_length=1)] = ()
    """Outputs whose losses count; by default all."""
    update: Annotated[Texts, Field(min_length=1)] = ()
    """Weights that it updates, by patterns of their paths; by default all."""
    optimizer: SerializeAsAny[OptimizerSettings] | None = None
    schedule: SerializeAsAny[Schedule] | None = None
    """Schedule of the learning rate of this update."""
    repeat: Annotated[int, Field(ge=1)] = 1
    """How often it runs on each batch."""
    data: Annotated[Texts, Field(min_length=1)] = ()
    """Sources of `data.train` whose rows it reads; by default all, by their weights."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Rows of its batches; by default those of `train`."""

    phrases: ClassVar = {
        "outputs": "outputs: [real, fake]",
        "update": 'update: "critic.*"',
        "data": "data: plain",
    }
    remedies: ClassVar = {
        **OF_OPTIMIZER,
        "freeze": "a step changes only the weights that `update` matches",
        "epochs": "all steps run on each batch; `phases` have `epochs`",
        "loss_weight": "a weight belongs to its output: outputs: {name: {loss: ..., loss_weight: ...}}",
        "every": "each step runs on each batch; `repeat` runs the other steps more often",
    }

    synonyms: ClassVar = by_word(
        outputs="losses loss output",
        update="weights params parameters match trainable",
        optimizer="optim",
        schedule="scheduler lr_schedule",
        repeat="times n_critic d_steps k",
        data="source sources from",
        batch_size="batch",
    )

    def updates(self, path: str) -> bool:
        """Whether it moves the weight of this path, if that trains."""
        return not self.update or matches_any(self.update, path)

    def own_schedule(self, other: Schedule | None) -> Schedule | None:
        """Its schedule: `other`, that of its phase, unless it gives one, or null for none."""
        return self.schedule if "schedule" in self.model_fields_set else other

    _not_null = _no_null("optimizer")


class PhaseSettings(Setting):
    """A part of a training: what it does not say is as `train` says it. It begins with new optimizers."""

    epochs: Annotated[int, Field(ge=1)]
    """Number of passes over all training rows in this phase."""
    optimizer: SerializeAsAny[OptimizerSettings] | None = None
    schedule: SerializeAsAny[Schedule] | None = None
    """Schedule of the learning rate over this phase."""
    parameter_groups: tuple[ParameterGroup, ...] | None = None
    freeze: Frozen | None = None
    """Weights that do not train in this phase, by patterns of their paths."""
    steps: tuple[StepSettings, ...] | None = None
    """Updates on each batch of this phase."""

    _not_null = _no_null("optimizer", "parameter_groups", "freeze", "steps")

    phrases: ClassVar = {"epochs": "epochs: 3"}
    synonyms: ClassVar = by_word(
        epochs="num_epochs max_epochs length",
        optimizer="optim",
        schedule="scheduler lr_schedule",
        parameter_groups="param_groups groups",
        freeze="frozen freeze_layers",
        steps="updates",
    )
    remedies: ClassVar = {
        **OF_OPTIMIZER,
        "unfreeze_at": "end the phase there, and leave `freeze` out of the next",
        "name": delete("phases have an order, and no names"),
        "trainable": "what does not train is named: freeze: [backbone.*]",
        **dict.fromkeys(("loss", "loss_weight", "outputs"), "`steps` says it: steps: [{outputs: [a]}]"),
        **dict.fromkeys(
            ("batch_size", "seed", "precision", "callbacks", "adapters", "parallel", "bucket"),
            "it is the same in all phases: write it next to `phases`",
        ),
    }

    @property
    def own_settings(self) -> dict[str, Any]:
        """The settings that take the place of those of `train`; only a schedule may be null, for none."""
        return {key: getattr(self, key) for key in self.model_fields_set}


def read_keys(value: dict[str, Any], readers: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """The items of a mapping; the values of keys that have a reader are read by it, null excepted."""
    parsed = {}
    for key, item in value.items():
        if key in readers and item is not None:
            with problems.under(key):
                parsed[key] = readers[key](item)
        else:
            parsed[key] = item
    return parsed


def _reading(cls: type[Any], readers: dict[str, Any], what: str, example: str) -> Any:
    """A function that reads a mapping as a setting, with some of its keys read by functions of their own."""

    def read(value: object) -> Any:
        if not isinstance(value, dict):
            raise unfit("wrong-type", f"{what} is a mapping, not {show(value)}", f"write {example}")
        problems = Problems()
        rest = read_keys(value, readers, problems)
        with problems.under():
            setting = validate(cls, rest, what)
        problems.raise_any()
        return setting

    return read


def parse_steps(value: object) -> tuple[StepSettings, ...]:
    """The `steps` of `train` or of a phase: a list of mappings. Raises `SettingError`."""
    if not isinstance(value, list) or not value:
        help = 'write [{outputs: [real, fake], update: "critic.*"}, {outputs: fooled, update: "generator.*"}]'
        if isinstance(value, int):
            help = "`epochs` sets the length of a training"
        raise unfit("wrong-type", f"`steps` is a list of mappings, not {show(value)}", help)
    return each_of(value, _reading(StepSettings, STEP_READERS, "a step", "{outputs: [real, fake]}"))


def parse_phases(value: object) -> tuple[PhaseSettings, ...]:
    """The `phases` of `train`: a list of mappings. Raises `SettingError`."""
    if not isinstance(value, list) or not value:
        help = 'write [{epochs: 3, freeze: "backbone.*"}, {epochs: 10}]'
        if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
            help = become([*value.values()], f"write {show([*value.values()])}: phases have no names")
        raise unfit("wrong-type", f"`phases` is a list of mappings, not {show(value)}", help)
    return each_of(value, _reading(PhaseSettings, PHASE_READERS, "a phase", "{epochs: 3}"))


STEP_READERS = {"optimizer": OPTIMIZERS.read, "schedule": SCHEDULES.read}
PHASE_READERS = {**STEP_READERS, "parameter_groups": parse_groups, "steps": parse_steps}
