"""The language server: messages to functions of this room, by pygls."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException

from graphspec.diagnostics import Diagnostic
from graphspec.fixing.edits import Fix
from graphspec.formatting import formatted
from graphspec.server import marks
from graphspec.server.analysis import Analysis, is_spec
from graphspec.server.completion import Completion, completions, nearest, reference, symbol_of
from graphspec.server.hover import hover
from graphspec.server.outline import Entry, folds, hints, outline
from graphspec.server.patterns import reread
from graphspec.server.positions import Positions
from graphspec.server.renaming import kept, refusal
from graphspec.server.session import DELAY, SpecServer, path_of

IDLE = 2.0
"""Seconds without typing before memory is freed: programs hold cycles, and who types would feel a pause."""
MOST = 200
"""Words that are offered at once: an editor asks again when more is typed."""
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
F = TypeVar("F", bound=Callable[..., Any])


def in_turn(feature: str, options: Any = None) -> Callable[[F], F]:
    """A function that answers a request in a thread, when the current text is checked."""

    def register(function: F) -> F:
        @server.feature(feature, options)
        @server.thread()
        @wraps(function)
        def answer(params: Any) -> Any:
            with server.checking:
                return function(params)

        return function

    return register


@server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
@server.thread()
def did_open(params: lsp.DidOpenTextDocumentParams) -> None:
    publish(params.text_document.uri)
    reference()


@server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
async def did_change(params: lsp.DidChangeTextDocumentParams) -> None:
    uri, version = params.text_document.uri, params.text_document.version
    await asyncio.sleep(DELAY)
    if server.version_of(uri) == version:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, glance, uri)
        await loop.run_in_executor(server.checker, publish, uri)
        loop.call_later(IDLE, _rest, params)


def _rest(params: lsp.DidChangeTextDocumentParams) -> None:
    if server.version_of(params.text_document.uri) == params.text_document.version:
        gc.collect()


def glance(uri: str) -> None:
    """Tells the editor the mistakes of the node that was edited, in a text whose check takes longer."""
    found = server.glance(uri)
    if found is not None:
        _tell(uri, found)


def publish(uri: str) -> None:
    """Tells the editor the mistakes of a file; its names are looked up before anyone asks for them."""
    analysis = server.analysis(uri)
    _tell(uri, analysis)
    if analysis is not None and analysis.names is not None:
        analysis.names.at(0)


def _tell(uri: str, analysis: Analysis | None) -> None:
    mistakes = [] if analysis is None else list(shown_mistakes(analysis, path_of(uri)))
    server.text_document_publish_diagnostics(
        lsp.PublishDiagnosticsParams(uri, mistakes, server.version_of(uri))
    )


@server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
@server.thread()
def did_save(params: lsp.DidSaveTextDocumentParams) -> None:
    """Checks this file again, whose data may have changed, and the open files that read it."""
    saved = path_of(params.text_document.uri)
    with server.lock:
        server.saves[str(saved)] += 1
        users = [uri for uri, each in server.analyses.items() if str(saved) in each.sources]
        changed = dict.fromkeys([params.text_document.uri, *users])
        for uri in changed:
            server.analyses.pop(uri, None)
    for uri in changed:
        publish(uri)


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
    with server.first():
        analysis = server.latest(uri)
        if analysis is None:
            return lsp.CompletionList(is_incomplete=False, items=[])
        positions = analysis.positions
        offset = positions.offset(params.position.line, params.position.character)
        path = path_of(uri)
        word, candidates = completions(analysis, offset, path.parent if path is not None else None)
        place = _range(positions, offset - len(word), offset)
        shown = [_item(each, place) for each in nearest(candidates, word, MOST)]
        return lsp.CompletionList(is_incomplete=len(shown) < len(candidates), items=shown)


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
def on_hover(params: lsp.HoverParams) -> lsp.Hover | None:
    with server.first():
        analysis = server.latest(params.text_document.uri)
        if analysis is None:
            return None
        offset = analysis.positions.offset(params.position.line, params.position.character)
        path = path_of(params.text_document.uri)
        text = hover(analysis, offset, path.parent if path is not None else None)
    return None if text is None else lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text))


@in_turn(lsp.TEXT_DOCUMENT_DEFINITION)
def definition(params: lsp.DefinitionParams) -> list[lsp.Location]:
    return _locations(params.text_document.uri, params.position, declared=True)


@in_turn(lsp.TEXT_DOCUMENT_REFERENCES)
def references(params: lsp.ReferenceParams) -> list[lsp.Location]:
    locations = _locations(params.text_document.uri, params.position, declared=False)
    if params.context.include_declaration:
        return locations
    declared = _locations(params.text_document.uri, params.position, declared=True)
    return [each for each in locations if each not in declared]


def _locations(uri: str, position: lsp.Position, declared: bool) -> list[lsp.Location]:
    """Where the name at a position is declared, or all places where it is written."""
    analysis = server.analysis(uri)
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


@in_turn(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
def highlights(params: lsp.DocumentHighlightParams) -> list[lsp.DocumentHighlight]:
    analysis = server.analysis(params.text_document.uri)
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


@in_turn(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
def prepare_rename(params: lsp.PrepareRenameParams) -> lsp.Range | None:
    analysis = server.analysis(params.text_document.uri)
    if analysis is None or analysis.names is None or not analysis.current:
        return None
    positions = analysis.positions
    here = analysis.names.at(positions.offset(params.position.line, params.position.character))
    return None if here is None or here.symbol.kind == "file" else _range(positions, here.start, here.end)


@in_turn(lsp.TEXT_DOCUMENT_RENAME, lsp.RenameOptions(prepare_provider=True))
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


@in_turn(
    lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])
)
def code_actions(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    uri = params.text_document.uri
    analysis = server.analysis(uri)
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


@in_turn(lsp.TEXT_DOCUMENT_INLAY_HINT)
def inlay_hints(params: lsp.InlayHintParams) -> list[lsp.InlayHint]:
    analysis = server.analysis(params.text_document.uri)
    if analysis is None:
        return []
    positions = analysis.positions
    visible = []
    for offset, text in hints(analysis):
        position = lsp.Position(*positions.position(offset))
        if params.range.start.line <= position.line <= params.range.end.line:
            visible.append(lsp.InlayHint(position, text, kind=lsp.InlayHintKind.Type, padding_left=True))
    return visible


@in_turn(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
def symbols(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
    analysis = server.analysis(params.text_document.uri)
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


@in_turn(lsp.WORKSPACE_SYMBOL)
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


@in_turn(
    lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL,
    lsp.SemanticTokensLegend(token_types=TOKENS, token_modifiers=["declaration"]),
)
def semantic_tokens(params: lsp.SemanticTokensParams) -> lsp.SemanticTokens:
    analysis = server.analysis(params.text_document.uri)
    data: list[int] = []
    line, column = 0, 0
    for start, end, kind, declares in marks.tokens(analysis) if analysis is not None else ():
        positions = analysis.positions  # type: ignore[union-attr]
        (row, first), (_, last) = positions.position(start), positions.position(end)
        moved = first - column if row == line else first
        data += [row - line, moved, last - first, TOKENS.index(kind), int(declares)]
        line, column = row, first
    return lsp.SemanticTokens(data)


@in_turn(lsp.TEXT_DOCUMENT_DOCUMENT_LINK)
def document_links(params: lsp.DocumentLinkParams) -> list[lsp.DocumentLink]:
    uri = params.text_document.uri
    analysis, path = server.analysis(uri), path_of(uri)
    if analysis is None or path is None:
        return []
    return [
        lsp.DocumentLink(_range(analysis.positions, start, end), file.resolve().as_uri())
        for start, end, file in marks.links(analysis, path.parent)
    ]


@in_turn(lsp.TEXT_DOCUMENT_FOLDING_RANGE)
def folding(params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange]:
    analysis = server.analysis(params.text_document.uri)
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
