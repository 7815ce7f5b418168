"""The Keras table: a row for each node, with its shape and weights, and totals.

summary = graphspec.compile("specs/resnet50.yaml").summary()
summary.total_params, summary.rows[1].output_shape
print(summary.render(expand=True))
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphspec.diagnostics import visible
from graphspec.diagnostics.arguments import checked
from graphspec.diagnostics.notebook import preformatted
from graphspec.tensor import Dim, Size, names_of, show_size
from graphspec.train.config.optimizers import OptimizerSettings
from graphspec.view.costs import StepCosts, slots

CONNECTED_WIDTH = 40
"""Columns that `Connected to` may take before it goes on below."""


@dataclass(frozen=True, slots=True)
class Row:
    """A node, or an input. `rows` are the nodes inside a block or a model, with their names from the root.

    Sizes of shapes are integers, expressions of unknown sizes, and None for the batch axis.
    `output_shape` is the first output's. The weights of a shared layer count in the row of its first call;
    `shared` is its name.
    """

    name: str
    type: str
    output_shapes: tuple[tuple[Dim | None, ...], ...]
    params: int
    trainable_params: int
    connected_to: tuple[str, ...]
    shared: str | None = None
    repeated_call: bool = False
    rows: tuple[Row, ...] = ()
    flops: Dim = 0
    activation_bytes: Dim = 0
    opaque: bool = False
    """Whether `params` lack those of a custom module: its, or of one inside it."""
    default: int | float | bool | str | None = None
    """The value of an input that may be left out."""

    @property
    def output_shape(self) -> tuple[Dim | None, ...]:
        return self.output_shapes[0]

    def at(self, sizes: Mapping[str, int]) -> Row:
        """The row where named sizes have these values."""
        return replace(
            self,
            output_shapes=tuple(tuple(_bound(s, sizes) for s in shape) for shape in self.output_shapes),
            rows=tuple(row.at(sizes) for row in self.rows),
            flops=_bound(self.flops, sizes) or 0,
            activation_bytes=_bound(self.activation_bytes, sizes) or 0,
        )

    def to_json(
        self, expand: bool = False, flops: bool = False, memory: bool = False, batch_size: int = 1
    ) -> dict[str, Any]:
        """The row as `summary --json` has it; `layers` are the nodes inside it, where it is unfolded."""
        entry: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "output_shape": [size if isinstance(size, int) else None for size in self.output_shape],
            "params": self.params if not self.opaque or self.rows else None,
            "trainable_params": self.trainable_params if not self.opaque or self.rows else None,
            "connected_to": list(self.connected_to),
        }
        if self.default is not None:
            entry["default"] = self.default
        for wanted, key, number in (
            (flops, "flops", self.flops),
            (memory, "activation_bytes", self.activation_bytes),
        ):
            if wanted:
                entry[key] = None if isinstance(number, Size) else number * batch_size
        if expand and self.rows:
            entry["layers"] = [row.to_json(expand, flops, memory, batch_size) for row in self.rows]
        return entry


@dataclass(frozen=True, slots=True, repr=False)
class Summary:
    """Rows and totals of a program; `str()` is the table. Totals count moving statistics, as Keras does."""

    name: str
    rows: tuple[Row, ...]
    total_params: int
    trainable_params: int
    optimizer: OptimizerSettings = field(repr=False)
    adapter_params: int = 0
    """The weights of `train.adapters`, which are not part of the model."""
    peak: tuple[int, int] | None = None
    """A batch size, and the bytes of a training step of it, as `Program.memory` finds them."""

    @property
    def unknown_params(self) -> tuple[str, ...]:
        """The custom modules whose weights no total includes: they are unknown before the module is made."""
        rows = (row for _, row in _unfolded(self.rows, 0))
        return tuple(row.name for row in rows if row.opaque and not row.rows and not row.repeated_call)

    @property
    def non_trainable_params(self) -> int:
        """The params that training does not update; moving statistics are not trainable."""
        return self.total_params - self.trainable_params

    @checked
    def at(self, sizes: Mapping[str, int]) -> Summary:
        """The summary with these values of named sizes: `program.summary().at({"length": 128})`."""
        return replace(self, rows=tuple(row.at(sizes) for row in self.rows))

    @checked
    def step(self, batch_size: int = 1) -> StepCosts:
        """The cost of a training step on `batch_size` examples; outputs are kept for the backward pass."""
        flops: Dim = 0
        kept: Dim = 0
        for row in self.rows:
            flops, kept = flops + row.flops, kept + row.activation_bytes
        gradients = 4 * self.trainable_params
        return StepCosts(
            batch_size,
            flops * batch_size,
            kept * batch_size,
            4 * self.total_params,
            gradients,
            gradients * slots(self.optimizer),
            self.peak[1] if self.peak is not None and self.peak[0] == batch_size else None,
        )

    @checked
    def to_json(
        self, expand: bool = False, flops: bool = False, memory: bool = False, batch_size: int | None = None
    ) -> dict[str, Any]:
        """The shape of `summary --json`; an unknown size is null. Costs are of `batch_size` examples."""
        size = batch_size or 1
        document: dict[str, Any] = {
            "name": self.name,
            "layers": [row.to_json(expand, flops, memory, size) for row in self.rows],
            "total_params": self.total_params,
            "trainable_params": self.trainable_params,
            "non_trainable_params": self.non_trainable_params,
        }
        if self.unknown_params:
            document["unknown_params"] = list(self.unknown_params)
        if flops or memory or batch_size:
            document["training_step"] = self.step(size).to_json()
        return document

    @checked
    def render(
        self,
        expand: bool = False,
        trainable: bool = False,
        flops: bool = False,
        memory: bool = False,
        batch_size: int | None = None,
        color: bool = False,
        width: int | None = None,
    ) -> str:
        """The table as text, without a final newline; costs are those of `batch_size` examples (default 1).
        In a table wider than `width`, names are cut, but never numbers.
        """
        size = batch_size or 1
        columns: list[tuple[str, str, Callable[[Row], list[str]]]] = [
            ("Layer (type)", "", lambda row: [_titled(row)]),
            ("Output Shape", "36", lambda row: [show_shape(shape) for shape in row.output_shapes]),
            ("Param #", "32", _params_cell),
        ]
        if trainable:
            columns.append(("Trainable", "", lambda row: [_trainable_cell(row)]))
        if flops:
            columns.append(
                ("FLOPs", "32", lambda row: [_scaled(row.flops * size, 1000, ("", "K", "M", "G", "T", "P"))])
            )
        if memory:
            columns.append(("Activations", "32", lambda row: [show_bytes(row.activation_bytes * size)]))
        columns.append(("Connected to", "", lambda row: _connected_cell(row, CONNECTED_WIDTH)))
        rows = list(_unfolded(self.rows, 0)) if expand else [(0, row) for row in self.rows]
        cells = [
            [_indent(get(row), depth) if i == 0 else get(row) for i, (_, _, get) in enumerate(columns)]
            for depth, row in rows
        ]
        titles = [title for title, _, _ in columns]
        if width is not None:
            _fit(titles, cells, width)
        paint = (
            (lambda code, text: f"\x1b[{code}m{text}\x1b[0m" if code else text)
            if color
            else (lambda code, text: text)
        )
        lines = [paint("1", f'Model: "{visible(self.name)}"')]
        lines += _table(titles, [code for _, code, _ in columns], cells, paint)
        lines += self._totals()
        if flops or memory or batch_size:
            lines += ["", *self._costs(size)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    def __repr__(self) -> str:
        return f"<Summary of {self.name}: {len(self.rows)} rows, {self.total_params:,} params>"

    def _totals(self) -> list[str]:
        counts = (
            ("Total", self.total_params),
            ("Trainable", self.trainable_params),
            ("Non-trainable", self.non_trainable_params),
        )
        lines = [f" {what} params: {count:,} ({show_bytes(4 * count)})" for what, count in counts]
        if count := self.adapter_params:
            lines.append(f" Adapter params: {count:,} ({show_bytes(4 * count)}), the only ones that train")
        if names := self.unknown_params:
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            lines.append(f" Not counted: the params of {shown}, which are known once the module is made.")
        return lines

    def _costs(self, batch_size: int) -> list[str]:
        step, examples = self.step(batch_size), "1 example" if batch_size == 1 else f"{batch_size:,} examples"
        optimizer, per = self.optimizer.canonical, slots(self.optimizer)
        exact = step.peak_bytes is not None
        left_out = "workspaces of GPU kernels" if exact else "kernels' workspace, temporaries within layers"
        kind = "at its peak" if exact else "(the sum of these parts, a rough estimate)"
        return [
            f" Forward pass on {examples}: {show_flops(step.forward_flops)} (a multiply-add is 2 FLOPs)",
            f" Training step on {examples}: {show_flops(step.flops)} (backward: 2 x forward)",
            f" Memory of a training step: {show_bytes(step.total_bytes)} {kind}",
            f"   weights {show_bytes(step.weight_bytes)}",
            f"   gradients {show_bytes(step.gradient_bytes)}",
            f"   optimizer state {show_bytes(step.optimizer_bytes)} ({optimizer}: {per} per weight)",
            f"   activations {show_bytes(step.activation_bytes)} (each node's output, kept for backward)",
            *_beside_the_sum(step),
            f" Not counted: {left_out}, the framework itself.",
        ]


def _beside_the_sum(step: StepCosts) -> list[str]:
    """Why the peak of a step, where it was found, is not the sum of its parts."""
    peak, summed = step.peak_bytes, step.sum_bytes
    if peak is None or isinstance(summed, Size) or peak == summed:
        return []
    if peak < summed:
        how, why = "less", "some outputs share memory, and activations are freed while gradients are made"
    else:
        how, why = "more", "layers need memory for more than their outputs, and so do the targets"
    return [f" The peak is {how} than the sum of these parts, {show_bytes(summed)}:", f"   {why}."]


def _bound(dim: Dim | None, sizes: Mapping[str, int]) -> Dim | None:
    return dim.substitute(sizes) if isinstance(dim, Size) else dim


# --- text


def show_shape(shape: Iterable[Dim | None]) -> str:
    """A shape as Keras prints it, with unknown sizes as expressions: `(None, (length - 4) // 5, 32)`."""
    sizes = ["None" if size is None else show_size(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def show_bytes(count: Dim) -> str:
    """A number of bytes: `280 bytes`, or as Keras prints it, `13.54 KB`, of 1024 bytes each."""
    return _scaled(count, 1024, (" byte" if count == 1 else " bytes", " KB", " MB", " GB", " TB", " PB"))


def show_flops(count: Dim) -> str:
    """A number of operations in units of 1000: `7.75 GFLOPs`."""
    return _scaled(count, 1000, (" FLOPs", " KFLOPs", " MFLOPs", " GFLOPs", " TFLOPs", " PFLOPs", " EFLOPs"))


def _scaled(number: Dim, base: int, units: tuple[str, ...]) -> str:
    if isinstance(number, Size):
        return ("?" if any(name.startswith("?") for name in names_of(number)) else str(number)) + units[0]
    amount, power = float(number), 0
    while amount >= base and power < len(units) - 1:
        amount, power = amount / base, power + 1
    return f"{amount:.2f}{units[power]}" if power else f"{number:,}{units[0]}"


def _titled(row: Row) -> str:
    kind = f"{row.shared}: {row.type}" if row.shared is not None else row.type
    kind += f" = {str(row.default).lower()}" if row.default is not None else ""
    return f"{row.name} ({visible(kind)})"


def _params_cell(row: Row) -> list[str]:
    if row.repeated_call and not row.params:
        return ["shared"]
    if row.opaque:
        return [f"{row.params:,} + ?" if row.params else "?"]
    return [f"{row.params:,}"]


def _trainable_cell(row: Row) -> str:
    return (
        "?"
        if row.opaque and not row.params
        else "-"
        if not row.params
        else "Y"
        if row.trainable_params
        else "N"
    )


def _connected_cell(row: Row, width: int) -> list[str]:
    return _wrapped(", ".join(row.connected_to), width) or ["-"]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


LEAST_WIDTH, NARROWEST = 16, 12
"""Columns below which names are not cut: while shapes can be wrapped, and however narrow the terminal."""


def _fit(titles: list[str], cells: list[list[list[str]]], width: int) -> None:
    """Cuts the first column, names, and the last, connections, so that a table fits. Where
    that is not enough it wraps shapes.
    """
    whole = [list(row) for row in cells]

    def over() -> int:
        widest = [
            max([len(title), *(len(line) for row in cells for line in row[i])])
            for i, title in enumerate(titles)
        ]
        return sum(widest) + 3 * len(widest) + 1 - width

    cuts = (-1, _cut_connections), (0, _cut_name)
    for column, cut, least in (
        *((*each, LEAST_WIDTH) for each in cuts),
        (1, _wrap_shapes, NARROWEST),
        *((*each, NARROWEST) for each in cuts),
    ):
        room = max(len(line) for row in cells for line in row[column]) if cells else 0
        room = max(room - max(over(), 0), least)
        for row, before in zip(cells, whole, strict=True):
            row[column] = cut(before[column], room)


def _cut_connections(lines: list[str], room: int) -> list[str]:
    return [_tail(line, room) for line in _wrapped(" ".join(lines), room)]


def _wrap_shapes(lines: list[str], room: int) -> list[str]:
    return [part for line in lines for part in _wrapped(line, room)]


def _cut_name(lines: list[str], room: int) -> list[str]:
    """`...first.spatial.conv (Conv2D)`: of names the end tells most. A long type is left out."""
    shortened = []
    for line in lines:
        if len(line) > room:
            indent = " " * min(len(line) - len(line.lstrip()), room // 8)
            name, space, kind = line.strip().rpartition(" (")
            left = room - len(indent + space + kind)
            line = indent + (
                _tail(name, left) + space + kind if left >= 8 else _tail(name, room - len(indent))
            )
        shortened.append(line)
    return shortened


def _tail(text: str, room: int) -> str:
    return text if len(text) <= room else "..." + text[3 - room :]


def _indent(lines: list[str], depth: int) -> list[str]:
    return ["  " * depth + line for line in lines]


def _unfolded(rows: Iterable[Row], depth: int) -> Iterator[tuple[int, Row]]:
    for row in rows:
        yield depth, row
        yield from _unfolded(row.rows, depth + 1)


def _table(
    titles: list[str], codes: list[str], rows: list[list[list[str]]], paint: Callable[[str, str], str]
) -> list[str]:
    """A table in Keras' frame. Numbers, whose titles these are, are to the right."""
    right: Mapping[str, bool] = {"Param #": True, "FLOPs": True, "Activations": True}
    widths = [
        max([len(title), *(len(line) for row in rows for line in row[i])]) for i, title in enumerate(titles)
    ]

    def line(cells: list[str], bar: str, styles: list[str]) -> str:
        padded = [
            paint(style, cell.rjust(width) if right.get(title) else cell.ljust(width))
            for title, cell, width, style in zip(titles, cells, widths, styles, strict=True)
        ]
        return f"{bar} {f' {bar} '.join(padded)} {bar}"

    def rule(left: str, fill: str, middle: str, end: str) -> str:
        return left + middle.join(fill * (width + 2) for width in widths) + end

    lines = [rule("┏", "━", "┳", "┓"), line(titles, "┃", ["1"] * len(titles)), rule("┡", "━", "╇", "┩")]
    for row in rows:
        for number in range(max(map(len, row))):
            lines.append(line([cell[number] if number < len(cell) else "" for cell in row], "│", codes))
    return [*lines, rule("└", "─", "┴", "┘")]
