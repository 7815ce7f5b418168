"""Packs the fastest form of a run: a server for a container, and a model of MLflow."""

from __future__ import annotations

import json
import platform
import runpy
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from graphspec.files.folder import Folder
from graphspec.files.stamps import stamped
from graphspec.version import MADE_BY, __version__

DOCKERFILE, SERVER, REQUIREMENTS = "Dockerfile", "server.py", "requirements.txt"
MLMODEL, LOADER, EXAMPLE, ENVIRONMENT = "MLmodel", "loader.py", "input_example.json", "python_env.yaml"
UNSTAMPED = (REQUIREMENTS, MLMODEL, EXAMPLE, ENVIRONMENT)
"""Files that hold no checksum."""
USER, PORT = 10001, 8000
PACKAGES = {
    "torch": ("torch", "safetensors", "numpy"),
    "onnxruntime": ("onnxruntime", "numpy"),
    "openvino": ("openvino", "numpy"),
}
"""The packages that the Python of each engine imports."""
DOCKER = """\
# {made}
FROM python:{python}-slim
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /model
COPY {requirements} ./
RUN pip install --no-cache-dir -r {requirements} && useradd --uid {user} --no-create-home model
COPY {files} ./
USER {user}
EXPOSE {port}
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \\
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/health', timeout=4)"]
CMD ["python", "{server}"]
"""
FILLED = """\
def filled(values, kind):
    if kind != "object":
        return values
    return [MISSING if value is None or value != value else value for value in values]
"""
"""Code: texts that are null or NaN as the text that means a missing value."""
SERVE = """\
# {made}
# POST /predict {{"inputs": {{NAME: [a value for each row]}}}} -> {{"outputs": {{NAME: [...]}}}}
# POST /predict [{{NAME: a value}}, one for each row] -> {{"predictions": [{{NAME: ...}}]}}; GET /health
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from predict import predict

KINDS = {kinds}
MISSING = {missing!r}
MOST = 64 * 2**20


{filled}

def columns_of(rows):
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError('give rows, [{{NAME: a value}}], or {{"inputs": {{NAME: [a value for each row]}}}}')
    return {{name: [row[name] for row in rows] for name in KINDS}}


class Handler(BaseHTTPRequestHandler):
    timeout = 60

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(*((200, {{"ok": True}}) if self.path == "/health" else (404, {{"error": "GET /health"}})))

    def do_POST(self):
        size = int(self.headers.get("Content-Length") or 0)
        if self.path != "/predict" or not 0 < size <= MOST:
            return self.answer(404 if self.path != "/predict" else 413, {{"error": "POST /predict"}})
        try:
            body = json.loads(self.rfile.read(size))
            by_rows = not (isinstance(body, dict) and "inputs" in body)
            given = columns_of(body if isinstance(body, list) else [body]) if by_rows else body["inputs"]
            arrays = {{name: np.asarray(filled(given[name], kind), kind) for name, kind in KINDS.items()}}
            found = predict(arrays)
        except KeyError as error:
            return self.answer(422, {{"error": f"there is no {{error}}; inputs: {{', '.join(KINDS)}}"}})
        except Exception as error:
            return self.answer(422, {{"error": str(error)[:500]}})
        found = {{name: np.asarray(value).tolist() for name, value in found.items()}}
        rows = [dict(zip(found, values)) for values in zip(*found.values())]
        self.answer(200, {{"predictions": rows}} if by_rows else {{"outputs": found}})

    def log_message(self, *words):
        pass


if __name__ == "__main__":
    place = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", {port}))
    ThreadingHTTPServer(place, Handler).serve_forever()
"""
LOAD = """\
# {made}
import numpy as np
from predict import predict

KINDS = {kinds}
MISSING = {missing!r}


{filled}

class Model:
    def predict(self, model_input, params=None):
        given = {{name: np.asarray(filled(model_input[name], kind), kind) for name, kind in KINDS.items()}}
        return predict(given)


def _load_pyfunc(path):
    return Model()
"""


def requirements(engine: str, extended: bool) -> list[str]:
    """The packages of an engine, each with the version that is installed here."""
    names = [*PACKAGES[engine], *(["onnxruntime-extensions"] if extended else [])]
    pinned = []
    for name in names:
        try:
            pinned.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:  # it is built from source here
            pinned.append(name)
    return pinned


