"""The recipes of CONTRIBUTING hold: what they say, and nothing else, adds one of each kind to the package."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import graphspec
from tests import ROOT, processes

BLOCK = re.compile(
    r"^```\w+\n# (\S+), (new|at the end|(?:before|after): [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
KINDS = ("layer", "op", "loss", "metric", "optimizer", "callback", "encoder", "key", "command", "diagnostic")

SPEC = """\
inputs:
  word: {shape: [1]}
  x: {shape: [2]}
nodes:
  kept:  {layer: Clamped, from: x, high: 0.5}
  third: {op: cube}
  gone:  {layer: Dense, units: 7, skip: true}
  both:  {merge: concatenate, from: [gone, word]}
  y:     {layer: Dense, units: 1, kernel_initializer: zeros}
outputs:
  y: {loss: fourth_power, metrics: [{name: within, tolerance: 0.25}]}
data:
  train: rows.csv
  features:
    word: {encode: length}
train:
  optimizer: {name: sign_sgd, learning_rate: 0.25}
  epochs: 5
  callbacks: {goal: {monitor: within, value: 0.5}}
"""
ROWS = "word,x_0,x_1,y\nab,1,2,0\nabc,3,4,0\nabcd,5,6,9\n"
SCRIPT = """
import contextlib, io, json, sys
for name in [name for name in sys.modules if name.split(".")[0] in ("graphspec", "tests")]:
    del sys.modules[name]
root = sys.argv.pop(1)
sys.path += [root, root + "/docs"]
import graphspec
from graphspec.cli.app import app

def run(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        try:
            app([*arguments, "--json"], standalone_mode=False)
        except BaseException as error:
            if not stdout.getvalue():
                raise
    return json.loads(stdout.getvalue())

entries = run("layers")["layers"]
kinds = {entry["name"]: entry["kind"] for entry in entries}
found = {name: kinds[name] for name in sys.argv[1:]}
found["check"] = run("check", "bad.yaml")["files"][0]["diagnostics"]
found["explain"] = run("explain", "rate-zero")["codes"][0]["mended"]
found["size"] = run("size", "spec.yaml")
found["schema"] = "skip" in run("schema")["schema"]["$defs"]["node"]["properties"]
found["source"] = graphspec.compile("spec.yaml").source
found["train"] = run("train", "spec.yaml", "--run-dir", "run", "--progress", "none")
found["example"] = next(entry["example"] for entry in entries if entry["name"] == "goal")
found["place"] = graphspec.__file__
found["predict"] = run("predict", "run", "--data", "rows.csv", "-o", "predicted.csv")["rows"]
found["report"] = run("report", "run", "--data", "rows.csv", "-o", "report.html")["examples"]
found["build"] = run("build", "run", "-o", "model.onnx")
from pathlib import Path
from graphspec.serve.served import Served
served = Served("run", Path("run"))
found["served"] = served.predict([(0, {"word": "abc", "x_0": 3, "x_1": 4})])

import importlib.util
import tests
oracle = importlib.util.spec_from_file_location("tests.oracle", "tests/oracle.py")
tests.oracle = sys.modules["tests.oracle"] = importlib.util.module_from_spec(oracle)
oracle.loader.exec_module(tests.oracle)
from tests.contract.test_contract import exact
from tests.layer_contract import Case
from graphspec.contract import REGISTRY

with tests.oracle.double_precision():
    for cls in (REGISTRY["layer"]["Clamped"], REGISTRY["op"]["cube"]):
        for example in cls.examples:
            case = Case(cls, example)
            for check in exact(case):
                check(case)

from tests.language import test_glossary, test_json_schema
import tables

test_json_schema.test_every_key_has_a_description()
test_json_schema.test_no_description_is_cut_off()
test_glossary.test_every_key_has_a_sentence()
test_glossary.test_the_glossary_has_the_words_that_classes_share_and_no_others()
for table in tables.tables().values():
    table()
print(json.dumps(found))
"""
"""For a process that has imported what graphspec needs, and graphspec itself from elsewhere. What is true of
every key is true of those that are new: these tests run on the copy, too.
"""


def apply(file: Path, where: str, text: str) -> None:
    """One block of a recipe."""
    if where == "new":
        assert not file.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return
    before = file.read_text(encoding="utf-8")
    place, _, line = where.partition(": ")
    if place == "at the end":
        after = before + text
    else:
        assert before.count(f"\n{line}\n") == 1, f"{file}: {line}"
        at = before.index(f"\n{line}\n") + 1 + (len(line) + 1 if place == "after" else 0)
        after = before[:at] + text + before[at:]
    file.write_text(after, encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package to which each recipe was applied."""
    source = Path(graphspec.__file__).parent
    shutil.copytree(source, tmp_path / "graphspec")
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "oracle.py", tmp_path / "tests")
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## Recipes\n")[1].split("\n## ")[0]
    recipes = dict(re.findall(r"^### Add an? (\w+).*?\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
    assert tuple(recipes) == KINDS
    for recipe in recipes.values():
        blocks = BLOCK.findall(recipe)
        assert len(blocks) == recipe.count("\n```") // 2 and blocks
        for file, where, code in blocks:
            apply(tmp_path / file, where, code)
    return tmp_path


def test_the_recipes_add_one_of_each(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (tree / "rows.csv").write_text(ROWS, encoding="utf-8")
    shutil.copy(tree / "tests" / "bad" / "rate-zero.yaml", tree / "bad.yaml")
    names = ["Clamped", "cube", "fourth_power", "within", "sign_sgd", "goal", "length", "skip"]
    monkeypatch.chdir(tree)
    done = processes.run(["-c", SCRIPT, str(ROOT), *names])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["place"].startswith(str(tree))
    kinds = ["layer", "op", "loss", "metric", "optimizer", "callback", "encoder", "key of a node"]
    assert [found[name] for name in names] == kinds
    assert [(each["code"], each["line"]) for each in found["check"]] == [("rate-zero", 4)]
    assert "rate: 0.1" in found["explain"]
    assert found["size"] == {"ok": True, "version": 1, "weights": 4} and found["schema"]
    assert ".clamp(0.0, 0.5) ** 3" in found["source"] and "nn.Linear(3, 1)" in found["source"]
    assert found["example"] == "train: {callbacks: {goal: {value: ...}}}"
    trained = found["train"]
    assert trained["epochs"] == 1 and trained["history"]["within"] == [pytest.approx(2 / 3)]
    assert trained["history"]["loss"] == [pytest.approx(9**4 / 3)]
    assert (found["predict"], found["report"], found["served"]) == (3, 3, [{"y": 1.0625}])
    assert found["build"]["ok"] and "word" in found["build"]["arrays"]
