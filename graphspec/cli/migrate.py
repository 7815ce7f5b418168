"""`migrate`: the weights of a run for a spec that changed; specs in a later version of the language."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import Allow, AllowUrl, Json, Preset, Set, compiling, misuse, replacing, spec_files
from graphspec.cli.outputs import check_output, need_apart_from
from graphspec.cli.printing import count_of, print_json, reporting
from graphspec.cli.runs import Weights
from graphspec.diagnostics.terminal import say
from graphspec.diagnostics.text import plain

if TYPE_CHECKING:
    from graphspec.migrate import MigratedWeight, Migration
    from graphspec.program import Program

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="RUN SPEC", help="A run, and the spec that changed; with --spec, spec files."),
]
Specs = Annotated[
    bool, typer.Option("--spec", help="Translate specs into the newest version of the language, in place.")
]
Difference = Annotated[
    bool, typer.Option("--diff", help="With --spec, write nothing, and print what would change.")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Output file, .safetensors.")
]
RulesOption = Annotated[
    str | None,
    typer.Option("--rules", metavar="RULES", help="A file of rules, as `graphspec weights` takes it."),
]
Overwriting = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Measure on N rows of each file.")
]


def migrate(
    paths: Paths,
    specs: Specs = False,
    diff: Difference = False,
    output: Output = None,
    weights: Weights = "best",
    rules: RulesOption = None,
    limit: Limit = None,
    force: Overwriting = False,
    settings: Set = None,
    preset: Preset = None,
    allow: Allow = None,
    allow_url: AllowUrl = False,
    as_json: Json = False,
) -> None:
    """Convert the weights of a run for a spec that changed.

    It shows what became of each tensor, and measures the difference on the run's validation data. With
    --spec it translates specs of an earlier version of the language instead.

    Example: graphspec migrate runs/digits-1 wide.yaml -o start.safetensors
    """
    if specs:
        if any((output, rules, limit, settings, preset, allow, allow_url, force, weights != "best")):
            raise misuse("--spec", "it translates specs in place, and takes only --diff and --json")
        return _translate(paths, diff, as_json)
    if diff:
        raise misuse("--diff", "it shows what --spec would change", "to compare specs: `graphspec diff A B`")
    if len(paths) != 2:
        message = f"a run and a spec are two paths, and not {len(paths)}"
        raise misuse("RUN SPEC", message, "write `graphspec migrate RUN SPEC`")
    run, spec = paths
    if spec.is_dir() and run.is_file():
        raise misuse("RUN SPEC", "the run comes first", f"write `graphspec migrate {spec} {run}`")
    if output is not None:
        named = None if weights in ("best", "last") else Path(weights)
        check_output(output, None, force, [spec, named, None if rules is None else Path(rules)])
    if output is not None and output.suffix != ".safetensors":
        raise misuse("-o", f"{output} does not end in .safetensors")
    with compiling(spec, settings, preset, as_json, allow, allow_url) as program:
        need_apart_from(program, output)
        migration = migrated(run, program, rules, limit, allow, weights=weights)
        if output is not None:
            from graphspec.migrate import write

            with replacing(output) as temporary:
                write(temporary, migration.weights)
        if as_json:
            print_json(as_data(migration, output))
        else:
            say(table(migration))
            if output is not None:
                say(f"wrote {output}")


def _translate(paths: list[Path], diff: bool, as_json: bool) -> None:
    """Writes specs anew in the newest version of the language, or prints what would change."""
    from graphspec.cli.fixing import difference, rewrite
    from graphspec.cli.formatting import text_of
    from graphspec.diagnostics import Diagnostics, SpecError
    from graphspec.files.whole import sweep
    from graphspec.language.versions import misfit, translated
    from graphspec.source import read
    from graphspec.version import LANGUAGE

    texts: dict[Path, tuple[str, str]] = {}
    sources: dict[str, str] = {}
    with reporting(as_json, sources):
        for path in spec_files(paths):
            before = text_of(path, sources)
            document = read(after := translated(before, str(path)), str(path), Diagnostics())
            if document is not None and (wrong := misfit(document)) is not None:
                raise SpecError([wrong])
            texts[path] = before, after
    if not diff:
        sweep(texts)
    changed = {path: both for path, both in texts.items() if both[0] != both[1]}
    for path, (before, after) in changed.items():
        if not diff and str(path) != "-":
            rewrite(path, after)
        elif diff and not as_json:
            say(difference(before, after, str(path)), end="")
    if as_json:
        files = [{"file": str(path), "changed": path in changed} for path in texts]
        print_json({"ok": True, "language": LANGUAGE, "files": files})
    elif Path("-") in texts and not diff:
        say(texts[Path("-")][1], end="")
    else:
        done = f"{count_of(len(changed), 'file')} {'would change' if diff else 'translated'}"
        say(f"{done}, {count_of(len(texts) - len(changed), 'file')} as in version {LANGUAGE} of the language")


def migrated(
    run: Path,
    program: Program,
    rules: str | None,
    limit: int | None,
    allow: list[str] | None,
    data: Path | None = None,
    weights: str = "best",
) -> Migration:
    """The migration of a run's weights; `data` replaces those of the new spec. Raises `SpecError`."""
    from graphspec.migrate import migrate as made
    from graphspec.runs.run import Run
    from graphspec.transfer.rules import load_rules

    chosen = load_rules(rules) if rules is not None else None
    return made(Run(run, weights, allow or (), program.allow_url), program, chosen, limit, data)


