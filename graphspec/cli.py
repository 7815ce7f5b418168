"""The command line.

Only what every command needs is imported here: a command imports the rest, so that `check` starts fast.
"""

from __future__ import annotations

import gc
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

if TYPE_CHECKING:
    from graphspec.compiler import Program
    from graphspec.diagnostics import Diagnostic

app = typer.Typer(
    name="graphspec",
    help="Compile YAML specs to PyTorch modules, and train them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec file.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a param, or a dotted path such as train.epochs."
    ),
]
Preset = Annotated[str | None, typer.Option("--preset", metavar="NAME", help="Take a preset of the spec.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, and nothing else.")]


def main() -> None:
    """The entry point. Startup is most of what `check` costs: no plugin is sought, no garbage collected."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal without these letters is no reason to fail
    app()


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from graphspec import __version__

        typer.echo(f"graphspec {__version__}")
        raise typer.Exit


@app.command()
def check(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Spec files.")],
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Find every mistake that can be found without running."""
    from graphspec import compiler
    from graphspec.diagnostics import Diagnostics

    files, wrong, count = [], 0, 0
    sources: dict[str, str] = {}
    with _reporting(as_json, sources):
        values = _settings(settings, sources)
        for spec in specs:
            diagnostics = Diagnostics()
            compiler.check(spec, diagnostics, sources, preset=preset, settings=values)
            found = diagnostics.sorted()
            errors = sum(diagnostic.severity == "error" for diagnostic in found)
            wrong, count = wrong + bool(errors), count + errors
            files.append({"file": str(spec), "ok": not errors, "diagnostics": [d.to_json() for d in found]})
            if not as_json:
                _show(found, sources, sys.stdout)
                if not errors:
                    typer.echo(f"{spec}: ok")
        if as_json:
            _print_json({"ok": not wrong, "files": files})
        elif wrong:
            typer.echo(f"{_count(count, 'error')} in {_count(wrong, 'file')}")
        if wrong:
            raise typer.Exit(1)


@app.command()
def summary(
    spec: Spec,
    expand: Annotated[bool, typer.Option("--expand", help="Unfold blocks and models.")] = False,
    trainable: Annotated[bool, typer.Option("--trainable", help="Show what is trained.")] = False,
    flops: Annotated[bool, typer.Option("--flops", help="Show each node's forward FLOPs.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Show the bytes of each node's output.")] = False,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, metavar="N", help="Count costs for N examples, not for one."),
    ] = None,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Print layers, shapes, weights, connections and costs."""
    with _compiling(spec, settings, preset, as_json) as program:
        table = program.summary()
        if as_json:
            _print_json(table.to_json(expand, flops, memory, batch_size))
        else:
            typer.echo(table.render(expand, trainable, flops, memory, batch_size, _colors(sys.stdout)))


@app.command()
def build(
    spec: Spec,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where to, - for stdout. [default: SPEC's name in ., with .py]",
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="py", help="py: a Python file that needs torch only.")
    ] = "py",
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that graphspec did not write.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Without the forward pass: for models larger than memory.")
    ] = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Write the model as PyTorch, after one forward pass has proved it."""
    if format != "py":
        raise typer.BadParameter(f"this version writes py, not {format}", param_hint="--format")
    path = None if output == "-" else Path(output or f"{spec.stem}.py")
    if path is not None:
        _check_target(path, force)
    with _compiling(spec, settings, preset, as_json) as program:
        source = program.source
        if not no_check:
            help = "`--no-check` writes the file without running it"
            with _running(program, "build-failed", "the forward pass fails", help):
                program.module()(*program.example_inputs().values())
        if path is not None:
            _write(path, source)
        if as_json:
            _print_json({"ok": True, "file": str(path) if path else None, "source": None if path else source})
        else:
            typer.echo(f"wrote {path}" if path else source, nl=path is not None)


