"""The weights of a program by their keys in its module's state dict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graphspec.contract.layer import Layer, Weight
from graphspec.diagnostics import Diagnostics, Span, SpecError, did_you_mean, fail
from graphspec.files.reading import is_within
from graphspec.graph import Graph, Op, Unit, WeightAverage
from graphspec.weights.names import attribute


@dataclass(frozen=True, slots=True)
class Held:
    """One weight of a layer: its key in the state dict, and the layer that says what it is."""

    key: str
    weight: Weight
    layer: Layer


def counts_batches(key: str) -> bool:
    """Whether a key is of what PyTorch's normalizations count: nothing computes with it, no file needs it."""
    return key.rpartition(".")[2] == "num_batches_tracked"


def key_prefix(prefix: str, unit: Unit) -> str:
    """The prefix of a unit's state-dict keys, in a graph whose own begin with `prefix`."""
    name = attribute(unit.name)
    return f"{prefix}{name}." if unit.index is None else f"{prefix}{name}.{unit.index}."


def unit_keys(graph: Graph, prefix: str = "") -> Iterator[tuple[Unit, str]]:
    """The prefix of each unit's state-dict keys. Of a shared block, its first call has the units."""
    for unit in graph.units:
        here = key_prefix(prefix, unit)
        yield unit, here
        if unit.first_call.graph is not None:
            for call in unit.calls:
                if call.graph is not None:
                    yield from unit_keys(call.graph, here)


def averages(graph: Graph) -> Iterator[tuple[str, str, WeightAverage]]:
    """The modules whose weights are averages of others: their path, that of the other, and what is said."""
    keys = dict(unit_keys(graph))
    for each in graph.graphs():
        there = {unit.name: unit for unit in each.units if unit.shared}
        for unit in there.values():
            if unit in keys and unit.average is not None and unit.average.of in there:
                other = keys[there[unit.average.of]]
                yield keys[unit].removesuffix("."), other.removesuffix("."), unit.average


def layers(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Op]]:
    """The module of each layer of a graph and of those inside it, by its path, with its first call."""
    for unit in graph.units:
        here = key_prefix(prefix, unit)
        if unit.first_call.graph is not None:
            yield from layers(unit.first_call.graph, here)
        elif unit.first_call.layer is not None:
            yield here.removesuffix("."), unit.first_call


def paths(graph: Graph, prefix: str = "", frozen: bool = True) -> Iterator[str]:
    """The keys of all parameters of a program, each once: what may be trained, and no buffers.

    Without `frozen`, those that a `trainable: false` freezes are left out.
    """
    for unit in graph.units:
        here = key_prefix(prefix, unit)
        if not (unit.trainable or frozen):
            continue
        if unit.first_call.graph is not None:
            yield from paths(unit.first_call.graph, here, frozen)
        elif unit.first_call.parameter is not None:
            yield here.removesuffix(".")
        else:
            yield from (f"{here}{weight.name}" for weight in unit.first_call.weights() if weight.trainable)


def held_weights(graph: Graph) -> Iterator[Held]:
    """All weights of the layers of a program, each once; parameters have no layer."""
    for path, op in layers(graph):
        assert op.layer is not None
        for weight in op.weights():
            yield Held(f"{path}.{weight.name}", weight, op.layer)


def shapes(graph: Graph, prefix: str = "") -> Iterator[tuple[str, tuple[int, ...] | None, Span | None]]:
    """The keys of all parameters and buffers of a program with their shapes and the places of their nodes;
    for a custom module the beginning of its keys, and None.
    """
    for unit in graph.units:
        here, op = key_prefix(prefix, unit), unit.first_call
        if op.graph is not None:
            yield from shapes(op.graph, here)
        elif op.layer is not None and op.layer.opaque:
            yield here, None, unit.span
        else:
            for weight in op.weights():
                key = here.removesuffix(".") if op.parameter is not None else f"{here}{weight.name}"
                yield key, weight.shape, unit.span


def weight_files(graph: Graph, prefix: str = "") -> Iterator[tuple[str, str, Span | None]]:
    """The `weights:` of a program's nodes: the prefix of their state-dict keys, the file, and the place in
    the spec.
    """
    for unit in graph.units:
        here = key_prefix(prefix, unit)
        if unit.first_call.graph is not None:
            yield from weight_files(unit.first_call.graph, here)
        if unit.weights is not None:
            yield here, unit.weights, unit.span


def inside(path: Path | None, name: str, span: Span | None) -> Path:
    """A file that the spec at `path` names, relative to the file that names it, which may not leave the
    spec's directory. Raises `SpecError` (weights-missing).
    """
    root = path.parent if path is not None else Path()
    base = Path(span.file).parent if span is not None and path is not None else root
    file = base / name
    if not is_within(file, root):
        message = f"the weights `{name}` lie outside the directory of the spec"
        raise fail("weights-missing", message, f"copy them below `{root}`", span=span)
    return file


def no_file(path: Path, span: Span | None = None) -> SpecError:
    """The error for a file of weights that does not exist."""
    there = sorted(entry.name for entry in path.parent.glob("*.safetensors"))
    shown = ", ".join(there[:8])
    otherwise = f"files there: {shown}" if there else "paths are relative to the folder of the spec"
    help = did_you_mean(path.name, there, otherwise if span is not None or there else None)
    if not path.suffix and len(path.parts) == 1:
        help = did_you_mean(path.name, ("best", "last"), "write best or last, of a run, or a file")
    if path.name in ("best", "last"):
        help = f"it is of a run: `RUN/{path}.safetensors`"
    return fail("weights-missing", f"there is no file of weights `{path}`", help, span=span)


def check_weight_files(graph: Graph, path: Path | None, diagnostics: Diagnostics) -> None:
    """Reports the files of `weights:` that do not exist; `path` is that of the spec. None is opened."""
    for name, span in dict.fromkeys((name, span) for _, name, span in weight_files(graph)):
        try:
            file = inside(path, name, span)
            if not file.is_file():
                raise no_file(file, span)
        except SpecError as error:
            for diagnostic in error.diagnostics:
                diagnostics.add(diagnostic)


def without_file(graph: Graph) -> list[str]:
    """The state-dict keys of a program's weights that no `weights:` of its nodes fills."""
    filled = tuple(prefix for prefix, _, _ in weight_files(graph))
    return [key for key in paths(graph) if not key.startswith(filled)]
