"""`new`: a first spec. `schema`: the JSON Schema of specs, for editors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli.common import Json, misuse, need_one_of, one_of
from graphspec.cli.outputs import Force, check_output, of_format, write
from graphspec.cli.printing import answer, print_json, reporting
from graphspec.diagnostics.terminal import say
from graphspec.files.whole import sweep

if TYPE_CHECKING:
    from graphspec.data.drafting.rhythm import Ask

SCHEMA = "graphspec.schema.json"
"""The file next to a new spec that it names as its schema."""
MODELINE = f"# yaml-language-server: $schema={SCHEMA}\n"
"""The first line of a new spec, by which editors find the schema."""

Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="A column to predict, may be repeated; or a folder of masks. [default: the folder of an image]",
    ),
]


def schema(
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Output file. [default: stdout]")
    ] = None,
    of: Annotated[
        str, one_of("--of", words="spec|check", help="check: what `check --json` prints.")
    ] = "spec",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Print a JSON Schema of specs, for editors.

    Example: graphspec schema -o graphspec.schema.json
    """
    need_one_of(of, ("spec", "check"), "--of")
    with reporting(as_json):
        text = _schema() if of == "spec" else _schema_of_check()
        if output is None or output == "-":
            if as_json:
                import json

                print_json({"ok": True, "schema": json.loads(text)})
            else:
                say(text, end="")
            return
        check_output(Path(output), of_format("schema"), force)
        write(Path(output), text)
        answer(as_json, f"wrote {output}", file=output)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The spec's name; the file is NAME.yaml.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="A table, a folder of images, or a text to learn from."),
    ] = None,
    target: Target = None,
    time: Annotated[
        str | None,
        typer.Option("--time", metavar="COLUMN", help="A column of times: the targets are forecast."),
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option("--series", metavar="COLUMN", help="A column that tells series apart; may be repeated."),
    ] = None,
    past: Annotated[
        int | None,
        typer.Option(
            "--past", min=1, metavar="N", help="Steps that a forecast reads. [default: two seasons]"
        ),
    ] = None,
    ahead: Annotated[
        int | None,
        typer.Option("--next", min=1, metavar="N", help="Steps that it predicts. [default: one season]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a first spec: of a table, pictures, a forecast or a text.

    The schema for editors is written next to it.

    Example: graphspec new cars --data cars.csv --target mpg
    """
    from graphspec.formatting import formatted
    from graphspec.reference.layers import START

    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if not path.stem.strip(".") or path.name == ".yaml":
        raise misuse("NAME", f"`{name}` names no file")
    if data is None and (Path(name).is_file() or "://" in name):
        asked = " ".join(f"--target {column}" for column in target or ["COLUMN"])
        what = "an address" if "://" in name else "a file"
        help = f"write `graphspec new {path.with_suffix('').stem} --data {name} {asked}`"
        raise misuse(
            "NAME",
            f"`{name}` is {what}, and the name of no spec",
            help if "://" not in name else "download it, and name the file: --data FILE",
        )
    if target and data is None:
        raise misuse("--target", "it is a column of a table", "name the table: --data FILE")
    ask = _forecast(time, target, series, past, ahead)
    sweep([path.with_name(SCHEMA)])  # also where the spec is there already
    check_output(path, None, None, option="NAME")
    check_output(path.with_name(SCHEMA), of_format("schema"), None, [data], "NAME")
    with reporting(as_json):
        text, notes, verb = START, list[str](), "summary"
        if data is not None:
            from graphspec.data.drafting import draft

            text, verb = draft(path.stem, data, target or [], path.parent, notes.append, ask), "train"
        text = MODELINE + text
        with _creating(path) as temporary:
            temporary.write_text(formatted(text) or text, encoding="utf-8")
            write(path.with_name(SCHEMA), _schema())
        if not as_json:
            for note in notes:
                say(f"note: {note}", sys.stderr)
        next_step = f"wrote {path}; next: graphspec {verb} {path}"
        answer(as_json, next_step, file=str(path), schema=str(path.with_name(SCHEMA)), notes=notes)


def _forecast(
    time: str | None,
    target: list[str] | None,
    series: list[str] | None,
    past: int | None,
    ahead: int | None,
) -> Ask | None:
    """The forecast that the options ask for; None where they name no column of times."""
    if time is None:
        for option, value in (("--series", series), ("--past", past), ("--next", ahead)):
            if value:
                raise misuse(option, "it belongs to a forecast: --time COLUMN")
        return None
    if not target:
        raise misuse("--time", "name what is forecast: --target COLUMN")
    from graphspec.data.drafting.rhythm import Ask

    return Ask(time, tuple(series or ()), past, ahead)


def _schema() -> str:
    """The schema as a file's text; compact, for editors read it at each start."""
    import json

    from graphspec.reference.json_schema import json_schema

    return json.dumps(json_schema(), ensure_ascii=False, separators=(",", ":")) + "\n"


@contextmanager
def _creating(path: Path) -> Iterator[Path]:
    """A place for a file that must not exist yet."""
    from graphspec.files.whole import creating

    try:
        with creating(path) as temporary:
            yield temporary
    except FileExistsError:
        raise misuse("NAME", f"{path} exists already") from None
    except OSError as error:
        raise misuse("NAME", f"{path} cannot be written: {error.strerror or error}") from None


def _schema_of_check() -> str:
    """The JSON Schema of what `check --json` prints."""
    import graphspec.reference

    return (Path(graphspec.reference.__file__).parent / "check.schema.json").read_text(encoding="utf-8")
