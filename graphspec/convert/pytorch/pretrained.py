"""The model of a folder of Hugging Face, made of its config and its tensors alone.

The library follows what a folder names: code (`auto_map`), kernels (`attn_implementation`), other models
(`adapter_config.json`), files (`transformers_weights`). So it never sees the folder. It gets a config whose
texts are plain words, and the tensors.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from graphspec.diagnostics import SpecError, fail
from graphspec.diagnostics.packages import needing, unlogged
from graphspec.diagnostics.text import line_of, shortened
from graphspec.files.reading import content, parse_json
from graphspec.transfer.checkpoints import open_checkpoint

MAX_CONFIG = 4 << 20
"""Bytes of a config."""
DEEPEST = 32
"""How deeply a config is nested."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
REACHING = {
    *("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code"),
    *("fusion_config", "kernel_config", "use_kernels"),
    *("distributed_config", "model_args", "transformers_weights"),
}
"""Keys with which a config reaches beyond the library's classes: to code of its own, kernels, other files."""
QUANTIZED = ("compression_config", "quantization_config")
DROPPED = {
    *("_commit_hash", "_name_or_path", "dtype", "name_or_path", "task_specific_params", "torch_dtype"),
    *("return_dict", "transformers_version", "use_cache", "use_pretrained_backbone"),
}
"""Keys of where a model is from, how it was stored, and how it is called: it is computed in float32."""
UNREAD = {*DROPPED, *REACHING, *QUANTIZED}
"""Keys that the library does not get."""
LABELS = ("id2label", "label2id")
"""Keys of texts of any kind, of which only the number counts."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "USE_HUB_KERNELS": "NO"}
IMPLEMENTATION = "_implementation"
"""Marks keys that choose between equal computations. The library's default is taken."""
IMPLEMENTATIONS = {
    *("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4"),
    *("batched_mm", "grouped_mm", None, True, False),
}
"""The legal values of such keys."""
REPEATED = re.compile(r"(n|num)_.*(layers?|blocks|experts|stages)|depths?|.*_(layers|depth)")
MOST = 4096
"""Parts of a model that are made one by one; keys that say how many match `REPEATED`."""
PLACE = re.compile(r"[/\\:\x00-\x1f]")
"""Matches the names of files and repositories, and addresses, but no word of the library."""


