"""Files of weights as plain tensors by their names: nothing that a file names is imported or run.

.safetensors                   by name
    .pt .pth .bin .ckpt            what torch.load reads with `weights_only`; nested names are joined by dots
.weights.h5 .h5                Keras' variables, by layer and number, in the layer's order
.npz                           arrays by name
a folder, or its index         the shards of Hugging Face
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphspec.diagnostics import SpecError, fail
from graphspec.files.hdf5 import array, listed_names, member, open_hdf5, readable, variables_below
from graphspec.files.reading import parse_json, read_text
from graphspec.files.records import NAMES, ShardIndex, record_of
from graphspec.transfer.misfits import what_it_is

MAX_INDEX = 64 << 20
"""Bytes of an index of shards."""
SINGLE = ("model.safetensors", "pytorch_model.bin")
INDICES = tuple(f"{name}.index.json" for name in SINGLE)
OURS = ("graphspec", "writer", "tied")
"""Metadata that only graphspec writes."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """One tensor of a file. Of Keras' files `layer` names the layer's class, `path` the layer by names, and
    `number` the variable's place in it.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str
    layer: str = ""
    path: str = ""
    number: int | None = None

    @property
    def unit(self) -> str:
        """The layer that it belongs to, by name."""
        return self.path if self.number is not None else self.key.rpartition(".")[0]

    @property
    def leaf(self) -> str:
        """Its name within the layer."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a file or folder; `read` gives one.

    They are `ordered` where their order is that of the layers, and `ours` where a module of graphspec was
    written; `channels_last` where images are flattened as specs do. `words` are the file's metadata.
    """

    path: Path
    tensors: Mapping[str, StoredCheckpoint]
    read: Callable[[str], Tensor] = field(repr=False)
    ordered: bool = False
    ours: bool = False
    channels_last: bool = False
    words: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Opens a file or folder of weights while tensors are read.

    Raises `SpecError` (weights-missing, import-unsafe, package-missing).
    """
    with ExitStack() as stack:
        try:
            yield _open(path, stack)
        except (OSError, EOFError) as error:
            raise missing(f"`{path}` cannot be read: {getattr(error, 'strerror', None) or error}") from None


def missing(message: str, help: str | None = None) -> SpecError:
    return fail("weights-missing", message, help)


def _open(path: Path, stack: ExitStack) -> Checkpoint:
    if path.is_dir():
        path = _in_folder(path)
    if path.name.endswith(".index.json"):
        return _open_shards(path, stack)
    kind = what_it_is(path)
    if kind == "safetensors":
        return _open_safetensors(path, stack)
    if kind == "hdf5":
        return _open_hdf5(path, stack)
    if kind == "npz":
        return _open_npz(path, stack)
    if kind in ("torch", "pickle"):
        return _open_torch(path)
    if kind == "keras":
        help = f"graphspec import keras {path} -o DIR makes a spec and its weights of it"
        raise missing(f"`{path}` is a whole model of Keras, which has its own import", help)
    help = "it reads .safetensors, .pt, .pth, .bin, .weights.h5, .npz, and folders of Hugging Face"
    raise missing(f"`{path}` is {kind or 'no file of weights'}", help)


def _in_folder(folder: Path) -> Path:
    """The file in a folder that holds its weights, or the index of its shards."""
    for name in (*INDICES, *SINGLE):
        if (folder / name).is_file():
            return folder / name
    kinds = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".npz", ".keras")
    files = sorted(file for file in folder.iterdir() if file.suffix in kinds)
    if len(files) == 1:
        return files[0]
    names = ", ".join(file.name for file in files[:6])
    message = f"the folder `{folder}` holds {'no file' if not files else 'several files'} of weights"
    raise missing(
        message, f"name one: {names}" if files else f"it looks for {', '.join((*INDICES, *SINGLE))}"
    )


def _open_shards(path: Path, stack: ExitStack) -> Checkpoint:
    """The files that an index names, which are next to it."""
    try:
        if path.stat().st_size > MAX_INDEX:
            raise ValueError("it is too large for an index")
        places = record_of(ShardIndex, parse_json(read_text(path))).weight_map
    except (OSError, ValueError) as error:
        raise missing(f"`{path}` is not an index of shards: {error}") from None
    for name in set(places.values()):
        if Path(name).name != name:
            message = f"the index `{path}` names `{name[:80]}`, which is not next to it"
            raise fail("import-unsafe", message)
    shards = {name: _open_shard(path, name, stack) for name in sorted(set(places.values()))}
    for key, name in places.items():
        if key not in shards[name].tensors:
            help = "the download may have been cut short: fetch it again"
            raise missing(f"the shard `{name}` lacks `{key}`, which the index promises", help)
    tensors = {key: shards[name].tensors[key] for key, name in places.items()}
    return Checkpoint(path, tensors, lambda key: shards[places[key]].read(key))


def _open_shard(index: Path, name: str, stack: ExitStack) -> Checkpoint:
    file = index.parent / name
    if not file.is_file():
        raise missing(f"the index `{index}` names `{name}`, which is not there", "fetch the missing shard")
    return _open(file, stack)


def _open_safetensors(path: Path, stack: ExitStack) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    from graphspec.files.tensors import is_whole

    try:
        file = stack.enter_context(safe_open(path, "pt"))
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        if not is_whole(path):
            raise SafetensorError("its checksum is not that with which it was written")
    except SafetensorError as error:
        help = "it may have been cut short: fetch or save it again"
        raise missing(f"`{path}` cannot be read as .safetensors: {error}", help) from None
    tensors = {
        key: StoredCheckpoint(key, tuple(part.get_shape()), str(part.get_dtype()).lower())
        for key, part in slices.items()
    }
    metadata = file.metadata() or {}
    tied = _tied(metadata)
    tensors |= {
        key: StoredCheckpoint(key, tensors[of].shape, tensors[of].dtype)
        for key, of in tied.items()
        if of in tensors
    }
    ours = any(word in metadata for word in OURS)
    read = lambda key: file.get_tensor(tied.get(key, key))  # noqa: E731
    return Checkpoint(path, tensors, read, ours=ours, words=metadata)


def _tied(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Further names of a file's tensors, as a run writes them."""
    try:
        return record_of(NAMES, parse_json(metadata.get("tied", "{}")))
    except ValueError:
        return {}


