"""The site builds: no link of a page leads nowhere, and pages that are made are there."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import ROOT


@pytest.mark.parity
@pytest.mark.skipif(find_spec("material") is None, reason="the extra `docs` is not installed")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hidden-softmax" in (tmp_path / "codes.html").read_text()
    assert "MultiHeadAttention" in (tmp_path / "layers.html").read_text()
    assert "25,636,712 parameters" in (tmp_path / "gallery.html").read_text()
