"""Inputs and masks of attention layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from graphspec.contract.broadcasting import stretch
from graphspec.contract.layer import Argument, Layer, LayerError
from graphspec.contract.streaming import Roles, Streaming, frame, whole
from graphspec.diagnostics.foreign_terms import ARGUMENT_WORDS
from graphspec.tensor import Dim, Tensor

Rate = Annotated[float, Field(ge=0, lt=1)]

WORDS = {
    "heads": "num_heads",
    "n_heads": "num_heads",
    "n_head": "num_heads",
    "is_causal": "use_causal_mask",
    "causal": "use_causal_mask",
    "need_weights": "return_attention_scores",
    "window": "sliding_window",
    "num_kv_heads": "num_key_value_heads",
    **ARGUMENT_WORDS,
}
"""Names of other libraries for arguments of attention."""

TENSORS = (
    Argument("query"),
    Argument("value"),
    Argument("key", required=False),
    Argument("query_mask", required=False),
    Argument("value_mask", required=False),
)


class Attending(Layer, abstract=True):
    """The base of attention layers: `return_attention_scores` gives the scores, too."""

    supports_masking = True

    if TYPE_CHECKING:  # a field of the subclasses, which list all of their fields in Keras' order
        return_attention_scores: bool

    def output_names(self) -> tuple[str, ...]:
        return ("attention_scores",) if self.return_attention_scores else ()

    def option_for(self, output: str) -> str | None:
        return "return_attention_scores" if output == "attention_scores" else None

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return inputs[3] if masks[0] is None else masks[0]


def stream_to_memory(
    masks: Iterable[tuple[Roles | None, int | None]], hides: bool, *outputs: Roles
) -> Streaming | None:
    """How attention to keys that do not go on goes on: each query by itself, with its row of each mask.

    A mask comes with its axis of the queries. `hides` says whether keys are hidden by their places.
    """
    if hides:  # which keys are before a query depends on its place
        return whole("hides steps of what does not go on", "leave out `use_causal_mask` and `sliding_window`")
    pairs = ((role, place == axis) for roles, axis in masks for place, role in enumerate(roles or ()))
    rows = all(role is None or (role == "new" and of_queries) for role, of_queries in pairs)
    return frame(*outputs) if rows else None


def need_attention(
    name: str,
    query: Tensor,
    value: Tensor,
    key: Tensor | None,
    masks: Mapping[str, tuple[Tensor | None, Tensor]],
) -> Dim:
    """Refuses tensors that do not fit together; returns the batch size of the output.

    `masks` maps the name of each mask of steps to the mask and the tensor whose steps it masks. Raises
    `LayerError`.
    """
    named_tensors = {"query": query, "value": value, "key": key}
    tensors = {word: x for word, x in named_tensors.items() if x is not None}
    for position, (word, x) in enumerate(tensors.items()):
        _need_tensor(name, word, x, query, position)
    if key is not None and key.shape[1:-1] != value.shape[1:-1]:
        raise LayerError(
            "shapes-differ",
            f"{name} has a value for each key, but {{input1}}, its value, is {value}, "
            f"and {{input2}}, its key, is {key}",
            inputs=(1, 2),
        )
    batch: Dim | None = query.shape[0]
    for x in tensors.values():
        batch = stretch(batch, x.shape[0]) if batch is not None else None
    if batch is None:
        raise LayerError("shapes-differ", f"{name} takes tensors of one batch", inputs=(0, 1))
    position = len(tensors)
    for word, (mask, masked) in masks.items():
        if mask is None:
            continue
        need_boolean(name, word, mask, position)
        if mask.shape[1:] != masked.shape[1:-1] or stretch(mask.shape[0], batch) is None:
            raise LayerError(
                "shapes-differ",
                f"`{word}` of {name} has a value for each step, {Tensor(masked.shape[:-1], 'bool')}, "
                f"and {{input{position}}} is {mask}",
                inputs=(position,),
            )
        position += 1
    return batch


def _need_tensor(name: str, word: str, x: Tensor, query: Tensor, position: int) -> None:
    """Refuses the input at `position` if its rank, type or features do not fit attention."""
    code, help = "", None
    if x.rank < 3 or x.rank != query.rank:
        code, wanted = "wrong-rank", "`[batch, length, features]`, all with the same number of axes"
    elif not x.is_float or x.dtype != query.dtype:
        code, wanted = "wrong-dtype", "floats of one type"
        help = f"floats of it: {{op: cast, from: {{input{position}}}, dtype: {query.dtype}}}"
        help = "integers become vectors through `Embedding`" if not x.is_float else help
    elif not isinstance(x.shape[-1], int):
        code, wanted = "unknown-size", "a known number of features"
        help = "write a number for this size in `inputs`"
    if code:
        others = f", and {{input0}} is {query}" if position else ""
        raise LayerError(
            code,
            f"{name} takes {wanted}; {{input{position}}}, its {word}, is {x}{others}",
            help=help,
            inputs=(0, position) if position else (0,),
        )


def need_boolean(name: str, word: str, mask: Tensor, position: int) -> None:
    """Refuses a mask, the input at `position`, that is not boolean."""
    if mask.dtype != "bool":
        raise LayerError(
            "wrong-dtype",
            f"`{word}` of {name} is boolean, and {{input{position}}} is {mask}",
            help=f"true where it is not 0: {{op: not_equal, from: {{input{position}}}, x2: 0}}",
            inputs=(position,),
        )


def expanded(word: str, x: Tensor, batch: Dim, other: str) -> str:
    """A template for the tensor `word`. A batch axis of size 1 is broadcast to that of `other`."""
    kept = ", ".join(["-1"] * (x.rank - 1))
    return f"{{{word}}}.expand({{{other}}}.shape[0], {kept})" if x.shape[0] != batch else f"{{{word}}}"
