"""A folder of Hugging Face, as `save_pretrained` writes it, as a spec and its weights.

config.json -> the library's own class (pretrained.py) -> traced as any module
            -> a spec of the gallery, where one is this architecture: with its params from the config
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.compiler import compile
from graphspec.convert.differences import apart, flat
from graphspec.convert.pytorch import from_torch
from graphspec.convert.pytorch.asked import LARGEST
from graphspec.convert.pytorch.pretrained import config_of, marks_of, offline, pretrained
from graphspec.convert.pytorch.result import FromTorch, TorchProof
from graphspec.convert.pytorch.shipped import SHIPPED, ShippedSpec
from graphspec.convert.pytorch.writer import NodeWriter
from graphspec.convert.writing import text
from graphspec.diagnostics import Diagnostics, SpecError, fail, shortened
from graphspec.language.naming import identifier
from graphspec.program import Program
from graphspec.source import read
from graphspec.transfer import transfer
from graphspec.transfer.rules import load_rules

LONGEST = 128
"""Tokens of the example of a model whose length does not stay open."""
CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""The words of configs for the most tokens that a model takes."""
DECODED = "decoder_input_ids"
TOLERANCE = 1e-4


def import_huggingface(
    folder: str | Path,
    *,
    name: str | None = None,
    flat: bool = False,
    check: bool = True,
    shipped: bool = True,
) -> FromTorch:
    """The model of a folder. `shipped=False` traces the library's class even where the gallery has a spec.

    Raises `SpecError` (import-format, import-unsafe, import-unsupported, import-differs, weights-missing,
    weights-misfit, package-missing).
    """
    folder = Path(folder)
    config = config_of(folder)
    with offline():
        module = pretrained(folder, config)
        return _imported(folder, module, name or config["model_type"], flat, check, shipped)


def _imported(folder: Path, module: Any, name: str, flat: bool, check: bool, shipped: bool) -> FromTorch:
    config = module.config.to_dict()
    word = identifier(name, "model")
    kind = type(module).__name__
    fitting = (each for each in SHIPPED if kind in each.classes and each.fits(config))
    spec = next(fitting, None) if shipped else None
    if spec is not None:
        return _from_gallery(spec, folder, config, module, word, check)
    inputs = _inputs(module)
    traced = partial(from_torch, module, inputs, name=word, flat=flat, check=check)
    if module.main_input_name != "input_ids":
        return traced()
    sizes = {"decoder_input_ids": "length", "input_ids": "source" if DECODED in inputs else "length"}
    try:
        imported = traced(dynamic={name: [sizes.get(name, "length")] for name in inputs})
    except SpecError as error:  # its length does not stay open
        imported = traced()
        length, why = inputs["input_ids"].shape[1], error.diagnostics[0].message
        note = (
            f"it takes {length} tokens, and no text goes on with it: its length does not stay open, as {why}"
        )
        return replace(imported, notes=(*imported.notes, note))
    return _going_on(imported, folder, config)


def _going_on(imported: FromTorch, folder: Path, config: Mapping[str, Any]) -> FromTorch:
    """An import that says how texts go on, if it has scores of tokens; a note says why they do not."""
    name = DECODED if DECODED in imported.program.inputs else "input_ids"
    if "logits" not in imported.program.outputs or name not in imported.program.inputs:
        return imported
    section = {"generate": {name: {"from": "logits", **marks_of(folder, config)}}}
    written = imported.text + text(section)
    try:
        return replace(imported, text=written, program=compile(written))
    except SpecError as error:
        note = f"no text goes on with it: {error.diagnostics[0].message}"
        return replace(imported, notes=(*imported.notes, note))


