"""The language server as an editor uses it: over standard input and output, by a client library."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

SPEC = """\
params: {width: 8}
inputs:
  x: {shape: [4]}
nodes:
  # a first \N{GRINNING FACE} layer
  hidden: {layer: Dense, units: $width, activation: relu}
  y: {layer: Dense, units: 2, from: hidden}
outputs:
  y: {loss: mse}
"""
URI = "file:///nowhere/spec.yaml"


class Editor(LanguageClient):
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("editor", "1")
        self.told: asyncio.Queue[lsp.PublishDiagnosticsParams] = asyncio.Queue()

        @self.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def tell(params: lsp.PublishDiagnosticsParams) -> None:
            self.told.put_nowait(params)

        self.edits = 0

    def open(self, text: str) -> None:
        item = lsp.TextDocumentItem(URI, "yaml", self.edits, text)
        self.text_document_did_open(lsp.DidOpenTextDocumentParams(item))

    def change(self, text: str) -> None:
        self.edits += 1
        document = lsp.VersionedTextDocumentIdentifier(uri=URI, version=self.edits)
        changes = [lsp.TextDocumentContentChangeWholeDocument(text)]
        self.text_document_did_change(lsp.DidChangeTextDocumentParams(document, changes))

    async def mistakes(self) -> list[lsp.Diagnostic]:
        return list((await asyncio.wait_for(self.told.get(), 60)).diagnostics)


def at(text: str, word: str, shift: int = 0) -> lsp.Position:
    """Where a word of a text begins; columns count units of UTF-16."""
    offset = text.index(word) + shift
    line = text.count("\n", 0, offset)
    before = text[text.rfind("\n", 0, offset) + 1 : offset]
    return lsp.Position(line, len(before.encode("utf-16-le")) // 2)


DOCUMENT = lsp.TextDocumentIdentifier(URI)


def session(*steps: Callable[[Editor], Awaitable[Any]]) -> None:
    """Runs an editor's session with a server of its own, and ends it as editors do."""

    async def run() -> None:
        editor = Editor()
        await editor.start_io(sys.executable, "-m", "graphspec", "server", "--stdio")
        parameters = lsp.InitializeParams(capabilities=lsp.ClientCapabilities())
        await editor.initialize_async(parameters)
        editor.initialized(lsp.InitializedParams())
        for each in steps:
            await each(editor)
        await editor.shutdown_async(None)
        editor.exit(None)
        await editor.stop()

    asyncio.run(run())


async def _writes(editor: Editor) -> None:
    editor.open(SPEC.replace("layer: Dense, units: $width", "layer: Dens, units: $width"))
    (mistake,) = await editor.mistakes()
    assert (mistake.code, mistake.range.start) == ("unknown-layer", lsp.Position(5, 18))
    whole = lsp.Range(lsp.Position(5, 0), lsp.Position(5, 60))
    context = lsp.CodeActionContext([])
    (action,) = await editor.text_document_code_action_async(  # type: ignore[misc]
        lsp.CodeActionParams(DOCUMENT, whole, context)
    )
    assert isinstance(action, lsp.CodeAction) and action.edit is not None and action.edit.changes is not None
    assert [edit.new_text for edit in action.edit.changes[URI]] == ["Dense"] and action.is_preferred
    editor.change(SPEC)
    assert await editor.mistakes() == []

    half = SPEC.replace("units: 2, from: hidden}", "units: 2, from: }")
    editor.change(half)
    assert await editor.mistakes() != []
    position = at(half, "from: }", len("from: "))
    found = await editor.text_document_completion_async(lsp.CompletionParams(DOCUMENT, position))
    assert isinstance(found, lsp.CompletionList)
    assert [(item.label, item.detail) for item in found.items] == [
        ("x", "float32[batch, 4]"),
        ("hidden", "float32[batch, 8]"),
    ]


