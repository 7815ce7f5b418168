"""Parts and their params as the sections of a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphspec.contract.fields import same
from graphspec.convert.folding.dissolving import dissolve
from graphspec.convert.folding.naming import item_names, name_part
from graphspec.convert.folding.parameters import Solved, Solver, Written, arguments_of
from graphspec.convert.folding.parts import Instance, Parts, RepeatedPart, Source, targets
from graphspec.convert.folding.search import fold
from graphspec.convert.nodes import (
    SOURCES,
    CalledEntry,
    ConvertedBody,
    ConvertedInput,
    ConvertedNode,
    ConvertedValue,
    StoredPlace,
)
from graphspec.language.naming import identifier
from graphspec.language.schema import MISSING
from graphspec.weights.names import Namespace, attribute

SIZES = {1: ("length",), 2: ("length",), 3: ("height", "width"), 4: ("depth", "height", "width")}
"""Names of sizes that are not known, by the number of axes but the batch."""


@dataclass(frozen=True, slots=True)
class SpecDocument:
    """A document, and for each node or entry with variables its path in the module."""

    document: dict[str, Any]
    places: dict[str, StoredPlace]


def unfolded(body: ConvertedBody, settings: Mapping[str, Any], common_sizes: bool) -> SpecDocument:
    """The document of a model in which each model inside it is a block. `settings` are those of its outputs
    and its training; `common_sizes` gives unknown sizes of all inputs the same names.
    """
    return DocumentWriter(Parts(body, apart=True), None, body).write(settings, common_sizes)


def folded(
    body: ConvertedBody,
    settings: Mapping[str, Any],
    common_sizes: bool,
    channels: Callable[[ConvertedValue], int | None],
) -> SpecDocument:
    """The document of a model, folded. `channels` gives the last axis of a value of the flat model."""
    parts = Parts(body)
    fold(parts)
    written = DocumentWriter(parts, channels, body).write(settings, common_sizes)
    renamed: dict[ConvertedNode, str] = {}
    while dissolve(parts, written.document, renamed):
        written = DocumentWriter(parts, channels, body).write(settings, common_sizes)
    for node, name in renamed.items():
        node.name = name
    return written


class DocumentWriter:
    """Writes one model. Without `channels` its parts have no params, and its nodes their own names."""

    def __init__(
        self, parts: Parts, channels: Callable[[ConvertedValue], int | None] | None, body: ConvertedBody
    ):
        self.parts, self.channels, self.body = parts, channels, body
        self.solved: dict[int, Solved] = {}
        self.names: dict[int, list[str]] = {}
        self.blocks: dict[str, Any] = {}
        self.stored: dict[str, StoredPlace] = {}

    def write(self, settings: Mapping[str, Any], common_sizes: bool) -> SpecDocument:
        root, ordered = self.parts.root, self._ordered()
        root.instances[0].resolve()
        block_names = Namespace()
        for part in ordered:
            if part is not root:
                name_part(part, block_names, self.body.name)
            self._solve(part)
        for part in ordered[:-1]:
            self.blocks[part.name] = self._block(part)
        document: dict[str, Any] = {"inputs": input_sizes(self.body.inputs, common_sizes)}
        if self.blocks:
            document["blocks"] = self.blocks
        document |= self._graph(root)
        for node, name in self._root_names():
            node.name = name
        document["outputs"] = self._outputs(settings.get("outputs", {}))
        document |= {key: settings[key] for key in ("data", "train") if settings.get(key)}
        self._paths(root.instances[0], "")
        return SpecDocument(document, self.stored)

    def _solve(self, part: RepeatedPart) -> None:
        """Finds the names and the params of a part."""
        if self.channels is None:
            units = [part.unit(position) for position in range(len(part.keys))]
            self.names[id(part)] = [unit.name for unit in units]
            items = [Written(dict(arguments_of(unit))) for unit in units]
            self.solved[id(part)] = Solved(part, items=items)
        else:
            names = self.names[id(part)] = item_names(part, part is self.parts.root)
            self.solved[id(part)] = Solver(part, names, self.solved, self.channels).solve()

    def _ordered(self) -> list[RepeatedPart]:
        """All parts that are used, each after those inside it; the root comes last."""
        by_id = {id(part): part for part in self.parts.all}
        ordered: list[RepeatedPart] = []

        def visit(part: RepeatedPart) -> None:
            if part in ordered:
                return
            for entry in part.shared:
                if entry.body is not None:
                    visit(self.parts.inner[id(entry.body)].part)
            for position, key in enumerate(part.keys):
                if key.kind == "part":
                    visit(by_id[key.what])
                unit = part.unit(position)
                if isinstance(unit, ConvertedNode) and id(unit.body) in self.parts.inner:
                    visit(self.parts.inner[id(unit.body)].part)
            ordered.append(part)

        visit(self.parts.root)
        return ordered

    def _root_names(self) -> list[tuple[ConvertedNode, str]]:
        root = self.parts.root
        return [
            (item.units[0], name)
            for item, name in zip(root.instances[0].items, self.names[id(root)], strict=True)
            if isinstance(item.units[0], ConvertedNode) and len(item.units) == 1
        ]

    def _block(self, part: RepeatedPart) -> dict[str, Any]:
        block: dict[str, Any] = {}
        params = self.solved[id(part)].params
        if params:
            block["params"] = {
                param.name: "required" if param.default is MISSING else param.default for param in params
            }
        block["inputs"] = part.inputs
        block |= self._graph(part)
        last = Source(len(part.keys) - 1)
        if len(part.outputs) > 1 or part.outputs[0][1] != last:
            block["outputs"] = {
                identifier(name, "y"): self._reference(part, target) for name, target in part.outputs
            }
        return block

    def _graph(self, part: RepeatedPart) -> dict[str, Any]:
        sections: dict[str, Any] = {}
        if part.shared:
            sections["shared"] = {entry.name: self._entry(entry) for entry in part.shared}
        nodes: dict[str, Any] = {}
        above: Source | None = Source.of_input(0) if len(part.inputs) == 1 else None
        for position, name in enumerate(self.names[id(part)]):
            nodes[name] = self._node(part, position, self.solved[id(part)].items[position], above)
            unit = part.unit(position)
            if not (isinstance(unit, ConvertedNode) and unit.form in SOURCES):
                above = Source(position)
        sections["nodes"] = nodes
        return sections

    def _entry(self, entry: CalledEntry) -> dict[str, Any]:
        block = self._use(self.parts.inner[id(entry.body)]) if entry.body is not None else {}
        item: dict[str, Any] = block if entry.form == "block" else {entry.form: entry.what}
        if entry.form == "layer" and block:
            item["wraps"] = block
        item |= entry.arguments
        if not entry.trainable:
            item["trainable"] = False
        return item

    def _use(self, instance: Instance) -> dict[str, Any]:
        """A block as a value: its name, and the params that it has at one place."""
        params = self.solved[id(instance.part)].params
        values = {
            param.name: instance.values[param.name]
            for param in params
            if param.default is MISSING or not same(param.default, instance.values[param.name])
        }
        return {"block": instance.part.name, **values}

    def _node(
        self, part: RepeatedPart, position: int, written: Written, above: Source | None
    ) -> dict[str, Any]:
        unit = part.unit(position)
        arguments = dict(written.arguments)
        if isinstance(unit, Instance):
            item: dict[str, Any] = {"block": unit.part.name}
        elif unit.form == "parameter":
            item = {"parameter": arguments.pop("parameter")}
        elif unit.form == "call":
            assert unit.entry is not None
            item = {"call": unit.entry.name}
        else:
            item = {unit.form: unit.what}
            if unit.body is not None:
                item["wraps"] = self._use(self.parts.inner[id(unit.body)])
        source = self._reading(part, position, unit, above)
        if source is not None:
            item["from"] = source
        item |= arguments
        if written.repeat is not None:
            item["repeat"] = written.repeat
        if isinstance(unit, ConvertedNode) and not unit.trainable:
            item["trainable"] = False
        return item

    def _reading(
        self, part: RepeatedPart, position: int, unit: ConvertedNode | Instance, above: Source | None
    ) -> Any:
        """The value of `from`; None if it is the node above."""
        wires = part.wiring[position]
        if not wires:
            return None
        style = unit.style if isinstance(unit, ConvertedNode) else "one" if len(wires) == 1 else "list"
        references = [
            self._reference(part, read)
            if isinstance(read, Source)
            else [self._reference(part, target) for target in read]
            for _, read in wires
        ]
        if style == "one":
            return None if next(targets(wires)) == above else references[0]
        return (
            references if style == "list" else dict(zip((slot for slot, _ in wires), references, strict=True))
        )

    def _reference(self, part: RepeatedPart, target: Source) -> str:
        if target.input is not None:
            return part.inputs[target.input]
        name, unit = self.names[id(part)][target.position], part.unit(target.position)
        if not target.output:
            return name
        inner = (
            unit.outputs[target.output - 1]
            if isinstance(unit, ConvertedNode)
            else identifier(unit.part.outputs[target.output][0], "y")
        )
        return f"{name}.{inner}"

    def _outputs(self, settings: Mapping[str, Mapping[str, Any]]) -> Any:
        root = self.parts.root
        section: dict[str, dict[str, Any]] = {}
        names = Namespace()
        for key, target in root.outputs:
            name, reference = names.claim(identifier(key, "output")), self._reference(root, target)
            section[name] = ({} if reference == name else {"from": reference}) | dict(settings.get(key, {}))
        return list(section) if not any(section.values()) else section

    # --- paths in the module

    def _paths(self, instance: Instance, front: str) -> None:
        part = instance.part
        for entry in part.shared:
            self._place(entry, f"{front}{attribute(entry.name)}")
        for item, name, written in zip(
            instance.items, self.names[id(part)], self.solved[id(part)].items, strict=True
        ):
            for index, unit in enumerate(item.units):
                here = f"{front}{attribute(name)}" + (f".{index}" if written.repeat is not None else "")
                if isinstance(unit, Instance):
                    self._paths(unit, f"{here}.")
                elif unit.entry is None:
                    self._place(unit, here)

    def _place(self, item: ConvertedNode | CalledEntry, here: str) -> None:
        if item.body is not None:
            self._paths(self.parts.inner[id(item.body)], f"{here}.")
        elif item.stored is not None:
            self.stored[here] = StoredPlace(item.stored, item.trainable)


def input_sizes(inputs: list[ConvertedInput], common: bool) -> dict[str, Any]:
    """The section `inputs`."""
    section: dict[str, Any] = {}
    for item in inputs:
        sizes: list[Any] = list(item.shape or ())
        unknown = [axis for axis, size in enumerate(sizes) if size is None]
        words = SIZES.get(len(sizes), ())
        for axis in unknown:
            word = words[axis] if axis < len(words) else f"size_{axis}"
            if len(sizes) == 2 and axis == 1:
                word = "features"
            several = len(inputs) > 1 and not common
            sizes[axis] = f"{item.name}_{word}" if several else word
        section[item.name] = {"shape": sizes}
        if item.dtype != "float32":
            section[item.name]["dtype"] = item.dtype
        if item.channels_first:
            section[item.name]["data_format"] = "channels_first"
    return section
