"""The site builds: no link of a page leads nowhere, pages that are made are there, and each fits a screen."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import ROOT
from tests.browser import CHROMIUM, browser

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(find_spec("material") is None, reason="the extra `docs` is not installed"),
]
WIDTHS = (1280, 390)
"""Of a window, and of a phone, in pixels."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_without_a_warning(site: Path) -> None:
    assert "hidden-softmax" in (site / "codes.html").read_text()
    layers = (site / "layers.html").read_text()
    assert "MultiHeadAttention" in layers and "float32[batch, 7] -&gt; float32[batch, 5]" in layers
    assert "25,636,712 parameters" in (site / "gallery.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_every_page_fits_a_window_and_a_phone(site: Path, tmp_path: Path) -> None:
    """What is wide, such as tables and code, scrolls by itself; and nothing is missing."""
    wide = "[...document.querySelectorAll('article *')].filter((each) => !each.closest('pre, .highlight, "
    wide += ".md-typeset__scrollwrap') && each.getBoundingClientRect().right > innerWidth + 1).length"
    pages = [path for path in sorted(site.rglob("*.html")) if path.name != "404.html"]  # of a server alone
    assert len(pages) > 20
    with browser(tmp_path / "profile") as page:
        for path in pages:
            for width in WIDTHS:
                page.open(path, width=width)
                over = page.evaluate("document.documentElement.scrollWidth > innerWidth")
                found = (over, page.evaluate(wide), page.errors)
                assert found == (False, 0, []), (path.name, width)
