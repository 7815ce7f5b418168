"""Random bodies: nodes that read one another, each of a known type in the scope of its body."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from tests.blocks.layers import layer
from tests.blocks.scopes import MERGES, Scope, Value, atom, written

Node = dict[str, Any]
WORDS = (
    "a",
    "code",
    "norm",
    "class",
    "sum",
    "stage",
    "stages",
    "self",
    "out",
    "train",
    "layer",
    "layers",
    "head",
)
WITHOUT_INPUT = {"parameter", "constant"}


@dataclass
class Block:
    """A block, or an entry of `shared`: what it takes and what it gives, in its own scope."""

    key: str
    """How a node uses it: block or call."""
    name: str
    kind: str
    """Of its input."""
    scope: Scope
    inputs: tuple[str, ...] = ("x",)
    optional: bool = False
    """Whether it may be given a memory."""
    results: dict[str, Value] = field(default_factory=dict)
    width: str | None = None
    """Of its input, where it takes only one."""
    form: str = "block"
    """What an entry of `shared` is: layer or block."""
    named: bool = False
    """Whether its outputs have names."""
    inside: dict[str, Value] = field(default_factory=dict)
    """Its nodes, which may be read by their paths."""

    @property
    def is_free(self) -> bool:
        """Whether it can be used without any param."""
        return "required" not in self.scope.params.values()

    @property
    def is_plain(self) -> bool:
        """Whether it is a block without params to give, for one value of any kind, which it keeps in type."""
        kept = [(value.kind, value.space, value.width) for value in self.results.values()]
        one = self.key == "block" and self.inputs == ("x",) and not self.optional
        return one and self.is_free and kept == [("any", "@x", "channels(x)")]


@dataclass
class Tower:
    """Instances that give the same type, for what reads them one by one in another repetition."""

    name: str
    count: str
    suffix: str
    value: Value


def called(node: Any) -> set[str]:
    """The blocks and shared entries that a node names."""
    return set(re.findall(r"\b(?:block\d+|common\d*)\b", json.dumps(node)))


class Body:
    """Nodes drawn one after the other; `pool` has the values that the next may read."""

    def __init__(self, scope: Scope, blocks: list[Block], inputs: list[Value]) -> None:
        self.scope, self.blocks, self.inputs = scope, blocks, inputs
        self.one, self.chance = scope.one, scope.chance
        self.pool, self.nodes = [*inputs], dict[str, Node]()
        self.read, self.called = set[str](), set[str]()
        self.towers: list[Tower] = []

    # --- nodes

    def claim(self, word: str | None = None) -> str:
        """A free name."""
        word = word or self.one(*WORDS)
        taken = {"memory", *self.nodes, *(value.ref for value in self.inputs)}
        taken |= {block.name for block in self.blocks}
        number, name = 1, word
        while name in taken:
            number += 1
            name = f"{word}{number}"
        return str(name)

    def reads(self, *references: str) -> None:
        self.read.update(reference.split(".")[0] for reference in references)

    def put(self, node: Node, sources: list[Value], word: str | None = None) -> str:
        """Adds a node that reads `sources`, and gives its name. It need not say that it reads that above."""
        name = self.claim(word)
        self.called |= called(node)
        self.reads(*(value.ref for value in sources))
        if sources and not {"from", "compute"} & node.keys():
            node["from"] = sources[0].ref if len(sources) == 1 else [value.ref for value in sources]
        above = next(reversed(self.nodes), None)
        if above is not None and node.get("from") == above and "parallel" not in node and self.chance(0.6):
            implied = not ({"parallel"} | WITHOUT_INPUT) & self.nodes[above].keys()
            node = {key: value for key, value in node.items() if key != "from" or not implied}
        self.nodes[name] = node
        return name

    def add(self, node: Node, sources: list[Value], value: Value, word: str | None = None) -> Value:
        """The same, with a value like `value`."""
        found = replace(value, ref=self.put(node, sources, word))
        self.pool.append(found)
        return found

    def recent(self, kind: str | None = None) -> Value:
        """A value of the pool, rather a late one."""
        fit = [value for value in self.pool if kind in (None, value.kind)]
        return self.one(*fit[-3:]) if self.chance(0.8) else self.one(*fit)

    def beside(self, value: Value) -> list[Value]:
        """The values that a merge can join with one, but for widths."""
        return [other for other in self.pool if (other.kind, other.space) == (value.kind, value.space)]

    def known(self) -> str:
        """A width that can be written: mostly one that there is."""
        widths = [value.width for value in self.pool if value.is_known]
        if widths and self.chance(0.7):
            return str(self.one(*widths[-4:]))
        name = self.scope.name("width")
        return str(self.one("4", "2", name, name, f"2 * {name}", f"{self.scope.name('factor')} * {name}"))

    def fitted(self, value: Value, width: str) -> Value:
        """A value of that width, through a Dense where it has another."""
        if value.width == width and self.chance(0.8):
            return value
        node = {"layer": "Dense", "units": written(width)}
        return self.add(node, [value], replace(value, width=width, ending=None))

    # --- what may be drawn

    def actions(self) -> list[Any]:
        """What may be added, often as many times as it is there."""
        found = [*8 * [self.layer], *3 * [self.merge], self.formula, self.parameter, self.fan]
        return [*found, self.alternative, self.nothing, self.choice, *2 * [self.project]]

    def grow(self, steps: int) -> None:
        for _ in range(steps):
            self.one(*self.actions())()

    def layer(self) -> None:
        source = self.recent()
        self.several(*layer(self.scope, source, self.known), source)

    def several(self, node: Node, value: Value, source: Value) -> None:
        """Adds a layer, maybe a chain of it, or left out under a condition."""
        keeps, settles = value.like(source), node.get("layer") in ("Dense", "Conv1D", "Conv2D")
        if keeps and self.chance(0.25):
            node["when"] = written(self.scope.condition())
        elif "layer" in node and (keeps or (settles and "strides" not in node)) and self.chance(0.3):
            count, least = self.scope.count()
            if keeps or least:
                node["repeat"] = written(count)
                if "activation" in node and count.isdigit() and int(count) > 1 and self.chance(0.3):
                    node["repeat"] = {
                        "activation": [self.one("relu", "tanh", "gelu") for _ in range(int(count))]
                    }
                    del node["activation"]
                elif keeps and self.chance(0.4):
                    node["when"] = written(self.scope.condition(index=True))
        if {"when", "repeat"} & node.keys():
            value = replace(value, ending=None)
        if "layer" in node and self.chance(0.05):
            node["trainable"] = False
        self.add(node, [source], value)

    def alternative(self) -> None:
        """A layer, or another value in its place."""
        other = self.recent()
        if not other.is_known:
            return
        node = {"layer": "Dense", "units": written(other.width), "when": written(self.scope.condition())}
        self.reads(other.ref)
        self.add(node | {"else": other.ref}, [self.one(*self.beside(other))], replace(other, ending=None))

    def nothing(self) -> None:
        """A layer that a merge reads where it is there."""
        other = self.recent()
        maybe = self.maybe(other) if other.is_known else None
        if maybe is not None:
            merge = self.one("add", "average", "maximum")
            self.add({"merge": merge}, self.one([other, maybe], [maybe, other]), replace(other, ending=None))

    def maybe(self, other: Value) -> Value:
        """A value like another, or nothing."""
        node = {
            "layer": "Dense",
            "units": written(other.width),
            "when": written(self.scope.condition()),
            "else": None,
        }
        return replace(other, ref=self.put(node, [self.one(*self.beside(other))]), ending=None)

    def project(self) -> None:
        """A projection where the width is another."""
        source, width = self.recent(), self.known()
        if source.is_known:
            differs = written(f"{atom(source.width)} != {atom(width)}")
            node = {"layer": "Dense", "units": written(width), "when": differs}
            self.add(node, [source], replace(source, width=width, ending=None), "project")

    def merge(self) -> None:
        source = self.recent()
        others = [self.one(*self.beside(source)) for _ in range(self.one(1, 1, 2))]
        if self.chance(0.3):
            width = self.scope.sum(*(value.width for value in [source, *others]))
            self.add({"merge": "concatenate"}, [source, *others], replace(source, width=width, ending=None))
            return
        if not source.is_known:
            others = [value if value.like(source) else source for value in others]
        others = [value if value.like(source) else self.fitted(value, source.width) for value in others]
        how = f"${self.scope.name('how')}" if self.chance(0.3) else self.one(*MERGES)
        self.add({"merge": how}, [source, *others], replace(source, ending=None))

    def choice(self) -> None:
        """A merge of a value and one of two others, by a condition. All three stay to be read, too."""
        source = self.recent()
        others = [value for value in self.pool if value.like(source) and "*" not in value.ref]
        one, other = self.one(*others), self.one(*others)
        chosen = f"$('{one.ref}' if {self.scope.condition()} else '{other.ref}')"
        node = {"merge": self.one(*MERGES), "from": self.one([source.ref, chosen], [chosen, source.ref])}
        self.add(node, [], replace(source, ending=None), "chosen")

    def formula(self) -> None:
        a = self.recent()
        b = self.one(*(value for value in self.pool if value.like(a)))
        text = self.one(
            f"{a.ref} + 0.5 * tanh({b.ref})",
            f"{a.ref} - ${self.scope.name('factor')} * {b.ref}",
            f"{a.ref} * sigmoid({b.ref}) / sqrt($({self.scope.name('width')}))",
            f"relu({a.ref}) - mean({b.ref}, axis=-1, keepdims=true)",
        )
        self.add({"compute": text}, [a, b], replace(a, ending=None))

    def parameter(self) -> None:
        """A learned tensor, or a constant, merged with a value."""
        source = self.recent()
        if not source.is_known:
            return
        ones = {"sequence": [1], "image": [1, 1]}.get(source.kind, [])
        node: Node = {"parameter": [*self.one([], ones), written(source.width)]}
        if self.chance(0.5):
            node["when"] = written(self.scope.condition())
        elif self.chance(0.2):
            node = {"constant": [0.3]}
        held = replace(source, ref=self.put(node, [], "scale"))
        self.add({"merge": self.one("add", "multiply")}, [source, held], replace(source, ending=None))

    def fan(self) -> None:
        """Layers side by side."""
        source, width = self.recent(), self.known()
        node: Node = {"layer": "Dense", "units": written(width), "activation": self.scope.activation()}
        how = self.one("count", "count", "activations", "units")
        if how == "activations":
            node["parallel"] = {"activation": [self.one("relu", "tanh") for _ in range(self.one(2, 3))]}
            del node["activation"]
        elif how == "units":
            widths = self.scope.name("list")
            del node["units"]
            name = self.put(node | {"parallel": {"units": f"${widths}"}}, [source], "each")
            all_of = replace(source, ref=f"{name}.*", width=f"sum({widths})", ending=None)
            self.add({"merge": "concatenate"}, [all_of], all_of)
            return
        else:
            count, least = self.scope.count()
            node["parallel"] = written(count if least else f"{atom(count)} + 1")
        all_of = replace(source, ref=f"{self.put(node, [source], 'each')}.*", width=width, ending=None)
        if self.chance(0.3):
            self.add({"merge": "concatenate"}, [all_of], replace(all_of, width=self.scope.fresh()))
        else:
            base = self.fitted(source, width)
            self.add({"merge": self.one("add", "maximum")}, [base, all_of], all_of)

    # --- the end

    def loose(self) -> list[Value]:
        """What nothing reads; of a node with several outputs the first."""
        found = {value.ref.split(".")[0]: value for value in reversed(self.pool)}
        return [value for name, value in reversed(found.items()) if name not in self.read]

    def close(self, goal: Value, width: str) -> Value:
        """Reads all that is loose, and gives a value like the goal, but of that width."""
        main = self.beside(goal)[-1]
        ends = [value for value in self.loose() if value.ref != main.ref]
        if not ends and main.width == width and main.ref in self.nodes:
            return main
        parts = []
        for value in [*ends, main]:
            if (value.kind, value.space) != (goal.kind, goal.space) and value.kind in ("image", "sequence"):
                pooling = {"image": "GlobalAveragePooling2D", "sequence": "GlobalAveragePooling1D"}[
                    value.kind
                ]
                pooled = replace(value, kind="vector", space="", ending=None)
                value = self.add({"layer": pooling}, [value], pooled)
            parts.append(self.fitted(value, width))
        if len(parts) == 1 and parts[0].ref in self.nodes:
            return parts[0]
        parts = parts if len(parts) > 1 else parts * 2
        return self.add({"merge": "add"}, parts, replace(goal, width=width, ending=None), "end")
