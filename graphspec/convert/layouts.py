"""Where the batch is in the tensors of a traced model, which Keras has anywhere and a spec has first:

    Keras                 spec
    (P, 4, 8)             (batch, 4, 8)        plain
    (3, P, 4)             (batch, 3, 4)        moved: code has transposed or stacked it
    (4 P, 8)              (batch, 4, 8)        merged: code has reshaped it
    (4, 8)                (1, 4, 8)            lone, whole: weights, constants, what is computed of them alone
    (1, 4, 8)             (1, 4, 8)            lone, aligned: axes have the same numbers

P, a number of examples, is None in shapes, and 4 P is -4. A batch of 1 stretches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphspec.convert.config import Call, KerasLayer, KerasTensor, function_name, tensors_in
from graphspec.convert.nodes import ConvertedNode, ConvertedValue
from graphspec.convert.refusals import Unsupported

Shape = tuple[int | None, ...]

AXES = frozenset(["axis", "axes", "axis1", "axis2", "source", "destination"])
OF_RESULT = frozenset(["expand_dims", "stack", "one_hot"])
"""Functions whose axes are counted in what they give."""
FLATTENED = frozenset(["argmax", "argmin", "cumsum", "cumprod", "take", "repeat", "roll", "sort", "argsort"])
"""Functions that without an axis make a vector of a tensor first."""
NAMING = frozenset(["ExpandDims", "Squeeze", "Reshape", "GetItem", "Transpose"])
"""Functions that may change nothing but which axis is the batch."""
WHOLE = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
"""`:` in an index."""
INSTEAD = "keep the examples of a batch on the first axis, one for each"


@dataclass(frozen=True, slots=True)
class Lone:
    """A tensor without a batch in the place of an argument, whole or aligned."""

    tensor: KerasTensor
    aligned: bool = False

    @property
    def depth(self) -> int:
        return len(self.tensor.shape or ())

    def beside(self, rank: int | None) -> Lone:
        """As it meets a tensor of so many axes. Raises `Unsupported`."""
        if rank is None or self.depth < rank:
            return self
        if self.depth > rank or (self.tensor.shape or (0,))[0] != 1:
            help = "give it the axes of one example, or one more of size 1"
            raise Unsupported("a tensor without a batch has a value for each example", help)
        return replace(self, aligned=True)


def batch_place(shape: Shape) -> int | None:
    """The axis on which the examples are, None without one. Raises `Unsupported` for several."""
    open_axes = [place for place, size in enumerate(shape) if size is None or size < 0]
    if len(open_axes) > 1 and open_axes[0] != 0:
        raise Unsupported("it moves the batch after axes whose sizes the model leaves open", INSTEAD)
    return open_axes[0] if open_axes else None


def is_plain(shape: Shape | None) -> bool:
    """Whether the batch is the first axis, and nothing is merged with it."""
    return shape is None or shape[:1] == (None,)


def axes_of(shape: Shape) -> list[int]:
    """The axis in a spec of each axis in Keras; of a merged batch, its first."""
    place = batch_place(shape)
    if place is None:
        return list(range(1, len(shape) + 1))
    first = 1 if shape[place] is None else 2
    others = iter(range(first, len(shape) + first))
    return [0 if axis == place else next(others) for axis in range(len(shape))]


def in_spec(shape: Shape, aligned: bool = False) -> list[int | None]:
    """The shape in a spec; the batch is None, or 1."""
    place = batch_place(shape)
    if place is None:
        return list(shape) if aligned else [1, *shape]
    size = shape[place]
    merged = [] if size is None else [-size]
    return [None, *merged, *shape[:place], *shape[place + 1 :]]


class Layouts:
    """The layouts of a model's tensors: which have no batch, and the values of those in both forms."""

    def __init__(self, values: Mapping[KerasTensor, ConvertedValue]):
        self.values = values
        self.aligned: set[KerasTensor] = set()
        self.made: dict[KerasTensor, ConvertedValue] = {}

    def lone(self, tensor: KerasTensor) -> bool:
        """Whether a tensor has no batch."""
        return tensor.shape is not None and batch_place(tensor.shape) is None

    def plain(self, tensor: KerasTensor) -> bool:
        return not self.lone(tensor) and is_plain(tensor.shape)

    def value(self, tensor: KerasTensor, aligned: bool) -> ConvertedValue:
        """The value of a lone tensor, whole or aligned. Raises `Unsupported`."""
        if (tensor in self.aligned) == aligned:
            return self.values[tensor]
        if tensor not in self.made:
            if aligned:
                Lone(tensor).beside(len(tensor.shape or ()))
            word, what = ("row", "squeeze") if aligned else ("whole", "expand_dims")
            read = [("x", self.values[tensor])]
            node = ConvertedNode(f"{tensor.layer}_{word}", "op", what, {"axis": 1}, read)
            self.made[tensor] = ConvertedValue(node)
        return self.made[tensor]

    def read(self, tensor: KerasTensor, aligned: bool = True) -> ConvertedValue:
        """The value of a tensor, a lone one as it meets others. Raises `Unsupported`."""
        return self.value(tensor, aligned) if self.lone(tensor) else self.values[tensor]

    def spec_shape(self, tensor: KerasTensor) -> list[int | None]:
        return in_spec(tensor.shape or (), tensor in self.aligned)

    def same(self, layer: KerasLayer, call: Call, shape: Shape) -> bool | None:
        """Whether a function that gives this shape changes nothing but which axis is the batch: true where
        its result is aligned, false where it is not, None where the function does something.
        """
        first = next(tensors_in(call.args))
        if layer.class_name not in NAMING or first.shape is None:
            return None
        if layer.class_name == "Transpose":
            moved = remapped(layer, call, self, shape)[0].config["axes"]
            return False if moved == sorted(moved) else None
        if layer.class_name == "GetItem" and not self.lone(first):
            return None
        before = self.spec_shape(first)
        if self.lone(first):
            for aligned in (False, True):
                fits = shape[:1] == (1,) if aligned else True
                if fits and in_spec(shape, aligned) == before and (first in self.aligned) != aligned:
                    return aligned
            return None
        return False if in_spec(shape) == before else None


