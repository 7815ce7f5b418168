"""Copies custom classes into the emitted file, so that it needs only torch. Runs nothing."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from graphspec import custom
from graphspec.custom import NamedCode
from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.emit import Emitted
from graphspec.files.reading import read_text

Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign


def bundle(program: BaseProgram, emitted: Emitted) -> Emitted:
    """The emitted file of a program, with its custom modules copied in instead of imported.

    Raises `SpecError` (bundle-misfit) for modules that need more than torch and the standard library, are not
    next to the spec, or has names that the file has for something else.
    """
    named = custom.nodes(program)
    if not named:
        return emitted
    tree = ast.parse(emitted.source)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and _is_custom(node, named)]
    known = _known(tree, imports)
    homes: dict[str, list[NamedCode]] = {}
    for each in named:
        homes.setdefault(each.home, []).append(each)
    copied, future = list[str](), False
    brought: set[str] = set()
    for members in homes.values():
        source = _Source(_file(members[0], program), members[0])
        future |= "annotations" in source.future
        copied += source.copy(members, known, brought)
    renamed = [alias for node in imports for alias in node.names if alias.asname]
    if renamed:
        copied += ["", "", *(f"{alias.asname} = {alias.name}" for alias in renamed)]
    return _placed(emitted, imports, [*_imports({name: known[name] for name in brought}), *copied], future)


def _known(tree: ast.Module, imports: list[ast.ImportFrom]) -> dict[str, str]:
    """The meaning of each name of the emitted file, without those that its custom imports bind."""
    statements = [node for node in tree.body if node not in imports]
    return {name: PYTHON for name in _reads(tree) if name in BUILTINS} | _bound(statements)


def _is_custom(node: ast.ImportFrom, named: Iterable[NamedCode]) -> bool:
    return any(node.module == each.home for each in named)


def _file(named: NamedCode, program: BaseProgram) -> Path:
    """The file below the directory of the spec that has a class."""
    root = program.folder
    module_spec = custom.found_next_to(named, root)
    if module_spec is None:
        message = f"`{named.home}` is not next to the spec, so it is not copied"
        raise _misfit(named, message, "build without `--bundle`: the file imports it")
    place = Path(module_spec.origin or next(iter(module_spec.submodule_search_locations or ()), ""))
    parts = named.home.split(".")[1:]
    if not parts:
        return place
    path = (place if place.is_dir() else place.parent).joinpath(*parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@dataclass(slots=True)
class _Source:
    """A Python file: what its names are bound to at its top level."""

    path: Path
    named: NamedCode
    lines: list[str] = field(init=False)
    definitions: dict[str, Definition] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    """A name -> what it stands for: `torch.nn`."""
    future: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        try:
            text = read_text(self.path)
            body = ast.parse(text).body
        except (OSError, ValueError, SyntaxError) as error:
            raise _misfit(self.named, f"{self.path} cannot be read: {error}", None) from None
        self.lines = text.splitlines()
        for node in body:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                self.future |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                self.definitions[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = (
                    each for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)
                )
                self.definitions |= {each.id: node for each in names}
        self.imports = _bound(body)

    def copy(self, members: list[NamedCode], known: dict[str, str], brought: set[str]) -> list[str]:
        """The lines of some classes and of all that they use, in the file's order; the names that they import
        go to `brought`. `known` are the names of the file that they are copied into, and what each stands
        for there; those that the copies define, import or take from Python are added.
        """
        needed: dict[str, Definition] = {}
        work = [each.path.rpartition(".")[2] for each in members]
        for name in work:
            if name not in self.definitions:
                raise _misfit(self.named, f"{self.path} defines no `{name}` at its top level", None)
        while work:
            name = work.pop()
            if name in needed:
                continue
            if name in self.definitions:
                self._claim(name, str(self.path), known)
                needed[name] = self.definitions[name]
                work += sorted(set(_reads(self.definitions[name])) - needed.keys())
            elif name in self.imports:
                self._import(name, known, brought)
            elif name in BUILTINS:
                self._claim(name, PYTHON, known)
            else:
                message = f"`{name}` of {self.path} is defined in a way that cannot be copied"
                raise _misfit(self.named, message, "define or import it at the top level")
        nodes = sorted({id(node): node for node in needed.values()}.values(), key=lambda node: node.lineno)
        return [line for node in nodes for line in self._text(node)]

    def _text(self, node: Definition) -> Iterator[str]:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(each.lineno for each in decorators)])
        small = isinstance(node, ast.Assign | ast.AnnAssign)
        yield from ("",) if small else ("", "")
        yield from self.lines[first - 1 : node.end_lineno]

    def _claim(self, name: str, what: str, known: dict[str, str]) -> None:
        """Lets a name stand for one thing in the whole file."""
        if known.setdefault(name, what) != what:
            whose = what if what in (PYTHON, str(self.path)) else f"`{what}`"
            message = f"the emitted file has another `{name}` than {whose}"
            raise _misfit(self.named, message, "rename one of them")

    def _import(self, name: str, known: dict[str, str], brought: set[str]) -> None:
        what = self.imports[name]
        top = what.partition(".")[0]
        if top != "torch" and top not in sys.stdlib_module_names:
            message = (
                f"{self.path} needs `{what}`, which is neither torch nor part of Python's standard library"
            )
            raise _misfit(self.named, message, "build without `--bundle`: the file imports it")
        if name not in known:
            brought.add(name)
        self._claim(name, what, known)


PYTHON = "Python"
"""The meaning of a name that no file defines or imports."""
BUILTINS = frozenset([*dir(builtins), "__name__", "__class__"])


def _reads(node: ast.AST) -> Iterator[str]:
    """The names that a definition reads from outside, as far as is known, without those that it binds."""
    bound = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and not _loads(each)}
    bound |= {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
    bound |= {each.name for each in ast.walk(node) if isinstance(each, ast.ClassDef | ast.FunctionDef)}
    bound |= {e.name for e in ast.walk(node) if isinstance(e, ast.ExceptHandler) and e.name}
    bound |= _bound(each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom)).keys()
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and _loads(each) and each.id not in bound:
            yield each.id


def _loads(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)


def _bound(body: Iterable[ast.AST]) -> dict[str, str]:
    """The names that imports bind, and definitions."""
    bindings: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                bindings[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            home = "." * node.level + (node.module or "")
            bindings |= {alias.asname or alias.name: f"{home}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            bindings[node.name] = "the emitted file's"
    return bindings


def _imports(brought: dict[str, str]) -> list[str]:
    """The imports that the emitted file lacks."""
    lines = []
    for name, what in sorted(brought.items(), key=lambda item: item[::-1]):
        home, _, word = what.rpartition(".")
        if home:
            lines.append(f"from {home} import {word}" + (f" as {name}" if name != word else ""))
        else:
            lines.append(f"import {word}" + (f" as {name}" if name != word else ""))
    return lines


def _placed(emitted: Emitted, imports: list[ast.ImportFrom], copied: list[str], future: bool) -> Emitted:
    """The file with lines instead of imports; the places of its other lines are shifted."""
    lines = emitted.source.split("\n")
    start = min(node.lineno for node in imports) - 1
    end = max(node.end_lineno or node.lineno for node in imports)
    while copied and not copied[0]:
        copied = copied[1:]
    is_import = copied[0].startswith(("import ", "from "))
    head = lines[: start - 1] if is_import else [*lines[: start - 1], "", ""]
    shift = len(head) + len(copied) - end
    assembled = [*head, *copied, *lines[end:]]
    if future:
        docstring = ast.parse(emitted.source).body[0].end_lineno or 0
        assembled[docstring:docstring] = ["", "from __future__ import annotations"]
        shift += 2
    places = {number + shift: span for number, span in emitted.places.items()}
    return replace(emitted, source="\n".join(assembled), places=places)


def _misfit(named: NamedCode, message: str, help: str | None) -> SpecError:
    return fail("bundle-misfit", message, help, span=named.span)
