"""The inputs of a first spec for a table: a feature for each column or several, and nodes that read it."""

from __future__ import annotations

from graphspec.data.drafting.images import BLOCK, ImageProfile
from graphspec.data.drafting.images import feature as image_feature
from graphspec.data.drafting.images import nodes as image_nodes
from graphspec.data.drafting.looks import MANY, OFTEN, REPEATED, ColumnProfile
from graphspec.data.drafting.parts import Draft
from graphspec.data.drafting.words import flow

CURVES = """\
  curves:  # each number bends at 16 places that are learned: its effect need not be straight
    inputs: [x]
    nodes:
      bends:
        layer: EinsumDense
        equation: bn,nk->bnk
        output_shape: [null, 16]
        bias_axes: nk
        activation: relu
        kernel_initializer: {name: random_normal, stddev: 1}
        bias_initializer: {name: random_normal, stddev: 1}
      flat: {layer: Flatten}
"""
"""The block that numbers go through besides."""
CURVED = 100
"""Numbers of an input that go through it, at most."""
CLIP = 3
"""Deviations from the mean that numbers have, at most: what is farther away is rare, and read as that far."""


def add_inputs(spec_draft: Draft, looks: list[ColumnProfile]) -> None:
    numbers = [seen for seen in looks if seen.kind == "number"]
    spec_draft.named |= {seen.name for seen in looks if seen.kind == "vector"}
    _exact_input(spec_draft, [seen for seen in numbers if seen.repeated and seen.writing is None])
    for writing in dict.fromkeys([None, *(seen.writing for seen in numbers)]):
        alike = [seen for seen in numbers if seen.writing == writing]
        name = spec_draft.name(alike[0].name) if alike and writing is not None else "facts"
        _numbers_input(spec_draft, name, alike)
    categories = [seen for seen in looks if seen.kind == "category"]
    _kinds_input(spec_draft, [seen for seen in categories if seen.distinct <= MANY])
    _many_kinds_input(spec_draft, [seen for seen in categories if seen.distinct > MANY])
    for seen in looks:
        if seen.kind in ("left", "number", "category"):
            continue
        name = seen.name if seen.kind == "vector" else spec_draft.name(seen.name)
        if seen.kind == "vector":
            spec_draft.inputs.append(f"  {name}: {{shape: [{seen.width}]}}")
            spec_draft.codes.append(name)
        elif seen.kind == "date":
            _date_input(spec_draft, name, seen)
        elif seen.images is not None:
            _images(spec_draft, name, seen, seen.images)
        elif seen.kind == "set":
            _set_input(spec_draft, name, seen)
        elif seen.kind in ("text", "tokens"):
            _list_input(spec_draft, name, seen)
        elif seen.kind == "letters":
            _letters_input(spec_draft, name, seen)


def _numbers_input(spec_draft: Draft, name: str, numbers: list[ColumnProfile]) -> None:
    if not numbers:
        return
    gaps = any(seen.missing for seen in numbers)
    spec_draft.inputs.append(f"  {name}: {{shape: [{len(numbers) * (2 if gaps else 1)}]}}")
    fill = ", fill: median, indicator: true" if gaps else ", fill: median" if spec_draft.gaps else ""
    skewed = [seen.name for seen in numbers if seen.skewed]
    transform = f", transform: {flow(dict.fromkeys(skewed, 'log1p'))}" if skewed else ""
    filled = "missing numbers become the median, and a 0/1 column marks them"
    spec_draft.features.append(
        f"    # {filled if gaps else f'mean 0, deviation 1, and at most {CLIP} of them'}"
    )
    if skewed:
        spec_draft.features.append(
            "    # a few numbers are far larger than the others: their logarithm is read"
        )
    columns = f"columns: {flow([seen.name for seen in numbers])}"
    keys = numbers[0].keys()
    spec_draft.features.append(
        f"    {name}: {{{columns}, encode: number{keys}{transform}, scale: standard, clip: {CLIP}{fill}}}"
    )
    spec_draft.codes.append(name)
    if spec_draft.curves and len(numbers) <= CURVED:
        if CURVES not in spec_draft.blocks:
            spec_draft.blocks.append(CURVES)
        spec_draft.nodes.append(f"  {name}_curves: {{block: curves, from: {name}}}")
        spec_draft.codes.append(f"{name}_curves")


