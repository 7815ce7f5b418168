"""Dead code: an instance keeps only what its read outputs and paths need."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from graphspec.contract.scanning import Scanned
from graphspec.graph import Definition, Graph, Op, Value, chained_inputs, flatten
from graphspec.passes.copying import Copy

_ASKED = re.compile(r"\b(?:channels|given)\(\s*(\w+)\s*\)")


def prune(root: Graph) -> Graph:
    """The graph without the ops that no output needs, and without the outputs of ops that nobody reads. An
    instance of a block is not given what it reads for none of its outputs.

    Instances that share a class when emitted keep the same outputs: all instances of a `repeat`, and all
    calls of a shared one. Other instances of a block keep an output that another one needs if they compute it
    anyway.
    """
    need = _Need(root)
    need.trace(root.outputs.values())
    need.keep_computed()
    if need.is_all():
        return root
    copy = Copy(root)
    live = {copy.ops[op] for op in need.live}
    outputs = {(copy.ops[op], key) for op, key in need.outputs}
    for op in need.live:
        _forget(copy.ops[op], need.unread(op))
    for graph in [copy.graph, *(op.graph for op in copy.ops.values() if op.graph is not None)]:
        _sweep(graph, live, outputs)
    return copy.graph


class _Need:
    """The ops that the outputs of a program need: `live` ones, and of them the outputs that are read."""

    def __init__(self, root: Graph):
        self.graphs = [root]
        self.live: set[Op] = set()
        self.outputs: set[tuple[Op, str]] = set()
        self._groups: dict[object, list[Op]] = defaultdict(list)
        self._keys: dict[object, list[str]] = defaultdict(list)  # the outputs that are read of a group
        self._group_of: dict[Op, object] = {}
        self._instances: dict[Op, list[Op]] = {}  # of the node of an op, in its graph
        self._work: list[Value] = []
        self._given_by: dict[Value, tuple[Op, int]] = {}  # for each input of an instance, its argument
        self._updates: dict[Op, Op] = {}  # by state, what changes it
        self._read_places: set[tuple[object, int]] = set()  # the arguments that a group reads
        self._chained: set[object] = set()  # the groups that read nothing of the instance before
        for graph in self.graphs:  # grows as graphs are found inside
            instances: dict[str, list[Op]] = defaultdict(list)
            for op in graph.ops:
                instances[op.node].append(op)
                self._instances[op] = instances[op.node]
                shared = op.unit is not None and op.unit.shared
                alone = op.repeated == "parallel"
                group: object = op.unit if shared else op if alone else (graph, op.node)
                self._groups[group].append(op)
                self._group_of[op] = group
                if op.updates and (state := op.arguments[0].op) is not None:
                    self._updates[state] = op
                if op.graph is not None:
                    self.graphs.append(op.graph)
                    inputs = enumerate(op.graph.inputs.values())
                    self._given_by |= {value: (op, place) for place, value in inputs if value is not None}

    def trace(self, values: Iterable[Value]) -> None:
        """Marks what these values need."""
        self._work += values
        while self._work or self._keep_chains():
            value = self._work.pop()
            if value.op is None:
                if value in self._given_by:
                    self._read_argument(*self._given_by[value])
                continue
            if value.op.graph is None and len(self._groups[self._group_of[value.op]]) == 1:
                self._enliven(value.op)  # nothing else tells its outputs apart
            else:
                self._read(value.op, next(k for k, output in value.op.outputs.items() if output is value))

    def _keep_chains(self) -> bool:
        """Keeps what repeated instances get of the one before, where they need it for none of their outputs:
        they stay a chain; and the first output of a parallel instance that nothing reads, whose place in the
        list stays. Returns whether more is needed now.
        """
        for op in [op for graph in self.graphs for op in graph.ops if op in self.live]:
            group = self._group_of[op]
            if op.repeated == "parallel" and not self._keys[group]:
                self._read(op, next(iter(op.outputs)))
            if op.graph is None or op.repeated != "repeat" or group in self._chained:
                continue
            places = [place for place, name in enumerate(op.graph.inputs) if name in _chain(op)]
            if not any((group, place) in self._read_places for place in places):
                self._chained.add(group)
                self._work += flatten(each for place in places for each in self._arguments(group, place))
        return bool(self._work)

    def keep_computed(self) -> None:
        """Keeps the outputs of an instance that are read of another instance of its definition, where they
        cost nothing.
        """
        instances: dict[Definition, list[Op]] = defaultdict(list)
        for graph in reversed(self.graphs):  # inner ones first
            for op in graph.ops:
                if op in self.live and op.graph is not None:
                    instances[op.graph.definition].append(op)
        for ops in instances.values():
            read = {key for op in ops for key in op.outputs if (op, key) in self.outputs}
            self.outputs |= {
                (op, key)
                for op in ops
                for key in read
                if key in op.results and self._is_there(op.results[key])
            }

    def _is_there(self, value: Value) -> bool:
        """Whether a value is an input, or computed for another reason."""
        op = value.op
        if op is None:
            instance, place = self._given_by.get(value, (None, 0))
            return instance is None or place not in self.unread(instance)
        if op.graph is None:
            return op in self.live
        key = next(key for key, output in op.outputs.items() if output is value)
        return (op, key) in self.outputs

    def is_all(self) -> bool:
        """Whether every op and output is needed, and the outputs of every inner graph are those of its op."""
        return all(op in self.live and self._gives_all(op) for graph in self.graphs for op in graph.ops)

    def _gives_all(self, op: Op) -> bool:
        if op.graph is None:
            return True
        if self.unread(op):
            return False
        needed = all((op, key) in self.outputs for key in op.outputs)
        return needed and list(op.graph.outputs.items()) == list(op.results.items())

    def unread(self, op: Op) -> set[int]:
        """The places of the arguments that an instance of a block reads for none of its outputs. What an
        expression asks about stays.
        """
        graph, group = op.graph, self._group_of[op]
        if graph is None or op.wrapper is not None:
            return set()
        kept = _asked_about(graph)
        if group in self._chained:
            kept |= _chain(op)
        return {
            place
            for place, (name, argument) in enumerate(zip(graph.inputs, op.arguments, strict=True))
            if argument is not None and name not in kept and (group, place) not in self._read_places
        }

    def _read_argument(self, op: Op, place: int) -> None:
        group = self._group_of[op]
        if (group, place) not in self._read_places:
            self._read_places.add((group, place))
            self._work += flatten(self._arguments(group, place))

    def _arguments(self, group: object, place: int) -> Iterator[Any]:
        """The arguments of a group's instances at a place; those of absent instances are read anyway."""
        for mate in self._groups[group]:
            if mate in self.live and place < len(mate.arguments):
                yield mate.arguments[place]

    def _read(self, op: Op, key: str) -> None:
        self._enliven(op)
        group = self._group_of[op]
        if key not in self._keys[group]:
            self._keys[group].append(key)
            for mate in self._groups[group]:
                if mate in self.live:
                    self._keep(mate, key)

    def _enliven(self, op: Op) -> None:
        if op in self.live:
            return
        self.live.update(self._instances[op])
        for state in self._updates.keys() & {*self._instances[op]}:
            self._read(self._updates[state], next(iter(self._updates[state].outputs)))
        if isinstance(op.wrapper, Scanned):  # the next step reads what nothing else does
            for key in op.outputs:
                self._read(op, key)
        for mate in self._instances[op]:
            unread = self.unread(mate)
            self._work += flatten(a for place, a in enumerate(mate.arguments) if place not in unread)
            for key in self._keys[self._group_of[mate]]:
                self._keep(mate, key)

    def _keep(self, op: Op, key: str) -> None:
        """Keeps an output; the first one of an instance of another kind, which has none of that name."""
        if key not in op.outputs and op.repeated:
            key = next(iter(op.outputs))
        if key in op.outputs and (op, key) not in self.outputs:
            self.outputs.add((op, key))
            if key in op.results:
                self._work.append(op.results[key])


