"""A first spec for a table of who has what: two towers, of users and movies, or of planes and airports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from graphspec.data.columns import flat, is_text
from graphspec.data.drafting.looks import CLASSES, cast, is_date
from graphspec.data.drafting.words import flow, on_a_line, word
from graphspec.data.tables import Table

QUERIES = frozenset(
    ("user", "customer", "client", "member", "person", "visitor", "account", "reader", "viewer", "session")
)
"""Words in names of columns that say who chooses."""
KEYS = frozenset(
    ("item", "movie", "film", "product", "book", "song", "track", "artist", "article", "page", "sku", "game")
)
"""Words in names of columns that say what is chosen."""
BESIDE = frozenset(
    ("rating", "rate", "score", "stars", "star", "timestamp", "time", "date", "day", "ts", "count", "plays")
)
"""Words in names of columns that say when and how much."""
LEAST, OFTEN = 5, 2
"""Different values of such columns, and rows of each on average, at least."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """A table of who has what: the two columns, how many values each has, and its other columns, which say
    when and how much, or what each user or movie is.
    """

    query: str
    key: str
    sizes: tuple[int, int]
    others: tuple[str, ...]
    rows: int
    missing: tuple[int, int] = (0, 0)
    """Rows that lack the one or the other."""


def interactions(table: Table, rows: pa.Table) -> Interactions | None:
    """The interactions in a table, of which these are the first rows; None where it is of another kind, or in
    doubt.
    """
    columns = {name: flat(rows.column(name)) for name in rows.column_names}
    named = [next((n for n in columns if _words(n) & words), None) for words in (QUERIES, KEYS)]
    if None in named and len(columns) == 2:
        named = list(columns)
    query, key = named
    if query is None or key is None or query == key:
        return None
    others = tuple(name for name in columns if name not in (query, key))
    if not all(_names(columns[name]) for name in (query, key)):
        return None
    for name in others:
        if _words(name) & BESIDE or _is_beside(columns[name]):
            continue
        if not any(_describes(columns[each], columns[name]) for each in (query, key)):
            return None
    known: list[set[object]] = [set(), set()]
    missing = [0, 0]
    count = 0
    for _, part in table.chunks([query, key]):
        count += part.num_rows
        for place, name in enumerate((query, key)):
            column = flat(part.column(name))
            missing[place] += column.null_count
            known[place].update(pc.unique(column.drop_null()).to_pylist())
    sizes = len(known[0]), len(known[1])
    return Interactions(query, key, sizes, others, count, (missing[0], missing[1]))


def _words(name: str) -> set[str]:
    """The words of a column's name, in lower case: `userId` has user and id."""
    return {each.lower() for each in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def _names(column: pa.Array) -> bool:
    """Whether values of a column may name something: whole numbers or texts, several, that return."""
    there = column.drop_null()
    if not len(there) or not (is_text(there.type) or pa.types.is_integer(there.type)):
        return False
    numbers = cast(there, pa.float64()) if is_text(there.type) else None
    if numbers is not None and not pc.all(pc.equal(pc.floor(numbers), numbers)).as_py():
        return False
    if is_text(there.type) and is_date(there):
        return False
    return bool(LEAST <= pc.count_distinct(there).as_py() <= len(there) / OFTEN)


def _is_beside(column: pa.Array) -> bool:
    """Whether a column may say when something was chosen, or how much it was liked."""
    there = column.drop_null()
    if pa.types.is_temporal(there.type) or (is_text(there.type) and is_date(there)):
        return True
    numbers = cast(there, pa.float64()) if is_text(there.type) else there
    return numbers is not None and pc.count_distinct(there).as_py() <= CLASSES


def _describes(who: pa.Array, what: pa.Array) -> bool:
    """Whether all rows of a user or a movie have one value of a column, as its title or its genres."""
    if pa.types.is_nested(what.type):
        return False
    pairs = pa.table({"who": who, "what": what}).group_by(["who", "what"]).aggregate([])
    return bool(len(pairs) == pc.count_distinct(who, mode="all").as_py())


def draft_towers(name: str, path: str, train: str, found: Interactions) -> str:
    """The text of a spec that finds keys for queries, of data that people write as `path`."""
    return "\n".join(_lines(name, path, train, found)) + "\n"


def _lines(name: str, path: str, train: str, found: Interactions) -> Iterator[str]:
    query, key = word(found.query), word(found.key)
    if query == key:
        key += "_"
    batch, file = 128 if found.rows <= 20_000 else 256, on_a_line(path)
    yield f"# A first spec for {file}, to start from: two towers, of `{on_a_line(found.query)}` and of"
    yield f"# `{on_a_line(found.key)}`, of which it finds for each of the first those that suit it."
    yield f"# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`, and"
    yield f"# `graphspec predict runs/{name}-1 --data {file} --top 10 -o found.csv` names ten for each row."
    yield f"# {found.rows:,} rows, {found.sizes[0]:,} and {found.sizes[1]:,} values. Each row is a choice."
    if found.others:
        listed = ", ".join(f"`{on_a_line(other)}`" for other in found.others)
        yield f"# Columns that are not read: {listed}. To learn what is liked, keep those rows alone."
    yield from ("", "params: {width: 32}", "inputs:")
    yield from (f"  {each}: {{shape: [1], dtype: int64}}" for each in (query, key))
    yield from ("", "nodes:")
    for each in (query, key):
        size = f"$(vocabulary({each}))"
        layer = f"layer: Embedding, from: {each}, input_dim: {size}, output_dim: $width"
        yield f"  {each}_codes: {{{layer}}}"
        yield f"  {each}_vector: {{layer: Flatten}}"
    yield from ("", "outputs:", "  match:", f"    from: [{query}_vector, {key}_vector]")
    yield "    # each row tells its own from those of other rows, corrected for how frequent these are"
    yield "    loss: {name: in_batch_softmax, similarity: dot, temperature: 1, correct_popularity: true}"
    yield "    metrics: [recall_at_k, ndcg]  # among all, without those that training rows have"
    yield from ("", "data:", f"  train: {train}")
    yield "  validation: {split: 0.1}  # a random tenth of the rows is to be found"
    yield f"  key: {flow(found.query)}  # predictions have it"
    yield "  features:"
    of = zip((query, key), (found.query, found.key), found.sizes, found.missing, strict=True)
    for each, column, count, missing in of:
        at = "" if each == column else f"column: {flow(column)}, "
        if missing:
            yield f"    # {missing:,} rows have none, and share the value `missing`"
        size = f"vocabulary: {count + 2}, fill: missing" if missing else f"vocabulary: {count + 1}"
        yield f"    {each}: {{{at}encode: category, {size}}}"
    yield from ("", "train:", "  optimizer: {name: adam, learning_rate: 0.003}")
    yield from ("  epochs: 40  # at most: it ends where validation gets no better", f"  batch_size: {batch}")
    yield "  callbacks:"
    yield "    early_stopping: {monitor: val_recall_at_k, patience: 4, restore_best_weights: true}"
    yield "    model_checkpoint: {monitor: val_recall_at_k, save_best_only: true}"
