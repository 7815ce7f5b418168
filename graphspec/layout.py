"""Where axes are permuted: specs are channels-last, PyTorch's convolutions channels-first.

An image tensor [N, H, W, C] seen through `permute(0, 3, 1, 2)` is PyTorch's channels_last memory format,
so that the border
costs nothing. A value stays permuted until something needs the spec's order.
"""

from __future__ import annotations

from graphspec.graph import Graph, Op, Value, types

TO_FIRST = {3: ".transpose(1, 2)", 4: ".permute(0, 3, 1, 2)", 5: ".permute(0, 4, 1, 2, 3)"}
TO_SPEC = {3: ".transpose(1, 2)", 4: ".permute(0, 2, 3, 1)", 5: ".permute(0, 2, 3, 4, 1)"}


class Layout:
    """The memory order of every value of a graph: `first` holds those with channels at axis 1.

    Blocks are laid out once for all their calls: they take each input as its first reader wants it.
    """

    def __init__(self) -> None:
        self.first: set[Value] = set()
        self._wants: dict[tuple[int, str], bool] = {}
        self._done: set[Graph] = set()

    def wants_first(self, graph: Graph, name: str) -> bool:
        """Whether a block's input is best passed with channels first."""
        key = (id(graph), name)
        if key not in self._wants:
            value = graph.inputs[name]
            self._wants[key] = (
                value is not None and value.tensor.rank in TO_FIRST and self._reader_wants(graph, value)
            )
        return self._wants[key]

    def _reader_wants(self, graph: Graph, value: Value) -> bool:
        for op in graph.ops:
            for place, argument in enumerate(op.arguments):
                if argument is value or (isinstance(argument, tuple) and value in argument):
                    wish = self.wish(op, place)
                    if wish == "any":
                        if op.output.tensor.rank == value.tensor.rank and self._reader_wants(
                            graph, op.output
                        ):
                            return True
                    else:
                        return wish == "first"
        return False

    def wish(self, op: Op, place: int) -> str:
        """How an op wants its argument: "spec", "first" or "any"."""
        if not op.present:
            return "any"
        if op.wrapper is not None or op.parameter is not None:
            return "spec"
        if op.graph is not None:
            names = list(op.graph.inputs)
            return "first" if self.wants_first(op.graph, names[place]) else "spec"
        assert op.layer is not None
        return op.layer.memory(*(types(argument) for argument in op.arguments))

    def run(self, graph: Graph, root: bool) -> None:
        """Decides for every value of a graph and of those inside it."""
        if graph in self._done:
            return
        self._done.add(graph)
        for name, value in graph.inputs.items():
            if value is not None and not root and self.wants_first(graph, name):
                self.first.add(value)
        for op in graph.ops:
            if op.graph is not None:
                self.run(op.graph, False)
            if self._comes_out_first(op):
                self.first.update(v for v in op.outputs.values() if v.tensor.rank in TO_FIRST)
            if op.graph is not None and op.wrapper is None:
                for key, value in op.outputs.items():
                    (self.first.add if op.results[key] in self.first else self.first.discard)(value)

    def _comes_out_first(self, op: Op) -> bool:
        if op.wrapper is not None or op.parameter is not None or op.graph is not None:
            return False
        wish = self.wish(op, 0)
        if wish != "any":
            return wish == "first"
        return self._passes_first(op) and op.output.tensor.rank == op.inputs[0].tensor.rank

    def _passes_first(self, op: Op) -> bool:
        """Whether an op that takes either order gets channels first: its inputs are of one rank, and one
        of them is.
        """
        inputs = op.inputs
        if not inputs or any(v.tensor.rank != inputs[0].tensor.rank for v in inputs):
            return False
        return inputs[0].tensor.rank in TO_FIRST and any(v in self.first for v in inputs)

    def op_first(self, op: Op) -> bool:
        """Whether a layer runs on channels-first data."""
        if op.wrapper is not None:
            return False
        wish = self.wish(op, 0)
        return wish == "first" or (wish == "any" and self._passes_first(op))


def convert(expression: str, rank: int, to_first: bool) -> str:
    """An expression in the other memory order: a view."""
    return expression + (TO_FIRST if to_first else TO_SPEC)[rank]
