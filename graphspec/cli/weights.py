"""`weights`: converts the tensors of a checkpoint to the weights of a spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli import completing
from graphspec.cli.common import Json, Preset, Set, Spec, compiling, misuse, replacing
from graphspec.cli.outputs import check_output, need_apart_from, write
from graphspec.cli.printing import count_of, print_json, show
from graphspec.diagnostics.terminal import say

if TYPE_CHECKING:
    from graphspec.diagnostics import Diagnostic
    from graphspec.transfer.matching import Plan
    from graphspec.transfer.rules import Rules

NAME_WIDTH = 60


Source = Annotated[
    Path,
    typer.Option(
        "--from",
        metavar="FILE",
        help="A checkpoint: .safetensors, .pt, .pth, .bin, .weights.h5, .npz, or a folder of shards.",
    ),
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Output file, .safetensors.")
]
RulesOption = Annotated[
    str | None,
    typer.Option(
        "--rules",
        metavar="RULES",
        help="A file of rules, or the name of rules shipped with graphspec.",
        autocompletion=completing.rules,
    ),
]
Fresh = Annotated[
    list[str] | None,
    typer.Option(
        "--fresh", metavar="PATTERN", help="Weights that keep the spec's initial values; may be repeated."
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option(
        "--prefix", metavar="TEXT", help="The common prefix of the names in FILE. [default: detected]"
    ),
]
WriteRules = Annotated[
    Path | None,
    typer.Option(
        "--write-rules", metavar="RULES", help="Write the rules that were used or found to this file."
    ),
]
Overwriting = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]


def weights(
    spec: Spec,
    source: Source,
    output: Output = None,
    rules: RulesOption = None,
    fresh: Fresh = None,
    prefix: Prefix = None,
    write_rules: WriteRules = None,
    force: Overwriting = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Convert the weights of a checkpoint for a spec.

    It shows which tensor fills which weight; with -o it also writes them.

    Example: graphspec weights specs/gpt.yaml --from gpt2/ --rules gpt2
    """
    asked, reads = (
        (("-o", output), ("--write-rules", write_rules)),
        [spec, source, None if rules is None else Path(rules)],
    )
    for option, path in asked:
        if path is not None:
            check_output(path, None, force, reads, option)
    if output is not None and write_rules is not None and output.absolute() == write_rules.absolute():
        raise misuse("--write-rules", f"{output} is also the output", "name another file")
    if output is not None and output.suffix != ".safetensors":
        raise misuse("-o", f"{output} does not end in .safetensors")
    with compiling(spec, settings, preset, as_json) as program:
        for option, path in asked:
            need_apart_from(program, path, option)
        from dataclasses import replace

        from graphspec.transfer import transfer
        from graphspec.transfer.complaints import complaints
        from graphspec.transfer.origins import imported_beside
        from graphspec.transfer.rules import Rules, load_rules

        chosen = load_rules(rules) if rules is not None else Rules()
        chosen = replace(chosen.with_fresh(fresh or ()), prefix=chosen.prefix if prefix is None else prefix)
        initial = program.module(seed=program.training.seed).state_dict() if chosen.fresh else None
        imported = imported_beside(spec)
        transferred = transfer(program.graph, source, chosen, initial=initial, imported=imported)
        wrong = complaints(transferred.plan, source, spec, chosen)
        if not as_json:
            say(table(transferred.plan))
        if write_rules is not None:
            _write_rules(write_rules, transferred.plan, chosen, f"{source.name} into {program.name}")
        if transferred.plan.ok and output is not None:
            from graphspec.convert.weights import write_weights

            with replacing(output) as temporary:
                words = None if imported is None else imported.origins.words()
                write_weights(temporary, transferred.weights, words)
        _report(transferred.plan, output, wrong, as_json)


def _write_rules(path: Path, plan: Plan, rules: Rules, title: str) -> None:
    from graphspec.transfer.generalizing import rules_text

    write(path, rules_text(plan, rules, title))


def _report(plan: Plan, output: Path | None, wrong: list[Diagnostic], as_json: bool) -> None:
    import sys

    written = output if plan.ok else None
    if as_json:
        print_json(as_data(plan, written, wrong))
    else:
        show(wrong, {}, sys.stderr)
        if written is not None:
            say(f"wrote {written}")
    if not plan.ok:
        raise typer.Exit(1)


def as_data(plan: Plan, written: Path | None, wrong: list[Diagnostic]) -> dict[str, Any]:
    """The output of `--json`."""
    return {
        "ok": plan.ok,
        "file": None if written is None else str(written),
        "matched": [
            {
                "key": match.key,
                "from": " + ".join(match.sources),
                "how": match.how,
                "changes": match.move.words(len(plan.targets[match.key].shape)),
            }
            for match in plan.matches.values()
        ],
        "fresh": plan.fresh,
        "fixed": plan.fixed,
        "missing": plan.missing,
        "unused": plan.unused,
        "dropped": plan.dropped,
        "ambiguous": [{"keys": list(each.targets), "from": list(each.sources)} for each in plan.ambiguous],
        "diagnostics": [diagnostic.to_json() for diagnostic in wrong],
    }


def table(plan: Plan) -> str:
    """The matches, and what remains in the file, as a table."""
    from graphspec.compare.numbers import folded
    from graphspec.transfer.generalizing import rows

    matches = rows(plan)
    lines = [("weight", "shape", "from", "how")]
    for row in matches:
        how = ", ".join((row.how, *row.changes)) + (f"  x{row.count}" if row.count > 1 else "")
        lines.append((row.key, " x ".join(map(str, row.shape)) or "1", " + ".join(row.sources), how))
    widths = [min(max(len(line[column]) for line in lines), NAME_WIDTH) for column in range(3)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, (*widths, 0), strict=True)).rstrip()
        for line in lines
    ]
    text.append(f"{len(plan.matches)} of {count_of(len(plan.targets), 'weight')} filled")
    for what, keys in (
        ("fresh", plan.fresh),
        ("fixed in the module", plan.fixed),
        ("dropped", plan.dropped),
        ("left in the file", plan.unused),
    ):
        if keys:
            names = [f"{name}" + (f" x{count}" if count > 1 else "") for name, count in folded(keys)]
            rest = f" and {len(names) - 12} more" if len(names) > 12 else ""
            text.append(f"{what}: {', '.join(names[:12])}{rest}")
    return "\n".join(text)
