"""Emitted source to a running module, its weights, and inputs to try it on: the first room with torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphspec.diagnostics import Span, SpecError, fail
from graphspec.diagnostics.arguments import brief
from graphspec.elaborated import Elaborated
from graphspec.emit import Emitted
from graphspec.emit.execution import execute, hold, is_emitted
from graphspec.emit.soundness import REPORT
from graphspec.emit.states import beginning
from graphspec.fold import Absorbed
from graphspec.fold.weights import fold_weights
from graphspec.graph import Graph
from graphspec.tensor import BATCH, DTYPES, Size, factors, value_of
from graphspec.transfer.misfits import explain, instead
from graphspec.weights import averages, counts_batches, inside, no_file, shapes, weight_files

TORCH_DTYPES = {name: getattr(torch, name) for name in DTYPES}
SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
"""Messages of torch's allocators; on CPUs they raise RuntimeError."""
ENGINES = tuple(
    f"/torch/{room}/" for room in ("autograd", "_dynamo", "_inductor", "_functorch", "export", "onnx")
)
"""The directories of PyTorch that run a module's source in a form of their own, without its lines."""


def load_module(
    program: Elaborated,
    emitted: Emitted,
    path: Path | None,
    seed: int,
    weights: str | Path | Mapping[str, torch.Tensor] | None,
    classes: Mapping[str, Any],
) -> nn.Module:
    """The module of a program whose spec is at `path`: initialised from `seed` without touching the
    global generator, then filled from files. `classes` are those of one's own, imported.

    Raises `SpecError` where a weights file is missing or does not fit, and (emission-failed) where the module
    has other weights than the spec says.
    """
    with torch.random.fork_rng(devices=[]):
        if torch.get_default_device().type == "cpu":
            torch.default_generator.manual_seed(seed)  # devices have generators of their own, which stay
        else:
            torch.manual_seed(seed)
        module = make_module(emitted, classes)
    check_state(program, module)
    for prefix, name, span in weight_files(program.graph):
        fill(module, inside(path, name, span), prefix, span)
    for average, other, _ in averages(program.graph):  # which a file may have filled
        module.get_submodule(average).load_state_dict(module.get_submodule(other).state_dict())
    if weights is not None:
        fill(module, weights if isinstance(weights, Mapping) else Path(weights), "", None)
    return module


def load_folded(
    emitted: Emitted, unfolded: nn.Module, steps: Sequence[Absorbed], classes: Mapping[str, Any]
) -> nn.Module:
    """The module of a folded program, its weights made by `steps` from those of the unfolded one."""
    module = make_module(emitted, classes)
    folded = fold_weights(unfolded.state_dict(), steps)
    module.load_state_dict({key: folded[key] for key in module.state_dict()})
    return module


def check_state(program: Elaborated, module: nn.Module) -> None:
    """Compares an emitted module with the program's weights. Raises `SpecError` (emission-failed)."""
    if (found := _difference(program, module)) is not None:
        raise fail("emission-failed", found[0], REPORT, span=found[1])


def need_module_of(program: Elaborated, module: nn.Module) -> None:
    """Raises `SpecError` (weights-misfit) for a module that another program made, or none."""
    begins = callable(getattr(type(module), "begin", None))
    if _difference(program, module) is not None or begins != bool(beginning(program.graph)):
        raise _no_module_of(module)


def _difference(program: Elaborated, module: nn.Module) -> tuple[str, Span | None] | None:
    """The first weight in which a module differs from a program, in words, and its place."""
    left = {key: tuple(value.shape) for key, value in module.state_dict().items() if not counts_batches(key)}
    for key, shape, span in shapes(program.graph):
        if shape is None:
            left = {other: size for other, size in left.items() if not other.startswith(key)}
        elif left.pop(key, None) != shape:
            return f"the emitted module has no weight `{key}` of shape {list(shape)}", span
    if left:
        return f"the emitted module has the weight `{next(iter(left))}`, which the spec does not have", None
    return None


