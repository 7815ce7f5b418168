"""How a layer acts along the axis that is streamed: what its output at a step needs of the steps before.

A value's roles say which of its axes is streamed: `new` has the steps of this call, `all` those so far;
`padded` has some of those before, too, zeros before the first, for a window that reads them. A value with
`all` may say that it leaves out what is ahead of the new step: it is `nought` there, which sums leave out, or
`low`, so that a softmax makes nothing of it. The definition is consistency of prefixes: what a layer gives
for the first steps of a sequence is the beginning of what it gives for the whole. What a layer does not say
is refused: no kind is a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graphspec.tensor import BATCH, Dim, Tensor, product, symbol

Role = Literal["new", "all", "low", "nought", "padded"] | None
Roles = tuple[Role, ...]
"""A role for each axis of a value, the batch among them."""
Kind = Literal["frame", "window", "state", "keys", "place", "whole"]
"""The inputs on which an output at a step depends: those at that step; those of the last few; a state; all
before, in a buffer; how many steps there were; or steps that are yet to come.
"""

LONGEST = symbol("longest")
"""The steps that a buffer has room for."""


@dataclass(frozen=True, slots=True)
class StepState:
    """A state that is kept from step to step: a tensor for each example, zeros before the first step."""

    name: str
    shape: tuple[Dim, ...]
    dtype: str = "float32"
    given: bool = False
    """Whether an encoder computes it, once for a sequence."""

    @property
    def tensor(self) -> Tensor:
        return Tensor((symbol(BATCH), *self.shape), self.dtype)


@dataclass(frozen=True, slots=True)
class Streaming:
    """How one use of a layer is streamed.

    `outputs` are the roles of its outputs; None for one that is of no single step, which nothing may read.
    `demands` are the positions of inputs that it needs of all steps so far: it is asked again with those.
    `step` computes it: its arguments are those of the layer, then `places`, [N], the number of steps
    before, then the states. Without `step` the layer itself does. Along the axis `grouped` it takes demands
    before they are repeated. `cause` and `remedy` say why `whole` is refused, and what to write.
    """

    kind: Kind
    outputs: tuple[Roles | None, ...] = ()
    demands: tuple[int, ...] = ()
    step: Any = None  # a layer
    states: tuple[StepState, ...] = ()
    grouped: int | None = None
    cause: str = ""
    remedy: str | None = None


def frame(*outputs: Roles) -> Streaming:
    """Each step of the outputs needs the inputs at that step alone."""
    return Streaming("frame", outputs)


def whole(cause: str, remedy: str | None = None) -> Streaming:
    """Refused: "`node` {cause}"."""
    return Streaming("whole", cause=cause, remedy=remedy)


def streamed_axes(roles: Roles | None) -> tuple[int, ...]:
    """The axes that have a role."""
    return tuple(axis for axis, role in enumerate(roles or ()) if role is not None)


def still(rank: int) -> Roles:
    """The roles of a value that is the same at all steps."""
    return (None,) * rank


def apart_from(
    roles: Roles,
    axes: Iterable[int],
    outputs: Roles | None = None,
    unless: Role = None,
    remedy: str | None = None,
) -> Streaming:
    """A function that combines elements along these axes: a frame where none of them is streamed, or where
    the steps ahead are such as make no difference. `remedy` says what to write instead.
    """
    over = [roles[axis % len(roles)] for axis in axes]
    if any(role not in (None, unless) for role in over):
        return ahead() if "new" not in over else whole("runs over all steps", remedy or OTHER_AXIS)
    return frame(roles if outputs is None else outputs)


def skipping(steps: int) -> Streaming:
    """Refused, as it gives a step for so many of its input."""
    every = f"`inputs: {{x: {{shape: [length, {steps} * features]}}}}`"
    return whole(
        f"gives one step for {steps} of its input, so that most new steps have no output",
        f"let the data have {steps} steps as one, {every}, and write `strides: 1`",
    )


def enlarged(roles: Roles, first: int, factors: Sequence[int], reach: Sequence[int] = ()) -> Streaming:
    """How a layer goes on that enlarges axes, of which `first` is the first; it adds windows, which reach so
    far, where they overlap.
    """
    for place, factor in enumerate(factors, first):
        if roles[place] is not None and factor > 1:
            several = f"gives {factor} steps for one of its input"
            return whole(several, "let the data have as many steps as what the model gives")
        if roles[place] is not None and reach and reach[place - first]:
            return whole("adds to steps that it gave", "write Conv1D with `padding: causal`")
    return frame(roles)


def padding(steps: int) -> str:
    """The node that puts zeros before the first step."""
    return f"{{layer: ZeroPadding1D, padding: [{steps}, 0]}}"


PADDED = f"the steps before are {padding(1)}, then {{layer: Cropping1D, cropping: [0, 1]}}"
"""How what needs the steps before is written."""
OTHER_AXIS = "let it run along another axis, such as that of the features"
SO_FAR = (
    "take the steps so far: their sum is {op: cumsum, axis: 1}, "
    "their mean {compute: 'cumsum(x, axis=1) / cumsum(ones_like(x), axis=1)'}"
)
"""How what needs one value of all steps is written, so that it has one of those before each."""


def ahead() -> Streaming:
    """Refused, as it takes in scores or products of steps that are ahead."""
    past = "{op: greater_equal, from: [rows, columns]}, of {op: arange, axis: 1} with an axis added to each"
    hide = "{op: where, from: [past, scores], x2: -1.0e+9} before a softmax, x2: 0 before a sum"
    return whole("takes in steps that are ahead", f"hide them: {hide}; `past` is {past}")


def without(roles: Roles, axes: Iterable[int], kept: bool = False, unless: Role = None) -> Streaming:
    """A reduction along these axes, which are left out, or with `kept` have size 1."""
    gone = [axis % len(roles) for axis in axes]
    left = [None if axis in gone else role for axis, role in enumerate(roles) if kept or axis not in gone]
    return apart_from(roles, gone, tuple(left), unless, SO_FAR)


def contracted(labels: Sequence[str], output: str, roles: Sequence[Roles]) -> Streaming:
    """Products of elements that have the same letters, summed over those that the output lacks.

    Of several streamed axes of the output the first is that of the steps. A sum over steps needs a factor
    that is nought ahead.
    """
    given = [dict(zip(letters, each, strict=True)) for letters, each in zip(labels, roles, strict=True)]
    streamed = {letter: {each.get(letter) for each in given} - {None} for each in given for letter in each}
    streamed = {letter: here for letter, here in streamed.items() if here}
    first = next((letter for letter in output if "new" in streamed.get(letter, ())), None)
    demands: set[int] = set()
    for letter, here in streamed.items():
        if letter not in output and "nought" not in here:
            return ahead() if "all" in here or first else whole("sums over all steps", OTHER_AXIS)
        if letter != first or here != {"new"}:
            demands |= {place for place, each in enumerate(given) if each.get(letter) == "new"}
    new = first is not None and streamed[first] == {"new"}
    found: list[Role] = [
        "new" if letter == first and new else "all" if letter in streamed else None for letter in output
    ]
    return Streaming("frame", (tuple(found),), tuple(sorted(demands)))


def elementwise(roles: Sequence[Roles | None], rank: int) -> Streaming:
    """A function of elements at the same place: last axes are aligned, and so are the batches.

    Of several streamed axes the first is that of the steps, and along the others all so far are needed.
    """
    given = [_aligned(each, rank) for each in roles if each is not None]
    first = next((axis for axis in range(rank) if any(each[axis] == "new" for each in given)), None)
    found: list[Role] = [None] * rank
    demands: set[int] = set()
    for axis in range(rank):
        here = {each[axis] for each in given} - {None}
        if not here:
            continue
        found[axis] = "new" if here == {"new"} and axis == first else "all"
        if found[axis] == "all":
            aligned = [(place, _aligned(each, rank)) for place, each in enumerate(roles) if each is not None]
            demands |= {place for place, each in aligned if each[axis] == "new"}
    return Streaming("frame", (tuple(found),), tuple(sorted(demands)))


def _aligned(roles: Roles, rank: int) -> Roles:
    return (*roles[:1], *[None] * (rank - len(roles)), *roles[1:])


def moved(roles: Roles, order: Iterable[int | None]) -> Streaming:
    """A function whose output has these axes of its input in this order; None is a new axis."""
    return frame(tuple(None if axis is None else roles[axis] for axis in order))


def reshaped(x: Tensor, roles: Roles, y: Tensor) -> Streaming:
    """A reshape: a streamed axis stays one where as many elements are before it as were."""
    found: list[Role] = [None] * y.rank
    for axis in streamed_axes(roles):
        before = product(x.shape[:axis])
        fits = (p for p in range(y.rank) if y.shape[p] == x.shape[axis] and product(y.shape[:p]) == before)
        place = next(fits, None)
        if place is None:
            return whole("joins steps with another axis", "leave the axis of the steps as it is")
        found[place] = roles[axis]
    return frame(tuple(found))


def listed(roles: Sequence[Any]) -> list[Roles | None]:
    """The roles of all inputs, also of those in lists."""
    return [part for each in roles for part in (each if each and isinstance(each[0], tuple) else (each,))]
