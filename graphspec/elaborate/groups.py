"""Whether the patterns of `train:` match weights of the graph."""

from __future__ import annotations

from graphspec.diagnostics import meant, nearest
from graphspec.elaborate.body import BodyElaborator
from graphspec.graph import Graph
from graphspec.source import Path
from graphspec.train.config import TrainConfig
from graphspec.train.config.groups import matches_any
from graphspec.weights import paths
from graphspec.weights.adaptable import adaptable


def check_groups(body: BodyElaborator, training: TrainConfig, graph: Graph) -> bool:
    """Whether every pattern matches the path of a weight; a pattern that matches none is reported."""
    if any(op.layer is not None and op.layer.opaque for op in graph.walk()):
        return True  # weights of custom modules have paths that are not known here
    known = list(paths(graph))
    found = True
    for index, group in enumerate(training.parameter_groups):
        if not any(map(group.matches, known)):
            place: Path = ("train", "parameter_groups", index, "match")
            message = f"no weight has a path that `{group.match}` matches"
            found = _report(body, place, message, group.match, known)
    layers = [path for path, _ in adaptable(graph)]
    for index, adapter in enumerate(training.adapters):
        if not any(map(adapter.matches, layers)):
            place = ("train", "adapters", index, "match")
            message = f"no layer that can have an adapter has a path that `{adapter.match}` matches"
            found = _report(body, place, message, adapter.match, layers)
    for index, pattern in enumerate(training.freeze):
        if not any(matches_any([pattern], path) for path in known):
            written = body.declared.document.value["train"]["freeze"]
            place = ("train", "freeze", index) if isinstance(written, list) else ("train", "freeze")
            message = f"no weight has a path that `{pattern}` matches"
            found = _report(body, place, message, pattern, known)
    for index, word in enumerate(getattr(training.optimizer, "exclude_layers", ())):
        if not any(word in path for path in known):
            place = ("train", "optimizer", "exclude_layers", index)
            found = _report(body, place, f"no weight has `{word}` in its path", word, known)
    return found


def _report(body: BodyElaborator, place: Path, message: str, word: str, known: list[str]) -> bool:
    plain = word.strip("*?.")
    near = nearest(plain, known) or nearest(plain, _parts(known))
    help = "the model has no weights"
    if known:
        shown = ", ".join(f"`{path}`" for path in known[:3])
        help = meant(near, plain) if near else f"paths are, for example, {shown}"
    body.error("unknown-weight", body.declared.document.span(place), message, help)
    return False


def _parts(paths: list[str]) -> list[str]:
    """The parts of paths between dots, each once."""
    return list(dict.fromkeys(part for path in paths for part in path.split(".")))
