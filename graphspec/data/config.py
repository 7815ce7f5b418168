"""The section `data:` of a spec. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import SerializeAsAny

from graphspec.data.features import Feature, parse_features
from graphspec.data.features.settings import Date
from graphspec.data.features.shifts import shift_misfits
from graphspec.data.features.windows import Windows, parse_windows, window_misfits
from graphspec.data.files import (
    DataFile,
    Marked,
    SourceFile,
    Split,
    parse_file,
    parse_texts,
    parse_train,
    parse_validation,
)
from graphspec.data.mixing import Mixing, parse_mix
from graphspec.diagnostics import by_word, delete, did_you_mean
from graphspec.settings import Problem, Problems, Setting, show, unfit, validate


class DataConfig(Setting):
    """Where examples come from. Paths are relative to the spec's directory."""

    synonyms: ClassVar[Mapping[str, str]] = by_word(
        train="path file files csv source sources url dataset filename",
        validation="val valid",
        test="eval",
        features="columns encoders",
        na_values="missing",
        key="id",
        mix="mixup cutmix mixing",
        windows="window sequences series forecast lookback horizon",
    )
    remedies: ClassVar[Mapping[str, str]] = {
        "batch_size": "it belongs to the training: train: {batch_size: 32}",
        "shuffle": delete("training rows are shuffled in each epoch, from the run's seed", only_for="true"),
        "split": "write validation: {split: VALUE:0.1}",
        **dict.fromkeys(
            ("validation_split", "val_split", "test_size", "test_split", "train_test_split"),
            "write validation: {split: VALUE:0.1}",
        ),
        **dict.fromkeys(
            ("target", "label", "labels", "target_column", "y"),
            "it belongs to the output: outputs: {name: {target: COLUMN}}",
        ),
        **dict.fromkeys(("random_state", "seed"), "it belongs to the training: train: {seed: VALUE:0}"),
        **dict.fromkeys(
            ("normalize", "standardize", "scale"),
            "it belongs to a feature: features: {age: {encode: number, scale: standard}}",
        ),
        "header": delete("the first line of a table names its columns", only_for="true 0 infer"),
        "delimiter": "it belongs to the file: train: {path: FILE, delimiter: ';'}",
        "sep": "it belongs to the file: train: {path: FILE, delimiter: ';'}",
        "encoding": "it belongs to the file: train: {path: FILE, encoding: latin-1}",
        "augment": "it belongs to a feature: features: {image: {encode: image, augment: [...]}}",
        "num_workers": delete("graphspec chooses how to read data"),
        **dict.fromkeys(
            ("limit", "nrows", "max_rows", "sample"), "it belongs to the command: `graphspec train --limit N`"
        ),
        "index_col": "write `key: COLUMN`: it identifies a row, and the model does not read it",
    }

    def date_format(self, column: str | None) -> str | None:
        """The format that a feature, or `windows`, gives for the dates of a column."""
        if self.windows is not None and self.windows.order == column and self.windows.format is not None:
            return self.windows.format
        features = self.features.items()
        formats = [f.format for name, f in features if isinstance(f, Date) and column in f.read(name)]
        return formats[0] if formats else None

    @classmethod
    def meaning(cls, key: str, beside: dict[str, Any]) -> str | None:
        """The column of a target, at its output."""
        help, column = cls.remedies.get(key, ""), beside[key]
        return help.replace("COLUMN", column) if "COLUMN" in help and isinstance(column, str) else None

    train: DataFile | dict[str, SourceFile] | None = None
    """Rows to learn from: a file, a folder, or a pattern of files; or several of these by their names; by
    default synthetic data.
    """
    validation: DataFile | Split | Marked | None = None
    """Rows to measure after each epoch: a path, {split: 0.1}, or {column: part}."""
    test: DataFile | None = None
    """Rows that are measured after training, and by `evaluate`: a path."""
    key: tuple[str, ...] = ()
    """Columns that identify a row: predictions contain them, the model does not read them."""
    na_values: tuple[str, ...] = ("",)
    """Texts that mean a missing value."""
    windows: Windows | None = None
    """A past and a horizon of each series as one example, of a table with a row for each step. Without it
    an example is a row.
    """
    features: dict[str, SerializeAsAny[Feature]] = {}
    """How columns become inputs and targets, if they are not arrays already."""
    mix: tuple[SerializeAsAny[Mixing], ...] = ()
    """Layers that mix the examples of a training batch, in this order."""

    @property
    def sources(self) -> dict[str, SourceFile]:
        """The files of `train` by their names; none where it is one file."""
        return self.train if isinstance(self.train, dict) else {}

    @property
    def files(self) -> dict[tuple[str, ...], DataFile]:
        """All files that are named, by their places in `data`."""
        every: dict[tuple[str, ...], object] = {("train", name): file for name, file in self.sources.items()}
        every |= {(key,): getattr(self, key) for key in ("train", "validation", "test")}
        return {place: file for place, file in every.items() if isinstance(file, DataFile)}

    @property
    def first(self) -> DataFile | None:
        """The file of `train`, of several the first one: how other files like it are written."""
        return next(iter(self.train.values())) if isinstance(self.train, dict) else self.train


