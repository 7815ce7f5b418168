"""A GPU without a card, for tests: `with card() as gpu` makes `cuda` a device whose ops the CPU computes.

What a program sees is CUDA's: `tensor.is_cuda`, the kernels and autocast rules that PyTorch chooses for it,
the backward pass in a thread of its own, and errors where devices are mixed. Numbers lie in memory of the CPU
that nothing else reads. Each copy between host and device, and each wait of the host, is recorded. What is
copied to the host without waiting has no meaning before the event that was recorded after it.

What it does not have: several GPUs, kernels of cuDNN, generated code, CUDA graphs, and streams that overlap.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

import graphspec

ATEN = torch.ops.aten
CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
PACKAGE, TESTS = (str(Path(file).parent) for file in (graphspec.__file__, __file__))
CUDA = 1
"""What PyTorch calls the type; as a device it is the first of that type."""
IS_BUILT, HAS_CONTEXT, SLOTS = 2, 4, 96
"""Which functions tell whether there is CUDA; and how many of a table are copied."""
FREE = 2**36
"""Bytes of free memory."""
WAITING = {
    *("nonzero", "masked_select", "equal", "bincount"),
    *("unique_dim", "unique_consecutive", "_unique", "_unique2"),
}
"""Ops whose result has a size, or is a value, that the host must know."""
BY_INDEX = {"index", "_unsafe_index", "index_put", "index_put_"}
ON_HOST = BY_INDEX | {"_pack_padded_sequence", "_pad_packed_sequence"}
"""Ops that take some tensors on the host: lengths, and indices, which are copied."""
OWN = ("copy_", "arange", "arange.start", "arange.start_step", "eye", "eye.m")
"""Ops whose kernel for all devices asks for more of this one than it has."""
SCALARS = {"where", "fill", "fill_", "masked_fill", "masked_fill_", "lerp", "lerp_"}
"""Ops, beside those on each element, that take a number on the host."""


@dataclass(frozen=True, slots=True)
class Event:
    """A copy `in` to the device or `out` to the host, or a `wait` of the host; and what caused it."""

    kind: str
    place: str
    op: str
    stream: int = 0
    """The stream on which it was, counted from 1; 0 is the usual one."""


@dataclass
class Card:
    """What a device was asked to do."""

    events: list[Event] = field(default_factory=list)
    ops: int = 0
    random: torch.Generator = field(default_factory=torch.Generator)
    pending: list[Callable[[], object]] = field(default_factory=list)
    """Copies to the host that nobody has waited for."""
    done: int = 0
    pinned: set[int] = field(default_factory=set)
    streams: int = 0
    """How many were made besides the usual one."""
    ordered: list[tuple[int, int]] = field(default_factory=list)
    """Which stream waited for which: the number of the other one, then its own."""
    used_on: list[int] = field(default_factory=list)
    """The stream of each tensor that was said to be used on one besides its own."""

    def add(self, kind: str, op: object) -> None:
        what = str(op).removeprefix("aten.").partition(".")[0]
        self.events.append(Event(kind, _place(), what, getattr(_streams, "current", Stream()).number))

    def count(self, begin: int = 0, end: int | None = None) -> Counter[tuple[str, str]]:
        """How often each kind of event came from each place."""
        return Counter((event.kind, event.place) for event in self.events[begin:end])

    def wait(self, op: object, upto: int | None = None) -> None:
        """The host waits: all copies are there, or those up to a number."""
        self.add("wait", op)
        ready = len(self.pending) if upto is None else upto - self.done
        for copy in self.pending[: max(0, ready)]:
            copy()
            self.done += 1
        del self.pending[: max(0, ready)]


_current: Card | None = None
_streams = threading.local()
"""The stream that a thread is in, as `current`."""
_drawing = threading.Lock()
"""Held while the generator of the CPU stands for that of the device."""


def _card() -> Card:
    if _current is None:
        raise AssertionError("Torch not compiled with CUDA enabled")
    return _current


class OnCard(Tensor):
    """A tensor on the device; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnCard:
        made: OnCard = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=GPU,
        )
        made.held = held
        return made

    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return run(func, args, kwargs or {})

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """That modules keep their parameters when they move: PyTorch swaps tensors that have this."""
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> OnCard:
        return OnCard(inner["held"])

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")


