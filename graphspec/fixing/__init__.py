"""Fixes: the edits that the remedies of diagnostics stand for, and a text to which they are applied.

An edit replaces one place of a file. Comments and layout around it stay.
"""

from graphspec.fixing.edits import Edit, Fix, fix_of
from graphspec.fixing.rounds import Fixed, apply, fixed

__all__ = ["Edit", "Fix", "Fixed", "apply", "fix_of", "fixed"]
