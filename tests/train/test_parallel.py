"""Training in several processes: real ones, which torchrun starts and which are killed for real.

One launch trains many specs, as starting processes takes longer than what they train.
"""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from pyarrow import parquet
from safetensors.torch import load_file
from torch.distributed import HashStore

from graphspec.compiler import compile
from graphspec.data.batches import InMemory, Shuffle
from graphspec.data.sharing import Shared
from graphspec.diagnostics import SpecError
from graphspec.train.parallel import launched
from graphspec.train.parallel.launched import Launched
from graphspec.train.parallel.spread import mesh_of, spread_over
from graphspec.train.parallel.world import World, joined
from tests import trainings
from tests.processes import ENDLESS, PARALLEL, Process, imported

CLASSES = """
inputs: {x: {shape: [6]}}
nodes:
  hidden: {layer: Dense, units: 16, activation: tanh}
  y: {layer: Dense, units: 3, activation: softmax}
outputs:
  y: {loss: sparse_categorical_crossentropy, class_weight: {"0": 3.0, "1": 1.0, "2": 0.5},
      metrics: [accuracy, {name: sparse_top_k_categorical_accuracy, k: 2}]}
train: {optimizer: adam, epochs: 3, batch_size: 14, seed: 4, parallel: PARALLEL}
data: {train: d.npz, validation: {split: 0.2}}
"""
"""43 examples in batches of 14: the last has one, and all processes but one are idle."""

STEPS = """
inputs: {ids: {shape: [n], dtype: int64}}
blocks:
  mix:
    inputs: [x]
    nodes:
      wide: {layer: Dense, units: 8, activation: gelu, kernel_regularizer: {name: l2, l2: 0.01},
             kernel_constraint: {name: max_norm, max_value: 1.5}}
      sum: {merge: add, from: [wide, x]}
nodes:
  table: {layer: Embedding, from: ids, input_dim: 20, output_dim: 8, mask_zero: true}
  mixed: {block: mix, from: table, repeat: 2, checkpoint: true}
  code: {layer: GRU, units: 8, return_sequences: true}
  next: {layer: Dense, units: 20, activation: softmax}
outputs: {next: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
train:
  optimizer: {name: adamw, weight_decay: 0.01, global_clipnorm: 0.5, use_ema: true, ema_momentum: 0.9,
              gradient_accumulation_steps: 2}
  epochs: 2
  batch_size: 5
  parallel: PARALLEL
data:
  train: steps-*.parquet
  validation: {split: 0.2}
  features: {ids: {encode: tokens, vocabulary: 20}, next: {encode: tokens, vocabulary: 20}}
"""
"""Sequences of other lengths: what counts differs from process to process. Blocks are computed twice."""

OUTPUTS = """
inputs: {x: {shape: [6]}}
blocks:
  head:
    params: {units: required}
    inputs: [x]
    nodes:
      inner: {layer: Dense, units: 8, activation: relu}
      outer: {layer: Dense, units: $units}
nodes:
  near: {block: head, from: x, units: 1}
  far: {block: head, from: x, units: 2}
  seen: {layer: Dense, from: x, units: 4}
outputs:
  near: {loss: mse, loss_weight: learned, metrics: [mae]}
  far: {loss: {name: huber, reduction: sum}}
  seen: {}
train: {optimizer: {name: sgd, learning_rate: 0.02, momentum: 0.9}, epochs: 2,
        batch_size: 11, parallel: PARALLEL}
data: {train: d.npz}
"""
"""A learned weight, a sum, and weights that no loss reaches."""

NORMALIZED = """
inputs: {x: {shape: [6]}}
nodes:
  pairs: {layer: Reshape, target_shape: [3, 2]}
  wide: {layer: Conv1D, filters: 8, kernel_size: 2, use_bias: false}
  norm: {layer: BatchNormalization, momentum: 0.8, synchronized: true}
  bent: {layer: ReLU}
  flat: {layer: Flatten}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
train: {optimizer: adam, epochs: 2, batch_size: 14, seed: 1, parallel: PARALLEL,
        callbacks: {model_checkpoint: {monitor: val_loss, save_best_only: true}}}
data: {train: d.npz, validation: {split: 0.2}, test: d.npz}
"""
"""Statistics of all processes. A bias before them would have no gradient but rounding. Test data are judged
with an epoch that is not the last.
"""

