"""Whether the patterns of `train:` match weights of the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics import Span, did_you_mean, meant, nearest, write_value
from graphspec.elaborate.body import BodyElaborator
from graphspec.graph import Graph
from graphspec.source import Path
from graphspec.train.config import TrainConfig
from graphspec.train.config.groups import matches_any
from graphspec.weights import averages, paths
from graphspec.weights.adaptable import adaptable
from graphspec.weights.trainable import trains

if TYPE_CHECKING:
    from graphspec.data.config import DataConfig
    from graphspec.elaborated import OutputSpec


def check_groups(
    body: BodyElaborator, training: TrainConfig, graph: Graph, outputs: Mapping[str, OutputSpec]
) -> None:
    """Reports outputs of `steps` without losses, and patterns that match the path of no weight."""
    _need_losses(body, training, outputs)
    _leave_averages(body, training, graph)
    if any(op.layer is not None and op.layer.opaque for op in graph.walk()):
        return  # weights of custom modules have paths that are not known here
    known = list(paths(graph))
    layers = [path for path, _ in adaptable(graph)]
    for place, pattern in _patterns(training):
        if not any(matches_any([pattern], path) for path in known):
            message = f"no weight has a path that `{pattern}` matches"
            _report(body, place, message, pattern, known)
    for index, adapter in enumerate(training.adapters):
        if not any(map(adapter.matches, layers)):
            message = f"no layer that can have an adapter has a path that `{adapter.match}` matches"
            _report(body, ("adapters", index, "match"), message, adapter.match, layers)
    for path, part in training.sections():
        for index, word in enumerate(getattr(part.optimizer, "exclude_layers", ())):
            if not any(word in path for path in known):
                place = (*path, "optimizer", "exclude_layers", index)
                _report(body, place, f"no weight has `{word}` in its path", word, known)


def _patterns(training: TrainConfig) -> Iterator[tuple[Path, str]]:
    """The patterns for paths of weights."""
    for path, part in training.sections():
        for index, group in enumerate(getattr(part, "parameter_groups", ()) or ()):
            yield (*path, "parameter_groups", index, "match"), group.match
        for key in ("freeze", "update"):
            for index, pattern in enumerate(getattr(part, key, ()) or ()):
                yield (*path, key, index), pattern


def _need_losses(body: BodyElaborator, training: TrainConfig, outputs: Mapping[str, OutputSpec]) -> None:
    """Reports what `steps` say to be outputs that are none, or have no losses."""
    losses = [name for name, output in outputs.items() if output.loss is not None]
    for path, step in training.written_steps():
        for index, name in enumerate(step.outputs):
            if name in losses:
                continue
            there = f"outputs with a loss: {', '.join(losses) or 'none'}"
            lacks = (
                f"`{name}` has no loss, so it trains nothing" if name in outputs else f"no output `{name}`"
            )
            help = there if name in outputs else did_you_mean(name, losses, there)
            body.error("unknown-reference", _span(body, (*path, "outputs", index)), lacks, help)


def check_sources(body: BodyElaborator, training: TrainConfig, data: DataConfig | None) -> None:
    """Reports what `steps` say to be sources of rows that are none."""
    from graphspec.data.config import no_source

    sources = data.sources if data is not None else {}
    for path, step in training.written_steps():
        for index, name in enumerate(step.data):
            place = (*path, "data", index)
            if name in step.data[:index]:
                message = f"`data` names source `{name}` twice"
                body.error("duplicate-name", _span(body, place), message, "name it once")
            elif name not in sources:
                problem = no_source(name, sources, place)
                body.error(problem.code, _span(body, place), problem.message, problem.help)


def _leave_averages(body: BodyElaborator, training: TrainConfig, graph: Graph) -> None:
    """Reports adapters and groups under which a moving average of weights would be none."""
    trained = trains(graph, training)
    for path, other, _ in averages(graph):
        if training.adapters:
            message = f"`{path}` averages `{other}`, whose weights stay as they are where adapters train"
            body.error("not-supported", _span(body, ("adapters",)), message, "train without `adapters`")
        moved = [weight for weight in sorted(trained) if weight.startswith(f"{path}.")]
        groups = [(place, text) for place, text in _patterns(training) if place[-1] == "match"]
        place = next((p for p, text in reversed(groups) if moved and matches_any([text], moved[0])), None)
        if place is not None:
            message = f"`{moved[0]}` would train, and is an average that only `{other}` moves"
            body.error("not-supported", _span(body, place), message, "let the pattern match what trains")


def _span(body: BodyElaborator, place: Path) -> Span:
    """The place of a setting of `train`; an item of what may also be written without a list."""
    document = body.declared.document
    value: Any = document.value["train"]
    step: Any
    for step in place:  # keys of mappings, places in lists
        nested = isinstance(value, dict | list)
        if not nested:
            place = place[:-1]
            break
        value = value[step]
    return document.span(("train", *place))


def _report(body: BodyElaborator, place: Path, message: str, word: str, known: list[str]) -> None:
    stem = word.strip("*?.")
    near = nearest(stem, known) or nearest(stem, _parts(known))
    help = "the model has no weights"
    if any(path.startswith(f"{word}.") for path in known):
        help = write_value(f'"{word}.*"')
    elif known:
        shown = ", ".join(f"`{path}`" for path in known[:3])
        help = meant(near, stem) if near else f"paths are, for example, {shown}"
    body.error("unknown-weight", _span(body, place), message, help)


def _parts(paths: list[str]) -> list[str]:
    """The parts of paths between dots, each once."""
    return list(dict.fromkeys(part for path in paths for part in path.split(".")))
