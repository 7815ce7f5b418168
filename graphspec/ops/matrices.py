"""Functions of keras.ops on matrices and vectors, one or several in each example."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_letters
from typing import Any, ClassVar

from graphspec.contract.broadcasting import ACROSS_EXAMPLES, example_axis, stretch
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.contract.stepping import PLACES
from graphspec.contract.streaming import Streaming, contracted, frame, listed
from graphspec.ops.operation import Operation, meet, need_numbers, row, table
from graphspec.tensor import Dim, Tensor, product


def need_floats(name: str, *inputs: Tensor) -> None:
    """Refuses all but floats of one type: PyTorch multiplies these on every device."""
    for position, x in enumerate(inputs):
        if not x.is_float or x.dtype != inputs[0].dtype:
            raise LayerError(
                "wrong-dtype",
                f"`{name}` takes floats of one type, and gets " + " and ".join(str(x) for x in inputs),
                help=f"{{op: cast, from: {{input{position}}}, dtype: float32}} gives others",
                inputs=(position,),
            )


def einsum(equation: str, site: Site, inputs: Sequence[str], after: str = "") -> Code:
    """The code of an einsum of `inputs`, each of which begins with the letter of the batch; `after` follows.

    An input that is the same for every example is read without its batch, whose size, 1, onnxruntime takes
    for that of the output; where other uses of the code have a batch there, it is expanded.
    """
    single = [x.shape[0] == 1 for x in site.inputs]
    if any(single) and not all(single) and not site.settled:
        batch = f".expand({inputs[single.index(False)]}.shape[0]"
        ranks = [
            f"{batch}{', -1' * (x.rank - 1)})" * alone for x, alone in zip(site.inputs, single, strict=True)
        ]
        inputs = [each + expanded for each, expanded in zip(inputs, ranks, strict=True)]
    elif any(single) and not all(single):
        left, output = equation.split("->")
        letters = [each[alone:] for each, alone in zip(left.split(","), single, strict=True)]
        equation = f"{','.join(letters)}->{output}"
        inputs = [f"{each}[0]" if alone else each for each, alone in zip(inputs, single, strict=True)]
    return Code(f"torch.einsum({{equation}}, {', '.join(inputs)}){after}", constants={"equation": equation})


class Matmul(Operation, spec_name="matmul", also="bmm"):
    """Matrix products along the last two axes; the axes before them broadcast as in `multiply`."""

    template = "{x1} @ {x2}"
    arguments = (Argument("x1"), Argument("x2"))

    examples = (Example({}, ((3, 4), (4, 5))),)

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        need_floats(self.spec_name, x1, x2)
        for position, x in enumerate((x1, x2)):
            if x.rank < 3:
                raise LayerError(
                    "wrong-rank",
                    f"`matmul` takes three axes or more, with the batch, and {{input{position}}} is {x}",
                    help=self._of_vector(position, x1, x2),
                    inputs=(position,),
                )
        if x1.shape[-1] != x2.shape[-2]:
            raise LayerError(
                "shapes-differ",
                f"`matmul` needs as many columns in {{input0}}, {x1}, as rows in {{input1}}, {x2}",
                help="turn one of them: {op: transpose, axes: [0, 2, 1]}"
                if x1.rank == x2.rank == 3
                else None,
                inputs=(0, 1),
            )
        before = meet(self.spec_name, x1, x2, spare=2)
        return x1.with_shape(*before, x1.shape[-2], x2.shape[-1])

    @staticmethod
    def _of_vector(position: int, x1: Tensor, x2: Tensor) -> str:
        """The remedy where an input is a vector of each example."""
        ways = ("bij,bj->bi", "bij,bi->bj") if position else ("bi,bij->bj", "bj,bij->bi")
        for subscripts in ways if {x1.rank, x2.rank} == {2, 3} else ():
            if Einsum(subscripts=subscripts).fits(x1, x2):
                read = f"from: [{{input0}}, {{input1}}], subscripts: '{subscripts}'"
                return f"a vector and a matrix: {{op: einsum, {read}}}"
        if x1.rank == x2.rank == 2 and x1.shape[1] == x2.shape[1]:
            return f"the two of each example: {{merge: dot, axes: 1}}; {ACROSS_EXAMPLES}"
        return "vectors: {merge: dot, axes: 1}; a learned matrix: {layer: Dense, units: ...}"

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        rank = site.outputs[0].rank
        before = ascii_letters[: rank - 2]
        labels = [before[0] + before[rank - len(each) + 1 :] for each in roles]
        return contracted([labels[0] + "YZ", labels[1] + "ZX"], before + "YX", roles)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * site.x.shape[-1] * 2


class Einsum(Operation, spec_name="einsum"):
    """Einstein summation: `bij,bjk->bik`. The first letter of each input and of the output is the batch."""

    variadic = True

    subscripts: str
    """Which axes are multiplied and summed: ij,jk->ik."""

    examples = (Example({"subscripts": "bij,bjk->bik"}, ((3, 4), (4, 5))),)

    def infer(self, *inputs: Tensor) -> Tensor:
        need_floats(self.spec_name, *inputs)
        labels, output = self.parse(inputs)
        sizes: dict[str, Dim] = {}
        for position, (letters, x) in enumerate(zip(labels, inputs, strict=True)):
            for axis, (letter, size) in enumerate(zip(letters, x.shape, strict=True)):
                known = sizes.setdefault(letter, size)
                met = stretch(known, size) if axis == 0 else known if known == size else None
                if met is None:
                    raise LayerError(
                        "shapes-differ",
                        f"`{letter}` of `{self.subscripts}` is {known}, and {size} in {{input{position}}}",
                        argument="subscripts",
                        inputs=(position,),
                    )
                sizes[letter] = met
        return inputs[0].with_shape(*(sizes[letter] for letter in output))

    def fits(self, *inputs: Tensor) -> bool:
        """Whether it takes these inputs."""
        try:
            self.infer(*inputs)
        except LayerError:
            return False
        return True

    def parse(self, inputs: tuple[Tensor, ...]) -> tuple[list[str], str]:
        """The letters of each input and of the output. Raises `LayerError`."""
        if not re.fullmatch(r"[a-zA-Z]+(,[a-zA-Z]+)*->[a-zA-Z]+", self.subscripts):
            raise self._refuse("is not of the form `bij,bjk->bik`: letters, commas and an arrow")
        left, output = self.subscripts.split("->")
        labels = left.split(",")
        if len(labels) != len(inputs):
            raise self._refuse(f"is for {len(labels)} inputs, and there are {len(inputs)}")
        for position, (letters, x) in enumerate(zip(labels, inputs, strict=True)):
            if len(letters) != x.rank or len(set(letters)) != len(letters):
                what = f"needs a separate letter for each axis of {{input{position}}}, {x}"
                if len(letters) == x.rank - 1 and letters[0] != output[0]:
                    what = f"has no letter for the batch of {{input{position}}}, {x}"
                raise self._refuse(what, self._with_batch(labels, output, inputs))
            if letters[0] != output[0] or output[0] in letters[1:]:
                what = "must begin every input and the output with the same letter, the batch"
                batches = {letters[0] for letters in labels}
                across = len(batches) > 1 and batches <= {*output}
                raise self._refuse(what, ACROSS_EXAMPLES if across else None)
        if len(set(output)) != len(output) or not set(output) <= set(left):
            raise self._refuse("has a letter twice in the output, or one that no input has")
        return labels, output

    def _with_batch(self, labels: list[str], output: str, inputs: tuple[Tensor, ...]) -> str | None:
        """The remedy where inputs lack one letter, the batch: that of the others, or a new one for all."""
        lacking = [x.rank - len(letters) for letters, x in zip(labels, inputs, strict=True)]
        if {*lacking} not in ({0, 1}, {1}):
            return None
        batch = output[0]
        if all(lacking):
            batch = next(
                (letter for letter in "b" + ascii_letters if letter not in self.subscripts), output[0]
            )
            output = batch + output
        whole = [batch * count + letters for letters, count in zip(labels, lacking, strict=True)]
        other = Einsum(subscripts=f"{','.join(whole)}->{output}")
        return f"write `{other.subscripts}`" if other.fits(*inputs) else None

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        labels, output = self.parse(site.inputs)
        return contracted(labels, output, [each for each in listed(roles) if each is not None])

    def code(self, site: Site) -> Code:
        return einsum(self.subscripts, site, [f"{{{position}}}" for position in range(len(site.inputs))])

    def _refuse(self, what: str, help: str | None = None) -> LayerError:
        message = f"`{self.subscripts[:80]}` {what}"
        return LayerError("out-of-range", message, help=help, argument="subscripts")

    def flops(self, site: Site) -> Dim:
        labels, output = self.parse(site.inputs)
        sizes: dict[str, Dim] = {}
        for letters, x in zip(labels, site.inputs, strict=True):
            sizes |= dict(zip(letters, x.shape, strict=True))
        return product(size for letter, size in sizes.items() if letter != output[0]) * len(labels)


class Cross(Operation, spec_name="cross"):
    """The cross product of 3-vectors along an axis."""

    template = "torch.linalg.cross({x1}, {x2}, dim={axis})"
    flops_per_output = 3
    arguments = (Argument("x1"), Argument("x2"))

    axis: int = -1

    examples = (Example({"axis": -1}, ((4, 3), (4, 3))),)

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        need_floats(self.spec_name, x1, x2)
        shape = meet(self.spec_name, x1, x2)
        axis = example_axis(self.spec_name, self.axis, len(shape))
        for position, x in enumerate((x1, x2)):
            if x.rank != len(shape) or x.shape[axis] != 3:
                raise LayerError(
                    "shapes-differ",
                    f"`cross` takes vectors of three along axis {axis}, and {{input{position}}} is {x}",
                    argument="axis",
                    inputs=(position,),
                )
        return x1.with_shape(*shape)


class Diagonal(Operation, spec_name="diagonal"):
    """The diagonal of matrices along two axes, as the last axis; `offset` shifts it to the right."""

    offset: int = 0
    """Which diagonal: 0 is the main one, 1 the one above."""
    axis1: int
    axis2: int

    examples = (Example({"axis1": 1, "axis2": 2}, ((3, 4),)),)
    template = "{x}.diagonal({offset}, {axis1}, {axis2})"

    def diagonal_sizes(self, x: Tensor) -> tuple[tuple[Dim, ...], int]:
        """The sizes of the other axes, and the length of the diagonal."""
        axes = [example_axis(self.spec_name, getattr(self, a), x.rank, a) for a in ("axis1", "axis2")]
        rows, columns = (x.shape[axis] for axis in axes)
        if axes[0] == axes[1]:
            message = f"`{self.spec_name}` needs two axes, and both are {axes[0]}"
            raise LayerError("out-of-range", message, argument="axis2")
        if not isinstance(rows, int) or not isinstance(columns, int):
            message = f"`{self.spec_name}` needs to know the sizes of axes {axes[0]} and {axes[1]} of {x}"
            raise LayerError("unknown-size", message, inputs=(0,))
        length = min(rows + min(self.offset, 0), columns - max(self.offset, 0))
        if length < 1:
            message = f"a matrix of {rows} and {columns} has no diagonal at `offset` {self.offset}"
            raise LayerError("out-of-range", message, argument="offset")
        return tuple(size for axis, size in enumerate(x.shape) if axis not in axes), length

    def infer(self, x: Tensor) -> Tensor:
        kept, length = self.diagonal_sizes(x)
        return x.with_shape(*kept, length)


class Trace(Diagonal, spec_name="trace"):
    """The trace of matrices along two axes: the sum of the diagonal."""

    template = "{x}.diagonal({offset}, {axis1}, {axis2}).sum(-1)"

    def infer(self, x: Tensor) -> Tensor:
        if not x.is_float:
            need_numbers(self.spec_name, x)
        kept, _ = self.diagonal_sizes(x)
        return x.with_shape(*kept) if x.is_float else Tensor(kept, "int64")


class _Triangle(Operation, abstract=True):
    """Matrices along the last two axes, with zeros on one side of a diagonal."""

    optional = ("k",)

    k: int = 0

    def infer(self, x: Tensor) -> Tensor:
        need_matrices(self.spec_name, x)
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        rows, columns = roles[0][-2:]
        if rows is None and columns is None:
            return frame(roles[0])
        if {rows, columns} == {"new"}:
            return None
        return Streaming("place", (roles[0],), step=StepTriangle(of=self, columns=columns == "new"))


class StepTriangle(Operation, abstract=True, spec_name="triangle"):
    """Rows of a triangle, or its columns, of new steps."""

    arguments = (Argument("x"), PLACES)

    of: _Triangle
    columns: bool

    def infer(self, x: Tensor, places: Tensor) -> Tensor:
        return x

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"k": self.of.k}
        shift = "" if self.of.k == 0 else ", {k}"
        shift += ", upper=True" if self.of.spec_name == "triu" else ""
        shift += ", columns=True" if self.columns else ""
        return Code(f"step_triangle({{x}}, {{places}}{shift})", constants=constants if self.of.k else {})


table(
    __name__,
    _Triangle,
    row("tril", "Matrices along the last two axes, with zeros above diagonal `k`.", "{x}.tril(diagonal={k})"),
    row("triu", "Matrices along the last two axes, with zeros below diagonal `k`.", "{x}.triu(diagonal={k})"),
)


def need_matrices(name: str, x: Tensor, square: bool = False, position: int = 0) -> None:
    """Refuses a tensor without matrices in each example, or without square ones if `square`."""
    if x.rank < 3:
        message = f"`{name}` takes matrices, `[batch, ..., rows, columns]`, and gets {x}"
        raise LayerError("wrong-rank", message, inputs=(position,))
    if square and x.shape[-1] != x.shape[-2]:
        message = f"`{name}` takes square matrices, and gets {x}"
        raise LayerError("shapes-differ", message, inputs=(position,))


class MatrixFunction(Operation, abstract=True):
    """A function of matrices along the last two axes."""

    halves = False
    square: ClassVar[bool] = True  # refuses others
    work: ClassVar[int] = 2  # FLOPs for each element and column

    def infer(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        need_floats(self.spec_name, x)
        need_matrices(self.spec_name, x, square=self.square)
        return x

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * site.x.shape[-1] * self.work


class Inv(MatrixFunction, spec_name="inv"):
    """The inverse of square matrices along the last two axes."""

    template = "torch.linalg.inv({x})"
    examples = (Example({}, ((3, 3),)),)


class Det(MatrixFunction, spec_name="det"):
    """The determinant of square matrices along the last two axes."""

    template = "torch.linalg.det({x})"
    examples = (Example({}, ((3, 3),)),)

    def infer(self, x: Tensor) -> Tensor:
        super().infer(x)
        return x.with_shape(*x.shape[:-2])


class Solve(Operation, spec_name="solve"):
    """The solution `x` of `a @ x = b`, for square matrices `a` and matrices `b` along the last two axes."""

    template = "torch.linalg.solve({a}, {b})"
    halves = False

    arguments = (Argument("a"), Argument("b"))
    examples = (Example({}, ((3, 3), (3, 2))),)

    def infer(self, a: Tensor, b: Tensor) -> Tensor:
        need_floats(self.spec_name, a, b)
        need_matrices(self.spec_name, a, square=True)
        need_matrices(self.spec_name, b, position=1)
        if a.rank != b.rank or a.shape[-1] != b.shape[-2]:
            message = f"`solve` needs as many rows in {{input1}}, {b}, as in {{input0}}, {a}"
            raise LayerError("shapes-differ", message, inputs=(0, 1))
        before = meet(self.spec_name, a, b, spare=2)
        return b.with_shape(*before, *b.shape[-2:])

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * site.x.shape[-1] * 2
