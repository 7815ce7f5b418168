"""A program as a file that runs without its Python source: torch.export's `.pt2`, or ONNX.

The weights are part of the file. The batch and every size with a name stay free where PyTorch can leave them
free; what was written is read back, and compared with the module at other sizes than it was traced at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics import fail
from graphspec.diagnostics.arguments import checked
from graphspec.elaborated import returned
from graphspec.export import onnx, pt2
from graphspec.export.logits import Returning
from graphspec.export.operators import selected
from graphspec.export.proof import Comparison, drawn, prove
from graphspec.export.tracing import Range, Traced, axes, inputs_at, label, trace
from graphspec.files.whole import beside, put
from graphspec.tensor import BATCH
from graphspec.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from graphspec.data.encoders import Encoders
    from graphspec.export.columns import ColumnForm
    from graphspec.program import Program

FORMATS = ("pt2", "onnx")


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export."""

    file: Path
    free: dict[str, Range]
    """The dynamic sizes with their ranges, including `batch`."""
    fixed: dict[str, int]
    """The named sizes that PyTorch cannot keep dynamic, with their fixed values."""
    comparisons: tuple[Comparison, ...]
    """The comparisons with the module."""
    random: tuple[str, ...]
    """The outputs that depend on random draws, whose values were not compared."""
    form: ColumnForm | None = None
    """The columns that it reads and returns; None of a file that reads arrays."""

    @property
    def batched(self) -> bool:
        """Whether it takes any number of rows."""
        return BATCH in self.free

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.file),
            "free": {name: [span.least, span.most] for name, span in self.free.items()},
            "fixed": self.fixed,
            "comparisons": [
                {"sizes": comparison.sizes, "difference": comparison.difference}
                for comparison in self.comparisons
            ],
            "random": list(self.random),
            **({} if self.form is None else self.form.to_json()),
        }


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turns a failure to write into a diagnostic."""
    try:
        yield
    except OSError as error:
        raise fail("output-file", f"`{path}` cannot be written: {error.strerror or error}") from None


@checked
def export(
    program: Program,
    format: str,
    path: str | Path,
    seed: int = 0,
    weights: str | Path | Mapping[str, Any] | None = None,
    encoders: Encoders | None = None,
    logits: bool = False,
    rewrite: Callable[[Path], nn.Module] | None = None,
) -> Exported:
    """Writes a program for inference to `path`, with the weights of a `.safetensors` file, or a mapping of
    them, or else freshly initialised ones. With the `encoders` of its run, a file of ONNX reads columns and
    returns labels and numbers in their units. With `logits` a file also returns, after the outputs, what
    losses read: logits and masks. `rewrite` is given the file of ONNX when it is proven, may write another
    one, and returns a module of which it takes the place.

    Nothing is left at `path` unless the file computes what the module computes. Raises `SpecError`.
    """
    path = Path(path)
    if format not in FORMATS:
        raise fail("out-of-range", f"`format` is {format!r}, but must be 'pt2' or 'onnx'")
    if not path.name or path.is_dir():
        raise fail("output-file", f"`{path}` is a folder", "name a file in it")
    _check_traceable(program)
    if format == "onnx":
        onnx.need_packages()
    module = program.module(seed=seed, weights=weights).eval().requires_grad_(False)
    exportable = program.module(exporting=True).eval().requires_grad_(False)
    exportable.load_state_dict(module.state_dict())
    losses = [output.loss for output in program.outputs.values() if output.loss is not None]
    answers = format == "onnx" and any(loss.answers for loss in losses)
    logits = logits and (program.takes_logits or answers)
    if logits or answers:
        module = Returning(program, module, logits).eval()
        exportable = Returning(program, exportable, logits, selected).eval()
    traced = trace(program, exportable)
    named = axes(program, module)
    description = json.dumps(_description(program, traced))
    inputs = list(inputs_at(program, traced.example).values())
    draws = drawn(program, module, inputs)
    with _telling(path), beside(path) as folder:
        written = folder / path.name
        if format == "onnx":
            run = onnx.write(program, traced, named, returned(program.outputs, logits), description, written)
        else:
            run = pt2.write(program, traced, named, description, written)
        uncompared = draws if format == "onnx" else []  # torch draws the same numbers from the same seed
        comparisons = prove(program, module, traced, run, uncompared)
        form = None
        if rewrite is not None:
            module = rewrite(written)
        if encoders is not None and format == "onnx":
            form = _of_columns(program, module, encoders, written, traced, bool(draws))
        for part in sorted(folder.iterdir(), reverse=True):  # first weights too large for one file
            put(part, path.parent / part.name)
    free = {label(name): span for name, span in traced.free.items()}
    fixed = {label(name): size for name, size in traced.fixed.items()}
    return Exported(path, free, fixed, tuple(comparisons), tuple(uncompared), form)


def _check_traceable(program: Program) -> None:
    """Raises `SpecError` (export-failed) at a node that torch.export cannot trace."""
    for op in program.graph.walk():
        if op.present and op.wrapper is not None and not op.wrapper.exports:
            message = f"`{op.name}` is of `{op.wrapper.spec_name}`, which torch.export cannot trace"
            help = (
                "write a spec of the part to serve, its nodes under the same names, and build it with the "
                "weights of this one: `graphspec build PART.yaml --weights RUN/last.safetensors`"
            )
            raise fail("export-failed", message, help, span=op.span)


def example_arrays(program: Program, form: ColumnForm | None, encoders: Encoders | None) -> dict[str, Any]:
    """Arrays of one row that a file takes: with a `form` those of its columns, of values that the encoders
    know.
    """
    arrays = {name: tensor.numpy() for name, tensor in program.example_inputs(1).items()}
    if form is None or encoders is None:
        return arrays
    from graphspec.export.columns.proof import example_row, feed

    columns = feed(form.columns, [example_row(encoders, form)])
    return columns | {name: arrays[name] for name in form.outside}


def _of_columns(
    program: Program, module: nn.Module, encoders: Encoders, path: Path, traced: Traced, random: bool
) -> ColumnForm:
    """Puts the encoders into the file, and compares it with them. Raises `SpecError` (export-differs)."""
    from graphspec.export.columns import with_columns
    from graphspec.export.columns.proof import prove_columns

    form = with_columns(program, encoders, path, traced.free)
    if not random:
        run = onnx.session_of(program, path, bool(form.needs))
        prove_columns(program, module, encoders, form, run, traced)
    return form


def _description(program: Program, traced: Traced) -> dict[str, Any]:
    """The description inside the file: the types of inputs and outputs, and the ranges of their sizes."""
    return {
        "graphspec": __version__,
        "name": program.name,
        "inputs": {name: label(str(tensor)) for name, tensor in program.inputs.items()},
        "outputs": list(program.outputs),
        "free": {label(name): [span.least, span.most] for name, span in traced.free.items()},
        "fixed": {label(name): size for name, size in traced.fixed.items()},
    }
