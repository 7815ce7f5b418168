"""Programs as files of torch.export and ONNX: equal to the module at any size, and what is said where not."""

from __future__ import annotations

import functools
import gc
import json
import operator
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner, Result

import graphspec
from graphspec.cli.app import app
from graphspec.export import FORMATS, export
from graphspec.export.proof import prove
from graphspec.export.recurrent import scans
from graphspec.export.tracing import Range, Traced, trace
from tests import ROOT, bundled, one_in

UNTRACEABLE = ("digits_gan", "digits_robust", "few_shot")
SPECS = sorted(p for p in (ROOT / "specs").glob("*.yaml") if p.stem not in UNTRACEABLE)
"""All but one with a gradient by an input, which no exporter takes."""
RECURRENT = [
    ("LSTM", "units: 5"),
    ("LSTM", "units: 5, return_sequences: true, go_backwards: true"),
    ("LSTM", "units: 5, activation: relu"),
    ("GRU", "units: 5, return_sequences: true"),
    ("GRU", "units: 5, reset_after: false"),
    ("GRU", "units: 5, recurrent_activation: hard_sigmoid, return_sequences: true"),
    ("SimpleRNN", "units: 5"),
    ("SimpleRNN", "units: 5, activation: relu, return_sequences: true"),
    ("SimpleRNN", "units: 5, activation: sigmoid, zero_output_for_mask: true, return_sequences: true"),
    ("Bidirectional", "wraps: {layer: LSTM, units: 4, return_sequences: true}"),
    ("Bidirectional", "wraps: {layer: GRU, units: 4}, merge_mode: sum"),
    ("Bidirectional", "wraps: {layer: LSTM, units: 4, activation: relu, return_sequences: true}"),
]
SMALL: dict[str, dict[str, object]] = {
    # the graph is left as it is: large images and many filters take most of the time
    "resnet50": {"inputs.image.shape": [75, 75, 3], "widths": [4, 8, 16, 32]},
    "resnet": {"size": 75, "widths": [4, 8, 16, 32]},
    **{name: {"size": 75} for name in ("inception_v3", "two_cameras", "xception")},
}
SHALLOW: dict[str, dict[str, object]] = {
    **{name: {"depths": [1, 2, 1, 1]} for name in ("resnet", "resnet50")},
    "gpt": {"depth": 2, "width": 16},
}
"""Every block of a deep network, and each loop, with fewer rounds; `make parity` exports them whole."""
LONG = ("inception_v3", "torchvision_resnet", "two_cameras", "unet", "xception")
"""Up to half a minute each, of layers that others have, too: `make parity` exports them."""
FEW = ("digits", "gpt")
"""Of each kind one; recurrent layers by themselves below. `make parity` exports the others."""
LONGEST = {"gpt": {"length": 128}, "bert": {"length": 64}, "transformer_classifier": {"length": 200}}
"""Where there are positions, as many as they are."""
LEAST = {"unet": {"height": 2, "width": 2}}
"""Where an axis of one pixel at the bottom would be another case to PyTorch."""
STACK = """
inputs: {features: {shape: [4]}}
nodes: {hidden: {layer: Dense, units: 8, activation: relu}, y: {layer: Dense, units: 2}}
outputs: {y: {loss: mse}}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small spec in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(STACK)
    return Path("spec.yaml")


def build(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["build", *(str(argument) for argument in arguments)])


def recurrent(layer: str, arguments: str, masked: bool) -> graphspec.Program:
    """A spec with one recurrent layer; where it is masked, a third of the steps are."""
    if masked:
        inputs = "{x: {shape: [length], dtype: int64}}"
        before = "  vectors: {layer: Embedding, input_dim: 3, output_dim: 3, mask_zero: true}\n"
    else:
        inputs, before = "{x: {shape: [length, 3]}}", ""
    node = f"  y: {{layer: {layer}, {arguments}}}\n"
    return graphspec.compile(f"inputs: {inputs}\nnodes:\n{before}{node}outputs: [y]\n")


def spec_parameters() -> list[Any]:
    """The gallery's specs; all but a few under `make parity`."""
    return [
        pytest.param(path, id=path.stem, marks=[] if path.stem in FEW else [pytest.mark.parity])
        for path in SPECS
        if path.stem not in LONG
    ]


