"""`graphspec prepare`: encode the data of a spec once, for all trainings that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import Allow, AllowUrl, Json, Preset, Set, Spec, compiling, misuse
from graphspec.cli.outputs import check_folder
from graphspec.cli.printing import print_json
from graphspec.diagnostics.terminal import say

Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the prepared data.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="PATH", help="Training data in place of the spec's.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, metavar="N", help="Encode by N processes. [default: one for each core]"),
]
Ray = Annotated[bool, typer.Option("--ray", help="Encode by the tasks of a Ray cluster.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="The first N rows alone.")]


def prepare(
    spec: Spec,
    output: Output,
    data: DataOption = None,
    jobs: Jobs = None,
    ray: Ray = False,
    limit: Limit = None,
    allow: Allow = None,
    allow_url: AllowUrl = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Write data encoded once, for all trainings that read them.

    Run the command again to continue what was interrupted.

    Example: graphspec prepare specs/cars.yaml -o cars.prepared
    """
    if ray and jobs is not None:
        raise misuse("--jobs", "the cluster says how many tasks run at a time", "leave --jobs or --ray out")
    with compiling(spec, settings, preset, as_json, allow, allow_url) as program:
        from graphspec.data.preparing import holds_other
        from graphspec.data.preparing import prepare as encode
        from graphspec.data.remote import is_remote

        if not is_remote(output):
            check_folder(output, holds_other)
        done = encode(program, output, data, spec.parent, workers=jobs, ray=ray, limit=limit)
        rows = dict(done.examples)
        if as_json:
            shards = len(done.index.shards)
            print_json({"ok": True, "folder": str(output), "rows": rows, "shards": shards, "made": done.made})
            return
        counts = ", ".join(f"{count:,} for {label}" for label, count in rows.items() if count)
        say(f"`{output}` holds {counts}; {done.made} of {len(done.index.shards)} shards were made now")
        say(f"train on it: graphspec train {spec} --data {output}")
