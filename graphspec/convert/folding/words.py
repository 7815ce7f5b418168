"""Groups nodes by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from graphspec.convert.nodes import ConvertedNode


class WithName(Protocol):
    """A node, or a part at one place; `automatic` where Keras or we gave its name."""

    name: str
    automatic: bool


def common_prefix(nodes: Iterable[WithName]) -> str:
    """The common beginning of nodes' names, without names that Keras gave."""
    return prefix([node.name for node in nodes if not node.automatic])


def common_name(nodes: Iterable[WithName]) -> str | None:
    """The common name of nodes: the same beginning, the same end, or a number at the end.

    "" where names do not decide: all are Keras' own, or one word with numbers. None where they have nothing
    in common.
    """
    names = [node.name for node in nodes if not node.automatic]
    if len(names) < 2:
        return ""
    if front := prefix(names):
        return front
    if len({re.split(r"[_\d]", name)[0] for name in names}) == 1:
        return ""
    ends = {re.search(r"_[^_]*$|\d+$|$", name)[0] for name in names}  # type: ignore[index]
    return "..." + ends.pop() if len(ends) == 1 and "" not in ends else None


def prefix(names: list[str]) -> str:
    """The common beginning of names up to an underscore, or their end: `conv2_block1_` of conv2_block1_1_conv
    and conv2_block1_out, `project_` of project and project_bn.
    """
    if not names:
        return ""
    shared = common([f"{name}_" for name in names])
    return shared[: shared.rfind("_") + 1]


def common(texts: list[str]) -> str:
    """The letters that all texts begin with."""
    low, high = min(texts), max(texts)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:same]


def without_numbers(node: ConvertedNode) -> str:
    """A name without what counts: `block_conv` of block2a_conv1; "" where it is Keras' own."""
    return "" if node.automatic else re.sub(r"\d+[a-z]?(?=_|$)", "", node.name)
