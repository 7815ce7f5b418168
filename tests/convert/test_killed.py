"""Imports that are killed: the files of a model belong together, and the next import goes on."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import processes

# Forks of one process that has imported torch: each is killed at its Nth change of the folder.
MOMENTS = """
import json, os, shutil, signal, sys
from pathlib import Path
import torch
from graphspec.convert import Imported
from graphspec.cli.importing import _write
import graphspec.convert.weights
from tests.killing import forked

FOLDER = Path("models")

def model(text, value):
    return Imported("m", text, None, {"w": torch.full((3,), value)}, {})

def written(force, moment=None):
    def run():
        try:
            _write(model("new", 2.0), FOLDER, force)
        except BaseException:
            return 1
        return 0
    return forked(run, "models", moment)

def files():
    return {str(p.relative_to(FOLDER)): p.read_bytes().hex() for p in FOLDER.rglob("*") if p.is_file()}

force, found = sys.argv[1] == "old", []
def begin():
    shutil.rmtree(FOLDER, ignore_errors=True)
    if force:
        _write(model("old", 1.0), FOLDER, False)
begin()
states = [files() if force else {}]
for moment in range(1, 1000):
    begin()
    code = written(force, moment)
    if code != -signal.SIGKILL:
        break
    left = files()
    found.append([left, written(force), files()])
states.append(files())
print(json.dumps([code, states, found]))
"""


@pytest.mark.skipif(os.name != "posix", reason="processes are forked")
@pytest.mark.parametrize("before", ["old", pytest.param("nothing", marks=pytest.mark.parity)])
def test_an_import_that_is_killed_at_any_change_goes_on(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = processes.run(["-c", MOMENTS, before])
    assert done.returncode == 0, done.stderr
    code, (old, new), found = json.loads(done.stdout)
    assert code == 0 and set(new) == {"m.yaml", "m.safetensors"} and len(found) > 5
    for left, again, after in found:
        seen: dict[str, Any] = {name: text for name, text in left.items() if name[0] != "."}
        assert "m.yaml" not in seen or seen in (old, new), "a spec stands beside the weights of another"
        assert after == new
        assert again == 0 or seen == new, "what was written whole is not written again without --force"