def _chain(op: Op) -> set[str]:
    """The inputs of a repeated block that come from the instance before."""
    assert op.graph is not None
    return {*(chained_inputs(op.graph.inputs, op.outputs) or list(op.graph.inputs)[:1])}


def _asked_about(graph: Graph) -> set[str]:
    """The inputs of a block that its expressions name: `channels(x)`, `given(memory)`."""
    expressions = [each.expression for op in graph.ops for each in op.expressions]
    expressions += [op.when for op in graph.ops if op.when is not None]
    texts = [f"channels({name})" for each in expressions for name in each.channels]
    texts += [name for each in expressions for name in each.names]
    texts += [text for text in graph.declared.values() if isinstance(text, str)]
    return {name for text in texts for name in _ASKED.findall(text)}


def forget_inputs(graph: Graph, names: Collection[str]) -> None:
    """Drops what the nodes of a block ask about inputs that it will not have: the answers are known."""
    asked = {*(f"given({name})" for name in names), *(f"channels({name})" for name in names)}

    def asks(expression: Any) -> bool:
        texts = {f"channels({name})" for name in expression.channels} | {*expression.names}
        return not asked.isdisjoint(re.sub(r"\s", "", text) for text in texts)

    for op in graph.ops:
        op.expressions = tuple(each for each in op.expressions if not asks(each.expression))
        op.when = None if op.when is None or asks(op.when) else op.when
    graph.declared = {
        key: text
        for key, text in graph.declared.items()
        if not (isinstance(text, str) and {*_ASKED.findall(text)} & {*names})
    }


def _forget(op: Op, places: Collection[int]) -> None:
    """Gives an instance of a block nothing at some places of its arguments."""
    if op.graph is not None and places:
        op.arguments = tuple(None if place in places else a for place, a in enumerate(op.arguments))
        for place, name in enumerate(op.graph.inputs):
            op.graph.inputs[name] = None if place in places else op.graph.inputs[name]


def _sweep(graph: Graph, live: set[Op], needed: set[tuple[Op, str]]) -> None:
    graph.ops = [op for op in graph.ops if op in live]
    for op in graph.ops:
        if op.graph is not None:
            op.outputs = {key: value for key, value in op.outputs.items() if (op, key) in needed}
            op.results = {key: value for key, value in op.results.items() if key in op.outputs}
            op.graph.outputs = dict(op.results)
    for unit in graph.units:
        unit.calls = [call for call in unit.calls if call in live]
    graph.units = [unit for unit in graph.units if unit.calls]
