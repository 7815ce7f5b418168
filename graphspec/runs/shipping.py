"""A trained model as a folder that runs without graphspec: its fastest form, and lines of Python for it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from graphspec.diagnostics import SpecError
from graphspec.diagnostics.packages import needing
from graphspec.elaborated import returned
from graphspec.emit.code import literal as tree_of
from graphspec.files.folder import Folder, refusing
from graphspec.files.reading import read_text
from graphspec.files.stamps import stamped
from graphspec.runs import packing
from graphspec.runs.engines import SLOWER, TorchEngine
from graphspec.runs.fastest import engine_of
from graphspec.runs.packing import requirements
from graphspec.version import MADE_BY, __version__

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders
    from graphspec.export.columns import ColumnForm
    from graphspec.program import Program
    from graphspec.runs.run import Run

PREDICT, MODEL, SOURCE, WEIGHTS = "predict.py", "model.onnx", "model.py", "model.safetensors"
FILES = (PREDICT, MODEL, SOURCE, WEIGHTS)
CONTAINER = (packing.DOCKERFILE, packing.SERVER, packing.REQUIREMENTS)
MLFLOW = (packing.MLMODEL, packing.LOADER, packing.EXAMPLE, packing.ENVIRONMENT, packing.REQUIREMENTS)
SHOWN = 64
"""Values of an example that are written out; of more, the first in the place of all."""
MARK = f"# {MADE_BY} "
"""How `predict.py` begins: a folder with such a file may be written again."""

ONNX = """\
import numpy as np
import onnxruntime
{extension}
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}{registered}
file = Path(__file__).with_name("model.onnx")
session = onnxruntime.InferenceSession(file, options, disabled_optimizers={slower})


def predict(inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))
"""
OPENVINO = """\
import numpy as np
import openvino

exact = {{"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": {threads}}}
model = openvino.Core().compile_model(Path(__file__).with_name("model.onnx"), "CPU", exact)


def predict(inputs):
    found = model(inputs)
    return {{name: found[place] for place, name in enumerate({outputs})}}
"""
TORCH = """\
import numpy as np
import torch
from model import {class_name}
from safetensors.torch import load_model

torch.set_num_threads({threads})
model = {class_name}().eval()
load_model(model, Path(__file__).with_name("model.safetensors"))


@torch.no_grad()
def predict(inputs):
    found = model(*(torch.from_numpy(inputs[name]) for name in {inputs}))
    found = found if isinstance(found, dict) else {{{output}: found}}
    return {{name: value.numpy() for name, value in found.items()}}
