"""A resolved spec as plain data: params, presets and `--set` applied, and on demand every default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.named import NamedValue
from graphspec.language.schema import Input, Output
from graphspec.objectives import parse_loss, parse_metric
from graphspec.settings import Setting
from graphspec.train.config import TrainConfig

_KEPT = ("callbacks", "parameter_groups", "phases", "steps")
"""Parts of `train` that are left as they are written: they say nothing by default."""


def with_defaults(spec: Mapping[str, Any], training: TrainConfig) -> dict[str, Any]:
    """The document of a spec that compiles, with the arguments that its layers, inputs, losses, metrics and
    its training have by default.
    """
    document = dict(spec)
    for section in ("shared", "nodes"):
        if isinstance(document.get(section), dict):
            document[section] = {name: _node(node) for name, node in document[section].items()}
    if isinstance(document.get("blocks"), dict):
        document["blocks"] = {
            name: {
                key: {word: _node(node) for word, node in value.items()}
                if key in ("shared", "nodes")
                else value
                for key, value in block.items()
            }
            for name, block in document["blocks"].items()
        }
    document["inputs"] = {name: _input(value) for name, value in document["inputs"].items()}
    if isinstance(document["outputs"], dict):
        document["outputs"] = {name: _output(value) for name, value in document["outputs"].items()}
    written = document.get("train") or {}
    kept = {key: written[key] for key in _KEPT if key in written}
    settings = as_written(training)
    document["train"] = {**{key: value for key, value in settings.items() if key not in _KEPT}, **kept}
    order = [key for key in ("data", "train", "tune", "generate") if key in document]
    return {
        **{key: value for key, value in document.items() if key not in order},
        **{key: document[key] for key in order},
    }


def _node(node: Any) -> Any:
    """A node with the defaults of what it names; one that an expression names stays as it is."""
    if not isinstance(node, dict):
        return node
    kind = next((kind for kind in REGISTRY if kind in node), None)
    filled = dict(node)
    if isinstance(filled.get("wraps"), dict):
        filled["wraps"] = _node(filled["wraps"])
    if kind is None or node[kind] not in REGISTRY[kind]:
        return filled
    varying = {key for word in ("repeat", "parallel") for key in _keys(node.get(word))}
    for name, field in REGISTRY[kind][node[kind]].model_fields.items():
        word = field.alias or name
        if word not in node and word not in varying and not field.is_required():
            filled[word] = as_written(field.get_default(call_default_factory=True))
    return filled


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _input(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    defaults = {
        name: field.default
        for name, field in Input.model_fields.items()
        if not field.is_required() and name not in ("when", "default")
    }
    return {**value, **{key: item for key, item in defaults.items() if key not in value}}


def _output(value: Any) -> Any:
    """An output with the defaults of its loss and its metrics."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    if value.get("loss") is not None:
        filled["loss"] = _objective(parse_loss, value["loss"])
        filled.setdefault("loss_weight", Output.model_fields["loss_weight"].default)
    if value.get("metrics") is not None:
        metrics = value["metrics"] if isinstance(value["metrics"], list) else [value["metrics"]]
        filled["metrics"] = [_objective(parse_metric, metric) for metric in metrics]
    return filled


def _objective(parse: Any, written: Any) -> Any:
    """A loss or metric with its defaults; one with an expression, or a custom one, as it is written."""
    is_custom = isinstance(written, dict) and not {"module", "block"}.isdisjoint(written)
    if is_custom or "$" in str(written):
        return written
    return as_written(parse(written))


def as_written(value: Any) -> Any:
    """A value of a setting as a spec writes it."""
    if isinstance(value, NamedValue):
        names = [name for name in type(value).model_fields if name != "seed"]  # which is null
        arguments = {name: as_written(getattr(value, name)) for name in names}
        return {"name": value.word, **arguments} if arguments else value.word
    if isinstance(value, Setting):
        fields = type(value).model_fields
        return {field.alias or name: as_written(getattr(value, name)) for name, field in fields.items()}
    if isinstance(value, tuple | list):
        return [as_written(item) for item in value]
    return value
