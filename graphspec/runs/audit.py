"""Audits a run from elsewhere: the files that it reads, the code that it would need, whether its files are
what it claims.

Nothing of it is believed, and no code of it is run: its spec is compiled, its weights are read as tensors,
and its files for engines are compared with the module on numbers that are drawn afresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from graphspec import custom
from graphspec.data.opening import named
from graphspec.data.remote import is_remote
from graphspec.diagnostics import SpecError
from graphspec.files.reading import digest, is_within, read_text
from graphspec.files.remembered import is_signed
from graphspec.files.run_files import ENGINES_FOLDER, EXPORT_ENDING, OWN, SOURCE, WEIGHTS
from graphspec.runs.directory import RunFiles, holds_run, list_runs
from graphspec.runs.run import Run
from graphspec.version import __version__

Verdict = Literal["ok", "note", "wrong"]
RUNS_CODE = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".so", ".dll", ".dylib", ".py")
"""Endings of files that may run code where something opens them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about a part of a run."""

    part: str
    verdict: Verdict
    said: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def audits(path: Path, allow: Sequence[str] = ()) -> dict[Path, list[Finding]]:
    """The findings of a run, or of each run in a directory. Raises `SpecError` (run-missing)."""
    inside = [] if holds_run(path) else sorted(row.path for row in list_runs(path))
    found = {}
    for each in inside or [path]:
        try:
            found[each] = list(audit(Run(each, allow=allow)))
        except SpecError as error:
            if not inside:
                raise
            found[each] = [Finding("run", "wrong", _first(error))]
    return found


def audit(run: Run) -> Iterator[Finding]:
    """The findings of a run in a directory, part by part."""
    try:
        program = run.program
    except SpecError as error:
        yield Finding("spec", "wrong", f"it does not compile: {_first(error)}")
        return
    yield Finding("spec", "ok", f"it compiles: {program.summary().total_params:,} parameters")
    yield from _code(run)
    yield from _data(run)
    if isinstance(run.files, RunFiles):
        yield _source(run)
    yield from _weights(run)
    yield from _engines(run)
    yield from _strange(run)


def _first(error: SpecError) -> str:
    return error.diagnostics[0].message


def _failed(part: str, error: SpecError) -> Finding:
    """The finding about a part that the module cannot be made for."""
    if error.diagnostics[0].code == "module-not-allowed":
        return Finding(part, "note", "it is not looked at: that needs the code above")
    return Finding(part, "wrong", _first(error))


def _code(run: Run) -> Iterator[Finding]:
    named_code = [*custom.nodes(run.program), *custom.objectives(run.program)]
    if not named_code:
        yield Finding("code", "ok", "it needs none but graphspec's")
    for each in named_code:
        said = f"`{each.path}` would run: read it; nothing runs without `--allow {each.top}`"
        yield Finding("code", "note", said)


def _data(run: Run) -> Iterator[Finding]:
    """Where its data and its first weights lie."""
    files = run.files
    names = named(run.program)
    about = files.about() if isinstance(files, RunFiles) else None
    mine = about is not None and is_signed(about.model_dump(), names.values())
    if about is not None:
        said = (
            "you have begun it on this machine"
            if mine
            else "another one has: what it says gives no permission"
        )
        yield Finding("origin", "ok" if mine else "note", f"{said}; graphspec {_version(run)}")
    for key, name in names.items():
        if is_remote(name):
            yield Finding(
                "data", "note", f"`{key}` is in object storage, `{name}`: read with `--allow-url` alone"
            )
        elif not is_within(run.path / name, run.path):
            yield Finding("data", "wrong", f"`{key}` leads out of the run: `{name}`, which is refused")
        else:
            yield Finding("data", "ok", f"`{key}` is `{name}`")
    if about is not None and about.data and not mine:
        yield Finding("data", "note", f"it names `{about.data}`, which is not read")
    if about is not None and about.synthetic:
        yield Finding("data", "note", "it learned from synthetic data: its results mean nothing")


def _version(run: Run) -> str:
    from graphspec.files.reading import parse_json
    from graphspec.files.run_files import ENVIRONMENT

    known = parse_json(read_text(run.path / ENVIRONMENT))
    return str(known.get("graphspec", "unknown"))[:40] if isinstance(known, dict) else "unknown"


def _source(run: Run) -> Finding:
    """Whether `model.py` is what the spec emits."""
    path = run.path / SOURCE
    try:
        written = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        return Finding(SOURCE, "note", f"it cannot be read: {getattr(error, 'strerror', None) or error}")
    if written == run.program.source:
        return Finding(SOURCE, "ok", "it is what the spec emits")
    version = _version(run)
    if version != __version__:
        return Finding(
            SOURCE, "note", f"graphspec {__version__} emits another text than {version} did: read it"
        )
    return Finding(SOURCE, "wrong", "it is not what the spec emits: somebody has edited one of them")


def _weights(run: Run) -> Iterator[Finding]:
    """Whether each file of weights is whole, and has the weights of the spec."""
    for word, name in WEIGHTS.items():
        if not (run.path / name).is_file():
            continue
        try:
            other = run.again(weights=word)
            other.module()
        except SpecError as error:
            yield _failed(name, error)
            continue
        yield Finding(
            name, "ok", f"its weights are those of the spec; SHA-256 {digest(run.path / name)[:16]}"
        )


def _engines(run: Run) -> Iterator[Finding]:
    """Whether what is kept for engines computes what the module does."""
    from graphspec.runs.agreement import compare, trials
    from graphspec.runs.engines import Interface, OnnxEngine, TorchEngine
    from graphspec.runs.fastest import usual_sizes
    from graphspec.train import device as devices

    folder = run.path / ENGINES_FOLDER
    for file in sorted(folder.glob(f"*{EXPORT_ENDING}")) if folder.is_dir() else ():
        part = f"{ENGINES_FOLDER}/{file.name}"
        if not file.is_file():  # a pipe may wait for ever
            yield Finding(part, "wrong", "it is not a file")
            continue
        if find_spec("onnxruntime") is None:
            yield Finding(part, "note", "it is not compared: onnxruntime is not installed")
            continue
        word = next((word for word, name in WEIGHTS.items() if Path(name).stem == file.stem), None)
        if word is None:
            yield Finding(part, "note", "it is of weights that are not in the run")
            continue
        try:
            other = run.again(weights=word)
            base = TorchEngine(other.program, other.inference("cpu")[1], devices.choose("cpu"))
            engine = OnnxEngine(Interface.of(other.program), file, 1)
            worst = compare(other.program, base, engine, trials(other.program, 2, usual_sizes(other)))
        except SpecError as error:
            yield _failed(part, error)
        except Exception as error:  # what onnxruntime says of a file that it does not take
            yield Finding(part, "wrong", f"onnxruntime does not run it: {str(error).splitlines()[0][:120]}")
        else:
            yield Finding(part, "ok", f"it computes what the module does, to {worst:.1e}")


def _strange(run: Run) -> Iterator[Finding]:
    """Files that no run writes."""
    if not isinstance(run.files, RunFiles):
        return
    about = run.files.about()
    known = {*OWN, *about.read, *about.written, "weights"}
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path)
        if path.is_symlink():
            yield Finding("files", "wrong", f"`{name}` is a link, and no run has one")
        elif path.is_file() and path.suffix.lower() in RUNS_CODE and str(name) not in (SOURCE, *known):
            yield Finding(
                "files", "wrong", f"`{name}` may run code where something opens it; graphspec does not"
            )
        elif path.is_file() and name.parts[0] not in known and not any(str(name) == each for each in known):
            yield Finding("files", "note", f"`{name}` does not belong to a run")
