"""The files that `build` writes: what they read, and the report on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from graphspec.cli.common import misuse, need_one_of

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders
    from graphspec.export import Exported
    from graphspec.export.columns import ColumnForm
    from graphspec.export.tracing import Range
    from graphspec.program import Program


LEARNED = "only a run has encoders for columns"


def check_inputs(inputs: str | None, spec: Path, format: str) -> None:
    """Refuses an `--inputs` that is unknown, or that a file of this format cannot have."""
    if inputs is None:
        return
    need_one_of(inputs, ("columns", "tensors"), "--inputs")
    if inputs == "columns" and format != "onnx":
        raise misuse("--inputs", "only an ONNX file reads columns")
    if inputs == "columns" and not spec.is_dir():
        raise misuse("--inputs", LEARNED, "name the directory of a run")


def encoders_of_run(path: Path, encoders: Encoders | None, inputs: str | None) -> Encoders | None:
    """The encoders of a run, which a file of columns must have."""
    if encoders is None and inputs == "columns":
        raise misuse("--inputs", f"{path} was trained on arrays, and has no columns")
    return encoders


def why_arrays(
    program: Program, encoders: Encoders | None, of_run: bool, format: str, inputs: str | None
) -> str | None:
    """Why a file has no encoders; None where it has some, and of a spec without columns."""
    if encoders is not None:
        return None
    if inputs == "tensors":
        return "`--inputs tensors` leaves the preprocessing out"
    if not of_run:
        columns = program.data is not None and program.data.features
        return f"{LEARNED}: build the directory of a run" if columns else None
    if format == "pt2":
        return "pt2 holds no preprocessing, but ONNX does"
    return "the run was trained on arrays, and has no columns; `predict` writes classes and probabilities"


def written(
    exported: Exported, weights: list[str], least: Mapping[str, int], why: str | None = None
) -> list[str]:
    """The report of an export; `least` are the smallest sizes that the spec takes, and `why` says why it has
    arrays for columns.
    """
    lines = [f"wrote {exported.file}"]
    if exported.free:
        free = ", ".join(_range(name, span) for name, span in exported.free.items())
        lines.append(f"dynamic sizes: {free}")
    for name, span in exported.free.items():
        if span.least > max(2, least.get(name, span.least)):  # PyTorch traces no size of 1
            lines.append(f"the spec takes {name} from {least[name]} on, the file only from {span.least} on")
    if exported.fixed:
        fixed = ", ".join(f"{name} = {size}" for name, size in exported.fixed.items())
        lines.append(f"fixed sizes: {fixed} (PyTorch cannot keep them dynamic)")
    lines += weights
    lines += columns_report(exported.form, why)
    for comparison in exported.comparisons:
        sizes = ", ".join(f"{name} {size}" for name, size in comparison.sizes.items())
        lines.append(f"equal to the module to {comparison.difference:.1e} at {sizes}")
    if exported.random:
        lines.append(f"random, so only their shapes are compared: {', '.join(exported.random)}")
    return lines


def columns_report(form: ColumnForm | None, why: str | None) -> list[str]:
    """Describes the columns of a file; of one that has arrays for columns, and `why`."""
    if form is None:
        return [] if why is None else [f"reads and returns the arrays of the model: {why}"]
    named = ", ".join(f"{name} ({_kind(form, name)})" for name in form.columns)
    lines = [f"reads columns: {named}"] if named else []
    lines += [f"needs {package} as well as onnxruntime" for package in form.needs]
    lines += [f"reads the array `{name}`: {reason}" for name, reason in form.outside.items()]
    returned = (f"{n} ({form.forecasts[n]} steps)" if n in form.forecasts else n for n in form.outputs)
    return [*lines, f"returns: {', '.join(returned)}"]


def _kind(form: ColumnForm, name: str) -> str:
    kind, steps = form.columns[name], form.steps.get(name)
    return kind if steps is None else f"{kind}, steps {steps[0]} to {steps[1]}"


def _range(name: str, span: Range) -> str:
    if span.most is not None:
        return f"{name} from {span.least} to {span.most}"
    return name if span.least == 1 else f"{name} from {span.least}"
