"""Values without data: computed once, or written as nodes where that would freeze parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from graphspec.convert.pytorch.functions import CREATES, PICKS, handles, write
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.sizes import dtype_of, hint, known_number
from graphspec.convert.pytorch.writer import GetTensor, Known, NodeWriter
from graphspec.convert.refusals import Unsupported
from graphspec.diagnostics import by_word

DATA = {"embedding": "indices", "addmm": "mat1", "index": "self", "baddbmm": "batch1"}
"""The argument that is data where it is not the first one with tensors."""


@dataclass(frozen=True, slots=True)
class Computed:
    """One call on tensors that are known. `make` writes the nodes of it."""

    writer: NodeWriter
    node: fx.Node
    meta: Any
    values: Mapping[fx.Node, Any]
    make: Callable[[], Any]

    def run(self, word: str, arguments: dict[str, Any]) -> Any:
        """Its result: known, too."""
        build = _once(lambda: self._as_nodes(word, arguments))
        if word in CREATES and isinstance(self.meta, Tensor):
            return _created(word, arguments, self.meta, build, self._is_open())
        if word.removesuffix("_") in STOPS:
            return stopped(self.writer, arguments["self"])
        names: set[str] = set()
        pure, moved = True, word in PICKS

        def tensor(x: Any) -> Any:
            nonlocal pure
            if isinstance(x, Known):
                names.update(x.names)
                pure = pure and x.source is not None
                return x.tensor
            return hint(x)

        target: Any = self.node.target
        args, kwargs = (
            mapped(self.node.args, self.values, tensor),
            mapped(self.node.kwargs, self.values, tensor),
        )
        with torch.no_grad():
            value = target(*args, **kwargs)
        if word.startswith("empty"):  # whatever memory had: each element is written before it is read
            value.zero_()
        if not isinstance(value, (Tensor, list, tuple)):
            return value
        free = self._is_open()
        if word == "mul" and any(is_zero(x) for x in tensors_in(arguments)):
            names.clear()
        if word == "embedding" and isinstance(value, Tensor):
            rows = _rows_of(arguments["weight"], args[1], value)
            return Known(rows.tensor, rows.names, rows.source, (), build, free, self._is_batched())
        if word in ("to", "_to_copy") and isinstance(value, Tensor) and args and isinstance(args[0], Tensor):
            moved = value.dtype == args[0].dtype
        apart = any(x.apart for x in tensors_in(arguments) if isinstance(x, Known))
        apart = apart or (moved and len(set(self._trained(arguments))) > 1)  # joined
        kept = self._source() if moved and pure and names and not free and not apart else None
        all_of = frozenset(names)

        def known(value: Tensor, source: Any, made: Any) -> Known:
            return Known(value, all_of, source, (), made, free, self._is_batched(), apart=apart)

        if isinstance(value, Tensor):
            return known(value, kept, build)
        return tuple(known(part, _part(kept, i), _part_writer(build, i)) for i, part in enumerate(value))

    def _trained(self, arguments: dict[str, Any]) -> Iterator[bool]:
        """Whether each of the given tensors that is made of parameters trains."""
        for x in tensors_in(arguments):
            if isinstance(x, Known) and x.names:
                yield self.writer.learns(x)

    def _source(self) -> Callable[[GetTensor], Tensor]:
        target: Any = self.node.target

        def source(get: Any) -> Any:
            def looked(x: Any) -> Any:
                if not isinstance(x, Known):
                    return hint(x)
                assert x.source is not None  # all are pure
                return x.source(get)

            return target(
                *mapped(self.node.args, self.values, looked), **mapped(self.node.kwargs, self.values, looked)
            )

        return source

    def _is_open(self) -> bool:
        """Whether the result depends on a size, other than the batch, that stays open."""
        inputs = [self.values.get(node) for node in self.node.all_input_nodes]
        if any(x.open for x in tensors_in(inputs) if isinstance(x, Known)):
            return True
        metas = [self.meta, *(node.meta.get("val") for node in self.node.all_input_nodes)]
        return any(self._has_open(size) for meta in metas for size in _sizes(meta))

    def _is_batched(self) -> bool:
        """Whether the batch is an axis of the result."""
        batches = self._batches()
        return any(
            batches & set(getattr(known_number(size), "free_symbols", ())) for size in _sizes(self.meta)
        )

    def _has_open(self, size: Any) -> bool:
        size = known_number(size)
        symbols = set(getattr(size, "free_symbols", ()))
        return bool(symbols - self._batches())

    def _batches(self) -> set[Any]:
        return {symbol for size in self.writer.batches for symbol in getattr(size, "free_symbols", ())}

    def _as_nodes(self, word: str, arguments: dict[str, Any]) -> Any:
        """The nodes of it: a look into a table of parameters is an `Embedding`."""
        w = self.writer
        if word in ("index", "index_select", "slice"):
            table: Known = arguments["self"]
            place, places = self._places(word, table, arguments)
            if places is not None:
                flat = table.map(lambda t: t.reshape(t.shape[-2:]).movedim(place, 0))
                embedded = write(w, "embedding", weight=flat, indices=places)
                rank = len(embedded.shape)
                if place:  # columns
                    embedded = embedded.permuted((rank - 1, *range(rank - 1)))
                for _ in range(table.tensor.dim() - 2):
                    embedded = embedded.inserted(0)
                return embedded
        return self.make()

    def _places(self, word: str, table: Known, arguments: dict[str, Any]) -> tuple[int, Laid | None]:
        """Which rows (0) or columns (1) of a table of parameters or constants are picked, or None."""
        shape, w = table.tensor.shape, self.writer
        if table.open or (table.names and table.source is None) or not table.tensor.is_floating_point():
            return 0, None
        if len(shape) < 2 or any(size != 1 for size in shape[:-2]):
            return 0, None
        place = int(arguments.get("dim", 0)) % len(shape)
        if word == "slice":
            end = known_number(self.meta.shape[place])
            counts = (
                arguments.get("start") in (0, None) and arguments.get("step", 1) == 1 and end in w.lengths
            )
            return 0, counted(w, end) if counts and place == len(shape) - 2 else None
        indices = [arguments["index"]] if word == "index_select" else list(arguments["indices"])
        if word == "index":
            place = next(i for i, index in enumerate(indices) if index is not None)
        first = indices[-1]
        several = sum(index is not None for index in indices) > 1
        if len(shape) != 2 or several or not isinstance(first, Known) or first.tensor.dtype == torch.bool:
            return 0, None
        return place, w.data(first)


STOPS = ("detach", "detach_copy")


@handles(*STOPS)
def _detach(w: NodeWriter, self: Any) -> Any:
    return stopped(w, self)


def stopped(w: NodeWriter, x: Any) -> Any:
    """Stops the gradient of a value."""
    if isinstance(x, Laid):
        return w.stopped(x)
    if isinstance(x, Known) and w.learns(x):
        build = _once(lambda: w.stopped(w.data(x)))
        return Known(x.tensor, x.names, made=build, open=x.open, batched=x.batched, apart=True)
    if isinstance(x, (list, tuple)):
        return getattr(type(x), "_make", type(x))([stopped(w, part) for part in x])
    return x


@handles("arange")
def _arange(w: NodeWriter, out: Any, start: Any = 0, step: Any = 1) -> Laid:
    numbers = counted(w, out.shape[0])
    if (start, step) != (0, 1):
        raise Unsupported(
            "it counts in steps to a size that stays open", "count from 0, and compute with that"
        )
    return w.cast(numbers, dtype_of(out))


@handles(*CREATES, "full", "zeros", "ones", "empty")
def _filled(w: NodeWriter, out: Any, function: str, fill_value: Any = None) -> Laid:
    """A tensor of one number, stretched."""
    number = 1 if "ones" in function else fill_value if "full" in function else 0
    number = number.tensor.item() if isinstance(number, Known) else number
    held = w.held(Known(torch.full((1,), number, dtype=out.dtype)))
    axes = tuple((0,) if size in w.batches else () for size in out.shape)
    sizes = (next((size for size in out.shape if size in w.batches), 1), 1)
    return Laid(held, sizes, axes, tuple(out.shape), dtype_of(out))


def counted(w: NodeWriter, size: Any) -> Laid:
    """0, 1, 2 and so on, as many as an open size says. Raises `Unsupported`."""
    if size not in w.lengths:
        raise Unsupported("it counts to a size that no input has", "give the size a number in --input")
    value, axis = w.lengths[size]
    return w.of(Laid(value, (1, size), ((1,),), (size,), "int64"), "arange", axis=axis)


def variants(w: NodeWriter, word: str, arguments: dict[str, Any]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Ways to give known tensors to a handler: those that are computed of trained parameters as nodes, the
    first as a node, all as nodes, none.
    """

    def changed(test: Callable[[str, Known], bool]) -> dict[str, Any]:
        return {
            name: over(value, lambda x, name=name: w.data(x) if test(name, x) else x)  # type: ignore[misc]
            for name, value in arguments.items()
        }

    aside = beside(w, word, arguments)

    def learned(name: str, x: Known) -> bool:
        computed = x.made is not None and (x.open or (x.source is None and w.learns(x)))
        return computed or w.is_node(x) or name in aside

    held = {name: list(tensors_in(value)) for name, value in arguments.items()}
    flat = [(name, x) for name, found in held.items() for x in found]
    leading = DATA.get(word, next((name for name, found in held.items() if found), ""))
    tests = [
        learned,
        lambda name, x: learned(name, x) or name == leading,
        lambda name, x: True,
        lambda name, x: False,
    ]
    seen: list[list[bool]] = []
    for test in tests:
        which = [isinstance(x, Known) and test(name, x) for name, x in flat]
        data = any(isinstance(x, Laid) or now for (_, x), now in zip(flat, which, strict=True))
        if which not in seen and (data or not flat):
            seen.append(which)
            yield lambda test=test: changed(test)  # type: ignore[misc]


