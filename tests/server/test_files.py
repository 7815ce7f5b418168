"""Names across files: what a model's file declares is found, renamed and explained wherever it is read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp
from pygls.workspace import Workspace

from graphspec.compiler import compile
from graphspec.server import analysis, protocol, session
from graphspec.server.analysis import Analysis, analysed
from graphspec.server.positions import Positions

ENCODER = """\
params: {width: 8}
inputs:
  x: {shape: [4]}
blocks:
  deep:
    inputs: [x]
    nodes:
      inner: {layer: Dense, units: $width}
    outputs: {made: inner}
nodes:
  hidden: {block: deep, from: x}
  code: {layer: Dense, units: 3, from: hidden}
outputs:
  code: {loss: mse}
  features: {from: hidden, loss: mse}
"""
MAIN = """\
inputs:
  a: {shape: [4]}
shared:
  encoder: {model: parts/encoder.yaml, width: 6}
nodes:
  first: {call: encoder, from: {x: a}}
  other: {model: parts/encoder.yaml, from: {x: a}, width: 5}
  sum: {merge: concatenate, from: [other.features, "other.hidden.inner", other.hidden.made]}
outputs: [sum, first]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "encoder.yaml").write_text(ENCODER)
    (tmp_path / "main.yaml").write_text(MAIN)
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "environment.json").write_text("{}")
    (tmp_path / "runs" / "one" / "main.yaml").write_text(MAIN.replace("parts/", "../../parts/"))
    server = session.SpecServer()
    server.protocol._workspace = protocol_workspace(tmp_path)
    server.text_document_publish_diagnostics = lambda params: None  # type: ignore[method-assign]
    monkeypatch.setattr(protocol, "server", server)
    yield tmp_path


def protocol_workspace(root: Path) -> Workspace:
    return Workspace(root.as_uri())


def opened(path: Path) -> lsp.TextDocumentIdentifier:
    item = lsp.TextDocumentItem(path.as_uri(), "yaml", 0, path.read_text())
    protocol.server.workspace.put_text_document(item)
    protocol.did_open(lsp.DidOpenTextDocumentParams(item))
    return lsp.TextDocumentIdentifier(path.as_uri())


def at(path: Path, words: str, shift: int = 0) -> lsp.Position:
    text = path.read_text()
    return lsp.Position(*Positions(text).position(text.index(words) + shift))


def renamed(path: Path, words: str, shift: int, name: str) -> dict[str, int]:
    """Applies a rename to the files; how many places of each."""
    document = opened(path)
    edit = protocol.rename(lsp.RenameParams(document, at(path, words, shift), name))
    counts = {}
    for uri, edits in (edit.changes if edit is not None and edit.changes else {}).items():
        file = session.path_of(uri)
        assert file is not None
        text, counts[file.name] = file.read_text(), len(edits)
        positions = Positions(text)
        spans = [
            (positions.offset(e.range.start.line, e.range.start.character),
             positions.offset(e.range.end.line, e.range.end.character), e.new_text)
            for e in edits
        ]  # fmt: skip
        for start, end, new in sorted(spans, reverse=True):
            text = text[:start] + new + text[end:]
        file.write_text(text)
    return counts


@pytest.mark.parametrize(
    ("file", "words", "shift", "counts"),
    [
        ("main.yaml", "width: 6", 0, {"encoder.yaml": 2, "main.yaml": 2}),
        ("parts/encoder.yaml", "width: 8", 0, {"encoder.yaml": 2, "main.yaml": 2}),
        ("main.yaml", "x: a", 0, {"encoder.yaml": 2, "main.yaml": 2}),
        ("main.yaml", "other.features", 6, {"encoder.yaml": 2, "main.yaml": 1}),
        ("main.yaml", "hidden.inner", 0, {"encoder.yaml": 3, "main.yaml": 2}),
        ("main.yaml", "hidden.inner", 7, {"encoder.yaml": 2, "main.yaml": 1}),
        ("parts/encoder.yaml", "made: inner", 0, {"encoder.yaml": 1, "main.yaml": 1}),
        ("parts/encoder.yaml", "deep:", 0, {"encoder.yaml": 2}),
        ("main.yaml", "other:", 0, {"main.yaml": 4}),
    ],
)
def test_a_rename_reaches_the_files_that_use_a_name(
    place: Path, file: str, words: str, shift: int, counts: dict[str, int]
) -> None:
    before = compile(place / "main.yaml").summary().total_params
    assert renamed(place / file, words, shift, "another") == counts
    assert compile(place / "main.yaml").summary().total_params == before


