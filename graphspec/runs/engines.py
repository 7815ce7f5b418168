"""Engines that compute a program's outputs: PyTorch, or another one that runs its export."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from graphspec.data.shareable import shareable
from graphspec.diagnostics import fail
from graphspec.diagnostics.packages import needing
from graphspec.diagnostics.text import first_line

if TYPE_CHECKING:
    import torch
    from torch import nn

    from graphspec.elaborated import BaseProgram

Values = dict[str, NDArray[Any]]
SLOWER = ("SkipLayerNormFusion",)
"""Rewritings of onnxruntime that take longer: its kernel for a sum and its normalization has no vectors."""
T = TypeVar("T")
OF_CPUS = ("onnxruntime", "openvino")
"""The engines that compute on the CPU alone."""
ENGINES = ("torch", *OF_CPUS)
"""The engines, the one that all others must agree with first."""


def versions() -> dict[str, str]:
    """The versions of the engines that are installed, "" where nothing says which: none is imported."""
    listed: dict[Path, list[str]] = {}
    found: dict[str, str] = {}
    for package in ENGINES:
        spec = find_spec(package)
        if spec is not None:
            folder = Path(next(iter(spec.submodule_search_locations or ()), "")).parent
            if folder not in listed:
                listed[folder] = []
                with suppress(OSError):  # it is in an archive
                    listed[folder] = os.listdir(folder)
            found[package] = _version(package, listed[folder])
    return found


def _version(package: str, names: Iterable[str]) -> str:
    """The version that one of these names of a package's folders says."""
    begin, end = f"{package}-", ".dist-info"
    return max(
        (n[len(begin) : -len(end)] for n in names if n.startswith(begin) and n.endswith(end)), default=""
    )


class Engine(Protocol):
    """Computes the outputs of a program for a batch of inputs."""

    name: str

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        """The outputs by the keys of the program, float32, for arrays or tensors by the names of inputs. An
        input that is left out has its default.
        """
        ...

    def logits(self, inputs: Mapping[str, Any]) -> Values:
        """The result of the module with `logits=True`: outputs without the activations that losses apply
        themselves, and masks.
        """
        ...


@dataclass(eq=False, repr=False)
class Default:
    """The value of an input that may be left out: a number, or the name of a distribution, such as
    `random_normal`.
    """

    value: float | str
    sizes: tuple[int, ...]
    dtype: str

    def __call__(self, count: int) -> NDArray[Any]:
        """For a batch of so many examples."""
        shape = (count, *self.sizes)
        if not isinstance(self.value, str):
            return np.full(shape, self.value, self.dtype)
        source = np.random.default_rng()
        drawn = source.standard_normal(shape) if self.value == "random_normal" else source.random(shape)
        return drawn.astype(self.dtype)


@dataclass(eq=False, repr=False)
class Interface:
    """The inputs and the outputs of a program's export, by name."""

    inputs: tuple[str, ...]
    defaults: Mapping[str, Default]
    outputs: tuple[str, ...]
    judged: tuple[str, ...]
    """In a file with logits, what each output is without its activation."""
    masks: tuple[str, ...]
    returned: tuple[str, ...]
    """The results of such a file, in order."""

    @classmethod
    def of(cls, program: BaseProgram) -> Interface:
        from graphspec.elaborated import returned

        judged = [
            output.logits_key if output.returns_more else key
            for output in program.outputs.values()
            for key in output.keys
        ]
        masks = dict.fromkeys(o.mask for o in program.outputs.values() if o.mask is not None)
        outputs, every = returned(program.outputs), returned(program.outputs, logits=True)
        defaults = _defaults(program)
        return cls(tuple(program.inputs), defaults, tuple(outputs), tuple(judged), tuple(masks), tuple(every))


def of_rows(values: Mapping[str, Any]) -> dict[str, Any]:
    """The results of an engine, with as many rows of a result that is the same for all: a state or a
    parameter.
    """
    count = max(map(len, values.values()), default=0)
    return {name: each if len(each) == count else np.repeat(each, count, 0) for name, each in values.items()}


class FileEngine:
    """Runs the export of a program, and gives what losses read, too, where the file returns it."""

    name: str

    def __init__(self, interface: Interface):
        self.interface = interface

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        return {key: _float(value) for key, value in self.values(inputs, self.interface.outputs).items()}

    def logits(self, inputs: Mapping[str, Any]) -> Values:
        outputs, judged, masks = self.interface.outputs, self.interface.judged, self.interface.masks
        values = self.values(inputs, [*judged, *masks])
        arrays = {key: _float(values[name]) for key, name in zip(outputs, judged, strict=True)}
        return arrays | {name: np.asarray(values[name], bool) for name in masks}

    def values(self, inputs: Mapping[str, Any], names: Sequence[str]) -> Values:
        """Some of what the file returns, by the names of `returned`. Raises `SpecError` (run-failed)."""
        try:
            return dict(
                zip(names, self.compute(_arrays(inputs, self.interface.defaults), names), strict=True)
            )
        except Exception as error:  # onnxruntime has no class that all of its errors belong to
            if not isinstance(error, RuntimeError) and not type(error).__module__.startswith("onnxruntime"):
                raise
            help = "leave `--engine` out: the module itself computes then"
            raise fail(
                "run-failed", f"`{self.name}` cannot compute these rows: {first_line(error)}", help
            ) from None

    def compute(self, arrays: Values, names: Sequence[str]) -> Sequence[Any]:
        """The results of the engine itself under these names."""
        raise NotImplementedError

    def named(self, places: Sequence[T]) -> dict[str, T]:
        """The results of a file, in its order, by name."""
        interface = self.interface
        return dict(
            zip(
                interface.outputs if len(places) == len(interface.outputs) else interface.returned,
                places,
                strict=True,
            )
        )


