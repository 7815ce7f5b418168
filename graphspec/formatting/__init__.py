"""One layout for all specs, that of the gallery: blanks change; values, comments and their order stay."""

from graphspec.formatting.layout import formatted, laid_out

__all__ = ["formatted", "laid_out"]