@pytest.mark.parametrize("root", ["nothing", "elsewhere"])
def test_a_rename_changes_the_file_that_asks(place: Path, root: str) -> None:
    (place / "elsewhere").mkdir()
    uri = None if root == "nothing" else (place / root).as_uri()
    protocol.server.protocol._workspace = Workspace(uri)
    assert renamed(place / "main.yaml", "other.hidden", 6, "another") == {"encoder.yaml": 3, "main.yaml": 2}


def test_references_are_asked_without_the_declaration(place: Path) -> None:
    main = place / "main.yaml"
    request = lsp.ReferenceParams(lsp.ReferenceContext(False), opened(main), at(main, "other:"))
    assert len(protocol.references(request)) == 3


def test_definition_and_references_across_files(place: Path) -> None:
    main, encoder = place / "main.yaml", place / "parts" / "encoder.yaml"
    document = opened(main)
    found = protocol.definition(lsp.DefinitionParams(document, at(main, "hidden.inner", 7)))
    assert [(each.uri, each.range.start) for each in found] == [(encoder.as_uri(), at(encoder, "inner:"))]
    found = protocol.definition(lsp.DefinitionParams(document, at(main, "parts/encoder")))
    assert [(each.uri, each.range.start) for each in found] == [(encoder.as_uri(), lsp.Position(0, 0))]
    context = lsp.ReferenceContext(include_declaration=True)
    places = protocol.references(lsp.ReferenceParams(context, opened(encoder), at(encoder, "features:")))
    assert [session.path_of(each.uri) for each in places] == [encoder, main]
    assert renamed(main, "parts/encoder", 0, "another") == {}, "a path is no name"
    told = protocol.on_hover(lsp.HoverParams(document, at(main, "width: 6")))
    assert told is not None and "a param of `encoder.yaml`" in told.contents.value  # type: ignore[union-attr]


def test_a_file_that_is_not_saved_counts_as_the_editor_has_it(place: Path) -> None:
    main, encoder = place / "main.yaml", place / "parts" / "encoder.yaml"
    document, other = opened(main), opened(encoder)
    text = "# a new line\n" + ENCODER
    change = lsp.TextDocumentContentChangeWholeDocument(text)
    version = lsp.VersionedTextDocumentIdentifier(uri=other.uri, version=1)
    protocol.server.workspace.update_text_document(version, change)
    asyncio.run(protocol.did_change(lsp.DidChangeTextDocumentParams(version, [change])))
    (found,) = protocol.definition(lsp.DefinitionParams(document, at(main, "hidden.inner")))
    assert found.range.start.line == at(encoder, "hidden:").line + 1


def test_what_is_saved_is_checked_where_it_is_used(place: Path) -> None:
    main, encoder = place / "main.yaml", place / "parts" / "encoder.yaml"
    opened(main)
    assert protocol.server.analyses[main.as_uri()].diagnostics == ()
    encoder.write_text(ENCODER.replace("width: 8", "wide: 8").replace("$width", "$wide"))
    protocol.did_save(lsp.DidSaveTextDocumentParams(opened(encoder)))
    assert {each.code for each in protocol.server.analyses[main.as_uri()].diagnostics} == {"unknown-key"}


def test_files_that_name_each_other_and_files_that_are_none(place: Path) -> None:
    main = place / "main.yaml"
    (place / "circle.yaml").write_text(MAIN.replace("parts/encoder.yaml", "circle.yaml"))
    for name in ("circle.yaml", "missing.yaml", '"\\0.yaml"', "parts", "/dev/zero"):
        main.write_text(MAIN.replace("parts/encoder.yaml", name))
        document = opened(main)
        protocol.server.analyses.clear()
        place_ = at(main, "hidden.inner")
        assert isinstance(protocol.definition(lsp.DefinitionParams(document, place_)), list)


def test_words_are_completed_while_a_check_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, ready, completed = place / "main.yaml", threading.Event(), threading.Event()
    document = opened(main)
    check = analysed

    def slow(*arguments: Any) -> Analysis:
        ready.set()
        assert completed.wait(60)
        return check(*arguments)

    monkeypatch.setattr(session, "analysed", slow)
    text = MAIN.replace("from: {x: a}, width: 5", "from: ")
    change = lsp.TextDocumentContentChangeWholeDocument(text)
    version = lsp.VersionedTextDocumentIdentifier(uri=document.uri, version=1)

    async def typing() -> None:
        protocol.server.workspace.update_text_document(version, change)
        changed = asyncio.create_task(protocol.did_change(lsp.DidChangeTextDocumentParams(version, [change])))
        await asyncio.to_thread(ready.wait, 60)
        position = lsp.Position(*Positions(text).position(text.index("from: }") + 6))
        found = protocol.complete(lsp.CompletionParams(document, position))
        assert "first" in [item.label for item in found.items]
        completed.set()
        await changed

    asyncio.run(typing())
    assert protocol.server.analyses[document.uri].text == text


