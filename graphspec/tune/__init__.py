"""Hyperparameter search: `config` is what `tune:` may say, and needs neither torch nor Optuna."""
