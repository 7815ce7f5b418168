"""The parts of a spec that `new` writes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Draft:
    """The parts of the spec, line by line."""

    inputs: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    """The nodes that are put together."""
