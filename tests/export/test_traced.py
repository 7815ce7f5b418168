"""The numbers of a column in a graph of ONNX, beside those of numpy: the same lines say both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from graphspec.data.rows.numbers import NumberCurve, outside
from graphspec.export.columns.graph import NUMBER, OPSETS, GraphWriter
from graphspec.export.columns.traced import GraphValue, functions

DRAW = np.random.default_rng(0)
NASTY = np.concatenate(
    [
        [0.0, -0.0, 1.0, -1.0, -0.5, 7.0, 90.0, 8e307, -8e307, 5e-324, 1e-17, 2.0**53, np.nan],
        DRAW.normal(size=300) * 10,
        DRAW.uniform(-1, 100, 300),
        10.0 ** DRAW.uniform(-300, 307, 387),
    ]
)
SCALES = [(0.0, 1.0), (2.5, 0.5), (3.0, 0.0)]


def answer_of(write: Callable[[GraphValue], GraphValue], values: np.ndarray) -> Any:
    g = GraphWriter("")
    name = write(GraphValue(g, g.column("x", NUMBER))).name
    given = helper.make_tensor_value_info("x", NUMBER, ["batch"])
    answer = helper.make_tensor_value_info(name, NUMBER, None)
    graph = helper.make_graph(g.nodes, "numbers", [given], [answer], list(g.constants.values()))
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values})[0]


@pytest.mark.parametrize("transform", [None, "log1p", "sqrt", "quantile"])
def test_a_graph_has_the_numbers_of_arrays(transform: Any) -> None:
    for (shift, scale), clip, fill in product(SCALES, (None, 0.5), (None, 0.25)):
        curve = NumberCurve(fill, transform, (0.0, 1.0, 1.0, 7.0, 90.0), shift, scale, clip)
        values = NASTY[~outside(transform, NASTY)]
        made = answer_of(partial(curve, xp=functions("x")), values)
        np.testing.assert_allclose(made, curve(values), 1e-14, 1e-14)
        back = values[np.abs(values) < 700]
        undone = answer_of(partial(curve.undo, xp=functions("x")), back)
        np.testing.assert_allclose(undone, curve.undo(back), 1e-14, 1e-14)


def test_a_number_without_the_transform_ends_the_run_by_its_column() -> None:
    curve = NumberCurve(fill=-2.0, transform="log1p")
    for values in ([0.5, -1.0], [0.5, np.nan]):  # a number that fills is a number of the column
        with pytest.raises(Exception, match="column x: a number that has no log1p"):
            answer_of(partial(curve, xp=functions("x")), np.array(values))
