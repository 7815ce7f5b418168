"""The language server: messages to functions of this room, by pygls."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from urllib.parse import unquote, urlparse

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from graphspec.diagnostics import Diagnostic
from graphspec.fixing.edits import Fix
from graphspec.formatting import formatted
from graphspec.server import marks
from graphspec.server.analysis import Analysis, analysed, is_spec, unchecked
from graphspec.server.completion import Completion, completions, symbol_of
from graphspec.server.files import OtherSpecs
from graphspec.server.hover import hover
from graphspec.server.outline import Entry, folds, hints, outline
from graphspec.server.patterns import reread
from graphspec.server.positions import Positions
from graphspec.server.renaming import kept, refusal
from graphspec.version import __version__

DELAY = 0.05
"""Seconds without typing before a text is checked."""
IDLE = 2.0
"""Seconds without typing before memory is freed: programs hold cycles, and who types would feel a pause."""
KINDS = {
    "key": lsp.CompletionItemKind.Property,
    "word": lsp.CompletionItemKind.EnumMember,
    "name": lsp.CompletionItemKind.Variable,
    "function": lsp.CompletionItemKind.Function,
    "column": lsp.CompletionItemKind.Field,
}
SYMBOLS = {
    "node": lsp.SymbolKind.Variable,
    "param": lsp.SymbolKind.Constant,
    "block": lsp.SymbolKind.Class,
    "size": lsp.SymbolKind.TypeParameter,
    "output": lsp.SymbolKind.Property,
}


class SpecServer(LanguageServer):
    """A server, with the analysis of each open file."""

    def __init__(self) -> None:
        super().__init__("graphspec", __version__)
        self.analyses: dict[str, Analysis] = {}
        self.checker = ThreadPoolExecutor(1, "checker")
        self.files = OtherSpecs(self._opened)
        self.saves = Counter[str]()
        """How often each file was saved: what is read of one while it is saved is read again."""
        self.lock = Lock()

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

    def analysis(self, uri: str, check: bool = True) -> Analysis | None:
        """The analysis of the current text of an open file; None for YAML that is not a spec. What completes
        words cannot wait for a `check`: it takes types from the last one.
        """
        document = self.document(uri)
        if document is None:
            return None
        text = document.source
        known = self.analyses.get(uri)
        if known is not None and known.source == text:
            return known
        if not is_spec(text) and known is None:
            return None
        path = path_of(uri)
        if not check and known is not None:
            return unchecked(text, known)
        while True:
            saves = self.saves.copy()
            current = analysed(text, path, known, self.files.models(path))
            with self.lock:
                if all(self.saves[file] == saves[file] for file in current.sources.keys() - {current.shown}):
                    self.analyses[uri] = current
                    return current

    async def checked(self, uri: str) -> Analysis | None:
        """The same, checked beside what else the editor asks; None of a text that changed on the way."""
        version = self.version_of(uri)
        return await asyncio.get_running_loop().run_in_executor(self.checker, self._check, uri, version)

    def _check(self, uri: str, version: int | None) -> Analysis | None:
        if self.version_of(uri) != version:
            return None
        analysis = self.analysis(uri)
        if self.document(uri) is None:  # it was closed
            self.analyses.pop(uri, None)
        return analysis if self.version_of(uri) == version else None

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

    def publish(self, uri: str) -> None:
        """Tells the editor the mistakes of a file."""
        analysis = self.analysis(uri)
        mistakes = [] if analysis is None else list(shown_mistakes(analysis, path_of(uri)))
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, mistakes))


def path_of(uri: str) -> Path | None:
    """The file of an address; None of a text without one."""
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _range(positions: Positions, start: int, end: int) -> lsp.Range:
    return lsp.Range(lsp.Position(*positions.position(start)), lsp.Position(*positions.position(end)))


def shown_mistakes(analysis: Analysis, path: Path | None) -> list[lsp.Diagnostic]:
    """The mistakes of a file. One of a file that it includes is at its first line."""
    positions = analysis.positions
    shown = str(path) if path is not None else "<spec>"
    mistakes = []
    for each in analysis.diagnostics:
        span = each.span
        place = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))
        message = each.message
        if span is not None and span.file == shown and span.line:
            place = _place(positions, each)
        elif span is not None:
            message = f"{span}: {message}"
        parts = [message, *each.notes, f"help: {each.help}" if each.help else ""]
        warning = each.severity == "warning"
        severity = lsp.DiagnosticSeverity.Warning if warning else lsp.DiagnosticSeverity.Error
        mistakes.append(
            lsp.Diagnostic(
                place, "\n".join(filter(None, parts)), severity=severity, code=each.code, source="graphspec"
            )
        )
    return mistakes


def _place(positions: Positions, diagnostic: Diagnostic) -> lsp.Range:
    span = diagnostic.span
    assert span is not None
    last = len(positions.lines) - 1
    start = positions.lines[min(span.line - 1, last)] + span.column - 1
    end = positions.lines[min(span.end_line - 1, last)] + span.end_column - 1
    return _range(positions, start, end)


server = SpecServer()


@server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
def did_open(params: lsp.DidOpenTextDocumentParams) -> None:
    server.publish(params.text_document.uri)


@server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
async def did_change(params: lsp.DidChangeTextDocumentParams) -> None:
    uri, version = params.text_document.uri, params.text_document.version
    await asyncio.sleep(DELAY)
    if await server.checked(uri) is not None and server.version_of(uri) == version:
        server.publish(uri)
        asyncio.get_running_loop().call_later(IDLE, _rest, params)


def _rest(params: lsp.DidChangeTextDocumentParams) -> None:
    if server.version_of(params.text_document.uri) == params.text_document.version:
        gc.collect()


@server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
def did_save(params: lsp.DidSaveTextDocumentParams) -> None:
    """What the file names may have changed, too, and for others that are open what this one says."""
    saved = path_of(params.text_document.uri)
    with server.lock:
        server.saves[str(saved)] += 1
        users = [uri for uri, each in server.analyses.items() if str(saved) in each.sources]
        changed = dict.fromkeys([params.text_document.uri, *users])
        for uri in changed:
            server.analyses.pop(uri, None)
    for uri in changed:
        server.publish(uri)


@server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
def did_close(params: lsp.DidCloseTextDocumentParams) -> None:
    server.analyses.pop(params.text_document.uri, None)
    server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(params.text_document.uri, []))


@server.feature(
    lsp.TEXT_DOCUMENT_COMPLETION,
    lsp.CompletionOptions(trigger_characters=[" ", ",", ":", "{", "[", "$", "(", "."]),
)
def complete(params: lsp.CompletionParams) -> lsp.CompletionList:
    uri = params.text_document.uri
    analysis = server.analysis(uri, check=False)
    if analysis is None:
        return lsp.CompletionList(is_incomplete=False, items=[])
    positions = analysis.positions
    offset = positions.offset(params.position.line, params.position.character)
    path = path_of(uri)
    word, candidates = completions(analysis, offset, path.parent if path is not None else None)
    place = _range(positions, offset - len(word), offset)
    return lsp.CompletionList(is_incomplete=False, items=[_item(each, place) for each in candidates])


def _item(each: Completion, place: lsp.Range) -> lsp.CompletionItem:
    text = f"{each.label}: " if each.kind == "key" else each.label
    return lsp.CompletionItem(
        each.label,
        kind=KINDS[each.kind],
        detail=each.detail or None,
        documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, each.doc) if each.doc else None,
        sort_text=("0" if each.first else "1") + each.label,
        text_edit=lsp.TextEdit(place, text),
    )


@server.feature(lsp.TEXT_DOCUMENT_HOVER)
async def on_hover(params: lsp.HoverParams) -> lsp.Hover | None:
    analysis = await server.checked(params.text_document.uri)
    if analysis is None:
        return None
    offset = analysis.positions.offset(params.position.line, params.position.character)
    path = path_of(params.text_document.uri)
    text = hover(analysis, offset, path.parent if path is not None else None)
    return None if text is None else lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text))


@server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
def definition(params: lsp.DefinitionParams) -> list[lsp.Location]:
    return _locations(params.text_document.uri, params.position, declared=True)


@server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
def references(params: lsp.ReferenceParams) -> list[lsp.Location]:
    locations = _locations(params.text_document.uri, params.position, declared=False)
    if params.context.include_declaration:
        return locations
    declared = _locations(params.text_document.uri, params.position, declared=True)
    return [each for each in locations if each not in declared]


def _locations(uri: str, position: lsp.Position, declared: bool) -> list[lsp.Location]:
    """Where the name at a position is declared, or all places where it is written."""
    analysis = server.analysis(uri, check=False)
    if analysis is None or analysis.names is None:
        return []
    positions = analysis.positions
    symbol = symbol_of(analysis, positions.offset(position.line, position.character))
    if symbol is None:
        return []
    places, path = [], path_of(uri)
    if symbol.kind == "file" and symbol.file is not None:
        places.append(lsp.Location(symbol.file.as_uri(), lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))))
        if declared:
            return places
    texts: dict[Path | None, Positions] = {path: positions}
    declares = []
    for file, document, each in server.files.places(path, analysis.names, symbol, server.root()):
        at = texts.setdefault(file, Positions(document.text))
        where = uri if file == path or file is None else server.open_at(file) or file.as_uri()
        places.append(lsp.Location(where, _range(at, each.start, each.end)))
        declares += places[-1:] if each.declares else []
        if declares and declared:
            return declares
    return places[:1] if declared else places


@server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
def highlights(params: lsp.DocumentHighlightParams) -> list[lsp.DocumentHighlight]:
    analysis = server.analysis(params.text_document.uri, check=False)
    if analysis is None or analysis.names is None:
        return []
    positions = analysis.positions
    symbol = symbol_of(analysis, positions.offset(params.position.line, params.position.character))
    return [
        lsp.DocumentHighlight(
            _range(positions, each.start, each.end),
            lsp.DocumentHighlightKind.Write if each.declares else lsp.DocumentHighlightKind.Read,
        )
        for each in (analysis.names.of(symbol) if symbol is not None else ())
    ]


@server.feature(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
def prepare_rename(params: lsp.PrepareRenameParams) -> lsp.Range | None:
    analysis = server.analysis(params.text_document.uri, check=False)
    if analysis is None or analysis.names is None or not analysis.current:
        return None
    positions = analysis.positions
    here = analysis.names.at(positions.offset(params.position.line, params.position.character))
    return None if here is None or here.symbol.kind == "file" else _range(positions, here.start, here.end)


@server.feature(lsp.TEXT_DOCUMENT_RENAME, lsp.RenameOptions(prepare_provider=True))
def rename(params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
    uri, position = params.text_document.uri, params.position
    analysis = server.analysis(uri)
    if analysis is None or prepare_rename(lsp.PrepareRenameParams(params.text_document, position)) is None:
        return None
    symbol = symbol_of(analysis, analysis.positions.offset(position.line, position.character))
    scopes = analysis.names
    if symbol is not None and symbol.file is not None:
        scopes = server.files.names(symbol.file)
    if symbol is None or scopes is None or analysis.names is None:
        return None
    patterns = list(reread(analysis.names, symbol, params.new_name, analysis.graph))
    there = replace(symbol, file=None)  # as the file that declares it says it
    reason = refusal(scopes, there, params.new_name)
    reason = reason or next((each.reason for each in patterns if each.edits is None), None)
    if reason is not None:
        raise JsonRpcException(reason, lsp.LSPErrorCodes.RequestFailed)
    changes: dict[str, list[lsp.TextEdit]] = {}
    for place in _locations(uri, position, declared=False):
        changes.setdefault(place.uri, []).append(lsp.TextEdit(place.range, params.new_name))
    home = uri if symbol.file is None else server.open_at(symbol.file) or symbol.file.as_uri()
    positions = Positions(scopes.document.text)
    for offset, text in kept(scopes, there):
        changes.setdefault(home, []).append(lsp.TextEdit(_range(positions, offset, offset), text))
    for start, end, text in (edit for each in patterns for edit in each.edits or ()):
        changes.setdefault(uri, []).append(lsp.TextEdit(_range(analysis.positions, start, end), text))
    return lsp.WorkspaceEdit(changes=changes) if changes else None


@server.feature(
    lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])
)
async def code_actions(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    uri = params.text_document.uri
    analysis = await server.checked(uri)
    if analysis is None:
        return []
    positions, path = analysis.positions, path_of(uri)
    shown = str(path) if path is not None else "<spec>"
    actions = []
    for diagnostic, fix in analysis.fixes():
        if diagnostic.span is None or any(edit.span.file != shown for edit in fix.edits):
            continue
        place = _place(positions, diagnostic)
        if place.start.line <= params.range.end.line and params.range.start.line <= place.end.line:
            actions.append(_action(uri, positions, diagnostic, fix))
    return actions


def _action(uri: str, positions: Positions, diagnostic: Diagnostic, fix: Fix) -> lsp.CodeAction:
    edits = [lsp.TextEdit(_range(positions, edit.start, edit.end), edit.content) for edit in fix.edits]
    written = " ".join(edit.content.strip() for edit in fix.edits)
    deletes = not any(edit.content for edit in fix.edits)
    title = (
        f"Replace by `{written}`"
        if written
        else "Delete it"
        if deletes
        else fix.message[:1].upper() + fix.message[1:]
    )
    return lsp.CodeAction(
        f"{title} ({diagnostic.code})",
        kind=lsp.CodeActionKind.QuickFix,
        edit=lsp.WorkspaceEdit(changes={uri: edits}),
        is_preferred=fix.safe,
    )


@server.feature(lsp.TEXT_DOCUMENT_INLAY_HINT)
async def inlay_hints(params: lsp.InlayHintParams) -> list[lsp.InlayHint]:
    analysis = await server.checked(params.text_document.uri)
    if analysis is None:
        return []
    positions = analysis.positions
    visible = []
    for offset, text in hints(analysis):
        position = lsp.Position(*positions.position(offset))
        if params.range.start.line <= position.line <= params.range.end.line:
            visible.append(lsp.InlayHint(position, text, kind=lsp.InlayHintKind.Type, padding_left=True))
    return visible


@server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
def symbols(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
    analysis = server.analysis(params.text_document.uri, check=False)
    if analysis is None:
        return []
    positions = analysis.positions
    return [_symbol(positions, entry, 0) for entry in outline(analysis)]


def _symbol(positions: Positions, entry: Entry, depth: int) -> lsp.DocumentSymbol:
    kind = lsp.SymbolKind.Namespace if entry.below or depth == 0 else lsp.SymbolKind.Variable
    return lsp.DocumentSymbol(
        entry.name,
        kind,
        _range(positions, entry.start, entry.end),
        _range(positions, entry.start, entry.name_end),
        children=[_symbol(positions, each, depth + 1) for each in entry.below],
    )


@server.feature(lsp.WORKSPACE_SYMBOL)
def workspace_symbols(params: lsp.WorkspaceSymbolParams) -> list[lsp.WorkspaceSymbol]:
    root, query = server.root(), params.query.casefold()
    if root is None:
        return []
    found = []
    for path, document, each in server.files.declared(root):
        symbol = each.symbol
        if query in symbol.name.casefold():
            place = lsp.Location(path.as_uri(), _range(Positions(document.text), each.start, each.end))
            found.append(
                lsp.WorkspaceSymbol(place, symbol.name, SYMBOLS[symbol.kind], container_name=symbol.body)
            )
    return found


TOKENS = list(dict.fromkeys(marks.KINDS.values()))


@server.feature(
    lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL,
    lsp.SemanticTokensLegend(token_types=TOKENS, token_modifiers=["declaration"]),
)
def semantic_tokens(params: lsp.SemanticTokensParams) -> lsp.SemanticTokens:
    analysis = server.analysis(params.text_document.uri, check=False)
    data: list[int] = []
    line, column = 0, 0
    for start, end, kind, declares in marks.tokens(analysis) if analysis is not None else ():
        positions = analysis.positions  # type: ignore[union-attr]
        (row, first), (_, last) = positions.position(start), positions.position(end)
        moved = first - column if row == line else first
        data += [row - line, moved, last - first, TOKENS.index(kind), int(declares)]
        line, column = row, first
    return lsp.SemanticTokens(data)


@server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_LINK)
def document_links(params: lsp.DocumentLinkParams) -> list[lsp.DocumentLink]:
    uri = params.text_document.uri
    analysis, path = server.analysis(uri, check=False), path_of(uri)
    if analysis is None or path is None:
        return []
    return [
        lsp.DocumentLink(_range(analysis.positions, start, end), file.resolve().as_uri())
        for start, end, file in marks.links(analysis, path.parent)
    ]


@server.feature(lsp.TEXT_DOCUMENT_FOLDING_RANGE)
def folding(params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange]:
    analysis = server.analysis(params.text_document.uri, check=False)
    if analysis is None:
        return []
    positions = analysis.positions
    return [
        lsp.FoldingRange(positions.position(start)[0], positions.position(end)[0])
        for start, end in folds(analysis)
    ]


@server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
def formatting(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
    text = server.text(params.text_document.uri)
    after = formatted(text) if is_spec(text) else None
    if after is None or after == text:
        return []
    return [lsp.TextEdit(_range(Positions(text), 0, len(text)), after)]


def serve() -> None:
    """Speaks the protocol over standard input and output until the editor ends it."""
    gc.collect()
    gc.freeze()  # what is imported stays
    gc.disable()
    server.start_io()
