"""Custom code: which modules a program names, where they are, and their import, only with permission."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from graphspec.contract.custom_module import CustomModule
from graphspec.diagnostics import Diagnostic, Span, SpecError, did_you_mean, fail, nearest
from graphspec.diagnostics.text import first_line
from graphspec.elaborated import BaseProgram
from graphspec.objectives.custom import CustomLoss, CustomMetric

_LOCK = threading.RLock()
_BROUGHT: dict[str, Path] = {}
"""The top modules that were imported from the directories of specs, with the files they came from."""


@dataclass(frozen=True, slots=True)
class NamedCode:
    """Custom code that a spec names: `my_layers.GatedMix`, first at `span`."""

    path: str
    span: Span | None

    @property
    def home(self) -> str:
        """The Python module that contains it."""
        return self.path.rpartition(".")[0]

    @property
    def top(self) -> str:
        """The package, or the file, that is imported for it."""
        return self.path.partition(".")[0]


def nodes(program: BaseProgram) -> list[NamedCode]:
    """The classes that nodes of a program name, each once."""
    ops = (op for op in program.graph.walk() if op.present and isinstance(op.layer, CustomModule))
    return _once((op.layer.path, op.span) for op in ops if isinstance(op.layer, CustomModule))


def objectives(program: BaseProgram) -> list[NamedCode]:
    """The custom losses and metrics of a program, each once."""
    references: list[tuple[str, Span | None]] = []
    for name, output in program.outputs.items():
        if isinstance(output.loss, CustomLoss) and output.loss.program is None:
            references.append((output.loss.path, program.span(("outputs", name, "loss", "module"))))
        for metric in output.metrics:
            if isinstance(metric, CustomMetric):
                references.append((metric.path, program.span(("outputs", name, "metrics"))))
    return _once(references)


def _once(names: Iterable[tuple[str, Span | None]]) -> list[NamedCode]:
    kept: dict[str, NamedCode] = {}
    for path, span in names:
        kept.setdefault(path, NamedCode(path, span))
    return list(kept.values())


# --- where they lie


def found_next_to(named: NamedCode, root: Path | None) -> ModuleSpec | None:
    """The place of the module in the directory of the spec; None if it is not there. Nothing is run."""
    if root is None:
        return None
    module_spec = PathFinder.find_spec(named.top, [str(root.resolve())])
    if (
        module_spec is not None and module_spec.origin is None
    ):  # a folder without __init__.py comes after what is installed
        other = PathFinder.find_spec(named.top)
        return module_spec if other is None or other.origin is None else None
    return module_spec


def _place(module: ModuleSpec) -> Path:
    """The file of a module, or the folder that a package without `__init__.py` is."""
    return Path(module.origin or next(iter(module.submodule_search_locations or ()))).resolve()


def files(program: BaseProgram) -> Iterator[tuple[Path, Span | None]]:
    """The Python files that the custom modules are made of, as far as they lie below the directory of
    the spec: theirs, their packages', and what of that directory they have imported.
    """
    root = program.folder
    for named in (*nodes(program), *objectives(program)):
        module_spec = found_next_to(named, root)
        if module_spec is None or root is None:
            continue
        package_files = [_place(module_spec)]
        for folder in module_spec.submodule_search_locations or ():
            package_files = sorted(Path(folder).rglob("*.py"))
        seen = dict.fromkeys([*package_files, *_imported_below(root)])
        yield from ((root / path.resolve().relative_to(root.resolve()), named.span) for path in seen)


def _imported_below(root: Path) -> Iterator[Path]:
    """The files below a directory that modules came from which were imported from it."""
    inside = root.resolve()
    tops = {top for top, origin in _BROUGHT.items() if origin.is_relative_to(inside)}
    for name, module in sys.modules.copy().items():
        origin = getattr(module, "__file__", None)
        if origin and name.partition(".")[0] in tops and Path(origin).resolve().is_relative_to(inside):
            yield Path(origin)


# --- import


def bring(wanted: Iterable[NamedCode], root: Path | None, allow: Iterable[str]) -> dict[str, Any]:
    """Imports the named code from the spec's directory, else from the environment; by path.

    Raises `SpecError` (module-not-allowed) where `allow` names it not, and nothing of it is run;
    (module-missing) where it cannot be imported.
    """
    wanted = list(wanted)
    need_permission(wanted, allow)
    with _LOCK:
        return {named.path: _bring(named, root) for named in wanted}


def need_permission(wanted: Iterable[NamedCode], allow: Iterable[str]) -> None:
    """Raises `SpecError` (module-not-allowed) where `allow` does not name all of these."""
    refused = [_not_allowed(named) for named in wanted if not allowed(named, allow)]
    if refused:
        raise SpecError(refused)


def allowed(named: NamedCode, allow: Iterable[str]) -> bool:
    """Whether a word of `allow` is the package of it, or the module."""
    return any(named.home == word or named.home.startswith(f"{word}.") for word in allow)


def _not_allowed(named: NamedCode) -> Diagnostic:
    message = f"`{named.path}` is code outside of the spec, which runs only with permission"
    top = named.top
    help = f'read it, then allow it: `--allow {top}`; in Python: graphspec.compile(..., allow=["{top}"])'
    return Diagnostic("module-not-allowed", message, named.span, help=help)


def _bring(named: NamedCode, root: Path | None) -> Any:
    module_spec = found_next_to(named, root)
    try:
        if module_spec is not None and root is not None:
            _load_top(named, module_spec, root)
        with _importable(root):
            home = importlib.import_module(named.home)
    except SpecError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(named, root, error) from error
    word = named.path.rpartition(".")[2]
    if not hasattr(home, word):
        here = [name for name in vars(home) if not name.startswith("_")]
        near = nearest(word, here)
        help = f"did you mean `{named.home}.{near}`?" if near else None
        message = f"`{named.home}` has no `{word}`"
        raise fail("module-missing", message, help, span=named.span)
    return getattr(home, word)


def _load_top(named: NamedCode, spec: ModuleSpec, root: Path) -> None:
    """Imports a file or package of the spec's directory under its name, unless it is there already."""
    top, origin = named.top, _place(spec)
    known = sys.modules.get(top)
    if known is not None:
        if _origin(known) == origin:
            _BROUGHT.setdefault(top, origin)
            return
        if _BROUGHT.get(top) != _origin(known):
            message = f"{origin} has the name of a module that Python has loaded from elsewhere"
            raise fail("module-missing", message, "rename the file", span=named.span)
    _forget_others(root)
    module = module_from_spec(spec)
    assert spec.loader is not None
    sys.modules[top] = module
    try:
        with _importable(root):
            before = set(sys.modules.copy())
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(top, None)
        raise
    _BROUGHT[top] = origin
    for name in sys.modules.copy().keys() - before:
        other = _origin(sys.modules[name])
        if other is not None and other.is_relative_to(root.resolve()):
            _BROUGHT.setdefault(name.partition(".")[0], other)


