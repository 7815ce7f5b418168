"""The module and the spec's side by side: outputs on new inputs, of other sizes; gradients in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from graphspec.convert.differences import apart, flat
from graphspec.convert.pytorch.functions import DROPOUTS
from graphspec.convert.pytorch.kept import modes_kept, module_kept
from graphspec.convert.pytorch.result import TorchProof
from graphspec.convert.pytorch.state import gradients, held
from graphspec.convert.pytorch.tracing import quiet
from graphspec.convert.pytorch.training import moving_buffers
from graphspec.convert.pytorch.tying import coverage
from graphspec.convert.specs import line_at
from graphspec.diagnostics import fail
from graphspec.diagnostics.text import first_line
from graphspec.weights import paths

REPORT = "please report the module; `--no-check` writes the spec anyway"
TOLERANCE = 1e-4
"""Of the largest output: what float32 may differ by in another order of sums, and no more."""
DEEP = 10
"""By how much more values in training may differ: each normalization divides by what it sums."""
GRADIENT = 1e-2
"""Of the largest element of one parameter's gradient. A wrong one is apart by its own size."""
STEPS, PART = 2, 0.05
"""How many steps are compared, and by which part of the loss one would change it on a slope that stays."""


def prove(imported: Any, module: nn.Module, inputs: Mapping[str, Tensor]) -> TorchProof:
    """Raises `SpecError` (import-differs) where they differ by more than rounding."""
    ours = imported.program.module()
    ours.load_state_dict(imported.weights)
    batches = (2, 3)
    with modes_kept(module), quiet():
        module.eval(), ours.eval()
        worst, allowed = 0.0, TOLERANCE
        hides = _hides(imported, module, inputs)
        for seed, batch in enumerate(batches):
            inputs_now = fresh(imported, inputs, batch, seed, hides)
            with torch.no_grad():
                expected = _outputs(module, inputs_now, batch)
                actual = _run(imported, ours, _used(imported, inputs_now))
                last = apart(actual, _batch_first(imported, expected))
            if not last <= TOLERANCE and apart(_again(module, inputs_now), expected) <= TOLERANCE:
                allowed = max(allowed, 3 * _own_rounding(module, inputs_now, expected))
            worst = max(worst, last)
            if not worst <= allowed:
                where = _where(imported, module, inputs_now)
                message = (
                    f"the outputs of the spec differ from those of the module by {worst:.1e} of the largest"
                )
                raise fail("import-differs", f"{message}{where}", REPORT)
        check_trained(imported)
        return TorchProof(worst, batches, *_trained(imported, module, ours, inputs, hides))


def _outputs(module: nn.Module, inputs: Mapping[str, Tensor], batch: int) -> list[Tensor]:
    """What the module gives; its own errors are that it takes no such batch."""
    try:
        return flat(module(**inputs))
    except Exception as error:
        message = f"`{type(module).__name__}` fails for a batch of {batch}: {str(error)[:200]}"
        raise fail(
            "import-unsupported", message, "use `x.shape[0]`, or -1, in place of the number"
        ) from error


