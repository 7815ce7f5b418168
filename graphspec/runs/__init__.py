"""Trained runs: what is in their directories, evaluation and prediction."""
