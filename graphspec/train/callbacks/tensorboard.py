"""A training in TensorBoard: `tensorboard --logdir runs`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from graphspec.diagnostics.packages import needing
from graphspec.files.folder import refusing
from graphspec.files.run_files import TENSORBOARD
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import Callback


class TensorBoardCallback(Callback):
    """Scalars by Keras' names (`epoch_loss` in `train` and in `validation`), histograms of the weights, and
    the graph of the spec; `batch_loss` is in `steps`, as a folder has steps of one kind.

    What was written after the checkpoint from which a run goes on is marked as superseded.
    """

    def __init__(self, config: settings.TensorBoard):
        with needing("the callback `tensorboard`", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self.config = config
        self._writer = SummaryWriter
        self._writers: dict[str, Any] = {}
        self._began = 0.0, 0
        self._first: dict[str, int] = {}
        self._graphless = config.write_graph

    def on_train_begin(self, logs: Any = None) -> None:
        self._first = dict.fromkeys(("train", "validation"), self.model.epoch)
        self._first["steps"] = self.model.iterations + 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter(), self.model.iterations

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        every, step = self.config.update_freq, self.model.iterations
        if every == "batch" or (every != "epoch" and step % every == 0):
            self._in("steps").add_scalar("batch_loss", logs["loss"], step)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._graphless:
            self._graph()
        for name, value in logs.items():
            part = "validation" if name.startswith("val_") else "train"
            values = value if isinstance(value, list) else [value]
            for index, number in enumerate(values):
                tag = f"epoch_{name.removeprefix('val_')}" + (f"_{index}" if isinstance(value, list) else "")
                self._in(part).add_scalar(tag, number, epoch)
        if "learning_rate" not in logs:
            self._in("train").add_scalar("epoch_learning_rate", self.model.optimizer.learning_rate, epoch)
        if self.config.write_steps_per_second and self._began[0]:
            started, first = self._began
            steps = self.model.iterations - first
            rate = steps / (time.perf_counter() - started)
            self._in("train").add_scalar("epoch_steps_per_second", rate, epoch)
        if self.config.histogram_freq and epoch % self.config.histogram_freq == 0:
            for name, weight in self.model.module.named_parameters():
                self._in("train").add_histogram(f"{name}/histogram", weight.detach().float().cpu(), epoch)
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _in(self, part: str) -> Any:
        if part not in self._writers:
            path = self.model.run.folder(f"{TENSORBOARD}/{part}")
            with refusing(path):
                self._writers[part] = self._writer(str(path), purge_step=self._first[part])
        return self._writers[part]

    def _graph(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.graph_pb2 import GraphDef

        self._graphless = False
        graph = GraphDef()
        for name, kind, inputs in nodes(self.model.program.summary().rows):
            graph.node.add(name=name, op=kind, input=inputs)
        self._in("train").file_writer.add_event(Event(graph_def=graph.SerializeToString()))


def nodes(rows: Iterable[Any]) -> Iterator[tuple[str, str, list[str]]]:
    """The nodes of a summary by path, type and inputs; what leaves a block is a node of its own in it."""
    rows = list(rows)
    outer = set(_outer(rows))

    def place(name: str) -> str:
        path = name.replace(".", "/")
        return f"{path}/output" if name in outer else path

    def visit(rows: Iterable[Any]) -> Iterator[tuple[str, str, list[str]]]:
        for row in rows:
            if row.rows:
                yield from visit(row.rows)
                yield place(row.name), row.type, [place(row.rows[-1].name)]
            else:
                yield place(row.name), row.type, [place(name) for name in row.connected_to]

    return visit(rows)


def _outer(rows: Iterable[Any]) -> Iterator[str]:
    for row in rows:
        if row.rows:
            yield row.name
            yield from _outer(row.rows)