COMPARED = """
inputs: {x: {shape: [6]}}
blocks:
  twins:
    params: {share: 0.5}
    inputs: [one, two]
    nodes:
      a: {compute: "one - mean(one, axis=1, keepdims=true)"}
      b: {compute: "two - mean(two, axis=1, keepdims=true)"}
      both: {compute: "einsum(a, b, subscripts='bni,bnj->bij')"}
      loss: {compute: "$share * sum(square(both - 5), axis=[1, 2])"}
  ranked:
    inputs: [code, target]
    nodes:
      near: {compute: "einsum(code, code, subscripts='bni,bmi->bnm')"}
      same: {compute: "cast(expand_dims(target, axis=1) == expand_dims(target, axis=2), dtype='float32')"}
      loss: {compute: "logsumexp(near, axis=2) - sum(same * near, axis=2) / sum(same, axis=2)"}
nodes:
  query: {layer: Dense, from: x, units: 4}
  key: {layer: Dense, from: x, units: 4}
  long: {layer: Dense, from: x, units: 4}
  place: {layer: UnitNormalization, from: long}
  area: {layer: Dense, from: x, units: 6, activation: sigmoid}
  far: {layer: Dense, from: x, units: 2}
  before: {state: [20, 4], initializer: random_normal, update: "concatenate([key, before], axis=1)[:, :20]"}
  counts: {state: [4], update: "0.9 * counts + 0.1 * sum(nearest, axis=1)"}
  sums:
    state: [4, 4]
    initializer: random_normal
    update: "0.9 * sums + 0.1 * scale * einsum(nearest, key, subscripts='bnk,bnd->bkd')"
  scale: {parameter: [4, 4], initializer: ones}
  book: {compute: "sums / (expand_dims(counts, axis=-1) + 1) * scale"}
  apart: {compute: "sum(square(expand_dims(key, axis=1) - book), axis=-1)"}
  nearest: {op: one_hot, from: closest, num_classes: 4}
  closest: {op: argmin, from: apart, axis: -1}
  steps: {state: [], dtype: int64, update: steps + 1}
  held: {compute: "min(apart, axis=-1) / (steps + 1)"}
  others: {compute: "sum(square(expand_dims(query, axis=1) - before), axis=[1, 2])"}
outputs:
  held: {loss: mean}
  others: {loss: mean, loss_weight: {from: 0.01, to: 0.02}}
  pair: {from: [query, key], loss_weight: learned,
         loss: {name: in_batch_softmax, symmetric: true, temperature: 0.5}}
  place: {target: y, loss: {name: circle, gamma: 4}}
  area: {loss: dice}
  views: {from: [key, long], loss: cross_correlation}
  apart: {from: [query, long], loss: vicreg, loss_weight: 0.01}
  own: {from: [key, long], loss: {block: twins, share: 0.1}, loss_weight: 0.01}
  ranks: {from: long, target: y, loss: {block: ranked, shape: [], dtype: int64}}
  far: {loss: {module: torch.dist}}
train: {optimizer: {name: sgd, learning_rate: 0.05}, epochs: 2, batch_size: 14, seed: 4, parallel: PARALLEL}
data: {train: d.npz, validation: {split: 0.2}}
"""
"""Losses of a whole batch: they compare its examples, or give one number for it (the root of a sum)."""

ADAPTED = """
inputs: {x: {shape: [6]}}
nodes:
  norm: {layer: Normalization}
  bins: {layer: Discretization, num_bins: 5, output_mode: one_hot}
  flat: {layer: Flatten}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
train: {optimizer: adam, epochs: 2, batch_size: 14, seed: 2, parallel: PARALLEL}
data: {train: d.npz, validation: {split: 0.2}}
"""
"""Layers that learn from all training examples, of which each process trains on a part."""

IDLE = """
inputs: {x: {shape: [6]}}
nodes:
  near: {layer: Dense, from: x, units: 1, kernel_regularizer: l2}
  far: {layer: Dense, from: x, units: 2}
outputs:
  near: {loss: mse, loss_weight: learned, metrics: [mae]}
  far: {loss: mse, loss_weight: learned}
train: {optimizer: {name: sgd, learning_rate: 0.02}, epochs: 2, batch_size: 1, parallel: PARALLEL}
data: {train: few.npz, validation: few.npz}
"""
"""Every batch has one example: all processes but one have none."""

UPDATES = """
inputs: {x: {shape: [6]}}
shared: {critic: {layer: Dense, units: 1}, slow: {average_of: critic, momentum: 0.7}}
nodes:
  maker: {layer: Dense, from: x, units: 6, kernel_regularizer: l2}
  norm: {layer: BatchNormalization, synchronized: true}
  fake: {call: critic}
  real: {call: critic, from: x}
  slope: {layer: InputGradient, from: norm, wraps: {call: critic}}
  apart: {compute: "fake - real + sum(square(slope), axis=-1, keepdims=true)"}
  steady: {call: slow, from: x}
  near: {compute: square(steady) - fake}
outputs: {apart: {loss: mean}, near: {loss: mean, loss_weight: learned}}
train:
  batch_size: 14
  parallel: PARALLEL
  phases:
    - {epochs: 1, freeze: "maker.*"}
    - epochs: 1
      optimizer: {name: sgd, learning_rate: 0.01}
      steps: [{outputs: apart, update: "critic.*", repeat: 2}, {outputs: near, update: ["maker.*", "norm.*"]}]
data: {train: d.npz, validation: {split: 0.2}}
"""
"""Other weights train in each phase, and with each update; some are averages of others."""

SOURCES = """
inputs: {x: {shape: [6]}}
nodes:
  hidden: {layer: Dense, units: 8, activation: tanh}
  y: {layer: Dense, units: 3, activation: softmax}
  size: {compute: "sum(square(hidden), axis=-1)"}
outputs: {y: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}, size: {loss: mean}}
train:
  optimizer: adam
  batch_size: 10
  parallel: PARALLEL
  phases:
    - {epochs: 1}
    - {epochs: 1, steps: [{data: labelled, outputs: y, batch_size: 7}, {data: plain, outputs: size}]}
data:
  train: {labelled: few_labels.npz, plain: {path: plain.npz, weight: 2}}
  validation: {split: 0.2, data: labelled}
"""
"""Rows of two sources, in one batch and in one each. Those of one have no labels."""

ADAPTERS = CLASSES.replace("seed: 4,", 'seed: 4, adapters: [{match: "*", rank: 2}],')
"""Low-rank adapters train alone."""