@pytest.mark.parametrize("path", spec_parameters())
def test_specs_export_at_any_size(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports_at_any_size(path, SHALLOW.get(path.stem, {}), tmp_path, monkeypatch)


@pytest.mark.parity
@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem) for p in SPECS if p.stem in {*LONG, *SHALLOW}])
def test_deep_specs_export_whole(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports_at_any_size(path, {}, tmp_path, monkeypatch)


def trace_once(program: graphspec.Program, module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every format is written of one trace, which takes half of the time."""
    once = functools.cache(lambda: trace(program, module))
    monkeypatch.setattr("graphspec.export.trace", lambda program, module: once())


def exports_at_any_size(
    path: Path, settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.stem in ("names", "posts") and torch.__version__ < "2.11":
        pytest.skip("torch 2.10 keeps no length free that is pooled")
    program = graphspec.compile(path, settings={**SMALL.get(path.stem, {}), **settings})
    module = program.module(exporting=True).eval().requires_grad_(False)
    trace_once(program, module, monkeypatch)
    least = {"batch": 1, **program.minimum_sizes, **LEAST.get(path.stem, {})}
    for format in FORMATS:
        exported = export(program, format, tmp_path / f"{path.stem}.{format}")
        assert exported.fixed == {}
        assert {name: span.least for name, span in exported.free.items()} == least
        longest = {name: span.most for name, span in exported.free.items() if span.most is not None}
        assert longest == LONGEST.get(path.stem, {})
        first, second = (comparison.sizes for comparison in exported.comparisons)
        assert first == least
        assert all(second[name] > size for name, size in first.items())
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".onnx", ".pt2"]


MASKED = [(*each, masked) for each in RECURRENT for masked in (False, True)]


@pytest.mark.parametrize(("layer", "arguments", "masked"), one_in(15, MASKED))
def test_scans_compute_what_recurrent_layers_do(layer: str, arguments: str, masked: bool) -> None:
    assert_scans_compute_what_the_layer_does(recurrent(layer, arguments, masked))


def stepped(step: Any, state: Any, steps: Any, reverse: bool = False) -> Any:
    """What torch's `scan` computes, which compiles its step for a second."""
    outputs = []
    for index in range(len(torch.utils._pytree.tree_leaves(steps)[0])):
        place = -1 - index if reverse else index
        state, output = step(state, torch.utils._pytree.tree_map(operator.itemgetter(place), steps))
        outputs.append(output)
    return state, torch.stack(outputs[::-1] if reverse else outputs)


def test_steps_compute_what_recurrent_layers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphspec.export.recurrent.scan", stepped)
    for each in MASKED:
        assert_scans_compute_what_the_layer_does(recurrent(*each))


def assert_scans_compute_what_the_layer_does(program: graphspec.Program) -> None:
    module = program.module(exporting=True).double().requires_grad_(False)
    for length in (1, 7):
        (x,) = program.example_inputs(3, {"length": length}).values()
        x = x.double() if x.is_floating_point() else x
        expected = module(x)
        with scans(module):
            actual = module(x)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-14)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("layer", "arguments"),
    [RECURRENT[7], *RECURRENT[1::3]],
)
def test_masked_recurrent_layers_export_at_any_length(layer: str, arguments: str, tmp_path: Path) -> None:
    exported = export(recurrent(layer, arguments, masked=True), "onnx", tmp_path / "model.onnx")
    assert exported.fixed == {}
    assert all((span.least, span.most) == (1, None) for span in exported.free.values())


@pytest.mark.parity
def test_a_state_that_is_given_exports_at_any_batch(tmp_path: Path) -> None:
    """And at any length, though one was fixed before, of a layer with the same step."""
    spec = """
    inputs: {x: {shape: [LENGTH, 3]}, h: {shape: [4]}, c: {shape: [4]}}
    nodes: {y: {layer: LSTM, units: 4, from: {sequences: x, initial_state: [h, c]}, return_state: true}}
    outputs: {last: {from: y}, h: {from: y.state_h}}
    """
    fixed = graphspec.compile(spec.replace("LENGTH", "9"))
    assert trace(fixed, fixed.module(exporting=True).eval().requires_grad_(False)).free.keys() == {"batch"}
    program = graphspec.compile(spec.replace("LENGTH", "length"))
    exported = export(program, "onnx", tmp_path / "model.onnx")
    assert exported.free == {"batch": Range(1), "length": Range(1)}