class TorchEngine:
    """The emitted module, on a number of threads that suits it."""

    name = "torch"

    def __init__(self, program: BaseProgram, module: nn.Module, device: torch.device):
        import torch

        from graphspec.train import device as devices

        self._torch, self._computing = torch, devices.computing
        self.module, self.device = module, device
        self.on_cpu = device.type == "cpu"
        self.threads = devices.threads(program)
        interface = Interface.of(program)
        self.inputs, self.outputs, self.masks = interface.inputs, interface.outputs, interface.masks
        self.takes_logits = program.takes_logits
        self.answered = {
            name: output.answered
            for name, output in program.outputs.items()
            if output.loss is not None and output.loss.answers
        }

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        with self._torch.inference_mode():  # around the arrays, too: they are taken and given faster inside
            values = self._computed(inputs)
            if not isinstance(values, dict):
                values = {self.outputs[0]: values}
            for name, answered in self.answered.items():
                values[name] = answered(values[name])
            return {key: self._array(values[key]) for key in self.outputs if key in values}

    def logits(self, inputs: Mapping[str, Any]) -> Values:
        with self._torch.inference_mode():
            found = self._computed(inputs, logits=True) if self.takes_logits else self._computed(inputs)
            values = found if isinstance(found, dict) else {self.outputs[0]: found}
            arrays = {key: self._array(values[key]) for key in self.outputs}
            return arrays | {name: values[name].cpu().numpy() for name in self.masks}

    def _computed(self, inputs: Mapping[str, Any], **asked: bool) -> Any:
        """Runs the module."""
        ordered = [self._tensor(inputs.get(name)) for name in self.inputs]
        if self._torch.get_num_threads() == self.threads:  # what `computing` asks takes as long as a layer
            return self.module(*ordered, **asked)
        with self._computing(self.threads):
            return self.module(*ordered, **asked)

    def _tensor(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = self._torch.from_numpy(shareable(value))  # `as_tensor` takes twice as long
        return value if value is None or self.on_cpu else value.to(self.device)

    def _array(self, value: torch.Tensor) -> NDArray[Any]:
        floats = value if value.dtype is self._torch.float32 else value.float()
        return (floats if self.on_cpu else floats.cpu()).numpy()


def settle(engines: Iterable[Engine]) -> None:
    """Sets the threads of torch in a process that only computes, so that engines need not at each call."""
    counts = {engine.threads for engine in engines if isinstance(engine, TorchEngine)}
    if len(counts) == 1:
        import torch

        torch.set_num_threads(counts.pop())


class OnnxEngine(FileEngine):
    """onnxruntime on the export of a program. Raises `SpecError` (package-missing)."""

    name = "onnxruntime"

    def __init__(self, interface: Interface, file: Path, threads: int):
        with needing("`--engine onnxruntime`", "onnx"):
            import onnxruntime
        super().__init__(interface)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"], disabled_optimizers=[*SLOWER]
        )
        self.places = self.named([value.name for value in self.session.get_outputs()])

    def compute(self, arrays: Values, names: Sequence[str]) -> Sequence[Any]:
        outputs: list[Any] = self.session.run([self.places[name] for name in names], arrays)
        return outputs


class OpenVinoEngine(FileEngine):
    """OpenVINO on the export of a program, in float32. Raises `SpecError` (package-missing)."""

    name = "openvino"

    def __init__(self, interface: Interface, file: Path, threads: int):
        with needing("`--engine openvino`", "openvino"):
            core = _core()
        super().__init__(interface)
        exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self.model = core.compile_model(str(file), "CPU", exact)
        self.places = self.named(range(len(self.model.outputs)))

    def compute(self, arrays: Values, names: Sequence[str]) -> Sequence[Any]:
        outputs = self.model(arrays)
        return [outputs[self.places[name]] for name in names]


@cache
def _core() -> Any:
    """OpenVINO, once a process: each gives the thread a stack for signals, and what one of several leaves of
    that when it ends is freed memory, where the next signal, Ctrl-C too, ends the process.
    """
    import openvino

    return openvino.Core()


def _defaults(program: BaseProgram) -> dict[str, Default]:
    defaults: dict[str, Default] = {}
    for name, value in program.defaults.items():
        tensor = program.inputs[name]
        sizes = [size for size in tensor.shape[1:] if isinstance(size, int)]
        if len(sizes) == tensor.rank - 1:
            defaults[name] = Default(value, tuple(sizes), tensor.dtype)
    return defaults


def _arrays(inputs: Mapping[str, Any], defaults: Mapping[str, Default]) -> Values:
    arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    if not defaults:
        return arrays
    count = len(next(iter(arrays.values())))
    return arrays | {name: filled(count) for name, filled in defaults.items() if name not in arrays}


def _float(value: Any) -> NDArray[Any]:
    return np.asarray(value).astype(np.float32, copy=False)
