"""Steps as CUDA graphs: the numbers of the code that they were recorded from, or that code itself."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

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
    with torch.random.fork_rng(devices=[]):
        made = [each.detach().clone() for each in run([each.clone() for each in arguments])]

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


@pytest.mark.parametrize("one", [torch.tensor(float("nan")), torch.zeros(2, 3).t(), 3, None])
def test_bits_are_compared(one: Any) -> None:
    other = one.clone() if isinstance(one, Tensor) else one
    assert cuda_graphs._are_same([one], [other])
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
