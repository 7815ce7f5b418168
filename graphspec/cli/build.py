"""`build`: a spec's model as a file."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.cli import deploying
from graphspec.cli.build_options import BuildAsked
from graphspec.cli.common import (
    compiling,
    misuse,
    replacing,
    replacing_both,
    running,
    taking,
    writing,
)
from graphspec.cli.folding import Proved, prove, weights_target, write_weights
from graphspec.cli.outputs import check_output, need_apart_from, need_place, of_format, read_by, write
from graphspec.cli.printing import answer, reporting
from graphspec.cli.written import check_inputs, encoders_of_run, why_arrays, written
from graphspec.files.stamps import stamped

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders
    from graphspec.program import Program
    from graphspec.runs.directory import RunFiles
from graphspec.cli.build_options import (
    FIXED,
    FORMATS,
)


@taking(BuildAsked)
def build(asked: BuildAsked) -> None:
    """Write the model as PyTorch or ONNX.

    The module runs once before it is written, and an export is compared with it. An ONNX file of a run also
    contains the preprocessing of its columns.

    Example: graphspec build specs/resnet50.yaml -o resnet50.py
    """
    if asked.params not in (None, FIXED):
        raise misuse("--params", f"`{asked.params}` is unknown: `fixed` writes params as numbers")
    if asked.deploys:
        deploying.deploy(asked)
        return
    if asked.triton:
        asked.output = _triton_output(asked.format, asked.output, asked.force)
    format = _format_of(asked.format, asked.output)
    _check_options(asked, format)
    spec, weights, fold = asked.spec, asked.weights, asked.fold
    path = None if asked.output == "-" else Path(asked.output or f"{spec.stem}.{format}")
    if path is not None:
        check_output(path, of_format(format), asked.force, [spec if spec.is_file() else None, weights])
        if not asked.triton:
            need_place(path)
    check_inputs(asked.inputs, spec, format)
    files = _run_files(spec, asked.as_json)
    if files is not None:
        spec, weights = files.spec, _weights_of(files, weights, format != "py" or fold, asked.as_json)
    folded = fold and path is not None and format == "py"
    target = weights_target(path, weights, asked.force) if folded and path is not None else None
    with compiling(spec, asked.settings, asked.preset, asked.as_json, asked.allow) as program:
        for each in (path, target):
            need_apart_from(program, each)
        seed = program.training.seed if asked.seed is None else asked.seed
        if asked.adapters is not None:
            weights = _merged(program, asked.adapters, path, asked.force)
        proved = prove(program, weights, seed, not asked.no_check) if fold else None
        if asked.step and path is not None and format != "py":
            _export_step(program, format, path, weights, seed, asked)
        elif path is not None and format != "py":
            _Export(format, path, files, asked).write(program, weights, seed, proved)
        elif path is not None and target is not None and proved is not None:
            _write_folded(path, target, weights, seed, proved, asked.as_json)
        elif asked.step:
            _write_step(program, path, asked)
        else:
            _write_python(program, path, asked)


def _merged(program: Program, run: Path, path: Path | None, force: bool) -> Path:
    """The file, beside the module's, with the weights of a run and its adapters in them."""
    from graphspec.runs.run import Run

    if path is None:
        raise misuse("--merge-adapters", "it writes a file of weights next to FILE", "name FILE with -o")
    target = path.with_suffix(".safetensors")
    check_output(target, None, force, read_by(program))
    trained = Run(run, allow=program.allow)
    if not trained.program.training.adapters:
        raise misuse("--merge-adapters", f"{run} has no adapters; its weights are {trained.weights}")
    module = trained.module()
    with replacing(target) as temporary:
        write_weights(temporary, module)
    return target


def _run_files(spec: Path, as_json: bool) -> RunFiles | None:
    """The files of a run; None of a spec."""
    if not spec.is_dir():
        return None
    from graphspec.runs.directory import RunFiles

    with reporting(as_json):
        return RunFiles(spec)


def _weights_of(files: RunFiles, weights: Path | None, needed: bool, as_json: bool) -> Path | None:
    """The weights of a run, its best ones unless others are named."""
    if weights is None and not needed:
        return None
    with reporting(as_json):
        return files.weights(str(weights or "best"))


