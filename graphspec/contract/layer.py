"""The layer contract: one class says everything about a layer.

A layer is a frozen, strict pydantic model whose fields are the YAML keys, with Keras' names and defaults.
Beside them stand its
shape rule (`infer`), its weights (`weights`), the PyTorch that it becomes (`code`), its cost (`flops`) and
examples on which the
contract test compares it with Keras. Nothing outside this package names a layer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from graphspec.contract.activations import LINEAR, ActivationFunction
from graphspec.contract.habits import ARGUMENTS
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.registry import REGISTRY, Kind
from graphspec.objectives.settings import Setting
from graphspec.tensor import Dim, Tensor

Memory = Literal["spec", "first", "any"]
"""How a layer wants its input laid out: axes as in the spec, channels moved to axis 1, or either."""


PYTORCH_WORDS = {
    "out_features": "units",
    "hidden_size": "units",
    "out_channels": "filters",
    "stride": "strides",
    "dilation": "dilation_rate",
    "num_embeddings": "input_dim",
    "embedding_dim": "output_dim",
    "p": "rate",
    "eps": "epsilon",
    "bias": "use_bias",
    "kernel": "kernel_size",
    "dim": "axis",
    "shape": "target_shape",
    "act": "activation",
    "affine": "scale",
}
"""What PyTorch and others call arguments that have another name here."""


class LayerError(Exception):
    """A local fact about a layer that cannot be: the elaborator adds file, line, inputs' origins.

    `argument` names the YAML key at fault, `inputs` the positions of the inputs at fault; both may be empty.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        help: str | None = None,
        argument: str | None = None,
        inputs: tuple[int, ...] = (),
    ):
        super().__init__(message)
        self.code, self.message, self.help, self.argument, self.inputs = code, message, help, argument, inputs


@dataclass(frozen=True, slots=True)
class Ref:
    """Trusted Python written by this package, as a value: `F.relu`. Never made from a spec's text."""

    text: str


Leaf = int | float | bool | str | None | Ref | tuple["Leaf", ...]
"""A value that may stand in emitted source."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A tensor argument of a layer's call, by Keras' name. `many` takes a list of tensors; one that is not
    `carried` takes no mask but one that the spec passes.
    """

    name: str
    required: bool = True
    many: bool = False
    carried: bool = True


@dataclass(frozen=True, slots=True)
class Derived:
    """A mask that is computed: `layer` called on `sources`, each an input or a mask that `Layer.mask` was
    given, or a mask derived of them.
    """

    layer: Layer
    sources: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter or buffer of the PyTorch module, and how Keras stores the same numbers.

    `name` is the key in the module's state dict and `shape` its shape there. The Keras variable `keras`
    becomes it by permuting
    its axes by `permute`, then reshaping to `shape`; `gates` reorders equal blocks of the first axis after
    that. Where `row` is given it is only that row of the variable, whose rows are weights in order.
    `initializer` is the statement that fills it, with `{w}` for the weight; "" where the module's own is
    Keras' already.
    """

    name: str
    shape: tuple[int, ...]
    keras: str
    permute: tuple[int, ...] | None = None
    gates: tuple[int, ...] | None = None
    initializer: str = ""
    trainable: bool = True
    row: int | None = None
    particular: bool = False  # `initializer` suits this shape, not that of every module of the type
    unmerged: tuple[int, ...] | None = None  # the shape before the reshape, where axes become one by it

    @property
    def word(self) -> str:
        """What the layer's arguments call it: `recurrent` of `recurrent_initializer`."""
        name = self.keras.rpartition("/")[2]
        return name.removesuffix("_kernel")

    @property
    def size(self) -> int:
        """The number of elements."""
        count = 1
        for axis in self.shape:
            count *= axis
        return count


