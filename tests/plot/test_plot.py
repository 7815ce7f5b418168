"""Pictures: what is drawn, that nothing overlaps, and that text of a spec stays text."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner, Result

import graphspec
from graphspec.cli.app import app
from graphspec.plot import CONVERTED, SUFFIXES, plot
from graphspec.plot.layout import LABEL, MARGIN, PlacedBox, Placement, place
from graphspec.plot.ordering import ranks
from graphspec.plot.palette import LIGHT
from graphspec.plot.picture import TIMES, Box, Edge, Picture, Port, draw, unfold
from graphspec.plot.sections import LONG, cut
from graphspec.plot.slide import columns
from graphspec.program import Program
from tests import ROOT, bundled, one_in
from tests.programs import program_of

SPECS = sorted((ROOT / "specs").glob("*.yaml"))
EVERY = [*one_in(2, SPECS), *one_in(8, sorted((ROOT / "tests" / "emit").glob("*.yaml")))]
"""Those that show how the language is emitted, too: each form, in every combination that matters."""
TEXTS = [suffix for suffix in SUFFIXES if suffix not in CONVERTED]
SVG = "{http://www.w3.org/2000/svg}"

TOWER = """
inputs: {features: {shape: [16]}}
blocks:
  residual:
    params: {units: 32}
    inputs: [x]
    nodes:
      inner: {layer: Dense, units: $units, activation: relu}
      outer: {layer: Dense, units: 16}
      sum:   {merge: add, from: [x, outer]}
    outputs: {x: sum, skip: inner}
nodes:
  tower: {block: residual, repeat: 23}
OUTPUTS
"""


def compiled(text: str) -> Program:
    return graphspec.compile(text)


def picture(text: str) -> Picture:
    return draw(compiled(text))


def named(body: Picture) -> dict[str, Box]:
    return {box.name: box for box in body.boxes}


def texts(svg: str) -> list[str]:
    """The lines of text in an SVG file, which is read as XML."""
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


# --- what is drawn


def test_a_picture_has_layers_shapes_and_parameters() -> None:
    program = compiled(TOWER.replace("OUTPUTS", "outputs: [tower]"))
    body = draw(program)
    assert [(box.kind, box.name) for box in body.boxes] == [
        ("input", "features"),
        ("block", "tower"),
        ("output", "tower"),
    ]
    shown = texts(plot(program, ".svg"))
    each = 16 * 32 + 32 + 32 * 16 + 16
    assert shown[0] == f"{program.name}: {23 * each:,} params, 48.58 KFLOPs an example"
    assert f"tower {TIMES} 23 residual" in shown and f"{23 * each:,} params" in shown
    assert "inner Dense" in shown and "544 params · units 32, activation relu" in shown
    assert "[16]" in shown and "[32]" in shown


@bundled(16, "path", EVERY, ids=lambda path: path.stem)
def test_every_weight_is_in_the_picture_once(path: Path) -> None:
    program = program_of(path)
    total = program.summary().total_params
    assert sum(box.params for box in draw(program).boxes) == total
    assert sum(box.params for box in cut(draw(program)).boxes) == total


def test_a_shared_layer_is_one_set_of_weights() -> None:
    body = draw(graphspec.compile(next(path for path in SPECS if path.stem == "siamese")))
    boxes = named(body)
    assert (boxes["encoder"].kind, boxes["encoder"].params) == ("shared", 20_608)
    assert (boxes["left_code"].params, boxes["right_code"].params) == (0, 0)
    to = [body.boxes[edge.target].name for edge in body.edges if edge.weights]
    assert to == ["left_code", "right_code"]


def test_a_further_call_of_a_shared_block_stays_folded() -> None:
    text = TOWER.replace("nodes:\n  tower: {block: residual, repeat: 23}", SHARED_BLOCK)
    body = picture(text.replace("OUTPUTS", "outputs: [second]"))
    unfold(body)
    assert [box.open for box in body.boxes if box.kind == "block"] == [True, False]
    unfold(body, everything=True)
    assert [box.open for box in body.boxes if box.kind == "block"] == [True, True]


SHARED_BLOCK = """
shared: {one: {block: residual}}
nodes:
  first: {call: one, from: features}
  second: {call: one, from: first}"""


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        ("outputs: [tower]", ["[16]"]),
        ("  skips: {merge: average, from: tower.*.skip}\noutputs: [skips]", [f"[32] {TIMES} 23"]),
        ("  one: {op: exp, from: tower.2.skip}\noutputs: [tower, one]", ["[16]", "[32]"]),
    ],
)
def test_instances_that_do_not_differ_are_one_stack(outputs: str, labels: list[str]) -> None:
    body = picture(TOWER.replace("OUTPUTS", outputs))
    stack = next(box for box in body.boxes if box.kind == "block")
    assert (stack.count, stack.nodes) == (23, 23)
    assert sorted(port.label for port in stack.ports)[-len(labels) :] == sorted(labels)


def test_instances_that_differ_are_boxes_of_their_own() -> None:
    text = """
