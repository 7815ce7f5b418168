"""Slices of a tensor, as Python writes them in brackets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphspec.contract.layer import Code, Example, LayerError, Leaf, Memory, Moved, Site
from graphspec.contract.streaming import PADDED, Role, Streaming, frame, whole
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor, ceil_div
from graphspec.traced import numerals

_SLICE = re.compile(r"(?P<start>-?\d{1,9})?\s*:\s*(?P<stop>-?\d{1,9})?\s*(?::\s*(?P<step>-?[1-9]\d{0,8})?)?")
_INDEX = re.compile(r"-?\d{1,9}")


@dataclass(frozen=True, slots=True)
class Slice:
    """`start:stop:step`."""

    start: int | None = None
    stop: int | None = None
    step: int = 1

    def __str__(self) -> str:
        start, stop = ("" if end is None else str(end) for end in (self.start, self.stop))
        return f"{start}:{stop}" + (f":{self.step}" if self.step != 1 else "")

    @property
    def ahead(self) -> Slice:
        """The forward slice of the reversed axis that equals this slice of negative step."""
        start, stop = (None if end is None else -(end + 1) for end in (self.start, self.stop))
        return Slice(start, stop, -self.step)

    def size(self, size: Dim) -> Dim | None:
        """How many of `size` elements the slice has, if there are at least `least`; None where that depends
        on an unknown size.
        """
        if self.step < 0:
            return self.ahead.size(size)
        start, stop = self.start or 0, self.stop
        if isinstance(size, int):
            first = size + start if start < 0 else start
            last = size if stop is None else size + stop if stop < 0 else stop
            if 0 <= first <= last <= size:
                return ceil_div(last - first, self.step)
            return len(range(size)[self.start : self.stop : self.step])
        if start >= 0 and (stop is None or stop < 0):
            return ceil_div(size + (stop or 0) - start, self.step)
        if stop is None or (start < 0) == (stop < 0):
            return len(range(start, stop or 0, self.step))
        return None

    @property
    def least(self) -> int:
        """The smallest size that has all elements whose number does not depend on it."""
        if self.step < 0:
            return self.ahead.least
        start, stop = self.start or 0, self.stop
        if start < 0:
            return -start
        chosen = range(start, stop or 0, self.step)
        return chosen[-1] + 1 if chosen else 1

    def places(self, size: int) -> tuple[int, ...]:
        """The indices that the slice selects out of `size`."""
        return tuple(range(size)[self.start : self.stop : self.step])


Item = Slice | int | None
"""A slice, an index, or a new axis."""

WHOLE = Slice()


def _cuts_ends(item: Item) -> bool:
    """Whether it leaves out elements at both ends alone, however many are between."""
    return isinstance(item, Slice) and item.step == 1 and (item.start or 0) >= 0 >= (item.stop or 0)


class GetItem(Operation, spec_name="get_item", also="getitem"):
    """A slice, as Python writes it in brackets: `key: ":, 0"`, `":, 1:-1, ::2"`, `"..., None"`.

    The batch comes first, whole. An index removes its axis, `None` adds one. A negative step reverses.
    """

    key: str
    """Elements to take: a list of indices and slices, such as `:, 0`."""

    examples = (Example({"key": ":, 0"}, ((3, 4),)),)

    def items(self, x: Tensor) -> list[Item]:
        """The key, with a slice or an index for each axis."""
        words, numbers = [word.strip() for word in self.key.split(",")], numerals(self.key)
        if words.count("...") > 1:
            raise self._refuse("holds `...` at most once")
        indices: list[Item] = []
        missing = x.rank - sum(word not in ("...", "None") for word in words)
        if missing < 0:
            raise self._refuse(f"has more axes than {x}")
        for word in words:
            indices += [WHOLE] * missing if word == "..." else [self._item(word, numbers)]
        if "..." not in words:
            indices += [WHOLE] * missing
        if indices[0] != WHOLE:
            raise self._refuse("begins with `:`, the batch")
        return indices

    def _item(self, word: str, numbers: Iterator[int]) -> Item:
        """A part of the key, whose numbers are the next of these."""
        if word == "None":
            return None
        if _INDEX.fullmatch(word):
            return next(numbers)
        match = _SLICE.fullmatch(word)
        if match is None:
            help = None
            if re.search("[A-Za-z_]", word):
                help = "write a number, or a param as `$name`: a size with a name is known only when it runs"
            raise self._refuse("holds indices, slices `start:stop:step`, `...` and `None`", help)
        start, stop, step = (next(numbers) if match[end] else None for end in ("start", "stop", "step"))
        return Slice(start, stop, 1 if step is None else step)

    def _refuse(self, what: str, help: str | None = None) -> LayerError:
        return LayerError(
            "out-of-range",
            f"a `key` {what}, and this is `{self.key[:80]}`",
            help=help or 'the first of a sequence is `key: ":, 0"`, in a formula `x[:, 0]`',
            argument="key",
        )

    def infer(self, x: Tensor) -> Tensor:
        shape: list[Dim] = []
        sizes = iter(x.shape)
        for item in self.items(x):
            size = 1 if item is None else next(sizes)
            if isinstance(item, int):
                if isinstance(size, int) and not -size <= item < size:
                    raise self._refuse(f"counts within {x}")
                continue
            left = size if item is None else item.size(size)
            if left is None:
                raise LayerError(
                    "unknown-size",
                    f"the result of `{item}` depends on the value of `{size}`",
                    help="count from the end: `:-1`, or write a number for this size in `inputs`",
                    argument="key",
                    inputs=(0,),
                )
            if left == 0:
                raise self._refuse(f"leaves something of {x}")
            shape.append(left)
        return x.with_shape(*shape)

    def shortest(self, x: Tensor) -> tuple[tuple[Dim, int], ...]:
        axes = [item for item in self.items(x) if item is not None]
        return tuple(
            (size, item.least if isinstance(item, Slice) else max(item + 1, -item))
            for size, item in zip(x.shape[1:], axes[1:], strict=True)
        )

    def moves(self, x: Tensor) -> tuple[Moved, ...]:
        items, size = self.items(x), x.shape[-1]
        last = [item for item in items if item is not None][-1]
        if items[-1] is None or not isinstance(size, int):
            return ((),)
        return ((last % size,) if isinstance(last, int) else last.places(size),)

    reads_padded = True

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        found: list[Role] = []
        given = iter(roles[0])
        for item in self.items(site.x):
            role = None if item is None else next(given)
            if role is not None and item != WHOLE and not (role == "padded" and _cuts_ends(item)):
                return whole(f"takes `{item}` of the steps", f"let it take all steps, `:`; {PADDED}")
            found += [] if isinstance(item, int) else [role]
        return frame(tuple(found))

    def memory(self, x: Tensor) -> Memory:
        return "any" if all(isinstance(item, Slice) for item in self.items(x)) else "spec"

    def code(self, site: Site) -> Code:
        items, constants = self.items(site.x), dict[str, Leaf]()
        if site.channels_first and len(items) > 2:
            items = [items[0], items[-1], *items[1:-1]]
        axes = [item for item in items if item is not None]
        back = tuple(i for i, item in enumerate(axes) if isinstance(item, Slice) and item.step < 0)
        items = [item.ahead if isinstance(item, Slice) and item.step < 0 else item for item in items]
        x = f"{{x}}.flip({', '.join(map(str, back))})" if back else "{x}"
        if back and all(item == WHOLE for item in items):
            return Code(x)
        words = [_written(item, constants) for item in items]
        if "..." in self.key and len(items) > 2 and not site.channels_first:
            place = [word.strip() for word in self.key.split(",")].index("...")
            behind = len(self.key.split(",")) - place - 1
            words = [*words[:place], "...", *words[len(words) - behind :]]
        elif site.channels_first or "..." not in self.key:
            while len(words) > 1 and words[-1] == ":":
                words.pop()
        return Code(f"{x}[{', '.join(words)}]", constants=constants)


def _written(item: Item, constants: dict[str, Leaf]) -> str:
    """An item in brackets. Its numbers are placeholders: they may differ between instances of a block."""

    def hole(number: int | None, word: str) -> str:
        if number is None:
            return ""
        name = word if word not in constants else f"{word}_{len(constants)}"
        constants[name] = number
        return f"{{{name}}}"

    if item is None:
        return "None"
    if isinstance(item, int):
        return hole(item, "index")
    step = f":{hole(item.step, 'step')}" if item.step > 1 else ""
    return f"{hole(item.start, 'start')}:{hole(item.stop, 'stop')}{step}"
