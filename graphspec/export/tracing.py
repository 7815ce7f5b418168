"""Traces a program's module with `torch.export`, with dynamic sizes."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config

from graphspec.elaborated import BaseProgram
from graphspec.export.failures import FAILURES, failing
from graphspec.export.functions import EXPORTABLE, Replacing
from graphspec.export.recurrent import scans
from graphspec.tensor import BATCH, factors, unit_of

if TYPE_CHECKING:
    from graphspec.program import Program

EXAMPLE_BATCH, EXAMPLE_SIZE = 3, 8
"""The sizes of a trace: so many examples, and named sizes of at least this."""
LARGER = (2, 8, 64)
"""The smallest values that named sizes may be given so as to stay free, where strides make small ones 1."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a dynamic size; None for no upper bound."""

    least: int
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Traced:
    """An exported program, which takes the arguments of `forward` by name, and the sizes that it accepts."""

    program: ExportedProgram
    example: dict[str, int]
    """The sizes that it was traced at."""
    free: dict[str, Range]
    """The sizes that it takes at any value of a range; all others are those of the example."""

    @property
    def fixed(self) -> dict[str, int]:
        return {name: size for name, size in self.example.items() if name not in self.free}


def arguments(module: nn.Module) -> list[str]:
    """The names of what `forward` takes, one for each input of the spec."""
    parameters = inspect.signature(module.forward).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]


Unit = tuple[str, int]
"""The name of a size, and by what it is multiplied."""


def axes(program: Program, module: nn.Module) -> dict[str, dict[int, Unit]]:
    """For each argument of `forward`, the size of each axis that is not a number."""
    return {
        argument: {
            axis: unit for axis, size in enumerate(tensor.shape) if (unit := unit_of(size)) is not None
        }
        for argument, tensor in zip(arguments(module), program.inputs.values(), strict=True)
    }


def trace(program: Program, module: nn.Module) -> Traced:
    """Exports with every size dynamic that PyTorch can keep dynamic, including the batch.

    Raises `SpecError` (export-failed) where it cannot be exported at all.
    """
    with failing(program, "the module cannot be exported"), exporting(module):
        for alike, free in _attempts(program, module):
            try:
                return _attempt(program, module, alike, free)
            except FAILURES:
                if not free:
                    raise
    raise AssertionError("the last attempt has no dynamic size")


class _Inside(nn.Module):
    """A module one level down, where its children may be called `code` or `graph`."""

    def __init__(self, program: nn.Module):
        super().__init__()
        self.program = program
        self.forward = program.forward


def _attempts(program: Program, module: nn.Module) -> Iterator[tuple[bool, dict[str, Range]]]:
    """The attempts, most dynamic first: whether a size of 1 is like any other, and the dynamic sizes.

    Where it is not, convolutions take any batch; where it is, lengths may shrink to 1 on their way.
    """
    most = program.maximum_sizes
    named = {name: Range(least, most.get(name)) for name, least in program.minimum_sizes.items()}
    free = {BATCH: Range(1), **named}
    yield False, free
    yield True, free
    for alike in (False, True):
        measured = _measured(program, module, alike)
        narrowed = {name: _meet(span, measured[name]) for name, span in free.items() if name in measured}
        if narrowed:
            yield alike, narrowed
    for least in LARGER if named else ():
        larger = {name: _meet(span, Range(least)) for name, span in named.items()}
        if all(span.most is None or span.least <= span.most for span in larger.values()):
            yield False, {BATCH: Range(1), **larger}
    yield False, {BATCH: Range(1)}
    yield False, {}


def _attempt(program: Program, module: nn.Module, alike: bool, free: dict[str, Range]) -> Traced:
    """Exports, and runs the result at its smallest sizes, where wrong assumptions of PyTorch show first."""
    example = _example(program, free)
    traced = Traced(_export(program, module, example, _dims(free), alike), example, free)
    smallest = {**example, **{name: span.least for name, span in free.items()}}
    traced.program.module()(**_inputs(program, module, smallest))
    return traced


def inputs_at(program: BaseProgram, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Tensor]:
    """Example inputs at some sizes, the batch among them."""
    named = {name: size for name, size in sizes.items() if name != BATCH}
    return program.example_inputs(sizes[BATCH], named, seed)


