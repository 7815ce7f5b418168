"""The errors of a plan, as diagnostics: unmatched weights, with the nearest names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graphspec.diagnostics import Diagnostic, did_you_mean
from graphspec.transfer.matching import Plan
from graphspec.transfer.misfits import MOST, OUTPUTS, RELATIONS, near_note, shown
from graphspec.transfer.patterns import source_pattern
from graphspec.transfer.rules import Rules, load_rules, shipped


def complaints(plan: Plan, path: Path, spec: Path, rules: Rules) -> list[Diagnostic]:
    """Errors for what is missing, warnings for what is odd."""
    return [
        *_in_vain(plan),
        *_absent(plan, path),
        *_misfits(plan, path),
        *_ambiguous(plan, path),
        *_missing(plan, path, rules),
        *_warnings(plan, path),
        *_epsilons(plan, path),
    ]


def _in_vain(plan: Plan) -> Iterator[Diagnostic]:
    """Patterns that match no weight: what they say was meant for another."""
    some = f"its weights are {shown(list(plan.targets), 4)}"
    for pattern in plan.stale:
        message = f"the pattern `{pattern}` of fresh weights matches no weight of the spec"
        inside = any(key.startswith(f"{pattern}.") for key in plan.targets)
        help = f"write `{pattern}.*`" if inside else did_you_mean(pattern, plan.targets, some)
        yield Diagnostic("unknown-weight", message, None, help=help)
    for rule in plan.idle:
        message = f"the rule for `{rule.to.text}` matches no weight of the spec"
        help = did_you_mean(rule.to.text, plan.targets, some)
        yield Diagnostic("unknown-weight", message, rule.span, help=help)


def _absent(plan: Plan, path: Path) -> Iterator[Diagnostic]:
    """Rules whose sources the file has not: their weights are not looked for elsewhere."""
    groups: dict[str, list[str]] = {}
    for key, absent in plan.absent.items():
        groups.setdefault(absent.rule.to.text, []).append(key)
    names = dict.fromkeys(name for key in plan.unused for name in (key.removeprefix(plan.prefix), key))
    for text, keys in groups.items():
        absent = plan.absent[keys[0]]
        sources = " or ".join(f"`{name}`" for name in absent.names)
        message = f"the rule for `{text}` takes `{keys[0]}` from {sources}, which `{path}` does not hold"
        shape = plan.targets[keys[0]].shape
        near = near_note(keys[0], shape, {key: plan.stored[key].shape for key in plan.unused})
        notes = [near, *([f"so it is for {shown(keys[1:])}"] if keys[1:] else [])]
        help = did_you_mean(absent.names[0], names, "write a name of the file")
        yield Diagnostic("weights-misfit", message, absent.rule.span, help=help, notes=tuple(notes))


def _misfits(plan: Plan, path: Path) -> Iterator[Diagnostic]:
    groups: dict[tuple[str, str], list[str]] = {}
    for key, misfit in plan.misfits.items():
        layer = key.rpartition(".")[0] if misfit.why == OUTPUTS else ""
        groups.setdefault((misfit.why, layer), []).append(key)
    for (why, _), keys in groups.items():
        misfit = plan.misfits[keys[0]]
        source = " + ".join(f"`{name}`" for name in misfit.sources)
        message = (
            f"`{misfit.key}` is {list(misfit.shape)}, and {source} in `{path}` gives {list(misfit.made)}"
        )
        notes = [f"that is {why}" if why in RELATIONS else why] if why != "another" else []
        notes += [f"so are {shown(keys[1:])}"] if len(keys) > 1 else []
        help = f"a rule says otherwise: {misfit.key}: {{from: {misfit.sources[0]}, ...}}"
        if why == "transposed":
            help = f"a rule turns it: {misfit.key}: {{from: {misfit.sources[0]}, transpose: true}}"
        elif why == OUTPUTS:
            prefix = misfit.key.rpartition(".")[0]
            help = f"--fresh '{prefix}.*' gives it the spec's initial values, for fine tuning"
        yield Diagnostic("weights-misfit", message, None, help=help, notes=tuple(notes))


def _ambiguous(plan: Plan, path: Path) -> Iterator[Diagnostic]:
    for each in plan.ambiguous:
        message = (
            f"{shown(each.targets, 4)} could each be any of {shown(each.sources, 4)} in `{path}`: "
            "their shapes are equal, and their order does not decide"
        )
        help = f"a rule says which: {each.targets[0]}.{{w}}: {each.sources[0]}.{{w}}"
        yield Diagnostic("weights-ambiguous", message, None, help=help)


def _missing(plan: Plan, path: Path, rules: Rules) -> Iterator[Diagnostic]:
    told = {path for each in plan.ambiguous for path in each.targets}
    lost = [
        key
        for key in plan.missing
        if not any(key in each for each in (plan.misfits, plan.absent, told))
        and key.rpartition(".")[0] not in told
    ]
    if not lost:
        return
    left = {key: plan.stored[key].shape for key in plan.unused}
    notes = [near_note(key, plan.targets[key].shape, left) for key in lost[:MOST]]
    message = f"`{path}` has nothing for {shown(lost)}"
    yield Diagnostic("weights-misfit", message, None, notes=tuple(notes), help=_advice(plan, rules, lost))


def _advice(plan: Plan, rules: Rules, lost: list[str]) -> str:
    """Rules that come with graphspec and would do more, else how rules are written."""
    names = [key.removeprefix(plan.prefix) for key in plan.stored]
    best = max(
        ((known_names(name, names), name) for name in shipped() if name not in ("pytorch", rules.file)),
        default=(0, ""),
    )
    if best[0] > len(names) / 2:
        return f"the names are those of `--rules {best[1]}`, for specs/{best[1]}.yaml"
    prefix = lost[0].rpartition(".")[0] or lost[0]
    rule = f"--rules FILE says what comes from what (weights: {{{prefix}.{{w}}: name.{{w}}}})"
    return f"{rule}; --fresh '{prefix}.*' keeps the initial values"


def known_names(rules: str, names: list[str]) -> int:
    """How many names of a file some rules have as sources."""
    patterns = [source_pattern(source) for rule in load_rules(rules).rules for source in rule.origin.source]
    return sum(any(pattern.fullmatch(name) for pattern in patterns) for name in names)


def _warnings(plan: Plan, path: Path) -> Iterator[Diagnostic]:
    turned = [
        key for key, match in plan.matches.items() if match.move.flat is not None and match.move.flat.changes
    ]
    named = [key for key in turned if plan.matches[key].how == "name"]
    if named:
        message = (
            f"{shown(named)} {'is' if len(named) == 1 else 'are'} after a Flatten, and the columns in "
            f"`{path}` were taken to be in PyTorch's order, channels first"
        )
        help = "if a module of this spec was saved there, `flatten: hwc` in the rules leaves them as they are"
        yield Diagnostic("weights-ambiguous", message, None, help=help, severity="warning")


PYTORCH = ("weight", "running_mean")
"""PyTorch's words for weights of a normalization; Keras' are gamma and moving_mean."""


def _epsilons(plan: Plan, path: Path) -> Iterator[Diagnostic]:
    """A warning of normalizations that PyTorch has trained, and whose epsilon the spec leaves to Keras."""
    layers = {
        plan.targets[key].path: None
        for key, match in plan.matches.items()
        if plan.targets[key].keras_epsilon
        and any(plan.stored[name].leaf in PYTORCH for name in match.sources)
    }
    if layers and not plan.ours:
        verb = "normalizes" if len(layers) == 1 else "normalize"
        message = (
            f"{shown(layers)} {verb} with Keras' epsilon of 0.001; PyTorch's is 1e-5, unless `{path}` was "
            "trained with another"
        )
        help = "write `epsilon: 1e-5` at the layer, or `epsilon: 0.001` to keep it"
        yield Diagnostic("weights-misfit", message, None, help=help, severity="warning")
