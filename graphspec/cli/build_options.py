"""The options of `build`, as the record that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import Allow, Json, Preset, Set, one_of
from graphspec.cli.outputs import Force

FORMATS = ("py", "pt2", "onnx")
OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Output file; - for stdout. [default: SPEC's name with the suffix of the format]",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="py|pt2|onnx",
        help="py: a Python file that needs torch only. pt2, onnx: weights and graph, for inference. "
        "[default: the suffix of FILE, or else py]",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="A .safetensors file of trained weights to write; of a run also best or last.",
    ),
]
InputsOption = Annotated[
    str | None,
    one_of(
        "--inputs",
        words="columns|tensors",
        help="What an ONNX file of a run reads: columns of its table, or arrays. [default: columns]",
    ),
]
SpecOrRun = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec file, or the directory of a run.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Seed of the weights that no file gives. [default: train.seed]"),
]
Fold = Annotated[
    bool,
    typer.Option(
        "--fold",
        help="Fold normalizations into the layer before, for inference. With py, weights go to another file.",
    ),
]
NoCheck = Annotated[
    bool, typer.Option("--no-check", help="Skip the forward pass: for models larger than memory.")
]
NoInplace = Annotated[
    bool,
    typer.Option(
        "--no-inplace",
        help="Emit no in-place activations: for hooks; training takes more memory.",
    ),
]
FIXED = "fixed"
Params = Annotated[
    str | None,
    typer.Option(
        "--params",
        metavar=FIXED,
        help="Write the params of the file as numbers; by default they are arguments of the model's class.",
    ),
]
MergeAdapters = Annotated[
    Path | None,
    typer.Option(
        "--merge-adapters", metavar="RUN", help="Also write the weights, with the run's adapters merged."
    ),
]
Fastest = Annotated[
    bool,
    typer.Option(
        "--fastest",
        help="Write the fastest form with equal outputs into the folder FILE, with Python that runs it.",
    ),
]
Huggingface = Annotated[
    bool,
    typer.Option(
        "--huggingface",
        help="Write a language model into the folder FILE, as AutoModelForCausalLM of transformers loads it.",
    ),
]
Container = Annotated[
    bool,
    typer.Option("--container", help="The same, with a Dockerfile and a server that needs no graphspec."),
]
Mlflow = Annotated[
    bool,
    typer.Option("--mlflow", help="The same, as a model that `mlflow.pyfunc` loads, with its signature."),
]
Quantize = Annotated[
    str | None,
    typer.Option("--quantize", metavar="int8", help="Write weights as 8-bit integers, if the score holds."),
]
MaxLoss = Annotated[
    float | None,
    typer.Option(
        "--max-loss",
        min=0.0,
        metavar="SHARE",
        help="The share by which a score on the validation data may be worse. [default: 0.005]",
    ),
]
Triton = Annotated[
    bool,
    typer.Option("--triton", help="Write ONNX into the folder FILE with a config.pbtxt for Triton."),
]
Step = Annotated[
    bool,
    typer.Option("--step", help="Write the next steps of a sequence, from states that the module keeps."),
]
Bundle = Annotated[
    bool,
    typer.Option("--bundle", help="Copy custom modules into the file, so that it needs only torch."),
]


@dataclass(slots=True)
class BuildAsked:
    """The options of `build`."""

    spec: SpecOrRun
    output: OutputOption = None
    format: FormatOption = None
    weights: WeightsOption = None
    inputs: InputsOption = None
    seed: Seed = None
    fold: Fold = False
    force: Force = False
    no_check: NoCheck = False
    no_inplace: NoInplace = False
    params: Params = None
    bundle: Bundle = False
    step: Step = False
    adapters: MergeAdapters = None
    fastest: Fastest = False
    huggingface: Huggingface = False
    container: Container = False
    mlflow: Mlflow = False
    quantize: Quantize = None
    max_loss: MaxLoss = None
    triton: Triton = False
    allow: Allow = None
    settings: Set = None
    preset: Preset = None
    as_json: Json = False

    def __post_init__(self) -> None:
        packed = (self.container or self.mlflow) and self.quantize is None and not self.huggingface
        self.fastest = self.fastest or packed

    @property
    def deploys(self) -> bool:
        """Whether it writes a trained model as files that others run."""
        return self.fastest or self.huggingface or self.quantize is not None or self.max_loss is not None

    def given(self) -> dict[str, object]:
        """Options of modules, which do not go with others, by their names."""
        given: dict[str, object] = {"--seed": self.seed, "--fold": self.fold, "--no-check": self.no_check}
        given |= {"--no-inplace": self.no_inplace, "--bundle": self.bundle, "--params": self.params}
        return {**given, "--step": self.step}
