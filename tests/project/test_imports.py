"""The rooms of the compiler: which may import which, and that the front half never needs torch."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import graphspec

PACKAGE = Path(graphspec.__file__).parent

ALLOWED = {
    "": "version",
    "__main__": "cli",
    "cli": "compare compiler contract convert custom data diagnostics emit export files fixing fold "
    "formatting generate language migrate objectives plot reference runs serve server source train "
    "transfer tune version view weights",
    "compare": "contract graph reference tensor train view",
    "program": "custom data diagnostics elaborated emit fold passes plot reference source tensor traced "
    "train version view",
    "compiler": "data declarations diagnostics elaborate elaborated files language program source",
    "contract": "diagnostics settings tensor traced",
    "convert": "compiler contract custom diagnostics files graph language objectives program settings source "
    "tensor train transfer version weights",
    "custom": "contract diagnostics elaborated graph objectives weights",
    "data": "diagnostics elaborated files language objectives settings source tensor",
    "declarations": "contract diagnostics expressions language settings source",
    "diagnostics": "",
    "elaborate": "contract data declarations diagnostics elaborated expressions files generate graph "
    "language objectives passes settings source std tensor train tune weights traced",
    "emit": "contract custom diagnostics elaborated expressions files fold graph passes tensor transfer "
    "version weights traced",
    "export": "contract data diagnostics elaborated files objectives tensor version weights",
    "expressions": "diagnostics traced",
    "files": "diagnostics",
    "fixing": "compiler custom data diagnostics elaborate language program source tune weights",
    "fold": "contract graph passes tensor weights",
    "formatting": "diagnostics source",
    "generate": "contract data diagnostics program settings tensor weights",
    "graph": "contract diagnostics expressions tensor traced",
    "language": "diagnostics settings source tensor train tune version",
    "layers": "contract diagnostics settings tensor traced",
    "migrate": "compare compiler contract convert data diagnostics elaborated fold graph reference runs "
    "tensor train transfer weights",
    "objectives": "diagnostics settings tensor",
    "ops": "contract layers tensor traced",
    "passes": "contract diagnostics graph tensor",
    "plot": "diagnostics elaborated graph objectives source tensor view",
    "elaborated": "diagnostics graph language objectives tensor train",
    "reference": "contract data diagnostics generate language objectives settings source std train tune",
    "runs": "compare compiler custom data diagnostics elaborated emit export files fold generate objectives "
    "program source tensor train version weights",
    "serve": "data diagnostics generate runs settings tensor version",
    "server": "contract data diagnostics expressions files fixing formatting generate graph language "
    "objectives program reference settings source std tensor train tune version view weights",
    "settings": "diagnostics tensor",
    "std": "contract diagnostics source",
    "source": "diagnostics expressions",
    "tensor": "",
    "traced": "tensor",
    "train": "contract custom data diagnostics elaborated emit expressions files graph objectives passes "
    "settings source tensor version weights",
    "transfer": "compare contract diagnostics expressions files graph language settings source tensor train "
    "weights",
    "tune": "compiler data diagnostics files objectives program settings train",
    "version": "",
    "view": "contract diagnostics elaborated graph tensor train weights",
    "weights": "contract diagnostics elaborated files graph passes train",
}
"""For each room, a file or a folder of the package, the rooms that it may import while it runs."""

SETTINGS_ONLY = {
    "train": ("graphspec.train.config",),
    "data": (
        "graphspec.data.config",
        "graphspec.data.features",
        "graphspec.data.files",
        "graphspec.data.mixing",
    ),
    "tune": ("graphspec.tune.config",),
    "generate": ("graphspec.generate.config", "graphspec.generate.loop_config"),
}
"""Of these rooms the front half reads the settings, and nothing that runs."""

TORCH = (
    *("convert", "custom.adapting", "data", "emit.library", "emit.load", "emit.proof", "export"),
    *("files.tensors", "fold.weights", "generate", "migrate", "runs", "train", "transfer"),
)
"""The rooms, and files of others, that may import torch: they run what was compiled."""
IN_FORMULAS = ("objectives", "train.config")
"""Those that may import it inside of functions alone: settings, with the formulas beside them."""


def room(module: str) -> str:
    """`elaborate` for `graphspec.elaborate.body`; "" for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def files() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        yield "" if first == "__init__" else first, path


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """The tree of a file, parsed once for all tests."""
    return tuple(ast.walk(ast.parse(path.read_text())))


