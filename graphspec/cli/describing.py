"""The commands that print what a spec or the language says: `summary`, `resolve`, `layers`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli import completing
from graphspec.cli.common import Json, Preset, Set, Spec, compiling, sizes_of
from graphspec.cli.printing import answer, colors, print_json, reporting, terminal_width
from graphspec.diagnostics.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphspec.cli.worked_example import WorkedExample
    from graphspec.program import Program
    from graphspec.reference.entries import ReferenceEntry


def summary(
    spec: Spec,
    expand: Annotated[
        bool, typer.Option("--expand", help="Expand blocks and models into their layers.")
    ] = False,
    trainable: Annotated[bool, typer.Option("--trainable", help="Show which layers are trained.")] = False,
    flops: Annotated[bool, typer.Option("--flops", help="Show each node's forward FLOPs.")] = False,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory", help="Show the bytes of each node's output; with --batch-size those of a whole step."
        ),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, metavar="N", help="Count costs for N examples, not for one."),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size", metavar="NAME=N", help="The value of a named size, such as length=128; repeatable."
        ),
    ] = None,
    step: Annotated[
        bool,
        typer.Option("--step", help="Show the next step of a sequence: what it costs, and keeps as state."),
    ] = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Print layers, shapes, weights, connections and costs.

    Example: graphspec summary specs/gpt.yaml --flops --size length=256
    """
    with compiling(spec, settings, preset, as_json) as program:
        program = program.step() if step else program
        known_sizes = sizes_of(sizes, program)
        if program.stepping is not None:
            known_sizes = {program.stepping.size: 1, **known_sizes}
        table = program.summary().at(known_sizes)
        if (
            memory
            and batch_size is not None
            and (peak := program.memory(batch_size, known_sizes)) is not None
        ):
            table = replace(table, peak=(batch_size, peak))
        if as_json:
            kept = {} if program.stepping is None else {"state_bytes": _state(program, known_sizes)}
            print_json({"ok": True, **table.to_json(expand, flops, memory, batch_size), **kept})
        else:
            color, width = colors(sys.stdout), terminal_width(sys.stdout)
            say(table.render(expand, trainable, flops, memory, batch_size, color, width), painted=True)
            if program.stepping is not None:
                say(f"State of a sequence: {_state(program, known_sizes)} bytes")


def _state(program: Program, sizes: Mapping[str, int]) -> int | str:
    """The bytes that a sequence keeps from step to step: a number, or an expression of sizes without one."""
    from graphspec.view.costs import total_bytes

    assert program.stepping is not None
    return total_bytes(program.stepping.states, sizes)


def resolve(
    spec: Spec,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Write every default of layers, losses and training.")
    ] = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Print a spec with params, a preset and --set applied.

    The result compiles to the same source.

    Example: graphspec resolve specs/resnet50.yaml --preset resnet101
    """
    with compiling(spec, settings, preset, as_json) as program:
        text = program.resolve(defaults)
        answer(as_json, text, nl=False, spec=text)


Page = tuple["ReferenceEntry", "WorkedExample | None"]
"""The reference entry of a name, and its example at work."""


def layers(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A layer, loss, optimizer or key to explain.",
            autocompletion=completing.names,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List all names of the language, or explain one.

    Layers, merges and ops; losses, metrics, optimizers, schedules and callbacks; encoders, initializers,
    regularizers and constraints; the keys of a spec.

    Example: graphspec layers LSTM
    """
    from graphspec.reference import layers

    with reporting(as_json):
        if name is None:
            entries: list[Page] = [(entry, None) for entry in [*layers.entries(), *layers.others()]]
            text = layers.listing([entry for entry, _ in entries])
        else:
            from graphspec.cli.worked_example import worked_example

            entries = [(entry, worked_example(entry)) for entry in layers.find(name)]
            text = "\n\n".join(entry.text() + (f"\n{each.text()}" if each else "") for entry, each in entries)
        pages = [{**entry.to_json(), **(each.to_json() if each else {})} for entry, each in entries]
        answer(as_json, text, layers=pages)


def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE",
            help="The code of a diagnostic, such as unknown-layer.",
            autocompletion=completing.codes,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain the code of a diagnostic, or list all codes.

    It shows what causes it, and the corrected form.

    Example: graphspec explain shapes-differ
    """
    from graphspec.diagnostics import CODES
    from graphspec.reference import codes

    with reporting(as_json):
        pages = [codes.page(each) for each in ([code] if code is not None else CODES)]
        text = codes.listing() if code is None else pages[0].text()
        answer(as_json, text, codes=[each.to_json() for each in pages])
