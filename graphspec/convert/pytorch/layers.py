"""Functions with weights, windows and normalizations: what Keras has as layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from graphspec.convert.arguments import shortest
from graphspec.convert.nodes import ConvertedNode, ConvertedValue
from graphspec.convert.pytorch.functions import handles, write
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import pair
from graphspec.convert.pytorch.sizes import known_number
from graphspec.convert.pytorch.writer import Known, NodeWriter
from graphspec.convert.refusals import Unsupported


def short(values: Any, rank: int) -> Any:
    """Sizes of windows as they are written."""
    listed = every(values, rank)
    return listed[0] if len(set(listed)) == 1 else listed


def every(values: Any, rank: int) -> list[int]:
    """A size for each axis of space."""
    listed = [int(v) for v in (values if isinstance(values, (list, tuple)) else [values])]
    return listed * rank if len(listed) == 1 else listed


def affine(w: NodeWriter, x: Laid, weight: Any, bias: Any, axis: int = 1) -> Laid:
    """A tensor with vectors along a torch axis that multiply it, or are added, where they are nodes."""
    if isinstance(weight, Laid) and isinstance(bias, Known):
        bias = w.data(bias)
    for op, vector in (("multiply", weight), ("add", bias)):
        if isinstance(vector, Laid):
            for _ in range(len(x.shape) - axis - len(vector.shape)):
                vector = vector.inserted(len(vector.shape))
            x = pair(w, op, x, vector, x.shape)
    return x


def inner(weight: Any, bias: Any) -> tuple[Known | None, Known | None]:
    """The factor and the offset of a layer, but for those that `affine` applies."""
    first = weight if isinstance(weight, Known) else None
    return first, bias if isinstance(bias, Known) and not isinstance(weight, Laid) else None


def known(x: Any, what: str) -> Known | None:
    """A weight, which must not depend on data."""
    if x is None or isinstance(x, Known):
        return x
    raise Unsupported(
        f"its {what} is computed from data", "a spec computes with such tensors by einsum: write it by hand"
    )


@handles("addmm")
def _addmm(w: NodeWriter, self: Any, mat1: Any, mat2: Any, out: Any) -> Laid:
    weight = mat2.permuted((1, 0)) if isinstance(mat2, Laid) else mat2.map(lambda t: t.t())
    return _linear(w, mat1, weight, self, out)


@handles("linear")
def _linear(w: NodeWriter, input: Any, weight: Any, bias: Any, out: Any) -> Laid:
    if isinstance(weight, Laid):
        product = write(w, "matmul", self=input, other=weight.permuted((1, 0)), out=out)
    elif isinstance(bias, Laid):
        product = dense(w, input, weight, None)
    else:
        return dense(w, input, weight, known(bias, "bias"))
    if bias is None:
        return product
    return pair(w, "add", product, w.data(bias) if isinstance(bias, Known) else bias, tuple(out.shape))


def dense(w: NodeWriter, x: Laid, weight: Known, bias: Known | None) -> Laid:
    """A `Dense` along the last torch axis. Columns of the weight follow the order of the value's axes."""
    x = w.solid(x)
    group = x.real(-1)
    if len(group) > 1 and 0 not in group and sorted(group) != list(group):
        order = sorted(group)
        sizes = [int(x.sizes[j]) for j in group]
        moves = [group.index(j) for j in order]
        weight = weight.map(lambda t: t.unflatten(1, sizes).permute(0, *(1 + m for m in moves)).flatten(1))
        x = replace(x, axes=(*x.axes[:-1], tuple(order)))
    x = w.last(x)
    units = weight.tensor.shape[0]
    arguments = {"units": units, "use_bias": bias is not None}
    node = w.node("layer", "Dense", arguments, [("x", x.value)], {"weight": weight, "bias": bias})
    return replace(
        x,
        value=ConvertedValue(node),
        sizes=(*x.sizes[:-1], units),
        shape=(*x.shape[:-1], units),
        axes=(*x.axes[:-1], (len(x.sizes) - 1,)),
    )


@handles("convolution")
def _convolution(w: NodeWriter, input: Laid, transposed: bool, **given: Any) -> Laid:
    return write(w, "conv_transpose2d" if transposed else "conv2d", input=input, **given)


