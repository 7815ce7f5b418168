"""SVG as pixels or as PDF, by the typesetter Typst: a single wheel that needs no system library.

It includes the pictures' font, DejaVu Sans Mono, so a file is the same on each machine.
"""

from __future__ import annotations

import re

from graphspec.diagnostics.packages import needing

PIXELS = 2
"""Of a picture in PNG for one of SVG, each way."""
POINTS = 0.75
"""Of a page for one pixel of SVG."""
PAGE = """#set page(width: {width:.2f}pt, height: {height:.2f}pt, margin: 0pt)
#image(bytes(sys.inputs.svg), format: "svg", width: 100%)
"""


def converted(svg: str, suffix: str) -> bytes:
    """Converts an SVG file to the format of `suffix`, .png or .pdf."""
    with needing(f"`{suffix}`", "plot", otherwise=".svg and .html need nothing"):
        import typst
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    assert size is not None
    width, height = (float(each) * POINTS for each in size.groups())
    contents = typst.compile(
        PAGE.format(width=width, height=height).encode(),
        format="png" if suffix == ".png" else "pdf",
        ppi=72 / POINTS * PIXELS,
        ignore_system_fonts=True,
        sys_inputs={"svg": svg},
    )
    assert isinstance(contents, bytes)
    return contents
