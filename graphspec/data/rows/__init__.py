"""Rows without tables: Python values to the arrays of a program, and its outputs to what people read.

Encoders and outputs say here, as plain records, what they do with a row that says all plainly; of any other
(something is missing, filled or wrong) tables tell. Only numpy is imported.

The records have only the methods of dataclasses that are used: Python compiles each of them at every start.
Nobody changes them for all that.
"""
