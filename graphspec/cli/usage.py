"""What wrong usage of the command line is told: what is wrong, and what to write instead."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.cli.foreign_words import COMMANDS, OPTIONS
from graphspec.diagnostics import nearest, shortened
from graphspec.diagnostics.foreign_terms import FILES

if TYPE_CHECKING:
    from graphspec.diagnostics import Diagnostic

Told = tuple[str, str | None]
"""What is wrong, and the remedy."""


def diagnosed(error: Any, args: Sequence[str]) -> Diagnostic:
    """The diagnostic of an error of the parser or of a command; `args` are what was written."""
    from graphspec.diagnostics import Diagnostic

    message, help = _told(error, args)
    return Diagnostic("usage", message, None, help=help)


def _told(error: Any, args: Sequence[str]) -> Told:
    kind, context = type(error).__name__, error.ctx
    if kind == "NoSuchOption":
        return _unknown_option(error.option_name, context, args)
    if kind == "MissingParameter" and context is not None:
        return _lacking(error.param, context, args)
    if kind == "BadParameter" and error.param is not None:
        return _no_number(error.param, error.message, args) or (
            f"`{error.param.opts[0]}`: {error.message}",
            None,
        )
    if kind == "Misuse":
        named = f"`{error.param_hint}`: " if error.param_hint else ""
        return named + error.message, error.help
    if kind == "BadOptionUsage":
        return _with_value(error.option_name, args, context)
    extra = re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", error.message or "")
    if extra and context is not None:
        return _too_many(extra[1].split(" "), context, args)
    return error.message or str(error), None


def _with_value(name: str, args: Sequence[str], context: Any) -> Told:
    """What is told of an option that lacks its value at the end of a command, or of a flag with one."""
    given = next((arg.partition("=")[2] for arg in args if arg.startswith(f"{name}=")), None)
    if given is not None:
        return f"`{name}` takes no value, and has `{given}`", f"write `{name}`"
    params = context.command.params if context is not None else []
    option = next((each for each in params if name in each.opts), None)
    value = option.metavar if option is not None and option.metavar else "VALUE"
    return f"`{name}` needs a value", f"write `{name} {value}`"


def _too_many(extra: Sequence[str], context: Any, args: Sequence[str]) -> Told:
    """What is told of words after the arguments that a command takes."""
    command, path = context.command, context.command_path
    taken = [each for each in command.params if each.param_type_name == "argument"]
    options = {name for parameter in command.params for name in parameter.opts}
    names = " ".join(str(each.metavar or each.name.upper()) for each in taken)
    message = f"`{path}` takes {names or 'no argument'}, and `{extra[0]}` is one more"
    settings = [word for word in extra if re.fullmatch(r"[A-Za-z_][\w.]*=.+", word)]
    if settings and "--set" in options:
        return message, f"write {' '.join(f'`--set {_whole_path(word)}`' for word in settings)}"
    if "--resume" in args and "--run-dir" in options:
        return message, f"a run is named in place of its spec: `{path} {extra[0]} --resume`"
    key = next((path for path, value in pairwise(args) if value == extra[0] and "=" not in path), "")
    if "--set" in options and f"--set {key} {extra[0]}" in " ".join(args):
        return message, f"write `--set {key}={extra[0]}`"
    flags = {name for each in command.params if getattr(each, "is_flag", False) for name in each.opts}
    if "-o" in options and any(flag in flags for flag, value in pairwise(args) if value == extra[0]):
        return message, f"write `-o {extra[0]}`, as the option before it takes no value"
    if Path(extra[0]).is_file() and taken:
        return message, "run it once for each file"
    near = nearest(extra[0], [name.lstrip("-") for name in options if name.startswith("--")])
    return message, f"write `--{near}`?" if near else f"`{path} --help` lists what it takes"


def _whole_path(setting: str) -> str:
    """`epochs=3` with the section of its key: `train.epochs=3`."""
    from graphspec.language.overriding import setting_path

    key, _, value = setting.partition("=")
    return f"{setting_path(key) or key}={value}"


_WANTED = (
    (r"valid integer|not a valid int", "an integer"),
    (r"valid number|not a valid float", "a number"),
    (r"greater than or equal to (\S+)|x>=(\S+)\.", "at least {}"),
    (r"less than or equal to (\S+)|x<=(\S+)\.", "at most {}"),
)
"""What the parsers of typer's releases say of a number."""


def _no_number(option: Any, message: str, args: Sequence[str]) -> Told | None:
    """What is told of the value of an option that takes a number, and is none, or out of its range."""
    found = next(((known, words) for each, words in _WANTED if (known := re.search(each, message))), None)
    name = next((name for name in option.opts if _value(name, args, signed=True) is not None), None)
    if found is None or name is None:
        return None
    bound = next(filter(None, found[0].groups()), "")
    value, wanted = _value(name, args, signed=True), found[1].format(bound)
    digits = re.search(r"\d+", value or "")
    usual = option.default if type(option.default) in (int, float) else "0.5" if wanted == "a number" else "2"
    example = bound or (digits[0] if digits else usual)
    return f"`{name}` is `{value}`, but must be {wanted}", f"write `{name} {example}`, for example"


