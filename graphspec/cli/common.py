"""Shared by commands: their options, the table of commands, and how wrong usage is reported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from importlib import import_module
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup
from typer.main import get_command

from graphspec.cli import completing
from graphspec.cli.help import GroupedCommand, write_commands
from graphspec.cli.printing import print_json, reporting, show
from graphspec.diagnostics.terminal import say, say_json
from graphspec.diagnostics.text import first_line

if TYPE_CHECKING:
    from graphspec.program import Program

UsageError: type[Any] = typer.BadParameter.__mro__[1]
"""click's, which typer has as its own in later versions."""


def one_of(*names: str, words: str, help: str) -> Any:
    """An option whose value is one of the words, `a|b`, which a shell completes."""
    return typer.Option(*names, metavar=words, help=help, autocompletion=completing.choices(words))


Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec file.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a param, or a dotted path such as train.epochs.",
        autocompletion=completing.settings,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="NAME", help="Take a preset of the spec.", autocompletion=completing.presets
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="PACKAGE", help="Allow custom code of this Python package."),
]
AllowUrl = Annotated[
    bool, typer.Option("--allow-url", help="Allow addresses in the spec: s3://BUCKET/..., trackers.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, and nothing else.")]
Device = Annotated[str, one_of("--device", words="auto|cpu|cuda", help="Where to compute.")]
WAYS = ("auto", "lines", "json", "none")
"""How progress is shown: a bar on a terminal and else lines, lines, JSON lines, or not at all."""
ProgressOption = Annotated[
    str,
    one_of(
        "--progress", words="|".join(WAYS), help="How to show progress; json: one object per line on stderr."
    ),
]


def with_options(options: Callable[[], Iterable[Parameter]]) -> Callable[[Callable[..., None]], Any]:
    """Gives a command further options in the place of its `**` parameter, in whose mapping they come."""

    def added(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        given = [p for p in signature(command).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        parameters = [each.replace(annotation=hints[each.name]) for each in given]
        command.__signature__ = Signature([*parameters, *options()])  # type: ignore[attr-defined]
        return command

    return added


def taking(record: type[Any]) -> Callable[[Callable[[Any], None]], Callable[..., None]]:
    """A command that takes its options as a record, whose fields they are."""

    def made(command: Callable[[Any], None]) -> Callable[..., None]:
        @wraps(command)
        def called(**values: Any) -> None:
            command(record(**values))

        hints = get_type_hints(record, include_extras=True)
        given = [each.replace(annotation=hints[each.name]) for each in signature(record).parameters.values()]
        called.__signature__ = Signature(given)  # type: ignore[attr-defined]
        return called

    return made


def option(name: str, kind: Any, default: Any, **about: Any) -> Parameter:
    """An option of this name, with `_` for `-`."""
    written = typer.Option(f"--{name.replace('_', '-')}", **about)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, written])


ELSEWHERE = {
    "summary": "describing:summary",
    "resolve": "describing:resolve",
    "layers": "describing:layers",
    "diff": "compare:diff",
    "migrate": "migrate:migrate",
    "build": "build:build",
    "plot": "plot:plot",
    "tune": "tune:tune",
    "weights": "weights:weights",
    "plan": "plan:plan",
    "prepare": "prepare:prepare",
    "train": "train:train",
    "evaluate": "runs:evaluate",
    "predict": "runs:predict",
    "generate": "generate:generate",
    "serve": "serve:serve",
    "report": "report:report",
    "drift": "drift:drift",
    "backtest": "backtest:backtest",
    "runs": "listing:runs",
    "explain": "describing:explain",
    "fmt": "formatting:fmt",
    "server": "serving:server",
    "mcp": "serving:mcp",
    "schema": "new:schema",
    "new": "new:new",
    "import": "importing:app",
    "audit": "auditing:audit",
    "prove": "proving:prove",
    "verify": "proving:verify",
}
"""Commands that are in other files of `graphspec.cli`, as `file:function`, or `file:app` for a group."""


