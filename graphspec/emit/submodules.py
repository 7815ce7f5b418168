"""The expressions that create submodules, in all instances of a class at once."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract.fields import same
from graphspec.contract.layer import Leaf, ModuleCall, Weight
from graphspec.emit.classes import Classes
from graphspec.emit.code import call, fill, name
from graphspec.emit.code import names as names_of
from graphspec.emit.module_class import MISSING, Cell, ClassName, ModuleClass, NeedsModule, Varies
from graphspec.emit.slots import Slot, kind_of
from graphspec.emit.values import ValueWriter, Wish
from graphspec.graph import Graph, Op
from graphspec.traced import Symbolic, formula_of, formulas_in, outward
from graphspec.traced import plain as untraced


@dataclass(frozen=True, slots=True)
class Submodule:
    """The modules that one expression creates: those of `cells`, which are of a slot unless they are lent.
    New arguments are called after `hint`. Of a repeated node it is instance `number`, or if `looped` all of
    them.
    """

    cells: dict[Cell, Op]
    hint: str
    slot: Slot | None = None
    number: int = 0
    looped: bool = False

    @property
    def op(self) -> Op:
        return next(iter(self.cells.values()))

    @property
    def count(self) -> Symbolic | None:
        """How many instances a loop makes; None for one instance alone."""
        return formula_of(self.op.count) if self.looped else None

    @property
    def graphs(self) -> dict[Cell, Graph]:
        """The instances of blocks and models."""
        return {cell: op.graph for cell, op in self.cells.items() if op.graph is not None}


@dataclass(eq=False, slots=True)
class SubmoduleWriter:
    """Writes the expressions of one class."""

    classes: Classes[Any]
    group: ModuleClass
    values: ValueWriter = field(init=False)

    def __post_init__(self) -> None:
        self.values = ValueWriter(self.group)

    def write(self, module: Submodule) -> ast.expr | None:
        """The code that creates a submodule; None if there is none to create. Raises `Varies`."""
        if module.op.graph is not None:
            return self._instance(module)
        if module.op.parameter is not None:
            return self._parameter(module, module.op.parameter)
        constructs = {cell: self.classes.code(op).construct for cell, op in module.cells.items()}
        known = {cell: construct for cell, construct in constructs.items() if construct is not None}
        if not known:
            return None
        first = next(iter(known.values()))
        if len(known) < len(constructs) or any(each.around != first.around for each in known.values()):
            raise Varies(module.hint)
        return fill(first.around, {"module": self._layer(module, known)})

    # --- layers

    def _layer(self, module: Submodule, constructs: Mapping[Cell, ModuleCall]) -> ast.Call:
        first = next(iter(constructs.values()))
        target = _target(constructs.values(), module.hint)
        made = next((each for each in constructs.values() if each.target == target), first)
        expr = call(target)
        for word in first.positional:
            values = {
                cell: self._here(construct.positional[word], module) for cell, construct in constructs.items()
            }
            expr.args.append(self._leaf(values, module, self._wish(module, word)))
        by_place = min(construct.by_place for construct in constructs.values())
        for place, word in enumerate(first.keyword):
            default = made.keyword[word][1]
            values = {
                cell: self._here(construct.keyword[word][0], module) for cell, construct in constructs.items()
            }
            if all(same(v, default) for v in values.values()) and not formulas_in(list(values.values())):
                continue
            code = self._leaf(values, module, self._wish(module, word))
            if isinstance(code, ast.Constant) and same(code.value, default):
                continue
            explained = next(names_of(code), None) is not None  # by the names in it
            if explained and place < by_place and len(expr.args) == len(first.positional) + place:
                expr.args.append(code)
            else:
                expr.keywords.append(ast.keyword(word, code))
        return expr

    def _here(self, value: Leaf, module: Submodule) -> Leaf:
        """A value of a layer that only an inner block calls: names of that block mean nothing here."""
        if module.slot is not None or all(
            x.kind == "file" for tree in formulas_in(value) for x in tree.leaves()
        ):
            return value
        number: Leaf = untraced(value)
        return number

    def _wish(self, module: Submodule, word: str) -> Wish:
        inner = word in ("in_channels", "in_features") and word not in self.group.args
        hint = word if inner else f"{module.hint}_{word}"
        return Wish(word, hint, False, module.count, module.number)

    def _leaf(self, values: dict[Cell, Leaf], module: Submodule, wish: Wish) -> ast.expr:
        """The code of an argument of a submodule."""
        code = self.values.write(values, module.cells, wish)
        if code is None:
            raise Varies(wish.hint)
        return code

    def _parameter(self, module: Submodule, weight: Weight) -> ast.expr:
        shapes = {cell: op.parameter.shape for cell, op in module.cells.items() if op.parameter is not None}
        wish = Wish("parameter", f"{module.hint}_size")
        sizes = [
            self._leaf({cell: shape[axis] for cell, shape in shapes.items()}, module, wish)
            for axis in range(len(weight.shape))
        ]
        parameter = call("nn.Parameter", call("torch.empty", *sizes))
        if not weight.trainable:
            parameter.keywords.append(ast.keyword("requires_grad", ast.Constant(False)))
        return parameter

    # --- blocks and models

    def _instance(self, module: Submodule) -> ast.expr | None:
        graphs = module.graphs
        child = self.classes.of[next(iter(graphs.values()))]
        if any(self.classes.of[graph] is not child for graph in graphs.values()):
            expr = call(self._kind(module))
        elif child.is_function:
            return None
        else:
            expr = call(name(child.name))
        required = [arg for arg in child.args.values() if arg.default is MISSING]
        for place, arg in enumerate(child.ordered_args):
            values = self._argument_values(graphs, arg.name)
            usual = arg.default is not MISSING and all(same(value, arg.default) for value in values.values())
            if usual and not formulas_in(list(values.values())):
                continue
            code = self._inner_argument(module, arg.name)
            placed = arg.default is MISSING and (len(required) <= 2 or arg.is_channels)
            named = isinstance(code, ast.Name) and code.id == arg.name  # it says itself what it is
            placed = placed and arg.annotation != "bool"  # `Block(False)` says nothing
            placed = (placed or (named and arg.default is MISSING)) and not expr.keywords
            third = place == 2 == len(expr.args) and arg.name == "kernel_size"  # as people write nn.Conv2d
            if placed or third:
                expr.args.append(code)
            else:
                expr.keywords.append(ast.keyword(arg.name, code))
        return expr

    def _inner_argument(self, module: Submodule, word: str) -> ast.expr:
        """The code of an argument of an inner class."""
        child = self.classes.of[next(iter(module.graphs.values()))]
        arg = child.args[word]
        if arg.param is not None and self._is_of_the_file(module, arg.param):
            return self.group.param(arg.param, always=True)
        free = arg.param is None and word not in self.group.args
        hint = word if free else f"{module.hint}_{word}"
        wish = Wish(arg.param or word, hint, True, module.count, module.number)
        return self._leaf(self._argument_values(module.graphs, word), module, wish)

    def _is_of_the_file(self, module: Submodule, word: str) -> bool:
        """Whether a param of inner instances is one of the file, which this class reads by that name."""
        own = self.group.graph.definition.block is not None and word in self.group.graph.declared
        return not own and all(
            word not in graph.declared
            and word in (around := self.group.bodies[body].visible)
            and same(graph.visible[word], around[word])
            for (body, _), graph in module.graphs.items()
        )

    def _argument_values(self, graphs: Mapping[Cell, Graph], word: str) -> dict[Cell, Leaf]:
        """The values of an argument of inner classes, in these instances."""
        values: dict[Cell, Leaf] = {}
        for cell, graph in graphs.items():
            group = self.classes.of[graph]
            values[cell] = outward(group.args[word].values[group.numbers[graph]], graph.bindings)
        return values

    def _kind(self, module: Submodule) -> ast.expr:
        """The argument that is the class of an inner instance. Raises `Varies`, `NeedsModule`."""
        word = kind_of(module.op)
        groups: dict[int, ModuleClass] = {}
        for (body, _), graph in module.graphs.items():
            group = groups.setdefault(body, self.classes.of[graph])
            if word is None or group is not self.classes.of[graph]:
                raise Varies(module.hint)
            if group.is_function:
                raise NeedsModule(group.definition)
        first = next(iter(groups.values()))
        kinds: list[Leaf] = [
            ClassName(groups.get(body, first).name) for body in range(len(self.group.bodies))
        ]
        assert word is not None, "there is an instance"
        return name(self.group.argument(word, kinds).name)


def _target(constructs: Collection[ModuleCall], hint: str) -> str:
    """The class of a layer, or the general one that can be each of several. Raises `Varies`."""
    first = next(iter(constructs))
    if all(each.target == first.target for each in constructs):
        return first.target
    general = first.general or first.target
    if any((each.general or general) != general for each in constructs):
        raise Varies(hint)
    return general
