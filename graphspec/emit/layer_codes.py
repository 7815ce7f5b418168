"""The code of each layer at its site: for its sizes or for any, with the padding before it, in place."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphspec.contract.activations import LINEAR
from graphspec.contract.custom_module import CustomModule
from graphspec.contract.layer import Code, Layer, Leaf, ModuleCall
from graphspec.diagnostics import Span
from graphspec.emit.emitted import EmitOptions
from graphspec.graph import Graph, Op, types
from graphspec.passes.layout import TO_FIRST
from graphspec.passes.logits import ending


@dataclass(frozen=True, slots=True)
class SharedCode:
    """The common properties of one node's uses. `alike`: one code serves all, each for its sizes. `needed`:
    keywords that some use gives. `common`: arguments of a code for any size that all take because one needs
    them. `expanding`: the call for all where some expand a batch of one; "" if theirs are equal.
    """

    alike: bool
    needed: Collection[str]
    common: Mapping[str, Leaf]
    expanding: str


class LayerCodes:
    """The codes of the layers of all instances.

    `runs_first` says of an op whether it runs with channels at axis 1; `imported` gives the names of custom
    classes in the file.
    """

    def __init__(
        self,
        graphs: list[Graph],
        runs_first: Callable[[Op], bool],
        imported: Mapping[tuple[str, str], str],
        options: EmitOptions,
    ):
        self._runs_first, self._imported, self._options = runs_first, imported, options
        self._codes: dict[Op, Code] = {}
        self._settled_codes: dict[tuple[Op, bool], Code] = {}
        self._padded: dict[Op, Layer] = {}  # layers that pad their input themselves
        self._absorbed: set[Op] = set()  # the padding nodes that they replace
        self._peers: dict[Any, list[Op]] = defaultdict(list)  # the uses of one piece of the spec
        self._shared: dict[tuple[Any, bool], SharedCode] = {}
        self._reads = Counter(value for graph in graphs for op in graph.ops for value in op.inputs)
        self._reads.update(value for graph in graphs for value in graph.outputs.values())
        for op in _layers(graphs):
            self._peers[_piece(op)].append(op)
        self._absorb_pads(graphs)

    def of(self, op: Op) -> Code:
        """The code of an instance's layer as it runs."""
        if op not in self._codes:
            channels_first = self._runs_first(op)
            if op.wrapper is not None:
                channels_first = memory(op) == "first"
            code = self._settled(op, channels_first)
            self._codes[op] = replace(code, inplace=True) if self._overwrites(op, code) else code
        return self._codes[op]

    def structural(self, op: Op) -> Code:
        """The code of a layer before it is known in which memory order it runs: that which it asks for."""
        return self._settled(op, memory(op) == "first")

    def possible(self, op: Op) -> Iterator[Code]:
        """The codes that a layer may have in either memory order."""
        yield self.structural(op)
        rank = op.output.tensor.rank
        alike = rank in TO_FIRST and all(v.tensor.rank == rank or v.tensor.is_single for v in op.inputs)
        if alike and memory(op) == "any" and op.wrapper is None:
            yield self._settled(op, True)

    def _settled(self, op: Op, channels_first: bool) -> Code:
        if op in self._absorbed:
            return Code("{x}")
        if (op, channels_first) not in self._settled_codes:
            self._settled_codes[op, channels_first] = self._code(op, channels_first)
        return self._settled_codes[op, channels_first]

    def _code(self, op: Op, channels_first: bool) -> Code:
        """The code of a layer for its sizes, if all uses of its node share it; otherwise for any size."""
        layer, site = (
            self._padded.get(op, op.layer),
            replace(op.site(channels_first), exporting=self._options.exporting),
        )
        assert layer is not None
        code = layer.code(site)
        if code.construct is not None and code.construct.home:
            alias = self._imported[code.construct.home, code.construct.target]
            return replace(code, construct=replace(code.construct, target=alias))
        peers = self._peers[_piece(op)]
        if len(peers) <= 1:
            return code
        key = _piece(op), channels_first
        if key not in self._shared:
            self._shared[key] = self._shared_by(peers, channels_first)
        shared = self._shared[key]
        code = code if shared.alike else layer.code(replace(site, settled=False))
        code = replace(code, call=shared.expanding or code.call)
        if code.construct is None:
            return code
        usual = {w: value for w, value in code.construct.usual.items() if w in shared.needed}
        return replace(code, construct=_with_keywords(code.construct, {**shared.common, **usual}))

    def _shared_by(self, peers: Sequence[Op], channels_first: bool) -> SharedCode:
        """The common properties of the codes of all uses of a node."""

        def codes(settled: bool) -> list[Code]:
            pairs = [(self._padded.get(peer, peer.layer), peer.site(channels_first)) for peer in peers]
            return [layer.code(replace(site, settled=settled)) for layer, site in pairs if layer is not None]

        settled_codes = codes(True)
        if expanding := _expanding(settled_codes, peers):
            settled_codes = [replace(code, call=expanding) for code in settled_codes]
        arguments = [
            pair for code in settled_codes if code.construct for pair in code.construct.keyword.items()
        ]
        needed = frozenset(word for word, (value, default) in arguments if value != default)
        if _are_alike(settled_codes, any(peer.index is not None for peer in peers)):
            return SharedCode(True, needed, {}, expanding)
        general = codes(False)
        given = [code.construct.common for code in general if code.construct is not None]
        common = {word: value for each in given for word, value in each.items()}
        return SharedCode(False, needed, common, expanding or _expanding(general, peers))

    def _absorb_pads(self, graphs: list[Graph]) -> None:
        for op in _layers(graphs):
            if op.wrapper is not None or len(op.inputs) != 1:
                continue
            pad = op.inputs[0].op
            if (
                pad is None
                or pad.layer is None
                or pad.wrapper is not None
                or not (pad.present and pad.inputs)
            ):
                continue
            assert op.layer is not None
            positive = ending(pad.inputs[0]) in ("relu", "sigmoid", "softmax")
            padded = op.layer.padded(pad.layer, positive) if self._reads[pad.output] == 1 else None
            if padded is not None:
                self._padded[op] = padded
                self._absorbed.add(pad)

    def _overwrites(self, op: Op, code: Code) -> bool:
        """Whether an activation may work in place: on a new tensor without another use, also in gradients."""
        assert op.layer is not None
        if not self._options.inplace:
            return False
        if op.layer.linear() is not None:
            return True
        source = op.inputs[0].op if len(op.inputs) == 1 and code.call == "{x}" else None
        if source is None or not source.present or source.wrapper is not None or op.wrapper is not None:
            return False
        if self._reads[op.inputs[0]] != 1 or source.layer is None:
            return False
        if source.layer.linear() is not None:
            return self.of(source).activation == LINEAR
        normalized = source.layer.affine_axis(op.inputs[0].tensor.rank) is not None
        return normalized or (source.kind == "merge" and len(source.inputs) > 1)