async def _reads(editor: Editor) -> None:
    editor.open(SPEC)
    assert await editor.mistakes() == []
    place = at(SPEC, "from: hidden", len("from: "))
    told = await editor.text_document_hover_async(lsp.HoverParams(DOCUMENT, place))
    assert told is not None and isinstance(told.contents, lsp.MarkupContent)
    assert "`[batch, 4] -> [batch, 8]`" in told.contents.value and "40 parameters" in told.contents.value
    (target,) = await editor.text_document_definition_async(  # type: ignore[misc]
        lsp.DefinitionParams(DOCUMENT, place)
    )
    assert isinstance(target, lsp.Location) and target.range.start == at(SPEC, "hidden:")
    context = lsp.ReferenceContext(include_declaration=True)
    places = await editor.text_document_references_async(lsp.ReferenceParams(context, DOCUMENT, place))
    assert places is not None and len(places) == 2
    edit = await editor.text_document_rename_async(lsp.RenameParams(DOCUMENT, place, "first"))
    assert edit is not None and edit.changes is not None and len(edit.changes[URI]) == 2
    for name, reason in (("no name", "is not a name"), ("y", "already")):
        with pytest.raises(JsonRpcException, match=reason):
            await editor.text_document_rename_async(lsp.RenameParams(DOCUMENT, place, name))
    editor.change(SPEC + 'train: {freeze: ["hid*", "*.hidden.*"]}\n')
    with pytest.raises(JsonRpcException, match=r"the pattern `hid.` of weights"):
        await editor.text_document_rename_async(lsp.RenameParams(DOCUMENT, place, "first"))
    editor.change(SPEC)
    everything = lsp.Range(lsp.Position(0, 0), lsp.Position(99, 0))
    hints = await editor.text_document_inlay_hint_async(lsp.InlayHintParams(DOCUMENT, everything))
    assert [hint.label for hint in hints or ()] == ["-> [batch, 8]", "-> [batch, 2]"]
    outline = await editor.text_document_document_symbol_async(lsp.DocumentSymbolParams(DOCUMENT))
    assert [each.name for each in outline or ()] == ["params", "inputs", "nodes", "outputs"]
    folds = await editor.text_document_folding_range_async(lsp.FoldingRangeParams(DOCUMENT))
    assert [(each.start_line, each.end_line) for each in folds or ()] == [(1, 2), (3, 6), (7, 8)]
    options = lsp.FormattingOptions(tab_size=2, insert_spaces=True)
    edits = await editor.text_document_formatting_async(lsp.DocumentFormattingParams(DOCUMENT, options))
    assert [edit.new_text for edit in edits or ()] == [SPEC.replace("  y: {layer", "  y:      {layer")]


async def _other(editor: Editor) -> None:
    editor.open("services:\n  web: {image: nginx}\n")
    assert await editor.mistakes() == []


def test_a_session() -> None:
    """What has nothing to do with us is opened, then a spec with a mistake, and a right one."""
    session(_other, _writes, _reads)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such pipes")
def test_what_is_not_open_is_not_read(tmp_path: Path) -> None:
    """A pipe would be waited for, and nothing be answered any more."""
    os.mkfifo(tmp_path / "pipe.yaml")
    pipe = lsp.TextDocumentIdentifier((tmp_path / "pipe.yaml").as_uri())
    gone = lsp.TextDocumentIdentifier((tmp_path / "gone.yaml").as_uri())
    options = lsp.FormattingOptions(tab_size=2, insert_spaces=True)

    async def asks(editor: Editor) -> None:
        for document in (pipe, gone):
            hover = lsp.HoverParams(document, lsp.Position(0, 0))
            assert await asyncio.wait_for(editor.text_document_hover_async(hover), 60) is None
            formatting = lsp.DocumentFormattingParams(document, options)
            assert not await asyncio.wait_for(editor.text_document_formatting_async(formatting), 60)
        editor.text_document_did_save(lsp.DidSaveTextDocumentParams(pipe))
        assert await editor.mistakes() == []

    session(asks, _reads)
