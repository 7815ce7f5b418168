"""The page that tries a run by hand, in a real browser."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from graphspec.serve.app import Server
from graphspec.serve.limits import Limits
from graphspec.serve.served import Served
from tests.browser import CHROMIUM, Page, browser
from tests.runs import everything
from tests.serve.serving import expected, in_thread, same

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


def until(page: Page, script: str) -> Any:
    """The value of an expression, once it is none of JavaScript's nothings."""
    end = time.monotonic() + 60
    while not (found := page.evaluate(script)):
        assert time.monotonic() < end, (script, page.errors)
        time.sleep(0.02)
    return found


def typed(page: Page, name: str, value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    page.evaluate(f"document.querySelector('[name={json.dumps(name)}]').focus()")
    page.type(text)


def answered(page: Page) -> tuple[str, Any]:
    """Presses the button: how the answer looks, and what it says."""
    page.evaluate("at('answer').textContent = ''")
    page.evaluate("document.querySelector('button').click()")
    text = until(page, "at('answer').textContent")
    return page.evaluate("at('answer').className"), json.loads(text)


def test_a_row_is_typed_and_answered(tmp_path: Path) -> None:
    run = everything.train(tmp_path)
    row = everything.row(random.Random(1)) | {"id": "this one"}
    row["plain"] = [row.pop("plain_0"), row.pop("plain_1")]
    server = Server({name: Served(name, run.path) for name in ("first", "second")}, Limits())
    with in_thread(server) as port, browser(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{port}/")
        fields = until(page, "[...document.querySelectorAll('#fields input')].map(each => each.name)")
        assert {*fields} == row.keys()
        assert page.evaluate("[...at('run').options].map(each => each.value)") == ["first", "second"]
        for name, value in row.items():
            typed(page, name, value)
        looks, found = answered(page)
        assert looks == "" and same(found, expected(run, row))
        page.evaluate("document.querySelector('[name=\"day\"]').value = '30 March'")
        looks, found = answered(page)
        assert looks == "wrong" and "30 March" in found["diagnostics"][0]["message"]
        assert [each for each in page.errors if "422" not in each] == []
