"""Checks of the arguments that a caller gives in Python, before anything is done with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from math import isnan
from numbers import Integral, Real
from typing import Any, ParamSpec, Protocol, TypeVar

from graphspec.diagnostics import did_you_mean, fail, nearest

Arguments = ParamSpec("Arguments")
T = TypeVar("T")
PATH, TEXT, FLAG = (str, os.PathLike), (str,), (bool,)
KINDS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "spec": ((*PATH, Mapping), "a path, the text of a spec, or a dict"),
    "params": ((Mapping,), "a dict: {'width': 64}"),
    "settings": ((Mapping,), "a dict: {'train.epochs': 3}"),
    "sizes": ((Mapping,), "a dict: {'length': 40}"),
    "dynamic": ((Mapping,), "a dict: {'tokens': ['length']}"),
    "more": ((Mapping,), "a dict: {'image': 1}"),
    **dict.fromkeys(("path", "run_dir", "folder"), (PATH, "a path")),
    "weights": ((*PATH, Mapping), "a path, or a state dict"),
    **dict.fromkeys(("allow", "names"), ((Iterable,), "a list of names")),
    "callbacks": ((Iterable,), "a list of callbacks"),
    **dict.fromkeys(
        (
            "epochs",
            "limit",
            "batch_size",
            "rows",
            "seed",
            "width",
            "length",
            "top_k",
            "beams",
            "tiles",
            "top",
            "line",
            "samples",
            "steps",
            "least",
        ),
        ((Integral,), "a whole number"),
    ),
    **dict.fromkeys(("temperature", "top_p", "min_p", "repetition_penalty"), ((Real,), "a number")),
    "prompts": ((str, Sequence, Mapping), "a text, a list of texts, or rows"),
    "begin": ((str, Integral), "a token, or its number"),
    "end": ((str, Integral, Sequence), "a token, or its number, or a list of such"),
    "preset": (TEXT, "a name"),
    "name": (TEXT, "a name"),
    "file": (TEXT, "a name"),
    "format": (TEXT, "'pt2' or 'onnx'"),
    "engine": (TEXT, "a name, such as 'torch'"),
    **dict.fromkeys(("progress", "noted", "batches", "rewrite"), ((Callable,), "a function")),
    "error": ((BaseException,), "an exception"),
    **dict.fromkeys(
        (
            *("allow_url", "resume", "overwrite", "flat", "check", "inplace", "exporting", "fixed", "logits"),
            *("prove", "probabilities", "every_window", "defaults", "expand", "trainable", "flops", "memory"),
            *("color", "baselines", "boosting", "encoded", "key"),
        ),
        (FLAG, "True or False"),
    ),
}
"""The types of arguments by name, and what these are in words."""
CLASSES: Mapping[str, tuple[str, str]] = {
    "module": ("torch.Module", "a module, an instance of torch.nn.Module"),
    "model": ("keras.Model", "a model of Keras"),
    "program": ("graphspec.Program", "a program: `graphspec.compile(...)`"),
    "encoders": ("graphspec.Encoders", "the encoders of a run: `run.encoders()`"),
    **dict.fromkeys(("device", "place"), ("torch.device", "a name, such as 'cpu' or 'cuda:1'")),
}
"""Arguments whose class is of a library, which only a caller that has one has imported."""
HELPS: Mapping[tuple[str, str], str] = {
    ("model", "torch.Module"): "a module of PyTorch: `graphspec.from_torch(module, example_inputs)`",
    ("model", "path"): "a file: `graphspec import keras FILE`, or `graphspec.convert.import_keras(path)`",
    ("module", "keras.Model"): "a model of Keras: `graphspec.from_keras(model)`",
    ("module", "dict"): "a state dict has no `forward`: give the module that has these weights",
    ("module", "path"): "load the module first: `torch.load(path)`, if the file holds a whole module",
}
"""The remedy for an argument that is something else, by the argument and what was given."""
REQUIRED = ("spec", "path")
SEEDS = range(-(2**63), 2**64)
"""The seeds that torch takes."""
LONGEST = 255
"""The bytes of a name in a path, on the file systems that people have."""
LARGEST = 2**31
"""More examples than any batch has."""


SETTINGS: Mapping[str, str] = {
    **{
        name: f"train.{name}"
        for name in ("batch_size", "epochs", "optimizer", "precision", "schedule", "seed")
    },
    **dict.fromkeys(("learning_rate", "lr"), "train.optimizer.learning_rate"),
    **dict.fromkeys(("validation_split", "val_split", "test_size"), "data.validation.split"),
    **dict.fromkeys(("validation_data", "val_data"), "data.validation"),
}
"""Settings of a spec that other libraries take as arguments, by their dotted paths."""


def _elsewhere(name: str, value: object, legal: Sequence[str]) -> str | None:
    """The remedy for an argument that is a setting or a param of the spec, of a function that compiles one or
    trains a program.
    """
    shown = repr(value) if isinstance(value, int | float | str | None) else "..."
    path = SETTINGS.get(name)
    if "params" in legal and path is None:
        return (
            None if nearest(name, legal) else f"a param of the spec is given by params={{{name!r}: {shown}}}"
        )
    if path is None or not {"params", "overwrite"} & {*legal}:
        return None
    settings = f"settings={{{path!r}: {shown}}}"
    return (
        f"it is a setting of the spec: {settings}"
        if "params" in legal
        else (f"it is a setting of the spec: graphspec.compile(..., {settings})")
    )


def checked(function: Callable[Arguments, T]) -> Callable[Arguments, T]:
    """A public function that raises `SpecError` for arguments of a wrong type, that it lacks, or that it has
    not: those whose names are in `KINDS` and `CLASSES`, and None where the default is another.
    """
    code: Any = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    positional = names[: code.co_argcount]
    last: tuple[Any, ...] = function.__defaults__ or ()
    defaults = {**dict(zip(positional[len(positional) - len(last) :], last, strict=True))}
    defaults |= function.__kwdefaults__ or {}
    optional = {name for name in names if str(function.__annotations__.get(name)).endswith("| None")}
    optional |= {name for name, value in defaults.items() if value is None}
    weights = str(function.__annotations__.get("weights"))  # files, state dicts, or those of examples
    kinds = {"weights": "weights" if "Mapping" in weights else "path" if "Path" in weights else ""}
    title = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> T:
        given: dict[str, Any] = {**dict(zip(positional, args, strict=False)), **kwargs}
        unknown = next((name for name in kwargs if name not in names), None)
        if unknown is not None:
            legal = [name for name in names if name != "self"]
            help = _elsewhere(unknown, kwargs[unknown], legal)
            help = help or did_you_mean(unknown, legal, f"it takes: {', '.join(legal)}")
            raise fail("unknown-key", f"`{title}` has no argument `{unknown}`", help)
        if len(args) > len(positional):
            taken = [f"`{name}`" for name in positional if name != "self"]
            by_place = f"takes {' and '.join(taken) or 'nothing'} by place"
            by_name = [f"{name}=..." for name in names if name not in positional]
            others = f"give others by name: {', '.join(by_name)}" if by_name else None
            if "data" in positional:
                others = "give all arrays as one dict, by the names of inputs and targets: {'x': x, 'y': y}"
            message = f"`{title}` {by_place}, and gets {len(args) - len(positional) + len(taken)} values"
            raise fail("wrong-type", message, others)
        if len(given) < len(args) + len(kwargs):
            twice = next(name for name in positional[: len(args)] if name in kwargs)
            raise fail("duplicate-key", f"`{title}` is given `{twice}` by place and by name")
        for name in names:
            if name not in given and name not in defaults:
                words = [
                    each if each not in defaults else f"{each}=..." for each in names[:4] if each != "self"
                ]
                help = f"write {title}({', '.join(words)})"
                raise fail("missing-key", f"`{title}` needs `{name}`", help)
            if name in given and (given[name] is not None or name not in optional):
                _need(name, given[name], kinds.get(name, name))
        plain: Any = ([_plain(each) for each in args], {name: _plain(each) for name, each in kwargs.items()})
        return function(*plain[0], **plain[1])

    return call


def _plain(value: object) -> object:
    """An integer of NumPy as one of Python."""
    if not isinstance(value, Integral) or type(value).__module__ != "numpy":
        return value
    return value if type(value).__name__ == "timedelta64" else int(value)


def need(**given: Any) -> None:
    """Raises `SpecError` (wrong-type, out-of-range) for an argument of a wrong type, and for a number that is
    too small; None is an argument that is not given.
    """
    for name, value in given.items():
        if value is not None or name in REQUIRED:
            _need(name, value, name)


def brief(value: Any) -> str:
    """A value as Python shows it, on one line, cut to a readable length."""
    return f"{' '.join(repr(value).split()):.60}"


def _need(name: str, value: Any, kind: str) -> None:
    """Raises `SpecError` for the value of an argument that is not of a kind."""
    if kind in CLASSES:
        wanted, words = CLASSES[kind]
        if wanted not in _kinds(value) and not (wanted == "torch.device" and isinstance(value, str)):
            help = next((HELPS[name, kind] for kind in _kinds(value) if (name, kind) in HELPS), None)
            if isinstance(value, type) and wanted == "torch.Module":
                help = f"`{value.__name__}` is a class: give an instance, `{value.__name__}(...)`"
            raise fail("wrong-type", f"`{name}` is {brief(value)}, but must be {words}", help)
        return
    if kind not in KINDS:
        return
    types, words = KINDS[kind]
    number: Any = value
    word = (isinstance(value, str | bytes) or getattr(value, "ndim", 1) == 0) and Iterable in types
    odd = "numpy.timedelta64" in _kinds(value)  # an integer of NumPy
    odd |= isinstance(value, float) and isnan(value)
    odd |= isinstance(value, bytes) and Sequence in types  # of numbers
    if word or odd or not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        help = f"write [{brief(value)}]" if word and isinstance(value, str) else None
        known = _kinds(value)
        if name == "spec" and "torch.Module" in known:
            help = "a module of PyTorch becomes a spec by `graphspec.from_torch(module, example_inputs)`"
        elif name == "spec" and hasattr(value, "read"):
            help = "give its path, or its text: `file.read()`"
        raise fail("wrong-type", f"`{name}` is {brief(value)}, but must be {words}", help)
    if isinstance(value, str | os.PathLike) and "\n" not in os.fspath(value):
        _need_word(name, os.fspath(value), is_path=os.PathLike in types)
    if isinstance(value, Mapping) and name not in ("spec", "weights"):
        for key in value:
            if not isinstance(key, str):
                raise fail("wrong-type", f"a key of `{name}` is {brief(key)}, but must be a name")
    if isinstance(value, Integral) and name != "seed" and number >= 2**63:
        raise fail("out-of-range", f"`{name}` is {value}, but must be below 2**63")
    if name == "seed" and number not in SEEDS:
        raise fail("out-of-range", f"`seed` is {value}, but must have 64 bits at most")
    if Integral in types and name not in ("seed", "begin", "end", "tiles", "least") and number < 1:
        raise fail("out-of-range", f"`{name}` is {value}, but must be at least 1")
    if name == "batch_size" and number > LARGEST:
        raise fail("out-of-range", f"`batch_size` is {value}, but must be at most {LARGEST:,}")


def _need_word(name: str, word: Any, is_path: bool) -> None:
    """Raises `SpecError` for a text on one line that no file can be called."""
    try:
        encoded = os.fsencode(word)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise fail("wrong-type", f"`{name}` is {brief(word)}, which has a character that no name has")
    if is_path and max(map(len, encoded.split(b"/"))) > LONGEST:
        raise fail("wrong-type", f"`{name}` is {brief(word)}..., longer than any name of a file")


def need_names(names: Iterable[Any], known: Collection[str] | None = None) -> None:
    """Raises `SpecError` for a list of names in which something is no text, or not one that is `known`."""
    for name in names:
        if not isinstance(name, str):
            raise fail("wrong-type", f"{brief(name)} is among the names: a name is a text")
        if known is not None and name not in known:
            help = did_you_mean(name, known, f"one of: {', '.join(known) or 'there are no such names'}")
            raise fail("unknown-name", f"there is no {brief(name)} here", help)


def _kinds(value: Any) -> list[str]:
    """A value's classes, each after the library that it is of: `torch.Module`; `path` and `dict`."""
    bases = type(value).__mro__ if not isinstance(value, type) else ()
    kinds = [f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in bases]
    kinds += ["path"] if isinstance(value, str | os.PathLike) else []
    return kinds + (["dict"] if isinstance(value, Mapping) else [])


