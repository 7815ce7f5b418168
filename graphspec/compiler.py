"""The pipeline, in order: text, document, declarations, program."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from graphspec.data import augmentation
from graphspec.declarations import File, read_file
from graphspec.diagnostics import Diagnostic, Diagnostics, TooManyMistakes, did_you_mean, fail, unplaced
from graphspec.diagnostics.arguments import brief, checked
from graphspec.diagnostics.foreign_terms import other_file
from graphspec.elaborate import Context, argument_names, elaborate
from graphspec.elaborated import Elaborated
from graphspec.files.reading import content
from graphspec.files.run_files import BEST, ENVIRONMENT, SPEC
from graphspec.program import Program
from graphspec.source import Document, read
from graphspec.source.overrides import Overrides, from_python, in_options


@dataclass(frozen=True, slots=True)
class Choices:
    """Choices of a caller beside the text of a spec: values of params, a preset, settings by their dotted
    paths, and the packages that `module:` may import.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    allow: Iterable[str] = ()


AS_WRITTEN = Choices()


@checked
def compile(
    spec: str | Path | Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    allow: Iterable[str] = (),
    allow_url: bool = False,
) -> Program:
    """Compiles a spec: a path, YAML text (a string with a line break), or a dict with the same content.

    `params` override the params of the file; `settings` override dotted paths (`train.epochs`). `allow` names
    the Python packages that `module:` may import when something runs; with `allow_url` the spec may name data
    in object storage, and where trackers write. Raises `SpecError`.
    """
    diagnostics, sources = Diagnostics(), dict[str, str]()
    _written(settings or {}, "settings hold")
    overrides = from_python(settings or {}, sources)
    if isinstance(spec, Mapping):
        spec = _written(spec, "a spec holds")
    program = check(spec, diagnostics, sources, params, preset, overrides, allow)
    diagnostics.raise_if_errors()
    assert program is not None
    return replace(program, allow_url=allow_url)


def _written(spec: Mapping[str, Any], holds: str) -> str:
    """A dict as the text of a spec, or of settings. Raises `SpecError` for what YAML text cannot express."""
    from yaml.representer import RepresenterError

    from graphspec.source.writing import write

    try:
        return write(dict(spec))
    except RepresenterError as error:
        value = error.args[1] if len(error.args) > 1 else None
        kinds = "numbers, texts, booleans, null, lists and dicts"
        message = f"{holds} {kinds}, and {'.'.join(_path_of(value, spec))} is {brief(value)}"
        name = getattr(value, "__name__", None)
        help = f"write its name: {name!r}" if name is not None else None
        help = "write `.item()` after it" if hasattr(value, "item") and not hasattr(value, "dim") else help
        raise fail("wrong-type", message, help) from None


def _path_of(wanted: object, value: Any) -> list[str]:
    """The keys that lead to an object inside nested values; none where it is not there."""
    items = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, item in items:
        if item is wanted:
            return [f"`{key}`"]
        if inner := _path_of(wanted, item):
            return [f"`{key}`", *inner]
    return []


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pauses the garbage collector: compiling makes many objects and no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def check(
    spec: str | Path,
    diagnostics: Diagnostics,
    sources: dict[str, str],
    params: Mapping[str, Any] | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    allow: Iterable[str] = (),
) -> Program | None:
    """As `compile`, but every mistake goes to `diagnostics`, and the texts that they point into to
    `sources`.
    """
    path = None if isinstance(spec, str) and "\n" in spec else Path(spec)
    text: str | bytes
    shown = "<spec>" if path is None else str(path)
    try:
        text = str(spec) if path is None else content(path)
        if path is not None and (mistake := other_file(path)) is not None:
            diagnostics.add(mistake)
            return None
    except OSError as error:
        assert path is not None
        message = f"`{shown}` cannot be read: {error.strerror or error}"
        diagnostics.add(Diagnostic("spec-missing", message, None, help=_other_specs(path)))
        return None
    choices = Choices(params or {}, preset, settings or {}, allow)
    return check_text(text, shown, path, diagnostics, sources, choices)


@_collector_paused()
def check_text(
    text: str | bytes,
    shown: str,
    path: Path | None,
    diagnostics: Diagnostics,
    sources: dict[str, str],
    choices: Choices = AS_WRITTEN,
) -> Program | None:
    """As `check`, of the text of a file: diagnostics call it `shown`, its paths are relative to `path`."""
    document = read_spec(text, shown, diagnostics, sources)
    if document is None:
        return None
    return check_document(document, path, diagnostics, sources, choices)


@_collector_paused()
def read_spec(
    text: str | bytes, shown: str, diagnostics: Diagnostics, sources: dict[str, str]
) -> Document | None:
    """The first step of `check_text`: the values of the text and their places."""
    sources[shown] = text if isinstance(text, str) else text.decode("utf-8", "replace")
    with suppress(TooManyMistakes):
        document = read(text, shown, diagnostics, argument_names)
        holes = any(each.code == "hole" for each in diagnostics)
        return None if holes else document  # what else is wrong is told when they are filled
    return None


