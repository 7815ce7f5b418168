"""One row through each engine, beside the hand-written module in eager torch."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from bench.cases import CASES, Case, copy_weights, outputs, tokens
from bench.measure import Samples, interleave
from bench.report import Column, Table, Value, duration
from bench.twins import text
from graphspec.export import export
from graphspec.runs.engines import Engine, Interface, OnnxEngine, OpenVinoEngine, TorchEngine
from graphspec.runs.fastest import timed

NOTE = """A batch of 1 on one thread, arrays in and arrays out: what `predict --engine` computes with. The
twin is written by hand, in eager torch under `no_grad`. Runs are interleaved. The ratios are medians over
rounds of the engine / the twin, in processor time; `auto` is the ratio of the engine that `--engine auto`
takes, which it times by itself before. The difference is the largest of an output from the module's, of the
twin's, too. The BERT has 6 layers of 384, the GPT 6 of 256, and both read 32 tokens: the longer a text, the
more of the time goes into products of matrices, which no engine does much faster than torch."""

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
VOCABULARY = 30522
BERT = {"width": 384, "heads": 6, "hidden": 1536, "depth": 6, "vocabulary": VOCABULARY, "longest": 512}
GPT = {"width": 256, "heads": 8, "depth": 6}
SUBJECTS = {
    "dense": CASES["dense"],
    "bert": Case(
        partial(text.Bert, VOCABULARY, 384, 6, 6),
        1,
        {"tokens": tokens(VOCABULARY, 32), "segments": tokens(2, 32)},
        settings={f"params.{name}": value for name, value in BERT.items()},
    ),
    "gpt": Case(
        partial(text.Gpt, 256, 8, 6),
        1,
        {"tokens": tokens(96, 32)},
        settings={f"params.{name}": value for name, value in GPT.items()},
    ),
    "resnet50": CASES["resnet50"],
}


def table(names: tuple[str, ...] | list[str] | None, budget_seconds: float) -> Table:
    cases = CASES | SUBJECTS
    rows = [_row(name, cases[name], budget_seconds) for name in names or SUBJECTS]
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
        engines |= {kind.name: kind(Interface.of(program), file, 1) for kind in (OnnxEngine, OpenVinoEngine)}
        twin_alone = _by_hand(twin, example)
        apart = max(_apart(engines, example), _between(twin_alone(), base(example).values()))
        subjects: dict[str, Callable[[], object]] = {"twin": twin_alone}
        subjects |= {key: _call(engine, example) for key, engine in engines.items()}
        chosen = timed(engines, example)
        samples = interleave(subjects, warmup=3, budget_seconds=budget_seconds)
    ratios = {key: samples[key].processor_ratio(samples["twin"]) for key in engines}
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
    found = ([engine(example)[key] for key in expected] for engine in engines.values())
    return max(_between(values, expected.values()) for values in found)


def _between(found: Iterable[np.ndarray], expected: Iterable[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


def _call(engine: Engine, example: Mapping[str, np.ndarray]) -> Callable[[], object]:
    return lambda: engine(example)


def _by_hand(twin: torch.nn.Module, example: Mapping[str, np.ndarray]) -> Callable[[], Sequence[np.ndarray]]:
    def run() -> Sequence[np.ndarray]:
        with torch.no_grad():
            found = twin(**{name: torch.from_numpy(array) for name, array in example.items()})
        return [value.numpy() for value in outputs(found)]

    return run
