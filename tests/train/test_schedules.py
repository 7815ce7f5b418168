"""Learning rate schedules beside Keras'."""

from typing import Any

import keras
import pytest

from graphspec.train.config import SCHEDULES
from graphspec.train.schedules import schedule

START = 0.03
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("exponential_decay", "ExponentialDecay", {"decay_steps": 7, "decay_rate": 0.5}),
    ("exponential_decay", "ExponentialDecay", {"decay_steps": 7, "decay_rate": 0.5, "staircase": True}),
    ("inverse_time_decay", "InverseTimeDecay", {"decay_steps": 7, "decay_rate": 0.5}),
    ("inverse_time_decay", "InverseTimeDecay", {"decay_steps": 7, "decay_rate": 0.5, "staircase": True}),
    ("polynomial_decay", "PolynomialDecay", {"decay_steps": 20}),
    ("polynomial_decay", "PolynomialDecay", {"decay_steps": 20, "end_learning_rate": 0.01, "power": 2.0}),
    ("polynomial_decay", "PolynomialDecay", {"decay_steps": 20, "cycle": True}),
    ("cosine_decay", "CosineDecay", {"decay_steps": 30}),
    ("cosine_decay", "CosineDecay", {"decay_steps": 30, "alpha": 0.1}),
    ("cosine_decay_restarts", "CosineDecayRestarts", {"first_decay_steps": 8}),
    ("cosine_decay_restarts", "CosineDecayRestarts", {"first_decay_steps": 8, "t_mul": 1.0, "m_mul": 0.5}),
    ("cosine_decay_restarts", "CosineDecayRestarts", {"first_decay_steps": 8, "m_mul": 0.9, "alpha": 0.2}),
]


@pytest.mark.parametrize(("name", "class_name", "arguments"), CASES)
def test_schedules_are_those_of_keras(name: str, class_name: str, arguments: dict[str, Any]) -> None:
    theirs = getattr(keras.optimizers.schedules, class_name)(START, **arguments)
    ours = schedule(SCHEDULES.read({"name": name, **arguments}), START, 999)
    given = SCHEDULES.read({"name": name, "initial_learning_rate": START, **arguments})
    for step in range(100):
        if name == "cosine_decay_restarts" and step in (24, 56):
            continue  # where Keras' logarithm in float32 may miss the restart
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-8), step
        assert schedule(given, 7.0, 999)(step) == ours(step)


def test_constants_change_after_their_boundary_as_in_keras() -> None:
    values, boundaries = [0.1, 0.01, 0.001], [5, 9]
    theirs = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)
    settings = {"name": "piecewise_constant_decay", "boundaries": boundaries, "values": values}
    ours = schedule(SCHEDULES.read(settings), START, 999)
    assert [ours(step) for step in range(20)] == pytest.approx([float(theirs(step)) for step in range(20)])


@pytest.mark.parametrize("start", [None, 0.001])
def test_a_cosine_warms_up_as_in_keras(start: float | None) -> None:
    theirs = keras.optimizers.schedules.CosineDecay(
        start or 0.0, 30, alpha=0.1, warmup_target=START, warmup_steps=10
    )
    settings = {"name": "cosine_decay", "alpha": 0.1, "warmup_steps": 10, "initial_learning_rate": start}
    ours = schedule(SCHEDULES.read(settings), START, 40)
    for step in range(60):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-8), step


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_schedule_lasts_as_long_as_the_run_and_warms_up_in_a_line(case: int) -> None:
    name, _, arguments = CASES[case]
    key = "first_decay_steps" if name == "cosine_decay_restarts" else "decay_steps"
    free = {k: v for k, v in arguments.items() if k != key}
    plain = schedule(SCHEDULES.read({"name": name, **free, key: 40}), START, 1)
    ours = schedule(SCHEDULES.read({"name": name, **free, "warmup_steps": 10}), START, 50)
    assert [ours(step) for step in range(10)] == pytest.approx([START * step / 10 for step in range(10)])
    assert [ours(step + 10) for step in range(80)] == [plain(step) for step in range(80)]


def test_steps_may_go_back() -> None:
    ours = schedule(SCHEDULES.read({"name": "cosine_decay_restarts", "first_decay_steps": 3}), START, 1)
    forward = [ours(step) for step in range(50)]
    assert [ours(step) for step in reversed(range(50))] == forward[::-1]
