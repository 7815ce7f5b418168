"""The settings of data files and of the validation split. Needs neither torch nor pyarrow."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from graphspec.data.features.settings import Value
from graphspec.diagnostics import become, by_word, delete, nearest
from graphspec.settings import Path, Problem, Problems, Setting, SettingError, show, unfit, validate

FORMATS = by_word(
    delimited=".csv .tsv", lines=".jsonl .json", parquet=".parquet", arrays=".npz .npy", texts=".txt"
)
"""The readable formats, by the endings of names."""
COMPRESSED = (".gz", ".zst")
"""Endings that may follow that of a text format."""
INSTEAD = by_word(
    **{
        "save the sheet as .csv": ".xlsx .xls .ods",
        "unpack it": ".zip .tar .tgz .rar .7z",
        "convert it to .png": ".tif .tiff .heic .avif .svg",
        "save its arrays with `numpy.savez`": ".h5 .hdf5 .mat .pt .pth .pkl .pickle",
        "write it as .parquet": ".feather .arrow .orc .db .sqlite",
        "rename it: a table of text ends in .csv or .tsv": ".dat .data",
    }
)
"""Remedies for files of other formats, by their ending."""
READ = (
    ".csv, .tsv, .jsonl, .json and .txt (also .gz, .zst), .parquet, .npz, .npy, "
    "a folder of one of them, or of images"
)
Text = Annotated[str, Field(min_length=1)]


class DataFile(Setting):
    """A file, a folder, or a pattern of files, and how its text is written."""

    synonyms = {"sep": "delimiter", "separator": "delimiter", "file": "path", "charset": "encoding"}

    path: Text
    """Path of a file, a folder, or a pattern of files."""
    delimiter: str | None = None
    """Delimiter between cells; by default a comma, or a tab in .tsv."""
    decimal: str = "."
    """Decimal mark: `.` or `,`."""
    encoding: str = "utf-8"
    """Text encoding, such as utf-8 or latin-1."""
    time: Text | None = None
    """Column of dates or numbers that `since` and `until` are about; of `windows`, by default `order`."""
    since: Text | int | float | None = None
    """Read only the rows from this time on: 2024-12-31, or a number."""
    until: Text | int | float | None = None
    """Read only the rows before this time."""

    @field_validator("path")
    @classmethod
    def _no_address(cls, value: str) -> str:
        if (scheme := re.match(r"(\w+)://", value)) and scheme[1] != "s3":
            help = {"help": "download it, and name the file; `s3://` is read with `--allow-url`"}
            message = f"`{value:.200}` is an address, and nothing is downloaded"
            raise PydanticCustomError("refused", message, help)
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or not value.isascii() or value in '"\r\n'):
            raise ValueError(f"`delimiter` is {show(value)}, but must be one character of ASCII, as `;`")
        return value

    @field_validator("decimal")
    @classmethod
    def _point_or_comma(cls, value: str) -> str:
        if value not in (".", ","):
            raise ValueError(f"`decimal` is {show(value)}, but must be `.` or `,`")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            known = codecs.lookup(value)
            codecs.getincrementaldecoder(value)
        except (LookupError, ValueError):
            known = None
        if known is None or not getattr(known, "_is_text_encoding", True):
            raise ValueError(
                f"`encoding` is {show(value)}, which is not an encoding such as utf-8, latin-1 or utf-16"
            )
        return value

    @property
    def bounds(self) -> dict[str, str | int | float]:
        """`since` and `until`, where they are given."""
        both = {"since": self.since, "until": self.until}
        return {key: value for key, value in both.items() if value is not None}

    @property
    def format(self) -> str | None:
        """Which reader takes it, by its ending; None for a folder, and for what is not read."""
        return format_of(self.path)


class SourceFile(DataFile):
    """One of several files that a training reads together."""

    synonyms: ClassVar = {**DataFile.synonyms, **by_word(weight="weights share ratio proportion probability")}
    phrases: ClassVar = {"weight": "weight: 3"}

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Its part of each batch, by the weights of all sources: of 3 and 1 the first fills three quarters."""


FileT = TypeVar("FileT", bound=DataFile)


