"""What emitted files carry at their top: what layers become and PyTorch has not.

`graphspec.emit` takes classes and functions from these files by their names, cut down
to the options that a program uses. They need torch and nothing else.
"""
