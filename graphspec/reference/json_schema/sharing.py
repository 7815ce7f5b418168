"""A schema made small: what occurs often stands once, what is used once stands in its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

Schema = dict[str, Any]


def shared(schema: Schema, named: Iterable[str]) -> Schema:
    """The same schema; the `named` definitions stay, however often they are used, and keep their names."""
    kept = frozenset(named)
    return _renamed(_lifted(_unshared(_factored(schema), kept)), kept)


def _factored(schema: Schema) -> Schema:
    """The same schema, with runs of properties that many settings have in `$defs`: the longest first."""
    holders = [each for each in _walk(schema) if isinstance(each.get("properties"), dict)]
    _neighbours(holders)
    for number in range(1, RUNS + 1):
        run, found = max(_runs(holders).items(), key=lambda item: _saved(*item), default=((), []))
        if _saved(run, found) < WORTH:
            break
        name = f"c{number}"
        for holder in found:
            for key, _ in run:
                del holder["properties"][key]
            holder.setdefault("allOf", []).append({"$ref": f"#/$defs/{name}"})
        schema["$defs"][name] = {"properties": {key: json.loads(text) for key, text in run}}
    for holder in holders:
        if not holder["properties"] and "allOf" in holder:
            del holder["properties"]
            if holder.keys() == {"allOf"} and len(holder["allOf"]) == 1:
                holder |= holder.pop("allOf")[0]
    return schema


def _neighbours(holders: Iterable[Schema]) -> None:
    """Brings properties that many settings have next to each other, behind those that are a setting's own."""
    open_ones = [each for each in holders if each.get("additionalProperties", True) is not False]
    counts = Counter(
        (key, json.dumps(item)) for each in open_ones for key, item in each["properties"].items()
    )
    for each in open_ones:
        required = each.get("required", ())
        order = {
            key: (key not in required, key not in required and counts[key, json.dumps(item)])
            for key, item in each["properties"].items()
        }
        each["properties"] = {key: each["properties"][key] for key in sorted(order, key=order.__getitem__)}


RUNS, SHORTEST, WORTH = 300, 2, 5
"""At most so many runs, of at least so many properties, each of which saves so many characters."""
REFERENCE = len(',"allOf":[{"$ref":"#/$defs/XX"}]')
"""The characters that refer to a run."""
Run = tuple[tuple[str, str], ...]


def _runs(holders: Iterable[Schema]) -> dict[Run, list[Schema]]:
    """The runs of neighbouring properties, as text, and who has each."""
    found: dict[Run, list[Schema]] = {}
    for holder in holders:
        if holder.get("additionalProperties", True) is False or "$ref" in holder:
            continue
        required = holder.get("required", ())
        items = tuple((k, json.dumps(each)) for k, each in holder["properties"].items() if k not in required)
        for start in range(len(items)):
            for end in range(start + SHORTEST, len(items) + 1):
                found.setdefault(items[start:end], []).append(holder)
    return found


def _saved(run: Run, found: list[Schema]) -> int:
    size = sum(len(key) + len(text.replace('": ', '":').replace(", ", ",")) + 4 for key, text in run)
    return (len(found) - 1) * size - REFERENCE * len(found) - len('"XX":{"properties":{}},')


def _walk(value: Any) -> Iterator[Schema]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(item)


def _unshared(schema: Schema, named: frozenset[str]) -> Schema:
    """The same schema, with what is referred to only once in its place, without what nothing refers to."""
    while unread := set(schema["$defs"]) - set(_referred(schema)):
        schema = {**schema, "$defs": {k: v for k, v in schema["$defs"].items() if k not in unread}}
    once = {name for name, count in _referred(schema).items() if count == 1 and name not in named}

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(item) for item in value]
        if not isinstance(value, dict):
            return value
        name = value.get("$ref", "").removeprefix("#/$defs/")
        if name in once:
            return placed({**schema["$defs"][name], **{k: v for k, v in value.items() if k != "$ref"}})
        return {key: placed(item) for key, item in value.items()}

    kept = {name: placed(each) for name, each in schema["$defs"].items() if name not in once}
    return {**placed({key: value for key, value in schema.items() if key != "$defs"}), "$defs": kept}


TYPES = frozenset(("type", "enum", "const", "anyOf", "items", "description"))
"""The keys of a schema that says a type, and no more."""


def _lifted(schema: Schema) -> Schema:
    """The same schema, with types that occur several times in `$defs`, also those inside of others."""
    for number in count(1):
        found: dict[str, list[Schema]] = {}
        for each in _walk(schema):
            if each.keys() <= TYPES and not all(isinstance(value, dict) for value in each.values()):
                found.setdefault(json.dumps(each, separators=(",", ":")), []).append(each)
        text, places = max(found.items(), key=lambda item: _spared(*item))
        if _spared(text, places) < WORTH:
            return schema
        for place in places:
            place.clear()
            place["$ref"] = f"#/$defs/lifted{number}"
        schema["$defs"][f"lifted{number}"] = json.loads(text)
    raise AssertionError("it ends where no type is worth it")


def _spared(text: str, places: list[Schema]) -> int:
    reference, entry = len('{"$ref":"#/$defs/XX"}'), len('"XX":,')
    return (len(places) - 1) * len(text) - reference * len(places) - entry


def _referred(schema: Schema) -> Counter[str]:
    """How often each definition is referred to."""
    return Counter(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))


def _renamed(schema: Schema, named: frozenset[str]) -> Schema:
    """The same schema with short names for definitions, the shortest for what is referred to most."""
    order = [name for name, _ in _referred(schema).most_common() if name not in named]
    names = {name: name for name in named} | {name: _code(at) for at, name in enumerate(order)}

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(item) for item in value]
        if not isinstance(value, dict):
            return value
        found = {key: renamed(item) for key, item in value.items()}
        if "$ref" in found:
            found["$ref"] = f"#/$defs/{names[found['$ref'].removeprefix('#/$defs/')]}"
        return found

    top = {key: renamed(value) for key, value in schema.items() if key != "$defs"}
    return {**top, "$defs": {names[name]: renamed(each) for name, each in schema["$defs"].items()}}


def _code(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    text = ""
    while number >= 0:
        text, number = chr(ord("A") + number % 26) + text, number // 26 - 1
    return text
