"""What an editor marks: words by their kind, the places of a name, files that a text names."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

from graphspec.server.analysis import analysed
from graphspec.server.hover import hover
from graphspec.server.marks import links, tokens

SPEC = """\
params: {width: 8}
inputs:
  x: {shape: [length, 4]}
blocks:
  core:
    inputs: [x]
    nodes: {a: {layer: Dense, units: $width}}
nodes:
  \N{GRINNING FACE}: {op: relu}
  hidden: {block: core, from: x}
  other: {model: "inner.yaml", weights: w.safetensors}
  y: {compute: "hidden + other"}
outputs:
  y: {loss: mse}
data: {train: rows.csv, features: {x: {encode: scale, columns: [area]}}}
"""
INNER = "inputs: {x: {shape: [length, 4]}}\nnodes: {y: {layer: Dense, units: 8}}\noutputs: [y]\n"


def words(text: str) -> list[tuple[str, str, bool]]:
    analysis = analysed(text, None)
    return [(analysis.text[start:end], kind, declares) for start, end, kind, declares in tokens(analysis)]


def test_words_are_marked_by_their_kind() -> None:
    found = words(SPEC)
    assert found[:4] == [
        ("width", "parameter", True),
        ("x", "variable", True),
        ("length", "typeParameter", True),
        ("core", "class", True),
    ]
    assert ("Dense", "type", False) in found
    assert ("width", "parameter", False) in found
    assert ("core", "class", False) in found
    assert ("relu", "function", False) in found
    assert [each for each in found if each[0] == "hidden"] == [
        ("hidden", "variable", True),
        ("hidden", "variable", False),
    ]


def test_marks_are_in_order_and_apart() -> None:
    analysis = analysed(SPEC, None)
    ends = 0
    for start, end, _, _ in tokens(analysis):
        assert ends <= start < end
        ends = end


def test_a_half_typed_text_has_no_marks() -> None:
    assert tokens(analysed("nodes: {a: {layer: [", None)) == []


def test_files_that_are_there_are_links(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(INNER)
    (tmp_path / "rows.csv").write_text("area\n1\n2\n")
    analysis = analysed(SPEC, tmp_path / "spec.yaml")
    found = {(analysis.text[start:end], file.name) for start, end, file in links(analysis, tmp_path)}
    assert ("rows.csv", "rows.csv") in found
    assert not any(name == "w.safetensors" for _, name in found)


def test_the_mouse_on_a_column_shows_its_values(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("area,price\n10,2\n11,3\n12,4\n13,5\n")
    analysis = analysed(SPEC, tmp_path / "spec.yaml")
    said = hover(analysis, SPEC.index("[area]") + 2, tmp_path)
    assert said is not None and "area" in said and "10" in said and "12" in said and "13" not in said
    assert hover(analysis, SPEC.index("[area]") + 2, tmp_path / "nowhere") is None


def test_an_editor_gets_them(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(INNER)
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)

    async def run() -> None:
        editor = LanguageClient("editor", "1")
        await editor.start_io(sys.executable, "-m", "graphspec", "server", "--stdio")
        capabilities = lsp.ClientCapabilities()
        await editor.initialize_async(lsp.InitializeParams(capabilities, root_uri=tmp_path.as_uri()))
        editor.initialized(lsp.InitializedParams())
        item = lsp.TextDocumentItem(path.as_uri(), "yaml", 0, SPEC)
        editor.text_document_did_open(lsp.DidOpenTextDocumentParams(item))
        document = lsp.TextDocumentIdentifier(path.as_uri())
        line = SPEC.splitlines().index('  y: {compute: "hidden + other"}')
        at = lsp.Position(line, SPEC.splitlines()[line].index("hidden") + 1)
        places = await editor.text_document_document_highlight_async(
            lsp.DocumentHighlightParams(document, at)
        )
        assert [(each.range.start.line, each.kind) for each in places or ()] == [
            (9, lsp.DocumentHighlightKind.Write),
            (line, lsp.DocumentHighlightKind.Read),
        ]
        marked = await editor.text_document_semantic_tokens_full_async(lsp.SemanticTokensParams(document))
        assert marked is not None and len(marked.data) == 5 * len(tokens(analysed(SPEC, path)))
        linked = await editor.text_document_document_link_async(lsp.DocumentLinkParams(document))
        assert [Path(str(each.target)).name for each in linked or ()] == ["inner.yaml"]
        found = await editor.workspace_symbol_async(lsp.WorkspaceSymbolParams("HID"))
        assert [each.name for each in found or ()] == ["hidden"]
        everywhere = await editor.workspace_symbol_async(lsp.WorkspaceSymbolParams("y"))
        assert {Path(each.location.uri).name for each in everywhere or ()} == {"spec.yaml", "inner.yaml"}
        await editor.shutdown_async(None)
        editor.exit(None)
        await editor.stop()

    asyncio.run(run())
