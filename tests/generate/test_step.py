"""The step of a model against the whole of it: steps one by one, in chunks, and from different places."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from typer.testing import CliRunner

import graphspec
from graphspec import Program, SpecError
from graphspec.cli.app import app
from graphspec.export.step import export_step
from graphspec.generate.proof import prove
from graphspec.generate.stepper import Stepper
from tests import ROOT
from tests.generate.specs import CAUSAL, LOOKS_AHEAD

LENGTH = 9
GALLERY = {"gpt": {"context": 16, "width": 16, "depth": 2}, "llama": {"width": 16, "hidden": 24}}


@cache
def program_of(name: str) -> Program:
    if name in GALLERY:
        return graphspec.compile(ROOT / "specs" / f"{name}.yaml", params=GALLERY[name])
    nodes = yaml.safe_load(CAUSAL[name])["nodes"]
    return graphspec.compile(f"{CAUSAL[name]}\noutputs: [{[*nodes][-1]}]\n")


@cache
def pair(name: str) -> tuple[nn.Module, Program, nn.Module, Mapping[str, Tensor], Tensor]:
    """The module, the program and the module of its step, inputs, and what the module makes of them."""
    program = program_of(name)
    module, step = program.module(seed=1).eval(), program.step()
    stepped = step.module(weights=module.state_dict()).eval()
    inputs = program.example_inputs(3, dict.fromkeys(program.minimum_sizes, LENGTH), seed=2)
    with torch.no_grad():
        return module, step, stepped, inputs, module(*inputs.values())


def cut(inputs: Mapping[str, Tensor], step: Program, first: int, last: int) -> dict[str, Tensor]:
    assert step.stepping is not None
    fresh = step.stepping.inputs
    return {name: value[:, first:last] if name in fresh else value for name, value in inputs.items()}


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize(
    "chunks", [[1] * LENGTH, [LENGTH], [4, 1, 3, 1]], ids=["one by one", "whole", "chunks"]
)
@pytest.mark.parametrize("name", [*GALLERY, *CAUSAL])
def test_steps_are_those_of_the_whole(name: str, chunks: list[int]) -> None:
    _, step, module, inputs, expected = pair(name)
    stepper = Stepper(step, module, LENGTH)
    stepper.begin(3)
    found, place = [], 0
    with torch.no_grad():
        for count in chunks:
            (output,) = stepper.step(cut(inputs, step, place, place + count)).values()
            found.append(output)
            place += count
    close(torch.cat(found, 1), expected)


@pytest.mark.parametrize("name", [*GALLERY, *CAUSAL])
def test_sequences_of_different_lengths_go_on_together(name: str) -> None:
    _, step, module, inputs, expected = pair(name)
    assert step.stepping is not None
    stepper, lengths = Stepper(step, module, LENGTH), (5, 2, 5)
    rows = [{key: value[row] for key, value in inputs.items()} for row in range(3)]
    prompts = [
        {key: value[:length] if key in step.stepping.inputs else value for key, value in row.items()}
        for row, length in zip(rows, lengths, strict=True)
    ]
    with torch.no_grad():
        last = [next(iter(each.values())) for each in stepper.start(prompts)]
        close(torch.stack(last), torch.stack([expected[n, k - 1] for n, k in enumerate(lengths)]))
        stepper.take(torch.tensor([2, 1, 0]))
        for more in range(3):
            places = stepper.places.tolist()
            fresh = [
                {key: v[p : p + 1] if key in step.stepping.inputs else v for key, v in rows[2 - n].items()}
                for n, p in enumerate(places)
            ]
            given = {key: torch.stack([each[key] for each in fresh]) for key in inputs}
            (output,) = stepper.step(given).values()
            assert places == [5 + more, 2 + more, 5 + more]
            close(output[:, 0], torch.stack([expected[2 - n, p] for n, p in enumerate(places)]))


@pytest.mark.parametrize("name", LOOKS_AHEAD)
def test_what_needs_later_steps_is_refused_at_its_node(name: str) -> None:
    text, node = LOOKS_AHEAD[name]
    with pytest.raises(SpecError) as caught:
        graphspec.compile(f"{text}\noutputs: [y]\n").step()
    (found,) = caught.value.diagnostics
    assert found.code == "not-causal" and found.message.startswith(f"`{node}` ") and found.help
    line = found.span and text.splitlines()[found.span.line - 1][found.span.column - 1 :]
    assert line and line.startswith(node)


@pytest.mark.parametrize("name", ["bert", "names", "dense", "unet"])
def test_specs_of_the_gallery_that_do_not_go_on(name: str) -> None:
    with pytest.raises(SpecError, match="not-causal"):
        graphspec.compile(ROOT / "specs" / f"{name}.yaml").step()


def test_the_state_is_no_larger_than_it_must_be() -> None:
    def sizes(name: str) -> dict[str, list[int]]:
        _, step, module, _, _ = pair(name)
        stepper = Stepper(step, module, 7)
        stepper.begin(2)
        return {path: list(state.shape) for path, state in stepper.states.items()}

    assert sizes("gpt")["layers.1.attention_keys"] == [2, 4, 7, 4]
    assert {tuple(shape) for shape in sizes("llama").values()} == {(2, 7, 2, 4)}, "before heads are repeated"
    assert sizes("wavenet") == {"a_window": [2, 1, 8], "b_window": [2, 8, 6]}
    assert sizes("lstm") == {"y_state_h": [2, 5], "y_state_c": [2, 5]}
    assert sizes("frames") == {}


def test_the_file_needs_only_torch(tmp_path: Path) -> None:
    module, step, _, inputs, expected = pair("gpt")
    names: dict[str, type] = {}
    exec(compile(step.emit().source, "gpt.py", "exec"), names)
    alone = names["Gpt"]().eval()
    alone.load_state_dict(module.state_dict())
    alone.begin(3, 16)
    places = torch.zeros(3, dtype=torch.int64)
    with torch.no_grad():
        first = alone(inputs["tokens"][:, :4], places)
        close(torch.cat([first, alone(inputs["tokens"][:, 4:], places + 4)], 1), expected)


def test_the_summary_of_a_step_tells_what_it_keeps() -> None:
    def told(*words: str) -> str:
        result = CliRunner().invoke(app, ["summary", str(ROOT / "specs" / "gpt.yaml"), "--step", *words])
        assert result.exit_code == 0, result.output
        return result.output

    keys_and_values = 3 * 2 * 64 * 4  # layers, keys and values, width, bytes
    assert f"State of a sequence: {keys_and_values} * longest bytes" in told()
    small, large = (json.loads(told("--flops", "--json", "--size", f"longest={n}")) for n in (10, 110))
    assert small["state_bytes"] == keys_and_values * 10 and large["state_bytes"] == keys_and_values * 110
    costs = [sum(layer["flops"] for layer in each["layers"]) for each in (small, large)]
    assert costs[1] - costs[0] == 3 * 100 * 64 * 4, "layers, steps, scores and sums of each feature"


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt", "llama", "blocks in blocks"])
def test_onnxruntime_steps_with_the_states_outside(name: str, tmp_path: Path) -> None:
    made = export_step(program_of(name), "onnx", tmp_path / "step.onnx", None, 0)
    assert made.difference < 1e-5 and len(made.states) > 3 and made.file.is_file() and made.encoder is None


@pytest.mark.parity
def test_the_source_of_a_step_in_onnxruntime_has_any_length(tmp_path: Path) -> None:
    made = export_step(program_of("encoder and decoder"), "onnx", tmp_path / "step.onnx", None, 0)
    assert made.difference < 1e-5 and list(made.states) == ["y_state_h", "y_state_c"]


def translator(folder: Path) -> tuple[Path, Tensor, Tensor, Tensor]:
    """The gallery's translator, smaller: its file, what it reads, has said, and makes of both."""
    text = (ROOT / "specs" / "dates.yaml").read_text()
    file = folder / "dates.yaml"
    file.write_text(text.replace("half: 32", "half: 4").replace("data/", f"{ROOT}/specs/data/"))
    generator = torch.Generator().manual_seed(0)
    written = torch.randint(1, 60, (2, 7), generator=generator)
    written[1, 4:] = 0
    said = torch.randint(1, 20, (2, 5), generator=generator)
    with torch.no_grad():
        return file, written, said, graphspec.compile(file).module().eval()(written, said)


