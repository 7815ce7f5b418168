"""Which input of a program goes on, and which output says how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.diagnostics import did_you_mean, fail
from graphspec.generate.config import GenerateSettings, settings_of
from graphspec.program import Program
from graphspec.settings import SettingError


def chosen(program: Program, given: Mapping[str, Any]) -> tuple[str, GenerateSettings]:
    """The input that goes on, and its settings: those of the spec, and what is given besides.

    Raises `SpecError` for settings that do not fit, and for a program without such an input.
    """
    if program.loop is not None:
        raise fail("not-causal", "the model makes samples of noise, and no texts", "give no prompt")
    section = program.generation or {}
    name = next(iter(section), None) or _only_input(program)
    written = section[name].model_dump(by_alias=True, exclude_unset=True) if name in section else {}
    try:
        settings = settings_of({**written, **given}, "`generate`")
    except SettingError as error:
        raise fail(error.code, error.message, error.help) from None
    return name, settings


def _only_input(program: Program) -> str:
    names = [name for name, tensor in program.inputs.items() if tensor.is_integer and tensor.rank == 2]
    if len(names) == 1:
        return names[0]
    what = "no input holds tokens, `int64[N, length]`" if not names else f"{', '.join(names)} hold tokens"
    help = f"write generate: {{{names[-1]}: {{}}}}" if names else None
    raise fail("not-causal", f"which input goes on is not known: {what}", help)


def output_of(program: Program, name: str, settings: GenerateSettings) -> str:
    """The output with the scores of the next token of an input. Raises `SpecError`."""
    outputs, wanted = program.outputs, settings.source
    if wanted is not None and wanted not in outputs:
        help = did_you_mean(wanted, outputs, f"the outputs: {', '.join(outputs)}")
        raise fail("unknown-reference", f"there is no output `{wanted}`", help)
    length = program.inputs[name].shape[1]
    fitting = [
        each
        for each, output in outputs.items()
        if len(output.tensors) == 1 and output.tensors[0].rank == 3 and output.tensors[0].shape[1] == length
    ]
    if wanted is None and len(fitting) != 1:
        what = "no output has" if not fitting else f"the outputs {', '.join(fitting)} have"
        raise fail("not-causal", f"{what} scores for each step of `{name}`", "name one: `from: next`")
    found = wanted if wanted is not None else fitting[0]
    if found not in fitting:
        tensor = outputs[found].tensors[0]
        message = f"the output `{found}`, {tensor}, has no scores for each step of `{name}`"
        raise fail("not-causal", message, "it is [N, length, tokens]")
    return found


def source_of(program: Program, name: str) -> str | None:
    """The input of tokens that prompts are for, where it is the only one beside that which goes on."""
    others = [each for each in program.inputs if each != name]
    tensor = program.inputs[others[0]] if len(others) == 1 else None
    return others[0] if tensor is not None and tensor.is_integer and tensor.rank == 2 else None
