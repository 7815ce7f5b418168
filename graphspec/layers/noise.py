"""Random tensors, as functions of a tensor whose shape they take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphspec.layers.base import Argument, Code, Example, LayerError, Memory, Site
from graphspec.layers.broadcasting import to_float
from graphspec.layers.operations import Finite, Operation
from graphspec.tensor import Dim, Tensor, product


class _Noise(Operation, abstract=True):
    """Fresh random floats in the shape of a tensor, at every call."""

    arguments = (Argument("like"),)
    random = True

    seed: None = None

    def infer(self, like: Tensor) -> Tensor:
        return like.with_dtype(to_float(like.dtype))

    def memory(self, *inputs: Tensor) -> Memory:
        return "any"

    def call(self, function: str, site: Site) -> str:
        """A call of one of PyTorch's `..._like` functions; like integers, floats."""
        return f"torch.{function}({{like}}{'' if site.x.is_float else ', dtype=torch.float32'})"

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:])


class RandomNormal(_Noise, spec_name="random_normal"):
    """Normal noise in the shape of `like`."""

    mean: Finite = 0.0
    stddev: Annotated[Finite, Field(gt=0)] = 1.0

    examples = (Example({}, ((3, 4),)), Example({"mean": 1.0, "stddev": 0.5, "seed": None}, ((8,),)))

    def code(self, site: Site) -> Code:
        text, constants = self.call("randn_like", site), {}
        if (self.mean, self.stddev) != (0.0, 1.0):
            text, constants = f"{text} * {{stddev}} + {{mean}}", {"stddev": self.stddev, "mean": self.mean}
        return Code(text, constants=constants)


class RandomUniform(_Noise, spec_name="random_uniform"):
    """Uniform noise between `minval` and `maxval` in the shape of `like`."""

    minval: Finite = 0.0
    maxval: Finite = 1.0

    examples = (Example({}, ((3, 4),)), Example({"minval": -1.0, "maxval": 2.0, "seed": None}, ((8,),)))

    def infer(self, like: Tensor) -> Tensor:
        if self.minval >= self.maxval:
            raise LayerError("out-of-range", f"`maxval` must be more than {self.minval}", argument="maxval")
        return super().infer(like)

    def code(self, site: Site) -> Code:
        if (self.minval, self.maxval) == (0.0, 1.0):
            return Code(self.call("rand_like", site))
        constants = {"minval": self.minval, "maxval": self.maxval}
        return Code(f"{self.call('empty_like', site)}.uniform_({{minval}}, {{maxval}})", constants=constants)
