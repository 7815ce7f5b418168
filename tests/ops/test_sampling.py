"""Ops that read images at other places and filter them: what they refuse, and one map for all images."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import torch

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import LayerError
from graphspec.tensor import Tensor, symbol
from tests import bundled

BATCH, LENGTH = symbol("batch"), symbol("length")


def tensor(*shape: Any, dtype: str = "float32") -> Tensor:
    return Tensor((BATCH, *shape), dtype)


def refused(name: str, *inputs: Tensor, **arguments: Any) -> LayerError:
    with pytest.raises(LayerError) as error:
        REGISTRY["op"][name].model_validate(arguments).infer(*inputs)
    return error.value


IMAGE, VOLUME = tensor(6, 5, 3), tensor(4, 4, 4, 2)
SCALED = {
    "output_shape": [-1, 3, 5, 3],
    "scale": [0.5],
    "translation": [0],
    "spatial_dims": [1],
    "method": "linear",
}


@bundled(
    16,
    ("name", "inputs", "arguments", "code"),
    [
        ("image_affine_transform", (tensor(6, 5), tensor(8)), {}, "wrong-rank"),
        ("image_affine_transform", (tensor(6, 5, 3, dtype="uint8"), tensor(8)), {}, "wrong-dtype"),
        ("image_affine_transform", (IMAGE, tensor(6)), {}, "shapes-differ"),
        ("image_affine_transform", (IMAGE, tensor(8, dtype="bool")), {}, "wrong-dtype"),
        ("image_perspective_transform", (IMAGE, tensor(4, 2), tensor(2, 4)), {}, "shapes-differ"),
        ("image_elastic_transform", (tensor(6),), {}, "wrong-rank"),
        ("image_map_coordinates", (IMAGE, tensor(2, 7)), {"order": 1}, "shapes-differ"),
        (
            "image_map_coordinates",
            (tensor(1), tensor(1, 4)),
            {"order": 0, "fill_mode": "mirror"},
            "window-too-large",
        ),
        ("image_map_coordinates", (tensor(dtype="float32"), tensor(1, 4)), {"order": 0}, "shapes-differ"),
        ("image_scale_and_translate", (IMAGE,), {**SCALED, "spatial_dims": [0]}, "out-of-range"),
        ("image_scale_and_translate", (IMAGE,), {**SCALED, "spatial_dims": [4]}, "out-of-range"),
        ("image_scale_and_translate", (IMAGE,), {**SCALED, "scale": [1, 2]}, "shapes-differ"),
        ("image_scale_and_translate", (IMAGE,), {**SCALED, "output_shape": [-1, 3, 4, 3]}, "shapes-differ"),
        ("image_scale_and_translate", (IMAGE,), {**SCALED, "output_shape": [3, 5, 3]}, "out-of-range"),
        ("image_extract_patches_3d", (IMAGE,), {"size": 2}, "wrong-rank"),
        ("image_extract_patches_3d", (VOLUME,), {"size": 5}, "window-too-large"),
        (
            "image_extract_patches_3d",
            (tensor(LENGTH, 4, 4, 1),),
            {"size": 2, "padding": "same"},
            "unknown-size",
        ),
        ("image_gaussian_blur", (tensor(6, 5),), {}, "wrong-rank"),
        ("image_gaussian_blur", (IMAGE,), {"kernel_size": 4}, "out-of-range"),
        ("image_gaussian_blur", (IMAGE,), {"kernel_size": [3, 5]}, "out-of-range"),
        ("image_sobel_edges", (tensor(6),), {}, "wrong-rank"),
        ("image_ssim", (IMAGE, tensor(6, 5, 1)), {"filter_size": 3}, "shapes-differ"),
        ("image_ssim", (IMAGE, tensor(6, 5, 3, dtype="float64")), {"filter_size": 3}, "shapes-differ"),
        ("image_ssim", (IMAGE, IMAGE), {}, "window-too-large"),
        ("image_ssim", (tensor(6, 5), tensor(6, 5)), {"filter_size": 3}, "wrong-rank"),
    ],
)
def test_what_they_refuse(name: str, inputs: tuple[Tensor, ...], arguments: Any, code: str) -> None:
    error = refused(name, *inputs, **arguments)
    assert error.code == code
    assert error.argument is None or error.argument in REGISTRY["op"][name].model_fields


@pytest.mark.parametrize("arguments", [{"kernel_size": 0}, {"sigma": 0}, {"sigma": [1, 2, 3]}])
def test_windows_have_a_size_and_a_deviation(arguments: Any) -> None:
    with pytest.raises(ValueError, match="validation error"):
        REGISTRY["op"]["image_gaussian_blur"].model_validate(arguments)


def test_one_map_is_for_all_images() -> None:
    spec = """
        inputs: {photo: {shape: [6, 5, 3]}}
        nodes:
          map: {constant: [1, 0.25, -1, 0.5, 1, 0.5, 0, 0]}
          turned: {op: image_affine_transform, from: [photo, map], fill_mode: nearest}
          from: {constant: [[0, 0], [4, 0], [0, 5], [4, 5]]}
          to: {constant: [[1, 0], [4, 1], [0, 5], [3, 4]]}
          seen: {op: image_perspective_transform, from: [turned, from, to], fill_value: 0.5}
        outputs: [seen]
    """
    photo = torch.rand(3, 6, 5, 3)
    found = graphspec.compile(spec).module()(photo)
    matrix = torch.tensor([[1, 0.25, -1, 0.5, 1, 0.5, 0, 0]]).repeat(3, 1)
    turned = keras.ops.image.affine_transform(photo, matrix, fill_mode="nearest")
    start, end = [[0, 0], [4, 0], [0, 5], [4, 5]], [[1, 0], [4, 1], [0, 5], [3, 4]]
    points = [torch.tensor(each, dtype=torch.float32) for each in (start, end)]
    expected = keras.ops.image.perspective_transform(turned, *points, fill_value=0.5)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