inputs: {x: {shape: [8]}}
nodes:
  chain: {layer: Dense, repeat: {units: [8, 8, 4, 8, 8, 8]}}
  many: {layer: Dense, units: 3, parallel: 4}
  all: {merge: concatenate, from: many.*}
outputs: [all]
"""
    body = picture(text)
    assert [(box.name, box.count) for box in body.boxes if box.kind == "layer"] == [
        ("chain", 2),  # the first reads 8 as the second does
        ("chain.2", 1),
        ("chain.3", 1),  # reads 4
        ("chain", 2),
        ("many", 4),
    ]
    assert [edge for edge in body.edges if edge.target == 6] == [Edge(5, 0, 6, None)]
    assert body.boxes[5].ports[0].label == f"[3] {TIMES} 4"


def test_a_node_left_out_hands_on() -> None:
    text = """
inputs: {x: {shape: [4]}}
nodes:
  a: {layer: Dense, units: 4}
  b: {layer: Dropout, rate: 0.5, when: false}
  c: {layer: Dense, units: 4}
outputs: [c]
"""
    body = picture(text)
    assert [box.name for box in body.boxes] == ["x", "a", "c", "c"]
    assert [(edge.source, edge.target) for edge in body.edges] == [(0, 1), (1, 2), (2, 3)]


def test_a_wrapper_names_what_it_wraps() -> None:
    text = (
        "inputs: {x: {shape: [5, 3]}}\nnodes: {y: {layer: Bidirectional, wraps: {layer: LSTM, units: 4}}}\n"
    )
    assert "256 params · wraps LSTM" in texts(plot(compiled(f"{text}outputs: [y]\n"), ".svg"))


def test_losses_stand_at_outputs() -> None:
    path = next(path for path in SPECS if path.stem == "posts")
    shown = texts(plot(program_of(path), ".svg"))
    assert "age mean_squared_error" in shown and "loss_weight 0.025" in shown


# --- long specs


def chain(count: int) -> str:
    """A flat spec in which every tenth node also reads the one nine above it."""
    lines = ["inputs: {x: {shape: [8]}}", "nodes:"]
    for i in range(count):
        skip = f"{{merge: add, from: [n{i - 1}, n{i - 9}]}}"
        lines.append(f"  n{i}: {skip if i % 10 == 9 else '{layer: Dense, units: 8}'}")
    return "\n".join([*lines, f"outputs: [n{count - 1}]"])


def test_long_bodies_are_cut_into_sections() -> None:
    body = picture(chain(600))
    kept = cut(body)
    sections = [box for box in kept.boxes if box.kind == "section"]
    assert [box.kind for box in kept.boxes] == ["input", *["section"] * len(sections), "output"]
    inside = [box.name for box in kept.walk() if box.kind in ("layer", "merge")]
    assert inside == [f"n{i}" for i in range(600)]
    assert sum(box.nodes for box in sections) == 600
    assert sections[0].name.startswith("n0 … n")
    assert all(len(box.ports) == 1 for box in sections)  # cut where one value crosses
    assert all(edge.slot == 0 for edge in kept.edges[:-1])


def test_thousands_of_nodes_are_a_few_boxes() -> None:
    assert len(texts(plot(compiled(chain(1_200)), ".svg"))) < 3 * LONG  # a name, a cost and a shape each


def test_sections_that_are_too_many_are_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many as one body has by itself it would take eight thousand nodes."""
    monkeypatch.setattr("graphspec.plot.sections.LONG", 20)
    kept = cut(picture(chain(1_000)))
    outer = [box for box in kept.boxes if box.kind == "section"]
    assert 1 <= len(outer) <= 20
    assert any(box.kind == "section" for section in outer if section.body for box in section.body.boxes)
    assert sum(box.kind in ("layer", "merge") for box in kept.walk()) == 1_000