@dataclass(frozen=True, slots=True)
class Construct:
    """The expression that makes a layer's module: `target(*positional, **keyword)`.

    Both map PyTorch's argument names to values; a keyword's value is `(value, PyTorch's default)` and is
    left out when equal.
    `general` is a helper class that takes the same arguments and stands in for `target` where instances of
    one block differ. `around` is an expression of `{module}` that gives the module, changed. `home` is the
    Python module that has `target`, where that is neither PyTorch nor this package. So many keywords as
    `by_place` says follow the positional arguments in PyTorch's signature.
    """

    target: str
    positional: Mapping[str, Leaf] = field(default_factory=dict)
    keyword: Mapping[str, tuple[Leaf, Leaf]] = field(default_factory=dict)
    general: str | None = None
    around: str = "{module}"
    home: str = ""
    by_place: int = 0


@dataclass(frozen=True, slots=True)
class Code:
    """What a layer becomes in an emitted `forward`.

    `call` is an expression with `{self}` for the module, `{name}` for the call's tensor argument of that
    name (a list renders as
    `[a, b]`), `{*}` for all of a merge's inputs separated by commas, and `{name}` for each of `constants`.
    `{float}` is the type of the module's numbers. `activation` is applied to its result; its axis, where
    it has one, is that of memory. A layer with several outputs has a call that returns a tuple.
    """

    call: str
    construct: Construct | None = None
    constants: Mapping[str, Leaf] = field(default_factory=dict)
    activation: ActivationFunction = LINEAR
    defaults: Mapping[str, Leaf] = field(default_factory=dict)  # keywords of the call, left out where equal
    inplace: bool = False  # the activation may overwrite what it reads: nothing else has it


@dataclass(frozen=True, slots=True)
class Linear:
    """Where a layer that is `activation(kernel * x + bias)` holds the two, by their names in its state dict.

    `axis` is the kernel's axis of output channels. `width` is the field that counts these channels, for
    layers that become one where they read one input; None where the kernel is not free to grow.
    """

    kernel: str = "weight"
    bias: str = "bias"
    axis: int = 0
    width: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """Where a layer is used: the tensors that go in and come out (as in the spec), and whether channels
    lie at axis 1 in memory.

    Where a site is `settled`, code may rest on its sizes; else one code must suit inputs of other sizes, too.
    `exporting` asks for what torch.export takes at sizes that stay free.
    """

    inputs: tuple[
        Any, ...
    ]  # a Tensor for each of the layer's arguments; a tuple of them, or None, where it says so
    outputs: tuple[Tensor, ...]
    first: bool = False
    settled: bool = True
    exporting: bool = False

    @property
    def x(self) -> Tensor:
        """The first input."""
        first = self.inputs[0]
        return first[0] if isinstance(first, tuple) else first

    def axis(self, axis: int, rank: int | None = None) -> int:
        """Where an axis of the spec's tensor lies in memory: -1 is axis 1 in an image kept channels-first.

        Negative axes stay negative where memory is as in the spec, so that emitted code reads as it would
        be written by hand.
        """
        rank = self.x.rank if rank is None else rank
        if not self.first:
            return axis
        positive = axis % rank
        return 0 if positive == 0 else 1 if positive == rank - 1 else positive + 1


@dataclass(frozen=True, slots=True)
class Example:
    """One case for the contract test: a layer's arguments and its inputs' shapes, without the batch axis.

    `call` holds arguments of the call that are no tensors, `masks` further inputs by their arguments' names.
    `dtypes` has the type of each input where they differ; `definite` matrices are symmetric with
    eigenvalues of 1 or more.
    """

    arguments: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "float32"
    dtypes: tuple[str, ...] = ()
    high: int = 2  # integer inputs are drawn below this
    call: Mapping[str, Any] = field(default_factory=dict)
    masks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # boolean arguments' shapes
    definite: bool = False


Moved = Literal["all", "same"] | tuple[int, ...]
"""The elements that an output holds: all of the inputs', in whatever order; those of the first input, each in
its place; or those at these positions of its last axis, and of other axes perhaps not all.
"""


