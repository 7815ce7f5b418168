"""Images whose corner pixels stay at the corners, which Keras does not have: as PyTorch computes them."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import graphspec


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("layer", "given"),
    [("Resizing, height: 3, width: 9", {"size": (3, 9)}), ("UpSampling2D", {"scale_factor": 2})],
)
def test_corners_are_aligned(layer: str, given: dict[str, Any], interpolation: str) -> None:
    program = graphspec.compile(f"""
inputs: {{x: {{shape: [6, 5, 2]}}}}
nodes: {{y: {{layer: {layer}, interpolation: {interpolation}, align_corners: true}}}}
outputs: [y]
""")
    x = torch.randn(3, 6, 5, 2)
    wanted = F.interpolate(x.permute(0, 3, 1, 2), mode=interpolation, align_corners=True, **given)
    torch.testing.assert_close(program.module(device="cpu")(x), wanted.permute(0, 2, 3, 1))
