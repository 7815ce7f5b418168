"""A class to write: the instances that share it, its template, and its arguments.

The arguments are the params of the block that differ between instances, and the channels of its inputs. A
value of the constructor is written over these: by the spec's own expression, by where its size comes from, or
by an argument of equal value. Each way is verified on every instance, so no choice can change what a model
computes; what cannot be written so splits the class (`Varies`).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract.arrays import Nested, Pairs
from graphspec.contract.fields import same
from graphspec.contract.layer import Leaf, Ref
from graphspec.emit.code import Variable, literal, name
from graphspec.emit.folding import folded
from graphspec.emit.slots import Slot, Wiring
from graphspec.emit.template import ClassTemplate
from graphspec.expressions import Expression, ExpressionError, parse_value
from graphspec.graph import Definition, Graph, Op, Value
from graphspec.tensor import DTYPES
from graphspec.traced import Symbolic, as_code, formulas_in
from graphspec.traced import plain as untraced
from graphspec.weights import names

MISSING: Any = object()

Cell = tuple[int, int]  # (body of the class, instance of a slot)


class Varies(Exception):
    """The instances differ in a way that one class cannot express."""


class FixedParams(Exception):
    """These params of the file cannot be arguments: one text does not suit other values of theirs."""

    def __init__(self, params: Collection[str]):
        super().__init__(", ".join(sorted(params)))
        self.params = frozenset(params)


class ClassName(Ref):
    """The name of a class of the file, which a block is given as its param."""


class NeedsModule(Exception):
    """A block without weights is one of several kinds in a list, so that it cannot be a function."""

    def __init__(self, definition: Definition):
        super().__init__(definition.title)
        self.definition = definition


@dataclass(eq=False, slots=True)
class Arg:
    """An argument of a class: its value in each body, its default, and the param or the input (whose channels
    it is) that it stands for, if any.
    """

    name: str
    values: list[Leaf]
    annotation: str
    default: Leaf = MISSING
    param: str | None = None
    channels: str | None = None

    @property
    def is_channels(self) -> bool:
        """Whether it is the number of input channels or features."""
        return self.channels is not None


@dataclass(eq=False, slots=True)
class ModuleClass:
    """The instances `bodies` that share a class; `slots` are those of each. The last of them are `probes`, of
    the same file with other values of these params: what is written must suit these, too. `options` are the
    params that the use of each gives it; `open_names` the names in formulas that depend on params of the
    program; `twins` the bodies that are calls of one module.

    With `over`, it runs on modules of that class, and constructs none: the calls of a shared block whose
    structure differs from that of the first call.
    """

    definition: Definition
    bodies: list[Graph]
    slots: list[list[Slot]]
    probes: list[tuple[str, ...]]
    template: ClassTemplate
    wiring: Wiring
    helpers: frozenset[str]
    options: list[dict[str, Any]]
    open_names: list[frozenset[Symbolic]]
    twins: list[list[int]] = field(default_factory=list)
    over: ModuleClass | None = None
    name: str = ""
    takes: tuple[bool, ...] = ()  # which inputs come with channels at axis 1
    gives: tuple[bool, ...] = ()  # and which outputs
    args: dict[str, Arg] = field(default_factory=dict)
    logits: bool = False
    is_main: bool = False  # of the program itself: its params have defaults
    is_function: bool = False  # it constructs nothing, so it is written as a function
    numbers: dict[Graph, int] = field(default_factory=dict)  # body -> its index in `bodies`
    borrowed: dict[str, Variable] = field(default_factory=dict)  # of other classes, passed to `forward`
    types: dict[str, str] = field(default_factory=dict)  # of what is borrowed, by argument
    flags: dict[int, str] = field(default_factory=dict)  # slot -> the flag under which its module is made
    fills: dict[tuple[str, str], str] = field(default_factory=dict)  # (attribute, weight) -> what fills it
    unfilled: set[int] = field(default_factory=set)  # slots of parameters that each instance fills otherwise

    def is_open(self, values: Mapping[Cell, Leaf]) -> bool:
        """Whether numbers depend on params of the block or of the program, or on sizes of inputs."""
        return any(
            leaf.kind in ("param", "size") or leaf in self.open_names[body]
            for (body, _), value in values.items()
            for tree in formulas_in(value)
            for leaf in tree.leaves()
        )

    @property
    def real(self) -> int:
        """How many of its bodies are of the program itself: the first ones."""
        return len(self.bodies) - len(self.probes)

    @property
    def graph(self) -> Graph:
        """The graph of the template."""
        return self.template.graph

    @property
    def inputs(self) -> list[str]:
        """The inputs of `forward`: those that any body is given."""
        return [word for word, value in self.graph.inputs.items() if value is not None]

    @property
    def ordered_args(self) -> list[Arg]:
        """The arguments in the order of a signature: those without a default first, of these channels; params
        as they are declared.
        """
        words = dict.fromkeys([*self.graph.declared, *self.graph.visible])
        places = {word: place for place, word in enumerate(words)}

        def place(arg: Arg) -> tuple[bool, bool, int]:
            return arg.default is not MISSING, not arg.is_channels, places.get(arg.param or "", len(places))

        return sorted(self.args.values(), key=place)

    def local(self, word: str) -> str:
        """The variable, function or argument of the constructor for a name."""
        return names.local(word, self.helpers)

    def input(self, word: str) -> str:
        """The argument of `forward` for an input."""
        return names.argument(word, self.helpers)

    def cells(self, position: int) -> dict[Cell, Op]:
        """All present ops of a slot, over all bodies and instances."""
        return {
            (body, number): op
            for body, slots in enumerate(self.slots)
            for number, op in enumerate(slots[position].ops)
            if op.present
        }

    def cells_of(self, position: int, number: int) -> dict[Cell, Op]:
        """One instance of a slot, in each body that has it."""
        return {(body, 0): op for (body, each), op in self.cells(position).items() if each == number}

    @property
    def reads_alike(self) -> bool:
        """Whether each instance reads all that the code reads in it: what one is not given must be None."""
        template = self.template
        return not any(
            argument is None and isinstance(read, Value) and template.instances[read][body] is not None
            for body, slots in enumerate(self.slots)
            for op in (op for slot in slots for op in slot.ops if op.present)
            for argument, read in zip(op.arguments, template.ops[op].arguments, strict=False)
        )

    # --- expressions of the spec

    def expression(self, expression: Expression) -> ast.expr | None:
        """An expression of the spec over the class's arguments; None if it reads a value that they cannot
        hold.
        """
        codes: dict[str, ast.expr] = {}
        inputs = {f"given({word})": word for word in self.graph.inputs}
        if not expression.names <= {"index", *self.graph.visible, *inputs}:
            return None
        for word in sorted(expression.names - {"index"}):
            codes[word] = self.has_input(inputs[word]) if word in inputs else self.param(word, always=True)
        for word in sorted(expression.channels):
            channels = self.channels_of(word)
            if channels is None:
                return None
            codes[f"channels({word})"] = self.channels(word, channels)
        return folded(expression.python(codes))

    def evaluate(self, expression: Expression, index: int | None = None) -> list[Any]:
        """The value of an expression of the spec in each body; MISSING where it has none."""
        return [self._evaluated(expression, body, index) for body in self.bodies]

    def _evaluated(self, expression: Expression, body: Graph, index: int | None) -> Any:
        def channels(word: str) -> int:
            value = body.inputs[word]
            size = value.tensor.shape[-1] if value is not None else None
            if not isinstance(size, int):
                raise KeyError(word)
            return size

        scope = {**body.visible, **({} if index is None else {"index": index})}
        scope |= {f"given({word})": value is not None for word, value in body.inputs.items()}
        try:
            return plain(expression.evaluate(scope, channels))
        except (ExpressionError, KeyError):
            return MISSING

    def formula(self, tree: Symbolic, looped: bool) -> ast.expr | None:
        """A formula over the class's arguments; None if it reads what they cannot hold."""
        before = dict(self.args)
        code = as_code(tree, lambda leaf: self._leaf(leaf, looped))
        if code is None:
            self.args = before
        return code if code is None else folded(code)

    def _leaf(self, leaf: Symbolic, looped: bool) -> ast.expr | None:
        word = leaf.parts[0] if leaf.parts else ""
        match leaf.kind:
            case "index":
                return name("index") if looped else None
            case "given":
                return self.has_input(word)
            case "size" if leaf.parts[1] == -1 and not self.is_main:
                sizes = self.channels_of(word)
                return None if sizes is None else self.channels(word, sizes)
            case "param" | "file" if self._sees(leaf):
                return self.param(word, always=True)
        return None

    def _sees(self, leaf: Symbolic) -> bool:
        """Whether a param in a formula is one of the class's own, or of its file."""
        own = leaf.parts[0] in self.graph.declared
        return own if self.graph.definition.block is None else own is (leaf.kind == "param")

    def leaf_value(self, leaf: Symbolic, body: int, index: int) -> Any:
        """The value of a name in a formula, in an instance. Raises `LookupError` where it has none."""
        graph = self.bodies[body]
        if leaf.kind == "index":
            return index
        if leaf.kind == "given":
            return graph.inputs[leaf.parts[0]] is not None
        if leaf.kind == "size":
            value = graph.inputs[leaf.parts[0]]
            if value is None:
                raise LookupError(leaf.parts[0])
            return untraced(value.tensor.shape[leaf.parts[1]])
        if not self._sees(leaf):
            raise LookupError(leaf.parts[0])
        return untraced(graph.visible[leaf.parts[0]])

    def param(self, word: str, always: bool = False) -> ast.expr:
        """A param: a literal where all bodies have one value, but `always`, its default where that is an
        expression and no body is given another, else an argument.
        """
        values = [plain(body.visible[word]) for body in self.bodies]
        if all(same(value, values[0]) for value in values) and not (always and word in self.graph.declared):
            return literal(values[0])
        derived = self._derived(word)
        if derived is not None:
            return derived
        default: Leaf = MISSING
        declared = self.graph.declared.get(word, MISSING)
        if self.is_main and word in self.graph.declared:
            default = untraced(values[0])
        elif isinstance(declared, int | float) or (
            isinstance(declared, str) and declared != "required" and "$" not in declared
        ):
            default = declared
        elif isinstance(values[0], bool):
            default = False
        return name(self.argument(word, values, default, param=word).name)

    def has_input(self, word: str) -> ast.expr:
        """Whether an input is given: a literal, or an argument."""
        values: list[Leaf] = [body.inputs[word] is not None for body in self.bodies]
        if all(value == values[0] for value in values):
            return literal(values[0])
        return name(self.argument(f"has_{word}", values, False).name)

    def _derived(self, word: str) -> ast.expr | None:
        """The default of a param of the block's own, if that is an expression that no use replaces."""
        parsed = parse_value(self.graph.declared[word]) if self._is_derived(word) else None
        return self.expression(parsed) if isinstance(parsed, Expression) else None

    def _is_derived(self, word: str) -> bool:
        """Whether a param is a formula over others in all bodies."""
        declared = self.graph.declared.get(word)
        if not isinstance(declared, str) or "$" not in declared:
            return False
        return not any(word in values for values in self.options)

    def lists(self) -> Iterator[tuple[str, list[tuple[Leaf, ...]]]]:
        """The params that are lists, and not the same in all bodies, with the list of each body."""
        graph = self.graph
        for word in sorted(graph.visible, key=lambda word: word not in graph.declared):
            rows = [plain(body.visible.get(word)) for body in self.bodies]
            lists = [row for row in rows if isinstance(row, tuple)]
            if len(lists) == len(rows) and not all(same(row, rows[0]) for row in rows):
                yield word, lists

    # --- arguments

    def argument(
        self,
        word: str,
        values: list[Leaf],
        default: Leaf = MISSING,
        param: str | None = None,
        channels: str | None = None,
    ) -> Arg:
        """An argument with these values: an existing one, or a new one with an unused name."""
        for known in self.args.values():
            if (known.param, known.channels) == (param, channels) and all(map(same, known.values, values)):
                return known
        if self.is_main and self.probes and param is None:
            pairs = zip(self.probes, values[self.real :], strict=True)
            raise FixedParams(
                {word for words, value in pairs if not same(value, values[0]) for word in words}
            )
        for calls in self.twins:
            if any(not same(values[body], values[calls[0]]) for body in calls):
                raise Varies(f"`{word}` differs between calls of one module")
        first = names.param(word, self.helpers) if param is not None else self.local(word)
        spelled, number = first, 1
        while spelled in self.args:
            number += 1
            spelled = f"{first}_{number}"
        kind = annotation(values)
        of_file = param is not None and (self.is_main or param not in self.graph.declared)
        if of_file and isinstance(values[0], tuple):  # a list, whose length is a part of the choice
            kind = f"tuple[{annotation(values[0])}, ...]"
        arg = Arg(spelled, values, kind, default, param, channels)
        self.args[spelled] = arg
        return arg

    def channels_of(self, word: str) -> list[Leaf] | None:
        """The last axis of an input in each body, 0 where it is not given if the others differ; None if one
        is unknown.
        """
        sizes: list[Leaf] = []
        for body in self.bodies:
            value = body.inputs.get(word)
            sizes.append(value.tensor.shape[-1] if value is not None else None)  # type: ignore[arg-type]
        known = [size for size in sizes if size is not None]
        if not known or not all(isinstance(size, int) for size in known):
            return None
        other = known[0] if all(same(size, known[0]) for size in known) else 0
        return [other if size is None else size for size in sizes]

    def channels(self, word: str, sizes: list[Leaf]) -> ast.expr:
        """The channels of an input: an argument."""
        default: Leaf = 0 if 0 in sizes else MISSING
        return name(self.argument(self._channels_name(word), sizes, default, channels=word).name)

    def _channels_name(self, word: str) -> str:
        value = self.graph.inputs[word]
        assert value is not None
        kind = "in_channels" if value.tensor.rank > 2 else "in_features"
        return kind if len(self.inputs) == 1 else f"{word}_{kind.removeprefix('in_')}"


