"""The `del` statements of a `forward`, where they are worth a line: the names of its variables are known."""

from __future__ import annotations

from collections import defaultdict

from graphspec.emit.body import Assign, Delete, Statement, assigned_by
from graphspec.emit.code import Variable, reads, replace
from graphspec.emit.memory import WORTH, Peaks
from graphspec.emit.nest import DEPTH, bytes_of, depth, unconditional
from graphspec.emit.printer import WIDTH, bare
from graphspec.emit.variables import Lives


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
    return _nested(
        [
            each
            for number, statement in enumerate(body)
            for each in (statement, *([Delete(deletes[number])] if number in deletes else []))
        ]
    )


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


def _nested(body: list[Statement]) -> list[Statement]:
    """Nests a value into the next statement where a `del` follows that: then no name keeps the value.

    A name that held another value before keeps its statement, which frees that one.
    """
    statements: list[Statement] = []
    for statement in body:
        if isinstance(statement, Delete) and len(statements) > 1 and _nest_last(statements, statement):
            continue
        statements.append(statement)
    return statements


def _nest_last(body: list[Statement], delete: Delete) -> bool:
    """Nests the last but one statement into the last, if that alone reads what is deleted next, and fits."""
    source, reader = body[-2:]
    if not isinstance(source, Assign) or not isinstance(reader, Assign):
        return False
    if len(delete.variables) != 1 or source.targets != delete.variables:
        return False
    (variable,) = delete.variables
    occurrences = [read for read in reads(reader.value) if read.variable is variable]
    before = {each.name for statement in body[:-2] for each in assigned_by(statement)}
    if len(occurrences) != 1 or occurrences[0] not in unconditional(reader.value) or variable.name in before:
        return False
    nested = replace(reader.value, occurrences[0], source.value)
    head = ", ".join(target.name if target is not None else "_" for target in reader.targets)
    if depth(nested) > DEPTH or 8 + len(f"{head} = {bare(nested)}") > WIDTH:
        return False
    reader.value, reader.ops = nested, [*source.ops, *reader.ops]
    del body[-2]
    return True
