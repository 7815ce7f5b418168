"""Sequences that a trained model continues, one step after another."""
