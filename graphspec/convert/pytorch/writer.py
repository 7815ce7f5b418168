"""Nodes made on the way through a traced graph, and what is known of parameters alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from graphspec.convert.nodes import CalledEntry, ConvertedNode, ConvertedValue, Read, Stored
from graphspec.convert.pytorch.layout import Laid, merged_axes
from graphspec.convert.pytorch.sizes import Size, product
from graphspec.convert.refusals import Unsupported

Look = Callable[[str], Tensor]
"""A parameter or buffer of the module by its name."""


@dataclass(eq=False, slots=True)
class Known:
    """A tensor that does not depend on data. `source` finds it again in other parameters, where it only picks
    and arranges them; `names` are the parameters that it was computed of.
    """

    tensor: Tensor
    names: frozenset[str] = frozenset()
    source: Callable[[Look], Tensor] | None = None
    slope: Callable[[Look], Tensor] | None = None  # that of gradients, where it is another one

    def map(self, change: Callable[[Tensor], Tensor]) -> Known:
        """The same elements, arranged in another way."""

        def after(source: Callable[[Look], Tensor] | None) -> Callable[[Look], Tensor] | None:
            return None if source is None else lambda get: change(source(get))

        return Known(change(self.tensor), self.names, after(self.source), after(self.slope))


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """Where in the module a node is from: the attributes and classes that lead there, outermost first, and
    the line of the user's code. `main` is the node that stands for the innermost module.
    """

    modules: tuple[tuple[str, str, str], ...]  # a key for each call, the path of attributes, the class
    line: str
    main: bool = False


@dataclass(eq=False, slots=True)
class NodeWriter:
    """Collects nodes. `origin` is that of the call which is being written."""

    nodes: list[ConvertedNode] = field(default_factory=list)
    origins: dict[ConvertedNode, CallOrigin] = field(default_factory=dict)
    weights: dict[tuple[str, ...], dict[str, Known]] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    learned: frozenset[str] = frozenset()
    trains: Mapping[str, bool] = field(default_factory=dict)
    origin: CallOrigin = CallOrigin((), "")
    rates: dict[ConvertedNode, float] = field(default_factory=dict)  # of the dropout in attention
    entries: dict[CalledEntry, CallOrigin] = field(default_factory=dict)
    rate: float = 0.0  # that of the attention which is being written

    def node(
        self,
        form: Any,
        what: Any,
        arguments: Mapping[str, Any] | None = None,
        reads: Sequence[tuple[str, Read]] = (),
        weights: Mapping[str, Known | None] | None = None,
        main: bool = True,
        outputs: tuple[str, ...] = (),
    ) -> ConvertedNode:
        """Adds a node; `weights` by their names in the state dict of the spec's layer."""
        given = {key: value for key, value in (arguments or {}).items()}
        style: Any = "one" if len(reads) == 1 and isinstance(reads[0][1], ConvertedValue) else "named"
        if form in ("merge",) or (form == "op" and len(reads) > 1 and not reads[0][0]):
            style = "list"
        node = ConvertedNode(str(what), form, what, given, list(reads), style, outputs)
        node.automatic = True
        self.nodes.append(node)
        self.origins[node] = replace(self.origin, main=main)
        if weights is not None:
            held = {key: value for key, value in weights.items() if value is not None}
            path = (str(len(self.weights)),)
            self.weights[path] = held
            node.stored = Stored(path, ())
            for known in held.values():
                self.uses(known)
            own = [name for known in held.values() for name in known.names if name in self.trains]
            node.trainable = not own or any(self.trains[name] for name in own)
        return node

    def uses(self, known: Known) -> None:
        """Remembers parameters whose function a constant freezes."""
        if known.source is None:
            self.frozen |= {name for name in known.names if self.trains.get(name)}

    def make(self, form: Any, what: Any, arguments: Any, reads: Any, like: Laid, **other: Any) -> Laid:
        """A node whose result has the axes of one of its inputs."""
        node = self.node(form, what, arguments, reads, **other)
        return replace(like, value=ConvertedValue(node))

    def origins_of(self, entry: CalledEntry) -> str:
        """The path of the module that an entry is from."""
        modules = self.entries[entry].modules
        return modules[-1][1] if modules else "shared"

    # --- axes

    def split(self, laid: Laid, shape: Sequence[Size]) -> Laid:
        """The tensor in another shape."""
        laid = self.solid(self._repeated(laid, shape))
        try:
            axes, splits = laid.regrouped(shape)
        except Unsupported:
            joined = [axis for axis in laid.axes if 0 not in axis]
            if any(0 in axis and len(axis) > 1 for axis in laid.axes) or all(
                len(axis) < 2 for axis in joined
            ):
                raise
            laid = self.lay(laid, joined)
            axes, splits = laid.regrouped(shape)
        sizes = [part for j, size in enumerate(laid.sizes) for part in splits.get(j, [size])]
        value = laid.value
        if splits:
            value = self.reshaped(value, sizes)
        return Laid(value, tuple(sizes), axes, tuple(shape), laid.dtype)

    def _repeated(self, laid: Laid, shape: Sequence[Size]) -> Laid:
        """A tensor stretched along an axis that the shape joins to the one before: a `repeat` of that."""
        places = laid.stretched()
        if len(places) != 1 or len(shape) != len(laid.shape) - 1:
            return laid
        i = places[0]
        joined = [*laid.shape[: i - 1], product(laid.shape[i - 1 : i + 1]), *laid.shape[i + 1 :]]
        j = laid.sole(i - 1) if i else None
        if list(shape) != joined or not j or not isinstance(laid.shape[i], int):
            return laid
        given = {"repeats": laid.shape[i], "axis": j}
        node = self.node("op", "repeat", given, [("x", laid.value)], main=False)
        kept = laid.without([i])
        sizes = [size * laid.shape[i] if k == j else size for k, size in enumerate(laid.sizes)]
        return Laid(ConvertedValue(node), tuple(sizes), kept.axes, tuple(shape), laid.dtype)

    def reshaped(self, value: ConvertedValue, sizes: Sequence[Size]) -> ConvertedValue:
        """A value with other axes; `sizes` begin with the batch."""
        target = [size if isinstance(size, int) else -1 for size in sizes[1:]]
        if target.count(-1) > 1:
            raise Unsupported(
                "it reshapes a tensor with two sizes that stay open", "give one of them a number in --input"
            )
        return ConvertedValue(
            self.node("layer", "Reshape", {"target_shape": target}, [("x", value)], main=False)
        )

    def solid(self, laid: Laid) -> Laid:
        """With axes of its own where it is only stretched."""
        places = laid.stretched()
        if not places:
            return laid
        groups = [laid.axes[i] for i in range(len(laid.axes)) if 0 not in laid.axes[i]]
        if laid.batch != 0:
            raise Unsupported("it is broadcast with its batch after other axes", "keep the batch first")
        flat = self.lay(replace(laid, shape=tuple(laid.length(a) for a in laid.axes)), groups, stretch=True)
        sizes = [flat.sizes[0], *(laid.shape[i] for i in range(1, len(laid.axes)))]
        if all(isinstance(size, int) for size in sizes[1:]):
            what, given = "broadcast_to", {"shape": [-1, *sizes[1:]]}
            value = ConvertedValue(self.node("op", what, given, [("x", flat.value)], main=False))
        else:
            raise Unsupported("it is stretched to a size that stays open", "give the size a number")
        axes = tuple((i,) for i in range(len(laid.axes)))
        return Laid(value, tuple(sizes), axes, laid.shape, laid.dtype)

    def lay(self, laid: Laid, groups: Sequence[tuple[int, ...]], stretch: bool = False) -> Laid:
        """The tensor with a value whose axes after the batch are these groups of its present ones; an empty
        group is an axis of size 1. Axes of size 1 that no group has are dropped.
        """
        flat = [j for group in groups for j in group]
        count = len(laid.sizes)
        left = [j for j in range(1, count) if j not in flat]
        if any(laid.sizes[j] != 1 for j in left) or len(set(flat)) != len(flat) or 0 in flat:
            raise Unsupported("it mixes the examples of a batch", "keep the batch apart from other axes")
        value, order = laid.value, [*flat, *left]
        moved = [j for j in order if laid.sizes[j] != 1]
        if moved != sorted(moved):
            value = ConvertedValue(self.node("layer", "Permute", {"dims": order}, [("x", value)], main=False))
        elif order != sorted(order):
            pass  # only axes of size 1 move: a reshape does it
        sizes = [laid.sizes[0], *(product(laid.sizes[j] for j in group) for group in groups)]
        before = [
            laid.sizes[0],
            *(laid.sizes[j] for j in (order if moved != sorted(moved) else range(1, count))),
        ]
        if sizes != before:
            value = self._joined(value, before, sizes)
        if stretch:
            axes: Any = ()
        else:
            axes = merged_axes(laid, groups)
        return Laid(value, tuple(sizes), axes, laid.shape, laid.dtype)

    def _joined(self, value: ConvertedValue, before: Sequence[Size], sizes: Sequence[Size]) -> ConvertedValue:
        if len(sizes) == 1:
            return ConvertedValue(self.node("op", "reshape", {"newshape": [-1]}, [("x", value)], main=False))
        if len(sizes) == 2 and len(before) > 2:
            return ConvertedValue(self.node("layer", "Flatten", {}, [("x", value)], main=False))
        if len(sizes) == len(before) + 1:
            place = (
                next(
                    i
                    for i in range(1, len(sizes))
                    if list(before[i:]) == list(sizes[i + 1 :])
                    and sizes[i] == 1
                    and list(before[:i]) == list(sizes[:i])
                )
                if any(
                    list(before[i:]) == list(sizes[i + 1 :])
                    and sizes[i] == 1
                    and list(before[:i]) == list(sizes[:i])
                    for i in range(1, len(sizes))
                )
                else None
            )
            if place is not None:
                axis = -1 if place == len(sizes) - 1 else place
                return ConvertedValue(
                    self.node("op", "expand_dims", {"axis": axis}, [("x", value)], main=False)
                )
        return self.reshaped(value, sizes)

    def natural(self, laid: Laid) -> Laid:
        """With an axis for each torch axis, in torch's order, the batch first."""
        laid = self.solid(laid)
        if laid.batch != 0:
            raise Unsupported("its batch is not the first axis where it leaves the model", "return it first")
        groups = [laid.axes[i] for i in range(1, len(laid.axes))]
        if tuple(laid.axes) == tuple((i,) for i in range(len(laid.sizes))):
            return laid
        found = self.lay(laid, groups)
        return replace(found, axes=tuple((i,) for i in range(len(laid.axes))))

    def spatial(self, laid: Laid) -> Laid:
        """An image, sequence or volume with its channels, torch's axis 1, last in the value."""
        laid = self.solid(laid)
        if laid.axes[0] != (0,):
            raise Unsupported(
                "it merges the batch with another axis before a layer of images",
                "treat frames or windows in the model of one image, and wrap that in TimeDistributed",
            )
        groups = [laid.axes[i] for i in (*range(2, len(laid.axes)), 1)]
        wanted = ((0,), (len(groups),), *((i,) for i in range(1, len(groups))))
        if laid.axes == wanted and len(laid.sizes) == len(groups) + 1:
            return laid
        found = self.lay(laid, groups)
        return replace(found, axes=wanted)

    def last(self, laid: Laid, i: int = -1) -> Laid:
        """With a torch axis as the last axis of the value."""
        laid = self.solid(laid)
        i %= len(laid.axes)
        end = len(laid.sizes) - 1
        if laid.axes[i] == (end,) or laid.real(i) == (end,):
            return laid
        group = laid.axes[i]
        if 0 in group:
            raise Unsupported("it mixes the examples of a batch", "keep the batch apart from other axes")
        used = {j for axis in laid.axes for j in axis}
        others = [(j,) for j in range(1, len(laid.sizes)) if j not in group and j in used]
        found = self.lay(laid, [*others, group])
        if not group:
            axes = list(found.axes)
            axes[i] = (len(found.sizes) - 1,)
            found = replace(found, axes=tuple(axes))
        return found

    # --- what is known as a node

    def held(self, known: Known, name: str = "parameter") -> ConvertedValue:
        """A known tensor, without a batch axis, as a parameter or a constant."""
        self.uses(known)
        if not known.tensor.dim():
            known = known.map(lambda t: t.reshape(1))
        tensor = known.tensor
        if tensor.dtype in (torch.bool, torch.int64, torch.int32) or (
            tensor.numel() <= 16 and not known.names
        ):
            if tensor.numel() > 4096:
                raise Unsupported(
                    f"it holds a table of {tensor.numel():,} numbers that are not learned",
                    "compute it in the model, or write this part of the spec by hand",
                )
            dtype = str(tensor.dtype).removeprefix("torch.")
            given = {} if dtype == "float32" else {"dtype": dtype}
            return ConvertedValue(self.node("constant", tensor.tolist(), given, main=False))
        shape = list(tensor.shape)
        floats = known.map(lambda t: t.float()[None])
        node = self.node("parameter", shape, {}, weights={"": floats}, main=False)
        node.trainable = (
            bool(known.names)
            and known.source is not None
            and node.trainable
            and any(self.trains.get(n) for n in known.names)
        )
        words = sorted(known.names)
        node.name = words[0].rpartition(".")[2] if len(words) == 1 else name
        node.automatic = not words
        return ConvertedValue(node)
