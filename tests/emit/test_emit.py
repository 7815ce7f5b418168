"""Emission: the module equals its graph run op by op; its source is deterministic, formatted, and needs
only torch.
"""

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import graphspec
from graphspec.contract.layer import Weight
from graphspec.emit.definitions import DefinitionWriter
from graphspec.emit.library_source import library_code, needed
from graphspec.graph import Graph
from graphspec.program import Program
from graphspec.weights import weight_files
from graphspec.weights.names import argument, attribute
from tests import ROOT, bundled, interpreter, one_in, processes
from tests.programs import program_of

CASES = sorted((ROOT / "tests/emit").glob("*.yaml")) + sorted((ROOT / "tests/emit/parts").glob("*.yaml"))
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
ACTIVATIONS = {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid}


def randomized(program: Program) -> nn.Module:
    """The program's module in float64, every weight another number."""
    module = program.module().double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64) / 3
            value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)
    return module


def example(program: Program, batch: int = 2, sizes: dict[str, int] | None = None) -> dict[str, Tensor]:
    inputs = program.example_inputs(batch, sizes=sizes)
    return {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}


def named(program: Program, outputs: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    return outputs if isinstance(outputs, dict) else {next(iter(program.outputs)): outputs}


@torch.no_grad()
def agrees(program: Program, inputs: dict[str, Tensor] | None = None) -> None:
    """Fails where the module and the graph differ, or logits and probabilities do."""
    module, inputs = randomized(program), inputs or example(program)
    expected = interpreter.interpret(program, module, inputs)
    actual = named(program, module(*inputs.values()))
    assert list(actual) == list(program.outputs)
    for name, value in expected.items():
        assert torch.allclose(actual[name], value, rtol=1e-9, atol=1e-9, equal_nan=True), name
        assert actual[name].shape == value.shape, name
    by_name = named(program, module(**{argument(name): x for name, x in inputs.items()}))
    assert all(torch.allclose(by_name[name], actual[name], 0, 0, equal_nan=True) for name in actual)
    if not program.takes_logits:
        return
    logits = named(program, module(*inputs.values(), logits=True))
    for name, result in program.outputs.items():
        plain = ACTIVATIONS[result.activation](logits[name]) if result.activation else logits[name]
        torch.testing.assert_close(plain, actual[name], equal_nan=True)
        assert not result.activation or not torch.equal(logits[name], actual[name])


@bundled(16, "path", CASES, ids=lambda path: path.stem)
def test_the_module_computes_its_graph(path: Path) -> None:
    agrees(program_of(path))


# --- properties of the source


def everything() -> list[Path]:
    return [*CASES, *SPECS]


def emitted_name(path: Path) -> str:
    """A file's name; a case may be called as a spec is."""
    return f"{path.parent.name}_{path.stem}.py"


@pytest.fixture(scope="module")
def emitted_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what every spec becomes, and every helper in a file of its own."""
    folder = tmp_path_factory.mktemp("emitted")
    for path in everything():
        (folder / emitted_name(path)).write_text(program_of(path).source)
    return folder


def ruff(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--isolated", "--no-cache", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_source_is_formatted_and_clean(emitted_files: Path) -> None:
    assert not ruff(emitted_files, "format", "--line-length", "88", "--diff")
    assert not ruff(emitted_files, "check", "--select", "E4,E7,E9,F,I,UP,B,ARG", "--target-version", "py311")


@pytest.mark.parity
def test_source_has_the_types_that_it_says(emitted_files: Path) -> None:
    """`make lint` looks at those in tests/golden."""
    if torch.__version__ < "2.11":
        pytest.skip("the comments for mypy suit the types of torch 2.11 and later")
    command = [sys.executable, "-m", "mypy", "--config-file", os.devnull, "--warn-unused-ignores", "."]
    done = subprocess.run(command, cwd=emitted_files, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_each_definition_stands_alone(tmp_path: Path) -> None:
    """With what it needs, as no program has cut it down: formatted, clean, and told why it exists."""
    imports = "import math\nfrom collections.abc import Callable, Mapping\nfrom typing import Any\n\n"
    imports += (
        "import torch\nfrom torch import Tensor, nn\nfrom torch.func import functional_call, grad, vmap\n"
    )
    imports += "from torch.nn import functional as F\nfrom torch.utils.checkpoint import checkpoint\n"
    writer = DefinitionWriter(library_code())
    for name, definition in library_code().nodes.items():
        parts = [writer.write(library_code().nodes[each]) for each in needed([name])]
        text = "\n".join(line for part in parts for line in ["", "", *part])
        (tmp_path / f"{name}.py").write_text(f"{imports}{text}\n")
        assert ast.get_docstring(definition), f"{name} does not say why it exists"
    assert not ruff(tmp_path, "format", "--line-length", "88", "--diff")
    selected = ["--select", "E4,E7,E9,F,I,UP,B,ARG", "--ignore", "F401"]
    assert not ruff(tmp_path, "check", *selected, "--target-version", "py311")


def test_source_does_not_depend_on_the_process(emitted_files: Path) -> None:
    """Another process, another hash seed, another order. `test_golden` reads what other processes wrote."""
    program = (
        "import sys, hashlib, graphspec\n"
        "for path in sys.argv[1:]:\n"
        "    print(path, hashlib.sha256(graphspec.compile(path).source.encode()).hexdigest())\n"
    )
    paths = [str(path) for path in reversed(CASES[::8])]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", program, *paths],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=True,
    )
    for line in done.stdout.splitlines():
        path, digest = line.rsplit(" ", 1)
        source = (emitted_files / emitted_name(Path(path))).read_bytes()
        assert hashlib.sha256(source).hexdigest() == digest, path


def test_source_needs_torch_and_nothing_else(emitted_files: Path) -> None:
    program = (
        "import sys, runpy\n"
        "for name in ('graphspec', 'keras', 'pydantic', 'yaml', 'safetensors'): sys.modules[name] = None\n"
        "for path in sys.argv[1:]: runpy.run_path(path)\n"
    )
    files = sorted(str(path) for path in emitted_files.glob("*.py"))
    done = processes.run(["-c", program, *files])
    assert done.returncode == 0, done.stderr
    for path in files:
        tree = ast.parse(Path(path).read_text())
        plain = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        parts = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        known = {
            "torch",
            "torch.nn",
            "torch.func",
            "torch.utils.checkpoint",
            "collections.abc",
            "math",
            "typing",
        }
        assert plain | parts <= known, path


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    """What each spec becomes, as it was last looked at; `pytest --update-golden` writes it anew."""
    golden = ROOT / "tests/golden" / f"{path.stem}.py"
    source = program_of(path).source
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(source)
    assert source == golden.read_text()


# --- properties of the module


def weights_of(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Weight, bool]]:
    """Every weight by the key that the spec's names give it, and whether it is learned."""
    for unit in graph.units:
        here = f"{prefix}{attribute(unit.name)}" + ("" if unit.index is None else f".{unit.index}")
        if unit.first_call.graph is not None:
            for key, weight, trainable in weights_of(unit.first_call.graph, f"{here}."):
                yield key, weight, trainable and unit.trainable
        for weight in unit.first_call.weights():
            key = here if unit.first_call.parameter is not None else f"{here}.{weight.name}"
            yield key, weight, weight.trainable and unit.trainable


@bundled(16, "path", [*CASES, *one_in(3, SPECS)], ids=lambda path: path.stem)
def test_weights_have_the_names_of_the_spec(path: Path) -> None:
    program = program_of(path)
    module = program.module()
    expected = {key: (weight, trainable) for key, weight, trainable in weights_of(program.graph)}
    state = module.state_dict()
    assert set(state) == set(expected)
    learned = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    for key, (weight, trainable) in expected.items():
        assert tuple(state[key].shape) == weight.shape, key
        assert (key in learned) == trainable, key
    summary = program.summary()
    assert summary.total_params == sum(value.numel() for value in state.values())
    assert summary.trainable_params == sum(p.numel() for p in module.parameters() if p.requires_grad)


@bundled(16, "path", [*one_in(3, CASES), *one_in(6, [*SPECS[3:], *SPECS[:3]])], ids=lambda path: path.stem)
def test_weights_begin_as_the_spec_says(path: Path) -> None:
    program = program_of(path)
    state = program.module(seed=1).state_dict()
    library = interpreter.library()
    loaded = tuple(prefix for prefix, *_ in weight_files(program.graph))
    for key, weight, _ in weights_of(program.graph):
        if not weight.initializer or key.startswith(loaded):
            continue
        expected = torch.empty(weight.shape)
        exec(weight.initializer.replace("{w}", "w"), {**library, "w": expected})
        constant = bool((expected == expected.flatten()[0]).all())
        if constant and expected.numel() > 1:
            assert torch.equal(state[key], expected), key
        elif expected.numel() > 30:
            assert 0.5 < state[key].std() / expected.std() < 2, key


@pytest.mark.parametrize(("case", "word"), [("picks", "Pick"), ("initializers_lifted", "Unit")])
def test_one_class_where_an_argument_does(case: str, word: str) -> None:
    """Uses of a block that differ in a number of a slice, or of an initializer."""
    source = graphspec.compile(ROOT / f"tests/emit/{case}.yaml").source
    names = [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    assert word in names and f"{word}2" not in names


@pytest.mark.parametrize("layer", ["GRU", "LSTM"])
def test_a_state_that_is_always_given_has_no_other_value_first(layer: str, tmp_path: Path) -> None:
    states = "[h]" if layer == "GRU" else "[h, c]"
    text = f"""
inputs: {{x: {{shape: [steps, 4]}}, h: {{shape: [8]}}, c: {{shape: [8]}}}}
nodes:
  y: {{layer: {layer}, units: 8, from: {{sequences: x, initial_state: {states}}}}}
  z: {{merge: add, from: [y, c]}}
outputs: {{z: }}
"""
    (tmp_path / "a.yaml").write_text(text)
    source = graphspec.compile(tmp_path / "a.yaml").source
    assert "state = None" not in source and "state = " in source


def test_a_negative_offset_is_subtracted() -> None:
    text = "inputs: {x: {shape: [3]}}\nnodes: {y: {layer: Rescaling, scale: 2, offset: -1}}\noutputs: [y]\n"
    program = graphspec.compile(text)
    assert "return x * 2 - 1.0" in program.emit().source
    assert program.module()(torch.tensor([[0.0, 1, 2]])).tolist() == [[-1, 1, 3]]


def test_a_frozen_part_keeps_its_statistics() -> None:
    program = graphspec.compile(ROOT / "tests/emit/frozen_units.yaml")
    module = program.module().train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    module(*program.example_inputs(8).values())
    for key, value in module.state_dict().items():
        moved = "running" in key and key.startswith("c.")
        assert torch.equal(value, before[key]) != moved, key


def test_batch_normalization_can_be_synchronized() -> None:
    """All layers of a ResNet-50 become PyTorch's `SyncBatchNorm`, and what results trains."""
    settings = {"widths": [4, 8, 12, 16], "inputs.image.shape": [96, 96, 3]}
    program = graphspec.compile(ROOT / "specs/resnet50.yaml", settings=settings)
    module = program.module().train()
    keys = list(module.state_dict())
    count = sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    parts = [part for part in module.modules() if isinstance(part, nn.SyncBatchNorm)]
    assert len(parts) == count == 53
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert [key for key in module.state_dict() if not key.endswith("num_batches_tracked")] == keys
    optimizer, losses = torch.optim.SGD(module.parameters(), 0.05), []
    image, target = torch.randn(4, 96, 96, 3), torch.arange(4)
    for _ in range(4):
        loss = nn.functional.cross_entropy(module(image, logits=True), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert float(parts[0].running_mean.abs().sum()) > 0 and int(parts[0].num_batches_tracked) == 4  # type: ignore[union-attr, arg-type]


def test_weights_from_a_file(tmp_path: Path) -> None:
    """A model's weights lie below its node's name; the file may hold more than the model needs."""
    part = tmp_path / "part.yaml"
    part.write_text((ROOT / "tests/emit/parts/vision.yaml").read_text())
    state = graphspec.compile(part).module(seed=5).state_dict()
    weights = {key: value.contiguous() for key, value in state.items()}
    save_file({**weights, "more": torch.ones(2)}, tmp_path / "part.safetensors")
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "inputs: {image: {shape: [8, 8, 3]}}\n"
        "shared: {s: {model: part.yaml, weights: part.safetensors}}\n"
        "nodes:\n"
        "  a: {model: part.yaml, weights: part.safetensors, from: image}\n"
        "  b: {call: s, from: image}\n"
        "  c: {model: part.yaml, from: image}\n"
        "  m: {merge: add, from: [a, b, c]}\n"
        "outputs: [m]\n"
    )
    state = graphspec.compile(spec).module().state_dict()
    for key, value in weights.items():
        assert torch.equal(state[f"a.{key}"], value) and torch.equal(state[f"s.{key}"], value)
    assert not torch.equal(state["c.probs.weight"], weights["probs.weight"])


def test_a_param_called_like_a_library_function_brings_none() -> None:
    spec = (
        "inputs: {x: {shape: [6]}}\n"
        "blocks:\n"
        "  b: {params: {warp: 3}, inputs: [x], nodes: {d: {layer: Dense, units: $warp}}}\n"
        "nodes: {one: {block: b}, two: {block: b, warp: 4}}\n"
        "outputs: [two]\n"
    )
    source = graphspec.compile(spec).source
    assert "warp: int = 3" in source
    assert "def warp" not in source


def test_functions_around_modules_and_for_parameters_are_carried() -> None:
    spec = (
        "inputs: {x: {shape: [6]}}\n"
        "nodes:\n"
        "  s: {layer: SpectralNormalization, wraps: {layer: Dense, units: 4}}\n"
        "  p: {parameter: [4], initializer: {name: variance_scaling, scale: 2.0}}\n"
        "  sum: {merge: add, from: [s, p]}\n"
        "outputs: [sum]\n"
    )
    assert graphspec.compile(spec).module()(torch.zeros(2, 6)).shape == (2, 4)


def test_a_sequence_too_short_is_refused_by_name() -> None:
    program = graphspec.compile(ROOT / "tests/emit/weird_text.yaml")
    with pytest.raises(ValueError, match="`length` must be at least 5, not 4"):
        program.module()(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2))
    with pytest.raises(ValueError, match="`length` is 6, but 5 in x"):
        program.module()(torch.zeros(1, 5, 2), torch.zeros(1, 6, 2))


def test_an_error_in_the_module_has_its_place_in_the_spec() -> None:
    program = graphspec.compile(ROOT / "tests/emit/residual.yaml")
    for number, span in program.emitted.places.items():
        assert span.line <= len(program.sources[span.file].splitlines())
        assert program.source.splitlines()[number - 1].strip()
    try:
        program.module()(torch.zeros(2, 9))
    except RuntimeError as error:
        place = program.place_of(error)
    assert place is not None and "shortcut" not in str(place) and place.line in (8, 9)


def chain_of(count: int) -> str:
    nodes = "".join(f"  n{i}: {{layer: Dense, units: {8 + i % 3}, activation: relu}}\n" for i in range(count))
    return f"inputs: {{x: {{shape: [8]}}}}\nnodes:\n{nodes}outputs: [n{count - 1}]\n"


def skips_of(count: int) -> str:
    """A chain whose sums read what was made four nodes before, and is let go of by a `del` each."""
    nodes = "  n0: {layer: Dense, units: 8}\n"
    for i in range(1, count):
        what = f"merge: add, from: [n{i - 1}, n{i - 4}]" if i % 5 == 4 else "layer: Dense, units: 8"
        nodes += f"  n{i}: {{{what}}}\n"
    return f"inputs: {{x: {{shape: [8]}}}}\nnodes:\n{nodes}outputs: [n{count - 1}]\n"


@pytest.mark.parametrize("spec_of", one_in(2, [chain_of, skips_of]))
def test_emission_is_linear(spec_of: Callable[[int], str]) -> None:
    """Calls grow as nodes do: counted, not timed."""

    def work(count: int) -> int:
        program = graphspec.compile(spec_of(count))
        calls = 0

        def count_call(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count_call)
        try:
            _ = program.source
        finally:
            sys.setprofile(None)
        return calls

    work(2)  # what is done once is done
    assert work(200) < 5 * work(50)


def test_sparsemax_of_nan_is_nan() -> None:
    """It does not fail: a training reports that its loss is not finite."""
    spec = "inputs: {x: {shape: [3]}}\nnodes: {y: {op: sparsemax}}\noutputs: [y]"
    found = graphspec.compile(spec).module()(torch.tensor([[float("nan"), 1.0, 2.0], [0.0, 0.0, 3.0]]))
    assert found[0].isnan().all() and found[1].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("case", one_in(2, ["two_conditions", "t5", "parallel_counts", "shared_norm_ranks"]))
def test_a_definition_is_one_class(case: str) -> None:
    """Causal or not, with and without a memory, of other ranks and counts."""
    source = graphspec.compile(ROOT / f"tests/emit/{case}.yaml").source
    names = [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    known = {"T5", "Block0", "Block1", "Block2", "MultiHeadAttention2d"}
    assert not [name for name in names if name[-1].isdigit() and name not in known and "Norm" not in name]


@pytest.mark.parity
def test_one_condition_is_one_if() -> None:
    source = graphspec.compile(ROOT / "bench/specs/swin.yaml").source
    assert source.count("if self.merges:") == 1 and source.count("        if merges:") == 1


def test_the_length_of_a_list_is_a_number() -> None:
    spec = """
params: {rates: [1, 2, 4]}
inputs: {x: {shape: [length, 8]}}
blocks:
  unit:
    params: {rate: required}
    inputs: [x]
    nodes:
      conv: {layer: Conv1D, filters: 8, kernel_size: 2, dilation_rate: $rate, padding: causal}
nodes: {units: {block: unit, rate: "$(rates[index % len(rates)])", repeat: 6}}
outputs: [units]
"""
    program = graphspec.compile(spec)
    assert "Unit(8, rates[index % len(rates)]) for index in range(6)" in program.source
    counted = graphspec.compile(spec.replace("rates[index % len(rates)]", "index + len(rates)"))
    assert "Unit(8, index + len(rates)) for index in range(6)" in counted.source
    module = program.module()
    dilations = [module.get_submodule(f"units.{index}.conv").dilation for index in range(6)]
    assert dilations == [(1,), (2,), (4,)] * 2


def test_what_grows_by_1_is_written_from_the_index() -> None:
    """Slices of one column each, as many as an argument says."""
    program = graphspec.compile("""
inputs: {x: {shape: [5]}, z: {shape: [4]}}
blocks:
  column:
    params: {at: required}
    inputs: [x]
    nodes: {one: {op: get_item, key: "..., $at:$(at + 1)"}, y: {layer: Dense, units: 2}}
  columns:
    params: {count: required}
    inputs: [x]
    nodes: {each: {block: column, at: $index, parallel: $count}, all: {merge: add, from: each.*}}
nodes:
  one: {block: columns, from: x, count: 5}
  two: {block: columns, from: z, count: 4}
outputs: [one, two]
""")
    assert "Column(index) for index in range(count)" in program.source