class Layer(Setting):
    """A layer, merge or op. Subclasses add the fields that Keras has and override the methods below.

    A subclass is registered under its class name; `kind` and `spec_name` as class keywords say otherwise:
    `class Average(Merge, kind="merge", spec_name="average", also="mean avg")`. `also` lists what other
    libraries call it: who writes that is told its name here. `abstract=True` registers nothing.
    """

    synonyms: ClassVar[Mapping[str, str]] = PYTORCH_WORDS
    remedies: ClassVar[Mapping[str, str]] = ARGUMENTS
    arguments: ClassVar[tuple[Argument, ...]] = (Argument("x"),)
    variadic: ClassVar[bool] = False  # takes one list of tensors, of any length from `least_inputs`
    least_inputs: ClassVar[int] = 1
    kind: ClassVar[Kind] = "layer"
    spec_name: ClassVar[str] = ""
    rearranges: ClassVar[bool] = False  # its output holds its input's elements, in another shape
    keeps: ClassVar[bool] = False  # its output holds the elements of its inputs, all of them, and no others
    opaque: ClassVar[bool] = False  # its weights and costs are not known before it is made
    rerunnable: ClassVar[bool] = True  # a second run on the same inputs and buffers gives the same
    halves: ClassVar[bool] = True  # it computes on float16 and bfloat16, too
    random: ClassVar[bool] = False  # its training output is drawn, not computed
    training_only: ClassVar[bool] = False  # passes on its input in inference
    supports_masking: ClassVar[bool] = False  # passes on the mask of its first input
    named_sizes: ClassVar[tuple[str, ...]] = ()  # fields whose lists may name sizes of the program's inputs
    first_part: ClassVar[str] = ""  # what its first output is also called, where its outputs are numbered
    call_arguments: ClassVar[tuple[str, ...]] = ()  # fields that belong to a call, not to the weights
    examples: ClassVar[tuple[Example, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        kind: Kind | None = None,
        spec_name: str | None = None,
        also: str = "",
        abstract: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if kind is not None:
            cls.kind = kind
        cls.spec_name = spec_name or cls.__name__
        if not abstract:
            REGISTRY[cls.kind].add(cls.spec_name, cls, also)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(
            **{k: v for k, v in kwargs.items() if k not in ("kind", "spec_name", "also", "abstract")}
        )

    @classmethod
    def reads_nothing(cls, given: Collection[str]) -> bool:
        """Whether it takes no tensor, where these of its arguments are given: then it stands for itself, as a
        constant does.
        """
        return not cls.arguments and not cls.variadic

    def infer(self, *inputs: Any) -> Tensor | tuple[Tensor, ...]:
        """The outputs' types, given a Tensor for each of `arguments` (a tuple for `many`, None where
        absent; all of them, as
        separate arguments, when variadic). Raises `LayerError`."""
        return inputs[0]

    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs after the first, in order."""
        return ()

    def option_for(self, output: str) -> str | None:
        """The argument that gives it an output of this name, if it takes one."""
        return None

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        """The mask of its first output, as Keras' `compute_mask` has it: one of `masks`, a `Derived`, or
        None.

        Both are grouped as the call's arguments are; an input has a `tensor`, a mask is opaque, and None
        where there is none.
        """
        return masks[0] if self.supports_masking else None

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        """Its parameters and buffers, in Keras' order, for inputs that `infer` has accepted."""
        return ()

    def masked(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a variadic layer computes on where its inputs carry masks: each an input, or `Derived`."""
        return inputs

    def regularizer(self, weight: Weight) -> Regularizer | None:
        """What is added to the loss for a weight of it: `kernel_regularizer` for `kernel`, and so on."""
        return getattr(self, f"{weight.word}_regularizer", None)

    def constraint(self, weight: Weight) -> Constraint | None:
        """What a weight of it is brought back to after each step."""
        return getattr(self, f"{weight.word}_constraint", None)

    def memory(self, *inputs: Any) -> Memory:
        """The layout it wants for inputs that `infer` has accepted."""
        return "spec"

    def code(self, site: Site) -> Code:
        """What it becomes in PyTorch."""
        raise TypeError(f"{type(self).__name__} says no code")

    def flops(self, site: Site) -> Dim:
        """Floating-point operations for one example of a forward pass; a multiply-add is two."""
        return 0

    def linear(self) -> Linear | None:
        """Its kernel and bias, where all it does before its `activation` is linear in its input."""
        return None

    def affine_axis(self, rank: int) -> int | None:
        """The axis, from 0, each index of which inference multiplies and shifts by constants of its own,
        where that is all it does to a tensor of this rank.
        """
        return None

    def affine(self, weights: Mapping[str, Any]) -> tuple[Any, Any]:
        """These constants, factor and offset, from the layer's weights by name: arrays of any library."""
        raise TypeError(f"{type(self).__name__} is not affine in inference")

    def pads(self) -> tuple[tuple[int, int], ...] | None:
        """How many zeros it adds before and behind each axis of space, if that is all it does."""
        return None

    def padded(self, pad: Layer, positive: bool) -> Layer | None:
        """This layer with the zeros of another before it, where PyTorch's module adds them itself; `positive`
        tells that nothing around which they stand is below 0.
        """
        return None

    def longest(self, *inputs: Any) -> tuple[tuple[Dim, int], ...]:
        """Sizes of its inputs, each with the largest value that it may have when the module runs."""
        return ()

    def limit_for(self, *inputs: Any) -> int | None:
        """`limit`, where it follows from its inputs: of indices, the size that they count along."""
        return self.limit()

    def limit(self) -> int | None:
        """The exclusive upper bound of the integers it takes, or None."""
        return None

    def numbers_below(self, *inputs: Any) -> Dim | None:
        """The exclusive upper bound of the integers that it makes of nothing: positions, constants."""
        return None

    def moves(self, *inputs: Any) -> tuple[Moved, ...]:
        """For each output, which elements of its inputs it holds; () where it computes others."""
        return ("all",) if self.rearranges or self.keeps else ()

    def output_activation(self) -> str | None:
        """The activation its output ends in, when that can be left off for logits."""
        activation = getattr(self, "activation", None)
        return activation.ending if isinstance(activation, ActivationFunction) else None


class Wrapper(Layer, abstract=True):
    """A layer around a layer, block or model that stands under `wraps`, and may see other types than the
    wrapper does. One that has weights or a module of its own becomes one layer with what it wraps: `around`.
    """

    @property
    def title(self) -> str:
        """What it is called in a summary."""
        return self.spec_name

    def around(self, layer: Layer | None, *inputs: Tensor) -> Layer | None:
        """What it and the wrapped layer are together, on what that is called on; None where it stays apart.

        `layer` is None for a block or model. Raises `LayerError`.
        """
        return None

    def enter(self, *inputs: Any) -> tuple[Tensor, ...]:
        """What the wrapped one is called on."""
        return inputs

    def leave(self, output: Tensor, *inputs: Any) -> Tensor:
        """What one output of the wrapped one becomes outside."""
        return output

    def enter_code(self) -> str:
        """An expression of `{x}`, the wrapper's input: the wrapped one's input."""
        return "{x}"

    def leave_code(self) -> str:
        """An expression of `{y}`, the wrapped one's output, and `{x}`: the wrapper's output."""
        return "{y}"

    def times(self, *inputs: Any) -> Dim:
        """How often the wrapped one runs for one example."""
        return 1


class NestedWrapper(Wrapper, abstract=True):
    """A wrapper around another, as one: what enters goes through `outer`, then through `inner`."""

    supports_masking = True

    outer: Any
    inner: Any

    @property
    def title(self) -> str:
        return str(self.outer.title)

    def enter(self, *inputs: Any) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.inner.enter(*self.outer.enter(*inputs))
        return found

    def leave(self, output: Tensor, *inputs: Any) -> Tensor:
        between = self.inner.leave(output, *self.outer.enter(*inputs))
        found: Tensor = self.outer.leave(between, *inputs)
        return found

    def enter_code(self) -> str:
        return str(self.inner.enter_code().replace("{x}", self.outer.enter_code()))

    def leave_code(self) -> str:
        between = self.inner.leave_code().replace("{x}", self.outer.enter_code())
        return str(self.outer.leave_code().replace("{y}", between))

    def times(self, *inputs: Any) -> Dim:
        each: Dim = self.inner.times(*self.outer.enter(*inputs))
        return each * self.outer.times(*inputs)
