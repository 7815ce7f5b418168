"""Settings: strict, frozen values read from plain YAML data, and the errors that reading them gives.

Losses, metrics, optimizers and the `train:` and `data:` sections are all settings. A setting knows nothing of
files and lines: its errors name the key at fault, and the caller adds the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import get_annotations
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from graphspec.diagnostics import Remedy, become, delete, did_you_mean, nearest, renamed, write
from graphspec.diagnostics.collecting import MAX_ERRORS
from graphspec.diagnostics.foreign_terms import NAMES, VALUE_WORDS, VALUES, call_of
from graphspec.settings.remedies import EXAMPLES, fraction, in_list, remedy_of
from graphspec.tensor import DTYPE_WORDS

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a setting.

    `path` leads from the value that was read to the part at fault; `()` is the value itself.
    """

    code: str
    message: str
    help: str | None = None
    path: Path = ()


class SettingError(Exception):
    """Everything that is wrong with one value.

    `code`, `message`, `help` and `key` are those of the first problem.
    """

    def __init__(self, *problems: Problem):
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems

    @property
    def code(self) -> str:
        return self.problems[0].code

    @property
    def message(self) -> str:
        return self.problems[0].message

    @property
    def help(self) -> str | None:
        return self.problems[0].help

    @property
    def key(self) -> str | int | None:
        """The last step of the path: the key at fault, or None for the whole value."""
        return self.problems[0].path[-1] if self.problems[0].path else None

    def under(self, *prefix: str | int) -> SettingError:
        """The same problems, seen from a value that holds the one which was read."""
        return SettingError(*(Problem(p.code, p.message, p.help, prefix + p.path) for p in self.problems))


def unfit(code: str, message: str, help: str | None = None, *path: str | int) -> SettingError:
    """The error of a value that has one problem, at this path within it."""
    return SettingError(Problem(code, message, help, path))


class Problems:
    """The problems of the parts of a value, which are raised together."""

    def __init__(self) -> None:
        self.collected: list[Problem] = []

    @contextmanager
    def under(self, *prefix: str | int) -> Iterator[None]:
        """Keeps the problems of a part that is under `prefix`, and goes on after it."""
        try:
            yield
        except SettingError as error:
            self.collected += error.under(*prefix).problems

    def raise_any(self) -> None:
        """Raises `SettingError` where there are any."""
        if self.collected:
            raise SettingError(*self.collected)


class Setting(BaseModel):
    """A frozen, strict value whose fields are YAML keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    synonyms: ClassVar[Mapping[str, str]] = {}
    """Other vocabularies' words for the fields: `lr` is `learning_rate`."""
    remedies: ClassVar[Mapping[str, str]] = {}
    """Remedies for keys that have no word here, and belong elsewhere or nowhere."""
    phrases: ClassVar[Mapping[str, str]] = {}
    """How keys are written, for those who leave them out or write something else."""
    notes: ClassVar[Mapping[str, str]] = {}
    """Further advice for such keys: the first half of a remedy."""

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        forget_class_variables(cls)

    @classmethod
    def meaning(cls, key: str, beside: dict[str, Any]) -> str | None:
        """The remedy for a key that it does not have, where its value, or what is `beside` it, tells."""
        return None

    @classmethod
    def inside(cls, key: str | int, value: object) -> type[Setting] | None:
        """The class that reads the value of a key, where the value says which."""
        return None


def forget_class_variables(cls: type[BaseModel]) -> None:
    """Remove the annotations of class variables from a finished class.

    pydantic knows their names by now. It would evaluate their types again for every class below, which takes
    longer than everything else about a class.
    """
    variables = cls.__class_vars__ - cls.model_fields.keys()  # a field may replace a variable of a base
    for name in variables & get_annotations(cls).keys():
        del cls.__annotations__[name]


forget_class_variables(Setting)

SettingT = TypeVar("SettingT", bound=Setting)


def each_of(items: Iterable[object], read: Callable[[object], SettingT]) -> tuple[SettingT, ...]:
    """The items of a list, read one by one. Raises `SettingError` with the problems of all, each at the index
    of its item.
    """
    values, problems = list[SettingT](), Problems()
    for index, item in enumerate(items):
        with problems.under(index):
            values.append(read(item))
    problems.raise_any()
    return tuple(values)


def validate(cls: type[SettingT], value: object, what: str) -> SettingT:
    """`cls` read from plain data; `what` names it in messages.

    Raises `SettingError` with every problem found.
    """
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        details = _details(error, value)[: MAX_ERRORS + 1]  # no file shows more
        problems = [_problem(cls, detail, what, value) for detail in details]
    raise SettingError(*_meant(cls, value, _fold(problems)))


