"""Writes the tables of docs/language that the code holds: `python docs/tables.py`. A test compares them.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.data.config import DataConfig
from graphspec.data.features import FEATURES
from graphspec.data.features.settings import Feature, Several
from graphspec.data.features.windows import Windows
from graphspec.data.mixing import MIXINGS
from graphspec.diagnostics import CODES
from graphspec.generate.config import GenerateSettings
from graphspec.generate.loop_config import LoopSettings, Way
from graphspec.language.docstrings import first_sentence
from graphspec.language.glossary import keys_of, meaning
from graphspec.language.schema import FORMS, NODE_KEYS, Block, Input, Node, Output, Spec
from graphspec.objectives import LOSSES, METRICS
from graphspec.reference import layers
from graphspec.reference.library import blocks
from graphspec.settings import show
from graphspec.settings.families import Family
from graphspec.train.config import CALLBACKS, OPTIMIZERS, SCHEDULES, StepSettings, TrainConfig
from graphspec.train.config.optimizers import OptimizerSettings
from graphspec.train.config.varying import Varying
from graphspec.tune.config import TuneConfig

PAGES = Path(__file__).parent / "language"
MARKED = re.compile(r"(?<=<!-- table: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
WIDTH = 118
LINKS = {
    "params": "#params-and-presets",
    "presets": "#params-and-presets",
    "inputs": "inputs.md",
    "blocks": "blocks.md",
    "shared": "blocks.md#shared-layers",
    "nodes": "nodes.md",
    "edges": "blocks.md#edges",
    "outputs": "outputs.md",
    "data": "data.md",
    "train": "training.md",
    "tune": "search.md",
    "generate": "generate.md",
}
"""The page of each section of a spec."""
NODE_LINKS = {
    **dict.fromkeys(("layer", "wraps"), "layers.md#layers"),
    "merge": "layers.md#merges",
    "op": "layers.md#ops",
    "block": "blocks.md",
    "model": "models.md#models",
    "module": "models.md#custom-modules",
    "call": "blocks.md#shared-layers",
    "average_of": "blocks.md#averages-of-weights",
    "compute": "#formulas",
    **dict.fromkeys(("parameter", "constant"), "#constants-and-parameters"),
    "state": "training.md#what-batches-leave",
    "from": "#where-inputs-come-from",
    **dict.fromkeys(("when", "else"), "#when-and-else"),
    **dict.fromkeys(("repeat", "parallel"), "#repeat-and-parallel"),
    "weights": "../weights.md",
    "checkpoint": "../scaling.md#memory",
}
OUTPUT_LINKS = {"loss": "#losses", "metrics": "#metrics"}
DATA_LINKS = {
    "validation": "#validation",
    "features": "features.md",
    "windows": "windows.md",
    "mix": "#mixing-examples",
}
TRAIN_LINKS = {
    "optimizer": "#optimizers",
    "schedule": "#schedules",
    "parameter_groups": "#parameter-groups",
    "adapters": "../changing-models.md#adapters",
    **dict.fromkeys(("freeze", "unfreeze_at"), "../changing-models.md#freeze"),
    **dict.fromkeys(("phases", "steps"), "#phases-and-updates"),
    "precision": "#precision",
    "parallel": "../scaling.md",
    "callbacks": "#callbacks",
}


def tables() -> dict[str, Callable[[], str]]:
    """What writes each table, by its name."""
    return {
        "codes": lambda: rows("code", "what is wrong", ((tick(code), text) for code, text in CODES.items())),
        "layers": lambda: families("layer"),
        "ops": lambda: families("op"),
        "merges": lambda: words(entry.name for entry in layers.entries() if entry.kind == "merge"),
        "losses": lambda: words(canonical(LOSSES)),
        "metrics": lambda: words(canonical(METRICS)),
        "optimizers": lambda: words(canonical(OPTIMIZERS)),
        "schedules": lambda: words(canonical(SCHEDULES)),
        "regularizers": lambda: words(dict.fromkeys(cls.word for cls in Regularizer.members.values())),
        "constraints": lambda: words(dict.fromkeys(cls.word for cls in Constraint.members.values())),
        "callbacks": lambda: settings("callback", ((c, CALLBACKS.members[c]) for c in canonical(CALLBACKS))),
        "encoders": lambda: settings("encode", FEATURES.items()),
        "mixings": lambda: settings("layer", MIXINGS.items()),
        "generate_keys": lambda: keys(GenerateSettings),
        "loop_keys": lambda: keys(LoopSettings),
        "way_keys": lambda: keys(Way),
        "spec_keys": lambda: keys(Spec, links=LINKS),
        "input_keys": lambda: keys(Input),
        "block_keys": lambda: keys(Block),
        "std": lambda: rows("block", "", ((tick(each.name), each.line) for each in blocks())),
        "node_forms": lambda: keys(Node, FORMS, links=NODE_LINKS),
        "node_keys": lambda: keys(Node, NODE_KEYS, links=NODE_LINKS),
        "output_keys": lambda: keys(Output, links=OUTPUT_LINKS),
        "data_keys": lambda: keys(DataConfig, links=DATA_LINKS),
        "window_keys": lambda: keys(Windows),
        "train_keys": lambda: keys(TrainConfig, links=TRAIN_LINKS),
        "step_keys": lambda: keys(StepSettings),
        "varying_keys": lambda: keys(Varying),
        "optimizer_keys": lambda: keys(OptimizerSettings, without=("name",)),
        "search_keys": lambda: keys(TuneConfig),
    }


def tick(word: str) -> str:
    return f"`{word}`"


def rows(first: str, second: str, cells: Iterable[tuple[str, ...]]) -> str:
    """A table of two columns, or of three whose last has no head."""
    lines = [f"| {' | '.join(each)} |" for each in cells]
    more = lines[0].count(" | ") - 1
    return "\n".join([f"| {first} | {second} |{' |' * more}", "|---" * (2 + more) + "|", *lines])


def words(names: Iterable[str]) -> str:
    """Names in a line, or in several."""
    return textwrap.fill(", ".join(map(tick, names)) + ".", WIDTH, break_on_hyphens=False)


def canonical(family: Family) -> list[str]:
    """The first name of each setting of a family."""
    return sorted({cls.names()[0] for cls in family.members.values()})


def families(kind: str) -> str:
    """The names of all layers, or ops, by family."""
    found: dict[str, list[str]] = {}
    for entry in layers.entries():
        if entry.kind == kind:
            found.setdefault(entry.family, []).append(tick(entry.name))
    return rows("family", f"{kind}s", ((family, ", ".join(names)) for family, names in found.items()))


def settings(head: str, found: Iterable[tuple[str, type[BaseModel]]]) -> str:
    """Settings that are chosen by name: what each does, and its own arguments with their values."""
    return rows(
        head,
        "what it does",
        ((tick(word), first_sentence(cls.__doc__), arguments(cls)) for word, cls in found),
    )


COMMON = {"name", "encode", "layer", "weighted", "as", *Feature.model_fields, *Several.model_fields}


PLAIN = re.compile(r"(list of )*(integer|number|string|boolean|list|mapping)")


def arguments(cls: type[BaseModel]) -> str:
    """Its own arguments, each with the words that it takes."""
    own = [each for each in layers.parameters_of(cls) if each.name not in COMMON]
    return ", ".join(f"{tick(each.name)}{legal(each.type)}" for each in own)


def legal(type: str) -> str:
    """The words among the values of a type, in brackets; nothing where it has none, or signs for words."""
    if PLAIN.match(type) or not type[:1].isalpha():
        return ""
    listed = type.removesuffix(" or null").removeprefix("list of ")
    return f" ({listed})"


def keys(
    cls: type[BaseModel],
    only: Iterable[str] = (),
    without: Iterable[str] = (),
    links: dict[str, str] | None = None,
) -> str:
    """The keys of a class of settings: default and meaning of each."""
    cells = list(_keys(cls, set(only), set(without), links or {}))
    if any(default for _, default, _ in cells):
        return rows("key", "default", cells)
    return rows("key", "", ((key, text) for key, _, text in cells))


def _keys(
    cls: type[BaseModel], only: set[str], without: set[str], links: dict[str, str]
) -> Iterator[tuple[str, str, str]]:
    for key, field in keys_of(cls):
        if (only and key not in only) or key in without:
            continue
        text = meaning(cls, key)
        assert text, f"nothing says what `{key}` of {cls.__name__} means"
        word = f"[{tick(key)}]({links[key]})" if key in links else tick(key)
        default = (
            "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        )
        yield word, default, text


def _default(value: Any) -> str:
    """A default as a spec writes it; nothing for what is not there."""
    if isinstance(value, bool | int | float) or (isinstance(value, str) and value):
        return tick(value if isinstance(value, str) else show(value))
    word = getattr(value, "canonical", "")
    if word or value is PydanticUndefined:
        return tick(word) if word else "required"
    return tick(show(list(value))) if value and isinstance(value, tuple) else ""


def current(text: str) -> str:
    """A page with its tables as the code has them."""
    made = tables()
    return MARKED.sub(lambda match: f"{match[1]}{match[2]}\n{made[match[1]]()}\n\n", text)


def main() -> None:
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(current(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
