"""Functions of keras.random: random tensors with the shape of another tensor, and random choices.

They draw at each call, in training and in inference.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphspec.contract.broadcasting import example_axis, to_float
from graphspec.contract.fields import Finite
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Argument, Code, Example, LayerError, Site
from graphspec.ops.operation import Operation
from graphspec.tensor import Tensor
from graphspec.traced import float_of


class _Noise(Operation, abstract=True):
    """New random floats at each call, with the shape of a tensor."""

    memory_layout = "any"
    flops_per_input = 1
    arguments = (Argument("like"),)
    random = True

    seed: None = None

    def infer(self, like: Tensor) -> Tensor:
        return like.with_dtype(to_float(like.dtype))

    def call(self, function: str, site: Site, more: str = "") -> str:
        """A call of one of PyTorch's `..._like` functions. For integers it gives floats."""
        return f"torch.{function}({{like}}{more}{'' if site.x.is_float else ', dtype=torch.float32'})"

    def full(self, argument: str, site: Site) -> str:
        """A tensor filled with the value of an argument."""
        return self.call("full_like", site, f", {{{argument}}}")


class RandomNormal(_Noise, spec_name="random_normal", also="randn_like randn"):
    """Normal noise with the shape of `like`."""

    mean: Finite = 0.0
    stddev: Annotated[Finite, Field(gt=0)] = 1.0

    def code(self, site: Site) -> Code:
        text, constants = self.call("randn_like", site), {}
        if (self.mean, self.stddev) != (0.0, 1.0):
            text, constants = f"{text} * {{stddev}} + {{mean}}", {"stddev": self.stddev, "mean": self.mean}
        return Code(text, constants=constants)


class RandomUniform(_Noise, spec_name="random_uniform", also="rand_like rand"):
    """Uniform noise between `minval` and `maxval` with the shape of `like`."""

    minval: Finite = 0.0
    maxval: Finite = 1.0

    def infer(self, like: Tensor) -> Tensor:
        if self.minval >= self.maxval:
            raise LayerError("out-of-range", f"`maxval` must be more than {self.minval}", argument="maxval")
        return super().infer(like)

    def code(self, site: Site) -> Code:
        if (self.minval, self.maxval) == (0.0, 1.0):
            return Code(self.call("rand_like", site))
        constants = {"minval": self.minval, "maxval": self.maxval}
        return Code(f"{self.call('empty_like', site)}.uniform_({{minval}}, {{maxval}})", constants=constants)


class RandomTruncatedNormal(_Noise, spec_name="random_truncated_normal"):
    """Normal noise within two standard deviations, with the shape of `like`."""

    mean: Finite = 0.0
    stddev: Annotated[Finite, Field(gt=0)] = 1.0

    def code(self, site: Site) -> Code:
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        constants = {"mean": self.mean, "stddev": self.stddev, "low": low, "high": high}
        empty = self.call("empty_like", site)
        return Code(
            f"nn.init.trunc_normal_({empty}, {{mean}}, {{stddev}}, {{low}}, {{high}})", constants=constants
        )


class RandomRandint(_Noise, spec_name="random_randint"):
    """Uniform integers from `minval` to `maxval` - 1, with the shape of `like`."""

    template = "torch.randint_like({like}, {minval}, {maxval}, dtype=torch.int32)"

    minval: int
    maxval: int

    examples = (Example({"minval": 2, "maxval": 9, "seed": None}, ((3, 4),)),)

    def infer(self, like: Tensor) -> Tensor:
        if self.minval >= self.maxval:
            raise LayerError("out-of-range", f"`maxval` must be more than {self.minval}", argument="maxval")
        return like.with_dtype("int32")


Probability = Annotated[Finite, Field(ge=0, le=1)]