@pytest.mark.parity
def test_attention_along_some_axes_exports_at_any_size(tmp_path: Path) -> None:
    """ONNX knows it of four axes."""
    spec = """
    inputs: {x: {shape: [4, steps, 8]}, seen: {shape: [4, steps, steps], dtype: bool}}
    nodes:
      free: {layer: MultiHeadAttention, from: [x, x], num_heads: 2, key_dim: 4, attention_axes: 2}
      y:    {layer: MultiHeadAttention, from: {query: free, value: x, attention_mask: seen}, num_heads: 2,
             key_dim: 4, attention_axes: 2}
    outputs: [y]
    """
    exported = export(graphspec.compile(spec), "onnx", tmp_path / "model.onnx")
    assert exported.free == {"batch": Range(1), "steps": Range(1)}


def test_what_is_learned_once_is_stretched_to_any_batch() -> None:
    """A class token before tokens, and queries of one example that attend to many."""
    spec = """
    inputs: {x: {shape: [length, 4]}}
    nodes:
      token: {parameter: [1, 4]}
      tokens: {merge: concatenate, from: [token, x], axis: 1}
      queries: {parameter: [2, 4]}
      y: {layer: MultiHeadAttention, num_heads: 2, key_dim: 2, from: [queries, tokens]}
    outputs: [y]
    """
    program = graphspec.compile(spec)
    traced = trace(program, program.module(exporting=True).eval())
    assert traced.fixed == {}
    assert all((span.least, span.most) == (1, None) for span in traced.free.values())


@pytest.mark.parametrize(
    "node",
    one_in(
        2,
        [
            "op: take, from: [x, ids], axis: 1",
            "op: take_along_axis, from: [x, places], axis: 1",
            "op: segment_sum, from: [x, segments], num_segments: 3",
            "op: scatter_update, from: [x, places, updates]",
            "op: scatter, from: [places, updates], shape: [6, 4]",
            "op: image_affine_transform, from: [image, maps]",
            "op: image_map_coordinates, from: [image, spots], order: 1",
        ],
    ),
)
def test_what_reads_each_example_by_its_own_indices_leaves_the_batch_free(node: str) -> None:
    kinds = {"x": "6, 4", "updates": "3, 4", "image": "8, 8, 3", "maps": "8", "spots": "3, 5"}
    kinds |= {"ids": "3], dtype: int64", "segments": "6], dtype: int64", "places": "3, 1], dtype: int64"}
    read = {name: shape for name, shape in kinds.items() if name in node.partition("from")[2]}
    lines = (f"  {name}: {{shape: [{shape + ']' * (']' not in shape)}}}\n" for name, shape in read.items())
    inputs = "".join(lines)
    program = graphspec.compile(f"inputs:\n{inputs}nodes: {{y: {{{node}}}}}\noutputs: [y]\n")
    traced = trace(program, program.module(exporting=True).eval())
    assert (traced.free, traced.fixed) == ({"batch": Range(1)}, {})


def test_distances_export_at_any_size(tmp_path: Path) -> None:
    spec = "inputs: {x: {shape: [atoms, 3]}}\nnodes: {y: {op: cdist, from: [x, x]}}\noutputs: [y]\n"
    exported = export(graphspec.compile(spec), "onnx", tmp_path / "model.onnx")
    assert exported.free == {"batch": Range(1), "atoms": Range(1)}


def test_what_is_no_number_in_both_agrees() -> None:
    program = graphspec.compile("inputs: {x: {shape: [4]}}\nnodes: {y: {compute: log(x)}}\noutputs: [y]\n")
    module = program.module()
    prove(program, module, trace(program, module), lambda inputs: {"y": module(*inputs)}, [])
    with pytest.raises(graphspec.SpecError, match="differs"):
        prove(program, module, trace(program, module), lambda inputs: {"y": inputs[0]}, [])


def test_small_numbers_in_sums_are_kept(tmp_path: Path) -> None:
    """onnxscript leaves out sums with numbers below 1e-8, which divide by zero then."""
    spec = """
    inputs: {x: {shape: [4]}}
    nodes:
      share:   {compute: relu(x) / (relu(x) + 1e-9)}
      entropy: {compute: log(1e-10 + relu(x))}
      less:    {compute: log(relu(x) - -1e-12)}
    outputs: [share, entropy, less]
    """
    program = graphspec.compile(spec)
    module = program.module()
    export(program, "onnx", tmp_path / "model.onnx")
    x = torch.tensor([[-1.0, 0.0, 1e-9, 2.0]])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for found, expected in zip(session.run(None, {"x": x.numpy()}), module(x).values(), strict=True):
        torch.testing.assert_close(torch.from_numpy(found), expected)


