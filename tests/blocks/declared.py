"""The weights that a spec declares, found from its text alone, by other code than graphspec's.

A value is only computed where something reads it, so that what nothing reads has no weights. What is read of
one instance of a repeated node, or of one call of a shared entry, all of them keep.
"""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import yaml

from tests.blocks import declared_layers
from tests.blocks.declared_layers import Shape

FUNCTIONS = {name: getattr(builtins, name) for name in ("min", "max", "round", "int", "abs", "len", "sum")}
FUNCTIONS |= {"ceil": math.ceil, "floor": math.floor, "true": True, "false": False, "null": None}
FUNCTIONS |= {
    "channels": lambda shape: shape()[-1],
    "given": lambda shape: shape is not None and shape() is not None,
}
REFERENCE = re.compile(r"(?<![$\w])[A-Za-z_][\w.]*")
FORMS = ("layer", "merge", "op", "block", "call", "compute", "parameter", "constant")
ABOUT = {"from", "when", "else", "repeat", "parallel", "checkpoint", "trainable", *FORMS}
"""The keys of nodes that are no arguments."""

Input = Callable[[], Shape | None] | None
Output = Callable[[str | None], Shape | None]


def declared_weights(text: str, preset: str | None = None) -> dict[str, int]:
    """How many weights each layer and parameter of a spec has, by its path."""
    spec = yaml.load(text, yaml.CSafeLoader)
    raw = {**spec.get("params", {}), **(spec.get("presets", {})[preset] if preset else {})}
    found: dict[str, int] = {}
    file = Scope(raw, {}, None, {})
    inputs = {}
    for name, entry in spec["inputs"].items():
        shape = tuple(size if isinstance(size, int) else None for size in file.value(entry["shape"]))
        if entry.get("data_format") == "channels_first":
            shape = (*shape[1:], shape[0])
        inputs[name] = lambda shape=shape: shape
    body = Body(spec, file, "", inputs, found, spec)
    body.file = body
    for judged in outputs_of(spec).values():
        body.read(judged, file)
    while any([group.complete() for group in [*body.groups.values()]]) or any(
        [uses.keep_chain() for uses in [*body.uses.values()]]
    ):
        pass
    return found


def outputs_of(body: Mapping[str, Any]) -> dict[str, str]:
    """The nodes that a body gives away, by the name of the output."""
    outputs = body.get("outputs")
    if outputs is None:
        last = next(reversed(body["nodes"]))
        return {last: last}
    if isinstance(outputs, list):
        return {name: name for name in outputs}
    return {
        name: node if isinstance(node, str) else (node or {}).get("from", name)
        for name, node in outputs.items()
    }


