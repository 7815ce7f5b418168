"""The root of a program: its file's params and inputs, its graph, and what its outputs are judged by."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from graphspec.data.config import DataConfig, parse_data
from graphspec.declarations import File
from graphspec.diagnostics import nearest
from graphspec.elaborate.bodies import read_outputs
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.checks import check_use
from graphspec.elaborate.context import FAILED, Context, Nothing, OutOfBudget, Resolved
from graphspec.elaborate.params import resolve_params
from graphspec.elaborate.sizes import declared_tensor, given_tensor, is_channels_first
from graphspec.graph import Definition, Graph, Value
from graphspec.objectives import Loss, Metric, SettingError, parse_loss, parse_metric
from graphspec.objectives.settings import show
from graphspec.passes.activities import watch_activities
from graphspec.passes.logits import ending, ends_in
from graphspec.passes.mask_values import carry_masks
from graphspec.passes.prune import prune
from graphspec.program import Elaborated, OutputSpec
from graphspec.schema import PLAIN, Output, is_plain
from graphspec.source import Path
from graphspec.tensor import BATCH, Tensor, largest, names_of, smallest
from graphspec.train.config import TrainConfig, parse_train


def elaborate(context: Context, file: File, params: dict[str, Any], preset: str | None) -> Elaborated | None:
    """The program of a file. What is wrong with it is in `context.diagnostics`; then there may be none."""
    document = file.document
    given = _given(context, file, params, preset)
    bad = frozenset(file.body.failed_params)
    values, unknown = resolve_params(context, document, (), file.body.params, given, {}, None, unknown=bad)
    for name in [n for n in file.body.params if n not in values and n not in unknown]:
        help = f"give it with --set {name}=..., or a value in `params`"
        context.error("missing-key", document.key(("params", name)), f"the param `{name}` is required", help)
        unknown |= {name}
    graph = Graph(
        Definition(document.file, None, file.name),
        params=values,
        declared=dict(file.body.params),
        visible=values,
    )
    run = BodyElaborator(
        context, file, file.body, graph, values, {}, open_files=(document.file,), unknown=unknown
    )
    first = _declare_inputs(run)
    training, data = _sections(run)
    try:
        run.elaborate()
        bound = read_outputs(run)
    except OutOfBudget:
        return None
    outputs = _judgements(run, bound)
    if all(isinstance(value, Nothing) for value in bound.values()) and not context.diagnostics.errors:
        message = "every output is left out" if bound else "the spec has no output"
        run.error("unbound-output", document.key(("outputs",)), message, "a model returns at least one")
    check_use(context, file)
    if context.diagnostics.errors:
        return None
    for name, value in bound.items():
        if isinstance(value, Value):
            graph.outputs[name] = value
    ranges, minimum, maximum = _ranges(graph), _minimum(graph), _maximum(graph)
    prune(graph)
    if not watch_activities(context.diagnostics, graph):
        return None
    masks = _masks(outputs, graph)
    for name, judgement in outputs.items():  # an activity that is watched is no logits
        if judgement.activation is not None:
            judgement.activation = ends_in(graph.outputs[name])
    inputs = {name: value.tensor for name, value in graph.inputs.items() if value is not None}
    inputs |= {name: given_tensor(inputs[name]) for name in first if name in inputs}
    return Elaborated(
        file.name,
        graph,
        inputs,
        outputs,
        training or TrainConfig(),
        data,
        ranges,
        minimum,
        maximum,
        masks,
        first,
    )


def _declare_inputs(run: BodyElaborator) -> frozenset[str]:
    """Gives a program its inputs; the names of those whose channels come first."""
    first = set()
    for name, declared in run.body.inputs.items():
        if declared is None:
            continue
        tensor = declared_tensor(run, name, declared)
        if isinstance(tensor, Tensor):
            run.inputs[name] = run.graph.inputs[name] = Value(tensor, name)
            if is_channels_first(run, name, declared):
                first.add(name)
        elif isinstance(tensor, Nothing):
            run.inputs[name] = tensor
    return frozenset(first)


def _masks(outputs: dict[str, OutputSpec], graph: Graph) -> dict[str, Value]:
    """The masks of the outputs that are judged step by step, under names of their own; the layers of the
    graph get theirs.
    """
    judged = [name for name, o in outputs.items() if len(o.tensors) == 1 and (o.loss or o.metrics)]
    found: dict[str, Value] = {}
    for name, mask in carry_masks(graph, [n for n in judged if outputs[n].tensors[0].rank > 2]).items():
        word = f"{name}_mask"
        while word in {*outputs, *found}:
            word += "_"
        outputs[name].mask, found[word] = word, mask
    return found


def _given(context: Context, file: File, params: dict[str, Any], preset: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if preset is not None:
        if preset in file.presets:
            given.update(file.presets[preset])
        else:
            near = nearest(preset, file.presets)
            names = ", ".join(file.presets) or "none"
            help = f"did you mean `{near}`?" if near else f"presets here: {names}"
            context.error("unknown-preset", None, f"the spec has no preset `{preset}`", help)
    for name, value in params.items():
        if name in file.body.params and is_plain(value):
            given[name] = value
        elif name in file.body.params:
            context.error("wrong-type", None, f"the param `{name}` is {PLAIN}, not {show(value)}")
        else:
            near = nearest(name, file.body.params)
            help = (
                f"did you mean `{near}`?" if near else f"params here: {', '.join(file.body.params) or 'none'}"
            )
            context.error("unknown-param", None, f"the spec has no param `{name}` to set", help)
    return given


def _sections(run: BodyElaborator) -> tuple[TrainConfig | None, DataConfig | None]:
    parsed: dict[str, Any] = {}
    for section, parse in (("train", parse_train), ("data", parse_data)):
        value = run.evaluate(run.file.sections.get(section), (section,))
        if value is None or value is FAILED:
            continue
        try:
            parsed[section] = parse(value)
        except SettingError as error:
            _problems(run.context, run.file, error, (section,))
    if "tune" in run.file.sections:
        message = "this version does not search: it does not read `tune`"
        help = "try values with --set, and remove it"
        run.error("not-supported", run.body.document.key(("tune",)), message, help)
    return parsed.get("train"), parsed.get("data")


def _problems(context: Context, file: File, error: SettingError, path: Path) -> None:
    for problem in error.problems:
        where = (*path, *problem.path)
        document = file.document
        key = problem.code in ("unknown-key", "missing-key")
        context.error(
            problem.code, document.key(where) if key else document.span(where), problem.message, problem.help
        )


def _judgements(run: BodyElaborator, bound: dict[str, Resolved]) -> dict[str, OutputSpec]:
    outputs: dict[str, OutputSpec] = {}
    parts: dict[str, list[Resolved]] = defaultdict(list)
    for key, value in bound.items():
        parts[key.partition(".")[0]].append(value)
    for name, output in run.body.outputs.items():
        values = parts[name]
        whole = bool(values) and all(isinstance(v, Value) for v in values)
        judgement = _judgement(run, name, output, [v for v in values if whole and isinstance(v, Value)])
        if judgement is not None and whole:
            outputs[name] = judgement
    return outputs


def _judgement(run: BodyElaborator, name: str, output: Output, values: list[Value]) -> OutputSpec | None:
    path: Path = run.body.output_path(name)
    document = run.body.document
    found = {}
    for key in ("loss", "loss_weight", "metrics", "target"):
        found[key] = run.evaluate(getattr(output, key), (*path, key))
        if found[key] is FAILED:
            return None
    activation = ends_in(values[0]) if len(values) == 1 else None
    loss = _objective(run, parse_loss, found["loss"], (*path, "loss"))
    metrics = _metrics(run, found["metrics"], (*path, "metrics"))
    weight = found["loss_weight"]
    numeric = isinstance(weight, int | float) and not isinstance(weight, bool)
    if weight is not None and weight != "learned" and not numeric:
        run.error(
            "wrong-type",
            document.span((*path, "loss_weight")),
            f"`loss_weight` is a number or `learned`, not {show(weight)}",
        )
        return None
    if weight is not None and loss is None and found["loss"] is None:
        run.error(
            "unknown-key",
            document.key((*path, "loss_weight")),
            f"the output `{name}` has a weight and no loss",
            "give it a `loss`",
        )
        return None
    if found["target"] is not None and not isinstance(found["target"], str):
        run.error(
            "wrong-type",
            document.span((*path, "target")),
            f"`target` is a column's name, not {show(found['target'])}",
        )
        return None
    tensors = tuple(value.tensor for value in values)
    if tensors:
        _fit(run, name, tensors[0], ending(values[0]), loss, metrics, found["loss"] is not None)
    return OutputSpec(
        name,
        tensors,
        activation,
        loss,
        weight if weight is not None else 1.0,
        metrics,
        found["target"] or name,
    )


def _fit(
    run: BodyElaborator,
    name: str,
    tensor: Tensor,
    activation: str,
    loss: Any,
    metrics: tuple[Metric, ...],
    judged: bool,
) -> None:
    """Reports a loss, or a metric, that cannot judge an output of this type and activation."""
    path, document = run.body.output_path(name), run.body.document
    problems = []
    if isinstance(loss, Loss):
        problems.append(("loss", loss.misfit(tensor, activation)))
    if isinstance(loss, Loss) or not judged:
        problems += [("metrics", metric.misfit(tensor, activation, loss)) for metric in metrics]
    found = next(((key, misfit) for key, misfit in problems if misfit is not None), None)
    if found is not None:
        key, (message, help) = found
        run.error("loss-misfit", document.span((*path, key)), f"output `{name}`: {message}", help)


def _objective(run: BodyElaborator, parse: Any, value: Any, path: Path) -> Any:
    if value is None:
        return None
    try:
        return parse(value)
    except SettingError as error:
        _problems(run.context, run.file, error, path)
        return None


def _metrics(run: BodyElaborator, value: Any, path: Path) -> tuple[Metric, ...]:
    if value is None:
        return ()
    listed = isinstance(value, list)
    parsed = [
        _objective(run, parse_metric, item, (*path, i) if listed else path)
        for i, item in enumerate(value if listed else [value])
    ]
    return tuple(metric for metric in parsed if metric is not None)


def _ranges(graph: Graph) -> dict[str, int]:
    """For integer inputs, the exclusive upper bound that the layers which read them accept."""
    bounds: dict[Value, int] = {}

    def visit(graph: Graph, origin: dict[Value, Value]) -> None:
        for op in graph.ops:
            if op.graph is not None:
                inner = dict(zip(op.graph.inputs.values(), op.arguments, strict=True))
                visit(op.graph, {i: origin[o] for i, o in inner.items() if i is not None and o in origin})
            elif op.layer is not None and op.present and (limit := op.layer.limit()) is not None:
                for value in op.inputs:
                    if value in origin:
                        bounds[origin[value]] = min(limit, bounds.get(origin[value], limit))
            elif not op.present and op.inputs[0] in origin:
                origin[op.output] = origin[op.inputs[0]]

    inputs = {value: value for value in graph.inputs.values() if value is not None}
    visit(graph, dict(inputs))
    return {name: bounds[v] for name, v in graph.inputs.items() if v is not None and v in bounds}


def _minimum(graph: Graph) -> dict[str, int]:
    """The smallest legal value of each named size: every tensor of the graph must have at least one element
    on each axis.
    """
    sizes = {size for op in graph.walk() for value in op.outputs.values() for size in value.tensor.shape}
    return {name: smallest(sizes, name) for name in _sizes(graph)}


def _maximum(graph: Graph) -> dict[str, int]:
    """The largest value of each named size that has one, as the layers of the graph say."""
    ops = [op for op in graph.walk() if op.present and op.layer is not None]
    bounds = {bound for op in ops if op.layer is not None for bound in op.layer.longest(*op.site().inputs)}
    found = {name: largest(bounds, name) for name in _sizes(graph)} if bounds else {}
    return {name: most for name, most in found.items() if most is not None}


def _sizes(graph: Graph) -> list[str]:
    """The names of the sizes of a program's inputs, but for the batch."""
    inputs = [value for value in graph.inputs.values() if value is not None]
    return sorted({n for value in inputs for size in value.tensor.shape for n in names_of(size)} - {BATCH})