@pytest.mark.parity
def test_relative_positions_and_messages_export_at_any_size(tmp_path: Path) -> None:
    """Indices of one example that meet every example, and groups whose number is a size of the input."""
    spec = """
    inputs:
      x:     {shape: [nodes, 4]}
      goals: {shape: [edges], dtype: int64}
    nodes:
      places: {op: arange, from: x, axis: 1}
      gap:    {compute: "clip(places[:, :, None] - places[:, None] + 2, x_min=0, x_max=3)"}
      near:   {op: take_along_axis, from: [x, gap], axis: 2}
      told:   {op: take, from: [near, goals], axis: 1}
      heard:  {op: segment_max, from: {data: told, segment_ids: goals, like: x}}
    outputs: [near, heard]
    """
    exported = export(graphspec.compile(spec), "onnx", tmp_path / "model.onnx")
    assert (exported.free.keys(), exported.fixed) == ({"batch", "nodes", "edges"}, {})


@pytest.mark.parity
@pytest.mark.parametrize(
    ("count", "least", "free"),
    one_in(3, [(1, 8, ["height", "width"]), (1, 8, ["height"]), (3, 64, ["height", "width"])]),
)
def test_strides_leave_images_free_from_a_size_on(count: int, least: int, free: list[str]) -> None:
    """Since torch 2.15, from 1 on."""
    node = f"{{layer: Conv2D, filters: 2, kernel_size: 3, strides: 2, padding: same, repeat: {count}}}"
    shape = ", ".join([*free, *["9"] * (2 - len(free)), "3"])
    program = graphspec.compile(f"inputs: {{x: {{shape: [{shape}]}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n")
    traced = trace(program, program.module(exporting=True).eval())
    least = 1 if torch.__version__ >= "2.15" else least
    found = {name: (span.least, span.most) for name, span in traced.free.items()}
    assert found == {"batch": (1, None), **dict.fromkeys(free, (least, None))}


def test_sizes_that_follow_from_multiples_have_the_names_of_the_spec(tmp_path: Path) -> None:
    spec = """
    inputs: {x: {shape: [4 * length, 3]}}
    nodes:
      half:  {layer: AveragePooling1D, pool_size: 2}
      again: {layer: UpSampling1D, size: 6}
      angle: {compute: "arctan2(x, x + 1)"}
    outputs: [half, again, angle]
    """
    model = onnx.load(export(graphspec.compile(spec), "onnx", tmp_path / "model.onnx").file)
    found = [
        value.type.tensor_type.shape.dim[1].dim_param for value in (*model.graph.input, *model.graph.output)
    ]
    assert found == ["4*length", "2*length", "12*length", "4*length"]


def test_inputs_have_the_letters_of_the_spec(tmp_path: Path) -> None:
    """torch writes them in small ones, and two that differ in that alone with a number."""
    program = graphspec.compile(
        """
inputs: {Wort: {shape: [left, 2]}, wort: {shape: [right, 3]}, WORT: {shape: [4]}}
nodes:
  a:   {layer: GlobalAveragePooling1D, from: Wort}
  b:   {layer: GlobalMaxPooling1D, from: wort}
  all: {merge: concatenate, from: [a, b, WORT]}
  y:   {layer: Dense, units: 2}
outputs: [y]
"""
    )
    file = export(program, "onnx", tmp_path / "model.onnx").file
    shapes = {value.name: value.shape for value in onnxruntime.InferenceSession(file).get_inputs()}
    assert shapes == {"Wort": ["batch", "left", 2], "wort": ["batch", "right", 3], "WORT": ["batch", 4]}


