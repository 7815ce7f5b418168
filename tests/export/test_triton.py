"""`build --triton`: a folder of Triton's model repository, whose configuration says what the file takes."""

from __future__ import annotations

import json
import random
import re
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from tests.runs import everything

TENSOR = re.compile(
    r'  { name: (".*?") data_type: (TYPE_\w+) dims: \[ ([-0-9, ]+) \]( reshape: { shape: \[ \] })? }'
)
KINDS = {
    "TYPE_FP32": "float",
    "TYPE_FP64": "double",
    "TYPE_INT64": "int64",
    "TYPE_UINT8": "uint8",
    "TYPE_INT16": "int16",
    "TYPE_STRING": "string",
}
SPEC = """\
name: pair
inputs:
  words: {shape: [length], dtype: int64}
  extra: {shape: [3]}
nodes:
  vectors: {layer: Embedding, input_dim: 9, output_dim: 4, from: words}
  pooled:  {layer: GlobalAveragePooling1D}
  both:    {merge: concatenate, from: [pooled, extra]}
  kind:    {layer: Dense, units: 2, activation: softmax}
outputs: [kind, vectors]
"""


def written(folder: Path, *arguments: object) -> dict[str, tuple[str, list[int], bool]]:
    """What a configuration says of each tensor: its type, its sizes behind the batch, whether it has none."""
    done = CliRunner().invoke(app, ["build", *map(str, arguments), "--triton", "-o", str(folder)])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["config.pbtxt", "model.onnx"]
    text = (folder / "config.pbtxt").read_text()
    head, stamp, text = text.split("\n", 2)
    assert head.startswith("# Made by graphspec ") and stamp.startswith("# A checksum")
    assert text.startswith('backend: "onnxruntime"\nmax_batch_size: 256\ninput [\n')
    assert text.endswith("]\ndynamic_batching { }\n")
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    found = {}
    for name, kind, sizes, scalar in TENSOR.findall(text):
        found[json.loads(name)] = (KINDS[kind], [int(size) for size in sizes.split(",")], bool(scalar))
    values = [*session.get_inputs(), *session.get_outputs()]
    assert {v.name: v.type for v in values} == {n: f"tensor({kind})" for n, (kind, _, _) in found.items()}
    return found


def test_a_model_of_arrays(tmp_path: Path) -> None:
    (tmp_path / "pair.yaml").write_text(SPEC)
    assert written(tmp_path / "models" / "pair", tmp_path / "pair.yaml") == {
        "words": ("int64", [-1], False),
        "extra": ("float", [3], False),
        "kind": ("float", [2], False),
        "vectors": ("float", [-1, 4], False),
    }
    for given, told in (
        ("pair.onnx", "name a folder"),
        ("-", "name it"),
        ("pair.yaml/x", "is not a folder"),
    ):
        output = given if given == "-" else str(tmp_path / given)
        done = CliRunner().invoke(app, ["build", str(tmp_path / "pair.yaml"), "--triton", "-o", output])
        assert done.exit_code == 2 and told in " ".join(done.stderr.replace("│", "").split())


def test_small_integers_have_types_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "photo.yaml").write_text(
        "inputs: {photo: {shape: [4, 4, 3], dtype: uint8}, place: {shape: [1], dtype: int16}}\n"
        "nodes:\n  pixels: {layer: Rescaling, from: photo, scale: 0.01}\n  flat: {layer: Flatten}\n"
        "  near: {layer: Rescaling, from: place, scale: 0.1}\n"
        "  both: {merge: concatenate, from: [flat, near]}\n  kind: {layer: Dense, units: 2}\n"
        "outputs: [kind]\n"
    )
    found = written(tmp_path / "photo", tmp_path / "photo.yaml")
    assert found["photo"] == ("uint8", [4, 4, 3], False) and found["place"] == ("int16", [1], False)


