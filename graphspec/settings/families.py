"""Families of settings that a spec chooses by name: losses, metrics, optimizers, schedules, callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, TypeVar, get_args

from graphspec.diagnostics import become, did_you_mean, write
from graphspec.diagnostics.foreign_terms import KEYS_OF_NAMES, NAMES, NESTS, call_of
from graphspec.diagnostics.spelling import certain, nearest
from graphspec.settings import Problem, Setting, SettingError, Word, a, show, unfit, validate
from graphspec.settings.headers import ClassesByName, below, literal_names


class Named(Setting):
    """A setting chosen by its `name`: the first literal is canonical, the others are aliases."""

    name: str
    """Which one, by its name."""
    canonical: ClassVar[str] = ""
    """The first of its names, whichever of them was written."""

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        cls.canonical = next(iter(cls.names()), cls.canonical)

    @classmethod
    def meaning(cls, key: str, beside: dict[str, Any]) -> str | None:
        inner = beside[key]
        if key not in NESTS or not isinstance(inner, dict):
            return None
        rest = {word: item for word, item in beside.items() if word != key}
        words = f"write them next to the name: {show({**rest, **inner})}"
        return become({**rest, **inner}, words, around=True, safe=rest.keys().isdisjoint(inner))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return get_args(cls.model_fields["name"].annotation)

    @classmethod
    def first(cls) -> str | None:
        """The setting that calls in Python give without its name: the only one of its own."""
        own = [key for key in cls.__annotations__ if key in cls.model_fields and key != "name"]
        return own[0] if len(own) == 1 else None


NamedT = TypeVar("NamedT", bound=Named)


@dataclass(frozen=True, slots=True)
class Family:
    """All settings of one kind, by every name and alias."""

    kind: str
    members: Mapping[str, type[Named]]
    synonyms: Mapping[str, str]
    unknown: str
    """The diagnostic code of a name that is not in `members`."""
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Names of Keras and other libraries that are none of a spec: why, and what to write instead."""

    def read(self, value: object) -> Any:
        """Reads a setting: a name, or a mapping with a `name` and arguments.

        Raises `SettingError`.
        """
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            message = f"{a(self.kind)} is a name or a mapping with a `name`, not {show(value)}"
            raise unfit("wrong-type", message, self._one_of(value))
        name = value.get("name")
        if "name" not in value:
            message = f"{a(self.kind)} written as a mapping needs a `name`"
            raise unfit("missing-key", message, self._with_name(value))
        if not isinstance(name, str):
            message = f"the name of {a(self.kind)} is a string, not {show(name)}"
            raise SettingError(Problem("wrong-type", message, path=("name",)))
        if name in self.refused:
            reason, instead = self.refused[name]
            raise unfit(self.unknown, f"`{name}` is not {a(self.kind)} of a spec: {reason}", instead, "name")
        if name not in self.members:
            raise unfit(self.unknown, f"unknown {self.kind} `{name}`", self.suggest(name), "name")
        return validate(self.members[name], value, f"{self.kind} `{name}`")

    def _one_of(self, value: object) -> str | None:
        """The remedy for a list: of one name, of a name and its settings, or of several."""
        if not isinstance(value, list):
            return None
        known = bool(value) and isinstance(value[0], str) and value[0] in self.members
        if self.kind == "loss" and len(value) > 1 and all(item in self.members for item in map(str, value)):
            return f"write one {self.kind}, without brackets; {_another(str(value[1]))}"
        if known and len(value) == 1:
            return write(str(value[0]))
        named = value[1] if len(value) == 2 and isinstance(value[1], dict) else {}
        help = self._called(value[0], [] if named else value[1:], named) if known else None
        return help or f"write one {self.kind}, without brackets"

    def _with_name(self, value: dict[str, Any]) -> str:
        """How a mapping without a `name` may have been meant: `{adam: {learning_rate: 0.1}}`, or
        `{type: adam}`.
        """
        first = next(iter(value), None)
        under = next((key for key in KEYS_OF_NAMES if isinstance(value.get(key), str)), None)
        if under is not None:
            rest = {key: item for key, item in value.items() if key != under}
            inner: dict[str, Any] = next(
                (rest.pop(key) for key in NESTS & rest.keys() if isinstance(rest[key], dict)), {}
            )
            return self._named(value[under], {**rest, **inner}, safe=inner.keys().isdisjoint(rest))
        if self.kind == "metric" and all(key in self.members for key in value):
            return self._listed(value)
        if self.kind == "loss" and len(value) > 1 and all(key in self.members for key in value):
            name, weight = list(value.items())[1]
            weight = weight if type(weight) in (int, float) else None
            return f"an output has one loss; {_another(name, weight)}"
        settings = value[first] if first is not None and len(value) == 1 else ()
        if first in self.members and isinstance(settings, dict | None):
            return self._named(str(first), settings or {}, safe=True)
        return f"write {show({'name': Word('...'), **value})}"

    def _called(self, word: str, given: list[Any], named: dict[str, Any]) -> str | None:
        """The remedy that a name with settings, of which one may be without its key, is a mapping."""
        legal = [*filter(str.islower, self.members)]
        name = word if word in self.members else nearest(word, legal, self.synonyms)
        first = self.members[name].first() if name is not None and given else None
        plain = len(given) == 1 and isinstance(given[0], int | float)
        if name is None or (given and (first is None or not plain)) or not (given or named):
            return None
        settings = {**dict.fromkeys([first][: len(given)], *given), **named}
        return self._named(name, settings, safe=name == word or certain(word, name, legal, self.synonyms))

    def _listed(self, value: dict[str, Any]) -> str:
        """The remedy for several names, each with its settings, where a list is wanted."""
        items = [
            {"name": Word(name), **settings} if isinstance(settings, dict) and settings else Word(name)
            for name, settings in value.items()
        ]
        plain = [
            {**item, "name": str(item["name"])} if isinstance(item, dict) else str(item) for item in items
        ]
        whole = all(isinstance(settings, dict | None) for settings in value.values())
        return become(plain, f"metrics are a list: write {show(items)}", safe=whole)

    def _named(self, name: str, settings: dict[str, Any], *, safe: bool) -> str:
        """The remedy that the settings of a name are beside it, in our words."""
        name = self.synonyms.get(name, name)
        if (cls := self.members.get(name)) is not None:
            name = cls.canonical
            settings = {cls.synonyms.get(key, key): item for key, item in settings.items()}
        shown = show({"name": Word(name), **settings})
        return become({"name": name, **settings}, f"write {shown}", safe=safe and "name" not in settings)

    def called(self, name: str) -> str:
        """The name here for another spelling of it, where no other can be meant; else as it is."""
        word = nearest(name, filter(str.islower, self.members), self.synonyms)
        return word if word is not None and certain(name, word, self.members, self.synonyms) else name

    def suggest(self, name: str) -> str:
        """The remedy for an unknown name."""
        bare = name.partition("(")[0].strip()
        if instead := NAMES.get((self.kind, name)):
            return instead
        called = call_of(name)
        if called is not None and (help := self._called(*called)) is not None:
            return help
        if bare != name and bare in self.members:
            return f"write arguments next to the name: {{name: {bare}, ...}}"
        listed = f"one of: {', '.join(sorted({member.names()[0] for member in self.members.values()}))}"
        bare = bare.rpartition(".")[2]
        return did_you_mean(bare, filter(str.islower, self.members), listed, self.synonyms, name)