def _open_npz(path: Path, stack: ExitStack) -> Checkpoint:
    import numpy as np

    try:
        arrays = stack.enter_context(np.load(path, allow_pickle=False))
        read = {re.sub(r"[/:]+", ".", name): name for name in arrays.files}
        values = {key: arrays[name] for key, name in read.items()}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        help = "save plain arrays: np.savez(path, **{name: array})"
        raise missing(f"`{path}` cannot be read as .npz: {error}", help) from None
    tensors = {key: StoredCheckpoint(key, value.shape, str(value.dtype)) for key, value in values.items()}
    return Checkpoint(path, tensors, lambda key: torch.from_numpy(values[key]), ordered=True)


def _open_torch(path: Path) -> Checkpoint:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _refused(path, error) from None
    values: dict[str, Tensor] = {}
    _collect(loaded, "", values, 0)
    if not values:
        raise missing(f"`{path}` holds no tensors by name", "save model.state_dict()")
    tensors = {key: StoredCheckpoint(key, tuple(value.shape), _dtype(value)) for key, value in values.items()}
    return Checkpoint(path, tensors, values.__getitem__, ordered=True)


def _refused(path: Path, error: Exception) -> SpecError:
    """Why torch did not read a file, as text."""
    text = str(error)
    help = "where it was made: torch.save(model.state_dict(), 'weights.pt')"
    named = re.search(r"(?:GLOBAL|Unsupported class|global) ([\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and named:
        message = f"`{path}` holds objects of `{named[1]}` as well as tensors, and pickles are never run"
        return fail("import-unsafe", message, help)
    return missing(f"`{path}` is not a checkpoint that torch reads: {text.splitlines()[0][:160]}", help)


def _collect(value: Any, prefix: str, tensors: dict[str, Tensor], depth: int) -> None:
    if isinstance(value, Tensor):
        tensors[prefix] = value.detach()
    elif isinstance(value, Mapping) and depth < 20:
        for key, item in value.items():
            _collect(item, f"{prefix}.{key}" if prefix else str(key), tensors, depth + 1)


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _open_hdf5(path: Path, stack: ExitStack) -> Checkpoint:
    file = stack.enter_context(open_hdf5(path, str(path)))
    values: dict[str, Tensor] = {}
    tensors: dict[str, StoredCheckpoint] = {}
    with readable(str(path)):
        model = member(file, "model_weights", str(path))
        legacy = file if model is None else model
        named = "layer_names" in legacy.attrs
        units = _legacy(legacy, str(path)) if named else _units(file, "", str(path))
        for name, layer, arrays in units:
            for number, value in enumerate(arrays):
                key = f"{name}.{number}"
                values[key] = torch.from_numpy(value)
                tensors[key] = StoredCheckpoint(key, value.shape, str(value.dtype), layer, name, number)
    if not tensors:
        raise missing(
            f"`{path}` holds no weights that Keras stored", "save them with model.save_weights(path)"
        )
    return Checkpoint(path, tensors, values.__getitem__, ordered=True, channels_last=True)


def _units(group: Any, prefix: str, shown: str) -> Iterator[tuple[str, str, list[Any]]]:
    """The layers of a model in a file of Keras 3: path by names, class, variables."""
    layers = member(group, "layers", shown)
    if layers is None:
        return
    for stored in sorted(layers, key=_natural):
        below = member(layers, stored, shown)
        variables = member(below, "vars", shown)
        name = str(variables.attrs.get("name", stored)) if variables is not None else stored
        path = f"{prefix}{name}"
        if member(below, "layers", shown) is not None:
            yield from _units(below, f"{path}.", shown)
        else:
            arrays = list(variables_below(below, shown))
            if arrays:
                yield path, re.sub(r"_\d+$", "", stored), arrays


def _legacy(group: Any, shown: str) -> Iterator[tuple[str, str, list[Any]]]:
    """The layers in a file of Keras 2, whose variables have names: `conv/kernel:0`."""
    for layer in group.attrs["layer_names"]:
        below = member(group, _text(layer), shown)
        if below is None:
            continue
        units: dict[str, list[Any]] = {}
        for name in listed_names(below, shown):
            units.setdefault(name.rpartition("/")[0].replace("/", "."), []).append(array(below, name, shown))
        for path, arrays in units.items():
            yield path, "", arrays


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _natural(text: str) -> list[Any]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]
