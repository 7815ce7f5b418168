"""The version of the package, importable without anything else."""

__version__ = "0.1.0"
MADE_BY = "Made by graphspec"
"""What the files that a command writes say of themselves, so that the next one may replace them."""
LANGUAGE = 1
"""The version of the language: a later one is told apart by it where a spec means something else there."""
