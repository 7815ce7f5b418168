"""The page of `plot` in headless Chromium: what a person does with it, and that it draws as Python does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import graphspec
from graphspec.plot import html, plot
from graphspec.plot.layout import Placement, place
from graphspec.plot.picture import draw, unfold
from graphspec.plot.sections import cut
from tests.browser import CHROMIUM, Page, browser
from tests.test_plot import SPECS, chain, hostile

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

RESNET = next(path for path in SPECS if path.stem == "resnet50")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chromium: Page, tmp_path: Path) -> Iterator[Page]:
    """ResNet-50 as it is opened; nothing may go wrong in the browser."""
    show(chromium, plot(graphspec.compile(RESNET), ".html"), tmp_path)
    yield chromium
    assert chromium.errors == []


def show(page: Page, text: str, folder: Path, dark: bool = False) -> None:
    (folder / "page.html").write_text(text, encoding="utf-8")
    page.open(folder / "page.html", dark=dark)


def at(page: Page, path: str) -> tuple[float, float]:
    """Where the head of a box is on the screen."""
    x, y = page.evaluate(
        "(() => { const box = [...document.querySelectorAll('.box')].find((e) => e.box.path === "
        f"{path!r}).querySelector('rect').getBoundingClientRect(); return [box.x + 20, box.y + 8]; }})()"
    )
    return x, y


def paths(page: Page) -> list[str]:
    """The boxes that are drawn."""
    found: list[str] = page.evaluate("[...document.querySelectorAll('.box')].map((e) => e.box.path)")
    return found


def panel(page: Page) -> str:
    text: str = page.evaluate("document.getElementById('panel').innerText")
    return text


# --- the picture


def coordinates(placement: Placement) -> list[Any]:
    """Everything that layout decides, nested as the picture is."""
    boxes = [[b.x, b.y, b.width, b.height, b.body and coordinates(b.body)] for b in placement.boxes]
    return [boxes, [[number for point in line.points for number in point] for line in placement.lines]]


THEIRS = """
(function all(placed) {
  return [placed.boxes.map((b) => [b.x, b.y, b.width, b.height, b.body && all(b.body)]),
          placed.lines.map((l) => [l.x0, l.y0, l.x0, l.y1, l.x2, l.y2])];
})(drawn)
"""


def flat(value: Any) -> list[float | None]:
    return [number for item in value for number in flat(item)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_page_draws_as_python_does(chromium: Page, tmp_path: Path, path: Path) -> None:
    program = graphspec.compile(path)
    for state in ("as it is", "unfolded", "folded"):
        body = cut(draw(program))
        if state != "folded":
            unfold(body, state == "unfolded")
        show(chromium, html.html(body, program), tmp_path)
        mine, theirs = coordinates(place(body)), chromium.evaluate(THEIRS)
        assert flat(theirs) == pytest.approx(flat(mine), abs=1e-6)
    assert chromium.errors == []


def test_nothing_is_loaded(page: Page) -> None:
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_text_of_a_spec_stays_text(chromium: Page, tmp_path: Path) -> None:
    show(chromium, plot(hostile(), ".html"), tmp_path)
    assert chromium.evaluate("document.scripts.length") == 2
    assert chromium.evaluate("document.images.length") == 0
    title = chromium.evaluate("document.querySelector('h1').innerText")
    assert title.startswith("</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;")
    chromium.click(*at(chromium, "a"))
    assert "</script><script>alert(3)</script>" in panel(chromium)
    assert chromium.evaluate("document.images.length") == 0 and chromium.errors == []


def test_the_policy_forbids_other_scripts(chromium: Page, tmp_path: Path) -> None:
    text = plot(graphspec.compile(RESNET), ".html")
    show(chromium, text.replace("<main>", "<main><script>window.evil = 1</script>"), tmp_path)
    assert chromium.evaluate("window.evil") is None
    assert any("Content Security Policy" in error for error in chromium.errors)
    chromium.errors.clear()


def test_dark_and_light(chromium: Page, tmp_path: Path) -> None:
    colors = []
    for dark in (False, True):
        show(chromium, plot(graphspec.compile(RESNET), ".html"), tmp_path, dark)
        colors.append(chromium.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colors == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


# --- what a person does


def test_a_click_folds_and_unfolds(page: Page) -> None:
    assert "stages.0.first.reduce.conv" not in paths(page)
    before = at(page, "stages.0.first.reduce")
    page.click(*before)
    assert "stages.0.first.reduce.conv" in paths(page)
    assert at(page, "stages.0.first.reduce")[1] == pytest.approx(before[1], abs=1)  # it stays where it was
    page.click(*at(page, "stages.0.first.reduce"))
    assert "stages.0.first.reduce.conv" not in paths(page)
    page.click(*at(page, "stages.0"))
    assert "stages.0.first" not in paths(page) and "stages.1.first" in paths(page)


def test_a_click_tells_of_a_node(page: Page) -> None:
    page.click(*at(page, "stages.0.first.reduce"))
    text = panel(page)
    for part in (
        "stages.0.first.reduce", "conv_norm", "4,416", "MFLOPs", "[56, 56, 64]",
        "resnet50.yaml:", "reduce:", "block: conv_norm", "self.reduce = ConvNorm(", "x = self.reduce(x)",
    ):  # fmt: skip
        assert part in text
    page.press("Escape", 27)
    assert page.evaluate("document.getElementById('panel').hidden")


def test_a_drag_pans_and_the_wheel_zooms(page: Page) -> None:
    x, y = at(page, "image")
    page.drag((x - 200, y + 10), (x - 150, y + 40))
    assert at(page, "image") == pytest.approx((x + 50, y + 30), abs=0.5)
    assert page.evaluate("document.getElementById('panel').hidden")
    scale = page.evaluate("view.scale")
    page.wheel(x + 50, y + 30, -100)
    assert page.evaluate("view.scale") > scale * 1.1
    found = at(page, "image")
    assert found == pytest.approx((x + 50, y + 30), abs=8)  # what is under the pointer stays there


def test_a_drag_is_no_click(page: Page) -> None:
    x, y = at(page, "stages.0")
    page.drag((x, y), (x + 30, y + 30))
    assert "stages.0.first" in paths(page)


def test_the_keyboard_is_enough(page: Page) -> None:
    page.press("/")
    page.type("softmax probs")
    page.press("Enter", 13)
    assert page.evaluate("search.getAttribute('aria-invalid')") == "true"
    page.evaluate("search.select()")
    page.type("probs dense")
    page.press("Enter", 13)
    assert page.evaluate("document.querySelector('#panel h2').innerText") == "probs"
    page.evaluate("document.activeElement.blur()")
    page.evaluate("[...document.querySelectorAll('.box')].find((e) => e.box.path === 'stages.3').focus()")
    page.press("Enter", 13)
    assert "stages.3.first" not in paths(page)
    assert page.evaluate("document.activeElement.box.path") == "stages.3"
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "false"
    before = page.evaluate("view.x")
    page.press("ArrowRight", 39)
    assert page.evaluate("view.x") == before - 60
    page.press("0")
    assert page.evaluate("view.scale * drawn.height <= canvas.clientHeight")


def test_a_search_opens_what_hides_a_node(page: Page) -> None:
    page.evaluate("document.getElementById('fold').click()")
    assert "stages.2.first" not in paths(page)
    page.evaluate("search.focus()")
    page.type("stages.2.first.expand.norm")
    page.press("Enter", 13)
    assert "stages.2.first.expand.norm" in paths(page)
    x, y = at(page, "stages.2.first.expand.norm")
    assert 0 < x < 1200 and 0 < y < 800


def test_all_is_folded_and_unfolded(page: Page) -> None:
    page.evaluate("document.getElementById('unfold').click()")
    body = draw(graphspec.compile(RESNET))
    assert len(paths(page)) == sum(bool(box.name) for box in body.walk())
    page.evaluate("document.getElementById('fold').click()")
    assert paths(page) == [box.path for box in body.boxes]


def test_long_specs_open_folded(chromium: Page, tmp_path: Path) -> None:
    show(chromium, plot(graphspec.compile(chain(2_000)), ".html"), tmp_path)
    assert len(paths(chromium)) < 100
    chromium.evaluate("search.focus()")
    chromium.type("n1777")
    chromium.press("Enter", 13)
    assert "n1777" in paths(chromium) and "self.n1777" in panel(chromium)
    assert chromium.errors == []