def make_module(emitted: Emitted, classes: Mapping[str, Any]) -> nn.Module:
    """The module as its emitted source initializes it, in the memory format that is fastest; `classes` are
    those that it imports, by path.
    """
    for path, cls in classes.items():
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            message = f"`{path}` is not a module class: a node needs a subclass of nn.Module"
            raise fail("module-missing", message)
    marks = " ".join(f"{path} {id(made)}" for path, made in classes.items())
    executed = execute(emitted.source, emitted.program, marks)
    module = getattr(executed, emitted.class_name)()
    assert isinstance(module, nn.Module)
    hold(executed, module)
    if emitted.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def is_of_module(error: BaseException) -> bool:
    """Whether an error comes from running a module: from its lines, from what PyTorch makes of them (the
    backward pass, compilation, export), from a device that failed, or from too little memory.
    """
    if out_of_memory(error) or isinstance(error, torch.AcceleratorError):
        return True
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if is_emitted(file) or any(room in Path(file).as_posix() for room in ENGINES):
            return True
        trace = trace.tb_next
    return False


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def run_as(program: Elaborated, made: nn.Module, module: nn.Module, inputs: Any) -> Any:
    """The outputs of `made` with the weights and in the mode of a module with the same keys; `inputs` is a
    tensor, a list of them, or a dict by name. Raises `SpecError` where these are not those of the program.
    """
    state = _state(module)
    if {key: value.shape for key, value in state.items()} != {k: v.shape for k, v in _state(made).items()}:
        raise _no_module_of(module)
    values = inputs_of(program, inputs)
    made.train(module.training)
    return torch.func.functional_call(made, state, tuple(values.get(name) for name in program.inputs))


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and the buffers of a module, those that no state dict has, too."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _no_module_of(module: nn.Module) -> SpecError:
    """The error for a module that another program made, or none."""
    message = f"the module `{type(module).__name__}` has other weights than this program"
    return fail("weights-misfit", message, "give what `program.module()` made")


def inputs_of(program: Elaborated, given: Any) -> dict[str, torch.Tensor]:
    """The values for the inputs of a program, by name. Raises `SpecError` (data-column, data-shape,
    data-dtype, wrong-type).
    """
    names = [*program.inputs]
    listed = [*given] if isinstance(given, list | tuple) else [given]
    values = dict(given) if isinstance(given, Mapping) else dict(zip(names, listed, strict=False))
    strange = next((name for name in values if name not in names), None)
    missing = next((name for name in names if name not in values and name not in program.defaults), None)
    if strange is not None or missing is not None or len(values) < len(listed):
        wrong = (
            f"there is no input `{strange}`" if strange is not None else f"there is no value for `{missing}`"
        )
        message = wrong if strange is not None or missing is not None else f"there are {len(listed)} values"
        raise fail("data-column", message, f"the inputs are: {', '.join(names)}")
    for name, value in values.items():
        wanted = program.inputs[name]
        if not isinstance(value, torch.Tensor):
            message = f"the input `{name}` is {brief(value)}, but must be a tensor"
            raise fail("wrong-type", message, "`torch.as_tensor(...)` makes one of a list or an array")
        sizes = list(zip(wanted.shape, value.shape, strict=False))
        if value.dim() != wanted.rank or any(isinstance(a, int) and a != b for a, b in sizes):
            raise fail("data-shape", f"the input `{name}` has the shape {list(value.shape)}, and is {wanted}")
        if value.is_floating_point() != wanted.is_float:
            held = str(value.dtype).removeprefix("torch.")
            help = f"`.to(torch.{wanted.dtype})` makes it that"
            raise fail("data-dtype", f"the input `{name}` holds {held}, and is {wanted}", help)
    return values


def fill(module: nn.Module, path: Path | Mapping[str, torch.Tensor], prefix: str, span: Span | None) -> None:
    """Copies a `.safetensors` file, or a state dict, into the part of a module below `prefix`. It may hold
    more than the part needs. Raises `SpecError` (weights-missing, weights-misfit).
    """
    tensors = path if isinstance(path, Mapping) else read_weights(path, span)
    state = {
        key[len(prefix) :]: value for key, value in module.state_dict().items() if key.startswith(prefix)
    }
    state = {key: value for key, value in state.items() if key in tensors or not counts_batches(key)}
    foreign = next((key for key, value in tensors.items() if not isinstance(value, torch.Tensor)), None)
    if foreign is not None:
        message = f"`{foreign}` of the weights is {brief(tensors[foreign])}, but must be a tensor"
        raise fail("weights-misfit", message, "give a state dict", span=span)
    wanted = {key: tuple(value.shape) for key, value in state.items()}
    tensor_shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    wrong = explain(wanted, tensor_shapes, None if isinstance(path, Mapping) else path, span)
    if wrong:
        raise SpecError(wrong)
    with torch.no_grad():
        for key, value in state.items():
            value.copy_(tensors[key])