def _exact_input(spec_draft: Draft, numbers: list[ColumnProfile]) -> None:
    """Numbers as values, each with an effect of its own: a 0 may mean something else than little."""
    if not numbers:
        return
    fill = ", fill: missing" if spec_draft.gaps else ""
    spec_draft.inputs.append(f"  exact: {{shape: [{len(numbers)}], dtype: int64}}")
    columns = flow([seen.name for seen in numbers])
    sizes = [seen.repeated + 1 for seen in numbers]
    spec_draft.features += [
        f"    # an id for each number that occurs {REPEATED} times or more, and one for all others",
        f"    exact: {{columns: {columns}, encode: category, vocabulary: {sizes}{fill}}}",
    ]
    spec_draft.nodes += [
        "  exact_vectors: {layer: Embedding, from: exact, input_dim: $(vocabulary(exact)), output_dim: 8}",
        "  exact_flat: {layer: Flatten}",
        "  exact_codes: {layer: Dropout, rate: 0.3}",
    ]
    spec_draft.codes.append("exact_codes")


def _set_input(spec_draft: Draft, name: str, seen: ColumnProfile) -> None:
    spec_draft.inputs.append(f"  {name}: {{shape: [{seen.width}]}}")
    spec_draft.features += set_feature(name, seen, ', fill: ""' if spec_draft.gaps else "")
    spec_draft.codes.append(name)


def set_feature(name: str, seen: ColumnProfile, more: str) -> list[str]:
    separator = f", separator: {flow(seen.separator)}" if seen.separator is not None else ""
    line = (
        f"    {name}: {{column: {flow(seen.name)}, encode: set, vocabulary: {seen.width}{separator}{more}}}"
    )
    return [f"    # {seen.reason}: 0 or 1 for each of the {seen.width} that occur most often", line]


def _ids_input(spec_draft: Draft, name: str, kinds: list[ColumnProfile]) -> None:
    sizes = [(seen.frequent or seen.distinct + 1) + 1 for seen in kinds]
    fill = ", fill: missing" if spec_draft.gaps else ""
    spec_draft.inputs.append(f"  {name}: {{shape: [{len(kinds)}], dtype: int64}}")
    columns = flow([seen.name for seen in kinds])
    spec_draft.features += [
        "    # an id for each value that was found, one for unseen values, one spare",
        *(f"    # {seen.name}: {seen.reason}; the others share an id" for seen in kinds if seen.frequent),
        f"    {name}: {{columns: {columns}, encode: category, vocabulary: {sizes}{fill}}}",
    ]


def _many_kinds_input(spec_draft: Draft, kinds: list[ColumnProfile]) -> None:
    """Categories of very many values, of which each has few rows, and would be learned by heart."""
    if not kinds:
        return
    _ids_input(spec_draft, "many_kinds", kinds)
    table = "input_dim: $(vocabulary(many_kinds)), output_dim: 8"
    spec_draft.nodes += [
        f"  many_kinds_vectors: {{layer: Embedding, from: many_kinds, {table}}}",
        "  many_kinds_flat: {layer: Flatten}",
        "  # each value has few rows: half of what is learned of it is left out at a time",
        "  many_kinds_codes: {layer: Dropout, rate: 0.5}",
    ]
    spec_draft.codes.append("many_kinds_codes")


