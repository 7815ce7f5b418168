"""The fastest engine that agrees with the module: measured here for a model, and remembered by its run."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from graphspec import custom
from graphspec.diagnostics import SpecError, did_you_mean, fail
from graphspec.files.reading import digest
from graphspec.files.remembered import recall, remember
from graphspec.files.run_files import (
    EXPORT_ENDING,
    EXPORTED,
    MEASURED_ENDING,
    kept_file,
    place_of,
)
from graphspec.runs.agreement import Trial, compare, trials
from graphspec.runs.engines import (
    ENGINES,
    Engine,
    Interface,
    OnnxEngine,
    OpenVinoEngine,
    TorchEngine,
    versions,
)
from graphspec.train import device as devices
from graphspec.version import __version__

if TYPE_CHECKING:
    from graphspec.files.run_folder import RunFolder

SECONDS = 0.3
"""How long each engine is timed, about."""
ROUNDS = 200
"""How often at most."""
LONGEST = 1024
"""Timed inputs have no more steps: with more the same engine is the fastest."""
OTHERS: Mapping[str, type[OnnxEngine | OpenVinoEngine]] = {
    "onnxruntime": OnnxEngine,
    "openvino": OpenVinoEngine,
}


class TrainedModel(Protocol):
    """A model to export and time: of a run, or of a spec with weights in files."""

    @property
    def path(self) -> Path: ...

    @property
    def program(self) -> Any: ...

    @property
    def lengths(self) -> Mapping[str, int]: ...

    @property
    def weights(self) -> Path | None: ...

    def state(self) -> Any: ...


FORM = 4
"""Of what a run keeps: an export of outputs, and after them logits and masks, and how it was compared."""


def engine_of(
    run: TrainedModel, base: Callable[[], TorchEngine], wanted: str, rows: int = 1, on_cpu: bool = False
) -> tuple[Engine, list[str]]:
    """The engine of that name, or with `auto` the fastest one for that many rows whose outputs agree with the
    module's; and lines that say what was chosen.

    `base` makes the engine of torch, which is not needed where the run remembers the choice; `on_cpu` says
    that it runs on the CPU. Raises `SpecError` (unknown-name, package-missing, export-failed,
    export-differs).
    """
    if wanted not in ("auto", *ENGINES):
        help = did_you_mean(wanted, ("auto", *ENGINES), f"engines: auto, {', '.join(ENGINES)}")
        raise fail("unknown-name", f"there is no engine `{wanted}`", help)
    if wanted == "torch":
        return base(), []
    if not on_cpu and (known := base()).device.type != "cpu":
        if wanted == "auto":
            return known, ["engine: torch, as on every GPU"]
        raise fail("device-missing", f"`--engine {wanted}` computes on the CPU", "add `--device cpu`")
    with closing(_Shelf(run, base, rows)) as shelf:
        if wanted == "auto":
            return shelf.fastest()
        engine = shelf.engine(wanted)
        apart = shelf.apart(engine)
    return engine, [f"engine: {wanted}, equal to the module to {apart:.1e}"]


class _Shelf:
    """The export of a run's model and what was measured of it, in the run where that can be written."""

    def __init__(self, run: TrainedModel, base: Callable[[], TorchEngine], rows: int):
        self.run, self.rows, self.program = run, rows, run.program
        self.threads = devices.threads(run.program)
        self._base = base
        self._own: tempfile.TemporaryDirectory[str] | None = None
        if self.place is not None:
            with suppress(SpecError):  # a link: nothing is deleted through it
                self._folder.clear_half_engines()

    @cached_property
    def _folder(self) -> RunFolder:
        from graphspec.files.run_folder import RunFolder

        return RunFolder(self.run.path)

    @cached_property
    def base(self) -> TorchEngine:
        return self._base()

    @cached_property
    def sizes(self) -> dict[str, int]:
        return usual_sizes(self.run)

    def close(self) -> None:
        """Deletes what no run keeps: engines have read it."""
        if self._own is not None:
            self._own.cleanup()

    @cached_property
    def place(self) -> str | None:
        """That of the weights; None where there is no run that keeps something of them."""
        weights, path = self.run.weights, self.run.path
        return place_of(weights, path) if weights is not None and path.is_dir() else None

    @cached_property
    def key(self) -> dict[str, Any]:
        """The conditions under which a measurement holds: this spec and its weights, this version, this
        machine, these packages.
        """
        weights = self.run.weights
        spec = "\0".join(self.program.sources.values())
        return {
            "graphspec": __version__,
            "form": FORM,
            "spec": hashlib.sha256(spec.encode()).hexdigest(),
            "weights": [self.place, digest(weights)] if weights is not None else [],
            "machine": f"{platform.node()} {platform.machine()} {os.cpu_count()}",
            "threads": self.threads,
            "sizes": self.sizes,
            "engines": versions(),
        }

    @cached_property
    def file(self) -> Path:
        """The export, written where it is missing, damaged or of other weights."""
        if self.place is not None:
            name = kept_file(self.place, EXPORT_ENDING)
            file = self.run.path / name
            if self._is_kept(file):
                return file
            try:
                self._folder.clear_engines()
                self._write()  # first: it says of which weights the export is, also if this process is killed
                self._folder.write(name, self._export)
                self._write(sha256=digest(file))
                return file
            except SpecError as error:
                if error.diagnostics[0].code not in ("run-directory", "output-file"):
                    raise  # else a run that cannot be written is exported each time
        self._own = tempfile.TemporaryDirectory(prefix="graphspec-engine-")
        file = Path(self._own.name) / f"model{EXPORT_ENDING}"
        self._export(file)
        return file

    def _export(self, file: Path) -> None:
        from graphspec.export import export

        export(self.program, "onnx", file, 0, self.run.state(), logits=True)

    def _is_kept(self, file: Path) -> bool:
        """Whether a file holds the export, to the byte."""
        known = self._digest()
        return known is not None and file.is_file() and digest(file) == known

    def _digest(self) -> str | None:
        """The SHA-256 of the export of these weights, where the run keeps one."""
        about, key_now = self._recalled(), self.key
        key = about.get("key", {})
        return about.get("sha256") if all(key.get(name) == key_now[name] for name in EXPORTED) else None

    def engine(self, name: str) -> Engine:
        """An engine. Raises `SpecError` (package-missing) where it is not installed."""
        if find_spec(name) is None:
            from graphspec.diagnostics.packages import lacking

            raise lacking(f"`--engine {name}`", {"onnxruntime": "onnx"}.get(name, name))
        return OTHERS[name](Interface.of(self.program), self.file, self.threads)

    def apart(self, engine: Engine) -> float:
        """The largest difference from the module, as the run remembers it. Raises `SpecError`
        (export-differs).
        """
        rows = str(self.rows)
        known = self._known("apart").get(rows, {}) if self._own is None else {}
        difference = known.get(engine.name)
        if difference is None:
            difference = compare(self.program, self.base, engine, trials(self.program, self.rows, self.sizes))
            self._remember("apart", {rows: {**known, engine.name: difference}})
        return float(difference)

    def fastest(self) -> tuple[Engine, list[str]]:
        seconds = self._known("seconds").get(str(self.rows))
        if seconds is not None:
            name = min(seconds, key=seconds.__getitem__)
            return (self.base if name == "torch" else self.engine(name)), [self._line(name, seconds)]
        engines: dict[str, Engine] = {"torch": self.base}
        lines = []
        for name in OTHERS:
            if find_spec(name) is None:
                continue
            try:
                engine = self.engine(name)
                self.apart(engine)
                engines[name] = engine
            except SpecError as error:
                lines.append(f"engine: not {name}: {error.diagnostics[0].message}")
        seconds = timed(engines, example_of(self.run, self.rows), self.threads)
        name = min(seconds, key=seconds.__getitem__)
        self._remember("seconds", {str(self.rows): seconds})
        return engines[name], [*lines, self._line(name, seconds)]

    def _line(self, name: str, seconds: Mapping[str, float]) -> str:
        others = ", ".join(f"{n} {1e3 * s:.3g} ms" for n, s in seconds.items())
        return f"engine: {name}, the fastest of {others} for {Trial(self.rows, self.sizes)}"

    def _known(self, what: str) -> dict[str, Any]:
        """The record of the run under the present key, by the number of rows and engine: differences
        (`apart`), or `seconds`.
        """
        about = self._recalled()
        return about.get(what, {}) if about.get("key") == self.key else {}

    def _remember(self, what: str, values: Mapping[str, Any]) -> None:
        if self.place is None or self._own is not None:
            return
        known = {name: self._known(name) for name in ("apart", "seconds")}
        with suppress(SpecError):  # it is measured again next time
            self._write(sha256=self._digest(), **{**known, what: {**known[what], **values}})

    def _write(self, **known: Any) -> None:
        """Writes what the run remembers. Raises `SpecError` (run-directory)."""
        assert self.place is not None
        remember(self._folder, kept_file(self.place, MEASURED_ENDING), {"key": self.key, **known})

    def _recalled(self) -> dict[str, Any]:
        """The record of the run; empty where it has code of its own, which may have changed since."""
        if self.place is None or any(True for _ in custom.files(self.program)):
            return {}
        return recall(self.run.path, kept_file(self.place, MEASURED_ENDING))


def usual_sizes(run: TrainedModel) -> dict[str, int]:
    """The named sizes of the timed arrays, as in the training data: the fastest engine depends on them."""
    known = {name: min(size, LONGEST) for name, size in run.lengths.items()}
    return devices.usual_sizes(run.program, run.program.minimum_sizes, known)


def example_of(run: TrainedModel, rows: int = 1) -> dict[str, Any]:
    """The arrays of so many usual rows, for `timed`."""
    tensors = run.program.example_inputs(rows, usual_sizes(run))
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def timed(engines: Mapping[str, Engine], example: Mapping[str, Any], threads: int) -> dict[str, float]:
    """The least seconds of a call of each, in turns, on so many threads. One thread is timed by the processor
    time of this process: what else runs on the machine decides nothing.
    """
    is_alone = threads == 1 and os.name == "posix"  # Windows counts processor time in ticks of 16 ms
    clock = time.process_time if is_alone else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in engines}
    until = time.perf_counter() + SECONDS * len(engines)
    for name in engines:
        engines[name](example)
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            began = clock()
            engine(example)
            taken[name].append(clock() - began)
        if time.perf_counter() > until:
            break
    return {name: min(times) for name, times in taken.items()}
