"""A custom module as a layer: its inputs and outputs are declared; its code is not inspected.

Nothing here imports it. Its weights are its own: unknown until it is made.
"""

from __future__ import annotations

from typing import Any

from graphspec.contract.arrays import Pairs
from graphspec.contract.layer import Argument, Code, Layer, Leaf, Memory, ModuleCall, Ref, Site
from graphspec.tensor import Dim, Tensor, symbol

ALWAYS = Ref("...")
"""The default of no argument: so that each is written."""


class CustomModule(Layer, abstract=True):
    """`path` called on the values `places`, by position, and `words`, by name.

    `types` are the types of its outputs, with the axes of the spec. With `channels_first`, it takes and
    returns images in the memory order of PyTorch.
    """

    path: str
    options: dict[str, Any]
    places: tuple[bool, ...]  # for each input by position, whether it is a list
    words: dict[str, bool]  # for each input by name
    types: tuple[Any, ...]
    names: tuple[str, ...]  # of the outputs after the first
    channels_first: bool

    call_arguments = ("places", "words", "types", "names")
    opaque = True

    @property
    def arguments(self) -> tuple[Argument, ...]:  # type: ignore[override]
        """Its inputs, by the names that the node gives them."""
        by_place = [Argument(f"input{index}", many=many) for index, many in enumerate(self.places)]
        return (*by_place, *(Argument(word, many=many) for word, many in self.words.items()))

    @property
    def home(self) -> str:
        """The Python module that contains it."""
        return self.path.rpartition(".")[0]

    def infer(self, *inputs: Any) -> Tensor | tuple[Tensor, ...]:
        return self.types if len(self.types) > 1 else self.types[0]

    def output_names(self) -> tuple[str, ...]:
        return self.names

    def memory(self, *inputs: Any) -> Memory:
        return "first" if self.channels_first else "spec"

    def code(self, site: Site) -> Code:
        inputs = [f"{{input{index}}}" for index in range(len(self.places))]
        inputs += [f"{word}={{{word}}}" for word in self.words]
        keyword: dict[str, tuple[Leaf, Leaf]] = {word: (_leaf(v), ALWAYS) for word, v in self.options.items()}
        construct = ModuleCall(self.path.rpartition(".")[2], keyword=keyword, home=self.home)
        return Code(f"{{self}}({', '.join(inputs)})", construct)

    def flops(self, site: Site) -> Dim:
        return symbol("?")

    def output_activation(self) -> str | None:
        return None


def _leaf(value: Any) -> Leaf:
    """A plain value of a spec, with lists as tuples and mappings as dicts."""
    if isinstance(value, dict):
        return Pairs((key, _leaf(item)) for key, item in value.items())
    return tuple(_leaf(item) for item in value) if isinstance(value, list) else value
