"""Estimates a training on some GPUs before any is rented: memory, bytes that are sent, and hours.

All follows from shapes and from figures of the cards' makers. Hours are a range, as nothing was run: between
a step that reaches `BEST` of a card's products and sends while it computes, and one that reaches `WORST` of
them, waits for data, and is launched operation by operation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.graph import Graph
from graphspec.tensor import names_of, nbytes, sum_of, value_of
from graphspec.train.config import effective_batch
from graphspec.view.costs import StepCosts


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU as its maker describes it: bytes of memory, bytes a second that it reads, FLOPs a second of dense
    products by precision, and bytes a second to other cards of its machine.
    """

    memory: float
    reads: float
    products: Mapping[str, float]
    link: float


def _card(memory: int, reads: int, bf16: int, tf32: int, float32: int, link: int) -> Card:
    """From GB, GB/s, TFLOP/s and GB/s."""
    products = {"bf16": bf16 * 1e12, "tf32": tf32 * 1e12, "float32": float32 * 1e12}
    return Card(memory * 1e9, reads * 1e9, products, link * 1e9)


CARDS = {
    "A100": _card(80, 2039, 312, 156, 19, 300),
    "H100": _card(80, 3350, 989, 495, 67, 450),
    "H200": _card(141, 4800, 989, 495, 67, 450),
    "B200": _card(180, 8000, 2250, 1100, 75, 900),
    "L4": _card(24, 300, 121, 60, 30, 32),
    "L40S": _card(48, 864, 362, 183, 91, 32),
}
TOGETHER = 8
"""Cards of a machine, at most."""
NETWORK = 50e9
"""Bytes a second that a card sends to other machines."""
BEST, WORST = 0.5, 0.15
"""The share of a card's products that trainings reach."""
MOVED = 4
"""How often a value of `activation_bytes` is read or written in a step: in both passes."""
LAUNCH = (4e-6, 20e-6)
"""Seconds of a kernel's launch, where Python need not wait for it and where it does."""
KERNELS = 3
"""Kernels of an operation: one of the forward pass, two of the backward pass."""
FREE = 0.9
"""The share of a card's memory that a training may fill."""
HELP = "write a number of cards and their name, such as 64xH100"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A training on `count` cards: bytes for each card, and seconds of a step from the least to the most."""

    name: str
    count: int
    rows: int
    batch: int
    steps: int
    sizes: Mapping[str, int]
    parameters: int
    flops: int
    memory: Mapping[str, int]
    sent: tuple[int, int]
    """Bytes that a card sends in a step to others of its machine, and between machines."""
    data: int
    checkpoint: int
    seconds: Mapping[str, tuple[float, float]]
    other: TrainingPlan | None = None
    """The plan with copies of the shards on each machine, where weights are sharded over machines."""

    @property
    def step(self) -> tuple[float, float]:
        """Seconds of a step: the largest of its parts, and their sum."""
        computing, reading, launching, sending = self.seconds.values()
        on_card = max(computing[0], reading[0])
        slow = max(computing[1] + reading[1], launching[1])
        return max(on_card, launching[0], sending[0]), slow + sending[1]

    @property
    def hours(self) -> tuple[float, float]:
        return self.step[0] * self.steps / 3600, self.step[1] * self.steps / 3600

    @property
    def fits(self) -> bool:
        return sum(self.memory.values()) <= FREE * CARDS[self.name].memory

    def __str__(self) -> str:
        card, total = CARDS[self.name], sum(self.memory.values())
        parts = ", ".join(f"{name} {_bytes(size)}" for name, size in self.memory.items())
        verdict = (
            "fits" if self.fits else "does not fit: see `parallel: fsdp`, `checkpoint: true`, or more GPUs"
        )
        low, high = self.hours
        limits = ", ".join(f"{name} {_span(*span)} ms" for name, span in self._milliseconds().items())
        named = "".join(f", {name}={size}" for name, size in self.sizes.items())
        lines = [
            f"{self.parameters:,} weights; {self.steps:,} steps of {self.batch:,} rows{named}",
            f"memory of each GPU: {_bytes(total)} of {_bytes(int(card.memory))}, {verdict}",
            f"  {parts}",
            f"a step: {self.flops / 1e12:,.3g} TFLOP and {self._sent()} sent by each GPU; {limits}",
            f"hours: {_span(low, high)}, of all GPUs {_span(self.count * low, self.count * high)}",
            *self._advice(),
            f"inputs as the model reads them: {_bytes(self.data)}; a checkpoint: {_bytes(self.checkpoint)}",
            f"assumed: {WORST:.0%} to {BEST:.0%} of the FLOPs of the data sheet, {TOGETHER} GPUs a machine, "
            f"{NETWORK / 1e9:.0f} GB/s for each between machines; reading and validation are not counted",
        ]
        return "\n".join(lines)

    def _sent(self) -> str:
        near, far = self.sent
        return f"{_bytes(near)} and, between machines, {_bytes(far)}" if near and far else _bytes(near + far)

    def _advice(self) -> list[str]:
        """Whether copies of the shards on each machine fit and take less time."""
        other = self.other
        if other is None or not other.fits or other.step >= self.step:
            return []
        total = _bytes(sum(other.memory.values()))
        return [
            f"`parallel: hsdp` takes {total} of each GPU, sends {other._sent()}, hours: {_span(*other.hours)}"
        ]

    def _milliseconds(self) -> dict[str, tuple[float, float]]:
        spans = {**self.seconds, "together": self.step}
        return {name: (1000 * low, 1000 * high) for name, (low, high) in spans.items()}

    def to_json(self) -> dict[str, Any]:
        spans = {**self.seconds, "together": self.step}
        return {
            "gpus": f"{self.count}x{self.name}",
            "rows": self.rows,
            "batch_size": self.batch,
            "steps": self.steps,
            "sizes": dict(self.sizes),
            "parameters": self.parameters,
            "flops_a_step": self.flops,
            "memory": {**self.memory, "total": sum(self.memory.values()), "fits": self.fits},
            "sent_bytes_a_step": sum(self.sent),
            "sent_between_machines": self.sent[1],
            "input_bytes": self.data,
            "checkpoint_bytes": self.checkpoint,
            "seconds_a_step": {name: list(span) for name, span in spans.items()},
            "hours": list(self.hours),
            "gpu_hours": [self.count * hours for hours in self.hours],
        }


def _bytes(size: int) -> str:
    """Bytes in the unit that suits them, powers of 1000."""
    power = min(4, max(0, (len(str(size)) - 1) // 3))
    return f"{size / 1000**power:,.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _span(low: float, high: float) -> str:
    return f"{_rounded(low)} to {_rounded(high)}"


def _rounded(number: float) -> str:
    """Two digits, and no exponent for large numbers."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 10 else f"{number:.2g}"


