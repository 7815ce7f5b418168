"""A model with its repetition folded into blocks, `repeat` and params, as a document.

    Body -> Parts (parts, search) -> names (words, naming) -> params (parameters) -> document (written)

The folded spec has the same weights as the unfolded one under other keys: `SpecDocument.places` tells where
the variables of each path in its module are stored.
"""

from __future__ import annotations

from graphspec.convert.folding.written import SpecDocument, folded, input_sizes, unfolded

__all__ = ["SpecDocument", "folded", "input_sizes", "unfolded"]
