"""What `data:` in a spec may say. Nothing here imports torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SerializeAsAny

from graphspec.data.features import Feature, parse_features
from graphspec.objectives.settings import Path, Problem, Setting, SettingError, show, validate

FORMATS = (".npz", ".csv")


class Split(Setting):
    """A part of the training data, kept out of training: drawn once, at random, from the run's seed."""

    split: Annotated[float, Field(gt=0, lt=1)]


class DataConfig(Setting):
    """Where examples come from. Paths are relative to the spec's directory."""

    train: Annotated[str, Field(min_length=1)] | None = None
    validation: Split | Annotated[str, Field(min_length=1)] | None = None
    test: Annotated[str, Field(min_length=1)] | None = None
    features: dict[str, SerializeAsAny[Feature]] = {}


def parse_data(value: object) -> DataConfig:
    """The `data:` section of a spec; a bare path is the training data.

    Raises `SettingError` with every problem.
    """
    if isinstance(value, str):
        value = {"train": value}
    if not isinstance(value, dict):
        raise SettingError(Problem("wrong-type", f"`data` is a mapping or a path, not {show(value)}"))
    problems = _validation_problems(value.get("validation"))
    rest = {key: item for key, item in value.items() if key not in {p.path[0] for p in problems}}
    if "features" in rest:
        try:
            rest["features"] = parse_features(rest["features"])
        except SettingError as error:
            problems += error.under("features").problems
            del rest["features"]
    try:
        config = validate(DataConfig, rest, "`data`")
    except SettingError as error:
        raise SettingError(*problems, *error.problems) from None
    for key in ("train", "validation", "test"):
        problems += _format_problems(getattr(config, key), (key,))
    if problems:
        raise SettingError(*problems)
    return config


def _validation_problems(value: object) -> list[Problem]:
    """The problems of `validation`; pydantic would report each once for everything that it may be."""
    if value is None or isinstance(value, str):
        return []
    if not isinstance(value, dict):
        help = (
            f"write {{split: {value}}}"
            if isinstance(value, float) and 0 < value < 1
            else "write {split: 0.1}, or a path"
        )
        return [
            Problem(
                "wrong-type",
                f"`validation` is {{split: FRACTION}} or a path, not {show(value)}",
                help,
                ("validation",),
            )
        ]
    try:
        validate(Split, value, "`validation`")
    except SettingError as error:
        return list(error.under("validation").problems)
    return []


def _format_problems(value: object, path: Path) -> list[Problem]:
    if not isinstance(value, str) or value.lower().endswith(FORMATS):
        return []
    return [
        Problem(
            "data-format", f"`{value}` is neither .npz nor .csv", "this version reads .npz and .csv", path
        )
    ]
