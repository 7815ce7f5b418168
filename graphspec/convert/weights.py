"""A saved model's variables as the weights of the spec that it became."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from graphspec.contract.layer import Weight
from graphspec.convert.nodes import StoredPlace
from graphspec.diagnostics import SpecError, fail
from graphspec.files.hdf5 import LegacyVariables, Variables
from graphspec.files.tensors import save
from graphspec.files.whole import replacing, replacing_both
from graphspec.graph import Graph
from graphspec.train.penalties import from_keras, to_keras
from graphspec.version import __version__
from graphspec.weights import key_prefix, layers
from graphspec.weights.names import attribute


def state(graph: Graph, where: Mapping[str, StoredPlace], variables: Variables) -> dict[str, Tensor]:
    """The state dict of a program's module; `where` gives the place of each path in it.

    Raises `SpecError` (import-format) where the file lacks variables, or has others.
    """
    by_path = dict(owners(graph))
    if isinstance(variables, LegacyVariables):
        _distribute(by_path, where, variables)
    state_dict: dict[str, Tensor] = {}
    for path, weights in by_path.items():
        place = where[path]
        stored = variables.layer(place.stored.path, place.stored.groups, place.stored.parts)
        if not stored:
            raise fail(
                "import-unsupported",
                f"the file has no weights of its own for `{'.'.join(place.stored.path)}`",
                "a model that is used both inside another and outside of it is stored once: give each its "
                "own, or write the spec by hand with `shared`",
            )
        arrays = iter(stored)
        value: Tensor | None = None
        legacy = isinstance(variables, LegacyVariables) and place.trainable
        for weight in sorted(
            weights, key=lambda weight: legacy and not weight.trainable
        ):  # trained ones first
            if not weight.row:
                array = next(arrays, None)
                value = None if array is None else torch.from_numpy(array)
            if value is None:
                raise _misfit(place, "the file lacks some of its weights")
            wanted = [*to_keras(weight, torch.empty(weight.shape, device="meta")).shape]
            rows, shape = [*value.shape[:1]] if weight.row is not None else [], [*value.shape]
            beyond = weight.row is not None and weight.row >= sum(rows)
            if beyond or not _fits(weight, shape, [*rows, *wanted]):
                message = f"its `{weight.keras}` has the shape {shape}, not {[*rows, *wanted]}"
                raise _misfit(place, message)
            tensor = from_keras(weight, value).contiguous().clone()
            key = f"{path}.{weight.name}" if weight.name else path
            state_dict[key] = tensor.float() if tensor.dtype == torch.float64 else tensor
    return state_dict


def _fits(weight: Weight, shape: list[int], wanted: list[int]) -> bool:
    """Whether a variable is the weight's: sizes of 1 aside, as Keras stores some vectors as one row, but of
    weights whose axes have another order here.
    """
    if weight.permute is not None:
        return shape == wanted
    return [size for size in shape if size != 1] == [size for size in wanted if size != 1]


def unread(graph: Graph, where: Mapping[str, StoredPlace], variables: Variables) -> Iterator[StoredPlace]:
    """The layers of the file that the program leaves out, because nothing reads their outputs."""
    kept = {path for path, _ in layers(graph)} | {path for path, _ in _parameters(graph, "")}
    for path, place in where.items():
        if path not in kept and variables.layer(place.stored.path, place.stored.groups):
            yield place


def _misfit(place: StoredPlace, why: str) -> SpecError:
    return fail("import-format", f"the weights of `{'.'.join(place.stored.path)}` cannot be read: {why}")


def owners(graph: Graph, prefix: str = "") -> Iterator[tuple[str, tuple[Weight, ...]]]:
    """The weights of each layer and parameter of a graph and of those inside it, by its path."""
    for path, op in layers(graph, prefix):
        if weights := op.weights():
            yield path, weights
    yield from _parameters(graph, prefix)


def _parameters(graph: Graph, prefix: str) -> Iterator[tuple[str, tuple[Weight, ...]]]:
    for op in graph.ops:
        if op.parameter is not None:
            weight = op.parameter
            path = f"{prefix}{attribute(op.node)}"
            yield path, (Weight("", weight.shape, weight.keras),)
    for unit in graph.units:
        if unit.first_call.graph is not None:
            yield from _parameters(unit.first_call.graph, key_prefix(prefix, unit))


def _distribute(
    owners: Mapping[str, tuple[Weight, ...]], where: Mapping[str, StoredPlace], variables: LegacyVariables
) -> None:
    """Tells Keras 2's lists which of their variables belong to which layer inside a model."""
    counts: dict[str, dict[tuple[str, ...], tuple[int, int]]] = {}
    for path, weights in owners.items():
        place = where[path]
        if len(place.stored.path) > 1:
            direct = [weight for weight in weights if not weight.row]
            trains = sum(weight.trainable for weight in direct) if place.trainable else 0
            below = counts.setdefault(place.stored.path[0], {})
            below[place.stored.path] = (trains, len(direct) - trains)
    for name, below in counts.items():
        variables.distribute((name,), below)


def write_weights(path: Path, tensors: Mapping[str, Tensor], words: Mapping[str, str] | None = None) -> None:
    """Writes a state dict as a `.safetensors` file, with `words` in its metadata."""
    save(path, tensors, {"graphspec": __version__, **(words or {})})


def write_model(
    folder: Path,
    name: str,
    spec: str,
    tensors: Mapping[str, Tensor] | None,
    words: Mapping[str, str] | None = None,
) -> tuple[Path, Path | None]:
    """Writes `NAME.yaml`, and `NAME.safetensors` where there are weights, with `words` in its metadata: both
    completely or not at all. Raises `OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, weights = folder / f"{name}.yaml", folder / f"{name}.safetensors"
    if tensors is None:
        with replacing(path) as temporary:
            temporary.write_text(spec, encoding="utf-8")
        return path, None
    with replacing_both(weights, path) as (part, text):
        write_weights(part, tensors, words)
        text.write_text(spec, encoding="utf-8")
    return path, weights
