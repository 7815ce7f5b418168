"""An environment with onnxruntime and numpy alone, and what files of ONNX return there."""

from __future__ import annotations

import atexit
import json
import pickle
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.export.proof import ABSOLUTE, RELATIVE
from graphspec.runs.run import Run
from tests.processes import ENDLESS

INSTALLED = ("onnxruntime", "numpy")
NOT_THERE = ("graphspec", "torch", "onnx", "pyarrow", "pandas", "tokenizers", "pydantic", "yaml")
FILE = """
import pickle, sys
from importlib.util import find_spec
path, given, out, *absent = sys.argv[1:]
assert not [name for name in absent if find_spec(name)]
if path.endswith(".py"):
    import runpy
    predict = runpy.run_path(path)["predict"]
else:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    if find_spec("onnxruntime_extensions"):
        from onnxruntime_extensions import get_library_path
        options.register_custom_ops_library(get_library_path())
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    predict = lambda batch: dict(zip(names, session.run(None, batch)))
with open(given, "rb") as stream:
    batches = pickle.load(stream)
with open(out, "wb") as stream:
    pickle.dump([predict(batch) for batch in batches], stream)
"""


@cache
def python(*more: str) -> Path:
    """The interpreter of an environment of its own, with onnxruntime, numpy and `more` alone."""
    folder = Path(tempfile.mkdtemp(prefix="alone-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=ENDLESS)
    packages = Path(sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})["purelib"])
    for name in (*INSTALLED, *more):
        files = distribution(name).files or ()
        for part in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            (packages / part).symlink_to(Path(str(distribution(name).locate_file(part))))
    return folder / "bin" / "python"


def alone(path: Path, batches: list[dict[str, Any]], folder: Path, *more: str) -> list[dict[str, Any]]:
    """What a file of ONNX, or the `predict` of a file of Python, returns for batches in that environment."""
    (folder / "given").write_bytes(pickle.dumps(batches))
    places = [str(path), str(folder / "given"), str(folder / "found")]
    subprocess.run([python(*more), "-I", "-c", FILE, *places, *NOT_THERE], check=True, timeout=ENDLESS)
    found: list[dict[str, Any]] = pickle.loads((folder / "found").read_bytes())
    return found


def built(run: Run, path: Path, *more: str) -> Any:
    """What `graphspec build RUN -o path` says."""
    done = CliRunner().invoke(app, ["build", str(run.path), "-o", str(path), "--json", *more])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def form_of(path: Path) -> Any:
    """What the metadata of a file say."""
    (about,) = [p.value for p in onnx.load(path).metadata_props if p.key == "graphspec"]
    return json.loads(about)


def assert_equal(found: dict[str, Any], expected: pa.Table, form: Any) -> None:
    """Every row: the same labels, numbers as near as those of any export. Of a sequence, `predict` writes no
    probabilities.
    """
    assert {*found} == {*form["predictions"]}
    for name, key in form["predictions"].items():
        base = key.removesuffix(".probabilities")
        if key in expected.column_names:
            wanted = expected[key].to_pylist()
            if wanted and isinstance(wanted[0], list | str):
                got = [
                    [t for t in row if t] if isinstance(row, list) else row for row in found[name].tolist()
                ]
                assert got == wanted
                continue
            pairs = [(found[name], wanted)]
        elif base != key and pa.types.is_list(expected.schema.field(base).type) and found[name].ndim > 2:
            continue
        else:
            labels = form["classes"].get(base, range(found[name].shape[-1]))
            pairs = [
                (found[name][:, i], expected[f"{base}.{label}"].to_pylist()) for i, label in enumerate(labels)
            ]
        for actual, values in pairs:
            scale = max(1.0, float(np.abs(values).max()))
            np.testing.assert_allclose(actual, np.array(values), RELATIVE, ABSOLUTE * scale)
