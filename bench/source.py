"""Lines of code of the emitted file and its hand-written twin."""

import ast
import importlib
import inspect
import io
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from bench.cases import CASES
from bench.report import Column, Table, Value
from graphspec.emit.library_source import library_code, read_names

NOTE = """Lines of code without comments, docstrings and blank lines, both formatted to 88 columns. The
emitted file counts as a whole; the twin counts as a file of its own. Both contain their imports, Keras'
initializers, and checks for the lengths that the spec rules out; without these, a twin would be a different
model. `own` leaves out imports, initializers, and the library code of the emitted file. It compares only the
code of the spec itself."""


def _ratio(value: float) -> str:
    return f"{value:.2f}"


COLUMNS = (
    Column("spec", "spec"),
    Column("twin", "twin"),
    Column("emitted", "emitted"),
    Column("ratio", "ratio", _ratio),
    Column("own_twin", "own of twin"),
    Column("own", "own"),
    Column("own_ratio", "own ratio", _ratio),
)
IGNORED = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


def table(names: Sequence[str]) -> Table:
    """A row for each spec, and the medians."""
    rows = [_row(name) for name in names if "torchvision" not in name]
    ratios = [[float(str(row[key])) for row in rows] for key in ("ratio", "own_ratio")]
    medians: dict[str, Value] = {"spec": "median"}
    medians |= {"ratio": statistics.median(ratios[0]), "own_ratio": statistics.median(ratios[1])}
    return Table("Emitted source beside hand-written twins", NOTE, COLUMNS, (*rows, medians))


def _row(name: str) -> dict[str, Value]:
    case = CASES[name]
    source = case.program(name).source
    by_hand = formatted(twin_source(case.twin))
    twin, emitted = count(by_hand), count(source)
    own_twin, own = count(own_source(by_hand)), count(own_source(source))
    return {
        "spec": name,
        "twin": twin,
        "emitted": emitted,
        "ratio": emitted / twin,
        "own_twin": own_twin,
        "own": own,
        "own_ratio": own / own_twin,
    }


def count(source: str) -> int:
    """Lines of code."""
    lines = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in IGNORED:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(lines)


def own_source(source: str) -> str:
    """The classes and functions that the spec itself became."""
    carried = {*library_code().nodes, "init_weights", "init_recurrent"}
    nodes = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    return "\n".join(ast.get_source_segment(source, n) or "" for n in nodes if n.name not in carried)


def twin_source(twin: Any) -> str:
    """A twin's class and the parts of its file that it uses, imports included."""
    used: list[Any] = []
    while isinstance(twin, partial):
        used += [each for each in twin.args if isinstance(each, type)]
        twin = twin.func
    module = importlib.import_module(twin.__module__)
    source = inspect.getsource(module)
    defined = {
        node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    found = dict.fromkeys(name for each in (*used, twin) for name in _reached(each.__name__, defined))
    body = "\n\n\n".join(ast.get_source_segment(source, defined[name]) or "" for name in found)
    return "\n".join([*_imports(source, set(read_names(ast.parse(body)))), "", "", body])


def _imports(source: str, used: set[str]) -> Iterator[str]:
    """The imports in a file of the names that are used."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [each for each in node.names if (each.asname or each.name) in used]
            if node.names:
                yield ast.unparse(node)


def _reached(name: str, defined: dict[str, Any], seen: set[str] | None = None) -> Iterator[str]:
    seen = set() if seen is None else seen
    if name in seen:
        return
    seen.add(name)
    types = {
        part
        for node in ast.walk(defined[name])
        if isinstance(node, ast.arg) and node.annotation is not None
        for part in ast.walk(node.annotation)
    }
    for node in ast.walk(defined[name]):
        if isinstance(node, ast.Name) and node.id in defined and node not in types:
            yield from _reached(node.id, defined, seen)
    yield name


def formatted(source: str) -> str:
    """Source formatted to the line width of emitted files."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "88", "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
