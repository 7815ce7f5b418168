"""docs/gallery.md shows every spec as it is: its header, size and drawing, and what it said."""

import re
from pathlib import Path

import pytest

import graphspec
from graphspec.plot import plot
from tests import ROOT, bundled
from tests.programs import program_of

SPECS = {path.stem: path for path in sorted((ROOT / "specs").glob("*.yaml"))}
PAGE = ROOT / "docs" / "gallery.md"
SECTIONS = {
    "First steps": ["dense", "digits", "digits_tuned"],
    "Data as they come": ["cars", "names", "names_xlstm", "digit_images"],
    "Boxes and masks": ["detector", "detr", "segmentation"],
    "Retrieval": ["two_towers"],
    "Forecasts": ["carbon_dioxide", "carbon_dioxide_quantiles"],
    "Texts that go on": ["novel", "invented", "dates"],
    "Samples of noise": ["digits_diffusion"],
    "Several inputs, several outputs": ["question_answering", "posts", "item_price"],
    "Graphs of layers": ["inception_module", "residual"],
    "Shared layers, models as layers": [
        "siamese", "two_cameras", "ensemble", "encoder", "decoder", "autoencoder", "vae",
    ],
    "Phases and updates": [
        "distillation", "digits_gan", "byol", "moco", "barlow", "digits_robust", "few_shot", "fixmatch",
        "other_camera",
    ],
    "Published networks": ["inception_v3", "xception", "resnet50", "resnet", "torchvision_resnet", "unet"],
    "Attention": ["transformer_classifier", "gpt", "bert", "llama"],
}  # fmt: skip
INTRODUCTION = """# Gallery

Specs to copy from, in [specs/](../specs). The tests train each of them, export all but `digits_gan`,
`digits_robust` and `few_shot`, and compare published networks with the original. A drawing shows layers
with their parameters and the shapes between them: blocks are frames, identical instances are one stack, and
shared weights are a yellow box.
`graphspec plot SPEC -o FILE.html` draws an interactive page: fold, zoom, search, click a node for its
arguments, weights and cost, its YAML, its line of Python, what it reads and what reads it.
`FILE.html#NODE` opens it there.
"""


def header(text: str) -> str:
    """The comment lines that a spec begins with, as one paragraph."""
    lines = re.match(r"(# .*\n)+", text)
    assert lines is not None
    return " ".join(line.removeprefix("# ") for line in lines[0].splitlines())


def page() -> str:
    parts = [INTRODUCTION]
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        for name in names:
            total = program_of(SPECS[name]).summary().total_params
            parts.append(
                f"### [{name}](../specs/{name}.yaml)\n\n{header(SPECS[name].read_text())}\n"
                f"{total:,} parameters.\n\n![{name}](gallery/{name}.svg)\n"
            )
            said = PAGE.parent / "gallery" / f"{name}.txt"
            if said.exists():
                parts.append(f"```text\n{said.read_text()}```\n")
            if (PAGE.parent / "gallery" / f"{name}.png").exists():
                parts.append(f"![samples of {name}](gallery/{name}.png)\n")
    return "\n".join(parts)


def test_every_spec_is_shown_once() -> None:
    assert sorted(name for names in SECTIONS.values() for name in names) == list(SPECS)


@bundled(16, "name", SPECS)
def test_headers_are_two_lines(name: str) -> None:
    lines = re.match(r"(# .*\n)+", SPECS[name].read_text())
    assert lines is not None and lines[0].count("\n") == 2


def test_the_page_is_as_it_was_looked_at(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("name", SPECS)
def test_drawings_are_as_they_were_looked_at(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are drawn from the root of the project: a drawing says which file it shows."""
    monkeypatch.chdir(ROOT)
    drawing = PAGE.parent / "gallery" / f"{name}.svg"
    drawn = plot(graphspec.compile(Path("specs") / f"{name}.yaml"), ".svg")
    if request.config.getoption("--update-golden"):
        drawing.parent.mkdir(exist_ok=True)
        drawing.write_text(drawn)
    assert drawing.read_text() == drawn
