"""Legal, unique Python names: the one gate between a spec's words and emitted source."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection

_ATTRIBUTES = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double
dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu
load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters
register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to
to_empty train training type xpu zero_grad
_apply _backward_hooks _backward_pre_hooks _buffers _call_impl _compiled_call_impl _forward_hooks
_forward_hooks_always_called _forward_hooks_with_kwargs _forward_pre_hooks _forward_pre_hooks_with_kwargs
_get_backward_hooks _get_backward_pre_hooks _get_name _is_full_backward_hook _load_from_state_dict
_load_state_dict_post_hooks _load_state_dict_pre_hooks _maybe_warn_non_full_backward_hook _modules
_named_members _non_persistent_buffers_set _parameters _register_load_state_dict_pre_hook
_register_state_dict_hook _replicate_for_data_parallel _save_to_state_dict _slow_forward _state_dict_hooks
_state_dict_pre_hooks _version _wrapped_call_impl
"""
MODULE_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
"""The attributes of `nn.Module`: a submodule of such a name would hide one. A test compares them with torch.
"""

RESERVED = frozenset(
    [
        *("math", "torch", "nn", "F", "Tensor", "Callable", "Any", "partial", "self", "logits", "index"),
        *("init_weights", "initialize", "checkpoint", "functional_call"),
        *("I", "O", "l"),
        *keyword.kwlist,
        *dir(builtins),
    ]
)
"""Names that emitted source calls or may call, and those that look like a digit: no variable, function or
class may have one.
"""
UNCALLED = frozenset(
    ["bytes", "dir", "filter", "format", "hash", "help", "id", "input", "object", "open", "set"]
)
"""Names of Python that a `forward` never calls, so that its arguments may have them."""


CALLED = frozenset(
    ["abs", "float", "int", "len", "max", "min", "range", "round", "str", "sum", "super", "tuple"]
)
"""Names of Python that a constructor may call."""


def attribute(word: str) -> str:
    """The attribute for a node's name: the name, with one more underscore if Python or nn.Module uses what is
    before its underscores, so that each name has another. The modules of torch.export read their weights into
    variables, of which `self` must be none. Python renames what begins with two underscores, but for what
    ends in two.
    """
    if word.startswith("__"):
        return f"{word}__"
    stem = word if word in MODULE_ATTRIBUTES else word.rstrip("_")
    kept = stem in MODULE_ATTRIBUTES or keyword.iskeyword(stem) or stem == "self"
    return f"{word}_" if kept else word


def local(word: str, helpers: Collection[str] = ()) -> str:
    """The variable or function for a name: not a keyword, and not a name that the source calls, such as a
    helper.
    """
    word = re.sub(r"\W", "_", word)
    kept = word in RESERVED or word.rstrip("_") in RESERVED or word in helpers
    return f"{word}_" if kept else word


def param(word: str, helpers: Collection[str] = ()) -> str:
    """The argument of a constructor for a param's name: itself, but for what the constructor may call."""
    free = (
        hasattr(builtins, word) and word not in CALLED and not keyword.iskeyword(word) and word not in helpers
    )
    return word if free else local(word, helpers)


def argument(word: str, helpers: Collection[str] = ()) -> str:
    """The argument of `forward` for an input's name."""
    return word if word in UNCALLED and word not in helpers else local(word, helpers)


def class_name(word: str) -> str:
    """`conv_norm` is `ConvNorm`; anything else becomes an identifier."""
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", word) if part]
    name = "".join(part[0].upper() + part[1:] for part in parts) or "Model"
    return f"Model{name}" if name[0].isdigit() else name


def constant_name(word: str) -> str:
    """`llama3_8b` is `LLAMA3_8B`; anything else becomes an identifier."""
    name = re.sub(r"\W", "_", word).upper()
    return f"PRESET_{name}" if name[:1].isdigit() else name


def function_name(word: str) -> str:
    """`ConvNorm` is `conv_norm`, `rk4` stays; anything else becomes an identifier."""
    if re.fullmatch("[a-z][a-z0-9_]*", word):
        return word
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", word)
    name = "_".join(part.lower() for part in parts) or "block"
    return f"block_{name}" if name[0].isdigit() else name


class Namespace:
    """Hands out names, each once."""

    def __init__(self, taken: frozenset[str] | set[str] = frozenset()):
        self.taken = set(taken)

    def claim(self, word: str) -> str:
        """`word`, or `word_2`, `word_3`... when it is taken."""
        name, number = word, 1
        while name in self.taken:
            number += 1
            name = f"{word}_{number}" if word[-1:].isdigit() or "_" in word else f"{word}{number}"
        self.taken.add(name)
        return name
