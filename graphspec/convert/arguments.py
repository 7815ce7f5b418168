"""A layer's config as the arguments that a spec gives it: what equals its default is left out."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Layer
from graphspec.convert.config import KerasLayer, foreign
from graphspec.convert.refusals import Unsupported
from graphspec.language.naming import snake_case
from graphspec.settings import SettingError, validate

NEUTRAL: dict[str, Any] = {
    **dict.fromkeys(
        ("name", "dtype", "trainable", "seed", "batch_input_shape", "build_config", "autocast"), ...
    ),
    **dict.fromkeys(("renorm_clipping", "renorm_momentum", "fused", "use_cudnn", "implementation"), ...),
    **dict.fromkeys(("input_length", "batch_size", "interpolation_order", "flash_attention"), ...),
    "data_format": ("channels_last",),
    "fill_mode": ("constant",),
    "scale": (True,),
    "supports_jit": (True,),
}
"""Keys that a layer may lack, each with what says nothing beside null, false and 0; `...` for any value."""
FORMER = {"OrthogonalInitializer": "Orthogonal", "IdentityInitializer": "Identity"}
"""Classes as Keras 3 called them before 3.7."""
RENAMED = {"alpha": "negative_slope", "relu_max_value": "max_value", "output_mode_": "output_mode"}


def shortest(value: Any) -> Any:
    """A number as it was most likely written: the shortest that rounds to the same 32 bits, where a float has
    no more digits than those; lists and mappings likewise.
    """
    if isinstance(value, float) and math.isfinite(value):
        if value.is_integer() and abs(value) < 1e15:
            return value
        for digits in range(1, 13) if len(repr(value)) > 14 else ():
            short = float(f"{value:.{digits}g}")
            if abs(short - value) <= 4 * math.ulp(value):  # 0.075, computed as 0.07500000000000001
                return short
        single = struct.unpack("f", struct.pack("f", value))[0] if abs(value) < 3e38 else None
        if single == value and len(repr(value)) > 10:
            for digits in range(1, 8):
                short = float(f"{value:.{digits}g}")
                if struct.unpack("f", struct.pack("f", short))[0] == value:
                    return short
        return value
    if isinstance(value, (list, tuple)):
        return [shortest(item) for item in value]
    if isinstance(value, dict):
        return {key: shortest(item) for key, item in value.items()}
    return value


def as_integer(value: Any) -> Any:
    """2 for 2.0, as far as a float has each integer."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def setting(value: Any) -> Any:
    """An initializer, regularizer, constraint, activation, loss, metric or optimizer as a spec writes it: its
    name in snake case, or a mapping with `name` and what differs from nothing.
    """
    if not isinstance(value, dict):
        return value
    if foreign(value) or value.get("class_name") in ("__lambda__", "Lambda"):
        raise Unsupported(
            f"`{value.get('class_name')}` is custom code, which is not in the file",
            "use one of Keras, or write the spec by hand",
        )
    kind, config = value.get("class_name"), value.get("config", {})
    if kind == "function" or isinstance(config, str):
        return config if isinstance(config, str) else str(config.get("name"))
    if value.get("registered_name") not in (None, kind) and ">" in str(value.get("registered_name")):
        raise Unsupported(
            f"`{value['registered_name']}` is a custom class, whose code is not in the file",
            "use one of Keras, or write the spec by hand",
        )
    word = snake_case(FORMER.get(str(kind), str(kind)))
    rest = {
        key: as_integer(shortest(item))
        for key, item in dict(config).items()
        if item is not None and key not in ("seed", "name")
    }
    return {"name": word, **rest}


BESIDE_WEIGHTS = ("_initializer", "_regularizer", "_constraint")
"""How settings end that do not change what a layer computes of its weights."""


def without_code(config: dict[str, Any], where: str, live: bool, notes: list[str]) -> dict[str, Any]:
    """A layer's config without initializers that are arrays, and in a live model without initializers,
    regularizers and constraints that are code: what it computes is the same. Each is told in `notes`.
    """
    cleaned: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith(BESIDE_WEIGHTS) and "class_name" in value:
            inner = value.get("config")
            registered = value.get("registered_name", "") not in (None, value["class_name"], "")
            if live and (foreign(value) or registered):
                notes.append(f"`{key}` of `{where}` is left out: `{value['class_name']}` is custom code")
                continue
            start = inner.get("value") if isinstance(inner, dict) else None
            if value["class_name"] == "Constant" and isinstance(start, (dict, list)):
                notes.append(f"`{key}` of `{where}` is left out: its array is in the weights")
                continue
        known = isinstance(value, dict) and not key.endswith(BESIDE_WEIGHTS)
        cleaned[key] = without_code(value, where, live, notes) if known else value
    return cleaned


