"""`python -m bench.editor [LINES]`: what an editor waits for in a long spec, whose middle is edited.

Milliseconds, median and largest: of completion and hover just after an edit, while the text is checked; of
the mistakes of the edited node, and of the whole text; and the same in a burst of edits, each a tenth of a
second after the one before.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

URI = "file:///nowhere/long.yaml"
DOCUMENT = lsp.TextDocumentIdentifier(URI)
EDITS = 6
NODES = (
    "  n{0}: {{layer: Dense, units: 64, from: {1}}}",
    "  n{0}: {{layer: LayerNormalization, from: {1}}}",
    "  n{0}: {{layer: Activation, activation: relu, from: {1}}}",
    "  n{0}: {{layer: Dropout, rate: 0.1, from: {1}}}",
    "  n{0}: {{merge: add, from: [{1}, n{2}]}}",
)


def spec(lines: int) -> str:
    """A chain of residual blocks with so many lines."""
    count = lines - 5
    nodes = [NODES[n % 5].format(n, f"n{n - 1}" if n else "x", n - 4) for n in range(count)]
    return "\n".join(["inputs:", "  x: {shape: [64]}", "nodes:", *nodes, "outputs:", f"  - n{count - 1}", ""])


class Editor(LanguageClient):
    """An editor at one word, in which each edit changes a letter."""

    def __init__(self, text: str) -> None:
        super().__init__("editor", "1")
        self.told: asyncio.Queue[tuple[float, lsp.PublishDiagnosticsParams]] = asyncio.Queue()
        self.text, self.edits, self.word = text, 0, "Dense"
        lines = text.split("\n")
        self.row = next(row for row in range(len(lines) // 2, len(lines)) if "Dense" in lines[row])
        self.column = lines[self.row].index("Dense")

        @self.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def tell(params: lsp.PublishDiagnosticsParams) -> None:
            self.told.put_nowait((time.perf_counter(), params))

    async def open(self) -> None:
        await self.start_io(sys.executable, "-m", "graphspec", "server", "--stdio")
        await self.initialize_async(lsp.InitializeParams(capabilities=lsp.ClientCapabilities()))
        self.initialized(lsp.InitializedParams())
        item = lsp.TextDocumentItem(URI, "yaml", 0, self.text)
        self.text_document_did_open(lsp.DidOpenTextDocumentParams(item))
        await self.told.get()
        await asyncio.sleep(2)

    def write(self, word: str) -> float:
        """Puts another word in the place of this one; when."""
        start, end = self.place(0), self.place(len(self.word))
        self.word, self.edits = word, self.edits + 1
        begun = time.perf_counter()
        change = lsp.TextDocumentContentChangePartial(lsp.Range(start, end), word)
        document = lsp.VersionedTextDocumentIdentifier(uri=URI, version=self.edits)
        self.text_document_did_change(lsp.DidChangeTextDocumentParams(document, [change]))
        return begun

    def place(self, column: int) -> lsp.Position:
        return lsp.Position(self.row, self.column + column)

    async def completion(self) -> float:
        params = lsp.CompletionParams(DOCUMENT, self.place(len(self.word)))
        return await timed(self.text_document_completion_async(params))

    async def hover(self) -> float:
        return await timed(self.text_document_hover_async(lsp.HoverParams(DOCUMENT, self.place(0))))

    async def mistakes(self, begun: float) -> tuple[float, float]:
        """Until those of the edited node are told, and those of the whole newest text."""
        times = list[float]()
        while len(times) < 2:
            at, params = await self.told.get()
            if params.version == self.edits:
                times.append(at - begun)
        return times[0], times[1]


async def timed(asked: Awaitable[Any]) -> float:
    begun = time.perf_counter()
    await asked
    return time.perf_counter() - begun


async def measure(text: str) -> dict[str, list[float]]:
    editor = Editor(text)
    await editor.open()
    await editor.completion(), await editor.hover()
    found: dict[str, list[float]] = {
        name: [] for name in ("completion", "hover", "of the node", "of the text")
    }
    for number in range(EDITS):
        begun = editor.write("Dense" if number % 2 else "Dens")
        found["completion"].append(await editor.completion())
        await asyncio.sleep(0.15)
        found["hover"].append(await editor.hover())
        found["completion"].append(await editor.completion())
        first, last = await editor.mistakes(begun)
        found["of the node"].append(first)
        found["of the text"].append(last)
    burst = []
    for _ in range(10):
        begun = editor.write(editor.word + "e")
        burst.append(asyncio.ensure_future(editor.completion()))
        await asyncio.sleep(0.1)
    found["completion in a burst"] = [await each for each in burst]
    first, last = await editor.mistakes(begun)
    found |= {"of the node after a burst": [first], "of the text after a burst": [last]}
    await editor.shutdown_async(None)
    editor.exit(None)
    await editor.stop()
    return found


if __name__ == "__main__":
    text = spec(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    for name, seconds in asyncio.run(measure(text)).items():
        print(f"{name}: {statistics.median(seconds) * 1e3:.0f} ms, at most {max(seconds) * 1e3:.0f} ms")
