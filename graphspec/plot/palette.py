"""The colours of pictures, light and dark, and the parts that use them.

An SVG file has the light colours as plain attributes, because many viewers do not support CSS variables, and
the dark ones as a style sheet on top. The page has both as variables.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphspec.diagnostics import by_word

LIGHT = {
    "page": "#ffffff",
    "ink": "#1f2328",
    "more": "#59636e",
    "line": "#8c959f",
    "frame": "#d1d9e0",
    "inside": "#fafbfc",
    "layer": "#ddf4ff",
    "layer-line": "#54aeff",
    "plain": "#f6f8fa",
    "plain-line": "#b1bac4",
    "merge": "#fbefff",
    "merge-line": "#c297ff",
    "end": "#dafbe1",
    "end-line": "#4ac26b",
    "weight": "#fff8c5",
    "weight-line": "#bf8700",
    "group": "#e8ecf1",
    "type": "#0550ae",
    "hot": "#ff8182",
}
DARK = {
    "page": "#0d1117",
    "ink": "#e6edf3",
    "more": "#9198a1",
    "line": "#768390",
    "frame": "#3d444d",
    "inside": "#12171e",
    "layer": "#10243e",
    "layer-line": "#316dca",
    "plain": "#1c2128",
    "plain-line": "#545d68",
    "merge": "#271a42",
    "merge-line": "#8256d0",
    "end": "#0f2d1a",
    "end-line": "#347d39",
    "weight": "#332600",
    "weight-line": "#bb8009",
    "group": "#262c36",
    "type": "#79c0ff",
    "hot": "#a40e26",
}

PARTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    # part: its selector, and its properties; a later part overrides an earlier one
    "text": ("text", {"font-size": "12px", "fill": "ink"}),
    "page": (".page", {"fill": "page"}),
    "caption": (".caption", {"font-weight": "600"}),
    "name": (".name", {"font-weight": "600"}),
    "type": (".type", {"fill": "type"}),
    "more": (".more, .shape", {"font-size": "11px", "fill": "more"}),
    "layer": (".box rect", {"fill": "layer", "stroke": "layer-line"}),
    "plain": (".plain rect", {"fill": "plain", "stroke": "plain-line"}),
    "merge": (".merge rect, .op rect, .compute rect", {"fill": "merge", "stroke": "merge-line"}),
    "end": (
        ".input rect, .output rect, .entry rect, .exit rect",
        {"fill": "end", "stroke": "end-line"},
    ),
    "weight": (".parameter rect, .constant rect, .shared rect", {"fill": "weight", "stroke": "weight-line"}),
    "group": (".block rect, .model rect, .section rect", {"fill": "group", "stroke": "line"}),
    "behind": (".behind", {"fill": "group", "stroke": "line"}),
    "frame": (".frame", {"fill": "inside", "stroke": "frame"}),
    "edge": (".edge", {"fill": "none", "stroke": "line", "stroke-width": "1.3px"}),
    "weights": (
        ".weights",
        {"fill": "none", "stroke": "weight-line", "stroke-width": "1.3px", "stroke-dasharray": "4 3"},
    ),
    "head": (".head", {"fill": "line"}),
}
OF_KINDS = by_word(
    merge="merge op compute",
    end="input output entry exit",
    weight="parameter constant shared",
    group="block model section",
)
"""The part of a box by its kind; a layer's is `layer`, or `plain` where it has no weights."""


def attributes(*parts: str) -> str:
    """The light style of parts as XML attributes, each after a space; the last part wins."""
    properties = {name: value for part in parts for name, value in PARTS[part][1].items()}
    return "".join(f' {name}="{LIGHT.get(value, value)}"' for name, value in properties.items())


def dark_style() -> str:
    """A style sheet that overrides `attributes` where the viewer's system is dark."""
    rules = "\n".join(
        f"  {selector} {{ {'; '.join(coloured)} }}"
        for selector, properties in PARTS.values()
        if (coloured := [f"{name}: {DARK[value]}" for name, value in properties.items() if value in DARK])
    )
    return f"@media (prefers-color-scheme: dark) {{\n{rules}\n}}"


def page_style() -> str:
    """The style sheet of the page: the colours as variables, which its own styles use, too."""

    def variables(colours: Mapping[str, str]) -> str:
        return " ".join(f"--{name}: {colour};" for name, colour in colours.items())

    rules = "\n".join(
        f"{selector} {{ {'; '.join(_with_variables(properties))} }}"
        for selector, properties in PARTS.values()
    )
    return (
        f":root {{ color-scheme: light dark; {variables(LIGHT)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}\n{rules}\n"
    )


def _with_variables(properties: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: var(--{value})" if value in LIGHT else f"{name}: {value}"
        for name, value in properties.items()
    ]