class CommandTable(MutableMapping[str, Any]):
    """Typer's commands by name. One of `ELSEWHERE` is imported and made when it is asked for: to make all of
    them takes as long as importing Typer. Iterating names makes none.
    """

    def __init__(self, made: Mapping[str, Any]):
        self._made = dict(made)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            file, word = ELSEWHERE[name].split(":")
            module = import_module(f"graphspec.cli.{file}")
            app = getattr(module, word)
            if not isinstance(app, typer.Typer):
                function, app = app, typer.Typer(add_completion=False, rich_markup_mode=None)
                app.command(name, cls=GroupedCommand)(function)
            self._made[name] = command = get_command(app)
            if isinstance(command, GroupedCommand):
                command.groups = getattr(module, "GROUPS", {})
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._made, **ELSEWHERE})

    def __len__(self) -> int:
        return len({**self._made, **ELSEWHERE})


class ExplainingGroup(TyperGroup):
    """A group that says what was probably meant by a command that it does not have."""

    def unknown(self, args: list[str]) -> tuple[str, str | None]:
        """The mistake of a line whose first word is no command, and the remedy."""
        raise NotImplementedError

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = ctx.resilient_parsing or not args or args[0] in self.commands
        if not known and not args[0].startswith("-"):
            raise Misuse(*self.unknown(args))
        return super().resolve_command(ctx, args)


class Commands(ExplainingGroup):
    """The commands. Wrong usage is reported with its remedy; with `--json` it is a JSON document, too."""

    def __init__(self, *, commands: Mapping[str, Any], **options: Any):
        super().__init__(**options)
        self.commands = CommandTable(commands)

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        args = list(args)  # which the parser empties
        with _usage(args):
            context = super().make_context(info_name, list(args), parent, **extra)
        context.meta["written"] = args
        return context

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        write_commands(self, ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        with _usage(ctx.meta["written"]):
            return super().invoke(ctx)

    def unknown(self, args: list[str]) -> tuple[str, str | None]:
        from graphspec.cli.usage import unknown_command

        return unknown_command(args, self.commands)


@contextmanager
def _usage(args: Sequence[str]) -> Iterator[None]:
    """Reports wrong usage as all mistakes are, and ends the command."""
    try:
        yield
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            raise
        from graphspec.cli.usage import diagnosed

        diagnostic = diagnosed(error, args)
        if "--json" in args:
            print_json({"ok": False, "diagnostics": [diagnostic.to_json()]})
        else:
            show([diagnostic], {}, sys.stderr)
        raise typer.Exit(2) from None


@contextmanager
def compiling(
    spec: Path,
    settings: list[str] | None,
    preset: str | None,
    as_json: bool,
    allow: list[str] | None = None,
    allow_url: bool = False,
    warnings: bool = True,
) -> Iterator[Program]:
    """Compiles a spec; errors in it, or in its use inside, end the command."""
    from graphspec import compiler
    from graphspec.diagnostics import Diagnostics

    sources: dict[str, str] = {}
    with reporting(as_json, sources):
        diagnostics = Diagnostics()
        program = compiler.check(
            spec,
            diagnostics,
            sources,
            preset=preset,
            settings=settings_of(settings, sources),
            allow=allow or (),
        )
        diagnostics.raise_if_errors()
        assert program is not None
        program = replace(program, allow_url=allow_url)
        if not as_json and warnings:
            from graphspec.train.parallel.launched import launched

            if launched().is_first:
                show(diagnostics.sorted(), sources, sys.stderr)
        yield program


def spec_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that paths name; for a directory, every `.yaml` and `.yml` below it, without hidden ones."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        files = sorted(file for file in path.rglob("*.y*ml") if file.suffix in (".yaml", ".yml"))
        visible = [f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts)]
        if not visible:
            raise misuse("SPEC...", f"there is no .yaml file in {path}")
        yield from visible


FAILURES = (RuntimeError, ValueError, IndexError, TypeError, AttributeError, MemoryError)
"""Errors that a module may raise when it runs. torch.OutOfMemoryError is a RuntimeError."""


@contextmanager
def running(program: Program, code: str, what: str, help: str) -> Iterator[None]:
    """Turns an error of the module, of custom code or of too little memory into a diagnostic, at the node
    whose code raised it. Any other error is one of graphspec's own, and stays what it is.
    """
    try:
        yield
    except Exception as error:
        from graphspec.custom import raised_at
        from graphspec.diagnostics import SpecError, fail
        from graphspec.emit.load import is_of_module

        notes = () if isinstance(error, SpecError) else raised_at(error)
        if not notes and not (isinstance(error, FAILURES) and is_of_module(error)):
            raise
        kind = "" if isinstance(error, FAILURES) else f"{type(error).__name__}: "
        message = f"{what}: {kind}{first_line(error)}"
        place = program.place_of(error)
        raise fail(code, message, help, *notes, span=place) from error


