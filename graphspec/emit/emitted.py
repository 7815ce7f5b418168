"""The options of emission, and its result."""

from __future__ import annotations

from dataclasses import dataclass

from graphspec.diagnostics import Span
from graphspec.emit.empty_loops import Loop


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """Which source is wanted of a program.

    `inplace` lets activations overwrite their inputs. `exporting` writes code that torch.export accepts with
    dynamic shapes, even where that costs time otherwise. `initialize` fills the weights; without it, the
    module is for inference, and its weights come from a file. Without `merged`, each instance of a block has
    a class of its own: long, and right without any comparison of instances; tests compare with it. Without
    `params`, the params of the file are numbers, and no arguments of the model's class. `filled` are loops of
    which constructors assert that they have an instance.
    """

    inplace: bool = True
    exporting: bool = False
    initialize: bool = True
    merged: bool = True
    params: bool = True
    filled: frozenset[Loop] = frozenset()

    @property
    def training(self) -> bool:
        """Whether the module may train."""
        return self.initialize and not self.exporting


@dataclass(frozen=True, slots=True)
class Emitted:
    """A Python file.

    `places` maps its line numbers, from 1, to the places in the spec that the lines come from. `nodes` maps
    the lines that compute something to all nodes in them. With `channels_last`, its module is fastest in that
    memory format.
    """

    source: str
    places: dict[int, Span]
    nodes: dict[int, list[Span]]
    class_name: str
    program: str  # the program's name
    channels_last: bool = False