def _write_python(program: Program, path: Path | None, asked: BuildAsked) -> None:
    """Writes the source to a file, or to stdout, after its forward pass."""
    checked, inplace, fixed = not asked.no_check, not asked.no_inplace, asked.params == FIXED
    help = "`--no-check` writes the file without running it"
    with running(program, "build-failed", "the forward pass fails", help):
        if asked.bundle:
            source = program.bundle(inplace, checked, fixed)
        else:
            source = program.emit(inplace, fixed=fixed).source
            if checked:
                program.prove(program.module(inplace=inplace, fixed=fixed))
    source = stamped(source)
    if path is not None:
        write(path, source)
    if path is None:
        answer(asked.as_json, source, nl=False, file=None, source=source)
    else:
        answer(asked.as_json, f"wrote {path}", file=str(path), source=None)


def _write_step(program: Program, path: Path | None, asked: BuildAsked) -> None:
    """Writes the source of a step to a file, or to stdout, after it was compared with the whole; that of its
    encoder to a second file.
    """
    from graphspec.generate.proof import prove

    step, difference = program.step(encoded=True), None
    encoder = step.encoder
    second = _encoder_file(step, path, asked.force)
    with running(step, "build-failed", "the step fails", "`--no-check` writes the file without running it"):
        if not asked.no_check:
            whole = program.module().eval()
            weights = whole.state_dict()
            module = step.module(weights=weights).eval()
            encoding = None if encoder is None else encoder.module(weights=weights).eval()
            difference = prove(program, step, module, whole, encoding)
    fixed = asked.params == FIXED
    source = stamped(step.emit(fixed=fixed).source)
    if path is None:
        answer(asked.as_json, source, nl=False, file=None, source=source, difference=difference)
        return
    if encoder is not None and second is not None:
        with replacing_both(second, path) as (temporary, text):
            temporary.write_text(stamped(encoder.emit(fixed=fixed).source), encoding="utf-8")
            text.write_text(source, encoding="utf-8")
    else:
        write(path, source)
    same = "" if difference is None else f"\nequal to the whole to {difference:.1e}"
    files: dict[str, Any] = {"file": str(path), "encoder": None if second is None else str(second)}
    answer(asked.as_json, f"{_wrote(path, second)}{same}", **files, source=None, difference=difference)


def _encoder_file(step: Program, path: Path | None, force: bool) -> Path | None:
    """The file of a step's encoder; None where it has none."""
    if step.encoder is None:
        return None
    if path is None:
        message = "the model has an encoder, which is a second file"
        raise misuse("-o", message, "name the file of the step: `-o step.py`")
    second = path.with_name(f"{path.stem}_encoder{path.suffix}")
    check_output(second, of_format(path.suffix.removeprefix(".")), force, read_by(step))
    return second


def _wrote(path: Path, second: Path | None) -> str:
    return f"wrote {path}" + ("" if second is None else f"\nwrote {second}, for what is computed once")


def _export_step(
    program: Program, format: str, path: Path, weights: Path | None, seed: int, asked: BuildAsked
) -> None:
    """Writes a step as ONNX or for torch.export, with its states as inputs and outputs."""
    from graphspec.export.step import export_step

    second = _encoder_file(program.step(encoded=True), path, asked.force)
    with running(program, "build-failed", "the step fails", "try `--format py` first"):
        made = export_step(program, format, path, weights, seed, second)
    engine = "onnxruntime" if format == "onnx" else "torch.export"
    text = f"{_wrote(path, second)}\nequal to the whole to {made.difference:.1e}, in {engine}; "
    answer(asked.as_json, f"{text}{len(made.states)} states", format=format, **made.to_json())


def _triton_output(format: str | None, output: str | None, force: bool) -> str:
    if format not in (None, "onnx"):
        raise misuse("--format", f"--triton writes onnx, not {format}")
    return str(deploying.triton_file(output, force))


def _format_of(format: str | None, output: str | None) -> str:
    """The format that is given, or else that of the output file's suffix, without one Python. Refuses a
    format that is not known, a suffix of another one, and without a format a suffix that is not known.
    """
    suffix = Path(output or "").suffix.removeprefix(".")
    if format is None:
        if suffix and suffix not in FORMATS:
            message = f"{output} ends in none of .{', .'.join(FORMATS)}"
            raise misuse("-o", message, "give --format, or another name")
        return suffix or "py"
    if format not in FORMATS:
        raise misuse("--format", f"{format} is not one of {', '.join(FORMATS)}")
    if suffix in FORMATS and suffix != format:
        raise misuse("-o", f"{output} would hold {format}", f"give --format {suffix}, or another name")
    return format