def remapped(layer: KerasLayer, call: Call, layouts: Layouts, shape: Shape | None) -> tuple[KerasLayer, Call]:
    """A function with its axes as a spec counts them; `shape` is that of its result. Raises `Unsupported`."""
    name = function_name(layer.class_name)
    tensors = list(tensors_in([call.args, call.kwargs]))
    batched = [tensor for tensor in tensors if not layouts.lone(tensor)]
    first = (batched or tensors)[0]
    _meet(batched)
    before = _Before(name, first.shape or (), axes_of(first.shape or ()), shape)
    config = {key: before.moved(key, value) for key, value in layer.config.items()}
    if name == "transpose" and config.get("axes") is None:
        config["axes"] = before.moved("axes", None)
    args = list(call.args)
    second = {"get_item": "key", "slice": "start_indices"}.get(name)
    if second is not None and len(args) > 1:
        args[1] = before.moved(second, args[1])
    kwargs = {key: before.moved(key, value) for key, value in call.kwargs.items()}

    def told(value: Any) -> Any:
        if isinstance(value, KerasTensor):
            lone = layouts.lone(value) and batched
            return value if lone else replace(value, shape=tuple(in_spec(value.shape or ())))
        if isinstance(value, (list, tuple)):
            return type(value)(map(told, value))
        return {key: told(item) for key, item in value.items()} if isinstance(value, dict) else value

    return (
        KerasLayer(layer.name, layer.class_name, layer.module, config, layer.calls),
        Call(told(tuple(args)), told(kwargs)),
    )


def _meet(batched: Sequence[KerasTensor]) -> None:
    """Refuses tensors whose batches are not on the same axis, counted from the last."""
    places = set()
    for tensor in batched:
        shape = tensor.shape or ()
        place = batch_place(shape)
        if place is not None:
            places.add((len(shape) - place if place or len(batched) > 1 else 0, shape[place]))
    if len(places) > 1:
        raise Unsupported("its tensors have the examples on different axes", INSTEAD)


