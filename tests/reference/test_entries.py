"""Pages of the reference on terminals of several widths."""

from __future__ import annotations

import pytest

from graphspec.reference import codes
from graphspec.reference.layers import find


@pytest.mark.parametrize("columns", [60, 80])
def test_a_page_fits_a_narrow_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = find("LSTM")
    monkeypatch.setenv("COLUMNS", "200")
    wide = entry.text()
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = entry.text()
    assert narrow.split() == wide.split() and narrow != wide
    assert max(map(len, narrow.splitlines())) <= columns < max(map(len, wide.splitlines()))
    meaning = codes.page("data-order").text().partition("For example")[0]
    assert max(map(len, meaning.splitlines())) <= columns
