"""Masks made values of the graphs that read them: ops that compute them, inputs and outputs of instances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from graphspec.contract.layer import Derived, Layer, LayerError
from graphspec.contract.scanning import Scanned
from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.graph import Graph, Op, Value, types
from graphspec.passes.copying import Copy
from graphspec.passes.mask_flow import DerivedMask, EnteringMask, LeavingMask, Mask, MaskFlow


def carry_masks(root: Graph, judged: Iterable[str]) -> tuple[Graph, dict[str, Value]]:
    """The graph with the `mask` arguments of its layers filled, once it has been pruned, and the masks of
    those outputs that are judged.
    """
    if MaskFlow(root).is_empty():
        return root, {}
    graph = Copy(root).graph
    maker = _MaskMaker(graph)
    maker.fill(graph)
    masks = {name: maker.value(maker.masks.of(graph.outputs[name])) for name in judged}
    maker.place()
    return graph, {name: mask for name, mask in masks.items() if mask is not None}


def check_masks(graph: Graph, diagnostics: Diagnostics) -> bool:
    """Whether the layers of a graph accept the masks that they were given, as they do those of the spec."""
    fine = True
    for op in graph.walk():
        if op.layer is None or op.wrapper is not None or not op.present or not reads_mask(op):
            continue
        try:
            op.layer.infer(*(types(argument) for argument in op.arguments))
        except LayerError as error:
            why = error.message
            for place, value in enumerate(op.arguments):
                if isinstance(value, Value):
                    why = why.replace(f"{{input{place}}}", f"`{value.name}`")
            message = f"`{op.node}` cannot read the mask that its input carries: {why}"
            help = "ops drop masks: put `{compute: 1 * x}` before it"
            diagnostics.add(Diagnostic(error.code, message, op.span, help=help))
            fine = False
    return fine


def reads_mask(op: Op) -> bool:
    """Whether an argument of an op is a mask."""
    pairs = zip(op.layer.arguments if op.layer is not None else (), op.arguments, strict=False)
    return any(argument.name.endswith("mask") and value is not None for argument, value in pairs)


class _MaskMaker:
    """Creates a mask when something reads it, after everything that it depends on."""

    def __init__(self, root: Graph):
        self.masks = MaskFlow(root)
        self._values: dict[Mask, Value] = {}
        self._ahead: dict[Op, list[Op]] = defaultdict(list)  # what is computed before an op, and after it
        self._behind: dict[Op, list[Op]] = defaultdict(list)
        self._instances: dict[tuple[Graph, str], list[Op]] = defaultdict(list)
        self._taken: dict[Graph, set[str]] = {}
        self._entered: dict[Graph, dict[str, str]] = defaultdict(dict)  # a mask's input -> whose mask it is
        self._exported: dict[Op, dict[str, str]] = defaultdict(dict)  # the same of outputs
        for op, graph in self.masks.owners.items():
            self._instances[graph, op.node].append(op)

    def fill(self, graph: Graph) -> None:
        """Passes masks to the ops of a graph, and of the graphs inside it."""
        for op in graph.ops:
            if op.graph is not None:
                self.fill(op.graph)
            if isinstance(op.wrapper, Scanned):
                mask = self.value(self.masks.of(op.arguments[op.wrapper.over[0]]))
                op.arguments += () if mask is None else (mask,)
            elif op.graph is None and op.present and op.layer is not None and op.wrapper is None:
                op.arguments = self._filled(op, op.layer)

    def _filled(self, op: Op, layer: Layer) -> tuple[Any, ...]:
        """The arguments with `mask`, that of the only tensor, or the `<name>_mask` of each of several."""
        if layer.variadic:
            masks = tuple(self.masks.grouped(argument) for argument in op.arguments)
            if all(mask is None for mask in masks):
                return op.arguments
            taken = layer.masked(op.arguments, masks)
            return tuple(self.value(self.masks.derived(op, each)) for each in taken)
        by_name = dict(zip((argument.name for argument in layer.arguments), op.arguments, strict=True))
        carried = {argument.name for argument in layer.arguments if argument.carried}
        tensors = [name for name, argument in by_name.items() if argument is not None]
        for name in tensors:
            mask = "mask" if len(tensors) == 1 else f"{name}_mask"
            if mask in carried and by_name[mask] is None and isinstance(by_name[name], Value):
                by_name[mask] = self.value(self.masks.of(by_name[name]))
        return tuple(by_name.values())

    def value(self, mask: Mask) -> Value | None:
        """A mask as a value of the graph that it belongs to.

        What it depends on may lie far back, so it is kept in a list and not left to recursion.
        """
        work, mates = [mask], list[LeavingMask]()
        while work:
            top = work[-1]
            missing = [] if self._is_known(top) else [m for m in self._sources(top) if not self._is_known(m)]
            if missing:
                work += reversed(missing)
                continue
            work.pop()
            if not self._is_known(top):
                assert top is not None
                self._values[top] = self._make(top)
                mates += self._mates(top) if isinstance(top, LeavingMask) else ()
            if not work and mates:
                work.append(mates.pop(0))
        return self._value(mask)

    def _is_known(self, mask: Mask) -> bool:
        return mask is None or isinstance(mask, Value) or mask in self._values

    def _value(self, mask: Mask) -> Value | None:
        return mask if mask is None or isinstance(mask, Value) else self._values[mask]

    def _sources(self, mask: Mask) -> list[Mask]:
        """The masks that a mask is computed from, or passed on from."""
        if isinstance(mask, DerivedMask):
            return [self.masks.derived(mask.op, source) for source in mask.derived.sources]
        if isinstance(mask, LeavingMask):
            return [self.masks.of(mask.op.results[mask.key])]
        return [self.masks.outside(mask)] if isinstance(mask, EnteringMask) else []

    def _make(self, mask: Mask) -> Value:
        sources = [self._value(source) for source in self._sources(mask)]
        if isinstance(mask, DerivedMask):
            return self._compute(mask.op, mask.derived, sources)
        (source,) = sources
        assert source is not None and isinstance(mask, EnteringMask | LeavingMask)
        return self._enter(mask, source) if isinstance(mask, EnteringMask) else self._export(mask, source)

    def _enter(self, entry: EnteringMask, outer: Value) -> Value:
        """A mask as one more input of an instance."""
        holder = self.masks.holders[entry.graph]
        name = self._free(entry.graph, f"{entry.name}_mask")
        self._entered[entry.graph][name] = entry.name
        holder.arguments = (*holder.arguments, outer)
        value = entry.graph.inputs[name] = Value(outer.tensor, name)
        return value

    def _group(self, op: Op) -> list[Op]:
        """The ops that are one class when emitted."""
        if op.unit is not None and op.unit.shared:
            return op.unit.calls
        return self._instances[self.masks.owners[op], op.node]

    def _export(self, export: LeavingMask, inner: Value) -> Value:
        """A mask as one more output of an instance."""
        op, key = export.op, export.key
        word = f"{key}_mask" if key else "mask"
        while word in op.outputs:
            word += "_"
        self._exported[op][word] = key
        value = op.outputs[word] = Value(inner.tensor, f"{op.node}_{word}", op)
        assert op.graph is not None
        op.results[word] = op.graph.outputs[word] = inner
        return value

    def _mates(self, export: LeavingMask) -> Iterator[LeavingMask]:
        """The same mask of all ops that are one class with an op."""
        for mate in self._group(export.op):
            if mate.graph is not None and self.masks.of(mate.results[export.key]) is not None:
                yield self.masks.export(mate, export.key)

    def _compute(self, op: Op, derived: Derived, sources: list[Value | None]) -> Value:
        """The value of a derived mask or tensor, by an op of its own before the one that it is for."""
        tensor = derived.layer.infer(*(types(source) for source in sources))
        assert not isinstance(tensor, tuple)
        graph = self.masks.owners[op]
        word = op.node if op.index is None else f"{op.node}_{op.index}"
        name = self._free(graph, f"{word}_mask" if tensor.dtype == "bool" else f"{word}_masked")
        title = derived.layer.spec_name
        computed = Op(name, None, op.span, "op", tuple(sources), layer=derived.layer, title=title)
        computed.outputs[""] = Value(tensor, name, computed)
        alike = self._instances[graph, op.node]
        behind = {*alike, *self._behind[alike[-1]]}  # what it reads may come out of the instance before
        if not any(source is not None and source.op in behind for source in sources):
            self._ahead[alike[0]].append(computed)
        elif op.graph is not None:  # which reads the mask itself
            self._ahead[op].append(computed)
        else:
            self._behind[alike[-1]].append(computed)
        return computed.output

    def _free(self, graph: Graph, word: str) -> str:
        """A name for a mask that no node or input of the graph has."""
        if graph not in self._taken:
            nodes = {op.node for op in graph.ops} | {unit.name for unit in graph.units}
            self._taken[graph] = nodes | graph.inputs.keys()
        number, name = 1, word
        while name in self._taken[graph]:
            number += 1
            name = f"{word}_{number}"
        self._taken[graph].add(name)
        return name

    def place(self) -> None:
        """Puts the ops that were made where they belong, and the inputs and outputs that masks are in one
        order, however they were asked for: bodies of one class have the same.
        """
        for graph in dict.fromkeys(self.masks.owners.values()):
            graph.ops = [each for op in graph.ops for each in (*self._ahead[op], op, *self._behind[op])]
        for graph, whose in self._entered.items():
            holder, names = self.masks.holders[graph], list(graph.inputs)
            order = [names.index(name) for name in _ordered(names, whose)]
            graph.inputs = {names[place]: graph.inputs[names[place]] for place in order}
            holder.arguments = tuple(holder.arguments[place] for place in order)
        for op, whose in self._exported.items():
            assert op.graph is not None
            names = _ordered(list(op.outputs), whose)
            op.outputs = {name: op.outputs[name] for name in names}
            op.results = {name: op.results[name] for name in names}
            op.graph.outputs = dict(op.results)


def _ordered(names: list[str], whose: dict[str, str]) -> list[str]:
    """Names, with masks last, in the order of the values that they mask."""
    others = [name for name in names if name not in whose]
    return others + sorted(whose, key=lambda name: others.index(whose[name]))
