"""Ops of bits, signals, matrices and images: what they refuse, and why."""

import warnings

import pytest
import torch

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import LayerError
from graphspec.tensor import Tensor, symbol
from tests import bundled

BATCH, LENGTH = symbol("batch"), symbol("length")


def tensor(*shape, dtype="float32"):
    return Tensor((BATCH, *shape), dtype)


BYTES = tensor(3, dtype="uint8")
IMAGE, WIDE = tensor(6, 5, 3), tensor(6, LENGTH, 3)
CROP = {"top_cropping": 1, "bottom_cropping": 1}
STFT = {"sequence_length": 6, "sequence_stride": 2, "fft_length": 8}

REFUSED = [
    ("bitwise_and", {}, [BYTES], "input-count"),
    ("bitwise_and", {"y": 1}, [BYTES, BYTES], "input-count"),
    ("bitwise_and", {"y": 256}, [BYTES], "out-of-range"),
    ("bitwise_or", {"y": -1}, [BYTES], "out-of-range"),
    ("bitwise_xor", {"y": 1}, [tensor(3, dtype="bool")], "wrong-dtype"),
    ("bitwise_not", {}, [tensor(3)], "wrong-dtype"),
    ("left_shift", {}, [tensor(3, dtype="bool"), tensor(3, dtype="bool")], "wrong-dtype"),
    ("gcd", {"x2": 0.5}, [BYTES], "out-of-range"),
    ("lcm", {"x1": 300}, [BYTES], "out-of-range"),
    ("nanmax", {}, [tensor(3)], "missing-key"),
    ("nanvar", {"axis": 0}, [tensor(3)], "out-of-range"),
    ("heaviside", {}, [tensor(3)], "input-count"),
    ("ldexp", {}, [tensor(3), tensor(3)], "wrong-dtype"),
    ("digitize", {"bins": [1.0, 0.0]}, [tensor(3)], "out-of-range"),
    ("digitize", {"bins": [1.0]}, [BYTES], "wrong-dtype"),
    ("searchsorted", {"sorted_sequence": [1.0, 0.0]}, [tensor(3)], "out-of-range"),
    ("isin", {"x2": [0.5]}, [BYTES], "out-of-range"),
    ("isin", {"x2": [256]}, [BYTES], "out-of-range"),
    ("in_top_k", {"k": 4}, [tensor(dtype="int64"), tensor(3)], "out-of-range"),
    ("in_top_k", {"k": 2}, [tensor(3, dtype="int64"), tensor(3)], "wrong-rank"),
    ("cholesky", {}, [tensor(3, 4)], "shapes-differ"),
    ("eigh", {}, [tensor(3)], "wrong-rank"),
    ("svd", {}, [tensor(3, LENGTH)], "unknown-size"),
    ("fft", {}, [tensor(3), tensor(4)], "shapes-differ"),
    ("fft", {}, [tensor(3), tensor(3, dtype="float64")], "wrong-dtype"),
    ("fft2", {}, [tensor(3), tensor(3)], "wrong-rank"),
    ("irfft", {}, [tensor(1), tensor(1)], "out-of-range"),
    ("stft", STFT, [tensor(4)], "window-too-large"),
    ("stft", {**STFT, "fft_length": 5}, [tensor(20)], "out-of-range"),
    ("rot90", {"axes": [0, 1]}, [tensor(3)], "out-of-range"),
    ("rot90", {"axes": [1, -1]}, [tensor(3)], "out-of-range"),
    ("extract_sequences", {"sequence_length": 4, "sequence_stride": 1}, [tensor(3)], "window-too-large"),
    ("image_rgb_to_hsv", {}, [tensor(6, 5, 4)], "shapes-differ"),
    ("image_crop_images", {}, [IMAGE], "missing-key"),
    ("image_crop_images", {**CROP, "target_width": 6, "left_cropping": 0}, [IMAGE], "out-of-range"),
    ("image_crop_images", {**CROP, "target_width": 2, "left_cropping": 0}, [WIDE], "unknown-size"),
    ("image_extract_patches", {"size": 7}, [IMAGE], "window-too-large"),
    ("image_extract_patches", {"size": 2, "padding": "same"}, [WIDE], "unknown-size"),
]


@bundled(16, ("name", "arguments", "inputs", "code"), REFUSED, ids=lambda value: str(value)[:20])
def test_what_cannot_be_is_refused(name, arguments, inputs, code):
    with pytest.raises(LayerError) as error:
        REGISTRY["op"][name].model_validate(arguments).infer(*inputs)
    assert error.value.code == code


@pytest.mark.parametrize(
    "node",
    [
        "{op: searchsorted, sorted_sequence: [0.2, 0.5], from: turned}",
        "{op: digitize, bins: [0.2, 0.5], from: turned}",
        "{layer: Discretization, bin_boundaries: [0.2, 0.5], from: turned}",
    ],
)
def test_bins_of_a_transposed_tensor_give_no_warning(node: str) -> None:
    nodes = f"nodes:\n  turned: {{op: transpose, axes: [0, 2, 1]}}\n  y: {node}\n"
    program = graphspec.compile(f"inputs: {{x: {{shape: [3, 4]}}}}\n{nodes}outputs: [y]\n")
    x = torch.rand(2, 3, 4)
    module = program.module()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = module(x)
    finally:
        torch.set_warn_always(False)
    assert torch.equal(found.long(), torch.bucketize(x.mT.contiguous(), torch.tensor([0.2, 0.5])))
