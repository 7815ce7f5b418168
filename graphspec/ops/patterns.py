"""`rearrange`: axes named in a pattern, split, put into another order and merged."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from graphspec.contract.fields import Positive
from graphspec.contract.layer import Code, Example, LayerError, Leaf, Site
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor, product, quotient

_AXIS = r"[A-Za-z_]\w*"
_SIDE = re.compile(rf"\s*((({_AXIS})|\(\s*{_AXIS}(\s+{_AXIS})*\s*\))\s*)+")
_PART = re.compile(rf"\(([^()]*)\)|({_AXIS})")

Groups = tuple[tuple[str, ...], ...]
"""The axes of a tensor, each as the names of those that it is made of."""


class Rearrange(Operation, spec_name="rearrange"):
    """Splits, permutes and merges axes by a pattern such as `b (h p) c -> b h (p c)`.

    Each axis of the input has a name, or names in parentheses for those that it is split into; the result has
    the same names, and merges those in parentheses. The batch comes first on both sides. `axes_lengths` gives
    the sizes, of all but one name in parentheses.
    """

    keeps = True

    pattern: str
    """Axes by their names, before and after: `b h w c -> b c (h w)`."""
    axes_lengths: Annotated[dict[str, Positive], Field(default_factory=dict)]
    """Sizes of names in the pattern."""

    examples = (Example({"pattern": "b h w c -> b c h w"}, ((2, 3, 4),)),)

    def sides(self) -> tuple[Groups, Groups]:
        """The axes before and after. Raises `LayerError` for an invalid pattern."""
        sides = self.pattern.split("->")
        if len(sides) != 2 or not all(_SIDE.fullmatch(side) for side in sides):
            raise self._refuse("names the axes of the input, `->`, and those of the result")
        before, after = (
            tuple(tuple(part[1].split()) if part[1] else (part[2],) for part in _PART.finditer(side))
            for side in sides
        )
        names = [[name for group in groups for name in group] for groups in (before, after)]
        if sorted(names[0]) != sorted(names[1]) or len(set(names[0])) < len(names[0]):
            raise self._refuse("has each name once on both sides of `->`")
        if before[0] != after[0] or len(before[0]) > 1:
            raise self._refuse("begins with the batch on both sides, a name of its own")
        for name in self.axes_lengths:
            if name not in names[0]:
                message = f"`axes_lengths` gives a size to `{name}`, which `{self.pattern}` lacks"
                raise LayerError("out-of-range", message, argument="axes_lengths")
        return before, after

    @classmethod
    def instead(cls, argument: str, value: object) -> str | None:
        if argument not in cls.model_fields and isinstance(value, int | str):  # as einops takes them
            return f"write axes_lengths: {{{argument}: {value}}}"
        return None

    def _refuse(self, rule: str) -> LayerError:
        message = f"a `pattern` {rule}, unlike `{self.pattern}`"
        return LayerError(
            "out-of-range", message, help="for example `b h w c -> b c (h w)`", argument="pattern"
        )

    def sizes(self, x: Tensor, before: Groups) -> dict[str, Dim]:
        """The size of each name."""
        if len(before) != x.rank:
            message = f"`{self.pattern}` names {len(before)} axes, and {x} has {x.rank}"
            raise LayerError("wrong-rank", message, argument="pattern", inputs=(0,))
        axis_sizes: dict[str, Dim] = {}
        for group, size in zip(before, x.shape, strict=True):
            known: dict[str, Dim] = {}
            known |= {name: self.axes_lengths[name] for name in group if name in self.axes_lengths}
            open_names = [name for name in group if name not in known]
            if len(open_names) > 1:
                message = f"`axes_lengths` must give the size of `{open_names[0]}` or of `{open_names[1]}`"
                lengths = [
                    *(f"{name}: {size}" for name, size in self.axes_lengths.items()),
                    f"{open_names[-1]}: ...",
                ]
                help = f"write axes_lengths: {{{', '.join(lengths)}}}"
                raise LayerError("missing-key", message, help=help, argument="axes_lengths")
            rest = quotient(size, product(known.values()))
            if rest is None or (not open_names and rest != 1):
                parts = " * ".join(f"{name} = {length}" for name, length in known.items())
                message = f"an axis of {size} in {x} is not `{' '.join(group)}` with {parts}"
                raise LayerError("shapes-differ", message, argument="axes_lengths", inputs=(0,))
            axis_sizes |= known | dict.fromkeys(open_names, rest)
        return axis_sizes

    def infer(self, x: Tensor) -> Tensor:
        before, after = self.sides()
        sizes = self.sizes(x, before)
        return x.with_shape(*(product(sizes[name] for name in group) for group in after))

    def code(self, site: Site) -> Code:
        before, after = self.sides()
        sizes = self.sizes(site.x, before)
        text, constants = "{x}", dict[str, Leaf]()
        for axis, group in reversed(list(enumerate(before))):
            if len(group) > 1:
                lengths = tuple(self.axes_lengths.get(name, -1) for name in group)
                if -1 not in lengths and not all(isinstance(sizes[name], int) for name in group):
                    lengths = (-1, *lengths[1:])
                text += f".unflatten({axis}, {{sizes{axis}}})"
                constants[f"sizes{axis}"] = lengths
        names = [name for group in before for name in group]
        order = tuple(names.index(name) for group in after for name in group)
        if order != tuple(range(len(names))):
            moved = [place for place, name in enumerate(order) if place != name]
            if len(moved) == 2 and site.settled:  # two axes change places
                text += f".transpose({moved[0]}, {moved[1]})"
            else:
                text, constants["order"] = text + ".permute(*{order})", order
        for axis, group in enumerate(after):
            if len(group) > 1:
                text += f".flatten({axis}, {axis + len(group) - 1})"
        return Code(text, constants=constants)
