"""Options that all modules of a library class in a file share: the class has them, and no call gives them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from graphspec.contract.layer import ModuleCall, Ref
from graphspec.emit.inheritance import constructor_of, named_bases
from graphspec.emit.library_source import known_names, library_code
from graphspec.emit.signatures import defaults_of

Option = bool | str | None
Options = Mapping[str, Mapping[str, Option]]
"""The shared options, by class and parameter."""

WITH_WEIGHTS = {"bias", "center", "scale", "gate"}
"""Options that add weights. They stay at each call, which says what its module learns."""


def shared_options(calls_of_nodes: Iterable[Sequence[ModuleCall]], carried: Collection[str]) -> Options:
    """The texts, True, False or None that all calls of a class give for one of its parameters.

    `calls_of_nodes` has for each node the calls that may make its modules. `carried` is the library code of
    the file. A class keeps its parameters if other library code reads it, or reads the base that has its
    constructor, which has the options, too; and if it is an argument of another module, or makes one.
    """
    by_class: dict[str, list[ModuleCall]] = defaultdict(list)
    inside: set[str] = set()
    for calls in calls_of_nodes:
        differ = len({each.target for each in calls}) > 1
        for each in calls:
            inside.update(_words(each))
            for target in {each.target, each.general or each.target} if differ else {each.target}:
                by_class[target].append(each)
    nodes = library_code().nodes
    readers: dict[str, set[str]] = defaultdict(set)
    for name in nodes.keys() & {*carried}:
        for word in known_names(nodes[name]) - {name}:
            readers[word].add(name)
    shared: dict[str, dict[str, Option]] = {}
    for target in sorted(by_class.keys() & nodes.keys() - readers.keys() - inside):
        home = _home(target)
        constructor = constructor_of(nodes[home]) if home is not None else None
        if home is None or constructor is None or readers[home] - {target}:
            continue
        if options := _agreed(by_class[target], defaults_of(constructor).keys()):
            shared[target] = shared[home] = options
    return shared


def _words(call: ModuleCall) -> Iterator[str]:
    """The names in the code of a call's arguments."""
    for value in [*call.positional.values(), *(value for value, _ in call.keyword.values())]:
        if isinstance(value, Ref):
            yield from re.findall(r"\w+", value.text)


def _home(name: str) -> str | None:
    """The class of the library that has the constructor of a class."""
    node = library_code().nodes.get(name)
    if node is None or constructor_of(node) is not None:
        return name if node is not None else None
    return next((home for base in named_bases(node) if (home := _home(base))), None)


def _agreed(calls: Sequence[ModuleCall], words: Collection[str]) -> dict[str, Option]:
    """The options that all calls give for these parameters, but for defaults."""
    agreed: dict[str, Option] = {}
    for word in [each for each in calls[0].keyword if each in words and each not in WITH_WEIGHTS]:
        values = {each.keyword.get(word, (None, None)) for each in calls}
        value, default = next(iter(values))
        if len(values) == 1 and isinstance(value, Option) and value != default:
            agreed[word] = value
    return agreed
