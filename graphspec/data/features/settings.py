"""The settings of each encoder. Nothing here imports numpy, pyarrow or torch: shapes, types and vocabularies
are known from the spec.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from graphspec.data.rows.values import Transform
from graphspec.diagnostics import by_word
from graphspec.diagnostics.foreign_terms import augmentation
from graphspec.settings import Setting, show

Text = Annotated[str, Field(min_length=1)]
Tokenizer = Literal["word", "char", "bpe", "whitespace", "characters", "words", "bytes"]
TOKENIZERS: tuple[str, ...] = get_args(Tokenizer)
TokenizerFile = Annotated[str, Field(pattern=r"\.json$")]
"""A `tokenizer.json`, as the tokenizers library and Hugging Face write it, beside the spec."""
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
BoxFormat = Literal["coco", "yolo", "voc", "xyxy", "xywh", "cxcywh"]
MOVING = (
    "RandomCrop",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
"""Layers of `augment` that move pixels, and those of targets that are images with them."""
PADDING, UNSEEN = 0, 1
"""The ids of a list that are no value of it."""
BYTES = 256
"""The tokens with which `bytes` and an exact `bpe` begin, after these."""


@dataclass(frozen=True, slots=True)
class FeatureType:
    """What one row becomes: sizes (None where they depend on the data), a dtype, and the declared number of
    ids, if any.
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
    """What encodes columns, as `file:class` of `graphspec.data.encoders`."""
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
        """What it makes of one row, as an input or as a target."""
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
    """What happens to a value that training has not seen."""
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
        _distinct(self.values)
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
        _distinct(self.values)
        return self

    def feature_type(self, *, target: bool) -> FeatureType:
        size = len(self.values) if self.values is not None else self.vocabulary
        return FeatureType((size,), "float32")


class Listed(Feature):
    """A list of ids: 0 pads, 1 is unseen. Without `length` a row is as long as it is."""

    vocabulary: Annotated[int, Field(ge=3)] | None = None
    min_count: Count = 1
    length: Count | None = None
    """Number of elements that are kept; shorter rows are padded."""
    cut: Literal["end", "start"] = "end"
    """End at which rows that are too long are truncated."""
    fill: str | None = None

    @property
    def may_list(self) -> bool:
        return True

    @property
    def most(self) -> int | None:
        """Elements of a row that are kept."""
        return self.length

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.most,), "int64", self.vocabulary)


