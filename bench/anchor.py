"""AutoGluon without ensembles on one column: `python anchor.py TRAIN HELD TARGET number|class FOLDER`.

It runs in an environment of its own, as AutoGluon asks for other versions than graphspec is tested with,
and prints one line of JSON: the score on the held rows, and the model that AutoGluon has chosen.
"""

from __future__ import annotations

import json
import sys

import pandas as pd
from autogluon.tabular import TabularPredictor

METRICS = {"number": ("regression", "root_mean_squared_error"), "class": ("multiclass", "accuracy")}


def main() -> None:
    training, held, target, kind, folder = sys.argv[1:]
    problem, metric = METRICS[kind]
    rows = pd.read_csv(training).dropna(subset=[target])
    rest = pd.read_csv(held)
    if kind == "class":
        problem = "binary" if rows[target].nunique() == 2 else problem
    settings = {"problem_type": problem, "eval_metric": metric, "path": folder, "verbosity": 0}
    predictor = TabularPredictor(label=target, **settings)
    predictor.fit(rows, num_bag_folds=0, num_stack_levels=0, fit_weighted_ensemble=False)
    guess = predictor.predict(rest)
    right = rest[target]
    score = ((guess - right) ** 2).mean() ** 0.5 if kind == "number" else (guess == right).mean()
    print(json.dumps({"score": float(score), "model": predictor.model_best}))


if __name__ == "__main__":
    main()