@handles("conv1d", "conv2d", "conv3d")
def _conv(
    w: NodeWriter,
    input: Laid,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    out: Any,
) -> Laid:
    x = w.spatial(input)
    rank = len(x.axes) - 2
    words: dict[str, Any] = {"strides": short(stride, rank)}
    if isinstance(weight, Laid):
        words["dilation_rate"] = short(dilation, rank)
        if isinstance(padding, str):
            words["padding"] = padding
        elif any(every(padding, rank)):
            around = [p for p in reversed(every(padding, rank)) for _ in range(2)]
            x = write(w, "pad", self=x, pad=around)
        return affine(w, image(x, by_kernel(w, "conv", words, x, weight), out), None, w.laid(bias))
    words = {"kernel_size": short(list(weight.tensor.shape[2:]), rank), **words}
    fixed = isinstance(padding, str) or not any(every(padding, rank))
    words["padding"] = ("same" if padding == "same" else "valid") if fixed else short(padding, rank)
    words["dilation_rate"] = short(dilation, rank)
    held = inner(None, bias)[1]
    words["use_bias"] = held is not None
    filters, channels = weight.tensor.shape[0], int(x.sizes[-1])
    if groups == channels and groups > 1 and filters % channels == 0 and rank < 3:
        what = f"DepthwiseConv{rank}D"
        words["depth_multiplier"] = filters // channels
    else:
        what = f"Conv{rank}D"
        words = {"filters": filters, **words, "groups": groups}
    node = w.over_images(what, words, x, {"weight": weight, "bias": held})
    return affine(w, image(x, node, out), None, bias)


def by_kernel(w: NodeWriter, what: str, words: dict[str, Any], x: Laid, kernel: Laid) -> ConvertedNode:
    """A convolution whose kernel is a node."""
    kernel = w.solid(kernel)
    if len(x.axes[0]) > 1 or not kernel.is_free:
        raise Unsupported(
            "its kernel is computed from data", "use a kernel that is the same for all examples"
        )
    order = (*range(2, len(kernel.axes)), 1, 0)
    turned = w.lay(kernel, [kernel.axes[i] for i in order])
    return w.node("op", what, words, [("inputs", x.value), ("kernel", turned.value)])


def space(x: Laid) -> tuple[Any, ...]:
    """The sizes of an image: without those of the batch and of frames that are merged with it."""
    return x.sizes[len(x.axes[0]) : -1]


def image(x: Laid, node: Any, out: Any) -> Laid:
    """The output of a layer of images."""
    shape = out.shape
    return replace(
        x,
        value=ConvertedValue(node),
        sizes=(*x.sizes[: len(x.axes[0])], *shape[2:], shape[1]),
        shape=tuple(shape),
    )


@handles("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(
    w: NodeWriter,
    input: Laid,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    out: Any,
) -> Laid:
    """PyTorch's transposed convolution is Keras' `valid` one with as many rows cut off at each side."""
    x = w.spatial(input)
    rank = len(x.axes) - 2
    pads, more, strides = every(padding, rank), every(output_padding, rank), every(stride, rank)
    if groups > 1:
        edges = list(zip(pads, more, strict=True))
        return _in_groups(w, input, known(weight, "kernel"), bias, strides, edges, groups, dilation, out)
    words: dict[str, Any] = {"strides": short(strides, rank), "dilation_rate": short(dilation, rank)}
    cuts = [(p, max(p - m, 0)) for p, m in zip(pads, more, strict=True)]
    kernel = weight.shape[2:] if isinstance(weight, Laid) else weight.tensor.shape[2:]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, every(dilation, rank), strict=True)]
    added = [max(m - p, 0) for p, m in zip(pads, more, strict=True)]
    if added != [max(s - span, 0) for s, span in zip(strides, spans, strict=True)]:
        words["output_padding"] = short(added, rank)
    if isinstance(weight, Laid):
        node, bias = by_kernel(w, "conv_transpose", words, x, weight), w.laid(bias)
    else:
        held = inner(None, bias)[1]
        sizes = {"filters": weight.tensor.shape[1], "kernel_size": short(list(kernel), rank)}
        words = {**sizes, **words, "use_bias": held is not None}
        node = w.over_images(f"Conv{rank}DTranspose", words, x, {"weight": weight, "bias": held})
    if any(a or b for a, b in cuts):
        even = all(a == b for a, b in cuts)
        cropping = short([a for a, _ in cuts], rank) if even else [list(pair) for pair in cuts]
        cropping = list(cuts[0]) if rank == 1 and not even else cropping
        uncropped = replace(x, value=ConvertedValue(node))
        node = w.over_images(f"Cropping{rank}D", {"cropping": cropping}, uncropped, main=False)
    return affine(w, image(x, node, out), None, bias)


