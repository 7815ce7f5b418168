"""The result of elaboration: the graph of a spec, the types of its inputs, and the losses and metrics of its
outputs.

Folding, emission and the summary read it. Rooms that read data, train and draw need some of what `Program`
can do, too, which itself needs them: `BaseProgram` names it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from graphspec.diagnostics import Span, fail
from graphspec.diagnostics.arguments import brief, need
from graphspec.graph import Graph, Value
from graphspec.language.row_settings import RowSettings
from graphspec.objectives import Loss, Metric
from graphspec.objectives.loss import Select
from graphspec.tensor import Limit, Tensor

if TYPE_CHECKING:
    from torch import Tensor as TorchTensor
    from torch import nn

    from graphspec.data.config import DataConfig
    from graphspec.emit.emitted import Emitted
    from graphspec.generate.config import GenerateSettings
    from graphspec.generate.loop_config import LoopSettings
    from graphspec.source import Document
    from graphspec.train.config import TrainConfig
    from graphspec.train.config.varying import Varying
    from graphspec.tune.config import TuneConfig
    from graphspec.view.summary import Summary


@dataclass(frozen=True, eq=False, slots=True)
class OutputSpec:
    """One output of a program: the tensors it returns (usually one), with its loss and metrics.

    `activation` is the activation that `forward(..., logits=True)` leaves off, if any, and `mask` the key
    under which that returns the mask, [batch, steps]: the steps that losses and metrics look at. `rows`
    says which rows count, and how much.
    """

    name: str
    tensors: tuple[Tensor, ...]
    loss: Loss | None
    loss_weight: float | Literal["learned"] | Varying
    metrics: tuple[Metric, ...]
    target: str
    activation: str | None = None
    mask: str | None = None
    rows: RowSettings = field(default_factory=RowSettings)

    @property
    def keys(self) -> list[str]:
        """The names under which a module returns its tensors: from the second on with a number."""
        return [f"{self.name}.{index}" if index else self.name for index in range(len(self.tensors))]

    @property
    def returns_more(self) -> bool:
        """Whether what losses read of it is another value than itself: it follows from that."""
        return self.activation is not None or (self.loss is not None and self.loss.answers)

    @property
    def ranks_candidates(self) -> bool:
        """Whether its metrics rank the keys of all training rows for each query."""
        return self.loss is not None and self.loss.ranks_candidates and bool(self.metrics)

    @property
    def reads_candidates(self) -> bool:
        """Whether its loss or its metrics read which keys training rows have."""
        return self.loss is not None and (self.loss.reads_shares or self.ranks_candidates)

    def answered(self, value: TorchTensor, select: Select | None = None) -> TorchTensor:
        """The answer for the output of the module: boxes for the points of a detector, as in its loss."""
        return self.loss.answer(value, select) if self.loss is not None else value

    @property
    def last_weight(self) -> float | Literal["learned"]:
        """The weight of its loss, at the end of a training where it varies."""
        weight = self.loss_weight
        return weight if isinstance(weight, int | float | str) else weight.to

    @property
    def logits_key(self) -> str:
        """The name of what it is without its activation, beside itself."""
        return f"{self.name}.logits"

    @property
    def columns(self) -> list[str]:
        """The names of its tensors in predictions: where there are several, what a loss that compares them
        calls each, after the output's name; else those of `keys`.
        """
        takes = self.loss.takes if self.loss is not None else ()
        if len(self.tensors) == 1 or len(takes) != len(self.tensors):
            return self.keys
        return [f"{self.name}.{word}" for word in takes]


@dataclass(frozen=True, eq=False, slots=True)
class SampleLoop:
    """The step of a loop that makes something of noise, [N, ...]: `name` is the value that goes on, an input
    of `graph`, and unless it has one step an output, the next value.

    `drawn` are the inputs whose values each step draws, and how; `ranges` those of ids.
    """

    name: str
    settings: LoopSettings
    graph: Graph
    drawn: dict[str, str]
    ranges: dict[str, Limit]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The type of each input of a step."""
        return {name: value.tensor for name, value in self.graph.inputs.items() if value is not None}

    @property
    def outputs(self) -> dict[str, OutputSpec]:
        """What a step makes."""
        return {
            name: OutputSpec(name, (value.tensor,), None, 1.0, (), name)
            for name, value in self.graph.outputs.items()
        }


class Towers(NamedTuple):
    """Of an output that compares a query with a key, the inputs that each depends on, in their order."""

    query: tuple[str, ...]
    key: tuple[str, ...]


def towers(graph: Graph, output: str) -> Towers:
    """Those of an output of a program, whose tensors are a query and a key."""
    query, key = (_inputs(graph, graph.outputs[name]) for name in (output, f"{output}.1"))
    return Towers(query, key)


def _inputs(graph: Graph, value: Value) -> tuple[str, ...]:
    """The inputs that a value depends on."""
    known, todo = set[Value](), [value]
    while todo:
        each = todo.pop()
        if each not in known:
            known.add(each)
            todo += each.op.inputs if each.op is not None else ()
    return tuple(name for name, each in graph.inputs.items() if each in known)


def returned(outputs: Mapping[str, OutputSpec], logits: bool = False) -> list[str]:
    """The names of what an export returns, in order: with `logits` also what losses read."""
    names = [key for output in outputs.values() for key in output.keys]
    if logits:
        names += [output.logits_key for output in outputs.values() if output.returns_more]
        names += dict.fromkeys(output.mask for output in outputs.values() if output.mask is not None)
    return names