def built(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["build", *map(str, words), "--step", "--json"])
    assert result.exit_code == 0, result.output
    made: dict[str, Any] = json.loads(result.stdout)
    return made


def test_two_files_of_python_compute_the_encoder_once_and_steps(tmp_path: Path) -> None:
    spec, written, said, expected = translator(tmp_path)
    made = built(spec, "-o", tmp_path / "step.py")
    files: dict[str, dict[str, Any]] = {"file": {}, "encoder": {}}
    for key, names in files.items():
        exec(compile(Path(made[key]).read_text(), made[key], "exec"), names)
    state = graphspec.compile(spec).module().state_dict()
    step, encoder = files["file"]["Dates"]().eval(), files["encoder"]["DatesEncoder"]().eval()
    for part in (step, encoder):
        part.load_state_dict({key: state[key] for key in part.state_dict()})
    assert step.state_dict().keys() | encoder.state_dict().keys() == state.keys()
    step.begin(2, 5)
    with torch.no_grad():
        step.encode(encoder(written))
        close(torch.cat([step(said[:, n : n + 1], torch.tensor([n, n])) for n in range(5)], 1), expected)
    refused = CliRunner().invoke(app, ["build", str(spec), "--step", "-o", "-"])
    assert refused.exit_code == 2 and "second file" in refused.stderr
    (tmp_path / "other_encoder.py").write_text("x = 1\n")
    refused = CliRunner().invoke(app, ["build", str(spec), "--step", "-o", str(tmp_path / "other.py")])
    assert refused.exit_code == 2 and "other_encoder.py exists and was not written" in refused.stderr