def test_files_have_the_names_of_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that Python, torch or ONNX have another use for."""
    spec = """
    inputs: {lambda: {shape: [steps, 4]}, other: {shape: [null, 4]}}
    nodes:
      code: {layer: Dense, from: lambda, units: 4}
      pooled: {layer: GlobalAveragePooling1D}
      graph: {layer: GlobalMaxPooling1D, from: other}
      sum: {merge: add, from: [pooled, graph]}
    outputs: {linear: {from: sum}, add: {from: code}, other: {from: graph}}
    """
    program = graphspec.compile(spec)
    trace_once(program, program.module(exporting=True).eval().requires_grad_(False), monkeypatch)
    model = onnx.load(export(program, "onnx", tmp_path / "model.onnx").file)
    onnx.checker.check_model(model)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "lambda": ["batch", "steps", 4],
        "other": ["batch", "size_1", 4],
        "linear": ["batch", 4],
        "add": ["batch", "steps", 4],
        "other_1": ["batch", 4],
    }
    export(program, "pt2", tmp_path / "model.pt2")
    extra = {"graphspec.json": ""}
    loaded = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    outputs = loaded(lambda_=torch.ones(4, 2, 4), other=torch.ones(4, 9, 4))
    assert list(outputs) == ["linear", "add", "other"]
    described = json.loads(extra["graphspec.json"])
    assert described["inputs"]["lambda"] == "float32[batch, steps, 4]"
    assert described["free"] == {"batch": [1, None], "steps": [1, None], "size_1": [1, None]}


def test_constants_have_no_name_of_an_output(tmp_path: Path) -> None:
    """Which torch gives to both where a node that moves axes is the output."""
    program = graphspec.compile("""
        inputs: {image: {shape: [3, 4, 4], data_format: channels_first}}
        nodes:
          rows: {parameter: [4, 4, 1]}
          columns: {parameter: [4, 4, 1]}
          joined: {merge: concatenate, from: [image, rows, columns]}
          conv: {layer: Conv2D, filters: 2, kernel_size: 3}
          permute: {layer: Permute, dims: [3, 1, 2]}
        outputs: [permute]
    """)
    file = tmp_path / "m.onnx"
    export(program, "onnx", file)
    assert [output.name for output in onnx.load(file).graph.output] == ["permute"]


@pytest.mark.parametrize("form", ["op: floor_divide, from: [a, b]", "compute: a // b + a % b"])
def test_integers_that_divide_are_not_drawn_as_zero(form: str) -> None:
    spec = f"""
