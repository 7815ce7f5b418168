"""Things that a spec names in snake case, or as `{name: ..., argument: ...}`: initializers, regularizers,
constraints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from graphspec.diagnostics import nearest
from graphspec.diagnostics.foreign_terms import KEYS_OF_NAMES, NESTS
from graphspec.settings import Word, forget_class_variables, show
from graphspec.settings.headers import ClassesByName, below


class NamedMembers(ClassesByName[type[Any]]):
    """The members of a family by name, read off the headers of this folder: `word="he_normal"`. Rows of
    a table become classes when they are asked for.
    """

    def __init__(self, family: str = "") -> None:
        super().__init__(lambda: _stated(family))
        self._makers: dict[str, Callable[[], object]] = {}

    def announce(self, names: Iterable[str], maker: Callable[[], object]) -> None:
        """`maker` makes the class of these names, which adds itself."""
        self._makers.update(dict.fromkeys(names, maker))

    def add(self, name: str, cls: type[Any]) -> None:
        """Registers a class when it is made."""
        self._loaded[name] = cls

    def _load(self, name: str) -> None:
        if name in self._makers:
            self._makers[name]()
        else:
            super()._load(name)

    def __contains__(self, name: object) -> bool:
        return name in self._makers or super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._makers, *super().__iter__())))


def _stated(family: str) -> dict[str, str]:
    """The module of each name that headers below a family state."""
    return {
        name: header.module
        for header in below(family, __package__)
        for stated in _WORDS.findall(header.keywords)
        for name in stated.split()
    }


_WORDS = re.compile(r'\b(?:word|aliases)="([^"]*)"')


class NamedValue(BaseModel):
    """The base of a family of named things. A direct subclass opens a family: `class Initializer(NamedValue,
    family="initializer")`;
    its subclasses are the members, registered under `word` and the words of `aliases`.

    Used as the type of a field, a family accepts a member's name, a mapping with `name`, and nothing else.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    family: ClassVar[str] = ""
    members: ClassVar[NamedMembers] = NamedMembers()
    synonyms: ClassVar[Mapping[str, str]] = {}
    """Other libraries' words for the members of a family."""
    word: ClassVar[str] = ""
    nullable: ClassVar[bool] = False  # null names a member, too

    def __init_subclass__(cls, *, family: str = "", word: str = "", aliases: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family:
            cls.family, cls.members = family, NamedMembers(cls.__name__)
        elif word:
            cls.word = word
            for name in (word, *aliases.split()):
                cls.members.add(name, cls)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__()
        forget_class_variables(cls)

    @classmethod
    def parse(cls, value: Any) -> Any:
        """A member from its name or mapping. Raises pydantic's own kind of error."""
        if isinstance(value, cls):
            return value
        name, arguments = value, {}
        if isinstance(value, dict):
            arguments = {key: item for key, item in value.items() if key != "name"}
            name = value.get("name")
        if not isinstance(name, str):
            written = cls._written(arguments) or cls._first_of(value)
            if isinstance(value, int | float) and "l2" in cls.members:
                written = f"{{name: l2, l2: {value}}}"
            raise PydanticCustomError(
                "named_type",
                f"{cls.family} must be a name or a mapping with `name`",
                {"what": cls.family, "legal": sorted(cls.members), "written": written},
            )
        if name not in cls.members:
            raise PydanticCustomError(
                "unknown_name",
                f"unknown {cls.family}",
                {"word": name, "legal": cls._legal(), "what": cls.family, "synonyms": cls.synonyms},
            )
        legal = list(cls.members[name].model_fields)
        for key in arguments:
            if key not in legal:
                raise PydanticCustomError(
                    "unknown_argument", f"{name} has no such argument", {"key": str(key), "legal": legal}
                )
        member = cls.members[name]
        return member.model_validate(arguments) if arguments else _without_arguments(member)  # type: ignore[arg-type]

    @classmethod
    def _legal(cls) -> list[str]:
        return [*sorted(cls.members), "null"] if cls.nullable else sorted(cls.members)

    @classmethod
    def _first_of(cls, value: Any) -> str:
        """How the first of several is written, and what becomes of the others."""
        if not isinstance(value, list) or len(value) < 2 or not all(isinstance(item, str) for item in value):
            return ""
        if cls.family != "activation":
            return f"one of them: `{value[0]}`"
        below = f"{{layer: Activation, activation: {value[1]}}}"
        return f"`{value[0]}`, and a node below it for the next: {below}"

    @classmethod
    def _written(cls, arguments: dict[str, Any]) -> str:
        """How `{l2: 0.01}` and `{class_name: L2, config: {l2: 0.01}}` are written with a name; "" where they
        name nothing.
        """
        under = next((key for key in KEYS_OF_NAMES if isinstance(arguments.get(key), str)), None)
        if under is not None:
            rest = {key: item for key, item in arguments.items() if key != under}
            inner: dict[str, Any] = next(
                (rest.pop(key) for key in NESTS & rest.keys() if isinstance(rest[key], dict)), {}
            )
            word = nearest(arguments[under], cls.members, cls.synonyms) or arguments[under]
            return show({"name": Word(word), **rest, **inner})
        name, value = next(iter(arguments.items()), ("", None))
        if len(arguments) != 1 or name not in cls.members:
            return ""
        fields = cls.members[name].model_fields
        with_arguments = value if isinstance(value, dict) else {next(iter(fields), "value"): value}
        return show({"name": Word(name), **with_arguments})

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        if cls.word:
            return handler(source)
        return core_schema.no_info_plain_validator_function(cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        if cls.word:
            return handler(schema)
        names = {"enum": sorted(cls.members)}
        mapping = {"type": "object", "properties": {"name": names}, "required": ["name"]}
        mapping["family"] = cls.family
        none: list[dict[str, Any]] = [{"type": "null"}] if cls.nullable else []
        return {"anyOf": [names, mapping, *none]}


forget_class_variables(NamedValue)


@cache
def _without_arguments(member: type[NamedValue]) -> NamedValue:
    """The member that a bare name stands for; nothing can change it. Defaults need no validator, which takes
    long to make.
    """
    needed = any(field.is_required() for field in member.model_fields.values())
    return member.model_validate({}) if needed else member.model_construct()