@pytest.mark.parity
def test_onnxruntime_alone_computes_the_encoder_once_and_steps(tmp_path: Path) -> None:
    import onnxruntime

    spec, written, said, expected = translator(tmp_path)
    made = built(spec, "-o", tmp_path / "step.onnx")
    encoder, step = (onnxruntime.InferenceSession(made[key]) for key in ("encoder", "file"))
    kept = encoder.run(None, {"written": written.numpy()})
    given = dict(zip([each.name for each in encoder.get_outputs()], kept, strict=True))
    assert given.keys() == made["given"].keys()
    states = {name: np.zeros([2, *shape[1:]], np.float32) for name, shape in made["states"].items()}
    outputs = [each.name for each in step.get_outputs()]
    found = []
    for n in range(5):
        feed = {"iso": said[:, n : n + 1].numpy(), "places": np.array([n, n]), **given, **states}
        now = dict(zip(outputs, step.run(None, feed), strict=True))
        found.append(torch.from_numpy(now[outputs[0]]))
        states = {name: now[f"{name}.next"] for name in states}
    close(torch.cat(found, 1), expected)


@pytest.mark.parity
def test_torch_export_alone_computes_the_encoder_once_and_steps(tmp_path: Path) -> None:
    spec, written, said, expected = translator(tmp_path)
    made = built(spec, "-o", tmp_path / "step.pt2")
    encoder, step = (torch.export.load(made[key]).module() for key in ("encoder", "file"))
    given = encoder(written=written)
    states = {name: torch.zeros(2, *shape[1:]) for name, shape in made["states"].items()}
    found = []
    for n in range(5):
        output, states = step({"iso": said[:, n : n + 1], "places": torch.tensor([n, n])}, states, given)
        found.append(output)
    close(torch.cat(found, 1), expected)