WORSE = """
inputs: {x: {shape: [6]}}
nodes:
  hidden: {layer: Dense, units: 8, activation: tanh}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
train:
  optimizer: {name: sgd, learning_rate: 0.1, use_ema: true, ema_momentum: 0.9}
  batch_size: 20
  parallel: PARALLEL
  callbacks: {swap_ema_weights: {swap_on_epoch: true}}
  phases: [{epochs: 2, freeze: "hidden.*"}, {epochs: 1}]
data: {train: d.npz, validation: worse.npz}
"""
"""Validation, which has other labels, gets worse, so that nothing is saved before the next epoch: the weights
that it saw are not those that train then.
"""

DROPPED = """
inputs: {x: {shape: [64]}}
nodes:
  drop: {layer: Dropout, rate: 0.5}
  y: {layer: Dense, units: 1, kernel_initializer: ones}
outputs: {y: {loss: mse}}
train: {optimizer: {name: sgd, learning_rate: 1.0e-30}, epochs: 1, batch_size: 8, parallel: PARALLEL}
data: {train: alike8.npz}
"""
"""Rows that are all alike: their losses differ by what is dropped."""

SPECS = {
    "idle": IDLE,
    "adapted": ADAPTED,
    "compared": COMPARED,
    "classes": CLASSES,
    "steps": STEPS,
    "outputs": OUTPUTS,
    "normalized": NORMALIZED,
}
GATHERED = ("adapted", "compared", "normalized")
"""What is special about them happens before there are gradients, with DDP as with FSDP."""
MORE = {"updates": UPDATES, "adapters": ADAPTERS, "worse": WORSE, "sources": SOURCES}
WAYS = ("ddp", "fsdp")
WHOLE = ("classes", "steps", "outputs", "updates")
"""What two processes train with whole weights in `make test`: what else is special does not depend on it."""


def ways_of(names: Iterable[str]) -> list[Any]:
    """Each spec in both ways; what `make parity` alone trains is marked."""
    return [
        pytest.param(name, way, marks=pytest.mark.parity if way == "ddp" and name not in WHOLE else ())
        for name in names
        for way in WAYS
        if (name, way) not in {(each, "ddp") for each in GATHERED}
    ]


def pairs(parameters: list[Any], parity: bool) -> list[tuple[str, str]]:
    return [(name, way) for name, way in (each.values for each in parameters if bool(each.marks) == parity)]


BY_TWO, BESIDE = ways_of(SPECS), ways_of(MORE)
"""What two processes train; four train all specs in all ways."""
STOPPED = 7
"""Steps after which a training is stopped: in the middle of its second epoch."""


def write_data(root: Path) -> None:
    source = np.random.default_rng(0)
    x = source.normal(size=(54, 6)).astype("float32")
    labels = (x.sum(1) > 0).astype("int64") + (x[:, 0] > 1)
    near, far = x[:, :1] - x[:, 1:2], x[:, 2:4] * 2
    np.savez(
        root / "d.npz",
        x=x,
        y=labels,
        near=near,
        far=far,
        seen=np.zeros((54, 4), "float32"),
        area=(x > 0).astype("float32"),
    )
    np.savez(root / "few_labels.npz", x=x[:17], y=labels[:17])
    np.savez(root / "plain.npz", x=x[17:])
    np.savez(root / "worse.npz", x=x, y=2 - labels)
    for count in (4, 8):
        np.savez(
            root / f"alike{count}.npz", x=np.ones((count, 64), "float32"), y=np.zeros((count, 1), "float32")
        )
    np.savez(root / "few.npz", x=x[:3], near=near[:3], far=far[:3])
    rows = [source.integers(1, 18, size=source.integers(2, 9)).tolist() for _ in range(33)]
    for number, some in enumerate((rows[:12], rows[12:])):
        table = pa.table({"ids": some, "next": [[*row[1:], 1] for row in some]})
        parquet.write_table(table, root / f"steps-{number}.parquet", row_group_size=8)


def torchrun(processes: int, *command: str, restarts: int = 0) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    counts = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "--local-addr=localhost"]
    return [sys.executable, *launcher, *counts, *command]


def forked(processes: int, command: list[str], restarts: int = 0) -> list[str]:
    """What torch's launcher does on one machine, with forks: it keeps a store, and when a process fails it
    ends the others and starts all anew. Returns what each of the last ones wrote to standard error.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    world: dict[str, Any] = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "TORCHELASTIC_USE_AGENT_STORE": True}
    for attempt in range(restarts + 1):
        started = [
            Process(command, ranked(world | {"TORCHELASTIC_RESTART_COUNT": attempt}, rank))
            for rank in range(processes)
        ]
        while None in (codes := [process.poll() for process in started]) and set(codes) <= {None, 0}:
            time.sleep(0.02)
        for process in started:
            process.send_signal(signal.SIGTERM)
        said = [process.communicate()[1] for process in started]
        if set(codes) == {0}:
            break
    return said


def ranked(world: dict[str, Any], rank: int) -> dict[str, str]:
    """The environment of one process."""
    return {name: str(value) for name, value in (world | {"RANK": rank, "LOCAL_RANK": rank}).items()}


class Trainings:
    """Trainings in one process and in several, by the number of processes, the way, and the spec."""

    def __init__(self, root: Path):
        self.root = root
        self.found: dict[str, Any] = {}
        self.written: dict[int, list[list[str]]] = {}
        """By the number of processes, what each of them wrote at last."""

    def job(self, name: str, way: str, run: str, **more: Any) -> dict[str, Any]:
        spec = (SPECS | MORE | {"dropped": DROPPED})[name.removesuffix(" bf16")].replace("PARALLEL", way)
        if name.endswith(" bf16"):
            spec = spec.replace(", batch_size:", ", precision: bf16, batch_size:")
        return {"spec": spec, "root": str(self.root), "run_dir": str(self.root / run), **more}

    def jobs(self, processes: int, specs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Specs, each in a way."""
        return {
            f"{processes} {way} {name}": self.job(name, way, f"{processes}-{way}-{name}")
            for name, way in specs
        }

    def run(self, processes: int, jobs: dict[str, Any], restarts: int = 0, by_torch: bool = False) -> None:
        """By torch's launcher, or by ours, whose processes start sooner."""
        if processes == 1:
            self.keep(jobs, {name: trainings.run(job) for name, job in jobs.items()})
            return
        told, out = self.root / "jobs.json", self.root / "out.json"
        told.write_text(json.dumps(jobs))
        command = [trainings.__file__, str(told), str(out)]
        if by_torch:
            said = [finished(torchrun(processes, *command, restarts=restarts)).stderr]
        else:
            said = forked(processes, command, restarts)
        assert out.exists(), said
        self.keep(jobs, json.loads(out.read_text()))
        out.unlink()
        files = [Path(f"{out}-{rank}") for rank in range(processes)]
        self.written[processes] = [json.loads(file.read_text()) for file in files]

    def keep(self, jobs: dict[str, Any], found: dict[str, Any]) -> None:
        """What was to be stopped was: else nothing goes on where it is resumed."""
        codes = {name: found[name]["exit_code"] for name, job in jobs.items() if "stop_after" in job}
        assert set(codes.values()) <= {143}, codes
        self.found |= found

    def weights(self, run: str, name: str = "last.safetensors") -> dict[str, torch.Tensor]:
        return load_file(self.root / run / name)


