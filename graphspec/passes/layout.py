"""Where axes are permuted: specs are channels-last, PyTorch's convolutions channels-first.

An image tensor [N, H, W, C] seen through `permute(0, 3, 1, 2)` is PyTorch's channels_last memory format,
so that the border
costs nothing. A value stays permuted until something needs the spec's order.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphspec.graph import Graph, Op, Value, flatten, types

TO_FIRST = {3: ".transpose(1, 2)", 4: ".permute(0, 3, 1, 2)", 5: ".permute(0, 4, 1, 2, 3)"}
TO_SPEC = {3: ".transpose(1, 2)", 4: ".permute(0, 2, 3, 1)", 5: ".permute(0, 2, 3, 4, 1)"}


class Layout:
    """The memory order of every value of a graph: `channels_first` holds those with channels at axis 1.

    Blocks are laid out once for all their calls, before the blocks that use them: they take each input as its
    first reader wants it. A block that would take a rank in one order and return it in the other uses the
    spec's order for both.
    """

    def __init__(self) -> None:
        self.channels_first: set[Value] = set()
        self._wanted: dict[Graph, set[Value]] = {}
        self._plain: dict[Graph, set[int]] = {}  # the ranks that a block takes and gives in the spec's order
        self._wishes: dict[Op, str] = {}
        self._runs_first: dict[Op, bool] = {}
        self._read_plain: set[Value] = set()  # what is read, and in the spec's order alone
        self._strict: set[Op] = set()  # ops of such blocks: channels come first if they do in all inputs

    def wants_first(self, graph: Graph, name: str) -> bool:
        """Whether a block's input is best passed with channels first."""
        value = graph.inputs[name]
        if value is None or value.tensor.rank in self._plain.get(graph, ()):
            return False
        if graph not in self._wanted:
            self._wanted[graph] = self._wanted_first(graph)
        return value in self._wanted[graph]

    def gives(self, graph: Graph, value: Value) -> bool:
        """Whether an output of a block comes with channels first."""
        return value in self.channels_first and value.tensor.rank not in self._plain.get(graph, ())

    def keep_plain(self, graph: Graph) -> None:
        """Lets a block take and give all its values in the spec's order."""
        self._plain[graph] = {*TO_FIRST}

    def _wanted_first(self, graph: Graph) -> set[Value]:
        """The values of a graph whose first reader with a preference prefers channels first."""
        readers: dict[Value, list[tuple[Op, int]]] = {}
        for op in graph.ops:
            for place, argument in enumerate(op.arguments):
                for value in flatten((argument,)):
                    readers.setdefault(value, []).append((op, place))
        wanted: set[Value] = set()
        fixed = self._made_first(graph)
        values = [value for value in graph.inputs.values() if value is not None]
        values += [value for op in graph.ops for value in op.outputs.values()]
        for value in reversed(values):
            if value.tensor.rank not in TO_FIRST:
                continue
            for op, place in readers.get(value, ()):
                wish = self.wish(op, place)
                alike = wish == "any" and op.output.tensor.rank == value.tensor.rank
                if wish == "first" or (
                    alike and (op.output in wanted or any(v in fixed for v in op.inputs if v is not value))
                ):
                    wanted.add(value)
                if wish != "any" or value in wanted:
                    break
        return wanted

    def _made_first(self, graph: Graph) -> set[Value]:
        """The values of a graph that come with channels first whatever the order of its inputs."""
        fixed: set[Value] = set()
        for op in graph.ops:
            outputs = [(key, value) for key, value in op.outputs.items() if value.tensor.rank in TO_FIRST]
            if op.wrapper is not None or op.parameter is not None or not outputs:
                continue
            if op.graph is not None:
                fixed.update(value for key, value in outputs if self.gives(op.graph, op.results[key]))
                continue
            wish, rank = self.wish(op, 0), op.output.tensor.rank
            passes = wish == "any" and any(v in fixed and v.tensor.rank == rank for v in op.inputs)
            if wish == "first" or passes:
                fixed.update(value for _, value in outputs)
        return fixed

    def wish(self, op: Op, place: int) -> str:
        """The memory layout that an op prefers for its argument: "spec", "first" or "any"."""
        if not op.present:
            return "any"
        if op.wrapper is not None or op.parameter is not None:
            return "spec"
        if op.graph is not None:
            names = list(op.graph.inputs)
            return "first" if self.wants_first(op.graph, names[place]) else "spec"
        if op not in self._wishes:
            assert op.layer is not None
            seen = op.inner or tuple(types(argument) for argument in op.arguments)
            self._wishes[op] = op.layer.memory(*seen)
        return self._wishes[op]

    def run(self, graph: Graph, channels_first: Iterable[Value] = (), root: bool = False) -> None:
        """Decides for every value of a graph; the blocks in it are laid out. `channels_first` are inputs of
        the program that come so.
        """
        self.channels_first.update(channels_first)
        self._decide(graph, root)
        if root:
            return
        if graph in self._plain:
            return
        orders: dict[int, set[bool]] = {}
        values = [value for value in graph.inputs.values() if value is not None]
        for value in [*values, *graph.outputs.values()]:
            orders.setdefault(value.tensor.rank, set()).add(value in self.channels_first)
        mixed = {rank for rank, found in orders.items() if len(found) > 1}
        if mixed:
            self._plain[graph] = mixed
            self._strict.update(
                v.op for op in graph.ops for v in op.outputs.values() if v.op and v.tensor.rank in mixed
            )
            self.channels_first.difference_update(values, *(op.outputs.values() for op in graph.ops))
            self._decide(graph, root)

    def _find_read_plain(self, graph: Graph) -> None:
        """Fills `_read_plain` for the values of a graph that stay in it."""
        wishes: dict[Value, set[str]] = {}
        for op in graph.ops:
            for place, argument in enumerate(op.arguments):
                for value in flatten((argument,)):
                    wishes.setdefault(value, set()).add(self.wish(op, place))
        kept = wishes.keys() - graph.outputs.values()
        self._read_plain.update(value for value in kept if wishes[value] == {"spec"})

    def _decide(self, graph: Graph, root: bool) -> None:
        self._find_read_plain(graph)
        for name, value in graph.inputs.items():
            if value is not None and not root and self.wants_first(graph, name):
                self.channels_first.add(value)
        for op in graph.ops:
            if self._comes_out_first(op):
                self.channels_first.update(v for v in op.outputs.values() if v.tensor.rank in TO_FIRST)
            if op.graph is not None and op.wrapper is None:
                for key, value in op.outputs.items():
                    turned = self.gives(op.graph, op.results[key])
                    (self.channels_first.add if turned else self.channels_first.discard)(value)

    def _comes_out_first(self, op: Op) -> bool:
        if op.wrapper is not None or op.parameter is not None or op.graph is not None:
            return False
        wish = self.wish(op, 0)
        if wish != "any":
            return wish == "first"
        return self._passes_first(op) and op.output.tensor.rank == _ordered(op)[0].tensor.rank

    def _passes_first(self, op: Op) -> bool:
        """Whether an op that takes either order gets channels first: its inputs are of one rank, and one
        of them is, or all; all, too, where only the spec's order is read of it.
        """
        inputs = _ordered(op)
        if not inputs or any(v.tensor.rank != inputs[0].tensor.rank for v in inputs):
            return False
        enough = all if op in self._strict or op.output in self._read_plain else any
        return inputs[0].tensor.rank in TO_FIRST and enough(v in self.channels_first for v in inputs)

    def op_first(self, op: Op) -> bool:
        """Whether a layer runs on channels-first data; asked once everything is laid out."""
        if op not in self._runs_first:
            wish = "spec" if op.wrapper is not None else self.wish(op, 0)
            self._runs_first[op] = wish == "first" or (wish == "any" and self._passes_first(op))
        return self._runs_first[op]


def _ordered(op: Op) -> tuple[Value, ...]:
    """The inputs of an op that have an order of axes: those of one element have none beside others."""
    return tuple(value for value in op.inputs if not value.tensor.is_single) or op.inputs
