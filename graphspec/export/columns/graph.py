"""A graph of ONNX as it is written: nodes, constants, and columns that the user gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graphspec.data.features.windows import Steps

ML, MICROSOFT, EXTENSIONS = "ai.onnx.ml", "com.microsoft", "ai.onnx.contrib"
OPSETS = {"": 20, ML: 4, MICROSOFT: 1}
"""The versions of the domains: the first one splits and matches strings from 20 on. The third is
onnxruntime's own, of which its tokenizer is used; onnxruntime-extensions' is beside them, where it is used.
"""
TEXT, NUMBER, WHOLE = TensorProto.STRING, TensorProto.DOUBLE, TensorProto.INT64
FLOAT = TensorProto.FLOAT
BATCH = "batch"


class GraphWriter:
    """Collects the nodes of a graph. A value is its name: it begins with `prefix`, which no column does."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: dict[str, tuple[int, tuple[int | str, ...]]] = {}
        """The columns, each with its type and its shape."""
        self.spans: dict[str, Steps] = {}
        """The columns of which a window has several steps: those from the first to the last that is read."""
        self.steps: Steps | None = None
        """The steps that are read of columns; None for the last one of the past."""
        self._known: dict[tuple[Any, ...], str] = {}
        self._reasons = Counter[str]()
        self._count = 0

    def name(self, word: str) -> str:
        """The name of a value."""
        return self.prefix + word

    def op(self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """A node; its value, or a list of them where there are several `outputs`."""
        self._count += 1
        values = [self.name(f"{kind.lower()}_{self._count}_{i}") for i in range(outputs)]
        name = attributes.pop("called", "")
        self.nodes.append(helper.make_node(kind, inputs, values, name, domain=domain, **attributes))
        return values[0] if outputs == 1 else values

    def constant(self, value: Any, dtype: Any = None) -> str:
        """An array, or a number, as a value; equal ones are one."""
        array = np.asarray(value, dtype)
        if array.dtype.kind in "US":
            array = array.astype(object)
        key = (array.dtype.str, array.shape, tuple(array.reshape(-1).tolist()))
        if key not in self._known:
            name = self.name(f"constant_{len(self._known)}")
            self.constants[name] = numpy_helper.from_array(array, name)
            self._known[key] = name
        return self._known[key]

    def column(self, name: str, kind: int, *shape: int | str) -> str:
        """A column of the user's, [batch, *shape], which is called as it is by everything that reads it. Of a
        window, one row after another: those of the steps that are read.
        """
        column = kind, self.shape_of(name, *shape)
        assert self.inputs.setdefault(name, column) == column
        span, wanted = self.spans.get(name), self.steps or Steps(0, 1)
        if span is None:
            return name
        first = wanted.first - span.first
        part = name if wanted == span else self.sliced(name, first, first + wanted.count)
        return str(self.op("Reshape", part, self.constant([-1], np.int64)))

    def shape_of(self, name: str, *shape: int | str) -> tuple[int | str, ...]:
        """The shape of a column in the file."""
        span = self.spans.get(name)
        return (BATCH, *shape) if span is None else (BATCH, span.count, *shape)

    # --- shorthands

    def cast(self, value: str, kind: int) -> str:
        return str(self.op("Cast", value, to=kind))

    def where(self, mask: str, yes: str, no: str) -> str:
        return str(self.op("Where", mask, yes, no))

    def joined(self, parts: list[str], axis: int = 1) -> str:
        return parts[0] if len(parts) == 1 else str(self.op("Concat", *parts, axis=axis))

    def expanded(self, value: str, axis: int = 1) -> str:
        return str(self.op("Unsqueeze", value, self.constant([axis], np.int64)))

    def sliced(self, value: str, start: int, stop: str | int, axis: int = 1) -> str:
        end = self.constant([stop], np.int64) if isinstance(stop, int) else stop
        return str(self.op("Slice", value, self.constant([start], np.int64), end, self.constant([axis])))

    def item(self, value: str, position: int) -> str:
        """[batch] of [batch, n]."""
        return str(self.op("Gather", value, self.constant(position, np.int64), axis=1))

    def split(self, text: str, separator: str, count: int) -> list[str]:
        """The first `count` pieces of each text, empty ones where it has fewer. At spaces, of which several
        are as one and those around the text none, a missing piece is `T`.
        """
        more = " T" * count if separator == " " else separator * count
        padded = self.op("StringConcat", text, self.constant(np.array([more], object)))
        attributes: dict[str, Any] = {} if separator == " " else {"delimiter": separator}
        pieces = self.op("StringSplit", padded, outputs=2, **attributes)[0]
        return [self.item(pieces, position) for position in range(count)]

    def whole(self, text: str) -> str:
        """Texts of digits as integers; an empty one is 0."""
        empty = self.op("Equal", text, self.constant(np.array([""], object)))
        return self.cast(self.where(empty, self.constant(np.array(["0"], object)), text), WHOLE)

    def is_text(self, value: str, texts: list[str]) -> str:
        """Where a text is one of some."""
        masks = [self.op("Equal", value, self.constant(np.array([text], object))) for text in texts]
        combined = masks[0]
        for mask in masks[1:]:
            combined = self.op("Or", combined, mask)
        return str(combined)

    def look_up(self, value: str, keys: list[str], values: list[int], otherwise: int) -> str:
        """The number of each text."""
        known: dict[str, Any] = {"keys_strings": keys, "values_int64s": values, "default_int64": otherwise}
        return str(self.op("LabelEncoder", value, domain=ML, **known))

    def refuse(self, fits: str, reason: str) -> str:
        """Zeros, int64, of the shape of the mask. A run ends where it is False: ONNX knows no error, but a
        text that is no number is one, and onnxruntime names the node: by the reason, with a number where a
        column is refused for it at several nodes.
        """
        text = self.where(fits, *(self.constant(np.array([word], object)) for word in ("0", reason)))
        self._count += 1
        self._reasons[reason] += 1
        number = self._reasons[reason]
        called = reason if number == 1 else f"{reason} ({number})"
        return str(self.op("Cast", text, to=WHOLE, called=called))

    def guarded(self, value: str, kind: int, fits: str, reason: str) -> str:
        """The value, plus the zeros of `refuse`: so that it is not left out."""
        zeros = self.refuse(fits, reason)
        return str(self.op("Add", value, zeros if kind == WHOLE else self.cast(zeros, kind)))
