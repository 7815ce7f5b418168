"""PyTorch modules as people write them: most of them are brought in by `make parity` alone."""