"""
TEXTS = {"onnxruntime": ONNX, "openvino": OPENVINO, "torch": TORCH}


@dataclass(frozen=True, slots=True)
class Shipped:
    """The content of a folder: the engine that its `predict.py` runs, the files, and messages."""

    folder: Path
    engine: str
    files: tuple[str, ...]
    notes: tuple[str, ...]
    form: ColumnForm | None

    def to_json(self) -> dict[str, Any]:
        form = self.form.to_json() if self.form is not None else {}
        return {"folder": str(self.folder), "engine": self.engine, "files": list(self.files), **form}


def ship(
    run: Run, folder: Path, encoders: Encoders | None, container: bool = False, mlflow: bool = False
) -> Shipped:
    """Writes the fastest form of a run whose outputs are those of its module, of what is installed here. With
    `encoders` it reads columns, which onnxruntime alone can. The folder may be that of a container, too, and
    a model of MLflow.

    Raises `SpecError` (package-missing, export-failed, export-differs, run-directory).
    """
    from graphspec.export import example_arrays

    program, module = run.inference()
    base = TorchEngine(run.program, module, torch.device("cpu"))
    try:
        engine, notes = engine_of(run, lambda: base, "auto")
    except SpecError as error:
        if encoders is not None:
            raise
        engine, notes = base, [f"engine: torch, as the others fail: {error.diagnostics[0].message}"]
    name = engine.name
    if encoders is not None and name != "onnxruntime":
        with needing("a file that reads columns", "onnx"):
            import onnxruntime  # noqa: F401
        notes = [
            *notes,
            "engine: onnxruntime, as no other reads columns; `--inputs tensors` reads arrays",
        ]
        name = "onnxruntime"
    target, form = Folder(folder), None
    if name == "torch":
        files = _torch(program, module, target)
    else:
        form = _onnx(run, target, encoders)
        files = [MODEL]
    arrays = example_arrays(run.program, form, encoders)
    example = _example(arrays, form)
    extended = form is not None and bool(form.needs)
    target.text(PREDICT, stamped(_predict(program, base.threads, name, example, extended)))
    files.append(PREDICT)
    needs, model = requirements(name, extended), tuple(files)
    missing = next(iter(program.data.na_values), None) if program.data is not None else None
    if container:
        files += packing.container(target, needs, model, arrays, missing)
    if mlflow:
        files += packing.mlflow_model(target, needs, program.name, arrays, missing)
    return Shipped(folder, name, tuple(dict.fromkeys(files)), tuple(notes), form)


def is_shipped(folder: Path) -> bool:
    """Whether `ship` has written a folder."""
    try:
        return read_text(folder / PREDICT).startswith(MARK)
    except (OSError, UnicodeDecodeError):
        return False


def _torch(program: Program, module: nn.Module, target: Folder) -> list[str]:
    from graphspec.files.tensors import save
    from graphspec.train.files import untied

    target.text(SOURCE, stamped(program.bundle(prove=False)))
    tensors, _ = untied(module.state_dict())
    target.write(WEIGHTS, lambda path: save(path, tensors, {"graphspec": __version__}))
    return [SOURCE, WEIGHTS]


def _onnx(run: Run, target: Folder, encoders: Encoders | None) -> ColumnForm | None:
    from graphspec.export import export

    path = target.file(MODEL)
    with refusing(path):
        exported = export(run.program, "onnx", path, 0, run.state(), encoders)
    return exported.form


def _example(arrays: Mapping[str, np.ndarray], form: ColumnForm | None) -> str:
    """Arrays of one row, as Python."""
    columns = form.columns if form is not None else ()
    texts = (f"{literal(n)}: {_array(a) if n in columns else _zeros(a)}" for n, a in arrays.items())
    return "{" + ", ".join(texts) + "}"


def literal(value: Any) -> str:
    """A value as Python."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return ast.unparse(tree_of(value))


def _zeros(array: np.ndarray) -> str:
    return f"np.zeros({array.shape}, np.{array.dtype.name.replace('bool', 'bool_')})"


def _array(array: np.ndarray) -> str:
    """An array of a row of columns; their texts are objects."""
    kind = "object" if array.dtype == object else f"np.{array.dtype.name}"
    if array.size > SHOWN:
        return f"np.full({array.shape}, {literal(array.reshape(-1)[0].tolist())}, {kind})"
    return f"np.array({literal(array.tolist())}, {kind})"


def _predict(program: Program, threads: int, name: str, example: str, extended: bool) -> str:
    outputs = returned(program.outputs)
    text = TEXTS[name].format(
        threads=threads,
        slower=literal([*SLOWER]),
        outputs=literal(outputs),
        class_name=program.class_name,
        inputs=literal(list(program.inputs)),
        output=literal(outputs[0]),
        extension="from onnxruntime_extensions import get_library_path\n" if extended else "",
        registered="\noptions.register_custom_ops_library(get_library_path())" if extended else "",
    )
    needs = {"torch": "torch and safetensors"}.get(name, name)
    needs += ", onnxruntime-extensions" if extended else ""
    head = f"{MARK}{__version__}: {program.name}. It needs {needs} and numpy.\nfrom pathlib import Path\n\n"
    tail = f'\n\nif __name__ == "__main__":\n    print(predict({example}))\n'
    return head + text + tail
