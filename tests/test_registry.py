"""The registry: every name is known without an import, and a name brings its file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

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
    assert public >= {cls for cls in layers() if cls.examples and not cls.__name__.startswith("_")}


def test_a_word_of_another_library_means_one_class() -> None:
    load_all()
    for kind, headers in scan().items():
        words = [(word, name) for name, header in headers.items() for word in header.also]
        assert words and dict(words) == REGISTRY[kind].synonyms and len(words) == len(dict(words))
        assert REGISTRY[kind].synonyms.keys().isdisjoint(REGISTRY[kind])


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
