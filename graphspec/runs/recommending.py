"""Recommends: finds the best keys of a run's training rows for each query."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from graphspec.data.candidates import Candidates, fingerprints
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.categories import CategoryEncoder
from graphspec.data.encoding import encoders_of
from graphspec.data.files import DataFile
from graphspec.data.folders import find
from graphspec.data.in_memory_source import Given
from graphspec.data.opening import given_file
from graphspec.data.rows.reader import RowArrays
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.runs.model import Model
from graphspec.runs.prediction import Predictor, Sizes
from graphspec.train.ranking import without_seen

SCORE = ".score"
"""The ending of the name of a column with scores, after that of an output."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyIndex:
    """The candidates of an output with their vectors, [candidates, size], and names; None for what has none,
    which is not found.
    """

    candidates: Candidates
    vectors: Tensor
    names: list[Any]
    loss: Any

    def best(self, vectors: Tensor, queries: Tensor, top: int) -> tuple[list[list[Any]], list[list[float]]]:
        """The names and the scores of the best, for each query."""
        scores = without_seen(self.candidates, self.loss.scores(vectors, self.vectors), queries)
        nameless = [number for number, name in enumerate(self.names) if name is None]
        scores[:, nameless] = -torch.inf
        values, numbers = scores.topk(min(top, len(self.names)), -1)
        kept = [[bool(each) for each in row] for row in values.isfinite().tolist()]
        names = [
            [self.names[number] for number, there in zip(row, of, strict=True) if there]
            for row, of in zip(numbers.tolist(), kept, strict=True)
        ]
        pairs = zip(values.tolist(), kept, strict=True)
        return names, [[v for v, there in zip(row, of, strict=True) if there] for row, of in pairs]


class Finder:
    """Finds keys for the queries of a run. Raises `SpecError`: not-supported where no output ranks keys, or
    where nothing names them.
    """

    def __init__(
        self,
        program: BaseProgram,
        model: Model,
        encoders: Callable[[], Encoders | None],
        candidates: Mapping[str, Candidates],
        top: int,
        size: int,
    ):
        ranked = {name: each for name, each in candidates.items() if program.outputs[name].ranks_candidates}
        if not ranked:
            message = "`top` is of an output that ranks keys for a query, and the run has none"
            help = "write such a metric: {loss: in_batch_softmax, metrics: [recall_at_k]}"
            raise fail("not-supported", message, help)
        known = encoders()
        queries = dict.fromkeys(name for each in ranked.values() for name in each.towers.query)
        inputs = {name: tensor for name, tensor in program.inputs.items() if name in queries}
        self.whole, self.top, self.size = program, top, size
        self.program = replace(program, inputs=inputs, outputs={})
        """The program as far as it reads queries."""
        self.encoders = encoders_of(self.program, known.to_json()) if known is not None else None
        self.engine = model.engine
        first = next(iter(ranked.values()))
        self.rest = {
            name: array[:1]
            for each in (first, *ranked.values())
            for name, array in each.rows.items()
            if name not in queries
        }
        """Inputs of keys, which no query depends on."""
        self.indices = {name: self._index(name, each, known) for name, each in ranked.items()}

    def _index(self, name: str, candidates: Candidates, encoders: Encoders | None) -> KeyIndex:
        output = self.whole.outputs[name]
        parts = [
            torch.from_numpy(np.asarray(self.engine(arrays)[output.keys[1]]))
            for arrays in candidates.batches(self.size, torch.device("cpu"))
        ]
        names = _names(self.whole, name, candidates, encoders)
        return KeyIndex(candidates, torch.cat(parts).float(), names, output.loss)

    def __call__(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        """The vectors of queries by output, and their fingerprints under its name and `.query`."""
        tensors = {name: torch.as_tensor(array).cpu() for name, array in arrays.items()}
        count = len(next(iter(tensors.values())))
        rest = {name: array.expand(count, *array.shape[1:]) for name, array in self.rest.items()}
        values = self.engine({**tensors, **rest})
        prints = {
            f"{name}.query": fingerprints(tensors, each.candidates.towers.query).numpy()
            for name, each in self.indices.items()
        }
        return {name: values[name] for name in self.indices} | prints

    def columns(self, values: Mapping[str, Any], scored: bool) -> pa.Table:
        """The columns of candidates that `__call__` finds for some queries."""
        columns: dict[str, Any] = {}
        for name, index in self.indices.items():
            vectors, prints = (torch.from_numpy(np.asarray(values[key])) for key in (name, f"{name}.query"))
            columns[name], scores = index.best(vectors.float(), prints, self.top)
            if scored:
                columns[name + SCORE] = pa.array(scores, pa.list_(pa.float32()))
        return pa.table(columns)


class FoundAnswering:
    """Answers rows with what is found for them, as `Answering` does with predictions."""

    def __init__(self, finder: Finder):
        self.finder, self.engine, self.written = finder, finder.engine, dict[str, Any]()

    def answers(self, read: Sequence[RowArrays]) -> list[dict[str, Any]]:
        """The candidates for rows whose arrays have the same shapes, each after its keys."""
        arrays = {name: np.concatenate([each.arrays[name] for each in read]) for name in read[0].arrays}
        found = self.finder.columns(self.finder(arrays), scored=True).to_pylist()
        return [{**of.keys, **row} for of, row in zip(read, found, strict=True)]


def _names(program: BaseProgram, name: str, candidates: Candidates, encoders: Encoders | None) -> list[Any]:
    """Names of the candidates: the value of their first category, or their number where data are arrays."""
    for word in candidates.towers.key:
        ids = candidates.rows[word].reshape(len(candidates), -1)
        encoder = encoders.encoders.get(word) if encoders is not None else None
        if isinstance(encoder, CategoryEncoder) and not encoder.per_element:
            values = encoder.vocabularies[0].values
            places = (ids[:, 0].long() - encoder.start).tolist()
            return [values[place] if 0 <= place < len(values) else None for place in places]
        if encoders is None and not ids.is_floating_point() and ids.shape[1] == 1:
            return ids[:, 0].tolist()
    inputs = ", ".join(f"`{word}`" for word in candidates.towers.key)
    message = f"nothing names the keys of `{name}`: no category is among {inputs}"
    raise fail("not-supported", message, "give one of them `encode: category`, a column with their names")


class _Recommending(Predictor):
    """Reads queries as rows to predict are read."""

    def __init__(self, finder: Finder, limit: int, probabilities: bool):
        engine: Any = finder
        super().__init__(finder.program, engine, finder.encoders, finder.size, limit, probabilities)
        self.finder = finder

    def _columns(
        self, values: Mapping[str, np.ndarray], sizes: Sizes, units: Sizes = MappingProxyType({})
    ) -> pa.Table:
        return self.finder.columns(values, self.probabilities)


def recommendations(
    finder: Finder,
    path: Path | DataFile | Given,
    limit: int,
    probabilities: bool,
    noted: Callable[[list[str]], None] | None = None,
) -> Iterator[pa.Table]:
    """Tables with a row for each of the first `limit` rows of a file: its key columns, what is found for it,
    best first, and with `probabilities` the scores. In the end `noted` gets what was made of the rows.
    """
    reader = _Recommending(finder, limit, probabilities)
    opened = given_file(finder.program, path)
    source = find(opened.path)
    if source.kind == "arrays" and finder.encoders is None:
        from graphspec.data.arrays import open_arrays

        yield from reader.of_arrays(open_arrays(source))
    else:
        yield from reader.of_table(source, opened.options, False)
    if noted is not None and finder.encoders is not None:
        noted([*reader.notes, *finder.encoders.counted()])
