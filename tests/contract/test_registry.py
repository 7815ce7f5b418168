"""The registry: every name is known without an import, and a name brings its file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from inspect import getsource
from pathlib import Path

import graphspec
from graphspec.contract import REGISTRY, load_all
from graphspec.contract.layer import Layer
from graphspec.contract.registry import LayerClasses, scan


def layers(cls: type[Layer] = Layer) -> Iterator[type[Layer]]:
    """All classes of the package below one, abstract ones too."""
    for child in cls.__subclasses__():
        if child.__module__.startswith("graphspec."):
            yield child
        yield from layers(child)


def test_the_headers_say_what_the_classes_say() -> None:
    load_all()
    registered = {(kind, name): cls for kind, classes in REGISTRY.items() for name, cls in classes.items()}
    headers = {(kind, name): header for kind, found in scan().items() for name, header in found.items()}
    found = {place: header.module for place, header in headers.items()}
    assert found == {place: cls.__module__ for place, cls in registered.items() if cls in set(layers())}
    assert all((cls.kind, cls.spec_name) == place for place, cls in registered.items())
    public = {cls for cls in layers() if registered.get((cls.kind, cls.spec_name)) is cls}
    for cls in {*layers()} - public:  # and no other class is left out
        assert "abstract=True" in getsource(cls).partition('"""')[0], cls


def test_a_word_of_another_library_means_one_class() -> None:
    load_all()
    for kind, headers in scan().items():
        words = [(word, name) for name, header in headers.items() for word in header.also]
        assert words and dict(words) == REGISTRY[kind].synonyms and len(words) == len(dict(words))
        assert REGISTRY[kind].synonyms.keys().isdisjoint(REGISTRY[kind])


WORD = re.compile(r"(?<!nn\.)\b[A-Z]\w*")
STAGES = (
    *("elaborate", "passes", "fold", "emit", "plot", "train"),
    *(
        "elaborated.py",
        "program.py",
        "graph.py",
        "compiler.py",
        "summary.py",
        "costs.py",
        "load.py",
        "weights.py",
    ),
)


@cache
def layer_words() -> frozenset[str]:
    """The names of layers, and what they are without their rank."""
    names = {*REGISTRY["layer"]}
    return frozenset((names | {re.sub(r"[123]D.*", "", name) for name in names}) - {""})


def names_in(source: str) -> set[str]:
    """The layers that the text of a file names, but for docstrings and what PyTorch calls so."""
    if not any(word in source for word in layer_words()):
        return set()
    nodes = [*ast.walk(ast.parse(source))]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]
    return {word for text in texts for word in WORD.findall(text)} & layer_words()


def test_no_stage_names_a_layer() -> None:
    package = Path(graphspec.__file__).parent
    files = [
        path
        for stage in STAGES
        for path in [*(package / stage).rglob("*.py"), package / stage]
        if path.is_file()
    ]
    found = {str(path): names_in(path.read_text(encoding="utf-8")) for path in files}
    assert len(files) > 60 and {path: names for path, names in found.items() if names} == {}
    source = 'x = f"put {{layer: Cropping{axes}}} behind"\ny = "nn.Softmax"\n"""Dense"""\n'
    assert names_in(source) == {"Cropping"} and names_in(r'x = "\nDense"') == {"Dense"}


def test_a_name_imports_its_family_and_no_other() -> None:
    code = (
        "import sys\n"
        "from graphspec.contract import REGISTRY, load_all\n"
        "rooms = ('graphspec.layers.', 'graphspec.ops.')\n"
        "def loaded(): return {name for name in sys.modules if name.startswith(rooms)}\n"
        "before = loaded()\n"
        "for classes in REGISTRY.values():\n"
        "    assert len(list(classes)) == len(classes) > 5 and 'nothing' not in classes\n"
        "    assert classes.get('nothing') is None\n"
        "assert 'Flatten' in REGISTRY['layer'] and 'add' in REGISTRY['op']\n"
        "assert loaded() == before, loaded() - before\n"
        "assert REGISTRY['op']['add'].spec_name == 'add'\n"
        "assert 'graphspec.ops.arithmetic' in loaded()\n"
        "assert 'graphspec.layers.recurrent' not in loaded()\n"
        "assert len(REGISTRY['layer'].items()) == len(list(REGISTRY['layer'].values()))\n"
        "assert 'graphspec.layers.recurrent' in loaded()\n"
        "load_all()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_class_from_elsewhere_joins() -> None:
    classes: LayerClasses[type[Layer]] = LayerClasses({})
    classes.add("Mine", Layer, "Its Theirs")
    assert dict(classes) == {"Mine": Layer} and classes.synonyms == {"Its": "Mine", "Theirs": "Mine"}
