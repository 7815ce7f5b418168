"""A user's module to a graph of PyTorch's functions, without running anything of the data."""

from __future__ import annotations

import io
import linecache
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_unflatten

from graphspec.convert.refusals import Unsupported

BATCH = 2
"""Examples that a module is traced with."""


@dataclass(frozen=True, slots=True)
class TracedModule:
    """The graph of `module`, the placeholders of the user's inputs, and what the user calls its results: a
    name, "" where nothing says, and which of the user's outputs it is.
    """

    module: nn.Module
    program: ExportedProgram
    inputs: tuple[str, ...]
    results: tuple[tuple[str, int], ...]

    @property
    def outputs(self) -> Iterator[tuple[str, Any]]:
        """The names, and the nodes of the graph as it is now."""
        nodes: Any = next(node for node in self.program.graph.nodes if node.op == "output").args[0]
        first = len(nodes) - len(self.program.graph_signature.user_outputs)
        return ((name, nodes[first + place]) for name, place in self.results)


def traced(
    module: nn.Module, inputs: Mapping[str, Tensor], free: Mapping[str, Mapping[int, Any]]
) -> TracedModule:
    """Traces a module in inference mode. `free` are the open sizes of each input. Raises `Unsupported`."""
    from torch.export import export

    shapes: dict[str, Any] = {name: dict(free.get(name, {})) for name in inputs}
    _check_parameters(module)
    try:
        # gradients show where the module itself learns nothing
        with quiet(), torch.enable_grad(), _dataclasses_known(module):
            program = export(module, (), dict(inputs), strict=False, dynamic_shapes=shapes)
    except Unsupported:
        raise
    except Exception as error:
        raise refused(error) from error
    signature = program.graph_signature
    structure = tree_unflatten(list(range(len(signature.user_outputs))), program.call_spec.out_spec)
    return TracedModule(module, program, tuple(signature.user_inputs), tuple(_named(structure, "")))


def _check_parameters(module: nn.Module) -> None:
    if any(is_lazy(each) for each in (*module.parameters(), *module.buffers())):
        raise Unsupported("its lazy layers have no parameters yet", "call the module once on an example")
    kinds = {each.dtype for each in module.parameters() if each.is_floating_point()}
    if other := kinds - {torch.float32}:
        word = str(other.pop()).removeprefix("torch.")
        raise Unsupported(
            f"its parameters are {word}",
            "give it `module.float()` and inputs of float32; `precision: bf16` in the spec trains in that",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without what PyTorch and the module print: a diagnostic says in a line what cannot be traced."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def _dataclasses_known(module: nn.Module) -> Iterator[None]:
    """PyTorch looks into the dataclasses that the module returns."""

    def know(_: nn.Module, __: Any, output: Any) -> None:
        for leaf in tree_leaves(output):
            if is_dataclass(leaf) and not isinstance(leaf, type):
                torch.export.register_dataclass(type(leaf))
                know(module, (), output)
                return

    hook = module.register_forward_hook(know)
    try:
        yield
    finally:
        hook.remove()


def _named(structure: Any, name: str) -> list[tuple[str, int]]:
    if is_dataclass(structure):
        structure = vars(structure)
    if isinstance(structure, Mapping):
        return [pair for key, item in structure.items() for pair in _named(item, str(key))]
    if isinstance(structure, (list, tuple)):
        several = len(structure) > 1
        return [
            pair
            for index, item in enumerate(structure)
            for pair in _named(item, f"{name}_{index}" if name and several else name)
        ]
    return [] if structure is None else [(name, structure)]


DEPENDS = re.compile(
    r"data.dependent|GuardOnDataDependent|Could not guard|Could not extract specialized|unbacked|"
    r"bool\(\) on|control flow|_local_scalar_dense|is_nonzero",
    re.IGNORECASE,
)


def refused(error: BaseException) -> Unsupported:
    """PyTorch's refusal to trace a module, with the line of the user's code."""
    text = str(error)
    where = _user_line(error) or line_in(text)
    at = f" at {where}" if where else ""
    near = [where]
    if where:
        file, _, line = where.rpartition(":")
        near += [f"{file}:{number}" for number in range(int(line) - 1, int(line) - 8, -1)]
    packs = next((place for place in near if "pack_padded" in _source(place)), "")
    if packs or "PackedSequence" in text:
        at = f" at {packs or where}"
        return Unsupported(
            f"it packs sequences{at}, which a spec does not",
            "pass padded sequences, and mask them: {layer: Masking}, or `mask_zero` of an Embedding",
        )
    if DEPENDS.search(text) or DEPENDS.search(type(error).__name__):
        return Unsupported(
            f"its control flow depends on the values of tensors{at}",
            "write it without `if`, `while` or `.item()` on data, with torch.where, say",
        )
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return Unsupported(
        f"PyTorch cannot trace it{at}: {type(error).__name__}: {first[:200]}",
        "call the module on the same inputs: where that runs, give sizes that stay open a number",
    )


def _source(place: str) -> str:
    """A line of a file."""
    file, _, line = place.rpartition(":")
    return linecache.getline(file, int(line)) if line.isdigit() else ""


def _user_line(error: BaseException) -> str:
    """The last line of the traceback that is neither PyTorch's nor ours."""
    line = ""
    seen: BaseException | None = error
    while seen is not None:
        trace = seen.__traceback__
        while trace is not None:
            file = trace.tb_frame.f_code.co_filename
            if _is_users(file):
                line = f"{file}:{trace.tb_lineno}"
            trace = trace.tb_next
        seen = seen.__cause__ or seen.__context__ if not line else None
    return line


def _is_users(file: str) -> bool:
    return not file.startswith("<") and not re.search(r"[/\\](torch|graphspec)[/\\]", file)


def line_in(text: str) -> str:
    """The innermost line of a user's file in a stack trace as text."""
    lines = re.findall(r'File "([^"]+)", line (\d+)', text or "")
    users = [f"{file}:{line}" for file, line in lines if _is_users(file)]
    return users[-1] if users else ""
