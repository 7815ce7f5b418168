"""Training with torch.compile: the same losses, compiled once, and only where it pays."""

import itertools
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from graphspec.compiler import compile
from graphspec.diagnostics import SpecError
from graphspec.train import compiled
from graphspec.train.compiled import Way, choose
from graphspec.train.config import OPTIMIZERS as SETTINGS
from graphspec.train.loop import train
from graphspec.train.optimizers import Optimizer
from graphspec.train.parallel.shards import full_tensor
from graphspec.train.parallel.world import World
from tests import ROOT, one_in

BLOCKS = """
inputs: {x: {shape: [6]}}
blocks:
  mix:
    inputs: [x]
    nodes:
      wide: {layer: Dense, units: 12, activation: relu}
      norm: {layer: BatchNormalization}
      back: {layer: Dense, units: 6}
      sum: {merge: add, from: [back, x]}
nodes:
  mixed: {block: mix, from: x, repeat: 4}
  y: {layer: Dense, units: 3, activation: softmax}
  score: {layer: Dense, from: mixed, units: 1, kernel_regularizer: {name: l2, l2: 0.01}}
outputs:
  y:
    loss: sparse_categorical_crossentropy
    class_weight: {"0": 2.0, "1": 1.0, "2": 1.0}
    metrics: [accuracy]
  score: {loss: mse, loss_weight: learned, target: near}
train: {optimizer: adam, epochs: 2, batch_size: 14, seed: 4}
data: {train: d.npz, validation: {split: 0.2}}
"""
SHALLOW = BLOCKS.replace("repeat: 4", "repeat: 1")
ONE_LAYER = """
inputs: {x: {shape: [6]}}
nodes: {hidden: {layer: Dense, units: 3}, near: {layer: Dense, units: 1}}
outputs: {near: {loss: mse}}
train: {optimizer: adam, epochs: 2, batch_size: 14, seed: 4}
data: {train: d.npz, validation: {split: 0.2}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    source = np.random.default_rng(0)
    x = source.normal(size=(107, 6)).astype("float32")
    labels = (x.sum(1) > 0).astype("int64") + (x[:, 0] > 1)
    np.savez(tmp_path / "d.npz", x=x, y=labels, near=x[:, :1])
    return tmp_path


WAYS: tuple[Way, Way] = ("off", "on")
whole_steps = pytest.mark.skipif(
    torch.__version__ < compiled.WHOLE_STEPS, reason=f"torch {torch.__version__} compiles no whole steps"
)


def both(place: Path, told: Callable[[str], None], spec: str = BLOCKS) -> list[dict[str, Any]]:
    """The histories of an eager run and of one that compiles."""
    found = []
    for way in WAYS:
        torch._dynamo.reset()
        run = place / way
        result = train(compile(spec), root=place, run_dir=run, device="cpu", compile=way, tell=told)
        found.append(result.history)
    return found


def assert_alike(eager: dict[str, Any], other: dict[str, Any]) -> None:
    assert eager.keys() == other.keys()
    for name, values in eager.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@whole_steps
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param(compiled.BACKEND, marks=pytest.mark.parity)])
def test_whole_steps_are_compiled_once_and_give_the_same_losses(
    place: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Every epoch ends with a batch of one example, and validation has smaller ones."""
    monkeypatch.setattr(compiled, "BACKEND", backend)
    lines: list[str] = []
    assert_alike(*both(place, lines.append, SHALLOW))
    assert "compiling whole steps: asked for" in lines
    assert not any(line.startswith("not compiled") for line in lines), lines
    assert re.search(r"compiled once, in \d+\.\d s", "\n".join(lines))


