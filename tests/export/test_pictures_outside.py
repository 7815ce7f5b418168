"""Why pictures stay outside of a file of columns: what onnxruntime-extensions makes of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

Image = pytest.importorskip("PIL.Image", reason="the extra `images` is not installed")
extensions = pytest.importorskip("onnxruntime_extensions", reason="the extra `extensions` is not installed")
TURNED = 6
"""The EXIF orientation of a picture that lies on its side."""


def decoded(data: bytes) -> Any:
    """[height, width, 3] as the operator has it, red first."""
    domain = "com.microsoft.extensions"
    node = helper.make_node("DecodeImage", ["bytes"], ["picture"], domain=domain)
    given = helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["n"])
    answer = helper.make_tensor_value_info("picture", TensorProto.UINT8, None)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(domain, 1)]
    graph = helper.make_graph([node], "picture", [given], [answer])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(extensions.get_library_path())
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (picture,) = session.run(None, {"bytes": np.frombuffer(data, np.uint8)})
    return picture[..., ::-1]


def written(format: str, **settings: Any) -> bytes:
    """Waves of three colours."""
    down, across = np.mgrid[0:61, 0:83]
    waves = [127 + 120 * np.sin(across / 7 + down / 11 + c) * np.cos(down / (5 + c)) for c in range(3)]
    stream = io.BytesIO()
    Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(stream, format, **settings)
    return stream.getvalue()


def read(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def test_pixels_of_a_jpeg_are_others() -> None:
    """If this fails, the operator has become equal, and pictures can be inside."""
    png, jpeg = written("PNG"), written("JPEG", quality=90, subsampling=2)
    np.testing.assert_array_equal(decoded(png), read(png))
    apart = np.abs(decoded(jpeg).astype(int) - read(jpeg))
    assert apart.max() > 1 and (apart > 0).mean() > 0.1


def test_no_picture_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = TURNED
    assert decoded(written("JPEG", exif=exif.tobytes())).shape == (61, 83, 3)
