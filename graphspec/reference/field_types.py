"""The types of a class' fields, as JSON Schema: a type that many fields have is derived once."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema

from graphspec.language.glossary import meaning
from graphspec.language.schema import Later

Schema = dict[str, Any]


def field_types(cls: type[BaseModel]) -> tuple[Schema, Schema]:
    """The type of each key, and the definitions that these refer to, by name; nobody changes them."""
    keys: Schema = {}
    definitions: Schema = {}
    for name, field in cls.model_fields.items():
        keys[field.alias or name], needed = _of(WrittenType(field))
        definitions |= needed
    return keys, dict(sorted(definitions.items()))


class WrittenType:
    """The type of a field, equal to those that are written alike. Python takes `Literal["a", "b"]` and
    `Literal["b", "a"]` for equal, though a schema lists the words in order: so the text is compared, too.
    """

    def __init__(self, field: FieldInfo):
        self.annotation, self.metadata = field.annotation, field.metadata
        self._key = (field.annotation, repr(field.annotation), repr(field.metadata))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WrittenType) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key[1:])


class Explained(GenerateJsonSchema):
    """Says of each key of a setting inside a setting what it means."""

    def model_schema(self, schema: ModelSchema) -> Schema:
        written = super().model_schema(schema)
        for key, each in written.get("properties", {}).items():
            each["description"] = meaning(schema["cls"], key)
        return written

    def encode_default(self, dft: Any) -> Any:
        """pydantic before 2.14 writes no value of a class whose schema nobody asked for."""
        if isinstance(dft, BaseModel):
            type(dft).model_rebuild()
        return super().encode_default(dft)


@cache
def _of(kind: WrittenType) -> tuple[Schema, Schema]:
    later = next((each for each in kind.metadata if isinstance(each, Later)), None)
    if later is None:
        return _schema_of(Annotated[(kind.annotation, *kind.metadata)] if kind.metadata else kind.annotation)
    schema, definitions = _schema_of(later.type) if later.type is not None else ({}, {})
    if not later.kind:
        return schema, definitions
    one: Schema = {"kind": later.kind}
    one = {"type": "object", "additionalProperties": one} if later.named else one
    return {"anyOf": [schema, one]} if schema else one, definitions


def _schema_of(annotated: Any) -> tuple[Schema, Schema]:
    # In a list: alone, a class would be written out instead of referred to.
    adapter = TypeAdapter(list[annotated], config=ConfigDict(arbitrary_types_allowed=True))
    schema = adapter.json_schema(schema_generator=Explained)
    return schema["items"], schema.get("$defs", {})
