"""A fixed tensor, the same for every example."""

from __future__ import annotations

import re

from graphspec.contract.arrays import as_array, natural_dtype
from graphspec.contract.buffers import ConstantTensor
from graphspec.contract.layer import LayerError
from graphspec.diagnostics import did_you_mean
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.forms.binding import report
from graphspec.elaborate.instance import NodeInstance, near_help
from graphspec.elaborate.values import FAILED
from graphspec.graph import Op, Value
from graphspec.settings import SettingError, show
from graphspec.tensor import DTYPE_WORDS, DTYPES
from graphspec.traced import plain


def build(node: NodeInstance) -> NodeResult:
    """A constant of the values that the node names, with a batch axis of 1 before them."""
    written, arguments = plain(node.target()), node.arguments()
    if written is FAILED or arguments is None:
        return failed()
    unknown = [key for key in arguments if key != "dtype"]
    for key in unknown:
        help = near_help(key, ["dtype", "when"])
        node.error("unknown-key", node.key(key), f"a constant takes no `{key}`", help)
    if unknown:
        return failed()
    varying = None
    if isinstance(written, dict) and {"from", "to"} & written.keys():
        from graphspec.train.config.varying import read_varying  # few specs have one

        try:
            varying = read_varying({"constant": written}, "constant")
        except SettingError as error:
            node.body.scope.setting_error(error, node.path)
            return failed()
    number = written if varying is None else varying.to
    if not isinstance(number, int | float | list):
        message = f"a constant is a number, a boolean, or nested lists of them, not {show(written)}"
        words = re.split(r"[,\s]+", written.strip("[]() ")) if isinstance(written, str) else []
        are_numbers = len(words) > 1 and all(re.fullmatch(r"[-+]?[\d.]+", word) for word in words)
        numbers = ", ".join(words) if are_numbers else "0.2, 0.7"
        return node.failure("wrong-type", node.span_of("constant"), message, f"write constant: [{numbers}]")
    try:
        values = as_array(number)
    except ValueError as error:
        return node.failure("wrong-type", node.span_of("constant"), str(error))
    dtype = arguments.get("dtype", natural_dtype(values))
    if dtype not in DTYPES:
        help = did_you_mean(str(dtype), DTYPES, f"one of: {', '.join(DTYPES)}", DTYPE_WORDS)
        return node.failure("out-of-range", node.span_of("dtype"), f"unknown dtype {show(dtype)}", help)
    layer = ConstantTensor(values=values, dtype=dtype)
    try:
        tensor = layer.infer()
    except LayerError as error:
        report(node, error)
        return failed()
    op = Op(node.name, node.index, node.span, "constant", layer=layer, title="Constant")
    op.outputs = {"": Value(tensor, node.name, op)}
    op.options, op.varying = {"value": written, **arguments}, varying
    op.expressions = node.expressions(arguments)
    return NodeResult(dict(op.outputs), op)