@pytest.fixture(scope="module", autouse=True)
def beforehand() -> None:
    imported.append(PARALLEL)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    """All of them: one process, two, and one again, each going on with what another one left."""
    made = Trainings(tmp_path_factory.mktemp("trained"))
    write_data(made.root)
    job = made.job
    stop, half = {"stop_after": STOPPED}, job("dropped", "ddp", "half")
    half["spec"] = half["spec"].replace("alike8", "alike4").replace("batch_size: 8", "batch_size: 4")
    made.run(
        1,
        {name: job(name, "ddp", f"1-{name}") for name in (*SPECS, *MORE, "normalized bf16")}
        | {"from 1": job("classes", "ddp", "from-1", **stop), "half": half},
    )
    jobs = made.jobs(2, pairs(BY_TWO + BESIDE, parity=False)) | {
        "from 1": job("classes", "fsdp", "from-1", resume=True),
        "from 2": job("classes", "fsdp", "from-2", **stop),
        "from 2 steps": job("steps", "fsdp", "from-2-steps", stop_after=2),
        "from 2 adapted": job("adapted", "fsdp", "from-2-adapted", stop_after=3),
        "from 2 updates": job("updates", "fsdp", "from-2-updates", stop_after=6),
        "2 bf16": job("normalized bf16", "fsdp", "2-bf16"),
        "dropped": job("dropped", "ddp", "dropped"),
    }
    made.run(2, jobs)
    made.run(
        1,
        {
            "from 2": job("classes", "ddp", "from-2", resume=True),
            "from 2 steps": job("steps", "ddp", "from-2-steps", resume=True),
            "from 2 adapted": job("adapted", "ddp", "from-2-adapted", resume=True),
            "from 2 updates": job("updates", "ddp", "from-2-updates", resume=True),
        },
    )
    return made


@pytest.fixture(scope="module")
def trained_whole(trained: Trainings) -> Trainings:
    """What two processes train with whole weights in `make parity` alone."""
    trained.run(2, trained.jobs(2, pairs(BY_TWO + BESIDE, parity=True)))
    return trained


@pytest.fixture(scope="module")
def trained_by_four(trained: Trainings) -> Trainings:
    """The same by four processes, which go on with what two left, and leave something to one."""
    job = trained.job
    trained.run(2, {"from 2 to 4": job("classes", "ddp", "from-2-to-4", stop_after=STOPPED)})
    jobs = trained.jobs(4, itertools.product(SPECS, WAYS)) | {
        "from 2 to 4": job("classes", "fsdp", "from-2-to-4", resume=True),
        "from 4": job("classes", "fsdp", "from-4", stop_after=STOPPED),
    }
    trained.run(4, jobs, by_torch=True)
    trained.run(1, {"from 4": job("classes", "ddp", "from-4", resume=True)})
    return trained


