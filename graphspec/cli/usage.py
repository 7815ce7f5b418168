"""Remedies for commands and options that do not exist."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from graphspec.diagnostics import nearest
from graphspec.diagnostics.foreign_terms import COMMANDS, OPTIONS


def explained(error: Any, args: Sequence[str]) -> str | None:
    """The message for what was written wrong, where there is a better one than the parser's."""
    if type(error).__name__ == "NoSuchOption":
        return unknown_option(error.option_name, error.ctx, args)
    if type(error).__name__ == "MissingParameter" and error.ctx is not None:
        return _lacking(error.param, error.ctx, args)
    if type(error).__name__ == "BadParameter" and error.param is not None:
        return _no_number(error.param, error.message, args) or f"`{error.param.opts[0]}`: {error.message}"
    if type(error).__name__ == "BadParameter" and error.param_hint:
        return f"`{error.param_hint}`: {error.message}"
    if (bare := re.fullmatch(r"Option '(.+)' requires an argument\.", error.message or "")) is not None:
        return _without_value(bare[1], error.ctx)
    extra = re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", error.message or "")
    return _too_many(extra[1].split(" "), error.ctx) if extra and error.ctx is not None else None


def _without_value(name: str, context: Any) -> str:
    """The message for an option at the end of a command, whose value is not there."""
    params = context.command.params if context is not None else []
    option = next((each for each in params if name in each.opts), None)
    value = option.metavar if option is not None and option.metavar else "VALUE"
    return f"`{name}` needs a value: write `{name} {value}`"


def _too_many(extra: Sequence[str], context: Any) -> str:
    """The message for words after the arguments that a command takes."""
    command, path = context.command, context.command_path
    taken = [each for each in command.params if each.param_type_name == "argument"]
    options = {name for parameter in command.params for name in parameter.opts}
    names = " ".join(str(each.metavar or each.name.upper()) for each in taken)
    message = f"`{path}` takes {names or 'no argument'}, and `{extra[0]}` is one more"
    settings = [word for word in extra if re.fullmatch(r"[A-Za-z_][\w.]*=.+", word)]
    if settings and "--set" in options:
        return f"{message}: write {' '.join(f'`--set {word}`' for word in settings)}"
    if Path(extra[0]).is_file() and taken:
        return f"{message}: run it once for each file"
    near = nearest(extra[0], [name.lstrip("-") for name in options if name.startswith("--")])
    return f"{message}: write `--{near}`?" if near else message


_WANTED = (
    (r"valid integer|not a valid int", "a whole number"),
    (r"valid number|not a valid float", "a number"),
    (r"greater than or equal to (\S+)|x>=(\S+)\.", "at least {}"),
    (r"less than or equal to (\S+)|x<=(\S+)\.", "at most {}"),
)
"""What the parsers of typer's releases say of a number."""


def _no_number(option: Any, message: str, args: Sequence[str]) -> str | None:
    """The message for the value of an option that takes a number, and is none, or out of its range."""
    found = next(((known, words) for each, words in _WANTED if (known := re.search(each, message))), None)
    name = next((name for name in option.opts if _value(name, args, signed=True) is not None), None)
    if found is None or name is None:
        return None
    bound = next(filter(None, found[0].groups()), "")
    return f"`{name}` is `{_value(name, args, signed=True)}`, but must be {found[1].format(bound)}"


def _lacking(parameter: Any, context: Any, args: Sequence[str]) -> str:
    """The message for an argument or an option that a command needs."""
    word = parameter.metavar or parameter.name.upper()
    is_option = parameter.param_type_name == "option"
    name = f"{parameter.opts[0]} {word}" if is_option else word
    words = [arg for before, arg in pairwise(["", *args]) if "-" not in (before[:1], arg[:1])]
    arguments = [each for each in context.command.params if each.param_type_name == "argument"]
    files = list(filter(os.path.isfile, words[context.command_path.count(" ") + len(arguments) :]))
    if is_option and files:
        return f"`{context.command_path}` needs `{name}`: write `{parameter.opts[0]} {files[-1]}`"
    about = f": {parameter.help}" if parameter.help else ""
    return f"`{context.command_path}` needs `{name}`{about}"


def unknown_command(args: Sequence[str], commands: Iterable[str]) -> str:
    """The message for a command that does not exist, the first of what was written."""
    names, word = list(commands), args[0]
    message = f"there is no command `{word}`"
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
    short = next((arg for arg in args if f"-{arg.partition('=')[0]}" in options), None)
    if short is not None:
        return f"`{path}` has no option `{short}`: write `-{short}`, with two dashes"
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


def _value(written: str, args: Sequence[str], signed: bool = False) -> str | None:
    """What was given to an option: `--name=value`, or the word after it; `signed` where that may begin with a
    dash.
    """
    for arg, behind in zip(args, [*args[1:], ""], strict=True):
        name, equals, value = arg.partition("=")
        if name == written:
            return value if equals else behind if behind and (signed or not behind.startswith("-")) else None
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
