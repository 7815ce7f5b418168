"""`build`: a spec's model as a file."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli import deploying
from graphspec.cli.common import (
    Allow,
    Json,
    Preset,
    Set,
    compiling,
    misuse,
    one_of,
    replacing,
    replacing_both,
    running,
    writing,
)
from graphspec.cli.folding import Proved, prove, weights_target, write_weights
from graphspec.cli.outputs import Force, check_output, need_apart_from, need_place, of_format, read_by, write
from graphspec.cli.printing import answer, reporting
from graphspec.cli.written import check_inputs, encoders_of_run, why_arrays, written
from graphspec.files.stamps import stamped

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders
    from graphspec.program import Program
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
    one_of(
        "--inputs",
        words="columns|tensors",
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
FIXED = "fixed"
Params = Annotated[
    str | None,
    typer.Option(
        "--params",
        metavar=FIXED,
        help="Write the params of the file as numbers; by default they are arguments of the model's class.",
    ),
]
MergeAdapters = Annotated[
    Path | None,
    typer.Option(
        "--merge-adapters", metavar="RUN", help="Also write the weights, with the run's adapters merged."
    ),
]
Fastest = Annotated[
    bool,
    typer.Option(
        "--fastest",
        help="Write the fastest form with equal outputs into the folder FILE, with Python that runs it.",
    ),
]
Huggingface = Annotated[
    bool,
    typer.Option(
        "--huggingface",
        help="Write a language model into the folder FILE, as AutoModelForCausalLM of transformers loads it.",
    ),
]
Container = Annotated[
    bool,
    typer.Option("--container", help="The same, with a Dockerfile and a server that needs no graphspec."),
]
Mlflow = Annotated[
    bool,
    typer.Option("--mlflow", help="The same, as a model that `mlflow.pyfunc` loads, with its signature."),
]
Quantize = Annotated[
    str | None,
    typer.Option("--quantize", metavar="int8", help="Write weights as 8-bit integers, if the score holds."),
]
MaxLoss = Annotated[
    float | None,
    typer.Option(
        "--max-loss",
        min=0.0,
        metavar="SHARE",
        help="The share by which a score on the validation data may be worse. [default: 0.005]",
    ),
]
Triton = Annotated[
    bool,
    typer.Option("--triton", help="Write ONNX into the folder FILE with a config.pbtxt for Triton."),
]
Step = Annotated[
    bool,
    typer.Option("--step", help="Write the next steps of a sequence, from states that the module keeps."),
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
    params: Params = None,
    bundle: Bundle = False,
    step: Step = False,
    adapters: MergeAdapters = None,
    fastest: Fastest = False,
    huggingface: Huggingface = False,
    container: Container = False,
    mlflow: Mlflow = False,
    quantize: Quantize = None,
    max_loss: MaxLoss = None,
    triton: Triton = False,
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
    given: dict[str, Any] = {"--seed": seed, "--fold": fold, "--no-check": no_check}
    given |= {"--no-inplace": no_inplace, "--bundle": bundle, "--params": params, "--step": step}
    if params not in (None, FIXED):
        raise misuse("--params", f"`{params}` is unknown: `fixed` writes params as numbers")
    fastest = fastest or ((container or mlflow) and quantize is None and not huggingface)
    if fastest or huggingface or quantize is not None or max_loss is not None:
        given |= {"--merge-adapters": adapters, "--set": settings, "--preset": preset}
        asked = deploying.Asked(
            fastest, huggingface, quantize, max_loss, triton, inputs, force, container, mlflow
        )
        deploying.deploy(asked, spec, weights, output, format, given, allow, as_json)
        return
    if triton:
        output = _triton_output(format, output, force)
    format = _format_of(format, output)
    _check_options(format, output, weights, given)
    path = None if output == "-" else Path(output or f"{spec.stem}.{format}")
    if path is not None:
        check_output(path, of_format(format), force, [spec if spec.is_file() else None, weights])
        if not triton:
            need_place(path)
    check_inputs(inputs, spec, format)
    files = _run_files(spec, as_json)
    if files is not None:
        spec, weights = files.spec, _weights_of(files, weights, format != "py" or fold, as_json)
    target = weights_target(path, weights, force) if fold and path is not None and format == "py" else None
    with compiling(spec, settings, preset, as_json, allow) as program:
        for each in (path, target):
            need_apart_from(program, each)
        seed = program.training.seed if seed is None else seed
        if adapters is not None:
            weights = _merged(program, adapters, path, force)
        proved = prove(program, weights, seed, not no_check) if fold else None
        if step and path is not None and format == "onnx":
            _export_step(program, path, weights, seed, as_json)
        elif path is not None and format != "py":
            _Export(format, path, files, inputs, triton).write(program, weights, seed, proved, as_json)
        elif path is not None and target is not None and proved is not None:
            _write_folded(path, target, weights, seed, proved, as_json)
        elif step:
            _write_step(program, path, not no_check, params == FIXED, as_json)
        else:
            _write_python(program, path, not no_check, not no_inplace, params == FIXED, bundle, as_json)


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


def _write_python(
    program: Program,
    path: Path | None,
    checked: bool,
    inplace: bool,
    fixed: bool,
    bundle: bool,
    as_json: bool,
) -> None:
    """Writes the source to a file, or to stdout, after its forward pass."""
    help = "`--no-check` writes the file without running it"
    with running(program, "build-failed", "the forward pass fails", help):
        if bundle:
            source = program.bundle(inplace, checked, fixed)
        else:
            source = program.emit(inplace, fixed=fixed).source
            if checked:
                program.prove(program.module(inplace=inplace, fixed=fixed))
    source = stamped(source)
    if path is not None:
        write(path, source)
    if path is None:
        answer(as_json, source, nl=False, file=None, source=source)
    else:
        answer(as_json, f"wrote {path}", file=str(path), source=None)


def _write_step(program: Program, path: Path | None, checked: bool, fixed: bool, as_json: bool) -> None:
    """Writes the source of a step to a file, or to stdout, after it was compared with the whole."""
    from graphspec.generate.proof import prove

    step, difference = program.step(), None
    with running(step, "build-failed", "the step fails", "`--no-check` writes the file without running it"):
        if checked:
            whole = program.module().eval()
            module = step.module(weights=whole.state_dict()).eval()
            difference = prove(program, step, module, whole)
    source = stamped(step.emit(fixed=fixed).source)
    if path is None:
        answer(as_json, source, nl=False, file=None, source=source, difference=difference)
        return
    write(path, source)
    same = "" if difference is None else f"\nequal to the whole to {difference:.1e}"
    answer(as_json, f"wrote {path}{same}", file=str(path), source=None, difference=difference)


def _export_step(program: Program, path: Path, weights: Path | None, seed: int, as_json: bool) -> None:
    """Writes a step as ONNX, with its states as inputs and outputs."""
    from graphspec.export.step import export_step

    with running(program, "build-failed", "the step fails", "try `--format py` first"):
        states, difference = export_step(program, path, weights, seed)
    text = f"wrote {path}\nequal to the whole to {difference:.1e}, in onnxruntime; {len(states)} states"
    answer(as_json, text, format="onnx", file=str(path), states=states, difference=difference)


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


def _check_options(
    format: str, output: str | None, weights: Path | None, given: Mapping[str, object]
) -> None:
    """Refuses options that do not go together. `given` are values by the names of their options."""
    fold = given["--fold"]
    if format == "py" and fold:
        if output == "-":
            raise misuse("-o", "--fold also writes a file of weights, so name an output file")
    elif format == "py":
        for option, value in (("--weights", weights), ("--seed", given["--seed"])):
            if value is not None:
                raise misuse(option, "a Python file holds no weights; --fold writes them to a second file")
    elif given["--no-check"]:
        raise misuse("--no-check", f"{format} is always compared with the module")
    elif output == "-":
        raise misuse("-o", f"{format} is not text")
    if given["--step"] and (format == "pt2" or fold):
        raise misuse("--step", "it writes py or onnx, and nothing is folded")
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
    inputs: str | None
    triton: bool

    def write(
        self, program: Program, weights: Path | None, seed: int, proved: Proved | None, as_json: bool
    ) -> None:
        from graphspec.export import export

        gc.enable()
        format, path = self.format, self.path
        encoders, state = self._encoders(program), self._adapted(program, weights)
        why = why_arrays(program, encoders, self.files is not None, format, self.inputs)
        program = program if proved is None else proved.program
        failure = "build-failed", "the forward pass fails", "try `--format py` first"
        with running(program, *failure), deploying.making(path.parent):
            with writing(path):
                exported = export(program, format, path, seed, weights if state is None else state, encoders)
            config = deploying.write_config(program, path, exported, encoders) if self.triton else None
        details: dict[str, Any] = {"weights": None if weights is None else str(weights), "seed": seed}
        details |= {} if config is None else {"config": config}
        details |= {} if why is None else {"tensors": why}
        details |= {} if proved is None else {"fold": proved.to_json()}
        done = [] if proved is None else proved.lines()
        done += [] if config is None else [f"wrote {config}"]
        text = written(exported, [*done, _origin(program, weights, seed)], program.minimum_sizes, why)
        answer(as_json, "\n".join(text), format=format, **details, **exported.to_json())

    def _encoders(self, program: Program) -> Encoders | None:
        """What the run has learned of its columns; None where the file reads arrays."""
        if self.files is None or self.format != "onnx" or self.inputs == "tensors":
            return None
        from graphspec.data.encoding import encoders_of

        state = self.files.encoders(program)
        encoders = encoders_of(program, state) if state is not None else None
        return encoders_of_run(self.files.path, encoders, self.inputs)

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