def settings_of(pairs: Iterable[str] | None, sources: dict[str, str]) -> dict[str, Any]:
    """The values of `--set`, each read as YAML. Raises `SpecError` for what is not YAML."""
    from graphspec.language.overriding import setting_path
    from graphspec.source.overrides import from_command_line

    parts = [(pair, *pair.partition("=")) for pair in pairs or ()]
    for pair, key, equals, _ in parts:
        if not equals or not key:
            name, colon, value = (part.strip() for part in pair.partition(":"))
            help = f"write {name}={value}" if colon and value and " " not in name + value else None
            path = setting_path(name) or (pair if pair.replace(".", "").isidentifier() else None)
            help = help or (f"write `--set {path}=VALUE`" if path else None)
            raise misuse("--set", f"`{pair}` is not KEY=VALUE", help)
    try:
        return from_command_line([(key.rstrip(), text) for _, key, _, text in parts], sources)
    except ValueError as error:
        raise misuse("--set", str(error)) from None


def need_no_device(path: Path) -> None:
    """Raises `typer.BadParameter` for an output, if something has its name, that is neither a file nor a
    directory.
    """
    from graphspec.files.reading import need_no_device as need

    with writing(path):
        need(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, which then replaces it: it is written completely or not at all."""
    from graphspec.files.whole import replacing as replaced

    with writing(path), replaced(path) as temporary:
        yield temporary


@contextmanager
def replacing_both(part: Path, main: Path) -> Iterator[tuple[Path, Path]]:
    """The same of two files that belong together, of which users name `main`."""
    from graphspec.files.whole import replacing_both as replaced

    with writing(main), replaced(part, main) as temporaries:
        yield temporaries


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A file that cannot be written ends the command."""
    from graphspec.diagnostics import SpecError

    try:
        yield
    except OSError as error:
        raise misuse("-o", f"{path} cannot be written: {error.strerror or error}") from None
    except SpecError as error:
        if error.diagnostics[0].code != "output-file":
            raise
        raise misuse("-o", error.diagnostics[0].message, error.diagnostics[0].help) from None


def sizes_of(pairs: Iterable[str] | None, program: Program) -> dict[str, int]:
    """The values of `--size`, each of a size that the program's inputs name, and legal for it."""
    from graphspec.diagnostics.arguments import size_mistake

    sizes: dict[str, int] = {}
    for pair in pairs or ():
        name, _, text = pair.partition("=")
        if not text.isdecimal():
            raise misuse("--size", f"`{pair}` is not NAME=N, such as length=128")
        mistake = size_mistake(program, name, int(text))
        if mistake is not None:
            raise misuse("--size", "; ".join(filter(None, mistake[1:])))
        sizes[name] = int(text)
    return sizes


def need_one_of(value: str, words: Sequence[str], option: str) -> None:
    """Raises `typer.BadParameter` for the value of an option that is not one of its words."""
    if value not in words:
        raise misuse(option, f"`{value}` is not one of {', '.join(words)}")


def events(progress: str) -> Callable[..., None]:
    """Writes events of long work, where `--progress` wants them: `tell("stage", name="read")`. Work that has
    no bar shows nothing with `auto`.

    Raises `typer.BadParameter` for another way to show progress.
    """
    need_one_of(progress, WAYS, "--progress")

    def tell(event: str, **values: Any) -> None:
        if progress == "json":
            say_json({"event": event, **values}, sys.stderr)
        elif progress == "lines":
            say(" ".join([event, *(f"{key}={value}" for key, value in values.items())]), sys.stderr)

    return tell


class Misuse(typer.BadParameter):
    """The error for what is used wrongly: an option or an argument, if it is named."""

    def __init__(self, message: str, help: str | None = None, option: str | None = None):
        super().__init__(message, param_hint=option)
        self.help = help


def misuse(option: str, message: str, help: str | None = None) -> Misuse:
    """The error for an option, or an argument, that is used wrongly."""
    return Misuse(message, help, option)
