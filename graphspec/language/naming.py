"""Words of other libraries as names of a spec."""

from __future__ import annotations

import re

LONGEST = 80
"""Characters of a name; those of Keras and PyTorch have fewer."""
VALUES = ("null", "true", "false")
"""Words that YAML reads as something else."""


def identifier(word: str, fallback: str = "node") -> str:
    """A word as a legal name, of a length that people read: `1x` is x1, `a b` a_b, `null` null_."""
    word = re.sub(r"[^A-Za-z0-9_]+", "_", word[:LONGEST]).strip("_") or fallback
    digits = re.match(r"[\d_]+", word)
    if digits is not None:
        rest = word[digits.end() :]
        number = digits[0].strip("_")
        word = f"{rest}{number}" if rest and not rest[-1].isdigit() else f"{rest or fallback}_{number}"
    return f"{word}_" if word.lower() in VALUES else word


def snake_case(name: str) -> str:
    """`GlobalAveragePooling2D` is global_average_pooling2d, as Keras has it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
