"""The lower bounds of pyproject.toml as pip's constraints: `python tests/lower_bounds.py > constraints.txt`.

Those of the package and of its extras; the tools of tests are the newest.
"""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]


def lower_bounds() -> list[str]:
    """`numpy==1.26`, and so on, sorted."""
    extras = {name: needs for name, needs in PROJECT["optional-dependencies"].items() if name != "dev"}
    needs = {need for group in (PROJECT["dependencies"], *extras.values()) for need in group}
    return sorted(need.replace(">=", "==") for need in needs)


if __name__ == "__main__":
    print("\n".join(lower_bounds()))
