"""A layer, merge or op found by its name, and its arguments read; each mistake reported at its place."""

from __future__ import annotations

import re
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Kind, Layer, Wrapper
from graphspec.diagnostics import nearest
from graphspec.elaborate.instance import NodeInstance
from graphspec.objectives.settings import SettingError, validate

ALONE = re.compile(r"\$(\w+|\(.*\))")
"""A value that is nothing but an insertion."""

INFERRED = ("in_features", "in_channels", "input_size", "input_shape", "num_features", "normalized_shape")
"""What other libraries must be told of a layer's input."""


def layer_class(node: NodeInstance, kind: Kind, name: Any) -> type[Layer] | None:
    """The class that a name stands for; an unknown one is reported with the nearest."""
    known = REGISTRY[kind]
    if isinstance(name, str) and name in known:
        return known[name]
    near, word = nearest(str(name), known, known.synonyms), str(name).lower()
    other = next((k for k in REGISTRY if k != kind and word in REGISTRY[k]), None)
    if other is not None and (near is None or other == "merge" or near == word):
        help: str | None = f"`{word}` is a `{other}`: write {{{other}: {word}}}"
    elif near is not None:
        help = f"did you mean `{near}`?"
    else:
        help = "`graphspec layers` lists them all"
    node.error(f"unknown-{kind}", node.span_of(kind), f"unknown {kind} `{name}`", help)
    return None


def read_layer(node: NodeInstance, cls: type[Layer], arguments: dict[str, Any]) -> Layer | None:
    """The layer with these arguments; each mistake is reported at the argument."""
    try:
        return validate(
            cls, arguments, f"{cls.kind} `{cls.spec_name}`" if cls.kind != "layer" else f"`{cls.spec_name}`"
        )
    except SettingError as error:
        for problem in error.problems:
            missing = problem.code == "missing-key"
            span = node.span if missing else node.span_of(*problem.path)
            help = problem.help
            if problem.code == "unknown-key":
                nested = node.key(*problem.path)
                span = node.key_of(str(problem.path[0])) if len(problem.path) == 1 else nested
                help = _misplaced(cls, problem.path) or help
            raw = str(node.declared.extra.get(str(problem.path[0]), "")) if problem.path else ""
            if problem.code == "wrong-type" and "$" in raw and not ALONE.fullmatch(raw):
                help = help and "an expression that stands alone, `$name` or `$(...)`, keeps its type"
            node.error(problem.code, span, problem.message, help)
        return None


def _misplaced(cls: type[Layer], path: tuple[str | int, ...]) -> str | None:
    """Where a key belongs that no layer takes as an argument, or this one only as an input."""
    key = path[-1]
    if key in INFERRED:
        return "it is not needed here: the size is inferred from the input"
    if path == ("name",):
        return "the key that a node stands under is its name"
    if path in (("input",), ("inputs",)):
        return "write what it reads under `from`"
    if len(path) > 1 or cls.variadic:
        return None
    if issubclass(cls, Wrapper) or "wraps" in cls.model_fields:
        wrapped = f"what it wraps takes it: wraps: {{layer: ..., {key}: ...}}"
        return wrapped if _wrapped_takes(cls, str(key)) else None
    if len(cls.arguments) < 2:
        return None
    first, *others = [argument.name for argument in cls.arguments]
    return f"it is an input: from: {{{first}: ..., {key}: ...}}" if key in others else None


def _wrapped_takes(cls: type[Layer], key: str) -> bool:
    """Whether a layer that the examples of this one wrap takes an argument of this name."""
    wrapped = {example.arguments["wraps"]["layer"] for example in cls.examples}
    return any(key in REGISTRY["layer"][name].model_fields for name in wrapped)
