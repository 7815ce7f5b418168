"""The arguments of `import torch`: the module that a package makes, its inputs, its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphspec import custom
from graphspec.diagnostics import Diagnostics, fail
from graphspec.diagnostics.text import line_of
from graphspec.source import read
from graphspec.transfer.checkpoints import open_checkpoint

KEYS = ("shape", "dtype")
DTYPES = ("float32", "int64", "int32", "bool")
EXAMPLE = '--input "x: {shape: [3, 224, 224]}"'
WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".npz", ".h5", ".onnx", ".pt2")
"""The suffixes of files that hold weights."""
LARGEST = 2**26
"""Numbers of an example."""


class BadOption(Exception):
    """An option of the command that says nothing: its name, and what is wrong."""

    def __init__(self, option: str, message: str):
        super().__init__(message)
        self.option, self.message = option, message


def module_of(target: str, allow: list[str]) -> nn.Module:
    """The module that `PKG:CALLABLE`, or `FILE.py:CALLABLE`, makes, called without arguments. Raises
    `SpecError` (module-not-allowed, module-missing, import-unsupported).
    """
    home, word, root = place_of(target)
    if home.endswith(".py") and word:
        raise BadOption("PKG:CALLABLE", f"there is no file {home}")
    if not all(part.isidentifier() for part in f"{home}.{word}".split(".")) or Path(target).is_file():
        raise BadOption("PKG:CALLABLE", _no_name(Path(target)))
    path = f"{home}.{word}"
    member = custom.bring([custom.NamedCode(path, None)], root, allow)[path]
    if isinstance(member, nn.Module):
        return member
    if not callable(member):
        raise fail(
            "import-unsupported",
            f"`{target}` is neither a function nor a class",
            "name what makes the module",
        )
    try:
        module = member()
    except Exception as error:  # the user's own code
        why = line_of(error)
        help = "write a function without arguments that returns the module, and name that"
        message = f"`{target}()` fails: {type(error).__name__}: {why}"
        raise fail("import-unsupported", message, help, *custom.raised_at(error)) from error
    if not isinstance(module, nn.Module):
        message = f"`{target}()` returns {type(module).__name__}, not an nn.Module"
        raise fail("import-unsupported", message, "name a class or a function that makes the module")
    return module


def place_of(target: str) -> tuple[str, str, Path]:
    """The Python module that a target names, the name in it, and the folder of its file."""
    home, _, word = target.rpartition(":")
    file = Path(home)
    if word and file.suffix == ".py" and file.is_file():
        return file.stem, word, file.parent
    home, _, word = target.partition(":")
    return home, word, Path()


def _no_name(target: Path) -> str:
    """Explains a target that is not a module and a name in it."""
    if target.suffix == ".py":
        return f"{target} is a file: write the module and the name in it, such as `{target.stem}:Net`"
    if target.suffix in WEIGHTS:
        takes = f"`graphspec weights SPEC --from {target} -o OUT.safetensors` takes its weights over"
        return f"{target} holds weights, and not what makes the module, such as `my_model:Net`; {takes}"
    home, _, word = str(target).rpartition(".")
    example = f"{home}:{word}" if home and word.isidentifier() else "my_model:Net"
    return f"{target} is not a module and a name in it, such as `{example}`"


def inputs_of(written: list[str]) -> tuple[dict[str, Tensor], dict[str, list[str | int | None]]]:
    """The example inputs and the shapes that `--input` gives, by name."""
    if not written:
        raise BadOption("--input", f"the module is run on examples: say what it takes, {EXAMPLE}")
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[str | int | None]] = {}
    for text in written:
        diagnostics = Diagnostics()
        document = read(text, "--input", diagnostics)
        value = document.value if document is not None and not diagnostics.errors else None
        if not isinstance(value, dict) or len(value) != 1:
            raise BadOption("--input", f"{text} is not a name and a shape: {EXAMPLE}")
        name, settings = next(iter(value.items()))
        settings = {"shape": settings} if isinstance(settings, list) else settings
        tensors[name], shapes[name] = _example(name, settings)
    return tensors, shapes


def _example(name: str, settings: Any) -> tuple[Tensor, list[str | int | None]]:
    if (
        not isinstance(settings, Mapping)
        or not isinstance(settings.get("shape"), list)
        or set(settings) - set(KEYS)
    ):
        raise BadOption("--input", f"{name} takes `shape`, a list of sizes without the batch, and `dtype`")
    shape = list(settings["shape"])
    if not all(size is None or isinstance(size, str) or (type(size) is int and size > 0) for size in shape):
        raise BadOption(
            "--input", f"the sizes of {name} are positive integers, or words for sizes that stay open"
        )
    dtype = settings.get("dtype", "float32")
    if dtype not in DTYPES:
        raise BadOption("--input", f"the dtype of {name} is one of {', '.join(DTYPES)}")
    open_sizes = {
        word: 11 + 2 * k for k, word in enumerate(dict.fromkeys(s for s in shape if type(s) is not int))
    }
    sizes = [size if type(size) is int else open_sizes[size] for size in shape]
    if math.prod(sizes) > LARGEST:
        message = f"{name} has {math.prod(sizes):,} numbers, and the module is run on at most {LARGEST:,}"
        raise BadOption("--input", f"{message}: write a word for a size that stays open, such as `length`")
    if dtype == "float32":
        return torch.rand(2, *sizes, generator=torch.Generator().manual_seed(0)), shape
    return torch.ones(2, *sizes, dtype=getattr(torch, dtype)), shape


def load(module: nn.Module, path: Path) -> None:
    """Loads a file of weights into the module. Raises `SpecError` (weights-misfit)."""
    with open_checkpoint(path) as checkpoint:
        state = {key: checkpoint.read(key) for key in checkpoint.tensors}
    expected = module.state_dict()
    missing = [key for key in expected if key not in state]
    unused = [key for key in state if key not in expected]
    shapes = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    if missing or unused or shapes:
        parts = [("lacks", missing), ("also has", unused), ("has in another shape", shapes)]
        said = "; ".join(f"{word} {', '.join(keys[:3])}" for word, keys in parts if keys)
        help = "save `module.state_dict()` of this module"
        raise fail("weights-misfit", f"`{path}` is not of this module: it {said}", help)
    module.load_state_dict(state)
