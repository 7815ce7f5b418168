"""Windows that slide over sequences, images and volumes, and what is put around these."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.functions import Out, handles, write
from graphspec.convert.pytorch.layers import every, image, short, space
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import pair, scalar
from graphspec.convert.pytorch.shaping import part, sliced
from graphspec.convert.pytorch.sizes import known_number
from graphspec.convert.pytorch.writer import NodeWriter
from graphspec.convert.refusals import Unsupported


def zeros(w: NodeWriter, x: Laid, pads: list[tuple[int, int]]) -> Laid:
    """A `ZeroPadding` of an image."""
    rank = len(pads)
    even = all(a == b for a, b in pads)
    padding_list = short([a for a, _ in pads], rank) if even else [list(pair) for pair in pads]
    if rank == 1 and not even:
        padding_list = list(pads[0])
    node = w.over_images(f"ZeroPadding{rank}D", {"padding": padding_list}, x, main=False)
    grown = [size + a + b for size, (a, b) in zip(space(x), pads, strict=True)]
    shape = (*x.shape[:2], *grown)
    sizes = (*x.sizes[: len(x.axes[0])], *grown, x.sizes[-1])
    return replace(x, value=ConvertedValue(node), sizes=sizes, shape=shape)


@handles("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def _pool(
    w: NodeWriter,
    *,
    function: str,
    out: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
    self: Any = None,
) -> Laid:
    x = w.spatial(self)
    rank = len(x.axes) - 2
    size, pads, gaps = every(kernel_size, rank), every(padding, rank), every(dilation, rank)
    steps = every(stride, rank) if stride not in ((), [], None) else size
    if set(gaps) != {1}:
        return _spaced(w, x, list(zip(size, steps, pads, gaps, strict=True)), out)
    if ceil_mode and any(s > k for s, k in zip(steps, size, strict=True)) and _rounds(x, size, steps, pads):
        if divisor_override is not None:
            raise Unsupported("windows of several sizes have one divisor", "leave out `ceil_mode`")
        inner = 1.0 if count_include_pad else 0.0
        return _overhanging(w, x, size, steps, pads, None if function.startswith("max") else inner, out)
    if function.startswith("max"):
        return _pooled(w, "MaxPooling", x, size, steps, pads, ceil_mode, out)
    rounds = ceil_mode and _rounds(x, size, steps, pads)
    if divisor_override is not None and rounds:
        raise Unsupported("windows of several sizes have one divisor", "leave out `ceil_mode`")
    centered = all(2 * p + 1 == k for p, k in zip(pads, size, strict=True)) and set(steps) == {1}
    if any(pads) and not count_include_pad and divisor_override is None and centered:
        words = {"pool_size": short(size, rank), "strides": 1, "padding": "same"}
        if size[0] == 1:
            del words["strides"]
        return image(x, w.over_images(f"AveragePooling{rank}D", words, x), out)
    mean = _mean(w, x, size, steps, pads, rounds, out)
    if divisor_override is not None:
        return scalar(w, "multiply", mean, math.prod(size) / divisor_override)
    if count_include_pad or not any(pads):
        return mean
    ones = w.of(x, "ones_like")
    return pair(w, "divide", mean, _mean(w, ones, size, steps, pads, rounds, out), tuple(out.shape))


def _pooled(
    w: NodeWriter,
    what: str,
    x: Laid,
    size: list[int],
    steps: list[int],
    pads: list[int],
    ceil: bool,
    out: Any,
) -> Laid:
    """A layer of pooling."""
    rank = len(size)
    words: dict[str, Any] = {"pool_size": short(size, rank)}
    if steps != size:
        words["strides"] = short(steps, rank)
    if any(pads):
        words["padding"] = short(pads, rank)
    words["ceil_mode"] = ceil and _rounds(x, size, steps, pads)
    return image(x, w.over_images(f"{what}{rank}D", words, x), out)


def _mean(
    w: NodeWriter, x: Laid, size: list[int], steps: list[int], pads: list[int], ceil: bool, out: Any
) -> Laid:
    """Means of windows in which zeros around the image count. PyTorch has no window that begins in those
    behind it.
    """
    x = zeros(w, x, [(p, p) for p in pads]) if any(pads) else x
    none = [0] * len(size)
    shape = list(out.shape)
    for i, (n, k, s) in enumerate(zip(space(x), size, steps, strict=True), 2):
        if ceil and isinstance(n, int):
            shape[i] = -((k - n) // s) + 1
    pooled = _pooled(w, "AveragePooling", x, size, steps, none, ceil, Out(tuple(shape)))
    for i, wanted in enumerate(out.shape):
        if i > 1 and pooled.shape[i] != wanted:
            pooled = part(w, pooled, i, 0, wanted)
    return pooled


def _overhanging(
    w: NodeWriter, x: Laid, size: list[int], steps: list[int], pads: list[int], inner: float | None, out: Any
) -> Laid:
    """Windows of which the last end behind the image, where strides are larger than windows: it is padded up
    to there. In means `inner` says whether padding counts; None are maxima.
    """
    none, lowest = [0] * len(size), torch.finfo(torch.float32).min
    around: list[int] = []
    behind: list[int] = []
    for n, count, k, s, p in zip(space(x), out.shape[2:], size, steps, pads, strict=True):
        if not isinstance(n, int):
            raise Unsupported("its windows end after an open size", "give the size a number in --input")
        around, behind = [p, p, *around], [0, (count - 1) * s + k - n - 2 * p, *behind]

    def widened(x: Laid, value: float, beyond: float) -> Laid:
        return _pad(w, _pad(w, x, around, value=value), behind, value=beyond)

    if inner is None:
        return _pooled(w, "MaxPooling", widened(x, lowest, lowest), size, steps, none, False, out)
    ones = w.of(x, "ones_like")
    sums = _pooled(w, "AveragePooling", widened(x, 0.0, 0.0), size, steps, none, False, out)
    counts = _pooled(w, "AveragePooling", widened(ones, inner, 0.0), size, steps, none, False, out)
    return pair(w, "divide", sums, counts, tuple(out.shape))


def _spaced(w: NodeWriter, x: Laid, windows: list[tuple[int, int, int, int]], out: Any) -> Laid:
    """The largest of windows with gaps: along each axis, of as many slices as a window has elements.
    `windows` are size, stride, padding and distance.
    """
    lowest = torch.finfo(torch.float32).min
    for i, (size, step, pad, gap) in enumerate(windows, 2):
        count, span = out.shape[i], gap * (size - 1)
        end = known_number((count - 1) * step + span + 1)
        behind = known_number(end - x.shape[i] - pad)
        if not isinstance(behind, int):
            raise Unsupported(
                "its windows have gaps, along an open size", "give the size a number in --input"
            )
        beside = [0, 0] * (len(x.shape) - 1 - i)
        x = _pad(w, x, [*beside, pad, behind], value=lowest)
        shape = (*x.shape[:i], count, *x.shape[i + 1 :])
        starts = [k * gap for k in range(size)]
        taps = [sliced(w, x, Out(shape), i, start, end - span + start, step) for start in starts]
        node = w.node("merge", "maximum", {}, [("", tap.value) for tap in taps])
        x = replace(taps[0], value=ConvertedValue(node)) if size > 1 else taps[0]
    return x


def _rounds(x: Laid, size: list[int], steps: list[int], pads: list[int]) -> bool:
    """Whether rounding up gives more windows than rounding down: none begins behind the image."""
    windows = zip(space(x), size, steps, pads, strict=True)
    return any(
        not isinstance(n, int) or ((n + 2 * p - k) % s and (n + 2 * p - k) // s * s + s < n + p)
        for n, k, s, p in windows
    )


@handles(
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
)
def _adaptive(w: NodeWriter, *, function: str, out: Any, self: Laid) -> Any:
    x = w.spatial(self)
    rank = len(x.axes) - 2
    most = "max" in function
    shape = out[0].shape if most else out.shape
    sizes = list(shape[2:])
    if sizes == [1] * rank:
        word = f"Global{'Max' if most else 'Average'}Pooling{rank}D"
        node = w.over_images(word, {}, x)
        front = len(x.axes[0])
        axes = (x.axes[0], (front,), *[()] * rank)
        pooled = Laid(ConvertedValue(node), (*x.sizes[:front], x.sizes[-1]), axes, tuple(shape), x.dtype)
    elif sizes == list(space(x)):
        pooled = x
    else:
        word = f"Adaptive{'Max' if most else 'Average'}Pooling{rank}D"
        node = w.over_images(word, {"output_size": short(sizes, rank)}, x)
        pooled = image(x, node, Out(shape))
    return (pooled, None) if most else pooled


@handles("im2col")
def _im2col(
    w: NodeWriter, self: Laid, kernel_size: Any, dilation: Any, padding: Any, stride: Any, out: Any
) -> Laid:
    x = w.natural(self)
    words = {"kernel_size": short(kernel_size, 2), "stride": short(stride, 2), "padding": short(padding, 2)}
    words["dilation"] = short(dilation, 2)
    node = w.node("op", "unfold", words, [("x", x.value)])
    return Laid(ConvertedValue(node), (x.sizes[0], *out.shape[1:]), ((0,), (1,), (2,)), tuple(out.shape))


@handles("pad", "constant_pad_nd")
def _pad(w: NodeWriter, self: Laid, pad: Any, mode: str = "constant", value: Any = None) -> Laid:
    pads, rank = [int(p) for p in pad], len(self.shape)
    sides = {rank - 1 - k // 2: (pads[k], pads[k + 1]) for k in range(0, len(pads), 2)}
    added = {i: (max(a, 0), max(b, 0)) for i, (a, b) in sides.items() if a > 0 or b > 0}
    x = _cropped(w, self, sides) if mode == "circular" else self  # else the edges are those of before
    if mode == "circular":
        for i, (a, b) in added.items():
            x = _wrapped(w, x, i, a, b)
    elif added:
        x = _widened(w, x, added, mode, value)
    return x if mode == "circular" else _cropped(w, x, sides)


def _cropped(w: NodeWriter, x: Laid, sides: dict[int, tuple[int, int]]) -> Laid:
    """Without what numbers below 0 say of each torch axis."""
    for i, (a, b) in sides.items():
        gone = max(-a, 0), max(-b, 0)
        if any(gone):
            x = part(w, x, i, gone[0], known_number(x.shape[i] - sum(gone)))
    return x


def _wrapped(w: NodeWriter, x: Laid, i: int, before: int, behind: int) -> Laid:
    """With the last elements of a torch axis before the first, and the first behind the last."""
    ends = [(known_number(x.shape[i] - before), before)] if before else []
    parts = [part(w, x, i, *end) for end in ends] + [x]
    parts += [part(w, x, i, 0, behind)] if behind else []
    shape = (*x.shape[:i], known_number(x.shape[i] + before + behind), *x.shape[i + 1 :])
    return write(w, "cat", tensors=parts, out=Out(shape), dim=i)


def _widened(w: NodeWriter, x: Laid, sides: dict[int, tuple[int, int]], mode: str, value: Any) -> Laid:
    """A `pad` or a `ZeroPadding`."""
    rank = len(x.shape)
    shape = tuple(known_number(size + sum(sides.get(i, (0, 0)))) for i, size in enumerate(x.shape))
    x = w.solid(x)
    space_only = min(sides) >= 2 and 3 <= rank <= 5 and x.axes[0] == (0,)
    if mode == "constant" and not value and space_only and w.spatial(x) == x:
        rank_pads = [sides.get(i, (0, 0)) for i in range(2, rank)]
        return replace(zeros(w, x, rank_pads), shape=shape)
    if mode != "constant" and len(x.sizes) > rank:  # an axis in parts, as shuffled channels have
        x = w.spatial(x) if space_only else w.natural(x)
    for i in sides:
        if x.sole(i) is None or 0 in x.axes[i]:
            x = w.natural(x)
            break
    widths = [[0, 0] for _ in x.sizes]
    sizes = list(x.sizes)
    for i, (a, b) in sides.items():
        j = x.at(i)
        widths[j], sizes[j] = [a, b], shape[i]
    word = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
    words: dict[str, Any] = {"pad_width": widths, "mode": word}
    words |= {"constant_values": value} if value else {}
    node = w.node("op", "pad", words, [("x", x.value)])
    return replace(x, value=ConvertedValue(node), sizes=tuple(sizes), shape=shape)
