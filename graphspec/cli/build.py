"""`build`: a spec's model as a file."""

from __future__ import annotations

import gc
import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import (
    Allow,
    Json,
    Preset,
    Set,
    answer,
    compiling,
    misuse,
    replacing,
    replacing_both,
    reporting,
    running,
)
from graphspec.cli.folding import Proved, prove, weights_target, write_weights

if TYPE_CHECKING:
    from graphspec.compiled_spec import Program
    from graphspec.data.encoders import Encoders
    from graphspec.export import Exported, Range
    from graphspec.export.columns import ColumnForm
    from graphspec.runs.directory import RunFiles

FORMATS = ("py", "pt2", "onnx")


OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Output file; - for stdout. [default: SPEC's name with the suffix of the format]",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="py|pt2|onnx",
        help="py: a Python file that needs torch only. pt2, onnx: weights and graph, for inference. "
        "[default: the suffix of FILE, or else py]",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="A .safetensors file of trained weights to write; of a run also best or last.",
    ),
]
InputsOption = Annotated[
    str | None,
    typer.Option(
        "--inputs",
        metavar="columns|tensors",
        help="What an ONNX file of a run reads: columns of its table, or arrays. [default: columns]",
    ),
]
SpecOrRun = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec file, or the directory of a run.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Seed of the weights that no file gives. [default: train.seed]"),
]
Fold = Annotated[
    bool,
    typer.Option(
        "--fold",
        help="Fold normalizations into the layer before, for inference. With py, weights go to another file.",
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Overwrite a file that graphspec did not write, or that was edited since."),
]
NoCheck = Annotated[
    bool, typer.Option("--no-check", help="Skip the forward pass: for models larger than memory.")
]
NoInplace = Annotated[
    bool,
    typer.Option(
        "--no-inplace",
        help="Emit no in-place activations: for hooks; training takes more memory.",
    ),
]
MergeAdapters = Annotated[
    Path | None,
    typer.Option(
        "--merge-adapters", metavar="RUN", help="Also write the weights, with the run's adapters merged."
    ),
]
Bundle = Annotated[
    bool,
    typer.Option("--bundle", help="Copy custom modules into the file, so that it needs only torch."),
]


def build(
    spec: SpecOrRun,
    output: OutputOption = None,
    format: FormatOption = None,
    weights: WeightsOption = None,
    inputs: InputsOption = None,
    seed: Seed = None,
    fold: Fold = False,
    force: Force = False,
    no_check: NoCheck = False,
    no_inplace: NoInplace = False,
    bundle: Bundle = False,
    adapters: MergeAdapters = None,
    allow: Allow = None,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Write the model as PyTorch or ONNX.

    The module runs once before it is written, and an export is compared with it. An ONNX file of a run also
    contains the preprocessing of its columns.

    Example: graphspec build specs/resnet50.yaml -o resnet50.py
    """
    format = _format_of(format, output)
    _check_options(format, output, weights, seed, no_check, fold)
    for given, option in ((no_inplace, "--no-inplace"), (bundle, "--bundle")):
        if given and (format != "py" or fold):
            raise misuse(option, "only for a Python file that is not folded")
    path = None if output == "-" else Path(output or f"{spec.stem}.{format}")
    if path is not None:
        check_target(path, format, force)
    files = _run_files(spec, format, inputs, as_json)
    if files is not None:
        spec, weights = files.spec, _weights_of(files, weights, format != "py" or fold, as_json)
    target = weights_target(path, weights, force) if fold and path is not None and format == "py" else None
    with compiling(spec, settings, preset, as_json, allow) as program:
        seed = program.training.seed if seed is None else seed
        if adapters is not None:
            weights = _merged(program, adapters, path, force)
        proved = prove(program, weights, seed, not no_check) if fold else None
        if path is not None and format != "py":
            encoders = None
            if files is not None and format == "onnx" and inputs != "tensors":
                encoders = _encoders(program, files, inputs)
            state = _adapted(program, files, weights) if files is not None else None
            _export(program, format, path, weights, seed, proved, as_json, encoders, state)
        elif path is not None and target is not None and proved is not None:
            _write_folded(path, target, weights, seed, proved, as_json)
        else:
            _write_python(program, path, not no_check, not no_inplace, bundle, as_json)


def _merged(program: Program, run: Path, path: Path | None, force: bool) -> Path:
    """The file, beside the module's, with the weights of a run and its adapters in them."""
    from graphspec.runs.run import Run

    if path is None:
        raise misuse("--merge-adapters", "it writes a file of weights next to FILE: name FILE with -o")
    target = path.with_suffix(".safetensors")
    if target.exists() and not force:
        raise misuse("-o", f"{target} exists; --force overwrites it")
    module = Run(run, allow=program.allow).module()
    with replacing(target) as temporary:
        write_weights(temporary, module)
    return target


def _run_files(spec: Path, format: str, inputs: str | None, as_json: bool) -> RunFiles | None:
    """The files of a run; None of a spec, which cannot read columns."""
    if inputs not in (None, "columns", "tensors"):
        raise misuse("--inputs", f"{inputs} is not one of columns, tensors")
    if inputs == "columns" and format != "onnx":
        raise misuse("--inputs", "only a file of ONNX reads columns")
    if not spec.is_dir():
        if inputs == "columns":
            raise misuse(
                "--inputs", "columns are encoded as a training has learned: name the directory of a run"
            )
        return None
    from graphspec.runs.directory import RunFiles

    with reporting(as_json, {}):
        return RunFiles(spec)


def _weights_of(files: RunFiles, weights: Path | None, needed: bool, as_json: bool) -> Path | None:
    """The weights of a run, its best ones unless others are named."""
    if weights is None and not needed:
        return None
    with reporting(as_json, {}):
        return files.weights(str(weights or "best"))


def _adapted(program: Program, files: RunFiles, weights: Path | None) -> Any:
    """The weights of a run with its adapters in them; None where it has none."""
    if not program.training.adapters or weights is None:
        return None
    from graphspec.runs.run import Run

    return Run(files.path, weights, program.allow).state()


def _encoders(program: Program, files: RunFiles, inputs: str | None) -> Encoders | None:
    """What the run has learned of its columns; None where it learned from arrays."""
    state = files.encoders(program)
    if state is None:
        if inputs == "columns":
            raise misuse("--inputs", f"{files.path} has learned from arrays, and has no columns")
        return None
    from graphspec.data.loading import encoders_of
    from graphspec.runs.model import needs_table

    found = encoders_of(program, state)
    if not needs_table(program, found):
        return found
    if inputs == "columns":
        raise misuse(
            "--inputs", "what it predicts needs other rows, or a scale of each row's own: write tensors"
        )
    return None


def _write_python(
    program: Program, path: Path | None, checked: bool, inplace: bool, bundle: bool, as_json: bool
) -> None:
    """Writes the source to a file, or to stdout, after its forward pass."""
    help = "`--no-check` writes the file without running it"
    with running(program, "build-failed", "the forward pass fails", help):
        if bundle:
            source = program.bundle(inplace, checked)
        else:
            source = program.emit(inplace).source
            if checked:
                program.prove(program.module(inplace=inplace))
    source = stamped(source)
    if path is not None:
        write(path, source)
    if path is None:
        answer(as_json, source, nl=False, file=None, source=source)
    else:
        answer(as_json, f"wrote {path}", file=str(path), source=None)


def _format_of(format: str | None, output: str | None) -> str:
    """The format that is given, or else that of the output file's suffix, without one Python. Refuses a
    format that is not known, a suffix of another one, and without a format a suffix that is not known.
    """
    suffix = Path(output or "").suffix.removeprefix(".")
    if format is None:
        if suffix and suffix not in FORMATS:
            message = f"{output} ends in none of .{', .'.join(FORMATS)}: give --format, or another name"
            raise misuse("-o", message)
        return suffix or "py"
    if format not in FORMATS:
        raise misuse("--format", f"{format} is not one of {', '.join(FORMATS)}")
    if suffix in FORMATS and suffix != format:
        raise misuse("-o", f"{output} would hold {format}: give --format {suffix}, or another name")
    return format


def _check_options(
    format: str, output: str | None, weights: Path | None, seed: int | None, no_check: bool, fold: bool
) -> None:
    """Refuses options that do not go together."""
    if format == "py" and fold:
        if output == "-":
            raise misuse("-o", "--fold also writes a file of weights, so name an output file")
    elif format == "py":
        for given, option in ((weights, "--weights"), (seed, "--seed")):
            if given is not None:
                raise misuse(option, "a Python file holds no weights; --fold writes them to a second file")
    elif no_check:
        raise misuse("--no-check", f"{format} is always compared with the module")
    elif output == "-":
        raise misuse("-o", f"{format} is not text")


def _write_folded(
    path: Path, target: Path, weights: Path | None, seed: int, proved: Proved, as_json: bool
) -> None:
    with replacing_both(target, path) as (tensors, text):
        write_weights(tensors, proved.module)
        text.write_text(stamped(proved.program.source), encoding="utf-8")
    lines = [f"wrote {path} and {target}", *proved.lines(), _origin(proved.program, weights, seed)]
    files: dict[str, Any] = {
        "file": str(path),
        "weights_file": str(target),
        "weights": None if weights is None else str(weights),
    }
    answer(as_json, "\n".join(lines), format="py", **files, seed=seed, fold=proved.to_json())


def _export(
    program: Program,
    format: str,
    path: Path,
    weights: Path | None,
    seed: int,
    proved: Proved | None,
    as_json: bool,
    encoders: Encoders | None = None,
    state: Any = None,
) -> None:
    from graphspec.export import export

    gc.enable()
    program = program if proved is None else proved.program
    with running(program, "build-failed", "the forward pass fails", "try `--format py` first"):
        try:
            exported = export(program, format, path, seed, weights if state is None else state, encoders)
        except OSError as error:
            raise misuse("-o", f"{path} cannot be written: {error.strerror or error}") from None
    given: dict[str, Any] = {"weights": None if weights is None else str(weights), "seed": seed}
    given |= {} if proved is None else {"fold": proved.to_json()}
    done = [] if proved is None else proved.lines()
    text = written(exported, [*done, _origin(program, weights, seed)], program.minimum_sizes)
    answer(as_json, "\n".join(text), format=format, **given, **exported.to_json())


def _origin(program: Program, weights: Path | None, seed: int) -> str:
    """The origin of the weights."""
    from graphspec.weights import weight_files

    if weights is not None:
        return f"weights: {weights}"
    spec = program.folding.program if program.folding is not None else program
    files = "the files that the spec names, others " if any(weight_files(spec.graph)) else ""
    return f"weights: {files}initialised from seed {seed}; --weights takes trained ones"


def written(exported: Exported, weights: list[str], least: Mapping[str, int]) -> list[str]:
    """The report of an export; `least` are the smallest sizes that the spec takes."""
    lines = [f"wrote {exported.file}"]
    if exported.free:
        free = ", ".join(_range(name, span) for name, span in exported.free.items())
        lines.append(f"dynamic sizes: {free}")
    for name, span in exported.free.items():
        if span.least > max(2, least.get(name, span.least)):  # PyTorch traces no size of 1
            lines.append(f"the spec takes {name} from {least[name]}; PyTorch's trace holds from {span.least}")
    if exported.fixed:
        fixed = ", ".join(f"{name} = {size}" for name, size in exported.fixed.items())
        lines.append(f"fixed sizes: {fixed} (PyTorch cannot keep them dynamic)")
    lines += weights
    if exported.form is not None:
        lines += columns_report(exported.form)
    for comparison in exported.comparisons:
        sizes = ", ".join(f"{name} {size}" for name, size in comparison.sizes.items())
        lines.append(f"equal to the module to {comparison.difference:.1e} at {sizes}")
    if exported.random:
        lines.append(f"random, so only their shapes are compared: {', '.join(exported.random)}")
    return lines


def columns_report(form: ColumnForm) -> list[str]:
    """What a file reads and returns."""
    named = ", ".join(f"{name} ({kind})" for name, kind in form.columns.items())
    lines = [f"reads columns: {named}"] if named else []
    lines += [f"reads the array `{name}`: {reason}" for name, reason in form.outside.items()]
    return [*lines, f"returns: {', '.join(form.outputs)}"]


def _range(name: str, span: Range) -> str:
    if span.most is not None:
        return f"{name} from {span.least} to {span.most}"
    return name if span.least == 1 else f"{name} from {span.least}"


def check_target(path: Path, format: str, force: bool) -> None:
    """Refuses to overwrite a file that this command did not write."""
    if path.is_dir():
        raise misuse("-o", f"{path} is a directory")
    if not path.parent.is_dir():
        raise misuse("-o", f"there is no directory {path.parent}")
    if not path.exists() or force:
        return
    if not _ours(path, format):
        raise misuse("-o", f"{path} exists and was not written by graphspec; --force overwrites it")
    if format == "py" and is_edited(path.read_text(encoding="utf-8", errors="replace")):
        raise misuse("-o", f"{path} was edited after graphspec wrote it; --force overwrites the edits")


def _ours(path: Path, format: str) -> bool:
    """Whether a file is empty, or starts like a file of this format from this command."""
    if format == "pt2" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/graphspec.json") for name in archive.namelist())
    with path.open("rb") as stream:
        head = stream.read(2000)
    if format == "onnx":
        return not head or b"graphspec" in head[:64]  # the producer's name
    return not head or head.startswith(b"# Made by graphspec ")


CHECKSUM = "A checksum, so that graphspec overwrites no edits:"
STAMP = re.compile(rf"^# (?:{CHECKSUM}|Its text has the checksum) ([0-9a-f]{{12}})\.?\n", re.MULTILINE)
"""The line of a checksum, and that of files of older versions."""


def stamped(source: str) -> str:
    """A Python file whose header holds a checksum of the rest, so that edits are seen."""
    header = re.match(r"(?:#.*\n)+", source)
    end = header.end() if header is not None else 0
    line = f"# {CHECKSUM} {_checksum(source)}\n"
    return source[:end] + line + source[end:]


def is_edited(source: str) -> bool:
    """Whether a file differs from the one that its checksum was made for, line endings aside."""
    found = STAMP.search(source)
    return found is not None and _checksum(source[: found.start()] + source[found.end() :]) != found[1]


def _checksum(source: str) -> str:
    return hashlib.sha256("\n".join(source.splitlines()).encode()).hexdigest()[:12]


def write(path: Path, text: str) -> None:
    """Writes a file completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
