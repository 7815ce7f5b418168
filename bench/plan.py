"""A plan of a large training: what each of many processes holds, sends and writes.

python -m bench.plan [--processes 1000] [--set width=4096 ...]

It builds the module on torch's meta device, shards it over a simulated process group (torch's fake backend),
and plans its checkpoint with torch.distributed.checkpoint. docs/scaling.md quotes the numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.fsdp import FSDPModule

import graphspec
from graphspec.tensor import value_of
from graphspec.train.optimizers.setup import optimizer_for
from graphspec.train.parallel.shards import local
from graphspec.train.parallel.spread import Sharded
from graphspec.train.parallel.world import World

SPEC = Path(__file__).parents[1] / "specs" / "gpt.yaml"
SEVEN_BILLION = {"vocabulary": 50257, "context": 4096, "width": 4096, "heads": 32, "depth": 32}
BF16, FLOAT32 = 2, 4


def plan(processes: int, params: Mapping[str, Any], batch: int = 1) -> dict[str, Any]:
    """The numbers of the first of `processes` processes, with `batch` sequences per step each."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    program = graphspec.compile(SPEC, params=params)
    step = program.summary().step(batch)
    sizes = {"length": params["context"]}
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=processes)
    try:
        with torch.device("meta"):
            module = program.module(device="meta")
        weights = sum(weight.numel() for weight in module.parameters())
        world = World(0, processes)
        spread = Sharded(module, world, torch.device("cpu"), [], program.graph, bf16=True)
        optimizer = optimizer_for(program, module, {}, 1)
        state = _state(module, optimizer)
        units = [unit for unit in module.modules() if isinstance(unit, FSDPModule)]
        own = sum(local(weight).numel() for weight in module.parameters())
        return {
            "processes": processes,
            "parameters": weights,
            "units": len(units),
            "largest_unit": max(_parameters(unit) for unit in units),
            "own_parameters": own,
            "own_bytes": {
                "weights": own * FLOAT32,
                "gradients": own * FLOAT32,
                "optimizer": 2 * own * FLOAT32,
                "activations": value_of(step.activation_bytes, sizes) // 2,
            },
            "sent_bytes_a_step": weights * (2 * BF16 + FLOAT32),
            "flops_a_step": value_of(step.flops, sizes),
            "checkpoint_bytes": sum(tensor.numel() * FLOAT32 for tensor in state.values()),
            "own_checkpoint_bytes": _planned(state),
            "tensors": len(spread.module.state_dict()),
        }
    finally:
        dist.destroy_process_group()


def _parameters(unit: Any) -> int:
    """The weights that a unit gathers: its own, without those of units inside it."""
    group = unit._get_fsdp_state()._fsdp_param_group
    return sum(each.sharded_param.numel() for each in group.fsdp_params) if group is not None else 0


def _state(module: torch.nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint after the first step."""
    optimizer.load_state_dict({}, {"iterations": 0, "learning_rate": 0.0, "moved": [], "products": []})
    optimizer._begin(list(optimizer.weights), 0)
    tensors, _ = optimizer.state_dict()
    return {**module.state_dict(), **tensors}


def _planned(state: Mapping[str, Tensor]) -> int:
    """The bytes of a checkpoint that this process writes, by the planner of torch.distributed.checkpoint."""
    planner = DefaultSavePlanner()
    planner.set_up_planner(dict(state), is_coordinator=True)
    items = planner.create_local_plan().items
    return sum(item.tensor_data.chunk.sizes.numel() * FLOAT32 for item in items if item.tensor_data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1000)
    parser.add_argument("--set", nargs="*", default=[], metavar="PARAM=NUMBER")
    given = parser.parse_args()
    changed = {name: int(value) for name, value in (pair.split("=") for pair in given.set)}
    print(json.dumps(plan(given.processes, SEVEN_BILLION | changed), indent=2))


if __name__ == "__main__":
    main()
