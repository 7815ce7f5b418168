"""Explains the language, and so reads everything: layers, keys, the editor's schema, a spec resolved."""