def unzipped(lists: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The arguments of each instance."""
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


@dataclass
class Scope(Mapping[str, Any]):
    """What expressions of a body read: what its use gives, its own params, its inputs, its file's params."""

    raw: dict[str, Any]
    given: dict[str, Any]
    file: Scope | None
    inputs: Mapping[str, Input]

    def __getitem__(self, name: str) -> Any:
        if name in self.given:
            return self.given[name]
        if name in self.raw:
            return self.value(self.raw[name])
        if name in self.inputs:
            return self.inputs[name]
        if self.file is None:
            raise KeyError(name)
        return self.file[name]

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def at(self, index: int) -> Scope:
        """The scope of one instance."""
        return Scope(self.raw, {**self.given, "index": index}, self.file, self.inputs)

    def value(self, value: Any) -> Any:
        """A value of the spec with its expressions evaluated."""
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if not isinstance(value, str) or "$" not in value:
            return value
        if re.fullmatch(r"\$\w+", value):
            return self[value[1:]]
        if value.startswith("$(") and value.endswith(")"):
            return eval(value[2:-1], {"__builtins__": {}, **FUNCTIONS}, self)
        return re.sub(r"\$\(([^()]*)\)|\$(\w+)", lambda m: str(self.value(f"$({m[1] or m[2]})")), value)


@dataclass
class Group:
    """What keeps the same outputs: the instances of a node, or the calls of a shared entry."""

    members: list[Output]
    read: set[str | None] = field(default_factory=set)
    done: int = 0

    def member(self, output: Output) -> Output:
        """One more of them; the group remembers what is read of it."""
        self.members.append(output)

        def noted(key: str | None) -> Shape | None:
            self.read.add(key)
            return output(key)

        return noted

    def complete(self) -> bool:
        """Reads of each what is read of any. Gives whether there was anything to do."""
        if not self.read or self.done == len(self.read) * len(self.members):
            return False
        self.done = len(self.read) * len(self.members)
        for member in [*self.members]:
            for name in [*self.read]:
                member(name)
        return True


@dataclass
class Uses:
    """The uses of a block in one node, or by the calls of a shared entry: all get what one of them reads of
    its inputs.
    """

    bound: list[Mapping[str, Input]] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    chained: set[str] = field(default_factory=set)
    """What a repeated one gets of the one before."""
    done: set[tuple[int, str]] = field(default_factory=set)

    def use(self, bound: Mapping[str, Input], asked: Iterable[str]) -> dict[str, Input]:
        """One more, and its inputs, whose reads are noticed; those that its expressions ask about it gets."""
        self.bound.append(bound)
        for name in asked:
            _read(bound[name])

        def noted(name: str, given: Callable[[], Shape | None]) -> Shape | None:
            self.read.add(name)
            return given()

        return {name: given and partial(noted, name, given) for name, given in bound.items()}

    def complete(self) -> bool:
        """Gives each use what any of them reads. Gives whether there was anything to do."""
        left = {(place, name) for place in range(len(self.bound)) for name in self.read} - self.done
        self.done |= left
        for place, name in left:
            _read(self.bound[place].get(name))
        return bool(left)

    def keep_chain(self) -> bool:
        """Lets repeated uses stay a chain, where none of their outputs needs it."""
        keeps = bool(self.bound) and bool(self.chained) and not self.chained & self.read
        self.read |= self.chained if keeps else set()
        return self.complete()


def _read(given: Input) -> None:
    if given is not None:
        given()


@dataclass
class Instances:
    """The instances of a node: one, a chain, or side by side; `handed` is what a node without any gives."""

    outputs: list[Output]
    is_single: bool
    handed: Input


@dataclass
class Body:
    """One use of a file or a block. Its weights lie below `prefix`."""

    spec: Mapping[str, Any]
    scope: Scope
    prefix: str
    inputs: Mapping[str, Input]
    found: dict[str, int]
    whole: Mapping[str, Any]
    file: Body | None = None
    groups: dict[str, Group] = field(default_factory=dict)  # of the whole program, by their paths
    uses: dict[str, Uses] = field(default_factory=dict)  # as well
    made: dict[str, Instances] = field(default_factory=dict)
    given_out: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.given_out = outputs_of(self.spec)

    # --- references

    def read(self, reference: str, scope: Scope, place: int = 0) -> Shape | None:
        """The shape of a value, or of one of those of all instances; None for nothing."""
        return self.read_all(reference, scope)[place]

    def read_all(self, reference: str, scope: Scope) -> list[Shape | None]:
        name, *rest = scope.value(reference).split(".")
        if name in self.inputs:
            given = self.inputs[name]
            return [given() if given is not None else None]
        node = self.instances(name)
        if node.is_single:
            return [node.outputs[0](rest[0] if rest else None)]
        if rest and (rest[0] == "*" or rest[0].isdigit()):
            chosen, rest = rest[0], rest[1:]
        else:
            chosen = "-1"
        output = rest[0] if rest else None
        if not node.outputs:
            assert node.handed is not None
            return [node.handed()]
        if chosen == "*":
            return [each(output) for each in node.outputs]
        return [node.outputs[int(chosen)](output)]

    # --- nodes

    def instances(self, name: str) -> Instances:
        if name not in self.made:
            self.made[name] = self.make(name, self.spec["nodes"][name])
        return self.made[name]

    def make(self, name: str, node: dict[str, Any]) -> Instances:
        how = next((key for key in ("repeat", "parallel") if key in node), None)
        if how is None:
            inputs = self.sources(name, node, self.scope)
            return Instances([self.instance(name, node, inputs, self.scope)], True, None)
        times = self.scope.value(node[how])
        each: list[dict[str, Any]] = [{}] * times if isinstance(times, int) else unzipped(times)
        group = self.groups.setdefault(self.prefix + name, Group([]))
        outputs: list[Output] = []
        for index, own in enumerate(each):
            scope, here = self.scope.at(index), {**node, **own}
            inputs = self.sources(name, here, scope)
            if how == "repeat" and outputs:
                inputs = self.chained(here, inputs, outputs[-1], scope)
            outputs.append(group.member(self.instance(f"{name}.{index}", here, inputs, scope)))
        handed = None if outputs else self.first(self.sources(name, node, self.scope.at(0)))
        return Instances(outputs, False, handed)

    def chained(self, node: dict[str, Any], inputs: Any, before: Output, scope: Scope) -> Any:
        """The inputs of an instance behind another."""
        block = self.block_of(node, scope)
        names = list(block["inputs"]) if block is not None else ["x"]
        if block is None and isinstance(inputs, dict):
            names = list(inputs)
        inputs = inputs if isinstance(inputs, dict) else dict(zip(names, inputs, strict=False))
        both = [name for name in names if name in outputs_of(block)] if block is not None else []
        if not both:
            return {**inputs, names[0]: lambda: before(None)}
        return {**inputs, **{name: (lambda name=name: before(name)) for name in both}}

    def block_of(self, node: dict[str, Any], scope: Scope) -> Mapping[str, Any] | None:
        """The block that a node is an instance of, if it is one."""
        if "call" in node:
            entry, _ = self.shared(node["call"])
            return self.block_of(entry, scope)
        found: Mapping[str, Any] | None = (
            self.whole["blocks"][scope.value(node["block"])] if "block" in node else None
        )
        return found

    def sources(self, name: str, node: dict[str, Any], scope: Scope) -> Any:
        """What a node reads, each as a function: a list, or a mapping by name."""
        written = node.get("from")
        if written is None:
            if {"parameter", "constant"} & node.keys():
                return []
            if "compute" in node:
                known = {**self.spec["nodes"], **self.inputs}
                written = [word for word in REFERENCE.findall(node["compute"]) if word.split(".")[0] in known]
            else:
                written = self.above(name)
        if isinstance(written, dict):
            return {key: partial(self.read, reference, scope) for key, reference in written.items()}
        listed = written if isinstance(written, list) else [written]
        found: list[Input] = []
        for reference in listed:
            if ".*" in reference:
                count = len(self.instances(reference.split(".")[0]).outputs) or 1
                found += [partial(self.read, reference, scope, place) for place in range(count)]
            else:
                found.append(partial(self.read, reference, scope))
        return found

    def above(self, name: str) -> str:
        before = None
        for other, node in self.spec["nodes"].items():
            if other == name:
                break
            if not {"parameter", "constant"} & node.keys():
                before = other
        return before if before is not None else next(iter(self.inputs))

    def first(self, inputs: Any) -> Input:
        listed = list(inputs.values()) if isinstance(inputs, dict) else inputs
        found: Input = listed[0]
        return found

    def instance(self, path: str, node: dict[str, Any], inputs: Any, scope: Scope) -> Output:
        """What one instance gives, by the name of an output; computed once, when it is read."""
        memo: dict[str | None, Shape | None] = {}
        bodies: list[Body] = []

        def output(name: str | None) -> Shape | None:
            if name not in memo:
                memo[name] = self.computed(path, node, inputs, scope, name, bodies)
            return memo[name]

        return output

    def computed(
        self,
        path: str,
        node: dict[str, Any],
        inputs: Any,
        scope: Scope,
        output: str | None,
        bodies: list[Body],
    ) -> Shape | None:
        if not scope.value(node.get("when", True)):
            if "else" in node:
                return None if node["else"] is None else self.read(node["else"], scope)
            if "parameter" in node:
                return None
            handed = self.first(inputs)
            return handed() if handed is not None else None
        if "constant" in node:
            return self.constant(scope.value(node["constant"]))
        if "parameter" in node:
            return self.parameter(self.prefix + path, tuple(scope.value(node["parameter"])))
        if "block" in node or "call" in node:
            return self.used(path, node, inputs, scope, output, bodies)
        listed = list(inputs.values()) if isinstance(inputs, dict) else inputs
        if "merge" in node:
            shapes = [shape for each in listed if (shape := each()) is not None]
            return self.merged(scope.value(node["merge"]), shapes)
        shapes = [each() for each in listed]  # a formula reads several, of one shape
        if "compute" in node:
            return self.formula(node["compute"], shapes, scope)
        return self.simple(self.prefix + path, node, shapes[0], scope, shapes[-1])

    def simple(
        self, path: str, node: dict[str, Any], x: Shape | None, scope: Scope, memory: Shape | None = None
    ) -> Shape | None:
        """A layer, an op or a formula on one input; attention is to a `memory`."""
        assert x is not None
        arguments = {key: scope.value(value) for key, value in node.items() if key not in ABOUT}
        if node.get("layer") == "MultiHeadAttention":
            arguments["memory"] = memory
        if "op" in node:
            return self.op(node["op"], arguments, x)
        if node["layer"] == "TimeDistributed":
            return self.stepped(path, node["wraps"], x, scope)
        return self.layer(path, node["layer"], arguments, x)

    # --- what nodes compute: of shapes, here

    def constant(self, value: list[float]) -> Shape:
        return (len(value),)

    def parameter(self, path: str, shape: tuple[int, ...]) -> Shape:
        self.found[path] = math.prod(shape)
        return shape

    def merged(self, how: str, values: list[Shape]) -> Shape:
        return declared_layers.merged(how, values)

    def formula(self, text: str, values: list[Any], scope: Scope) -> Shape:
        found: Shape = values[0]
        return found

    def op(self, name: str, arguments: dict[str, Any], x: Shape) -> Shape:
        return declared_layers.op(name, arguments, x)

    def layer(self, path: str, name: str, arguments: dict[str, Any], x: Shape) -> Shape:
        count, shape = declared_layers.layer(name, arguments, x)
        self.count(path, count)
        return shape

    def step(self, x: Shape) -> Shape:
        """A step of a sequence."""
        return x[1:]

    def all_steps(self, x: Shape, inner: Shape) -> Shape:
        """The sequence of what its steps became."""
        return (x[0], *inner)

    def below(self, block: Mapping[str, Any], scope: Scope, prefix: str, inputs: Mapping[str, Input]) -> Body:
        """A use of a block in this body."""
        return type(self)(
            block, scope, prefix, inputs, self.found, self.whole, self.file, self.groups, self.uses
        )

    def stepped(self, path: str, wraps: dict[str, Any], x: Shape, scope: Scope) -> Shape:
        step = self.step(x)
        if "layer" in wraps:
            inner = self.simple(path, wraps, step, scope)
        else:
            inner = self.used(path.removeprefix(self.prefix), wraps, [lambda: step], scope, None, [])
        assert inner is not None
        return self.all_steps(x, inner)

    def count(self, path: str, count: int) -> None:
        assert self.found.get(path, count) == count, f"{path} is called on inputs of other widths"
        if count:
            self.found[path] = count

    def shared(self, name: str) -> tuple[dict[str, Any], Body]:
        """An entry of `shared`, and the body that it belongs to: this one, or that of the file."""
        owner = self if name in self.spec.get("shared", {}) else self.file
        assert owner is not None
        return owner.spec["shared"][name], owner

    def used(
        self,
        path: str,
        node: dict[str, Any],
        inputs: Any,
        scope: Scope,
        output: str | None,
        bodies: list[Body],
        repeated: bool = False,
    ) -> Shape | None:
        """One use of a block, or a call."""
        repeated = repeated or "repeat" in node
        if "call" in node:
            entry, owner = self.shared(node["call"])
            if "layer" in entry:
                return owner.simple(owner.prefix + node["call"], entry, self.first(inputs)(), owner.scope)  # type: ignore[misc]
            if not bodies:
                group = self.groups.setdefault(f"call of {owner.prefix}{node['call']}", Group([]))
                group.members.append(
                    lambda key: owner.used(node["call"], entry, inputs, owner.scope, key, bodies, repeated)
                )
            group = self.groups[f"call of {owner.prefix}{node['call']}"]
            group.read.add(output)
            return owner.used(node["call"], entry, inputs, owner.scope, output, bodies, repeated)
        block = self.whole["blocks"][scope.value(node["block"])]
        if not bodies:
            names = list(block["inputs"])
            bound = inputs if isinstance(inputs, dict) else dict(zip(names, inputs, strict=False))
            bound = {name: bound.get(name) for name in names}
            given = {key: scope.value(value) for key, value in node.items() if key not in ABOUT}
            assert self.file is not None
            inner = Scope(block.get("params", {}), given, self.file.scope, bound)
            prefix = f"{self.prefix}{path}."
            uses = self.uses.setdefault(self.prefix + re.sub(r"\.\d+$", "", path), Uses())
            if repeated:
                both = [name for name in names if name in outputs_of(block)]
                uses.chained = {*(both or names[:1])}
            asked = [name for name in names if f"({name})" in str(block).replace(" ", "")]
            bodies.append(self.below(block, inner, prefix, uses.use(bound, asked)))
        (body,) = bodies
        given_out = body.given_out
        if (
            output is not None and output not in given_out
        ):  # a node inside, or what another kind of block gives
            return body.read(output, body.scope) if output in block["nodes"] else None
        return body.read(given_out[output or next(iter(given_out))], body.scope)