def arguments(cls: type[Layer], layer: KerasLayer, rank: int | None) -> dict[str, Any]:
    """The arguments next to `layer: NAME` for a Keras layer, whose `axis` counts along `rank` axes in each of
    its calls; None where these differ, or are not known. Raises `Unsupported`.
    """
    fields, settings = cls.model_fields, {}
    config = dict(layer.config)
    for key, value in config.items():
        if key == "dtype":
            _check_dtype(value)
        if key == "seed" or (key == "noise_shape" and value is None):
            continue
        name = key if key in fields else RENAMED.get(key, key)
        if name not in fields:
            neutral = NEUTRAL.get(key, ())
            nothing = value in (None, False, 0, 0.0, [], {}) or key.startswith("_")
            if nothing or neutral is ... or value in neutral:
                continue
            raise Unsupported(
                f"`{key}` of `{cls.spec_name}` has no counterpart",
                f"build the layer without `{key}`; `graphspec layers {cls.spec_name}` lists what it takes",
            )
        settings[name] = _value(name, value)
    _normalize(settings, rank)
    return shortened(cls, settings)


def _check_dtype(value: Any) -> None:
    name = value.get("config", {}).get("name") if isinstance(value, dict) else value
    if name not in (None, "float32") and not str(name).startswith(("int", "uint", "bool", "string")):
        raise Unsupported(
            f"it computes in {name}",
            "a spec computes in float32: set the dtype policy to float32, and save the model again",
        )


def _value(name: str, value: Any) -> Any:
    if name == "activation" or name.endswith("_activation"):
        return _activation(value)
    if isinstance(value, dict) and "class_name" in value and "config" in value:
        entry = setting(value)
        return entry["name"] if isinstance(entry, dict) and len(entry) == 1 else entry
    return shortest(value)


LAYERS_AS_ACTIVATIONS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Softmax": "softmax"}
"""Layers of Keras without weights that its other layers take as their activation."""


def _activation(value: Any) -> Any:
    """An activation as a spec writes it. Keras has arguments of a function by a layer in its place."""
    kind = value.get("class_name") if isinstance(value, dict) else None
    if kind == "Activation" and not foreign(value):
        return _activation(value["config"].get("activation"))
    word = setting(value)
    if kind in LAYERS_AS_ACTIVATIONS:
        rest = {key: item for key, item in word.items() if NEUTRAL.get(key) is not ...}
        return {"name": LAYERS_AS_ACTIVATIONS[kind], **rest}
    word = word["name"] if isinstance(word, dict) and len(word) == 1 else word
    return "linear" if word is None else word


def _normalize(settings: dict[str, Any], rank: int | None) -> None:
    """Keras' ways to write the same, brought to the one that is the default."""
    axis = settings.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        axis = settings["axis"] = axis[0]
    if rank is not None and axis == rank - 1:
        settings["axis"] = -1
    if settings.get("strides") is not None and settings["strides"] in (
        settings.get("pool_size"),
        settings.get("size"),
    ):
        del settings["strides"]
    if "value_dim" in settings and settings["value_dim"] == settings.get("key_dim"):
        del settings["value_dim"]
    if rank is not None and settings.get("attention_axes") == [*range(1, rank - 1)]:
        del settings["attention_axes"]
    if settings.get("bin_boundaries") is not None:  # which `adapt` found
        settings.pop("num_bins", None), settings.pop("epsilon", None)
    if "mean" in settings and settings["mean"] is None:
        del settings["mean"], settings["variance"]


def parsed(cls: type[Layer], settings: Mapping[str, Any]) -> Layer:
    """The layer with these arguments. Raises `Unsupported` with their first error."""
    try:
        return validate(cls, dict(settings), f"`{cls.spec_name}`")
    except SettingError as error:
        raise Unsupported(error.message, error.help or "build the layer without it") from None


