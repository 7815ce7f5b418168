"""What is made of noise: beside loops by hand in PyTorch, under the same draws; seeds, files, wrong input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import graphspec
from graphspec import Run, SpecError
from graphspec.cli.app import app
from graphspec.generate.sampling import generator

POINTS = """
inputs:
  point: {shape: [3], dtype: float32}
  kind:  {shape: [], dtype: int64}
  time:  {shape: [1], default: random_uniform}
  noise: {shape: [3], default: random_normal}
nodes:
  noisy:  {compute: (1 - time) * noise + time * point}
  code:   {layer: Embedding, from: kind, input_dim: 2, output_dim: 4}
  both:   {merge: concatenate, from: [noisy, time, code]}
  hidden: {layer: Dense, units: 16, activation: tanh}
  way:    {layer: Dense, units: 3}
  error:  {compute: square(way - point + noise)}
outputs: {error: {loss: mean}}
train: {epochs: 3, batch_size: 16}
"""
FLOW = """
generate:
  noisy:
    start: random_normal
    repeat: {time: {from: 0, to: 1, steps: 7}}
    next: noisy + (next_time - time) * way
"""
ANCESTRAL = """
generate:
  noisy:
    start: random_uniform
    repeat: {time: [0, 0.5, 0.75, 1]}
    next: noisy + 0.3 * way + (1 - next_time) * noise
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a short training."""
    draw = np.random.default_rng(0)
    data = {"point": draw.normal(size=(32, 3)).astype(np.float32), "kind": draw.integers(0, 2, 32)}
    result = graphspec.compile(POINTS).fit(data, run_dir=tmp_path_factory.mktemp("points") / "run")
    return Path(result.run_dir) / "best.safetensors"


def run_of(text: str, weights: Path, folder: Path) -> Run:
    (folder / "points.yaml").write_text(text)
    return Run(folder / "points.yaml", weights)


def way(weights: Mapping[str, Tensor], noisy: Tensor, time: float, kind: Tensor) -> Tensor:
    code, times = weights["code.weight"][kind], torch.full((len(noisy), 1), time)
    hidden = torch.cat([noisy, times, code], 1) @ weights["hidden.weight"].T + weights["hidden.bias"]
    return hidden.tanh() @ weights["way.weight"].T + weights["way.bias"]


KINDS = [0, 1, 1, 0, 1]


def test_a_flow_is_that_of_a_loop_by_hand(state: Path, tmp_path: Path) -> None:
    run = run_of(POINTS + FLOW, state, tmp_path)
    weights = run.module("cpu").state_dict()
    value = torch.stack([torch.randn(3, generator=generator(4, number)) for number in range(5)])
    for step in range(7):
        value = value + (1 / 7) * way(weights, value, step / 7, torch.tensor(KINDS))
    found = [*run.generate([{"kind": kind} for kind in KINDS], seed=4, device="cpu")]
    np.testing.assert_allclose(np.stack(found), value.numpy(), atol=1e-5)
    again = [*run.generate([{"kind": kind} for kind in KINDS], seed=4, device="cpu", batch_size=2)]
    np.testing.assert_allclose(np.stack(again), np.stack(found), atol=1e-6)
    other = [*run.generate([{"kind": kind} for kind in KINDS], seed=5, device="cpu")]
    assert not np.allclose(np.stack(other), np.stack(found), atol=0.1)
    assert len([*run.generate({"kind": 1}, samples=3, steps=2)]) == 3


def test_noise_is_drawn_in_each_step(state: Path, tmp_path: Path) -> None:
    run = run_of(POINTS + ANCESTRAL, state, tmp_path)
    weights, draws = run.module("cpu").state_dict(), [generator(2, number) for number in range(5)]

    def drawn(how: Any) -> Tensor:
        return torch.stack([how(3, generator=each) for each in draws])

    value = drawn(torch.rand)
    for time, after in ((0, 0.5), (0.5, 0.75), (0.75, 1.0)):
        value = (
            value + 0.3 * way(weights, value, time, torch.tensor(KINDS)) + (1 - after) * drawn(torch.randn)
        )
    found = [*run.generate([{"kind": kind} for kind in KINDS], seed=2, device="cpu")]
    np.testing.assert_allclose(np.stack(found), value.numpy(), atol=1e-5)


def test_one_step_is_a_generator(tmp_path: Path) -> None:
    """As of a GAN, or the decoder of a VAE: the value is the code, and the result an output."""
    text = """
    inputs: {image: {shape: [4, 4, 1], dtype: float32}}
    nodes:
      flat:  {layer: Flatten}
      mean:  {layer: Dense, units: 3}
      code:  {compute: mean + random_normal(like=mean)}
      pixels: {layer: Dense, units: 16, activation: sigmoid}
      drawn: {layer: Reshape, target_shape: [4, 4, 1]}
    outputs: {drawn: {loss: mean_squared_error, target: image}}
    generate: {code: {start: random_normal, from: drawn, seed: 3}}
    """
    data = {"image": np.zeros((8, 4, 4, 1), np.float32)}
    result = graphspec.compile(text).fit(data, run_dir=tmp_path / "run", epochs=1)
    run = Run(result.run_dir)
    weights = run.module("cpu").state_dict()
    code = torch.stack([torch.randn(3, generator=generator(3, number)) for number in range(6)])
    pixels = (code @ weights["pixels.weight"].T + weights["pixels.bias"]).sigmoid().reshape(6, 4, 4, 1)
    np.testing.assert_allclose(np.stack([*run.generate(samples=6)]), pixels.numpy(), atol=1e-5)

    def told(*words: str) -> Any:
        result = CliRunner().invoke(app, ["generate", str(run.path), *words])
        assert result.exit_code == 0, result.output
        return result

    told("-n", "6", "-o", str(tmp_path / "a.npz"))
    np.testing.assert_allclose(np.load(tmp_path / "a.npz")["drawn"], pixels.numpy(), atol=1e-5)
    from PIL import Image

    told("-n", "1", "-o", str(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as picture:
        assert np.abs(np.asarray(picture) - pixels[0, ..., 0].numpy() * 255).max() <= 0.51
    told("-n", "6", "-o", str(tmp_path / "b.png"))
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.size == (3 * 48 + 2 * 3, 2 * 48 + 3)
    document = json.loads(told("-n", "2", "--json").stdout)
    np.testing.assert_allclose(document["samples"], pixels[:2].numpy(), atol=1e-5)
    for words, part in (
        (["--temperature", "2"], "makes samples"),
        (["-o", "a.jpg"], ".png, .npz"),
        ([], "-o"),
    ):
        failed = CliRunner().invoke(app, ["generate", str(run.path), *words])
        assert failed.exit_code != 0 and part in failed.output


LOOPS: dict[str, tuple[str, str, str]] = {
    "no such value": ("{nosy: {start: random_normal, from: error}}", "unknown-reference", "`nosy`"),
    "no such output": ("{noisy: {start: random_normal, from: errors}}", "unknown-reference", "`errors`"),
    "no such input": (
        "{noisy: {start: random_normal, repeat: {tim: {from: 0, to: 1}}, next: noisy + way}}",
        "unknown-reference",
        "`tim`",
    ),
    "no start": ("{noisy: {repeat: {time: {from: 0, to: 1}}, next: noisy + way}}", "missing-key", "start"),
    "nothing is made": ("{noisy: {start: random_normal}}", "missing-key", "becomes"),
    "no schedule": ("{noisy: {start: random_normal, next: noisy + way}}", "missing-key", "no `repeat`"),
    "another shape": (
        "{noisy: {start: random_normal, repeat: {time: [0, 1]}, next: 'sum(noisy * way, axis=1)'}}",
        "shapes-differ",
        "`next` gives",
    ),
    "no node": (
        "{noisy: {start: random_normal, repeat: {time: [0, 1]}, next: noisy + away}}",
        "unknown-reference",
        "`away`",
    ),
    "no change": (
        "{noisy: {start: random_normal, repeat: {time: [0, 1]}, next: noisy}}",
        "expression-form",
        "change",
    ),
    "no step": (
        "{noisy: {start: random_normal, repeat: {time: [1]}, next: noisy + way}}",
        "out-of-range",
        "one value",
    ),
    "steps of two lengths": (
        "{noisy: {start: random_normal, repeat: {time: [0, 1], kind: [0, 1, 2]}, next: noisy + way}}",
        "two-forms",
        "`kind` has 2 steps",
    ),
    "draws of a batch": (
        "{noisy: {start: random_normal, repeat: {time: [0, 1]}, next: way + random_normal(like=noisy)}}",
        "not-supported",
        "draws random numbers",
    ),
    "whole numbers": ("{kind: {start: random_normal, from: error}}", "wrong-dtype", "floats"),
    "what does not depend on it": (
        "{hidden: {start: random_normal, from: other}}",
        "unknown-reference",
        "other",
    ),
    "no range": (
        "{noisy: {start: random_normal, from: error, range: [1, 0]}}",
        "out-of-range",
        "the lower value first",
    ),
    "a text's setting": ("{noisy: {start: random_normal, from: error, top_k: 3}}", "unknown-key", "top_k"),
}


@pytest.mark.parametrize("case", LOOPS)
def test_a_wrong_loop_is_refused_at_its_place(case: str) -> None:
    section, code, words = LOOPS[case]
    with pytest.raises(SpecError) as caught:
        graphspec.compile(POINTS + f"generate: {section}\n")
    found = caught.value.diagnostics[0]
    assert found.code == code and words in found.message + str(found.help)
    assert found.span is not None and found.span.line == len(POINTS.splitlines()) + 1


def test_a_layer_that_nothing_trains_is_refused() -> None:
    text = POINTS.replace("  error:", "  more:   {layer: Dense, from: way, units: 3}\n  error:")
    with pytest.raises(SpecError, match=r"unreachable-node.*nothing trains `more.weight`"):
        graphspec.compile(
            text + "generate: {noisy: {start: random_normal, repeat: {time: [0, 1]}, next: noisy + more}}"
        )


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({}, "data-column", "`kind`"),
        ({"prompts": {"kind": 2}}, "data-range", "kind"),
        ({"prompts": {"kind": 1}, "temperature": 1.0}, "not-supported", "for texts"),
        ({"prompts": {"kind": 1}, "steps": 0}, "out-of-range", "steps"),
        ({"prompts": "Once"}, "data-column", "`kind`"),
    ],
)
def test_wrong_rows_are_refused(
    given: dict[str, Any], code: str, words: str, state: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecError) as caught:
        run_of(POINTS + FLOW, state, tmp_path).generate(**given)
    found = caught.value.diagnostics[0]
    assert found.code == code and words in found.message


def test_only_pictures_are_drawn(state: Path, tmp_path: Path) -> None:
    run = run_of(POINTS + FLOW, state, tmp_path)
    (tmp_path / "wanted.jsonl").write_text('{"kind": 1}\n{"kind": 0}\n')
    words = ["generate", str(run.path), "--weights", str(state), "--data", str(tmp_path / "wanted.jsonl")]
    failed = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "a.png")])
    assert failed.exit_code != 0 and "not a picture" in failed.output
    made = CliRunner().invoke(app, [*words, "-n", "2", "-o", str(tmp_path / "a.npz")])
    assert made.exit_code == 0, made.output
    expected = [*run.generate([{"kind": 1}, {"kind": 0}], samples=2)]
    np.testing.assert_allclose(np.load(tmp_path / "a.npz")["noisy"], np.stack(expected), atol=1e-6)


def test_steps_beside_a_list_are_refused(state: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"two-forms.*`time` has a list"):
        run_of(POINTS + ANCESTRAL, state, tmp_path).generate({"kind": 1}, steps=5)


def test_rows_are_encoded_as_those_of_the_training(tmp_path: Path) -> None:
    colours = ["red", "blue"] * 4
    (tmp_path / "points.csv").write_text(
        "kind,point_0,point_1,point_2\n" + "".join(f"{each},1,2,3\n" for each in colours)
    )
    text = POINTS.replace("{epochs: 3,", "{epochs: 1,") + FLOW
    text += "data: {train: points.csv, features: {kind: {encode: category}}}\n"
    (tmp_path / "points.yaml").write_text(text.replace("input_dim: 2", "input_dim: 3"))
    run = Run(graphspec.compile(tmp_path / "points.yaml").fit(run_dir=tmp_path / "run").run_dir)
    numbers = {word: int(run.sampler().read({"kind": word}, 1)[0]["kind"]) for word in ("red", "blue")}
    assert len({*numbers.values()}) == 2
    found = [*run.generate([{"kind": "red"}, {"kind": "blue"}], seed=1, device="cpu")]
    weights, kinds = run.module("cpu").state_dict(), torch.tensor([numbers["red"], numbers["blue"]])
    value = torch.stack([torch.randn(3, generator=generator(1, number)) for number in range(2)])
    for step in range(7):
        value = value + (1 / 7) * way(weights, value, step / 7, kinds)
    np.testing.assert_allclose(np.stack(found), value.numpy(), atol=1e-5)
    with pytest.raises(SpecError, match=r"data-column.*`kind`"):
        run.generate({"king": "red"})


MELODY = """
inputs:
  x: {shape: [length, 2]}
  notes: {shape: [length, 1]}
  time:  {shape: [1, 1], default: random_uniform}
  noise: {shape: [length, 2], default: random_normal}
