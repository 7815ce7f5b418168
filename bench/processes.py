"""Whole processes: the time from typing a command to reading its answer."""

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.cases import SPECS
from bench.generate import chain, flat_resnet50
from bench.measure import interleave, process
from bench.report import Column, Table, Value, seconds

GRAPHSPEC = (str(Path(sys.executable).with_name("graphspec")),)
PYTHON = (sys.executable,)
CHAIN_LENGTHS = (1, 100, 1_000, 10_000)

COLUMNS = (
    Column("command", "command"),
    Column("median", "median", seconds),
    Column("min", "min", seconds),
    Column("ratio", "of import torch", "{:.2f}".format),
)


def startup(directory: Path, budget_seconds: float) -> Table:
    """`check` and `summary` of ResNet-50, importing torch, and the same work in Keras."""
    flat = directory / "flat_resnet50.yaml"
    flat.write_text(flat_resnet50())
    blocks = str(SPECS / "resnet50.yaml")
    commands: Mapping[str, Sequence[str]] = {
        "python -c 'import torch'": (*PYTHON, "-c", "import torch"),
        "graphspec check, 175 layers written out": (*GRAPHSPEC, "check", str(flat)),
        "graphspec summary, 175 layers written out": (*GRAPHSPEC, "summary", str(flat)),
        "graphspec check specs/resnet50.yaml": (*GRAPHSPEC, "check", blocks),
        "graphspec summary specs/resnet50.yaml": (*GRAPHSPEC, "summary", blocks),
        "Keras on torch, build and summary, 175 layers": (*PYTHON, "-m", "bench.keras_resnet50"),
    }
    samples = interleave(
        {name: process(command) for name, command in commands.items()},
        warmup=1,
        budget_seconds=budget_seconds,
        max_rounds=15,
    )
    torch_import = samples["python -c 'import torch'"]
    rows: list[Mapping[str, Value]] = [
        {"command": name, "median": taken.median, "min": taken.minimum, "ratio": taken.ratio(torch_import)}
        for name, taken in samples.items()
    ]
    return Table("Check and summary as whole processes", _note(torch_import.seconds), COLUMNS, tuple(rows))


def scaling(directory: Path, budget_seconds: float) -> Table:
    """`check` on chains of growing length; the time per node is the minimum above the shortest chain."""
    subjects = {}
    for nodes in CHAIN_LENGTHS:
        path = directory / f"chain{nodes}.yaml"
        path.write_text(chain(nodes))
        subjects[str(nodes)] = process((*GRAPHSPEC, "check", str(path)))
    samples = interleave(subjects, warmup=1, budget_seconds=budget_seconds, max_rounds=9)
    start = samples[str(CHAIN_LENGTHS[0])].minimum
    rows: list[Mapping[str, Value]] = [
        {
            "nodes": nodes,
            "median": samples[str(nodes)].median,
            "min": samples[str(nodes)].minimum,
            "node": (samples[str(nodes)].minimum - start) / nodes * 1e6 if nodes > 1 else None,
        }
        for nodes in CHAIN_LENGTHS
    ]
    columns = (
        Column("nodes", "nodes", "{:,}".format),
        Column("median", "median", seconds),
        Column("min", "min", seconds),
        Column("node", "a node", lambda value: f"{value:.0f} us"),
    )
    return Table("Check on longer and longer specs", _note(samples["1"].seconds), columns, tuple(rows))


def editing(directory: Path, budget_seconds: float) -> Table:
    """An edit in an editor: from the changed text to its mistakes, in a language server that has started."""
    torch = "python -c 'import torch'"
    subjects: dict[str, Callable[[], object]] = {torch: process((*PYTHON, "-c", "import torch"))}
    for name, text in {
        "specs/resnet50.yaml": (SPECS / "resnet50.yaml").read_text(),
        "175 layers written out": flat_resnet50(),
        "10,000 nodes": chain(10_000),
    }.items():
        subjects[name] = _edits(text, directory / "spec.yaml")
    samples = interleave(subjects, warmup=1, budget_seconds=budget_seconds, max_rounds=9)
    rows: list[Mapping[str, Value]] = [
        {"command": name, "median": taken.median, "min": taken.minimum, "ratio": taken.ratio(samples[torch])}
        for name, taken in samples.items()
    ]
    columns = (Column("command", "an edit in"), *COLUMNS[1:])
    return Table("Mistakes while typing", _note(samples[torch].seconds), columns, tuple(rows))


def _edits(text: str, path: Path) -> Callable[[], object]:
    """A subject that changes the text and asks for its mistakes."""
    from graphspec.server.analysis import Analysis, analysed
    from graphspec.server.protocol import shown_mistakes

    last: list[Analysis] = [analysed(text, path)]

    def edit() -> object:
        last[:] = [analysed(f"{last[0].text}#\n", path, last[0])]
        assert last[0].program is not None
        return shown_mistakes(last[0], path)

    return edit


def training(directory: Path, budget_seconds: float) -> Table:
    """`graphspec train specs/digits.yaml`, and Keras with the same layers, data and recipe."""
    spec = str(SPECS / "digits.yaml")
    keras = str(Path(__file__).with_name("keras_digits.py"))
    reached: dict[str, list[float]] = {
        "graphspec train specs/digits.yaml": [],
        "Keras on torch, the same": [],
    }
    ours, theirs = reached
    subjects = {
        ours: _reaching(reached[ours], process((*GRAPHSPEC, "train", spec, "--json"), directory)),
        theirs: _reaching(reached[theirs], process((*PYTHON, keras, spec), directory)),
    }
    samples = interleave(subjects, warmup=1, budget_seconds=budget_seconds, max_rounds=9)
    rows: list[Mapping[str, Value]] = [
        {
            "command": name,
            "median": taken.median,
            "min": taken.minimum,
            "ratio": taken.ratio(samples[theirs]),
            "accuracy": statistics.median(reached[name]),
        }
        for name, taken in samples.items()
    ]
    columns = (
        *COLUMNS[:3],
        Column("ratio", "of Keras", "{:.2f}".format),
        Column("accuracy", "validation accuracy", "{:.1%}".format),
    )
    return Table("Training on handwritten digits", _note(samples[ours].seconds), columns, tuple(rows))


def _reaching(accuracies: list[float], run: Callable[[], str]) -> Callable[[], None]:
    """A subject that records the validation accuracy that `run` prints as JSON, alone or in its last line."""

    def call() -> None:
        printed = run()
        result = json.loads(printed if printed.startswith("{") else printed.splitlines()[-1])
        accuracies.append(result.get("metrics", result)["val_accuracy"])

    return call


def _note(rounds: Sequence[float]) -> str:
    return f"Whole processes, interleaved, {len(rounds)} rounds after a warm-up."