def _details(error: ValidationError, value: object) -> list[ErrorDetails]:
    """pydantic's errors, one for a value that fits none of several types, on paths of the value's own keys.

    Where a field has several types pydantic tells what is wrong by each of them, and puts the type's name
    into the path.
    """
    groups: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        path, start = _without_types(detail, value)
        groups.setdefault(start, []).append({**detail, "loc": path})
    details: list[ErrorDetails] = []
    for start, group in groups.items():
        deeper = [detail for detail in group if len(detail["loc"]) > len(start)]
        fitting = deeper or [detail for detail in group if _wanted(detail) is None]
        if fitting or len(group) == 1:
            details += fitting or group
            continue
        words = list(dict.fromkeys(str(_wanted(detail)) for detail in group))
        if "a number" in words and "an integer" in words:
            words.remove("an integer")
        context = {
            "wanted": " or ".join(words),
            "kinds": [detail["type"] for detail in group],
            "literals": [
                word
                for detail in group
                if detail["type"] == "literal_error"
                for word in _QUOTED.findall(detail["ctx"]["expected"])
            ],
        }
        details.append({**group[0], "type": "several_types", "ctx": context})
    return details


def _without_types(detail: ErrorDetails, value: Any) -> tuple[Path, Path]:
    """An error's path without names of types, and the part of it before the first of these."""
    path: Path = ()
    start: Path | None = None
    for step in detail["loc"]:
        if isinstance(value, dict) and (step in value or detail["type"] == "missing"):
            value = value.get(step)
        elif isinstance(value, list | tuple) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            start = path if start is None else start
            continue
        path = (*path, step)
    return path, path if start is None else start


def _wanted(detail: ErrorDetails) -> str | None:
    """The expected type, if the type is wrong."""
    if detail["type"] == "literal_error":
        return _literals(detail["ctx"]["expected"])
    if detail["type"] == "is_instance_of":
        return {"Nested": "a list of numbers", "Size": "a size of an input"}[detail["ctx"]["class"]]
    return _WANTED.get(detail["type"])


def _literals(expected: str) -> str:
    """pydantic's list of literals as a spec writes them."""
    return expected.replace("True", "true").replace("False", "false")


def _fold(problems: list[Problem]) -> list[Problem]:
    """Without a `missing` that an unknown key's help answers: a misspelt required key is one mistake. A list
    of what is legal is written once.
    """
    asked = {p.help for p in problems if p.code == "unknown-key"}
    told: set[str] = set()
    kept = []
    for problem in problems:
        if problem.code == "missing-key" and any(
            f"did you mean `{problem.path[-1]}`?" == help or f"write {{{problem.path[-1]}: " in (help or "")
            for help in asked
        ):
            continue
        listed = problem.help or "" if problem.code == "unknown-key" else ""
        if listed.startswith(TAKES) and listed in told:
            problem = replace(problem, help=None)
        told.add(listed)
        kept.append(problem)
    return kept


def _meant(cls: type[Setting], value: Any, problems: list[Problem]) -> list[Problem]:
    """Without the only key that is missing, where the only unknown key without a remedy fits in its place."""
    missing = [p for p in problems if p.code == "missing-key" and len(p.path) == 1]
    unknown = [p for p in problems if p.code == "unknown-key" and len(p.path) == 1]
    if len(missing) != 1 or len(unknown) != 1 or not (unknown[0].help or "").startswith(TAKES):
        return problems
    (wanted,), (key,) = missing[0].path, unknown[0].path
    renamed = {(wanted if word == key else word): item for word, item in value.items()}
    try:
        cls.model_validate(renamed)
    except ValidationError as error:
        if any(detail["loc"][:1] == (wanted,) for detail in error.errors()):
            return problems
    told = replace(unknown[0], help=f"did you mean `{wanted}`, which is missing?")
    return [told if problem is unknown[0] else problem for problem in problems if problem is not missing[0]]