def test_build_writes_the_step_after_it_was_compared(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{CAUSAL['shared table']}outputs: [y]\n")
    file = tmp_path / "step.py"
    result = CliRunner().invoke(app, ["build", str(tmp_path / "a.yaml"), "--step", "-o", str(file), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["difference"] < 1e-6 and "def begin(self" in file.read_text()
    refused = CliRunner().invoke(app, ["build", str(ROOT / "specs" / "bert.yaml"), "--step", "-o", "-"])
    assert refused.exit_code == 1 and "not-causal" in refused.stderr


def test_padding_and_scores_beside_the_steps_are_compared_as_they_are_meant(tmp_path: Path) -> None:
    text = """
inputs: {source: {shape: [words, 6]}, tokens: {shape: [length], dtype: int64}}
nodes:
  t: {layer: Embedding, from: tokens, input_dim: 5, output_dim: 6, mask_zero: true}
  a: {layer: MultiHeadAttention, num_heads: 2, key_dim: 3, use_causal_mask: true, from: {query: t, value: t}}
  y: {layer: MultiHeadAttention, num_heads: 2, key_dim: 3, return_attention_scores: true,
      from: {query: a, value: source}}
outputs: {y: {}, scores: {from: y.attention_scores}}
"""
    program = graphspec.compile(text)
    step = program.step()
    assert step.stepping is not None and step.stepping.size == "length"
    whole = program.module(seed=0).eval()
    module = step.module(weights=whole.state_dict()).eval()
    assert prove(program, step, module, whole) < 1e-5  # a masked query gets the mean of all steps
    stepper, inputs = Stepper(step, module, 4), program.example_inputs(1, {"length": 4}, least=1)
    (last,) = stepper.start([{key: value[0] for key, value in inputs.items()}])
    close(last["scores"], whole(**inputs)["scores"][0, :, -1])


def test_an_error_in_a_block_names_the_use(tmp_path: Path) -> None:
    text = """
inputs: {x: {shape: [length, 8]}}
blocks:
  part:
    params: {causal: required}
    inputs: [x]
    nodes: {a: {layer: Attention, from: [x, x], use_causal_mask: $causal}}
nodes: {y: {block: part, repeat: {causal: [true, false]}}}
outputs: [y]
"""
    with pytest.raises(SpecError, match=r"`a` .* attends to all steps(.|\n)*used by `y\.1` at .*8:9"):
        graphspec.compile(text).step()


def test_a_state_that_begins_with_an_input_is_given_once() -> None:
    program = graphspec.compile(
        "inputs: {h: {shape: [4]}, x: {shape: [length, 3]}}\n"
        "nodes: {y: {layer: GRU, units: 4, return_sequences: true, from: {sequences: x, initial_state: h}}}\n"
        "outputs: [y]\n"
    )
    step, whole = program.step(encoded=True), program.module(seed=1).eval()
    assert step.encoder is not None and [*step.inputs] == ["x", "places"]
    stepper = Stepper(step, step.module(weights=whole.state_dict()), 5, step.encoder.module())
    inputs = program.example_inputs(2, {"length": 5})
    with torch.no_grad():
        stepper.begin(2)
        stepper.encode(inputs)
        found = [stepper.step({"x": inputs["x"][:, place : place + 1]})["y"] for place in range(5)]
        close(torch.cat(found, 1), whole(**inputs))


def test_what_gives_a_step_for_several_says_so_and_so_does_padding_as_an_output() -> None:
    for text, words in (
        (LOOKS_AHEAD["a step for two"][0], "one step for 2 of its input"),
        (LOOKS_AHEAD["a mean for two"][0], "one step for 2 of its input"),
        (
            "inputs: {x: {shape: [length, 8]}}\nnodes: {y: {layer: ZeroPadding1D, padding: [2, 0]}}\n",
            "has no axis of the steps",
        ),
    ):
        with pytest.raises(SpecError, match=f"not-causal.*{words}"):
            graphspec.compile(f"{text}\noutputs: [y]\n").step()


def test_an_encoder_of_blocks_with_params_is_written() -> None:
    program = graphspec.compile(
        "params: {rate: 0.5}\n"
        "inputs: {source: {shape: [words, 4]}, x: {shape: [length, 4]}}\n"
        "blocks: {part: {inputs: [x], params: {units: 4, scale: 0.5}, nodes: {\n"
        "  a: {layer: Dense, units: $units}, b: {layer: Rescaling, scale: $scale, when: $(scale != 1)}}}}\n"
        "nodes:\n"
        "  memory: {block: part, from: source, repeat: 2, scale: $rate}\n"
        "  y: {layer: MultiHeadAttention, num_heads: 1, key_dim: 4, from: {query: x, value: memory}}\n"
        "outputs: [y]\n"
    )
    encoder = program.step(encoded=True).encoder
    assert encoder is not None and "class ModelEncoder(nn.Module)" in encoder.emit().source


def test_a_file_of_steps_has_one_output(tmp_path: Path) -> None:
    program = graphspec.compile(
        "inputs: {x: {shape: [length, 4]}}\n"
        "nodes:\n"
        "  h: {layer: GRU, units: 4, return_sequences: true}\n"
        "  a: {layer: Dense, units: 2}\n"
        "  b: {layer: Dense, units: 3, from: h}\n"
        "outputs: [a, b]\n"
    )
    with pytest.raises(graphspec.SpecError, match=r"export-failed.*the outputs a, b, and a file of steps"):
        export_step(program, "onnx", tmp_path / "step.onnx", None, 0)
    assert not (tmp_path / "step.onnx").exists()


TRANSLATOR = """
inputs: {words: {shape: [source], dtype: int64}, said: {shape: [length], dtype: int64}}
blocks:
  part:
    inputs: [x, memory, twice]
    params: {size: required}
    nodes:
      read:
        {layer: MultiHeadAttention, from: {query: x, value: x}, num_heads: 2, key_dim: 4,
         use_causal_mask: true}
      sum:   {merge: add, from: [x, read]}
      other:
        {layer: MultiHeadAttention, from: {query: sum, value: memory, key: twice}, num_heads: 2,
         key_dim: $size, value_dim: 3}
      out:   {merge: add, from: [sum, other]}
nodes:
  codes:  {layer: Embedding, from: words, input_dim: 30, output_dim: 6, mask_zero: true}
  memory: {layer: GRU, units: 8, return_sequences: true}
  twice:  {compute: 2 * memory}
  tokens: {layer: Embedding, from: said, input_dim: 30, output_dim: 8}
  parts:  {block: part, from: {x: tokens, memory: memory, twice: twice}, repeat: {size: [4, 6]}}
  next:   {layer: Dense, units: 30}
outputs: [next]
"""


def test_keys_and_values_of_a_memory_are_projected_once() -> None:
    program = graphspec.compile(TRANSLATOR)
    step = program.step(encoded=True)
    assert step.encoder is not None
    whole, module, encoder = program.module(seed=3).eval(), step.module(), step.encoder.module()
    state = whole.state_dict()
    for part in (module, encoder):
        part.load_state_dict({key: state[key] for key in part.state_dict()})
    own, others = ({*part.state_dict()} for part in (module, encoder))
    assert {"parts.1.other.key.weight", "parts.1.other.value.weight"} <= others - own
    assert "parts.1.other.query.weight" in own
    words = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]])
    said = torch.randint(1, 30, (2, 6), generator=torch.Generator().manual_seed(0))
    stepper = Stepper(step, module, 6, encoder)
    with torch.no_grad():
        stepper.begin(2)
        stepper.encode({"words": words})
        found = [stepper.step({"said": said[:, place : place + 1]})["next"] for place in range(6)]
        torch.testing.assert_close(torch.cat(found, 1), whole(words, said), atol=1e-5, rtol=1e-4)
