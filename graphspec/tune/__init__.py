"""Hyperparameter search. `config` has the settings of `tune:`, and needs neither torch nor Optuna."""
