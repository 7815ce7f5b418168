"""Dot-product attention as a function of keras.ops."""

from __future__ import annotations

from typing import Any

from graphspec.contract.broadcasting import stretch
from graphspec.contract.fields import Finite
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.contract.stepping import PLACES
from graphspec.contract.streaming import Streaming, still, whole
from graphspec.layers.attention_masks import expanded, stream_to_memory
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor
from graphspec.traced import float_of


class DotProductAttention(Operation, spec_name="dot_product_attention", also="scaled_dot_product_attention"):
    """`softmax(query @ key * scale) @ value` of tensors `[batch, length, heads, size]`.

    `scale` is 1 / sqrt(size) by default. `bias` is added to the scores, and `mask` says which scores count;
    both broadcast to `[batch, heads, queries, keys]`, and a batch axis of 1 to that of the others. With
    `is_causal`, a query sees only keys up to its own position, with a `bias` or a `mask`, too. Where a `mask`
    hides all keys from a query, it gives zeros, as in PyTorch; with a `bias` of -1e30 the mean of all values.
    """

    arguments = (
        Argument("query"),
        Argument("key"),
        Argument("value"),
        Argument("bias", required=False),
        Argument("mask", required=False, carried=False),
    )

    scale: Finite | None = None
    """Factor of the scores."""
    is_causal: bool = False
    """Whether a position sees only those before it."""

    examples = (Example({}, ((5, 2, 4), (5, 2, 4), (5, 2, 4))),)

    def infer(self, query: Tensor, key: Tensor, value: Tensor, *masks: Tensor | None) -> Tensor:
        inputs = (query, key, value)
        for position, x in enumerate(inputs):
            if x.rank != 4 or not x.is_float or x.dtype != query.dtype:
                raise LayerError(
                    "wrong-rank" if x.rank != 4 else "wrong-dtype",
                    "`dot_product_attention` takes floats of one type, `[batch, length, heads, size]`, "
                    f"and gets {x}",
                    inputs=(position,),
                )
        batch: Dim = query.shape[0]
        for position, x in enumerate(inputs):
            met = stretch(batch, x.shape[0])
            batch = batch if met is None else met
            fits = met is not None and x.shape[2] == query.shape[2]
            fits = fits and x.shape[3] == (query if position < 2 else value).shape[3]
            if not fits or (position == 2 and value.shape[1] != key.shape[1]):
                raise LayerError(
                    "shapes-differ",
                    f"{query}, {key} and {value} do not fit together: all need the "
                    "same heads, query and key the same size, key and value the same length",
                    inputs=(0, position),
                )
        bias, mask = (*masks, None, None)[:2]
        self._check_mask(bias, mask, (batch, query.shape[2], query.shape[1], key.shape[1]))
        return query.with_shape(batch, *query.shape[1:3], value.shape[3])

    def _check_mask(self, bias: Tensor | None, mask: Tensor | None, wanted: tuple[Dim, ...]) -> None:
        if bias is not None and mask is not None:
            raise LayerError(
                "input-count",
                "`dot_product_attention` takes a `bias` or a `mask`, not both",
                help="hide scores in the bias: {op: where, from: [{input4}, {input3}], x2: -1e30}",
                inputs=(3, 4),
            )
        added = bias if mask is None else mask
        if added is None:
            return
        position = 3 if mask is None else 4
        if added.is_float != (mask is None) or (mask is not None and mask.dtype != "bool"):
            message = f"a `bias` holds floats and a `mask` booleans, not {added}"
            raise LayerError("wrong-dtype", message, inputs=(position,))
        sizes = zip(added.shape, wanted, strict=False)
        if added.rank != 4 or any(given_size not in (1, size) for given_size, size in sizes):
            scores = Tensor(wanted, added.dtype)
            message = f"{added} does not broadcast to {scores}: batch, heads, queries, keys"
            raise LayerError("shapes-differ", message, inputs=(position,))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        query, key, value, *masks = roles
        bias, mask = (still(4) if each is None else each for each in masks)
        if not any((*key, *value)):
            return stream_to_memory([(bias, 2), (mask, 2)], self.is_causal, query) if query[1] else None
        if not self.is_causal and bias[3] != "low" and mask[3] != "nought":
            return whole("attends to all steps", "write `is_causal: true`")
        if query[1] != "new" or any(key[2:] + value[2:]):
            return None
        if any(each[2] not in (None, "new") or any(each[:2]) for each in (bias, mask)):
            return None
        axes = {1: 1, 2: 1, 3: 3, 4: 3}
        demands = tuple(place for place, axis in axes.items() if roles[place] and roles[place][axis] == "new")
        grouped = 2 if demands == (1, 2) else None
        return Streaming("keys", (query,), demands, StepDotProduct(of=self), grouped=grouped)

    def code(self, site: Site) -> Code:
        bias, mask = site.inputs[3:]
        batch = site.outputs[0].shape[0]
        named = {word: x for word, x in zip(("query", "key", "value"), site.inputs, strict=False) if x}
        full = next(word for word, x in named.items() if x.shape[0] == batch)
        arguments = [f"{expanded(word, x, batch, full)}.transpose(1, 2)" for word, x in named.items()]
        past = "causal_mask({query}, {key})"
        if bias is not None:
            arguments.append("attn_mask={bias}" + f".where({past}, -torch.inf)" * self.is_causal)
        elif mask is not None:
            arguments.append("attn_mask={mask}" + f" & {past}" * self.is_causal)
        elif self.is_causal:
            arguments.append("is_causal=True")
        constants: dict[str, Leaf] = {}
        if self.scale is not None:
            arguments.append("scale={scale}")
            constants["scale"] = float_of(self.scale)
        attended = f"F.scaled_dot_product_attention({', '.join(arguments)})"
        return Code(f"{attended}.transpose(1, 2)", constants=constants)

    def flops(self, site: Site) -> Dim:
        query, key, value = site.inputs[:3]
        pairs = query.shape[1] * key.shape[1] * query.shape[2]
        flops: Dim = pairs * (query.shape[3] + value.shape[3]) * 2
        return flops


class StepDotProduct(Operation, abstract=True, spec_name="dot_product_attention"):
    """Causal attention of new steps to all so far."""

    arguments = (*DotProductAttention.arguments, PLACES)

    of: DotProductAttention

    def infer(self, query: Tensor, key: Tensor, value: Tensor, *others: Tensor | None) -> Tensor:
        return query.with_shape(*query.shape[:3], value.shape[3])

    def code(self, site: Site) -> Code:
        scale = ", scale={scale}" if self.of.scale is not None else ""
        constants: dict[str, Leaf] = {"scale": float_of(self.of.scale)} if self.of.scale is not None else {}
        words = [
            f", {word}={{{word}}}" for word, x in zip(("bias", "mask"), site.inputs[3:5], strict=True) if x
        ]
        text = f"attended({{query}}, {{key}}, {{value}}, {{places}}{scale}{''.join(words)})"
        return Code(text, constants=constants)

    def flops(self, site: Site) -> Dim:
        return self.of.flops(site)
