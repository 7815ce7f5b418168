"""The layer contract: one class says everything about a layer.

A layer is a frozen, strict pydantic model whose fields are the YAML keys, with Keras' names and defaults.
Its methods give its output shapes (`infer`), its weights (`weights`), its PyTorch code (`code`) and its cost
(`flops`). The contract test compares it with Keras on its examples. Nothing outside this package names a
layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from graphspec.contract.activations import LINEAR, ActivationFunction, AlongAxis
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.ranks import with_rank
from graphspec.contract.registry import REGISTRY, Kind
from graphspec.diagnostics.foreign_terms import ARGUMENT_WORDS, ARGUMENTS
from graphspec.settings import Setting
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of

if TYPE_CHECKING:
    from graphspec.contract.learned import Learned
    from graphspec.contract.streaming import Streaming

Memory = Literal["spec", "first", "any"]
"""The memory layout that a layer needs: axes as in the spec, channels moved to axis 1, or either."""
MemoryRule = Memory | Literal["data_format"]
"""The memory layout of all inputs of a layer, or `data_format` where that decides."""


class LayerError(Exception):
    """An error in the use of a layer. The elaborator adds file, line and the origin of the inputs.

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
"""A value that may be in emitted source."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A tensor argument of a layer's call, by Keras' name. `many` takes a list of tensors. A mask argument
    that is not `carried` takes only a mask that the spec passes by name.
    """

    name: str
    required: bool = True
    many: bool = False
    carried: bool = True


@dataclass(frozen=True, slots=True)
class Derived:
    """A computed mask: `layer` called on `sources`, each an input or a mask given to `Layer.mask`, or a mask
    derived from these.
    """

    layer: Layer
    sources: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter or buffer of the PyTorch module, and how Keras stores the same numbers.

    `name` is the key in the module's state dict, and `shape` its shape there. It equals the Keras variable
    `keras` after permuting its axes by `permute`, reshaping to `shape`, and reordering equal blocks of the
    first axis by `gates`. With `row`, it is only that row of the variable, whose rows are weights in order.
    `initializer` is the statement that fills it, with `{w}` for the weight; "" if the module's own
    initializer equals Keras'.
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
        """Its name in the layer's arguments: `recurrent` of `recurrent_initializer`."""
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
class ModuleCall:
    """The expression that makes a layer's module: `target(*positional, **keyword)`.

    Both map PyTorch's argument names to values; a keyword's value is `(value, PyTorch's default)` and is
    left out when equal.
    `general` is a helper class that takes the same arguments and stands in for `target` where instances of
    one block differ. `around` is an expression of `{module}` that gives the module, changed. `home` is the
    Python module that has `target`, where that is neither PyTorch nor this package. So many keywords as
    `by_place` says follow the positional arguments in PyTorch's signature. `common` are keywords that all
    uses of a node take if one needs them; of those in `usual`, each use then takes its own value.
    """

    target: str
    positional: Mapping[str, Leaf] = field(default_factory=dict)
    keyword: Mapping[str, tuple[Leaf, Leaf]] = field(default_factory=dict)
    general: str | None = None
    around: str = "{module}"
    home: str = ""
    by_place: int = 0
    common: Mapping[str, Leaf] = field(default_factory=dict)
    usual: Mapping[str, Leaf] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Code:
    """The code of a layer in an emitted `forward`.

    `call` is an expression with `{self}` for the module, `{name}` for the tensor argument of that name (a
    list renders as `[a, b]`), `{*}` for all inputs of a merge separated by commas, and `{name}` for each of
    `constants`. `{float}` is the dtype of the module's numbers. `activation` is applied to the result; its
    axis, if it has one, is that of memory. The call of a layer with several outputs returns a tuple.
    """

    call: str
    construct: ModuleCall | None = None
    constants: Mapping[str, Leaf] = field(default_factory=dict)
    activation: ActivationFunction = LINEAR
    defaults: Mapping[str, Leaf] = field(default_factory=dict)  # keywords of the call, left out where equal
    inplace: bool = False  # the activation may overwrite what it reads: nothing else has it
    whole: str = ""  # the same as an expression of `{list}`, for any number of inputs


