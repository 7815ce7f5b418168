"""The page that tries a run by hand, in a real browser."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from graphspec.serve.app import Server
from graphspec.serve.options import ServeOptions
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


def answered(page: Page) -> tuple[str, str]:
    """Presses the button: how the answer looks, and what it says."""
    page.evaluate("at('answer').textContent = ''")
    page.evaluate("document.querySelector('button').click()")
    text = until(page, "at('answer').textContent")
    return page.evaluate("at('answer').className"), text


BRIGHTNESSES = """
(selector => {
  const brightness = color => {
    const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map(each => (each / 255) ** 2.2);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const canvas = document.createElement("p");
  canvas.style.background = "Canvas";
  document.body.append(canvas);
  const behind = element => {
    const color = getComputedStyle(element || canvas).backgroundColor;
    return element && color === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : color;
  };
  return [...document.querySelectorAll(selector)].map(each =>
    [getComputedStyle(each).color, behind(each)].map(brightness));
})
"""


def contrasts(page: Page, selector: str, dark: bool = False) -> bool:
    """Whether texts are read without effort: 4.5 to 1, as WCAG 2.2 asks for (1.4.3, level AA)."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.call("Emulation.setEmulatedMedia", features=[scheme])
    found = page.evaluate(f"{BRIGHTNESSES}({json.dumps(selector)})")
    assert len(found) > 3
    return all((max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5 for pair in found)


def test_a_row_is_typed_and_answered(tmp_path: Path) -> None:
    run = everything.train(tmp_path)
    row = everything.row(random.Random(1)) | {"id": "this one"}
    row["plain"] = [row.pop("plain_0"), row.pop("plain_1")]
    server = Server({name: Served(name, run.path) for name in ("first", "second")}, ServeOptions())
    with in_thread(server) as port, browser(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{port}/")
        fields = until(page, "[...document.querySelectorAll('#fields input')].map(each => each.name)")
        assert {*fields} == row.keys()
        assert page.evaluate("[...at('run').options].map(each => each.value)") == ["first", "second"]
        for name, value in row.items():
            typed(page, name, value)
        looks, found = answered(page)
        assert looks == "" and same(json.loads(found), expected(run, row))
        page.evaluate("document.querySelector('[name=\"day\"]').value = '30 March'")
        looks, found = answered(page)
        message, help = found.splitlines()  # as `predict` says it, not as JSON
        assert looks == "wrong" and "30 March" in message and help.startswith("help: ")
        assert contrasts(page, "a, input, pre") and contrasts(page, "a, input, pre", dark=True)
        assert [each for each in page.errors if "422" not in each] == []
        page.open(f"http://127.0.0.1:{port}/", width=390)
        until(page, "document.querySelectorAll('#fields input').length")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
