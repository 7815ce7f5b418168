"""The small graphs of the gallery in specs/, and the graphs that are refused: what each is there to show."""

from pathlib import Path
from typing import Any

import pytest
import torch

import graphspec
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train
from tests import ROOT

SPECS = ROOT / "specs"


def text(name: str) -> str:
    return (SPECS / f"{name}.yaml").read_text()


def module(spec: str) -> Any:
    return graphspec.compile(spec).module().eval()


def test_a_stack_is_what_explicit_inputs_make() -> None:
    spec = text("dense")
    explicit = (
        spec.replace("layer: Dense, units: 32", "layer: Dense, from: features, units: 32", 1)
        .replace("hidden2: {layer: Dense,", "hidden2: {layer: Dense, from: hidden1,")
        .replace("layer: Dense, units: 10", "layer: Dense, from: hidden2, units: 10")
    )
    assert explicit.count("from:") == 3
    one, other = graphspec.compile(spec), graphspec.compile(explicit)
    assert one.source == other.source
    assert one.summary().total_params == other.summary().total_params == 3_466


@torch.no_grad()
def test_questions_and_texts_have_lengths_of_their_own() -> None:
    answering = module(text("question_answering"))
    for lengths in ((1, 1), (9, 2), (3, 40)):
        words, question = (torch.randint(10_000, (2, length)) for length in lengths)
        answer = answering(text=words, question=question)
        assert answer.shape == (2, 500)
        torch.testing.assert_close(answer.sum(-1), torch.ones(2))


def test_three_losses_are_weighted_and_each_is_reported(tmp_path: Path) -> None:
    settings = {"nodes.vectors.output_dim": 8, **{f"nodes.conv{i}.filters": 8 for i in (1, 2, 3)}}
    program = graphspec.compile(SPECS / "posts.yaml", settings=settings)
    weights = {name: output.last_weight for name, output in program.outputs.items()}
    assert weights == {"age": 0.025, "income": 1.0, "gender": 10}
    history = train(program, device="cpu", run_dir=tmp_path / "run", epochs=1).history
    parts = {name: history[f"{name}_loss"][0] for name in weights}
    total = 0.0
    for name, part in parts.items():
        weight = weights[name]
        assert isinstance(part, float) and weight != "learned"
        total += weight * part
    assert history["loss"][0] == pytest.approx(total, rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("merge", ["add", "multiply", "average", "maximum"])
def test_one_encoder_does_not_tell_left_from_right(merge: str) -> None:
    siamese = module(text("siamese").replace("merge: concatenate", f"merge: {merge}"))
    left, right = torch.randn(3, 7, 128), torch.randn(3, 4, 128)
    torch.testing.assert_close(siamese(left, right), siamese(right, left))
    assert [key for key in siamese.state_dict() if "weight_ih" in key] == ["encoder.weight_ih_l0"]


@torch.no_grad()
def test_a_head_that_concatenates_does() -> None:
    siamese = module(text("siamese"))
    left, right = torch.randn(3, 7, 128), torch.randn(3, 4, 128)
    assert not torch.allclose(siamese(left, right), siamese(right, left))


GRAPH = """inputs:
  a: {shape: [4]}
  b: {shape: [4]}
nodes:
  left:  {layer: Dense, from: a, units: 2}
  right: {layer: Dense, from: b, units: 2}
  both:  {merge: add, from: [left, right]}
outputs: [both]
"""


@pytest.mark.parametrize(
    ("change", "to", "code", "line", "column"),
    [
        ("from: [left, right]", "from: [left, left]", "unreachable-node", 6, 3),
        ("from: b, units", "from: a, units", "unused-input", 3, 3),
        ("from: [left, right]", "from: [left, rihgt]", "unknown-reference", 7, 36),
        ("from: b, units", "from: both, units", "cycle", 6, 3),
        ("outputs: [both]", "outputs: [neither]", "unbound-output", 8, 11),
    ],
)
def test_disconnected_and_unused_graphs_are_refused_at_their_place(
    change: str, to: str, code: str, line: int, column: int
) -> None:
    graphspec.compile(GRAPH)
    with pytest.raises(SpecError) as error:
        graphspec.compile(GRAPH.replace(change, to))
    found = [(d.code, d.span.line, d.span.column) for d in error.value.diagnostics if d.span is not None]
    assert (code, line, column) in found