@dataclass(frozen=True, slots=True)
class Linear:
    """The kernel and bias of a layer that computes `activation(kernel * x + bias)`, by their state-dict
    names.

    `axis` is the kernel's axis of output channels. `width` is the field with the number of these channels;
    None if the kernel cannot grow.
    """

    kernel: str = "weight"
    bias: str = "bias"
    axis: int = 0
    width: str | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """The changes to weights of a layer that grew, so that it computes the same: by the beginning of their
    names, `factors` multiply old values, and new values of `zero` start at 0.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    zero: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """One use of a layer: the types of its inputs and outputs (as in the spec), and whether channels are axis
    1 in memory.

    If `settled`, the code may depend on the sizes; otherwise it must also work for inputs of other sizes.
    `exporting` asks for code that torch.export accepts with dynamic sizes.
    """

    inputs: tuple[
        Any, ...
    ]  # a Tensor for each of the layer's arguments; a tuple of them, or None, where it says so
    outputs: tuple[Tensor, ...]
    channels_first: bool = False
    settled: bool = True
    exporting: bool = False

    @property
    def x(self) -> Tensor:
        """The first input."""
        first = self.inputs[0]
        x: Tensor = first[0] if isinstance(first, tuple) else first
        return x

    def axis(self, axis: int, rank: int | None = None) -> int:
        """The axis in memory of an axis of the spec's tensor: -1 is axis 1 of a channels-first image.

        Negative axes stay negative if the layout is that of the spec, so that emitted code reads as if
        written by hand.
        """
        rank = self.x.rank if rank is None else rank
        if not self.channels_first:
            return axis
        positive = axis % rank
        return 0 if positive == 0 else 1 if positive == rank - 1 else positive + 1


@dataclass(frozen=True, slots=True)
class Example:
    """One case for the contract test: a layer's arguments and the shapes of its inputs, without the batch
    axis.

    `call` holds arguments of the call that are not tensors, `masks` mask inputs by their arguments' names.
    `dtypes` has the dtype of each input if they differ; `definite` matrices are symmetric with eigenvalues of
    1 or more.
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
"""The elements that an output holds: all elements of the inputs, in any order; those of the first input, each
at its position; or those at these positions of its last axis, possibly not all along other axes.
"""


_HOLE = re.compile(r"\{(\w+)\}")


Build = Callable[..., Any]
"""Adds a layer, merge or op: `build(kind, title, name, *values, **settings)` gives its value."""
Opened = Callable[[Build, Mapping[str, Any]], Any]
"""Builds a layer of other ones from its values by argument, and gives its value."""