inputs: {{a: {{shape: [40], dtype: int64}}, b: {{shape: [40], dtype: int64}}}}
nodes: {{y: {{{form}}}}}
outputs: [y]
"""
    inputs = graphspec.compile(spec).example_inputs(20)
    assert int(inputs["b"].min()) == 1
    other = graphspec.compile(spec.replace("a // b + a % b", "a + b").replace("floor_divide", "maximum"))
    assert int(other.example_inputs(20)["b"].min()) == 0


def test_an_operator_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    spec = "inputs: {x: {shape: [3]}}\nnodes: {y: {op: i0}}\noutputs: [y]"
    with pytest.raises(graphspec.SpecError) as error:
        export(graphspec.compile(spec), "onnx", tmp_path / "model.onnx")
    (found,) = error.value.diagnostics
    assert "ONNX has no operator for PyTorch's `prims.bessel_i0`" in found.message
    assert "--format pt2" in (found.help or "")
    assert export(graphspec.compile(spec), "pt2", tmp_path / "model.pt2").file.exists()  # the remedy


def test_a_choice_that_depends_on_numbers_is_refused_without_noise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = "inputs: {x: {shape: [3]}}\nnodes: {y: {op: random_truncated_normal, like: x}}\noutputs: [y]"
    with pytest.raises(graphspec.SpecError) as error:
        export(graphspec.compile(spec), "onnx", tmp_path / "model.onnx")
    assert error.value.diagnostics[0].code == "export-failed"
    assert "def forward" not in "".join(capfd.readouterr())


LACKING = (
    "argsort(x, axis=1)",
    "argsort(x, axis=-1)",
    "cumprod(x, axis=1)",
    "cumprod(x, axis=-1)",
    "cdist(x, y)",
    "fmax(x, -x)",
    "fmin(x, 2 * x)",
    "hypot(x, x + 1)",
    "clip(x, x_min=-0.5, x_max=1)",
)
"""Formulas over operators of which onnxscript knows nothing, or not these arguments."""


@bundled(3, "formula", LACKING)
def test_operators_that_onnxscript_lacks_are_written(formula: str, tmp_path: Path) -> None:
    spec = f"""
    inputs: {{x: {{shape: [5, 3]}}, y: {{shape: [4, 3]}}}}
    nodes: {{z: {{compute: "{formula}"}}, sum: {{compute: "sum(y, axis=[1, 2])"}}}}
    outputs: [z, sum]
    """
    program = graphspec.compile(spec)
    exported = export(program, "onnx", tmp_path / "model.onnx")
    assert not exported.fixed
    session, module = onnxruntime.InferenceSession(exported.file), program.module().eval()
    for batch in (1, 3):
        ties = torch.randint(-2, 3, (batch, 5, 3)).float()
        inputs = {"x": ties, "y": torch.randn(batch, 4, 3)}
        found, _ = session.run(None, {name: each.numpy() for name, each in inputs.items()})
        torch.testing.assert_close(torch.from_numpy(found), module(**inputs)["z"])


def test_uniform_noise_has_its_bounds_elsewhere(tmp_path: Path) -> None:
    spec = """
    inputs: {x: {shape: [100]}}
    nodes: {y: {op: random_uniform, like: x, minval: 2, maxval: 3}}
    outputs: [y]
    """
    file = export(graphspec.compile(spec), "onnx", tmp_path / "model.onnx").file
    (found,) = onnxruntime.InferenceSession(file).run(None, {"x": np.zeros((3, 100), "float32")})
    assert found.shape == (3, 100) and found.min() >= 2 and found.max() <= 3 and found.std() > 0.2


def test_outputs_that_are_random_are_not_compared_by_number(tmp_path: Path) -> None:
    spec = """
    inputs: {x: {shape: [4]}}
    nodes: {noise: {op: random_normal, like: x}, y: {layer: Dense, from: x, units: 2}}
    outputs: [noise, y]
    """
    exported = export(graphspec.compile(spec), "onnx", tmp_path / "model.onnx")
    assert exported.random == ("noise",)
    assert export(graphspec.compile(spec), "pt2", tmp_path / "model.pt2").random == ()


def test_what_cannot_stay_free_is_fixed_and_said(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that counts its steps in Python is traced at one length, and at any batch."""
    spec.write_text("inputs: {x: {shape: [length, 4]}}\nnodes: {y: {layer: Dense, units: 2}}\noutputs: [y]\n")
    module = graphspec.Program.module

    def counting(self: graphspec.Program, **options: Any) -> nn.Module:
        made = module(self, **options)
        forward = made.forward
        made.forward = lambda x: forward(x) + sum(1 for _ in x.unbind(1))
        return made

    monkeypatch.setattr(graphspec.Program, "module", counting)
    result = build(spec, "--format", "pt2")
    assert result.exit_code == 0, result.output
    assert "dynamic sizes: batch\n" in result.stdout
    assert "fixed sizes: length = 8 (PyTorch cannot keep them dynamic)" in result.stdout


