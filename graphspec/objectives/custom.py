"""Custom losses and metrics: named by their import path, called with outputs and targets.

Nothing here imports them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from graphspec.diagnostics import did_you_mean, nearest, write
from graphspec.objectives.formulas import mean_at
from graphspec.objectives.loss import Loss, Misfit
from graphspec.objectives.metrics import Metric
from graphspec.settings import Problem, SettingError, show, unfit
from graphspec.tensor import DTYPE_WORDS, DTYPES, Dim, Tensor, is_size, symbol

if TYPE_CHECKING:
    from torch import Tensor as Values

KEYS = ("module", "shape", "dtype", "arguments")
PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+\Z", re.ASCII)
TARGET = "target"
"""The input of a block that is the target, where the block is a loss."""
WORD = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


def is_path(text: object) -> bool:
    """Whether a text names something in a module: `my_layers.GatedMix`, no dunder names, no keywords."""
    if not isinstance(text, str) or not PATH.match(text) or text.endswith(".py"):
        return False
    return not any(part.startswith("__") or iskeyword(part) for part in text.split("."))


def path_help(text: object) -> str | None:
    """The remedy for what is no import path, and may be that of a file: `my/layers.py`, `layers.py:Mix`."""
    file, _, name = str(text).partition(":")
    parts = re.findall(r"\w+", file.removesuffix(".py"))
    dotted = ".".join([*parts, name or "GatedMix"])
    return f"write `module: {dotted}`: the file, then what is in it" if parts and is_path(dotted) else None


class CustomLoss(Loss):
    """`path` made with `arguments`, then called with what the model returns and with the targets; or the
    `program` of a block, for which the batch is one example: axis 1 of its inputs counts what it has.

    It gives one number for the batch, or one for each example. `shape` and `dtype` are the targets', where
    they are not the output's.
    """

    canonical: ClassVar[str] = "own"
    by_example = True
    path: str
    arguments: dict[str, Any]
    shape: tuple[Any, ...] | None = None
    dtype: str | None = None
    program: Any = Field(None, repr=False)

    @property
    def takes_target(self) -> bool:  # type: ignore[override]
        return self.program is None or TARGET in self.program.inputs

    @property
    def compares_examples(self) -> bool:
        return self.program is not None

    def at_positions(self, values: Values, mask: Values | None) -> Values:
        return mean_at(values, mask)

    def target(self, output: Tensor) -> Tensor:
        return _target(self, output)

    def count_misfit(self, count: int) -> Misfit:
        return None

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        return None


class CustomMetric(Metric):
    """As `CustomLoss`, reported and not trained for. Over an epoch it is the mean of what it gives for many
    examples at once.
    """

    canonical: ClassVar[str] = "own"
    path: str
    arguments: dict[str, Any]
    shape: tuple[Any, ...] | None = None
    dtype: str | None = None
    way: Literal["up", "down"] = "up"

    @property
    def direction(self) -> Literal["up", "down"]:  # type: ignore[override]
        return self.way

    def target(self, output: Tensor) -> Tensor:
        return _target(self, output)

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        return None


def custom_loss(value: dict[str, Any]) -> CustomLoss:
    """Reads a mapping with `module` as a loss. Raises `SettingError`."""
    fields = _read(value, ("reduction",), "loss")
    reduction = value.get("reduction", "sum_over_batch_size")
    if reduction not in ("sum_over_batch_size", "sum"):
        message = f"`reduction` of a custom loss is sum_over_batch_size or sum, not {show(reduction)}"
        raise unfit("out-of-range", message, None, "reduction")
    return CustomLoss.model_construct(name=fields["path"].rpartition(".")[2], reduction=reduction, **fields)


def no_name(value: dict[str, Any]) -> SettingError | None:
    """Why a mapping without `name`, `module` and `block` is no loss; None where it is not such a one."""
    if {"name", "module"} & value.keys():
        return None
    near = {word: nearest(str(word), ("block", "module", "name")) for word in value}
    word = next((word for word, meant in near.items() if meant), None)
    if word is not None:
        help = write(near[word] or "", old=str(word))
        return unfit("unknown-key", f"`{word}` is not a key of a loss", help, str(word))
    word = next((word for word in ("compute", "layer", "op", "merge") if word in value), None)
    if word is None:
        return None
    message = f"a loss is a name, a `block` or a `module`, and no `{word}`"
    help = "make it a node, whose output has `loss: mean`; what reads all examples of a batch is a block"
    return unfit("unknown-key", message, help, word)


def custom_metric(value: dict[str, Any]) -> CustomMetric:
    """Reads a mapping with `module` as a metric. Raises `SettingError`."""
    fields = _read(value, ("as", "weighted", "direction"), "metric")
    way, label, weighted = value.get("direction", "up"), value.get("as"), value.get("weighted", False)
    if way not in ("up", "down"):
        message = f"`direction` says which way is better: up or down, not {show(way)}"
        raise unfit("out-of-range", message, None, "direction")
    if label is not None and not (isinstance(label, str) and WORD.match(label)):
        message = f"`as` is a name of letters, digits and underscores, not {show(label)}"
        raise unfit("out-of-range", message, None, "as")
    if not isinstance(weighted, bool):
        raise unfit("wrong-type", f"`weighted` is true or false, not {show(weighted)}", None, "weighted")
    word = fields["path"].rpartition(".")[2]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", word).lower()
    return CustomMetric.model_construct(name=name, label=label, weighted=weighted, way=way, **fields)


def target_type(value: Mapping[str, Any]) -> dict[str, Any]:
    """The `shape` and `dtype` of a target, as a loss or a metric says them. Raises `SettingError`."""
    shape, dtype = value.get("shape"), value.get("dtype")
    if shape is not None and not (isinstance(shape, list) and all(map(_is_size, shape))):
        message = (
            f"`shape` is that of a target: integers and names, without the batch axis, not {show(shape)}"
        )
        raise unfit("wrong-type", message, None, "shape")
    if dtype is not None and dtype not in DTYPES:
        help = did_you_mean(str(dtype), DTYPES, f"one of: {', '.join(DTYPES)}", DTYPE_WORDS)
        raise unfit("out-of-range", f"unknown dtype {show(dtype)}", help, "dtype")
    return {"shape": None if shape is None else tuple(shape), "dtype": dtype}


def _read(value: dict[str, Any], more: tuple[str, ...], what: str) -> dict[str, Any]:
    """The path, its constructor's arguments, and the targets' type."""
    path = value["module"]
    if "name" in value:
        raise unfit("two-forms", f"a {what} is a `name` or a `module`, not both", None, "name")
    if not is_path(path):
        message = f"a custom {what} is a path such as my_losses.Dice, not {show(path)}"
        raise unfit("wrong-type", message, path_help(path), "module")
    other_keys = {key: item for key, item in value.items() if key not in (*KEYS, *more)}
    under = value.get("arguments", {})
    if not isinstance(under, dict):
        raise unfit("wrong-type", f"`arguments` is a mapping, not {show(under)}", None, "arguments")
    problems = [
        Problem("bad-name", f"`{word}` cannot name an argument", None, (word,))
        for word in (*other_keys, *under)
        if not isinstance(word, str) or not WORD.match(word) or word.startswith("__")
    ]
    if problems:
        raise SettingError(*problems)
    return {"path": path, "arguments": {**other_keys, **under}, **target_type(value)}


def _is_size(size: Any) -> bool:
    return bool(WORD.match(size)) if isinstance(size, str) else is_size(size)


def _target(spec: CustomLoss | CustomMetric, output: Tensor) -> Tensor:
    usual = output.dtype if output.is_float else "float32"
    if spec.shape is None:
        return output.with_dtype(spec.dtype or usual)
    sizes: list[Dim] = [symbol(size) if isinstance(size, str) else size for size in spec.shape]
    return Tensor((output.shape[0], *sizes), spec.dtype or usual)