def _kinds_input(spec_draft: Draft, kinds: list[ColumnProfile]) -> None:
    if not kinds:
        return
    _ids_input(spec_draft, "kinds", kinds)
    spec_draft.nodes += [
        "  kind_vectors:  # far apart from the start, so that categories are learned as fast as numbers",
        "    layer: Embedding",
        "    from: kinds",
        "    input_dim: $(vocabulary(kinds))",
        "    output_dim: 8",
        "    embeddings_initializer: {name: random_normal, stddev: 1}",
        "  kind_codes: {layer: Flatten}",
    ]
    spec_draft.codes.append("kind_codes")


def _date_input(spec_draft: Draft, name: str, seen: ColumnProfile) -> None:
    gap = ", fill: mean" if spec_draft.gaps else ""
    spec_draft.inputs.append(f"  {name}: {{shape: [{len(seen.parts)}]}}")
    parts = f"parts: [{', '.join(seen.parts)}], scale: standard"
    first = f"format: {flow(seen.formats[0])}, " if seen.formats else ""
    if seen.formats[1:]:
        spec_draft.features.append(f"    # every row also fits the format {' or '.join(seen.formats[1:])}")
    column = f"column: {flow(seen.name)}"
    spec_draft.features.append(f"    {name}: {{{column}, encode: date, {first}{parts}{gap}}}")
    spec_draft.codes.append(name)


def _list_input(spec_draft: Draft, name: str, seen: ColumnProfile) -> None:
    fill = ", fill: missing" if spec_draft.gaps else ""
    column = f"column: {flow(seen.name)}"
    spec_draft.inputs.append(f"  {name}: {{shape: [{name}_length], dtype: int64}}")
    spec_draft.features.append(f"    # what occurs less than {OFTEN} times shares an id")
    limits = f"vocabulary: 5000, min_count: {OFTEN}, length: 200"
    spec_draft.features.append(f"    {name}: {{{column}, encode: {seen.kind}, {limits}{fill}}}")
    spec_draft.nodes += [
        f"  {name}_vectors: {{layer: Embedding, from: {name}, input_dim: $(vocabulary({name})), "
        "output_dim: 32, mask_zero: true}",
        f"  {name}_mean: {{layer: GlobalAveragePooling1D}}",
        f"  {name}_code: {{layer: Dropout, rate: 0.5}}",
    ]
    spec_draft.codes.append(f"{name}_code")


def _letters_input(spec_draft: Draft, name: str, seen: ColumnProfile) -> None:
    fill = ', fill: ""' if spec_draft.gaps else ""
    spec_draft.inputs.append(f"  {name}: {{shape: [{name}_length], dtype: int64}}")
    spec_draft.features += [
        f"    # {seen.reason}",
        f"    {name}: {{column: {flow(seen.name)}, encode: text, tokenizer: char, "
        f"vocabulary: 200, length: 200{fill}}}",
    ]
    spec_draft.nodes += [
        f"  {name}_vectors: {{layer: Embedding, from: {name}, input_dim: $(vocabulary({name})), "
        "output_dim: 32}",
        f"  {name}_pieces: {{layer: Conv1D, filters: 128, kernel_size: 3, padding: same, "
        "activation: relu, repeat: 2}",
        f"  {name}_found: {{layer: GlobalMaxPooling1D}}",
        f"  {name}_code: {{layer: Dropout, rate: 0.3}}",
    ]
    spec_draft.codes.append(f"{name}_code")


def _images(spec_draft: Draft, name: str, seen: ColumnProfile, profile: ImageProfile) -> None:
    spec_draft.inputs.append(f"  {name}: {{shape: [{profile.height}, {profile.width}, {profile.channels}]}}")
    if BLOCK not in spec_draft.blocks:
        spec_draft.blocks.append(BLOCK)
    spec_draft.nodes += image_nodes(name, profile)
    spec_draft.features += image_feature(name, flow(seen.name), profile, seen.missing > 0)
    spec_draft.codes.append(f"{name}_mean")
