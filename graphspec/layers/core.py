"""Dense, Flatten, Reshape and Rescaling: the layers without a family."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from graphspec.contract.activations import ActivationName, activated
from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.initializers import GlorotUniform, Initializer, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels, need_float
from graphspec.contract.layer import Code, Construct, Example, Layer, LayerError, Linear, Memory, Site, Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.tensor import Dim, Tensor, product


class Dense(Layer, also="Linear LazyLinear FullyConnected"):
    """A fully connected layer over the last axis: `activation(x @ kernel + bias)`."""

    supports_masking = True

    units: Positive
    activation: ActivationName = "linear"
    use_bias: bool = True
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    examples = (
        Example({"units": 5}, ((7,),)),
        Example({"units": 3, "activation": "relu", "use_bias": False}, ((4, 7),)),
        Example({"units": 6, "activation": "softmax"}, ((2, 3, 4),)),
        Example({"units": 6, "activation": "glu"}, ((4,),)),
        Example({"units": 8, "kernel_initializer": "lecun_normal", "bias_initializer": "ones"}, ((9,),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="Dense")
        if x.rank < 2:
            raise LayerError(
                "wrong-rank", f"Dense takes at least one axis beside the batch, and gets {x}", inputs=(0,)
            )
        known_channels(x, layer="Dense")
        need_fillable(self, bias_initializer=1)
        return activated(x.with_shape(*x.shape[:-1], self.units), self.activation)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        features = known_channels(x, layer="Dense")
        kernel = Weight(
            "weight",
            (self.units, features),
            "kernel",
            (1, 0),
            initializer=self.kernel_initializer.statement(),
        )
        bias = Weight("bias", (self.units,), "bias", initializer=self.bias_initializer.vector_statement())
        return (kernel, bias) if self.use_bias else (kernel,)

    def linear(self) -> Linear:
        return Linear(width="units")

    def code(self, site: Site) -> Code:
        features = known_channels(site.x, layer="Dense")
        construct = Construct(
            "nn.Linear",
            {"in_features": features, "out_features": self.units},
            {"bias": (self.use_bias, True)},
        )
        helpers = (
            *self.kernel_initializer.helpers(),
            *(self.bias_initializer.vector_helpers() if self.use_bias else ()),
        )
        return Code("{self}({x})", construct, activation=self.activation, helpers=helpers)

    def flops(self, site: Site) -> Dim:
        outputs = product(site.x.shape[1:-1]) * self.units
        return outputs * (2 * known_channels(site.x, layer="Dense") + self.use_bias)


class Flatten(Layer):
    """One axis out of all axes but the batch, in the spec's order (images: height, width, channels)."""

    rearranges = True
    examples = (Example({}, ((2, 3, 4),)), Example({}, ((5,),)), Example({}, ((),)))

    def infer(self, x: Tensor) -> Tensor:
        return x.with_shape(x.shape[0], product(x.shape[1:]))

    def code(self, site: Site) -> Code:
        if site.x.rank == 2:
            return Code("{x}")
        return Code("{x}.flatten(1)" if site.x.rank > 1 else "{x}.unsqueeze(1)")


class Reshape(Layer, also="Unflatten"):
    """The same elements in another shape, in the spec's order. One size may be -1: whatever is left."""

    rearranges = True
    target_shape: Annotated[tuple[int, ...], BeforeValidator(as_tuple)]

    examples = (
        Example({"target_shape": [3, 4]}, ((12,),)),
        Example({"target_shape": [-1, 2]}, ((4, 3),)),
        Example({"target_shape": [2, 2, 3]}, ((12,),)),
        Example({"target_shape": [-1, 3]}, ((4, 5, 3),)),
        Example({"target_shape": [4, -1]}, ((4, 5, 3),)),
        Example({"target_shape": [4, -1, 3]}, ((4, 5, 2, 3),)),
        Example({"target_shape": [5, 2, 3]}, ((5, 6),)),
        Example({"target_shape": [5, 2, 3, 7]}, ((5, 6, 7),)),
        Example({"target_shape": [3, 10]}, ((5, 6),)),
        Example({"target_shape": [5, 6]}, ((5, 6),)),
        Example({"target_shape": [1, 5, 6]}, ((5, 6),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        sizes: list[Dim] = list(self.target_shape)
        if sizes.count(-1) > 1 or any(isinstance(s, int) and (s == 0 or s < -1) for s in sizes):
            raise LayerError(
                "out-of-range",
                f"`target_shape` holds positive sizes and at most one -1, not {list(self.target_shape)}",
                argument="target_shape",
            )
        total, known = product(x.shape[1:]), product(s for s in sizes if s != -1)
        if -1 in sizes:
            rest = total // known if isinstance(known, int) else 0
            if rest * known != total:
                raise self._misfit(x, total)
            sizes[sizes.index(-1)] = rest
        elif known != total:
            raise self._misfit(x, total)
        return x.with_shape(x.shape[0], *sizes)

    def _misfit(self, x: Tensor, total: Dim) -> LayerError:
        return LayerError(
            "shapes-differ",
            f"{x} has {total} elements an example, which do not fill the shape {list(self.target_shape)}",
            argument="target_shape",
            inputs=(0,),
        )

    def code(self, site: Site) -> Code:
        """Axes in front and behind that stay are left alone where the rest becomes one axis, or was one."""
        before, after = site.x.shape, site.outputs[0].shape
        shorter = min(len(before), len(after))
        front = next((i for i in range(shorter) if before[i] != after[i]), shorter)
        behind = next((i for i in range(shorter - front) if before[-1 - i] != after[-1 - i]), shorter - front)
        old, new = before[front : len(before) - behind], after[front : len(after) - behind]
        if len(new) == 1 and len(old) > 1:
            last = len(before) - behind - 1
            if last == len(before) - 1:
                return Code("{x}.flatten({first})", constants={"first": front})
            return Code("{x}.flatten({first}, {last})", constants={"first": front, "last": last})
        if len(old) == 1 and len(new) > 1 and sum(not isinstance(size, int) for size in new) < 2:
            sizes = tuple(size if isinstance(size, int) else -1 for size in new)
            return Code("{x}.unflatten({first}, {sizes})", constants={"first": front, "sizes": sizes})
        flat = "{x}" if site.x.rank == 2 else "{x}.flatten(1)"
        if len(self.target_shape) < 2:
            return Code(flat)
        return Code(flat + ".unflatten(1, {shape})", constants={"shape": self.target_shape})


class Rescaling(Layer):
    """`x * scale + offset`, in floats."""

    supports_masking = True

    scale: float
    offset: float = 0.0

    examples = (
        Example({"scale": 0.0625}, ((3, 4),)),
        Example({"scale": 2, "offset": -1.0}, ((2, 2, 1),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        return x if x.is_float else x.with_dtype("float32")

    def memory(self, *inputs: Tensor) -> Memory:
        return "any"

    def code(self, site: Site) -> Code:
        text = "{x} * {scale}" + (" + {offset}" if self.offset else "")
        return Code(text, constants={"scale": float(self.scale), "offset": float(self.offset)})

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:]) * (2 if self.offset else 1)
