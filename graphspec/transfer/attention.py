"""Rules for layers of a file that are query, key and value of an attention layer in one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from graphspec.transfer.checkpoints import StoredCheckpoint
from graphspec.transfer.patterns import pattern
from graphspec.transfer.rules import Origin, Rule
from graphspec.transfer.targets import Target

PARTS = ("query", "key", "value")
NAMED = re.compile(r"qkv|att(e)?n|query|in_proj", re.IGNORECASE)
"""Names of layers of attention."""
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Lying:
    """Where query, key and value lie in one layer: within each of `groups` equal blocks, and with heads of
    `head_size` that alternate element by element, if that is given.
    """

    groups: int = 1
    head_size: int | None = None


def lyings(heads: tuple[int, int], sizes: tuple[int, int]) -> list[Lying]:
    """All orders in which query, key and value may lie in one layer, the usual ones first, by the numbers of
    heads and the sizes of key and value.
    """
    (queries, pairs), (size, values) = heads, sizes
    found = [Lying(), Lying(pairs)]  # one after the other, or head by head
    if size == values:
        found += [Lying(size, size), Lying(1, size)]
        if queries == pairs:  # the three of each feature are next to each other
            found += [Lying(pairs * size), Lying(pairs * size, size)]
    return found


def attention_rules(
    targets: Iterable[Target], left: Iterable[StoredCheckpoint], lying: Mapping[str, Lying]
) -> list[Rule]:
    """A rule for each open attention layer, where as many layers of the file, in their order, have the shapes
    of its query, key and value joined, or those of their kernels. The order of the three is a guess, and so
    is how they are `lying` in it, by the layer's path.
    """
    wanted: dict[str, dict[str, Shapes]] = {}
    for target in targets:
        layer, _, rest = target.key.removeprefix(f"{target.path}.").partition(".")
        wanted.setdefault(target.path, {}).setdefault(layer, {})[rest] = target.shape
    units: dict[str, Shapes] = {}
    for tensor in left:
        if not set(tensor.key) & set("{*}"):  # these have a meaning in rules
            units.setdefault(tensor.unit, {})[tensor.leaf] = tensor.shape
    layers = {path: joined for path, parts in wanted.items() if (joined := _joined(parts))}
    rules: list[Rule] = []
    for shapes in {str(joined): joined for joined in layers.values()}.values():
        mine = [path for path, joined in layers.items() if joined == shapes]
        theirs = [name for name in units if units[name] == shapes]
        if not theirs:  # one has biases that the other lacks, and those are missed alone
            theirs = [name for name in units if units[name].get("weight") == shapes.get("weight", ())]
        if len(mine) != len(theirs):  # others have the same shapes
            theirs = [name for name in theirs if NAMED.search(name)]
        if len(mine) != len(theirs):
            continue
        for path, name in zip(mine, theirs, strict=True):
            to = pattern(f"{path}.{{part}}.{{w}}", (("part", PARTS),))
            whole = {"from": (f"{name}.{{w}}",), "split": {"part": PARTS}}
            origin = Origin.model_validate({**whole, **asdict(lying.get(path, Lying()))})
            rules.append(Rule(to, origin))
    return rules


def _joined(parts: dict[str, Shapes]) -> Shapes | None:
    """The shapes of query, key and value one after the other, where these are open and have the same axes."""
    query, *others = [parts.get(part, {}) for part in PARTS]
    if not query or any(each.keys() != query.keys() for each in others):
        return None
    if any(each[leaf][1:] != query[leaf][1:] for each in others for leaf in query):
        return None
    return {leaf: (sum(parts[part][leaf][0] for part in PARTS), *query[leaf][1:]) for leaf in query}
