"""A page for each code of a diagnostic: its meaning, why, a spec that provokes it, and the mended one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphspec.diagnostics import CODES, did_you_mean, fail
from graphspec.diagnostics.collecting import SILENCED


@dataclass(frozen=True, slots=True)
class CodePage:
    """A code. `wrong` and `mended` are specs, "" where no spec alone provokes it."""

    code: str
    meaning: str
    why: str = ""
    wrong: str = ""
    mended: str = ""
    may_be_silenced: bool = False

    def text(self) -> str:
        parts = [f"{self.code}: {self.meaning}"]
        parts += [self.why] if self.why else []
        if self.wrong:
            parts += [f"Such as\n\n{_inset(self.wrong)}", f"Mended\n\n{_inset(self.mended)}"]
        if self.may_be_silenced:
            parts.append(f"A comment on its line silences this warning: # ok: {self.code}")
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "meaning": self.meaning,
            "why": self.why or None,
            "wrong": self.wrong or None,
            "mended": self.mended or None,
        }


def page(code: str) -> CodePage:
    """The page of a code. Raises `SpecError` with the nearest one."""
    if code not in CODES:
        help = did_you_mean(code, CODES, "a diagnostic has its code in brackets: error[unknown-layer]")
        raise fail("usage", f"there is no code `{code}`", help)
    why, wrong, mended = _examples().get(code, ("", "", ""))
    return CodePage(code, CODES[code], why, wrong, mended, code in SILENCED)


def listing() -> str:
    """All codes, a line for each."""
    width = max(map(len, CODES))
    return "\n".join(f"{code.ljust(width)}  {meaning}" for code, meaning in CODES.items())


def _inset(spec: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in spec.splitlines())


@cache
def _examples() -> dict[str, tuple[str, str, str]]:
    """For each code why it is one, and the two specs."""
    text = (Path(__file__).parent / "codes.txt").read_text(encoding="utf-8")
    found: dict[str, tuple[str, str, str]] = {}
    for section in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        code, _, rest = section.partition("]\n")
        lines = rest.strip().splitlines()
        why = " ".join(line for line in lines if line[:2] not in ("= ", "- ", "+ "))
        wrong = [line[2:] for line in lines if line[:2] in ("= ", "- ")]
        mended = [line[2:] for line in lines if line[:2] in ("= ", "+ ")]
        found[code] = why, "\n".join(wrong), "\n".join(mended)
    return found
