"""Data: what a spec may ask for (`config`), readers, synthetic data, and batches in their order."""
