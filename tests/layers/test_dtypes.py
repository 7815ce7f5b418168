"""What check accepts, in every dtype, builds, runs, and gives the dtype that was inferred."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from graphspec.compiler import check
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Example
from graphspec.diagnostics import Diagnostics
from graphspec.tensor import DTYPES
from tests import bundled
from tests.layers.examples import examples_of

CORNERS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
DEFINED: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {
    ("floor_divide", "x1"): torch.ones_like,  # integers are not divided by 0
    ("mod", "x1"): torch.ones_like,
    ("cholesky", "x0"): lambda x: torch.eye(x.shape[-1]).expand(x.shape),
    ("in_top_k", "x0"): torch.zeros_like,  # classes, and places, that are there
    ("sparse_categorical_crossentropy", "x0"): torch.zeros_like,
    ("scatter", "x0"): torch.zeros_like,
    ("scatter_update", "x1"): torch.zeros_like,
    ("take", "x1"): torch.zeros_like,
    ("take_along_axis", "x1"): torch.zeros_like,
    ("image_perspective_transform", "x1"): lambda x: CORNERS.expand(x.shape),
    ("image_perspective_transform", "x2"): lambda x: CORNERS.expand(x.shape),
}
"""Values for what is not defined for every value: where it is not, rounding decides whether it fails."""
CLASSES = [
    (kind, name)
    for kind, classes in REGISTRY.items()
    for name, cls in classes.items()
    if cls.examples[0].shapes and not any(a.many for a in cls.arguments)
]


def plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def spec(kind: str, name: str, example: Example, dtypes: tuple[str, ...]) -> str:
    """A spec with one node: an example of a layer, on inputs of these types."""
    shapes = enumerate(zip(example.shapes, dtypes, strict=True))
    inputs = {f"x{index}": {"shape": list(shape), "dtype": dtype} for index, (shape, dtype) in shapes}
    node = {kind: name, **plain(dict(example.arguments)), **plain(dict(example.call))}
    several = len(inputs) > 1 or REGISTRY[kind][name].variadic  # type: ignore[index]
    node["from"] = list(inputs) if several else "x0"
    return json.dumps({"inputs": inputs, "nodes": {"y": node}, "outputs": ["y"]}) + "\n"


def runs(text: str, modules: dict[str, nn.Module] | None = None) -> bool:
    """Whether a spec is accepted; then it runs, and gives what it says.

    `modules` are those of the same spec in other dtypes, by what they do: an emitted file does not depend
    on dtypes but for its docstring, and is not written again.
    """
    modules = {} if modules is None else modules
    diagnostics = Diagnostics()
    program = check(text, diagnostics, {})
    if program is None:
        assert diagnostics.errors
        return False
    node = program.graph.ops[-1].layer
    inputs = program.example_inputs()
    for (name, key), value in DEFINED.items():
        if node is not None and node.spec_name == name and key in inputs:
            inputs[key] = value(inputs[key]).to(inputs[key].dtype)
    steps = [op.layer and (op.layer.code(op.site(False)), op.weights()) for op in program.graph.ops]
    code = repr(steps) if all(steps) else text
    if code not in modules:
        modules[code] = program.module()
    output = modules[code](*inputs.values())
    assert str(output.dtype).removeprefix("torch.") == program.outputs["y"].tensors[0].dtype, text
    return True


def combinations(count: int) -> Iterator[tuple[str, ...]]:
    for dtype in DTYPES:
        yield (dtype,) * count
    for dtype in ("float64", "float16", "int32", "bool") if count > 1 else ():
        yield ("float32", *(dtype,) * (count - 1))
        yield (dtype, *("float32",) * (count - 1))


@bundled(16, ("kind", "name"), CLASSES, ids=lambda word: word)
@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.parity)], ids=["some", "all"])
def test_what_check_accepts_runs(kind: Any, name: str, step: int) -> None:
    """In its own types, and in all others, or one in six of these, which are others than its neighbours'."""
    example = REGISTRY[kind][name].examples[0]
    modules: dict[str, nn.Module] = {}
    count = len(example.shapes)
    own = example.dtypes or (example.dtype,) * count
    assert runs(spec(kind, name, example, own), modules), "its own example is legal"
    first = CLASSES.index((kind, name)) % step
    for dtypes in list(combinations(count))[first::step]:
        runs(spec(kind, name, example, dtypes), modules)


@given(st.data())
@settings(deadline=None)
def test_any_example_in_any_dtypes_runs(data: st.DataObject) -> None:
    kind, name = data.draw(st.sampled_from(CLASSES))
    example = data.draw(st.sampled_from(examples_of(REGISTRY[kind][name])))
    count = len(example.shapes)
    dtypes = data.draw(st.tuples(*[st.sampled_from(DTYPES)] * count))
    runs(spec(kind, name, example, dtypes))


@pytest.mark.parametrize(
    ("node", "dtype"),
    [("layer: Dense, units: 2", "float64"), ("layer: LSTM, units: 2", "bfloat16"), ("op: svd", "float16")],
)
def test_a_type_that_is_refused_is_told_with_its_remedy(node: str, dtype: str) -> None:
    text = "inputs: {x: {shape: [4, 3], dtype: DTYPE}}\nnodes:\n  CAST\n  y: {NODE}\noutputs: [y]\n"
    diagnostics = Diagnostics()
    text = text.replace("DTYPE", dtype).replace("NODE", node)
    assert check(text.replace("  CAST\n", ""), diagnostics, {}) is None
    (found,) = diagnostics.sorted()
    cast = "{op: cast, from: x, dtype: float32}"
    assert found.code == "wrong-dtype" and found.help == f"make it float32: {cast}"
    assert check(text.replace("CAST", f"c: {cast}"), Diagnostics(), {})
