"""Names for the variables of a `forward`, and the `del` statements that are worth a line.

A variable that only the next statement reads is called `x` or `y`, all others as their nodes; so are masks,
what each iteration of a loop reads, and a call of a module beside another call of it. What a loop passes from
one module of a list to the next is called as the output that it is, not as the list. A name keeps its tensor
until it is reassigned.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict

from graphspec.emit.body import Assign, Delete, For, Return, Statement, assigned_by, read_by, rename
from graphspec.emit.code import Read, Variable
from graphspec.emit.memory import WORTH, Peaks
from graphspec.emit.nest import bytes_of
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


def name_variables(body: list[Statement], arguments: list[Variable], taken: set[str]) -> None:
    """Names every variable."""
    lives, outputs = Lives(body), _outputs(body)
    lasting = {each for statement in body for each in assigned_by(statement) if not lives.is_brief(each)}
    words = {variable.word for variable in (lasting | outputs.keys()) - set(arguments)} | {*outputs.values()}
    temporaries = [word for word in TEMPORARIES if word not in words][:2]
    together, returned = _carried_together(body), _returned(body)
    space = names.Namespace({*temporaries, *taken, *(variable.name for variable in arguments)})
    holders = {variable.name: variable for variable in arguments}
    named = set(arguments)

    def is_free(name: str, number: int, looped: bool) -> bool:
        holder = holders.get(name)
        return holder is None or lives.last(holder) < number + (not looped)

    def choose(variable: Variable, number: int, statement: Statement) -> str:
        # the variable of a comprehension does not replace one that an iteration reads
        looped = isinstance(statement, For) or (variable.item and isinstance(statement, Assign))
        brief = lives.is_brief(variable) and variable not in outputs and not _is_mask(variable)
        beside = read_by(body[number + 1]) if number + 1 < len(body) else ()
        brief = brief and variable not in together and variable.word not in returned
        brief = brief and not any(_are_calls_of_one(variable, each) for each in beside)
        passed_on = variable.several and any(value.op and value.op.repeated for value in variable.holds)
        if passed_on and (word := outputs.get(variable)) and word not in holders:
            return space.claim(names.local(word))
        if brief and _is_plain(statement):
            free = [name for name in temporaries if is_free(name, number, looped)]
            if free:
                return max(free, key=lambda name: bytes_of(holders[name]) if name in holders else 0)
        word = names.local(variable.word)
        old = holders.get(word)
        alike = (False, variable.listed, variable.word)
        if old is not None and (old.is_argument, old.listed, old.word) == alike:
            return word if is_free(word, number, looped) else space.claim(word)
        return space.claim(word)

    for number, statement in enumerate(body):
        for variable in assigned_by(statement):
            if variable not in named:
                variable.name = choose(variable, number, statement)
                named.add(variable)
            holders[variable.name] = variable


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


def release(body: list[Statement], program: int, peaks: Peaks) -> list[Statement]:
    """Adds a `del` where it saves at least a fifth of the memory that the program needs."""
    lives, ends = Lives(body), _ends(body)
    dropped: dict[Variable, int] = {}
    during = [max(map(peaks.during, getattr(statement, "ops", ())), default=0) for statement in body]
    while True:
        changes = [0] * (len(body) + 2)
        for variable, end in ends.items():
            held = bytes_of(variable)
            changes[lives.assigned[variable][0] + 1] += held
            changes[min(dropped.get(variable, end), end) + 1] -= held
        needs, now = [], 0
        for number, change in enumerate(changes[:-1]):
            now += change
            needs.append(now + (during[number] if number < len(body) else 0))
        step = max(range(len(needs)), key=needs.__getitem__, default=0)
        dead = [
            variable
            for variable, end in ends.items()
            if variable not in dropped and lives.last(variable) < step <= end and bytes_of(variable)
        ]
        if not dead or sum(map(bytes_of, dead)) < WORTH * max(program, needs[step]):
            break
        dropped |= {variable: lives.last(variable) for variable in dead}
    deletes: dict[int, list[Variable]] = defaultdict(list)
    for variable, number in dropped.items():
        deletes[number].append(variable)
    return [
        each
        for number, statement in enumerate(body)
        for each in (statement, *([Delete(deletes[number])] if number in deletes else []))
    ]


def _ends(body: list[Statement]) -> dict[Variable, int]:
    """The statement after which a variable's name is reused, or the function ends."""
    holders: dict[str, Variable] = {}
    ends: dict[Variable, int] = {}
    for number, statement in enumerate(body):
        for variable in assigned_by(statement):
            before = holders.get(variable.name)
            if before is not None and before is not variable:
                ends[before] = number
            holders[variable.name] = variable
            ends[variable] = len(body)
    return ends
