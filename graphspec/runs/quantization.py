"""int8 where the score holds: a trained model's products in integers, in the way that is fastest of those
that score on the validation data what the model in float32 scores.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from graphspec.data.batches import Shuffle
from graphspec.diagnostics import SpecError, fail
from graphspec.objectives.history import directions, loss_names
from graphspec.runs.agreement import Trial
from graphspec.runs.engine_module import EngineModule
from graphspec.runs.engines import Interface, OnnxEngine
from graphspec.runs.fastest import example_of, timed, usual_sizes
from graphspec.train import device as devices
from graphspec.train.custom import bound
from graphspec.train.loop import evaluate
from graphspec.train.objective import Objective

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders
    from graphspec.export import Exported
    from graphspec.export.int8 import Int8Writer
    from graphspec.runs.run import Run

CALIBRATION = 512
"""Training rows that show the ranges of what goes into a product."""
PROBE = 64
"""Rows of them on which layers are tried by themselves."""
GROUPS = 32
"""Groups of layers that are tried by themselves, at most."""
FLOAT = "float32"
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a model: its values on the validation data, the share by which the worst of them is worse
    than in float32, how many layers are left in float32 of how many, bytes, and seconds of a row.
    """

    name: str
    file: Path
    scores: Mapping[str, float]
    fall: float = 0.0
    floats: int = 0
    layers: int = 0
    bytes: int = 0
    seconds: float = math.nan

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "scores": dict(self.scores),
            "worse_by": self.fall,
            "layers_in_float32": self.floats,
            "layers": self.layers,
            "bytes": self.bytes,
            "seconds": None if math.isnan(self.seconds) else self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Quantized:
    """The written form, and all that were tried, the first in float32, with their scores and times."""

    exported: Exported
    forms: tuple[Form, ...]
    chosen: Form
    examples: int
    timed: Trial

    def to_json(self) -> dict[str, Any]:
        summary = {
            "chosen": self.chosen.name,
            "validation_examples": self.examples,
            "timed": str(self.timed),
            "forms": [form.to_json() for form in self.forms],
        }
        return {"quantized": summary}


def quantize(run: Run, path: Path, most: float, encoders: Encoders | None) -> Quantized:
    """Writes a run's model as ONNX with products of integers, with `encoders` one that reads columns. Of the
    forms whose values are worse by at most the share `most` it is the fastest.

    Raises `SpecError` (data-missing, score-falls, package-missing, export-failed).
    """
    from graphspec.export import export, onnx

    onnx.need_packages()
    from graphspec.export.int8 import shorten

    search = _FormSearch(run, most)

    def rewrite(written: Path) -> nn.Module:
        with tempfile.TemporaryDirectory(prefix="graphspec-int8-") as folder:
            chosen = search.among(written, Path(folder))
            shorten(chosen.file, written, written, len(search.engine(written).interface.outputs))
        return EngineModule(search.engine(written), [*search.program.inputs])

    with devices.computing(search.threads):
        exported = export(run.program, "onnx", path, 0, run.state(), encoders, logits=True, rewrite=rewrite)
    assert search.chosen is not None
    row = Trial(1, usual_sizes(run))
    return Quantized(exported, tuple(search.tried), search.chosen, len(search.validation), row)


