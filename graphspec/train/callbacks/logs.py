"""Callbacks that log the values of epochs."""

from __future__ import annotations

import csv
import io
from typing import Any

from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import Callback


class CSVLoggerCallback(Callback):
    """A table of the epochs, with Keras' columns: `epoch` from 0, then the values by their names.

    What was written after the checkpoint from which a run goes on is written again.
    """

    def __init__(self, config: settings.CSVLogger):
        self.config = config

    def on_train_begin(self, logs: Any = None) -> None:
        entries = self.model.history.epochs()
        rows = [self._row(entry["epoch"] - 1, entry) for entry in entries]
        header = self._line(["epoch", *sorted(entries[0].keys() - {"epoch"})]) if entries else ""
        self.model.run.text(self.model.run.claim(self.config.filename), "".join([header, *rows]))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with self.model.run.appending(self.config.filename) as stream:
            if not stream.tell():
                stream.write(self._line(["epoch", *sorted(logs)]))
            stream.write(self._row(epoch, logs))

    def _row(self, epoch: int, values: Any) -> str:
        return self._line([epoch, *(values[name] for name in sorted(values) if name != "epoch")])

    def _line(self, cells: list[Any]) -> str:
        stream = io.StringIO()
        csv.writer(stream, delimiter=self.config.separator, lineterminator="\n").writerow(cells)
        return stream.getvalue()
