"""A file of ONNX with the weights of its products as 8-bit integers, by onnxruntime's quantization.

Weights have a scale for each channel, and 7 bits: then no CPU saturates, whatever instructions it has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from graphspec.diagnostics.packages import unlogged
from graphspec.export import failures

Arrays = Mapping[str, Any]
FAILURES = (*failures.FAILURES, onnx.checker.ValidationError, onnx.shape_inference.InferenceError)
"""Errors of the tools of quantization for a model that they cannot take."""
PRODUCTS = ("Conv", "Gemm", "MatMul")
"""The operators with weights that become integers."""


class Int8Writer:
    """Writes a file of ONNX with integers, again and again with other layers left as they are."""

    name: str
    layers: list[str]
    """The names of what can be left in float32."""

    def write(self, path: Path, floats: Sequence[str] = ()) -> None:
        """Writes the file, these layers as they are."""
        raise NotImplementedError


class DynamicInt8(Int8Writer):
    """Scales the inputs of a product when it is computed: by their range in that batch."""

    name = "dynamic"

    def __init__(self, file: Path, folder: Path):
        from onnxruntime.quantization.onnx_model import ONNXModel

        self.file = folder / "products.onnx"
        with unlogged(logging.WARNING):
            model = ONNXModel(onnx.load(_prepared(file, folder)))
            model.replace_gemm_with_matmul()  # which is not quantized itself
            # Shapes are found anew: onnxruntime 1.22 keeps those of weights that it transposed.
            model.model.graph.ClearField("value_info")
            model.save_model_to_file(str(self.file))
        self.layers = _layers(model.model)

    def write(self, path: Path, floats: Sequence[str] = ()) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with unlogged(logging.WARNING):
            quantize_dynamic(
                self.file,
                path,
                op_types_to_quantize=[*PRODUCTS],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=self.layers,
                nodes_to_exclude=[*floats],
                extra_options={"MatMulConstBOnly": True},
            )


class StaticInt8(Int8Writer):
    """Scales the inputs of a product by their range in `examples`, batches of inputs."""

    name = "static"

    def __init__(self, file: Path, folder: Path, examples: Iterable[Arrays]):
        from onnxruntime.quantization.calibrate import create_calibrator

        self.file = _prepared(file, folder)
        with unlogged(logging.WARNING):
            calibrator = create_calibrator(
                self.file, [*PRODUCTS], augmented_model_path=str(folder / "watched.onnx")
            )
            calibrator.collect_data(_Calibration(examples))
            self.ranges = calibrator.compute_data()
        self.layers = _layers(onnx.load(self.file))

    def write(self, path: Path, floats: Sequence[str] = ()) -> None:
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        with unlogged(logging.WARNING):
            quantizer = QDQQuantizer(
                onnx.load(self.file),
                True,  # a scale for each channel
                True,  # 7 bits
                QuantType.QInt8,
                QuantType.QUInt8,
                self.ranges,
                [name for name in self.layers if name not in floats],
                [*floats],
                [*PRODUCTS],
                {"MatMulConstBOnly": True},
            )
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(path), False)


def shorten(source: Path, target: Path, about: Path, outputs: int) -> None:
    """Writes a file that returns its first `outputs` alone, and says of itself what the file `about` says."""
    model, known = onnx.load(source), onnx.load(about, load_external_data=False)
    del model.graph.output[outputs:]
    model.producer_name, model.producer_version = known.producer_name, known.producer_version
    del model.metadata_props[:]
    model.metadata_props.extend(known.metadata_props)
    onnx.save(model, target)


class _Calibration:
    """Batches of inputs, as onnxruntime's calibration asks for them."""

    def __init__(self, examples: Iterable[Arrays]):
        self._examples: Iterator[Arrays] = iter(examples)

    def get_next(self) -> Arrays | None:
        return next(self._examples, None)

    def __iter__(self) -> Iterator[Arrays]:
        return self._examples


def _prepared(file: Path, folder: Path) -> Path:
    """The same model with its constants folded and its shapes known."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = folder / "prepared.onnx"
    if not target.exists():
        with unlogged(logging.WARNING):
            quant_pre_process(str(file), str(target), skip_symbolic_shape=True)
    return target


def _layers(model: onnx.ModelProto) -> list[str]:
    """The names of the products with weights, in order."""
    weights = {each.name for each in model.graph.initializer}
    return [n.name for n in model.graph.node if n.op_type in PRODUCTS and n.input[1] in weights]
