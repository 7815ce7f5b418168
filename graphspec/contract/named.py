"""Things that a spec names in snake case, or as `{name: ..., argument: ...}`: initializers, regularizers,
constraints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from importlib import import_module
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from graphspec.settings import Word, forget_class_variables, show
from graphspec.settings.headers import below


class NamedMembers(Mapping[str, type[Any]]):
    """The members of a family by name, read off the headers of this folder: `word="he_normal"`. The file of a
    class is imported when its name is asked for, and the class of a row of a table is made then.
    """

    def __init__(self, family: str = "") -> None:
        self._family = family
        self._makers: dict[str, Callable[[], object]] = {}
        self._loaded: dict[str, type[Any]] = {}

    @cached_property
    def _modules(self) -> dict[str, str]:
        return {
            name: header.module
            for header in below(self._family, __package__)
            for stated in _WORDS.findall(header.keywords)
            for name in stated.split()
        }

    def announce(self, names: Iterable[str], maker: Callable[[], object]) -> None:
        """`maker` makes the class of these names, which adds itself."""
        self._makers.update(dict.fromkeys(names, maker))

    def add(self, name: str, cls: type[Any]) -> None:
        """What a class does for itself when it is made."""
        self._loaded[name] = cls

    def __getitem__(self, name: str) -> type[Any]:
        if name not in self._loaded and name in self._makers:
            self._makers[name]()
        elif name not in self._loaded and name in self._modules:
            import_module(self._modules[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self._makers or name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter({**self._makers, **self._modules, **self._loaded})

    def __len__(self) -> int:
        return len({**self._makers, **self._modules, **self._loaded})


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
            raise PydanticCustomError(
                "named_type",
                f"{cls.family} must be a name or a mapping with `name`",
                {"what": cls.family, "legal": sorted(cls.members), "written": cls._written(arguments)},
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
    def _written(cls, arguments: dict[str, Any]) -> str:
        """How `{l2: 0.01}` is written with a name; "" where it names nothing."""
        name, value = next(iter(arguments.items()), ("", None))
        if len(arguments) != 1 or name not in cls.members:
            return ""
        fields = cls.members[name].model_fields
        given = value if isinstance(value, dict) else {next(iter(fields), "value"): value}
        return show({"name": Word(name), **given})

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
