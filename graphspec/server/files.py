"""Names across files: a spec whose nodes are models names other files, and their params, inputs and nodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from graphspec.diagnostics import Diagnostics
from graphspec.files.reading import content
from graphspec.files.run_files import ENVIRONMENT
from graphspec.server.analysis import is_spec
from graphspec.server.scopes import Models, Scopes, Symbol
from graphspec.server.symbols import Occurrence, Symbols
from graphspec.source import MAX_BYTES, Document, read

SUFFIXES = (".yaml", ".yml")
MOST = 5_000
"""Files and folders that are looked at for specs that name another one."""


class OtherSpecs:
    """Specs on the disk, or as an editor has them: `opened` is the text of a file that is open there."""

    def __init__(self, opened: Callable[[Path], str | None]):
        self._opened = opened
        self._read: dict[Path, tuple[object, Document | None]] = {}

    def models(self, path: Path | None) -> Models:
        """Finds the names in the files that a file's paths name."""
        return partial(self._model, path.parent) if path is not None else _none

    def _model(self, folder: Path, name: str) -> Scopes | None:
        return self.scopes(_plain(folder / name)) if "\0" not in name else None

    def scopes(self, path: Path) -> Scopes | None:
        """The names that a file declares; None where it is not YAML."""
        document = self.document(path)
        return None if document is None else Scopes(document, self.models(path), path)

    def names(self, path: Path) -> Symbols | None:
        """The same, with all places of its names."""
        document = self.document(path)
        return None if document is None else Symbols(document, self.models(path))

    def document(self, path: Path) -> Document | None:
        """A file as it is now; None where it is no YAML."""
        text = self._opened(path)
        state: object = text
        if text is None:
            try:
                status = path.stat()
            except OSError:
                return None
            if path.suffix not in SUFFIXES or not path.is_file() or status.st_size > MAX_BYTES:
                return None
            state = status.st_mtime_ns, status.st_size
        known = self._read.get(path)
        if known is None or known[0] != state:
            known = self._read[path] = state, _document(path, text)
        return known[1]

    def places(
        self, path: Path | None, names: Symbols, symbol: Symbol, root: Path | None
    ) -> Iterator[tuple[Path | None, Document, Occurrence]]:
        """All places of a name that a file at `path` reads, first those where it is declared. Other files
        that name the one that declares it are looked for below `root`.
        """
        home = symbol.file or (_plain(path) if path is not None else None)
        here = Symbol(symbol.kind, symbol.name, symbol.body)
        if symbol.file is None:
            yield from ((path, names.document, each) for each in names.of(here))
        elif (there := self.names(symbol.file)) is not None:
            yield from ((symbol.file, there.document, each) for each in there.of(here))
        if home is None:
            return
        away = Symbol(symbol.kind, symbol.name, symbol.body, home)
        yield from ((path, names.document, each) for each in names.of(away))
        for user in self._users(home, root):
            if path is not None and _plain(path) == user:
                continue
            document = self.document(user)
            if document is not None and home.name in document.text:
                occurrences = Symbols(document, self.models(user)).of(away)
                yield from ((user, document, each) for each in occurrences)

    def declared(self, root: Path) -> Iterator[tuple[Path, Document, Occurrence]]:
        """All names that specs below a folder declare."""
        for path in self._users(_plain(root) / "_", root):
            document = self.document(path)
            if document is not None and is_spec(document.text):
                names = Symbols(document, self.models(path))
                yield from ((path, document, each) for each in names.occurrences if each.declares)

    def _users(self, path: Path, root: Path | None) -> Iterator[Path]:
        """The specs that may name a file. The copies in the directories of runs stay as they are."""
        root = _plain(root) if root is not None else path.parent
        looked = 0  # pictures beside the specs do not count
        for folder, folders, files in os.walk(root if path.is_relative_to(root) else path.parent):
            looked += 1 + sum(name.endswith(SUFFIXES) for name in files)
            if looked > MOST:
                return
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if ENVIRONMENT not in files:
                yield from (Path(folder, name) for name in sorted(files) if name.endswith(SUFFIXES))


def _plain(path: Path) -> Path:
    """A path without links, of which every file has one."""
    return Path(os.path.realpath(path))


def _none(name: str) -> Scopes | None:
    """Nothing: a text that is no file has no folder."""


def _document(path: Path, text: str | None) -> Document | None:
    try:
        document = read(content(path) if text is None else text, str(path), Diagnostics())
    except OSError:
        return None
    return document if document is not None and isinstance(document.value, dict) else None
