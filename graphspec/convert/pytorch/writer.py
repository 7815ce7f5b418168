"""The nodes that a traced graph becomes, and the tensors that depend on parameters alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from graphspec.convert.arguments import without_defaults
from graphspec.convert.nodes import CalledEntry, ConvertedNode, ConvertedValue, Read, Stored
from graphspec.convert.pytorch.layout import Laid, merged_axes
from graphspec.convert.pytorch.sizes import Size, dtype_of, product
from graphspec.convert.refusals import Unsupported

LISTED = 64
"""Integers or booleans that a spec lists as a constant; more of them are stored with the weights."""
GetTensor = Callable[[str], Tensor]
"""A parameter or buffer of the module by its name."""
Common = Literal["beside", "node"]
"""How a parameter is written that several layers have, which differ in other weights: what is added after
them, or multiplies them, is `beside` them; or it is a `node`, and so is all that is computed with it.
"""


@dataclass(eq=False, slots=True)
class Known:
    """A tensor that does not depend on data. `source` finds it again in other parameters, where it only picks
    and arranges them; `names` are the parameters that it was computed of.
    """

    tensor: Tensor
    names: frozenset[str] = frozenset()
    source: Callable[[GetTensor], Tensor] | None = None
    terms: tuple[Callable[[GetTensor], Tensor], ...] = ()  # what it is the sum of, where it is one
    made: Callable[[], Any] | None = None  # writes the nodes that compute it, and gives the `Laid` of them
    open: bool = False  # it depends on a size that stays open, for which `tensor` has the traced one
    batched: bool = False  # the batch is one of its axes
    padding: int | None = None  # a row of it that PyTorch leaves as it is
    longest: float | None = None  # the norm that PyTorch shortens the rows to that it reads
    apart: bool = False  # a part of it learns nothing, though what it is made of does: only nodes say that

    def map(self, change: Callable[[Tensor], Tensor]) -> Known:
        """The same elements, arranged in another way."""

        def after(source: Callable[[GetTensor], Tensor] | None) -> Callable[[GetTensor], Tensor] | None:
            return None if source is None else lambda get: change(source(get))

        return Known(
            change(self.tensor),
            self.names,
            after(self.source),
            tuple(after(term) for term in self.terms),  # type: ignore[misc]
            open=self.open,
            apart=self.apart,
        )


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """Where in the module a node is from: the attributes and classes that lead there, outermost first, and
    the line of the user's code. `main` is the node that stands for the innermost module.
    """

    modules: tuple[tuple[str, str, str], ...]  # a key for each call, the path of attributes, the class
    line: str
    main: bool = False


UNSEEN = -1e30
"""The score of a key that is not seen: finite, as a softmax of infinities alone is NaN."""
HIDING = -1e4
"""The largest score that hides a key."""


@dataclass(frozen=True, slots=True)
class AttentionDropout:
    """The dropout of the weights of an attention, the size of its heads where that is known, and how many
    queries and keys there are.
    """

    rate: float
    size: int | None
    lengths: tuple[Size, Size]


@dataclass(frozen=True, slots=True)
class MaskedScores:
    """Scores, a mask that hides some of them, true where they stay or what is added to them, and how many
    queries and keys there are.
    """

    scores: ConvertedValue
    mask: Tensor
    lengths: tuple[Size, ...]


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
    rates: dict[ConvertedNode, AttentionDropout] = field(default_factory=dict)  # of attention in one piece
    masked: dict[ConvertedNode, MaskedScores] = field(default_factory=dict)  # by masks that are constant
    traced: dict[tuple[ConvertedValue, Any], Tensor] = field(default_factory=dict)  # constants of open sizes
    entries: dict[CalledEntry, CallOrigin] = field(default_factory=dict)
    common: Mapping[str, Common] = field(default_factory=dict)
    shapes: Mapping[str, torch.Size] = field(default_factory=dict)  # of parameters
    batches: list[Size] = field(default_factory=list)  # the size of the batch, a symbol for each input
    lengths: dict[Size, tuple[ConvertedValue, int]] = field(
        default_factory=dict
    )  # where open sizes are found
    parameters: dict[frozenset[str], list[tuple[Tensor, ConvertedValue]]] = field(default_factory=dict)
    joined: dict[Laid, tuple[int, list[Any]]] = field(default_factory=dict)  # along which axis, and of what
    bounds: dict[str, float] = field(default_factory=dict)  # of the norms of rows of tables
    starts: dict[str, int] = field(default_factory=dict)  # the numbers of the first elements of parameters

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
        """Adds a node, with the arguments that differ from the defaults of its layer. `weights` are by their
        names in the state dict of that layer.
        """
        settings = without_defaults(form, what, arguments or {})
        style: Any = "one" if len(reads) == 1 and isinstance(reads[0][1], ConvertedValue) else "named"
        if form in ("merge",) or (form == "op" and len(reads) > 1 and not reads[0][0]):
            style = "list"
        node = ConvertedNode(str(what), form, what, settings, list(reads), style, outputs)
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
            node.trainable = not held or any(map(self.learns, held.values()))
        return node

    def learns(self, known: Known) -> bool:
        """Whether a parameter that trains is in it."""
        return any(self.trains.get(name) for name in known.names)

    def shares(self, node: ConvertedNode) -> bool:
        """Whether another layer has a weight of this one, and others of its own."""
        held = self.weights[node.stored.path] if node.stored is not None else {}
        return any(name in self.common for known in held.values() for name in known.names)

    def is_node(self, known: Known) -> bool:
        """Whether all that is made of it is made by nodes, of one that holds the parameter."""
        return any(self.common.get(name) == "node" for name in known.names)

    def uses(self, known: Known) -> None:
        """Remembers parameters whose function a constant freezes."""
        if known.open:
            raise Unsupported(
                "a constant depends on a size that stays open", "give the size a number in --input"
            )
        if known.apart:
            words = ", ".join(f"`{name}`" for name in sorted(known.names))
            raise Unsupported(
                f"a weight made of {words} is trained in part alone",
                "compute with the parts, and join the results",
            )
        if known.source is None:
            self.frozen |= {name for name in known.names if self.trains.get(name)}

    def of(self, x: Laid, what: str, weights: Any = None, /, **arguments: Any) -> Laid:
        """A layer or an op of one tensor, whose result has its axes."""
        node = self.node(_form(what), what, arguments, [("x", x.value)], weights)
        return replace(x, value=ConvertedValue(node))

    def after(self, value: ConvertedValue, what: str, /, **arguments: Any) -> ConvertedValue:
        """The result of a layer or an op for a value on its way to others."""
        return ConvertedValue(self.node(_form(what), what, arguments, [("x", value)], main=False))

    def cast(self, x: Laid, dtype: str) -> Laid:
        """The same tensor in a type."""
        return x if x.dtype == dtype else replace(self.of(x, "cast", dtype=dtype), dtype=dtype)

    def stopped(self, laid: Laid) -> Laid:
        """The same tensor, through which nothing before it learns."""
        if "float" not in laid.dtype or not self._learns(laid.value):
            return laid
        return self.of(laid, "stop_gradient")

    @staticmethod
    def _learns(value: ConvertedValue) -> bool:
        """Whether a trained weight comes before."""
        left, seen = [value.maker], set[Any]()
        while left:
            node = left.pop()
            if not isinstance(node, ConvertedNode) or node in seen:
                continue
            seen.add(node)
            if node.entry is not None or (node.stored is not None and node.trainable):
                return True
            if node.what != "stop_gradient":
                left += [read.maker for read in node.sources()]
        return False

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
            if laid.axes[0] == (0,) and shape[0] == laid.shape[0]:  # across axes: in torch's own order
                target = (laid.sizes[0], *shape[1:])
                value = self.reshaped(self.natural(laid).value, target)
                return Laid(value, target, tuple((i,) for i in range(len(shape))), tuple(shape), laid.dtype)
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
        return self._windows(Laid(value, tuple(sizes), axes, tuple(shape), laid.dtype))

    def _windows(self, laid: Laid) -> Laid:
        """With each axis in one piece, where one consists of rows of windows or of elements of them, that lie
        apart: what comes after them is then the same for windows of any kind.
        """
        real = [[j for j in axis if laid.sizes[j] != 1] for axis in laid.axes]
        apart = any(axis == sorted(axis) and axis[-1] - axis[0] >= len(axis) for axis in real if axis)
        first = laid.axes[0]
        if not apart or 0 not in first or first[0] != 0 or any(0 in axis for axis in laid.axes[1:]):
            return laid
        groups = [tuple(j for j in axis if j) for axis in (first, *laid.axes[1:])]
        features = len(laid.sizes) - 1  # which stay the last axis
        groups.sort(key=lambda group: features in group)
        return self.lay(laid, [group for group in groups if group])

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
        value = self.after(laid.value, "repeat", repeats=laid.shape[i], axis=j)
        kept = laid.without([i])
        sizes = [size * laid.shape[i] if k == j else size for k, size in enumerate(laid.sizes)]
        return Laid(value, tuple(sizes), kept.axes, tuple(shape), laid.dtype)

    def reshaped(self, value: ConvertedValue, sizes: Sequence[Size]) -> ConvertedValue:
        """A value with other axes; `sizes` begin with the batch."""
        target = [size if isinstance(size, int) else -1 for size in sizes[1:]]
        if target.count(-1) > 1:
            raise Unsupported(
                "it reshapes a tensor with two sizes that stay open", "give one of them a number in --input"
            )
        return self.after(value, "Reshape", target_shape=target)

    def solid(self, laid: Laid) -> Laid:
        """With axes of its own where it is only stretched."""
        places = laid.stretched()
        if not places:
            return laid
        first = self._first(laid)
        if laid.batch > 0:
            raise Unsupported("it is broadcast with its batch after other axes", "keep the batch first")
        groups = [laid.axes[i] for i in range(first, len(laid.axes))]
        flat = self.lay(replace(laid, shape=tuple(laid.length(a) for a in laid.axes)), groups, stretch=True)
        sizes = [flat.sizes[0], *(laid.shape[i] for i in range(first, len(laid.axes)))]
        if not all(isinstance(size, int) for size in sizes[1:]):
            raise Unsupported("it is stretched to a size that stays open", "give the size a number")
        value = self.after(flat.value, "broadcast_to", shape=[-1, *sizes[1:]])
        axes = tuple((i + 1 - first,) for i in range(len(laid.axes)))
        return Laid(value, tuple(sizes), axes, laid.shape, laid.dtype)

    @staticmethod
    def _first(laid: Laid) -> int:
        """The first torch axis that is one of an example: 0 where no axis is the batch."""
        return 0 if laid.is_free else 1

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
        before = laid.sizes
        if moved != sorted(moved):  # else only axes of size 1 move: a reshape does it
            value = self.after(value, "Permute", dims=order)
            before = (laid.sizes[0], *(laid.sizes[j] for j in order))
        sizes = (laid.sizes[0], *(product(laid.sizes[j] for j in group) for group in groups))
        if sizes != before:
            value = self._joined(value, before, sizes)
        axes = () if stretch else merged_axes(laid, groups)
        return Laid(value, sizes, axes, laid.shape, laid.dtype)

    def _joined(self, value: ConvertedValue, before: Sequence[Size], sizes: Sequence[Size]) -> ConvertedValue:
        if len(sizes) == 1:
            return self.after(value, "reshape", newshape=[-1])
        if len(sizes) == 2 and len(before) > 2:
            return self.after(value, "Flatten")
        if (place := _inserted_at(before, sizes)) is not None:
            return self.after(value, "expand_dims", axis=-1 if place == len(sizes) - 1 else place)
        return self.reshaped(value, sizes)

    def natural(self, laid: Laid) -> Laid:
        """With an axis for each torch axis, in torch's order, the batch first."""
        laid = self.solid(laid)
        first = self._first(laid)
        if laid.batch > 0:
            raise Unsupported("its batch is not the first axis where it leaves the model", "return it first")
        groups = [laid.axes[i] for i in range(first, len(laid.axes))]
        wanted = tuple((i + 1 - first,) for i in range(len(laid.axes)))
        if tuple(laid.axes) == wanted and len(laid.sizes) == len(groups) + 1:
            return laid
        return replace(self.lay(laid, groups), axes=wanted)

    def batched(self, laid: Laid, place: int = 0) -> Laid:
        """A free tensor with its torch axis `place`, of size 1, as the batch."""
        if not laid.is_free or laid.shape[place] not in (1, *self.batches):
            return laid
        axes, shape = list(laid.axes), list(laid.shape)
        size = self.batches[0]
        axes[place], shape[place] = (0,), size
        return replace(laid, axes=tuple(axes), shape=tuple(shape), sizes=(size, *laid.sizes[1:]))

    def spatial(self, laid: Laid) -> Laid:
        """An image, sequence or volume with its channels, torch's axis 1, last in the value."""
        laid = self.solid(self.batched(laid))
        first = laid.axes[0]
        if 0 not in first:
            raise Unsupported("its batch is not the first axis of images", "bring the batch to the front")
        frames = tuple(j for j in first if j)
        groups = [laid.axes[i] for i in (*range(2, len(laid.axes)), 1)]
        groups = [frames, *groups] if frames else groups
        front: tuple[int, ...] = (0,) if not frames else (1, 0) if first[-1] == 0 else (0, 1)
        count = len(front)
        wanted = (front, (len(groups),), *((i,) for i in range(count, len(groups))))
        if laid.axes == wanted and len(laid.sizes) == len(groups) + 1:
            return laid
        if first not in ((0,), (0, *frames), (*frames, 0)):
            raise Unsupported("its batch lies between other axes", "bring the batch to the front")
        return replace(self.lay(laid, groups), axes=wanted)

    def over_images(
        self, what: str, words: Mapping[str, Any], x: Laid, weights: Any = None, main: bool = True
    ) -> ConvertedNode:
        """A layer of images; of frames that are merged with the batch, one for each frame."""
        if len(x.axes[0]) > 1:
            words = {"wraps": {"layer": what, **without_defaults("layer", what, words)}}
            what = "TimeDistributed"
        return self.node("layer", what, words, [("x", x.value)], weights, main)

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
        moved = self.lay(laid, [*others, group])
        if not group:
            axes = list(moved.axes)
            axes[i] = (len(moved.sizes) - 1,)
            moved = replace(moved, axes=tuple(axes))
        return moved

    # --- what is known as a node

    def constant(self, x: Any) -> Tensor | None:
        """The tensor of an operand that nothing trains; along open sizes as it was traced."""
        if isinstance(x, Known):
            return None if self.learns(x) else x.tensor
        return self.traced.get((x.value, x.axes)) if isinstance(x, Laid) else None

    def data(self, known: Known) -> Laid:
        """A known tensor as one that is the same for every example."""
        learned = known.source is None and self.learns(known)
        if known.made is not None and (known.open or learned or known.batched or self.is_node(known)):
            made: Laid | Known = known.made()
            laid = self.data(made) if isinstance(made, Known) else made
            if not learned:
                self.traced[laid.value, laid.axes] = known.tensor
            return laid
        sizes = tuple(int(size) for size in known.tensor.shape)
        axes = tuple((i + 1,) for i in range(len(sizes)))
        return Laid(self.held(known), (1, *(sizes or (1,))), axes, sizes, dtype_of(known.tensor))

    def laid(self, x: Any) -> Any:
        """A tensor, which is not only known; None stays."""
        return self.data(x) if isinstance(x, Known) else x

    def held(self, known: Known, name: str = "parameter") -> ConvertedValue:
        """A known tensor, without a batch axis, as a parameter or a constant. Uses of the same parameter, or
        of the same part of it, read one node.
        """
        self.uses(known)
        if not known.tensor.dim():
            known = known.map(lambda t: t.reshape(1))
        tensor = known.tensor
        integral = tensor.dtype in (torch.bool, torch.int64, torch.int32)
        dtype = dtype_of(tensor)
        if (integral or not known.names) and tensor.numel() <= (LISTED if integral else 16):
            arguments = {} if dtype == "float32" else {"dtype": dtype}
            return ConvertedValue(self.node("constant", tensor.tolist(), arguments, main=False))
        if integral:
            if tensor.long().abs().max() >= 1 << 24:
                raise Unsupported("it holds a table of large integers", "compute it in the model")
            return self.after(self._stored(known.map(lambda t: t.float()), name), "cast", dtype=dtype)
        return self._stored(known, name)

    def _stored(self, known: Known, name: str) -> ConvertedValue:
        elements = self.elements(known)
        shape = list(known.tensor.shape)
        for other, before in self.parameters.get(known.names, ()):
            if elements is not None and torch.equal(other.flatten(), elements.flatten()):
                same = list(other.shape) == shape
                return before if same else self.after(before, "Reshape", target_shape=shape)
        floats = known.map(lambda t: (t if t.is_floating_point() else t.float())[None])
        node = self.node("parameter", shape, {}, weights={"": floats}, main=False)
        words = sorted(known.names)
        node.name = words[0].rpartition(".")[2] if len(words) == 1 else name
        node.automatic = not words
        value = ConvertedValue(node)
        if elements is not None:
            self.parameters.setdefault(known.names, []).append((elements, value))
        return value

    def elements(self, known: Known) -> Tensor | None:
        """Which elements of all parameters it has, as numbers; of a sum those of each term, in a row. None
        where it is computed of them.
        """
        if not known.names or known.source is None:
            return None
        parts = [term(self.numbers) for term in known.terms or (known.source,)]
        return torch.stack(parts) if known.terms else parts[0]

    def numbers(self, name: str) -> Tensor:
        """The numbers of the elements of a parameter."""
        shape = self.shapes[name]
        return torch.arange(shape.numel(), dtype=torch.float64).add_(self.start(name)).reshape(shape)

    def start(self, name: str) -> int:
        """The number of the first element of a parameter."""
        if not self.starts:
            counts = [shape.numel() for shape in self.shapes.values()]
            self.starts = dict(zip(self.shapes, accumulate(counts, initial=0), strict=False))
        return self.starts[name]


def _form(what: str) -> str:
    """Layers are classes, and ops functions: so their names begin."""
    return "layer" if what[0].isupper() else "op"


def _inserted_at(before: Sequence[Size], sizes: Sequence[Size]) -> int | None:
    """Where `sizes` have one more axis, of size 1, than those before."""
    places = (i for i in range(1, len(sizes)) if [*sizes[:i], *sizes[i + 1 :]] == list(before))
    return next((i for i in places if sizes[i] == 1), None)
