"""A document read into declarations: what its body and its blocks declare, each thing with its path.

Values may still be `$name` or `$(...)`, so what an argument means is checked when its instance is
elaborated. Here a mapping that should be one is one, a misspelt key is found, every node is exactly one
thing, and names are names.
"""

from graphspec.declarations.body import Body, File
from graphspec.declarations.file import read_blocks, read_file
from graphspec.declarations.nodes import read_named, read_wrapped
from graphspec.declarations.sources import reads_nothing

__all__ = ["Body", "File", "read_blocks", "read_file", "read_named", "read_wrapped", "reads_nothing"]
