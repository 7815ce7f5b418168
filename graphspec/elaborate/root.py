"""The program of a file: its params, inputs and sections, its graph, and the passes over it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphspec.declarations import File
from graphspec.diagnostics import did_you_mean
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.context import Context, OutOfBudget
from graphspec.elaborate.features import check_class_weights, check_features, read_features
from graphspec.elaborate.generating import check_generate
from graphspec.elaborate.inputs import (
    Defaults,
    declared_defaults,
    declared_tensor,
    given_tensor,
    is_channels_first,
)
from graphspec.elaborate.looping import LoopElaborator
from graphspec.elaborate.node import elaborate_node
from graphspec.elaborate.objective import check_objective
from graphspec.elaborate.output_specs import Outputs, output_specs
from graphspec.elaborate.outputs import read_outputs
from graphspec.elaborate.scope import Scope
from graphspec.elaborate.sections import Sections, read_sections
from graphspec.elaborate.unused import report_unused
from graphspec.elaborate.values import NOTHING, Resolved
from graphspec.elaborate.warnings import warn
from graphspec.elaborated import Elaborated, OutputSpec, towers
from graphspec.graph import Definition, Graph, Value
from graphspec.language.schema import PLAIN, Spec, is_plain
from graphspec.objectives.history import directions
from graphspec.passes import Findings, run_passes
from graphspec.settings import show
from graphspec.source.overrides import IN_PYTHON
from graphspec.tensor import Limit, Tensor
from graphspec.traced import INDEX, formula


def elaborate(context: Context, file: File, params: dict[str, Any], preset: str | None) -> Elaborated | None:
    """The program of a file; None after errors, which are in `context.diagnostics`."""
    document, declared = file.document, file.body
    graph = Graph(Definition(document.file, None, file.name), declared=dict(declared.params))
    unknown, lost = frozenset(declared.failed_params), declared.lost_params
    scope = Scope(context, document, graph.visible, unknown, lost, bodies=(declared,))
    if context.symbols is not None:
        scope.formulas = {"index": INDEX} | {word: formula("param", word) for word in context.symbols}
    _resolve_params(scope, file, graph, _param_values(context, file, params, preset))
    body = BodyElaborator(scope, file, declared, graph, {}, elaborate_node, (document.file,))
    context.body = body
    channels_first = _declare_inputs(body)
    sections = read_sections(body)
    data = sections.data
    read_features(body, data)
    try:
        body.elaborate()
        bound = read_outputs(body)
    except OutOfBudget:
        return None
    outputs = output_specs(body, bound)
    _need_output(body, bound)
    looping = LoopElaborator(body, sections.loop)
    looping.read(bound)
    if context.symbols is None:  # else it is checked, and elaborated again
        report_unused(context, file)
    findings = None
    if not context.diagnostics.errors:
        graph.outputs = {name: value for name, value in bound.items() if isinstance(value, Value)}
        masked = [name for name in outputs.known if _is_masked(outputs.known[name])]
        findings = run_passes(graph, masked, context.diagnostics)
    inputs, ranges, defaults = _check_beside(body, sections, outputs, findings, channels_first)
    if findings is None or context.diagnostics.errors:
        return None
    graph, words = findings.graph, _mask_names(outputs.known, findings)
    finished = {name: _finished(output, findings, words) for name, output in outputs.known.items()}
    if not _check_towers(body, graph, finished):
        return None
    warn(body, graph, finished, sections)
    if not check_generate(body, graph, sections.generate or {}):
        return None
    loop = looping.loop(graph)
    if sections.loop is not None and loop is None:
        return None
    return Elaborated(
        file.name,
        graph,
        inputs,
        finished,
        sections.train,
        data,
        sections.tune,
        ranges,
        findings.minimum_sizes,
        findings.maximum_sizes,
        {words[name]: mask for name, mask in findings.masks.items()},
        channels_first,
        defaults,
        sections.generate,
        loop,
    )


def _need_output(body: BodyElaborator, bound: Mapping[str, Resolved]) -> None:
    """Reports a spec without an output, or whose outputs are all left out."""
    if all(value is NOTHING for value in bound.values()) and not body.context.diagnostics.errors:
        message, help = "every output is left out", "a model returns at least one"
        if not bound:
            message = "the spec has no output"
            help = f"name the nodes that it returns: outputs: [{body.declared.written[-1]}]"
        body.error("unbound-output", body.declared.document.key(("outputs",)), message, help)


def _check_towers(body: BodyElaborator, graph: Graph, outputs: Mapping[str, OutputSpec]) -> bool:
    """Whether the keys of outputs that read candidates follow from inputs of their own; else that is
    reported.
    """
    fits = True
    for name, output in outputs.items():
        if not output.reads_candidates or len(output.tensors) != 2:
            continue
        of = towers(graph, name)
        both = sorted({*of.query} & {*of.key})
        if of.key and not both:
            continue
        what = f"both depend on the input `{both[0]}`" if both else "the key depends on no input"
        message = f"output `{name}`: the keys of all training rows are compared with a query, but {what}"
        help = "leave its `metrics` and `correct_popularity` out, or give each its own inputs"
        body.error("loss-misfit", body.declared.document.span(body.declared.output_path(name)), message, help)
        fits = False
    return fits


def _param_values(context: Context, file: File, params: dict[str, Any], preset: str | None) -> dict[str, Any]:
    """The values that a preset and the caller give to params."""
    values: dict[str, Any] = {}
    if preset is not None:
        if preset in file.presets:
            values.update(file.presets[preset])
        else:
            names = ", ".join(file.presets) or "none"
            help = did_you_mean(preset, file.presets, f"presets here: {names}")
            context.error("unknown-preset", None, f"the spec has no preset `{preset}`", help)
    for name, value in params.items():
        if name in file.body.params and is_plain(value):
            values[name] = value
        elif name in file.body.params:
            place = file.document.span(("params", name))
            context.error("wrong-type", place, f"the param `{name}` is {PLAIN}, not {show(value)}")
        else:
            names = ", ".join(file.body.params)
            listed = f"params here: {names}" if names else f"it has none; {PATHS}"
            if isinstance(value, dict) and value and name in Spec.model_fields:
                paths = (f"{show(f'{name}.{key}')}: {show(item)}" for key, item in value.items())
                listed = f"settings have dotted paths: {{{', '.join(paths)}}}"
            help = did_you_mean(name, file.body.params, _elsewhere(file, name) or listed)
            path = ("params", name)
            span = file.document.key(path) if path in file.document.grafts else None
            if span is None or span.file == IN_PYTHON:
                help = re.sub(r"`--set ([\w.]+)=([^`]*)`", r'`settings={"\1": \2}`', help)
            context.error("unknown-param", span, f"the spec has no param `{name}` to set", help)
    return values


PATHS = "a setting has a dotted path: `--set train.epochs=3`"


def _elsewhere(file: File, name: str) -> str | None:
    """How a setting that is no param is named: one of the training, or of a node or an output."""
    from graphspec.language.overriding import setting_path

    if name == "data":
        return "`--data FILE` gives other data"
    path = setting_path(name)
    if path is None:
        holders = [
            f"{section}.{key}.{name}"
            for section in ("nodes", "outputs")
            if isinstance(entries := file.document.value.get(section), dict)
            for key, entry in entries.items()
            if isinstance(entry, dict) and name in entry
        ]
        path = next(iter(holders), None)
    return f"write `--set {path}=...`" if path is not None else None


def _resolve_params(scope: Scope, file: File, graph: Graph, values: dict[str, Any]) -> None:
    declared = file.body.params
    graph.params = scope.add_params((), declared, values)
    for name in [name for name in declared if name not in graph.params and name not in scope.unknown]:
        help = f"give it with --set {name}=..., or a value in `params`"
        span = file.document.key(("params", name))
        scope.error("missing-key", span, f"the param `{name}` is required", help)
        scope.unknown |= {name}


def _declare_inputs(body: BodyElaborator) -> frozenset[str]:
    """Gives a program its inputs; the names of those whose channels come first."""
    first = set()
    for name, declared in body.declared.inputs.items():
        if declared is None:
            continue
        tensor = declared_tensor(body, name, declared)
        if isinstance(tensor, Tensor):
            body.inputs[name] = body.graph.inputs[name] = Value(tensor, name)
            if is_channels_first(body, name, declared):
                first.add(name)
        elif tensor is NOTHING:
            body.inputs[name] = tensor
    return frozenset(first)


def _check_beside(
    body: BodyElaborator,
    sections: Sections,
    outputs: Outputs,
    findings: Findings | None,
    channels_first: frozenset[str],
) -> tuple[dict[str, Tensor], dict[str, Limit], Defaults]:
    """Reports what beside the graph does not fit its inputs and outputs: as much as is sure where the graph
    has mistakes, without `findings`. The types of inputs as they are given, the ranges of ids, and the
    defaults.
    """
    graph = body.graph if findings is None else findings.graph
    inputs = {name: value.tensor for name, value in graph.inputs.items() if value is not None}
    inputs |= {name: given_tensor(inputs[name]) for name in channels_first if name in inputs}
    limits = findings.ranges if findings is not None else {}
    ranges = {name: _input_range(limit, name in channels_first) for name, limit in limits.items()}
    defaults = declared_defaults(body, graph.inputs, ranges)
    declared, known, data = body.declared.inputs, outputs.known, sections.data
    if findings is None:  # a target may be filled as an input is that has a mistake
        sure = {name for name in declared if name not in inputs}
        known = {name: each for name, each in known.items() if each.loss and each.target not in sure}
    if data is not None:
        check_features(body, data, inputs, known, ranges, whole=findings is not None)
    check_class_weights(body, known, data.features if data is not None else ())
    _check_training(body, sections, outputs, findings)
    return inputs, ranges, defaults


def _check_training(
    body: BodyElaborator, sections: Sections, outputs: Outputs, findings: Findings | None
) -> None:
    """Reports what in `train` and `tune` does not fit the graph and its outputs, as far as they are known."""
    training, data = sections.train, sections.data
    if training is not None and findings is not None:
        from graphspec.elaborate.groups import check_groups, check_sources

        if data is not None or body.declared.document.value.get("data") is None:
            check_sources(body, training, data)
        check_groups(body, training, findings.graph, outputs.known)
    if outputs.named is None or (data is None and body.declared.document.value.get("data") is not None):
        return
    ways = directions(outputs.named, data is not None and data.validation is not None)
    if training is not None:
        from graphspec.train.config import misfits

        body.scope.problems(misfits(training, ways), ("train",))
    if sections.tune is not None:
        check_objective(body, sections.tune, ways)


def _input_range(limit: Limit, channels_first: bool) -> Limit:
    """The range of an input as it is passed: with channels first, its last axis is another."""
    if isinstance(limit, tuple) and channels_first:
        return min(each for each in limit if each is not None)
    return limit


def _is_masked(output: OutputSpec) -> bool:
    """Whether the loss of an output is computed step by step, with a mask."""
    judged = output.loss is not None or bool(output.metrics)
    return judged and len(output.tensors) == 1 and output.tensors[0].rank > 2


def _mask_names(outputs: dict[str, OutputSpec], findings: Findings) -> dict[str, str]:
    """For the outputs that have a mask, the name of that beside the outputs."""
    words: dict[str, str] = {}
    for name in findings.masks:
        word = f"{name}_mask"
        while word in {*outputs, *words.values()}:
            word += "_"
        words[name] = word
    return words


def _finished(output: OutputSpec, findings: Findings, masks: dict[str, str]) -> OutputSpec:
    """An output with the findings of the passes."""
    activation = findings.activations[output.name] if len(output.tensors) == 1 else None
    return replace(output, activation=activation, mask=masks.get(output.name))
