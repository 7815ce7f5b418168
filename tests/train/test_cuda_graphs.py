"""Steps as CUDA graphs: the numbers of the code that they were recorded from, or that code itself."""

import copy
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from graphspec.train import compiled, cuda_graphs, inductor
from graphspec.train.cuda_graphs import CudaGraph
from graphspec.train.inductor import GeneratedCode
from tests.train.test_further_steps import STEPS, assert_same, counted, one_by_one, place, trained

__all__ = ["counted", "place"]
GIVEN = (1, 3)
"""The places of what differs from call to call: an input, and the learning rate."""


class Step:
    """A step as generated code: it moves a weight and what is remembered of it, and draws."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, taken: list[Tensor]) -> Sequence[Tensor]:
        self.calls += 1
        weight, x, moments, rate = taken
        taken.clear()
        noisy = x * (torch.rand_like(x) > 0.3)
        loss = (noisy * weight).sum() ** 2
        moments.mul_(0.9).add_(noisy)
        weight.sub_(rate * moments)
        return loss, noisy


def state() -> list[Tensor]:
    torch.manual_seed(3)
    return [torch.linspace(0, 1, 4), torch.zeros(4)]


def steps(run: Callable[[list[Any]], Sequence[Tensor]], held: list[Tensor]) -> list[Tensor]:
    """What five steps return; their inputs are written over meanwhile."""
    x, rate, found = torch.zeros(4), torch.tensor(0.0), list[Tensor]()
    for number in range(5):
        x.copy_(torch.arange(1, 5) + number)
        rate.fill_(0.1 / (1 + number))
        found.extend(run([held[0], x, held[1], rate]))
    return [*found, *held, torch.rand(2)]


def same(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


def recorded(run: Any, arguments: list[Tensor], device: torch.device) -> tuple[Callable[[], None], Any]:
    """As a CUDA graph is: recording computes nothing, and each call writes results over the last ones."""
    assert cuda_graphs._RECORDING.locked(), "a process can record one at a time"
    with torch.random.fork_rng(devices=[]):
        made = [each.detach().clone() for each in run(copy.deepcopy(arguments))]

    def launch() -> None:
        for memory, value in zip(made, run([*arguments]), strict=True):
            memory.copy_(value)

    return launch, made


def forgetting(run: Any, arguments: list[Tensor], device: torch.device) -> Any:
    """A graph that lacks what was not computed on the GPU."""
    alone = arguments[2].clone()
    return recorded(run, [*arguments[:2], alone, arguments[3]], device)


def constant(run: Any, arguments: list[Tensor], device: torch.device) -> Any:
    """One that returns what it did when it was recorded."""
    launch, made = recorded(run, arguments, device)
    kept = [each.clone() for each in made]
    return launch, kept


def undrawn(run: Any, arguments: list[Tensor], device: torch.device) -> Any:
    """One that leaves the generator as it was."""
    launch, made = recorded(run, arguments, device)

    def alone() -> None:
        with torch.random.fork_rng(devices=[]):
            launch()

    return alone, made


def failing(run: Any, arguments: list[Tensor], device: torch.device) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """What records, without a card."""
    monkeypatch.setattr(cuda_graphs, "recorded", recorded)
    monkeypatch.setattr(cuda_graphs, "has_memory", lambda device: True)
    waits(monkeypatch)


def waits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The modes that torch is asked for, to find what waits for the device."""
    modes: list[Any] = [0]
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    return modes


@torch.no_grad()
def test_a_graph_is_replayed_with_the_numbers_of_the_code(stand_in: None) -> None:
    code = Step()
    expected = steps(Step(), state())
    assert same(steps(CudaGraph(code, GIVEN), state()), expected)
    assert code.calls == 1 + 1 + 1 + 4  # the first, recorded, to prove it, and replayed


@torch.no_grad()
@pytest.mark.parametrize("wrong", [forgetting, constant, undrawn, failing])
def test_a_graph_with_other_numbers_is_not_used(
    wrong: Any, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "recorded", wrong)
    code, held = Step(), state()
    assert same(steps(CudaGraph(code, GIVEN), held), steps(Step(), state()))
    assert code.calls == 5 + (0 if wrong is failing else 2)  # recorded, and replayed once


@torch.no_grad()
def test_no_graph_is_recorded_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "recorded", None)
    monkeypatch.setattr(cuda_graphs, "has_memory", lambda device: False)
    waits(monkeypatch)
    assert same(steps(CudaGraph(Step(), GIVEN), state()), steps(Step(), state()))


@torch.no_grad()
def test_weights_in_other_memory_are_recorded_again(stand_in: None) -> None:
    graph, found = CudaGraph(Step(), GIVEN), []
    for run in (Step(), graph):
        held = state()
        first = steps(run, held)
        held[0].data = held[0].clone()
        found.append([*first, *steps(run, held)])
    assert same(*found)