class Split(Setting):
    """A part of the training data, kept out of training: drawn from the run's seed, or the last rows."""

    remedies: ClassVar = {
        "shuffle": delete("the rows are drawn at random; `last_by` keeps the last ones", only_for="true"),
        **dict.fromkeys(
            ("kfold", "k_fold", "folds", "n_splits", "cv"),
            "write {split: 0.2}: `graphspec train SPEC --folds VALUE:5` trains once for each part",
        ),
    }

    synonyms: ClassVar = by_word(
        split="test_size val_size size fraction ratio share percent validation_split",
        last_by="time_column by_time",
        group="groups",
        seed="random_state",
    )
    phrases: ClassVar = {"stratify": "stratify: COLUMN"}
    notes: ClassVar = {"stratify": "the column of the target, or another"}

    split: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of the rows that are for validation."""
    stratify: Text | None = None
    """Column whose values have the same shares in both parts."""
    group: Text | None = None
    """Column whose values tell which rows stay together."""
    last_by: Text | None = None
    """Column of numbers or dates by which rows are sorted; the last ones are taken."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Which of the parts of this size is for validation, counted from 0: `{split: 0.2, fold: 4}` is the last
    of five, which together hold each row once.
    """
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed that draws the rows; by default that of the run."""
    data: Text | None = None
    """Source whose rows are divided; by default each of them."""

    @property
    def folds(self) -> int:
        """How many parts of this size there are."""
        return round(1 / self.split)

    @property
    def divider(self) -> tuple[str, str] | None:
        """The column that decides, if there is one, and the key that names it."""
        named = {"stratify": self.stratify, "group": self.group, "last_by": self.last_by}
        return next(((key, name) for key, name in named.items() if name is not None), None)


class Marked(Setting):
    """A column that says of each row which part it belongs to; with `values`, rows with one of them are for
    validation, and all others for training.
    """

    column: Text
    """Column that says which part a row belongs to."""
    values: Annotated[list[Value], Field(min_length=1)] | None = None
    """Values of the rows for validation; all others are for training."""
    data: Text | None = None
    """Source whose rows are divided; by default each of them."""

    @property
    def divider(self) -> tuple[str, str]:
        """The column that decides, and the key that names it."""
        return "column", self.column


def format_of(path: str) -> str | None:
    """The format that a name's ending stands for."""
    name = path.lower()
    for ending in COMPRESSED:
        bare = name.removesuffix(ending)
        if bare != name:
            kind = _by_ending(bare)
            return kind if kind in ("delimited", "lines", "texts") else None
    return _by_ending(name)


def instead(path: str) -> str:
    """The remedy for a file of a format that is not read."""
    _, dot, ending = path.rpartition(".")
    remedy = INSTEAD.get(f"{dot}{ending.lower()}")
    return f"{remedy}; graphspec reads {READ}" if remedy else f"graphspec reads {READ}"


def alike(path: str, other: str) -> bool:
    """Whether two files are written in one way, as far as their names tell."""
    return _bare(path) == _bare(other)


def _bare(path: str) -> str:
    name = path.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return next((ending for ending in FORMATS if name.endswith(ending)), "")


def _by_ending(name: str) -> str | None:
    return next((kind for ending, kind in FORMATS.items() if name.endswith(ending)), None)


def parse_file(value: object, key: str) -> DataFile:
    """A path, or a mapping with `path` and what its text is written in. Raises `SettingError`."""
    if isinstance(value, str):
        value = {"path": value}
    if not isinstance(value, dict):
        help = None
        if isinstance(value, list):
            help = "name a folder, or a pattern such as `data/*.csv`: its files are read as one table"
        raise unfit("wrong-type", f"`{key}` is a path or {{path: ..., ...}}, not {show(value)}", help)
    if key == "test" and "split" in value:
        help = "give a file; or a column that says train, validation or test: validation: {column: part}"
        raise unfit("unknown-key", "`test` has no `split`: test data are a file of their own", help, "split")
    return _read_file(DataFile, value, key)


def _read_file(cls: type[FileT], value: dict[str, Any], key: str) -> FileT:
    file = validate(cls, value, f"`{key}`")
    problems = list(_misfits(file, value, key))
    if problems:
        raise SettingError(*problems)
    return file


def parse_train(value: object) -> DataFile | dict[str, SourceFile]:
    """One file, or several by their names. Raises `SettingError`."""
    if not isinstance(value, dict) or _is_file(value):
        return parse_file(value, "train")
    problems, sources = Problems(), dict[str, SourceFile]()
    for name, item in value.items():
        with problems.under(name):
            sources[name] = _parse_source(name, item)
    problems.raise_any()
    return sources


def _is_file(value: dict[str, Any]) -> bool:
    """Whether a mapping is one file, perhaps with a misspelt key, and not a file for each of its names."""
    keys = {*DataFile.model_fields, *DataFile.synonyms}
    return (
        not value
        or bool(keys & value.keys())
        or (len(value) == 1 and nearest(next(iter(value)), keys) is not None)
    )


