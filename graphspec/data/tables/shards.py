"""Shards: files of one format and schema, whose rows follow on one another in the order of their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from graphspec.data.tables.base import Table
from graphspec.diagnostics import Span, SpecError, fail


class Shards(Table):
    """Several tables as one. Columns may stand in any order; numbers and nulls may differ in type."""

    def __init__(self, path: Path, shards: Sequence[Table]):
        super().__init__(path, ())  # each shard has its missing values replaced
        self.shards = shards
        for shard in shards:
            shard.keeps = False  # this one keeps them all
        self.root = shards[0].root
        self.decimal = shards[0].decimal

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        first = self.shards[0]
        schema = pa.schema(dict(first.columns))
        for shard in self.shards[1:]:
            self._same_names(first, shard)
            try:
                schema = pa.unify_schemas(
                    [schema, pa.schema(dict(shard.columns))], promote_options="permissive"
                )
            except (pa.ArrowTypeError, pa.ArrowInvalid):
                self._types_differ(first, shard)
        return {field.name: field.type for field in schema}

    def lacks(self, name: str, span: Span | None = None, help: str | None = None) -> SpecError:
        return self.shards[0].lacks(name, span, help)

    def place(self, row: int) -> str:
        for shard in self.shards:
            if row < len(shard):
                return f"{shard.place(row)} of `{Path(shard.file).name}`"
            row -= len(shard)
        return super().place(row)

    def span(self, row: int, name: str) -> Span | None:
        for shard in self.shards:
            if row < len(shard):
                return shard.span(row, name)
            row -= len(shard)
        return None

    def read_as_text(self, names: Iterable[str]) -> None:
        for shard in self.shards:
            shard.read_as_text(names)

    def holds_rows(self) -> bool:
        return any(shard.holds_rows() for shard in self.shards)

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        types = self.columns
        schema = pa.schema({name: types[name] for name in columns})
        for shard in self.shards:
            for _, part in shard.chunks(columns):
                yield part if part.schema == schema else _as(part, schema)

    def _same_names(self, first: Table, other: Table) -> None:
        ours, theirs = set(first.columns), set(other.columns)
        for there, lacking, name in (
            *((first, other, name) for name in sorted(ours - theirs)),
            *((other, first, name) for name in sorted(theirs - ours)),
        ):
            names = (
                f"`{Path(lacking.file).name}` has no column `{name}`, and `{Path(there.file).name}` has one"
            )
            raise fail(
                "data-column",
                f"the shards of `{self.file}` differ: {names}",
                "all shards need the same schema",
            )

    def _types_differ(self, first: Table, other: Table) -> None:
        for name, kind in first.columns.items():
            try:
                pair = [pa.schema({name: kind}), pa.schema({name: other.columns[name]})]
                pa.unify_schemas(pair, promote_options="permissive")
            except (pa.ArrowTypeError, pa.ArrowInvalid):
                held = f"column `{name}` is {kind} in `{Path(first.file).name}`"
                held = f"{held}, and {other.columns[name]} in `{Path(other.file).name}`"
                raise fail(
                    "data-dtype",
                    f"the shards of `{self.file}` differ: {held}",
                    "all shards need the same schema",
                ) from None


def _as(part: pa.Table, schema: pa.Schema) -> pa.Table:
    """A part in the types that all shards have together, as far as values allow."""
    columns = []
    for field in schema:
        column = part.column(field.name)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type, safe=False))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            columns.append(column)
    return pa.table(columns, names=schema.names)