def _example(program: Program, free: Mapping[str, Range]) -> dict[str, int]:
    """The sizes to trace at: all dynamic ones differ, because PyTorch may identify equal ones."""
    sizes = {BATCH: EXAMPLE_BATCH if BATCH in free else 1}
    factor = factors(program.inputs.values())
    for number, (name, least) in enumerate(sorted(program.minimum_sizes.items()), 1):
        least = max(least, free[name].least) if name in free else least
        wanted = max(least, EXAMPLE_SIZE // factor.get(name, 1)) + (number if name in free else 0)
        sizes[name] = min(wanted, program.maximum_sizes.get(name, wanted))
    return sizes


def _dims(free: Mapping[str, Range]) -> dict[str, Dim]:
    return {name: Dim(label(name), min=span.least, max=span.most) for name, span in free.items()}


def _meet(one: Range, other: Range) -> Range:
    bounds = [span.most for span in (one, other) if span.most is not None]
    return Range(max(one.least, other.least), min(bounds, default=None))


def _measured(program: Program, module: nn.Module, alike: bool) -> dict[str, Range]:
    """The sizes that PyTorch keeps dynamic when it may choose, each with its range."""
    names = dict.fromkeys((BATCH, *program.minimum_sizes), Range(1))
    try:
        exported = _export(program, module, _example(program, names), dict.fromkeys(names, Dim.AUTO), alike)
    except FAILURES:
        return {}
    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    ranges, fixed = dict[str, Range](), set[str]()
    for argument, named in axes(program, module).items():
        for axis, (name, factor) in named.items():
            size = nodes[argument].meta["val"].shape[axis]
            bounds = (
                exported.range_constraints.get(size.node.expr) if isinstance(size, torch.SymInt) else None
            )
            if bounds is None:
                fixed.add(name)
            else:
                most = int(bounds.upper) // factor if bounds.upper.is_Integer else None
                lower = int(bounds.lower) if alike or bounds.lower > 2 else 1  # 2 is where PyTorch starts
                least = -(-lower // factor)
                ranges[name] = _meet(ranges.get(name, Range(1)), Range(least, most))
    return {name: span for name, span in ranges.items() if name not in fixed}


def _inputs(program: Program, module: nn.Module, sizes: dict[str, int]) -> dict[str, Tensor]:
    tensors = inputs_at(program, sizes).values()
    return dict(zip(arguments(module), tensors, strict=True))


def _export(
    program: Program, module: nn.Module, sizes: dict[str, int], dims: Mapping[str, Any], alike: bool
) -> ExportedProgram:
    """Exports the module at some sizes, of which those in `dims` stay dynamic."""
    dynamic = {
        argument: {axis: _times(dims[name], factor) for axis, (name, factor) in named.items() if name in dims}
        for argument, named in axes(program, module).items()
    }
    inputs = _inputs(program, module, sizes)
    if any(hasattr(torch.fx.GraphModule, name) for name, _ in module.named_children()):
        module = _Inside(module)
    # a scan asks whether its step is one compiled before: the sizes of that one would be refused to this one
    torch._dynamo.reset()
    with _silent(), _config.patch(backed_size_oblivious=alike):  # type: ignore[attr-defined]  # added at run time
        return torch.export.export(module, (), inputs, dynamic_shapes=dynamic, strict=False)


def _times(dim: Any, factor: int) -> Any:
    """A size of PyTorch's, multiplied; what it may choose freely is chosen for each axis."""
    return dim if factor == 1 or dim is Dim.AUTO else factor * dim


def label(name: str) -> str:
    """A size's name as an identifier: an anonymous one is called `?3` inside."""
    return name.replace("?", "size_")


@contextmanager
def _silent() -> Iterator[None]:
    """Without what torch logs and prints of attempts that fail: the diagnostic tells of the last."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    logger.disabled, before = True, logger.disabled
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logger.disabled = before


@contextmanager
def exporting(module: nn.Module) -> Iterator[None]:
    """For inference, with scans for recurrent layers, and functions that keep sizes dynamic."""
    with scans(module), Replacing(EXPORTABLE), warnings.catch_warnings():
        # nn.RNNBase keeps a list of its parameters beside them, and torch.export sees it replaced for a while
        # torch 2.10 compiles the step of a scan on its way, which costs the exported program nothing
        warnings.filterwarnings("ignore", "You are calling torch.compile inside torch.export", UserWarning)
        warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights\[0\]", UserWarning)
        yield