def _parse_source(name: str, value: object) -> SourceFile:
    if not (name.isascii() and name.isidentifier()):
        message = f"a source of `train` is called {show(name)}, which is not a name"
        raise unfit("bad-name", message, "use letters, digits and `_`, and begin with a letter")
    if isinstance(value, str):
        value = {"path": value}
    if not isinstance(value, dict):
        help = f"write {name}: FILE, or {name}: {{path: FILE, weight: 3}}"
        raise unfit("wrong-type", f"source `{name}` is a path or {{path: ..., ...}}, not {show(value)}", help)
    return _read_file(SourceFile, value, name)


def _misfits(file: DataFile, value: dict[str, Any], key: str) -> Iterator[Problem]:
    known, ending = file.format, _ending(file.path)
    where: Path = ("path",) if "path" in value and len(value) > 1 else ()
    if known is None and ending:
        message = f"`{file.path}` has a format that graphspec does not read"
        yield Problem("data-format", message, instead(file.path), where)
        return
    if known in ("lines", "texts", "parquet", "arrays"):
        for option in ("delimiter", "decimal") + (() if known in ("lines", "texts") else ("encoding",)):
            if option in value:
                message = f"`{option}` of `{key}` is for .csv and .tsv, and `{file.path}` is not"
                yield Problem("unknown-key", message, f"remove `{option}`", (option,))
    for option in ("time", "since", "until"):
        if known == "texts" and option in value:
            message = f"`{option}` of `{key}` is for tables, and the rows of a text have no time"
            yield Problem("unknown-key", message, f"remove `{option}`", (option,))


def _ending(path: str) -> str:
    """The ending of a name that looks like one of a file, not of a folder."""
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    _, dot, ending = name.rpartition(".")
    return ending if dot and ending.isascii() and ending.isalnum() and not ending.isdigit() else ""


def _split(share: float, *, safe: bool) -> str:
    share = float(f"{share:g}")
    return become({"split": share}, f"write {{split: {share:g}}}", safe=safe, drops=True)


def _check_fold(split: Split) -> None:
    """Refuses a fold that the rows do not have."""
    if split.fold is None:
        return
    if split.last_by is not None:
        message = "the last rows by `last_by` are one part: they have no folds"
        raise unfit("out-of-range", message, "remove `fold`, or `last_by`", "fold")
    if split.folds < 2 or split.fold >= split.folds:
        message = f"`fold` is {split.fold}, but parts of {split.split:g} are {split.folds}, counted from 0"
        raise unfit("out-of-range", message, "of five folds, `{split: 0.2, fold: 4}` is the last", "fold")


def parse_validation(value: object) -> DataFile | Split | Marked:
    """`{split: 0.1, ...}`, `{column: part}`, or a file. Raises `SettingError`."""
    if isinstance(value, dict) and "path" not in value:
        if "column" in value:
            return validate(Marked, value, "`validation`")
        split = validate(Split, value, "`validation`")
        ways = [key for key in ("stratify", "group", "last_by") if getattr(split, key) is not None]
        if len(ways) > 1:
            message = f"`validation` is by `{ways[0]}` and by `{ways[1]}`"
            raise unfit("out-of-range", message, "keep one of them", ways[1])
        _check_fold(split)
        return split
    if isinstance(value, str) and (percent := re.fullmatch(r"\s*(\d{1,2}(?:\.\d+)?)\s*%\s*", value)):
        message = f"`validation` is {{split: FRACTION}} or a path, not {show(value)}"
        raise unfit("wrong-type", message, _split(float(percent[1]) / 100, safe=True))
    if isinstance(value, str | dict):
        return parse_file(value, "validation")
    help = "write {split: 0.1}, or a path"
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 100 and value != 1:
        help = _split(value if value < 1 else value / 100, safe=value < 1)
    shares = value if isinstance(value, list) and all(type(part) is float for part in value) else []
    if len(shares) == 2 and abs(sum(shares) - 1) < 1e-9:
        help = _split(shares[1], safe=True)
    raise unfit("wrong-type", f"`validation` is {{split: FRACTION}} or a path, not {show(value)}", help)


def parse_texts(value: object, key: str) -> tuple[str, ...]:
    """A text, or a list of texts; a number stands for its text. Raises `SettingError`."""
    items = value if isinstance(value, list) else [value]
    for index, item in enumerate(items):
        if not isinstance(item, str | int | float) or isinstance(item, bool):
            where: Path = (index,) if isinstance(value, list) else ()
            raise SettingError(
                Problem("wrong-type", f"`{key}` holds {show(item)}, which is not text", None, where)
            )
    return tuple(str(item) for item in items)
