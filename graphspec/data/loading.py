"""From a program's `data:` to the examples that training reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from graphspec.data.augmented import augmented
from graphspec.data.batches import Examples, InMemory
from graphspec.data.candidates import Candidates, candidates_of, with_shares
from graphspec.data.files import DataFile
from graphspec.data.in_memory_source import Given
from graphspec.data.loader import SYNTHETIC, Loader
from graphspec.data.memory import limit as memory_limit
from graphspec.data.mixed import mixing
from graphspec.data.mixture import Mixture
from graphspec.data.opening import given_file, opening
from graphspec.data.prepared import (
    digest_of,
    is_prepared,
    need_same,
    read_index,
)
from graphspec.data.processes import ALONE, Processes, read_once
from graphspec.data.redrawn import redrawn
from graphspec.data.remote import is_remote
from graphspec.data.streamed import Streamed
from graphspec.data.weighed import weighed
from graphspec.diagnostics import Diagnostic, fail
from graphspec.elaborated import BaseProgram

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders


@dataclass(frozen=True, slots=True)
class Data:
    """The data of a run; validation and test where `data:` has them.

    `notes` are lines to print before training: that data are synthetic, what was filled or cut. `fingerprint`
    is a digest of all examples and of how they are kept: equal data in another format have the same, and a
    run that is resumed needs it to be the same.
    """

    training: Examples
    validation: Examples | None
    test: Examples | None
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    encoders: Encoders | None = None
    """The encoders that learned from training rows; None where the examples are arrays, or synthetic."""
    warnings: tuple[Diagnostic, ...] = ()
    candidates: Mapping[str, Candidates] = field(default_factory=dict)
    """By output, the keys of training rows, where a training reads them."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The training rows of each source, one after another in `training`; none where there is one file."""
    of_sources: Mapping[tuple[str, ...], Examples] = field(default_factory=dict)
    """The training examples of the sources that a step names, instead of all."""

    def with_candidates(self, program: BaseProgram) -> Data:
        """The same with the keys that the outputs of a program read, and what its losses read of these."""
        known = candidates_of(program, self.training)
        parts = (self.training, self.validation, self.test)
        training, validation, test = (each and with_shares(program, each, known) for each in parts)
        assert training is not None
        of_sources = {names: with_shares(program, each, known) for names, each in self.of_sources.items()}
        return replace(
            self,
            training=training,
            validation=validation,
            test=test,
            candidates=known,
            of_sources=of_sources,
        )

    @property
    def is_synthetic(self) -> bool:
        return SYNTHETIC in self.notes


