"""A compiler from YAML specs to PyTorch modules."""

__version__ = "0.1.0"