def cards(text: str) -> tuple[int, str]:
    """`64xH100` as a number and a card. Raises `SpecError` (out-of-range, unknown-name)."""
    found = re.fullmatch(r"0*([1-9]\d{0,5})\s*[x*]\s*([A-Za-z0-9]+)", text.strip())
    if found is None:
        raise fail("out-of-range", f"`{text}` is not a number of GPUs", HELP)
    known = {name.lower(): name for name in CARDS}
    name = known.get(found[2].lower())
    if name is None:
        help = f"known are {', '.join(CARDS)}"
        raise fail("unknown-name", f"there is no card `{found[2]}` in the table", help)
    return int(found[1]), name


def plan(
    program: BaseProgram, gpus: str, rows: int, sizes: Callable[[Sequence[str]], Mapping[str, int]]
) -> TrainingPlan:
    """The plan of a program's training on `rows` rows an epoch; `sizes` gives named sizes values.

    Raises `SpecError` for other GPUs than those of the table, and (out-of-range) where a step has fewer rows
    than there are GPUs.
    """
    count, name = cards(gpus)
    way, several = program.training.parallel, count > TOGETHER
    made = _planned(program, count, name, rows, sizes, _sharing(way, count))
    if way != "fsdp" or not several:
        return made
    return replace(made, other=_planned(program, count, name, rows, sizes, _sharing("hsdp", count)))