nodes:
  noisy: {compute: (1 - time) * noise + time * x}
  both:  {merge: concatenate, from: [noisy, notes]}
  way:   {layer: Dense, units: 2}
  error: {compute: square(way - x + noise)}
outputs: {error: {loss: mean}}
data: {train: melodies.jsonl}
train: {epochs: 1, batch_size: 8}
generate:
  noisy:
    start: random_normal
    repeat: {time: {from: 0, to: 1, steps: 3}}
    next: noisy + (next_time - time) * way
"""


def test_a_row_says_how_large_its_sample_is(tmp_path: Path) -> None:
    rows = [{"x": [[0.5, 1]] * size, "notes": [[0.25]] * size} for size in (2, 3, 2, 3)]
    (tmp_path / "melodies.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "melody.yaml").write_text(MELODY)
    graphspec.compile(tmp_path / "melody.yaml").fit(run_dir=tmp_path / "run")
    made = list(Run(tmp_path / "run").generate([{"notes": row["notes"]} for row in rows[1:]]))
    assert [each.shape for each in made] == [(3, 2), (2, 2), (3, 2)]
    weights = Run(tmp_path / "run").module("cpu").state_dict()
    value = torch.randn(2, 2, generator=generator(0, 1))
    for _ in range(3):
        both = torch.cat([value, torch.full((2, 1), 0.25)], 1)
        value = value + (both @ weights["way.weight"].T + weights["way.bias"]) / 3
    torch.testing.assert_close(torch.from_numpy(made[1]), value)
    asked = ["generate", str(tmp_path / "run"), "--data", str(tmp_path / "melodies.jsonl")]
    file = tmp_path / "a.npz"
    assert CliRunner().invoke(app, [*asked, "-o", str(file)]).exit_code == 0
    assert {name: each.shape for name, each in np.load(file).items()}["noisy_3"] == (3, 2)
    result = CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "a.png")])
    assert result.exit_code == 1 and "not-supported" in result.stderr and "several sizes" in result.stderr


def test_a_loop_without_steps_is_refused() -> None:
    with pytest.raises(SpecError, match=r"input-count.*`repeat` names no input"):
        graphspec.compile(MELODY.replace("repeat: {time: {from: 0, to: 1, steps: 3}}", "repeat: {}"))


def test_a_size_that_no_row_says_is_refused_by_check() -> None:
    alone = MELODY.replace("[noisy, notes]", "[noisy, noisy]").replace("  notes: {shape: [length, 1]}\n", "")
    with pytest.raises(SpecError, match=r"unknown-size.*nothing says how large `length` is"):
        graphspec.compile(alone)
