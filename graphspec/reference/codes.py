"""A page for each code of a diagnostic: its meaning, why, what provokes it, and the mended form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphspec.diagnostics import CODES, did_you_mean, fail
from graphspec.diagnostics.collecting import SILENCED
from graphspec.reference.entries import narrowed


@dataclass(frozen=True, slots=True)
class CodePage:
    """A code. `wrong` and `mended` are specs where a spec alone provokes it; else a command, a part of a spec
    or of data.
    """

    code: str
    meaning: str
    why: str
    wrong: str
    mended: str
    of_specs: bool
    may_be_silenced: bool

    def text(self) -> str:
        parts = [narrowed(f"{self.code}: {self.meaning}"), narrowed(self.why)]
        parts += [f"For example\n\n{_inset(self.wrong)}", f"Corrected\n\n{_inset(self.mended)}"]
        if self.may_be_silenced:
            parts.append(f"A comment on its line silences this warning: # ok: {self.code}")
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "meaning": self.meaning,
            "why": self.why,
            "wrong": self.wrong,
            "mended": self.mended,
            "of_specs": self.of_specs,
        }


def page(code: str) -> CodePage:
    """The page of a code. Raises `SpecError` with the nearest one."""
    if code not in CODES:
        listed = "a diagnostic has its code in brackets: error[unknown-layer]"
        help = did_you_mean(code, CODES, f"{listed}; `graphspec layers {code}` explains a layer or a loss")
        raise fail("usage", f"there is no code `{code}`", help)
    return CodePage(code, CODES[code], *_examples()[code], code in SILENCED)


def listing() -> str:
    """All codes, a line for each."""
    width = max(map(len, CODES))
    return "\n".join(f"{code.ljust(width)}  {meaning}" for code, meaning in CODES.items())


def _inset(spec: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in spec.splitlines())


WRONG, MENDED = ("= ", "- ", "> "), ("= ", "+ ", "< ")
"""How lines of the two begin."""


@cache
def _examples() -> dict[str, tuple[str, str, str, bool]]:
    """For each code why it is one, what is wrong and the same mended, and whether both are specs."""
    text = (Path(__file__).parent / "codes.txt").read_text(encoding="utf-8")
    examples: dict[str, tuple[str, str, str, bool]] = {}
    for section in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        code, _, rest = section.partition("]\n")
        lines = rest.strip().splitlines()
        why = " ".join(line for line in lines if line[:2] not in (*WRONG, *MENDED))
        wrong = [line[2:] for line in lines if line[:2] in WRONG]
        mended = [line[2:] for line in lines if line[:2] in MENDED]
        of_specs = not any(line[:2] == "> " for line in lines)
        examples[code] = why, "\n".join(wrong), "\n".join(mended), of_specs
    return examples