def _forget_others(root: Path) -> None:
    """Removes modules that were imported from the directories of other specs."""
    inside = root.resolve()
    gone = {top for top, origin in _BROUGHT.items() if not origin.is_relative_to(inside)}
    for name in [name for name in sys.modules.copy() if name.partition(".")[0] in gone]:
        del sys.modules[name]
    for top in gone:
        del _BROUGHT[top]


def _origin(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    return Path(file).resolve() if file else None


@contextmanager
def _importable(root: Path | None) -> Iterator[None]:
    """Makes files beside the spec importable meanwhile, unless another module has their name."""
    if root is None:
        yield
        return
    entry = str(root.resolve())
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.reverse()
        sys.path.remove(entry)
        sys.path.reverse()


def _failed(named: NamedCode, root: Path | None, error: BaseException) -> SpecError:
    message = f"`{named.home}` cannot be imported: {type(error).__name__}: {first_line(error)}"
    help = None
    if isinstance(error, ModuleNotFoundError) and error.name == named.top:
        message = f"there is no Python module `{named.top}`"
        beside = sorted(path.stem for path in root.glob("*.py")) if root is not None else []
        help = did_you_mean(named.top, beside, f"write {named.top}.py next to the spec, or install it")
    return fail("module-missing", message, help, *raised_at(error), span=named.span)


# --- where custom code has failed


def raised_at(error: BaseException) -> tuple[str, ...]:
    """Where in code that specs brought an error was raised; nothing where none took part."""
    if isinstance(error, SyntaxError) and error.filename:
        return (f"at {error.filename}:{error.lineno}",)
    roots = {origin.parent for origin in _BROUGHT.values()}
    place = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and any(Path(file).resolve().is_relative_to(root) for root in roots):
            place = f"raised at {file}:{trace.tb_lineno}, in {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return (place,) if place else ()