@pytest.fixture(scope="module", autouse=True)
def trees() -> Iterator[None]:
    """The trees are large, and go when the last test here has read them; until then all of them stay."""
    gc.disable()
    yield
    nodes.cache_clear()
    gc.enable()


@cache
def imports(path: Path, typing: bool = False) -> tuple[str, ...]:
    """The modules that a file imports while it runs, the local ones of its functions among them; with
    `typing` those that only its types need, too.
    """
    typing_only = {
        inner
        for node in nodes(path)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: list[str] = []
    package = ["graphspec", *path.relative_to(PACKAGE).parts[:-1]]
    for node in nodes(path):
        if node in typing_only and not typing:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            submodules = [f"{module}.{alias.name}" for alias in node.names if _is_module(module, alias.name)]
            found += submodules or [module]
    return tuple(found)


def _is_module(package: str, name: str) -> bool:
    folder = PACKAGE.joinpath(*package.split(".")[1:]) if package.startswith("graphspec") else None
    return folder is not None and ((folder / f"{name}.py").exists() or (folder / name).is_dir())


def modules() -> dict[str, Path]:
    """The package's files by the names of their modules."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ["graphspec", *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def cyclic(edges: dict[str, set[str]]) -> set[str]:
    """The names that can be reached from themselves."""
    left = edges
    while ends := {name for name, targets in left.items() if targets.isdisjoint(left)}:
        left = {name: targets for name, targets in left.items() if name not in ends}

    def reached(name: str) -> set[str]:
        found, work = set[str](), [name]
        while work:
            new = (left[work.pop()] & left.keys()) - found
            found |= new
            work += new
        return found

    return {name for name in left if name in reached(name)}


def test_a_cycle_is_found() -> None:
    assert cyclic({"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": {"e"}, "e": set()}) == {"b", "c"}


def test_no_file_needs_another_that_needs_it() -> None:
    """Imports for types alone count, too: who reads one file must not have to read both."""
    found = modules()
    edges = {
        name: {target for target in imports(path, typing=True) if target in found} - {name}
        for name, path in found.items()
    }
    assert not cyclic(edges)


def test_the_table_names_every_room() -> None:
    assert {name for name, _ in files()} <= ALLOWED.keys()


def test_rooms_import_only_what_they_may() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for name, path in files()
        for module in imports(path)
        if module.split(".")[0] == "graphspec"
        and room(module) != name
        and room(module) not in ALLOWED[name].split()
        and module != "graphspec"
    ]
    assert wrong == []


def test_no_room_may_import_what_it_does_not() -> None:
    used = {(name, room(module)) for name, path in files() for module in imports(path)}
    idle = [(name, word) for name, words in ALLOWED.items() for word in words.split()]
    assert [pair for pair in idle if pair not in used] == []


MUTUAL = {
    "elaborated train": "the settings of `train` without the section: few checks import them",
    "train weights": "the settings of adapters and of what is frozen",
}
"""The pairs of rooms that import each other, and why one does; the list only gets shorter."""


def test_no_more_rooms_import_each_other() -> None:
    edges = {
        (name, room(module))
        for name, path in files()
        for module in imports(path)
        if module.startswith("graphspec.") and room(module) != name
    }
    assert {f"{a} {b}" for a, b in edges if a < b and (b, a) in edges} == MUTUAL.keys()


LATER = (
    *(
        "cli",
        "generate",
        "program",
        "compiler",
        "convert",
        "data",
        "export",
        "fixing",
        "migrate",
        "runs",
        "serve",
        "server",
        "train",
        "transfer",
    ),
    "tune",
)


def test_the_front_half_reads_only_the_settings_of_training_and_data() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for name, path in files()
        if name not in LATER
        for module in imports(path)
        if room(module) in SETTINGS_ONLY and not module.startswith(SETTINGS_ONLY[room(module)])
    ]
    assert wrong == []


def test_torch_is_imported_by_what_runs_alone() -> None:
    wrong = [
        str(path.relative_to(PACKAGE))
        for name, path in modules().items()
        if not name.removeprefix("graphspec.").startswith((*TORCH, *IN_FORMULAS))
        for module in imports(path)
        if module.split(".")[0] == "torch"
    ]
    assert wrong == []


def test_settings_are_read_without_torch() -> None:
    """Also where torch is there: it takes ten times as long to import as a spec to check."""
    settings = (*IN_FORMULAS, "data.config")
    places = [name for name in modules() if name.removeprefix("graphspec.").startswith(settings)]
    code = f"import sys, {', '.join(places)}; assert not {{'torch', 'numpy'}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


WITHOUT_TORCH = """
import sys
for name in ("torch", "keras", "pandas", "sklearn"):
    sys.modules[name] = None
import graphspec
program = graphspec.compile('''
inputs: {image: {shape: [28, 28, 1]}, length: {shape: [n, 4]}}
blocks:
  block:
    params: {filters: required}
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: $filters, kernel_size: 3}
      norm: {layer: BatchNormalization}
nodes:
  tower: {block: block, from: image, repeat: {filters: [4, 8]}}
  flat: {layer: GlobalAveragePooling2D}
  code: {layer: LSTM, from: length, units: 8}
  sum: {merge: add, from: [flat, code]}
outputs: {sum: {loss: mse, metrics: [mae]}}
train: {optimizer: adam}
data: {train: digits.npz}
''')
assert program.graph.ops and program.minimum_sizes == {"n": 1}
program.source
str(program.summary())
from graphspec.plot import plot
for suffix in (".svg", ".html", ".mmd"):
    plot(program, suffix)
"""


def test_a_spec_compiles_and_is_drawn_without_torch() -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr


def test_no_file_takes_private_names_of_another() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {alias.name}"
        for _, path in files()
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("graphspec")
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert wrong == []


def test_a_class_name_stands_once() -> None:
    """But for what emitted files carry, other programs, and metrics that Keras calls as their losses."""
    found: dict[str, list[str]] = {}
    for _, path in files():
        place = str(path.relative_to(PACKAGE))
        if not place.startswith("emit/library/") and place != "objectives/loss_metrics.py":
            for node in nodes(path):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(place)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_one_place_prints() -> None:
    """`terminal` writes out control characters that others chose; what files are printed to has none."""
    printing = ("print", "typer.echo", "sys.stdout.write")
    found = {
        str(path.relative_to(PACKAGE))
        for _, path in files()
        if path.parent.name != "library"
        for node in nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in printing
    }
    assert found == {"diagnostics/terminal.py"}


OF_THE_PACKAGE = {
    *("cli/new.py", "settings/headers.py", "convert/pytorch/huggingface.py", "emit/library_source.py"),
    *("plot/html.py", "reference/codes.py", "serve/app.py", "server/tools.py", "std/__init__.py"),
    "transfer/rules.py",
}
"""What opens files of the package itself."""
KNOWN_TO_BE_FILES = {
    *("cli/outputs.py", "cli/importing.py"),  # which `need_no_device` or `is_file` have seen
    *("convert/archive.py", "data/arrays.py"),  # members of an archive, which `opened` or `find` has seen
    *("data/processes.py", "data/writers.py"),  # files of this process
    *("data/encoders/images.py", "data/memory.py", "tune/fork_server.py"),
    "train/resume.py",  # `RunDirectory.open`
}


def test_one_place_opens_files_that_others_have_named() -> None:
    """`files/reading.py`: a pipe may wait for ever, a device have no end."""
    opening = ("open", "read_text", "read_bytes")
    found = {
        place
        for _, path in files()
        if not (place := str(path.relative_to(PACKAGE))).startswith(("files/", "emit/library/"))
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "open")
            or (isinstance(node.func, ast.Attribute) and node.func.attr in opening)
        )
    }
    assert found == OF_THE_PACKAGE | KNOWN_TO_BE_FILES


def test_only_what_then_takes_its_place_is_written() -> None:
    """Files appear whole, and nothing is written through a link: `files/whole.py` makes the `temporary`."""
    wrong = [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node.func)}"
        for name, path in files()
        if name != "files"
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("write_text", "write_bytes")
        and not {each.id for each in ast.walk(node.func) if isinstance(each, ast.Name)}
        & {"temporary", "text"}
    ]
    assert wrong == []


def test_no_function_is_longer_than_sixty_lines() -> None:
    """Without its signature. Commands are left out: much of them is what their options say."""
    long = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for room, path in files()
        if room != "cli"
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.body[0].lineno >= 60
    ]
    assert long == []


def test_no_room_imports_a_name_that_one_of_its_files_has() -> None:
    """Whoever imports that file later would put it in the place of the name."""
    hidden = []
    for path in PACKAGE.rglob("__init__.py"):
        inside = {other.stem for other in path.parent.glob("*.py")}
        inside |= {other.parent.name for other in path.parent.glob("*/__init__.py")}
        home = ".".join(("graphspec", *path.parent.relative_to(PACKAGE).parts))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module != home:
                names = {alias.asname or alias.name for alias in node.names} & inside
                hidden += [f"{home}: {name}" for name in names if node.module != f"{home}.{name}"]
    assert hidden == []