@given(st.data())
def test_sections_keep_every_edge(data: st.DataObject) -> None:
    long = 60
    count = data.draw(st.integers(long + 1, 2 * long))
    edges = {
        Edge(data.draw(st.integers(0, target - 1)), 0, target, None)
        for target in range(1, count)
        for _ in range(data.draw(st.integers(0, 2)))
    }
    body = Picture(
        [Box("layer", f"n{i}", ports=[Port("", "[1]")]) for i in range(count)],
        sorted(edges, key=lambda edge: (edge.target, edge.source)),
    )
    wanted = {(body.boxes[e.source].name, body.boxes[e.target].name) for e in edges}
    found: set[tuple[str, str]] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphspec.plot.sections.LONG", long)
        patch.setattr("graphspec.plot.sections.LENGTH", 8)
        kept = cut(body)
    assert any(box.kind == "section" for box in kept.boxes)
    unfold(kept, everything=True)
    ends(kept, [], found)
    assert found == wanted


def ends(body: Picture, given: list[set[str]], found: set[tuple[str, str]]) -> list[set[str]]:
    """Adds the edges between nodes to `found`, past sections; returns what the body's exits stand for."""
    made: list[list[set[str]]] = []
    entries, exits = iter(given), []
    for index, box in enumerate(body.boxes):
        arriving = [edge for edge in body.edges if edge.target == index]
        sources = [(edge, made[edge.source][edge.port]) for edge in arriving]
        if box.kind == "entry":
            made.append([next(entries)])
        elif box.kind == "exit":
            exits.append(set[str]().union(*(names for _, names in sources)))
            made.append([])
        elif box.body is not None:
            count = sum(each.kind == "entry" for each in box.body.boxes)
            slots = [set[str]().union(*(n for e, n in sources if e.slot == slot)) for slot in range(count)]
            made.append(ends(box.body, slots, found))
        else:
            found |= {(name, box.name) for _, names in sources for name in names}
            made.append([{box.name}])
    return exits


# --- where it stands


def shown_boxes(placement: Placement, x: float = 0, y: float = 0) -> Iterator[tuple[PlacedBox, float, float]]:
    for each in placement.boxes:
        yield each, x + each.x, y + each.y


def check_geometry(placement: Placement) -> None:
    """No two boxes of a body meet, labels counted; no line crosses a box or begins beside
    its own; bodies lie within their boxes."""
    for each in placement.boxes:
        assert each.x - each.left >= -0.01 and each.x + each.right <= placement.width + 0.01
        assert each.y + each.reach <= placement.height + 0.01
        assert not each.width or all(abs(port) < each.width / 2 for port in each.ports), (
            "a line misses its box"
        )
    for one, other in ((a, b) for i, a in enumerate(placement.boxes) for b in placement.boxes[:i]):
        apart = one.x + one.right <= other.x - other.left or other.x + other.right <= one.x - one.left
        assert apart or one.y + one.reach <= other.y or other.y + other.reach <= one.y, (one.box, other.box)
    for line in placement.lines:
        (x0, y0), (_, y1), (x2, y2) = line.points
        for each in (box for box in placement.boxes if box.width):
            top, bottom = each.y, each.y + each.height
            beside = not each.x - each.width / 2 < x0 < each.x + each.width / 2
            assert beside or y1 <= top or y0 >= bottom - LABEL, each.box  # the straight piece
            low, high = min(x0, x2), max(x0, x2)
            aside = high <= each.x - each.width / 2 or low >= each.x + each.width / 2
            border = 10.01 if each.box.kind == "exit" else 0.01
            assert aside or y2 <= top + border or y1 >= bottom - 0.01, each.box  # the bend
    for each in placement.boxes:
        if each.body is not None:
            assert each.side >= 0 and each.side + each.body.width <= each.width + 0.01
            assert each.head >= 0 and each.head + each.body.height <= each.height + 0.01
            check_geometry(each.body)


