"""`report`: what a run has learned, as one page that loads nothing, or as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import Allow, AllowUrl, Device, Json, misuse
from graphspec.cli.outputs import Force, check_output, marked, need_apart_from, of_format, write
from graphspec.cli.printing import answer, print_json
from graphspec.cli.runs import RunArgument, Weights, using
from graphspec.view.curves import SEVERAL, curves, ticks

if TYPE_CHECKING:
    from graphspec.runs.looking import ExampleReport, OutputReport
    from graphspec.runs.report import Report

SIDE = 320
"""Width and height of a picture, in pixels."""
START, INNER = 56, SIDE - 70
"""Where its frame begins, from the left and from below, and the side of that."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .6rem 0; display: block; max-width: 100%; overflow-x: auto }
td, th { padding: .2rem .6rem; text-align: right }
th { font-weight: 600; border-bottom: 1px solid #bbb } td:first-child, th:first-child { text-align: left }
img { image-rendering: pixelated; width: 96px } section, h2 { margin-top: 2.2rem }
svg { max-width: 100%; height: auto } h1, p { overflow-wrap: anywhere }
.examples { display: flex; flex-wrap: wrap; gap: .8rem } .example { border: 1px solid #ccc; padding: .6rem }
.example figure { display: inline-block; margin: 0 .4rem .3rem 0; font-size: 12px; color: #555 }
.example p { margin: .1rem 0; font-size: 13px } .wrong { color: #a3195b }
@media (max-width: 30rem) { td, th { padding: .2rem .3rem } }
"""


def report(
    run: RunArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Output file, .html.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="Data with targets. [default: the spec's test data]"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Use at most N examples.")] = 2000,
    weights: Weights = "best",
    device: Device = "auto",
    force: Force = False,
    allow: Allow = None,
    allow_url: AllowUrl = False,
    as_json: Json = False,
) -> None:
    """Explain a run on one page: curves, errors, importance.

    Example: graphspec report runs/cars-1 -o report.html
    """
    from graphspec.runs.report import report as looked_at

    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise misuse("-o", f"{output} does not end in .html")
    if output is None and not as_json:
        output = Path(f"{run.name}.html")
    if output is not None:
        check_output(output, of_format("html"), force, [data])
    with using(run, weights, as_json, allow, allow_url) as loaded:
        need_apart_from(loaded.program, output)
        content = looked_at(loaded, data, limit, device)
        if output is not None:
            write(output, marked(page(content).encode("utf-8"), "html"))
    if as_json:
        print_json({"ok": True, **content.to_json()})
    else:
        answer(False, f"wrote {output}", file=str(output))


def page(made: Report) -> str:
    """The text of the page. All that comes of data is escaped, and its policy forbids scripts."""
    from graphspec.plot.html import policy_hash

    policy = f"default-src 'none'; img-src data:; style-src {policy_hash(STYLE)}"
    title = escape(f"{made.name or 'a run'}: {made.run}")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>",
        *_overview(made),
        *(line for each in made.outputs for line in _output(each)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _overview(made: Report) -> Iterator[str]:
    best = f"; the best epoch is {made.best_epoch}" if made.best_epoch else ""
    yield f'<section id="curves"><h2>Training</h2><p>Measured on {made.examples:,} examples{best}.</p>'
    numbers = {name: value for name, value in made.metrics.items() if isinstance(value, int | float)}
    yield _table(("metric", "value"), [(name, f"{value:.4g}") for name, value in numbers.items()])
    if made.baselines:
        yield "<h3>Without the model, on the same rows</h3>"
        names = [name for name in numbers if all(name in values for values in made.baselines.values())]
        rows = [("the model", *(f"{numbers[name]:.4g}" for name in names))]
        rows += [(title, *(f"{v[name]:.4g}" for name in names)) for title, v in made.baselines.items()]
        yield _table(("", *names), rows)
    if made.copies:
        yield f'<p class="wrong">{made.copies:,} of the examples have inputs that a training example has: '
        yield "their targets may be remembered. Keep such rows together: validation: {group: ...}.</p>"
    if made.history:
        yield curves(made.history, "Values by epoch", made.best_epoch)
    yield "</section>"
    if made.before is not None:
        yield f'<section id="changes"><h2>What differs from {escape(made.before)}</h2>'
        rows = [(c["what"], c.get("before", c.get("change", "")), c.get("after", "")) for c in made.changes]
        yield _table(("setting or node", "before", "now"), rows) if rows else "<p>Nothing.</p>"
        yield "</section>"


def _output(report: OutputReport) -> Iterator[str]:
    yield f"<h2>Output {escape(report.name)}</h2><p>Mean {report.measure}: {report.error:.4g}.</p>"
    if report.confusion:
        yield '<section id="confusion"><h3>Confusion matrix: targets down, predictions across</h3>'
        rows = [(label, *map(str, row)) for label, row in zip(report.classes, report.confusion, strict=True)]
        yield _table(("target", *report.classes), rows) + "</section>"
    if report.overlap:
        yield '<section id="overlap"><h3>Overlap of each class, over all pixels</h3>'
        scores = [[each["class"], *map(_score, (each["iou"], each["dice"]))] for each in report.overlap]
        yield _table(("class", "IoU", "Dice"), scores) + "</section>"
    if report.detections:
        yield '<section id="detections"><h3>Boxes of each class</h3>'
        found = [
            [each["class"], f"{each['targets']:,}", *map(_score, (each["ap50"], each["ap"]))]
            for each in report.detections
        ]
        yield _table(("class", "targets", "AP at IoU 0.5", "AP"), found)
        curves_by_class = {str(each["class"]): each["precision"] for each in report.detections}
        yield f"<h3>Precision by recall, at IoU 0.5</h3>{_precision(curves_by_class)}</section>"
    if report.points:
        scatter = _scatter(report.points)
        yield f'<section id="residuals"><h3>Predictions against targets</h3>{scatter}</section>'
    if report.calibration:
        yield '<section id="calibration"><h3>Calibration: how often a probability comes true</h3>'
        rows = [(f"{c['said']:.2f}", f"{c['was']:.2f}", f"{c['count']:,.0f}") for c in report.calibration]
        yield _table(("probability", "true", "examples"), rows) + "</section>"
    yield '<section id="importance"><h3>Importance: how much the error rises when a column is shuffled</h3>'
    rows = [(each.column, f"{each.rise:.4g}", f"± {each.spread:.2g}") for each in report.importance]
    yield _table(("column", "rise", "deviation"), rows) + "</section>"
    for name, part in report.alone.items():
        yield f'<p class="wrong">{escape(name)} alone tells {part:.1%} of {escape(report.name)}, '
        yield "about as much as the model: is it known when you predict?</p>"
    if report.groups:
        yield '<section id="groups"><h3>Errors by the values of columns</h3>'
        rows = [(g.column, g.value, f"{g.examples:,}", f"{g.error:.4g}") for g in report.groups]
        yield _table(("column", "value", "examples", "error"), rows) + "</section>"
    for name, examples in (("worst", report.worst), ("best", report.best)):
        yield f'<section id="{name}"><h3>The {name} examples</h3><div class="examples">'
        yield from (_example(each, bool(report.classes)) for each in examples)
        yield "</div></section>"


def _example(one: ExampleReport, of_class: bool) -> str:
    shown = [(escape(name), escape(url)) for name, url in one.pictures.items()]
    lines = [
        f'<figure><img alt="{name}" src="{url}"><figcaption>{name}</figcaption></figure>'
        for name, url in shown
    ]
    wrong = of_class and re.sub(r" \(\d+%\)$", "", one.predicted) != one.target
    color = ' class="wrong"' if wrong else ""
    lines += [
        f"<p>target <b>{escape(one.target)}</b></p>",
        f"<p{color}>predicted {escape(one.predicted)}; error {one.error:.4g}</p>",
        *(f"<p>{escape(name)}: {escape(value)}</p>" for name, value in one.inputs.items()),
    ]
    return f'<div class="example">{"".join(lines)}</div>'


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    return f"<table><tr>{top}</tr>" + "".join(f"<tr>{row}</tr>" for row in body) + "</table>"


def _precision(by_class: Mapping[str, Sequence[float]]) -> str:
    """Recall across, precision up, a line for each class; the mouse on it shows which."""
    parts = _axes((0.0, 0.25, 0.5, 0.75, 1.0), "recall", "precision")
    for number, (label, values) in enumerate(by_class.items()):
        step, low = INNER / (len(values) - 1), SIDE - START
        points = " ".join(f"{START + i * step:.1f},{low - INNER * v:.1f}" for i, v in enumerate(values))
        line = f'<polyline points="{points}" fill="none" stroke="{SEVERAL[number % len(SEVERAL)]}"'
        parts.append(f"{line}><title>{escape(label)}</title></polyline>")
    return _svg(parts)


def _axes(values: Sequence[float], across: str, up: str) -> list[str]:
    """A grid with the same values, rising, across and up, and the words of both axes."""
    low, parts = SIDE - START, []
    for value in values:
        place = INNER * (value - values[0]) / (values[-1] - values[0])
        x, y = START + place, low - place
        parts += [
            f'<path d="M{START} {y:.1f}h{INNER}" stroke="#ddd"/>',
            f'<text x="{START - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>',
            f'<text x="{x:.1f}" y="{low + 16}" text-anchor="middle">{value:.6g}</text>',
        ]
    return [
        *parts,
        f'<text x="{START + INNER / 2}" y="{low + 34}" text-anchor="middle">{across}</text>',
        f'<text x="{START}" y="{low - INNER - 6}">{up}</text>',
    ]


def _svg(parts: Sequence[str]) -> str:
    box = f'width="{SIDE}" height="{SIDE}" viewBox="0 0 {SIDE} {SIDE}"'
    style = 'font-family="sans-serif" font-size="11" fill="#444"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} {style}>{"".join(parts)}</svg>'


def _scatter(points: Sequence[tuple[float, float]]) -> str:
    """Targets across, predictions up, and the line on which both are equal."""
    low, high = min(map(min, points)), max(map(max, points))
    values = ticks(low, high) if low < high else ticks(low - 0.5, high + 0.5)

    def across(value: float) -> float:
        return START + INNER * (value - values[0]) / (values[-1] - values[0])

    equal = f'<path d="M{START} {SIDE - START}l{INNER} {-INNER}" stroke="#999"/>'
    parts = [equal, *_axes(values, "target", "prediction")]
    parts += [
        f'<circle cx="{across(t):.1f}" cy="{SIDE - across(v):.1f}" r="2" fill="#1f6feb"/>' for t, v in points
    ]
    return _svg(parts)
