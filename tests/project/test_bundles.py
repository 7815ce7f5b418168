"""Several cases in one test: all run, and those that fail are named."""

from __future__ import annotations

import random

import pytest

from tests import bundled


def test_all_cases_of_a_bundle_run_and_those_that_fail_are_named() -> None:
    seen: list[tuple[int, float]] = []

    def odd(number: int) -> None:
        seen.append((number, random.random()))
        if number == 4:
            pytest.skip("not this one")
        assert number % 2

    made = bundled(4, "number", [1, 2, 3, 4, 6, 7], ids=lambda value: f"n{value}")(odd)
    (first, last) = (parameter.values[0] for parameter in made.pytestmark[0].args[1])
    with pytest.raises(AssertionError) as one:
        made(first)
    assert [number for number, _ in seen] == [1, 2, 3, 4] and one.value.__notes__ == ["in the case n2"]
    with pytest.raises(AssertionError):
        made(last)
    with pytest.raises(BaseExceptionGroup) as both:
        made([*first, *last])
    assert [error.__notes__[-1] for error in both.value.exceptions] == ["in the case n2", "in the case n6"]
    assert len({drawn for _, drawn in seen}) == 1, "each begins with the same seed"


def test_marks_of_a_case_are_those_of_its_bundle() -> None:
    def any_number(number: int) -> None:
        pass

    cases = [1, pytest.param(2, marks=pytest.mark.parity), 3]
    made = bundled(4, "number", cases)(any_number)
    found = [[*each.values[0]] for each in made.pytestmark[0].args[1]]
    assert [[arguments["number"] for _, arguments in bundle] for bundle in found] == [[1, 3], [2]]
    assert made.pytestmark[0].args[1][1].marks