def container(
    target: Folder, needs: list[str], files: tuple[str, ...], example: Mapping[str, Any], missing: str | None
) -> list[str]:
    """Writes what makes a container of a folder with `predict.py` and the `files` of its model; of columns of
    text, `missing` means that there is none.
    """
    made = f"{MADE_BY} {__version__}"
    target.text(REQUIREMENTS, "".join(f"{line}\n" for line in needs))
    target.text(
        SERVER,
        stamped(SERVE.format(made=made, kinds=_kinds(example), missing=missing, filled=FILLED, port=PORT)),
    )
    text = DOCKER.format(
        made=made,
        python=platform.python_version(),
        requirements=REQUIREMENTS,
        files=" ".join((*files, SERVER)),
        user=USER,
        port=PORT,
        server=SERVER,
    )
    target.text(DOCKERFILE, stamped(text))
    return [DOCKERFILE, SERVER, REQUIREMENTS]


def mlflow_model(
    target: Folder, needs: list[str], name: str, example: Mapping[str, Any], missing: str | None
) -> list[str]:
    """Writes what makes a model of MLflow of such a folder: `mlflow.pyfunc.load_model(FOLDER)` loads it."""
    from graphspec.source.writing import write

    made = f"{MADE_BY} {__version__}"
    target.text(REQUIREMENTS, "".join(f"{line}\n" for line in needs))
    target.text(
        LOADER, stamped(LOAD.format(made=made, kinds=_kinds(example), missing=missing, filled=FILLED))
    )
    environment = {"python": platform.python_version(), "dependencies": [f"-r {REQUIREMENTS}"]}
    target.text(ENVIRONMENT, write({**environment, "build_dependencies": ["pip"]}))
    flat = all(array.ndim == 1 for array in example.values())
    about: dict[str, Any] = {"artifact_path": EXAMPLE}
    shown = {key: array.tolist() for key, array in example.items()}
    if flat:
        about |= {"type": "dataframe", "pandas_orient": "split"}
        rows = [list(row) for row in zip(*shown.values(), strict=True)]
        target.text(EXAMPLE, json.dumps({"columns": list(shown), "data": rows}))
    else:
        about["type"] = "ndarray"
        target.text(EXAMPLE, json.dumps(shown))
    found = _predicted(target.path, example)
    signature = {
        "inputs": json.dumps([(_column if flat else _tensor)(key, array) for key, array in example.items()]),
        "outputs": json.dumps([_tensor(key, np.asarray(array)) for key, array in found.items()]),
        "params": None,
    }
    flavor = {"loader_module": LOADER.removesuffix(".py"), "code": ".", "env": {"virtualenv": ENVIRONMENT}}
    flavor["python_version"] = platform.python_version()
    written = {
        "flavors": {"python_function": flavor},
        "model_uuid": uuid4().hex,
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        "metadata": {"graphspec": __version__, "name": name},
        "saved_input_example_info": about,
        "signature": signature,
    }
    target.text(MLMODEL, f"# {made}\n" + write(written))
    return [MLMODEL, LOADER, EXAMPLE, ENVIRONMENT, REQUIREMENTS]


def _predicted(folder: Path, example: Mapping[str, Any]) -> dict[str, Any]:
    """The predictions of a folder's Python for the example."""
    other = sys.modules.pop("model", None)
    sys.path.insert(0, str(folder))
    try:
        found: dict[str, Any] = runpy.run_path(str(folder / "predict.py"))["predict"](dict(example))
        return found
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("model", None)
        if other is not None:
            sys.modules["model"] = other


def _kinds(example: Mapping[str, Any]) -> str:
    return repr({name: array.dtype.name.replace("str", "object") for name, array in example.items()})


def _column(name: str, array: np.ndarray) -> dict[str, Any]:
    """A column of the signature: MLflow refuses integers where it is told of doubles."""
    return {"name": name, "type": "any" if array.dtype.kind in "biuf" else "string", "required": True}


def _tensor(name: str, array: np.ndarray) -> dict[str, Any]:
    kind = array.dtype.name if array.dtype.kind in "biuf" else "object"
    return {"name": name, "type": "tensor", "tensor-spec": {"dtype": kind, "shape": [-1, *array.shape[1:]]}}
