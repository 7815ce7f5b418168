"""The modules of a repeated node: a comprehension where one expression is that of all, else one by one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from graphspec.emit.chains import is_chain
from graphspec.emit.code import call, equal, listed, walk
from graphspec.emit.code import names as names_of
from graphspec.emit.module_class import Cell, ModuleClass, NeedsModule, Varies
from graphspec.emit.printer import flat
from graphspec.emit.slots import Slot
from graphspec.emit.submodules import Submodule, SubmoduleWriter
from graphspec.graph import Op

FEW = 4
"""So many instances that differ by their index are listed; more are a comprehension over it."""


@dataclass(frozen=True, slots=True)
class ModuleLists:
    """Writes the lists of one class. `count` is the code for the number of a slot's instances."""

    submodules: SubmoduleWriter
    count: Callable[[Slot], ast.expr]

    @property
    def group(self) -> ModuleClass:
        return self.submodules.group

    def write(self, slot: Slot, cells: dict[Cell, Op]) -> ast.expr | None:
        """The code of all modules of a slot; None if there are none to create. Raises `Varies`."""
        chain = is_chain(self.submodules.classes, self.group, slot)
        kind = "nn.Sequential" if chain else "nn.ModuleList"
        before = dict(self.group.args)
        try:
            element = self.submodules.write(Submodule(cells, slot.node, slot, looped=slot.loop))
            if element is None:
                return None
            loop = self._loop(element, slot)
        except Varies:
            loop = None
        if loop is not None:
            return _of_all(kind, loop)
        self.group.args = before
        return self._listed(slot, kind)

    def _loop(self, element: ast.expr, slot: Slot) -> ast.GeneratorExp | None:
        """A comprehension over the instances; None where a list of them says more."""
        by_index = "index" in names_of(element)
        lists = (part.value for part in walk(element) if isinstance(part, ast.Subscript))
        by_list = any(isinstance(each, ast.Name) for each in lists)
        most = max(len(slots[slot.position].ops) for slots in self.group.slots)
        few = most == 1 or (by_index and not by_list and len(slot.ops) <= FEW)
        if not slot.loop or (few and self._counts_agree(slot)):
            return None
        return over(element, "index" if by_index else "_", call("range", self.count(slot)))

    def _counts_agree(self, slot: Slot) -> bool:
        counts = {
            0 if slots[slot.position].absent else slots[slot.position].count for slots in self.group.slots
        }
        return len(counts) == 1

    def _listed(self, slot: Slot, kind: str) -> ast.expr:
        if not self._counts_agree(slot):
            raise Varies(slot.node)
        items: list[ast.expr] = []
        for number, op in enumerate(slot.ops):
            cells = self.group.cells_of(slot.position, number)
            module = Submodule(cells, f"{slot.node}_{number}", slot, number)
            code = self.submodules.write(module) if cells else None
            if code is None and cells and op.graph is not None:
                raise NeedsModule(op.graph.definition)
            items.append(code or call("nn.Identity"))
        every = call(kind, *items) if kind == "nn.Sequential" else call(kind, listed(items))
        if all(equal(each, items[0]) for each in items):
            again = over(items[0], "_", call("range", ast.Constant(len(items))))
            return min(every, _of_all(kind, again), key=lambda way: len(flat(way)))
        return every


def over(element: ast.expr, word: str, source: ast.expr) -> ast.GeneratorExp:
    """`element for word in source`."""
    return ast.GeneratorExp(element, [ast.comprehension(ast.Name(word, ast.Store()), source, [], 0)])


def _of_all(kind: str, every: ast.GeneratorExp) -> ast.Call:
    """A list or sequence of the modules that a comprehension creates."""
    return call(kind, ast.Starred(every) if kind == "nn.Sequential" else every)