def _again(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return flat(module(**inputs))


def _where(imported: Any, module: nn.Module, inputs: Mapping[str, Tensor]) -> str:
    """Where both begin to differ, as the end of a sentence."""
    from graphspec.convert.pytorch.bisecting import first_difference

    if imported.conversion is None:
        return ""
    return first_difference(imported.conversion, imported.writer, module, inputs, TOLERANCE)


def _hides(imported: Any, module: nn.Module, inputs: Mapping[str, Tensor]) -> bool:
    """Whether what is true in a mask is not seen: where the first is never seen, attention of it is NaN."""
    with torch.no_grad():
        return any(bool(x.isnan().any()) for x in flat(module(**fresh(imported, inputs, 2, 0))))


def _batch_first(imported: Any, outputs: list[Tensor]) -> list[Tensor]:
    """Outputs of the module as the spec has them."""
    return [x.movedim(imported.turned.get(place, 0), 0) for place, x in enumerate(outputs)]


def _run(imported: Any, ours: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """The outputs of the spec's module. Raises `SpecError` (import-differs) where a line does not run."""
    try:
        return flat(ours(*inputs))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        line = line_at(imported.text, imported.program.place_of(error))
        message = f"the spec does not run on the module's inputs{line}: {first_line(error)[:160]}"
        raise fail("import-differs", message, REPORT) from error


def fresh(
    imported: Any, examples: Mapping[str, Tensor], batch: int, seed: int, hides: bool = False
) -> dict[str, Tensor]:
    """New inputs in the ranges that the spec accepts, by the names of `forward`; open sizes are others. The
    first elements of masks are seen: true, or false where true `hides`.
    """
    open_sizes = sorted({str(s) for _, shape in imported.inputs for s in shape or () if isinstance(s, str)})
    sizes = {word: 9 + 2 * k + 3 * seed % 7 for k, word in enumerate(open_sizes)}
    values = imported.program.example_inputs(batch_size=batch, sizes=sizes, seed=seed)
    by_name = dict(zip((name for name, _ in imported.inputs), values.values(), strict=True))
    inputs = {name: by_name.get(name, x[:1].expand(batch, *x.shape[1:])) for name, x in examples.items()}
    for tensor in by_name.values():
        if tensor.dtype == torch.bool and tensor.dim() > 1:
            tensor[..., 0] = not hides
    return inputs


def _used(imported: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    return [inputs[name] for name, _ in imported.inputs]


def _doubled(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs in float64."""
    return {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}


def _own_rounding(module: nn.Module, batch: Mapping[str, Tensor], expected: list[Tensor]) -> float:
    """How far the module is apart from itself in another memory layout, and in float64: rounding that is its
    own. One that does not run in either is not asked there.
    """
    turned = {
        name: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
        for name, x in batch.items()
    }
    wide = _doubled(batch)
    worst = 0.0
    for inputs, kind in ((turned, None), (wide, torch.float64)):
        with module_kept(module), torch.no_grad():
            try:
                actual = flat(module.to(kind)(**inputs))
            except _RUNS_NOT:
                continue
        worst = max(worst, apart(actual, expected))
    return worst


class _WithoutDropout(TorchFunctionMode):
    """Dropout does nothing, in both modules alike."""

    NAMES = DROPOUTS | {"dropout_", "dropout1d", "dropout2d", "dropout3d"}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in self.NAMES:
            x = args[0] if args else kwargs["input"]
            return (x, torch.ones_like(x, dtype=torch.bool)) if name == "native_dropout" else x
        if name == "scaled_dot_product_attention":
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
            kwargs["dropout_p"] = 0.0 if len(args) <= 4 else kwargs.pop("dropout_p", None)
            kwargs = {key: value for key, value in kwargs.items() if value is not None or key != "dropout_p"}
        return func(*args, **kwargs)


@contextmanager
def without_noise(random: frozenset[str], module: nn.Module, *ours: nn.Module) -> Iterator[None]:
    """In training, without noise: what is random does as in inference, and all else trains."""
    module.train()
    for path, each in module.named_modules():
        if path in random or (isinstance(each, nn.RNNBase) and each.dropout):
            each.training = False
    for each in (part.train() for one in ours for part in one.modules()):
        if not each._parameters and not each._buffers and not any(True for _ in each.children()):
            each.eval()
    with _WithoutDropout():
        yield


def check_trained(imported: Any) -> None:
    """Raises `SpecError` (import-differs) where the spec trains other tensors than the module, or one of them
    in several weights. Told of all that is folded in.
    """
    graph, w = imported.program.graph, imported.writer
    trained, folded = set(paths(graph, frozen=False)), set(imported.frozen)
    weights = dict(held(graph, imported.places, w.weights))
    for key, known in weights.items():
        learning = sorted(name for name in known.names if w.trains.get(name))
        if key in trained and not learning:
            raise fail("import-differs", f"the spec trains `{key}`, which is fixed in the module", REPORT)
        if key not in trained and set(learning) - folded:
            raise fail("import-differs", f"the module trains `{learning[0]}`, and the spec does not", REPORT)
        if key in trained and len(learning) < len(known.names) and not set(learning) & folded:
            raise fail("import-differs", f"the module trains a part of `{key}`, the spec all of it", REPORT)
    for name, found in coverage(w, weights).items():
        if (found.times > 1).any() and name not in folded:
            several = ", ".join(f"`{key}`" for key in found.keys)
            raise fail("import-differs", f"`{name}` is in the spec more than once: in {several}", REPORT)


def _lost(imported: Any, module: nn.Module) -> str:
    """A parameter of the module that has a gradient, and elements of it that no weight of the spec has."""
    w = imported.writer
    found = coverage(w, dict(held(imported.program.graph, imported.places, w.weights)))
    for name, parameter in module.named_parameters():
        if parameter.grad is None or not parameter.requires_grad or name in imported.frozen:
            continue
        gradient = parameter.grad.flatten()
        lost = gradient if name not in found else gradient[found[name].times == 0]
        if lost.numel() and lost.nan_to_num().abs().max() > TOLERANCE * gradient.nan_to_num().abs().max():
            return name
    return ""


def _trained(
    imported: Any, module: nn.Module, ours: nn.Module, inputs: Mapping[str, Tensor], hides: bool
) -> tuple[float | None, float | None, float | None, str]:
    """The differences of the loss, of the worst gradient and of what steps of training do, in training mode:
    in float64, as float32 rounds much where normalizations divide by little; in float32 where one of both
    does not run in float64.
    """
    fresh_inputs = fresh(imported, inputs, 4, 7, hides)
    wide = _doubled(fresh_inputs)
    learned: _Learned | None = None
    with module_kept(module), module_kept(ours):
        try:
            module.double(), ours.double()
            learned = _learned(imported, module, ours, wide)
        except _RUNS_NOT:
            pass
    if learned is None:
        with module_kept(module), module_kept(ours):
            try:
                learned = _learned(imported, module, ours, fresh_inputs)
            except _RUNS_NOT as error:
                first = first_line(error)[:120]
                return None, None, None, f"the module does not train on such inputs: {first}"
    if learned.why:
        return None, None, None, learned.why
    if learned.lost:
        message = f"the module trains `{learned.lost}`, of which the spec lacks elements"
        raise fail("import-differs", message, REPORT)
    differs = max(learned.gradient, learned.steps) > GRADIENT or learned.loss > TOLERANCE * DEEP
    if differs and moving_buffers(module, fresh_inputs):
        return None, None, None, "it changes buffers in training"
    if learned.gradient > GRADIENT and learned.gradient > 3 * _own_gradient(
        imported, module, fresh_inputs, wide
    ):
        weights = dict(held(imported.program.graph, imported.places, imported.writer.weights))
        names = " and ".join(f"`{name}`" for name in sorted(weights[learned.where].names))
        message = (
            f"in training, the gradient of `{learned.where}` in the spec differs from that of the module, of "
            f"{names}, by {learned.gradient:.1e}"
        )
        raise fail("import-differs", message, REPORT)
    if learned.loss > TOLERANCE * DEEP:
        message = f"in training, the loss of the spec differs from that of the module by {learned.loss:.1e}"
        raise fail("import-differs", message, REPORT)
    # PyTorch shortens the rows of a table when it reads them, the spec after a step
    bounded = any(getattr(part, "max_norm", None) is not None for part in module.modules())
    if learned.steps > GRADIENT and learned.gradient <= GRADIENT and not bounded:
        message = f"{STEPS} steps of training change the loss of the spec by another amount than that of the"
        raise fail("import-differs", f"{message} module: {learned.steps:.1e} of it", REPORT)
    return learned.loss, learned.gradient, learned.steps, ""


@dataclass(frozen=True, slots=True)
class _Learned:
    """The relative difference of the loss, that of the worst gradient, which is of the weight `where`, and of
    what steps change; a parameter that is lost; or why there is none.
    """

    loss: float = 0.0
    gradient: float = 0.0
    where: str = ""
    lost: str = ""
    steps: float = 0.0
    why: str = ""


def _own_gradient(
    imported: Any, module: nn.Module, batch: Mapping[str, Tensor], wide: Mapping[str, Tensor]
) -> float:
    """How far the gradients of the module in float32 are from its own in float64: what was computed once of
    its parameters is rounded to float32, and deep networks without batches to average over make much of that.
    """
    grads: list[dict[str, Tensor]] = []
    for inputs, kind in ((batch, torch.float32), (wide, torch.float64)):
        with module_kept(module), without_noise(imported.random, module), torch.random.fork_rng(devices=[]):
            try:
                torch.manual_seed(0)
                module.to(kind)
                loss = total_loss(flat(module(**inputs)))
                assert loss is not None
                loss.backward()
            except _RUNS_NOT:
                return 0.0
            named = module.named_parameters()
            grads.append({name: p.grad.double() for name, p in named if p.grad is not None})
    return worst_difference(grads[1], grads[0])[0]


_RUNS_NOT = Exception
"""Errors of a module in training, or with inputs that are not its own, may be of any class."""


def _learned(imported: Any, module: nn.Module, ours: nn.Module, inputs: Mapping[str, Tensor]) -> _Learned:
    with without_noise(imported.random, module, ours):
        expected = _batch_first(imported, flat(module(**inputs)))
        actual = flat(ours(*_used(imported, inputs)))
        if [x.shape for x in expected] != [x.shape for x in actual]:
            return _Learned(why="the module gives other outputs in training")
        if not apart(actual, expected) <= TOLERANCE * DEEP:
            again = _batch_first(imported, flat(module(**inputs)))
            same = apart(again, expected) <= TOLERANCE * DEEP
            return _Learned(
                why="it computes something else in training" if same else "it is random in training"
            )
        theirs, ours_loss = total_loss(expected), total_loss(actual)
        if theirs is None or ours_loss is None or not theirs.requires_grad:
            return _Learned(why="nothing of it is trained")
        theirs.backward()
        ours_loss.backward()
        one, other = float(theirs.detach()), float(ours_loss.detach())
        gradient, where = _worst_gradient(imported, module, ours)
        lost = _lost(imported, module)
        steps = 0.0 if lost else _steps(imported, module, ours, inputs)
    return _Learned(abs(one - other) / max(abs(one), 1e-6), gradient, where, lost, steps)


def _steps(imported: Any, module: nn.Module, ours: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """The relative difference of what some steps against the gradient change the loss by; 0 where the module
    itself gives something else at each call. Both have the gradients of the first step.
    """

    def losses() -> tuple[Tensor, Tensor]:
        theirs, mine = total_loss(flat(module(**inputs))), total_loss(flat(ours(*_used(imported, inputs))))
        assert theirs is not None and mine is not None
        return theirs, mine

    weights = dict(held(imported.program.graph, imported.places, imported.writer.weights))
    kept = set(imported.frozen)
    moved: list[tuple[Tensor, int]]
    moved = [(p, 1) for name, p in module.named_parameters() if name not in kept]
    slope = sum(float((p.grad**2).sum()) for p, _ in moved if p.grad is not None)
    padded: list[tuple[str, Tensor, int]] = []
    for key in paths(imported.program.graph, frozen=False):
        if not weights[key].names & kept:  # where terms are summed, all of them move
            known = weights[key]
            parameter = ours.get_parameter(key)
            moved.append((parameter, max(len(known.terms), 1)))
            padded += [] if known.padding is None else [(key, parameter, known.padding)]
    with torch.no_grad():
        starts = [float(loss) for loss in losses()]
        again = float(losses()[0])
    rate = PART * max(abs(starts[0]), 1e-3) / slope if 0 < slope < float("inf") else 0.0
    if not rate or abs(again - starts[0]) > TOLERANCE * abs(starts[0]):
        return 0.0
    gap = most = 0.0
    for _ in range(STEPS):
        wanted = _wanted(imported, module)
        with torch.no_grad():
            for key, table, row in padded:
                if table.grad is not None:  # that of a table for scores, too, is learned there
                    table.grad[row] = wanted[key][row]
            for each, terms in moved:
                if each.grad is not None:
                    each.sub_(each.grad.nan_to_num(), alpha=rate * terms)
                    each.grad = None
        now = losses()
        for loss in now:
            loss.backward()
        changes = [float(loss.detach()) - start for loss, start in zip(now, starts, strict=True)]
        gap, most = max(gap, abs(changes[0] - changes[1])), max(most, abs(changes[0]))
    return gap / max(most, 1e-9 * abs(starts[0]), 1e-30)


def _worst_gradient(imported: Any, module: nn.Module, ours: nn.Module) -> tuple[float, str]:
    """The largest difference of the gradient of one parameter, relative to the largest element of it, and
    which one it is.
    """
    mine = ours.named_parameters(remove_duplicate=False)
    found = {name: p.grad for name, p in mine if p.grad is not None}
    wanted = _wanted(imported, module)
    for key, known in held(imported.program.graph, imported.places, imported.writer.weights):
        if known.padding is not None and key in wanted:  # a row that is not learned by where it is read
            wanted[key] = wanted[key].clone()
            wanted[key][known.padding] = torch.nan
    return worst_difference(wanted, found)


def _wanted(imported: Any, module: nn.Module) -> dict[str, Tensor]:
    """The gradients that the weights of the spec have by those of the module."""
    state: dict[str, Tensor] = dict(module.named_buffers(remove_duplicate=False))
    state |= dict(module.named_parameters(remove_duplicate=False))

    def look(name: str) -> Tensor | None:
        """The gradient of a weight; 0 where it is not trained."""
        tensor = state.get(name)
        return None if tensor is None else torch.zeros_like(tensor) if tensor.grad is None else tensor.grad

    return gradients(imported.program.graph, imported.places, imported.writer.weights, look)


def worst_difference(wanted: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> tuple[float, str]:
    """The largest difference of one gradient, relative to its largest element, and whose it is; infinite
    where only the found one is NaN. What is wanted as NaN is not compared.
    """
    worst, where = 0.0, ""
    scale = max((float(g.nan_to_num().abs().max()) for g in wanted.values() if g.numel()), default=0.0)
    for key, gradient in wanted.items():
        if key in actual:
            if (actual[key].isnan() & ~gradient.isnan()).any():
                return float("inf"), key
            gap = float((actual[key] - gradient).nan_to_num().abs().max())
            most = float(gradient.nan_to_num().abs().max())
            relative = gap / max(most, 1e-3 * scale, 1e-30)
            worst, where = max((worst, where), (relative, key))
    return worst, where


def total_loss(outputs: list[Tensor]) -> Tensor | None:
    """A number that depends on all outputs, and on each of their elements in another way."""
    floats = [x for x in outputs if x.is_floating_point()]
    if not floats:
        return None
    parts = []
    for x in floats:
        x = torch.where(x.isfinite(), x, torch.zeros((), dtype=x.dtype))
        weights = torch.linspace(-1, 1, x.numel()).cos().reshape(x.shape)
        parts.append((x * weights).mean() + 0.1 * (x * x).mean())
    return torch.stack(parts).sum()
