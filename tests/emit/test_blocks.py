"""Random specs of nested blocks, with all features together: the emitted module is the spec.

It computes what its graph computes, op by op, and what it computes if every instance has a class of its own.
Its weights are those that the text of the spec declares, and so are its outputs, counted and computed by code
that shares nothing with graphspec.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import graphspec
from graphspec.emit import EmitOptions, Emitted, emit
from graphspec.emit.load import make_module
from graphspec.program import Program
from tests import one_in
from tests.blocks.declared import declared_weights
from tests.blocks.declared_values import Unwritten, declared_values
from tests.blocks.features import features
from tests.blocks.specs import Writer, written_spec
from tests.emit.test_emit import agrees, example, named, randomized, weights_of

pytestmark = pytest.mark.hypothesis

PARTS = 6
"""The examples are in parts, which run side by side."""
EXAMPLES = -(-20 * settings().max_examples // PARTS) if settings().max_examples > 10 else 3
"""Of each part: 18 in all, and 10,000 with the profile `fuzz`."""


@pytest.mark.parametrize("part", one_in(2, range(PARTS)))
@settings(max_examples=EXAMPLES, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(0, 2**32))
def test_random_blocks(part: int, seed: int) -> None:
    number = seed * PARTS + part
    text = written_spec(number)
    note(f"spec {number}:\n{text}")
    preset = "other" if "presets:" in text and seed % 2 else None
    is_the_spec(graphspec.compile(text, preset=preset), text, preset)


def is_the_spec(program: Program, text: str, preset: str | None) -> None:
    """Fails where the module of a program is not what its text says."""
    holds_the_weights(program, text, preset)
    computes_the_declarations(program, text, preset)
    arguments_are_read(program.source)
    arguments_decide(program.emitted)
    agrees(program, example(program, 3))
    merging_changes_nothing(program)


FEATURES = (
    "a nested block reads the file's param below one of that name",
    "nested params of one name",
    "shared in a block",
    "shared entry called in several bodies",
    "optional call in a block",
    "when by index > 0",
    "when by index == 0 in a block",
    "when by index != 1",
    "else null in a block",
    "else another in a block",
    "optional parameter in a block",
    "optional input given in a repetition",
    "optional input left out in a repetition",
    "repeat 0 in a block",
    "repeat of n - 1 in a block",
    "repeat by lists",
    "repeat by a list param",
    "repeated call in a block",
    "argument by index in a block",
    "from by index",
    "parallel of different kinds",
    "parallel of kinds without weights",
    "parallel from a list in a block",
    "block by a param",
    "several outputs in a repetition",
    "reads .*.output",
    "formula with params in a block",
    "TimeDistributed block",
    "TimeDistributed call",
    "TimeDistributed layer in a block",
    "checkpoint in a block",
    "trainable in a block",
    "presets",
    "channels first",
    "int64",
    "loss categorical_crossentropy",
    "loss binary_crossentropy",
)


def test_random_specs_have_all_features() -> None:
    left = set(FEATURES)
    for seed in range(1_296, 2_296):  # from where the rarest come soon
        left -= {*features(Writer(seed).write())}
        if not left:
            return
    raise AssertionError(left)


def test_a_block_sees_nothing_of_the_place_of_its_use() -> None:
    text = """
params: {depth: 4, width: 3}
inputs: {x: {shape: [3]}}
blocks:
  inner:
    inputs: [x]
    nodes: {each: {layer: Dense, units: $width, repeat: $depth}}
  stack:
    params: {depth: 2, width: 5}
    inputs: [x]
    nodes:
      wide: {layer: Dense, units: $width}
      all: {block: inner, repeat: $depth}
nodes: {out: {block: stack}}
outputs: [out]
"""
    wide, first, others = 3 * 5 + 5, 5 * 3 + 3, 7 * (3 * 3 + 3)
    assert sum(declared_weights(text).values()) == wide + first + others
    is_the_spec(graphspec.compile(text), text, None)


# --- weights


def holds_the_weights(program: Program, text: str, preset: str | None) -> None:
    """The module, the program, the summary and the declarations have the same weights."""
    held = {key: tuple(value.shape) for key, value in program.module().state_dict().items()}
    held = {key: shape for key, shape in held.items() if not key.endswith("num_batches_tracked")}
    assert held == {key: tuple(weight.shape) for key, weight, _ in weights_of(program.graph)}
    assert program.summary().total_params == sum(map(math.prod, held.values()))
    left = {plain(key): math.prod(shape) for key, shape in held.items()}
    for path, count in declared_weights(text, preset).items():
        keys = [key for key in left if key == plain(path) or key.startswith(f"{plain(path)}.")]
        assert sum(left.pop(key) for key in keys) == count, path
    assert not left, "the spec does not declare them"


@torch.no_grad()
def computes_the_declarations(program: Program, text: str, preset: str | None) -> None:
    """The module gives what the declarations say by themselves, computed node by node."""
    module, given = randomized(program), example(program, 3)
    state = {plain(key): value for key, value in module.state_dict().items()}
    last = {name: x.movedim(1, -1) if name in program.channels_first else x for name, x in given.items()}
    try:
        wanted = declared_values(text, state, last, preset)
    except Unwritten as error:
        assert str(error) in LEFT
        return
    found = named(program, module(*given.values()))
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        assert torch.allclose(found[name], value, rtol=1e-7, atol=1e-9, equal_nan=True), name


LEFT = ("Conv2DTranspose", "SeparableConv2D")
"""Layers that `declared_values` does not have."""


def plain(key: str) -> str:
    """A key without what tells names apart from Python's."""
    return ".".join(part.rstrip("_") for part in key.split("."))


