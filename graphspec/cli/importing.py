"""`import`: models of Keras and PyTorch as specs and their weights, compared with the original."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import Allow, ExplainingGroup, Json, ProgressOption, events, misuse
from graphspec.cli.help import GroupedCommand
from graphspec.cli.outputs import check_output, write
from graphspec.cli.printing import print_json, reporting
from graphspec.diagnostics.terminal import say

if TYPE_CHECKING:
    from graphspec.convert import Imported
    from graphspec.convert.pytorch.result import FromTorch

TOLERANCE = 1e-4
"""Of the largest output: what float32 may differ by in another order of sums, and no more."""


class Sources(ExplainingGroup):
    """Sources of imports: one command for each kind of file."""

    def unknown(self, args: list[str]) -> tuple[str, str | None]:
        from graphspec.cli.usage import unknown_source

        return unknown_source(args[0])


app = typer.Typer(
    name="import",
    cls=Sources,
    no_args_is_help=True,
    help="Convert models of other frameworks to specs and weights.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Convert models of other frameworks to specs and weights."""


Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="Directory for NAME.yaml and NAME.safetensors.")
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the files.")]
Flat = Annotated[bool, typer.Option("--flat", help="Write a node for each layer, without blocks.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]


@app.command(cls=GroupedCommand)
def keras(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .keras archive, an .h5 model, or model.to_json().")
    ],
    output: Output = Path("."),
    allow: Allow = None,
    flat: Flat = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not compare the model with Keras, if Keras is installed.")
    ] = False,
    force: Force = False,
    progress: ProgressOption = "auto",
    as_json: Json = False,
) -> None:
    """Write a Keras model as a spec and its weights.

    Keras itself is not needed.

    Example: graphspec import keras model.keras -o models
    """
    tell = events(progress)
    with reporting(as_json):
        from graphspec.convert import import_keras

        tell("stage", name="read")
        imported = import_keras(file, flat, allow or ())
        if not no_check:
            tell("stage", name="compare")
        difference, why = (None, "--no-check") if no_check else _compared(file, imported)
        tell("stage", name="write")
        spec, weights = _write(imported, output, force, file)
    summary = imported.program.summary()
    lines = len(imported.text.splitlines())
    if as_json:
        files = {"file": str(spec), "weights_file": None if weights is None else str(weights)}
        counts = {"lines": lines, "parameters": summary.total_params}
        print_json({"ok": True, **files, **counts, "difference": difference, "notes": list(imported.notes)})
        return
    say(f"wrote {spec}, {lines} lines" + (f", and {weights}" if weights is not None else ""))
    say(f"{summary.total_params:,} parameters")
    proved = f"equal to Keras to {difference:.1e} on random input" if difference is not None else why
    say(proved if difference is not None else f"not compared with Keras: {proved}")
    for note in imported.notes:
        say(f"note: {note}")


@app.command(cls=GroupedCommand)
def torch(
    target: Annotated[
        str, typer.Argument(metavar="PKG:CALLABLE", help="A class or function that returns the module.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME: {shape: ...}", help="An input of `forward`, without the batch."
        ),
    ] = None,
    allow: Allow = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="A file with a state dict of the module.")
    ] = None,
    output: Output = Path("."),
    name: Name = None,
    flat: Flat = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not compare the spec with the module.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a PyTorch module as a spec and its weights.

    The package is imported with --allow alone. The module and the spec are run and compared.

    Example: graphspec import torch my_model:Net --allow my_model --input "x: {shape: [3, 32, 32]}" -o models
    """
    with reporting(as_json):
        from graphspec.convert.pytorch import from_torch
        from graphspec.convert.pytorch.asked import BadOption, inputs_of, load, module_of

        try:
            known = inputs_of(inputs) if inputs else None
            module = module_of(target, allow or [])
            examples, shapes = known or inputs_of([])
        except BadOption as error:
            raise misuse(error.option, error.message) from None
        if weights is not None:
            load(module, weights)
        imported = from_torch(module, examples, dynamic=shapes, name=name, flat=flat, check=not no_check)
        spec, tensors = _write(imported, output, force, weights)
    _tell_torch(imported, spec, tensors, as_json)


@app.command(cls=GroupedCommand)
def huggingface(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that `save_pretrained` wrote.")],
    output: Output = Path("."),
    name: Name = None,
    flat: Flat = False,
    no_shipped: Annotated[
        bool, typer.Option("--no-shipped", help="Convert the class even if the gallery has its spec.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not compare the spec with the model.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a Hugging Face model as a spec and its weights.

    The model is loaded with its class of transformers; no code in the folder is run. Its tokenizer is copied.

    Example: graphspec import huggingface bert-base-uncased/ -o models
    """
    with reporting(as_json):
        from graphspec.convert.pytorch.huggingface import import_huggingface

        imported = import_huggingface(
            folder, name=name, flat=flat, check=not no_check, shipped=not no_shipped
        )
        tokenizer = folder / "tokenizer.json"
        copied, content = output / "tokenizer.json", tokenizer.read_bytes() if tokenizer.is_file() else None
        if content is not None and copied.is_file() and copied.read_bytes() != content and not force:
            copied = output / f"{imported.name}.tokenizer.json"  # beside that of another model
        copies = content is not None and not (copied.is_file() and copied.read_bytes() == content)
        if copies:
            check_output(copied, None, force, [folder])
        spec, tensors = _write(imported, output, force, folder)
        if copies and content is not None:
            write(copied, content)
    _tell_torch(imported, spec, tensors, as_json)


