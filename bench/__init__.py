"""Benchmarks that compare alternatives within one run: `make bench`, or `python -m bench --help`."""