def memory(op: Op) -> str:
    """The memory layout that a layer asks for."""
    assert op.layer is not None
    return op.layer.memory(*(op.inner or tuple(types(argument) for argument in op.arguments)))


def runs_channels_first(graph: Graph) -> bool:
    """Whether a layer in a graph, or inside it, runs with channels at axis 1."""
    return any(op.layer is not None and op.present and memory(op) == "first" for op in graph.walk())


def custom_classes(graphs: list[Graph]) -> Iterator[tuple[str, str]]:
    """The custom classes that a program imports: their Python modules and their names."""
    for op in _layers(graphs):
        if (
            isinstance(op.layer, CustomModule)
            and (construct := op.layer.code(op.site()).construct) is not None
        ):
            yield construct.home, construct.target


def _layers(graphs: Iterable[Graph]) -> Iterator[Op]:
    return (op for graph in graphs for op in graph.ops if op.present and op.layer is not None)


def _piece(op: Op) -> tuple[Span | None, str, bool]:
    """The piece of the spec that says what a layer is: its node, or the shared entry that it calls."""
    if op.unit is not None and op.unit.shared:
        return op.unit.span, op.unit.name, True
    return op.span, op.node, False


def _with_keywords(construct: ModuleCall, values: Mapping[str, Leaf]) -> ModuleCall:
    """A call that also gives these values, to a class that takes them."""
    if not values:
        return construct
    keyword = {**construct.keyword, **{word: (value, None) for word, value in values.items()}}
    return replace(construct, target=construct.general or construct.target, keyword=keyword)


EXPANSION = re.compile(r"\.expand\(\{\w+\}\.shape\[0\](, -1)*\)")


def _expanding(codes: Sequence[Code], peers: Sequence[Op]) -> str:
    """The call with the expansions of all calls that differ only in these, which change no batch."""
    calls = [_item_by_item(code.call, peer) for code, peer in zip(codes, peers, strict=True)]
    longest = max(calls, key=len)
    found = {each.group() for each in EXPANSION.finditer(longest)}
    alike = all(EXPANSION.sub("", call) == EXPANSION.sub("", longest) for call in calls)
    own = [{each.group() for each in EXPANSION.finditer(call)} for call in calls]
    return longest if alike and len({*calls}) > 1 and all(each <= found for each in own) else ""


def _item_by_item(call: str, op: Op) -> str:
    """A call of a list of inputs with each of them."""
    return call.replace("{list}", f"[{', '.join(f'{{{place}}}' for place in range(len(op.inputs)))}]")


def _are_alike(codes: Sequence[Code], repeated: bool) -> bool:
    """Whether one code serves: the same call of the same class, in a loop with the same zeros around."""
    pads = {code.constants.get("pads") for code in codes}
    calls = {(code.call, code.construct.target if code.construct else "") for code in codes}
    return len(calls) == 1 and (len(pads) == 1 or not repeated)