class Layer(Setting):
    """A layer, merge or op. Subclasses add the fields that Keras has and override the methods below.

    A subclass is registered under its class name; the class keywords `kind` and `spec_name` override that:
    `class Average(Merge, kind="merge", spec_name="average", also="mean avg")`. `also` lists its names in
    other libraries, for which diagnostics suggest the name here. `abstract=True` registers nothing.
    """

    synonyms: ClassVar[Mapping[str, str]] = ARGUMENT_WORDS
    remedies: ClassVar[Mapping[str, str]] = ARGUMENTS
    arguments: ClassVar[tuple[Argument, ...]] = (Argument("x"),)
    variadic: ClassVar[bool] = False  # takes one list of tensors, of any length from `least_inputs`
    least_inputs: ClassVar[int] = 1
    kind: ClassVar[Kind] = "layer"
    spec_name: ClassVar[str] = ""
    rearranges: ClassVar[bool] = False  # its output holds its input's elements, in another shape
    keeps: ClassVar[bool] = False  # its output holds the elements of its inputs, all of them, and no others
    divides: ClassVar[bool] = False  # by its last operand, which may not be 0
    opaque: ClassVar[bool] = False  # its weights and costs are not known before it is made
    rerunnable: ClassVar[bool] = True  # a second run on the same inputs and buffers gives the same
    halves: ClassVar[bool] = True  # it computes on float16 and bfloat16, too
    random: ClassVar[bool] = False  # its training output is drawn, not computed
    training_only: ClassVar[bool] = False  # passes on its input in inference
    learns_of_calls: ClassVar[bool] = False  # in training a call changes its buffers, by the batch as a whole
    recurrent: ClassVar[bool] = False  # it computes its steps one after another
    reads_padded: ClassVar[bool] = False  # whether its `stream` knows of steps with those before
    supports_masking: ClassVar[bool] = False  # passes on the mask of its first input
    named_sizes: ClassVar[tuple[str, ...]] = ()  # fields whose lists may name sizes of the program's inputs
    first_part: ClassVar[str] = ""  # what its first output is also called, where its outputs are numbered
    call_arguments: ClassVar[tuple[str, ...]] = ()  # fields that belong to a call, not to the weights
    memory_layout: ClassVar[MemoryRule] = "spec"  # what `memory` says, for all inputs
    extra_outputs: ClassVar[tuple[str, ...]] = ()  # what `output_names` says
    template: ClassVar[str] = ""  # its PyTorch expression, of arguments and fields, if there is a single one
    optional: ClassVar[tuple[str, ...]] = ()  # fields whose keyword in `template` is left out at the default
    rank: ClassVar[int]  # of a class with it in its name, as Conv2D: axes of its windows
    flops_per_input: ClassVar[int] = 0  # what `flops` counts for each element of its first input,
    flops_per_output: ClassVar[int] = 0  # or of its first output
    examples: ClassVar[tuple[Example, ...]] = ()  # one is enough here: tests/layers/examples has further ones
    often_wraps: ClassVar[tuple[str, ...]] = ()  # layers of `wraps`, whose arguments a misplaced key may be

    @classmethod
    def instead(cls, argument: str, value: object) -> str | None:
        """Remedy for a value that an argument refuses; None if the legal values are the best advice."""
        return None

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
        if digit := re.search(r"(\d)D", cls.__name__):
            cls.rank = int(digit[1])
        if hasattr(cls, "rank"):
            with_rank(cls, cls.rank)

    @classmethod
    def reads_nothing(cls, names: Collection[str]) -> bool:
        """Whether it takes no tensor when these of its arguments are given, like a constant."""
        return not cls.arguments and not cls.variadic

    @classmethod
    def positional(cls, count: int) -> tuple[str, ...]:
        """The fields that a formula gives by `count` plain values without names, in their order; none for an
        op that takes tensors.
        """
        return () if cls.arguments or cls.variadic else tuple(cls.model_fields)

    def infer(self, *inputs: Any) -> Tensor | tuple[Tensor, ...]:
        """The types of the outputs, given a Tensor for each of `arguments` (a tuple for `many`, None if
        absent; all of them as separate arguments if variadic). Raises `LayerError`.
        """
        same: Tensor = inputs[0]
        return same

    def counted(self, output: Any, inputs: Sequence[Tensor], counts: Sequence[int]) -> Any:
        """The type of a variadic layer's output with sizes that follow from `counts` of equal inputs.

        `inputs` has one for each.
        """
        return output

    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs after the first, in order."""
        return self.extra_outputs

    def option_for(self, output: str) -> str | None:
        """The argument that gives it an output of this name, if it takes one."""
        return None

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        """The mask of its first output, as Keras' `compute_mask`: one of `masks`, a `Derived`, or None.

        `inputs` and `masks` are grouped like the call's arguments. An input has a `tensor`; a mask is opaque,
        or None.
        """
        return masks[0] if self.supports_masking else None

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        """Its parameters and buffers, in Keras' order, for inputs that `infer` accepts."""
        return ()

    def learned(self, *inputs: Any) -> Learned | None:
        """The statistics that its buffers learn from training data before the first step; None where it has
        none. Until then they are NaN.
        """
        return None

    def masked(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inputs of a variadic layer when they carry masks: each an input, or `Derived`."""
        return inputs

    def owner(self, weight: Weight) -> Layer:
        """The layer whose arguments describe a weight, where it consists of several."""
        return self

    def regularizer(self, weight: Weight) -> Regularizer | None:
        """The regularizer of a weight: `kernel_regularizer` for `kernel`, and so on."""
        owner = self.owner(weight)
        name = f"{weight.word}_regularizer"
        return self.__dict__.get(name) if owner is self else owner.regularizer(weight)

    def constraint(self, weight: Weight) -> Constraint | None:
        """The constraint of a weight, applied after each step."""
        owner = self.owner(weight)
        name = f"{weight.word}_constraint"
        return self.__dict__.get(name) if owner is self else owner.constraint(weight)

    def activities(self) -> dict[str, Regularizer]:
        """Penalties on outputs of modules in its own, by their paths; "" is its own module. What a penalty
        gives for a batch is divided by the size of the batch.
        """
        return {}

    def memory(self, *inputs: Any) -> Memory:
        """The memory layout that it needs for inputs that `infer` accepts. Where `data_format` decides, it is
        "first" for channels that come last.
        """
        if self.memory_layout != "data_format":
            return self.memory_layout
        return "first" if self.layout == "channels_last" else "spec"

    @property
    def layout(self) -> Literal["channels_last", "channels_first"]:
        """Its `data_format`; some of Keras' layers have no such option."""
        return getattr(self, "data_format", "channels_last")

    def code(self, site: Site) -> Code:
        """Its code in PyTorch."""
        if not self.template:
            raise TypeError(f"{type(self).__name__} says no code")
        fields, constants = type(self).model_fields, dict[str, Leaf]()
        for name in (hole for hole in _HOLE.findall(self.template) if hole in fields):
            value = getattr(self, name)
            constants[name] = float_of(value) if fields[name].annotation is float else value
        defaults: dict[str, Leaf] = {name: fields[name].default for name in self.optional}
        return Code(self.template, constants=constants, defaults=defaults)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        """How it goes on along the axis that is streamed, given the roles of its inputs, grouped like its
        arguments, of which at least one has an axis with a role; None if it does not say, and is refused.
        """
        return None

    def opened(self, *arguments: Any) -> Opened | None:
        """How other layers compute it where its values do not go on, with weights of the same keys.

        None if it has no such form.
        """
        return None

    def flops(self, site: Site) -> Dim:
        """Floating-point operations for one example of a forward pass; a multiply-add is two."""
        if self.flops_per_input:
            return product(site.x.shape[1:]) * self.flops_per_input
        return product(site.outputs[0].shape[1:]) * self.flops_per_output if self.flops_per_output else 0

    def linear(self) -> Linear | None:
        """Its kernel and bias, if everything before its `activation` is linear in its input."""
        return None

    def fixed_by_inputs(self, *inputs: Any) -> object:
        """The properties of its module, beside weights, that its inputs fix: calls that share the module
        agree in them.
        """
        return None

    def growth(self, old: Layer) -> Growth:
        """The changes to its weights, beside their channels, to compute the same as `old`, a smaller one."""
        return Growth()

    def affine_axis(self, rank: int) -> int | None:
        """The axis, from 0, along which inference only scales and shifts a tensor of this rank, with
        constants for each index; None if it does something else.
        """
        return None

    def affine(self, weights: Mapping[str, Any]) -> tuple[Any, Any]:
        """These constants, factor and offset, from the layer's weights by name: arrays of any library."""
        raise TypeError(f"{type(self).__name__} is not affine in inference")

    def pads(self) -> tuple[tuple[int, int], ...] | None:
        """The zeros that it adds before and after each spatial axis, if that is all it does."""
        return None

    def padded(self, pad: Layer, positive: bool) -> Layer | None:
        """This layer with the zero padding of the layer before it, if PyTorch's module can add it itself;
        `positive`: no element of the padded input is below 0.
        """
        return None

    def longest(self, *inputs: Any) -> tuple[tuple[Dim, int], ...]:
        """Sizes of its inputs, each with the largest value that it may have when the module runs."""
        return ()

    def shortest(self, *inputs: Any) -> tuple[tuple[Dim, int], ...]:
        """Sizes of its inputs, each with the smallest value that it may have when the module runs, where
        outputs of at least one element do not imply it: padding that mirrors an axis needs a longer one.
        """
        return ()

    def limit_for(self, *inputs: Any) -> int | None:
        """`limit`, where it follows from its inputs: of indices, the size that they count along."""
        return self.limit()

    def limit(self) -> int | None:
        """The exclusive upper bound of the integers it takes, or None."""
        return None

    def indexed(self, *inputs: Any) -> Dim | None:
        """The size that indices among its inputs count along; None if it takes none."""
        return None

    def numbers_below(self, *inputs: Any) -> Dim | None:
        """The exclusive upper bound of the integers that it creates: positions, constants."""
        return None

    def moves(self, *inputs: Any) -> tuple[Moved, ...]:
        """For each output, which elements of its inputs it holds; () if it computes new ones."""
        return ("all",) if self.rearranges or self.keeps else ()

    def counting_back(self, rank: int) -> Layer:
        """The same, with the axis of the activation of its output, of this rank, counted from the end: more
        axes may come before it.
        """
        activation = getattr(self, "activation", None)
        if not isinstance(activation, AlongAxis) or activation.axis < 0:
            return self
        return self.model_copy(update={"activation": activation.with_axis(lambda axis: axis - rank)})

    def output_activation(self) -> str | None:
        """The activation that its output ends in, if it can be left off for logits."""
        activation = self.__dict__.get("activation")
        return activation.ending if isinstance(activation, ActivationFunction) else None