@_collector_paused()
def check_document(
    document: Document,
    path: Path | None,
    diagnostics: Diagnostics,
    sources: dict[str, str],
    choices: Choices,
    context: Context | None = None,
) -> Program | None:
    """The second step of `check_text`: the program of a document, which the choices change. The `context` of
    a caller keeps what each node has become.
    """
    params, preset, settings = dict(choices.params), choices.preset, choices.settings
    places = settings.places if isinstance(settings, Overrides) else {}
    for key, value in settings.items():
        from graphspec.language.overriding import override

        override(document, key, value, params, diagnostics, places.get(key))
    context = context or Context(diagnostics, path)
    elaborated = None
    with suppress(TooManyMistakes):
        file = read_file(document, path.stem if path else "model", diagnostics)
        elaborated = elaborate(context, file, params, preset) if file is not None else None
        _check_augment(context, document, diagnostics)
        _fix_params(document, file, params, preset)
    sources.update(context.sources)
    if settings:
        diagnostics.amend(lambda diagnostic: in_options(diagnostic, sources))
    diagnostics.silence(sources, whole=elaborated is not None and not diagnostics.errors)
    if elaborated is None or diagnostics.errors:
        return None
    return Program(
        **{each.name: getattr(elaborated, each.name) for each in fields(elaborated)},
        parsed=document,
        path=path,
        sources=sources,
        allow=tuple(choices.allow),
        compile_text=_compile_text,
        elaborate_again=_elaborate_again,
    )


def _elaborate_again(
    document: Document, path: Path | None, params: Mapping[str, Any], symbols: frozenset[str] | None
) -> Elaborated | None:
    """Elaborates a checked document with these params; None where it is wrong with them. The `symbols`, which
    are params, keep their names in the formulas of numbers.
    """
    diagnostics = Diagnostics()
    with suppress(TooManyMistakes):
        file = read_file(document, path.stem if path else "model", diagnostics)
        if file is not None:
            return elaborate(Context(diagnostics, path, symbols), file, dict(params), None)
    return None


def _compile_text(text: str, shown: str, path: Path | None, allow: Iterable[str]) -> Program:
    """As `check_text`, but raises `SpecError`."""
    diagnostics, sources = Diagnostics(), dict[str, str]()
    program = check_text(text, shown, path, diagnostics, sources, Choices(allow=allow))
    diagnostics.raise_if_errors()
    assert program is not None
    return program


def _fix_params(document: Document, file: File | None, params: Mapping[str, Any], preset: str | None) -> None:
    """Writes the values of the params into a document, so that it means the same by itself."""
    declared = document.value.get("params")
    if isinstance(declared, dict) and file is not None:
        values = {**file.presets.get(preset or "", {}), **params}
        declared.update({name: value for name, value in values.items() if name in declared})


def _check_augment(context: Context, document: Document, diagnostics: Diagnostics) -> None:
    """Reports errors in the `augment` of features, at its entries."""
    for name, (layers, tensor) in context.augmented.items():
        path = ("data", "features", name, "augment")
        wrong = list(augmentation.misfits(layers))
        for index, message, help in wrong:
            diagnostics.add(Diagnostic("wrong-type", message, document.span((*path, index)), help=help))
        if wrong:
            continue
        findings = Diagnostics()
        program = check(augmentation.chain(layers, tensor), findings, {})
        for diagnostic in (each for each in findings.sorted() if each.severity == "error"):
            index = augmentation.step_of(diagnostic.span.line) if diagnostic.span is not None else 0
            where = path if not 0 <= index < len(layers) else (*path, index)
            moved = replace(diagnostic, span=document.span(where), label="", labels=())
            diagnostics.add(replace(moved, help=unplaced(diagnostic.help)))
        augmented = next(iter(program.outputs.values())).tensors[0] if program is not None else None
        if augmented is not None and augmented.shape != tensor.shape:
            message = f"`augment` makes {augmented} from the images, and the input `{name}` is {tensor}"
            diagnostics.add(Diagnostic("feature-misfit", message, document.span(path)))


def _other_specs(path: Path) -> str | None:
    """Which spec may be meant by a path that cannot be read: one in the folder, or next to it."""
    if (path / SPEC).exists() and (path / ENVIRONMENT).exists():
        weights = f", its weights are `{path / BEST}`" if (path / BEST).exists() else ""
        return f"it is a run's directory: its spec is `{path / SPEC}`{weights}"
    if path.is_dir():
        inside = sorted(path.glob("*.yaml"))
        return f"a spec is a file: `{inside[0]}`" if len(inside) == 1 else "a spec is a file of this folder"
    if ": " in str(path):
        return "text is a spec, and not a path, if it has a line break; a dict is one as well"
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder `{folder}`"
    runs = [each.parent for each in folder.glob(f"*/{SPEC}")] if not path.suffix else []
    names = sorted(str(each) for each in [*folder.glob("*.yaml"), *runs] if not each.name.startswith("."))
    shown = ", ".join(f"`{name}`" for name in names[:5])
    if f"{path}.yaml" in names:
        return f"did you mean `{path}.yaml`?"
    if not names and path.parent == Path() and (Path("..") / path).is_file():
        return f"did you mean `../{path}`?"
    return did_you_mean(str(path), names, f"{'runs' if runs else 'specs'} there: {shown}" if names else None)
