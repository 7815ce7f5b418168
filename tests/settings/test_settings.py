"""Reading settings: what is said of a value that does not fit."""

from __future__ import annotations

import pytest

from graphspec.settings import filled


@pytest.mark.parametrize(("given", "number"), [(0.3, "0.3"), (True, "0.1"), ("much", "0.1"), (None, "0.1")])
def test_a_remedy_has_the_number_that_was_given(given: object, number: str) -> None:
    assert filled("write `rate: VALUE:0.1`", given) == f"write `rate: {number}`"
