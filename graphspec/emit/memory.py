"""Estimates the bytes of a program's tensors, from shapes only.

Sizes are those of one example, with `NOMINAL` for each unknown size.
"""

from __future__ import annotations

from collections import defaultdict

from graphspec.contract.activations import LINEAR, RELU
from graphspec.graph import Graph, Op, Value
from graphspec.tensor import names_of, value_of
from graphspec.view.costs import nbytes

NOMINAL = 256
WORTH = 0.2
"""The share of a program's memory for which a `del` is written, or a statement of its own."""


def size(value: Value) -> int:
    """The approximate size of a value in bytes."""
    total = nbytes(value.tensor)
    return max(value_of(total, {name: NOMINAL for name in names_of(total)}), 0)


def storage(value: Value) -> Value:
    """The value whose memory a value shares: rearranged or passed-on values are views."""
    while (op := value.op) is not None and op.graph is None and op.wrapper is None and op.inputs:
        if op.present and not (op.layer is not None and op.layer.rearranges):
            break
        value = op.inputs[0]
    return value


class Peaks:
    """The peak memory of graphs at best: each tensor is freed after its last read.

    A graph's inputs do not count, because the caller holds them.
    """

    def __init__(self) -> None:
        self._of: dict[Graph, int] = {}

    def of(self, graph: Graph) -> int:
        if graph not in self._of:
            self._of[graph] = self._simulated(graph)
        return self._of[graph]

    def during(self, op: Op) -> int:
        """The memory that one op adds while it runs, including its outputs."""
        if not op.present or op.parameter is not None or op.kind == "constant":
            return 0
        outputs = sum(size(value) for value in {storage(v) for v in op.outputs.values()} if value.op is op)
        if op.graph is not None:
            return max(outputs, self.of(op.graph))
        return outputs * (1 if getattr(op.layer, "activation", LINEAR) in (LINEAR, RELU) else 2)

    def _simulated(self, graph: Graph) -> int:
        last: dict[Value, int] = {}
        for step, op in enumerate(graph.ops):
            last.update({storage(value): step for value in op.inputs})
        last.update({storage(value): len(graph.ops) for value in graph.outputs.values()})
        ends: dict[int, list[Value]] = defaultdict(list)
        held = peak = 0
        for step, op in enumerate(graph.ops):
            peak = max(peak, held + self.during(op))
            for value in {storage(v) for v in op.outputs.values()}:
                if value.op is op and last.get(value, step) > step:
                    held += size(value)
                    ends[last[value]].append(value)
            held -= sum(size(value) for value in ends[step])
        return peak