def _check_options(asked: BuildAsked, format: str) -> None:
    """Refuses options that do not go together."""
    fold, output, given = asked.fold, asked.output, asked.given()
    if format == "py" and fold:
        if output == "-":
            raise misuse("-o", "--fold also writes a file of weights, so name an output file")
    elif format == "py":
        for option, value in (("--weights", asked.weights), ("--seed", given["--seed"])):
            if value is not None:
                raise misuse(option, "a Python file holds no weights; --fold writes them to a second file")
    elif given["--no-check"]:
        raise misuse("--no-check", f"{format} is always compared with the module")
    elif output == "-":
        raise misuse("-o", f"{format} is not text")
    if given["--step"] and fold:
        raise misuse("--step", "nothing of a step is folded")
    for option in ("--no-inplace", "--bundle", "--params"):
        if given[option] and (format != "py" or fold):
            raise misuse(option, "only for a Python file that is not folded")
        if given[option] and given["--step"] and option != "--params":
            raise misuse(option, "not with --step")


def _write_folded(
    path: Path, target: Path, weights: Path | None, seed: int, proved: Proved, as_json: bool
) -> None:
    with replacing_both(target, path) as (tensors, text):
        write_weights(tensors, proved.module, folded=True)
        text.write_text(stamped(proved.program.source), encoding="utf-8")
    lines = [f"wrote {path} and {target}", *proved.lines(), _origin(proved.program, weights, seed)]
    files: dict[str, Any] = {
        "file": str(path),
        "weights_file": str(target),
        "weights": None if weights is None else str(weights),
    }
    answer(as_json, "\n".join(lines), format="py", **files, seed=seed, fold=proved.to_json())


@dataclass(frozen=True, slots=True)
class _Export:
    """A file of weights and graph. `files` are those of a run, which has learned of its columns."""

    format: str
    path: Path
    files: RunFiles | None
    asked: BuildAsked

    def write(self, program: Program, weights: Path | None, seed: int, proved: Proved | None) -> None:
        from graphspec.export import export

        gc.enable()
        format, path = self.format, self.path
        encoders, state = self._encoders(program), self._adapted(program, weights)
        why = why_arrays(program, encoders, self.files is not None, format, self.asked.inputs)
        program = program if proved is None else proved.program
        failure = "build-failed", "the forward pass fails", "try `--format py` first"
        with running(program, *failure), deploying.making(path.parent):
            with writing(path):
                exported = export(program, format, path, seed, weights if state is None else state, encoders)
            config = deploying.write_config(program, path, exported, encoders) if self.asked.triton else None
        details: dict[str, Any] = {"weights": None if weights is None else str(weights), "seed": seed}
        details |= {} if config is None else {"config": config}
        details |= {} if why is None else {"tensors": why}
        details |= {} if proved is None else {"fold": proved.to_json()}
        done = [] if proved is None else proved.lines()
        done += [] if config is None else [f"wrote {config}"]
        text = written(exported, [*done, _origin(program, weights, seed)], program.minimum_sizes, why)
        answer(self.asked.as_json, "\n".join(text), format=format, **details, **exported.to_json())

    def _encoders(self, program: Program) -> Encoders | None:
        """What the run has learned of its columns; None where the file reads arrays."""
        if self.files is None or self.format != "onnx" or self.asked.inputs == "tensors":
            return None
        from graphspec.data.encoding import encoders_of

        state = self.files.encoders(program)
        encoders = encoders_of(program, state) if state is not None else None
        return encoders_of_run(self.files.path, encoders, self.asked.inputs)

    def _adapted(self, program: Program, weights: Path | None) -> Any:
        """The weights of a run with its adapters in them; None where it has none."""
        if self.files is None or not program.training.adapters or weights is None:
            return None
        from graphspec.runs.run import Run

        return Run(self.files.path, weights, program.allow).state()


def _origin(program: Program, weights: Path | None, seed: int) -> str:
    """The origin of the weights."""
    from graphspec.weights import weight_files

    if weights is not None:
        return f"weights: {weights}"
    spec = program.folding.program if program.folding is not None else program
    files = "the files that the spec names, others " if any(weight_files(spec.graph)) else ""
    return f"weights: {files}initialised from seed {seed}; --weights takes trained ones"
