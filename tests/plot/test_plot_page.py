"""The page of `plot` in headless Chromium: what a person does with it, and that it draws as Python does."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import graphspec
from graphspec.plot import html, plot
from graphspec.plot.layout import Placement, place
from graphspec.plot.picture import draw, unfold
from graphspec.plot.sections import cut
from graphspec.weights import shapes
from tests import one_in
from tests.browser import CHROMIUM, Page, browser
from tests.plot.test_plot import SPECS, chain, hostile
from tests.programs import program_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

DENSE, RESNET = (path for path in SPECS if path.stem in ("dense", "resnet50"))


@cache
def resnet() -> graphspec.Program:
    """A ResNet-50 with fewer blocks, as each test opens it anew."""
    return graphspec.compile(RESNET, settings={"depths": [1, 2, 4, 1]})


def keys_of_the_state_dict(program: graphspec.Program) -> list[str]:
    """As the graph says, with which each module is compared when it is made."""
    return sorted(key for key, _, _ in shapes(program.graph))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def opened() -> str:
    return plot(resnet(), ".html", depth=2)


@pytest.fixture
def page(chromium: Page, opened: str, tmp_path: Path) -> Iterator[Page]:
    """ResNet-50 with its blocks open, from its beginning; nothing may go wrong in the browser."""
    show(chromium, opened, tmp_path)
    chromium.evaluate("fit(false)")
    yield chromium
    assert chromium.errors == []


def show(page: Page, text: str, folder: Path, dark: bool = False) -> None:
    (folder / "page.html").write_text(text, encoding="utf-8")
    page.open(folder / "page.html", dark=dark)


def at(page: Page, path: str) -> tuple[float, float]:
    """Where the head of a box is on the screen."""
    x, y = page.evaluate(
        "(() => { const box = [...document.querySelectorAll('#stage .box')].find((e) => e.box.path === "
        f"{path!r}).querySelector('rect').getBoundingClientRect(); return [box.x + 20, box.y + 8]; }})()"
    )
    return x, y


def paths(page: Page) -> list[str]:
    """The boxes that are drawn."""
    found: list[str] = page.evaluate("[...document.querySelectorAll('#stage .box')].map((e) => e.box.path)")
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


@pytest.mark.parametrize("path", one_in(6, SPECS), ids=lambda path: path.stem)
def test_the_page_draws_as_python_does(chromium: Page, tmp_path: Path, path: Path) -> None:
    program = resnet() if path == RESNET else program_of(path)
    for state, right in (("as it is", False), ("unfolded", False), ("folded", False), ("unfolded", True)):
        body = cut(draw(program))
        if state != "folded":
            unfold(body, state == "unfolded")
        show(chromium, html.html(body, program, right, fixed=True), tmp_path)
        mine, theirs = coordinates(place(body, right)), chromium.evaluate(THEIRS)
        assert flat(theirs) == pytest.approx(flat(mine), abs=1e-6)
    assert chromium.errors == []


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
    text = plot(program_of(DENSE), ".html")
    show(chromium, text.replace("<main>", "<main><script>window.evil = 1</script>"), tmp_path)
    assert chromium.evaluate("window.evil") is None
    assert any("Content Security Policy" in error for error in chromium.errors)
    chromium.errors.clear()


def test_dark_and_light(chromium: Page, tmp_path: Path) -> None:
    colors = []
    for dark in (False, True):
        show(chromium, plot(program_of(DENSE), ".html"), tmp_path, dark)
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
        "resnet50.yaml:", "reduce:", "block: conv_norm", "self.reduce = ConvNorm(",
        "self.expand(self.spatial(self.reduce(x)))",
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
    page.evaluate(
        "[...document.querySelectorAll('#stage .box')].find((e) => e.box.path === 'stages.3').focus()"
    )
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


ROOM = """(() => {
  const style = getComputedStyle(search), pen = document.createElement("canvas").getContext("2d");
  pen.font = style.font;
  const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  return search.clientWidth - padding - pen.measureText(search.placeholder).width;
})()"""
"""What the hint of the search leaves free of its field."""


def test_nothing_is_loaded_and_the_hint_of_the_search_is_whole(page: Page) -> None:
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    assert page.evaluate(ROOM) >= 20  # Chromium keeps a place for the button that clears the field


def test_a_search_lists_what_it_finds(page: Page) -> None:
    page.evaluate("setAll(false); search.focus()")
    page.type("expand.norm")
    listed = page.evaluate("[...finds.querySelectorAll('.name')].map((e) => e.innerText)")
    assert len(listed) > 4 and all("expand.norm" in text for text in listed)
    page.evaluate("finds.querySelectorAll('button')[1].click()")
    assert page.evaluate("finds.hidden") and page.evaluate("chosen.path") == listed[1]
    page.evaluate("search.value = 'o'; search.dispatchEvent(new Event('input'))")
    assert re.search(r"\d+ more$", page.evaluate("finds.innerText"))
    page.evaluate("search.focus()")
    page.press("Escape", 27)
    assert page.evaluate("finds.hidden")


def test_the_panel_has_arguments_weights_and_links_to_neighbours(page: Page) -> None:
    page.evaluate("go(hitOf('stages.0.first.expand.conv'))")
    told = panel(page)
    assert "filters\n256" in told and "use_bias\ntrue" in told and "[256, 64, 1, 1]" in told
    assert page.evaluate("[...panel.querySelectorAll('.default')].map((e) => e.innerText)").count("1") == 1
    links = "[...panel.querySelectorAll('.link')].map((e) => e.innerText)"
    assert page.evaluate(links) == ["stages.0.first.expand.pad", "stages.0.first.expand.norm"]
    page.evaluate("panel.querySelectorAll('.link')[1].click()")
    assert page.evaluate("chosen.path") == "stages.0.first.expand.norm"
    assert page.evaluate(links)[0] == "stages.0.first.expand.conv"


def test_a_node_has_a_link(chromium: Page, opened: str, tmp_path: Path) -> None:
    show(chromium, opened, tmp_path)
    chromium.evaluate("choose(hitOf('stages.1')[0])")
    assert chromium.evaluate("location.hash") == "#stages.1"
    chromium.evaluate("location.hash = '#stages.2.first.expand.norm'")
    deadline = time.monotonic() + 60
    while chromium.evaluate("chosen.path") != "stages.2.first.expand.norm":
        assert time.monotonic() < deadline
    chromium.evaluate("choose(null)")
    assert chromium.evaluate("location.hash") == ""
    chromium.evaluate("location.hash = '#nothing'; location.hash = '#%E0'")
    assert chromium.errors == []


def test_the_legend_explains_the_colours_that_are_shown(page: Page) -> None:
    page.evaluate("setAll(false)")
    assert "block or model" in page.evaluate("legend.innerText")
    assert "merge or op" not in page.evaluate("legend.innerText")
    page.evaluate("setAll(true)")
    assert "merge or op" in page.evaluate("legend.innerText")


def test_all_is_folded_and_unfolded(page: Page) -> None:
    page.evaluate("document.getElementById('unfold').click()")
    body = draw(resnet())
    assert len(paths(page)) == sum(bool(box.name) for box in body.walk())
    page.evaluate("document.getElementById('fold').click()")
    assert paths(page) == [box.path for box in body.boxes]


OPENED = [("dense", False), ("resnet50", True), ("two_cameras", False), ("gpt", True)]


@pytest.mark.parametrize(
    ("name", "right"),
    one_in(2, [case for name, right in OPENED for case in ((name, right), (name, not right))]),
)
def test_the_page_opens_with_all_of_the_picture(
    chromium: Page, tmp_path: Path, name: str, right: bool
) -> None:
    show(chromium, plot(program_of(RESNET.with_stem(name)), ".html", right=right), tmp_path)
    inside = "(() => { const a = stage.getBoundingClientRect(), b = canvas.getBoundingClientRect(); "
    inside += "return a.left >= b.left && a.top >= b.top && a.right <= b.right && a.bottom <= b.bottom; })()"
    assert chromium.evaluate(inside)
    few = chromium.evaluate("graph.body.boxes.every((box) => !box.open)")
    assert few or chromium.evaluate("view.scale") >= 0.5
    assert chromium.evaluate("getComputedStyle(chart).display") == "none"
    assert chromium.errors == []


def test_a_search_finds_keys_of_the_state_dict(page: Page) -> None:
    names = keys_of_the_state_dict(resnet())
    for key in ("stages.2.rest.1.spatial.conv", "stages.2.rest.2.spatial.norm.running_var", "probs.bias"):
        assert any(name == key or name.startswith(f"{key}.") for name in names)
        page.evaluate("choose(null); search.value = ''; document.getElementById('fold').click()")
        page.evaluate("search.focus()")
        page.type(key)
        page.press("Enter", 13)
        first = key.replace("rest.1", "rest.0").replace("rest.2", "rest.0")
        found = page.evaluate("chosen.path")
        assert first == found or (first.startswith(f"{found}.") and first.count(".") == found.count(".") + 1)
        assert found == key or f"found: {key}" in panel(page)


@pytest.mark.parametrize("start", one_in(8, [2, *range(2), *range(3, 8)]))
def test_every_key_of_the_state_dict_is_found(chromium: Page, tmp_path: Path, start: int) -> None:
    for path in SPECS[start::8]:
        program = program_of(path)
        show(chromium, plot(program, ".html"), tmp_path)
        keys = keys_of_the_state_dict(program)
        lost = chromium.evaluate(f"{json.dumps(keys)}.filter((key) => !matches(key).length)")
        assert lost == [], path.name


def test_a_search_no_longer_finds_what_is_not_there(page: Page) -> None:
    page.evaluate("search.focus()")
    page.type("stages.2.rest.3.spatial.conv")  # there are three: 0 to 2
    page.press("Enter", 13)
    assert page.evaluate("chosen === null || !chosen.path.endsWith('spatial.conv')")


def test_the_map_shows_the_view_and_moves_it(page: Page) -> None:
    assert page.evaluate("getComputedStyle(chart).display") != "none"
    x, y, width, height = page.evaluate(
        "(() => { const r = chart.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
    )
    page.click(x + width / 2, y + height - 12)
    low = page.evaluate("(canvas.clientHeight / 2 - view.y) / view.scale / drawn.down")
    assert low > 0.9
    assert page.evaluate("document.getElementById('panel').hidden")
    page.press("0")
    assert page.evaluate("getComputedStyle(chart).display") == "none"


def test_colours_by_cost(page: Page) -> None:
    page.evaluate("setAll(false)")
    fill = "[b.path, b.element.querySelector('rect').style.fill]"
    fills = f"Object.fromEntries(graph.body.boxes.map((b) => {fill}))"
    assert set(page.evaluate(fills).values()) == {""}
    page.evaluate("costs.value = 'params'; costs.dispatchEvent(new Event('change'))")
    shown = page.evaluate(fills)
    assert shown["stages.3"] == "rgb(255, 129, 130)" and shown["flat"] == "rgb(246, 248, 250)"
    assert "stages.3 has 44.1 %" in page.evaluate("legend.innerText")
    page.evaluate("costs.value = ''; costs.dispatchEvent(new Event('change'))")
    assert set(page.evaluate(fills).values()) == {""}


def test_what_is_saved_is_an_svg_of_the_view(page: Page) -> None:
    for cost in ("", "flops"):
        page.evaluate(f"setAll(false); costs.value = {cost!r}; colour()")
        text = page.evaluate("picture()")
        root = ElementTree.fromstring(text)
        assert {"stages.3 stage", "224, 224, 3"} <= {"".join(e.itertext()).strip("[]") for e in root.iter()}
        assert "var(" not in text and "color" not in text and "style" not in text
        for element in root.iter():
            if element.tag.rpartition("}")[2] in ("rect", "text", "path"):
                assert re.fullmatch(r"none|rgb\(\d+, \d+, \d+\)", element.attrib["fill"]), element.attrib
    page.evaluate("zoom(4)")
    assert float(ElementTree.fromstring(page.evaluate("picture()")).attrib["width"]) < float(
        root.attrib["width"]
    )


def test_the_button_saves(page: Page, tmp_path: Path) -> None:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.evaluate("document.getElementById('save').click()")
    until = time.monotonic() + 300
    while not (tmp_path / "resnet50.svg").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert ElementTree.parse(tmp_path / "resnet50.svg").getroot().tag.endswith("svg")


def test_long_specs_open_folded(chromium: Page, tmp_path: Path) -> None:
    show(chromium, plot(graphspec.compile(chain(600)), ".html"), tmp_path)
    assert len(paths(chromium)) < 100
    chromium.evaluate("search.focus()")
    chromium.type("n577")
    chromium.press("Enter", 13)
    assert "n577" in paths(chromium) and "self.n577" in panel(chromium)
    assert chromium.errors == []
