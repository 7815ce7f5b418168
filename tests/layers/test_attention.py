"""Attention beyond the layer contract: dropout, carried masks, learned queries, export, what is refused."""

import importlib
import json
from pathlib import Path
from typing import Any

import keras
import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Example, LayerError
from graphspec.diagnostics import SpecError
from graphspec.tensor import Tensor as Type
from graphspec.tensor import symbol
from graphspec.train.penalties import from_keras
from tests import bundled, oracle
from tests.layer_contract import Case, assert_equal, copy_weights

HEADS = {"num_heads": 2, "key_dim": 4}
GROUPS = {"head_dim": 4, "num_query_heads": 4, "num_key_value_heads": 2}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("MultiHeadAttention", HEADS),
    ("MultiHeadAttention", {**HEADS, "use_gate": True}),
    ("GroupQueryAttention", GROUPS),
    ("Attention", {"use_scale": True}),
    ("Attention", {"score_mode": "concat"}),
    ("AdditiveAttention", {}),
]
PADDED = {"query_mask": (6,), "value_mask": (5,)}
BATCH, LENGTH = symbol("batch"), symbol("length")


def case(name: str, arguments: dict[str, Any], **options: Any) -> Case:
    return Case(REGISTRY["layer"][name], Example(arguments, ((6, 8), (5, 8)), **options))


def build(nodes: dict[str, Any], inputs: dict[str, Any], **more: Any) -> graphspec.Program:
    outputs = {"outputs": list(nodes)[-1:], **more}
    return graphspec.compile(json.dumps({"inputs": inputs, "nodes": nodes, **outputs}, indent=1))


