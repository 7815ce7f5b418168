"""What computes in a compiled graph, and what is around it."""

import sys
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from graphspec.train import inductor
from graphspec.train.inductor import GeneratedCode


class Compiled:
    """As inductor has it: a call of the code that it wrote, and what it does around that."""

    def __init__(self) -> None:
        self.around = 0

    def current_callable(self, taken: list[Tensor]) -> Sequence[Tensor]:
        first, second = taken
        taken.clear()
        return first + second, first

    def __call__(self, taken: list[Tensor]) -> Sequence[Tensor]:
        self.around += 1
        return self.current_callable(taken)


def views(made: Sequence[Tensor]) -> Sequence[Tensor]:
    return [each.view(-1) for each in made]


WHOLES: dict[str, tuple[Callable[[Compiled], Callable[..., Any]], bool]] = {
    "nothing around": (lambda graph: lambda *taken: graph([*taken]), True),
    "another order": (lambda graph: lambda *taken: graph([*reversed(taken)]), False),
    "views of what is made": (lambda graph: lambda *taken: views(graph([*taken])), False),
    "not all that is made": (lambda graph: lambda *taken: graph([*taken])[:1], False),
    "two graphs": (lambda graph: lambda *taken: (graph([*taken]), graph([*taken]))[1], False),
    "none": (lambda graph: lambda *taken: graph.current_callable([*taken]), False),
}


@pytest.mark.parametrize("name", WHOLES)
def test_code_is_called_by_itself_where_nothing_is_done_around_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, alone = WHOLES[name]
    monkeypatch.setitem(sys.modules, "torch._inductor.output_code", SimpleNamespace(CompiledFxGraph=Compiled))
    graph, taken = Compiled(), [torch.ones(2), torch.full((2,), 2.0)]
    whole = make(graph)
    code = GeneratedCode(whole)
    expected = whole(*taken)
    for found in (code(*taken), code(*taken)):
        assert all(map(torch.equal, found, expected))
    before = graph.around
    assert all(map(torch.equal, code.repeats([0])([*taken]), expected))
    assert (graph.around == before) == (alone or name == "none")
    assert "seen" not in Compiled.__call__.__name__


def test_another_thread_may_look_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that begins before another ends, and ends after it, would leave its own method in torch."""
    monkeypatch.setitem(sys.modules, "torch._inductor.output_code", SimpleNamespace(CompiledFxGraph=Compiled))
    before, began, ended = Compiled.__call__, threading.Event(), threading.Event()

    def first(*taken: Tensor) -> Sequence[Tensor]:
        thread.start()
        began.wait(0.3)
        return Compiled()([*taken])

    def second(*taken: Tensor) -> Sequence[Tensor]:
        began.set()
        ended.wait()
        return Compiled()([*taken])

    thread = threading.Thread(target=lambda: GeneratedCode(second)(torch.ones(2), torch.ones(2)))
    GeneratedCode(first)(torch.ones(2), torch.ones(2))
    ended.set()
    thread.join()
    assert Compiled.__call__ is before


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_biases_are_added_with_what_follows(dtype: torch.dtype) -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3, bias=False))
    layers, x, seen = layers.to(dtype), torch.randn(4, 6).to(dtype), list[str]()
    settings = dict(inductor.settings(closed=True))
    takes_apart = settings.pop("post_grad_custom_post_pass")

    def after(graph: torch.fx.Graph) -> None:
        takes_apart(graph)
        seen.extend(str(node.target) for node in graph.nodes if node.op == "call_function")

    options = {**settings, "post_grad_custom_post_pass": after, "fx_graph_cache": False}
    with torch.no_grad():
        compiled = torch.compile(layers, options=options)
        torch.testing.assert_close(compiled(x), layers(x))
    apart = dtype == torch.float32
    assert ("aten.add.Tensor" in seen) == apart and ("aten.addmm.default" in seen) != apart
