"""Reading settings: what is said of a value that does not fit."""

from __future__ import annotations

import pytest

from graphspec.diagnostics.collecting import MAX_ERRORS
from graphspec.language.schema import Spec
from graphspec.settings import SettingError, filled, validate


@pytest.mark.parametrize(("given", "number"), [(0.3, "0.3"), (True, "0.1"), ("much", "0.1"), (None, "0.1")])
def test_a_remedy_has_the_number_that_was_given(given: object, number: str) -> None:
    assert filled("write `rate: VALUE:0.1`", given) == f"write `rate: {number}`"


def test_no_more_keys_are_looked_at_than_a_check_shows() -> None:
    """Each gets the nearest of the words that are legal, which takes a while for thousands."""
    written = {"inputs": {}, "outputs": [], "nodes": {}, **{f"key{number}": 1 for number in range(2000)}}
    with pytest.raises(SettingError) as error:
        validate(Spec, written, "a spec")
    assert len(error.value.problems) == MAX_ERRORS + 1