class TextFeature(Listed):
    """The tokens of a text: in lower case, words and punctuation apart; or as it is."""

    made_by = "lists:TextEncoder"
    phrases: ClassVar = {"tokenizer": "tokenizer: bpe, vocabulary: 8000", "pack": "pack: 256"}
    reads_text: ClassVar = True
    encode: Literal["text"] = "text"
    tokenizer: Tokenizer | TokenizerFile = "word"
    """How text is split: word, char, whitespace, bpe; as it is, into characters, words or bytes; or a
    tokenizer.json.
    """
    pack: Count | None = None
    """Tokens of a row, where documents are joined and then cut."""
    begin: Text | None = None
    """Token before each text."""
    end: Text | None = None
    """Token after each text."""
    prompt: Text | None = None
    """Column of the text that comes before, and is not learned."""
    pair: Text | None = None
    """The column of the second text of each row, which a tokenizer of a file appends to the first."""
    part: Literal["ids", "types"] = "ids"
    """What of a tokenizer's result it is: ids, or types, which tell the texts of a pair apart."""

    _goes_on: bool = PrivateAttr(False)

    @field_validator("tokenizer", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if isinstance(value, str) and value not in TOKENIZERS and not value.endswith(".json"):
            names = ", ".join(TOKENIZERS)
            words = f"`tokenizer` is {show(value)}, but must be one of {names}, or a tokenizer.json"
            if re.search(r"[-/]", value):
                words += (
                    f": `AutoTokenizer.from_pretrained({show(value)}).save_pretrained('.')` saves that one"
                )
            raise ValueError(words)
        return value

    def read(self, name: str) -> tuple[str, ...]:
        return super().read(name) + tuple(each for each in (self.pair, self.prompt) if each is not None)

    @property
    def goes_on(self) -> bool:
        """Whether a model learns which token comes next, so that a text can be made of its tokens again."""
        keys = (self.pack, self.begin, self.end, self.prompt)
        return self._goes_on or any(key is not None for key in keys)

    def go_on(self) -> None:
        """Says that another feature has the tokens that come next."""
        self._goes_on = True

    @property
    def exact(self) -> bool:
        """Whether the tokens of a text are the text: nothing of it is lost or changed."""
        return self.tokenizer in ("characters", "words", "bytes") or (
            self.tokenizer == "bpe" and self.goes_on
        )

    @property
    def marks(self) -> tuple[str, ...]:
        """The tokens around texts, in the order of their ids."""
        return tuple(dict.fromkeys(each for each in (self.end, self.begin) if each is not None))

    @property
    def most(self) -> int | None:
        return self.length if self.pack is None else self.pack

    def feature_type(self, *, target: bool) -> FeatureType:
        size = self.vocabulary if self.tokenizer != "bytes" else self.least
        return FeatureType((self.most,), "int64", size)

    @property
    def least(self) -> int:
        """How many tokens there are before the first one is learned."""
        letters = BYTES if self.exact and self.tokenizer in ("bytes", "bpe") else 0
        return UNSEEN + 1 + len(self.marks) + letters

    @property
    def file(self) -> str | None:
        """The file of a tokenizer that was trained before."""
        return self.tokenizer if self.tokenizer.endswith(".json") else None

    @model_validator(mode="after")
    def _fitting(self) -> TextFeature:
        if self.file is not None and (self.vocabulary is not None or self.min_count != 1):
            raise ValueError(
                "a tokenizer of a file has its own tokens: leave `vocabulary` and `min_count` out"
            )
        if self.tokenizer == "bpe" and self.vocabulary is None:
            raise ValueError("`tokenizer: bpe` merges until it has `vocabulary` tokens: give it")
        if self.file is None and (self.pair is not None or self.part != "ids"):
            raise ValueError("`pair` and `part` go by the template of a tokenizer of a file: give its file")
        if self.tokenizer == "bytes" and (self.vocabulary is not None or self.min_count != 1):
            raise ValueError("`tokenizer: bytes` knows all 256: leave `vocabulary` and `min_count` out")
        if self.goes_on and (self.pair is not None or self.part != "ids"):
            raise ValueError("`pair` and `part` are of texts that are read as a whole: leave them out")
        if self.pack is not None and self.length is not None:
            raise ValueError("`pack` is the length of a row: leave `length` out")
        return self


class Shifted(Feature):
    """The tokens of another feature that come `shift` places later: what a model is to say next."""

    made_by = "shifts:ShiftEncoder"
    encode: Literal["shift"] = "shift"
    of: Text
    """Feature whose tokens these are."""
    shift: Count
    """Places between a token and the one to be said: 1 for the next."""

    phrases: ClassVar = {"of": "of: tokens", "shift": "shift: 1"}

    def read(self, name: str) -> tuple[str, ...]:
        return ()

    @property
    def may_list(self) -> bool:
        return True

    @model_validator(mode="after")
    def _of_another(self) -> Shifted:
        if self.column is not None:
            raise ValueError("`of` names the feature that is read: leave `column` out")
        return self

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((None,), "int64")


class DrawnValues(Feature):
    """Values of another feature that are drawn at random for each row, all alike: others in each epoch."""

    made_by = "drawn:DrawnEncoder"
    target = False
    encode: Literal["draw"] = "draw"
    of: Text
    """Feature whose values these are: one with `encode: category`."""
    draw: Count
    """How many are drawn for a row."""

    phrases: ClassVar = {"of": "of: movie", "draw": "draw: 20"}

    def read(self, name: str) -> tuple[str, ...]:
        return ()

    @model_validator(mode="after")
    def _of_another(self) -> DrawnValues:
        if self.column is not None:
            raise ValueError("`of` names the feature that is read: leave `column` out")
        return self

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.draw,), "int64")


