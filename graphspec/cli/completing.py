"""Completions for a shell: values of options and arguments, by the words that are already on the line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer


def presets(ctx: typer.Context, incomplete: str) -> list[str]:
    """The presets of the spec on the line."""
    return _starting(_spec(ctx).get("presets"), incomplete)


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """The keys that `--set` can change: params of the spec, paths of its training, and in a section that is
    named all its keys.
    """
    if "=" in incomplete:
        return []
    from graphspec.train.config import TrainConfig

    spec = _spec(ctx)
    train = spec.get("train")
    optimizer = train.get("optimizer") if isinstance(train, dict) else None
    params = spec.get("params")
    names = list(params) if isinstance(params, dict) else []
    names += [f"train.{field.alias or name}" for name, field in TrainConfig.model_fields.items()]
    inside = optimizer if isinstance(optimizer, dict) else {"learning_rate": None}
    names += [f"train.optimizer.{key}" for key in inside if key != "name"]
    section, dot, _ = incomplete.partition(".")
    if dot:
        names += _paths(section, spec.get(section))
    return [f"{name}=" for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _paths(path: str, value: Any) -> Iterator[str]:
    """The dotted paths of the values in a mapping."""
    if not isinstance(value, dict):
        yield path
        return
    for key, item in value.items():
        yield from _paths(f"{path}.{key}", item)


def names(incomplete: str) -> list[str]:
    """The names that `graphspec layers` explains."""
    from graphspec.reference import layers

    return _starting([entry.name for entry in [*layers.entries(), *layers.others()]], incomplete)


def codes(incomplete: str) -> list[str]:
    """The codes of diagnostics."""
    from graphspec.diagnostics import CODES

    return _starting(CODES, incomplete)


def runs(incomplete: str) -> list[str]:
    """The runs below `runs`, and specs."""
    from graphspec.files.run_files import SPEC

    run_dirs = sorted(path.parent for path in Path("runs").glob(f"*/{SPEC}"))
    return _starting([*map(str, run_dirs), *map(str, sorted(Path().glob("*.yaml")))], incomplete)


def choices(words: str) -> Callable[[str], list[str]]:
    """Completes an option that is one of `a|b`; upper case stands for a value, not for a word."""

    def complete(incomplete: str) -> list[str]:
        return _starting([word for word in words.split("|") if word.islower()], incomplete)

    return complete


def rules(incomplete: str) -> list[str]:
    """The rules for weights that are shipped, and files."""
    import graphspec.transfer

    shipped = sorted((Path(graphspec.transfer.__file__).parent / "shipped").glob("*.yaml"))
    return _starting([*(path.stem for path in shipped), *map(str, sorted(Path().glob("*.yaml")))], incomplete)


def _spec(ctx: typer.Context) -> dict[str, Any]:
    """The content of the spec on the line; empty where it cannot be read."""
    from graphspec.diagnostics import Diagnostics
    from graphspec.files.reading import content
    from graphspec.source import read

    words = [*ctx.params.values(), *ctx.args]  # what is parsed, and what the unfinished line left over
    spec = next((word for word in words if str(word).endswith((".yaml", ".yml"))), None)
    try:
        document = read(content(Path(spec)), str(spec), Diagnostics()) if spec else None
    except OSError:
        return {}
    return document.value if document is not None else {}


def _starting(words: Any, incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)] if words else []