OPTIMIZERS = [
    "{name: adamw, learning_rate: 0.01, amsgrad: true, use_ema: true, clipnorm: 0.3}",
    "{name: sgd, learning_rate: 0.005, momentum: 0.9, nesterov: true, weight_decay: 0.01}",
    "{name: rmsprop, learning_rate: 0.01, momentum: 0.5, centered: true, global_clipnorm: 0.5}",
    "{name: nadam, learning_rate: 0.001}",
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@whole_steps
@pytest.mark.parametrize(
    "optimizer",
    one_in(3, OPTIMIZERS),
    ids=["adamw", "sgd", "rmsprop", "nadam"],
)
def test_updates_in_the_graph_are_those_outside_of_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """Clipping, schedules and averages with them; `nadam`, the last one, has none in the graph."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    lines: list[str] = []
    spec = SHALLOW.replace("optimizer: adam", f"optimizer: {optimizer}, schedule: cosine_decay")
    assert_alike(*both(place, lines.append, spec))
    assert any(line.startswith("compiled once") for line in lines), lines


TRACEABLE = sorted({s.names()[0] for s in SETTINGS.members.values() if vars(s).get("traceable", True)})


@pytest.mark.parametrize("name", TRACEABLE)
def test_rules_take_rates_that_are_numbers_or_tensors(name: str) -> None:
    settings = SETTINGS.read({"name": name, "learning_rate": 0.01, "weight_decay": 0.1, "clipvalue": 0.9})
    draw = np.random.default_rng(0)
    begun, gradients = (torch.from_numpy(draw.normal(size=size)) for size in ((3, 2), (4, 3, 2)))
    weights = [torch.nn.Parameter(begun.float()) for _ in range(2)]
    numbers, tensors = (Optimizer(settings, {"weight": weight}) for weight in weights)
    for count, gradient in enumerate(gradients.float()):
        for each, weight in zip((numbers, tensors), weights, strict=True):
            weight.grad = gradient.clone()
            if each is numbers or count == 0:
                each.step()
            else:
                rates = torch.tensor(each.rates(count), dtype=torch.float64)
                with torch.no_grad():
                    each.trace([gradient], rates.unbind())
                each.advance()
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-5, atol=1e-7)
    assert not torch.equal(weights[0], begun.float())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_loss_that_is_not_finite_moves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    spec = """
inputs: {x: {shape: [6]}}
nodes: {near: {layer: Dense, units: 1}}
outputs: {near: {loss: mse}}
train: {optimizer: {name: sgd, learning_rate: 1e12}, epochs: 2, batch_size: 14}
data: {train: d.npz}
"""
    weights = []
    for way in WAYS:
        torch._dynamo.reset()
        with pytest.raises(SpecError, match="became infinite at step 3"):
            train(
                compile(spec),
                root=place,
                run_dir=place / way,
                device="cpu",
                compile=way,
                tell=lambda line: None,
            )
        weights.append(load_file(place / way / "last.safetensors"))
    for name, weight in weights[0].items():
        assert weight.isfinite().all()
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-5, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_blocks_that_repeat_share_what_was_compiled(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the first block, whose input needs no gradient, and once for the other three."""
    monkeypatch.setattr(compiled, "LARGE", 10)
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    lines: list[str] = []
    assert_alike(*both(place, lines.append))
    assert "compiling 4 repeated blocks: asked for" in lines
    assert any(line.startswith("compiled 2 times") for line in lines)


STAGES = """
inputs: {x: {shape: [6]}}
blocks:
  mix:
    params: {units: required}
    inputs: [x]
    nodes: {back: {layer: Dense, units: $units}, sum: {merge: add, from: [back, x]}}
  stage:
    params: {units: required}
    inputs: [x]
    nodes: {grow: {layer: Dense, units: $units}, mixed: {block: mix, units: $units, repeat: 2}}
nodes:
  stages: {block: stage, repeat: {units: [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}}
  near: {layer: Dense, units: 1}
outputs: {near: {loss: mse}}
train: {optimizer: adam, epochs: 1, batch_size: 14, seed: 4}
data: {train: d.npz, validation: {split: 0.2}}
"""


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_blocks_of_stages_are_compiled_once_for_each_width(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many widths there are: by itself torch compiles eight, and runs the others eagerly."""
    monkeypatch.setattr(compiled, "LARGE", 10)
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    lines: list[str] = []
    assert_alike(*both(place, lines.append, STAGES))
    assert "compiling 20 repeated blocks: asked for" in lines
    assert any(line.startswith("compiled 10 times") for line in lines), lines


def test_stages_are_no_repeated_blocks() -> None:
    """What is alike within them is: the bottlenecks of ResNet-50, but not the block of its stem."""
    paths = choose(compile(ROOT / "specs/resnet50.yaml"), "on", 1, "cpu", World()).paths
    inner = [f"{number}.rest.{i}" for number, depth in enumerate((3, 4, 6, 3)) for i in range(depth - 1)]
    assert sorted(paths) == sorted(f"stages.{each}" for each in (*inner, *(f"{n}.first" for n in range(4))))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@whole_steps
def test_a_free_length_that_all_examples_share_is_compiled_for(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    spec = """
inputs: {words: {shape: [length], dtype: int32}}
nodes:
  code: {layer: Embedding, input_dim: 20, output_dim: 4, mask_zero: true}
  mean: {layer: GlobalAveragePooling1D}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
train: {epochs: 2, batch_size: 14}
data: {train: words.npz, validation: {split: 0.2}}
"""
    source = np.random.default_rng(0)
    np.savez(place / "words.npz", words=source.integers(0, 20, (107, 5)), y=source.integers(0, 3, 107))
    lines: list[str] = []
    assert_alike(*both(place, lines.append, spec))
    assert "compiling whole steps: asked for" in lines
    assert any(line.startswith("compiled once") for line in lines), lines


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@whole_steps
def test_a_second_training_of_a_process_compiles_its_own_step(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    torch._dynamo.reset()
    found: dict[str, list[dict[str, Any]]] = {}
    lines: list[str] = []
    for activation, size in (("relu", 14), ("tanh", 10)):
        spec = ONE_LAYER.replace("units: 3", f"units: 3, activation: {activation}")
        spec = spec.replace("batch_size: 14", f"batch_size: {size}")
        for way in WAYS:
            run = place / f"{activation}-{way}"
            done = train(compile(spec), root=place, run_dir=run, device="cpu", compile=way, tell=lines.append)
            found.setdefault(activation, []).append(done.history)
    for histories in found.values():
        assert_alike(*histories)
    assert sum(line.startswith("compiled once") for line in lines) == 2, lines


def test_modules_may_be_imported_while_a_step_is_compiled() -> None:
    """By another thread, or by torch itself, which imports some of its own where it first meets them."""
    torch._dynamo.reset()
    names = (f"graphspec_imported_{number}" for number in itertools.count())
    done: list[str] = []
    ended = threading.Event()

    def importing() -> None:
        while not ended.is_set():
            done.append(next(names))
            sys.modules[done[-1]] = sys

    thread = threading.Thread(target=importing)
    thread.start()
    try:
        compile_step = torch.compile(full_tensor, backend="eager", fullgraph=True)
        assert torch.equal(compile_step(torch.ones(2)), torch.ones(2))
    finally:
        ended.set()
        thread.join()
        for name in done:
            del sys.modules[name]


@whole_steps
def test_what_torch_cannot_compile_runs_eagerly_and_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise NotImplementedError("no such kernel")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    lines: list[str] = []
    assert_alike(*both(place, lines.append, SHALLOW))
    assert any(line.startswith("not compiled, as torch cannot: ") for line in lines)
    assert not any(line.startswith("compiled") for line in lines), lines


RECURRENT = """
inputs: {x: {shape: [5, 2]}}
nodes: {code: {layer: LSTM, units: 4}, y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
"""
FRAMES = """
inputs: {x: {shape: [3, 6, 6, 1]}}
nodes:
  code: {layer: ConvLSTM2D, filters: 2, kernel_size: 3}
  flat: {layer: Flatten}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
"""
SYMBOLIC = RECURRENT.replace("[5, 2]", "[n, 2]").replace("LSTM, units: 4", "GlobalAveragePooling1D")
CHECKPOINTED = BLOCKS.replace("repeat: 4", "repeat: 4, checkpoint: true")
ALONE = BLOCKS.replace("repeat: 4", "checkpoint: true")
ACCUMULATED = BLOCKS.replace("optimizer: adam", "optimizer: {name: adam, gradient_accumulation_steps: 2}")


@pytest.mark.parametrize(
    ("spec", "way", "steps", "world", "words"),
    [
        (BLOCKS, "off", 10**9, World(), "not compiled: off"),
        (CHECKPOINTED, "on", 10**7, World(), "compiling 4 repeated blocks: asked for"),
        (ALONE, "on", 10**7, World(), "not compiled: what is checkpointed"),
        (BLOCKS, "auto", 100, World(), "not compiled: 100 steps would save about 0 s"),
        (BLOCKS, "auto", 10**7, World(), "compiling whole steps: 10,000,000 steps would save"),
        (RECURRENT, "on", 10**7, World(), "not compiled: recurrent layers"),
        (FRAMES, "on", 10**7, World(), "not compiled: recurrent layers"),
        (SYMBOLIC, "on", 10**7, World(), "not compiled: lengths differ"),
        (ACCUMULATED, "on", 10**7, World(), "not compiled: steps of several batches or processes"),
        (BLOCKS, "on", 10**7, World(0, 2), "not compiled: steps of several batches or processes"),
    ],
)
def test_the_choice_is_told(
    spec: str, way: Any, steps: int, world: World, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "WHOLE_STEPS", "2.10")
    assert str(choose(compile(spec), way, steps, "cpu", world)).startswith(words)


def test_a_machine_without_a_compiler_runs_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    choice = choose(compile(BLOCKS), "on", 1, "cpu", World())
    assert str(choice) == "not compiled: there is no C++ compiler"


def test_a_torch_that_compiles_no_whole_steps_compiles_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "WHOLE_STEPS", "99.0")
    choice = choose(compile(BLOCKS), "on", 1, "cpu", World())
    assert str(choice) == f"not compiled: whole steps need torch 99.0, and this is {torch.__version__}"
    assert choose(compile(CHECKPOINTED), "on", 1, "cpu", World()).paths


@pytest.mark.parametrize(
    ("before", "norm", "training"),
    [
        ("Dense, units: 4", "", True),
        ("Dense, units: 4", "", False),
        ("Dense, units: 4", ", trainable: false", True),
        ("Dense, units: 4", ", unbiased: true", True),
        ("Conv1D, filters: 4, kernel_size: 2", "", True),
    ],
)
def test_normalized_steps_have_the_gradient_that_a_graph_expects(
    before: str, norm: str, training: bool
) -> None:
    """Batch normalization of steps whose channels come last in memory gives a gradient in another order."""
    program = compile(
        f"inputs: {{x: {{shape: [6, 5]}}}}\nnodes:\n  d: {{layer: {before}}}\n"
        f"  n: {{layer: BatchNormalization{norm}}}\n  e: {{layer: Dense, units: 3}}\noutputs: [e]\n"
    )
    module: Any = program.module().train(training)
    x = program.example_inputs(2)["x"]
    wanted = torch.autograd.grad(module(x).square().sum(), module.d.weight)
    graph = torch.compile(module, backend="aot_eager")
    found = torch.autograd.grad(graph(x).square().sum(), module.d.weight)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