# --- merging


def merging_changes_nothing(program: Program) -> None:
    """The module computes what it does if no two instances share a class: in inference for one example and
    other sizes, in training with its gradients and what it leaves in its buffers; with logits, too.
    """
    module = randomized(program)
    single = make_module(emit(program, EmitOptions(merged=False)), {}).double()
    assert list(single.state_dict()) == list(module.state_dict())
    single.load_state_dict(module.state_dict())
    sizes = {name: least + 3 for name, least in program.minimum_sizes.items()}
    for option in [{}, {"logits": True}] if program.takes_logits else [{}]:
        with torch.no_grad():
            inputs = example(program, 1, sizes)
            same(*(named(program, each.eval()(*inputs.values(), **option)) for each in (module, single)))
        inputs = example(program, 3)
        same(*(trained(program, each, inputs, option) for each in (module, single)))
    same(module.state_dict(), single.state_dict())


def trained(
    program: Program, module: nn.Module, inputs: dict[str, Tensor], option: dict[str, bool]
) -> dict[str, Tensor]:
    """The outputs of a training pass, and the gradients of a weighted sum of them by inputs and weights."""
    torch.manual_seed(0)
    given = {name: x.clone().requires_grad_(x.is_floating_point()) for name, x in inputs.items()}
    outputs = named(program, module.train()(*(x.clone() for x in given.values()), **option))
    total = sum((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() for y in outputs.values())
    assert isinstance(total, Tensor)
    by = {name: x for name, x in (*given.items(), *module.named_parameters()) if x.requires_grad}
    found = torch.autograd.grad(total, list(by.values()), allow_unused=True)
    gradients = {name: each for name, each in zip(by, found, strict=True) if each is not None}
    return {**outputs, **{f"gradient of {name}": each for name, each in gradients.items()}}


def same(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name].shape == value.shape, name
        assert torch.allclose(actual[name], value, rtol=1e-9, atol=1e-9, equal_nan=True), name


# --- arguments


def constructors(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, ast.FunctionDef]]:
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        yield from (
            (kind, node)
            for node in kind.body
            if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        )


def arguments_are_read(source: str) -> None:
    """Each argument of a constructor is read in it; each attribute that a class sets, somewhere."""
    tree = ast.parse(source)
    for kind, made in constructors(tree):
        given = {argument.arg for argument in [*made.args.args[1:], *made.args.kwonlyargs]}
        unread = given - {node.id for node in ast.walk(made) if isinstance(node, ast.Name)}
        assert not unread, f"{kind.name} does not read {unread}"
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    held = {
        node.attr
        for node in attributes
        if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    unread = held - {node.attr for node in attributes if isinstance(node.ctx, ast.Load)}
    assert not unread, f"nothing reads {unread}"


CONDITIONAL = (ast.If, ast.IfExp, ast.Compare, ast.BoolOp, ast.GeneratorExp, ast.ListComp)
"""Where something may stand that decides nothing: its branch is not taken, or the loop has no instance."""


def always(made: ast.FunctionDef) -> list[ast.AST]:
    """What a constructor always does."""
    hidden = {
        id(inner) for node in ast.walk(made) if isinstance(node, CONDITIONAL) for inner in ast.walk(node)
    }
    return [node for node in ast.walk(made) if id(node) not in hidden]


def arguments_decide(emitted: Emitted) -> None:
    """Another value of a number at a call of a class makes another module."""
    tree = ast.parse(emitted.source)
    code = {kind.name: always(made) for kind, made in constructors(tree)}
    read = deciding(code)
    expected = description(make_module(emitted, {}))
    for name, nodes in code.items():
        for call in (node for node in nodes if isinstance(node, ast.Call)):
            called = call.func.id if isinstance(call.func, ast.Name) else ""
            for word in (each for each in call.keywords if each.arg in read.get(called, ())):
                value = word.value
                if isinstance(value, ast.Constant) and type(value.value) is int:
                    value.value += 2
                    changed = ast.unparse(tree)
                    value.value -= 2
                    assert differs(changed, emitted, expected), f"{name} gives {called} {word.arg}"


def deciding(code: dict[str, list[ast.AST]]) -> dict[str, set[str]]:
    """The names that each constructor always uses: what it only passes on, another class must use."""
    read: dict[str, set[str]] = {}
    passed: list[tuple[str, str, str, str]] = []
    for name, nodes in code.items():
        calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        given = {
            id(word.value): (name, word.value.id, call.func.id, word.arg or "")  # type: ignore[attr-defined]
            for call in calls
            for word in call.keywords
            if isinstance(word.value, ast.Name) and call.func.id in code  # type: ignore[attr-defined]
        }
        passed += given.values()
        read[name] = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in given}
    for _ in code:  # as deep as classes stand in one another
        for name, word, callee, argument in passed:
            if argument in read[callee]:
                read[name].add(word)
    return read


def differs(source: str, emitted: Emitted, expected: list[Any]) -> bool:
    space: dict[str, Any] = {"__name__": "changed"}
    try:
        exec(compile(source, "<changed>", "exec"), space)
        return description(space[emitted.class_name]()) != expected
    except (RuntimeError, ValueError, AssertionError):  # sizes that torch refuses
        return True


def description(module: nn.Module) -> list[Any]:
    """What a module is made of: each part's kind, settings, and shapes of its weights."""
    found: list[Any] = []
    for path, part in module.named_modules():
        settings = {key: str(value) for key, value in vars(part).items() if key[0] != "_"}
        shapes = {key: tuple(value.shape) for key, value in part.state_dict().items()}
        found.append((path, type(part).__name__, part.extra_repr(), settings, shapes))
    return found
