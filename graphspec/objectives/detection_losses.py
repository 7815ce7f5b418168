"""The loss of a detector: what its output means, and how far it is from the boxes of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from graphspec.objectives.boxes import CROWD
from graphspec.objectives.detection_settings import Assign, Detector
from graphspec.objectives.loss import NO_CONTEXT, Bound, LossContext, Misfit, Select
from graphspec.tensor import Dim, Tensor, symbol

if TYPE_CHECKING:
    from torch import Tensor as Values

    from graphspec.objectives.heads import Head


class Detection(Detector):
    """How far boxes and their classes are from those of a picture, [batch, most, 5]: x1, y1, x2, y2 in pixels
    of the network's input and the class, -1 in rows without a box. A crowd of class k has the class
    -2 - k: nothing is trained on it, and scores do not count what lies in it.

    `assign` says which of the output's points, or queries, answers for which box, and what its values are.
    The output is [batch, points, 4 + classes], of all levels in the order of `strides`, each row by row:
    distances of the left, top, right and bottom side in strides, and logits of classes. With `anchors` the
    first four move and scale the anchor, as many in a row as a point has. With `hungarian` it is [batch,
    queries, 4 + classes + 1]: logits of the shares of the picture that center, width and height are, then
    logits of classes, the last for no box. The losses of a picture are divided by its points that answer.
    """

    name: Literal["detection"] = "detection"

    @property
    def head(self) -> Head:
        """The meaning of the output; the size of the picture is known."""
        from graphspec.objectives import heads

        kinds: dict[Assign, type[Head]] = {
            "center": heads.Center,
            "anchors": heads.Anchors,
            "task_aligned": heads.TaskAligned,
            "hungarian": heads.Hungarian,
        }
        return kinds[self.assign](self)

    @property
    def waits(self) -> bool:
        return self.assign == "hungarian"

    def of_inputs(self, inputs: Mapping[str, Tensor]) -> Detection:
        pictures = [tensor for tensor in inputs.values() if tensor.rank == 4]
        if self.size is not None or len(pictures) != 1:
            return self
        height, width = pictures[0].shape[1:3]
        if not isinstance(height, int) or not isinstance(width, int):
            return self
        return self.model_copy(update={"size": (height, width)})

    def class_count(self, width: Dim) -> int | None:
        """How many classes an output has whose last axis is so long; None where that is not known."""
        return width - self.box_values - self.has_background if isinstance(width, int) else None

    def target(self, output: Tensor) -> Tensor:
        return Tensor((output.shape[0], symbol("boxes"), 5), "float32")

    def target_range(self, classes: Dim) -> tuple[int | None, Bound]:
        """From the crowd of the last class; the last position of a box is a class."""
        count = self.class_count(classes)
        return (None, None) if count is None else (CROWD + 1 - count, (None, None, None, None, count - 1))

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        """Its own answer, at most ten boxes, without their scores."""
        return self.answer(output)[:, :10, [0, 1, 2, 3, 5]]

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        problem = super().misfit(output, activation)
        if problem is not None:
            return problem
        what = "queries" if self.assign == "hungarian" else "points"
        if activation not in (None, "linear", "unknown"):
            message = f"`{self.name}` takes plain values and logits, but the output ends in {activation}"
            return (message, "leave out the activation of what gives the classes")
        if output.rank != 3:
            message = (
                f"`{self.name}` needs an output of shape [batch, {what}, values], and this one is {output}"
            )
            return (
                message,
                f"reshape each level: {{layer: Reshape, target_shape: [-1, {self.box_values + 1}]}}",
            )
        return self._width_misfit(output, what) or self._size_misfit(output)

    def _width_misfit(self, output: Tensor, what: str) -> Misfit:
        count = self.class_count(output.shape[-1])
        if count is None or count < 1:
            more = " and 1 for no box" if self.has_background else ""
            message = (
                f"`{self.name}` reads {self.box_values} values of a box, then at least one class{more}, "
                f"and the output is {output}"
            )
            return (message, f"give it [batch, {what}, {self.box_values} + classes{' + 1' * bool(more)}]")
        return None

    def _size_misfit(self, output: Tensor) -> Misfit:
        if self.size is None:
            message = f"`{self.name}` does not know the size of the picture: no single input says it"
            return (message, "write `size: [height, width]`, or a `shape` of numbers at the input")
        if self.assign == "hungarian":
            return None
        height, width = self.size
        shapes = [len(self.shapes_of(level)) for level in range(len(self.strides))]
        counts = [y * x * each for (y, x), each in zip(self.grids, shapes, strict=True)]
        if output.shape[1] != sum(counts):
            parts = f"{' + '.join(map(str, counts))} = " if len(counts) > 1 else ""
            of = f" of {', '.join(map(str, dict.fromkeys(shapes)))} anchors" if max(shapes) > 1 else ""
            strides = ", ".join(f"{stride:g}" for stride in self.strides)
            message = (
                f"the levels of [{strides}]{of} have {parts}{sum(counts)} points in a picture "
                f"of {height} x {width}, and the output is {output}"
            )
            odd = [f"{stride:g}" for stride in self.strides if height % stride or width % stride]
            help = "join all levels in the order of `strides`, or write the strides that they have"
            if odd:
                help = f"make the sides of the picture multiples of {odd[-1]}; else {help}"
            return (message, help)
        return None

    def values(self, output: Any, target: Values | None, given: LossContext = NO_CONTEXT) -> Values:
        """A value for each picture."""
        assert target is not None
        return self.head.losses(output, target.to(output.dtype))

    def answer(self, output: Values, select: Select | None = None) -> Values:
        """[n, top, 6], best first: x1, y1, x2, y2 in pixels of the network's input, the score and the class;
        rows without a box have score 0 and class -1.
        """
        from graphspec.objectives.answers import answers

        return answers(self.head, output, select)
