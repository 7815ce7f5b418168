"""Tables: rows of named columns, from one file, a folder of shards, of texts, or of images.

pyarrow reads them. Whatever the format, a column comes as one of a few plain types, and a missing value as
null: the encoders see no difference between formats.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.data.config import DataConfig
from graphspec.data.features.vision import BoxesFeature, ImageFeature
from graphspec.data.files import DataFile
from graphspec.data.folders import Found
from graphspec.data.mistakes import unreadable
from graphspec.data.tables.base import CHUNK, Table
from graphspec.data.tables.boxes import BoxTable
from graphspec.data.tables.coco import Coco
from graphspec.data.tables.delimited import Delimited
from graphspec.data.tables.frame import FrameTable
from graphspec.data.tables.images import Images
from graphspec.data.tables.lines import Lines
from graphspec.data.tables.matrices import Matrices
from graphspec.data.tables.parquet import Parquet
from graphspec.data.tables.shards import Shards
from graphspec.data.tables.texts import TextFiles

__all__ = ["CHUNK", "Table", "open_table"]
READERS: dict[str, type[Delimited | Lines | Parquet]] = {
    "delimited": Delimited,
    "lines": Lines,
    "parquet": Parquet,
}


def open_table(source: Found, options: DataFile, config: DataConfig | None = None) -> Table:
    """The table of the files that were found, read as `options` say, for what `config` reads of it.

    Opening reads no more than headers. Raises `SpecError`: data-missing, data-format, data-empty,
    data-column.
    """
    config = config or DataConfig()
    boxes = next((each for each in config.features.values() if isinstance(each, BoxesFeature)), None)
    if boxes is None or boxes.in_files or source.kind == "images":
        return _plain(source, options, config.na_values)
    is_json = source.held is None and source.whole and source.path.suffix.lower() == ".json"
    if boxes.format == "coco" and is_json:
        return Coco(source.path)
    table = _plain(source, options, config.na_values)
    if boxes.format == "coco":  # pictures to predict of, in whatever table
        return table
    pictures = {n: each.read(n)[0] for n, each in config.features.items() if isinstance(each, ImageFeature)}
    return BoxTable(table, boxes, pictures.get(boxes.of or "", next(iter(pictures.values()), "image")))


def _plain(source: Found, options: DataFile, na_values: Sequence[str]) -> Table:
    if source.held is not None and source.held.table is not None:
        return FrameTable(source.held.table, source.held.name, na_values)
    if source.kind == "images":
        return Images(source)
    if source.kind == "arrays":
        return Matrices(source, na_values)
    if source.kind == "texts":
        return TextFiles(source.path, source.files, options)
    reader = READERS[source.kind]
    try:
        if source.whole:
            return reader(source.path, options, na_values)
        return Shards(source.path, [reader(file, options, na_values) for file in source.files])
    except OSError as error:
        raise unreadable(source.path, error) from None
