"""One layout for all specs, that of the gallery: blanks change; values, comments and their order stay."""

from graphspec.formatting.layout import formatted

__all__ = ["formatted"]
