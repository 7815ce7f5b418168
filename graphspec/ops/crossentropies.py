"""Cross-entropies without the mean: terms of a custom loss (`loss: mean`)."""

from __future__ import annotations

from typing import ClassVar

from graphspec.contract.layer import Argument, Code, Example, LayerError, Site
from graphspec.contract.proposals import misfit
from graphspec.ops.matrices import need_floats
from graphspec.ops.operation import Operation, meet
from graphspec.tensor import Dim, Tensor, product


class _Crossentropy(Operation, abstract=True):
    """The cross-entropy of probabilities or logits and their targets, without the mean."""

    arguments = (Argument("target"), Argument("output"))
    probabilities: ClassVar[str]
    logits: ClassVar[str]

    from_logits: bool = False

    def infer(self, target: Tensor, output: Tensor) -> Tensor:
        need_floats(self.spec_name, target, output)
        return output.with_shape(*meet(self.spec_name, target, output))

    def code(self, site: Site) -> Code:
        return Code(self.logits if self.from_logits else self.probabilities)

    def flops(self, site: Site) -> Dim:
        return product(site.inputs[1].shape[1:]) * 4


class BinaryCrossentropyOperation(_Crossentropy, spec_name="binary_crossentropy"):
    """The cross-entropy of each probability or logit and a target of 0 or 1; `loss: mean` makes it a loss."""

    probabilities = "binary_crossentropy({target}, {output})"
    logits = "F.softplus({output}) - {target} * {output}"
    examples = (Example({}, ((3, 4), (3, 4))),)


class CategoricalCrossentropyOperation(_Crossentropy, spec_name="categorical_crossentropy"):
    """The cross-entropy of the last axis (probabilities or logits) and one-hot targets.

    `loss: mean` makes it a loss.
    """

    probabilities = "categorical_crossentropy({target}, {output})"
    logits = "-({target} * {output}.log_softmax(-1)).sum(-1)"
    examples = (Example({"from_logits": True}, ((3, 4), (3, 4))),)

    def infer(self, target: Tensor, output: Tensor) -> Tensor:
        broadcast = super().infer(target, output)
        if broadcast.rank < 2:
            message = f"`{self.spec_name}` takes [batch, ..., classes], and gets {output}"
            raise LayerError("wrong-rank", message, inputs=(1,))
        return broadcast.with_shape(*broadcast.shape[:-1])


class SparseCategoricalCrossentropyOperation(Operation, spec_name="sparse_categorical_crossentropy"):
    """The cross-entropy of the last axis (probabilities or logits) and class numbers.

    `loss: mean` makes it a loss.
    """

    arguments = (Argument("target"), Argument("output"))

    from_logits: bool = False

    examples = (Example({"from_logits": True}, ((3,), (3, 4)), dtypes=("int64", "float32"), high=4),)

    def infer(self, target: Tensor, output: Tensor) -> Tensor:
        if not target.is_integer or not output.is_float or target.shape != output.shape[:-1]:
            raise misfit(self.spec_name, (target, output), 0, 1)
        return output.with_shape(*target.shape)

    def code(self, site: Site) -> Code:
        target = "{target}" if site.inputs[0].dtype == "int64" else "{target}.long()"
        log = "{output}.log_softmax(-1)" if self.from_logits else "log_probabilities({output})"
        text = f"-{log}.gather(-1, {target}.unsqueeze(-1)).squeeze(-1)"
        return Code(text)

    def flops(self, site: Site) -> Dim:
        return product(site.inputs[1].shape[1:]) * 4