def _in_groups(
    w: NodeWriter,
    x: Laid,
    weight: Any,
    bias: Any,
    strides: list[int],
    edges: list[tuple[int, int]],
    groups: int,
    dilation: Any,
    out: Any,
) -> Laid:
    """A transposed convolution in groups is one in groups, by the turned kernel, of the image with zeros
    between its pixels and around it. `edges` are padding and output padding of each axis.
    """
    rank = len(strides)
    kernel, spacing = list(weight.tensor.shape[2:]), every(dilation, rank)
    for i, stride in enumerate(strides, 2):
        if stride > 1:
            x = w.split(x, (*x.shape[: i + 1], 1, *x.shape[i + 1 :]))
            x = write(w, "pad", self=x, pad=[0, 0] * (rank + 1 - i) + [0, stride - 1])
            x = w.split(x, (*x.shape[:i], known_number(x.shape[i] * stride), *x.shape[i + 2 :]))
    pad: list[int] = []
    for (p, more), k, d, stride in zip(edges, kernel, spacing, strides, strict=True):
        pad = [d * (k - 1) - p, d * (k - 1) - p + more - (stride - 1), *pad]

    def turned(kernel: torch.Tensor) -> torch.Tensor:
        parts = kernel.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
        whole: torch.Tensor = parts.flip(list(range(2, rank + 2)))
        return whole

    x = write(w, "pad", self=x, pad=pad)
    return _conv(w, x, weight.map(turned), bias, 1, 0, dilation, groups, out)


# --- normalization


AVERAGING = 0.1
"""How fast statistics move in the spec where those of the module are averages of all batches."""


@handles("batch_norm", "instance_norm")
def _batch_norm(
    w: NodeWriter,
    input: Laid,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    momentum: float,
    eps: float,
    function: str,
    counter: Any = None,
    averages: bool = False,
) -> Laid:
    x = w.spatial(input) if len(input.shape) > 2 else w.last(input, 1)
    if function == "instance_norm":
        if running_mean is not None:
            raise Unsupported(
                "an instance normalization with running statistics has no counterpart",
                "track_running_stats=False",
            )
        return grouped(w, x, int(x.sizes[-1]), weight, bias, eps)
    if running_mean is None:
        raise Unsupported(
            "without running statistics its result depends on the other examples", "track_running_stats=True"
        )
    momentum = AVERAGING if averages else momentum
    scale, center = inner(weight, bias)
    words = {"momentum": shortest(1 - momentum), "epsilon": shortest(eps), "unbiased": True}
    words |= {"scale": scale is not None, "center": center is not None}
    held = {"weight": scale, "bias": center, "running_mean": running_mean, "running_var": running_var}
    held["num_batches_tracked"] = counter
    node = w.node("layer", "BatchNormalization", words, [("x", x.value)], held)
    alone = scale is None and center is None and bool(running_mean.names)
    node.trainable = node.trainable or alone  # else it ignores the batch
    return affine(w, replace(x, value=ConvertedValue(node)), weight, bias)


def grouped(w: NodeWriter, x: Laid, groups: int, weight: Any, bias: Any, eps: float) -> Laid:
    """A `GroupNormalization` of an image."""
    scale, center = inner(weight, bias)
    words: dict[str, Any] = {"groups": -1 if groups == x.sizes[-1] else groups, "epsilon": shortest(eps)}
    words |= {"scale": scale is not None, "center": center is not None}
    node = w.over_images("GroupNormalization", words, x, {"weight": scale, "bias": center})
    return affine(w, replace(x, value=ConvertedValue(node)), weight, bias)


@handles("group_norm")
def _group_norm(w: NodeWriter, input: Laid, num_groups: int, weight: Any, bias: Any, eps: float) -> Laid:
    x = w.spatial(input) if len(input.shape) > 2 else w.last(input, 1)
    return grouped(w, x, num_groups, weight, bias, eps)