def config_of(folder: Path) -> dict[str, Any]:
    """The content of `config.json`. Raises `SpecError` (import-format, import-unsafe, import-unsupported)."""
    path = folder / "config.json"
    if not path.is_file():
        message = f"`{folder}` has no config.json" if folder.is_dir() else f"there is no folder `{folder}`"
        raise fail(
            "import-format", message, "give the folder that `save_pretrained` wrote: nothing is downloaded"
        )
    try:
        config = parse_json(content(path, MAX_CONFIG).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise fail("import-format", f"`{path}` is not JSON: {str(error)[:120]}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise fail("import-format", f"`{path}` does not say what it is: it lacks `model_type`")
    known: dict[str, Any] = _known(config, "", path, 0)
    return known


def marks_of(folder: Path, config: Mapping[str, Any]) -> dict[str, int | list[int]]:
    """The tokens that begin and end what a decoder makes, `begin` and `end`, as far as a folder says them and
    the model has them.
    """
    path = folder / "generation_config.json"
    try:
        told = parse_json(content(path, MAX_CONFIG).decode("utf-8")) if path.is_file() else {}
    except (OSError, ValueError):  # the library can do without it
        told = {}
    names = {"end": "eos_token_id"}
    names |= {"begin": "decoder_start_token_id"} if config.get("is_encoder_decoder") else {}
    both = [each for each in (config, told) if isinstance(each, Mapping)]
    found = {key: each.get(name) for each in both for key, name in names.items() if name in each}
    known = range(config.get("vocab_size") or 0)
    marks: dict[str, int | list[int]] = {}
    for key, value in found.items():
        several = [each for each in (value if isinstance(value, list) else [value]) if type(each) is int]
        several = [each for each in several if each in known]
        marks |= {} if not several else {key: several if len(several) > 1 else several[0]}
    return marks


def _known(value: Any, key: str, path: Path, depth: int) -> Any:
    """A value of a config, without what the library is not to know. Raises `SpecError`."""
    if depth > DEEPEST:
        raise fail("import-format", f"`{path}` is nested more than {DEEPEST} levels deep")
    if isinstance(value, list):
        return [_known(item, key, path, depth + 1) for item in value]
    if isinstance(value, dict):
        _need_data(value, path)
        holds = key in LABELS or IMPLEMENTATION in key  # such values under names of any kind
        kept = {name: item for name, item in value.items() if holds or name not in UNREAD}
        known = {name: _known(item, key if holds else name, path, depth + 1) for name, item in kept.items()}
        return {name: item for name, item in known.items() if IMPLEMENTATION not in name}
    if IMPLEMENTATION in key and value not in IMPLEMENTATIONS:
        raise _unsafe(path, key, f"`{shortened(str(value))}`, which the library does not know")
    if isinstance(value, str) and key not in LABELS and PLACE.search(value):
        raise _unsafe(path, key, f"`{shortened(value)}`, and no file, repository or address is followed")
    if REPEATED.fullmatch(key) and isinstance(value, int) and value > MOST:
        message = f"`{path}` has {value:,} under `{key}`"
        raise fail("import-unsupported", message, f"a model of at most {MOST:,} layers is made")
    return value


def _need_data(entries: Mapping[str, Any], path: Path) -> None:
    """Raises `SpecError` where entries of a config name what is beyond it."""
    for name, value in entries.items():
        if name in REACHING and value:
            raise _unsafe(path, name, "what is not in the library, and it is never run")
        if name in QUANTIZED and value:
            help = "save it in float32: `model.dequantize()`, then `save_pretrained`"
            raise fail("import-unsupported", f"`{path}` is of a quantized model: it has `{name}`", help)


def _unsafe(path: Path, key: str, what: str) -> SpecError:
    help = "remove that entry, or import the class of the model: graphspec import torch PKG:CALLABLE"
    return fail("import-unsafe", f"`{path}` names under `{shortened(key)}` {what}", help)


def pretrained(folder: Path, config: Mapping[str, Any]) -> Any:
    """The library's class with the folder's tensors, ready for inference.

    Raises `SpecError` (import-unsupported, weights-missing, weights-misfit).
    """
    cls = _class(folder, config)
    tensors = _tensors(folder)
    with unlogged(logging.CRITICAL):
        try:
            module, report = cls.from_pretrained(
                None,
                config=_library_config(cls, config),
                state_dict=tensors,
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
            )
        except Exception as error:  # of many kinds, each of the library's own
            raise fail("weights-missing", f"`{folder}` cannot be loaded: {line_of(error)}") from error
    lost = [str(key) for word in ("missing_keys", "mismatched_keys") for key in report.get(word, ())]
    if lost:
        message = f"the weights in `{folder}` lack {', '.join(sorted(lost)[:3])} of {type(module).__name__}"
        raise fail("weights-misfit", message, "save the whole model again with `save_pretrained`")
    module.config.use_cache = False
    return module.eval()


def _class(folder: Path, config: Mapping[str, Any]) -> Any:
    import transformers

    names = config.get("architectures")
    word = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    try:
        cls = getattr(transformers, word, None) if word.isidentifier() else None
    except (ImportError, RuntimeError):  # of a package that this class needs
        cls = None
    is_model = isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)
    if not is_model or getattr(cls, "config_class", None) is None:
        message = f"the library has no class `{shortened(word)}`, which {folder / 'config.json'} names"
        if not word:
            kind = shortened(str(config.get("model_type", "")))
            message = f"`{folder / 'config.json'}` has no `architectures`, the class of its `{kind}` model"
        raise fail("import-unsupported", message, "update transformers, or import the class: `import torch`")
    return cls


def _library_config(cls: Any, config: Mapping[str, Any]) -> Any:
    """The config as the class has it, read from a folder of our own."""
    with TemporaryDirectory() as own:
        temporary = Path(own, "config.json")
        temporary.write_text(json.dumps(config), encoding="utf-8")
        return cls.config_class.from_pretrained(own, local_files_only=True)


def _tensors(folder: Path) -> dict[str, Tensor]:
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        message = f"`{folder}` has no weights as .safetensors"
        raise fail("weights-missing", message, "save the model again: `save_pretrained` writes them so")
    with open_checkpoint(found) as checkpoint:
        return {key: checkpoint.read(key) for key in checkpoint.tensors}


@contextmanager
def offline() -> Iterator[None]:
    """Inside, the library reaches neither the Hub nor its kernels, also where it was imported before, and
    shows no bars.

    Raises `SpecError` (package-missing).
    """
    with needing("`import huggingface`", "huggingface"):
        import transformers  # noqa: F401
        from huggingface_hub import constants
        from transformers.integrations import hub_kernels
        from transformers.utils import logging as shown
    with ExitStack() as changes:
        for name, value in OFFLINE.items():  # for what the library imports later
            changes.enter_context(_replaced(os.environ, name, value))
        changes.enter_context(_replaced(vars(constants), "HF_HUB_OFFLINE", True))
        if isinstance(vars(hub_kernels).get("_kernels_enabled"), bool):  # before 5.25, read once
            changes.enter_context(_replaced(vars(hub_kernels), "_kernels_enabled", False))
        if shown.is_progress_bar_enabled():
            shown.disable_progress_bar()
            changes.callback(shown.enable_progress_bar)
        yield


@contextmanager
def _replaced(entries: MutableMapping[str, Any], name: str, value: Any) -> Iterator[None]:
    """A context in which an entry is another."""
    before = {name: entries[name]} if name in entries else {}
    entries[name] = value
    try:
        yield
    finally:
        del entries[name]
        entries.update(before)
