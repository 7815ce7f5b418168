"""Commands and options that users of other tools write, and what to write here instead."""

from __future__ import annotations

from collections.abc import Mapping

from graphspec.diagnostics.foreign_terms import by_words

COMMANDS: Mapping[str, str] = by_words(
    {
        "lint validate compile-check typecheck": "check SPEC",
        "fit run start learn teach": "train SPEC",
        "resume continue restart": "train RUN --resume",
        "finetune fine-tune": "train SPEC --weights FILE",
        "init create scaffold template draft": "new NAME",
        "compile codegen emit transpile write": "build SPEC -o model.py",
        "export onnx to-onnx torchscript save": "build SPEC -o model.onnx",
        "eval test score benchmark": "evaluate RUN",
        "infer inference apply": "predict RUN --data FILE -o FILE",
        "convert load from-keras keras import-keras": "import keras FILE -o DIR",
        "transfer load-weights pretrained": "weights SPEC --from FILE -o OUT.safetensors",
        "draw viz visualize visualise graph picture diagram render": "plot SPEC -o FILE.svg",
        "info describe show print inspect stats params flops cost": "summary SPEC",
        "optimize optimise search hpo sweep optuna hyperopt": "tune SPEC",
        "list doc docs man reference vocabulary": "layers NAME",
        "ls experiments history status leaderboard": "runs",
        "expand config defaults": "resolve SPEC --defaults",
        "format prettify": "fmt SPEC",
        "jsonschema json-schema editor": "schema -o graphspec.schema.json",
        "help usage": "--help",
        "version": "--version",
    }
)
"""The command to write after `graphspec`, by a command that does not exist; the first word in capitals is its
argument.
"""

_ONE_GPU, _SEVERAL = "--device cuda", "--devices VALUE"
_PRECISION = "--set train.precision=bf16"
_PORTS = "--port N: a server is one process, which batches requests; start another at each port"
_CHOSEN = "leave it out: graphspec chooses how to read data"
OPTIONS: Mapping[str, tuple[str, ...]] = by_words(
    {
        "gpus num-gpus n-gpus ngpus nproc nproc-per-node processes": (_SEVERAL, _ONE_GPU),
        "gpu cuda use-cuda use-gpu accelerator": (_ONE_GPU,),
        "cpu no-cuda no-gpu": ("--device cpu",),
        "quiet q silent no-progress": ("--progress none", "--json"),
        "v": ("--verbose", "--version"),
        "verbose": ("leave it out: each mistake and each result is shown",),
        "target": ("--set outputs.NAME.target=VALUE",),
        "label labels y label-column target-column": ("--target VALUE", "--set outputs.NAME.target=VALUE"),
        "task problem": ("leave it out: the values of `--target` say what it is",),
        "f": ("--format VALUE", "leave out the option: the spec is the first argument"),
        "output out o outfile output-file": (
            "-o FILE",
            "--run-dir DIR",
            "--series? leave it out: NAME is the file, NAME.yaml",
            "leave it out: it prints to standard output, which `> FILE` keeps",
        ),
        "output-dir out-dir outdir save-dir log-dir logdir run name experiment exp workdir": (
            "--run-dir DIR",
            "-o DIR",
        ),
        "input inputs dataset train-data data-dir data-path csv test-data": ("--data PATH",),
        "resume-from ckpt ckpt-path checkpoint checkpoint-path restore continue load": (
            "--run-dir VALUE --resume",
            "--resume",
            "--weights FILE",
        ),
        "pretrained init-from load-weights": ("--weights FILE",),
        "last": ("--weights last",),
        "workers num-workers": ("--jobs VALUE", _PORTS, _CHOSEN),
        "n-jobs": ("--jobs VALUE",),
        "n-trials num-trials": ("--set tune.trials=VALUE",),
        "fp16 amp bf16 half mixed-precision mixed": (_PRECISION,),
        "batch bs": ("--batch-size VALUE", "--set train.batch_size=VALUE"),
        "config spec model file c": ("leave out the option: the spec is the first argument",),
        "yes y": ("--force",),
        "overwrite replace": ("--force",),
        "plot": ("-o VALUE", "-o FILE.svg"),
        "table": ("-o VALUE", "-o FILE.md"),
        "debug dry-run fast-dev-run smoke": (
            "--limit VALUE",
            "leave it out: `graphspec check` tells what shows without running",
        ),
        "strict werror": ("leave it out: `--json` has the warnings, for a script that refuses them",),
        "onnx": ("-o FILE.onnx",),
        "to format type": ("-o FILE: its ending says the format",),
        "param p define d override overrides arg": ("--set KEY=VALUE",),
        "jit torch-compile": ("--compile on",),
        "trust unsafe trust-remote-code": ("--allow PACKAGE",),
    }
)
"""Options to write instead of one that a command lacks: the first that it has. VALUE is the value that was
given. What begins with `--option?` is for the commands that have that option.
"""