def around(cls: type[Layer], layer: KerasLayer) -> dict[str, Any]:
    """The arguments of a wrapper of a layer, without what equals its default."""
    inner = layer.config.pop("wraps")
    settings = {key: value for key, value in layer.config.items() if key in cls.model_fields}
    wrapper = parsed(cls, {**settings, "wraps": inner})
    kept = {
        key: value
        for key, value in settings.items()
        if getattr(wrapper, key) != cls.model_fields[key].get_default(call_default_factory=True)
    }
    return {"wraps": inner, **kept}


def shortened(cls: type[Layer], settings: dict[str, Any]) -> dict[str, Any]:
    """The same arguments, as short as they can be written: without defaults, `3` for `[3, 3]`."""
    layer = parsed(cls, settings)
    kept = {}
    for name in cls.model_fields:
        if name not in settings:
            continue
        value = getattr(layer, name)
        field = cls.model_fields[name]
        if not field.is_required() and value == field.get_default(call_default_factory=True):
            continue
        kept[name] = _shortest(cls, settings, name, value)
    return kept


def _shortest(cls: type[Layer], settings: Mapping[str, Any], name: str, value: Any) -> Any:
    """One value, as short as it can be for the layer to be the same."""
    written = settings[name]
    candidates = [written]
    if isinstance(written, list) and len(written) == 2 and written[0] != written[1]:
        candidates = [written[1], *candidates]  # of bounds, which one number may stand for
    if isinstance(written, list) and written and all(item == written[0] for item in written):
        candidates = [written[0], *candidates]
        if isinstance(written[0], list) and all(item == written[0][0] for item in written[0]):
            candidates = [written[0][0], *candidates]
    elif isinstance(written, list) and all(
        isinstance(pair, list) and len(pair) == 2 and pair[0] == pair[1] for pair in written
    ):
        candidates = [[pair[0] for pair in written], *candidates]
    elif isinstance(written, dict) and "name" in written:
        candidates = [written["name"], *_without_defaults(cls, settings, name, value), *candidates]
    if as_integer(written) is not written:
        candidates = [as_integer(written), *candidates]
    for candidate in candidates:
        try:
            if getattr(parsed(cls, {**settings, name: candidate}), name) == value:
                return candidate
        except Unsupported:
            continue
    return written


def _without_defaults(cls: type[Layer], settings: Mapping[str, Any], name: str, value: Any) -> list[Any]:
    """A setting without the arguments that are its defaults."""
    written = dict(settings[name])
    for key in [key for key in written if key != "name"]:
        rest = {other: item for other, item in written.items() if other != key}
        try:
            if getattr(parsed(cls, {**settings, name: rest}), name) == value:
                written = rest
        except Unsupported:
            continue
    return [written]


def without_defaults(form: str, what: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that differ from the defaults of a layer; one number may stand for all axes."""
    members = REGISTRY[form] if form in ("layer", "op", "merge") else {}  # type: ignore[index]
    fields = members[what].model_fields if isinstance(what, str) and what in members else {}

    def is_default(key: str, value: Any) -> bool:
        default = fields[key].default if key in fields else ...
        if isinstance(default, tuple):
            return all(item == value for item in default)
        return isinstance(value, bool) == isinstance(default, bool) and bool(value == default)

    return {key: value for key, value in settings.items() if not is_default(key, value)}


def key_text(items: Any) -> str:
    """A slice as a spec writes it: `:, 1:-1, None`."""
    items = items if isinstance(items, list) else [items]
    words = []
    for item in items:
        if isinstance(item, dict) and item.get("class_name") == "__slice__":
            ends = [item["config"].get(end) for end in ("start", "stop", "step")]
            start, stop, step = ("" if end is None else str(int(end)) for end in ends)
            words.append(f"{start}:{stop}" + (f":{step}" if step not in ("", "1") else ""))
        elif isinstance(item, dict) and item.get("class_name") == "__ellipsis__":
            words.append("...")
        elif item is None:
            words.append("None")
        elif isinstance(item, int) and not isinstance(item, bool):
            words.append(str(item))
        else:
            raise Unsupported(
                "its index is neither a number nor a slice",
                "index with numbers and slices, or take elements with keras.ops.take",
            )
    while len(words) > 1 and words[-1] == ":":
        words.pop()
    return ", ".join(words)
