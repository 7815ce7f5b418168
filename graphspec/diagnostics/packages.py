"""The packages that only some features need, and the diagnostic where one of them is not installed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from graphspec.diagnostics import SpecError, fail

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "extensions": ("onnxruntime-extensions",),
    "huggingface": ("transformers",),
    "images": ("pillow",),
    "keras": ("h5py",),
    "mcp": ("mcp",),
    "mlflow": ("mlflow-skinny",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("openvino",),
    "plot": ("typst",),
    "ray": ("ray",),
    "server": ("pygls",),
    "serve": ("uvicorn", "httptools", "uvloop"),
    "tensorboard": ("tensorboard",),
    "text": ("tokenizers",),
    "tune": ("optuna",),
    "wandb": ("wandb",),
}
"""The packages of each extra of pyproject.toml, without their bounds."""


def lacking(feature: str, extra: str, packages: Iterable[str] = (), otherwise: str = "") -> SpecError:
    """The error (package-missing) of a feature whose packages are not installed.

    The remedy names the packages themselves: it holds whatever the distribution of graphspec is called, and
    wherever it was installed from. `packages` are those that are missing, all of the extra by default;
    `otherwise` is what works without them.
    """
    names = ", ".join(f"`{name}`" for name in (tuple(packages) or EXTRAS[extra]))
    verb = "are" if "," in names else "is"
    help = f"pip install {' '.join(EXTRAS[extra])}" + (f"; {otherwise}" if otherwise else "")
    return fail("package-missing", f"{feature} needs {names}, which {verb} not installed", help)


@contextmanager
def needing(feature: str, extra: str, otherwise: str = "") -> Iterator[None]:
    """Turns an ImportError inside into `lacking`."""
    try:
        yield
    except ImportError:
        raise lacking(feature, extra, otherwise=otherwise) from None


@contextmanager
def unlogged(level: int) -> Iterator[None]:
    """Inside, packages log nothing up to this level: what matters of it is a diagnostic."""
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(before)
