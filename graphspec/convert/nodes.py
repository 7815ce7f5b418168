"""The intermediate form of an import: the nodes of a spec, and the values between them.

    Body                              a file's or a block's graph
      inputs: [Input("image", ...)]
      nodes:  [Node("conv", "layer", "Conv2D", {"filters": 8, ...}, reads=[("x", Value(image))]), ...]
      outputs: {"probs": Value(dense)}

Values point at what makes them, not at names, so that nodes can be moved and renamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from graphspec.language.naming import identifier
from graphspec.language.schema import RESERVED
from graphspec.weights.names import Namespace

Form = Literal["layer", "merge", "op", "block", "call", "parameter", "constant"]
SOURCES = ("parameter", "constant")
"""Forms that read nothing."""


@dataclass(eq=False, slots=True)
class ConvertedInput:
    """An input of a body; `shape` leaves out the batch, and holds None for sizes that are not known, a word
    for those that have a name. With `channels_first` it is in PyTorch's order.
    """

    name: str
    shape: tuple[int | str | None, ...] | None = None
    dtype: str = "float32"
    channels_first: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """The location of a layer's variables: `path` by names, `groups` as Keras 3 numbers them, and `parts`
    below those, where their order is not that of the names.
    """

    path: tuple[str, ...]
    groups: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...] = ()


@dataclass(eq=False, slots=True)
class CalledEntry:
    """An entry that several nodes call: a layer, or a block with its own body. A `common` one is the
    file's, and called inside of blocks, too.
    """

    name: str
    form: Form
    what: str
    arguments: dict[str, Any] = field(default_factory=dict)
    body: ConvertedBody | None = None
    stored: Stored | None = None
    trainable: bool = True
    common: bool = False


@dataclass(eq=False, slots=True)
class ConvertedNode:
    """One node. `reads` has a slot for each argument: its name, and the value or values there.

    `style` tells how `from` is written: one name, a list, or a mapping. `body` is the graph of a block, or of
    what a wrapper wraps; `entry` what a call calls. `outputs` names the outputs after the first.
    """

    name: str
    form: Form
    what: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    reads: Sequence[tuple[str, Read]] = ()
    style: Literal["one", "list", "named"] = "one"
    outputs: tuple[str, ...] = ()
    body: ConvertedBody | None = None
    entry: CalledEntry | None = None
    stored: Stored | None = None
    trainable: bool = True
    automatic: bool = False  # Keras gave it its name: its class, and a number

    def sources(self) -> Iterator[ConvertedValue]:
        """All values it reads, in order."""
        for _, read in self.reads:
            yield from (read,) if isinstance(read, ConvertedValue) else read


@dataclass(frozen=True, slots=True)
class ConvertedValue:
    """An output of a node, or an input."""

    maker: ConvertedNode | ConvertedInput
    output: int = 0

    def reference(self) -> str:
        """How a spec refers to it."""
        if self.output and isinstance(self.maker, ConvertedNode):
            return f"{self.maker.name}.{self.maker.outputs[self.output - 1]}"
        return self.maker.name


@dataclass(eq=False, slots=True)
class ConvertedBody:
    """The graph of a file or a block."""

    name: str
    inputs: list[ConvertedInput]
    nodes: list[ConvertedNode]
    outputs: dict[str, ConvertedValue]
    shared: list[CalledEntry] = field(default_factory=list)
    unread: tuple[int, ...] = ()  # the places of inputs that were left out
    classed: bool = False  # a class of PyTorch, whose attributes its nodes are called by

    def with_weights(self) -> Iterator[ConvertedNode | CalledEntry]:
        """Everything with its own weights: each entry, and each node that calls none."""
        yield from self.shared
        yield from (node for node in self.nodes if node.entry is None)


Read = ConvertedValue | tuple[ConvertedValue, ...]
"""The value in one slot of a node."""


def rename(
    inputs: Sequence[ConvertedInput], others: Iterable[ConvertedNode | CalledEntry], only: bool, inner: bool
) -> None:
    """Makes the names of one body legal and different from one another; inputs keep theirs first.

    A name that Keras gave to an only input says nothing: in a model inside the model it is x.
    """
    names = Namespace()
    if only and (match := _GIVEN.fullmatch(inputs[0].name)):
        inputs[0].name = "x" if inner else match[1]
    for item in (*inputs, *others):
        is_input = isinstance(item, ConvertedInput)
        word = identifier(item.name, "input" if is_input else "node")
        item.name = names.claim(f"{word}_" if is_input and word in RESERVED else word)


_GIVEN = re.compile(r"(input_layer|input|keras_tensor)(_\d+)?|input")


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """Where the variables of a layer or parameter are stored, and whether they are trained."""

    stored: Stored
    trainable: bool
