"""`generate`: what a trained model says after a prompt, or makes of noise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import Allow, Device, Json, misuse, option, with_options
from graphspec.cli.outputs import Force, check_output
from graphspec.cli.printing import print_json
from graphspec.cli.runs import RunArgument, Weights, using
from graphspec.diagnostics.terminal import say
from graphspec.generate.config import GenerateSettings
from graphspec.language.glossary import meaning

if TYPE_CHECKING:
    from graphspec.data.tables import Table
    from graphspec.generate.generating import Maker
    from graphspec.runs.sampling import Samples

PROMPT, TEXT = "prompt", "text"
"""The column of prompts in --data, and that of what follows."""


def _settings() -> Iterator[Parameter]:
    """An option for each of the settings that say how a text goes on."""
    for key, field in GenerateSettings.model_fields.items():
        if key not in ("source", "begin"):
            kind = {int: int, float: float}.get(type(field.default), int if key == "top_k" else str)
            metavar = {int: "N", float: "X", str: "TOKEN"}[kind]
            yield option(key, kind | None, None, metavar=metavar, help=f"{meaning(GenerateSettings, key)}.")


@with_options(_settings)
def generate(
    run: RunArgument,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="TEXT", help="Text to go on from; several for several texts."),
    ] = None,
    samples: Annotated[
        int,
        typer.Option("-n", "--samples", min=1, metavar="N", help="Continuations of each prompt, or samples."),
    ] = 1,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, metavar="N", help="Steps of a loop that begins with noise."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="A table of prompts, or of what samples are made for."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Texts: .csv .tsv .jsonl .parquet; samples: .png .npz."
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, metavar="N", help="Sequences that go on together.")
    ] = 16,
    weights: Weights = "best",
    device: Device = "auto",
    force: Force = False,
    allow: Allow = None,
    as_json: Json = False,
    **settings: Any,
) -> None:
    """Write how texts go on, or what a trained model makes of noise.

    Without a tokenizer, in the run or as tokenizer.json next to a spec, texts are numbers of tokens.

    Example: graphspec generate runs/gpt-1 --prompt "Once upon a time"
    """
    given = {key: value for key, value in settings.items() if value is not None}
    if "end" in given and given["end"].isdecimal():
        given["end"] = int(given["end"])
    if prompt is not None and data is not None:
        raise misuse("--prompt", "give --prompt TEXT, or --data PATH with prompts")
    if data is not None and output is None:
        raise misuse("--data", "name a file for what is made of each row: -o FILE")
    if samples > 1 and given.get("beams", 1) > 1:
        raise misuse("-n", "a search with --beams finds one text")
    if output is not None:
        check_output(output, lambda path: True, force, [data])
    with using(run, weights, as_json, allow) as loaded:
        if loaded.program.loop is not None:
            _need_no_texts(prompt, given)
            made_of_noise = loaded.sampler(steps, given.get("seed"), device)
            _write_samples(made_of_noise, samples, data, output, batch_size, as_json)
            return
        if prompt is None and data is None:
            raise misuse("--prompt", "give --prompt TEXT, or --data PATH with prompts")
        if steps is not None:
            raise misuse("--steps", "it is for a loop that begins with noise")
        made = loaded.maker(given, device)
        prompts = prompt or []
        if data is not None:
            prompts = _prompts(data)
        texts = _Job(made, prompts, [each for each in range(len(prompts)) for _ in range(samples)])
        live = len(texts.jobs) == 1 and not as_json and output is None
        began = time.perf_counter()
        texts.make(batch_size, live)
        texts.tell(output, as_json, live, time.perf_counter() - began)


def _need_no_texts(prompt: list[str] | None, given: Mapping[str, Any]) -> None:
    """Refuses options for texts where the model makes something of noise."""
    option = "--prompt" if prompt is not None else next((key for key in given if key != "seed"), None)
    if option is not None:
        raise misuse(
            f"--{option.removeprefix('--').replace('_', '-')}", "the model makes samples, and no texts"
        )


def _write_samples(
    made: Samples, count: int, data: Path | None, output: Path | None, batch_size: int, as_json: bool
) -> None:
    """Makes samples, and writes or prints them."""
    if output is None and not as_json:
        raise misuse("-o", "samples are arrays", "name a file: `-o samples.png` or `-o samples.npz`")
    if output is not None:
        made.need_file(output)
    asked, began = made.read(None if data is None else _rows(data, made.columns), count), time.perf_counter()
    samples = list(made.make(asked, batch_size))
    took = time.perf_counter() - began
    if output is not None:
        made.write(samples, output)
    if as_json:
        values = [each.tolist() for each in samples] if output is None else None
        file = None if output is None else str(output)
        print_json({"ok": True, "samples": values, "count": len(samples), "seconds": took, "file": file})
        return
    say(f"wrote {output}: {len(samples):,} samples")
    say(f"{len(samples):,} samples in {took:.2f} s", sys.stderr)


def _table(path: Path) -> Table:
    from graphspec.data.files import DataFile
    from graphspec.data.folders import find
    from graphspec.data.tables import open_table

    return open_table(find(path), DataFile(path=str(path)))


def _rows(path: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a table, of these columns as far as it has them. Raises `SpecError`."""
    table = _table(path)
    rows: list[dict[str, Any]] = table.read([name for name in names if name in table.columns]).to_pylist()
    return rows