@handles("layer_norm", "rms_norm")
def _layer_norm(
    w: NodeWriter,
    input: Laid,
    normalized_shape: Any,
    weight: Any,
    bias: Any = None,
    eps: Any = None,
    function: str = "",
) -> Laid:
    count = len(normalized_shape)
    x = w.solid(input)
    axes = [j for i in range(len(x.axes) - count, len(x.axes)) for j in x.real(i)]
    if count == 1 and len(axes) != 1:
        x = w.last(x)
        axes = [len(x.sizes) - 1]
    if axes != list(range(len(x.sizes) - count, len(x.sizes))) and count > 1:
        order = sorted(axes)
        moves = [axes.index(j) for j in order]
        if len(axes) != count:
            raise Unsupported("it normalizes over axes of size 1", "leave them out")
        weight, bias = (
            p.map(lambda t: t.permute(moves)) if isinstance(p, Known) else p for p in (weight, bias)
        )
        axes = order
    scale, center = inner(weight, bias)
    last = axes == [len(x.sizes) - 1]
    words: dict[str, Any] = {} if last else {"axis": axes if len(axes) > 1 else axes[0]}
    if function == "rms_norm":
        words["epsilon"] = shortest(eps if eps is not None else torch.finfo(torch.float32).eps)
        form, what = ("op", "rms_normalization") if scale is None else ("layer", "RMSNormalization")
    else:
        form, what = "layer", "LayerNormalization"
        words |= {"epsilon": shortest(eps), "scale": scale is not None, "center": center is not None}
    held = None if form == "op" else {"weight": scale, "bias": center}
    node = w.node(form, what, words, [("x", x.value)], held)
    return affine(w, replace(x, value=ConvertedValue(node)), weight, bias, len(x.shape) - count)


@handles("embedding_renorm")
def _embedding_renorm(w: NodeWriter, self: Known, max_norm: float) -> Known:
    w.bounds |= dict.fromkeys(self.names, max_norm)
    return self


@handles("embedding")
def _embedding(
    w: NodeWriter,
    weight: Any,
    indices: Any,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
) -> Laid:
    if scale_grad_by_freq:
        raise Unsupported("its gradients depend on the other examples", "scale_grad_by_freq=False")
    x = indices  # stretched as it is
    rows, width = weight.shape if isinstance(weight, Laid) else weight.tensor.shape
    if isinstance(weight, Laid):
        if not weight.is_free:
            known(weight, "table")
        table = w.natural(weight)
        node = w.node("op", "take", {"axis": 1}, [("x", table.value), ("indices", x.value)])
        return Laid(ConvertedValue(node), (*x.sizes, width), (*x.axes, (len(x.sizes),)), (*x.shape, width))
    if padding_idx >= 0:
        weight = replace(weight, padding=padding_idx)
    arguments: dict[str, Any] = {"input_dim": rows, "output_dim": width}
    bound = next((w.bounds[name] for name in weight.names if name in w.bounds), None)
    if bound is not None:  # PyTorch shortens rows before it reads them, a spec after it changed them
        weight = replace(weight, tensor=weight.tensor.renorm(2, 0, bound), longest=bound)
        constraint = {"name": "max_norm", "max_value": shortest(bound), "axis": 1}
        arguments["embeddings_constraint"] = constraint
    node = w.node("layer", "Embedding", arguments, [("x", x.value)], {"weight": weight})
    return Laid(ConvertedValue(node), (*x.sizes, width), (*x.axes, (len(x.sizes),)), (*x.shape, width))


@handles("one_hot")
def _one_hot(w: NodeWriter, self: Any, num_classes: int = -1) -> Laid:
    if num_classes < 1:
        raise Unsupported("it counts the classes that are in a batch", "give it `num_classes`")
    x = self  # stretched as it is
    node = w.node("op", "one_hot", {"num_classes": num_classes}, [("x", x.value)])
    sizes, axes, shape = (*x.sizes, num_classes), (*x.axes, (len(x.sizes),)), (*x.shape, num_classes)
    return w.cast(Laid(ConvertedValue(node), sizes, axes, shape), "int64")
