"""One row through each engine, beside the hand-written module in eager torch."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from bench.cases import CASES, Case, copy_weights
from bench.measure import Samples, interleave
from bench.report import Column, Table, Value, duration
from graphspec.export import export
from graphspec.runs.engines import Engine, OnnxEngine, OpenVinoEngine, TorchEngine
from graphspec.runs.fastest import timed

NOTE = """A batch of 1 on one thread, arrays in and arrays out: what `predict --engine` computes with. The
twin is written by hand, in eager torch under `no_grad`. Runs are interleaved. The ratios are medians over
rounds of the engine / the twin; `auto` is the ratio of the engine that `--engine auto` takes, which it times
by itself before. The difference is the largest of an output from the module's."""

COLUMNS = (
    Column("spec", "spec"),
    Column("twin", "twin", duration),
    Column("torch", "torch", "{:.2f}".format),
    Column("onnxruntime", "onnxruntime", "{:.2f}".format),
    Column("openvino", "openvino", "{:.2f}".format),
    Column("auto", "auto", "{:.2f}".format),
    Column("chosen", "takes"),
    Column("difference", "difference", "{:.1e}".format),
    Column("rounds", "rounds"),
)
SPECS = ("dense", "digits", "gpt", "transformer_classifier", "resnet50")


def table(names: tuple[str, ...] | list[str] | None, budget_seconds: float) -> Table:
    rows = [_row(name, CASES[name], budget_seconds) for name in names or SPECS]
    return Table("Engines beside hand-written modules", NOTE, COLUMNS, tuple(rows))


def _row(name: str, case: Case, budget_seconds: float) -> Mapping[str, Value]:
    case = dataclasses.replace(case, batch_size=1)
    program, twin = case.program(name), case.twin().eval()
    module = program.module(seed=0).eval()
    copy_weights(module, twin)
    example = {key: value.numpy() for key, value in case.example().items()}
    with TemporaryDirectory() as directory:
        file = Path(directory) / "model.onnx"
        export(program, "onnx", file, 0, module.state_dict(), logits=True)
        base = TorchEngine(program, module, torch.device("cpu"))
        base.threads = 1
        engines: dict[str, Engine] = {"torch": base}
        engines |= {kind.name: kind(program, file, 1) for kind in (OnnxEngine, OpenVinoEngine)}
        apart = _apart(engines, example)
        subjects: dict[str, Callable[[], object]] = {"twin": _by_hand(twin, example)}
        subjects |= {key: _call(engine, example) for key, engine in engines.items()}
        chosen = timed(engines, example)
        samples = interleave(subjects, warmup=3, budget_seconds=budget_seconds)
    ratios = {key: samples[key].ratio(samples["twin"]) for key in engines}
    auto = min(chosen, key=chosen.__getitem__)
    found: Samples = samples["twin"]
    return {
        "spec": name,
        "twin": found.median,
        **ratios,
        "auto": ratios[auto],
        "chosen": auto,
        "difference": apart,
        "rounds": len(found.seconds),
    }


def _apart(engines: Mapping[str, Engine], example: Mapping[str, np.ndarray]) -> float:
    """The largest difference of an output from that of torch."""
    expected = engines["torch"](example)
    gaps = [
        np.abs(engine(example)[key] - value).max()
        for engine in engines.values()
        for key, value in expected.items()
    ]
    return float(max(gaps))


def _call(engine: Engine, example: Mapping[str, np.ndarray]) -> Callable[[], object]:
    return lambda: engine(example)


def _by_hand(twin: torch.nn.Module, example: Mapping[str, np.ndarray]) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            found = twin(**{name: torch.from_numpy(array) for name, array in example.items()})
        return [v.numpy() for v in found.values()] if isinstance(found, Mapping) else found.numpy()

    return run
