"""The format of ONNX, run by onnxruntime. Its packages are the `onnx` extra: imported where they are used."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphspec.diagnostics import fail
from graphspec.diagnostics.packages import EXTRAS, lacking
from graphspec.export.failures import FAILURES, failing
from graphspec.export.operators import translations
from graphspec.export.proof import Run
from graphspec.export.tracing import Traced, Unit, label
from graphspec.version import __version__

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from graphspec.program import Program

PRODUCER = "graphspec"
"""The name of a file's producer, in its first bytes."""
OPSET = 20
"""The version of ONNX: the first that splits and matches texts."""
ERRORS_ONLY = 3
"""onnxruntime's level of logging."""


def need_packages() -> None:
    """Raises `SpecError` (package-missing) where a package of the extra is not installed."""
    if missing := [name for name in EXTRAS["onnx"] if find_spec(name) is None]:
        raise lacking("`--format onnx`", "onnx", missing)


def write(
    program: Program,
    traced: Traced,
    axes: dict[str, dict[int, Unit]],
    outputs: list[str],
    description: str,
    path: Path,
) -> Run:
    """Writes the file (weights of more than 1.5 GB next to it), reads it back, and returns a function that
    runs it.

    Inputs have the spec's names, and results those of `outputs`; one named like an input has a number after
    its name.
    """
    save(
        program,
        traced.program,
        list(program.inputs),
        outputs,
        description,
        path,
        lambda model: _name_sizes(model, traced, axes),
    )
    return run_of(program, outputs, path)


def save(
    program: Program,
    exported: ExportedProgram,
    inputs: list[str],
    outputs: list[str],
    description: str,
    path: Path,
    name_sizes: Callable[[Any], None] = lambda model: None,
) -> None:
    """Writes an exported program with these names of its inputs and outputs. Raises `SpecError`."""
    from onnx_ir.passes.common import NameFixPass

    with failing(program, "the exported program cannot be written as ONNX"), _quiet(), _new_enough():
        converted = torch.onnx.export(
            exported,
            dynamo=True,
            verbose=False,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            custom_translation_table=translations(),
        )
        assert converted is not None
        model = converted.model
        name_sizes(model)
        _rename_constants(model.graph)
        NameFixPass()(model)  # what torch named like an output gets another name
        model.producer_name, model.producer_version = PRODUCER, __version__
        model.metadata_props["graphspec"] = description
        converted.save(path)


def session_options(extended: bool) -> Any:
    """Those of a session whose file may need onnxruntime-extensions."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    if extended:
        from onnxruntime_extensions import get_library_path

        options.register_custom_ops_library(get_library_path())
    return options


def session_of(
    program: Program, path: Path, extended: bool = False
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Runs a file, which may need onnxruntime-extensions: from arrays to arrays, by their names there. Raises
    `SpecError` (export-failed).
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    failures: tuple[type[BaseException], ...] = (
        *FAILURES,
        raised.Fail,
        raised.InvalidArgument,
        raised.InvalidGraph,
        raised.InvalidProtobuf,
        raised.NotImplemented,
        raised.RuntimeException,
    )
    options = session_options(extended)
    with failing(program, "onnxruntime refuses the exported program", failures):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        with failing(program, "onnxruntime cannot run the exported program", failures):
            return dict(zip(names, session.run(None, arrays), strict=True))

    return run


def run_of(program: Program, outputs: list[str], path: Path) -> Run:
    """Runs a file that reads the inputs of a program."""
    run = session_of(program, path)

    def of_tensors(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        values = run({n: tensor.numpy() for n, tensor in zip(program.inputs, inputs, strict=True)})
        return {n: torch.from_numpy(v) for n, v in zip(outputs, values.values(), strict=True)}

    return of_tensors


def _rename_constants(graph: Any) -> None:
    """Gives constants that torch named like an input or an output a name that nothing has."""
    ends = {value.name: value for value in (*graph.inputs, *graph.outputs)}
    for value in list(graph.initializers.values()):
        if ends.get(value.name, value) is not value:
            names = (f"{value.name}_{number}" for number in count(1))
            value.name = next(name for name in names if name not in graph.initializers and name not in ends)


def _name_sizes(model: Any, traced: Traced, axes: dict[str, dict[int, Unit]]) -> None:
    """Gives the sizes of all tensors the names of the spec: `32*height`, where torch says `32*s89`."""
    from onnx_ir import Shape, SymbolicDim

    nodes = {node.name: node for node in traced.program.graph.nodes if node.op == "placeholder"}
    names: dict[str, str] = {}
    # In the order of the arguments, whose names torch writes in small letters, with a number where two meet.
    for argument, named in zip(traced.program.graph_signature.user_inputs, axes.values(), strict=True):
        for axis, (name, factor) in named.items():
            size = nodes[argument].meta["val"].shape[axis]
            if isinstance(size, torch.SymInt):
                names[str(size.node.expr / factor)] = label(name)
    for value in (*model.graph.inputs, *(value for node in model.graph for value in node.outputs)):
        sizes = [size.value if isinstance(size, SymbolicDim) else size for size in value.shape or ()]
        if any(isinstance(size, str) for size in sizes):
            value.shape = Shape([_named(size, names) if isinstance(size, str) else size for size in sizes])


def _named(size: str, names: Mapping[str, str]) -> str:
    """A size in the words of the spec."""
    return re.sub(r"\b[a-z]\d+\b", lambda found: names.get(found[0], found[0]), size)


@contextmanager
def _new_enough() -> Iterator[None]:
    """Raises `SpecError` (package-missing) where torch asks onnxscript for what it does not have yet."""
    try:
        yield
    except ImportError as error:
        import onnxscript

        held = f"`onnxscript` {onnxscript.__version__} is too old for torch {torch.__version__}"
        help = "pip install --upgrade onnxscript"
        raise fail("package-missing", held, help, str(error)) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses torch's messages about optional packages and its own deprecated calls, and what onnxscript
    0.6 prints: with `--json` standard output is one document.
    """
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            # torch itself uses what it has deprecated
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
            warnings.filterwarnings(
                "ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning
            )
            yield
    finally:
        registration.setLevel(level)