AROUND: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(by_word(of="linear convolution conv1d conv2d conv3d"), ("bias",)),
    **dict.fromkeys(by_word(of="conv_transpose1d conv_transpose2d conv_transpose3d"), ("bias",)),
    **dict.fromkeys(by_word(of="batch_norm instance_norm group_norm layer_norm"), ("weight", "bias")),
    "rms_norm": ("weight",),
    "addmm": ("self",),
}
"""The weights that are added to what a function gives without them, or multiply it."""


def beside(w: NodeWriter, word: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The weights of a function that are no weights of its layer: another layer has them without the others,
    or others of them without these, or they do not train together.
    """
    around = AROUND.get(word, ())
    weights = [arguments.get(name) for name in ("weight", "mat2", *around)]
    statistics = arguments.get("running_mean")
    if isinstance(statistics, Known) and not statistics.names:  # a constant, as is what normalizes by it
        weights.append(statistics)
    known = [x for x in dict.fromkeys(weights) if isinstance(x, Known)]
    common = any(name in w.common for x in known for name in x.names)
    return around if common or len(set(map(w.learns, known))) > 1 else ()


def over(value: Any, change: Callable[[Known], Any]) -> Any:
    """Known tensors replaced, in lists, too."""
    if isinstance(value, Known):
        return change(value)
    if isinstance(value, list):
        return [over(item, change) for item in value]
    if type(value) is tuple:
        return tuple(over(item, change) for item in value)
    return value


def tensors_in(value: Any) -> Iterator[Any]:
    """Tensors, known or not, in arguments."""
    if isinstance(value, (Known, Laid)):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def mapped(value: Any, values: Mapping[fx.Node, Any], change: Any) -> Any:
    """Arguments of a traced call with their tensors changed."""
    if isinstance(value, fx.Node):
        converted = values.get(value)
        if isinstance(converted, (tuple, list)):
            return type(converted)(change(x) for x in converted)
        meta = value.meta.get("val")
        if not isinstance(converted, (Known, Laid)) and isinstance(meta, (torch.SymInt, torch.SymFloat)):
            return meta.node.hint
        return change(converted)
    if isinstance(value, list):
        return [mapped(item, values, change) for item in value]
    if isinstance(value, tuple):
        return tuple(mapped(item, values, change) for item in value)
    if isinstance(value, Mapping):
        return {key: mapped(item, values, change) for key, item in value.items()}
    return change(value)


def is_zero(x: Any) -> bool:
    """Whether it is known to be zeros, and is made of no parameter."""
    return isinstance(x, Known) and not x.names and not x.tensor.any()


def _sizes(meta: Any) -> Iterator[Any]:
    if isinstance(meta, Tensor):
        yield from meta.shape
    elif isinstance(meta, (list, tuple)):
        for item in meta:
            yield from _sizes(item)
    elif isinstance(meta, (torch.SymInt, torch.SymFloat)):
        yield meta


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    """Nodes are written once, however many read them."""
    cache: list[Any] = []

    def once() -> Any:
        if not cache:
            cache.append(make())
        return cache[0]

    return once


def _part(source: Callable[[GetTensor], Tensor] | None, i: int) -> Callable[[GetTensor], Tensor] | None:
    return None if source is None else lambda get: source(get)[i]


def _part_writer(made: Callable[[], Any], i: int) -> Callable[[], Any]:
    return lambda: made()[i]


def _created(
    word: str, arguments: dict[str, Any], meta: Tensor, made: Callable[[], Any], free: bool
) -> Known:
    """A new tensor, of which data gives no more than the shape."""
    shape = [hint(size) for size in meta.shape]
    value = 1 if "ones" in word else arguments.get("fill_value", 0) if "full" in word else 0
    value = value.tensor.item() if isinstance(value, Known) else value
    return Known(torch.full(shape, value, dtype=meta.dtype), made=made, open=free, batched=meta.dim() > 0)


def _rows_of(table: Known, places: Tensor, rows: Tensor) -> Known:
    """Rows of a table at constant places: they stay parameters where each is taken once, or one for all."""
    if places.unique().numel() == places.numel():
        return table.map(lambda t: t[places])
    if places.unique().numel() == 1:
        row = int(places.flatten()[0])
        return table.map(lambda t: t[row].reshape(*[1] * places.dim(), -1))
    return Known(rows, table.names)
