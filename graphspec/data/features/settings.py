"""The settings of each encoder. Nothing here imports numpy, pyarrow or torch: shapes, types and vocabularies
are known from the spec.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from graphspec.data.rows.values import Transform
from graphspec.diagnostics import by_word
from graphspec.settings import Setting

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Value = bool | int | float | str
"""A value of a category as a spec may write it; a column has its text."""
Statistic = Literal["mean", "median", "zero"]
Scaling = Literal["standard", "min_max", "robust"]
Scale = Literal[Scaling, "none"]
PlainPart = Literal["year", "month", "day", "weekday", "day_of_year", "hour", "minute", "second", "timestamp"]
DateWave = Literal[
    "month_sin",
    "month_cos",
    "day_sin",
    "day_cos",
    "weekday_sin",
    "weekday_cos",
    "day_of_year_sin",
    "day_of_year_cos",
]
TimeWave = Literal["hour_sin", "hour_cos", "minute_sin", "minute_cos", "second_sin", "second_cos"]
Part = Literal[PlainPart, DateWave, TimeWave]


@dataclass(frozen=True, slots=True)
class FeatureType:
    """The type of one encoded row: sizes (None where they depend on the data), a dtype, and the declared
    number of ids, if any.
    """

    shape: tuple[int | None, ...]
    dtype: str
    vocabulary: int | None = None


class Feature(Setting):
    """How columns become an array. `column` is by default the feature's own name."""

    encode: str
    """How the column is encoded: number, category, text, date, image and others."""
    column: Text | None = None
    """Column; by default the name of the feature."""
    steps: Literal["past", "next"] | Count | None = None
    """Steps of a window that are read: past, next, or the last N; by default the last of the past."""

    synonyms: ClassVar = by_word(
        encode="type kind encoder preprocessing",
        pack="block_size context context_length packing seq_len",
        end="eos eos_token end_token",
        begin="bos bos_token start start_token",
        fill="missing_value_strategy fillna fill_value impute",
        scale="normalization normalize scaler",
        vocabulary="most_common vocab vocab_size vocabulary_size max_tokens num_tokens max_size cardinality",
        bins="num_bins",
        length="max_length max_sequence_length output_sequence_length sequence_length",
        cut="truncate truncating",
        min_count="min_df min_frequency",
        values="classes categories",
        separator="sep delimiter",
        format="date_format",
        augment="augmentation",
        root="folder directory",
    )
    remedies: ClassVar = {
        "missing": "write `fill: ...` of an input; `missing: ignore` at an output leaves out rows without "
        "a target"
    }
    made_by: ClassVar[str] = ""
    """The encoder of its columns, as `file:class` of `graphspec.data.encoders`."""
    target: ClassVar[bool] = True
    """Whether an output can be compared with what it makes."""

    reads_text: ClassVar[bool] = False
    """Whether its values are texts, so that a number among them is one, too."""

    def read(self, name: str) -> tuple[str, ...]:
        """The columns that the feature of this name reads, in their order."""
        several: list[str] | None = getattr(self, "columns", None)
        return tuple(several) if several is not None else (self.column or name,)

    @property
    def beside(self) -> tuple[str, ...]:
        """Columns that say how others are encoded, and so how a prediction is read."""
        return ()

    @property
    def may_list(self) -> bool:
        """Whether it makes something of each element of a list column, however long that is."""
        return False

    def feature_type(self, *, target: bool) -> FeatureType:
        """The type of one encoded row, as an input or as a target."""
        raise NotImplementedError


class Several(Feature):
    """A feature of one column or of several."""

    phrases: ClassVar = {"column": "columns: [a, b]"}

    columns: Annotated[list[Text], Field(min_length=1)] | None = None
    """Several columns, as one vector."""

    @model_validator(mode="after")
    def _one_way(self) -> Several:
        if self.column is not None and self.columns is not None:
            raise ValueError("give `column` or `columns`, not both")
        twice = [name for name in self.columns or () if (self.columns or []).count(name) > 1]
        if twice:
            raise ValueError(f"`columns` names `{twice[0]}` twice")
        return self

    @property
    def width(self) -> int:
        return len(self.columns) if self.columns is not None else 1


