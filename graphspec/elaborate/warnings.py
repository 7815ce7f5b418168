"""Warnings: what is legal but probably not intended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from os.path import normpath
from typing import TYPE_CHECKING

from graphspec.contract.layer import Layer
from graphspec.contract.proposals import ONE_CLASS
from graphspec.diagnostics import Diagnostic, Span
from graphspec.diagnostics.foreign_terms import SCALE_PIXELS
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.sections import Sections
from graphspec.elaborated import OutputSpec
from graphspec.graph import Graph, Op, Value, types
from graphspec.language.schema import Input
from graphspec.objectives.history import Direction, directions
from graphspec.objectives.losses import Binary, Categorical, MeanAbsoluteError, MeanSquaredError, Regression
from graphspec.passes.logits import ending, ends_in, inside
from graphspec.passes.scales import is_linear, keeps_scale, multiplied
from graphspec.passes.unread_masks import unread_masks

if TYPE_CHECKING:
    from graphspec.data.config import DataConfig
    from graphspec.train.config import TrainConfig

LOW_MOMENTUM = 0.3
"""Below this a momentum of moving statistics is PyTorch's, which is 1 minus Keras'."""
MOST = 100
"""Warnings that one check tells."""


def warn(body: BodyElaborator, graph: Graph, outputs: Mapping[str, OutputSpec], sections: Sections) -> None:
    """Adds the warnings of a program without errors; each place once."""
    readers = _readers(graph)
    for op in graph.walk():
        if op.layer is not None and op.present:
            for code, message, help in (*_of_node(op, op.layer), *_of_stack(op, readers)):
                _add(body, code, message, op.span, help)
    for op, dropping, reader in unread_masks(body.graph, graph):
        message, before = f"no layer reads the mask of `{op.name}`", ""
        if reader is not None:
            message = f"`{reader.name}` reads no mask of `{op.name}`"
        if dropping is not None:
            message, before = f"{message}: `{dropping.name}` drops it", f" before `{dropping.name}`"
        kept = f"a mask by name: {{op: not_equal, from: {op.inputs[0].name}, x2: 0}}"
        help = f"read it{before}, give a later layer {kept}; or leave `mask_zero` out"
        if reader is not None:
            help = f"give `{reader.node}` {kept}; or keep it: ops and convolutions drop masks"
        _add(body, "mask-unread", message, op.span, help)
    document = body.declared.document
    for name, value in graph.outputs.items():
        spec = outputs.get(name)
        path = body.declared.output_path(name)
        if spec is not None:
            said = (
                *_of_output(spec, value, graph),
                *_of_target(spec, graph, sections),
                *_of_steps(spec, sections.train),
            )
            for key, code, message, help in said:
                span = document.span((*path, key)) if key else document.key(path)
                _add(body, code, message, span, help)
    for name, declared in body.declared.inputs.items():
        read = graph.inputs.get(name)
        if isinstance(declared, Input) and read is not None and _is_turned(declared, read, graph):
            by_data = declared.data_format == "channels_first"
            shape = ", ".join(map(str, declared.shape))
            first, *space = declared.shape if not by_data else reversed(declared.shape)
            other = "last" if by_data else "first"
            message = f"the image `{name}` is [{shape}], and its channels seem to come {other}"
            sizes = ", ".join(map(str, [first, *reversed(space)] if by_data else [*space, first]))
            order = "data_format: channels_last" if by_data else "data_format: channels_first"
            help = f"write [{sizes}], or `{order}` if the data have that order"
            span = document.span(("inputs", name, "shape"))
            _add(body, "channels-first", message, span, help)
        if read is not None and _holds_pixels(name, sections.data):
            for op in multiplied(read, graph, keeps_scale):
                message = f"`{op.name}` reads the pixels of `{name}` unscaled, from 0 to 255"
                _add(body, "raw-pixels", message, document.key(("inputs", name)), SCALE_PIXELS)
    ways = directions(outputs, sections.data is not None and sections.data.validation is not None)
    for path, code, message, help in (*_of_training(sections.train, ways), *_of_sections(sections, ways)):
        _add(body, code, message, document.span(path), help)


def _add(body: BodyElaborator, code: str, message: str, span: Span | None, help: str) -> None:
    diagnostics = body.context.diagnostics
    known = any(each.code == code and each.span == span for each in diagnostics)
    if not known and len(diagnostics) < MOST:
        diagnostics.add(Diagnostic(code, message, span, severity="warning", help=help))


def _of_node(op: Op, layer: Layer) -> Iterator[tuple[str, str, str]]:
    """The warnings about a layer: code, message, remedy."""
    out = op.inner_outputs[0] if op.inner_outputs else op.output.tensor
    softmax = layer.output_activation() == "softmax"
    if softmax and out.rank > 1 and out.shape[-1] == 1:
        message = f"`{op.name}` is a softmax over one value, which is always 1"
        yield "softmax-of-one", message, "for yes or no use `activation: sigmoid`"
    alone = softmax and layer.linear() is None and len(op.inputs) == 1 and not op.weights()
    if alone and ends_in(op.inputs[0]) == "softmax":
        message = f"`{op.name}` applies a softmax to the output of a softmax"
        yield "softmax-twice", message, "leave one out: together they flatten the probabilities"
    if layer.__dict__.get("data_format") == "channels_first" and op.inputs and op.inputs[0].op is None:
        _, *shape = op.inputs[0].tensor.shape
        if len(shape) == 3 and shape[-1] in (1, 3) and shape[0] not in (1, 2, 3, 4):
            sizes = ", ".join(map(str, shape))
            message = f"`{op.name}` reads channels first, and those of [{sizes}] seem to come last"
            yield "channels-first", message, "leave `data_format` out: images have their channels last"
    momentum = layer.__dict__.get("momentum")
    if momentum is not None and momentum <= LOW_MOMENTUM and layer.affine_axis(out.rank) is not None:
        message = f"`momentum: {momentum:g}` keeps {momentum:.0%} of the moving statistics at each step"
        help = f"PyTorch's {momentum:g} is {1 - momentum:g} here, as in Keras"
        yield "momentum-low", message, help


def _readers(graph: Graph) -> Counter[Value]:
    """How often each value is read, or returned."""
    read = [*graph.outputs.values()]
    for op in graph.walk():
        read += op.inputs
        if op.graph is not None:
            read += op.results.values()
    return Counter(read)


def _of_stack(op: Op, readers: Mapping[Value, int]) -> Iterator[tuple[str, str, str]]:
    """The warnings about a layer with weights and the one before it: code, message, remedy."""
    if not is_linear(op):
        return
    before, alone = op.inputs[0], True
    while (source := _source(before)) is not None and source.layer is not None:
        alone = alone and readers[before] == 1
        if source.present and not (source.layer.training_only or source.layer.rearranges):
            break
        alone = alone and not source.layer.rearranges  # which may make it another product
        before = source.inputs[0]
    if source is None or source.layer is None or not is_linear(source):
        return
    activation = source.layer.output_activation()
    if activation == "softmax":
        message = f"`{op.name}` reads the softmax of `{source.name}`: the numbers of an example sum to 1"
        yield "hidden-softmax", message, "use relu or gelu in hidden layers, and softmax in the last"
    if activation != "linear" or not (_is_dense(op) and _is_dense(source)) or not alone:
        return
    values = source.output, source.inputs[0], op.output
    sizes = [size for value in values if isinstance(size := value.tensor.shape[-1], int)]
    trains = all(each.unit is None or each.unit.trainable for each in (op, source))
    if trains and len(sizes) == len(values) and sizes[0] >= min(sizes[1:]):
        message = f"`{source.name}` has no activation, so it and `{op.name}` are one linear layer together"
        yield "linear-stack", message, f"give `{source.name}` one: `activation: relu`"


def _source(value: Value) -> Op | None:
    """The op that makes a value, through blocks and models."""
    *_, last = inside(value)
    return last.op


def _is_dense(op: Op) -> bool:
    weights = op.weights()
    return op.wrapper is None and bool(weights) and len(weights[0].shape) == 2


def _holds_pixels(name: str, data: DataConfig | None) -> bool:
    """Whether a feature fills an input with pixels, from 0 to 255."""
    feature = data.features.get(name) if data is not None else None
    return feature is not None and feature.encode == "image"


def _takes_images(graph: Graph) -> bool:
    """Whether an input has rows and columns. Where these are as many, it may be pairs of the same things: an
    image has a number as size then, and the channels of one.
    """
    shapes = [value.tensor.shape for value in graph.inputs.values() if value is not None]
    return any(
        len(shape) > 3 and (shape[1] != shape[2] or (isinstance(shape[1], int) and shape[-1] in (1, 3, 4)))
        for shape in shapes
    )


def _of_output(spec: OutputSpec, value: Value, graph: Graph) -> Iterator[tuple[str, str, str, str]]:
    """The warnings about an output: key, code, message, remedy."""
    *_, last = inside(value)
    op = last.op
    layer = op.layer if op is not None and op.present else None
    if layer is not None and layer.random and layer.training_only:
        message = f"the output `{spec.name}` is a `{layer.spec_name}`, which acts only in training"
        yield "", "dropout-last", message, "put it before the last layer with weights"
    if isinstance(spec.loss, Regression) and ending(value) == "softmax":
        message = f"`{spec.loss.name}` compares the probabilities of a softmax as if they were any numbers"
        help = "use categorical_crossentropy, or sparse_categorical_crossentropy; without classes, no softmax"
        yield "loss", "softmax-misfit", message, help
    on_values = isinstance(spec.loss, MeanSquaredError | MeanAbsoluteError) or (
        isinstance(spec.loss, Regression) and spec.loss.canonical in ("huber", "log_cosh")
    )
    guesses = isinstance(spec.loss, Regression) and on_values and ending(value) not in ("softmax", "sigmoid")
    for metric in spec.metrics:
        if guesses and metric.canonical in ("accuracy", "binary_accuracy") and spec.loss is not None:
            message = f"`{metric.name}` measures classes, but `{spec.loss.name}` is a loss on values"
            yield "metrics", "accuracy-misfit", message, "use mean_absolute_error, or r2_score"
    rows = op.inputs[0].tensor if op is not None and layer is not None and op.inputs else None
    weights = op.weights() if op is not None else ()
    dense = bool(weights) and len(weights[0].shape) == 2 and layer is not None and layer.linear() is not None
    of_places = dense and rows is not None and rows.rank >= 4 and _takes_images(graph)
    if isinstance(spec.loss, Categorical | Binary) and of_places:
        message = f"`{spec.loss.name}` gets {spec.tensors[0]}: a class for each position of an image"
        yield "loss", "flatten-missing", message, ONE_CLASS


def _of_target(spec: OutputSpec, graph: Graph, sections: Sections) -> Iterator[tuple[str, str, str, str]]:
    """The warnings about what an output is compared with: key, code, message, remedy."""
    if spec.loss_weight == 0 and not spec.ranks_candidates:
        message = f"with `loss_weight: 0` the loss of `{spec.name}` trains nothing"
        yield "loss_weight", "weight-zero", message, "leave `loss` out of it, or give a weight above 0"
    if spec.loss is None or not spec.loss.takes_target:
        return
    if sections.data is not None and sections.data.windows is not None:
        return  # inputs read the past of what is to be predicted; what they may not read is an error
    features = sections.data.features if sections.data is not None else {}

    def columns(name: str) -> frozenset[str]:
        feature = features.get(name)
        return frozenset((name,) if feature is None else feature.read(name))

    wanted = columns(spec.target)
    for name, value in graph.inputs.items():
        shared = columns(name) & wanted
        single = value is not None and all(size == 1 for size in value.tensor.shape[1:])
        if shared and value is not None and (single or columns(name) != wanted):
            column = min(shared)
            message = f"`{column}`, the target of `{spec.name}`, is among what the input `{name}` reads"
            help = f"take `{column}` out of the input: the model cannot know it when it predicts"
            yield "target" if spec.target != spec.name else "", "target-is-input", message, help


def _of_steps(spec: OutputSpec, training: TrainConfig | None) -> Iterator[tuple[str, str, str, str]]:
    """The warning about a loss that no update takes: key, code, message, remedy."""
    if training is None or spec.loss is None:
        return
    parts = [step.outputs for part in training.parts for step in part.updates]
    if all(parts) and not any(spec.name in outputs for outputs in parts):
        message = f"no step names `{spec.name}`, so its loss trains nothing"
        yield (
            "loss",
            "loss-unused",
            message,
            f"name it in a step: outputs: [{spec.name}]; or leave `loss` out",
        )


# --- settings

TOO_FAST = 1.0
"""Above this a learning rate is hardly ever meant."""
Found = Iterator[tuple[tuple[str | int, ...], str, str, str]]
"""Warnings about settings: place, code, message, remedy."""


def _of_training(training: TrainConfig | None, ways: Mapping[str, Direction]) -> Found:
    if training is None:
        return
    for where, rate in _rates(training):
        if rate is not None and rate > TOO_FAST:
            message = f"a learning rate of {rate:g} is too high to train with"
            yield ("train", *where), "rate-high", message, "try 0.001, and ten times more or less"
    for callback in training.callbacks:
        path = ("train", "callbacks", callback.name)
        mode, monitor = getattr(callback, "mode", "auto"), getattr(callback, "monitor", "")
        if mode in WAYS and ways.get(monitor, WAYS[mode]) != WAYS[mode]:
            best = "lowest" if ways[monitor] == "down" else "highest"
            message = f"`mode: {mode}` takes the worst `{monitor}` for the best: the {best} is"
            yield (*path, "mode"), "mode-misfit", message, "leave `mode` out: it is known"
        start = getattr(callback, "start_from_epoch", 0)
        waits = getattr(callback, "patience", 0) + start
        if waits >= training.epochs and not getattr(callback, "restore_best_weights", False):
            message = f"`{callback.name}` waits for {waits} epochs, and the training has {training.epochs}"
            written = [key for key in ("patience",) if key in callback.model_fields_set]
            sooner = min(3, (training.epochs - start) // 2)
            remedy = f"wait for fewer epochs: `patience: {sooner}`" if sooner > 0 else "train for more epochs"
            yield (*path, *written), "never-acts", message, remedy


def _rates(training: TrainConfig) -> Iterator[tuple[tuple[str | int, ...], float | None]]:
    """The learning rates of a training, by their places below `train`."""
    for path, part in training.sections():
        if part.optimizer is not None:
            yield (*path, "optimizer", "learning_rate"), part.optimizer.learning_rate
        for key in ("initial_learning_rate", "warmup_target"):
            yield (*path, "schedule", key), getattr(part.schedule, key, None)
        for index, group in enumerate(getattr(part, "parameter_groups", None) or ()):
            yield (*path, "parameter_groups", index, "learning_rate"), group.learning_rate


WAYS: Mapping[str, Direction] = {"min": "down", "max": "up", "minimize": "down", "maximize": "up"}


def _of_sections(sections: Sections, ways: Mapping[str, Direction]) -> Found:
    tune, data = sections.tune, sections.data
    if tune is not None and tune.direction is not None:
        known = ways.get(tune.objective, WAYS[tune.direction])
        if known != WAYS[tune.direction]:
            message = f"`direction: {tune.direction}` searches for the worst `{tune.objective}`"
            yield ("tune", "direction"), "mode-misfit", message, "leave `direction` out: it is known"
    if data is None:
        return
    files = {key: getattr(data, key) for key in ("train", "validation", "test")}
    paths = {key: normpath(file.path) for key, file in files.items() if getattr(file, "path", None)}
    for key, others in (("validation", ("train",)), ("test", ("train", "validation"))):
        same = next((other for other in others if key in paths and paths.get(other) == paths[key]), None)
        if same is not None:
            message = f"`{key}` is the same file as `{same}`: it says nothing about new examples"
            help = "give another file, or a part of it: {validation: {split: 0.1}}"
            yield ("data", key), "same-data", message, help


def _is_turned(declared: Input, value: Value, graph: Graph) -> bool:
    """Whether the channels of an image seem to come where `data_format` says that they do not."""
    if len(declared.shape) != 3 or value.tensor.rank != 4:
        return False
    first, _, last = declared.shape if declared.data_format == "channels_last" else declared.shape[::-1]
    return first in (1, 3) and last not in (1, 2, 3, 4) and _is_image(value, graph)


def _is_image(value: Value, graph: Graph) -> bool:
    """Whether a layer that slides over images reads it, through others that take it as it is."""
    for op in graph.ops:
        if value not in op.inputs or not op.present:
            continue
        if op.graph is not None:
            inner = op.passed()
            if any(i is not None and a is value and _is_image(i, op.graph) for i, a in inner):
                return True
        elif op.layer is not None and op.wrapper is None:
            memory = op.layer.memory(*(types(argument) for argument in op.arguments))
            if memory == "first" or (memory == "any" and _is_image(op.output, graph)):
                return True
    return False