def _lacking(parameter: Any, context: Any, args: Sequence[str]) -> Told:
    """What is told of an argument or an option that a command needs, and lacks."""
    path, word = context.command_path, parameter.metavar or parameter.name.upper()
    named = path.count(" ") - (context.find_root().info_name or "").count(" ")  # its words after the program
    is_option = parameter.param_type_name == "option"
    name = f"{parameter.opts[0]} {word}" if is_option else word
    words = [arg for before, arg in pairwise(["", *args]) if "-" not in (before[:1], arg[:1])]
    arguments = [each for each in context.command.params if each.param_type_name == "argument"]
    more = words[named + len(arguments) :]
    files = [word for word in more if os.path.isfile(word) or (parameter.name == "output" and "." in word)]
    message = f"`{path}` needs `{name}`"
    if is_option and files:
        return message, f"write `{parameter.opts[0]} {files[-1]}`"
    about = f": {parameter.help.rstrip('.')}" if parameter.help else ""
    written = shlex.join(args[named:])
    if is_option and word == "PATH" and FILES.get(Path(written).suffix, ("",))[0] == "data":
        return message + about, f"write `{path} {arguments[0].metavar} {parameter.opts[0]} {written}`"
    whole = " ".join(filter(None, [path, written, name] if is_option else [path, name, written]))
    if shortened(whole) != whole:  # what is needed is not cut off
        whole = f"{path} ... {name}"
    return message + about, f"write `{whole}`"


def unknown_command(args: Sequence[str], commands: Iterable[str]) -> Told:
    """What is told of a command that does not exist, the first of what was written."""
    names, word = list(commands), args[0]
    message = f"there is no command `{word}`"
    if word.endswith((".yaml", ".yml")) or Path(word).is_file():
        return f"{message}: it is a file", f"write a command before it: `graphspec check {word}`"
    if meant := COMMANDS.get(word.lower()):
        if meant == "--help" and args[1:2] and args[1] in names:
            meant = f"{args[1]} --help"
        if command_word := next((arg for arg in args[1:] if not arg.startswith("-")), None):
            if meant == "new NAME" and Path(command_word).is_file():
                meant += f" --data {command_word}"
            else:
                meant = re.sub(r"\b(SPEC|RUN|FILE|NAME)\b", lambda _: command_word, meant, count=1)
        return message, f"write `graphspec {meant}`"
    near = nearest(word, names)
    return message, f"did you mean `{near}`?" if near else f"the commands are {', '.join(names)}"


def _unknown_option(written: str, context: Any, args: Sequence[str]) -> Told:
    """What is told of an option that the command of a context does not have; `args` are what was written."""
    command, path = context.command, context.command_path
    later = next((arg for arg in args if arg in getattr(command, "commands", ())), None)
    if later is not None:
        before = args[: args.index(later)]
        whole = shlex.join([*args[len(before) :], *before])
        return f"`{path}` has no option `{written}`", f"options come after the command: `{path} {whole}`"
    options = [name for parameter in command.params for name in parameter.opts if not _hidden(parameter)]
    short = next((arg for arg in args if f"-{arg.partition('=')[0]}" in options), None)
    if short is not None:
        return f"`{path}` has no option `{short}`", f"write `-{short}`, with two dashes"
    message, value = f"`{path}` has no option `{written}`", _value(written, args)
    if (dashed := written.replace("_", "-")) != written and dashed in options:
        return message, f"write `{dashed}`, with dashes"
    if value == "json" and "--json" in options:
        return message, "write `--json`"
    meant = next(_replacements(written.lstrip("-").lower(), options, value), None)
    if meant is not None:
        return message, meant
    near = nearest(written, [name for name in options if name.startswith("--")])
    if near:
        return message, f"did you mean `{near}`?"
    settable = "; a key or a param of the spec is set by `--set KEY=VALUE`" if "--set" in options else ""
    return message, f"`{path} --help` lists them{settable}"


def unknown_source(word: str) -> Told:
    """What is told of an `import` of what it does not read."""
    message = f"`graphspec import` reads models of Keras, PyTorch and Hugging Face, not `{word}`"
    if word.lower() in ("pytorch", "timm", "torchvision"):
        return "`graphspec import` calls it torch", "write `graphspec import torch PKG:CALLABLE`"
    if word.lower() in ("hf", "transformers"):
        return "`graphspec import` calls it huggingface", "write `graphspec import huggingface FOLDER`"
    if word.lower() in ("onnx", "tf", "tensorflow", "safetensors"):
        weights = "`graphspec weights SPEC --from FILE -o OUT.safetensors` takes its weights over"
        return message, f"write the network as a spec; {weights}"
    path = Path(word)
    if path.is_dir():
        return message, f"say of what it is: `graphspec import huggingface {word}`"
    if path.suffix in (".pt", ".pth", ".ckpt", ".py"):
        return message, "the module itself is imported, by its name: `graphspec import torch PKG:CALLABLE`"
    return message, f"write `graphspec import keras {word}`"


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
        needed, _, alone = text.partition("? ")
        if option is None:
            yield text
        elif alone:
            yield from [alone] if needed in own else []
        elif option[0] in own and not ("VALUE" in text and value is None and "=" not in text):
            placeholder = value or "VALUE"
            words, _, more = text.replace("KEY=VALUE", "KEY\0").replace("VALUE", placeholder).partition(":")
            words = words.replace("\0", "=VALUE")
            yield f"write `{words}`" + (f":{more}" if more else "")