def test_files_of_others_and_edits_stay(tmp_path: Path) -> None:
    spec, folder = tmp_path / "pair.yaml", tmp_path / "models"
    spec.write_text("inputs: {x: {shape: [3]}}\nnodes: {y: {layer: Dense, units: 2}}\noutputs: [y]\n")
    written(folder, spec)
    written(folder, spec)
    model, settings = folder / "1" / "model.onnx", folder / "config.pbtxt"
    made = settings.read_text()

    def refused(*options: str) -> str:
        done = CliRunner().invoke(app, ["build", str(spec), "--triton", "-o", str(folder), *options])
        assert done.exit_code == 2, done.output
        return "".join(done.stderr.replace("│", "").split())

    for given, told in (("# mine\n", "was not written by graphspec"), (made + "# more\n", "was edited")):
        settings.write_text(given)
        for options in ((), ("--quantize", "int8")):
            assert f"{settings}{''.join(f' {told}'.split())}" in refused(*options).replace("existsand", "")
        assert settings.read_text() == given
    settings.write_text(made)
    model.write_text("not ours")
    for options in ((), ("--quantize", "int8")):
        assert f"{model}existsandwasnotwrittenbygraphspec" in refused(*options)
    assert model.read_text() == "not ours"
    assert (
        CliRunner().invoke(app, ["build", str(spec), "--triton", "-o", str(folder), "--force"]).exit_code == 0
    )
    assert settings.read_text() == made and model.read_text("latin-1") != "not ours"


def test_a_refusal_leaves_nothing(tmp_path: Path) -> None:
    spec, folder = tmp_path / "pair.yaml", tmp_path / "models" / "pair"
    spec.write_text(SPEC)
    for given, options, told in (
        (spec, ["--format", "py"], "--tritonwritesonnx"),
        (spec, ["--inputs", "rows"], "`rows`isnotoneof"),
        (spec, ["--weights", str(tmp_path / "none.safetensors")], "none.safetensors"),
        (tmp_path / "none", ["--quantize", "int8"], "none"),
        (spec, ["--quantize", "int8"], ""),
    ):
        done = CliRunner().invoke(app, ["build", str(given), "--triton", "-o", str(folder), *options])
        said = "".join(done.stderr.replace("│", "").split())
        assert done.exit_code in (1, 2) and told in said and "model.onnx" not in said
        assert [*tmp_path.iterdir()] == [spec]


@pytest.mark.parity
def test_a_model_of_columns(tmp_path: Path) -> None:
    run = everything.train(tmp_path)
    found = written(tmp_path / "models", run.path)
    row = everything.row(random.Random(0))
    assert found.keys() >= row.keys() - {"id", "plain_0", "plain_1"}
    assert found["amount"] == ("double", [1], True) and found["moods"] == ("string", [-1], False)
    assert found["kind"] == ("string", [1], True) and found["kind.probabilities"] == ("float", [3], False)


def parsed(file: Path) -> Any:
    """A configuration as Triton's own schema reads it, which needs less than the client beside it."""
    text_format = pytest.importorskip("google.protobuf.text_format")
    client = find_spec("tritonclient")
    if client is None or client.submodule_search_locations is None:
        pytest.skip("no Triton schema: `pip install --no-deps tritonclient`")
    path = Path(client.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = spec_from_file_location("model_config_pb2", path)
    assert spec is not None and spec.loader is not None
    schema = module_from_spec(spec)
    spec.loader.exec_module(schema)
    return text_format.Parse(file.read_text(), schema.ModelConfig())


@pytest.mark.parity
def test_tritons_own_schema_reads_it(tmp_path: Path) -> None:
    (tmp_path / "pair.yaml").write_text(SPEC)
    for name, given in (("pair", tmp_path / "pair.yaml"), ("rows", everything.train(tmp_path / "run").path)):
        found = written(tmp_path / name, given)
        read = parsed(tmp_path / name / "config.pbtxt")
        assert read.backend == "onnxruntime" and read.HasField("dynamic_batching")
        tensors = [*read.input, *read.output]
        assert [(t.name, [*t.dims], t.HasField("reshape")) for t in tensors] == [
            (name, sizes, scalar) for name, (_, sizes, scalar) in found.items()
        ]
        assert not any(t.reshape.shape for t in tensors)
