"""The variables of a saved model, read from HDF5 one layer at a time.

Keras 3 stores the layers of a model under `layers/<class>_<number>`, in their order; Keras 2 under their
names, each with a list of all the variables below it. Both hand out what one layer owns, in the order of its
weights.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from graphspec.diagnostics import fail
from graphspec.diagnostics.packages import needing
from graphspec.diagnostics.text import first_line
from graphspec.files.reading import opened

CHILDREN = (
    *("forward_layer", "backward_layer", "layer", "cell"),
    *("query_dense", "_query_dense", "key_dense", "_key_dense", "_gate_dense"),
    *("value_dense", "_value_dense", "output_dense", "_output_dense"),
)
"""Parts of a layer that hold its weights, in the order in which Keras lists them."""


DEEPEST = 32
"""Wrappers within wrappers; a layer of Keras has four."""

Steps = tuple[str, ...]


class Variables(Protocol):
    """Finds the variables of a model's layers."""

    def layer(self, path: Steps, stored: Steps, parts: tuple[Steps, ...] = ()) -> list[Any]:
        """The arrays of one layer, in the order of its weights: `path` are its models' names and its own,
        `stored` the groups that lead to it in a file of Keras 3, `parts` those below in their order.
        """
        ...


@contextmanager
def readable(shown: str) -> Iterator[None]:
    """Where HDF5 is read: what h5py raises for a damaged file becomes a `SpecError` (import-format)."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        why = first_line(error)[:200]
        raise fail("import-format", f"the weights in `{shown}` cannot be read: {why}") from None


HEAP = b"GCOL\x01\0\0\0"
"""How each heap of texts begins in an HDF5 file."""
HEAD = 16
"""Bytes of what is before a heap's objects, and before each of them."""


def endless(path: Path) -> bool:
    """Whether a heap of an HDF5 file has free space of no bytes. HDF5 (2.0, too) looks for what comes
    after it at the same place, for ever; other damage it reports.
    """
    if not path.stat().st_size:
        return False
    with opened(path) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(HEAP)
        while start >= 0:
            (size,) = struct.unpack_from("<Q", data, start + len(HEAP)) if start + HEAD <= len(data) else (0,)
            place, end = start + HEAD, min(start + size, len(data))
            while place + HEAD <= end:
                number, length = struct.unpack_from("<H6xQ", data, place)
                if number == length == 0:
                    return True
                place += length if number == 0 else HEAD + (length + 7) // 8 * 8
            start = data.find(HEAP, start + len(HEAP))
    return False


@contextmanager
def open_hdf5(path: Path, shown: str) -> Iterator[Any]:
    """An HDF5 file. Raises `SpecError` (package-missing, import-format)."""
    with needing("HDF5, the format of Keras' weights,", "keras"):
        import h5py
    with readable(shown):
        if endless(path):
            raise ValueError("a heap is damaged")
        file = h5py.File(path, "r")
    with file:
        yield file


class StoredVariables:
    """Those of a `.keras` archive."""

    def __init__(self, file: Any, shown: str):
        self.file, self.shown = file, shown

    def layer(self, path: Steps, stored: Steps, parts: tuple[Steps, ...] = ()) -> list[Any]:
        variables: list[Any] = []
        for part in parts or ((),):
            group = self.file
            for step in (*stored, *part):
                group = member(group, step, self.shown) if group is not None else None
            if group is not None:
                variables += variables_below(group, self.shown)
        return variables


def variables_below(group: Any, shown: str, depth: int = 0) -> Iterator[Any]:
    """The variables that a group of a file of Keras 3 stores. A wrapper with variables of its own,
    SpectralNormalization, has the kernel of the wrapped layer among them: it is stored twice and counts once.
    """
    if depth > DEEPEST:
        message = f"groups in the weights of `{shown}` nest {depth} deep, or hold themselves"
        raise fail("import-unsafe", message, "save the model again with Keras, which writes no such groups")
    variables = member(group, "vars", shown)
    arrays = (
        [array(variables, str(number), shown) for number in range(len(variables))]
        if variables is not None
        else []
    )
    yield from arrays
    for child in CHILDREN:
        below = member(group, child, shown)
        if below is not None:
            for value in variables_below(below, shown, depth + 1):
                if not any(value.shape == seen.shape and (value == seen).all() for seen in arrays):
                    yield value


class LegacyVariables:
    """Those of a Keras 2 `.h5` file: a group for each layer of the outermost model."""

    def __init__(self, file: Any, shown: str):
        self.shown = shown
        self.root = member(file, "model_weights", shown)
        self.split: dict[tuple[str, ...], list[Any]] = {}

    def distribute(self, path: tuple[str, ...], counts: Mapping[tuple[str, ...], tuple[int, int]]) -> None:
        """Says how the variables listed under one layer of the outermost model belong to the layers of it:
        how many of each train, and how many do not. Keras lists all that train first.
        """
        listed = self._listed(path[0])
        position = 0
        for kind in (0, 1):
            for inner, count in counts.items():
                self.split.setdefault(inner, []).extend(listed[position : position + count[kind]])
                position += count[kind]

    def layer(self, path: Steps, stored: Steps, parts: tuple[Steps, ...] = ()) -> list[Any]:
        return self.split.get(path, []) if len(path) > 1 else self._listed(path[0])

    def _listed(self, name: str) -> list[Any]:
        group = member(self.root, name, self.shown) if self.root is not None else None
        if group is None:
            return []
        return [array(group, name, self.shown) for name in listed_names(group, self.shown)]


def listed_names(group: Any, shown: str) -> list[str]:
    """The names of a layer's variables in a file of Keras 2, in their order. Raises `SpecError`."""
    with readable(shown):
        listed = group.attrs.get("weight_names", [])
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in listed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:  # Keras 3.0 stops where two variables have one name, and leaves the file
        message = f"the weights in `{shown}` are not whole: two variables are called `{twice[:80]}`"
        raise fail("import-format", message, "save the model again, as .keras")
    return names


def member(group: Any, name: str, shown: str) -> Any:
    """One entry of a group, or None. Only what lies in the file itself is read."""
    import h5py

    for step in name.split("/"):
        with readable(shown):
            link = group.get(step, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            message = f"`{step[:80]}` in the weights of `{shown}` is a link, and may lead anywhere"
            raise fail("import-unsafe", message, "save the model again with Keras, which writes no links")
        with readable(shown):
            group = group[step]
    return group


def array(group: Any, name: str, shown: str) -> Any:
    """One stored array. Refuses data outside of the file, or that unpack to far more than is stored."""
    import h5py

    dataset = member(group, name, shown)
    if not isinstance(dataset, h5py.Dataset):
        raise fail("import-format", f"the weights of `{shown}` lack the array `{name[:80]}`")
    with readable(shown):
        return _numbers(dataset, name, shown)


def _numbers(dataset: Any, name: str, shown: str) -> Any:
    if dataset.is_virtual or dataset.external:
        message = f"the array `{name[:80]}` in the weights of `{shown}` is in another file"
        raise fail("import-unsafe", message, "save the model again with Keras, which stores them inside")
    if dataset.dtype.kind not in "fiub":
        raise fail(
            "import-unsafe", f"the array `{name[:80]}` in `{shown}` holds {dataset.dtype}, not numbers"
        )
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > max(200 * stored, 1 << 20):
        message = f"the array `{name[:80]}` in `{shown}` unpacks from {stored:,} to {dataset.nbytes:,} bytes"
        raise fail("import-unsafe", message)
    return np.asarray(dataset[()])
