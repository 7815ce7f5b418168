"""Remedies for commands and options that do not exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from graphspec.diagnostics import nearest
from graphspec.diagnostics.foreign_terms import COMMANDS, OPTIONS


def unknown_command(args: Sequence[str], commands: Iterable[str]) -> str:
    """The message for a command that does not exist, the first of what was written."""
    names, word = list(commands), args[0]
    message = f"No such command `{word}`"
    if word.endswith((".yaml", ".yml")) or Path(word).is_file():
        return f"{message}: it is a file. Write a command before it: `graphspec check {word}`"
    if meant := COMMANDS.get(word.lower()):
        if command_word := next((arg for arg in args[1:] if not arg.startswith("-")), None):
            meant = re.sub(r"\b(SPEC|RUN|FILE|NAME)\b", lambda _: command_word, meant, count=1)
        return f"{message}: write `graphspec {meant}`"
    near = nearest(word, names)
    return f"{message}: did you mean `{near}`?" if near else f"{message}: the commands are {', '.join(names)}"


def unknown_option(written: str, context: Any, args: Sequence[str]) -> str:
    """The message for an option that the command of a context does not have; `args` are what was written."""
    command, path = context.command, context.command_path
    later = next((arg for arg in args if arg in getattr(command, "commands", ())), None)
    if later is not None:
        return f"`{path}` has no option `{written}`: options come after the command, `{path} {later} ...`"
    options = [name for parameter in command.params for name in parameter.opts if not _hidden(parameter)]
    value = _value(written, args)
    message = f"`{path}` has no option `{written}`"
    meant = next(_replacements(written.lstrip("-").lower(), options, value), None)
    if meant is not None:
        return f"{message}: {meant}"
    near = nearest(written, [name for name in options if name.startswith("--")])
    if near:
        return f"{message}: did you mean `{near}`?"
    settable = "; a key or a param of the spec is set by `--set KEY=VALUE`" if "--set" in options else ""
    return f"{message}: `{path} --help` lists them{settable}"


def unknown_source(word: str) -> str:
    """The message for an `import` of what it does not read."""
    if word.lower() in ("pytorch", "timm", "torchvision"):
        return "`graphspec import` calls it torch: write `graphspec import torch PKG:CALLABLE`"
    if word.lower() in ("hf", "transformers"):
        return "`graphspec import` calls it huggingface: write `graphspec import huggingface FOLDER`"
    if word.lower() in ("onnx", "tf", "tensorflow", "safetensors"):
        return (
            f"`graphspec import` reads models of Keras and PyTorch, not `{word}`: write the network as a "
            "spec; `graphspec weights SPEC --from FILE -o OUT.safetensors` takes its weights over"
        )
    return f"`graphspec import` reads models of Keras and PyTorch: write `graphspec import keras {word}`"


def _hidden(parameter: Any) -> bool:
    return bool(getattr(parameter, "hidden", False))


def _value(written: str, args: Sequence[str]) -> str | None:
    """What was given to an option: `--name=value`, or the word after it."""
    for arg, behind in zip(args, [*args[1:], ""], strict=True):
        name, equals, value = arg.partition("=")
        if name == written:
            return value if equals else behind if behind and not behind.startswith("-") else None
    return None


def _replacements(word: str, own: Iterable[str], value: str | None) -> Iterator[str]:
    """What may be written instead, what another tool calls so first; an option only if the command has it."""
    from graphspec.language.overriding import setting_path

    path = setting_path(word) if "--set" in own else None
    for text in (*OPTIONS.get(word, ()), *((f"--set {path}=VALUE",) if path is not None else ())):
        option = re.match(r"-[-\w]*", text)
        if option is None:
            yield text
        elif option[0] in own and not ("VALUE" in text and value is None and "=" not in text):
            placeholder = value or "VALUE"
            words, _, more = text.replace("KEY=VALUE", "KEY\0").replace("VALUE", placeholder).partition(":")
            words = words.replace("\0", "=VALUE")
            yield f"write `{words}`" + (f":{more}" if more else "")