@pytest.mark.parametrize("everything", [False, True], ids=["as it is", "unfolded"])
@bundled(16, "path", EVERY, ids=lambda path: path.stem)
def test_nothing_overlaps(path: Path, everything: bool) -> None:
    body = draw(program_of(path))
    unfold(body, everything)
    check_geometry(place(body))
    check_geometry(place(body, right=True))


@st.composite
def bodies(draw: st.DrawFn, depth: int = 2) -> Picture:
    """Any graph of boxes, groups among them."""
    count = draw(st.integers(1, 12))
    boxes = []
    for _ in range(count):
        ports = [Port("", f"[{'1, ' * draw(st.integers(0, 9))}1]") for _ in range(draw(st.integers(1, 3)))]
        box = Box("layer", "n" * draw(st.integers(1, 30)), count=draw(st.integers(1, 3)), ports=ports)
        if depth and draw(st.booleans()):
            slots = draw(st.integers(0, 2))
            named = draw(st.booleans())
            inside = draw(bodies(depth - 1))
            box.kind, box.open = "block", draw(st.booleans())
            box.body = inner(inside, slots, len(ports), named)
        boxes.append(box)
    edges = []
    for target in range(1, count):
        for _ in range(draw(st.integers(0, 3))):
            source = draw(st.integers(0, target - 1))
            port = draw(st.integers(0, len(boxes[source].ports) - 1))
            inside_of = boxes[target].body
            entries = 0 if inside_of is None else sum(b.kind == "entry" for b in inside_of.boxes)
            slot = draw(st.integers(0, entries - 1)) if entries else None
            edges.append(Edge(source, port, target, slot, weights=draw(st.booleans())))
    return Picture(boxes, edges)


def inner(body: Picture, slots: int, ports: int, named: bool) -> Picture:
    """A body with ends: each entry leads to the first box, each exit from the last."""
    entries = [Box("entry", f"in{i}" if named else "", ports=[Port("", "")]) for i in range(slots)]
    exits = [Box("exit", f"out{i}" if named else "") for i in range(ports)]
    edges = [Edge(e.source + slots, e.port, e.target + slots, e.slot, e.weights) for e in body.edges]
    first, last = slots, slots + len(body.boxes) - 1
    edges = [Edge(i, 0, first, None) for i in range(slots)] + edges
    edges += [Edge(last, 0, last + 1 + i, None) for i in range(ports)]
    return Picture([*entries, *body.boxes, *exits], edges)


@given(bodies(), st.booleans())
def test_nothing_overlaps_in_any_graph(body: Picture, right: bool) -> None:
    check_geometry(place(body, right))


@given(bodies(depth=1), st.booleans(), st.integers(2, 8))
def test_columns_keep_every_box_and_line_apart(body: Picture, right: bool, count: int) -> None:
    placed = place(body, right)
    wrapped = columns(placed, count)
    assert [box.box for box in wrapped.boxes] == [b.box for b in sorted(placed.boxes, key=lambda b: b.y)] or (
        {id(box.box) for box in wrapped.boxes} == {id(box.box) for box in placed.boxes}
    )
    assert len(wrapped.lines) + len(wrapped.turns) == len(placed.lines)
    assert len(wrapped.turns) < count
    check_geometry(wrapped)
    for turn in wrapped.turns:
        for number, ((x0, y0), (x1, y1)) in enumerate(pairwise(turn)):
            border = 0.01 if number else LABEL  # a line begins at the port, which in an open box is inside
            for box in wrapped.boxes:
                left, right_ = box.x - box.width / 2, box.x + box.width / 2
                beside = max(x0, x1) <= left or min(x0, x1) >= right_
                above = max(y0, y1) <= box.y + 0.01 or min(y0, y1) >= box.y + box.height - border
                assert beside or above, (turn, box)