def assert_alike(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["exit_code"] == 0
    assert found["history"].keys() == expected["history"].keys()
    assert found["steps"] == expected["steps"]
    for name, values in expected["history"].items():
        np.testing.assert_allclose(found["history"][name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    assert found["best_epoch"] == expected["best_epoch"]
    for name, value in expected["metrics"].items():
        np.testing.assert_allclose(found["metrics"][name], value, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("name", "way"), BY_TWO)
def test_losses_and_metrics_are_those_of_one_process(
    request: pytest.FixtureRequest, trained: Trainings, name: str, way: str
) -> None:
    if (name, way) in pairs(BY_TWO, parity=True):
        request.getfixturevalue("trained_whole")
    assert_alike(trained.found[f"2 {way} {name}"], trained.found[name])


@pytest.mark.parametrize(("name", "way"), BESIDE)
def test_updates_and_adapters_are_those_of_one_process(
    request: pytest.FixtureRequest, trained: Trainings, name: str, way: str
) -> None:
    if (name, way) in pairs(BESIDE, parity=True):
        request.getfixturevalue("trained_whole")
    assert_alike(trained.found[f"2 {way} {name}"], trained.found[name])


def test_adapters_are_written_whole(trained: Trainings) -> None:
    assert_written_whole(trained, "adapters", "adapter.safetensors", ["2-fsdp-adapters"])


@pytest.mark.parity
def test_adapters_beside_whole_weights_are_written_whole(trained_whole: Trainings) -> None:
    assert_written_whole(trained_whole, "adapters", "adapter.safetensors", ["2-ddp-adapters"])


def assert_written_whole(trained: Trainings, name: str, file: str, runs: list[str]) -> None:
    alone = trained.weights(f"1-{name}", file)
    for run in runs:
        found = trained.weights(run, file)
        assert found.keys() == alone.keys()
        for key, weight in found.items():
            torch.testing.assert_close(weight, alone[key], rtol=1e-4, atol=1e-5, msg=f"{run}: {key}")


FILES = ("last.safetensors", "best.safetensors")


@pytest.mark.parametrize("name", ["normalized", "worse"])
def test_the_best_epoch_is_the_first_of_several(trained: Trainings, name: str) -> None:
    """What other tests say of the best weights is said of other weights than the last."""
    found = trained.found[name]
    assert found["best_epoch"] == 1 < found["epochs"]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("file", FILES)
def test_weights_are_written_whole(trained: Trainings, name: str, file: str) -> None:
    ways = [way for each, way in pairs(BY_TWO, parity=False) if each == name]
    assert_written_whole(trained, name, file, [f"2-{way}-{name}" for way in ways])


def test_bfloat16_is_as_near_to_float32_in_several_processes(trained: Trainings) -> None:
    found = trained.found["2 bf16"]["history"]["loss"]
    alone = trained.found["normalized bf16"]["history"]["loss"]
    np.testing.assert_allclose(found, alone, rtol=2e-3)  # five times what bfloat16 moves: kernels may differ
    exact = trained.found["normalized"]["history"]["loss"]
    np.testing.assert_allclose(found, exact, rtol=0.02)
    assert found != exact


def test_one_process_writes(trained: Trainings) -> None:
    """Of a sharded checkpoint each writes its own shards."""
    first, second = trained.written[2]
    assert any(path.endswith("history.jsonl") for path in first)
    assert second and all(Path(path).name.startswith("shard-00002-") for path in second)


@pytest.mark.parametrize("run", ["from 1", "from 2"])
def test_a_run_goes_on_in_any_number_of_processes_sharded_or_not(trained: Trainings, run: str) -> None:
    """1 to FSDP on 2, FSDP on 2 to 1; each stopped by SIGTERM within an epoch."""
    assert_alike(trained.found[run], trained.found["classes"])


@pytest.mark.parity
@pytest.mark.parametrize("name", SPECS)
def test_four_processes_come_to_the_same(trained_by_four: Trainings, name: str) -> None:
    for way in WAYS:
        assert_alike(trained_by_four.found[f"4 {way} {name}"], trained_by_four.found[name])
    for file in FILES:
        assert_written_whole(trained_by_four, name, file, [f"4-{way}-{name}" for way in WAYS])


@pytest.mark.parity
@pytest.mark.parametrize("run", ["from 2 to 4", "from 4"])
def test_a_run_goes_on_in_four_processes_and_after_them(trained_by_four: Trainings, run: str) -> None:
    """DDP on 2 to FSDP on 4, FSDP on 4 to 1."""
    assert_alike(trained_by_four.found[run], trained_by_four.found["classes"])


def test_averages_and_accumulated_steps_go_on_too(trained: Trainings) -> None:
    assert_alike(trained.found["from 2 steps"], trained.found["steps"])


def test_each_process_drops_other_values(trained: Trainings) -> None:
    """The first drops what one process alone does: if the other did, too, their mean would be its loss."""
    one, both = (trained.found[name]["history"]["loss"][0] for name in ("half", "dropped"))
    assert abs(one - both) > 1e-3 * one


def test_updates_go_on_after_sharded_ones(trained: Trainings) -> None:
    assert_alike(trained.found["from 2 updates"], trained.found["updates"])


def test_layers_learn_the_same_numbers_from_all_examples(trained: Trainings) -> None:
    assert_alike(trained.found["from 2 adapted"], trained.found["adapted"])
    alone = trained.weights("1-adapted")
    for run in ("2-fsdp-adapted", "from-2-adapted"):
        found = trained.weights(run)
        for name in ("norm.mean", "norm.variance", "bins.boundaries"):
            assert torch.equal(found[name], alone[name]), f"{run}: {name}"


def test_sharded_checkpoints_are_files_of_the_processes(trained: Trainings) -> None:
    folder = sorted((trained.root / "2-fsdp-classes" / "checkpoints").iterdir())[-1]
    names = {path.name for path in folder.iterdir()}
    shards = {f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)}
    assert names == shards | {"state.json", "manifest.json"}


@pytest.mark.parametrize(
    "ways", [("fsdp",), pytest.param(WAYS, marks=pytest.mark.parity)], ids=["sharded", "both"]
)
def test_processes_that_are_killed_are_started_anew_and_go_on(
    trained: Trainings, ways: tuple[str, ...]
) -> None:
    """One of two is killed at any moment; in a second training the other one."""
    saves = "callbacks: {backup_and_restore: {save_freq: 2, delete_checkpoint: false}}"
    jobs = {}
    for attempt, way in enumerate(ways):
        name = f"killed {way} of {len(ways)}"
        jobs[name] = trained.job("classes", way, name.replace(" ", "-"), kill=attempt)
        jobs[name]["spec"] = jobs[name]["spec"].replace("seed: 4", f"seed: 4, {saves}")
    trained.run(2, jobs, restarts=len(ways), by_torch=len(ways) > 1)
    for name in jobs:
        assert trained.found[name]["restarts"] == len(ways)
        assert_alike(trained.found[name], trained.found["classes"])


@pytest.mark.parity
@pytest.mark.parametrize(
    "kills",
    [[(0, "writing")], [*((0, moment) for moment in trainings.READING), (1, "naming"), (1, "mapping")]],
    ids=["one", "each"],
)
def test_processes_that_are_killed_while_they_read_are_started_anew(
    trained: Trainings, kills: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait for what the killed one reads; nothing of it is left on the disk."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    name = f"killed reading, {len(kills)}"
    job = trained.job("steps", "ddp", name.replace(" ", "-"), kill_in=kills)
    trained.run(2, {name: job}, restarts=len(kills), by_torch=True)
    assert trained.found[name]["restarts"] == len(kills)
    assert_alike(trained.found[name], trained.found["steps"])
    assert not any(path.stat().st_size for path in tmp_path.glob("graphspec-*"))


def with_gpus(processes: int) -> Any:
    reason = f"NCCL needs a GPU for each of {processes} processes, and this machine has fewer"
    return pytest.param(
        processes, marks=pytest.mark.skipif(torch.cuda.device_count() < processes, reason=reason)
    )


@pytest.mark.parametrize("processes", [with_gpus(2), with_gpus(4)])
def test_gpus_give_the_losses_of_one_process(trained: Trainings, processes: int) -> None:
    """Over NCCL, each process with the GPU of its number."""
    jobs = {
        f"gpus {way} {name}": trained.job(name, way, f"gpus-{processes}-{way}-{name}", device="cuda")
        for way in WAYS
        for name in SPECS
    }
    trained.run(processes, jobs)
    for job in jobs:
        expected, found = trained.found[job.split()[2]]["history"], trained.found[job]
        assert found["device"] == "cuda:0"
        for name, values in found["history"].items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=f"{job}: {name}")


# --- the command line

LONG = CLASSES.replace("PARALLEL", "ddp").replace("epochs: 3", "epochs: 4000")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_data(tmp_path)
    (tmp_path / "classes.yaml").write_text(CLASSES.replace("PARALLEL", "ddp"))
    (tmp_path / "long.yaml").write_text(LONG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return tmp_path


@pytest.mark.parity
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_launcher_saves_and_ends_all(place: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "graphspec", "train", "long.yaml", "--devices", "2", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    history = place / "runs" / "long-1" / "history.jsonl"
    while not history.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=ENDLESS)
    assert process.returncode == code, err
    assert err.count("interrupted after") == 1 and "Traceback" not in err
    assert out.count("examples in") == 1
    assert list((place / "runs" / "long-1" / "checkpoints").glob("0*/manifest.json"))
    assert 0 < len(history.read_text().splitlines()) < 4000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def finished(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=ENDLESS)


@pytest.mark.parity
def test_a_mistake_that_all_find_is_said_once(place: Path) -> None:
    arrays = dict(np.load(place / "d.npz"))
    arrays["y"][50] = 3
    np.savez(place / "d.npz", **arrays)
    command = ["-m", "graphspec", "train", "classes.yaml", "--device", "cpu"]
    done = finished(torchrun(2, *command))
    assert done.returncode == 1
    assert done.stderr.count("error[") == 1
    assert "row 50" in done.stderr and not (place / "runs").exists()


READS = """
import os
from pathlib import Path
from graphspec.__main__ import main
from graphspec.data.tables import parquet

scan = parquet.Parquet._scan

def watched(table, columns):
    Path("read-" + os.environ["RANK"]).touch()
    return scan(table, columns)

parquet.Parquet._scan = watched
main()
"""


@pytest.mark.parity
def test_one_process_reads_and_its_mistake_is_said_once(place: Path) -> None:
    table = parquet.read_table(place / "steps-1.parquet")
    rows = table.column("ids").to_pylist()
    rows[19] = []
    broken = table.set_column(0, "ids", pa.array(rows))
    parquet.write_table(broken, place / "steps-1.parquet", row_group_size=8)
    (place / "steps.yaml").write_text(STEPS.replace("PARALLEL", "ddp"))
    (place / "reads.py").write_text(READS)
    done = finished(torchrun(2, "reads.py", "train", "steps.yaml", "--device", "cpu"))
    assert done.returncode == 1 and not (place / "runs").exists()
    assert done.stderr.count("error[") == 1 and "row 19, counting from 0" in done.stderr
    assert [path.name for path in place.glob("read-*")] == ["read-0"]


def two_machines(restarts: int = 0) -> dict[int, list[str]]:
    """The launchers of two machines, of two processes and of one, by the number of these."""
    common = [
        "--nnodes=2",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=localhost:{free_port()}",
        "--rdzv-id=job",
    ]
    options = [*common, "--local-addr=localhost", f"--max-restarts={restarts}"]
    launcher = [sys.executable, "-m", "torch.distributed.run", *options]
    return {processes: [*launcher, f"--nproc-per-node={processes}"] for processes in (2, 1)}


@pytest.mark.parity
def test_machines_start_anew_when_a_process_of_one_is_killed(trained: Trainings, tmp_path: Path) -> None:
    job = trained.job("steps", "fsdp", "machines-killed", kill_in=[(2, "learning")])
    (tmp_path / "jobs.json").write_text(json.dumps({"job": job}))
    command = [trainings.__file__, str(tmp_path / "jobs.json"), str(tmp_path / "out.json")]
    agents = [
        subprocess.Popen([*launcher, *command], stderr=subprocess.DEVNULL)
        for launcher in two_machines(3).values()
    ]
    assert [agent.wait(timeout=ENDLESS) for agent in agents] == [0, 0]
    assert_alike(json.loads((tmp_path / "out.json").read_text())["job"], trained.found["steps"])


@pytest.mark.parity
def test_machines_have_copies_of_sharded_weights(trained: Trainings, tmp_path: Path) -> None:
    """Two machines of two processes each; then a single process goes on with what they left."""
    jobs = {name: trained.job(name, "hsdp", f"hsdp-{name}") for name in ("steps", "classes")}
    jobs["stopped"] = trained.job("classes", "hsdp", "hsdp-stopped", stop_after=STOPPED)
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    command = [trainings.__file__, str(tmp_path / "jobs.json"), str(tmp_path / "out.json")]
    launcher = two_machines()[2]
    agents = [subprocess.Popen([*launcher, *command], stderr=subprocess.PIPE) for _ in range(2)]
    said = [agent.communicate(timeout=ENDLESS)[1].decode() for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["stopped"]["exit_code"] == 143
    for name in ("steps", "classes"):
        assert_alike(found[name], trained.found[name])
    trained.run(1, {"stopped": trained.job("classes", "ddp", "hsdp-stopped", resume=True)})
    assert_alike(trained.found["stopped"], trained.found["classes"])


def test_machines_with_copies_have_as_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "gather", lambda self, value: [2, 2, 1])
    with pytest.raises(SpecError, match=r"machines have 1 to 2 processes.*all need the same number"):
        mesh_of(World(0, 3), torch.device("cpu"), True)


def test_an_attempt_has_a_name_that_no_earlier_one_had() -> None:
    """Processes that read the name of an earlier attempt wait for that of their own."""
    store, names = HashStore(), []
    for gone in ("", "gone"):
        if gone:
            store.set("name", gone)
        with ThreadPoolExecutor(3) as pool:
            found = [pool.submit(launched.attempt, store, Launched(rank, 3)) for rank in (1, 2)]
            time.sleep(0.2)
            found.append(pool.submit(launched.attempt, store, Launched(0, 3)))
            (name,) = {each.result(ENDLESS) for each in found}
            names.append(name)
    with ThreadPoolExecutor(2) as pool:  # the name of the last attempt is there, and held
        follower = pool.submit(launched.attempt, store, Launched(1, 2))
        time.sleep(0.2)
        names.append(pool.submit(launched.attempt, store, Launched(0, 2)).result(ENDLESS))
        assert follower.result(ENDLESS) == names[-1]
    assert len(set(names)) == 3 and "gone" not in names


@pytest.mark.parity
def test_machines_read_copies_of_their_own(trained: Trainings, place: Path) -> None:
    """Machines of two processes and of one: one of each reads. Then a single process goes on."""
    command = ["train", "model.yaml", "--device", "cpu", "--run-dir", str(place / "run")]
    command += ["--set", "train.epochs=1"]
    agents = []
    for processes, launcher in two_machines().items():
        machine = place / str(processes)
        machine.mkdir()
        write_data(machine)
        (machine / "model.yaml").write_text(STEPS.replace("PARALLEL", "fsdp"))
        (machine / "reads.py").write_text(READS)
        started = [*launcher, "reads.py", *command]
        agents.append(subprocess.Popen(started, cwd=machine, stderr=subprocess.PIPE))
    said = [agent.communicate(timeout=ENDLESS)[1].decode() for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert "UserWarning" not in said[0] + said[1]
    assert [len([*(place / name).glob("read-*")]) for name in "21"] == [1, 1]
    trained.run(1, {"machines": trained.job("steps", "ddp", str(place / "run"), resume=True)})
    assert_alike(trained.found["machines"], trained.found["steps"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ["--set", "train.batch_size=7"],
            "`train.batch_size` differs between process 1 and process 0: 7 and 14",
        ),
        pytest.param(
            ["--set", "data.validation.split=0.5"],
            "`data.validation.split` differs",
            marks=pytest.mark.parity,
        ),
        pytest.param(
            ["--limit", "40"],
            "`limit` differs between process 1 and process 0: 40 and None",
            marks=pytest.mark.parity,
        ),
        pytest.param(["--data", "d.npz"], "`data` differs", marks=pytest.mark.parity),
    ],
)
def test_processes_that_were_given_different_things_say_so(
    place: Path, change: list[str], words: str
) -> None:
    world = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = ["-m", "graphspec", "train", "classes.yaml", "--device", "cpu"]
    processes = [Process([*command, *(change if rank else [])], ranked(world, rank)) for rank in range(2)]
    for process in processes:
        said = process.communicate()[1]
        assert process.returncode == 1 and "error[run-failed]" in said and words in said, said
    assert not (place / "runs").exists()


@pytest.mark.parity
def test_processes_end_after_a_launcher_that_was_killed(place: Path) -> None:
    command = [sys.executable, "-m", "graphspec", "train", "long.yaml", "--devices", "2", "--device", "cpu"]
    launcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    history = place / "runs" / "long-1" / "history.jsonl"
    while not history.exists() and launcher.poll() is None:
        time.sleep(0.05)
    workers = psutil.Process(launcher.pid).children()
    assert len(workers) == 2
    launcher.kill()
    launcher.wait()
    _, alive = psutil.wait_procs(workers, timeout=ENDLESS)
    assert not alive
    assert list((place / "runs" / "long-1" / "checkpoints").glob("0*/manifest.json")), "and they have saved"


@pytest.mark.parity
def test_a_machine_without_a_loopback_interface_is_told(place: Path) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL).returncode
    ):
        pytest.skip("this system makes no network namespaces for us")
    command = [sys.executable, "-m", "graphspec", "train", "long.yaml", "--devices", "2", "--device", "cpu"]
    done = finished([*alone, *command])
    assert done.returncode == 1 and "error[run-failed]" in done.stderr and "ip link set lo up" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) < 5


