"""One instance of a node to be: what its text says, where each part is written, and what it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphspec.diagnostics import Span, did_you_mean, write
from graphspec.elaborate.body import BodyElaborator, InnerPaths, NodeResult, failed
from graphspec.elaborate.scope import expression_in, expressions_in
from graphspec.elaborate.values import FAILED, NOTHING, Bound
from graphspec.graph import ArgumentExpression, Unit
from graphspec.language.schema import MISSING, Node
from graphspec.settings import SettingError, show
from graphspec.source import Path
from graphspec.source.writing import write_flow


@dataclass(eq=False, slots=True)
class NodeInputs:
    """The inputs of an instance, by position or by argument name. `listed` if the spec has a list or `*`."""

    positional: list[Bound] = field(default_factory=list)
    named: dict[str, list[Bound]] = field(default_factory=dict)
    listed: bool = False

    @property
    def broken(self) -> bool:
        """Whether a value of it has failed, so that its reader fails silently."""
        return FAILED in [bound.value for bound in self.all()]

    def all(self) -> list[Bound]:
        if not self.named:
            return self.positional
        return [*self.positional, *(bound for group in self.named.values() for bound in group)]


@dataclass(eq=False)
class NodeInstance:
    """One instance of a node before it is built: the node's text and place in a body, the number of the
    instance, its arguments from a repeat list, and its inputs.
    """

    body: BodyElaborator
    name: str
    declared: Node
    path: Path
    index: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    span: Span = field(init=False)
    inputs: NodeInputs = field(default_factory=NodeInputs)
    inner_paths: InnerPaths = field(default_factory=InnerPaths)
    unit: Unit | None = None  # the shared one, for a call or what wraps one
    caller: BodyElaborator | None = None  # for a shared entry, the body that calls it: a block's, or `body`
    entry_arguments: dict[str, Any] = field(
        default_factory=dict
    )  # a shared entry's arguments, already evaluated
    count: int | None = None  # how many instances its node has

    @property
    def form(self) -> str:
        return self.declared.form

    @property
    def title(self) -> str:
        return self.name if self.index is None else f"{self.name}.{self.index}"

    # --- where things are written, and what is wrong with them

    def __post_init__(self) -> None:
        self.span = self.key()

    def key(self, *keys: str | int) -> Span:
        """Where a key of the node is written, at any depth."""
        return self.body.declared.document.key((*self.path, *keys))

    @property
    def written(self) -> dict[str, Any]:
        """The node as the text has it, with its expressions."""
        value: Any = self.body.declared.document.value
        for key in self.path:
            value = value[key]
        return value if isinstance(value, dict) else {}

    def key_of(self, argument: str) -> Span:
        """Where an argument's name is written, that of a repeat list included."""
        return self.key(*self._varying, argument) if argument in self.overrides else self.key(argument)

    def span_of(self, *keys: str | int) -> Span:
        """Where an argument is written, a repeat list's included."""
        if keys and keys[0] in self.overrides:
            keys = (*self._varying, keys[0], self.index or 0)
        return self.body.declared.document.span((*self.path, *keys))

    @property
    def _varying(self) -> tuple[str]:
        """The key that has lists for its instances."""
        return ("repeat" if self.declared.repeat is not MISSING else "parallel",)

    def error(self, code: str, span: Span | None, message: str, help: str | None = None, **more: Any) -> None:
        self.body.error(code, span, message, help, notes=self.notes, **more)

    def failure(self, code: str, span: Span | None, message: str, help: str | None = None) -> NodeResult:
        """Reports an error, which is the result of the instance."""
        self.error(code, span, message, help)
        return failed()

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of an error: which repetition it is in, and which use of a block."""
        use = () if self.within is self.body else self.within.scope.notes
        return use if self.index is None else (f"in repetition {self.index} of `{self.name}`", *use)

    @property
    def within(self) -> BodyElaborator:
        """The body that is being elaborated."""
        return self.caller or self.body

    def setting_error(self, error: SettingError) -> None:
        """Reports the problems of settings that are written among the arguments of the node."""
        for problem in error.problems:
            unknown = problem.code == "unknown-key"
            span = self.key(*problem.path) if unknown else self.span_of(*problem.path)
            self.error(problem.code, span, problem.message, problem.help)

    # --- what the text says for this instance

    def evaluate(self, value: Any, *keys: str | int) -> Any:
        """The value under `keys`, or FAILED after reporting an error."""
        return self.body.scope.evaluate(value, (*self.path, *keys), self.index)

    def target(self) -> Any:
        """The target of its form: `Conv2D`, `residual`, `other.yaml`; FAILED after an error."""
        return self.evaluate(self.declared.target, self.form)

    def flag(self, key: str, value: Any) -> bool | None:
        """The value of a boolean key of the node; None after an error."""
        if isinstance(value, bool):
            return value
        return self.body.scope.flag(value, (*self.path, key), self.index, self.notes)

    def arguments(self) -> dict[str, Any] | None:
        """The plain arguments of the instance; those of a repeat list override the node's; None if one
        failed.
        """
        legal, broken = self.legal_arguments()
        return None if broken else legal

    def legal_arguments(self) -> tuple[dict[str, Any], list[str]]:
        """Those of its arguments that have a value, and the names of those that failed."""
        if self.entry_arguments:
            return dict(self.entry_arguments), []
        arguments = {key: self.evaluate(value, key) for key, value in self.declared.extra.items()}
        arguments.update((key, value) for key, value in self.overrides.items() if key != "from")
        broken = [key for key, value in arguments.items() if value is FAILED]
        for key in broken:
            del arguments[key]
        return arguments, broken

    def weights(self) -> str | None:
        """The file that its weights come from, if it names one."""
        weights = self.evaluate(self.declared.weights, "weights")
        if weights is None or isinstance(weights, str):
            return weights
        if weights is not FAILED:
            message = f"`weights` is the path of a .safetensors file, not {show(weights)}"
            self.error("wrong-type", self.span_of("weights"), message)
        return None

    def expressions(self, arguments: dict[str, Any]) -> tuple[ArgumentExpression, ...]:
        """The expressions of the arguments, for emission."""
        argument_expressions: list[ArgumentExpression] = []
        for key, value in {**self.declared.extra, "wraps": self.declared.wraps}.items():
            if key in arguments and key not in self.overrides and not isinstance(value, int | float):
                argument_expressions += expressions_in(value, arguments[key], (key,))
        repeat = self.declared.repeat if self.declared.repeat is not MISSING else self.declared.parallel
        count = expression_in(repeat)
        if count is not None and self.count is not None:
            argument_expressions.append(ArgumentExpression(count, self.count, ("repeat",)))
        return tuple(argument_expressions)

    def refuses_nothing(self, bounds: list[Bound]) -> bool:
        """Reports an input that was left out, if the reader needs all inputs."""
        for bound in bounds:
            if bound.value is NOTHING:
                self.error(
                    "left-out",
                    bound.span,
                    f"`{self.name}` reads `{bound.text}`, which is left out here and has no replacement",
                    "give the reader a `when`, or the node an `else`",
                )
                return True
        return False


Build = Callable[[NodeInstance], NodeResult]
"""Builds an instance of any form."""


def fewer_help(node: NodeInstance) -> str:
    """The remedy where a reader of one input gets several."""
    read, parallel = node.declared.source, node.declared.parallel
    if parallel is not MISSING and isinstance(read, str) and read.endswith(".*"):
        return write(f"{read[:-1]}$index", ": each instance reads its own")
    lists = parallel if isinstance(parallel, dict) else {}
    counts = {len(each) for each in lists.values() if isinstance(each, list)}
    if parallel is not MISSING and isinstance(read, list) and "from" not in lists and counts <= {len(read)}:
        return f"each instance reads its own by `parallel: {write_flow({'from': read, **lists})}`"
    return "merge them first: {merge: concatenate, from: [...]}"


def near_help(word: str, names: list[str]) -> str | None:
    return did_you_mean(word, names, f"one of: {', '.join(sorted(names)[:20])}" if names else None)
