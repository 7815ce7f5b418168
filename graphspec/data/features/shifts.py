"""Features of texts that go on: a text whose documents are joined, and the tokens that come next. It needs
neither data nor a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphspec.data.features.settings import Category, Feature
from graphspec.data.features.texts import DrawnValues, Listed, Shifted, TextFeature
from graphspec.diagnostics import did_you_mean
from graphspec.settings import Problem

NEXT = "features: {tokens: {column: text, encode: text, pack: 256}, next: {of: tokens, shift: 1}}"
"""The features in a first spec of such texts."""


def packed(features: Mapping[str, Feature]) -> tuple[str, TextFeature] | None:
    """The feature whose documents are joined, and its name; None where rows are documents."""
    each = ((name, f) for name, f in features.items() if isinstance(f, TextFeature) and f.pack is not None)
    return next(each, None)


def shift_misfits(config: Any) -> Iterator[Problem]:
    """Problems of `data` with texts that go on; of the paths of the keys in `data`."""
    features: Mapping[str, Feature] = config.features
    for name, feature in features.items():
        if isinstance(feature, Shifted):
            yield from _unknown(name, feature, features)
        if isinstance(feature, DrawnValues):
            yield from _undrawn(name, feature, features)
        size = feature.vocabulary if isinstance(feature, TextFeature) else None
        if isinstance(feature, TextFeature) and size is not None and size <= feature.least:
            message = f"`vocabulary` is {size}, and {feature.least} tokens are there before any is learned"
            help = f"write `vocabulary: {8 * feature.least}`, or more"
            if feature.tokenizer == "bpe":
                help = f"among them are all bytes, so that nothing is lost: {help}"
            yield Problem("feature-misfit", message, help, ("features", name, "vocabulary"))
    joined = packed(features)
    if joined is None:
        return
    name, feature = joined
    path = ("features", name, "pack")
    if config.windows is not None:
        message = "`pack` makes rows of a text, and `windows` make them of a series"
        yield Problem("feature-misfit", message, "keep one of them", path)
    for other, each in features.items():
        if other != name and not isinstance(each, Shifted):
            message = f"`pack` cuts rows across documents, and `{other}` has something for each document"
            help = "leave `pack` out, so that a row is a document; or leave this feature out"
            yield Problem("feature-misfit", message, help, ("features", other))


def _undrawn(name: str, feature: DrawnValues, features: Mapping[str, Feature]) -> Iterator[Problem]:
    """The mistake of values that are drawn of no feature, or of one that has several columns or none."""
    source = features.get(feature.of)
    if isinstance(source, Category) and len(source.read(feature.of)) == 1:
        return
    names = [each for each, other in features.items() if isinstance(other, Category)]
    what = "which is not a feature" if source is None else "and that is not a category of one column"
    help = did_you_mean(feature.of, names, f"write {feature.of}: {{encode: category}}")
    yield Problem(
        "feature-misfit", f"`{name}` draws of `{feature.of}`, {what}", help, ("features", name, "of")
    )


def _unknown(name: str, feature: Shifted, features: Mapping[str, Feature]) -> Iterator[Problem]:
    """The mistake of tokens that are those of no feature, or of one that has none."""
    path, source = ("features", name, "of"), features.get(feature.of)
    lists = [each for each, other in features.items() if isinstance(other, Listed)]
    if source is None:
        message = f"`{name}` has the tokens of `{feature.of}`, which is not a feature"
        help = f"write {NEXT}" if not lists else f"features with tokens: {', '.join(lists)}"
        yield Problem("feature-misfit", message, did_you_mean(feature.of, lists, help), path)
    elif not isinstance(source, Listed):
        message = f"`{name}` has the tokens of `{feature.of}`, and `encode: {source.encode}` makes none"
        yield Problem("feature-misfit", message, "write `encode: text` there, or `encode: tokens`", path)
