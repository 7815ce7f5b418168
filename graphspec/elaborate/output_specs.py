"""The losses and metrics of the outputs of a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics import become, moved
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.values import FAILED, Resolved
from graphspec.elaborated import OutputSpec
from graphspec.graph import Value
from graphspec.language.row_settings import RowSettings, parse_row_settings
from graphspec.objectives import LOSSES, Loss, Metric, SettingError, parse_loss, parse_metric
from graphspec.objectives.history import loss_names, metric_names
from graphspec.objectives.loss import Misfit
from graphspec.objectives.losses import VectorLoss
from graphspec.passes.logits import ending
from graphspec.settings import show
from graphspec.source import Path

if TYPE_CHECKING:
    from graphspec.train.config.varying import Varying


@dataclass(frozen=True, slots=True)
class Outputs:
    """The losses and metrics of the outputs of a file that exist. `known` are those without a mistake whose
    values are known, too; `named` are all, None where one has a mistake.
    """

    known: dict[str, OutputSpec]
    named: dict[str, OutputSpec] | None


def output_specs(body: BodyElaborator, bound: dict[str, Resolved]) -> Outputs:
    """Reads the losses and metrics of all outputs, and reports their mistakes."""
    known: dict[str, OutputSpec] = {}
    named: dict[str, OutputSpec] = {}
    parts: dict[str, list[Resolved]] = defaultdict(list)
    for key, value in bound.items():
        parts[key.partition(".")[0]].append(value)
    written, declared = body.declared.document.value.get("outputs"), body.declared.outputs
    complete = not isinstance(written, dict) or written.keys() <= declared.keys()
    for name, output in declared.items():
        values = [value for value in parts[name] if isinstance(value, Value)]
        all_known = bool(values) and len(values) == len(parts[name])
        before = len(body.context.diagnostics)
        spec = _output_spec(body, name, output, values if all_known else [])
        if spec is None or len(body.context.diagnostics) > before:
            complete = False
        elif all_known:
            known[name] = named[name] = spec
        elif any(value is FAILED for value in parts[name]):
            named[name] = spec
    _check_names(body, known)
    return Outputs(known, named if complete else None)


def _check_names(body: BodyElaborator, specs: dict[str, OutputSpec]) -> None:
    """Reports values of an epoch with the same name."""
    known = set(loss_names(specs))
    for name, spec in specs.items():
        for index, word in enumerate(metric_names(spec.metrics)):
            word = f"{name}_{word}" if len(specs) > 1 else word
            if word in known:
                path = (*body.declared.output_path(name), "metrics", index)
                span = body.declared.document.span(path)
                help = "tell them apart by `as:`, {name: auc, as: area}"
                body.error("duplicate-name", span, f"two values of an epoch are called `{word}`", help)
            known.add(word)


def _output_spec(
    body: BodyElaborator, name: str, output: dict[str, Any], values: list[Value]
) -> OutputSpec | None:
    path = body.declared.output_path(name)
    settings = {
        key: body.scope.evaluate(output.get(key), (*path, key))
        for key in ("loss", "metrics", *RowSettings.model_fields)
    }
    activation = ending(values[0]) if values else ""
    written = settings["loss"]
    loss: Loss | None = None
    if isinstance(written, dict) and "block" in written:
        from graphspec.elaborate.block_loss import block_loss  # few specs have one

        loss = block_loss(body, name, values, (*path, "loss"))
        settings["loss"] = FAILED if loss is None else written
    elif isinstance(written, str) and written in body.file.blocks and written not in LOSSES.members:
        help = become({"block": written}, f"`{written}` is a block: write {{block: {written}}}")
        where = body.declared.document.span((*path, "loss"))
        body.error("unknown-loss", where, f"unknown loss `{written}`", help)
    else:
        loss = _objective(body, partial(parse_loss, ending=activation), written, (*path, "loss"))
    if loss is not None:
        loss = loss.of_inputs({k: each.tensor for k, each in body.inputs.items() if isinstance(each, Value)})
    metrics = _metrics(body, settings["metrics"], (*path, "metrics"))
    varying = _varying_weight(body, settings, path)
    rows = _row_settings(body, name, settings)
    if any(value is FAILED for value in settings.values()):
        return None
    spec = OutputSpec(
        name,
        tuple(value.tensor for value in values),
        loss,
        varying or rows.loss_weight,
        tuple(metrics.values()),
        rows.target or name,
        rows=rows,
    )
    if values and (settings["loss"] is None or loss is not None):
        _check_fit(body, spec, activation, metrics)
    return spec


def _varying_weight(body: BodyElaborator, settings: dict[str, Any], path: Path) -> Varying | None:
    """The weight of a loss that varies over the training; it is no more in the settings."""
    if not isinstance(settings["loss_weight"], dict):
        return None
    from graphspec.train.config.varying import read_varying  # few specs have one

    weight, missing = dict(settings), settings["loss"] is None
    settings["loss_weight"] = 1.0 if missing else None
    try:
        return read_varying(weight, "loss_weight")
    except SettingError as error:
        body.scope.setting_error(error, path)
        settings["loss_weight"] = FAILED
        return None


def _row_settings(body: BodyElaborator, name: str, settings: dict[str, Any]) -> RowSettings:
    """The row settings of an output; the defaults after an error, which is reported."""
    path = body.declared.output_path(name)
    for key in ("loss_weight", "class_weight", "sample_weight"):
        if settings["loss"] is None and settings[key] is not None:
            message = f"the output `{name}` has `{key}` and no loss"
            body.error("unknown-key", body.declared.document.key((*path, key)), message, "give it a `loss`")
    try:
        row_settings = {key: settings[key] for key in RowSettings.model_fields if settings[key] is not FAILED}
        return parse_row_settings(row_settings, f"the output `{name}`")
    except SettingError as error:
        body.scope.setting_error(error, path)
        return RowSettings()


def _check_fit(
    body: BodyElaborator, spec: OutputSpec, activation: str, metrics: Mapping[Path, Metric]
) -> None:
    """Reports a loss that does not fit the type and activation of its output, else every such metric."""
    tensor, path = spec.tensors[0], body.declared.output_path(spec.name)
    key, misfit = _together(spec)
    if misfit is None and spec.loss is not None:
        key, misfit = "loss", spec.loss.misfit(tensor, activation)
    problems = [((*path, key), misfit)]
    if misfit is None:
        problems = [(where, each.misfit(tensor, activation, spec.loss)) for where, each in metrics.items()]
    for where, complaint in problems:
        if complaint is not None:
            message, help = complaint
            document = body.declared.document
            written = moved(help, "activation", document.span((*body.declared.path, "nodes", spec.name)))
            body.error("loss-misfit", document.span(where), f"output `{spec.name}`: {message}", written)


def _together(spec: OutputSpec) -> tuple[str, Misfit]:
    """Why a loss cannot take the nodes of an output together, and the key at fault."""
    if len(spec.tensors) > 1 and spec.metrics and not _all_rank(spec):
        help = "give one of them a separate output"
        return "metrics", ("a metric takes one node, but `from` names several", help)
    if spec.loss is None:
        return "loss", None
    misfit = spec.loss.count_misfit(len(spec.tensors))
    if misfit is None and isinstance(spec.loss, VectorLoss):
        return "from", spec.loss.together(spec.tensors)
    return "loss", misfit


def _all_rank(spec: OutputSpec) -> bool:
    """Whether all metrics of an output rank the keys that its loss compares queries with."""
    return spec.ranks_candidates and all(metric.ranks for metric in spec.metrics)


def _objective(body: BodyElaborator, parse: Any, value: Any, path: Path) -> Any:
    if value is None or value is FAILED:
        return None
    try:
        return parse(value)
    except SettingError as error:
        body.scope.setting_error(error, path)
        return None


def _metrics(body: BodyElaborator, value: Any, path: Path) -> dict[Path, Metric]:
    """The metrics of an output, by the place of each."""
    if value is None or value is FAILED:
        return {}
    items: dict[Path, Any] = {path: value}
    if isinstance(value, str) and "," in value:
        names = [part.strip() for part in value.split(",") if part.strip()]
        help = become(names, f"metrics are a list: write [{', '.join(names)}]")
        body.error(
            "wrong-type", body.declared.document.span(path), f"a metric is one name, not {show(value)}", help
        )
        return {}
    if isinstance(value, list):
        items = {(*path, index): item for index, item in enumerate(value)}
    parsed = {where: _objective(body, parse_metric, item, where) for where, item in items.items()}
    return {where: metric for where, metric in parsed.items() if metric is not None}
