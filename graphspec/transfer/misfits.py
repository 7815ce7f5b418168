"""Explains weights that do not fit: the kind of file, the nearest tensors, and how they differ."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from graphspec.diagnostics import Diagnostic, Span
from graphspec.files.reading import opened

MANY = 2000
"""Names beyond which only those of a fitting shape are looked at."""
Shape = tuple[int, ...]
ONES = "the same but for axes of size 1"
OUTPUTS = "for another number of outputs"
THREE = "three of them in one, which a rule with `split` takes apart"
RELATIONS = (ONES, OUTPUTS, THREE, "transposed", "permuted")
"""How shapes may differ, in words that follow `that is`."""


MOST_HEADER = 100 << 20
"""Bytes of the header of a `.safetensors` file, at most."""


def what_it_is(path: Path) -> str:
    """The kind of a file of weights, from its first bytes: safetensors, torch, pickle, hdf5, npz or keras;
    else what it is in words. Raises `OSError`.
    """
    with opened(path) as stream:
        head = stream.read(32)
    if not head:
        return "an empty file"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < MOST_HEADER:
        return "safetensors"  # first, as the length of its header may look like the beginning of another
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head.startswith(b"PK"):
        return _archive(path)
    if head[:1] == b"\x80" and head[1] in range(1, 6):
        return "pickle"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, in place of the file itself"
    if head.lstrip()[:1] == b"<":
        return "a page of HTML, which a download gave in place of the file"
    return "safetensors" if path.suffix == ".safetensors" else ""


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a zip archive that is cut short"
    if any(name.endswith("/constants.pkl") for name in names):
        return "an archive of TorchScript or torch.export, a program, of which nothing is run"
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if "config.json" in names and "metadata.json" in names:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "a zip archive that holds no weights"


WORDS = {
    "torch": "a checkpoint of PyTorch",
    "pickle": "a checkpoint of PyTorch, or another pickle",
    "hdf5": "a file of Keras, HDF5",
    "npz": "an archive of NumPy",
    "keras": "a model of Keras",
}


def instead(path: Path) -> tuple[str, str] | None:
    """The kind of a file that is no `.safetensors`, and the command that converts it; else None."""
    try:
        kind = what_it_is(path)
    except OSError:
        return None
    if kind == "keras":
        return WORDS[kind], f"`graphspec import keras {path} -o DIR` makes a spec and its weights of it"
    if kind and kind not in ("safetensors", *WORDS):
        return kind, "save or fetch the file again"
    if kind in WORDS:
        target = path.with_suffix("").with_suffix(".safetensors")
        return WORDS[kind], f"`graphspec weights SPEC --from {path} -o {target}` makes .safetensors of it"
    return None


def relation(shape: Shape, wanted: Shape) -> str:
    """How a shape differs from the one that is wanted; "" where it does not."""
    if shape == wanted:
        return ""
    if [size for size in shape if size != 1] == [size for size in wanted if size != 1]:
        return ONES
    if len(shape) == 2 and shape == wanted[::-1]:
        return "transposed"
    if sorted(shape) == sorted(wanted):
        return "permuted"
    if len(shape) == len(wanted) and shape[1:] == wanted[1:]:
        if shape[0] == 3 * wanted[0]:
            return THREE
        return OUTPUTS
    return "another"


@dataclass(frozen=True, slots=True)
class Near:
    """A tensor of a file that a weight may be: `how` its shape differs, "" where it does not."""

    key: str
    shape: Shape
    how: str

    def __str__(self) -> str:
        shape = f"`{self.key}` {list(self.shape)}"
        return f"{shape}, {self.how}" if self.how else f"{shape}, the same shape"


def nearest_keys(key: str, shape: Shape, stored: Mapping[str, Shape]) -> list[Near]:
    """The three tensors of a file that come nearest to a weight, by shape and by name, the nearest first."""
    scored = []
    pieces = _pieces(key)
    for name, stored_shape in stored.items():
        how = relation(stored_shape, shape)
        alike = _alike(pieces, _pieces(name))
        fits = {"": 3.0, "transposed": 2.0, "permuted": 2.0}.get(how, 0.0 if how == "another" else 1.0)
        if fits or (alike >= 0.5 and len(stored) <= MANY):
            scored.append((fits + 3 * alike, Near(name, stored_shape, how)))
    scored.sort(key=lambda pair: (-pair[0], pair[1].key))
    return [near for _, near in scored[:3]]


def _pieces(key: str) -> list[str]:
    return [piece for piece in re.split(r"[._/:]+|(\d+)", key.lower()) if piece]


def _alike(a: list[str], b: list[str]) -> float:
    """The share of pieces that two names have in common; the last counts twice."""
    common = len(set(a) & set(b)) + (a[-1:] == b[-1:])
    return common / (max(len(set(a)), len(set(b))) + 1)


def shown(keys: Iterable[str], most: int = 6) -> str:
    """Some names for a message."""
    names = list(keys)
    rest = len(names) - most
    return ", ".join(f"`{name}`" for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")


MOST = 3
"""Weights of which the nearest tensors are reported."""


def explain(
    wanted: Mapping[str, Shape], stored: Mapping[str, Shape], path: Path | None, span: Span | None
) -> list[Diagnostic]:
    """Why the tensors of a file, or of a state dict, do not fill weights of these names and shapes; nothing
    where they do.
    """
    file = f"`{path}`" if path is not None else "the state dict"
    diagnostics = []
    lacking = [key for key in wanted if key not in stored]
    used = wanted.keys() & stored.keys()
    rest = {key: shape for key, shape in stored.items() if key not in used}
    source = path or "FILE"
    command = f"`graphspec weights SPEC --from {source} -o OUT.safetensors` takes what is named otherwise"
    if lacking:
        notes = [near_note(key, wanted[key], rest) for key in lacking[:MOST]]
        message = f"{file} has nothing for {shown(lacking)}"
        diagnostics.append(Diagnostic("weights-misfit", message, span, notes=tuple(notes), help=command))
    for key in wanted:
        if key in stored and (how := relation(stored[key], wanted[key])):
            message = f"`{key}` has the shape {list(wanted[key])}, and {list(stored[key])} in {file}"
            notes = [f"that is {how}"] if how != "another" else []
            help = (
                command
                if how in ("transposed", "permuted")
                else "the file is of another spec, or of other params"
            )
            diagnostics.append(Diagnostic("weights-misfit", message, span, notes=tuple(notes), help=help))
    return diagnostics


def near_note(key: str, shape: Shape, stored: Mapping[str, Shape]) -> str:
    """Which tensors of a file come nearest to a weight."""
    near = nearest_keys(key, shape, stored)
    if not near:
        return f"`{key}` {list(shape)}: nothing that is left is of its shape or name"
    return f"`{key}` {list(shape)}: perhaps {'; '.join(map(str, near))}"