@dataclass(frozen=True, slots=True)
class _Before:
    """The layout before a function: the shape of its first tensor with a batch, the axes of that in the spec,
    and the shape of its result.
    """

    name: str
    shape: Shape
    axes: list[int]
    result: Shape | None

    def moved(self, key: str, value: Any) -> Any:
        """An argument of the function in the spec."""
        rank, name = len(self.shape), self.name
        if name == "transpose" and key == "axes":
            order = value or range(rank - 1, -1, -1)
            return [*self.front(), *(self.axes[axis % rank] for axis in order if self.axes[axis % rank])]
        if name in ("reshape", "broadcast_to") and key in ("newshape", "shape"):
            return value if self.result is None else self.sizes()
        if name == "slice" and key == "shape":
            return self.sizes()
        if name == "squeeze" and key == "axis" and value is None:
            return [self.axes[place] for place, size in enumerate(self.shape) if size == 1]
        if key in AXES:
            return self.axis(value)
        if key == "pad_width" and isinstance(value, list) and isinstance(value[0], list):
            return self.ordered(value, [0, 0])
        if key == "start_indices":
            return self.ordered(value, 0)
        if key == "repeats" and name == "tile":
            value = value if isinstance(value, list) else [value]
            return self.ordered([1] * (rank - len(value)) + value, 1)
        if key == "subscripts":
            return (
                value if self.place is not None and not self.merged and not self.place else _lettered(value)
            )
        return self.index(value) if key == "key" else value

    @property
    def place(self) -> int | None:
        return batch_place(self.shape)

    @property
    def merged(self) -> bool:
        return self.place is not None and self.shape[self.place] is not None

    def front(self) -> list[int]:
        """The axes in the spec that are not axes of their own in Keras, or the batch."""
        return [0, 1] if self.merged else [0]

    def sizes(self) -> list[int | None]:
        if self.result is None:
            raise Unsupported("its result has no shape", INSTEAD)
        if self.place or batch_place(self.result):
            raise Unsupported("it reshapes a tensor whose examples are not on the first axis", INSTEAD)
        first, *rest = in_spec(self.result)
        return [-1 if first is None or first == 1 else first, *rest]

    def axis(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.axis(item) for item in value]
        rank, axes = len(self.shape), self.axes
        if self.name in OF_RESULT and self.result is not None:
            rank, axes = len(self.result), axes_of(self.result)
        if value is None:
            if self.name in FLATTENED:
                raise Unsupported("it makes a vector of a tensor", f"call `{self.name}` with an axis")
            return [axis for axis in axes if axis]
        return axes[value % rank]

    def ordered(self, value: list[Any], neutral: Any) -> list[Any]:
        """Items for each axis of Keras as those for each axis of the spec."""
        rest = [item for item, axis in zip(value, self.axes, strict=True) if axis]
        batch = [value[self.place]] if self.place is not None else [neutral]
        return [*batch, *([neutral] if self.merged else []), *rest]

    def index(self, value: Any) -> list[Any]:
        """An index by axes of Keras as one by axes of the spec."""
        items = list(value) if isinstance(value, list) else [value]
        known = sum(item is not None and not _is(item, "__ellipsis__") for item in items)
        full: list[Any] = []
        for item in items:
            full += [WHOLE] * (len(self.shape) - known) if _is(item, "__ellipsis__") else [item]
        known = sum(item is not None for item in full)
        full += [WHOLE] * (len(self.shape) - known)
        picks, axis = [], 0
        for item in full:
            if item is not None and axis == self.place:
                if item != WHOLE:
                    raise Unsupported("it picks from the examples of a batch", INSTEAD)
                axis += 1
                continue
            axis += item is not None
            picks.append(item)
        return [WHOLE] * len(self.front()) + picks


def _is(item: Any, kind: str) -> bool:
    return isinstance(item, dict) and item.get("class_name") == kind


def _lettered(subscripts: str) -> str:
    """Subscripts with a letter for the batch in front of each operand."""
    letter = next(each for each in "zyxwvutsrqponmlkjihgfedcba" if each not in subscripts)
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    return ",".join(letter + part for part in left.split(",")) + arrow + letter + right


def with_batch(subscripts: str, lone: list[bool]) -> str:
    """Subscripts in which operands without a batch begin with the letter of the batch, too."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    parts = left.split(",")
    letter = next((part[0] for part, alone in zip(parts, lone, strict=True) if not alone), "")
    parts = [letter + part if alone else part for part, alone in zip(parts, lone, strict=True)]
    return ",".join(parts) + arrow + right
