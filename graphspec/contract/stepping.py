"""Layers of the graph of a step: what holds a state, and what writes into it and reads it.

None is of the language: the pass `graphspec/passes/stream.py` puts them in place of those that need more than
their inputs at a step. A state is a buffer of the module, and is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from graphspec.contract.buffers import BUFFER
from graphspec.contract.layer import Argument, Code, Layer, Leaf, ModuleCall, Ref, Site
from graphspec.contract.streaming import LONGEST, Roles, StepState, Streaming, frame, whole
from graphspec.tensor import Tensor

PLACES = Argument("places")


class StateBuffer(Layer, abstract=True, spec_name="state"):
    """A state: a buffer that has no batch and no steps yet, and is no part of the state dict."""

    arguments = ()

    state: Any

    def infer(self) -> Tensor:
        state: StepState = self.state
        return state.tensor

    def code(self, site: Site) -> Code:
        state: StepState = self.state
        sizes = (0, *(size if isinstance(size, int) else 0 for size in state.shape))
        values: dict[str, Leaf] = {f"size{axis}": size for axis, size in enumerate(sizes)}
        kind: Leaf = None if state.dtype == "float32" else Ref(f"torch.{state.dtype}")
        return Code("{self}", ModuleCall("torch.zeros", values, {"dtype": (kind, None)}, around=BUFFER))


class StepsSoFar(Layer, abstract=True, spec_name="kept"):
    """All steps so far along `axis`: those that a state has kept, and new ones."""

    arguments = (Argument("x"), PLACES, Argument("kept"))

    axis: int

    def infer(self, x: Tensor, places: Tensor, kept: Tensor) -> Tensor:
        return x.with_shape(*x.shape[: self.axis], LONGEST, *x.shape[self.axis + 1 :])

    def code(self, site: Site) -> Code:
        return Code("kept({kept}, {x}, {places}, {axis})", constants={"axis": self.axis})


class StepsPadded(Layer, abstract=True, spec_name="padded"):
    """New steps with those before them along `axis`, zeros before the first. `others` pads other axes."""

    arguments = (Argument("x"), PLACES, Argument("window"))

    axis: int
    others: Any  # a layer

    def infer(self, x: Tensor, places: Tensor, window: Tensor) -> Tensor:
        sizes = [size + window.shape[self.axis] * (axis == self.axis) for axis, size in enumerate(x.shape)]
        padded: Tensor = self.others.infer(x.with_shape(*sizes))
        return padded

    def code(self, site: Site) -> Code:
        code: Code = self.others.code(Site((site.x,), site.outputs))
        call = "window({x}, {window})" if self.axis == 1 else f"window({{x}}, {{window}}, {self.axis})"
        return replace(code, call=code.call.replace("{x}", call))


def padded_steps(
    x: Tensor, roles: Roles, pads: Sequence[tuple[int, int]], others: Callable[[int], Layer]
) -> Streaming | None:
    """How zeros before and after each axis go on. `others` is the layer without those of an axis."""
    axes = [axis for axis, (role, pad) in enumerate(zip(roles, pads, strict=True)) if role and any(pad)]
    if not axes:
        return frame(roles)
    axis, (before, after) = axes[0], pads[axes[0]]
    if after:
        return whole("adds steps at the end", "add them at the beginning alone: `padding: [before, 0]`")
    if len(axes) > 1 or roles[axis] != "new":
        return None
    sizes = [*x.shape[1:axis], before, *x.shape[axis + 1 :]]
    outputs = tuple("padded" if role == "new" else role for role in roles)
    states = (StepState("window", tuple(sizes), x.dtype),)
    return Streaming("window", (outputs,), step=StepsPadded(axis=axis, others=others(axis)), states=states)


class StepPlaces(Layer, abstract=True, spec_name="arange"):
    """The numbers of the new steps: `start + place * step`, [N, steps]."""

    arguments = (Argument("x"), PLACES)

    axis: int
    start: Any = 0
    step: Any = 1
    dtype: str = "int64"

    def infer(self, x: Tensor, places: Tensor) -> Tensor:
        return Tensor((places.shape[0], x.shape[self.axis]), self.dtype)

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"axis": self.axis}
        text = "places_of({places}, {x}.shape[{axis}])"
        if self.dtype != "int64":
            text, constants["dtype"] = f"{text}.to({{dtype}})", Ref(f"torch.{self.dtype}")
        if self.step != 1:
            text, constants["step"] = f"{text} * {{step}}", self.step
        if self.start != 0:
            text, constants["start"] = f"{text} + {{start}}", self.start
        return Code(text, constants=constants)


class PlacesSoFar(Layer, abstract=True, spec_name="arange"):
    """The numbers of all steps so far, [1, steps]: `start + place * step`. The state has room for them."""

    arguments = (Argument("x"), PLACES, Argument("room"))

    of: StepPlaces

    def infer(self, x: Tensor, places: Tensor, room: Tensor) -> Tensor:
        return Tensor((1, LONGEST), self.of.dtype)

    def code(self, site: Site) -> Code:
        code = self.of.code(site)
        whole = "places_so_far({room}, {x}.shape[{axis}], {places})"
        return replace(code, call=code.call.replace("places_of({places}, {x}.shape[{axis}])", whole))


class BegunState(Layer, abstract=True, spec_name="begun"):
    """A state, which is another one before the first step."""

    arguments = (Argument("initial"), PLACES, Argument("state"))

    def infer(self, initial: Tensor, places: Tensor, state: Tensor) -> Tensor:
        return state

    def code(self, site: Site) -> Code:
        return Code("begun({places}, [{initial}], [{state}])[0]")


class CarriedStates(Layer, abstract=True, spec_name="carried"):
    """Returns its input, once the states have become new ones. With a mask, steps before the first that it
    keeps have the output `last`, that of the step before.
    """

    arguments = (
        Argument("x"),
        Argument("new", many=True),
        Argument("states", many=True),
        Argument("mask", required=False),
        Argument("last", required=False),
    )

    def infer(self, x: Tensor, *others: Any) -> Tensor:
        return x

    def code(self, site: Site) -> Code:
        return Code(carrying("({x}, *{new})", site.inputs[3] is not None))


def carrying(results: str, masked: bool) -> str:
    """The code that returns the first of the results, and makes the others the states."""
    return f"carried({results}, {{states}}{', {mask}, {last}' * masked})"


def last_output(output: Tensor) -> StepState:
    """The state that has the output of the step before, which masked steps repeat."""
    return StepState("last", output.shape[2:], output.dtype)
