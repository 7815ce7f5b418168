"""The version of the package, which may be asked for without importing anything else."""

__version__ = "0.1.0"