def run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """An op of which something is on the device, or is to be."""
    if func._can_decompose():  # nothing records for a backward pass, which would have taken it apart
        return func.decompose(*args, **kwargs)
    name, card = func.__name__.partition(".")[0], _card()
    card.ops += 1
    if name in ("copy_", "_to_copy"):
        return _copied(func, name, args, kwargs, card)
    flat, form = tree_flatten((list(args), kwargs))
    _need_one_device(func, name, flat, card)
    if _waits(name, func, args):
        card.wait(func)
    if name == "_local_scalar_dense":
        card.add("out", func)
    special = SPECIAL.get(name)
    flat_held = [_held(each) for each in flat]
    held_args, held_kwargs = tree_unflatten(flat_held, form)
    with _random(func, held_kwargs, card):
        made = (special or func)(*held_args, **held_kwargs)
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():
            func(*args, **kwargs)
    owners = {id(each.held): each for each in flat if isinstance(each, OnCard)}
    return tree_map_only(Tensor, lambda each: _wrapped(each, owners, func), made)


def _call(func: Any, *args: Any, **kwargs: Any) -> Any:
    return run(func, args, kwargs)


def _held(value: Any) -> Any:
    if isinstance(value, OnCard):
        return value.held
    return CPU if isinstance(value, torch.device) else value


def _wrapped(made: Tensor, owners: dict[int, OnCard], func: Any) -> Tensor:
    """A result on the device: what an op changed in place is what it was."""
    if isinstance(made, OnCard):
        return made
    owner = owners.get(id(made))
    if owner is None:
        return OnCard(made)
    if owner.shape != made.shape or owner.stride() != made.stride():
        raise NotImplementedError(f"this device cannot give a tensor another shape in place: {func}")
    return owner


def _copied(func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], card: Card) -> Any:
    """`copy_` and `_to_copy`, which may go between host and device."""
    if name == "copy_":
        target, source = args[:2]
        later = bool(args[2]) if len(args) > 2 else kwargs.get("non_blocking", False)
    else:
        source, later = args[0], kwargs.get("non_blocking", False)
        place = torch.device(kwargs.get("device") or source.device)
        inner = func(_held(source), **{**kwargs, "device": CPU})
        target = OnCard(inner) if place.type == "cuda" else inner
    out, into = not isinstance(target, OnCard), not isinstance(source, OnCard)
    if out and into:
        raise AssertionError("a copy on the host came here")
    here, there = _held(target), _held(source)
    if out and later:
        _fill(here)
        card.add("out", func)
        card.pending.append(lambda: here.copy_(there.clone()))
        return target
    if out or into:
        card.add("out" if out else "in", func)
        if not (later and there.data_ptr() in card.pinned):
            card.wait(func)
    if name == "copy_":
        here.copy_(there)
    return target


def _fill(memory: Tensor) -> None:
    """Writes what no result is: nobody may read it yet."""
    memory.fill_(float("nan") if memory.is_floating_point() else 1)


def _need_one_device(func: Any, name: str, flat: Sequence[Any], card: Card) -> None:
    """Raises what CUDA raises where tensors of the host are among those of the device."""
    there = [each for each in flat if isinstance(each, Tensor)]
    others = [each for each in there if not isinstance(each, OnCard)]
    if not others or len(others) == len(there):
        return
    changed = func._schema.is_mutable and there[0] is others[0]
    if name in ON_HOST and not changed:
        for index in others if name in BY_INDEX else ():
            if index.dim():
                card.add("in", func)
                card.wait(func)
        return
    takes_scalars = torch.Tag.pointwise in func.tags or name in SCALARS or name.startswith("_foreach")
    if changed or not takes_scalars or any(each.dim() for each in others):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({func})"
        )


def _waits(name: str, func: Any, args: Sequence[Any]) -> bool:
    if name in WAITING or name == "_local_scalar_dense":
        return True
    if name == "repeat_interleave" and func._overloadname == "Tensor":
        return True
    if name not in BY_INDEX:
        return False
    indices = [each for each in args[1] if each is not None]
    return any(each.dtype in (torch.bool, torch.uint8) for each in indices)


