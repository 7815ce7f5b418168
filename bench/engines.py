"""One row through each engine, beside the hand-written module in eager torch."""

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import openvino
import torch
from torch import nn

from bench.cases import CASES, Case, copy_weights, outputs, tokens
from bench.measure import Samples, interleave
from bench.report import Column, Table, Value, duration
from bench.twins import text
from graphspec.export import export
from graphspec.program import Program
from graphspec.runs.engines import Engine, Interface, OnnxEngine, OpenVinoEngine, TorchEngine
from graphspec.runs.fastest import timed

Arrays = Mapping[str, np.ndarray]
Call = Callable[[], Sequence[np.ndarray]]
NOTE = """A batch of 1 on one thread, arrays in and arrays out: what `predict --engine` computes with. The
twin is written by hand, in eager torch under `no_grad`. Runs are interleaved. The ratios are medians over
rounds of the engine / the twin, in processor time; `auto` is the ratio of the engine that `--engine auto`
takes, which it times by itself before. `alone` is a session of the engine beside it on the same file, without
graphspec. `fold` is the folded module, where folding changes it; `inductor` is the module compiled by
AOTInductor, for these sizes alone; `bf16` is OpenVINO with 16 bits, which is not equal and never taken.
Integers are left out: random weights have no score. The difference is the largest of an output from the
module's, of the twin's, too; that of `bf16` is beside it. The BERT has 6 layers of 384, the GPT 6 of 256, and
both read 32 tokens: the longer a text, the more of the time goes into products of matrices, which no engine
does much faster than torch."""

RATIO = "{:.2f}".format
COLUMNS = (
    Column("spec", "spec"),
    Column("twin", "twin", duration),
    Column("torch", "torch", RATIO),
    Column("fold", "fold", RATIO),
    Column("inductor", "inductor", RATIO),
    Column("onnxruntime", "onnxruntime", RATIO),
    Column("onnxruntime alone", "alone", RATIO),
    Column("openvino", "openvino", RATIO),
    Column("openvino alone", "alone", RATIO),
    Column("auto", "auto", RATIO),
    Column("chosen", "takes"),
    Column("difference", "difference", "{:.1e}".format),
    Column("bf16", "bf16", RATIO),
    Column("bf16_difference", "difference", "{:.1e}".format),
    Column("rounds", "rounds"),
)
CPU = torch.device("cpu")
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
        engines: dict[str, Engine] = {"torch": _of_torch(program, module)}
        engines |= {kind.name: kind(Interface.of(program), file, 1) for kind in (OnnxEngine, OpenVinoEngine)}
        calls = {"twin": _by_hand(twin, example)}
        calls |= {key: _call(engine, example) for key, engine in engines.items()}
        calls |= _others(program, module, example, file)
        expected = calls["torch"]()
        apart = {key: _between(call(), expected) for key, call in calls.items()}
        chosen = timed(engines, example, 1)
        samples = interleave(calls, warmup=3, budget_seconds=budget_seconds)
    ratios = {key: samples[key].processor_ratio(samples["twin"]) for key in calls if key != "twin"}
    auto = min(chosen, key=chosen.__getitem__)
    found: Samples = samples["twin"]
    return {
        "spec": name,
        "twin": found.median,
        **ratios,
        "auto": ratios[auto],
        "chosen": auto,
        "bf16_difference": apart.pop("bf16"),
        "difference": max(apart.values()),
        "rounds": len(found.seconds),
    }


def _others(program: Program, module: nn.Module, example: Arrays, file: Path) -> dict[str, Call]:
    """What `auto` has no choice of, by column."""
    calls = {
        "onnxruntime alone": _onnxruntime(program, example, file),
        "openvino alone": _openvino(program, example, file, "f32"),
        "bf16": _openvino(program, example, file, "bf16"),
    }
    folding = program.fold().folding
    if folding is not None and folding.folded.steps:
        folded = program.fold().module(weights=module.state_dict()).eval()
        calls["fold"] = _call(_of_torch(program, folded), example)
    if shutil.which("g++") is not None:
        calls["inductor"] = _inductor(program, module, example, file.with_suffix(".pt2"))
    return calls


def _of_torch(program: Program, module: nn.Module) -> TorchEngine:
    engine = TorchEngine(program, module, CPU)
    engine.threads = 1
    return engine


def _onnxruntime(program: Program, example: Arrays, file: Path) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()][: len(Interface.of(program).outputs)]
    return lambda: session.run(names, example)


def _openvino(program: Program, example: Arrays, file: Path, precision: str) -> Call:
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    model = openvino.Core().compile_model(str(file), "CPU", settings)
    count = len(Interface.of(program).outputs)

    def run() -> Sequence[np.ndarray]:
        found = model(example)
        return [found[place] for place in range(count)]

    return run


def _inductor(program: Program, module: nn.Module, example: Arrays, package: Path) -> Call:
    arrays = [example[name] for name in program.inputs]
    with torch.no_grad():
        exported = torch.export.export(module, tuple(map(torch.from_numpy, arrays)))
        torch._inductor.aoti_compile_and_package(exported, package_path=str(package))
    compiled = torch._inductor.aoti_load_package(str(package))

    def run() -> Sequence[np.ndarray]:
        with torch.no_grad():
            return [value.numpy() for value in outputs(compiled(*map(torch.from_numpy, arrays)))]

    return run


def _between(found: Iterable[np.ndarray], expected: Iterable[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


def _call(engine: Engine, example: Arrays) -> Call:
    return lambda: [*engine(example).values()]


def _by_hand(twin: nn.Module, example: Arrays) -> Call:
    def run() -> Sequence[np.ndarray]:
        with torch.no_grad():
            found = twin(**{name: torch.from_numpy(array) for name, array in example.items()})
        return [value.numpy() for value in outputs(found)]

    return run