class Sized(Protocol):
    """A program, as far as arguments are checked against it: its inputs have named sizes with bounds."""

    @property
    def minimum_sizes(self) -> Mapping[str, int]: ...

    @property
    def maximum_sizes(self) -> Mapping[str, int]: ...


def size_mistake(program: Sized, name: str, size: int) -> tuple[str, str, str | None] | None:
    """The code, the message and the remedy for a value of a named size that the inputs of a program do not
    name, or that is out of its range.
    """
    least, most = program.minimum_sizes, program.maximum_sizes
    if name not in least:
        known = ", ".join(n for n in least if not n.startswith("?"))
        help = did_you_mean(name, least, f"its sizes: {known or 'all are numbers'}")
        return "unknown-name", f"the spec names no size `{name}`", help
    if not least[name] <= size <= most.get(name, size):
        bounds = f"at least {least[name]}" + (f", at most {most[name]}" if name in most else "")
        return "out-of-range", f"`{name}` is {bounds}", None
    return None


def need_sizes(program: Sized, sizes: Mapping[str, Any]) -> None:
    """Raises `SpecError` for sizes that a program cannot have."""
    need(sizes=sizes)
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise fail("wrong-type", f"the size `{name}` is {brief(size)}, but must be a whole number")
        mistake = size_mistake(program, name, int(size))
        if mistake is not None:
            raise fail(*mistake)