def read_weights(path: Path, span: Span | None) -> dict[str, torch.Tensor]:
    """The tensors of a `.safetensors` file. Raises `SpecError` (weights-missing)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from graphspec.files.reading import need_regular
    from graphspec.files.tensors import is_whole

    try:
        tensors = load_file(need_regular(path))
        if is_whole(path):
            return tensors
    except FileNotFoundError:
        raise no_file(path, span) from None
    except (OSError, SafetensorError) as error:
        other = instead(path)
        reason = f"is {other[0]}, not .safetensors" if other else f"cannot be read: {error}"
        help = other[1] if other else None
        if path.is_dir():
            there = ", ".join(f"`{file}`" for file in sorted(path.glob("*.safetensors"))[:5])
            reason, help = (
                "are a folder",
                f"name a file{f', such as {there}' if there else ': FOLDER/best.safetensors'}",
            )
        raise fail("weights-missing", f"the weights `{path}` {reason}", help, span=span) from None
    message = f"the weights `{path}` are damaged: their checksum is not that with which they were written"
    raise fail("weights-missing", message, "take another copy, or write them again", span=span)


def example_inputs(
    program: Elaborated, batch_size: int, sizes: dict[str, int], seed: int, least: int = 0
) -> dict[str, torch.Tensor]:
    """Random inputs in the ranges that the graph accepts. `sizes` binds named sizes; others are the
    smallest legal, or 8; those with a factor so that an axis is about 64 long. `least` is the smallest
    integer, where the range has it.
    """
    generator = torch.Generator().manual_seed(seed)
    factor = factors(program.inputs.values())
    small = {name: max(2, min(8, 64 // factor.get(name, 1))) for name in program.minimum_sizes}
    common = {name: max(least, small[name]) for name, least in program.minimum_sizes.items()}
    legal = {name: min(size, program.maximum_sizes.get(name, size)) for name, size in common.items()}
    bound = legal | sizes | {BATCH: batch_size}
    inputs, least = {}, max(least, int(divides_integers(program.graph)))
    shortest = shortest_indexed(program.graph, bound)
    for name, tensor in program.inputs.items():
        shape = [value_of(size, bound) if isinstance(size, Size) else size for size in tensor.shape]
        dtype = TORCH_DTYPES[tensor.dtype]
        usual = 2 if tensor.dtype == "bool" else 256 if tensor.dtype == "uint8" else min(10, shortest)

        def drawn(
            shape: list[int], high: int | None, real: bool = tensor.is_float, usual: int = usual
        ) -> Any:
            if real and high is None:
                return torch.randn(shape, generator=generator)
            high = high or usual
            return torch.randint(min(least, high - 1), high, shape, generator=generator)

        high = program.ranges.get(name)
        if isinstance(high, tuple):
            columns = [drawn(shape[:-1], each) for each in high]
            inputs[name] = torch.stack(columns, -1).to(dtype)
        else:
            inputs[name] = drawn(shape, high).to(dtype)
    return inputs


def shortest_indexed(graph: Graph, sizes: Mapping[str, int]) -> int:
    """The shortest of the axes with named sizes along which indices count, of which no range tells."""
    layers = ((op.layer, op.site().inputs) for op in graph.walk() if op.layer is not None and op.present)
    along = (layer.indexed(*inputs) for layer, inputs in layers)
    named = (size for size in along if isinstance(size, Size) and size.names <= sizes.keys())
    return min((max(1, value_of(size, sizes)) for size in named), default=2**31)


def divides_integers(graph: Graph) -> bool:
    """Whether a tensor of integers is a divisor, so that a 0 in an input may have no result."""
    return any(
        op.layer is not None
        and op.layer.divides
        and op.inputs[-1].tensor.is_integer
        and not op.outputs[""].tensor.is_float
        for op in graph.walk()
    )
