"""Tests: a folder for each room of the package; `gallery` for specs/, `project` for what concerns all."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The root of the checkout."""
