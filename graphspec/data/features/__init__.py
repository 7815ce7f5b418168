"""`data.features`: how columns become the arrays of inputs and targets. Nothing here imports numpy, pyarrow
or torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from graphspec.data.features.settings import Feature, FeatureType
from graphspec.data.features.texts import Shifted, TextFeature
from graphspec.data.features.vision import ImageFeature  # noqa: F401 - FEATURES has what is in that file
from graphspec.diagnostics import become, by_word, did_you_mean, meant, nearest
from graphspec.diagnostics.foreign_terms import ENCODINGS, NAMES
from graphspec.settings import TAKES, Problem, Problems, SettingError, Word, show, unfit, validate

__all__ = ["FEATURES", "Feature", "FeatureType", "parse_features"]


def _by_name(base: type[Feature]) -> Iterator[tuple[str, type[Feature]]]:
    for cls in base.__subclasses__():
        if cls.made_by:
            yield cls.model_fields["encode"].default, cls
        yield from _by_name(cls)


FEATURES: dict[str, type[Feature]] = dict(_by_name(Feature))
"""The encoders by the name that `encode` gives them."""
SYNONYMS = by_word(
    number="numeric numerical float int continuous vector",
    category="binary categorical label enum bool string_lookup",
    hash="hashing",
    date="datetime time timestamp",
    set="multi_hot multilabel",
    text="string sentence",
    tokens="sequence list ids",
    image="picture photo img",
    boxes="bbox bboxes bounding_boxes objects detection",
)
"""Further names of encoders."""


def parse_features(value: object) -> dict[str, Feature]:
    """The features of a spec by name. Raises `SettingError` with every problem."""
    if not isinstance(value, dict):
        help = _as_mapping(value) or "write {name: {encode: number}}"
        raise unfit("wrong-type", f"`features` is a mapping from names, not {show(value)}", help)
    problems = Problems()
    features: dict[str, Feature] = {}
    for name, item in value.items():
        with problems.under(name):
            features[name] = _feature(str(name), item)
    problems.raise_any()
    for feature in features.values():
        source = features.get(feature.of) if isinstance(feature, Shifted) else None
        if isinstance(source, TextFeature):
            source.go_on()
    return features


def _as_mapping(value: object) -> str | None:
    """The remedy for a list of columns, or of features that hold their names."""
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, str) for item in value):
        return f"write {{{', '.join(f'{name}: {{encode: ...}}' for name in value[:5])}}}: {_ENCODERS}"
    named: dict[str, Any] = {}
    for item in value:
        name = item.get("name", item.get("column")) if isinstance(item, dict) else None
        if not isinstance(name, str) or name in named:
            return None
        named[name] = {key: each for key, each in item.items() if key != "name"}
    return become(named, f"names before the features: {show(named)}")


_ENCODERS = "number, category, text, date, image and others"


def _feature(name: str, value: object) -> Feature:
    if not isinstance(value, dict):
        help = "write {encode: number}"
        if isinstance(value, str):
            near = value if value in FEATURES else nearest(value, FEATURES, SYNONYMS)
            column = "" if value == name else f"column: {value}, "
            unknown = f"write {{{column}encode: ...}}: {_ENCODERS}"
            help = f"write {{encode: {near}}}" if near else unknown
        elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            help = become(
                {"columns": value, "encode": "number"}, f"write {{columns: {show(value)}, encode: number}}"
            )
        raise unfit("wrong-type", f"the feature `{name}` is a mapping, not {show(value)}", help)
    if "encode" not in value and {"of", "shift", "draw"} & value.keys():
        value = {"encode": "draw" if "draw" in value else "shift", **value}
    if "encode" not in value:
        word = next((key for key in value if Feature.synonyms.get(key) == "encode"), None)
        if word is not None:
            message = f"the feature `{name}` has no `{word}`"
            raise unfit("unknown-key", message, meant("encode", word, True), word)
        help = f"write `encode: ...`, one of: {', '.join(FEATURES)}"
        if any(Feature.synonyms.get(key, key) == "scale" for key in value):
            help = "write {encode: number, scale: standard}"
        raise unfit("missing-key", f"the feature `{name}` needs `encode`", help)
    encoder = value["encode"]
    if not isinstance(encoder, str) or encoder not in FEATURES:
        remedy = _beside(encoder) or did_you_mean(encoder, FEATURES, _encoding(encoder), SYNONYMS)
        raise unfit("unknown-encoder", f"unknown encoder {show(encoder)}", remedy, "encode")
    try:
        return validate(FEATURES[encoder], value, f"the feature `{name}`")
    except SettingError as error:
        raise SettingError(*(_of_another(problem) for problem in error.problems)) from None


def _of_another(problem: Problem) -> Problem:
    """The same problem; of an option that only other encoders have with the names of these."""
    if problem.code != "unknown-key" or not (problem.help or "").startswith(TAKES):
        return problem
    others = [name for name, cls in FEATURES.items() if problem.path[-1] in cls.model_fields]
    names = ", ".join(f"`{name}`" for name in others)
    help = f"`encode: {others[0]}` has it" if len(others) == 1 else f"encoders that have it: {names}"
    return replace(problem, help=help) if others else problem


def _beside(encoder: object) -> str | None:
    """The remedy for an encoder that is written as a mapping with its options."""
    if not isinstance(encoder, dict) or not encoder:
        return None
    name, options = encoder.get("name"), {key: item for key, item in encoder.items() if key != "name"}
    if name is None and len(encoder) == 1 and isinstance(inner := next(iter(encoder.values())), dict):
        name, options = next(iter(encoder)), inner
    if not isinstance(name, str):
        return None
    written = show({"encode": Word(name), **options})
    return f"an encoder's options are written next to it: {written}"


def _encoding(word: object) -> str:
    """The remedy for an encoder that is near none of ours: what another library's word is here."""
    if isinstance(word, str) and (instead := NAMES.get(("encoder", word)) or ENCODINGS.get(word)):
        return f"write {instead}"
    return f"one of: {', '.join(FEATURES)}"
