"""Random layers and ops with one input, with the type of what they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.blocks.scopes import Scope, Value, written

Node = dict[str, Any]
Made = tuple[Node, Value]


SPATIAL = (
    *("stride", "separable", "transpose", "depthwise", "pool", "less", "group", "global", "keep", "rows"),
    *("up", "permute", "reshape"),
)


def layer(scope: Scope, source: Value, known: Callable[[], str]) -> Made:
    """A node without `from`, and what it makes of a value."""
    kinds = [*3 * [pointwise], *3 * [dense]]
    kinds += {"sequence": 5 * [sequential], "image": 7 * [spatial], "vector": [vectorial]}.get(
        source.kind, []
    )
    return scope.one(*kinds)(scope, source, known)


def dense(scope: Scope, source: Value, known: Callable[[], str]) -> Made:
    width, activation = known(), scope.activation()
    node = {"layer": "Dense", "units": written(width), "activation": activation}
    if scope.chance(0.2):
        node["use_bias"] = written(scope.name("flag"))
    ending = activation if activation in ("softmax", "sigmoid") else None
    return node, replace(source, width=width, ending=ending)


def pointwise(scope: Scope, source: Value, known: Callable[[], str]) -> Made:
    """What keeps a value of any kind as it is."""
    activation = scope.activation()
    node: Node = scope.one(
        {"layer": "Activation", "activation": activation},
        {"layer": "Activation", "activation": activation},
        {"layer": "ReLU"},
        {"layer": "LeakyReLU", "negative_slope": 0.1},
        {"layer": "Dropout", "rate": 0.5},
        {"layer": "BatchNormalization"},
        {"layer": "LayerNormalization"},
        {"layer": "RMSNormalization"},
        {"layer": "UnitNormalization"},
        {"layer": "Rescaling", "scale": f"${scope.name('factor')}"},
        {"op": scope.one("negative", "tanh", "relu")},
        {"op": "multiply", "x2": f"${scope.name('factor')}"},
        {"layer": "Identity"},
    )
    ending = node.get("activation") if node.get("activation") in ("softmax", "sigmoid") else None
    return node, replace(source, ending=ending)


def sequential(scope: Scope, source: Value, known: Callable[[], str]) -> Made:
    width = known()
    to_width, same = replace(source, width=width, ending=None), replace(source, ending=None)
    conv = {"layer": "Conv1D", "filters": written(width), "activation": scope.activation()}
    size = scope.one(1, 3, f"${scope.name('size')}")
    how = scope.one(
        "conv", "conv", "causal", "recurrent", "both", "attention", "pool", "depthwise", "step", "flip"
    )
    if how in ("conv", "causal"):
        node = {**conv, "padding": "same" if how == "conv" else "causal", "kernel_size": size}
        return node, to_width
    if how == "recurrent":
        name = scope.one("GRU", "LSTM", "SimpleRNN")
        return {"layer": name, "units": written(width), "return_sequences": True}, to_width
    if how == "both":
        wraps = {"layer": "GRU", "units": written(f"({width}) // 2"), "return_sequences": True}
        return {"layer": "Bidirectional", "wraps": wraps}, to_width
    if how == "attention":
        node = {"layer": "MultiHeadAttention", "num_heads": scope.one(1, 2), "key_dim": 2}
        return node | {"from": {"query": source.ref, "value": source.ref}}, same
    if how == "depthwise":
        return {"layer": "DepthwiseConv1D", "kernel_size": size, "padding": "same"}, same
    if how == "step":
        last = replace(source, kind="vector", space="", ending=None)
        if scope.chance(0.5):
            return {"op": "take", "indices": 0, "axis": 1}, last
        return {"layer": "GRU", "units": written(width)}, replace(last, width=width)
    if how == "flip":
        return {"op": "flip", "axis": 1}, same
    if scope.chance(0.5):
        return {"layer": "GlobalMaxPooling1D"}, replace(same, kind="vector", space="")
    return {"layer": "MaxPooling1D", "pool_size": 3, "strides": 1, "padding": "same"}, same


def spatial(scope: Scope, source: Value, known: Callable[[], str]) -> Made:
    width = known()
    to_width, same = replace(source, width=width, ending=None), replace(source, ending=None)
    size = scope.one(1, 3, f"${scope.name('size')}")
    conv = {
        "filters": written(width),
        "kernel_size": size,
        "padding": "same",
        "activation": scope.activation(),
    }
    how = scope.one(*5 * ["conv"], *SPATIAL)
    if how == "conv":
        return {"layer": "Conv2D", **conv}, to_width
    if how == "stride":
        return {"layer": "Conv2D", **conv, "strides": 2}, replace(to_width, space=f"{source.space}/2")
    if how == "separable":
        return {"layer": "SeparableConv2D", **conv}, to_width
    if how == "transpose":
        return {"layer": "Conv2DTranspose", **conv}, to_width
    if how == "depthwise":
        return {"layer": "DepthwiseConv2D", "kernel_size": size, "padding": "same"}, same
    if how == "pool":
        name = scope.one("MaxPooling2D", "AveragePooling2D")
        return {"layer": name, "pool_size": 3, "strides": 1, "padding": "same"}, same
    if how == "less":
        return {"layer": "MaxPooling2D", "padding": "same"}, replace(same, space=f"{source.space}/2")
    if how == "group":
        return {"layer": "GroupNormalization", "groups": 2}, same
    if how == "global":
        return {"layer": "GlobalAveragePooling2D"}, replace(same, kind="vector", space="")
    if how == "keep":
        return {"layer": "GlobalAveragePooling2D", "keepdims": True}, replace(same, space="one")
    if how == "up":
        return {"layer": "UpSampling2D"}, replace(same, space=f"{source.space}*2")
    if how == "permute":
        space = f"turned({source.space})"
        return {"layer": "Permute", "dims": [2, 1, 3]}, replace(same, space=space)
    if how == "reshape" and source.is_known:
        node = {"layer": "Reshape", "target_shape": [-1, written(source.width)]}
        return node, replace(same, kind="sequence", space=f"flat({source.space})")
    return {"op": "mean", "axis": 2}, replace(same, kind="sequence", space=f"rows({source.space})")


def vectorial(scope: Scope, source: Value, known: Callable[[], str]) -> Made:
    count = scope.one(2, 3)
    if scope.chance(0.5):
        return {"layer": "RepeatVector", "n": count}, replace(
            source, kind="sequence", space=f"n{count}", ending=None
        )
    width = source.width if source.is_known else scope.fresh()
    node = {"layer": "Reshape", "target_shape": [-1, 2]}
    return node, replace(source, kind="sequence", space=f"halves({width})", width="2", ending=None)
