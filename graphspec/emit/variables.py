"""Names for the variables of a `forward`.

A variable that only the next statement reads is called `x` or `y`, all others as their nodes; so are masks,
what each iteration of a loop reads, and a call of a module beside another call of it. What a loop passes from
one module of a list to the next is called as the output that it is, not as the list. A name keeps its tensor
until it is reassigned.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict

from graphspec.emit.body import Assign, For, Return, Statement, assigned_by, read_by, rename
from graphspec.emit.code import Read, Variable
from graphspec.weights import names

TEMPORARIES = ("x", "y", "z")
"""Names of variables that are read at once. Two of them are used: those that no node needs."""


class Lives:
    """When each variable is assigned and read: by the number of a statement, or of a loop."""

    def __init__(self, body: list[Statement]):
        self.reads: dict[Variable, list[int]] = defaultdict(list)
        self.assigned: dict[Variable, list[int]] = defaultdict(list)
        for number, statement in enumerate(body):
            for variable in read_by(statement):
                self.reads[variable].append(number)
            for variable in assigned_by(statement):
                self.assigned[variable].append(number)
        self.chains = {number for number, statement in enumerate(body) if _is_chain(statement)}

    def last(self, variable: Variable) -> int:
        """The statement after which a variable is not read."""
        return max([*self.reads[variable][-1:], *self.assigned[variable][-1:]], default=-1)

    def is_brief(self, variable: Variable) -> bool:
        """Whether only the next statement reads it."""
        place = self.assigned[variable][-1]
        return place + 1 not in self.chains and all(number <= place + 1 for number in self.reads[variable])


def merge_copies(body: list[Statement]) -> list[Statement]:
    """Removes `b = a` where `a` is read for the last time.

    Both become one variable, which a loop continues to assign.
    """
    lives = Lives(body)
    same: dict[Variable, Variable] = {}
    kept: list[Statement] = []
    together = _carried_together(body)
    for number, statement in enumerate(body):
        if isinstance(statement, Assign) and isinstance(statement.value, Read):
            source, (target,) = statement.value.variable, statement.targets
            part_of_tuple = source.several and source not in together and target in together
            if target is not None and lives.last(source) == number and not part_of_tuple:
                source = same.get(source, source)
                same[target] = source
                source.holds += target.holds
                source.several = True
                if not source.is_argument and not lives.is_brief(target):
                    source.word = target.word
                continue
        kept.append(statement)
    for statement in kept:
        rename(statement, same)
    return kept


class Namer:
    """Names the variables of a body other than the `arguments`; `taken` are names of other things."""

    def __init__(self, body: list[Statement], arguments: list[Variable], taken: set[str]):
        self.body, self.lives, self.outputs = body, Lives(body), _outputs(body)
        self.together, self.returned = _carried_together(body), _returned(body)
        lasting = {each for line in body for each in assigned_by(line) if not self.lives.is_brief(each)}
        words = {variable.word for variable in (lasting | self.outputs.keys()) - set(arguments)}
        words |= {*self.outputs.values()}
        self.temporaries = [word for word in TEMPORARIES if word not in words][:2]
        self.holders = {variable.name: variable for variable in arguments}  # the last variable of each name
        self.space = names.Namespace({*self.temporaries, *taken, *self.holders})

    def run(self) -> None:
        named = set(self.holders.values())
        for number, statement in enumerate(self.body):
            for variable in assigned_by(statement):
                if variable not in named:
                    variable.name = self._choose(variable, number)
                    named.add(variable)
                self.holders[variable.name] = variable

    def _choose(self, variable: Variable, number: int) -> str:
        """The name of a variable that statement `number` is the first to assign."""
        statement = self.body[number]
        # the variable of a comprehension does not replace one that an iteration reads
        looped = isinstance(statement, For) or (variable.item and isinstance(statement, Assign))
        end = number if looped else number + 1
        passed_on = variable.several and any(value.op and value.op.repeated for value in variable.holds)
        if passed_on and (output := self.outputs.get(variable)) and output not in self.holders:
            return self.space.claim(names.local(output))
        if _is_plain(statement) and self._is_temporary(variable, number):
            free = [word for word in self.temporaries if self._is_free(word, end)]
            if free:
                return free[0]
        word = names.local(variable.word)
        old = self.holders.get(word)
        alike = (False, variable.listed, variable.word)
        again = old is not None and (old.is_argument, old.listed, old.word) == alike
        return word if again and self._is_free(word, end) else self.space.claim(word)

    def _is_free(self, word: str, end: int) -> bool:
        """Whether nothing reads the last variable of a name from statement `end` on."""
        holder = self.holders.get(word)
        return holder is None or self.lives.last(holder) < end

    def _is_temporary(self, variable: Variable, number: int) -> bool:
        """Whether a variable needs no name of its own."""
        if not self.lives.is_brief(variable) or _is_mask(variable) or variable.word in self.returned:
            return False
        if variable in self.outputs or variable in self.together:
            return False
        beside = read_by(self.body[number + 1]) if number + 1 < len(self.body) else ()
        return not any(_are_calls_of_one(variable, each) for each in beside)


def _is_chain(statement: Statement) -> bool:
    """Whether a statement is a loop whose iterations read one another's results."""
    return isinstance(statement, For) and any(variable.several for variable in assigned_by(statement))


def _carried_together(body: list[Statement]) -> set[Variable]:
    """The variables that loops pass on beside others: each is assigned before its loop, too."""
    loops = [statement for statement in body if isinstance(statement, For)]
    counts = Counter(each for statement in body for each in assigned_by(statement))
    carried = [{each for each in assigned_by(loop) if counts[each] > 1 and not each.listed} for loop in loops]
    return {each for group in carried if len(group) > 1 for each in group}


def _is_mask(variable: Variable) -> bool:
    return any(value.tensor.dtype == "bool" for value in variable.holds)


def _is_plain(statement: Statement) -> bool:
    """Whether a statement assigns one tensor unconditionally."""
    if not isinstance(statement, Assign) or len(statement.targets) != 1:
        return False
    return not isinstance(statement.value, ast.IfExp | ast.ListComp | ast.List)


def _are_calls_of_one(variable: Variable, other: Variable) -> bool:
    """Whether two variables are results of calls of one shared module."""
    units = [{value.op.unit for value in each.holds if value.op is not None} for each in (variable, other)]
    return variable is not other and any(unit is not None and unit.shared for unit in units[0] & units[1])


def _returned(body: list[Statement]) -> set[str]:
    """The names of the outputs, if they are returned by name."""
    last = body[-1]
    keys = last.value.keys if isinstance(last, Return) and isinstance(last.value, ast.Dict) else []
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def _outputs(body: list[Statement]) -> dict[Variable, str]:
    """The variables that are returned among others, and the outputs' names, if they are returned by name."""
    last = body[-1]
    if not isinstance(last, Return) or not isinstance(last.value, ast.Tuple | ast.Dict):
        return {}
    if isinstance(last.value, ast.Tuple):
        return {item.variable: "" for item in last.value.elts if isinstance(item, Read)}
    pairs = zip(last.value.keys, last.value.values, strict=True)
    return {item.variable: key.value for key, item in pairs if isinstance(item, Read)}  # type: ignore[union-attr]
