"""`build --fastest`, `--quantize`, `--triton`, `--huggingface`: a trained model as files that others run."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.cli.build_options import BuildAsked
from graphspec.cli.common import misuse, running, writing
from graphspec.cli.outputs import OVERWRITES, check_output, need_apart, need_place, of_format, read_by, write
from graphspec.cli.printing import answer, print_json, print_table, reporting
from graphspec.cli.written import check_inputs, columns_report, encoders_of_run, why_arrays
from graphspec.diagnostics.terminal import cells, columns, say
from graphspec.diagnostics.text import plain
from graphspec.files.stamps import stamped

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders
    from graphspec.export import Exported
    from graphspec.program import Program
    from graphspec.runs.quantization import Form, Quantized
    from graphspec.runs.run import Run

MAX_LOSS = 0.005
CONFIG, VERSION = "config.pbtxt", "1"
"""Of a model in Triton's repository: its configuration, and the folder with its first version."""


def deploy(asked: BuildAsked) -> None:
    """Writes the fastest form of a run, one of integers, or a folder of Hugging Face."""
    spec, output = asked.spec, asked.output
    option = "--huggingface" if asked.huggingface else "--fastest" if asked.fastest else "--quantize"
    for name, is_asked in (("--container", asked.container), ("--mlflow", asked.mlflow)):
        if is_asked and not asked.fastest:
            raise misuse(name, f"not with {option}")
    options = {
        **asked.given(),
        "--merge-adapters": asked.adapters,
        "--set": asked.settings,
        "--preset": asked.preset,
        "--fastest": asked.fastest and asked.huggingface,
        "--quantize": asked.quantize and option != "--quantize",
        "--triton": asked.triton and option != "--quantize",
        "--inputs": asked.inputs and asked.huggingface,
    }
    for name, value in options.items():
        if value not in (None, False, []):
            raise misuse(name, f"not with {option}")
    if asked.format not in (None, "onnx") or (asked.format is not None and option != "--quantize"):
        raise misuse("--format", f"{option} writes its own")
    if asked.huggingface:
        _huggingface(asked, _empty(output, asked.force))
        return
    check_inputs(asked.inputs, spec, "onnx")
    if asked.quantize is None and asked.max_loss is not None:
        raise misuse("--max-loss", "it belongs to --quantize int8")
    from graphspec.runs.shipping import CONTAINER, FILES, MLFLOW

    names = FILES + (CONTAINER if asked.container else ()) + (MLFLOW if asked.mlflow else ())
    path = _folder(output, asked.force, names) if asked.fastest else _file(asked, spec, output)

    with _trained(asked) as run:
        for file in map(path.joinpath, names) if asked.fastest else [path]:
            need_apart(file, [run.weights, *read_by(run.program)])
        encoders = None
        if asked.inputs != "tensors" and run.path.is_dir():
            encoders = encoders_of_run(run.path, run.encoders(), asked.inputs)
        why = why_arrays(run.program, encoders, run.path.is_dir(), "onnx", asked.inputs)
        if asked.fastest:
            _fastest(run, path, encoders, why, asked)
        else:
            _quantized(run, path, encoders, why, asked)


def _empty(output: str | None, force: bool) -> Path:
    """The folder of Hugging Face to write to: one with nothing in it, unless by `force`."""
    if output in (None, "-"):
        raise misuse("-o", "--huggingface writes several files", "name a folder")
    folder = Path(str(output))
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not force):
        raise misuse("-o", f"{folder} exists and is not an empty folder", OVERWRITES)
    return folder


def _huggingface(asked: BuildAsked, folder: Path) -> None:
    with _trained(asked) as run:
        from graphspec.convert.pytorch.to_huggingface import SavedTokenizer, save_huggingface
        from graphspec.generate.choosing import chosen
        from graphspec.generate.texts import Tokenized
        from graphspec.runs.generation import codec

        need_apart(folder / "model.safetensors", [run.weights, *read_by(run.program)])
        texts, tokens = codec(run.program, run.files, run.encoders()), None
        ends = texts.ends(chosen(run.program, {})[1].end)
        if isinstance(texts, Tokenized):
            tokens = SavedTokenizer(texts.tokenizer, texts.begin)
        saved = save_huggingface(run.program, run.module("cpu").state_dict(), folder, tokens, ends)
    lines = [f"wrote {folder}: {', '.join(saved.files)}"]
    lines += [f"{saved.kind}, whose logits are equal to {saved.difference:.1e}"]
    if tokens is None:
        lines.append("without a tokenizer: the model reads numbers of tokens")
    details: dict[str, Any] = {
        "files": list(saved.files),
        "class": saved.kind,
        "difference": saved.difference,
    }
    answer(asked.as_json, "\n".join(lines), format="huggingface", file=str(folder), **details)


def _folder(output: str | None, force: bool, names: tuple[str, ...]) -> Path:
    """The folder to write to: a new one, an empty one, one of ours, or what of one killed processes left."""
    from graphspec.files.whole import halves
    from graphspec.runs.packing import UNSTAMPED
    from graphspec.runs.shipping import is_shipped

    if output in (None, "-"):
        raise misuse("-o", "--fastest writes several files", "name a folder")
    folder = Path(str(output))
    if folder.is_file():
        raise misuse("-o", f"{folder} is a file, and --fastest writes several", "name a folder")
    for path in map(folder.joinpath, names):
        plain_text = path.name in UNSTAMPED and is_shipped(folder)
        check_output(path, of_format(path.suffix[1:] or "py"), force or plain_text)
    if not folder.is_dir() or force or is_shipped(folder):
        return folder
    left = {half for name in names for half in halves(folder / name)}
    left |= {path for name in names if (path := folder / name).is_file()}
    if not left.issuperset(folder.iterdir()):
        raise misuse("-o", f"{folder} holds files that graphspec did not write", "--force keeps these")
    return folder