def test_build_writes_trained_weights(spec: Path) -> None:
    program = graphspec.compile(spec)
    trained = program.module(seed=7)
    save_file(trained.state_dict(), "trained.safetensors")
    result = build(spec, "--format", "onnx", "--weights", "trained.safetensors")
    assert result.exit_code == 0, result.output
    assert "wrote spec.onnx\ndynamic sizes: batch\nweights: trained.safetensors\n" in result.stdout
    (x,) = program.example_inputs(6).values()
    session = onnxruntime.InferenceSession("spec.onnx", providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], {"features": x.numpy()})
    np.testing.assert_allclose(y, trained(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_what_torch_and_onnxscript_print_is_not_passed_on(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = torch.onnx.export

    def talking(*arguments: Any, **options: Any) -> Any:
        print("Applied 1 of general pattern rewrite rules.")
        return export(*arguments, **options)

    monkeypatch.setattr("torch.onnx.export", talking)
    assert json.loads(build(spec, "--format", "onnx", "--json").stdout)["ok"]


def test_the_suffix_of_the_file_is_the_format(spec: Path) -> None:
    said = build(spec, "-o", "a.pt2", "--json")
    assert json.loads(said.stdout)["format"] == "pt2" and torch.export.load("a.pt2")
    for options in (["-o", "a"], ["-o", "a.py"], ["-o", "a.txt", "--format", "py"]):
        assert build(spec, *options, "--no-check").exit_code == 0
        assert Path(options[1]).read_text().startswith("# Made by graphspec")


def test_build_says_where_weights_come_from(spec: Path) -> None:
    result = build(spec, "--format", "pt2", "--seed", "3", "--json")
    said = json.loads(result.stdout)
    assert (said["ok"], said["file"], said["format"], said["weights"], said["seed"]) == (
        True,
        "spec.pt2",
        "pt2",
        None,
        3,
    )
    assert [comparison["sizes"] for comparison in said["comparisons"]] == [{"batch": 1}, {"batch": 5}]
    result = build(spec, "--format", "pt2", "--set", "train.seed=3")
    assert "weights: initialised from seed 3; --weights takes trained ones" in result.stdout
    program = graphspec.compile(spec)
    (x,) = program.example_inputs(2).values()
    y = torch.export.load("spec.pt2").module()(features=x)
    torch.testing.assert_close(y, program.module(seed=3)(x).detach(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "tflite"], "tflite is not one of py, pt2, onnx"),
        (["--weights", "w.safetensors"], "a Python file holds no weights"),
        (["--seed", "1"], "a Python file holds no weights"),
        (["--format", "onnx", "--no-check"], "onnx is always compared with the module"),
        (["--format", "pt2", "-o", "-"], "pt2 is not text"),
        (["--format", "py", "-o", "x.onnx"], "x.onnx would hold py help: give --format onnx"),
        (["-o", "x.onnx", "--no-check"], "onnx is always compared with the module"),
        (["-o", "x.pt"], "x.pt ends in none of .py, .pt2, .onnx help: give --format, or another name"),
        (["--format", "onnx", "-o", "x.py"], "x.py would hold onnx help: give --format py"),
        (["--format", "pt2", "-o", "lacking/x.pt2"], "there is no directory lacking"),
    ],
)
def test_options_that_do_not_go_together(spec: Path, options: list[str], said: str) -> None:
    result = build(spec, *options)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize("format", one_in(2, ["pt2", "onnx"]))
def test_a_file_of_others_is_kept(spec: Path, format: str) -> None:
    path = Path(f"spec.{format}")
    path.write_text("mine")
    result = build(spec, "--format", format)
    assert result.exit_code == 2
    assert path.read_text() == "mine"
    assert build(spec, "--format", format, "--force").exit_code == 0
    assert build(spec, "--format", format).exit_code == 0  # its own


def test_packages_that_are_missing_are_named(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "graphspec.export.onnx.find_spec", lambda name: None if name == "onnxscript" else name
    )
    result = build(spec, "--format", "onnx")
    assert result.exit_code == 1
    assert (
        "error[package-missing]: `--format onnx` needs `onnxscript`, which is not installed" in result.stderr
    )
    assert "pip install onnx onnxruntime onnxscript" in result.stderr


def test_a_package_that_is_too_old_is_named(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(*arguments: object, **options: object) -> None:
        raise ModuleNotFoundError("No module named 'onnxscript._framework_apis.torch_2_11'")

    monkeypatch.setattr("torch.onnx.export", export)
    result = build(spec, "--format", "onnx")
    assert result.exit_code == 1
    assert (
        "error[package-missing]: `onnxscript` " in result.stderr and "is too old for torch" in result.stderr
    )
    assert "pip install --upgrade onnxscript" in result.stderr and not Path("spec.onnx").exists()


@pytest.mark.parametrize("format", one_in(2, ["pt2", "onnx"]))
def test_a_program_that_differs_is_refused(spec: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_weights(program: graphspec.Program, module: nn.Module) -> Traced:
        return trace(program, program.module(seed=1).eval().requires_grad_(False))

    monkeypatch.setattr("graphspec.export.trace", other_weights)
    result = build(spec, "--format", format)
    assert result.exit_code == 1
    assert (
        "error[export-differs]: the exported program's `y` differs from the module's at batch 1"
        in result.stderr
    )
    assert sorted(path.name for path in Path().iterdir()) == ["spec.yaml"]


def test_a_module_that_cannot_be_traced_is_a_diagnostic(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = graphspec.Program.module

    def branching(self: graphspec.Program, **options: Any) -> nn.Module:
        made = module(self, **options)
        forward = made.forward
        made.forward = lambda features: forward(features) if features.sum() > 0 else features
        return made

    monkeypatch.setattr(graphspec.Program, "module", branching)
    result = build(spec, "--format", "pt2")
    assert result.exit_code == 1
    assert "error[export-failed]: the module cannot be exported: " in result.stderr
    assert not Path("spec.pt2").exists()


def test_a_gradient_is_refused_at_its_node(tmp_path: Path) -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [5]}}
blocks:
  steep: {inputs: [x], nodes: {slope: {layer: InputGradient, wraps: {layer: Dense, units: 1}}}}
nodes:
  kept: {block: steep}
outputs: {kept: {loss: mse}}
""")
    for format in ("onnx", "pt2"):
        with pytest.raises(graphspec.SpecError) as refused:
            export(program, format, tmp_path / f"m.{format}")
        (found,) = refused.value.diagnostics
        assert found.code == "export-failed" and "`slope` is of `InputGradient`" in found.message
        assert found.span is not None and "build PART.yaml" in str(found.help)
    assert not [*tmp_path.iterdir()]


def test_a_generator_is_exported_with_the_weights_of_the_whole(tmp_path: Path) -> None:
    whole = graphspec.compile(ROOT / "specs" / "digits_gan.yaml")
    module = whole.module(seed=3)
    save_file(module.state_dict(), tmp_path / "last.safetensors")
    drawing = whole.resolved.partition("  drawing:\n")[2].partition("  judging:\n")[0]
    part = graphspec.compile(f"""
inputs: {{noise: {{shape: [16]}}}}
blocks:
  drawing:
{drawing}
shared: {{generator: {{block: drawing}}}}
nodes: {{samples: {{call: generator, from: noise}}}}
outputs: [samples]
""")
    export(part, "onnx", tmp_path / "part.onnx", weights=tmp_path / "last.safetensors")
    noise, image = torch.randn(3, 16), torch.zeros(3, 8, 8, 1, dtype=torch.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "part.onnx")
    (found,) = session.run(None, {"noise": noise.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), module.eval()(image, noise)["samples"])


@pytest.mark.parity
def test_a_loaded_module_exports_strictly() -> None:
    """PyTorch imports the definitions of a module by name while it lives."""
    program = graphspec.compile(SPECS[0].parent / "residual.yaml")
    module = program.module().eval()
    name = type(module).__module__
    assert sys.modules[name].__dict__[program.class_name] is type(module)
    inputs = program.example_inputs(2)
    exported = torch.export.export(module, (), inputs, strict=True)
    torch.testing.assert_close(exported.module()(**inputs), module(**inputs))
    del exported, module
    torch._dynamo.reset()
    gc.collect()
    assert name not in sys.modules


def test_kernels_that_are_normalized_in_training_are_exported(tmp_path: Path) -> None:
    program = graphspec.compile(
        """
inputs: {x: {shape: [frames, 6, 4]}}
nodes:
  a: {layer: SpectralNormalization, wraps: {layer: Dense, units: 3}}
  b: {layer: TimeDistributed, wraps: {layer: BatchNormalization}}
outputs: [b]
"""
    )
    found = export(program, "pt2", tmp_path / "m.pt2")
    assert {"batch", "frames"} <= set(found.free)


@pytest.mark.parametrize(
    "product",
    one_in(
        2,
        [
            "{op: einsum, from: [edges, h], subscripts: 'bij,bjf->bif'}",
            "{op: einsum, from: [h, edges], subscripts: 'bjf,bij->bif'}",
            "{op: tensordot, from: [edges, h], axes: [2, 1]}",
            "{op: kron, from: [edges, h]}",
        ],
    ),
)
def test_products_with_what_is_the_same_for_every_example_run_elsewhere(tmp_path: Path, product: str) -> None:
    spec = f"""
inputs: {{x: {{shape: [3, 2]}}}}
nodes:
  edges: {{constant: [[0.5, 0.5, 0], [0, 1, 0], [0.25, 0, 0.75]]}}
  h: {{layer: Dense, from: x, units: 4}}
  g: {product}
  y: {{layer: Dense, units: 2}}
outputs: [y]
"""
    (tmp_path / "s.yaml").write_text(spec)
    program = graphspec.compile(tmp_path / "s.yaml")
    export(program, "onnx", tmp_path / "s.onnx")
    x = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "s.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    with torch.no_grad():
        wanted = program.module(device="cpu", seed=0)(torch.from_numpy(x))
    np.testing.assert_allclose(found, wanted, 1e-5, 1e-6)