@pytest.mark.parametrize("masks", [{}, PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("call", [{}, {"return_attention_scores": True}], ids=["output", "scores"])
@bundled(16, ("name", "arguments"), KINDS, ids=str)
def test_dropout_changes_nothing_in_inference(
    name: str, arguments: dict[str, Any], call: dict[str, Any], masks: dict[str, Any]
) -> None:
    """Keras computes attention with dropout in another way: where nothing is seen, it gives zeros."""
    with oracle.double_precision():
        one = case(name, {**arguments, "dropout": 0.5}, call=call, masks=masks)
        inputs = one.tensors()
        twin = oracle.build(one.cls, one.example, inputs)
        twin.randomize()
        module = one.module().eval()
        copy_weights(one, twin.variables, module)
        expected, actual = twin(one.tensors(), training=False), module(*inputs)
        expected, actual = (expected, actual.values()) if call else ((expected,), (actual,))
        for ours, theirs in zip(actual, expected, strict=True):
            assert_equal(ours, theirs, name)


@pytest.mark.parametrize("call", [{}, {"return_attention_scores": True}], ids=["output", "scores"])
@pytest.mark.parametrize(("name", "arguments"), KINDS, ids=str)
def test_dropout_drops_scores_in_training(name: str, arguments: dict[str, Any], call: dict[str, Any]) -> None:
    """The mean of many draws is the output of inference. `Attention` returns the scores that are left."""
    one = case(name, {**arguments, "dropout": 0.25}, call=call)
    module = one.module()
    inputs = [x.detach()[:1].expand(4000, -1, -1) for x in one.tensors()]
    if arguments.get("use_gate"):
        inputs[0] = inputs[0] * 0.1
    torch.manual_seed(1)
    with torch.no_grad():
        drawn, exact = module.train()(*inputs), module.eval()(*inputs)
    if call:
        dropped = float((drawn["attention_scores"] == 0).double().mean())
        assert dropped == pytest.approx(0.25 if name in oracle.LISTED else 0, abs=0.01)
        drawn, exact = drawn["node"], exact["node"]
    spread = float(drawn.std(0).max())
    assert spread > 0
    assert float((drawn.mean(0) - exact[0]).abs().max()) < 5 * spread / 4000**0.5


def test_masks_are_carried_from_embeddings_as_in_keras() -> None:
    embedding = {"layer": "Embedding", "input_dim": 9, "output_dim": 8, "mask_zero": True}
    program = build(
        {
            "x": {**embedding, "from": "text"},
            "memory": {**embedding, "from": "source"},
            "scored": {"layer": "Attention", "from": ["x", "memory"]},
            "seen": {
                "layer": "MultiHeadAttention",
                **HEADS,
                "from": ["scored", "scored"],
                "use_causal_mask": True,
            },
            "crossed": {"layer": "MultiHeadAttention", **HEADS, "from": {"query": "seen", "value": "memory"}},
        },
        {"text": {"shape": [6], "dtype": "int64"}, "source": {"shape": [5], "dtype": "int64"}},
    )
    text, source = keras.Input((6,), dtype="int64"), keras.Input((5,), dtype="int64")
    x = keras.layers.Embedding(9, 8, mask_zero=True)(text)
    memory = keras.layers.Embedding(9, 8, mask_zero=True)(source)
    scored = keras.layers.Attention()([x, memory])  # first: Keras' other attention takes masks off its inputs
    seen = keras.layers.MultiHeadAttention(2, 4)(scored, scored, use_causal_mask=True)
    twin = keras.Model([text, source], keras.layers.MultiHeadAttention(2, 4)(seen, memory))
    module = program.module(seed=0).eval()
    state, ops = dict(module.named_parameters()), {op.node: op for op in program.graph.ops}
    nodes = iter(("x", "memory", "seen", "crossed"))
    for layer in twin.layers:
        node = next(nodes) if layer.weights else ""
        for weight, variable in zip(ops[node].weights() if node else (), layer.weights, strict=True):
            state[f"{node}.{weight.name}"].data.copy_(from_keras(weight, variable.value))
    assert next(nodes, None) is None
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 9, (4, 6), generator=generator)
    others = torch.randint(1, 9, (4, 5), generator=generator)
    tokens[0, 4:], tokens[1, 0], tokens[3], others[1, 2:], others[2] = 0, 0, 0, 0, 0
    torch.testing.assert_close(module(tokens, others), twin([tokens, others]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "arguments"), KINDS, ids=str)
def test_learned_queries_and_memories_serve_every_example(name: str, arguments: dict[str, Any]) -> None:
    for source in (["learned", "x"], ["x", "learned"], ["x", "learned", "x"]):
        program = build(
            {
                "learned": {"parameter": [6, 8], "initializer": "random_normal"},
                "seen": {"layer": name, **arguments, "from": source},
            },
            {"x": {"shape": [6, 8]}},
        )
        module, x = program.module(seed=0).double(), torch.randn(3, 6, 8, dtype=torch.float64)
        assert_equal(module(x)[1:], module(x[1:]), str(source))


@pytest.mark.parity
@pytest.mark.parametrize("step", [3, 1], ids=["some", "all"])
def test_unknown_lengths_can_be_exported(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kinds in one file, as `build` writes it: torch.export imports its definitions by name."""
    inputs = {
        "x": {"shape": ["n", 8]},
        "memory": {"shape": ["m", 8]},
        "x_kept": {"shape": ["n"], "dtype": "bool"},
        "kept": {"shape": ["m"], "dtype": "bool"},
    }
    source = {"query": "x", "value": "memory"}
    padded = {**source, "query_mask": "x_kept", "value_mask": "kept"}
    causal = {"use_causal_mask": True}
    window = {"layer": "MultiHeadAttention", **HEADS, "sliding_window": 3, "from": source}
    nodes: dict[str, Any] = {
        f"kind{number}": {"layer": name, **arguments, **causal, "from": padded}
        for number, (name, arguments) in enumerate(KINDS[::step])
    }
    nodes |= {"whole": {**nodes["kind0"], "from": source}, "window": window}
    program = build(nodes, inputs, outputs=list(nodes))
    file = f"{tmp_path.name}_model"
    (tmp_path / f"{file}.py").write_text(program.source)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = getattr(importlib.import_module(file), program.class_name)().eval()

    def tensors(n: int, m: int) -> tuple[Tensor, ...]:
        return torch.randn(2, n, 8), torch.randn(2, m, 8), torch.rand(2, n) < 0.7, torch.rand(2, m) < 0.7

    n, m = torch.export.Dim("n", min=3, max=99), torch.export.Dim("m", min=3, max=99)
    shapes = ({1: n}, {1: m}, {1: n}, {1: m})
    exported = torch.export.export(module, tensors(7, 5), dynamic_shapes=shapes, strict=True).module()
    for sizes in ((7, 5), (4, 9), (8, 8)):
        drawn = tensors(*sizes)
        for name, value in exported(*drawn).items():
            torch.testing.assert_close(value, module(*drawn)[name], rtol=1e-4, atol=1e-5)


def test_one_embedding_goes_both_ways() -> None:
    program = build(
        {
            "x": {"call": "table", "from": "tokens"},
            "hidden": {"layer": "Dense", "units": 4},
            "scores": {"call": "table", "from": "hidden", "reverse": True},
        },
        {"tokens": {"shape": ["length"], "dtype": "int64"}},
        shared={"table": {"layer": "ReversibleEmbedding", "input_dim": 9, "output_dim": 4}},
    )
    module, tokens = program.module(seed=0), torch.tensor([[1, 2, 8]])
    assert sum(p.numel() for p in module.parameters()) == 9 * 4 + 4 * 4 + 4
    table, kernel, bias = (
        dict(module.named_parameters())[key] for key in ("table.weight", "hidden.weight", "hidden.bias")
    )
    torch.testing.assert_close(module(tokens), (table[tokens] @ kernel.T + bias) @ table.T)
    assert "F.linear(self.hidden(x), self.table.weight)" in program.source


def kernel(module: nn.Module, name: str, heads: int) -> Tensor:
    """A projection's kernel as Keras has it, with all axes but the last as one."""
    weight = dict(module.named_parameters())[f"seen.{name}.weight"].detach()
    return weight.unflatten(0, (heads, -1)).permute(2, 0, 1).flatten(0, 1)


def test_orthogonal_kernels_are_orthogonal_as_keras_lays_them_out() -> None:
    arguments = {"layer": "MultiHeadAttention", **HEADS, "from": ["x", "x"], "output_shape": [3, 5]}
    fill = {"name": "orthogonal", "gain": 2.0}
    program = build({"seen": {**arguments, "kernel_initializer": fill}}, {"x": {"shape": [6, 8]}})
    module = program.module(seed=0)
    for name, heads in (("query", 2), ("key", 2), ("value", 2), ("output", 3)):
        columns = kernel(module, name, heads)
        torch.testing.assert_close(columns.T @ columns, 4 * torch.eye(columns.shape[1]))


X = Type((BATCH, LENGTH, 8))
REFUSED: list[tuple[str, dict[str, Any], list[Any], str, str]] = [
    ("MultiHeadAttention", HEADS, [X, Type((BATCH, 8))], "wrong-rank", "its value"),
    ("MultiHeadAttention", HEADS, [Type((BATCH, 8)), Type((BATCH, 8))], "wrong-rank", "its query"),
    ("MultiHeadAttention", HEADS, [X, X.with_dtype("int64")], "wrong-dtype", "its value"),
    ("MultiHeadAttention", HEADS, [X, Type((BATCH, 5, LENGTH))], "unknown-size", "its value"),
    ("MultiHeadAttention", HEADS, [X, X, Type((BATCH, 5, 8))], "shapes-differ", "a value for each key"),
    ("MultiHeadAttention", HEADS, [X, X, None, X], "wrong-dtype", "`query_mask`"),
    (
        "MultiHeadAttention",
        HEADS,
        [X, X, None, None, Type((BATCH, 5), "bool")],
        "shapes-differ",
        "`value_mask`",
    ),
    (
        "MultiHeadAttention",
        HEADS,
        [X, X, None, None, None, None, Type((BATCH, 5, LENGTH), "bool")],
        "shapes-differ",
        "`attention_mask`",
    ),
    ("MultiHeadAttention", {**HEADS, "attention_axes": [0]}, [X, X], "out-of-range", "batch"),
    ("MultiHeadAttention", {**HEADS, "attention_axes": [2]}, [X, X], "out-of-range", "attention_axes"),
    (
        "MultiHeadAttention",
        {**HEADS, "flash_attention": True, "dropout": 0.1},
        [X, X],
        "out-of-range",
        "dropout",
    ),
    ("MultiHeadAttention", {**HEADS, "kernel_initializer": "identity"}, [X, X], "out-of-range", "identity"),
    (
        "MultiHeadAttention",
        {**HEADS, "use_causal_mask": True},
        [Type((BATCH, 4, 4, 8))] * 2,
        "out-of-range",
        "one order",
    ),
    (
        "MultiHeadAttention",
        {**HEADS, "attention_axes": 2},
        [Type((BATCH, 3, 4, 8)), Type((BATCH, 4, 4, 8))],
        "shapes-differ",
        "axis 1",
    ),
    ("GroupQueryAttention", {**GROUPS, "num_query_heads": 3}, [X, X], "out-of-range", "do not divide"),
    ("GroupQueryAttention", GROUPS, [Type((BATCH, 4, 4, 8))] * 2, "wrong-rank", "features"),
    ("Attention", {}, [X, Type((BATCH, LENGTH, 7))], "shapes-differ", "equally many features"),
    ("AdditiveAttention", {}, [X, X, Type((BATCH, LENGTH, 7))], "shapes-differ", "equally many features"),
    ("ReversibleEmbedding", {"input_dim": 9, "output_dim": 4, "reverse": True}, [X], "shapes-differ", "4"),
]


@bundled(16, ("name", "arguments", "inputs", "code", "words"), REFUSED)
def test_inputs_that_do_not_fit_are_refused(
    name: str, arguments: dict[str, Any], inputs: list[Any], code: str, words: str
) -> None:
    with pytest.raises(LayerError) as error:
        REGISTRY["layer"][name].model_validate(arguments).infer(*inputs)
    assert error.value.code == code
    assert words in error.value.message


def test_a_single_input_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="query, value"):
        build({"seen": {"layer": "MultiHeadAttention", **HEADS}}, {"x": {"shape": [6, 8]}})


def test_one_of_the_calls_of_a_shared_layer_may_return_its_scores() -> None:
    spec = """
    inputs: {x: {shape: [length, 8]}}
    shared: {attention: {layer: MultiHeadAttention, num_heads: 2, key_dim: 3}}
    nodes:
      first:  {call: attention, from: [x, x]}
      second: {call: attention, from: [x, x], return_attention_scores: true}
    outputs: {first: {}, second: {}, scores: {from: second.attention_scores}}
    """
    outputs = graphspec.compile(spec).module()(torch.randn(2, 5, 8))
    torch.testing.assert_close(outputs["first"], outputs["second"])
    torch.testing.assert_close(outputs["scores"].sum(-1), torch.ones(2, 2, 5))