@dataclass(frozen=True, eq=False)
class Elaborated:
    """A spec without errors, as far as the front half can tell."""

    name: str
    """The name of the spec: its `name`, else that of its file."""
    graph: Graph
    """The graph: nodes and the values between them."""
    inputs: dict[str, Tensor]
    """The type of each input; the batch axis first."""
    outputs: dict[str, OutputSpec]
    """Each output by name: its values, its loss and its metrics."""
    declared_training: TrainConfig | None
    """The settings of `train`; None without such a section."""
    data: DataConfig | None
    """The settings of `data`; None without such a section."""
    tuning: TuneConfig | None = None
    """The settings of `tune`; None without such a section."""
    ranges: dict[str, Limit] = field(default_factory=dict)
    """For each integer input, the exclusive upper bound that its readers accept: one for all elements, or
    one for each position of the last axis.
    """
    minimum_sizes: dict[str, int] = field(default_factory=dict)
    """The smallest legal value of each symbolic size."""
    maximum_sizes: dict[str, int] = field(default_factory=dict)
    """The largest legal value of each symbolic size that has one."""
    masks: dict[str, Value] = field(default_factory=dict)
    """Further values that `forward(..., logits=True)` returns, for losses."""
    channels_first: frozenset[str] = frozenset()
    """The inputs that come as [batch, channels, ...], and lie so in memory."""
    defaults: dict[str, int | float | bool | str] = field(default_factory=dict)
    """The values of inputs that may be left out."""
    generation: dict[str, GenerateSettings] | None = None
    """The settings of `generate`, by the input that goes on; None without such a section."""
    loop: SampleLoop | None = None
    """The loop of `generate`; None without one."""

    @cached_property
    def training(self) -> TrainConfig:
        """The settings of `train`, with their defaults."""
        from graphspec.train.config import TrainConfig  # few checks ask for them

        return self.declared_training or TrainConfig()

    @property
    def takes_logits(self) -> bool:
        """Whether `forward` has the argument `logits`: it leaves something off, or returns masks, too."""
        return any(output.activation is not None for output in self.outputs.values()) or bool(self.masks)


@dataclass(frozen=True, eq=False, kw_only=True)
class BaseProgram(Elaborated, ABC):
    """A compiled spec, as what reads data, trains and draws sees it; `graphspec.Program` is the only one."""

    parsed: Document
    """The spec as it was read, with the place of each key and value; `--set` and `--preset` are applied."""
    path: Path | None
    """The file of the spec, if it has one."""
    sources: Mapping[str, str]
    """The text of every file that was read, by the name diagnostics call it."""
    allow: tuple[str, ...] = ()
    """The Python packages that custom modules may be imported from."""
    allow_url: bool = False
    """Whether the spec may name files in object storage, and where trackers write."""

    @property
    def folder(self) -> Path | None:
        """The directory of the spec; None without a file."""
        return self.path.parent if self.path is not None else None

    @property
    def document(self) -> Mapping[str, Any]:
        """The spec as plain data, with the values of its params, and with `--set` and `--preset` applied."""
        value: Mapping[str, Any] = self.parsed.value
        return value

    @property
    def params(self) -> Mapping[str, Any]:
        """The params of the file with their values; one that is computed from others is its expression."""
        written = self.document.get("params")
        return dict(written) if isinstance(written, dict) else {}

    def span(self, path: tuple[str | int, ...], key: bool = False) -> Span:
        """The place in the spec of the value at a path of keys, or of its key; else of the nearest parent.
        Raises `SpecError` (wrong-type).
        """
        need(key=key)
        if not isinstance(path, tuple | list) or not all(isinstance(step, str | int) for step in path):
            message = f"`path` is {brief(path)}, but must be a tuple of names and numbers"
            raise fail("wrong-type", message, "write ('nodes', 'stem', 'units')")
        return self.parsed.key(path) if key else self.parsed.span(path)

    def with_batch_size(self, size: int) -> Self:
        """The same program with another `train.batch_size`."""
        need(batch_size=size)
        section = {**(self.document.get("train") or {}), "batch_size": size}
        parsed = replace(self.parsed, value={**self.document, "train": section})
        training = self.training.model_copy(update={"batch_size": size})
        return replace(self, parsed=parsed, declared_training=training)

    @property
    @abstractmethod
    def resolved(self) -> str: ...

    @property
    @abstractmethod
    def emitted(self) -> Emitted: ...

    @abstractmethod
    def place_of_line(self, file: str, line: int) -> Span | None: ...

    @property
    def source(self) -> str:
        """The emitted Python source: a file that needs only torch."""
        return self.emitted.source

    @abstractmethod
    def summary(self) -> Summary: ...

    @abstractmethod
    def module(
        self,
        device: str = "cpu",
        seed: int = 0,
        weights: str | Path | Mapping[str, Any] | None = None,
        *,
        inplace: bool = True,
        exporting: bool = False,
        fixed: bool = True,
    ) -> nn.Module: ...

    @abstractmethod
    def augmentations(self, more: Mapping[str, int] | None = None) -> dict[str, nn.Module]: ...

    @abstractmethod
    def trackers(self, names: Iterable[str]) -> dict[str, nn.Module]: ...

    @abstractmethod
    def example_inputs(
        self, batch_size: int = 2, sizes: Mapping[str, int] | None = None, seed: int = 0
    ) -> dict[str, Any]: ...

    @abstractmethod
    def prove(self, module: nn.Module) -> None: ...

    @abstractmethod
    def adapt(self, module: nn.Module, batches: Callable[[], Iterable[Mapping[str, Any]]]) -> list[str]: ...
