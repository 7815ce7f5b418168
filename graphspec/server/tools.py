"""Tools for a program that writes specs: each answer is bounded, and each file is below one folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from graphspec.diagnostics import Diagnostic, Diagnostics, SpecError, render, shortened, visible
from graphspec.diagnostics.text import line_of
from graphspec.files.interpreter import PYTHON
from graphspec.files.reading import content, need_regular
from graphspec.files.whole import rewrite
from graphspec.fixing.checking import check_spec_text
from graphspec.fixing.edits import fix_of
from graphspec.fixing.rounds import fixed
from graphspec.program import Program
from graphspec.reference import codes, layers
from graphspec.reference.entries import ReferenceEntry
from graphspec.version import __version__

LONGEST = 30_000
"""Characters of an answer."""
MOST = 50
"""Diagnostics of an answer, which says how many there are beside."""
LARGEST = 2**20
"""The most that an argument may be which is a number."""
RUNS = "runs"
"""The folder that a training writes below."""
LONGEST_TRAINING = 3600
"""Seconds that a training may take."""


class ToolError(Exception):
    """Why a tool did nothing, for the program that asked."""


class Tools:
    """The tools of one folder. A spec is given as a path below it, or as its text with a line break. `page`
    is the reference page of a word of the language.
    """

    def __init__(self, folder: Path, page: Callable[[ReferenceEntry], str] = ReferenceEntry.text):
        self.folder, self.page = folder.resolve(), page

    def language(self) -> str:
        """The language of specs on one page, with five examples. Read it before writing a spec."""
        return (Path(layers.__file__).parent / "llms.txt").read_text(encoding="utf-8")

    def check(self, spec: str, data: bool = True) -> dict[str, Any]:
        """Checks a spec (a path, or the YAML text itself) for every mistake that shows without running it.
        Each diagnostic has a place, a remedy in `help`, and a `fix` where the remedy is an edit. Without
        `data` no file of data is opened.
        """
        text, name, path = self._spec(spec)
        return _answer(*self._checked(text, name, path, data), data)

    def fix(self, spec: str, unsafe: bool = False, write: bool = False, data: bool = True) -> dict[str, Any]:
        """Mends what can only have been meant; with `unsafe` also what is likely. Returns the text and what
        is still wrong; with `write` a file is changed. A text of more than 30,000 characters is not returned.
        Without `data` no file of data is opened.
        """
        text, name, path = self._spec(spec)
        result = fixed(text, name, lambda each: self._checked(each, name, path, data), unsafe)
        if write and path is not None and result.count:
            try:
                rewrite(path, result.text)
            except OSError as error:
                raise ToolError(f"{spec} cannot be written: {error.strerror or error}") from None
        short = len(result.text) <= LONGEST  # a part of a spec would be another spec
        answer = _answer(*self._checked(result.text, name, path, data), data)
        return {"fixed": result.count, "spec": result.text if short else None, **answer}

    def summary(self, spec: str) -> str:
        """The layers of a spec with their shapes, weights and connections, and the totals."""
        text, name, path = self._spec(spec)
        program, diagnostics, sources = self._compiled(text, name, path)
        if program is None:
            raise ToolError(_rendered(diagnostics, sources))
        return _bounded(program.summary().render(expand=True, flops=True))

    def layers(self, name: str = "") -> str:
        """The page of a layer, op, loss, metric, optimizer, callback or key; without a name all names."""
        try:
            if name:
                return _bounded("\n\n".join(map(self.page, layers.find(name))))
            return _bounded(layers.listing([*layers.entries(), *layers.others()]))
        except SpecError as error:
            raise ToolError(_rendered(list(error.diagnostics), {})) from None

    def explain(self, code: str) -> str:
        """Explains the code of a diagnostic: its meaning, its causes, and the mended form."""
        try:
            return codes.page(code).text()
        except SpecError as error:
            raise ToolError(_rendered(list(error.diagnostics), {})) from None

    def train(self, path: str, epochs: int = 1, limit: int = 1000, seconds: int = 300) -> dict[str, Any]:
        """Trains a spec file for a few epochs on the first rows of its data, in a process that ends after so
        many seconds. Returns the metrics and the run's directory.
        """
        spec = self._file(path)
        self._below(RUNS)
        options = ["--json", "--progress", "none", "--limit", str(_within(limit))]
        options += ["--set", f"train.epochs={_within(epochs)}"]
        return self._run(["train", str(spec), *options], min(max(1, seconds), LONGEST_TRAINING))

    def runs(self) -> dict[str, Any]:
        """The runs below the folder `runs`, with their metrics."""
        for path in (self._below(RUNS), *self._below(RUNS).rglob("*")):
            if path.is_symlink():
                self._below(str(path))
        return self._run(["runs", "--json"], 60)

    def all(self) -> list[Callable[..., Any]]:
        """The tools, each with its name and its description as a function has them."""
        return [
            *(self.language, self.check, self.fix, self.summary, self.layers, self.explain),
            *(self.train, self.runs),
        ]

    # --- parts

    def _spec(self, spec: str) -> tuple[str, str, Path | None]:
        """The text of a spec, its name in diagnostics, and its file, if it is one."""
        if "\n" in spec:
            return spec, "<spec>", None
        path = self._file(spec)
        try:
            return content(path).decode("utf-8"), spec, path
        except (OSError, UnicodeDecodeError) as error:
            raise _unread(spec, error) from None

    def _file(self, path: str) -> Path:
        try:
            return need_regular(self._below(path))
        except OSError as error:
            raise _unread(path, error) from None

    def _below(self, path: str) -> Path:
        try:
            resolved = (self.folder / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a NUL
            raise ToolError(f"{shortened(path)!r} is not a path: {line_of(error)}") from None
        if not resolved.is_relative_to(self.folder):
            raise ToolError(f"{shortened(path)} is outside of the working directory")
        return resolved

    def _compiled(
        self, text: str, name: str, path: Path | None, data: bool = True
    ) -> tuple[Program | None, list[Diagnostic], dict[str, str]]:
        """The program of a text, if it has one. Without a file, paths in it are relative to the folder."""
        diagnostics, sources = Diagnostics(), dict[str, str]()
        where = path or self.folder / "spec.yaml"
        program = check_spec_text(text, name, where, diagnostics, sources, data=data).program
        return program, diagnostics.sorted(), sources

    def _checked(
        self, text: str, name: str, path: Path | None, data: bool
    ) -> tuple[list[Diagnostic], dict[str, str]]:
        return self._compiled(text, name, path, data)[1:]

    def _run(self, arguments: list[str], seconds: int) -> dict[str, Any]:
        command = [*PYTHON, "-m", "graphspec", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"it was ended after {seconds} seconds") from None
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise ToolError(_bounded(done.stderr.decode("utf-8", "replace"))) from None
        return answer


def _within(number: int) -> int:
    return min(max(1, number), LARGEST)


def _unread(path: str, error: Exception) -> ToolError:
    why = getattr(error, "strerror", None) or line_of(error)
    return ToolError(f"{shortened(visible(path))} cannot be read: {why}")


def _answer(diagnostics: list[Diagnostic], sources: dict[str, str], data: bool) -> dict[str, Any]:
    more = {"more": len(diagnostics) - MOST} if len(diagnostics) > MOST else {}
    return {
        "ok": not any(each.severity == "error" for each in diagnostics),
        **({} if data else {"not_checked": ["data"]}),
        "diagnostics": [_values(each, sources) for each in diagnostics[:MOST]],
        **more,
    }


def _values(diagnostic: Diagnostic, sources: dict[str, str]) -> dict[str, Any]:
    fix = fix_of(diagnostic, sources)
    return {**diagnostic.to_json(), "fix": fix.to_json() if fix is not None else None}


def _rendered(diagnostics: list[Diagnostic], sources: dict[str, str]) -> str:
    return _bounded("\n\n".join(render(each, sources) for each in diagnostics))


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "\n... (cut)"


def serve(folder: Path, page: Callable[[ReferenceEntry], str]) -> None:
    """Offers the tools by the model context protocol, over standard input and output."""
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError as Refusal

    def telling(tool: Callable[..., Any]) -> Callable[..., Any]:
        """A tool whose refusals reach the client with their words, which those of other classes do not."""

        @wraps(tool)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return tool(*arguments, **options)
            except ToolError as error:
                raise Refusal(str(error)) from None

        return call

    tools = Tools(folder, page)
    server = MCPServer(
        "graphspec", version=__version__, instructions="Call `language` before you write a spec."
    )
    for tool in tools.all():
        server.tool()(telling(tool))
    server.run("stdio")