def test_a_line_leads_from_the_end_of_each_column_to_the_next() -> None:
    boxes = [Box("layer", f"n{number}", ports=[Port("", "[1]")]) for number in range(6)]
    body = Picture(boxes, [Edge(number, 0, number + 1, None) for number in range(5)])
    wrapped = columns(place(body), 3)
    placed = {each.box.name: each for each in wrapped.boxes}
    assert len({each.x for each in wrapped.boxes}) == 3
    for (*_, last), turn in zip((("n0", "n1"), ("n2", "n3")), wrapped.turns, strict=True):
        first = placed[f"n{int(last[1:]) + 1}"]
        assert turn[0] == (placed[last].x, placed[last].y + placed[last].height)
        assert turn[-1] == (first.x, first.y) and first.x > placed[last].x


@given(bodies(depth=0))
def test_edges_lead_down_a_rank_at_a_time(body: Picture) -> None:
    found = ranks(body)
    depth = {item: number for number, rank in enumerate(found.ranks) for item in rank}
    assert sorted(item for item in depth if item < len(body.boxes)) == list(range(len(body.boxes)))
    assert all(depth[s.lower] == depth[s.upper] + 1 for s in found.segments)
    reached = {(edge.source, edge.port, edge.target) for edge in body.edges}
    bends = {s.lower: (s.upper, s.port) for s in found.segments if s.lower >= len(body.boxes)}

    def start(item: int, port: int) -> tuple[int, int]:
        while item >= len(body.boxes):
            item, port = bends[item]
        return item, port

    ends = {(*start(s.upper, s.port), s.lower) for s in found.segments if s.lower < len(body.boxes)}
    assert ends == reached


def test_lines_to_exits_end_at_the_border_however_many_there_are() -> None:
    """And where there is a layer that nothing reads, which stands above them."""
    layer = Box("layer", "n", ports=[Port("", "[1]"), Port("", "[1]")])
    exits = [Box("exit", ""), Box("exit", "")]
    edges = [Edge(0, port, target, None) for target, port in ((1, 0), (2, 1))]
    unread = Box("layer", "unread", ports=[Port("", "[1]")])
    for body in (
        Picture([layer, *exits], edges),
        Picture([layer, *exits, unread], [*edges, Edge(0, 0, 3, None)]),
    ):
        placed = place(body)
        lowest = sorted(line.points[2][1] for line in placed.lines)[-2:]
        assert lowest == [placed.height + MARGIN] * 2


def test_a_chain_is_straight() -> None:
    placement = place(picture(chain(9)))
    assert len({round(box.x, 3) for box in placement.boxes}) == 1


# --- the three kinds of files


@bundled(16, "path", EVERY, ids=lambda path: path.stem)
def test_svg_is_xml_without_scripts(path: Path) -> None:
    svg = plot(program_of(path), ".svg")
    root = ElementTree.fromstring(svg)
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "style", "rect", "text", "tspan", "g", "path")
    }
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("path", one_in(3, SPECS), ids=lambda path: path.stem)
def test_every_part_of_an_svg_has_its_colours_as_plain_attributes(path: Path) -> None:
    svg = plot(program_of(path), ".svg")
    assert "var(" not in svg
    for element in ElementTree.fromstring(svg).iter():
        if element.tag in (f"{SVG}rect", f"{SVG}text", f"{SVG}path"):
            assert re.fullmatch("#[0-9a-f]{6}|none", element.attrib["fill"]), element.attrib