class Number(Several):
    """Numbers, one float for each column. `fill` comes first, then `transform`, `scale` and `clip`."""

    made_by = "numbers:NumberEncoder"
    encode: Literal["number"] = "number"
    fill: Statistic | float | None = None
    indicator: bool = False
    """Whether an additional 0/1 column marks missing values."""
    transform: Transform | dict[str, Transform] | None = None
    """A function that is applied before scaling, such as log1p."""
    scale: Scale | Annotated[dict[Scaling, Text], Field(min_length=1, max_length=1)] = "none"
    """How numbers are scaled: standard, min_max, robust or none."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Bound of the absolute value, after scaling."""
    prefix: Text | None = None
    """Text before the numbers, such as $."""
    unit: Text | None = None
    """Text after the numbers, such as min or %."""
    thousands: Literal[",", ".", " ", "'"] | None = None
    """Mark between the thousands of a number."""
    decimal: Literal[".", ","] | None = None
    """Decimal mark of a column of text: `.` or `,`; by default that of the file."""

    @model_validator(mode="after")
    def _fitting(self) -> Number:
        if self.indicator and self.fill is None:
            raise ValueError("`indicator` marks the cells that `fill` has filled: give `fill`")
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError(f"`{self.decimal}` cannot be both `decimal` and `thousands`")
        least = {"log1p": -1, "sqrt": 0}
        for transform in (
            [self.transform] if isinstance(self.transform, str) else (self.transform or {}).values()
        ):
            if isinstance(self.fill, int | float) and self.fill <= least.get(transform, -math.inf):
                raise ValueError(f"`fill: {self.fill:g}` has no {transform}")
        if isinstance(self.transform, dict) and self.columns is not None:
            unknown = [name for name in self.transform if name not in self.columns]
            if unknown:
                raise ValueError(f"`transform` names `{unknown[0]}`, which is not one of the `columns`")
        return self

    @property
    def scaling(self) -> Scale:
        """How numbers are scaled: all alike, or those of each value of a column among themselves."""
        return next(iter(self.scale)) if isinstance(self.scale, dict) else self.scale

    @property
    def beside(self) -> tuple[str, ...]:
        return tuple(self.scale.values()) if isinstance(self.scale, dict) else ()

    def transform_of(self, column: str) -> Transform | None:
        if isinstance(self.transform, dict):
            return self.transform.get(column)
        return self.transform

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.width * (2 if self.indicator else 1),), "float32")


class Category(Several):
    """Ids of values. For an input, 0 stands for unseen and rare values, and those beyond `vocabulary`."""

    made_by = "categories:CategoryEncoder"
    reads_text: ClassVar = True
    encode: Literal["category"] = "category"
    vocabulary: Annotated[int, Field(ge=2)] | list[Annotated[int, Field(ge=2)]] | None = None
    values: Annotated[list[Value], Field(min_length=1)] | None = None
    min_count: Count = 1
    unseen: Literal["own", "error"] | None = None
    """Treatment of a value that training has not seen."""
    fill: str | None = None

    @field_validator("vocabulary", mode="before")
    @classmethod
    def _no_words(cls, value: object) -> object:
        if isinstance(value, list) and any(isinstance(item, str) for item in value):
            raise PydanticCustomError("other_key", "`vocabulary` is a number of ids", {"key": "values"})
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Category:
        if self.values is not None and self.vocabulary is not None:
            raise ValueError("give `values` or `vocabulary`, not both")
        if isinstance(self.vocabulary, list) and len(self.vocabulary) != self.width:
            raise ValueError(f"`vocabulary` has {len(self.vocabulary)} sizes for {self.width} columns")
        distinct(self.values)
        return self

    @property
    def sizes(self) -> list[int] | None:
        """The declared number of ids of each column, 0 included, of an input."""
        if self.values is not None:
            return [len(self.values) + 1] * self.width
        if isinstance(self.vocabulary, list):
            return self.vocabulary
        return [self.vocabulary] * self.width if self.vocabulary is not None else None

    @property
    def may_list(self) -> bool:
        return self.columns is None

    def feature_type(self, *, target: bool) -> FeatureType:
        if target:
            return FeatureType((self.width,), "int64", len(self.values) if self.values is not None else None)
        return FeatureType((self.width,), "int64", sum(self.sizes) if self.sizes is not None else None)


class Hash(Several):
    """Ids by a hash of the value's text: no vocabulary, and values may share an id."""

    made_by = "categories:HashEncoder"
    reads_text: ClassVar = True
    encode: Literal["hash"] = "hash"
    bins: Annotated[int, Field(ge=2, le=2**31)]
    """Number of ids that values are hashed to."""
    fill: str | None = None

    target: ClassVar = False

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.width,), "int64", self.bins * self.width)


class Date(Several):
    """Parts of dates, one float for each part of each column."""

    made_by = "numbers:DateEncoder"
    encode: Literal["date"] = "date"
    parts: Annotated[list[Part], Field(min_length=1)]
    """Parts of the date."""
    format: Text | None = None
    fill: Statistic | float | None = None
    scale: Scale = "none"
    """How the parts are scaled: standard, min_max, robust or none."""

    target: ClassVar = False

    @property
    def scaling(self) -> Scale:
        """How the parts are scaled."""
        return self.scale

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.width * len(self.parts),), "float32")


class Set(Feature):
    """0 or 1 for each value: whether the row's list, or its text cut at `separator`, has it."""

    made_by = "categories:SetEncoder"
    reads_text: ClassVar = True
    encode: Literal["set"] = "set"
    vocabulary: Count | None = None
    values: Annotated[list[Value], Field(min_length=1)] | None = None
    min_count: Count = 1
    separator: Text | None = None
    fill: str | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Set:
        if (self.vocabulary is None) == (self.values is None):
            raise ValueError("a set needs `vocabulary`, how many values it has, or the `values` themselves")
        distinct(self.values)
        return self

    def feature_type(self, *, target: bool) -> FeatureType:
        size = len(self.values) if self.values is not None else self.vocabulary
        return FeatureType((size,), "float32")


def distinct(values: list[Value] | None) -> None:
    """Raises ValueError where two values have one text."""
    texts = [text_of(value) for value in values or ()]
    twice = [text for text in texts if texts.count(text) > 1]
    if twice:
        raise ValueError(f"`values` names `{twice[0]}` twice")


def text_of(value: object) -> str:
    """The text of one value, the same whatever format it was written in: true, 17 (of 17.0, too), 0.5."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return str(value)