def plain(value: Any) -> Leaf:
    """A spec's value as a leaf: lists become tuples."""
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


TORCH_TYPES = frozenset(f"torch.{word}" for word in DTYPES)


def annotation(values: Collection[Leaf]) -> str:
    """The type of an argument with these values."""
    values = [untraced(value) for value in values]
    kinds = {type(value) for value in values}
    if ClassName in kinds:
        return "type[nn.Module]"
    if Ref in kinds:
        if all(value is None or (isinstance(value, Ref) and value.text in TORCH_TYPES) for value in values):
            return "torch.dtype | None" if None in values else "torch.dtype"
        return "Callable[[Tensor], Tensor]"
    if float in kinds:
        kinds -= {int}
    words = {"None" if kind is type(None) else kind.__name__ for kind in kinds - {tuple, Nested, Pairs}}
    words |= {"list" for value in values if isinstance(value, Nested)}
    words |= {"dict[str, Any]" for value in values if isinstance(value, Pairs)}
    tuples = [v for v in values if isinstance(v, tuple) and not isinstance(v, Nested | Pairs)]
    if len({len(value) for value in tuples}) > 1:
        words.add(f"tuple[{annotation([item for value in tuples for item in value])}, ...]")
    else:
        words |= {f"tuple[{_items(value)}]" for value in tuples}
    return " | ".join(sorted(words, key=lambda word: (word == "None", word)))


def _items(value: tuple[Leaf, ...]) -> str:
    """The types of a tuple's items."""
    return ", ".join(annotation([item]) for item in value) or "()"
