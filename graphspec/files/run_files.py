"""The names of the files in a run directory."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

SPEC, SOURCE, HISTORY, ENVIRONMENT = "spec.yaml", "model.py", "history.jsonl", "environment.json"
LAST, BEST, CHECKPOINTS, ENCODERS = "last.safetensors", "best.safetensors", "checkpoints", "encoders.json"
CANDIDATES = "candidates.safetensors"
"""The candidates for queries: the keys of the training rows, and which queries have them."""
TENSORBOARD, WANDB, CURVES = "tensorboard", "wandb", "curves.svg"
ADAPTER, ADAPTER_CONFIG = "adapter.safetensors", "adapter_config.json"
"""Of a run that trained adapters: these in PEFT's format."""
BASE = "base.safetensors"
"""Where one puts the weights that they were trained for, if these have moved."""
ENGINES_FOLDER = "engines"
"""With what is kept of each file of weights, as `engines/best.onnx`."""
MEASURED_ENDING, EXPORT_ENDING = ".json", ".onnx"
"""The endings of its names: of measurements, and of the file that engines run."""
FORMER = ("engine.json", "engine.onnx", "serving.json")
"""The names of these in runs of earlier versions."""
EXPORTED = ("graphspec", "form", "spec", "weights")
"""Parts of a form's key on which an exported file depends; the others concern measurements."""
WEIGHTS = {"best": BEST, "last": LAST}
"""The files of weights by the epoch that a user names."""
TRIALS = "trials"
"""In the directory of a search, the directory with the runs of its trials."""
STUDY, PICTURE = "study.log", "search.svg"
OF_BEST = re.compile(r"best(-[0-9]+)?\.(yaml|safetensors)")
"""The names of what a search leaves of its best trials."""
OF_SEARCH = re.compile(rf"{re.escape(STUDY)}|{re.escape(PICTURE)}|{re.escape(ENVIRONMENT)}|{OF_BEST.pattern}")
"""Those of all that it writes."""
FILES = (
    *(SPEC, SOURCE, HISTORY, ENVIRONMENT, LAST, BEST, ENCODERS, CURVES),
    *(ADAPTER, ADAPTER_CONFIG, CANDIDATES, *FORMER),
)
OWN = (*FILES, CHECKPOINTS, ENGINES_FOLDER, TENSORBOARD, WANDB)
"""The files that a run writes; those that its spec and its callbacks read or write have other names."""

TENSORS, NUMBERS, MANIFEST = "state.safetensors", "state.json", "manifest.json"
CHECKPOINT = re.compile(r"[0-9]{6,}")
"""The name of a checkpoint, a folder in `checkpoints`."""
IN_CHECKPOINT = re.compile(rf"{TENSORS}|{NUMBERS}|{MANIFEST}|shard-[0-9]+-.*\.safetensors")
EVENTS = re.compile(r"events\.out\.tfevents\..*")
IN_ENGINES_FOLDER = re.compile(r"[a-z0-9]+(\.serving)?\.json|[a-z0-9]+\.onnx")


def place_of(weights: Path, run: Path) -> str:
    """Where a file of weights lies: in its run without the way there, so that the run can move."""
    file, folder = Path(os.path.abspath(weights)), Path(os.path.abspath(run))
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def kept_file(place: str, ending: str) -> str:
    """The name of what a run keeps of the weights at a place, with one of the endings."""
    of_this_run = place in WEIGHTS.values()
    stem = PurePosixPath(place).stem if of_this_run else hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
    return f"{ENGINES_FOLDER}/{stem}{ending}"


def reserved(name: str) -> bool:
    """Whether a file of this name, relative to the run directory, is outside of it or one that the run itself
    writes, by any letters that a file system takes for the same.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    first = parts[0] if parts else ""
    return first.casefold() in ("", "/", *OWN) or ".." in parts or ":" in first.partition("{")[0]
