"""Warnings: what is legal but probably not intended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphspec.contract.proposals import ONE_CLASS
from graphspec.diagnostics import Diagnostic, Span
from graphspec.elaborate.body import BodyElaborator
from graphspec.graph import Graph, Op, Value, types
from graphspec.objectives.losses import Binary, Categorical, MeanAbsoluteError, MeanSquaredError, Regression
from graphspec.objectives.metrics import Accuracy, BinaryAccuracy
from graphspec.passes.logits import ending, ends_in, inside
from graphspec.program import OutputSpec
from graphspec.schema import Input

LOW_MOMENTUM = 0.3
"""Below this a momentum of moving statistics is PyTorch's, which is 1 minus Keras'."""
MOST = 100
"""Warnings that one check tells."""


def warn(body: BodyElaborator, graph: Graph, outputs: Mapping[str, OutputSpec]) -> None:
    """Adds the warnings of a program without errors; each place once."""
    for op in graph.walk():
        for code, message, help in _of_node(op):
            _add(body, code, message, op.span, help)
    for name, value in graph.outputs.items():
        spec = outputs.get(name)
        path = body.declared.output_path(name)
        if spec is not None:
            for key, code, message, help in _of_output(spec, value):
                span = body.declared.document.span((*path, key)) if key else body.declared.document.key(path)
                _add(body, code, message, span, help)
    for name, declared in body.declared.inputs.items():
        read = graph.inputs.get(name)
        if isinstance(declared, Input) and read is not None and _is_turned(declared, read, graph):
            shape = ", ".join(map(str, declared.shape))
            first, *space = declared.shape
            message = f"the image `{name}` is [{shape}], and its channels seem to come first"
            last = ", ".join(map(str, [*space, first]))
            help = f"write [{last}], or `data_format: channels_first` where the data are so"
            span = body.declared.document.span(("inputs", name, "shape"))
            _add(body, "channels-first", message, span, help)


def _add(body: BodyElaborator, code: str, message: str, span: Span | None, help: str) -> None:
    diagnostics = body.context.diagnostics
    known = any(each.code == code and each.span == span for each in diagnostics)
    if not known and len(diagnostics) < MOST:
        diagnostics.add(Diagnostic(code, message, span, severity="warning", help=help))


def _of_node(op: Op) -> Iterator[tuple[str, str, str]]:
    """The warnings about a layer: code, message, remedy."""
    layer = op.layer
    if layer is None or not op.present:
        return
    out = op.inner_outputs[0] if op.inner_outputs else op.output.tensor
    softmax = layer.output_activation() == "softmax"
    if softmax and out.rank > 1 and out.shape[-1] == 1:
        message = f"`{op.name}` is a softmax over one value, which is always 1"
        yield "softmax-of-one", message, "for yes or no use `activation: sigmoid`"
    alone = layer.linear() is None and len(op.inputs) == 1 and not op.weights()
    if softmax and alone and ends_in(op.inputs[0]) == "softmax":
        message = f"`{op.name}` applies a softmax to the output of a softmax"
        yield "softmax-twice", message, "leave one out: together they flatten the probabilities"
    momentum = getattr(layer, "momentum", None)
    if momentum is not None and momentum <= LOW_MOMENTUM and layer.affine_axis(out.rank) is not None:
        message = f"`momentum: {momentum:g}` keeps {momentum:.0%} of the moving statistics at each step"
        help = f"PyTorch's {momentum:g} is {1 - momentum:g} here, as in Keras"
        yield "momentum-low", message, help


def _of_output(spec: OutputSpec, value: Value) -> Iterator[tuple[str, str, str, str]]:
    """The warnings about an output: key, code, message, remedy."""
    *_, last = inside(value)
    op = last.op
    layer = op.layer if op is not None and op.present else None
    if layer is not None and layer.random and layer.training_only:
        message = f"the output `{spec.name}` is a `{layer.spec_name}`, which acts only in training"
        yield "", "dropout-last", message, "put it before the last layer with weights"
    plain = isinstance(spec.loss, MeanSquaredError | MeanAbsoluteError) or (
        isinstance(spec.loss, Regression) and spec.loss.canonical in ("huber", "log_cosh")
    )
    guesses = isinstance(spec.loss, Regression) and plain and ending(value) not in ("softmax", "sigmoid")
    for metric in spec.metrics:
        if guesses and isinstance(metric, Accuracy | BinaryAccuracy) and spec.loss is not None:
            message = f"`{metric.name}` measures classes, but `{spec.loss.name}` is a loss on values"
            yield "metrics", "accuracy-misfit", message, "use mean_absolute_error, or r2_score"
    rows = op.inputs[0].tensor if op is not None and layer is not None and op.inputs else None
    weights = op.weights() if op is not None else ()
    dense = bool(weights) and len(weights[0].shape) == 2 and layer is not None and layer.linear() is not None
    if isinstance(spec.loss, Categorical | Binary) and dense and rows is not None and rows.rank >= 4:
        message = f"`{spec.loss.name}` gets {spec.tensors[0]}: a class for each position of an image"
        yield "loss", "flatten-missing", message, ONE_CLASS


def _is_turned(declared: Input, value: Value, graph: Graph) -> bool:
    """Whether the channels of a channels-last image seem to come first."""
    if value.tensor.rank != 4 or declared.data_format != "channels_last":
        return False
    _, first, _, last = value.tensor.shape
    return first in (1, 3) and last not in (1, 2, 3, 4) and _is_image(value, graph)


def _is_image(value: Value, graph: Graph) -> bool:
    """Whether a layer that slides over images reads it, through others that take it as it is."""
    for op in graph.ops:
        if value not in op.inputs or not op.present:
            continue
        if op.graph is not None:
            inner = zip(op.graph.inputs.values(), op.arguments, strict=True)
            if any(i is not None and a is value and _is_image(i, op.graph) for i, a in inner):
                return True
        elif op.layer is not None and op.wrapper is None:
            memory = op.layer.memory(*(types(argument) for argument in op.arguments))
            if memory == "first" or (memory == "any" and _is_image(op.output, graph)):
                return True
    return False