def _prompts(path: Path) -> list[str]:
    """The column of prompts of a table. Raises `SpecError`."""
    from graphspec.diagnostics import fail

    table = _table(path)
    names = [*table.columns]
    if PROMPT not in names and len(names) != 1:
        raise fail("data-column", f"`{path}` has no column `{PROMPT}`", f"it has: {', '.join(names)}")
    column = PROMPT if PROMPT in names else names[0]
    table.read_as_text([column])
    return ["" if each is None else str(each) for each in table.read([column])[column].to_pylist()]


@dataclass(slots=True)
class _Made:
    """The continuation of a prompt: how many tokens, and why no more."""

    text: str = ""
    tokens: int = 0
    ended: str = ""


class _Job:
    """Texts that are made, and how they are told. `jobs` are the numbers of their prompts."""

    def __init__(self, made: Maker, prompts: list[str], jobs: list[int]):
        self.made, self.prompts, self.jobs = made, prompts, jobs
        self.ids = made.ids(prompts)
        self.found = [_Made() for _ in jobs]

    def make(self, batch_size: int, live: bool) -> None:
        """Makes all; `live` writes the pieces of the only one as they come."""
        from graphspec.runs.generation import said

        if live:
            say("" if self.made.apart else self.prompts[0], end="")
        for first in range(0, len(self.jobs), batch_size):
            numbers = range(first, min(first + batch_size, len(self.jobs)))
            for token, piece in said(self.made, [self.ids[self.jobs[each]] for each in numbers], numbers):
                found = self.found[token.sequence]
                found.text += piece
                found.tokens += 1
                found.ended = token.ended or ""
                if live:
                    say(piece, end="")
                    sys.stdout.flush()

    def tell(self, output: Path | None, as_json: bool, live: bool, took: float) -> None:
        """Writes or prints all."""
        prompts = [self.prompts[job] for job in self.jobs]
        pairs = list(zip(prompts, self.found, strict=True))
        if output is not None:
            import pyarrow as pa

            from graphspec.data.writers import writing

            with writing(output) as append:
                append(pa.table({PROMPT: prompts, TEXT: [each.text for each in self.found]}))
        total = sum(each.tokens for each in self.found)
        if as_json:
            rows = [
                {PROMPT: prompt, TEXT: each.text, "tokens": each.tokens, "ended": each.ended}
                for prompt, each in pairs
            ]
            file = None if output is None else str(output)
            print_json({"ok": True, "texts": rows, "tokens": total, "seconds": took, "file": file})
            return
        if output is not None:
            say(f"wrote {output}: {len(pairs):,} rows")
        elif live:
            say("")
        else:
            for number, (prompt, each) in enumerate(pairs, 1):
                say(f"[{number}] {prompt}{': ' if self.made.apart else ''}{each.text}")
        if any(each.ended == "context" for _, each in pairs):
            say("the model takes no longer text: what it has seen and made fills its context", sys.stderr)
        say(f"{total:,} tokens in {took:.2f} s, {total / max(took, 1e-9):,.0f} a second", sys.stderr)
