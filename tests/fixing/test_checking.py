"""A check finds what is wrong in the sections beside the graph, too."""

from __future__ import annotations

import pytest

from graphspec.diagnostics import Diagnostics
from graphspec.fixing.checking import check_spec_text

SPEC = """\
inputs: {x: {shape: [4]}}
nodes: {y: {layer: Dense, units: 2}}
outputs: {y: {loss: mse}}
"""


@pytest.mark.parametrize(
    ("section", "code"),
    [
        ("train: {freeze: ['y.*']}", "nothing-to-train"),
        ("tune: {objective: loss, search: {nodes.y.unit: {choice: [1, 2]}}}", "unknown-key"),
        ("data: {train: nothing.csv}", "data-missing"),
    ],
)
def test_a_section_is_checked_where_there_is_one(section: str, code: str) -> None:
    for text, codes in ((SPEC, []), (SPEC + section, [code])):
        found = Diagnostics()
        checked = check_spec_text(text, "spec.yaml", None, found, {})
        assert checked.document is not None and checked.program is not None and checked.body is not None
        assert [each.code for each in found] == codes
