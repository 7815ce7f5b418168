"""Attention of several heads, each with projections of its own: `MultiHeadAttention` and its grouped kin."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from graphspec.contract.broadcasting import example_axis
from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.initializers import GlorotUniform, Initializer, Zeros
from graphspec.contract.input_checks import need_rank
from graphspec.contract.layer import Example, LayerError
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.layers.attention_heads import Heads
from graphspec.layers.attention_masks import Rate
from graphspec.tensor import Tensor

Axes = Annotated[int | tuple[int, ...], BeforeValidator(as_tuple)]
Sizes = Annotated[Positive | tuple[Positive, ...], BeforeValidator(as_tuple)]

_SELF = ((6, 8), (6, 8))
_CROSS = ((6, 8), (5, 7))
_PADDED = {"query_mask": (6,), "value_mask": (5,)}
_CAUSAL = {"use_causal_mask": True}
_SCORES = {"return_attention_scores": True}
_IMAGES = ((4, 4, 8), (4, 5, 7))
_TALL = ((3, 4, 8), (5, 4, 7))
_GRID = {"query_mask": (4, 4), "value_mask": (4, 5)}
_WIDE = ((6, 40), (5, 40))
_GROUPS = {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}


class MultiHeadAttention(Heads):
    """Attention of `num_heads` heads (Vaswani, 2017): each query gathers the values whose keys fit it.

    Reads query, value and key [batch, length, features]; the key is the value unless given. Masks are
    boolean: of steps [batch, length], or `attention_mask` [batch, query length, value length].
    """

    num_heads: Positive
    key_dim: Positive
    value_dim: Positive | None = None
    dropout: Rate = 0.0
    use_bias: bool = True
    output_shape: Sizes | None = None
    attention_axes: Axes | None = None
    sliding_window: Positive | None = None
    flash_attention: bool | None = None
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None
    use_gate: bool = False
    seed: None = None
    use_causal_mask: bool = False
    return_attention_scores: bool = False

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"num_heads": 2, "key_dim": 3}, _SELF),
        Example({"num_heads": 2, "key_dim": 4}, _SELF, call=_CAUSAL),
        Example({"num_heads": 2, "key_dim": 3, "value_dim": 5, "use_bias": False}, _CROSS),
        Example({"num_heads": 3, "key_dim": 2, "output_shape": 4}, (*_CROSS, (5, 3))),
        Example({"num_heads": 2, "key_dim": 3, "output_shape": [2, 5]}, _CROSS),
        Example({"num_heads": 2, "key_dim": 3, "flash_attention": False}, _CROSS, call=_SCORES),
        Example({"num_heads": 2, "key_dim": 3}, _CROSS, masks=_PADDED),
        Example({"num_heads": 2, "key_dim": 3}, (*_CROSS, (5, 3)), masks={**_PADDED, "key_mask": (5,)}),
        Example({"num_heads": 2, "key_dim": 3}, _CROSS, masks={"attention_mask": (6, 5)}),
        Example({"num_heads": 2, "key_dim": 3}, _CROSS, masks={"attention_mask": (2, 6, 5)}),
        Example({"num_heads": 2, "key_dim": 3}, _CROSS, call=_CAUSAL, masks=_PADDED),
        Example({"num_heads": 2, "key_dim": 3}, _CROSS, call={**_CAUSAL, **_SCORES}, masks=_PADDED),
        Example({"num_heads": 2, "key_dim": 3, "sliding_window": 2}, _CROSS, call=_CAUSAL),
        Example({"num_heads": 2, "key_dim": 3, "use_gate": True, "seed": None}, _CROSS, masks=_PADDED),
        Example({"num_heads": 2, "key_dim": 3, "dropout": 0}, ((4, 3, 8), (4, 5, 8)), call=_SCORES),
        Example({"num_heads": 2, "key_dim": 3, "attention_axes": 2}, _IMAGES),
        Example({"num_heads": 2, "key_dim": 3, "attention_axes": [-3]}, _TALL, call=_CAUSAL),
        Example({"num_heads": 2, "key_dim": 3, "attention_axes": [2]}, _IMAGES, masks=_GRID),
        Example({"num_heads": 2, "key_dim": 3, "attention_axes": 1}, _TALL, call={**_CAUSAL, **_SCORES}),
        Example({"num_heads": 2, "key_dim": 3, "attention_axes": 1, "sliding_window": 2}, _TALL),
        Example({"num_heads": 2, "key_dim": 3}, _IMAGES, masks={"attention_mask": (4, 4, 4, 5)}),
        Example(
            {"num_heads": 2, "key_dim": 3, "attention_axes": [2]}, _IMAGES, masks={"attention_mask": (4, 5)}
        ),
        Example({"num_heads": 4, "key_dim": 3, "kernel_initializer": "orthogonal"}, _SELF),
        Example({"num_heads": 4, "key_dim": 6, "bias_initializer": "he_normal", "use_gate": True}, _WIDE),
        Example({"num_heads": 4, "key_dim": 6, "output_shape": [3, 10], "bias_initializer": "ones"}, _WIDE),
    )

    @property
    def heads(self) -> tuple[int, int]:
        return self.num_heads, self.num_heads

    @property
    def sizes(self) -> tuple[int, int]:
        return self.key_dim, self.value_dim or self.key_dim

    def output_features(self, query: Tensor) -> tuple[int, ...]:
        if not self.output_shape:
            return super().output_features(query)
        return (self.output_shape,) if isinstance(self.output_shape, int) else self.output_shape

    def axes(self, rank: int) -> tuple[int, ...]:
        given = self.attention_axes
        if given is None:
            return tuple(range(1, rank - 1))
        axes = tuple(
            example_axis(self.spec_name, axis, rank, "attention_axes")
            for axis in (given if isinstance(given, tuple) else (given,))
        )
        if not axes or len(set(axes)) < len(axes) or rank - 1 in axes:
            raise LayerError(
                "out-of-range",
                f"`attention_axes` are different ones between the batch and the features: 1 to {rank - 2}",
                argument="attention_axes",
            )
        return axes


class GroupQueryAttention(Heads):
    """Attention of several heads in which groups of `num_query_heads` share `num_key_value_heads`.

    Reads query, value and key [batch, length, features]; the key is the value unless given. Masks are
    boolean: of steps [batch, length], or `attention_mask` [batch, query length, value length].
    """

    head_dim: Positive
    num_query_heads: Positive
    num_key_value_heads: Positive
    dropout: Rate = 0.0
    use_bias: bool = True
    sliding_window: Positive | None = None
    flash_attention: bool | None = None
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None
    use_gate: bool = False
    seed: None = None
    use_causal_mask: bool = False
    return_attention_scores: bool = False

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, _SELF),
        Example({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 1}, _CROSS, call=_CAUSAL),
        Example({**_GROUPS, "use_bias": False, "dropout": 0.0, "seed": None}, (*_CROSS, (5, 3))),
        Example({**_GROUPS, "use_gate": True}, _CROSS, masks=_PADDED),
        Example(_GROUPS, (*_CROSS, (5, 3)), call=_CAUSAL, masks={**_PADDED, "key_mask": (5,)}),
        Example({**_GROUPS, "sliding_window": 3}, _CROSS, masks={"attention_mask": (6, 5)}),
        Example({**_GROUPS, "flash_attention": None}, _CROSS, call={**_CAUSAL, **_SCORES}, masks=_PADDED),
        Example({**_GROUPS, "kernel_initializer": "orthogonal", "bias_initializer": "glorot_normal"}, _WIDE),
    )

    @property
    def heads(self) -> tuple[int, int]:
        return self.num_query_heads, self.num_key_value_heads

    @property
    def sizes(self) -> tuple[int, int]:
        return self.head_dim, self.head_dim

    def infer(self, *inputs: Any) -> Tensor | tuple[Tensor, ...]:
        need_rank(inputs[0], 3, layer=self.spec_name, shape="[length, features]")
        return super().infer(*inputs)