def load(
    program: BaseProgram,
    data: Path | DataFile | Given | None,
    root: Path | None,
    device: torch.device,
    *,
    limit: int | None = None,
    encoders: Encoders | None = None,
    processes: Processes = ALONE,
) -> Data:
    """Examples for training, validation and test.

    `data` replaces the path of the training data. Paths of the spec are relative to `root`, its directory,
    and must stay inside. `limit` is how many rows of each file are read, the first ones. A program without
    data gets synthetic ones. `encoders` are those that learned before; without them they learn from the
    training rows. Of the `processes` of one machine the first reads, for all. Raises `SpecError`, a data-...
    code for each mistake.
    """
    folder = _prepared_folder(program, data, root)
    if folder is not None:  # which each process maps
        dataset = _prepared(program, folder, limit, encoders, memory_limit() // processes.size)
    else:
        dataset = read_once(processes, partial(_read, program, data, root, limit, encoders))
    first, *held = _on(device, (dataset.training, dataset.validation, dataset.test))

    def trained(examples: Examples) -> Examples:
        drawn = redrawn(_augmented(program, examples, device), dataset.encoders)
        return weighed(drawn, dataset.encoders)

    of_sources: dict[tuple[str, ...], Examples] = {}
    if dataset.counts and program.data is not None:
        names = list(dataset.counts)
        weights = {name: source.weight for name, source in program.data.sources.items()}
        first = Mixture.of(first, dataset.counts, weights)
        for step in (step for part in program.training.parts for step in part.updates if step.data):
            of_sources[step.data] = trained(first.only([names.index(name) for name in step.data]))
    validation, test = (None if each is None else weighed(each, dataset.encoders) for each in held)
    return replace(dataset, training=trained(first), validation=validation, test=test, of_sources=of_sources)


def _read(
    program: BaseProgram,
    data: Path | DataFile | Given | None,
    root: Path | None,
    limit: int | None,
    encoders: Encoders | None,
) -> Data:
    """Reads files, on the CPU."""
    loader = Loader(program, limit or sys.maxsize, encoders)
    config = loader.config
    if config.sources:
        from graphspec.data.several import SeveralTables  # imports pyarrow

        parts = SeveralTables(loader, root, data).read()
    else:
        parts = loader.training(opening(program, root, data))
    training, validation, test = loader.held(parts, root)
    assert training is not None  # a split leaves some
    return Data(
        training,
        validation,
        test,
        (*loader.notes, *(loader.encoders.notes if loader.encoders is not None else ())),
        loader.fingerprint,
        loader.encoders,
        (*loader.warnings,),
        counts=loader.counts,
    )


def _prepared_folder(
    program: BaseProgram, data: Path | DataFile | Given | None, root: Path | None
) -> Path | None:
    """The folder of prepared data that training data are, if they are one."""
    named = program.data.first if program.data is not None else None
    if data is None and program.data is not None and program.data.sources:
        return None
    if data is None and named is not None:
        far = is_remote(named.path)
        path = Path(named.path) if far else (root or Path()) / named.path
        if (far and not program.allow_url) or not is_prepared(path):
            return None
    opened = opening(program, root, data)
    place = opened.path if opened is not None else None
    return place if isinstance(place, Path) and is_prepared(place) else None


def _prepared(
    program: BaseProgram, folder: Path, limit: int | None, encoders: Encoders | None, most: int
) -> Data:
    """Examples of a folder of prepared data, in memory where they have `most` bytes. Raises `SpecError` where
    it was prepared for another spec, or encoders that learned before differ from its own.
    """
    from graphspec.data.encoding import encoders_of  # imports pyarrow
    from graphspec.data.prepared_examples import PreparedExamples

    index = read_index(folder)
    need_same(program, index, folder)
    if encoders is not None and digest_of(encoders.to_json()) != index.key["encoders"]:
        message = f"the encoders of the run learned from other rows than `{folder}` was prepared of"
        raise fail("data-column", message, "name the data that the run learned from")
    learned = encoders or encoders_of(program, index.encoders)
    examples = PreparedExamples(program, folder, index, learned, limit, most)
    training, validation, test = examples.parts()
    if training is None:
        raise fail("data-empty", f"`{folder}` holds no examples for training")
    notes = (*index.notes, *learned.notes)
    counts = examples.counts
    return Data(training, validation, test, notes, index.fingerprint, learned, counts=counts)


def _on(device: torch.device, parts: Sequence[Examples | None]) -> list[Any]:
    """Examples for a model on `device`; the arrays that they share on the CPU, they share there."""
    there: dict[int, InMemory] = {}
    on_device: list[Examples | None] = []
    for part in parts:
        if isinstance(part, InMemory):
            key = id(part.arrays)
            if key not in there:
                there[key] = replace(part, index=None).feeding(device)
            shared = there[key]
            part = shared if part.index is None else shared.select(part.index)
        elif isinstance(part, Streamed):
            part = replace(part, device=device)
        on_device.append(part)
    return on_device


def _augmented(program: BaseProgram, training: Examples, device: torch.device) -> Examples:
    """Training examples with the `augment` of the features that have one, then mixed."""
    features = program.data.features if program.data is not None else {}
    if any(getattr(feature, "augment", None) for feature in features.values()):
        training = augmented(program, training, device)
    return mixing(program, training)


def load_file(
    program: BaseProgram,
    path: Path | DataFile | Given,
    device: torch.device,
    encoders: Encoders | None,
    *,
    limit: int | None = None,
) -> Examples:
    """The first `limit` examples of a file, with targets, as encoders that have learned make them.

    Raises `SpecError`, a data-... code for each mistake.
    """
    if encoders is None:
        need_no_features(program)
    loader = Loader(program, limit or sys.maxsize, encoders)
    opened = given_file(program, path)
    examples = loader.all(opened, "test")
    if examples is None:
        raise fail("data-empty", f"`{opened.path}` holds no examples")
    (on_device,) = _on(device, [examples])
    return weighed(on_device, encoders)


def need_no_features(program: BaseProgram) -> None:
    """Refuses a program with features of which nothing was learned."""
    if program.data is not None and program.data.features:
        raise fail(
            "data-format", "the run has no encoders: it was not trained on a table", "train it on a table"
        )