def _tell_torch(imported: FromTorch, spec: Path, weights: Path | None, as_json: bool) -> None:
    """The report of an import from PyTorch."""
    lines, total = len(imported.text.splitlines()), imported.program.summary().total_params
    proved = imported.proved
    if as_json:
        facts: dict[str, Any] = {"file": str(spec), "weights_file": str(weights), "lines": lines}
        facts |= {"parameters": total, "difference": proved.outputs if proved else None}
        facts |= {"loss_difference": proved.loss if proved else None}
        facts |= {"gradient_difference": proved.gradient if proved else None}
        table = [dict(zip(("module", "class", "became"), row, strict=True)) for row in imported.rows]
        print_json({"ok": True, **facts, "modules": table, "notes": list(imported.notes)})
        return
    wide = [max(len(row[k]) for row in imported.rows) for k in (0, 1)]
    for path, kind, became in imported.rows:
        say(f"{path:<{wide[0]}}  {kind:<{wide[1]}}  {became}".rstrip())
    say(f"wrote {spec}, {lines} lines, and {weights}")
    say(f"{total:,} parameters")
    if proved is None:
        say("not compared with the module: --no-check")
    else:
        say(f"equal to the module to {proved.outputs:.1e} on new inputs, in batches of 2 and 3")
        if proved.gradient is not None:
            say(f"in training mode: loss equal to {proved.loss:.1e}, gradients to {proved.gradient:.1e}")
            say(f"what steps of training change the loss by is equal to {proved.steps:.1e}")
        else:
            say(f"training mode not compared: {proved.why}")
    for note in imported.notes:
        say(f"note: {note}")


def _compared(file: Path, imported: Imported) -> tuple[float | None, str]:
    """The difference of the outputs from Keras', or why it is unknown.

    Raises `SpecError` (import-differs) where they differ by more than rounding.
    """
    from graphspec.convert import proof
    from graphspec.diagnostics import fail

    if imported.weights is None:
        return None, "the file holds no weights"
    if not proof.keras_installed():
        return None, "Keras is not installed"
    try:
        model = proof.load(file)
        difference = proof.difference(imported.program, imported.weights, model)
    except (ImportError, RuntimeError, ValueError, TypeError, LookupError, NotImplementedError) as error:
        return None, f"Keras cannot run it here: {(str(error).splitlines() or ['?'])[0][:120]}"
    if not difference <= TOLERANCE and (wrong := proof.errs(imported.program)):
        return None, f"Keras {', and '.join(wrong)}, on torch, which runs it here"
    if not difference <= TOLERANCE:
        message = f"the module's outputs differ from those of Keras by {difference:.1e} of the largest"
        help = "please report the file; --no-check writes the spec anyway"
        raise fail("import-differs", message, help)
    return difference, ""


def _write(
    imported: Imported | FromTorch, folder: Path, force: bool, read: Path | None = None
) -> tuple[Path, Path | None]:
    """Writes both files completely or not at all. What a killed import has left is not in the way."""
    from graphspec.files.whole import is_half_written

    spec, weights = folder / f"{imported.name}.yaml", folder / f"{imported.name}.safetensors"
    for path in (spec, weights):
        check_output(path, None, force or (path == weights and is_half_written(spec)), [read])
    try:
        return imported.save(folder)
    except OSError as error:
        raise misuse("-o", f"{folder} cannot be written: {error.strerror or error}") from None
