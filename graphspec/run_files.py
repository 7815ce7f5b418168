"""The names of the files in a run directory."""

from __future__ import annotations

SPEC, SOURCE, HISTORY, ENVIRONMENT = "spec.yaml", "model.py", "history.jsonl", "environment.json"
LAST, BEST, CHECKPOINTS, ENCODERS = "last.safetensors", "best.safetensors", "checkpoints", "encoders.json"
TENSORBOARD = "tensorboard"
TRIALS = "trials"
"""In the directory of a search, the directory with the runs of its trials."""
OWN = (SPEC, SOURCE, HISTORY, ENVIRONMENT, LAST, BEST, CHECKPOINTS, ENCODERS, TENSORBOARD)
"""What a run itself writes; the files that its spec reads have other names."""
