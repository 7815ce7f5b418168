"""Writes the picture of an error in README: `python docs/pictures.py`. A test compares its text with what the
command prints.
"""

from __future__ import annotations

import io
import re
from html import unescape
from pathlib import Path

from rich.console import Console
from rich.text import Text

from graphspec.compiler import check
from graphspec.diagnostics import Diagnostics, render

PICTURE = Path(__file__).parent / "assets" / "error.svg"
COLUMNS = 76


SPEC = """\
inputs:
  image: {shape: [32, 32, 16]}
nodes:
  conv: {layer: Conv2D, out_channels: 64, kernel_size: 3, padding: same}
  flat: {layer: GlobalAveragePool2D, from: conv}
outputs: [flat]
"""


def printed(color: bool = False) -> str:
    """What `graphspec check typo.yaml` prints of its mistakes."""
    diagnostics, sources = Diagnostics(), dict[str, str]()
    check(SPEC, diagnostics, sources)
    reports = (render(each, sources, color) for each in diagnostics.sorted())
    return "\n\n".join(reports).replace("<spec>", "typo.yaml")


def shown(picture: str) -> str:
    """The text of a picture, without blanks, which places stand for."""
    lines: dict[float, str] = {}
    for y, text in re.findall(r'<text [^>]*?y="([\d.]+)"[^>]*>(.*?)</text>', picture, re.DOTALL):
        lines[float(y)] = lines.get(float(y), "") + unescape(text)
    return "".join("".join(lines[y].split()) for y in sorted(lines))


def main() -> None:
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(f"\x1b[2m$ graphspec check typo.yaml\x1b[0m\n{printed(color=True)}"))
    PICTURE.write_text(console.export_svg(title="typo.yaml", unique_id="error"), encoding="utf-8")


if __name__ == "__main__":
    main()