class Tokens(Listed):
    """The elements of a list column."""

    made_by = "lists:TokensEncoder"
    encode: Literal["tokens"] = "tokens"
    values: Annotated[list[Value], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Tokens:
        if self.values is not None and self.vocabulary is not None:
            raise ValueError("give `values` or `vocabulary`, not both")
        _distinct(self.values)
        return self

    def feature_type(self, *, target: bool) -> FeatureType:
        size = len(self.values) + 2 if self.values is not None else self.vocabulary
        return FeatureType((self.length,), "int64", size)


class ImageFeature(Feature):
    """Images from paths: values from 0 to 255, with the size and channels of the input; or, for a target,
    masks, whose pixels are classes.
    """

    made_by = "images:ImageEncoder"
    encode: Literal["image"] = "image"
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """How an image is brought to the size of the input."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    antialias: bool = True
    root: Text | None = None
    """Folder that paths are relative to."""
    ending: Annotated[str, Field(min_length=1)] | None = None
    """How names of files end instead, as `_mask.png`."""
    fill: Literal["zero"] | None = None
    values: Annotated[list[Value], Field(min_length=1)] | None = None
    augment: list[dict[str, Any]] = []
    """Layers that change images in training."""

    phrases: ClassVar = {"resize": "resize: crop"}
    notes: ClassVar = {"resize": "the size is that of the input"}

    @field_validator("augment", mode="before")
    @classmethod
    def _layers(cls, value: object) -> object:
        entries = value if isinstance(value, list) else [value]
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in entries):
            return value
        written = f"augment: [{', '.join(map(_layer, entries))}]"
        raise PydanticCustomError(
            "form", "`augment` is a list of layers, not {given}", {"given": show(value), "written": written}
        )

    @model_validator(mode="after")
    def _fitting(self) -> ImageFeature:
        for value in self.values or ():
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
                raise ValueError(
                    f"`values` are the pixel values of classes, from 0 to 255, and not {value!r}"
                )
        _distinct(self.values)
        if self.values is not None and self.interpolation not in ("nearest", "bilinear"):
            raise ValueError("`values` are classes, which are not interpolated: leave `interpolation` out")
        return self

    @property
    def moves(self) -> bool:
        """Whether `augment` moves pixels."""
        return any(layer.get("layer") in MOVING for layer in self.augment)

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((None, None, None), "uint8")


BOXES = "boxes"
"""The column in which tables have the boxes of a picture."""


class BoxesFeature(Feature):
    """Boxes in a picture and their classes, as a target: of each picture `[most, 5]`, left, top, right and
    bottom in pixels of the input and the number of the class; rows that are left over are all -1.
    """

    made_by = "boxes:BoxEncoder"
    encode: Literal["boxes"] = "boxes"
    format: BoxFormat
    """Where boxes are: `coco` (the .json of `train`), `yolo` (a .txt for each picture), `voc` (an .xml for
    each picture), or what four numbers of a table are: corners (`xyxy`), left, top and size (`xywh`), center
    and size (`cxcywh`).
    """
    columns: Annotated[list[Text], Field(min_length=2, max_length=5)] | None = None
    """Of a table with a row for each box, its four numbers and its class; of one with a row for each picture,
    the lists of boxes and of classes.
    """
    relative: bool = False
    """Whether the numbers are shares of the width and the height of the picture."""
    of: Text | None = None
    """The input of pictures, where there are several."""
    root: Text | None = None
    """Folder of the files, that paths of pictures are relative to."""
    values: Annotated[list[Value], Field(min_length=1)] | None = None
    most: Count | None = None
    """Most boxes of a picture; by default those that training rows have."""
    invalid: Literal["error", "drop"] = "error"
    """What boxes without an area, or outside of their picture, are: mistakes, or left out."""

    phrases: ClassVar = {"columns": "columns: [x1, y1, x2, y2, label]"}

    @model_validator(mode="after")
    def _fitting(self) -> BoxesFeature:
        _distinct(self.values)
        if self.in_table and len(self.columns or ()) not in (2, 5):
            raise ValueError(
                f"`format: {self.format}` reads a table: name its `columns: [x1, y1, x2, y2, label]`, or of "
                "lists `columns: [boxes, labels]`"
            )
        if not self.in_table and (self.columns is not None or self.relative):
            key = "columns" if self.columns is not None else "relative"
            raise ValueError(f"`format: {self.format}` says where numbers are: leave `{key}` out")
        if self.root is not None and not self.in_files:
            raise ValueError("`root` is of files next to pictures: leave it out")
        return self

    @property
    def in_table(self) -> bool:
        """Whether columns of a table have the boxes."""
        return self.format in ("xyxy", "xywh", "cxcywh")

    @property
    def in_files(self) -> bool:
        """Whether each picture has a file of its own with its boxes."""
        return self.format in ("yolo", "voc")

    def read(self, name: str) -> tuple[str, ...]:
        return (self.column or ("image" if self.in_files else BOXES),)

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.most, 5), "float32", len(self.values) if self.values is not None else None)


def _layer(entry: object) -> str:
    """An entry of `augment` as it is written, or as it may have been meant."""
    right = isinstance(entry, dict) and str(entry.get("layer")).startswith("Random")
    return show(entry) if right else augmentation(entry)


def _distinct(values: list[Value] | None) -> None:
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
"""What else encoders are called."""
