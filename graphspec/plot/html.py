"""A picture as an interactive page. It loads nothing, and no text of a spec can become markup or script.

The page contains text of the spec in two places: escaped in the title, and as JSON without any `<`. The
script inserts it as text, never as markup, and the page's policy forbids all other scripts and styles.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from graphspec.elaborated import BaseProgram
from graphspec.plot.layout import face
from graphspec.plot.ordering import ranks
from graphspec.plot.palette import page_style
from graphspec.plot.picture import ENDS, Box, Picture
from graphspec.plot.places import Places
from graphspec.plot.words import FAMILY, caption, count, heading, second
from graphspec.tensor import names_of, value_of
from graphspec.view.summary import show_bytes, show_flops

TYPICAL = 64
"""The value of an open size where costs become colours."""


def html(body: Picture, program: BaseProgram, right: bool = False, fixed: bool = False) -> str:
    """The text of the page. The picture runs down, or to the `right`.

    Unless the open groups are `fixed`, the page closes some until all of it is readable.
    """
    places = Places(program)
    folder = files("graphspec.plot")
    page, script, css = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.js", "page.css")
    )
    style = f"svg, code, pre {{ font-family: {FAMILY}; }}\n{page_style()}{css}"
    graph = {
        "name": program.name,
        "body": _body(body, places),
        "places": places.listed(),
        "digits": places.digits,
        "right": right,
        "fixed": fixed,
    }
    data = json.dumps(graph, ensure_ascii=False, separators=(",", ":"))
    own_only = f"script-src {policy_hash(script)}; style-src {policy_hash(style)}"
    return Template(page).substitute(
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; {own_only}",
        title=escape(caption(program.name, body.boxes)),
        style=style,
        script=script,
        data=data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    )


def policy_hash(text: str) -> str:
    """The hash of a script or style, for the page's policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _body(body: Picture, places: Places) -> dict[str, Any]:
    ranking = ranks(body)
    return {
        "boxes": [_box(box, places) for box in body.boxes],
        "ranks": ranking.ranks,
        "segments": [(s.upper, s.port, s.lower, s.slot, s.weights, s.pull) for s in ranking.segments],
    }


def _box(box: Box, places: Places) -> dict[str, Any]:
    """The data of a box on the page. The script fills in what is left out because it is empty or 0."""
    shape = face(box)
    name, title = heading(box)
    data: dict[str, Any] = {
        "kind": box.kind,
        "name": name,
        "type": title,
        "more": second(box),
        "path": box.path,
        "count": box.count if box.count > 1 else 0,
        "plain": not (box.params or box.shared or box.opaque),
        "width": shape.width,
        "height": shape.height,
        "labels": shape.labels,
        "facts": _facts(box),
        "arguments": box.arguments,
        "weights": box.weights,
        "reads": box.reads,
        "ports": [(port.name, port.label) for port in box.ports],
        "places": places.numbers(box),
        "costs": _costs(box),
    }
    if box.body is not None:
        data |= {"open": box.open, "body": _body(box.body, places)}
    return {key: value for key, value in data.items() if value}


def _costs(box: Box) -> list[int]:
    """Parameters, FLOPs and bytes of activations as numbers; empty if all are 0."""
    sizes = (box.params, box.flops, box.memory)
    costs = [value_of(size, dict.fromkeys(names_of(size), TYPICAL)) for size in sizes]
    return costs if any(costs) else []


def _facts(box: Box) -> list[tuple[str, str]]:
    """The costs that the panel shows, for one example."""
    if box.kind in ENDS:
        return [("loss", f"{box.title} {box.detail}".strip())] if box.title else []
    facts = []
    if box.shared:
        facts.append(("weights", f"of {box.shared}"))
    else:
        facts.append(("params", count(box.params, box.opaque)))
        if box.trainable != box.params:
            facts.append(("trainable", f"{box.trainable:,}"))
    if box.count > 1:
        facts.append(("instances", f"{box.count:,} with the same sizes; the numbers here are their sums"))
    if box.kind != "shared":
        facts += [("FLOPs", show_flops(box.flops)), ("activations", show_bytes(box.memory))]
    return facts