def _sharing(way: str, count: int) -> int:
    """How many cards have the parts of one copy of the weights."""
    machine = count if count <= TOGETHER else math.gcd(count, TOGETHER)  # all machines have as many
    return {"ddp": 1, "fsdp": count, "hsdp": machine}[way]


def _planned(
    program: BaseProgram,
    count: int,
    name: str,
    rows: int,
    sizes: Callable[[Sequence[str]], Mapping[str, int]],
    share: int,
) -> TrainingPlan:
    """The plan on cards of which `share` have the parts of one copy of the weights."""
    config, batch = program.training, effective_batch(program.training)
    part = config.batch_size // count
    if not part:
        raise _too_small(config.batch_size, count)
    costs: StepCosts = program.summary().step(part)
    row = sum_of(map(nbytes, program.inputs.values()))
    every = names_of(costs.flops) | names_of(costs.activation_bytes) | names_of(row)
    known = sizes(sorted(every))
    activations = value_of(costs.activation_bytes, known) // (2 if config.precision == "bf16" else 1)
    memory = {
        "weights": -(-costs.weight_bytes // share),
        "gradients": -(-costs.gradient_bytes // share),
        "optimizer": -(-costs.optimizer_bytes // share),
        "activations": activations,
    }
    if share > 1:
        memory["gathered"] = 2 * costs.weight_bytes // max(1, _units(program.graph))
    repeats = batch // config.batch_size
    flops = value_of(costs.flops, known) * repeats
    sent = _sent(costs, count, share, config.precision == "bf16", repeats)
    ops = sum(1 for op in program.graph.walk() if op.graph is None)
    seconds = _seconds(CARDS[name], config.precision, flops, activations * repeats, costs, ops * repeats)
    sending = sent[0] / CARDS[name].link + sent[1] / NETWORK
    seconds["sending"] = (0.5 * sending, 2 * sending)
    return TrainingPlan(
        name,
        count,
        rows,
        batch,
        config.epochs * math.ceil(rows / batch),
        known,
        costs.weight_bytes // 4,
        flops,
        memory,
        sent,
        rows * value_of(row, known),
        costs.weight_bytes + costs.optimizer_bytes,
        seconds,
    )


def _too_small(batch: int, count: int) -> SpecError:
    message = f"`batch_size` is {batch}, the sum over all processes, and there are {count} GPUs"
    return fail("out-of-range", message, f"plan a larger one: `--set train.batch_size={32 * count}`")


def _units(graph: Graph) -> int:
    """The blocks and models of a graph, whose weights are gathered one at a time."""
    return sum(1 for op in graph.walk() if op.graph is not None and op.graph is not graph)


def _sent(costs: StepCosts, count: int, share: int, bf16: bool, repeats: int) -> tuple[int, int]:
    """Bytes that a card sends in a step, within its machine and between machines: the weights before each
    pass where they are sharded and gradients once, among `share` cards; gradients twice among the copies.
    """
    weights = costs.weight_bytes // 2 if bf16 else costs.weight_bytes
    copies, alike = count // share, costs.gradient_bytes / share
    parts = int((2 * weights * repeats + costs.gradient_bytes) * (share - 1) / share)
    sums = int(2 * alike * (copies - 1) / copies)
    if count <= TOGETHER:
        return parts + sums, 0
    return (parts, sums) if share <= TOGETHER else (0, parts + sums)


def _seconds(
    card: Card, precision: str, flops: int, activations: int, costs: StepCosts, ops: int
) -> dict[str, tuple[float, float]]:
    """Of each part of a step the least and the most seconds."""
    products = card.products[precision]
    moved = MOVED * activations + 2 * (costs.weight_bytes + costs.gradient_bytes + costs.optimizer_bytes)
    return {
        "computing": (flops / (BEST * products), flops / (WORST * products)),
        "memory": (moved / card.reads / 2, moved / card.reads * 1.5),
        "launching": (KERNELS * ops * LAUNCH[0], KERNELS * ops * LAUNCH[1]),
    }