def _inputs(module: Any) -> dict[str, Tensor]:
    """An example of what the model takes, by its kind of input."""
    config, word = module.config, module.main_input_name
    if word == "input_ids":
        most = next((n for word in CONTEXTS if (n := getattr(config, word, None))), LONGEST)
        ids = torch.ones(2, *_tried([min(most, LONGEST) if type(most) is int else most]), dtype=torch.int64)
        if getattr(config, "is_encoder_decoder", False):
            return {"input_ids": ids, DECODED: ids[:, 1:].clone()}
        decoder = getattr(config, "is_decoder", False) or "CausalLM" in type(module).__name__
        mask = (
            {} if decoder or "LMHead" in type(module).__name__ else {"attention_mask": torch.ones_like(ids)}
        )
        return {"input_ids": ids, **mask}
    if word == "pixel_values":
        size = getattr(config, "image_size", 224)
        sizes = _tried(
            [getattr(config, "num_channels", 3), *(size if isinstance(size, list | tuple) else (size, size))]
        )
        return {word: torch.rand(2, *sizes, generator=torch.Generator().manual_seed(0))}
    message = f"`{type(module).__name__}` takes `{word}`, for which no example is known"
    raise fail(
        "import-unsupported", message, "import the class: graphspec import torch PKG:CALLABLE --input ..."
    )


def _tried(sizes: list[Any]) -> list[int]:
    """The sizes of an example. Raises `SpecError` where the config has others than numbers, or too many."""
    if not all(type(size) is int and size > 0 for size in sizes) or math.prod(sizes) > LARGEST:
        message = f"the config gives the input the sizes {shortened(str(sizes))}"
        raise fail("import-unsupported", message, f"an example has at most {LARGEST:,} numbers")
    return sizes


# --- specs of the gallery


def gallery(name: str) -> Path:
    """The file of a shipped spec: beside this package in a checkout, inside it where it is installed."""
    home = Path(__file__).parents[2]
    inside = home / "convert" / "specs_shipped" / f"{name}.yaml"
    return inside if inside.is_file() else home.parent / "specs" / f"{name}.yaml"


def _from_gallery(
    spec: ShippedSpec, folder: Path, config: Mapping[str, Any], module: nn.Module, name: str, check: bool
) -> FromTorch:
    path = gallery(spec.file)
    diagnostics = Diagnostics()
    document = read(path.read_text(encoding="utf-8"), str(path), diagnostics)
    if document is None or diagnostics.errors:
        raise SpecError(diagnostics.sorted())
    sections: dict[str, Any] = {
        key: value for key, value in document.value.items() if key not in ("presets", "train")
    }
    sections["params"] = {**sections["params"], **spec.params(config)}
    if spec.outputs == ("logits",):
        sections["generate"] = {"tokens": {"from": "next", **marks_of(folder, config)}}
    written = text(sections, f"{type(module).__name__} of Hugging Face, as specs/{spec.file}.yaml")
    program = compile(written)
    moved = transfer(program.graph, folder, load_rules(spec.rules))
    if moved.plan.missing:
        lacking = ", ".join(sorted(map(str, moved.plan.missing))[:3])
        raise fail("weights-misfit", f"the weights in `{folder}` lack {lacking}")
    proved = _prove_gallery(spec, program, moved.weights, module) if check else None
    rows = (("", type(module).__name__, f"specs/{spec.file}.yaml"),)
    return FromTorch(name, written, program, moved.weights, {}, NodeWriter(), (), rows, (), (), proved)


def _prove_gallery(
    spec: ShippedSpec, program: Program, weights: Mapping[str, Tensor], module: Any
) -> TorchProof:
    ours = program.module().eval()
    ours.load_state_dict(weights)
    worst = 0.0
    for seed, (batch, length) in enumerate(((2, 9), (3, 13))):
        examples = program.example_inputs(
            batch_size=batch,
            sizes={name: length + n for n, name in enumerate(program.minimum_sizes)},
            seed=seed,
        )
        given = {name: examples[key] for key, name in spec.inputs.items()}
        if spec.file == "bert":
            given["input_ids"].clamp_(min=1)
        if "source" in examples:
            examples["source"][0, -1] = module.config.pad_token_id
            given["attention_mask"] = (examples["source"] != module.config.pad_token_id).long()
        logits = {"logits": True} if spec.outputs == ("logits",) else {}
        with torch.no_grad():
            expected = module(**given, use_cache=False)
            actual = flat(ours(**examples, **logits))
        wanted = [getattr(expected, name) for name in spec.outputs]
        worst = max(worst, apart(actual, wanted))
    if not worst <= TOLERANCE:
        message = f"the outputs of specs/{spec.file}.yaml differ from those of the module by {worst:.1e}"
        raise fail(
            "import-differs", message, "please report the config; `--no-shipped` traces the class instead"
        )
    return TorchProof(worst, (2, 3), None, None, why="the gallery's specs are compared in inference")
