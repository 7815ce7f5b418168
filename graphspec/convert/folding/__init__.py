"""A model with its repetition folded into blocks, `repeat` and params, as a document.

    Body -> Parts (parts, search) -> names (words, naming) -> params (parameters) -> document (written)

The folded spec has the same weights as the flat one under other keys: `Folded.places` tells where the
variables of each path in its module are stored.
"""

from __future__ import annotations

from graphspec.convert.folding.written import FoldedDocument, folded

__all__ = ["FoldedDocument", "folded"]