PARTS: dict[str, Callable[[Any], Any]] = {
    "train": parse_train,
    "validation": parse_validation,
    "test": lambda value: parse_file(value, "test"),
    "key": lambda value: parse_texts(value, "key"),
    "na_values": lambda value: parse_texts(value, "na_values"),
    "windows": parse_windows,
    "features": parse_features,
    "mix": parse_mix,
}
"""How each key is read; null is as if it were not there."""


def _without_time(config: DataConfig) -> Iterator[Problem]:
    """Files of which a part is read, and nothing says by which column."""
    for place, file in config.files.items():
        if file.bounds and file.time is None and config.windows is None:
            key, part = next(iter(file.bounds)), place[-1]
            message = f"`{key}` of `{part}` is a time, and nothing says which column holds the times"
            help = f"name it: {part}: {{path: {file.path}, time: COLUMN, {key}: {file.bounds[key]}}}"
            yield Problem("missing-key", message, help, (*place, key))


def _of_sources(config: DataConfig) -> Iterator[Problem]:
    """Names of sources that there are not, and what several sources do not do."""
    division = config.validation
    name = division.data if isinstance(division, Split | Marked) else None
    if name is not None and name not in config.sources:
        yield no_source(name, config.sources, ("validation", "data"))
    if config.sources and config.windows is not None:
        message = "windows are of the series of one table, and `train` names several sources"
        help = "put the series into one table, with a column that names them, as `by`"
        yield Problem("not-supported", message, help, ("windows",))


def no_source(name: str, sources: Mapping[str, SourceFile], path: tuple[str | int, ...]) -> Problem:
    """The problem of a source that `train` does not name."""
    help = did_you_mean(name, sources, f"sources: {', '.join(sources)}")
    if not sources:
        help = f"name the files of `train`: data: {{train: {{{name}: FILE, ...}}}}"
    return Problem("unknown-reference", f"`train` of `data` has no source `{name}`", help, path)


def parse_data(value: object) -> DataConfig:
    """The `data:` section of a spec; a bare path is the training data.

    Raises `SettingError` with every problem.
    """
    if isinstance(value, str):
        value = {"train": value}
    if not isinstance(value, dict):
        help = "write data: {train: FILE}"
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            help = f"write data: {value[0]}"
        raise unfit("wrong-type", f"`data` is a mapping or a path, not {show(value)}", help)
    entries: dict[str, Any] = {}
    problems = Problems()
    for key, item in value.items():
        if key not in PARTS:
            entries[key] = item
        elif item is not None:
            with problems.under(key):
                entries[key] = PARTS[key](item)
    with problems.under():
        config = validate(DataConfig, entries, "`data`")
    problems.raise_any()
    problems.collected += [*window_misfits(config), *shift_misfits(config), *_without_time(config)]
    problems.collected += _of_sources(config)
    problems.raise_any()
    return config
