"""Plain values as YAML text that reads back as the same values."""

from __future__ import annotations

from typing import Any

import yaml

from graphspec.source.scalars import LOADER, MAX_DEPTH, NumberTooLarge, resolve


def write(value: Any) -> str:
    """Dicts, lists, strings, numbers, booleans and None as a document, keys in their order, what holds no
    collection on one line where it fits.
    """
    return yaml.dump(
        value, Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=110
    )


def write_flow(value: Any) -> str:
    """The same on one line, in brackets and braces."""
    text: str = yaml.dump(
        [value], Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9
    )
    return text.strip()[1:-1]


def read_back(text: str) -> Any:
    """The values that `write` wrote. Raises `yaml.YAMLError` where the text is no YAML, or nested more deeply
    than a spec can be: PyYAML before 6.0.4 recurses in C, and would crash.
    """
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"values are nested more than {MAX_DEPTH} deep")
    return yaml.load(text, Loader=LOADER)


class _Dumper(yaml.SafeDumper):
    """PyYAML quotes what YAML 1.1 reads as something else; YAML 1.2 also reads `1e3` as a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    try:
        plain = not value or isinstance(resolve(value), str)
    except NumberTooLarge:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, None if plain else "'")


_Dumper.add_representer(str, _text)
