"""Keras' layers and calls as the nodes of a spec: one call, one node.

    KerasLayer("encoder", LSTM, calls=[left, right])    Entry("encoder", "layer", "LSTM", {"units": 32})
                                                        Node("left_encoder", "call", reads=[left])
                                                        Node("right_encoder", "call", reads=[right])

A call that the language cannot say becomes a node all the same, and is reported where an output needs it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from typing import Any

from graphspec.contract.layer import Layer
from graphspec.contract.wrapper import Wrapper
from graphspec.convert.applications import OF_APPLICATIONS, layer_scale, scaled_sum
from graphspec.convert.arguments import arguments, around, parsed, shortened, without_code
from graphspec.convert.calls import MERGES, class_of, slots_of
from graphspec.convert.cells import of_cells
from graphspec.convert.config import (
    INDICES,
    OPS,
    Call,
    KerasLayer,
    KerasModel,
    KerasTensor,
    common_layers,
    holds_indices,
    read_layer,
    tensors_in,
)
from graphspec.convert.lookups import LOOKUPS, looked_up
from graphspec.convert.masks import carried, written
from graphspec.convert.nodes import (
    CalledEntry,
    ConvertedBody,
    ConvertedInput,
    ConvertedNode,
    ConvertedValue,
    Read,
    Stored,
    rename,
)
from graphspec.convert.operations import common_rank, only_tensors, operation
from graphspec.convert.ordering import ordered
from graphspec.convert.phases import always, by_default
from graphspec.convert.placed import PlacedValues
from graphspec.convert.refusals import Unsupported
from graphspec.convert.tracing.sources import SOURCE
from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.language.naming import snake_case

WRAPPERS = ("Bidirectional", "SpectralNormalization", "TimeDistributed")
"""Layers around another, which a config holds under `layer`."""


class Translator:
    """Translates the calls of one model to the nodes of one body. `path` and `groups` lead to it from the
    outermost model.
    """

    def __init__(
        self,
        model: KerasModel,
        problems: Diagnostics,
        path: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
        common: dict[str, CalledEntry | Stored] | None = None,
        live: bool = False,
        traced: bool = False,
        notes: list[str] | None = None,
    ):
        self.model, self.problems, self.path, self.groups = model, problems, path, groups
        if common is None:
            common = {likeness: Stored(*place) for likeness, place in common_layers(model).items()}
        self.common = common  # where they are stored, until they are entries of the file
        self.values: dict[KerasTensor, ConvertedValue] = {}
        self.carried: dict[KerasTensor, Any] = {}  # what the language carries with a tensor
        self.written: dict[KerasTensor, Any] = {}  # masks that Keras computes by nodes of its own
        self.other_floats: set[ConvertedNode | ConvertedInput] = set()  # that may be no float32
        self.casts: dict[tuple[KerasTensor, str], ConvertedValue] = {}
        self.entries: dict[str, CalledEntry] = {}
        self.failed: dict[ConvertedNode, Unsupported] = {}
        self.inputs: list[ConvertedInput] = []
        self.features: dict[ConvertedInput, dict[str, Any]] = {}  # of inputs that the model looked up itself
        self.live = live  # not a file, of which no code is to be imported
        self.notes: list[str] = [] if notes is None else notes
        self.placed = PlacedValues(model, self.values) if traced else None

    def body(self) -> ConvertedBody:
        """The graph. Parts that cannot be expressed are added to `problems`."""
        seen: set[ConvertedNode] = set()
        for layer, index in self._calls():
            call = layer.calls[index]
            try:
                node = self._node(layer, index, call)
            except Unsupported as error:
                reads = [("", self.values[tensor]) for tensor in tensors_in([call.args, call.kwargs])]
                node = ConvertedNode(layer.name, "op", layer.class_name, reads=reads)
                self.failed[node] = error
            if node is None:
                continue
            unnamed = re.sub(r"_\d+$", "", layer.name) == snake_case(layer.class_name)
            for each in (node, *(value.maker for value in node.sources())):
                if isinstance(each, ConvertedNode) and each not in seen:
                    each.automatic = unnamed
                    seen.add(each)
            for output in range(16):
                self.values.setdefault(KerasTensor(layer.name, index, output), ConvertedValue(node, output))
        body = ConvertedBody(self.model.name, self.inputs, [], self._outputs(self.model.outputs))
        body.nodes = ordered(body)
        self._report(body)
        read = [*body.outputs.values(), *(value for node in body.nodes for value in node.sources())]
        for value in (value for value in read if value.maker not in self.failed):
            if value.output > (len(value.maker.outputs) if isinstance(value.maker, ConvertedNode) else 0):
                raise ValueError(f"{value.maker.name} has no output {value.output}")
        self._leave_out(body, {value.maker for value in read})
        called = {id(node.entry) for node in body.nodes}
        body.shared = [entry for entry in self.entries.values() if id(entry) in called]
        if not self.path:
            body.shared[:0] = [entry for entry in self.common.values() if isinstance(entry, CalledEntry)]
        only = len(body.inputs) + len(body.unread) == 1
        rename(body.inputs, [*body.shared, *body.nodes], only, bool(self.path))
        return body

    def _leave_out(self, body: ConvertedBody, read: Container[Any]) -> None:
        """Leaves out the inputs that nothing reads, which a spec may not have."""
        unread = [item for item in body.inputs if item not in read]
        if unread and len(unread) < len(body.inputs):
            body.unread = tuple(place for place, item in enumerate(body.inputs) if item in unread)
            body.inputs = [item for item in body.inputs if item not in unread]
            for item in unread:
                place = ".".join((*self.path, item.name))
                self.notes.append(f"the input `{place}` is left out: nothing reads it")

    def _calls(self) -> Iterator[tuple[KerasLayer, int]]:
        """All calls, each after those that it reads; inputs are made on the way."""
        for tensor in tensors_in(self.model.inputs):
            layer = self.model.layers[tensor.layer]
            shape = layer.config.get("batch_shape") or layer.config.get("batch_input_shape")
            dtype = (
                "int32" if holds_indices(self.model, tensor) else str(layer.config.get("dtype") or "float32")
            )
            converted = ConvertedInput(layer.name, None if shape is None else tuple(shape[1:]), dtype)
            self.inputs.append(converted)
            if "float" in dtype and dtype != "float32":
                self.other_floats.add(converted)
            self.values[tensor] = ConvertedValue(converted)
        done = {(tensor.layer, tensor.call) for tensor in self.values}
        waiting = [(layer, i) for layer in self.model.layers.values() for i in range(len(layer.calls))]
        while waiting:
            later = []
            for layer, index in waiting:
                call = layer.calls[index]
                if all((t.layer, t.call) in done for t in tensors_in([call.args, call.kwargs])):
                    yield layer, index
                    done.add((layer.name, index))
                else:
                    later.append((layer, index))
            if len(later) == len(waiting):
                layer, index = later[0]
                message = f"call {index} of `{layer.name}` reads a tensor that nothing produces"
                self.problems.add(Diagnostic("import-format", message, None))
                self.problems.raise_if_errors()
            waiting = later

    def _outputs(self, structure: Any) -> dict[str, ConvertedValue]:
        """The outputs by their names: the keys of a dict, or the layers they come from."""
        if isinstance(structure, dict) and all(isinstance(t, KerasTensor) for t in structure.values()):
            return {str(key): self.values[tensor] for key, tensor in structure.items()}
        outputs: dict[str, ConvertedValue] = {}
        for tensor in tensors_in(structure):
            name = tensor.layer
            while name in outputs:
                name += "_"
            outputs[name] = self.values[tensor]
        return outputs

    def _report(self, body: ConvertedBody) -> None:
        for node in body.nodes:
            if node in self.failed:
                error = self.failed[node]
                place = ".".join((*self.path, node.name))
                message = f"`{place}` ({node.what}): {error.message}"
                self.problems.add(Diagnostic(error.code, message, None, help=error.help))

    # --- one call

    def _node(self, layer: KerasLayer, index: int, call: Call) -> ConvertedNode | None:
        """The node of a call; None where it only names what is there."""
        if layer.class_name == SOURCE and self.placed is not None:
            return self.placed.source(layer, call, self._stored(layer))
        if layer.module.startswith(OPS):
            first = KerasTensor(layer.name, index, 0)
            self.written[first] = written(layer, call, self.written)
            placed = self.placed
            if layer.class_name == "ConvertToTensor" and placed is None:
                self.values[first] = self._as_tensor(layer, call)
                return None
            node = placed.operation(layer, index, call) if placed else operation(layer, call, self.values)
            if node is not None:
                self._cast_indices(node, str(node.what), tensors_in([call.args, call.kwargs]))
            if node is not None and self._keeps_width(node):
                self.other_floats.add(node)
            return node
        if self.placed is not None:
            self.placed.align(layer, index, call)
        if layer.model is not None:
            return self._over_steps(self._nested(layer, index, call))
        if layer.class_name == "LayerScale" and layer.module in OF_APPLICATIONS:
            return layer_scale(layer, call, self.values, self._stored(layer))
        if layer.class_name == "CustomScaleLayer" and layer.module in OF_APPLICATIONS:
            return scaled_sum(layer, call, self.values)
        if layer.class_name in LOOKUPS:
            return self._looked_up(layer, index, call)
        kind = "merge" if layer.class_name in MERGES else "layer"
        cls = class_of(layer)
        rank = common_rank(layer.calls)
        if kind == "merge":
            read, masks = tuple(only_tensors(call.args)), call.kwargs.get("mask")
            spec_layer = parsed(cls, settings := arguments(cls, layer, rank))
            slots = [("", self._value(tensor)) for tensor in read]
            node = ConvertedNode(layer.name, "merge", cls.spec_name, settings, slots, "list")
            carried_masks = tuple(self.carried.get(tensor) for tensor in read)
            self._same_mask(masks, carried_masks)
            self.carried[KerasTensor(layer.name, index, 0)] = carried(spec_layer, read, carried_masks)
            return node
        return self._over_steps(self._layer(layer, index, call, cls, rank))

    def _as_tensor(self, layer: KerasLayer, call: Call) -> ConvertedValue:
        """A tensor made a tensor, as Keras' attention does with a mask: it is there, or a cast of it."""
        (source,) = only_tensors(call.args)
        dtype, value = layer.config.get("dtype") or source.dtype, self.values[source]
        return value if dtype == source.dtype else self._cast(source, value, dtype)

    def _keeps_width(self, node: ConvertedNode) -> bool:
        """Whether what a function gives may be no float32."""
        return node.what != "cast" and any(value.maker in self.other_floats for value in node.sources())

    def _looked_up(self, layer: KerasLayer, index: int, call: Call) -> ConvertedNode | None:
        """A layer that looks up what an input holds: the data do it, and the input holds ids."""
        tensors = list(tensors_in(call.args))
        maker = self.values[tensors[0]].maker if tensors else None
        calls = [each for other in self.model.layers.values() for each in other.calls]
        readers = [each for each in calls if tensors[0] in tensors_in([each.args, each.kwargs])]
        if not isinstance(maker, ConvertedInput) or self.path or len(readers) > 1 or len(tensors) > 1:
            why = "it looks up a tensor that is not an input, or that others read, too"
            raise Unsupported(why, "encode it in `data`")
        lookup = looked_up(layer)
        self.notes += lookup.notes
        self.features[maker] = lookup.feature
        self.values[KerasTensor(layer.name, index, 0)], node = lookup.read(maker, layer.name)
        return node

    def _over_steps(self, node: ConvertedNode) -> ConvertedNode:
        return node if self.placed is None else self.placed.over_steps(node)

    def _layer(
        self, layer: KerasLayer, index: int, call: Call, cls: type[Layer], rank: int | None
    ) -> ConvertedNode:
        if layer.class_name == "StochasticDepth":
            config = {"rate": layer.config["drop_path_rate"], "noise_shape": [None] + [1] * ((rank or 4) - 1)}
            layer = KerasLayer(layer.name, "Dropout", "keras.layers", config, layer.calls)
        layer.config = without_code(layer.config, layer.name, self.live, self.notes if not index else [])
        body: ConvertedBody | None = None
        settings: dict[str, Any] = {}
        stored = self._stored(layer)
        if "layer" in layer.config and cls.spec_name in WRAPPERS:
            settings, body = self._wrapped(cls, layer)
        else:
            layer, parts = of_cells(layer)
            settings = arguments(cls, layer, rank)
            stored = replace(stored, parts=parts)
        node = ConvertedNode(layer.name, "layer", cls.spec_name, settings, body=body, stored=stored)
        weightless = cls.weights is Layer.weights and not issubclass(cls, Wrapper)
        node.trainable = layer.config.get("trainable") is not False or weightless
        self._trains(layer, call)
        slots, extra = slots_of(cls, call)
        spec_layer = parsed(
            cls, {key: v for key, v in {**settings, **extra}.items() if key in cls.model_fields}
        )
        self._read(node, cls, slots)
        wrapped = settings.get("wraps")
        inside = wrapped["layer"] if isinstance(wrapped, dict) and "layer" in wrapped else cls.spec_name
        self._cast_indices(node, inside, tensors_in([call.args, call.kwargs]))
        node.outputs = spec_layer.output_names()
        self._carry(spec_layer, cls, layer, index, slots)
        if self.common and (likeness := layer.likeness()) in self.common:
            entry = self.common[likeness]
            if isinstance(entry, Stored):
                entry = CalledEntry(
                    layer.name, "layer", node.what, node.arguments, body, entry, node.trainable, True
                )
                self.common[likeness] = entry
            return self._call(entry, index, node, extra)
        if len(layer.calls) == 1:
            node.arguments.update(extra)
            return node
        if layer.name not in self.entries:
            self.entries[layer.name] = CalledEntry(
                layer.name, "layer", node.what, node.arguments, body, node.stored, node.trainable
            )
        return self._call(self.entries[layer.name], index, node, extra)

    def _trains(self, layer: KerasLayer, call: Call) -> None:
        """Notes a call with one `training`."""
        value = call.kwargs.get("training")
        frozen = layer.class_name == "BatchNormalization" and layer.config.get("trainable") is False
        if isinstance(value, bool) and value is not by_default(layer) and not frozen:
            note = always(".".join((*self.path, layer.name)), value)
            if self.placed is None and note not in self.notes:  # a trace has told it
                self.notes.append(note)

    def _call(
        self, entry: CalledEntry, index: int, node: ConvertedNode, extra: dict[str, Any]
    ) -> ConvertedNode:
        """A node that calls an entry as another node would have been."""
        first = next(node.sources()).maker
        name = (
            f"{first.name}_{entry.name}" if isinstance(first, ConvertedInput) else f"{entry.name}_{index + 1}"
        )
        return ConvertedNode(
            name, "call", entry.name, extra, node.reads, node.style, node.outputs, body=node.body, entry=entry
        )

    def _stored(self, layer: KerasLayer) -> Stored:
        return Stored((*self.path, layer.name), (*self.groups, "layers", layer.stored))

    def _value(self, tensor: KerasTensor) -> ConvertedValue:
        """The value that a layer reads of a tensor: Keras casts floats of other widths to float32 before
        layers.
        """
        value = self.values[tensor] if self.placed is None else self.placed.read(tensor)
        if value.maker not in self.other_floats or "float" not in tensor.dtype:
            return value
        return self._cast(tensor, value, "float32")

    def _cast(self, tensor: KerasTensor, value: ConvertedValue, dtype: str) -> ConvertedValue:
        if (tensor, dtype) not in self.casts:
            read = [("x", value)]
            node = ConvertedNode(f"{tensor.layer}_cast", "op", "cast", {"dtype": dtype}, read)
            self.casts[tensor, dtype] = ConvertedValue(node)
        return self.casts[tensor, dtype]

    def _read(self, node: ConvertedNode, cls: type[Layer], slots: dict[str, Any]) -> None:
        """Fills in what a node reads. A mask that its input carries anyway is not written."""
        kinds = {argument.name: argument for argument in cls.arguments}
        for name, value in list(slots.items()):
            if name.endswith("mask") and name != "attention_mask":
                source = (
                    slots.get(name.removesuffix("_mask")) if name != "mask" else slots[cls.arguments[0].name]
                )
                carried_mask = self.carried.get(source) if isinstance(source, KerasTensor) else None
                taken = name not in kinds or kinds[name].carried
                taken = taken and not (name == "mask" and "initial_state" in slots)
                same = isinstance(value, KerasTensor) and self._described(value) == carried_mask
                ignored = (
                    name == "query_mask" and carried_mask is None and cls.spec_name == "MultiHeadAttention"
                )
                if ignored or (same and carried_mask is not None and taken):
                    del slots[name]  # Keras ignores one that the query of heads does not carry
                    continue
                if name not in kinds:
                    self._same_mask(value, (carried_mask,))
                    del slots[name]
        reads: list[tuple[str, Read]] = []
        for name in [argument.name for argument in cls.arguments if argument.name in slots]:
            value = slots[name]
            many = isinstance(value, tuple)
            read: Read = tuple(map(self._value, value)) if many else self._value(value)
            if name.endswith("mask") and isinstance(read, ConvertedValue) and value.dtype != "bool":
                read = self._cast(value, read, "bool")
            reads.append((name, read))
        node.reads, node.style = reads, "one" if len(reads) == 1 else "named"

    def _cast_indices(self, node: ConvertedNode, what: str, tensors: Iterable[KerasTensor]) -> None:
        """Gives integers to what takes integers, as Keras does with tensors of any type."""
        of = {self.values[t]: t for t in tensors if "int" not in t.dtype and t in self.values}
        node.reads = [
            (name, self._cast(of[read], read, "int32"))
            if INDICES.get(what) == name and isinstance(read, ConvertedValue) and read in of
            else (name, read)
            for name, read in node.reads
        ]

    def _described(self, mask: KerasTensor) -> Any:
        """The description of a mask, where the language computes such masks; else the mask itself."""
        return self.written.get(mask) or mask

    def _same_mask(self, mask: Any, carried_masks: tuple[Any, ...]) -> None:
        """Refuses an explicit mask where the language propagates another, or none."""
        masks = [self._described(t) for t in tensors_in(mask)]
        if masks and masks != [item for item in carried_masks if item is not None]:
            raise Unsupported(
                "it is called with an explicit mask", "pass masks only to recurrent layers and attention"
            )

    def _carry(
        self, made: Layer, cls: type[Layer], layer: KerasLayer, index: int, slots: dict[str, Any]
    ) -> None:
        grouped = tuple(slots.get(argument.name) for argument in cls.arguments)
        grouped = tuple(item if isinstance(item, (KerasTensor, tuple)) else None for item in grouped)
        masks = tuple(
            None
            if item is None
            else tuple(map(self.carried.get, item))
            if isinstance(item, tuple)
            else self.carried.get(item)
            for item in grouped
        )
        if isinstance(given := slots.get("mask"), KerasTensor):
            masks = (self._described(given), *masks[1:])
        mask = carried(made, grouped, masks)
        described = self._described(mask) if isinstance(mask, KerasTensor) else mask
        self.carried[KerasTensor(layer.name, index, 0)] = described

    # --- layers around layers, models inside models

    def _wrapped(self, cls: type[Layer], layer: KerasLayer) -> tuple[dict[str, Any], ConvertedBody | None]:
        """The arguments of a wrapper, and the body that it wraps, if it is a model."""
        inner = read_layer(layer.config["layer"])
        stored = self._stored(layer)
        if inner.model is not None:
            body = Translator(
                *(inner.model, self.problems, stored.path, (*stored.groups, "layer"), self.common),
                notes=self.notes,
                live=self.live,
            ).body()
            return {}, body
        if cls.spec_name != "Bidirectional":
            wrapped = class_of(inner)
            settings = {key: layer.config[key] for key in cls.model_fields if key in layer.config}
            inside = {"layer": wrapped.spec_name, **arguments(wrapped, inner, None)}
            return {**shortened(cls, settings), "wraps": inside}, None
        wrapped, wrapped_settings = self._direction(inner)
        backward = layer.config.get("backward_layer")
        other = {}
        if backward is not None:
            backward_class, back = self._direction(read_layer(backward))
            back.pop("go_backwards", None)
            if (backward_class, back) != (wrapped, wrapped_settings):
                other = {"backward_layer": {"layer": backward_class.spec_name, **back}}
        options = KerasLayer(
            layer.name,
            layer.class_name,
            layer.module,
            {key: value for key, value in layer.config.items() if key not in ("layer", "backward_layer")},
        )
        options.config |= {"wraps": {"layer": wrapped.spec_name, **wrapped_settings}, **other}
        return around(cls, options), None

    def _direction(self, layer: KerasLayer) -> tuple[type[Layer], dict[str, Any]]:
        """The class and the arguments of a layer that Bidirectional wraps."""
        cls = class_of(layer)
        settings = arguments(cls, of_cells(layer)[0], None)
        settings.pop(
            "zero_output_for_mask", None
        )  # which Keras sets itself, and the language has in any case
        return cls, settings

    def _nested(self, layer: KerasLayer, index: int, call: Call) -> ConvertedNode:
        assert layer.model is not None
        self._trains(layer, call)
        if len(layer.calls) == 1 or layer.name not in self.entries:
            stored = self._stored(layer)
            below = (layer.model, self.problems, stored.path, stored.groups, self.common)
            body = Translator(*below, notes=self.notes, live=self.live).body()
            self.entries[layer.name] = CalledEntry(layer.name, "block", layer.name, {}, body, stored)
        entry = self.entries[layer.name]
        assert entry.body is not None
        reads = self._nested_reads(layer.model, call, entry.body)
        node = ConvertedNode(layer.name, "block", layer.name, {}, reads, "one" if len(reads) == 1 else "list")
        node.outputs, node.body = tuple(entry.body.outputs)[1:], entry.body
        if len(layer.calls) == 1:
            del self.entries[layer.name]
            return node
        return self._call(entry, index, node, {})

    def _nested_reads(self, model: KerasModel, call: Call, body: ConvertedBody) -> list[tuple[str, Read]]:
        values = call.args[0] if call.args else call.kwargs.get("inputs")
        if isinstance(values, dict) and isinstance(model.inputs, dict):
            values = [values[key] for key in model.inputs]
        elif isinstance(values, dict):
            names = [tensor.layer for tensor in tensors_in(model.inputs)]
            values = [values[name] for name in names] if set(names) <= set(values) else list(values.values())
        read = [tensor for place, tensor in enumerate(tensors_in(values)) if place not in body.unread]
        if len(read) != len(body.inputs):
            raise Unsupported("it is called with other inputs than it has", "call it with all of its inputs")
        declared = [model.layers[t.layer].config.get("dtype") for t in tensors_in(model.inputs)]
        dtypes = [str(dtype) for place, dtype in enumerate(declared) if place not in body.unread]
        reads: list[tuple[str, Read]] = []
        for inner, tensor, dtype in zip(body.inputs, read, dtypes, strict=True):
            whole = "int" in dtype and "int" not in tensor.dtype  # Keras casts what a model is given
            value = self.values[tensor]
            reads.append((inner.name, self._cast(tensor, value, dtype) if whole else value))
        return reads
