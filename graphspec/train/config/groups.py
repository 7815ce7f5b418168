"""`parameter_groups`: other settings for some weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from graphspec.diagnostics import become, by_word
from graphspec.settings import Setting, each_of, show, unfit, validate


class ParameterGroup(Setting):
    """Other settings for the weights whose path matches: `*` matches any text, `?` one character."""

    match: Annotated[str, Field(min_length=1)]
    """A pattern for keys of weights: `*` matches any text."""
    learning_rate: Annotated[float, Field(ge=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    trainable: bool | None = None
    """`false` freezes them."""

    synonyms: ClassVar = by_word(
        learning_rate="lr",
        match="pattern name params weights",
        weight_decay="decay",
        trainable="requires_grad frozen",
    )

    @model_validator(mode="after")
    def _says_something(self) -> ParameterGroup:
        if self.learning_rate is self.weight_decay is self.trainable is None:
            keys = "`learning_rate`, `weight_decay` or `trainable`"
            raise ValueError(f"the group of `{self.match}` changes nothing: give it {keys}")
        return self

    def matches(self, path: str) -> bool:
        """Whether a weight, by its key in the state dict, belongs to the group."""
        return fnmatchcase(path, self.match)


def matches_any(patterns: Iterable[str], path: str) -> bool:
    """Whether one of the patterns matches the path of a weight."""
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def parse_groups(value: object) -> tuple[ParameterGroup, ...]:
    """The `parameter_groups` of `train`: a list of mappings. Raises `SettingError`."""
    if not isinstance(value, list):
        help = 'write [{match: "*.bias", weight_decay: 0}]'
        if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
            words = ParameterGroup.synonyms
            named = [{words.get(key, key): each for key, each in item.items()} for item in value.values()]
            groups = [{"match": pattern, **item} for pattern, item in zip(value, named, strict=True)]
            help = become(groups, f"write {show(groups)}")
        raise unfit("wrong-type", f"`parameter_groups` is a list of mappings, not {show(value)}", help)
    return each_of(value, lambda item: validate(ParameterGroup, item, "a parameter group"))


@dataclass(frozen=True, slots=True)
class Particular:
    """The settings of groups for one weight; None if there are none."""

    learning_rate: float | None = None
    weight_decay: float | None = None
    trainable: bool | None = None


def particulars(groups: Sequence[ParameterGroup], paths: Iterable[str]) -> dict[str, Particular]:
    """The settings of groups for each weight: for each setting the last matching group that has it."""
    by_path = {}
    for path in paths:
        matching = [group for group in groups if group.matches(path)]
        values = {}
        for key in ("learning_rate", "weight_decay", "trainable"):
            values_here = [value for group in matching if (value := getattr(group, key)) is not None]
            values[key] = values_here[-1] if values_here else None
        by_path[path] = Particular(**values)
    return by_path