def _file(asked: BuildAsked, spec: Path, output: str | None) -> Path:
    if asked.quantize != "int8":
        raise misuse("--quantize", f"{asked.quantize} is not int8")
    if asked.triton:
        return triton_file(output, asked.force)
    if output == "-":
        raise misuse("-o", "onnx is not text")
    path = Path(output or f"{spec.stem}.onnx")
    if path.suffix != ".onnx":
        raise misuse("-o", f"{path} does not end in .onnx")
    check_output(path, of_format("onnx"), asked.force)
    need_place(path)
    return path


def _fastest(run: Run, folder: Path, encoders: Encoders | None, why: str | None, asked: BuildAsked) -> None:
    from graphspec.runs.shipping import ship

    shipped = ship(run, folder, encoders, asked.container, asked.mlflow)
    lines = [f"wrote {folder}: {', '.join(shipped.files)}", *shipped.notes]
    lines += columns_report(shipped.form, why)
    details: dict[str, Any] = {} if why is None else {"tensors": why}
    answer(asked.as_json, "\n".join(lines), **shipped.to_json(), **details, notes=list(shipped.notes))


def _quantized(run: Run, path: Path, encoders: Encoders | None, why: str | None, asked: BuildAsked) -> None:
    """Writes a run as ONNX with integers, and shows what was tried."""
    from graphspec.runs.quantization import quantize

    most = MAX_LOSS if asked.max_loss is None else asked.max_loss
    with making(path.parent):
        with writing(path):
            done = quantize(run, path, most, encoders)
        config = write_config(run.program, path, done.exported, encoders) if asked.triton else None
    if asked.as_json:
        details = {} if why is None else {"tensors": why}
        print_json({"ok": True, **done.exported.to_json(), **done.to_json(), **details, "config": config})
        return
    say(f"wrote {path}" + (f" and {config}" if config is not None else ""))
    for line in columns_report(done.exported.form, why):
        say(line)
    _show(done)


def _show(done: Quantized) -> None:
    from rich.table import Table

    names = list(done.forms[0].scores)
    table = Table(*columns("form", *names, "worse by", "MB", "ms a row", ""))
    for form in done.forms:
        scores = [plain(form.scores[name]) for name in names]
        mark = "written" if form.name == done.chosen.name else ""
        fall = f"{form.fall:.2%}" if form.layers else ""
        table.add_row(*cells(_name(form), *scores, fall, f"{form.bytes / 1e6:.3g}", _ms(form.seconds), mark))
    print_table(table)
    say(f"scored on {done.examples:,} validation examples, timed on {done.timed}")


def _name(form: Form) -> str:
    return f"{form.name} of {form.layers} layers" if form.floats else form.name


def _ms(seconds: float) -> str:
    return "" if seconds != seconds else f"{1e3 * seconds:.3g}"


def write_config(program: Program, path: Path, exported: Exported, encoders: Encoders | None) -> str:
    """Writes Triton's configuration beside the folder of the version; its path."""
    from graphspec.export import example_arrays
    from graphspec.export.triton import config

    example = example_arrays(program, exported.form, encoders)
    needs = exported.form.needs if exported.form is not None else ()
    target = path.parent.parent / CONFIG
    write(target, stamped(config(path, exported.batched, example, needs)))
    return str(target)


def triton_file(output: str | None, force: bool) -> Path:
    """The file of the model's first version in a folder of Triton's repository, which `making` makes."""
    if output in (None, "-"):
        raise misuse("-o", "--triton writes a folder of Triton's model repository", "name it: `-o FOLDER`")
    folder = Path(str(output))
    if folder.suffix == ".onnx" or folder.is_file():
        raise misuse(
            "-o", f"--triton writes {CONFIG} and {VERSION}/model.onnx into a folder", "name a folder"
        )
    path = folder / VERSION / "model.onnx"
    there = next((parent for parent in path.parents if os.path.lexists(parent)), path)
    if not there.is_dir():
        raise misuse("-o", f"{folder} cannot be made: {there} is not a folder")
    for target, format in ((path, "onnx"), (folder / CONFIG, "pbtxt")):
        check_output(target, of_format(format), force)
    return path


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Makes a folder, and those on the way; those in which nothing is written are gone in the end."""
    new = [part for part in (folder, *folder.parents) if not os.path.exists(part)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise misuse("-o", f"{folder} cannot be made: {error.strerror or error}") from None
        yield
    finally:
        for part in new:
            if part.is_dir() and not any(part.iterdir()):
                part.rmdir()


@contextmanager
def _trained(asked: BuildAsked) -> Iterator[Run]:
    """The run, or the spec whose weights are in files; errors in it or in its use inside end the command."""
    from graphspec.runs.run import Run

    sources: dict[str, str] = {}
    gc.enable()
    with reporting(asked.as_json, sources):
        run = Run(asked.spec, asked.weights or "best", asked.allow or ())
        sources |= run.program.sources
        with running(run.program, "build-failed", "the forward pass fails", "try `build RUN` first"):
            yield run