def test_a_rename_reaches_what_is_open_behind_a_link_and_beside_many_pictures(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "images").mkdir()
    for number in range(30):
        (place / "images" / f"{number}.png").touch()
    monkeypatch.setattr("graphspec.server.files.MOST", 20)
    (place / "link").symlink_to(place, target_is_directory=True)
    linked = opened(place / "link" / "main.yaml")
    encoder = place / "parts" / "encoder.yaml"
    edit = protocol.rename(lsp.RenameParams(opened(encoder), at(encoder, "width: 8"), "size"))
    assert edit is not None and edit.changes is not None and linked.uri in edit.changes


def test_a_file_that_is_saved_during_a_check_is_read_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, encoder = opened(place / "main.yaml"), place / "parts" / "encoder.yaml"
    first = True

    def interrupted(*arguments: Any) -> Analysis:
        nonlocal first
        made, saves = analysed(*arguments), first
        first = False
        if saves:  # by the time that it is read, and before the check is over
            encoder.write_text(ENCODER.replace("units: 3", "unit: 3"))
            protocol.did_save(lsp.DidSaveTextDocumentParams(lsp.TextDocumentIdentifier(encoder.as_uri())))
        return made

    protocol.server.analyses.pop(main.uri)
    monkeypatch.setattr(session, "analysed", interrupted)
    result = protocol.server.analysis(main.uri)
    assert result is not None
    assert [each.code for each in result.diagnostics] == ["unknown-key"]
    assert protocol.server.analyses[main.uri] is result


def test_a_check_of_an_older_text_ends_when_the_text_changes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer text is checked instead, and an answer that goes first is waited for."""
    main, seen = opened(place / "main.yaml"), list[str]()
    text = MAIN.replace("width: 5", "width: 7")

    def typing(*arguments: Any) -> Analysis:
        seen.append(arguments[0])
        if len(seen) == 1:
            version = lsp.VersionedTextDocumentIdentifier(uri=main.uri, version=1)
            change = lsp.TextDocumentContentChangeWholeDocument(text)
            protocol.server.workspace.update_text_document(version, change)
        return analysed(*arguments)

    protocol.server.analyses.pop(main.uri)
    monkeypatch.setattr(session, "analysed", typing)
    protocol.publish(main.uri)
    assert seen == [MAIN, text] and protocol.server.analyses[main.uri].text == text


def test_what_has_not_changed_is_known_while_a_text_waits_for_its_check(place: Path) -> None:
    main = opened(place / "main.yaml")
    where = at(place / "main.yaml", "hidden")
    known = protocol.on_hover(lsp.HoverParams(main, where))
    version = lsp.VersionedTextDocumentIdentifier(uri=main.uri, version=1)
    for text, shown in (("# first\n" + MAIN, known), (MAIN.replace("hidden", "hiddenly"), None)):
        change = lsp.TextDocumentContentChangeWholeDocument(text)
        protocol.server.workspace.update_text_document(version, change)
        assert protocol.server.latest(main.uri) is not protocol.server.analyses[main.uri]
        position = lsp.Position(*Positions(text).position(text.index("hidden")))
        assert protocol.on_hover(lsp.HoverParams(main, position)) == shown
    assert protocol.server.analyses[main.uri].text == MAIN


def test_the_mistake_of_an_edited_node_is_told_before_the_text_is_checked(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[list[str]]()
    monkeypatch.setattr(analysis, "LONG", 0)
    monkeypatch.setattr(
        protocol.server,
        "text_document_publish_diagnostics",
        lambda params: told.append([each.code for each in params.diagnostics]),
    )
    main = opened(place / "main.yaml")
    protocol.publish(main.uri)
    told.clear()
    for number, written in enumerate(("widht: 5", "width: 7", "width: 6")):
        version = lsp.VersionedTextDocumentIdentifier(uri=main.uri, version=number)
        change = lsp.TextDocumentContentChangeWholeDocument(MAIN.replace("width: 5", written))
        protocol.server.workspace.update_text_document(version, change)
        protocol.glance(main.uri)
    assert told == [["unknown-key"]]  # and nothing where nothing has changed
