"""A layer, merge or op found by its name, and its arguments read; each mistake reported at its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.activations import ACTIVATIONS
from graphspec.contract.keras_names import ALIASES, REFUSED
from graphspec.contract.layer import Layer
from graphspec.contract.registry import Kind
from graphspec.contract.wrapper import Wrapper
from graphspec.declarations.nodes import layer_of_call
from graphspec.diagnostics import Label, Remedy, akin, become, delete, meant, nearest, renamed
from graphspec.diagnostics import certain as spelled
from graphspec.diagnostics.foreign_terms import (
    BOTH_WAYS,
    LAYERS,
    NESTS,
    OF_ACTIVATION,
    RECURRENT,
    SIZE,
    as_in_keras,
    bare,
)
from graphspec.elaborate.instance import NodeInstance
from graphspec.elaborate.sizes import named_sizes
from graphspec.graph import Value
from graphspec.language.schema import NODE_KEYS
from graphspec.settings import Problem, SettingError, a, show, unquoted, validate
from graphspec.traced import attached, formulas_in, plain


def layer_class(node: NodeInstance, kind: Kind, name: Any) -> tuple[type[Layer] | None, bool]:
    """The class of a name, and whether the name is exact. A wrong name is reported; it has a class if there
    is no doubt which was meant.
    """
    known = REGISTRY[kind]
    if isinstance(name, str) and (name in known or (kind == "layer" and name in ALIASES)):
        return known[ALIASES.get(name, name)], True
    if str(name) in REFUSED[kind]:
        reason, instead = REFUSED[kind][str(name)]
        message = f"`{name}` is not {a(kind)} of a spec: {reason}"
        node.error("not-supported", node.span_of(kind), message, instead)
        return None, False
    word = bare(str(name))
    near = word if word in known else nearest(word, known, known.synonyms)
    certain = near is not None and (_letters(near) == _letters(word) or known.synonyms.get(word) == near)
    help = None if certain else _elsewhere(node, kind, word)
    if help is None and near is not None:
        same = not akin(word, near) and (certain or spelled(word, near, known))
        help = meant(near, str(name), same)
        if certain:
            help = _of_call(node, kind, near, str(name)) or help
    elif help is None and kind == "merge" and str(name) in SIGNS:
        help = meant(SIGNS[str(name)], str(name), True)
    elif help is None and re.search(r"[-+*/@ ]", str(name)):
        help = f"a formula is a form of its own: {{compute: {name}}}"
    if help is None and kind == "layer" and _NETWORK.match(word):
        imported = f"`graphspec import torch torchvision.models:{word.lower()}`"
        help = f"a network is a spec of its own: {imported}, or `import keras`"
    if help is None and kind == "layer" and re.search(r"(?i)transformer|encoder|decoder|bert|gpt", word):
        help = LAYERS["Transformer"]
    help = help or (f"one of: {', '.join(known)}" if kind == "merge" else "`graphspec layers` lists them all")
    node.error(f"unknown-{kind}", node.span_of(kind), f"unknown {kind} `{name}`", help)
    return (known[near] if certain and near is not None else None), False


_NETWORK = re.compile(
    r"(?i)(?:resnet|resnext|vgg|efficientnet|mobilenet|densenet|inception|xception|convnext|alexnet)\w*$"
)
"""Names of published networks."""


def _of_call(node: NodeInstance, kind: Kind, near: str, text: str) -> str | None:
    """The remedy for a call such as `Dense(units=32)`: its arguments are keys of the node. So are those that
    PyTorch has in another order, or counts otherwise.
    """
    listed = next((node.written[key] for key in NESTS if isinstance(node.written.get(key), list)), ())
    if listed and "(" not in text:
        text = f"{text}({', '.join(map(repr, listed))})"
    elif "(" not in text:
        counted = as_in_keras(text, node.written)
        if counted is node.written:
            return None
        words = f"write {{layer: {near}, momentum: {counted['momentum']}}}: PyTorch counts the new part"
        return become({**counted, "layer": near}, words, around=True, drops=True)
    call = layer_of_call(text) if kind == "layer" else None
    if call is None:
        return f"write arguments next to the name: {{{kind}: {near}, ...}}"
    call["layer"] = near if call["layer"] == near else call["layer"]
    shown = ", ".join(f"{key}: {unquoted(item)}" for key, item in {**call, "layer": near}.items())
    words = f"write arguments next to the name: {{{shown}}}" if len(call) > 1 else f"write {{{shown}}}"
    rest = {key: item for key, item in node.written.items() if key != "layer" and item is not listed}
    return become({**call, **rest}, words, around=True, safe=rest.keys().isdisjoint(call))


SIGNS = {"+": "add", "*": "multiply", "-": "subtract"}
"""Merges by their signs."""


def _letters(word: str) -> str:
    return word.replace("_", "").lower()


def _elsewhere(node: NodeInstance, kind: Kind, word: str) -> str | None:
    """The remedy for a word that is not a layer, but something else in a spec."""
    if word == "Lambda" and (formula := _of_lambda(node)) is not None:
        return formula
    if word in LAYERS and word not in node.body.file.blocks:
        heads = next((node.written[key] for key in _HEADS if type(node.written.get(key)) is int), "...")
        return LAYERS[word].replace("heads: ...", f"heads: {heads}")
    if word in node.body.file.blocks:
        return renamed(
            node.written, kind, "block", f"`{word}` is a block of this file: write {{block: {word}}}"
        )
    if any(word in body.declared.shared for body in (node.body, node.body.of_file or node.body)):
        return renamed(node.written, kind, "call", f"`{word}` is a shared layer: write {{call: {word}}}")
    activation = next((each for each in ACTIVATIONS if _letters(each) == _letters(word)), None)
    if kind == "layer" and activation is not None:
        beside = f"`activation: {activation}` on the layer before"
        words = f"write {{layer: {OF_ACTIVATION}, activation: {activation}}}, or {beside}"
        new = {"layer": OF_ACTIVATION, "activation": activation}
        return become(
            {**new, **{key: item for key, item in node.written.items() if key not in new}}, words, around=True
        )
    for other in ("merge", "op", "layer"):
        classes = REGISTRY[other]
        name = next(
            (each for each in classes if _letters(each) == _letters(word)), classes.synonyms.get(word)
        )
        if other != kind and name is not None:
            words = f"`{name}` is {a(f'`{other}`')}: write {{{other}: {name}}}"
            new = {
                (other if key == kind else key): name if key == kind else item
                for key, item in node.written.items()
            }
            return become(new, words, around=True)
    return None


def _of_lambda(node: NodeInstance) -> str | None:
    """The remedy for a layer of Python: its expression as a formula over what the node reads."""
    texts = (item for item in node.written.values() if isinstance(item, str))
    found = next(filter(None, (re.fullmatch(r"\s*lambda (\w+)\s*:\s*(.+)", text) for text in texts)), None)
    if found is None:
        return None
    first = next((bound.value for bound in node.inputs.all()), None)
    source = first.name if isinstance(first, Value) and first.name.isidentifier() else found[1]
    formula = re.sub(rf"\b{found[1]}\b", source, found[2])
    formula = re.sub(r"\b(?:tf|K|np|torch|F|keras\.ops|ops)\.(?:math\.|nn\.)?(?=\w+\()", "", formula)
    return f"write its computation as a formula, {{compute: {unquoted(formula)}}}"


def read_layer(
    node: NodeInstance, cls: type[Layer], arguments: dict[str, Any], failed: Collection[str] = ()
) -> Layer | None:
    """The layer with these arguments; each mistake is reported at the argument. None if an argument has
    `failed`, whose absence is not reported.
    """
    what = f"{cls.kind} `{cls.spec_name}`" if cls.kind != "layer" else f"`{cls.spec_name}`"
    if not NESTS.isdisjoint(arguments):
        failed = {*failed, *_nested(node, cls, what, arguments)}
        arguments = {key: value for key, value in arguments.items() if key not in NESTS or key not in failed}
    layers, key = node.body.context.layers, (cls, repr(arguments), formulas_in(arguments))
    try:
        layer = layers[key] if key in layers else layers.setdefault(key, _validated(cls, arguments, what))
    except SettingError as error:
        for problem in _of_the_wrapped(cls, arguments, error.problems):
            if not failed or (problem.path and problem.path[0] not in failed):
                _report(node, cls, problem)
        return None
    return None if failed else layer


def _validated(cls: type[Layer], arguments: dict[str, Any], what: str) -> Layer:
    """The layer, whose fields keep the formulas of their numbers."""
    if not formulas_in(arguments):
        return validate(cls, arguments, what)
    layer = validate(cls, plain(arguments), what)
    traced: Layer = attached(arguments, layer)
    return traced


def _nested(node: NodeInstance, cls: type[Layer], what: str, arguments: dict[str, Any]) -> set[str]:
    """Reports arguments in a mapping of their own, as other formats have them; the names of what is wrong for
    that reason.
    """
    wrong: set[str] = set()
    for key, value in arguments.items():
        if key in NESTS and key not in cls.model_fields and isinstance(value, list):
            help = _of_call(node, cls.kind, cls.spec_name, cls.spec_name)
            node.error("unknown-key", node.key_of(key), f"{what} has no `{key}`", help)
            wrong |= {key, *cls.model_fields}
        if key in NESTS and key not in cls.model_fields and isinstance(value, dict):
            inner = ", ".join(f"{name}: {unquoted(item)}" for name, item in value.items())
            words = f"write arguments next to it: {{{cls.kind}: {cls.spec_name}, {inner}}}"
            written = node.written
            beside = {name: item for name, item in written.items() if name != key}
            inside: dict[str, Any] = written[key] if isinstance(written.get(key), dict) else {}
            help = become({**beside, **inside}, words, around=True, safe=beside.keys().isdisjoint(inside))
            node.error("unknown-key", node.key_of(key), f"{what} has no `{key}`", help)
            wrong |= {key, *value}
    return wrong


def _of_the_wrapped(
    cls: type[Layer], arguments: dict[str, Any], problems: Iterable[Problem]
) -> list[Problem]:
    """The problems, those of arguments that belong to a wrapped layer told by the one that it is missing."""
    all_problems = list(problems)
    missing = next((each for each in all_problems if each.path == ("wraps",)), None)
    if missing is None or missing.code != "missing-key":
        return all_problems
    inner = {key: arguments[key] for key in arguments if key not in cls.model_fields}
    inner = {key: value for key, value in inner.items() if _wrapped_takes(cls, key)}
    if not inner:
        return all_problems
    shown = "".join(f", {key}: {unquoted(value)}" for key, value in inner.items())
    help = f"write `wraps: {{layer: ...{shown}}}`"
    rest = [each for each in all_problems if each is not missing and each.path[0] not in inner]
    return [replace(missing, help=help), *rest]


def _report(node: NodeInstance, cls: type[Layer], problem: Problem) -> None:
    missing = problem.code == "missing-key"
    span = node.span if missing else node.span_of(*problem.path)
    help = problem.help
    if problem.code == "unknown-key":
        nested = node.key(*problem.path)
        span = node.key_of(str(problem.path[0])) if len(problem.path) == 1 else nested
        help = misplaced(cls, problem.path) or help
    raw = node.declared.extra.get(str(problem.path[0])) if problem.path else None
    if len(problem.path) == 1:
        argument = str(problem.path[0])
        help = cls.instead(argument, raw) or _for_each(node, cls, argument, raw) or help
        if problem.code == "unknown-key":
            help = _of_node(node, cls, argument, raw) or help
            help = _with_both_ways(node, cls, argument, raw) or _sure(node, argument, raw, help)
    if problem.code == "wrong-type" and isinstance(raw, str) and len(problem.path) == 1:
        scope = node.body.scope
        value = node.evaluate(raw, str(problem.path[0]))
        if isinstance(value, list) and raw[:1] == "$" and raw[1:].isidentifier():
            help = f"for an instance of each, give it as `repeat: {{{raw[1:]}: {show(value)}}}`"
        help = scope.param_remedy(raw, value) or scope.insertion(raw, node.index) or help
    if problem.code == "wrong-type":
        size = raw
        for key in problem.path[1:]:
            size = size[key] if isinstance(size, list) and isinstance(key, int) else None
        if isinstance(size, str) and size in named_sizes(node.body):
            help = f"`{size}` is a size of an input, which tensors have: {_of_a_tensor(cls, size)}"
    labels = [
        Label(place, f"`{name}` is given here") for name, place in node.body.scope.given_at(raw).items()
    ]
    node.error(problem.code, span, problem.message, help, labels=labels)


def _of_node(node: NodeInstance, cls: type[Layer], argument: str, raw: Any) -> str | None:
    """The remedy for a key that belongs to every node or says another one with its number."""
    written = node.written
    if argument == "name" and raw == node.name:
        return delete("the key of a node is its name")
    names = raw if isinstance(raw, list) else [raw]
    there = {*node.body.inputs, *node.body.declared.nodes}
    if cls.kind == "op" and "from" not in written and all(isinstance(x, str) and x in there for x in names):
        return "its tensors are written under `from`"
    if argument in _SOURCES and "from" not in written:
        return renamed(written, argument, "from", "write its inputs under `from`")
    if argument in _CONDITIONS and "when" not in written:
        return renamed(written, argument, "when", "a condition is written under `when`")
    if argument == "times" and "repeat" not in written and type(raw) is int:
        return renamed(written, argument, "repeat", f"write `repeat: {raw}`")
    if cls.remedies is RECURRENT and argument == "num_layers" and type(raw) is int and raw > 0:
        return _of_layers(written, raw)
    if argument not in _WIDTHS or "key_dim" not in cls.model_fields:
        return None
    if "key_dim" in written:
        return delete("the width is that of the query", safe=False)
    size = _quotient(written[argument], written.get("num_heads"))
    if size is None:
        return f"`key_dim` is the size of one head: {argument} / num_heads"
    words = f"`key_dim` is the size of one head: write `key_dim: {size}`"
    new = {"key_dim" if key == argument else key: item for key, item in written.items()}
    return become({**new, "key_dim": size}, words, around=True, drops=True)


_CONDITIONS = frozenset(["if", "condition", "enabled", "include_if", "only_if"])
"""What other formats call `when`."""
_HEADS = ("heads", "num_heads", "nhead", "n_heads", "n_head", "num_attention_heads")
_WIDTHS = frozenset(["embed_dim", "dim", "d_model", "hidden_size", "hidden_dim", "model_dim", "units"])
"""What other libraries call the features of attention with heads, all together."""


def _quotient(size: Any, parts: Any) -> int | str | None:
    """A size divided by a number of parts, each an integer or a param; None where that is no integer."""
    if type(size) is int and type(parts) is int:
        return size // parts if parts > 0 and size % parts == 0 else None
    texts = [item[1:] if isinstance(item, str) and item[:1] == "$" else item for item in (size, parts)]
    if not all(type(text) is int or (isinstance(text, str) and text.isidentifier()) for text in texts):
        return None
    return f"$({texts[0]} // {texts[1]})"


def _of_layers(written: dict[str, Any], count: int) -> str | None:
    """The remedy for several recurrent layers in one node."""
    if count == 1:
        return delete("a node is one layer")
    words = f"each layer is a node: `repeat: {count}`, with `return_sequences: true`, makes {count}"
    rest = {key: item for key, item in written.items() if key != "num_layers"}
    return become({**rest, "return_sequences": True, "repeat": count}, words, around=True, safe=False)


_SOURCES = frozenset(
    ["bottom", "inbound", "inbound_nodes", "input", "input_from", "inputs", "source", "sources"]
)
"""Names of other formats for `from`."""


def _of_a_tensor(cls: type[Layer], size: str) -> str:
    """How a class takes a size from a tensor that has it, or else what does."""
    if any(argument.name == "like" for argument in cls.arguments):
        return "write `like: ...` in its place"
    if cls.spec_name in ("eye", "one_hot"):
        return "compare with n, {op: arange, from: ..., axis: 1}: `where(n[:, :, None] == n[:, None], 1, 0)`"
    return f"{{op: broadcast_to, shape: [-1, {size}, ...], like: ...}}"


def _sure(node: NodeInstance, argument: str, raw: Any, help: str | None) -> str | None:
    """The same remedy, safe where the input of the node shows that nothing else can have been meant: a size
    that it has, and an axis of PyTorch's that is the same here.
    """
    first = next((bound.value for bound in node.inputs.all()), None)
    if not isinstance(help, Remedy) or not isinstance(first, Value) or argument in node.overrides:
        return help
    shape, rank = first.tensor.shape, first.tensor.rank
    same = (help == SIZE and raw in (shape[-1], [shape[-1]])) or (
        help.change.new == "axis"
        and argument in ("dim", "dims")
        and ((raw == -1 and rank <= 3) or (rank == 2 and raw == 1))
    )
    return Remedy(help, replace(help.change, safe=True)) if same else help


def _with_both_ways(node: NodeInstance, cls: type[Layer], argument: str, raw: Any) -> str | None:
    """The recurrent layer of `bidirectional: true` in its wrapper."""
    wrapper, wrapped = BOTH_WAYS
    if argument != "bidirectional" or cls.spec_name not in wrapped:
        return None
    written = {key: item for key, item in node.written.items() if key != argument}
    if raw is False:
        return become(written, "delete it: a layer goes forward", around=True)
    inner = {key: item for key, item in written.items() if key not in NODE_KEYS}
    outer = {key: item for key, item in written.items() if key in NODE_KEYS and key != "layer"}
    new = {
        "layer": wrapper,
        "wraps": {"layer": cls.spec_name, **{k: inner[k] for k in inner if k != "layer"}},
        **outer,
    }
    words = f"wrap it: {{layer: {wrapper}, wraps: {{layer: {cls.spec_name}, ...}}}}"
    return become(new, words, around=True, safe=raw is True)


def _for_each(node: NodeInstance, cls: type[Layer], argument: str, value: Any) -> str | None:
    """How a list makes a layer of each item, where the argument takes one number."""
    field = cls.model_fields.get(argument)
    if cls.kind != "layer" or field is None or field.annotation is not int or not isinstance(value, list):
        return None
    if len(value) < 2 or not all(type(item) is int for item in value):
        return None
    words = f"`repeat: {{{argument}: {show(value)}}}` makes a layer for each"
    new = {key: item for key, item in node.written.items() if key != argument} | {"repeat": {argument: value}}
    return become(new, words, around=True) if "repeat" not in node.written else words


def misplaced(cls: type[Layer], path: tuple[str | int, ...]) -> str | None:
    """Where to write a key that no layer takes as an argument, or that this one takes only as an input."""
    key = str(path[-1])
    if path == ("name",):
        return "the key of a node is its name"
    if path in (("input",), ("inputs",)):
        return "write its inputs under `from`"
    near = nearest(key, NODE_KEYS)
    if len(path) == 1 and near not in (None, key) and not nearest(key, cls.model_fields):
        assert near is not None
        return meant(near, key, spelled(key, near, NODE_KEYS))
    if len(path) > 1 or cls.variadic:
        return None
    if issubclass(cls, Wrapper) or "wraps" in cls.model_fields:
        wrapped = f"it is an argument of the wrapped layer: wraps: {{layer: ..., {key}: ...}}"
        return wrapped if _wrapped_takes(cls, key) else None
    if len(cls.arguments) < 2:
        return None
    first, *others = [argument.name for argument in cls.arguments]
    return f"it is an input: from: {{{first}: ..., {key}: ...}}" if key in others else None


def _wrapped_takes(cls: type[Layer], key: str) -> bool:
    """Whether a layer that this one often wraps takes an argument of this name."""
    return any(key in REGISTRY["layer"][name].model_fields for name in cls.often_wraps)