@pytest.mark.skipif(shutil.which("rsvg-convert") is None, reason="rsvg-convert is not installed")
def test_a_reader_without_css_variables_draws_the_light_colours() -> None:
    path = next(path for path in SPECS if path.stem == "siamese")
    svg = plot(program_of(path), ".svg")
    done = subprocess.run(["rsvg-convert"], input=svg.encode(), capture_output=True, check=True)
    image = np.asarray(Image.open(io.BytesIO(done.stdout)).convert("RGB")).reshape(-1, 3)
    for part in ("page", "layer", "merge", "end", "weight"):
        wanted = np.array([int(LIGHT[part][i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(image - wanted).max(1) <= 1).sum() > 50, part
    assert (image.sum(1) < 150).mean() < 0.05  # little of it is dark: letters


def test_mermaid_is_as_expected() -> None:
    path = next(path for path in SPECS if path.stem == "siamese")
    assert plot(program_of(path), ".mmd").splitlines()[:4] == [
        "flowchart TD",
        '  n0(["<b>left</b>"])',
        '  n1(["<b>right</b>"])',
        '  n2[("<b>encoder</b> LSTM<br>20,608 params<br>shared by 2 calls")]',
    ]


@pytest.mark.parametrize("expand", [False, True])
@bundled(16, "path", EVERY, ids=lambda path: path.stem)
def test_mermaid_names_what_its_edges_join(path: Path, expand: bool) -> None:
    lines = plot(program_of(path), ".mmd", expand=expand).splitlines()[1:]
    edge = re.compile(r'  (n\d+) (?:-->|-\.-)(?:\|"[^"]*"\|)? (n\d+)')
    node = re.compile(r' +(n\d+)[\[({]+"[^"<>]*<b>[^"]*"[\])}]+')
    nodes = {match[1] for line in lines if (match := node.fullmatch(line))}
    joined = [match for line in lines if (match := edge.fullmatch(line))]
    assert joined and {name for match in joined for name in match.groups()} <= nodes
    groups = [line for line in lines if re.fullmatch(r' +subgraph n\d+g\[" "\]', line)]
    ends = [line for line in lines if line.strip() == "end"]
    assert len(nodes) + len(joined) + len(groups) + len(ends) == len(lines) and len(groups) == len(ends)


def test_mermaid_has_no_title_that_an_arrow_could_cross() -> None:
    path = next(path for path in SPECS if path.stem == "unet")
    text = plot(program_of(path), ".mmd", expand=True)
    name = re.search(r'(n\d+)\[\["<b>ups.0</b>', text)
    assert name is not None
    group = text.split(f'subgraph {name[1]}g[" "]\n')[1]
    assert group.lstrip().startswith(f"{name[1]}[[")  # the group's first node names it,
    assert re.search(rf'--> *\|"[^"]*"\| {name[1]}$', text, re.MULTILINE)  # and takes what comes in
    entry = re.search(r'(n\d+)\(\["<b>skip</b>"\]\)', group)
    assert entry is not None and re.search(rf"  {entry[1]} --> n\d+$", text, re.MULTILINE)


def test_mermaid_runs_to_the_right() -> None:
    assert plot(compiled(chain(3)), ".mmd", right=True).startswith("flowchart LR\n")


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'`]"


def hostile() -> Program:
    """A spec whose name and comments are markup."""
    text = f"""
name: {json.dumps(HOSTILE)}
inputs: {{x: {{shape: [4]}}}}
nodes:
  a:
    layer: Dense  # </script><script>alert(3)</script>
    units: 4
outputs: [a]
"""
    return compiled(text)


@pytest.mark.parametrize("suffix", TEXTS)
def test_text_of_a_spec_stays_text(suffix: str) -> None:
    text = plot(hostile(), suffix)
    assert "<script>alert" not in text and "<img" not in text
    if suffix == ".svg":
        assert texts(text)[0].startswith("</script><script>alert(1)</script>")
    if suffix == ".html":
        assert text.count("</script>") == 2 and text.count("<script") == 2
        data = json.loads(re.findall(r'<script type="application/json" id="graph">(.*?)</script>', text)[0])
        assert "</script><script>alert(3)</script>" in "".join(place["text"] for place in data["places"])


def data_of(program: Program) -> dict[str, object]:
    page = plot(program, ".html")
    found: dict[str, object] = json.loads(re.findall(r'id="graph">(.*?)</script>', page)[0])
    return found


BLOCK_STYLE = """
inputs: {x: {shape: [4]}}
nodes:
  a:
    layer: Dense
    units: 4

  # about b
  b: {layer: Dense,
      units: 2}
outputs:
  b: {loss: mse}
"""


def test_the_page_has_yaml_and_python_of_a_node() -> None:
    places = data_of(compiled(BLOCK_STYLE))["places"]
    assert isinstance(places, list)
    by_text = {place["text"]: place for place in places}
    assert list(by_text) == [
        "x: {shape: [4]}",
        "a:\n  layer: Dense\n  units: 4",
        "b: {layer: Dense,\n    units: 2}",
        "b: {loss: mse}",
    ]
    code = by_text["a:\n  layer: Dense\n  units: 4"]["code"]
    assert [line.strip() for _, line in code] == ["self.a = nn.Linear(4, 4)", "x = self.a(x)  # [N, 4]"]
    source = compiled(BLOCK_STYLE).source.split("\n")
    assert all(source[number - 1] == line for place in places for number, line in place["code"])


@pytest.mark.parametrize("path", one_in(3, SPECS), ids=lambda path: path.stem)
def test_every_node_has_its_yaml(path: Path) -> None:
    program = program_of(path)
    places = data_of(program)["places"]
    assert isinstance(places, list)
    assert places and all(re.match(r"[\w\"']+:", place["text"]) for place in places)
    read = "\n".join(program.sources.values())
    assert all(place["text"].split("\n")[0] in read for place in places)


def test_the_same_spec_gives_the_same_bytes() -> None:
    """Here, and in a process with another hash seed."""
    path = next(path for path in SPECS if path.stem == "resnet50")
    settings = {"depths": [1, 2, 1, 1]}
    code = f"""
import graphspec, hashlib
from graphspec.plot import plot
program = graphspec.compile({str(path)!r}, settings={settings!r})
print([hashlib.sha256(plot(program, suffix).encode()).hexdigest() for suffix in (".svg", ".html", ".mmd")])
"""
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    program = graphspec.compile(path, settings=settings)
    texts = (plot(program, suffix).encode() for suffix in (".svg", ".html", ".mmd"))
    assert done.stdout == f"{[hashlib.sha256(text).hexdigest() for text in texts]}\n"


# --- the command


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tower.yaml").write_text(
        "params: {width: 4}\npresets: {wide: {width: 64}}\ninputs: {x: {shape: [4]}}\n"
        "nodes: {a: {layer: Dense, units: $width}}\noutputs: [a]\n"
    )
    return Path("tower.yaml")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["plot", *map(str, arguments)])


@pytest.mark.parametrize("suffix", TEXTS)
def test_the_suffix_says_what_is_written(spec: Path, suffix: str) -> None:
    result = run(spec, "-o", f"a{suffix}")
    assert (result.exit_code, result.stdout) == (0, f"wrote a{suffix}\n")
    assert Path(f"a{suffix}").read_text().startswith(plot(graphspec.compile(spec), suffix))


def test_params_and_presets_are_taken(spec: Path) -> None:
    assert run(spec, "-o", "a.svg", "--preset", "wide").exit_code == 0
    assert "[64]" in Path("a.svg").read_text()
    assert run(spec, "-o", "a.svg", "--set", "width=7").exit_code == 0
    assert "[7]" in Path("a.svg").read_text()


@pytest.mark.parametrize(("depth", "boxes"), [(0, 11), (1, 23)])
def test_depth_opens_so_many_levels(spec: Path, depth: int, boxes: int) -> None:
    path = next(path for path in SPECS if path.stem == "resnet50")
    assert run(path, "-o", "a.svg", "--depth", str(depth)).exit_code == 0
    assert Path("a.svg").read_text().count('<g class="box') == boxes


def test_the_direction_is_that_of_the_data(spec: Path) -> None:
    sizes = {}
    for direction in ("down", "right"):
        assert run(spec, "-o", "a.svg", "--direction", direction).exit_code == 0
        root = ElementTree.parse("a.svg").getroot()
        sizes[direction] = float(root.attrib["width"]), float(root.attrib["height"])
        paths = [e.attrib["d"] for e in root.iter(f"{SVG}path") if e.attrib["class"] == "edge"]
        assert paths and all(("H" in path) == (direction == "right") for path in paths)
    assert sizes["right"][0] > sizes["down"][0] and sizes["right"][1] < sizes["down"][1]


@pytest.mark.parametrize("path", one_in(3, SPECS), ids=lambda path: path.stem)
def test_a_slide_is_16_to_9_and_can_be_read(path: Path) -> None:
    root = ElementTree.fromstring(plot(program_of(path), ".svg", slide=True))
    assert (root.attrib["width"], root.attrib["height"]) == ("1280", "720")
    scale = next(
        float(e.attrib["transform"].rpartition("(")[2][:-1])
        for e in root.iter(f"{SVG}g")
        if "transform" in e.attrib
    )
    assert scale >= 0.73  # 6.6 points, the least of the gallery: FixMatch is wide and long


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_pixels_and_pdf(spec: Path, suffix: str) -> None:
    pytest.importorskip("typst", reason="the extra `plot` is not installed")
    path = next(path for path in SPECS if path.stem == "siamese")
    assert run(path, "-o", f"a{suffix}").exit_code == 0
    data = Path(f"a{suffix}").read_bytes()
    size = ElementTree.fromstring(plot(program_of(path), ".svg")).attrib
    if suffix == ".png":
        image = Image.open(io.BytesIO(data)).convert("RGB")
        assert image.size == pytest.approx((2 * float(size["width"]), 2 * float(size["height"])), abs=1)
        pixels = np.asarray(image).reshape(-1, 3)
        for part in ("page", "layer", "merge", "end", "weight"):
            wanted = np.array([int(LIGHT[part][i : i + 2], 16) for i in (1, 3, 5)])
            assert (np.abs(pixels - wanted).max(1) <= 1).sum() > 200, part
        assert 0.002 < (pixels.sum(1) < 150).mean() < 0.05  # letters
    else:
        assert data.startswith(b"%PDF")
        if shutil.which("pdftotext"):
            words = subprocess.run(["pdftotext", "a.pdf", "-"], capture_output=True, text=True, check=True)
            assert "encoder" in words.stdout and "binary_crossentropy" in words.stdout


def test_pixels_without_the_package_are_a_diagnostic(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    result = run(spec, "-o", "a.png")
    assert result.exit_code == 1 and "error[package-missing]" in result.stderr
    assert "pip install typst; .svg and .html need nothing" in result.stderr and not Path("a.png").exists()


def test_a_dash_is_svg_to_stdout(spec: Path) -> None:
    result = run(spec, "-o", "-")
    assert (result.exit_code, result.stdout) == (0, plot(graphspec.compile(spec), ".svg"))


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "a.svg", "--direction", "up"],
        ["-o", "a.svg", "--depth", "1", "--expand"],
        ["-o", "a.svg", "--depth", "-1"],
        ["-o", "a.html", "--slide"],
        ["-o", "-", "--json"],
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(spec: Path, options: list[str]) -> None:
    assert run(spec, *options).exit_code == 2


def test_expand_opens_everything(spec: Path) -> None:
    path = next(path for path in SPECS if path.stem == "resnet50")
    assert run(path, "-o", "a.svg", "--expand").exit_code == 0
    assert Path("a.svg").read_text().count("BatchNormalization") > 20


def test_json_is_one_document(spec: Path) -> None:
    assert json.loads(run(spec, "-o", "a.html", "--json").stdout)["file"] == "a.html"


@pytest.mark.parametrize("target", ["a.gif", "a", "a.SVG", "no/a.svg", "folder.svg"])
def test_wrong_targets_are_wrong_usage(spec: Path, target: str) -> None:
    Path("folder.svg").mkdir()
    result = run(spec, "-o", target)
    assert result.exit_code == 2
    if "." not in target or target.endswith("gif"):
        assert ".svg, .png, .pdf, .html or .mmd" in " ".join(result.stderr.split())


def test_a_bad_spec_is_a_diagnostic(spec: Path) -> None:
    spec.write_text(spec.read_text().replace("Dense", "Dance"))
    result = run(spec, "-o", "a.svg")
    assert result.exit_code == 1 and "error[unknown-layer]" in result.stderr
    assert not Path("a.svg").exists()
    found = json.loads(run(spec, "-o", "a.svg", "--json").stdout)
    assert [each["code"] for each in found["diagnostics"]] == ["unknown-layer"]
