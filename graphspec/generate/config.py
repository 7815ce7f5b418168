"""The settings of `generate:`: which output says what comes next in an input, and how it is drawn."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.diagnostics import by_word
from graphspec.generate.loop_config import Count, is_loop, loop_of
from graphspec.settings import Setting, SettingError, show, unfit, validate


class GenerateSettings(Setting):
    """How a sequence goes on.

    Of the scores of an output at the last step one token is drawn, and is the next step of the input. With
    `temperature: 0` it is always the one with the highest score. `beams` are the best continuations that a
    search keeps; it draws nothing.
    """

    source: Annotated[str | None, Field(alias="from")] = None
    """Output with the scores of the next token; by default the only one."""
    length: Count = 200
    """Most new tokens."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Divisor of the scores: below 1 likely tokens become more likely; 0 takes the most likely one."""
    top_k: Count | None = None
    """Number of the most likely tokens that are drawn from."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of probability that the most likely tokens, which are drawn from, have together."""
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Least probability of a token that is drawn, as a share of that of the most likely one."""
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    """Divisor of the scores of tokens that were there before."""
    beams: Count = 1
    """Number of continuations that a search keeps."""
    begin: str | int | None = None
    """Token that a sequence begins with where prompts are for another input; by default its feature's."""
    end: str | int | list[str | int] | None = None
    """Token that ends the sequence: its text, or its number; or a list of such tokens."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of what is drawn."""

    synonyms: ClassVar = by_word(
        length="max_new_tokens max_length max_tokens tokens steps",
        top_k="topk",
        top_p="topp nucleus",
        beams="num_beams beam_size beam_width",
        begin="bos bos_token bos_token_id decoder_start_token_id",
        end="eos eos_token stop eos_token_id",
        seed="random_state",
        **{"from": "output logits"},
    )
    phrases: ClassVar = {"from": "from: next"}


def parse_generate(value: object) -> dict[str, Any]:
    """The `generate:` section of a spec: `generate`, the settings of a sequence by the input that goes on, or
    `loop`, the name of the value that goes on and its settings. Raises `SettingError` with all problems.
    """
    example = "write generate: {tokens: {from: next, length: 200}}"
    if not isinstance(value, dict):
        raise unfit("wrong-type", f"`generate` is a mapping, not {show(value)}", example)
    if len(value) != 1:
        what = "names no input" if not value else "names several inputs, and one goes on"
        raise unfit("input-count", f"`generate` {what}", example)
    ((name, item),) = value.items()
    if item is not None and not isinstance(item, dict):
        known = {field.alias or key for key, field in GenerateSettings.model_fields.items()}
        if name in known | {*GenerateSettings.synonyms}:
            example = f"below the input that goes on: write generate: {{tokens: {{{name}: {show(item)}}}}}"
        raise unfit("wrong-type", f"`{name}` of `generate` is a mapping, not {show(item)}", example, name)
    try:
        if is_loop(item):
            return {"loop": (name, loop_of(item, f"`{name}`"))}
        return {"generate": {name: settings_of({} if item is None else item, f"`{name}`")}}
    except SettingError as error:
        raise error.under(name) from None


def settings_of(value: Any, what: str) -> GenerateSettings:
    """The settings of one input. Raises `SettingError`."""
    settings = validate(GenerateSettings, value, what)
    if settings.beams > 1 and isinstance(value, dict):
        drawn = next((key for key in ("temperature", "top_k", "top_p", "min_p") if key in value), None)
        if drawn is not None:
            message = f"a search with `beams` draws nothing, and has no `{drawn}`"
            raise unfit("two-forms", message, f"leave out `{drawn}`, or `beams`", drawn)
    return settings