def test_processes_that_cannot_connect_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 2), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(SpecError, match="MASTER_ADDR") as caught, joined(torch.device("cpu")):
        pass
    (told,) = caught.value.diagnostics
    assert told.code == "run-failed" and "GLOO_SOCKET_IFNAME" in str(told.help)


FAILS = """
import os
from graphspec.__main__ import main
from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.train import loop

whole = loop.Objective.__call__
count = 0

def objective(self, *arguments):
    global count
    count += 1
    if os.environ["RANK"] == "1" and count == 5:
        raise SpecError([Diagnostic("run-failed", "this machine has a fault", None)])
    return whole(self, *arguments)

loop.Objective.__call__ = objective
main()
"""


@pytest.mark.parity
def test_a_failure_of_one_process_ends_all_and_is_told(place: Path) -> None:
    (place / "fails.py").write_text(FAILS)
    done = finished(torchrun(2, "fails.py", "train", "long.yaml", "--device", "cpu"))
    assert done.returncode == 1
    said = done.stderr.split("torch/distributed/elastic")[0]
    assert said.count("error[") == 1 and "this machine has a fault" in said


DIES = """
import os
import sys
from graphspec.__main__ import main
from tests.trainings import READING, kill_in

if os.environ["RANK"] == sys.argv.pop(1):
    kill_in(*READING["writing" if os.environ["RANK"] == "0" else "naming"])
main()
"""


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.parity)])
def test_a_process_does_not_wait_for_one_that_is_gone(place: Path, victim: int) -> None:
    """Without torch's launcher, which would end it. The first process alone writes what both read."""
    (place / "dies.py").write_text(DIES)
    (place / "steps.yaml").write_text(STEPS.replace("PARALLEL", "ddp"))
    world = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = ["dies.py", str(victim), "train", "steps.yaml", "--device", "cpu"]
    processes = [Process(command, ranked(world, rank)) for rank in range(2)]
    said = [process.communicate()[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1
    assert said == ["", ""] and not (place / "runs").exists()


def test_a_spec_with_a_mistake_starts_no_processes(place: Path) -> None:
    (place / "classes.yaml").write_text(CLASSES.replace("PARALLEL", "fdsp"))
    done = finished([sys.executable, "-m", "graphspec", "train", "classes.yaml", "--devices", "2"])
    assert done.returncode == 1 and done.stderr.count("error[") == 1
    assert "did you mean `fsdp`?" in done.stderr


def test_sharded_weights_need_an_optimizer_of_single_values() -> None:
    spec = CLASSES.replace("PARALLEL", "fsdp").replace("optimizer: adam", "optimizer: muon")
    with pytest.raises(SpecError, match="`muon` needs whole weights"):
        compile(spec)


@pytest.mark.parametrize(("precision", "wanted"), [("float32", None), ("bf16", torch.bfloat16)])
def test_weights_travel_in_the_precision_of_the_spec(precision: str, wanted: torch.dtype | None) -> None:
    """The units are the blocks, and layers that keep statistics, whose weights stay float32."""
    from torch.distributed.fsdp import FSDPModule
    from torch.testing._internal.distributed.fake_pg import FakeStore

    norm = "      norm: {layer: BatchNormalization}\n      sum: "
    text = STEPS.replace("PARALLEL", f"fsdp\n  precision: {precision}").replace("      sum: ", norm)
    text = text.replace("[wide, x]", "[norm, x]")
    program = compile(text)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        spread = spread_over(World(0, 2), program, program.module(), torch.device("cpu"), [], [])
        units = {name: m for name, m in spread.module.named_modules() if isinstance(m, FSDPModule)}
        policies = {name: unit._get_fsdp_state()._mp_policy for name, unit in units.items()}
    finally:
        dist.destroy_process_group()
    norms = {name for name in policies if name.endswith("norm")}
    assert policies.keys() - norms == {"", "mixed.0", "mixed.1"} and bool(norms) == (precision == "bf16")
    assert {policies[name].param_dtype for name in policies.keys() - norms} == {wanted}
    assert {policies[name].param_dtype for name in norms} <= {None}
    assert {policies[name].reduce_dtype for name in policies.keys() - norms} == {wanted and torch.float32}


def test_shares_are_the_batches_of_one_process_in_their_order() -> None:
    whole = InMemory({"x": torch.arange(23)}, {"x": torch.int64})
    order = Shuffle(3, 1)
    parts = [list(Shared(whole, rank, 3).batches(8, order)) for rank in range(3)]
    for index, batch in enumerate(whole.batches(8, order)):
        own = [part[index] for part in parts]
        assert torch.equal(torch.cat([b.arrays["x"] for b in own]), batch.arrays["x"])
        assert [len(b) for b in own] == [3, 3, 2] if index < 2 else [3, 2, 2]
        assert {b.total for b in own} == {len(batch)}


def test_a_process_without_a_share_is_idle() -> None:
    whole = InMemory({"x": torch.arange(5)}, {"x": torch.int64})
    last = [list(Shared(whole, rank, 3).batches(4))[-1] for rank in range(3)]
    assert [(len(b), b.idle, b.total) for b in last] == [(1, False, 1), (0, True, 1), (0, True, 1)]