@torch.no_grad()
@pytest.mark.parametrize("error", [None, ValueError])
def test_a_step_that_waits_for_the_device_is_not_recorded(
    stand_in: None, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    """Recording it would fail, and leave torch's allocator as it is while it records."""
    monkeypatch.setattr(cuda_graphs, "recorded", None)
    modes = waits(monkeypatch)

    def waiting(taken: list[Tensor]) -> Sequence[Tensor]:
        if modes[-1] == "warn":
            warnings.warn(cuda_graphs.WAITS, stacklevel=1)
        if error is not None:
            raise error
        return Step()(taken)

    with warnings.catch_warnings(), pytest.raises(error) if error else nullcontext():
        warnings.simplefilter("ignore")
        assert same(steps(CudaGraph(waiting, GIVEN), state()), steps(Step(), state()))
    assert modes == [0, "warn", 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_torch_warns_of_what_waits_for_the_device() -> None:
    x = torch.ones(2, device="cuda")
    assert cuda_graphs.watched(lambda taken: [taken[0].cpu()], [x])[1]
    assert not cuda_graphs.watched(lambda taken: [taken[0] + 1], [x])[1]


@torch.no_grad()
def test_inputs_with_gaps_are_recorded_as_they_lie(stand_in: None) -> None:
    """Generated code reads by the strides that it was compiled for."""
    calls: list[int] = []

    def code(taken: list[Tensor]) -> Sequence[Tensor]:
        calls.append(len(taken))
        return (taken[1] + taken[0].as_strided((4,), (2,)),)

    graph, weight = CudaGraph(code, (0,)), torch.zeros(4)
    for number in range(4):
        x = torch.arange(8.0).add(number)[::2]
        assert torch.equal(graph([x, weight])[0], torch.tensor([0.0, 2, 4, 6]) + number)
    assert graph._is_proved and len(calls) == 1 + 1 + 1 + 3


def test_only_tensors_of_one_gpu_make_a_graph() -> None:
    """A number would stay what it was when the graph was recorded."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        first, other = (torch.empty(2, device=device) for device in ("cuda:0", "cuda:1"))
        assert cuda_graphs.are_on_one_gpu([first, first + 1])
        for odd in (other, torch.empty(2), 3, None):
            assert not cuda_graphs.are_on_one_gpu([first, odd])
    assert not cuda_graphs.are_on_one_gpu([torch.empty(2)])


@pytest.mark.parametrize("one", [torch.tensor(float("nan")), torch.zeros(2, 3).t(), torch.ones(0)])
def test_bits_are_compared(one: Tensor) -> None:
    assert cuda_graphs._are_same([one], [one.clone()])
    assert not cuda_graphs._are_same([torch.tensor(0.0)], [torch.tensor(-0.0)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(
    torch.__version__ < compiled.WHOLE_STEPS, reason=f"torch {torch.__version__} compiles no whole steps"
)
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.parity)])
def test_a_training_by_graphs_is_that_of_single_steps(
    place: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int], stand_in: None, backend: str
) -> None:
    """Weights, statistics, averages, what Adam remembers, what dropout draws, and all of the history."""
    monkeypatch.setattr(compiled, "BACKEND", backend)
    monkeypatch.setattr(inductor, "are_on_one_gpu", lambda tensors: True)
    if backend == "aot_eager":  # which writes no code
        monkeypatch.setattr(GeneratedCode, "repeats", _repeats)
    expected = one_by_one(place, monkeypatch)
    graphs = noted(monkeypatch)
    assert_same(trained(place, "by-graphs"), expected)
    assert len(counted) == STEPS - 7
    assert [graph._is_proved for graph in graphs] == [True]


def _repeats(self: GeneratedCode, places: Sequence[int]) -> CudaGraph:
    self._graph = self._graph or CudaGraph(self._within_autograd, places)
    return self._graph


def noted(monkeypatch: pytest.MonkeyPatch) -> list[CudaGraph]:
    """The graphs that are proved from now on."""
    graphs, proved = list[CudaGraph](), CudaGraph._proved

    def noting(self: CudaGraph, *arguments: Any) -> Any:
        graphs.append(self)
        return proved(self, *arguments)

    monkeypatch.setattr(CudaGraph, "_proved", noting)
    return graphs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_training_on_a_gpu_by_graphs_is_that_of_single_steps(
    place: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int]
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    monkeypatch.setattr("tests.train.test_further_steps.DEVICE", "cuda")
    expected = one_by_one(place, monkeypatch)
    graphs = noted(monkeypatch)
    assert_same(trained(place, "by-graphs"), expected)
    assert len(counted) == STEPS - 7
    assert [graph._is_proved for graph in graphs] == [True]
