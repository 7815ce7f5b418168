"""Poolings that round up, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import graphspec
from graphspec.diagnostics import SpecError
from tests import one_in


def pool(kind: str, rank: int, width: int, stride: int, shape: Any) -> graphspec.Program:
    node = f"{{layer: {kind}Pooling{rank}D, pool_size: {width}, strides: {stride}, ceil_mode: true}}"
    text = (
        f"inputs: {{x: {{shape: [{', '.join(map(str, shape))}, 2]}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n"
    )
    return graphspec.compile(text)


@given(
    st.sampled_from(["Max", "Average"]),
    st.integers(1, 3),
    st.integers(1, 5),
    st.data(),
    st.booleans(),
)
@settings(deadline=None)
def test_they_are_those_of_pytorch(
    kind: str, rank: int, width: int, data: st.DataObject, named: bool
) -> None:
    stride = data.draw(st.integers(1, width))
    least = width if (kind, rank) == ("Average", 3) else max(1, width - stride + 1)  # PyTorch's avg_pool3d
    sizes = [data.draw(st.integers(least, 9)) for _ in range(rank)]
    program = pool(kind, rank, width, stride, [f"n{i}" for i in range(rank)] if named else sizes)
    torch_kind = "Max" if kind == "Max" else "Avg"
    theirs = getattr(nn, f"{torch_kind}Pool{rank}d")(width, stride, ceil_mode=True)
    x = torch.randn(2, *sizes, 2)
    wanted = theirs(x.movedim(-1, 1)).movedim(1, -1)
    found = program.module()(x)
    torch.testing.assert_close(found, wanted)
    declared = program.outputs["y"].tensors[0].shape[1:]
    bound = {f"n{i}": size for i, size in enumerate(sizes)}
    assert [d if isinstance(d, int) else d.evaluate(bound) for d in declared] == list(wanted.shape[1:])


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("padding: same", "out-of-range"),
        ("strides: 3", "out-of-range"),
        ("pool_size: 7, strides: 2", "window-too-large"),
    ],
)
def test_what_it_cannot_be(more: str, code: str) -> None:
    node = f"{{layer: MaxPooling1D, ceil_mode: true, {more}}}"
    with pytest.raises(SpecError) as error:
        graphspec.compile(f"inputs: {{x: {{shape: [4, 2]}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n")
    assert error.value.diagnostics[0].code == code


@pytest.mark.parametrize("format", one_in(2, ["pt2", "onnx"]))
def test_exports_round_up_too(format: str, tmp_path: Any) -> None:
    from graphspec.export import export

    program = pool("Max", 2, 3, 2, ["height", "width"])
    made = export(program, format, tmp_path / f"m.{format}")
    assert made.comparisons and all(each.difference == 0 for each in made.comparisons)