def _another(loss: str, weight: float | None = None) -> str:
    """The remedy for a second loss of the same output."""
    weighted = f", loss_weight: {weight}" if weight is not None else ""
    return f"a second output reads the same node: {{from: NODE, loss: {loss}{weighted}}}"


class Members(ClassesByName[type[Named]]):
    """The settings below a base, in the files of a package, by every name and alias.

    `computed`, whose classes no header shows, is imported when a name is in no other file.
    """

    def __init__(self, base: type[Named], package: str, computed: str | None = None):
        super().__init__(lambda: _stated(base, package))
        self._base, self._computed = base, computed
        self._loaded = self._by_name()

    def _by_name(self) -> dict[str, type[Named]]:
        return {name: cls for cls in leaves(self._base) for name in cls.names()}

    def _with(self, *modules: str | None) -> dict[str, type[Named]]:
        """The classes that are loaded when these modules are."""
        for module in modules:
            if module is not None:
                import_module(module)
        self._loaded = self._by_name()
        return self._loaded

    def _load(self, name: str) -> None:
        self._with(self._modules.get(name, self._computed))

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._with(self._computed)

    def __iter__(self) -> Iterator[str]:
        loaded = self._with(*dict.fromkeys(self._modules.values()), self._computed)
        return iter(dict.fromkeys((*self._modules, *loaded)))


def _stated(base: type[Named], package: str) -> dict[str, str]:
    """The module of each name that headers below a base state."""
    members = below(base.__name__, package)
    return {name: header.module for header in members for name in literal_names(header)}


def leaves(cls: type[NamedT]) -> list[type[NamedT]]:
    """The concrete settings below `cls`, in the order of their definition."""
    classes: list[type[NamedT]] = []
    for child in cls.__subclasses__():
        if "name" in child.__annotations__:
            classes.append(child)
        classes += leaves(child)
    return classes
