"""Random specs of nested blocks, and what such a spec declares."""
