"""The `config.pbtxt` of a file of ONNX, for the Triton inference server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.version import MADE_BY, __version__

TYPES: Mapping[str, str] = {
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(bool)": "TYPE_BOOL",
    **{
        f"tensor({sign}int{bits})": f"TYPE_{sign.upper()}INT{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    "tensor(string)": "TYPE_STRING",
}
"""onnxruntime's types as Triton's."""
LIBRARY = 'model_operations { op_library_filename: "PATH" }'
"""How a configuration names a library of operators."""
BATCH = 256
"""Rows that Triton computes together, at most."""


def config(file: Path, batched: bool, example: Mapping[str, Any], needs: Sequence[str] = ()) -> str:
    """The configuration: what the file reads and returns. `batched` says that it takes any number of rows;
    then Triton puts requests together. `example` are arrays that the file takes, and `needs` the packages
    whose operators it has.
    """
    import onnxruntime

    from graphspec.export.onnx import session_options

    options = session_options(bool(needs))
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    ranks = {n: np.ndim(v) for n, v in zip(names, session.run(names, dict(example)), strict=True)}
    head = f"# {MADE_BY} {__version__}: what model.onnx reads and returns."
    more = [f"# Name the library of {name}: {LIBRARY}" for name in needs]
    lines = [head, *more, 'backend: "onnxruntime"', f"max_batch_size: {BATCH if batched else 0}"]
    for kind, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        parts = [_tensor(v.name, v.type, _shape(v, ranks), batched) for v in values]
        lines += [f"{kind} [", ",\n".join(parts), "]"]
    if batched:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def _shape(value: Any, ranks: Mapping[str, int]) -> Sequence[Any]:
    """The sizes of a tensor, a name or None where any fits: all of an output whose shape the file leaves
    open.
    """
    shape: Sequence[Any] = value.shape
    return shape if len(shape) == ranks.get(value.name, len(shape)) else [None] * ranks[value.name]


def _tensor(name: str, kind: str, shape: Sequence[Any], batched: bool) -> str:
    dims = [size if isinstance(size, int) else -1 for size in shape[1 if batched else 0 :]]
    text = f"  {{ name: {json.dumps(name, ensure_ascii=False)} data_type: {TYPES[kind]} "
    if dims:
        return text + f"dims: [ {', '.join(map(str, dims))} ] }}"
    return text + "dims: [ 1 ] reshape: { shape: [ ] } }"  # Triton knows no tensor without another axis
