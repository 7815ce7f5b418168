"""Functions of keras.ops that take matrices and vectors, one or several in each example."""

from __future__ import annotations

import re

from graphspec.layers.base import Argument, Code, Example, LayerError, Site
from graphspec.layers.broadcasting import stretch
from graphspec.layers.operations import Operation, meet
from graphspec.tensor import Dim, Tensor, product


def _need_floats(name: str, *inputs: Tensor) -> None:
    """Refuses all but floats of one type, which is what PyTorch multiplies everywhere."""
    for position, x in enumerate(inputs):
        if not x.is_float or x.dtype != inputs[0].dtype:
            raise LayerError(
                "wrong-dtype",
                f"`{name}` takes floats of one type, and gets " + " and ".join(str(x) for x in inputs),
                help=f"{{op: cast, from: {{input{position}}}, dtype: float32}} gives others",
                inputs=(position,),
            )


class Matmul(Operation, spec_name="matmul"):
    """Products of matrices, the last two axes of each tensor; the axes before meet as in `multiply`."""

    arguments = (Argument("x1"), Argument("x2"))

    examples = (
        Example({}, ((3, 4), (4, 5))),
        Example({}, ((2, 3, 4), (2, 4, 5))),
        Example({}, ((2, 3, 4), (1, 4, 5))),
    )

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        _need_floats(self.spec_name, x1, x2)
        for position, x in enumerate((x1, x2)):
            if x.rank < 3:
                raise LayerError(
                    "wrong-rank",
                    f"`matmul` takes three axes or more, with the batch, and {{input{position}}} is {x}",
                    help="vectors: {merge: dot, axes: 1}; a learned matrix: {layer: Dense, units: ...}",
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

    def code(self, site: Site) -> Code:
        return Code("{x1} @ {x2}")

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * site.inputs[0].shape[-1] * 2


class Einsum(Operation, spec_name="einsum"):
    """Einstein's sum: `bij,bjk->bik`. Every input's first letter is the output's first: the batch."""

    variadic = True

    subscripts: str

    examples = (
        Example({"subscripts": "bij,bjk->bik"}, ((3, 4), (4, 5))),
        Example({"subscripts": "bhqd,bhkd->bhqk"}, ((2, 3, 4), (2, 5, 4))),
        Example({"subscripts": "bij->bj"}, ((3, 4),)),
        Example({"subscripts": "bi,bj,bk->bijk"}, ((2,), (3,), (4,))),
    )

    def infer(self, *inputs: Tensor) -> Tensor:
        _need_floats(self.spec_name, *inputs)
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
                raise self._refuse(f"needs a letter of its own for each axis of {{input{position}}}, {x}")
            if letters[0] != output[0] or output[0] in letters[1:]:
                raise self._refuse("must begin every input and the output with the same letter, the batch")
        if len(set(output)) != len(output) or not set(output) <= set(left):
            raise self._refuse("has a letter twice in the output, or one that no input has")
        return labels, output

    def _refuse(self, what: str) -> LayerError:
        return LayerError("out-of-range", f"`{self.subscripts[:80]}` {what}", argument="subscripts")

    def code(self, site: Site) -> Code:
        return Code("torch.einsum({subscripts}, {*})", constants={"subscripts": self.subscripts})

    def flops(self, site: Site) -> Dim:
        labels, output = self.parse(site.inputs)
        sizes: dict[str, Dim] = {}
        for letters, x in zip(labels, site.inputs, strict=True):
            sizes |= dict(zip(letters, x.shape, strict=True))
        return product(size for letter, size in sizes.items() if letter != output[0]) * len(labels)
