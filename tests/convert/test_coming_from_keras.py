"""The page for those who come from Keras is what happens."""

import re
from pathlib import Path
from typing import Any

import keras
import pytest
import torch
from typer.testing import CliRunner

from graphspec.cli.app import app
from tests import ROOT
from tests.keras_saved import KERAS_WARNS

pytestmark = KERAS_WARNS

PAGE = (ROOT / "docs" / "coming-from-keras.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session()
    first, second = (code for language, code in BLOCKS if language == "py")
    names: dict[str, Any] = {}
    exec(first, names)
    commands = [code for language, code in BLOCKS if language == "sh"]
    command, *shown = commands[0].splitlines()
    done = CliRunner().invoke(app, command.removeprefix("$ graphspec ").split())
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[:2] == shown[:2]
    assert done.output.splitlines()[2].startswith("equal to Keras to ")
    assert (tmp_path / "specs" / "blocks.yaml").read_text() == next(c for lang, c in BLOCKS if lang == "yaml")
    for line in commands[1].splitlines()[:3]:
        words = line.partition("#")[0].removeprefix("$ graphspec ").split()
        done = CliRunner().invoke(app, [*words, "--force"] if "build" in words else words)
        assert done.exit_code == 0, done.output
    exec(second, names)
    x = torch.randn(2, 32, 32, 3)
    expected = names["model"](x, training=False)
    torch.testing.assert_close(names["module"].eval()(x), expected.detach(), rtol=1e-4, atol=1e-6)
