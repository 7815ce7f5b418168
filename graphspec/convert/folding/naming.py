"""Names for what was folded: what the names of the nodes inside have in common, or what they are."""

from __future__ import annotations

import re

from graphspec.convert.folding.parts import Instance, Item, RepeatedPart
from graphspec.convert.folding.words import common, common_prefix
from graphspec.convert.nodes import SOURCES, ConvertedNode
from graphspec.diagnostics import by_word
from graphspec.language.naming import identifier, snake_case
from graphspec.weights.names import Namespace

SHORT = by_word(
    act="activation",
    relu="re_lu leaky_re_lu",
    prelu="prelu",
    norm="batch_normalization layer_normalization group_normalization unit_normalization",
    attention="multi_head_attention",
    pool="global_average_pooling1d global_average_pooling2d",
    sum="add",
    joined="concatenate",
    product="multiply",
    weight="parameter",
)
"""Short words for what blocks often have."""
_DIMENSIONS = re.compile(r"(_normalization)?_?[123]d(_transpose)?$")
_PARTS = frozenset(
    [
        *("conv", "convs", "bn", "norm", "act", "relu", "activation", "add", "pool", "pad", "dense", "out"),
        *("x", "concat", "conv2d", "dropout", "identity", "layer", "model", "functional", "sequential"),
        *("sepconv", "separable", "branch", "mixed"),
    ]
)
"""Words that name a node, not a group of nodes."""


def kind(node: ConvertedNode) -> str:
    """A short word for the kind of a node."""
    if node.form in SOURCES:
        return "weight" if node.form == "parameter" else "constant"
    word = snake_case(str(node.what))
    if word in SHORT:
        return SHORT[word]
    for long, short in (("pooling", "pool"), ("padding", "pad"), ("sampling", "sampling")):
        if long in word:
            return word.split("_")[0] if long == "sampling" else short
    return _DIMENSIONS.sub("", word).removesuffix("_conv") or word


def stem(item: Item) -> str:
    """The name of an item in the whole model; "" where it follows from nothing."""
    names = [_user_name(unit) for unit in item.units]
    if not all(names):
        return ""
    if len(names) == 1:
        return names[0]
    front = common(names)
    return front.rstrip("_" if front.endswith("_") else "_0123456789")


def _user_name(unit: ConvertedNode | Instance) -> str:
    """The name of one unit, "" where Keras gave it."""
    if isinstance(unit, ConvertedNode):
        return "" if unit.automatic else unit.name
    if unit.name:
        return "" if re.fullmatch(r"(functional|sequential|model)(_\d+)?", unit.name) else unit.name
    return common_prefix(unit.nodes()).rstrip("_")


def item_names(part: RepeatedPart, outermost: bool) -> list[str]:
    """The names of a part's items, each once and none like an input."""
    names = Namespace(set(part.inputs))
    fronts = [
        "" if outermost or part.classed else common_prefix(instance.nodes()) for instance in part.instances
    ]
    claimed = []
    for position in range(len(part.keys)):
        items = [instance.items[position] for instance in part.instances]
        pairs = zip(items, fronts, strict=True)
        words = [f"{stem(item)}_".removeprefix(front).rstrip("_") for item, front in pairs]
        word = identifier(_agreed(words, items, outermost))
        if word in names.taken and outermost:
            word = identifier(_longer(items[0]) or word)
        claimed.append(names.claim(word))
    return claimed


def _longer(item: Item) -> str:
    """The common beginning of an item's nodes, and the next word of the first: `block_13`, say."""
    front = common_prefix(item.nodes())
    first = next((node.name for node in item.nodes() if not node.automatic), "")
    return front + first.removeprefix(front).partition("_")[0] if front else ""


def _agreed(words: list[str], items: list[Item], outermost: bool) -> str:
    """One word of those that an item has at different places."""
    item = items[0]
    unit = item.units[0]
    if outermost and isinstance(unit, ConvertedNode) and len(item.units) == 1:
        return unit.name
    for change in (lambda word: word, lambda word: re.sub(r"_?\d+", "", word).strip("_")):
        changed = {change(word) for word in words}
        word = changed.pop()
        if not changed and word.isdigit():
            return kind(next(item.nodes())) + word
        if not changed and word and (isinstance(unit, ConvertedNode) or word not in _PARTS):
            return word
    if isinstance(unit, Instance):
        name = unit.part.name
        return (
            name if all(len(each.units) == 1 for each in items) or name[-1] in "s0123456789" else f"{name}s"
        )
    return kind(unit)


def name_part(part: RepeatedPart, names: Namespace, model: str) -> None:
    """Names a part, whose inner parts have names already."""
    if part.word and (part.classed or not part.is_model or len(part.instances) == 1):
        part.name = names.claim(identifier(part.word, "block"))
        return
    of_model = {re.sub(r"\d+", "", word) for word in model.lower().split("_")}
    words = [_words(common_prefix(instance.nodes())) for instance in part.instances]
    common = [word for word in words[0] if all(word in other for other in words[1:])]
    common = [word for word in common if word not in _PARTS and word not in of_model]
    content = _content(part)
    word = common[-1] if common and part.cohesive and content != "stage" else content
    part.name = names.claim(identifier(content if word in names.taken else word, "block"))


def _words(front: str) -> list[str]:
    """The words of a prefix: `conv2_block1_` has conv and block; single letters count for nothing."""
    words = [re.sub(r"\d+[a-z]?$", "", word) for word in front.split("_")]
    return [word for word in words if len(word) > 1]


def _content(part: RepeatedPart) -> str:
    """A name by what is inside."""
    units = [part.unit(position) for position in range(len(part.keys))]
    most = max(len(instance.items[-1].units) for instance in part.instances)
    if isinstance(units[-1], Instance) and most > 1 and len(units) > 1:
        return "stage"
    ends = [unit.what for unit in units[-2:] if isinstance(unit, ConvertedNode) and len(unit.reads) > 1]
    if "add" in ends:
        return "residual"
    if "concatenate" in ends:
        return "branches"
    kinds = [_kind(unit) for unit in units]
    return "_".join(kinds) if len(kinds) <= 3 else f"{kinds[0]}_block"


def _kind(unit: ConvertedNode | Instance) -> str:
    return kind(unit) if isinstance(unit, ConvertedNode) else unit.part.name
