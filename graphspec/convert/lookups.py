"""Layers of Keras that look texts and numbers up in a vocabulary: in a spec the data do it, and the model
reads ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.convert.arguments import shortened
from graphspec.convert.config import KerasLayer
from graphspec.convert.nodes import ConvertedInput, ConvertedNode, ConvertedValue
from graphspec.convert.refusals import Unsupported

LOOKUPS = ("StringLookup", "IntegerLookup", "Hashing", "TextVectorization")
INSTEAD = "encode this column by hand in `data: {features: ...}`"


@dataclass(slots=True)
class LookedUp:
    """A feature in the place of a layer: what is added to its ids to have those of Keras, of which there are
    `size`; how they are encoded then; the shape of the ids where the layer changes it; and what differs.
    """

    feature: dict[str, Any]
    added: int = 0
    size: int | None = None
    output_mode: str = "int"
    length: int | None = None
    notes: list[str] = field(default_factory=list)

    def read(self, source: ConvertedInput, name: str) -> tuple[ConvertedValue, ConvertedNode | None]:
        """The reader of the ids that an input holds now; and the node that encodes them, if there is one."""
        source.dtype = "int64"
        value = ConvertedValue(source)
        if self.feature["encode"] == "text":
            source.shape = (self.length,)
        elif not source.shape:
            source.shape = (1,)
            read = [("x", value)]
            value = ConvertedValue(ConvertedNode(f"{name}_ids", "op", "squeeze", {"axis": 1}, read))
        if self.added:
            node = ConvertedNode(f"{name}_moved", "op", "add", {"x2": self.added}, [("", value)])
            value = ConvertedValue(node)
        if self.output_mode == "int":
            return value, None
        cls = REGISTRY["layer"]["CategoryEncoding"]
        coded = shortened(cls, {"num_tokens": self.size, "output_mode": self.output_mode})
        node = ConvertedNode(name, "layer", "CategoryEncoding", coded, [("inputs", value)])
        return ConvertedValue(node), node


def looked_up(layer: KerasLayer) -> LookedUp:
    """The feature that a layer is. Raises `Unsupported`."""
    config = layer.config
    if config.get("invert"):
        raise Unsupported(
            "it gives texts for ids, and texts are not tensors", "leave it out: `predict` writes values"
        )
    lookup = _feature(layer.class_name, layer.name, config)
    lookup.output_mode = str(config.get("output_mode") or "int")
    if lookup.output_mode not in ("int", "one_hot", "multi_hot", "count"):
        raise Unsupported(f"`output_mode: {lookup.output_mode}` has no counterpart", INSTEAD)
    if lookup.output_mode != "int" and lookup.size is None:
        raise Unsupported(f"`output_mode: {lookup.output_mode}` without a vocabulary has no size", INSTEAD)
    return lookup


def _without_tokens(words: list[Any], config: Mapping[str, Any]) -> list[Any]:
    """A vocabulary without the tokens for masks and for what is unseen, which it may begin with."""
    for token in (config.get("mask_token", ""), config.get("oov_token", "[UNK]")):
        if words and words[0] == token:
            words = words[1:]
    return words


def _feature(kind: str, name: str, config: Mapping[str, Any]) -> LookedUp:
    words = config.get("vocabulary")
    listed = _without_tokens(list(words), config) if isinstance(words, list) and words else None
    if kind == "Hashing":
        note = f"`{name}` hashes in another way than Keras: train what reads its ids again"
        bins = int(config["num_bins"])
        return LookedUp({"encode": "hash", "bins": bins}, 0, bins, notes=[note])
    if kind == "TextVectorization":
        note = f"`{name}`: the data have a vocabulary of their own: train the layers that read its ids again"
        most = config.get("max_tokens") or (len(listed) + 2 if listed else None)
        feature = {"encode": "text", **({} if most is None else {"vocabulary": int(most)})}
        length = config.get("output_sequence_length")
        return LookedUp(feature, 0, most, length=length, notes=[note])
    unseen = config.get("num_oov_indices", 1)
    if unseen not in (0, 1):
        raise Unsupported(f"`num_oov_indices: {unseen}`: a spec has one id for what is unseen", INSTEAD)
    masked = config.get("mask_token") is not None and config.get("output_mode", "int") == "int"
    added = int(unseen) - 1 + int(masked)
    notes = [f"`{name}` reads its mask token as an unseen value"] if masked else []
    if listed is None:
        notes.append(f"`{name}`: the file's config has no vocabulary, the data learn one: train again")
        return LookedUp({"encode": "category"}, added, None, notes=notes)
    return LookedUp({"encode": "category", "values": listed}, added, len(listed) + 1 + added, notes=notes)
