"""Learning from training rows, by one process or by several, each of which has some of the rows.

Several tell one another what they counted and sampled. Each then ends the learning of some encoders, from the
rows of all, and tells the others what these have learned: a tokenizer is trained once.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from typing import Any

from graphspec.data.columns import TablePart
from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.weights import RowWeights
from graphspec.data.processes import Found, Processes, in_order
from graphspec.diagnostics import Diagnostic, SpecError

Learners = Mapping[str, Encoder | RowWeights]
Mistake = tuple[Diagnostic, ...]


def learned(learners: Learners, parts: Iterable[TablePart], processes: Processes) -> int:
    """Lets all learn from training rows, part by part, and returns the number of rows of all processes.

    Raises `SpecError` with the first mistake of each learner, in every process.
    """
    wrong: dict[str, Found[Mistake]] = {}

    def learn(first: int, part: TablePart) -> int:
        for name, learner in learners.items():
            if name not in wrong:
                try:
                    learner.learn(part)
                except SpecError as error:
                    wrong[name] = first, tuple(error.diagnostics)
        return len(part)

    chunks = ((int(part.rows[0]), part) for part in parts)
    rows = sum(count for _, count in in_order(processes, chunks, learn))
    if rows:
        mistakes = _ended(learners, _exchanged(learners, wrong, processes), processes)
        found = [mistake for name in learners for mistake in mistakes.get(name, ())]
        if found:
            raise SpecError({(mistake.code, mistake.message): mistake for mistake in found}.values())
    return rows


def _exchanged(
    learners: Learners, wrong: Mapping[str, Found[Mistake]], processes: Processes
) -> dict[str, Mistake]:
    """Merges what all have learned into each learner that this process ends. Returns the first mistakes."""
    if processes.size == 1:
        return {name: mistake for name, (_, mistake) in wrong.items()}
    told = {
        name: pickle.dumps(learner.learned(), pickle.HIGHEST_PROTOCOL)
        for name, learner in learners.items()
        if name not in wrong
    }
    found = processes.gather((dict(wrong), told))
    mistakes: dict[str, Mistake] = {}
    for number, (name, learner) in enumerate(learners.items()):
        others = [wrongs[name] for wrongs, _ in found if name in wrongs]
        if others:
            mistakes[name] = min(others, key=lambda mistake: mistake[0])[1]
        elif number % processes.size == processes.rank:
            learner.merge([pickle.loads(parts[name]) for _, parts in found])
    return mistakes


def _ended(learners: Learners, mistakes: dict[str, Mistake], processes: Processes) -> dict[str, Mistake]:
    """Ends the learning of all that made no mistake, each in one process. Returns all mistakes."""
    states: dict[str, Any] = {}
    for number, (name, learner) in enumerate(learners.items()):
        if name in mistakes or number % processes.size != processes.rank:
            continue
        try:
            learner.finish()
        except SpecError as error:
            mistakes[name] = tuple(error.diagnostics)
        else:
            states[name] = learner.state(), learner.notes
    if processes.size == 1:
        return mistakes
    for found, others in processes.gather((states, mistakes)):
        mistakes |= others
        for name in found.keys() - states.keys():
            state, learners[name].notes = found[name]
            learners[name].restore(state)
    return mistakes
