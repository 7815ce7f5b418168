"""Peak memory: of inference, emitted module and twin; of a training step, estimate and measurement."""

import gc
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from bench.cases import CASES, copy_weights
from bench.report import Column, Table, Value
from graphspec.data.batches import Batch
from graphspec.data.fields import fields
from graphspec.tensor import unit_of, value_of
from graphspec.train.freezing import set_trainable
from graphspec.train.memory_estimate import Tracker
from graphspec.train.objective import Objective
from graphspec.train.optimizers.setup import optimizer_for
from graphspec.train.penalties import Penalties

NOTE = """The peak of the bytes of all live tensors while `eval()` runs under `no_grad`, counted as operations
create tensors and Python frees them. Inputs, weights and workspaces of kernels do not count. The ratio is
emitted / twin. The last column is the module without in-place activations."""


def size(value: int) -> str:
    return f"{value / 2**20:.3f} MiB"


COLUMNS = (
    Column("spec", "spec"),
    Column("batch_size", "batch"),
    Column("emitted", "emitted", size),
    Column("twin", "twin", size),
    Column("ratio", "ratio", "{:.3f}".format),
    Column("apart", "--no-inplace", size),
)


def peak(module: nn.Module, inputs: Mapping[str, Tensor]) -> int:
    """The peak memory of one call in inference, in bytes."""
    module.eval()
    with torch.no_grad():
        module(**inputs)
        gc.collect()
        with Tracker() as tracker:
            module(**inputs)
    return tracker.peak


def table(names: Sequence[str]) -> Table:
    rows: list[Mapping[str, Value]] = []
    for name in names:
        case = CASES[name]
        program = case.program(name)
        module, twin = program.module(seed=0), case.twin()
        copy_weights(module, twin)
        ours, theirs = (peak(each, case.example()) for each in (module, twin))
        rows.append(
            {
                "spec": name,
                "batch_size": case.batch_size,
                "emitted": ours,
                "twin": theirs,
                "ratio": ours / theirs,
                "apart": peak(program.module(inplace=False), case.example()),
            }
        )
    return Table("Peak memory of an inference pass", NOTE, COLUMNS, tuple(rows))


STEP_NOTE = """Estimated: `graphspec summary --memory --batch-size`, from shapes only. Measured: the most
bytes that torch's CPU allocator has given out at once in the second step of a training, including workspaces
of kernels, weights, optimizer state and the batch."""

STEP_COLUMNS = (
    Column("spec", "spec"),
    Column("batch_size", "batch"),
    Column("estimated", "estimated", size),
    Column("measured", "measured", size),
    Column("ratio", "ratio", "{:.3f}".format),
)


def training_table(names: Sequence[str]) -> Table:
    """A training step of each spec that has a loss: the estimate, and the allocator's measurement."""
    rows: list[Mapping[str, Value]] = []
    for name in names:
        case = CASES[name]
        program = case.program(name)
        judged = any(output.loss is not None for output in program.outputs.values())
        if not judged or not program.summary().trainable_params:
            continue
        inputs = case.example()
        sizes = named_sizes(program, inputs)
        estimated, found = program.memory(case.batch_size, sizes), measured(program, inputs)
        rows.append(
            {
                "spec": name,
                "batch_size": case.batch_size,
                "estimated": estimated or 0,
                "measured": found,
                "ratio": (estimated or 0) / found,
            }
        )
    return Table("Peak memory of a training step", STEP_NOTE, STEP_COLUMNS, tuple(rows))


def named_sizes(program: Any, inputs: Mapping[str, Tensor]) -> dict[str, int]:
    """The values of the named sizes of these inputs."""
    found = {}
    for key, tensor in program.inputs.items():
        for wanted, given in zip(tensor.shape[1:], inputs[key].shape[1:], strict=True):
            if (unit := unit_of(wanted)) is not None:
                found[unit[0]] = given // unit[1]
    return found


def measured(program: Any, inputs: Mapping[str, Tensor]) -> int:
    """The peak memory of a training step, in bytes. Its targets are zeros, which all losses accept."""
    count, cpu = len(next(iter(inputs.values()))), torch.device("cpu")
    sizes = named_sizes(program, inputs)
    arrays = dict(inputs)
    for field in fields(program):
        shape = [value_of(size, sizes) for size in field.tensor.shape[1:]]
        arrays.setdefault(field.name, torch.zeros([count, *shape], dtype=getattr(torch, field.tensor.dtype)))
    module = program.module(seed=0).train()
    objective = Objective(program.inputs, program.outputs, cpu, Penalties(program.graph, module))
    set_trainable(program, module)
    optimizer = optimizer_for(program, module, objective.log_variances, 1)

    def step() -> None:
        objective(module, Batch(arrays)).loss.backward()
        optimizer.step()

    step()
    remembered, _ = optimizer.state_dict()
    held = [*module.parameters(), *module.buffers(), *remembered.values(), *arrays.values()]
    return sum(tensor.nbytes for tensor in held) + _allocated(step)


def _allocated(run: Callable[[], None]) -> int:
    """The most bytes that the allocator had given out at once, beyond those before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trace.json"
        found.export_chrome_trace(str(path))
        events = [
            e["args"] for e in json.loads(path.read_text())["traceEvents"] if e.get("name") == "[memory]"
        ]
    before = events[0]["Total Allocated"] - events[0]["Bytes"]
    most: int = max(event["Total Allocated"] for event in events) - before
    return most
