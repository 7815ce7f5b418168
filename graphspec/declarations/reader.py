"""How parts of a document are read: settings, mappings and names, each mistake reported at its place."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import Any

from graphspec.declarations.body import Body
from graphspec.diagnostics import Change, Diagnostic, Diagnostics, Label, Remedy, become, write
from graphspec.language.schema import IDENTIFIER, RESERVED
from graphspec.settings import Problem, Setting, SettingError, show, unquoted, validate
from graphspec.source import Document, Path

LOSSY = frozenset(
    [
        "yaml-tag",
        "merge-key",
        "null-key",
        "complex-key",
        "unknown-anchor",
        "recursive-anchor",
        "number-too-large",
    ]
)
"""Mistakes of the YAML after which part of a value is missing, or another."""


class DeclarationReader:
    """Reads the parts of a document, and reports each structural mistake at its place."""

    def __init__(self, document: Document, diagnostics: Diagnostics):
        self.document, self.diagnostics = document, diagnostics
        self.damage = [
            d.span for d in diagnostics if d.code in LOSSY and d.span and d.span.file == document.file
        ]

    def error(
        self,
        code: str,
        path: Path,
        message: str,
        help: str | None = None,
        *,
        key: bool = False,
        labels: tuple[Label, ...] = (),
    ) -> None:
        span = self.document.key(path) if key else self.document.span(path)
        self.diagnostics.add(Diagnostic(code, message, span, help=help, labels=labels))

    def at(self, path: Path) -> Any:
        """The value at a path of the document."""
        value = self.document.value
        for key in path:
            value = value[key]
        return value

    def damaged(self, path: Path) -> bool:
        """Whether the YAML inside the entry at `path` could not be read, so that missing keys there are not
        errors.
        """
        if not self.damage:
            return False
        key, value = self.document.key(path), self.document.span(path)
        start, end = (key.line, key.column), (value.end_line, value.end_column)
        return any(start <= (span.line, span.column) < end for span in self.damage)

    def setting(self, cls: type[Any], value: Any, what: str, path: Path) -> Any:
        """`cls` read from `value`, or None with its problems reported."""
        if path and self.damaged(path):
            return None
        try:
            return validate(cls, value, what)
        except SettingError as error:
            for problem in error.problems:
                self.problem(problem, path)
            return None

    def keys(self, cls: type[Setting], value: Any, what: str, path: Path) -> dict[str, Any] | None:
        """The mapping that `cls` is read from once its values are known, or None with the keys reported that
        `cls` does not have.
        """
        legal = {field.alias or name for name, field in cls.model_fields.items()}
        unknown = value
        if isinstance(value, dict):
            unknown = {key: item for key, item in value.items() if key not in legal}
        if unknown != {} or self.damaged(path):
            try:
                validate(cls, unknown, what)
            except SettingError as error:
                for problem in () if path and self.damaged(path) else error.problems:
                    word = str(problem.path[-1]) if problem.path else ""
                    told = (
                        cls.meaning(word, value) if problem.code == "unknown-key" and word in value else None
                    )
                    self.problem(replace(problem, help=told or problem.help), path)
            return None
        return dict(value)

    def problem(self, problem: Problem, path: Path) -> None:
        missing = problem.code == "missing-key"
        if missing and not path:
            inside = any(
                isinstance(item, dict) and problem.path[-1] in item for item in self.document.value.values()
            )
            if not self.damage and not inside:
                first = next(iter(self.document.value), "")
                self.error(problem.code, (first,), problem.message, problem.help, key=True)
            return
        where = path if missing else (*path, *problem.path)
        self.error(
            problem.code,
            where,
            problem.message,
            problem.help,
            key=missing or problem.code == "unknown-key",
        )

    def mapping(self, value: Any, path: Path, what: str, body: Body | None = None) -> dict[str, Any]:
        """`value` if it is a mapping, or null for an absent one; anything else is reported."""
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        if body is not None:
            body.incomplete = True
        if not self.damaged(path):
            shown = "a list" if isinstance(value, list) else show(value)
            self.error(
                "wrong-type", path, f"{what} is a mapping from names, not {shown}", _as_mapping(path, value)
            )
        return {}

    def name(self, word: str, path: Path, what: str, *, reserved: bool = False) -> bool:
        """Whether a name is an identifier that is not reserved."""
        if not IDENTIFIER.match(word):
            unaccented = unicodedata.normalize("NFKD", word.replace("ß", "ss"))
            unaccented = "".join(c for c in unaccented if not unicodedata.combining(c))
            fixed = re.sub(r"\W+", "_", unaccented, flags=re.ASCII).strip("_")
            help = (
                write(fixed, safe=False)
                if IDENTIFIER.match(fixed)
                else "letters, digits and underscores, no digit first"
            )
            if spaceless := re.match(r"([A-Za-z_]\w*:)([{\[])", word):
                opened = "".join(spaceless.groups())
                help = Remedy(
                    f"a colon needs a space after it: write `{spaceless[1]} {spaceless[2]}`",
                    Change(" ".join(spaceless.groups()), opened),
                )
            self.error(
                "bad-name", path, f"the name of {what} is an ASCII identifier, not `{word}`", help, key=True
            )
            return False
        if reserved and word in RESERVED:
            self.error("reserved-name", path, f"`{word}` is reserved and cannot name {what}", key=True)
            return False
        return True


_EXAMPLES = {
    "inputs": "{shape: [64]}",
    "nodes": "{layer: Dense, units: 32}",
    "shared": "{layer: Dense, units: 32}",
    "blocks": "{inputs: [x], nodes: {...}}",
    "outputs": "{loss: mse}",
    "params": "32",
    "presets": "{width: 64}",
}


def named_items(items: list[Any]) -> dict[str, Any] | None:
    """A list of `{name: x, ...}`, or of `{x: {...}}`, as a mapping; None where it is another list, or names
    repeat.
    """
    named: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, dict):
            return None
        word = next((key for key in ("name", "id") if isinstance(item.get(key), str)), "name")
        name, rest = item.get(word), {key: value for key, value in item.items() if key != word}
        if len(item) == 1 and isinstance(next(iter(item.values())), dict):
            ((name, rest),) = item.items()
        if not isinstance(name, str) or name in named:
            return None
        named[name] = rest
    return named


def _as_mapping(path: Path, value: Any) -> str | None:
    """How a section that is a list, or a bare name, is written as a mapping."""
    example = _EXAMPLES.get(str(path[-1]))
    items = value if isinstance(value, list) else [value]
    if example is None or not items:
        return None
    named = named_items(items)
    if named is not None:
        first, inner = next(iter(named.items()))
        shown = f"{{{', '.join(f'{key}: {unquoted(item)}' for key, item in inner.items())}}}"
        safe = all(IDENTIFIER.match(name) for name in named)
        return become(named, f"names without dashes: `{first}: {shown}`", safe=safe)
    if all(isinstance(item, dict) and len(item) == 1 for item in items):
        first = next(iter(items[0]))
        written = example if isinstance(items[0][first], dict) else items[0][first]
        return f"names without dashes: `{first}: {written}`"
    if path[-1] == "params" and path[0] == "blocks" and all(isinstance(item, str) for item in items):
        written = ", ".join(f"{item}: required" for item in items)
        return become(dict.fromkeys(items, "required"), f"write `params: {{{written}}}`")
    if isinstance(items[0], str) and IDENTIFIER.match(items[0]):
        return f"write {{{items[0]}: {example}}}"
    if isinstance(items[0], dict):
        word = items[0].get("name") or items[0].get("layer") or "name"
        name = str(word).lower() if IDENTIFIER.match(str(word)) else "name"
        shown = ", ".join(f"{key}: {unquoted(item)}" for key, item in items[0].items() if key != "name")
        return f"each needs its own name, without a dash: `{name}: {{{shown}}}`"
    return f"write {{name: {example}}}"