def as_data(migration: Migration, written: Path | None) -> dict[str, Any]:
    """The output of `--json`."""
    return {
        "ok": True,
        "file": None if written is None else str(written),
        "weights": [row.to_json() for row in migration.rows],
        "measured": None if migration.measured is None else migration.measured.to_json(),
        "doubtful": [{"key": key, "perhaps_from": other} for key, other in migration.doubtful],
    }


def table(migration: Migration) -> str:
    """The fate of each tensor, those that differ in their numbers alone as one; then the effect on the
    outputs.
    """
    from graphspec.compare.numbers import ranged, without_numbers

    groups: dict[Any, list[MigratedWeight]] = {}
    for row in migration.rows:
        source = without_numbers(row.source or "")
        groups.setdefault((row.what, without_numbers(row.key), source, row.shape, row.before), []).append(row)
    lines = []
    for (what, *_), rows in groups.items():
        first = rows[0]
        shape = _shape(first.shape)
        if first.before not in (None, first.shape):
            shape = f"{_shape(first.before or ())} -> {shape}"
        name = ranged([row.key for row in rows]) + (f"  x{len(rows)}" if len(rows) > 1 else "")
        moved = what == "renamed" or (first.source is not None and first.source != first.key)
        lines.append((what, name, shape, f"from {ranged([r.source or '' for r in rows])}" if moved else ""))
    widths = [max(len(line[place]) for line in lines) for place in range(3)] if lines else []
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, (*widths, 0), strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*text, "", *_meaning(migration)])


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _meaning(migration: Migration) -> list[str]:
    """The difference that was measured, and where a rule is wanted."""
    lines = [
        f"`{key}` is new, and `{other}` of the same shape is dropped; if both are one weight, "
        f"write into a file for --rules: "
        f"weights: {{{key}: {other}}}"
        for key, other in migration.doubtful[:3]
    ]
    if (measured := migration.measured) is None:
        return [
            *lines,
            f"not measured: {migration.unmeasured}",
        ]
    its = "synthetic data" if measured.data == "synthetic" else f"its {measured.data} data"
    rows = f"{count_of(measured.examples, 'row')} of {its}"
    kept = "same function: the outputs are the same"
    if measured.difference:
        kept = f"same function: the outputs differ by {measured.difference:.1e} at most"
    if math.isinf(measured.difference):
        kept = "another function: the outputs have other shapes"
    elif not measured.same:
        kept = f"another function: the outputs differ by up to {measured.difference:.3g}"
    lines.append(f"{kept}, on {rows}")
    values = [
        f"{name} {plain(before)} -> {plain(measured.after[name])}"
        for name, before in measured.before.items()
        if before is not None and measured.after.get(name) is not None
    ]
    return [*lines, "  ".join(values)] if values else lines
