"""A file that Keras wrote, as plain data: its config, and its variables by where they are stored.

Nothing that a file names is imported or run, and nothing is written but a copy of the weights to a temporary
folder. What only an attacker's file would hold ends in `import-unsafe`.
"""

from __future__ import annotations

import json
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

from graphspec.diagnostics import fail
from graphspec.files.hdf5 import LegacyVariables, StoredVariables, Variables, open_hdf5, readable
from graphspec.files.reading import content, opened

MAX_CONFIG = 64 << 20
"""Bytes of a config: the largest of keras.applications has 2 MiB."""
MAX_INFLATION = 200
"""How many times its packed size a member may have. Weights hardly shrink; configs shrink to a thirtieth."""
MAX_DEPTH = 200
"""How deeply a config may nest."""
WEIGHTS = "model.weights.h5"


_OF_DAMAGE = (NotImplementedError, OSError, RuntimeError, EOFError, ValueError, struct.error)
"""Errors of zipfile for a damaged archive, beside errors of its own."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A saved model: `config` is Keras' object, `variables` None if there is only a config."""

    name: str
    config: dict[str, Any]
    variables: Variables | None


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Opens a `.keras`, `.h5` or `.json` file while its variables are read.

    Raises `SpecError` (import-format, import-unsafe, package-missing).
    """
    with ExitStack() as stack:
        try:
            with opened(path) as stream:
                head = stream.read(8)
        except OSError as error:
            message = f"`{path}` cannot be read: {error.strerror or error}"
            kind = "a SavedModel of TensorFlow" if (path / "saved_model.pb").is_file() else "a folder"
            help = f"it is {kind}: load it in Keras, and save it as one file, `model.save('model.keras')`"
            raise fail("import-format", message, help if path.is_dir() else None) from None
        if head.startswith(b"PK"):
            yield _open_keras(path, stack)
        elif head == b"\x89HDF\r\n\x1a\n":
            yield _open_legacy(path, stack)
        elif path.suffix == ".json":
            size = path.stat().st_size
            if size > MAX_CONFIG:
                raise fail("import-unsafe", f"`{path}` has {size:,} bytes, too many for a model's config")
            yield Archive(path.stem, parse_json(content(path), f"`{path}`"), None)
        else:
            raise fail(
                "import-format",
                f"`{path}` is not a saved Keras model",
                "it reads .keras archives, .h5 files with a model's config, and model.to_json() as .json",
            )


def parse_json(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object, nested no deeper than configs are."""
    depth = deepest = 0
    for byte in text:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    if deepest > MAX_DEPTH:  # brackets inside strings count, too: no name has two hundred
        raise fail("import-unsafe", f"{what} nests {deepest} deep, which no model's config does")
    try:
        value = json.loads(text)
    except ValueError as error:
        raise fail("import-format", f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise fail("import-format", f"{what} holds no object, so it is not a model's config")
    return value


def _open_keras(path: Path, stack: ExitStack) -> Archive:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = {member.filename: member for member in archive.infolist()}
        _check_members(path, archive.infolist())
        if "config.json" not in members:
            help = "save the model with model.save('name.keras')"
            raise fail("import-format", f"`{path}` has no config.json, so it is not a model", help)
        config = parse_json(archive.read("config.json"), f"config.json of `{path}`")
        if WEIGHTS in members:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graphspec-")))
            with archive.open(WEIGHTS) as packed, (folder / WEIGHTS).open("wb") as target:
                shutil.copyfileobj(packed, target, 1 << 20)
            file = stack.enter_context(open_hdf5(folder / WEIGHTS, str(path)))
            return Archive(path.stem, config, StoredVariables(file, str(path)))
    except (zipfile.BadZipFile, zlib.error, LZMAError, *_OF_DAMAGE) as error:
        raise fail("import-format", f"`{path}` cannot be unpacked: {error}") from None
    if any(name.endswith(".npz") for name in members):
        message = f"the weights of `{path}` are an .npz of pickled objects, which is never loaded"
        raise fail("import-unsafe", message, "save the model with h5py installed, which stores HDF5")
    return Archive(path.stem, config, None)


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuses names that lead out of a folder, links, pickles, and archive bombs."""
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        why = None
        if name.startswith(("/", "\\")) or ".." in parts or (parts and ":" in parts[0]):
            why = "leads out of the archive"
        elif stat.S_ISLNK(member.external_attr >> 16):
            why = "is a link"
        elif name in seen:
            why = "occurs twice"
        elif name.endswith((".pkl", ".pickle", ".pt", ".pth")):
            why = "is a pickle, which would run code when it is loaded"
        elif member.file_size > max(MAX_INFLATION * member.compress_size, 1 << 20):
            why = f"unpacks from {member.compress_size:,} to {member.file_size:,} bytes"
        elif name.endswith(".json") and member.file_size > MAX_CONFIG:
            why = f"has {member.file_size:,} bytes, too many for a model's config"
        if why is not None:
            help = "Keras writes no such member: check where this file comes from"
            if name.endswith("/data.pkl"):
                help = (
                    f"PyTorch writes one: `graphspec weights SPEC --from {path} -o OUT.safetensors` takes it"
                )
            raise fail("import-unsafe", f"`{name[:80]}` in `{path}` {why}", help)
        seen.add(name)


def _open_legacy(path: Path, stack: ExitStack) -> Archive:
    file = stack.enter_context(open_hdf5(path, str(path)))
    with readable(str(path)):
        config, training = file.attrs.get("model_config"), file.attrs.get("training_config")
    if config is None:
        help = "save the whole model: model.save('name.keras')"
        raise fail("import-format", f"`{path}` holds weights without a model's config", help)
    text = _bytes(config)
    if len(text) > MAX_CONFIG:
        raise fail("import-unsafe", f"the config in `{path}` has {len(text):,} bytes")
    model = parse_json(text, f"model_config of `{path}`")
    if isinstance(training, (str, bytes)):
        settings = parse_json(_bytes(training), f"training_config of `{path}`")
        optimizer = settings.get("optimizer_config", settings.get("optimizer"))
        model["compile_config"] = {**settings, "optimizer": optimizer}
    return Archive(path.stem, model, LegacyVariables(file, str(path)))


def _bytes(text: str | bytes) -> bytes:
    """A text of HDF5, whatever its encoding."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
