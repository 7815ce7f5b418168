"""The language: the keys of a spec file, and what `--set` changes in one."""
