"""Images and sequences in other sizes, and channels that become pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.functions import handles
from graphspec.convert.pytorch.layers import image, short, space
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.writer import NodeWriter
from graphspec.convert.refusals import Unsupported


@handles(
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "_upsample_nearest_exact2d",
    "upsample_nearest3d",
    "upsample_linear1d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
)
def _upsample(
    w: NodeWriter,
    *,
    function: str,
    out: Any,
    input: Any = None,
    self: Any = None,
    align_corners: bool = False,
    scale_factors: Any = None,
) -> Laid:
    x = w.spatial(input if input is not None else self)
    rank = len(x.axes) - 2
    sizes = list(out.shape[2:])
    word = "nearest" if "nearest" in function else "bicubic" if "bicubic" in function else "bilinear"
    rates = [
        a // b if isinstance(a, int) and isinstance(b, int) and a % b == 0 else None
        for a, b in zip(sizes, space(x), strict=True)
    ]
    if any(rate is None for rate in rates) and scale_factors:
        rates = [int(f) if float(f).is_integer() else None for f in scale_factors]
    smooth = function.endswith("_aa")
    corners = {"align_corners": True} if align_corners else {}
    corners |= {"antialias": True} if smooth else {}
    if all(rate == 1 for rate in rates) and not smooth:
        return x
    if not smooth and all(rate is not None for rate in rates) and (word == "nearest" or rank == 2):
        arguments = {"size": short(rates, rank), "interpolation": word, **corners}
        return image(x, w.over_images(f"UpSampling{rank}D", arguments, x), out)
    if not all(isinstance(s, int) for s in (*sizes, *space(x))):
        raise Unsupported("it resizes by a factor that is not whole", "resize images, by whole factors")
    factors = list(scale_factors or ())
    cut = any(
        abs(size * factor - got) > 1e-6 for size, factor, got in zip(space(x), factors, sizes, strict=False)
    )
    if word == "nearest" and (cut or "exact" not in function):
        return _nearest(w, x, sizes, factors, "nearest-exact" if "exact" in function else word, out)
    if cut and not align_corners:
        raise Unsupported(
            f"its factor makes no whole size of {', '.join(map(str, space(x)))}",
            "give `size`, or `recompute_scale_factor=True`",
        )
    if rank != 2:
        return _linear_rows(w, x, sizes, align_corners, out)
    arguments = {"height": sizes[0], "width": sizes[1], "interpolation": word, **corners}
    return image(x, w.over_images("Resizing", arguments, x), out)


def _nearest(w: NodeWriter, x: Laid, sizes: list[int], factors: list[float], mode: str, out: Any) -> Laid:
    """PyTorch's `nearest` by a factor that is not whole takes rows and columns: which, it says itself."""
    node: Any = None
    for axis, (size, wanted) in enumerate(zip(space(x), sizes, strict=True), len(x.axes[0])):
        rows = torch.arange(size, dtype=torch.float32)[None, None]
        k = axis - len(x.axes[0])
        how = {"scale_factor": factors[k]} if factors else {"size": wanted}
        places = F.interpolate(rows, mode=mode, **how)[0, 0].int().tolist()
        if wanted != size:
            value = x.value if node is None else ConvertedValue(node)
            node = w.node("op", "take", {"indices": places, "axis": axis}, [("x", value)])
    return image(x, node, out)


def _linear_rows(w: NodeWriter, x: Laid, sizes: list[int], align_corners: bool, out: Any) -> Laid:
    """Linear interpolation of sequences, as of images that are one pixel wide."""
    if len(sizes) != 1:
        raise Unsupported("it interpolates volumes", "use mode='nearest'")
    wide = w.node("op", "expand_dims", {"axis": 2}, [("x", x.value)])
    arguments = {"height": sizes[0], "width": 1, **({"align_corners": True} if align_corners else {})}
    node = w.node("layer", "Resizing", arguments, [("x", ConvertedValue(wide))])
    return image(x, w.node("op", "squeeze", {"axis": 2}, [("x", ConvertedValue(node))]), out)