@app.command()
def train(
    spec: Spec,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Training data: .npz or .csv.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
    ] = "auto",
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="A new directory. [default: runs/NAME-N]")
    ] = None,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Train, and leave a run directory behind: spec, source, history and weights."""
    from graphspec.reporting import Report

    gc.enable()
    with _compiling(spec, settings, preset, as_json) as program:
        from graphspec.train.loop import Interrupted
        from graphspec.train.loop import train as run

        try:
            help = "if memory ran out, lower `train.batch_size` or the sizes of the model"
            with (
                Report(quiet=as_json) as report,
                _running(program, "run-failed", "training fails", help),
            ):
                result = run(
                    program, data=data, root=spec.parent, device=device, run_dir=run_dir, progress=report
                )
        except Interrupted as interrupted:
            typer.echo(str(interrupted), err=True)
            if as_json:
                _print_json(interrupted.result.to_json())
            raise typer.Exit(130) from None
        if as_json:
            _print_json(result.to_json())
        else:
            rate = f"{result.examples_per_second:,.0f} examples/s on {result.device}"
            typer.echo(f"{rate}, {result.seconds:.1f} s in all")
            typer.echo(f"run directory: {result.run_dir}")


@app.command()
def schema(as_json: Json = False) -> None:
    """Print a JSON Schema of specs, for editors."""
    from graphspec.json_schema import json_schema

    with _reporting(as_json, {}):
        _print_json(json_schema())


@app.command()
def layers(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A layer, merge or op to explain.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List all layers, merges and ops, or explain one."""
    from graphspec import reference

    with _reporting(as_json, {}):
        if name is None:
            entries = reference.entries()
            if as_json:
                _print_json({"layers": [entry.to_json() for entry in entries]})
            else:
                typer.echo(reference.listing(entries))
        else:
            found = reference.find(name)
            if as_json:
                _print_json({"layers": [entry.to_json() for entry in found]})
            else:
                typer.echo("\n\n".join(entry.text() for entry in found))


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The spec's name; the file is NAME.yaml.")],
    as_json: Json = False,
) -> None:
    """Write a small spec to start from."""
    from graphspec.reference import START

    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    with _reporting(as_json, {}):
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(START)
        except FileExistsError:
            raise typer.BadParameter(f"{path} exists already", param_hint="NAME") from None
        except OSError as error:
            raise typer.BadParameter(
                f"{path} cannot be written: {error.strerror}", param_hint="NAME"
            ) from None
        if as_json:
            _print_json({"ok": True, "file": str(path)})
        else:
            typer.echo(f"wrote {path}; next: graphspec summary {path}")


# --- what commands share


@contextmanager
def _compiling(
    spec: Path, settings: list[str] | None, preset: str | None, as_json: bool
) -> Iterator[Program]:
    """The program of a spec; its mistakes, and those of what is done with it, end the command."""
    from graphspec import compiler
    from graphspec.diagnostics import Diagnostics

    sources: dict[str, str] = {}
    with _reporting(as_json, sources):
        diagnostics = Diagnostics()
        program = compiler.check(
            spec, diagnostics, sources, preset=preset, settings=_settings(settings, sources)
        )
        diagnostics.raise_if_errors()
        assert program is not None
        if not as_json:
            _show(diagnostics.sorted(), sources, sys.stderr)
        yield program


@contextmanager
def _running(program: Program, code: str, what: str, help: str) -> Iterator[None]:
    """Turns what torch raises for a module into a diagnostic at the node whose code raised it."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:  # torch.OutOfMemoryError is a RuntimeError
        from graphspec.diagnostics import Diagnostic, SpecError
        from graphspec.load import place_of

        lines = str(error).strip().splitlines() or [type(error).__name__]
        message = f"{what}: {lines[0]}"
        raise SpecError([Diagnostic(code, message, place_of(program, error), help=help)]) from error


@contextmanager
def _reporting(as_json: bool, sources: Mapping[str, str]) -> Iterator[None]:
    """Turns what is wrong with a spec, its data or its run into diagnostics and exit code 1."""
    from graphspec.diagnostics import SpecError

    try:
        yield
    except SpecError as error:
        if as_json:
            _print_json(
                {"ok": False, "diagnostics": [diagnostic.to_json() for diagnostic in error.diagnostics]}
            )
        else:
            _show(error.diagnostics, sources, sys.stderr)
        raise typer.Exit(1) from None
    finally:
        sys.stdout.flush()  # a reader that has gone is found here, where typer is quiet about it


def _settings(pairs: Iterable[str] | None, sources: dict[str, str]) -> dict[str, Any]:
    """The values of `--set`, each read as YAML. Raises `SpecError` for what is not YAML."""
    from graphspec.diagnostics import Diagnostics
    from graphspec.source import read

    values: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"`{pair}` is not KEY=VALUE", param_hint="--set")
        diagnostics, file = Diagnostics(), f"--set {key}"
        sources[file] = f"value: {text}"
        document = read(sources[file], file, diagnostics)
        diagnostics.raise_if_errors()
        if document is None or set(document.value) != {"value"}:
            raise typer.BadParameter(f"`{text}` is not one value", param_hint="--set")
        values[key] = document.value["value"]
    return values


def _check_target(path: Path, force: bool) -> None:
    """Refuses to write over a file that this command did not write."""
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a directory", param_hint="-o")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no directory {path.parent}", param_hint="-o")
    if path.exists() and not force:
        with path.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(2000)
        if head and not re.match(r'"""[^"]+: [^"]+ -> [^"]+"""', head):  # as every emitted file begins
            raise typer.BadParameter(
                f"{path} exists and is not graphspec's; --force overwrites it", param_hint="-o"
            )


def _write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="-o") from None
    finally:
        temporary.unlink(missing_ok=True)


def _show(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], stream: TextIO) -> None:
    from graphspec.diagnostics import render

    for diagnostic in diagnostics:
        print(render(diagnostic, sources, _colors(stream)), end="\n\n", file=stream)


def _colors(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    main()
