"""How a module is spread over processes: not at all, copied to each (DDP), or sharded (FSDP).

The losses of the processes' shares add up to that of the whole batch, so their gradients are added up, and
not averaged. A model is changed from outside alone: torch's wrappers find its blocks.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from graphspec.contract.moving import Moving
from graphspec.custom import nodes
from graphspec.data.batches import Batch
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.graph import Graph
from graphspec.train.parallel.launched import launched
from graphspec.train.parallel.world import World
from graphspec.weights import key_prefix


class Spread:
    """A module of one process. `called` is what training calls; `module` has the weights by their names."""

    sharded = False

    def __init__(self, module: nn.Module, world: World, loose: Iterable[Tensor] = ()):
        self.module, self.world = module, world
        self.loose = list(loose)
        """Weights that torch's wrapper knows nothing of."""
        self._counts = [0, 0]
        layers = [layer for layer in module.modules() if _keeps_statistics(layer)]
        self._synchronized = [layer for layer in layers if hasattr(layer, "counts")]
        self._apart = [layer for layer in layers if not hasattr(layer, "counts")]
        self._waiting: list[tuple[Any, Any, list[Tensor], list[Tensor]]] = []
        """States, each with what changes it: a function of rows of this process, and of other tensors."""
        for state in module.modules() if not world.alone else ():
            if hasattr(state, "push"):
                state.push = partial(self._wait, state)  # type: ignore[assignment]

    @property
    def called(self) -> nn.Module:
        return self.module

    @contextmanager
    def part(self, batch: Batch, last: bool) -> Iterator[None]:
        """A forward and a backward pass inside are those of a part of a step, or of its last one."""
        for layer in self._synchronized:
            layer.counts.fill_(not batch.idle)  # type: ignore[operator]
        self._counts = [self._counts[0] + len(batch), self._counts[1] + batch.total]
        with nullcontext() if last else self._unsynchronized():
            yield
        waiting, self._waiting = self._waiting, []
        counts = batch.counts or (batch.total,)
        for (
            state,
            change,
            rows,
            others,
        ) in waiting:  # by those of all processes, as of one with the whole batch
            type(state).push(state, change, [self.world.rows(each, counts) for each in rows], *others)

    def _wait(self, state: nn.Module, change: Any, rows: list[Tensor], *others: Tensor) -> None:
        self._waiting.append((state, change, rows, [each.detach().clone() for each in others]))

    def finish(self) -> None:
        """After the backward passes of a step: what torch's wrapper leaves to us."""
        count_here, total = self._counts
        self._counts = [0, 0]
        if self.world.alone:
            return
        gradients = [weight.grad for weight in self.loose if weight.grad is not None]
        if gradients:
            _summed(gradients)
        running = [b for layer in self._apart for b in (layer.running_mean, layer.running_var)]
        if running:  # the mean over all examples, as Keras keeps it
            _summed(running, count_here / total)  # type: ignore[arg-type]

    def reshard(self) -> None:
        """After forward passes without a backward pass, before anything asks for weights."""

    def weights(self) -> Mapping[str, Tensor]:
        """The state dict with whole tensors; for a sharded module, only in the first process."""
        return self.module.state_dict()

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Loads the result of `weights`, or a part of it."""
        self.module.load_state_dict(weights, strict=False)

    def state(self) -> Mapping[str, Tensor]:
        """The state dict of this process, as checkpoints hold it."""
        return self.module.state_dict()

    def _unsynchronized(self) -> AbstractContextManager[None]:
        return nullcontext()


class Replicated(Spread):
    """DDP: each process has all weights, and gradients are summed during the backward pass."""

    def __init__(self, module: nn.Module, world: World, loose: Iterable[Tensor], unreached: Iterable[Tensor]):
        super().__init__(module, world, loose)
        idle = list(unreached)
        device = next(module.parameters()).device
        for weight in idle:  # DDP would wait for their gradients
            weight.requires_grad_(False)
        self._called = ddp = nn.parallel.DistributedDataParallel(
            module,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            **_without_buffers(),
        )
        ddp.register_comm_hook(None, lambda _, bucket: _summed_bucket(bucket))
        for weight in idle:
            weight.requires_grad_(True)

    @property
    def called(self) -> nn.Module:
        return self._called

    def _unsynchronized(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = self._called.no_sync()
        return context


class Sharded(Spread):
    """FSDP: each process has a part of every weight, and gathers those of one block at a time.

    The units are the blocks of the spec, in which weights travel in the precision that they compute in.
    """

    sharded = True

    def __init__(
        self,
        module: nn.Module,
        world: World,
        place: torch.device,
        loose: Iterable[Tensor],
        graph: Graph,
        bf16: bool,
        varies: bool = False,
        by_machine: bool = False,
    ):
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        super().__init__(module, world, loose)
        mesh = mesh_of(world, place, by_machine)
        for weight in module.parameters():  # those of convolutions lie channels last
            if not weight.is_contiguous():
                weight.data = weight.data.contiguous()
        scalars = {weight for weight in module.parameters() if not weight.dim()}  # which cannot be cut
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy()
        full = MixedPrecisionPolicy(cast_forward_inputs=False)
        there = dict(module.named_modules())  # a block without weights is a function
        units = [(there[path], policy) for path in blocks(graph) if path in there]
        if bf16:  # statistics are float32, and so must be what is beside them
            units = [(layer, full) for layer in module.modules() if _keeps_statistics(layer)] + units
        for unit, how in [*(unit for unit in units if _has_own_weights(unit[0], module)), (module, policy)]:
            fully_shard(unit, mesh=mesh, mp_policy=how, ignored_params=scalars)
        for unit in self._units():
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
        if not any(weight.is_meta for weight in module.parameters()):
            module.to(place)
            if varies:
                self._reach_all()
        self.loose += scalars

    def _reach_all(self) -> None:
        """Lets gradients reach all weights, whichever of them train first: a whole weight is made once, and
        then it has gradients or never.
        """
        trained = {weight: weight.requires_grad for weight in self.module.parameters()}
        for weight in trained:
            weight.requires_grad_(True)
        for unit in self._units():
            unit.unshard()
            unit.reshard()
        for weight, had in trained.items():
            weight.requires_grad_(had)

    def _units(self) -> list[Any]:
        from torch.distributed.fsdp import FSDPModule

        return [unit for unit in self.module.modules() if isinstance(unit, FSDPModule)]

    def weights(self) -> Mapping[str, Tensor]:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state: Any = get_model_state_dict(self.module, options=options)
        return dict(state)

    def reshard(self) -> None:
        """The root has whole weights after a forward pass alone: not those that an optimizer moves, nor
        frozen as those are.
        """
        for unit in self._units():
            unit.reshard()

    def load(self, weights: Mapping[str, Tensor]) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        self.reshard()
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
        set_model_state_dict(self.module, dict(weights), options=options)

    @contextmanager
    def _unsynchronized(self) -> Iterator[None]:
        root: Any = self.module
        root.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            root.set_requires_gradient_sync(True)


def is_sharded(program: BaseProgram, world: World) -> bool:
    """Whether the processes share the weights of a program."""
    return not world.alone and program.training.parallel != "ddp"


def spread_over(
    world: World,
    program: BaseProgram,
    module: nn.Module,
    place: torch.device,
    loose: Iterable[Tensor],
    unreached: Iterable[Tensor],
) -> Spread:
    """The module on `place`, spread over the processes as `train.parallel` says.

    `loose` are the weights that train and are not the module's, `unreached` those that no loss reaches.
    """
    if is_sharded(program, world):
        if not nodes(program):  # nothing that we emit works in place on what a unit returns
            warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
        config = program.training
        how = (config.precision == "bf16", config.varies, config.parallel == "hsdp")
        return Sharded(module, world, place, loose, program.graph, *how)
    if world.alone:
        return Spread(module, world, loose)
    if program.training.varies:  # DDP waits for the gradients of the same weights in each step
        return Spread(module, world, [*loose, *module.parameters()])
    return Replicated(module, world, loose, unreached)


def mesh_of(world: World, place: torch.device, by_machine: bool) -> Any:
    """The processes over which weights are sharded; with `by_machine` a row for each of several machines.

    Raises `SpecError` (run-failed) where machines have different numbers of processes.
    """
    from torch.distributed.device_mesh import init_device_mesh

    sizes = set(world.gather(launched().local_size)) if by_machine else {world.size}
    if sizes == {world.size}:
        return init_device_mesh(place.type, (world.size,))
    if len(sizes) > 1:
        counts = f"machines have {min(sizes)} to {max(sizes)} processes"
        message = f"{counts}, and with `parallel: hsdp` all need the same number"
        raise fail("run-failed", message, "start as many on each, or write `parallel: fsdp`")
    (size,), names = sizes, ("machines", "processes")
    return init_device_mesh(place.type, (world.size // size, size), mesh_dim_names=names)


def blocks(graph: Graph, prefix: str = "") -> Iterator[str]:
    """The paths of the instances of blocks and models, the inner ones first, but for those that are called
    with moved weights: their own must be whole then, as those of the file are.
    """
    moving = [op for op in graph.walk() if isinstance(op.wrapper, Moving)]
    moved = {each.unit for op in moving for each in (op, *(op.graph.walk() if op.graph is not None else ()))}
    for unit in graph.units:
        if unit.first_call.graph is not None and unit not in moved:
            here = key_prefix(prefix, unit)
            yield from blocks(unit.first_call.graph, here)
            yield here.removesuffix(".")


def _has_own_weights(unit: nn.Module, module: nn.Module) -> bool:
    """Whether a part of a module has weights, and no other part has one of them, too."""
    names = {id(weight): 0 for weight in unit.parameters()}
    for _, weight in unit.named_parameters(remove_duplicate=False):
        names[id(weight)] += 1
    for _, weight in module.named_parameters(remove_duplicate=False):
        if id(weight) in names:
            names[id(weight)] -= 1
    return bool(names) and not any(names.values())


def _keeps_statistics(layer: nn.Module) -> bool:
    known = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    return known and type(layer).__name__ != "FrozenBatchNorm"


def _without_buffers() -> dict[str, Any]:
    """Keeps DDP from sending statistics around, whose mean is taken after each step; the option has two names
    in the versions of torch.
    """
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}


def _summed_bucket(bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's exchange without its division."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    done: torch.futures.Future[Tensor] = work.get_future().then(lambda found: found.value()[0])
    return done


@torch.no_grad()
def _summed(tensors: list[Tensor], factor: float = 1.0) -> None:
    """Replaces each tensor by its sum over the processes, each multiplied by the factor of its process."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]) * factor
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
