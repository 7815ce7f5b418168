"""EinsumDense: a fully connected layer over any axes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from graphspec.contract.activation_types import activated
from graphspec.contract.activations import LINEAR, ActivationFunction
from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.initializers import Initializer, Zeros, need_fillable
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Example, Layer, LayerError, ModuleCall, Site, Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.streaming import Streaming, contracted, still
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.tensor import Dim, Tensor, product

_EQUATION = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of an equation for one input. `summed` are the kernel's axes that the output lacks."""

    output: tuple[Dim, ...]
    kernel: tuple[int, ...]
    bias: tuple[int, ...]
    summed: tuple[int, ...]


class EinsumDense(Layer):
    """A fully connected layer over any axes: `activation(einsum(equation, x, kernel) + bias)`.

    `equation` is `abc,cd->abd`, `...x,xy->...y` or `ab...,bc->ac...`; the batch comes first. `output_shape`
    has the sizes of the output without the batch and the axes of `...`; null keeps the size of the input.
    """

    equation: str
    """Which axes are multiplied and summed, as in einsum: abc,cd->abd."""
    output_shape: Annotated[
        Positive | Annotated[tuple[Positive | None, ...], Field(min_length=1)], BeforeValidator(as_tuple)
    ]
    activation: ActivationFunction = LINEAR
    bias_axes: str | None = None
    """Letters of the axes that have a bias."""
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    examples = (Example({"equation": "ab,bc->ac", "output_shape": 5, "bias_axes": "c"}, ((7,),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="EinsumDense")
        shapes = self.shapes(x)
        need_fillable(self, kernel_initializer=len(shapes.kernel))
        if shapes.bias:
            need_fillable(self, bias_initializer=len(shapes.bias))
        return activated(x.with_shape(*shapes.output), self.activation)

    def shapes(self, x: Tensor) -> Shapes:
        """The shapes of the output, the kernel and the bias; () for no bias. Raises `LayerError`."""
        before, letters, behind, kernel, output = self.parse()
        elided = x.rank - len(letters)
        if elided < 0 or (elided and not before and not behind):
            raise self._refuse(f"has {len(letters)} axes for an input of {x.rank}, {x}")
        start = elided if before else 0
        sizes = dict(zip(letters, x.shape[start:], strict=False))
        if (not elided or not before) and (output[0] != letters[0] or letters[0] in kernel):
            raise self._refuse("begins input and output with the batch, which the kernel lacks")
        wanted = self.output_shape if isinstance(self.output_shape, tuple) else (self.output_shape,)
        out_letters = output if elided and before else output[1:]
        if len(out_letters) != len(wanted):
            message = f"`output_shape` has a size for each of `{out_letters}` of `{self.equation}`"
            raise LayerError("out-of-range", message, argument="output_shape")
        for letter, size in zip(out_letters, wanted, strict=True):
            if size is not None and sizes.setdefault(letter, size) != size:
                message = f"`{letter}` of `{self.equation}` is {sizes[letter]} in {x}, and not {size}"
                raise LayerError("shapes-differ", message, argument="output_shape", inputs=(0,))
            if letter not in sizes:
                message = f"`output_shape` must say the size of `{letter}`, which {x} lacks"
                raise LayerError("missing-key", message, argument="output_shape")
        rest = x.shape[:start] if before else x.shape[len(letters) :]
        inner = tuple(sizes[letter] for letter in output)
        full = (*rest, *inner) if before else (*inner, *rest)
        summed = tuple(axis for axis, letter in enumerate(kernel) if letter not in output)
        return Shapes(
            full, self._kernel(x, kernel, sizes), self._bias(output, sizes, behind * elided), summed
        )

    def parse(self) -> tuple[bool, str, bool, str, str]:
        """The parts of the equation.

        They are: whether an ellipsis comes first, the input's letters, whether an ellipsis comes last, the
        kernel's letters, the output's letters. Raises `LayerError`.
        """
        match = _EQUATION.fullmatch(self.equation)
        forms = "is of the form `ab,bc->ac`, `...a,ab->...b` or `ab...,bc->ac...`"
        if match is None:
            raise self._refuse(forms)
        first, letters, last, kernel, out_first, output, out_last = match.groups()
        if (first, last) != (out_first, out_last) or (first and last):
            raise self._refuse(forms)
        for part in (letters, kernel, output):
            if len(set(part)) != len(part):
                raise self._refuse(f"has a letter twice in `{part}`")
        if not set(output) <= set(letters + kernel) or not set(kernel) <= set(letters + output):
            raise self._refuse("takes each letter of the output from the others, and of the kernel, too")
        return bool(first), letters, bool(last), kernel, output

    def _kernel(self, x: Tensor, kernel: str, sizes: dict[str, Dim]) -> tuple[int, ...]:
        known = []
        for letter in kernel:
            size = sizes[letter]
            if not isinstance(size, int):
                raise LayerError(
                    "unknown-size",
                    f"the kernel of EinsumDense has the axis `{letter}` of {x}, which must be known",
                    help="write a number for this size in `inputs`",
                    inputs=(0,),
                )
            known.append(size)
        return tuple(known)

    def _bias(self, output: str, sizes: dict[str, Dim], behind: int) -> tuple[int, ...]:
        """The shape of the bias from its first axis on, with 1 along axes that share it."""
        if not self.bias_axes:
            return ()
        if not set(self.bias_axes) <= set(output):
            message = f"`bias_axes` are letters of the output `{output}`, not `{self.bias_axes}`"
            raise LayerError("out-of-range", message, argument="bias_axes")
        first = min(output.index(letter) for letter in self.bias_axes)
        shape = [sizes[letter] if letter in self.bias_axes else 1 for letter in output[first:]]
        known = [size for size in shape if isinstance(size, int)]
        if len(known) < len(shape) or (first == 0 and not self.equation.startswith("...")):
            message = "a bias has no axis of the batch, nor one of unknown size"
            raise LayerError("unknown-size", message, argument="bias_axes", inputs=(0,))
        return (*known, *[1] * behind)

    def _refuse(self, what: str) -> LayerError:
        message = f"an equation of EinsumDense {what}; this is `{self.equation[:80]}`"
        return LayerError("out-of-range", message, argument="equation")

    def _fill(self, shapes: Shapes) -> str:
        """The statement that initializes the kernel."""
        initializer, rank = self.kernel_initializer, len(shapes.kernel)
        if not initializer.uses_fans or (rank == 2 and shapes.summed == (0,)):
            return initializer.unturned(rank)
        scaling = initializer.vector_statement()
        return scaling.replace("variance_scaling_({w}", f"einsum_scaling_({{w}}, {shapes.summed!r}")

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        shapes = self.shapes(x)
        kernel = Weight("weight", shapes.kernel, "kernel", initializer=self._fill(shapes))
        if not shapes.bias:
            return (kernel,)
        fill = self.bias_initializer.unturned(len(shapes.bias))
        return kernel, Weight("bias", shapes.bias, "bias", initializer=fill)

    def code(self, site: Site) -> Code:
        shapes = self.shapes(site.x)
        construct = ModuleCall(
            "EinsumDense",
            {"equation": self.equation, "kernel_shape": shapes.kernel},
            {"bias_shape": (shapes.bias or None, None)},
        )
        return Code("{self}({x})", construct, activation=self.activation.with_axis(site.axis))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        before, letters, _, kernel, output = self.parse()
        elided = site.x.rank - len(letters)
        rest = "".join(
            chr(ord("\u0391") + place) for place in range(elided)
        )  # a letter for each axis of `...`
        x, y = (rest + each if before else each + rest for each in (letters, output))
        return contracted([x, kernel], y, (roles[0], still(len(kernel))))

    def flops(self, site: Site) -> Dim:
        shapes = self.shapes(site.x)
        summed = product(shapes.kernel[axis] for axis in shapes.summed)
        return product(shapes.output[1:]) * (2 * summed + bool(shapes.bias))
