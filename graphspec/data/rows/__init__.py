"""Rows without tables: Python values to the arrays of a program, and its outputs to what people read.

Encoders and outputs say here, as plain records, what they do with a row that says all plainly; of any other
(something is missing, filled or wrong) tables tell. Only numpy is imported: a server starts with this.

So the records here, and those of `runs` and `serve` that a server starts with, have only the methods of
dataclasses that are used: Python compiles each of them at every start, those of `frozen`, too. Nobody changes
these records for all that.
"""