class RandomBinomial(_Noise, spec_name="random_binomial", also="bernoulli"):
    """The number of successes in `counts` trials with `probabilities`, as floats with the shape of `like`."""

    halves = False

    counts: Annotated[int, Field(ge=1)]
    """Number of trials."""
    probabilities: Probability
    """Probability that a trial succeeds."""

    examples = (Example({"counts": 1, "probabilities": 0.3}, ((3, 4),)),)

    def code(self, site: Site) -> Code:
        constants = {"counts": float_of(self.counts), "probabilities": float_of(self.probabilities)}
        chances = self.full("probabilities", site)
        if self.counts == 1:
            return Code(
                f"torch.bernoulli({chances})", constants={"probabilities": float_of(self.probabilities)}
            )
        return Code(f"torch.binomial({self.full('counts', site)}, {chances})", constants=constants)


class RandomGamma(_Noise, spec_name="random_gamma"):
    """Samples of the gamma distribution with shape `alpha` and scale 1, in the shape of `like`."""

    halves = False

    alpha: Annotated[Finite, Field(gt=0)]
    """Shape of the distribution."""

    examples = (Example({"alpha": 2.5, "seed": None}, ((3, 4),)),)

    def code(self, site: Site) -> Code:
        text = f"torch.distributions.Gamma({self.full('alpha', site)}, 1.0).sample()"
        return Code(text, constants={"alpha": float_of(self.alpha)})


class RandomBeta(_Noise, spec_name="random_beta"):
    """Samples of the beta distribution, in the shape of `like`."""

    halves = False

    alpha: Annotated[Finite, Field(gt=0)]
    """First shape of the distribution."""
    beta: Annotated[Finite, Field(gt=0)]
    """Second shape of the distribution."""

    examples = (Example({"alpha": 2.5, "beta": 0.5, "seed": None}, ((3, 4),)),)

    def code(self, site: Site) -> Code:
        text = f"torch.distributions.Beta({self.full('alpha', site)}, {self.full('beta', site)}).sample()"
        return Code(text, constants={"alpha": float_of(self.alpha), "beta": float_of(self.beta)})


class RandomCategorical(Operation, spec_name="random_categorical", also="multinomial"):
    """`num_samples` classes for each row of logits `[batch, classes]`, sampled from their softmax: int64."""

    template = "torch.multinomial({logits}.softmax(-1), {num_samples}, replacement=True)"
    arguments = (Argument("logits"),)
    random = True

    num_samples: Annotated[int, Field(ge=1)]
    """How many are drawn for each row."""
    seed: None = None

    examples = (Example({"num_samples": 50, "seed": None}, ((4,),)),)

    def infer(self, logits: Tensor) -> Tensor:
        need_float(logits, layer="`random_categorical`")
        if logits.rank != 2:
            message = f"`random_categorical` takes logits `[batch, classes]`, and gets {logits}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        return Tensor((logits.shape[0], self.num_samples), "int64")


class RandomShuffle(Operation, spec_name="random_shuffle"):
    """Shuffles the elements along an axis, separately for each index of the axes before it."""

    random = True

    axis: int
    seed: None = None

    examples = (Example({"axis": 1, "seed": None}, ((6, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        example_axis(self.spec_name, self.axis, x.rank)
        return x

    def code(self, site: Site) -> Code:
        axis = self.axis % site.x.rank
        return Code("shuffled({x}, {axis})", constants={"axis": axis})


class RandomDropout(Operation, spec_name="random_dropout"):
    """Sets a share `rate` of the elements to 0 and scales the rest by `1 / (1 - rate)`, in inference, too."""

    template = "F.dropout({inputs}, {rate})"
    memory_layout = "any"
    flops_per_input = 1
    arguments = (Argument("inputs"),)
    random = True

    rate: Probability
    seed: None = None

    examples = (Example({"rate": 0.25, "seed": None}, ((3, 40),)),)

    def infer(self, inputs: Tensor) -> Tensor:
        need_float(inputs, layer="`random_dropout`")
        return inputs
