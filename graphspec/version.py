"""The version of the package, importable without anything else."""

__version__ = "0.1.0"
MADE_BY = "Made by graphspec"
"""Marks the files that a command writes, so that the next one may replace them."""
DOCUMENTS = 1
"""The version of what `--json` prints: a key that goes or means something else raises it, new ones do not."""
LANGUAGE = 1
"""The version of the language: a later one is told apart by it where a spec means something else there."""
