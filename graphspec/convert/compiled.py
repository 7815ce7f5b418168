"""The settings of `model.compile` as those of a spec's outputs and its training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from graphspec.convert.arguments import setting
from graphspec.convert.refusals import Unsupported
from graphspec.language.naming import snake_case
from graphspec.objectives import LOSSES, METRICS
from graphspec.settings import SettingError
from graphspec.settings.families import Family
from graphspec.train.config import OPTIMIZERS, SCHEDULES

KERAS_THRESHOLDS = 200
"""How many points Keras gives to a curve, unless said."""
OMITTED: dict[str, Any] = {
    **dict.fromkeys(("dtype", "fn", "loss_scale_factor", "is_legacy_optimizer", "decay", "axis_"), ...),
    "reduction": ("sum_over_batch_size", "auto", "mean", "sum_over_batch_size_with_mask"),
    "jit_compile": (None, False, True),
    "ema_momentum": (0.99,),
    "name": ...,
}
"""Keys of settings that a spec has not, each with the values that change nothing; `...` for any."""


def settings(config: Any, names: list[str], notes: list[str]) -> dict[str, Any]:
    """`outputs`, a setting for each output by the model's name for it, and `train`.

    What a spec cannot express is left out, and listed in `notes`.
    """
    if not isinstance(config, dict) or not config:
        return {}
    losses = _each(config.get("loss"), names)
    weights = _each(config.get("loss_weights"), names)
    metrics = _each(config.get("metrics"), names, listed=True)
    outputs: dict[str, dict[str, Any]] = {}
    for name in names:
        entry = outputs[name] = {}
        loss = _named(losses.get(name), LOSSES, f"the loss of `{name}`", notes)
        if loss is not None:
            entry["loss"] = loss
            if weights.get(name) not in (None, 1, 1.0):
                entry["loss_weight"] = weights[name]
        listed = metrics.get(name) or []
        listed = listed if isinstance(listed, list) else [listed]
        kept = [_named(item, METRICS, f"a metric of `{name}`", notes) for item in listed if item is not None]
        if loss is not None and any(kept):
            entry["metrics"] = [item for item in kept if item is not None]
    if not any(outputs.values()):
        return {}
    if config.get("weighted_metrics"):
        notes.append("`weighted_metrics` are left out: a spec has `metrics`")
    first, schedule = _schedule(config.get("optimizer"), notes)
    optimizer = _named(first, OPTIMIZERS, "the optimizer", notes)
    train = {"optimizer": optimizer} if optimizer not in (None, "rmsprop") else {}
    if optimizer is not None and schedule is not None:
        train["schedule"] = schedule
    return {"outputs": outputs, "train": train}


def _schedule(optimizer: Any, notes: list[str]) -> tuple[Any, Any]:
    """The optimizer with the rate that its schedule begins or warms up to, and the schedule, or None."""
    inner = optimizer.get("config") if isinstance(optimizer, dict) else None
    rate = inner.get("learning_rate") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(rate, dict):
        return optimizer, None
    config = dict(rate["config"])
    warm = config.get("warmup_target") is not None
    first = config.pop("warmup_target" if warm else "initial_learning_rate", None)
    if warm and config.get("initial_learning_rate") == 0:
        del config["initial_learning_rate"]  # from where a spec warms up
    if not warm and config.get("warmup_steps") == 0:
        del config["warmup_steps"]
    schedule = _named({**rate, "config": config}, SCHEDULES, "the schedule", notes)
    others = {key: value for key, value in inner.items() if key != "learning_rate"}
    return {**optimizer, "config": others if first is None else {**others, "learning_rate": first}}, schedule


def _each(value: Any, names: list[str], listed: bool = False) -> dict[str, Any]:
    """A setting of compile by output: Keras takes one for all, a list, or a dict."""
    if isinstance(value, dict) and "class_name" not in value:
        return {str(key): item for key, item in value.items()}
    if isinstance(value, list):
        if listed and len(names) == 1:
            inner = value[0] if len(value) == 1 and isinstance(value[0], list) else value
            return {names[0]: inner}
        if len(value) == len(names):
            return dict(zip(names, value, strict=True))
        return {name: value for name in names} if listed else {}
    return {} if value is None else {name: value for name in names}


def _named(value: Any, family: Family, what: str, notes: list[str]) -> Any:
    """A loss, metric or optimizer as a spec writes it; None, with a note, if there is none like it."""
    if value is None:
        return None
    try:
        entry = setting(value)
        entry = {"name": entry} if isinstance(entry, str) else dict(entry)
        word = str(entry.pop("name"))
        word = next((w for w in (_joined(word), word, word.replace("_", "")) if w in family.members), word)
        called = value.get("config", {}).get("name") if isinstance(value, dict) else None
        rest = {key: item for key, item in entry.items() if not isinstance(item, dict)}
        if rest.get("num_thresholds") == KERAS_THRESHOLDS:
            del rest["num_thresholds"]  # a spec's curves are exact
        member = family.read({"name": word, **_known(family, word, rest)})
        fields = type(member).model_fields
        kept = {
            key: item
            for key, item in rest.items()
            if key in fields and getattr(member, key) != fields[key].get_default(call_default_factory=True)
        }
        word = word if word.islower() else member.canonical
        _tell(rest, fields, what, notes)
        usual = (None, word, member.canonical, snake_case(str(value["class_name"])) if called else None)
        if family is METRICS and called not in usual:
            notes.append(
                f"{what}, `{word}`, is no longer called `{called}`: a spec's metrics have their own names"
            )
        return {"name": word, **kept} if kept else word
    except (SettingError, Unsupported, KeyError, TypeError, ValueError) as error:
        notes.append(f"{what} is left out: {getattr(error, 'message', error)}")
        return None


def _tell(rest: dict[str, Any], fields: Mapping[str, Any], what: str, notes: list[str]) -> None:
    """Notes of what a setting says and a spec cannot."""
    for key, item in rest.items():
        neutral = OMITTED.get(key, (None, False))
        if key not in fields and isinstance(neutral, tuple) and item not in neutral:
            notes.append(f"`{key}: {item!r:.40}` of {what} is left out: a spec has no such setting")


def _joined(word: str) -> str:
    """`auc` for AUC and its like, whose capitals Keras' rule for snake case takes apart."""
    word = {"a_u_c": "auc", "r2score": "r2_score", "f1score": "f1_score"}.get(word, word)
    return re.sub(r"\bio_u$|(?<=_)io_u$", "iou", word)


def _known(family: Family, word: str, rest: dict[str, Any]) -> dict[str, Any]:
    member = family.members.get(word)
    return {key: item for key, item in rest.items() if member is None or key in member.model_fields}
