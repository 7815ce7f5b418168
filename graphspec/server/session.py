"""The open files of an editor, and what is known of each."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, RLock
from typing import Any
from urllib.parse import unquote, urlparse

from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from graphspec.diagnostics import Superseded
from graphspec.server.analysis import Analysis, analysed, glanced, is_spec, unchecked, unread
from graphspec.server.files import OtherSpecs
from graphspec.version import __version__

DELAY = 0.05
"""Seconds without typing before a text is checked."""
PAUSE = 0.25
"""Seconds that a check waits at most for an answer that goes first."""


class SpecServer(LanguageServer):
    """A server, with the analysis of each open file. What an editor shows while one types (`latest`) never
    waits; all else waits for the check of the current text, in threads, one at a time.
    """

    def __init__(self) -> None:
        super().__init__("graphspec", __version__)
        self.analyses: dict[str, Analysis] = {}
        self.checker = ThreadPoolExecutor(1, "checker")
        self.files = OtherSpecs(self._opened)
        self.saves = Counter[str]()
        """How often each file was saved: what is read of one while it is saved is read again."""
        self.lock = Lock()
        self.checking = RLock()
        """Held by the thread that checks, or works with what a check has found: two would take turns."""
        self.free = Event()
        """Whether no answer is being made that goes before a check."""
        self.free.set()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """An editor that is gone is not told that it cannot be told."""
        if not isinstance(error, OSError | ValueError):
            super().report_server_error(error, source)

    def document(self, uri: str) -> TextDocument | None:
        """A file that is open in the editor. No other is read: it may be a pipe, or have no end."""
        found: TextDocument | None = self.workspace.text_documents.get(unquote(uri))
        return found

    def text(self, uri: str) -> str:
        document = self.document(uri)
        return document.source if document is not None else ""

    def version_of(self, uri: str) -> int | None:
        """The version of an open file, as it is now."""
        document = self.document(uri)
        return document.version if document is not None else None

    def latest(self, uri: str) -> Analysis | None:
        """The current text with the names, types and mistakes of the last one that was checked."""
        document = self.document(uri)
        if document is None:
            return None
        text, known = document.source, self.analyses.get(uri)
        if known is not None:
            return known if known.source == text else unchecked(text, known)
        return unread(text, path_of(uri), self.files.models(path_of(uri))) if is_spec(text) else None

    @contextmanager
    def first(self) -> Iterator[None]:
        """Runs the block before checks."""
        self.free.clear()
        try:
            yield
        finally:
            self.free.set()

    def analysis(self, uri: str) -> Analysis | None:
        """The analysis of the current text of an open file, which may be checked now; None for YAML that is
        not a spec. Where the text changes meanwhile, the new one is checked instead.
        """
        with self.checking:
            while (document := self.document(uri)) is not None:
                text, known = document.source, self.analyses.get(uri)
                if known is not None and known.source == text:
                    return known
                if known is None and not is_spec(text):
                    return None
                saves = self.saves.copy()
                try:
                    current = self._checked(uri, text, document.version)
                except Superseded:
                    time.sleep(DELAY)
                    continue
                read = current.sources.keys() - {current.shown}
                with self.lock:
                    if all(self.saves[file] == saves[file] for file in read):
                        self.analyses[uri] = current
            self.analyses.pop(uri, None)  # it was closed
            return None

    def glance(self, uri: str) -> Analysis | None:
        """The current text of an open file as far as it is known at once, where an edit of a long text is
        within one node; None where its mistakes are as before.
        """
        document, known = self.document(uri), self.analyses.get(uri)
        if document is None or known is None or known.source == document.source:
            return None
        found = glanced(document.source, known)
        return None if found is None or found.diagnostics == known.diagnostics else found

    def _checked(self, uri: str, text: str, version: int | None) -> Analysis:
        """Raises `Superseded` when the text changes."""

        def wanted() -> bool:
            self.free.wait(PAUSE)
            return self.version_of(uri) == version

        path = path_of(uri)
        return analysed(text, path, self.analyses.get(uri), self.files.models(path), wanted)

    def _opened(self, path: Path) -> str | None:
        """The text of a file that is open in the editor."""
        uri = self.open_at(path)
        return self.text(uri) if uri is not None else None

    def open_at(self, path: Path) -> str | None:
        """The address under which a file is open, which may lead through links."""
        for uri in list(self.analyses):
            place = path_of(uri)
            if place is not None and os.path.realpath(place) == os.path.realpath(path):
                return uri
        return None

    def root(self) -> Path | None:
        """The folder that the editor has opened."""
        root = self.workspace.root_path
        return Path(root) if root else None


def path_of(uri: str) -> Path | None:
    """The file of an address; None of a text without one."""
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
