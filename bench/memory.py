"""Peak memory of an inference pass: the emitted module beside its hand-written twin."""

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.cases import CASES, copy_weights
from bench.report import Column, Table, Value

NOTE = """The most bytes of tensors that live at once while `eval()` runs under `no_grad`, counted as
operations make them and Python lets go of them; inputs and weights do not count, nor does what a kernel takes
for itself. The ratio is emitted / twin; the last column is the module that overwrites nothing."""


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


class Tracker(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, until they die."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        before = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(result):
            if tensor.untyped_storage()._cdata not in before:
                self._made(tensor.untyped_storage())
        return result

    def _made(self, storage: torch.UntypedStorage) -> None:
        key, nbytes = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self.live += nbytes
        self.peak = max(self.peak, self.live)

        def died(_: object) -> None:
            del self._known[key]
            self.live -= nbytes

        self._known[key] = weakref.ref(storage, died)


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def peak(module: nn.Module, inputs: Mapping[str, Tensor]) -> int:
    """The peak of one call in inference, in bytes."""
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
