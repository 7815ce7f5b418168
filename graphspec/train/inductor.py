"""What the compiled steps of a training ask of inductor, torch's own compiler."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from graphspec.train.cuda_graphs import CudaGraph, Run, are_on_one_gpu

CLOSED = {"size_asserts": False, "alignment_asserts": False}
"""What is left out where nothing but the training changes the module: its examples have one size and type."""
_LOOKING = threading.Lock()
"""Held where a method of torch's is replaced, as another thread may train, too."""


def settings(closed: bool) -> Mapping[str, Any]:
    """The settings of inductor that a step is compiled with; `closed` as in `Compiled`."""
    # torch's own CUDA graphs write each result over the last one, and some are held
    always = {"triton.cudagraphs": False, "post_grad_custom_post_pass": _biases_apart()}
    return always | (CLOSED if closed else {})


@cache
def _biases_apart() -> Any:
    """A pass that adds the bias of a dense layer with what is computed next for each value.

    On a GPU torch does so itself. On a CPU `addmm` writes the bias of each output first, which takes as long
    as the product of a small layer.
    """
    from torch._inductor.custom_graph_pass import CustomGraphPass

    class BiasesApart(CustomGraphPass):
        def uuid(self) -> str:  # a part of the key of what is cached on disk: another one for each change
            return "graphspec: biases of float32 apart"

        def __call__(self, graph: torch.fx.Graph) -> None:
            ops = torch.ops.aten
            for node in graph.find_nodes(op="call_function", target=ops.addmm.default):
                value = node.meta.get("val")
                if node.kwargs or value is None or value.device.type != "cpu":
                    continue
                if value.dtype != torch.float32:  # of fewer bits the product would be rounded first
                    continue
                bias, *factors = node.args
                with graph.inserting_before(node):
                    product = graph.call_function(ops.mm.default, tuple(factors))
                    total = graph.call_function(ops.add.Tensor, (product, bias))
                product.meta, total.meta = dict(node.meta), dict(node.meta)
                node.replace_all_uses_with(total)
                graph.erase_node(node)

    return BiasesApart()


class GeneratedCode:
    """What computes in a compiled graph: the code that inductor wrote, where that takes and makes the tensors
    of the whole. AOTAutograd does nothing then but look, around each call, whether there is something to do.
    """

    def __init__(self, whole: Callable[..., Sequence[Tensor]]):
        self._whole = whole
        self._inner: Any = None
        self._is_known = False
        self._is_on_gpu = False
        self._graph: CudaGraph | None = None

    def __call__(self, *taken: Any) -> Sequence[Tensor]:
        """The whole; the first call shows what computes."""
        if self._is_known:
            return self._whole(*taken)
        self._is_known = True
        inductor: Any = sys.modules.get("torch._inductor.output_code")
        if inductor is None:  # another backend
            return self._whole(*taken)
        calls: list[tuple[Any, list[Any], Sequence[Any]]] = []
        graphs = inductor.CompiledFxGraph

        def seen(graph: Any, inputs: list[Any]) -> Any:
            given = list(inputs)  # it clears them
            calls.append((graph, given, call(graph, inputs)))
            return calls[-1][2]

        with _LOOKING:
            call, graphs.__call__ = graphs.__call__, seen
            try:
                made = self._whole(*taken)
            finally:
                graphs.__call__ = call
        if len(calls) == 1 and _same(calls[0][1], taken) and _same(calls[0][2], made):
            self._inner = calls[0][0]
            self._is_on_gpu = are_on_one_gpu((*taken, *made))
        return made

    def repeats(self, places: Sequence[int]) -> Run:
        """The same of a list, which may be empty afterwards; to be called under `torch.no_grad`. What differs
        from call to call is at these `places`.
        """
        if self._inner is None:
            return self._within_autograd
        run: Run = self._inner.current_callable
        if not self._is_on_gpu or not places:
            return run
        if self._graph is None or self._graph.places != tuple(places):
            self._graph = CudaGraph(run, places)
        return self._graph

    def _within_autograd(self, taken: list[Any]) -> Sequence[Tensor]:
        with torch.enable_grad():
            return self._whole(*taken)


def _same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))