def _problem(cls: type[Setting], detail: ErrorDetails, what: str, value: Any = None) -> Problem:
    path = tuple(detail["loc"])
    inner = cls.inside(path[0], value.get(path[0])) if len(path) > 1 and isinstance(value, dict) else None
    if inner is not None:
        problem = _problem(inner, {**detail, "loc": path[1:]}, f"`{inner.__name__}`")
        return replace(problem, path=(path[0], *problem.path))
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    key = _key(path, what)
    match kind:
        case "extra_forbidden":
            return _unknown_key(cls, path, what, value)
        case "unknown_argument":
            word = context["key"]
            legal = _legal(word, context["legal"], {})
            return Problem("unknown-key", f"{key} has no `{word}`", legal, (*path, word))
        case "missing":
            return _missing(cls, path, what, given)
        case "unknown_name":
            where = (*path, "name") if isinstance(given, dict) else path
            message = f"unknown {context['what']} {show(context['word'])}"
            return Problem("out-of-range", message, _known_name(context), where)
        case "value_error" if isinstance(error := context["error"], ValidationError):  # of a value inside it
            nested = _details(error, given)[0]
            return _problem(cls, {**nested, "loc": (*path, *nested["loc"])}, what)
        case "value_error":
            return Problem("out-of-range", str(context["error"]), None, path)
        case "refused":
            return Problem("out-of-range", detail["msg"], context["help"], path)
        case "literal_error":
            literals = _QUOTED.findall(context["expected"])
            message = f"{key} is {show(given)}, but must be {_literals(context['expected'])}"
            help = _switched(given, literals) or did_you_mean(given, literals, _phrase(cls, path), WORDS)
            return Problem("out-of-range", message, help, path)
        case "other_key":
            message = f"{detail['msg']}, not {show(given)}"
            words = f"write `{context['key']}: {show(given)}`"
            help = renamed(value, str(path[-1]), context["key"], words) if isinstance(value, dict) else words
            return Problem("wrong-type", message, help, path)
        case "other_word":
            return Problem("out-of-range", detail["msg"], write(context["instead"]), path)
        case "finite_number":
            return Problem("out-of-range", f"{key} is {show(given)}, but must be a finite number", None, path)
    if kind in _BOUNDS:
        bound = next(iter(context.values()))
        message = f"{key} is {show(given)}, but must be {_BOUNDS[kind]} {bound}"
        help = fraction(given) if bound == 1.0 and kind.startswith("less") else None
        return Problem("out-of-range", message, help, path)
    if kind in _SENTENCES:
        return Problem("wrong-type", detail["msg"], _sentence_help(given, context), path)
    return _wrong_type(cls, detail, what)


def _unknown_key(cls: type[Setting], path: Path, what: str, value: Any) -> Problem:
    word, fields = str(path[-1]), [field.alias or name for name, field in cls.model_fields.items()]
    renamed = cls.synonyms.get(word) in fields
    help = cls.remedies.get(word) if len(path) == 1 and not renamed else None
    if isinstance(help, Remedy) and help.change.where == "key" and {*help.change.new.split()} - {*fields}:
        help = None  # it names what this one does not have
    help = filled(help, value.get(word) if isinstance(value, dict) else None)
    told = cls.meaning(word, value) if len(path) == 1 and isinstance(value, dict) else None
    help = told or help or _legal(word, fields, cls.synonyms)
    return Problem("unknown-key", f"{_key(path[:-1], what)} has no `{path[-1]}`", help, path)


def filled(help: str | None, given: object = None) -> str | None:
    """A remedy with the number that was given in place of its own, which it has as `VALUE:0.1`."""
    if help is None or "VALUE:" not in help:
        return help
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return re.sub(r"VALUE:([\d.]+)", lambda usual: show(given) if is_number else usual[1], help)


def _sentence_help(given: object, context: Mapping[str, Any]) -> str | None:
    """The help beside a message that says everything."""
    if context.get("written"):
        return f"write {context['written']}"
    if "legal" not in context:
        return None
    if isinstance(given, list) and len(given) == 1 and given[0] in context["legal"]:
        return write(str(given[0]))
    return f"names: {', '.join(context['legal'])}"


def _wrong_type(cls: type[Setting], detail: ErrorDetails, what: str) -> Problem:
    """A value of another type than its key takes."""
    path, kind, given, context = tuple(detail["loc"]), detail["type"], detail["input"], detail.get("ctx", {})
    if kind in _LENGTHS:
        words, bound = _LENGTHS[kind]
        noun = "a mapping" if context.get("field_type") == "Dictionary" else "a list"
        wanted = f"{noun} of {words} {context[bound]}"
    else:
        wanted = context["wanted"] if kind == "several_types" else _wanted(detail) or str(detail["msg"])
    kinds = context.get("kinds", [kind])
    remedy = next(filter(None, (remedy_of(each, given) for each in kinds)), None)
    if path[-1:] == ("seed",) and kind == "none_required":
        remedy = delete("all that is random has one seed, `train: {seed: ...}`")
    literals = context.get("literals", [])
    if literals and remedy in EXAMPLES.values():
        remedy = None  # the words are legal, too
    last = next((step for step in reversed(path) if isinstance(step, str)), "")
    remedy = VALUES.get((last, str(given).lower()), remedy)
    remedy = _switched(given, literals) or did_you_mean(given, literals, remedy, WORDS)
    remedy = remedy or _phrase(cls, path)
    if isinstance(given, dict) and {"from", "to"} <= given.keys():
        remedy = VARIES_NOT
    if remedy is None and kind == "tuple_type" and len(path) == 1:
        remedy = in_list(cls, path[0], given)
    if remedy is None and not literals and not isinstance(given, float):
        remedy = next((EXAMPLES[each] for each in kinds if each in EXAMPLES), None)
    message = f"{_key(path, what)} is {show(given)}, but must be {wanted}"
    word = isinstance(given, str) and literals and not {*kinds} - {"literal_error", "list_type", "tuple_type"}
    return Problem("out-of-range" if word else "wrong-type", message, remedy, path)


