"""The gate between a spec's words and Python names."""

import builtins
import keyword

from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graphspec.weights import names
from tests import processes

WORDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True) | st.sampled_from(
    sorted({*keyword.kwlist, *dir(builtins), *names.MODULE_ATTRIBUTES, "torch", "nn", "F", "self", "logits"})
)

# In a process of its own: transformers gives torch's class methods of its own.
WORDS_OF_MODULES = """
import torch
from torch import nn
print(*(word for word in (*dir(nn.Module()), *nn.Module.__annotations__) if not word.startswith("__")))
"""


def test_what_modules_have_is_known() -> None:
    words = processes.run(["-c", WORDS_OF_MODULES])
    assert set(words.stdout.split()) == names.MODULE_ATTRIBUTES


@given(WORDS)
def test_an_attribute_hides_nothing_of_a_module(word: str) -> None:
    name = names.attribute(word)
    assert name.isidentifier() and not keyword.iskeyword(name)
    assert not hasattr(nn.Module(), name)
    assert name in (word, f"{word}_", f"{word}__")


@given(WORDS)
def test_a_variable_hides_nothing_that_source_calls(word: str) -> None:
    name = names.local(word)
    assert name.isidentifier() and not keyword.iskeyword(name)
    assert name not in names.RESERVED and not hasattr(builtins, name)


@given(st.text(max_size=20))
def test_a_class_name_is_one(text: str) -> None:
    name = names.Namespace(names.RESERVED).claim(names.class_name(text))
    assert name.isidentifier() and name.isascii() and name not in names.RESERVED


@given(st.lists(WORDS))
def test_names_are_handed_out_once(words: list[str]) -> None:
    space = names.Namespace()
    claimed = [space.claim(word) for word in words]
    assert len(set(claimed)) == len(claimed)
