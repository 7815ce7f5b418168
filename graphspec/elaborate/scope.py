"""The scope of the expressions of a body: evaluates params, values and flags, and reports errors."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphspec.declarations.body import Body
from graphspec.diagnostics import Change, Remedy, Span, certain, did_you_mean, nearest, write
from graphspec.elaborate.context import Context
from graphspec.elaborate.values import FAILED, NOTHING, Resolved
from graphspec.expressions import Expression, ExpressionError, evaluate, names_in, parse_value
from graphspec.expressions.tracing import retraced
from graphspec.graph import ArgumentExpression, Value
from graphspec.settings import Problem, SettingError, show
from graphspec.settings.remedies import boolean_help
from graphspec.source import Document, Path
from graphspec.tensor import show_size
from graphspec.traced import Symbolic, leafed, outward, plain

_TYPE_NAMES = {"int": "3", "integer": "3", "float": "0.5", "number": "0.5", "bool": "true", "boolean": "true"}
"""Types that people write in place of a param's value, each with a value of that type."""


class _Reported(Exception):
    """Raised when an expression depends on an input whose error is already reported."""


@dataclass(eq=False, slots=True)
class Scope:
    """The params that the expressions of one body see, and what `channels` tells of its inputs.

    `params` grow as `add_params` computes them. `unknown` are those whose own mistake is reported: what uses
    them is none. `inputs` are a block's; `notes` tell where the body is used, for its errors.
    """

    context: Context
    document: Document
    params: dict[str, Any]
    unknown: frozenset[str] = frozenset()
    lost: bool = False  # the `params` of the file or block could not be read
    inputs: Mapping[str, Resolved] | None = None
    notes: tuple[str, ...] = ()
    origins: Mapping[str, Span] = field(default_factory=dict)  # of params that a use of a block gives
    bodies: tuple[Body, ...] = ()  # of the document, that declare its params: a block's, then the file's
    given: dict[str, bool] = field(init=False)  # `given(memory)` -> whether that input has a value
    formulas: dict[str, Symbolic] | None = None  # what a name is in formulas; None where none are kept
    bindings: dict[Symbolic, Any] = field(default_factory=dict)  # what that is in the body around this one

    def __post_init__(self) -> None:
        inputs = (self.inputs or {}).items()
        self.given = {f"given({name})": value is not NOTHING for name, value in inputs}

    def error(self, code: str, span: Span | None, message: str, help: str | None = None, **more: Any) -> None:
        if span is None:
            return  # asked for another instance's sake, which has reported it
        notes = (*more.pop("notes", ()), *self.notes)
        self.context.error(code, span, message, help, notes=notes, **more)

    def evaluate(self, value: Any, path: Path, index: int | None = None, start: int = 0) -> Any:
        """A plain value with its expressions evaluated, or FAILED after reporting an error.

        `start` is where it begins in the text at the path, if it is only a part of that.
        """
        if value is None or isinstance(value, int | float) or (value.__class__ is str and "$" not in value):
            return value
        try:
            if self.unknown and names_in(value) & self.unknown:
                return FAILED
            return self._evaluated(value, index)
        except _Reported:
            return FAILED
        except ExpressionError as error:
            if error.code == "unknown-name" and self.lost:
                return FAILED
            if error.code == "unknown-name" and error.help and not error.help.startswith("did you"):
                error.help = did_you_mean(error.message.split("`")[1], self.unknown, error.help)
            if error.code == "unknown-name" and index is None and error.message.startswith("`index`"):
                error.help = "`index` counts the instances of a node with `repeat` or `parallel`"
            if error.code == "unknown-vocabulary":
                error.help = self._feature_of(error.message.split("`")[1]) or error.help
            self.expression_error(error.shifted(start), path)
            return FAILED

    def _evaluated(self, value: Any, index: int | None = None) -> Any:
        names = self._names(index)
        result = evaluate(value, names, self.channels if self.inputs is not None else None)
        return result if self.formulas is None else retraced(value, result, self.formulas, names)

    def traced(self, value: Any) -> Any:
        """A value that was evaluated before without a mistake, with its formula."""
        return self._evaluated(value)

    def _under_its_name(self, name: str, value: Any, given: bool) -> Any:
        """The value of a param, under its own name in formulas; a `given` one is of the body around."""
        leaf = (self.formulas or {}).get(name)
        if leaf is None:
            return value
        self.bindings[leaf] = value if given else outward(value, self.bindings)
        return leafed(plain(value), leaf)

    def _names(self, index: int | None) -> Mapping[str, Any]:
        """The values of names, `vocabulary(kinds)` and `given(memory)` in an expression."""
        more: list[dict[str, Any]] = [self.given, self.context.vocabularies.get(self.document.file, {})]
        if index is not None:
            more.append({"index": index})
        scopes = [names for names in more if names]
        return ChainMap(*scopes, self.params) if scopes else self.params

    def _feature_of(self, column: str) -> str | None:
        """The remedy for the name of a column in place of that of the only feature that reads it."""
        data = self.document.value.get("data")
        features = data.get("features") if isinstance(data, dict) else None
        names = [
            name
            for name, feature in (features.items() if isinstance(features, dict) else ())
            if isinstance(feature, dict)
            and column in (feature.get("column"), *(feature.get("columns") or ()))
        ]
        return write(names[0], f": the feature that reads the column `{column}`") if len(names) == 1 else None

    def given_at(self, written: Any) -> dict[str, Span]:
        """The params of an expression, and where they have their values from: a use of the block, the command
        line, or where they are declared.
        """
        try:
            names = names_in(written)
        except ExpressionError:
            return {}
        places = {name: self.origins.get(name) or self._declared_at(name) for name in sorted(names)}
        return {name: place for name, place in places.items() if place is not None}

    def _declared_at(self, name: str) -> Span | None:
        """Where the value of a param is written, in the document or on the command line."""
        body = next((each for each in self.bodies if name in each.params), None)
        if body is None or body.params[name] == "required":
            return None
        return self.document.span(body.param_path(name))

    def insertion(self, written: str, index: int | None = None) -> str | None:
        """How a text in the place of a number is written so that it is one: `width` as `$width`, `$width / 2`
        as `$(width // 2)`; None where it names no param.
        """
        inner = re.sub(r"\$\((.*?)\)|\$(?=\w)|\bparams?\.", lambda match: match[1] or "", written)
        candidates = [f"${inner}"] if inner.isidentifier() and inner != written[1:] else []
        candidates += [f"$({re.sub(r'(?<!/)/(?!/)', '//', inner)})", f"$(int({inner}))"]
        for text in candidates:
            try:
                names = names_in(text)
                value = evaluate(text, self._names(index), self.channels if self.inputs is not None else None)
            except (ExpressionError, _Reported):
                continue
            known = bool(names) and names <= self.params.keys() | {"index"}
            if known and text != written and isinstance(value, int):
                return write(text)
        return None

    def param_remedy(self, written: Any, value: Any, sample: str | None = None) -> str | None:
        """Remedy where `written`, whose `value` does not fit, is a param that is null or names a type."""
        names = names_in(written)
        if len(names) != 1 or self.params.get(name := next(iter(names)), NOTHING) != value:
            return None
        if value is None:
            return f"the param `{name}` is null: give it a value" + (f", such as {sample}" if sample else "")
        if isinstance(value, str) and value in _TYPE_NAMES:
            return f"a param has a value, not a type: write `{name}: {_TYPE_NAMES[value]}`"
        return None

    def flag(
        self, value: Any, path: Path, index: int | None = None, notes: Iterable[str] = ()
    ) -> bool | None:
        """A boolean key, such as `when`; None after reporting that it is not boolean."""
        evaluated = self.evaluate(value, path, index)
        if isinstance(evaluated, bool):
            return evaluated
        if evaluated is not FAILED:
            message = f"`{path[-1]}` is true or false, not {show(evaluated)}"
            help = boolean_help(evaluated) or self.param_remedy(value, evaluated, "true")
            if isinstance(evaluated, str):
                help = self._as_flag(evaluated, index) or help
                if evaluated.lower() in ("training", "train", "is_training"):
                    help = "leave it out: what acts in training alone knows by itself"
            self.error("wrong-type", self.document.span(path), message, help, notes=notes)
        return None

    def _as_flag(self, written: str, index: int | None) -> str | None:
        """How a text in the place of a flag is written so that it is one: `rate > 0` as `$(rate > 0)`."""
        text = f"${written}" if written in self.params else f"$({written})"
        try:
            known = bool(names_in(text)) and names_in(text) <= self.params.keys() | {"index"}
            return write(text) if known and isinstance(evaluate(text, self._names(index)), bool) else None
        except (ExpressionError, _Reported):
            return None

    def channels(self, name: str) -> int:
        """`channels(name)` in an expression: the last axis of an input, which must be known."""
        inputs = self.inputs or {}
        value = inputs.get(name)
        if isinstance(value, Value):
            size = value.tensor.shape[-1]
            if isinstance(size, int):
                return size
            message = f"the last axis of `{name}` is `{show_size(size)}`, and `channels` needs a number"
            help = f"write a number for it where `{name}` comes from, or a param in place of `channels`"
            raise ExpressionError("unknown-channels", message, help=help)
        if value is FAILED:
            raise _Reported
        if name in inputs:
            raise ExpressionError("unknown-channels", f"`{name}` is left out here, and has no last axis")
        word = nearest(name, inputs)
        help = f"inputs here: {', '.join(inputs)}"
        if word:
            change = Change(word, name, safe=certain(name, word, inputs))
            help = Remedy(f"did you mean `channels({word})`?", change)
        raise ExpressionError("unknown-channels", f"`{name}` is not an input here", help=help)

    def add_params(
        self, path: Path, declared: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The values of a body's own params, which may use one another in any order; the scope sees them now.

        A param that is `required` and not given is left out: its absence is the caller's to report.
        """
        values: dict[str, Any] = {}
        active: list[str] = []
        failures = set(self.unknown)

        def resolve(name: str) -> None:
            if name in values or name in failures:
                return
            if name in arguments:
                values[name] = self.params[name] = self._under_its_name(name, arguments[name], given=True)
                return
            if declared[name] == "required":
                return
            here = (*path, "params", name)
            if name in active:
                chain = " -> ".join([*active[active.index(name) :], name])
                message = f"params depend on one another in a cycle: {chain}"
                span = self.document.span(here)
                help = "give one of them a value"
                if active[-1] == name and any(name in body.params for body in self.bodies[1:]):
                    help = f"the block sees the `{name}` of the file: remove it here, or rename it"
                self.error("cycle", span, message, help)
                failures.update(active[active.index(name) :])
                return
            active.append(name)
            try:
                needed = names_in(declared[name])
                for other in needed & declared.keys():
                    resolve(other)
                if not needed & failures:
                    value = self._evaluated(declared[name])
                    values[name] = self.params[name] = self._under_its_name(name, value, given=False)
            except _Reported:
                failures.add(name)
            except ExpressionError as error:
                self.expression_error(error, here)
                failures.add(name)
            active.pop()
            if name not in values:
                failures.add(name)

        for name in declared:
            resolve(name)
        self.unknown = frozenset(failures)
        return values

    def expression_error(self, error: ExpressionError, path: Path) -> None:
        """Reports an expression's error at its characters."""
        span = self.document.within((*path, *error.path), error.start, error.end)
        self.error(error.code, span, error.message, error.help)

    def setting_error(self, error: SettingError, path: Path) -> None:
        """Reports the problems of a setting that is written at `path`."""
        self.problems(error.problems, path)

    def problems(self, problems: Iterable[Problem], path: Path) -> None:
        for problem in problems:
            where = (*path, *problem.path)
            key = problem.code in ("unknown-key", "missing-key", "unused-feature", "unknown-callback")
            span = self.document.key(where) if key else self.document.span(where)
            self.error(problem.code, span, problem.message, problem.help)


def expression_in(value: Any) -> Expression | None:
    """The expression that a raw value is, if it is nothing else."""
    if not isinstance(value, str) or "$" not in value:
        return None
    try:
        parsed = parse_value(value)
    except ExpressionError:
        return None
    return parsed if isinstance(parsed, Expression) else None


def expressions_in(value: Any, result: Any, path: tuple[str | int, ...]) -> Iterator[ArgumentExpression]:
    """The expressions written in a raw value, each with what it evaluated to and its path in the value."""
    if isinstance(value, str):
        expression = expression_in(value)
        if expression is not None:
            yield ArgumentExpression(expression, result, path)
    elif isinstance(value, list) and isinstance(result, list | tuple) and len(value) == len(result):
        for number, (item, part) in enumerate(zip(value, result, strict=True)):
            yield from expressions_in(item, part, (*path, number))
    elif isinstance(value, dict) and isinstance(result, Mapping):
        for key, item in value.items():
            if key in result:
                yield from expressions_in(item, result[key], (*path, key))
