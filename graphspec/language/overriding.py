"""Applies the changes of `--set` to a document before it is read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from graphspec.diagnostics import Diagnostic, Diagnostics, did_you_mean
from graphspec.language.schema import Spec
from graphspec.settings import Setting, show
from graphspec.source import Document
from graphspec.source import Path as Keys

NAMED = ("inputs", "blocks", "shared", "nodes")
"""Sections whose entries `--set` may change, but not add."""


DEEP = {
    **dict.fromkeys(("split", "validation_split", "val_split"), "data.validation.split"),
    **{
        key: f"train.callbacks.early_stopping.{key}"
        for key in ("patience", "min_delta", "restore_best_weights")
    },
    "warmup_steps": "train.schedule.warmup_steps",
}
"""Settings whose place in a spec depends on what else it has, where most specs have them."""


def setting_path(word: str) -> str | None:
    """The dotted path that `--set` takes for a setting, by its name or another library's: `lr` is
    `train.optimizer.learning_rate`. None for a word that is no setting, or one of several.
    """
    from graphspec.train.config import TrainConfig
    from graphspec.train.config.callbacks import CALLBACKS
    from graphspec.train.config.optimizers import SGD, Adam
    from graphspec.tune.config import TuneConfig

    homes: list[tuple[str, type[Setting], Mapping[str, str]]] = [
        ("train", TrainConfig, TrainConfig.synonyms),
        ("train.optimizer", Adam, Adam.synonyms),
        ("train.optimizer", SGD, {}),
        ("tune", TuneConfig, {"n_trials": "trials", "num_trials": "trials"}),
    ]
    key = word.replace("-", "_")
    for path, cls, synonyms in homes:
        name = key if key in cls.model_fields else synonyms.get(key)
        if name in cls.model_fields and name != "name":
            return f"{path}.{name}"
    callback = CALLBACKS.synonyms.get(key, key)
    return f"train.callbacks.{callback}" if callback in CALLBACKS.members else DEEP.get(key)


def whole_path(key: str, document: Mapping[str, Any]) -> str | None:
    """The dotted path that was meant by one whose first part is no section: `h.units` is `nodes.h.units`."""
    head, _, rest = key.partition(".")
    for section in (*NAMED, "outputs"):
        if isinstance(entries := document.get(section), dict) and head in entries:
            return f"{section}.{key}"
    path = setting_path(head)
    return f"{path}.{rest}" if path is not None and rest else path


def override(
    document: Document,
    key: str,
    value: Any,
    params: dict[str, Any],
    diagnostics: Diagnostics,
    place: tuple[Document, Keys] | None,
) -> None:
    """Applies one `--set`: a param by its name, or a dotted path into the file; `place` is where it is
    written.
    """
    head, *rest = key.split(".")
    if place is not None:
        steps = (int(step) if step.isdecimal() else step for step in rest)
        document.grafts[(head, *steps) if rest else ("params", head)] = place
    if not rest:
        params[head] = value
        if isinstance(declared := document.value.get("params"), dict) and head in declared:
            declared[head] = value
        return
    wrong = _meant_otherwise(document, head, rest) or _put(
        document.value, [head, *rest], copy.deepcopy(value)
    )
    if wrong is not None:
        span = place[0].key(place[1]) if place is not None else None
        diagnostics.add(Diagnostic("unknown-key", wrong[0], span, help=wrong[1]))


Wrong = tuple[str, str | None]
"""A mistake in a path, and its remedy."""


def _meant_otherwise(document: Document, head: str, rest: list[str]) -> Wrong | None:
    """The mistake of a path that begins with no section, or leaves one out."""
    if head not in Spec.model_fields:
        listed = f"a path begins with one of: {', '.join(Spec.model_fields)}"
        meant = whole_path(".".join([head, *rest]), document.value)
        help = f"write `--set {meant}=...`" if meant else did_you_mean(head, Spec.model_fields, listed)
        return f"a spec has no `{head}`", help
    if head == "train" and (meant := setting_path(rest[0])) and meant.count(".") > 1:
        return f"`train` has no `{rest[0]}`", f"write `--set {'.'.join([meant, *rest[1:]])}=...`"
    return None


def _put(document: Any, steps: list[str], value: Any) -> Wrong | None:
    """Puts a value at a path, or says why it has no place there."""
    *way, last = steps
    parent = document
    for position, step in enumerate(way):
        if isinstance(parent, dict):
            item = parent.get(step)
            if item is None and position == 1 and way[0] in NAMED:
                there = ", ".join(map(str, parent))
                listed = f"`{way[0]}` has: {there}" if there else f"the spec has no `{way[0]}`"
                return f"`{way[0]}` has no `{step}`", did_you_mean(step, parent, listed)
            if item is None:
                item = parent[step] = (
                    {"name": "rmsprop"} if way[: position + 1] == ["train", "optimizer"] else {}
                )
            elif isinstance(item, str) and step in ("optimizer", "loss"):
                item = parent[step] = {"name": item}
            elif isinstance(item, str) and way[: position + 1] == ["data"]:
                item = parent[step] = {"train": item}
            elif isinstance(item, str) and way[:position] == ["data"]:
                item = parent[step] = {"path": item}
        elif isinstance(parent, list) and step.isdecimal() and int(step) < len(parent):
            item = parent[int(step)]
        else:
            where = ".".join(steps[:position])
            if isinstance(parent, list):
                return f"`{where}` has the items 0 to {len(parent) - 1}, and not `{step}`", None
            return f"`{where}` is {show(parent)}, and has nothing below it", None
        parent = item
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and last.isdecimal() and int(last) < len(parent):
        parent[int(last)] = value
    else:
        return "there is nothing of that name to set", None
    return None