class _FormSearch:
    """Tries forms of a model in float32, each scored on the validation data of its run."""

    def __init__(self, run: Run, most: float):
        from graphspec.runs.run import data_parts

        self.run, self.program, self.most = run, run.program, most
        self.threads = devices.threads(self.program)
        self.tried: list[Form] = []
        self.chosen: Form | None = None
        if self.program.data is None or run.files.synthetic:
            help = "train it on data with `validation`"
            raise fail("data-missing", "the run has no data to score the 8-bit model on", help)
        encoders = run.encoders()
        parts = data_parts(run, CPU, encoders=encoders)
        if "validation" not in parts:
            message = "the spec has no validation data to score the 8-bit model on"
            raise fail("data-missing", message, "name some: `data: {validation: {split: 0.2}}`")
        self.validation = parts["validation"]
        self.training = parts.get("training", self.validation)
        units = encoders.units() if encoders is not None else {}
        self.objective = Objective(self.program.inputs, bound(self.program, CPU), CPU, None, units)

    def engine(self, file: Path) -> OnnxEngine:
        return OnnxEngine(Interface.of(self.program), file, self.threads)

    def among(self, file: Path, folder: Path) -> Form:
        """The fastest form that holds. Raises `SpecError` (score-falls)."""
        base = Form(FLOAT, file, self._scores(file), bytes=file.stat().st_size)
        self.tried = [base]
        writers = self._writers(file, folder)
        held = [form for form in self.tried[1:] if form.fall <= self.most]
        if not held:
            forms = (self._by_layer(writer, folder) for writer in writers if len(writer.layers) > 1)
            held = [form for form in forms if form is not None]
        if not held:
            raise self._falls()
        engines = {form.name: self.engine(form.file) for form in (base, *held)}
        seconds = timed(engines, example_of(self.run), self.threads)
        self.tried = [replace(form, seconds=seconds.get(form.name, math.nan)) for form in self.tried]
        fastest = min((form.name for form in held), key=seconds.__getitem__)
        self.chosen = next(form for form in self.tried if form.name == fastest)
        return self.chosen

    def _writers(self, file: Path, folder: Path) -> list[Int8Writer]:
        """The ways to write integers that the model can take; each was tried with all layers. Raises
        `SpecError` (export-failed) where there is none.
        """
        from graphspec.export.failures import failing
        from graphspec.export.int8 import FAILURES, DynamicInt8, StaticInt8

        makers: tuple[Callable[[], Int8Writer], ...] = (
            lambda: DynamicInt8(file, folder),
            lambda: StaticInt8(file, folder, self._examples(CALIBRATION)),
        )
        writers, errors = [], []
        for make in makers:
            try:
                with failing(self.program, "onnxruntime cannot quantize the model", FAILURES):
                    writer = make()
                    if writer.layers:
                        self._form(writer, folder)
                        writers.append(writer)
            except SpecError as error:
                errors.append(error)
        if errors and not writers:
            raise errors[0]
        return writers

    def _form(self, writer: Int8Writer, folder: Path, floats: Sequence[str] = ()) -> Form:
        """Writes and scores a form."""
        name = f"{writer.name}, {len(floats)} in {FLOAT}" if floats else writer.name
        file = folder / f"{writer.name}-{len(floats)}.onnx"
        writer.write(file, floats)
        scores = self._scores(file)
        count = len(writer.layers)
        form = Form(name, file, scores, self._fall(scores), len(floats), count, file.stat().st_size)
        self.tried.append(form)
        return form

    def _by_layer(self, writer: Int8Writer, folder: Path) -> Form | None:
        """A form with the fewest of the layers in float32 that change the outputs most; None where even with
        half of them so it does not hold.
        """
        groups = self._sensitive_first(writer, folder)
        count = 1
        while 2 * count <= len(groups):
            form = self._form(writer, folder, [name for group in groups[:count] for name in group])
            if form.fall <= self.most:
                return form
            count *= 2
        return None

    def _sensitive_first(self, writer: Int8Writer, folder: Path) -> list[list[str]]:
        """The layers in groups of neighbours, those first that alone change the outputs most."""
        per = -(-len(writer.layers) // GROUPS)
        groups = [writer.layers[first : first + per] for first in range(0, len(writer.layers), per)]
        (probe,) = self._examples(PROBE, PROBE)
        expected = self.engine(self.tried[0].file)(probe)
        file, moved = folder / "probe.onnx", []
        for group in groups:
            writer.write(file, [name for name in writer.layers if name not in group])
            actual = self.engine(file)(probe)
            moved.append(sum(float(np.square(actual[key] - value).mean()) for key, value in expected.items()))
        return [groups[index] for index in sorted(range(len(groups)), key=lambda i: -moved[i])]

    def _examples(self, count: int, size: int | None = None) -> Iterator[Mapping[str, Any]]:
        """Inputs of the first `count` examples of the training's first epoch, batch by batch."""
        seen = 0
        order = Shuffle(self.program.training.seed, 0)
        for batch in self.training.batches(size or self.program.training.batch_size, order):
            yield {n: batch.arrays[n].numpy() for n in self.program.inputs if n in batch.arrays}
            seen += len(batch)
            if seen >= count:
                return

    def _scores(self, file: Path) -> dict[str, float]:
        """The metrics on the validation data; of a model without any, its loss."""
        module = EngineModule(self.engine(file), [*self.program.inputs])
        size = self.program.training.batch_size
        values = evaluate(self.objective, module, self.validation, size, "")
        numbers = {name: value for name, value in values.items() if isinstance(value, float)}
        losses = loss_names(self.program.outputs)
        return {n: v for n, v in numbers.items() if n not in losses} or {"loss": numbers["loss"]}

    @cached_property
    def _directions(self) -> Mapping[str, str]:
        return directions(self.program.outputs)

    def _fall(self, scores: Mapping[str, float]) -> float:
        """The share by which the worst value is worse than in float32; infinite where it is not finite."""
        worst = -math.inf
        for name, before in self.tried[0].scores.items():
            less = before - scores[name] if self._directions[name] == "up" else scores[name] - before
            part = 0.0 if less == 0 else less / max(abs(before), float(np.finfo(np.float32).tiny))
            worst = max(worst, math.inf if math.isnan(part) else part)
        return worst

    def _falls(self) -> SpecError:
        if len(self.tried) == 1:
            return fail(
                "not-supported",
                "the model has no product of weights for 8-bit integers",
            )
        best = min(self.tried[1:], key=lambda form: form.fall)
        before = self.tried[0].scores
        told = ", ".join(f"{name} {value:.4g} for {before[name]:.4g}" for name, value in best.scores.items())
        message = f"the 8-bit model is worse than `--max-loss` {self.most:g} allows: {told}"
        help = (
            f"the best of {len(self.tried) - 1} forms, {best.name}, is worse by {best.fall:.2g}: train longer"
        )
        return fail("score-falls", message, f"{help}, allow more, or write it without `--quantize`")
