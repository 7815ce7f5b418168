"""Fixes: the edits that the remedies of diagnostics stand for, and a text to which they are applied.

An edit replaces one place of a file. Comments and layout around it stay.
"""
