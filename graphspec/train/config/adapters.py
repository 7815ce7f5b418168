"""`adapters`: low-rank updates of weights that are frozen themselves (Hu et al., 2021)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

from pydantic import Field

from graphspec.diagnostics import by_word
from graphspec.settings import Setting, each_of, show, unfit, validate


class AdapterSettings(Setting):
    """A low-rank adapter for each layer whose path matches: `alpha / rank` times the product of two matrices
    is added to its weight. `dropout` is of what the adapter reads.
    """

    match: Annotated[str, Field(min_length=1)]
    """A pattern for paths of layers: `*` matches any text."""
    rank: Annotated[int, Field(ge=1)] = 8
    """Rank of the two matrices of an adapter."""
    alpha: Annotated[float, Field(gt=0)] = 8.0
    """Scale: the product of both matrices is multiplied by `alpha / rank`."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of what an adapter reads that is dropped in training."""

    synonyms: ClassVar = by_word(
        match="pattern name target target_modules layers",
        rank="r lora_rank",
        alpha="lora_alpha",
        dropout="lora_dropout",
    )

    def matches(self, path: str) -> bool:
        """Whether a layer, by its path in the module, has this adapter."""
        return fnmatchcase(path, self.match)


def parse_adapters(value: object) -> tuple[AdapterSettings, ...]:
    """The `adapters` of `train`: a list of mappings. Raises `SettingError`."""
    if not isinstance(value, list):
        help = 'write [{match: "layers.*.query", rank: 8, alpha: 16}]'
        raise unfit("wrong-type", f"`adapters` is a list of mappings, not {show(value)}", help)
    return each_of(value, lambda item: validate(AdapterSettings, item, "an adapter"))
