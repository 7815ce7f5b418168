"""Other forecasts of hourly series: `python forecast_anchor.py WAY TRAIN HELD PAST NEXT`.

WAY is `boosting`, scikit-learn's on lags, or a model of NeuralForecast. It prints the mean absolute error
over all windows of the held rows.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd


def windows(rows: pd.DataFrame, past: int, next: int, stride: int) -> tuple[np.ndarray, ...]:
    """Of each window: its past, what comes next, the time of its last step, and the series."""
    found = []
    for number, (_, part) in enumerate(rows.groupby("series", sort=True)):
        values = part["load"].to_numpy()
        times = pd.to_datetime(part["ts"])
        starts = np.arange(0, len(values) - past - next + 1, stride)
        before = np.stack([values[s : s + past] for s in starts])
        after = np.stack([values[s + past : s + past + next] for s in starts])
        last = times.iloc[starts + past - 1]
        clock = np.stack([last.dt.hour, last.dt.dayofweek, np.full(len(last), number)], 1)
        found.append((before, after, clock))
    return tuple(np.concatenate(each) for each in zip(*found, strict=True))


def boosting(training: pd.DataFrame, held: pd.DataFrame, past: int, next: int) -> float:
    """One model for all steps: the same hour one, two and seven days before, means, the clock."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def examples(before: np.ndarray, after: np.ndarray, clock: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for step in range(next):
            lags = [before[:, step - lag + (past if step < lag else 0)] for lag in (24, 48, 72, 144, 168)]
            recent = [before[:, -1], before[:, -24:].mean(1), before.mean(1)]
            time = [clock[:, 0], clock[:, 1], clock[:, 2], np.full(len(clock), step)]
            ahead = [(clock[:, 0] + step + 1) % 24, (clock[:, 1] + (clock[:, 0] + step + 1) // 24) % 7]
            parts.append(np.stack([*lags, *recent, *time, *ahead], 1))
        return np.concatenate(parts), after.T.reshape(-1)

    model = HistGradientBoostingRegressor(loss="absolute_error", max_iter=300, random_state=0)
    model.fit(*examples(*windows(training, past, next, 3)))
    given, right = examples(*windows(held, past, next, 1))
    return float(np.abs(model.predict(given) - right).mean())


def neural(name: str, training: pd.DataFrame, held: pd.DataFrame, past: int, next: int) -> float:
    import neuralforecast.models
    from neuralforecast import NeuralForecast

    def named(rows: pd.DataFrame) -> pd.DataFrame:
        found = rows.rename(columns={"series": "unique_id", "ts": "ds", "load": "y"})
        return found.assign(ds=pd.to_datetime(found["ds"]))

    whole = named(pd.concat([training, held]).drop_duplicates(["series", "ts"]))
    steps = int(whole.groupby("unique_id").size().min()) - int(training.groupby("series").size().min())
    made = getattr(neuralforecast.models, name)
    model = made(
        h=next,
        input_size=past,
        max_steps=1000,
        scaler_type="standard",
        early_stop_patience_steps=5,
        val_check_steps=50,
        random_seed=0,
    )
    forecasts = NeuralForecast([model], "h").cross_validation(
        whole, n_windows=None, test_size=steps, val_size=steps, step_size=1
    )
    return float((forecasts[name] - forecasts["y"]).abs().mean())


def main() -> None:
    way, training, held, past, next = sys.argv[1:]
    rows = pd.read_csv(training), pd.read_csv(held), int(past), int(next)
    print(boosting(*rows) if way == "boosting" else neural(way, *rows))


if __name__ == "__main__":
    main()