@contextmanager
def _random(func: Any, kwargs: dict[str, Any], card: Card) -> Iterator[None]:
    """Inside, random numbers are those of the device's generator."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        yield
        return
    if kwargs.get("generator") is not None:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    with _drawing:
        before = torch.get_rng_state()
        torch.set_rng_state(card.random.get_state())
        try:
            yield
        finally:
            card.random.set_state(torch.get_rng_state())
            torch.set_rng_state(before)


def _place() -> str:
    """The function of the package, or of an emitted model, that is running: `train/loop.py:_epoch`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            return f"{name.removeprefix(PACKAGE + os.sep)}:{frame.f_code.co_name}"
        if name.startswith("<graphspec"):
            return f"model:{frame.f_code.co_qualname}"
        if name.startswith(TESTS) and name != __file__:
            return "test"
        frame = frame.f_back
    return "backward" if threading.current_thread() is not threading.main_thread() else "test"


def _lstm_cell(
    x: Tensor, h: Tensor, state: Tensor, b: Tensor | None = None, c: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The fused cell of CUDA, and what its backward pass reads: the values of the gates."""
    total = x + h if b is None or c is None else x + h + b + c
    i, f, g, o = total.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    after = f * state + i * g
    return o * after.tanh(), after, torch.cat((i, f, g, o), 1)


def _lstm_cell_backward(
    dh: Tensor | None, dc: Tensor | None, before: Tensor, after: Tensor, gates: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    i, f, g, o = gates.chunk(4, 1)
    dh = torch.zeros_like(after) if dh is None else dh
    moved = after.tanh()
    dafter = dh * o * (1 - moved**2) + (0 if dc is None else dc)
    parts = (
        dafter * g * i * (1 - i),
        dafter * before * f * (1 - f),
        dafter * i * (1 - g**2),
        dh * moved * o * (1 - o),
    )
    dgates = torch.cat(parts, 1)
    return dgates, dafter * f, dgates.sum(0) if has_bias else None


def _gru_cell(
    x: Tensor, h: Tensor, before: Tensor, b: Tensor | None = None, c: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    x, h = (x if b is None else x + b), (h if c is None else h + c)
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, 1), h.chunk(3, 1)
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    n = (xn + r * hn).tanh()
    return n + z * (before - n), torch.cat((r, z, n, before, hn), 1)


def _gru_cell_backward(
    dh: Tensor, kept: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    r, z, n, before, hn = kept.chunk(5, 1)
    dn = dh * (1 - z) * (1 - n**2)
    dz, dr = dh * (before - n) * z * (1 - z), dn * hn * r * (1 - r)
    dx, dgates = torch.cat((dr, dz, dn), 1), torch.cat((dr, dz, dn * r), 1)
    return dx, dgates, dh * z, dx.sum(0) if has_bias else None, dgates.sum(0) if has_bias else None


SPECIAL: dict[str, Callable[..., Any]] = {
    "_fused_sdp_choice": lambda *_, **__: 0,  # the kernel for all
    "_thnn_fused_lstm_cell": _lstm_cell,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_cell_backward,
    "_thnn_fused_gru_cell": _gru_cell,
    "_thnn_fused_gru_cell_backward": _gru_cell_backward,
}
"""Ops that the CPU has not."""


class Guard(torch._C._acc.DeviceGuard):
    """What PyTorch asks of a device: there is one, and it has one stream."""

    def type_(self) -> Any:
        return torch._C._autograd.DeviceType.CUDA


@cache
def install() -> list[Any]:
    """Gives PyTorch's CUDA a device guard, which a build for CPUs lacks, and the kernels above: once, before
    the first backward pass of a process. What is returned must live as long as that.
    """
    folder, types = Path(torch.__file__).parent / "lib", torch._C._autograd.DeviceType
    yes = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_void_p)(lambda _: CUDA)
    core, cpu = (ctypes.CDLL(str(folder / f"lib{name}.so")) for name in ("c10", "torch_cpu"))
    guards = (ctypes.c_void_p * 24).in_dll(core, "_ZN3c104impl26device_guard_impl_registryE")
    hooks = cpu._ZN2at6detail12getCUDAHooksEv
    hooks.restype = ctypes.c_void_p
    guard, other = Guard(), int(types.PrivateUse1.value)
    torch._C._acc.register_python_privateuseone_device_guard(guard)
    guards[CUDA] = guards[other]
    built, more = _changed(hooks(), dict.fromkeys((IS_BUILT, HAS_CONTEXT), yes))
    ctypes.c_void_p.from_address(hooks()).value = built[0]
    every, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    every.fallback(_call, "CUDA")
    for name in OWN:
        op = getattr(ATEN, name.partition(".")[0])
        op = getattr(op, name.partition(".")[2] or "default")
        aten.impl(name, partial(_call, op), "CUDA")
    return [yes, guard, more, every, aten]


def _changed(place: int, changes: dict[int, Any]) -> tuple[Any, Any]:
    """An object of C++ like that at a place, with other functions at some numbers of its table."""
    table = ctypes.cast(place, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
    functions = (ctypes.c_void_p * SLOTS)(*table[:SLOTS])
    for number, function in changes.items():
        functions[number] = ctypes.cast(function, ctypes.c_void_p).value
    return (ctypes.c_void_p * 1)(ctypes.addressof(functions)), functions


class StreamEvent:
    """An event of a stream: who waits for it waits for the copies before it, not for those after it."""

    def __init__(self, **_: Any):
        self._upto = 0

    def record(self, stream: Any = None) -> None:
        card = _card()
        self._upto = card.done + len(card.pending)

    def synchronize(self) -> None:
        _card().wait("event", self._upto)


class Stream:
    """A stream of work; all work is done when it is asked for, whatever its stream."""

    device = GPU

    def __init__(self, number: int = 0):
        self.number = number

    def synchronize(self) -> None:
        _card().wait("stream")

    def record_event(self) -> Stream:
        return self

    def wait_event(self, event: Stream) -> None:
        """Notes that what is asked of this stream from here on comes after what was asked of another."""
        _card().ordered.append((event.number, self.number))

    wait_stream = wait_event


def _new_stream(*_: Any, **__: Any) -> Stream:
    _card().streams += 1
    return Stream(_card().streams)


@contextmanager
def _within(stream: Stream) -> Iterator[None]:
    before = getattr(_streams, "current", Stream())
    _streams.current = stream
    try:
        yield
    finally:
        _streams.current = before


def _seed(seed: int) -> None:
    _card().random.manual_seed(seed)


def _pinned(empty: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A factory that takes `pin_memory`, which is remembered."""

    def made(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        tensor = empty(*args, **kwargs)
        if pin_memory:
            _card().pinned.add(tensor.data_ptr())
        return tensor

    return made


def _pin(tensor: Tensor, *_: Any) -> Tensor:
    assert not isinstance(tensor, OnCard), "only memory of the host can be pinned"
    copy = tensor.clone()
    _card().pinned.add(copy.data_ptr())
    return copy


def _replaced(card: Card) -> dict[Any, dict[str, Any]]:
    """What of PyTorch asks the driver."""
    cuda = dict[str, Any](
        is_available=lambda: True,
        is_initialized=lambda: True,
        is_bf16_supported=lambda *_, **__: True,
        _lazy_init=lambda: None,
        device_count=lambda: 1,
        current_device=lambda: 0,
        set_device=lambda _: None,
        device=lambda _: nullcontext(),
        get_device_name=lambda *_: "a card of tests",
        mem_get_info=lambda *_: (FREE, FREE),
        max_memory_allocated=lambda *_: 0,
        reset_peak_memory_stats=lambda *_: None,
        empty_cache=lambda: None,
        synchronize=lambda *_: card.wait("device"),
        current_stream=lambda *_: getattr(_streams, "current", Stream()),
        stream=_within,
        Stream=_new_stream,
        Event=StreamEvent,
        manual_seed=_seed,
        manual_seed_all=_seed,
        get_rng_state=lambda *_: card.random.get_state(),
        set_rng_state=lambda state, *_: card.random.set_state(state),
    )
    tensors = {"pin_memory": _pin, "is_pinned": lambda tensor, *_: tensor.data_ptr() in card.pinned}

    def used_on(_: Tensor, stream: Stream) -> None:
        card.used_on.append(stream.number)

    tensors["record_stream"] = used_on
    return {torch.cuda: cuda, Tensor: tensors, torch: {"empty": _pinned(torch.empty)}}


@contextmanager
def card() -> Iterator[Card]:
    """Inside, there is a GPU."""
    global _current
    install()
    _current = mine = Card()
    replaced = [patch.multiple(place, **changes) for place, changes in _replaced(mine).items()]
    try:
        for each in replaced:
            each.start()
        yield mine
    finally:
        for each in replaced:
            each.stop()
        _current = None
