"""What a run keeps so that it answers plain rows before its spec is read: beside its export for onnxruntime,
what makes the arrays of a row, and what writes its outputs.

It holds for one state of the run and a file of its weights, of this machine and of the packages. To read it
takes neither the compiler, nor pyarrow, nor torch.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.data.memory import CORES, cores
from graphspec.data.rows.reader import PlainRows
from graphspec.data.rows.record import KINDS, from_json, to_json
from graphspec.diagnostics import SpecError
from graphspec.files.reading import digest
from graphspec.files.remembered import recall, remember
from graphspec.files.run_files import (
    ENCODERS,
    ENVIRONMENT,
    EXPORT_ENDING,
    EXPORTED,
    MEASURED_ENDING,
    SERVING_ENDING,
    SPEC,
    WEIGHTS,
    kept_file,
    place_of,
)
from graphspec.runs.answering import Answering
from graphspec.runs.engines import Default, Interface, OnnxEngine, versions
from graphspec.version import __version__

if TYPE_CHECKING:
    from graphspec.elaborated import BaseProgram
    from graphspec.runs.model import Model

FORM = 2
"""Of the record."""
OF_ENGINES: Mapping[str, type[Any]] = {"Default": Default, "Interface": Interface}


@dataclass(eq=False, repr=False)
class Kept:
    """What answers plain rows of a run."""

    path: Path
    weights: str
    key: Mapping[str, Any]
    rows: PlainRows
    answering: Answering
    notes: Sequence[str]
    """What to say of the engine."""
    synthetic: bool
    """Whether the run learned from synthetic data."""

    @property
    def is_current(self) -> bool:
        """Whether the run is still what it was."""
        return self.key == _key(self.path, self.weights)


def kept(path: Path, weights: str, device: str, engine: str) -> Kept | None:
    """What a run keeps for an engine of that name, or for `auto` if onnxruntime was the fastest with a row;
    None if it keeps nothing, or only what is out of date.
    """
    place = _place(path, weights)
    record, model = _record(path, place), path / kept_file(place, EXPORT_ENDING)
    if engine not in record.get("asked", ()) or record["key"] != _key(path, weights):
        return None
    without_gpu = engine != "auto" or record["key"]["packages"].get("torch", "").endswith("+cpu")
    if device != "cpu" and not (device == "auto" and without_gpu):
        return None
    try:
        if digest(model) != record["key"]["export"]["sha256"]:
            return None
        if engine == "auto" and _fastest(path, place) != OnnxEngine.name:
            return None
        rows, interface, written = from_json(record["model"], {**KINDS, **OF_ENGINES})
        engine_model = OnnxEngine(interface, model, record["threads"])
    except (OSError, SpecError):  # of which the run itself then tells
        return None
    except (KeyError, TypeError, ValueError):  # of a graphspec that had other records, and this version
        return None
    answering = Answering(engine_model, written)
    return Kept(path, weights, record["key"], rows, answering, record["asked"][engine], record["synthetic"])


def keep(path: Path, weights: str, engine: str, model: Model, synthetic: bool) -> None:
    """Writes what `kept` reads, where the run can be written and plain rows need no table."""
    from graphspec.files.folder import Folder
    from graphspec.train.device import threads

    if not isinstance(model.engine, OnnxEngine) or model.reader is None or not _is_whole(path, model.program):
        return
    rows, key = model.reader.usual(), _key(path, weights)
    if rows is None or key is None:
        return
    place = _place(path, weights)
    about = _record(path, place)
    asked = about["asked"] if about.get("key") == key else {}
    record = {
        "key": key,
        "asked": {**asked, engine: list(model.notes)},
        "threads": threads(model.program),
        "synthetic": synthetic,
        "model": to_json((rows, model.engine.interface, model.answering.written)),
    }
    if record == about:
        return
    with suppress(SpecError):  # then the spec is read again next time
        remember(Folder(path), kept_file(place, SERVING_ENDING), record)


def _is_whole(path: Path, program: BaseProgram) -> bool:
    """Whether a run is a directory, and what it is made of lies there and nowhere else."""
    from graphspec import custom

    return (
        path.is_dir()
        and not [*custom.nodes(program), *custom.objectives(program)]
        and not program.training.adapters
    )


def _file(path: Path, weights: str) -> Path:
    """The file of weights that is called so."""
    return path / WEIGHTS[weights] if weights in WEIGHTS else Path(weights)


def _place(path: Path, weights: str) -> str:
    return place_of(_file(path, weights), path)


def _record(path: Path, place: str) -> dict[str, Any]:
    """What a run keeps of the weights at a place."""
    return recall(path, kept_file(place, SERVING_ENDING))


def _key(path: Path, weights: str) -> dict[str, Any] | None:
    """What a record holds for, as JSON has it: files of the run, this machine, this version and packages.
    None where the run keeps no export of these weights.
    """
    file, place = _file(path, weights), _place(path, weights)
    names = [SPEC, ENVIRONMENT, *([ENCODERS] if (path / ENCODERS).is_file() else [])]
    known = recall(path, kept_file(place, MEASURED_ENDING))
    try:
        export = {"sha256": known["sha256"], **{name: known["key"][name] for name in EXPORTED}}
        digests = {name: digest(path / name) for name in names}
        if export["weights"] != [place, digest(file)]:
            return None
    except (OSError, KeyError):
        return None
    return {
        "graphspec": __version__,
        "form": FORM,
        "export": export,
        "files": digests,
        "machine": [platform.node(), platform.machine(), cores()],
        "threads": [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", CORES)],
        "packages": versions(),
    }


def _fastest(path: Path, place: str) -> str | None:
    """The engine that `auto` has found to be the fastest with a row; None where it has not."""
    seconds = recall(path, kept_file(place, MEASURED_ENDING)).get("seconds", {}).get("1")
    return str(min(seconds, key=seconds.__getitem__)) if seconds else None