VARIES_NOT = (
    "a learning rate varies by its `schedule`; a `loss_weight`, a `momentum` and a `constant` may vary, and "
    "formulas over such a constant"
)


def _switched(given: object, literals: list[str]) -> str | None:
    """The remedy for true and false where words are wanted: the first, or `none`."""
    words = {True: literals[:1], False: [word for word in literals if word == "none"]}
    meant = words[given] if isinstance(given, bool) else []
    return write(meant[0]) if meant else None


def _phrase(cls: type[Setting], path: Path) -> str | None:
    """How a key is written, as a remedy, where its class says so."""
    key = str(path[0]) if len(path) == 1 else ""
    if key not in cls.phrases:
        return None
    note = f"{cls.notes[key]}: " if key in cls.notes else ""
    return f"{note}write `{cls.phrases[key]}`"


def _missing(cls: type[Setting], path: Path, what: str, given: object) -> Problem:
    """A key that must be there, or an item of a list that is too short."""
    last = path[-1]
    if isinstance(last, int):
        message = f"{_key(path, what)} is {show(given)}, but must be a list of more than {last}"
        return Problem("wrong-type", message, None, path[:-1])
    help = f"write `{cls.phrases.get(last, f'{last}: ...')}`"
    return Problem("missing-key", f"{what} needs `{last}`", help, path)


def _known_name(context: Mapping[str, Any]) -> str:
    """The help for a name that is not one of the legal ones."""
    written = context["word"]
    bare = written.partition("(")[0].rpartition(".")[2]
    if instead := NAMES.get((context["what"], bare)):
        return instead
    word = nearest(bare, context["legal"], context.get("synonyms", {}))
    if word == "null":
        return write("null", ", or leave it out")
    given = written.partition("(")[2].strip(") ")
    if word is not None and given and not context.get("takes_calls"):
        called = call_of(written)
        named = called[2] if called is not None and not called[1] else {}
        if word in ("l1", "l2") and called is not None and len(called[1]) == 1:
            named = {word: called[1][0]}
        inner = ", ".join(f"{key}: {show(value)}" for key, value in named.items()) or "..."
        words = f"write arguments next to the name: {{name: {word}, {inner}}}"
        return become({"name": word, **named}, words) if named else words
    listed = f"one of: {', '.join(context['legal'])}"
    return did_you_mean(bare, context["legal"], listed, context.get("synonyms"), written)


def _key(path: Path, what: str) -> str:
    """The end of a path, as text: `axis` of `kernel_constraint` of `Dense`."""
    return " of ".join([*(f"`{step}`" for step in reversed(path) if isinstance(step, str)), what])


def _legal(word: str, legal: Iterable[str], synonyms: Mapping[str, str]) -> str:
    """The remedy for an unknown key."""
    known = ", ".join(legal)
    return did_you_mean(word, legal, f"{TAKES}: {known}" if known else "it takes no arguments", synonyms)


TAKES = "it takes"


WORDS = {**DTYPE_WORDS, **VALUE_WORDS}
"""Names that other libraries have for values of keys."""
_QUOTED = re.compile("'([^']*)'")
_SENTENCES = ("named_type", "wraps_type", "not_recurrent", "form")
"""Errors of our own whose message says everything."""
_BOUNDS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
    "string_too_short": "of at least this many characters:",
}
_LENGTHS = {"too_short": ("at least", "min_length"), "too_long": ("at most", "max_length")}
_WANTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "a string",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
}


def a(noun: str) -> str:
    """A noun, in backticks or not, with its article: `an optimizer`."""
    return f"{'an' if noun.lstrip('`')[:1] in 'aeiou' else 'a'} {noun}"


class Word(str):
    """A text that `show` writes without quotes."""


def unquoted(value: object) -> str:
    """A value as it is written in a spec, a text without quotes."""
    return value if isinstance(value, str) else show(value)


def show(value: object) -> str:
    """A value as it is written in a spec, cut to a readable length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f'"{value}"' if isinstance(value, str) and not isinstance(value, Word) else str(value)
    if isinstance(value, list | tuple):
        text = f"[{', '.join(map(show, value[:60]))}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {show(item)}' for key, item in list(value.items())[:60])}}}"
    return text if len(text) <= 60 else text[:57] + "..."
