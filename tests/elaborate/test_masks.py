"""Masks travel as they do in Keras: through layers, merges, blocks, models and left-out nodes."""

import sys
from pathlib import Path
from typing import Any

import keras
import pytest
import torch

import graphspec
from graphspec.data.batches import Batch
from graphspec.train.objective import Objective
from tests.emit.test_emit import agrees

TOKENS = torch.tensor([[3, 1, 0, 2, 0, 0], [0, 4, 0, 0, 1, 2], [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]])
"""Padding behind, inside and in front, none, and nothing but padding."""

HEADER = """
inputs:
  text: {shape: [length], dtype: int64}
"""


def outputs(spec: str, *inputs: torch.Tensor, path: Path | None = None) -> Any:
    program = graphspec.compile(spec if path is None else path)
    with torch.no_grad():
        return program.module().eval()(*inputs)


def weights(spec: str) -> list[torch.Tensor]:
    return list(graphspec.compile(spec).module().state_dict().values())


def keras_model(build: Any, values: list[torch.Tensor]) -> Any:
    """A functional model of one input of tokens, with these weights."""
    text = keras.Input((None,), dtype="int64")
    model = keras.Model(text, build(text))
    assert [tuple(w.shape) for w in model.weights] == [tuple(v.shape) for v in values]
    model.set_weights([value.numpy() for value in values])
    return model


def check(spec: str, build: Any, tokens: torch.Tensor = TOKENS) -> None:
    """The spec and the model give the same. Their weights are laid out alike: embeddings alone."""
    expected = keras_model(build, weights(spec))(tokens)
    torch.testing.assert_close(outputs(spec, tokens), expected.detach(), equal_nan=True)


def embed(x: Any, width: int = 3) -> Any:
    return keras.layers.Embedding(7, width, mask_zero=True)(x)


pool = keras.layers.GlobalAveragePooling1D()


def test_a_mask_is_a_node_and_an_edge() -> None:
    spec = f"""{HEADER}
nodes:
  vectors: {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
  kept:    {{layer: Dropout, rate: 0.5}}
  pooled:  {{layer: GlobalAveragePooling1D}}
outputs: [pooled]
"""
    check(spec, lambda x: pool(keras.layers.Dropout(0.5)(embed(x))))
    program = graphspec.compile(spec)
    assert "vectors_mask = text != 0" in program.source
    rows = {row["name"]: row for row in program.summary().to_json()["layers"]}
    assert rows["vectors_mask"]["connected_to"] == ["text"]
    assert rows["pooled"]["connected_to"] == ["kept", "vectors_mask"]


def test_nothing_is_computed_that_no_layer_reads() -> None:
    spec = f"""{HEADER}
nodes:
  vectors: {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
  pooled:  {{layer: GlobalMaxPooling1D}}
outputs: [pooled]
"""
    assert "mask" not in graphspec.compile(spec).source


@pytest.mark.parametrize("merge", ["add", "average", "maximum", "multiply", "subtract", "minimum"])
@pytest.mark.parametrize("both", [True, False])
def test_merges(merge: str, both: bool) -> None:
    flag = "true" if both else "false"
    spec = f"""{HEADER}
nodes:
  a:      {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
  turned: {{op: roll, from: text, shift: 1, axis: 1}}
  b:      {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: {flag}}}
  merged: {{merge: {merge}, from: [a, b]}}
  pooled: {{layer: GlobalAveragePooling1D}}
outputs: [pooled]
"""

    def build(x: Any) -> Any:
        b = keras.layers.Embedding(7, 3, mask_zero=both)(keras.ops.roll(x, 1, 1))
        return pool(getattr(keras.layers, merge.title())()([embed(x), b]))

    check(spec, build)


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
@pytest.mark.parametrize("both", [True, False])
def test_concatenation(axis: int, both: bool) -> None:
    flag = "true" if both else "false"
    spec = f"""{HEADER}
nodes:
  a:      {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
  turned: {{op: roll, from: text, shift: 1, axis: 1}}
  b:      {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: {flag}}}
  merged: {{merge: concatenate, from: [a, b], axis: {axis}}}
  pooled: {{layer: GlobalAveragePooling1D}}
outputs: [pooled]
"""

    def build(x: Any) -> Any:
        b = keras.layers.Embedding(7, 3, mask_zero=both)(keras.ops.roll(x, 1, 1))
        return pool(keras.layers.Concatenate(axis)([embed(x), b]))

    check(spec, build)


def test_ops_and_layers_without_masking_drop_it() -> None:
    spec = f"""{HEADER}
nodes:
  vectors: {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
  turned:  {{op: negative}}
  pooled:  {{layer: GlobalAveragePooling1D}}
outputs: [pooled]
"""
    check(spec, lambda x: pool(-embed(x)))


def test_masking_of_features() -> None:
    spec = """
inputs:
  x: {shape: [length, 2]}
nodes:
  masked: {layer: Masking, mask_value: 2.0}
  pooled: {layer: GlobalAveragePooling1D}
outputs: [pooled]
"""
    x = torch.tensor([[[2.0, 2], [2, 1], [0, 3]], [[5, 2], [2, 2], [2, 2]]])
    expected = pool(keras.layers.Masking(2.0)(x))
    torch.testing.assert_close(outputs(spec, x), expected)


BLOCKS = f"""{HEADER}
blocks:
  embed:
    inputs: [tokens]
    nodes:
      vectors: {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
      kept:    {{layer: Dropout, rate: 0.1, when: false}}
  mean:
    inputs: [x]
    nodes:
      norm: {{layer: UnitNormalization}}
      pool: {{layer: GlobalAveragePooling1D}}
"""


def test_blocks_and_left_out_nodes_are_transparent() -> None:
    spec = f"""{BLOCKS}
nodes:
  code:   {{block: embed}}
  again:  {{layer: UnitNormalization, repeat: 2}}
  pooled: {{block: mean}}
outputs: [pooled]
"""
    check(spec, lambda x: pool(keras.layers.UnitNormalization()(embed(x))))
    assert "def mean(x: Tensor, x_mask: Tensor)" in graphspec.compile(spec).source


def test_one_body_of_a_shared_block_serves_masked_and_unmasked_calls() -> None:
    spec = f"""{BLOCKS}
shared:
  pool: {{block: mean}}
nodes:
  masked: {{block: embed}}
  plain:  {{op: negative}}
  a:      {{call: pool, from: masked}}
  b:      {{call: pool, from: plain}}
  both:   {{merge: concatenate, from: [a, b]}}
outputs: [both]
"""

    def build(x: Any) -> Any:
        vectors = embed(x)
        unit = keras.layers.UnitNormalization()
        return keras.layers.Concatenate()([pool(unit(vectors)), pool(unit(-vectors))])

    check(spec, build)


def test_a_repeated_block_hands_the_mask_on() -> None:
    spec = f"""{HEADER}
blocks:
  step:
    inputs: [x]
    nodes:
      mean: {{layer: GlobalAveragePooling1D, keepdims: true}}
      sum:  {{merge: multiply, from: [x, mean]}}
      out:  {{layer: UnitNormalization, from: x}}
      end:  {{merge: add, from: [out, x]}}
    outputs: {{x: end, mean: mean}}
nodes:
  vectors: {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
  steps:   {{block: step, repeat: 3}}
outputs:
  mean: {{from: steps.mean}}
"""
    spec = spec.replace("      sum:  {merge: multiply, from: [x, mean]}\n", "")

    def build(x: Any) -> Any:
        x = embed(x)
        for _ in range(2):
            x = keras.layers.Add()([keras.layers.UnitNormalization()(x), x])
        return keras.layers.GlobalAveragePooling1D(keepdims=True)(x)

    check(spec, build)
    assert "x, mean = step(x, vectors_mask)" in graphspec.compile(spec).source


def test_models_of_other_files(tmp_path: Path) -> None:
    encoder = BLOCKS.partition("  mean:")[0] + "nodes:\n  code: {block: embed}\noutputs: [code]\n"
    (tmp_path / "encoder.yaml").write_text(encoder)
    (tmp_path / "whole.yaml").write_text(
        HEADER
        + """
shared:
  encoder: {model: encoder.yaml}
nodes:
  one:   {call: encoder, from: text}
  other: {op: roll, from: text, shift: 1, axis: 1}
  two:   {call: encoder, from: other}
  sum:   {merge: add, from: [one, two]}
  pooled: {layer: GlobalAveragePooling1D}
outputs: [pooled]
"""
    )
    path = tmp_path / "whole.yaml"
    values = list(graphspec.compile(path).module().state_dict().values())

    def build(x: Any) -> Any:
        layer = keras.layers.Embedding(7, 3, mask_zero=True)
        return pool(keras.layers.Add()([layer(x), layer(keras.ops.roll(x, 1, 1))]))

    expected = keras_model(build, values)(TOKENS)
    torch.testing.assert_close(outputs("", TOKENS, path=path), expected.detach(), equal_nan=True)


def test_an_explicit_mask_wins() -> None:
    spec = f"""{HEADER}
nodes:
  vectors: {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
  ones:    {{op: equal, from: text, x2: 1}}
  pooled:  {{layer: GlobalAveragePooling1D, from: {{x: vectors, mask: ones}}}}
outputs: [pooled]
"""

    def build(x: Any) -> Any:
        return pool(embed(x), mask=keras.ops.equal(x, 1))

    check(spec, build)


# --- masks that are made inside of instances


EMBEDDED = """
inputs:
  text:  {shape: [length], dtype: int64}
  other: {shape: [length], dtype: int64}
"""
INNER = {
    "in each instance of a chain": """
blocks:
  step:
    inputs: [x]
    nodes:
      state: {layer: SimpleRNN, units: 3, return_sequences: true}
      some:  {layer: Masking, from: x}
      sum:   {merge: add, from: [state, some]}
nodes:
  a: {layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true, from: text}
  b: {block: step, repeat: 3}
  c: {layer: GlobalAveragePooling1D}
  d: {layer: Embedding, input_dim: 7, output_dim: 3, from: other}
outputs: [c, d]
""",
    "of two inputs, asked for in another order by each call": """
blocks:
  two:
    inputs: [a, b]
    nodes:
      first:  {layer: GlobalAveragePooling1D, from: b}
      second: {layer: GlobalAveragePooling1D, from: a}
      both:   {merge: add, from: [a, b]}
    outputs: {both: both, first: first, second: second}
shared: {two: {block: two}}
nodes:
  a: {layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true, from: text}
  b: {layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true, from: other}
  c: {call: two, from: [a, b]}
  d: {layer: GlobalAveragePooling1D, from: c.both}
  e: {call: two, from: [c.both, b]}
  f: {layer: GlobalAveragePooling1D, from: e.both}
outputs: {d: {}, f: {}, g: {from: c.first}, h: {from: c.second}, i: {from: e.first}, j: {from: e.second}}
""",
    "beside an output of that name": """
blocks:
  embed:
    inputs: [x]
    nodes:
      vectors: {layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}
      turned:  {op: negative}
    outputs: {y: vectors, y_mask: turned}
nodes:
  a: {block: embed, from: text}
  b: {layer: GlobalAveragePooling1D, from: a}
  c: {layer: GlobalAveragePooling1D, from: a.y_mask}
  d: {layer: Embedding, input_dim: 7, output_dim: 3, from: other}
outputs: [b, c, d]
""",
    "for a chain of calls without": """
blocks:
  step:
    inputs: [x]
    nodes:
      state:  {layer: SimpleRNN, units: 3, return_sequences: true}
      turned: {op: negative}
shared: {step: {block: step}}
nodes:
  a: {layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true, from: text}
  b: {call: step, from: a}
  c: {layer: Embedding, input_dim: 7, output_dim: 3, from: other}
  d: {call: step, from: c, repeat: 3}
outputs: [b, d]
""",
    "for a chain of calls that gets shorter": """
blocks:
  step:
    inputs: [x]
    nodes:
      state: {layer: SimpleRNN, units: 3, return_sequences: true}
      fewer: {layer: MaxPooling1D, pool_size: 2}
shared: {step: {block: step}}
nodes:
  a: {layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true, from: text}
  b: {call: step, from: a}
  c: {layer: Embedding, input_dim: 7, output_dim: 3, from: other}
  d: {call: step, from: c, repeat: 3}
outputs: [b, d]
""",
}


@pytest.mark.parametrize("nodes", INNER.values(), ids=INNER.keys())
def test_masks_of_instances(nodes: str) -> None:
    agrees(graphspec.compile(EMBEDDED + nodes))


SHARED = [
    "BatchNormalization",
    "GlobalAveragePooling1D",
    "Softmax",
    "LSTM, units: 3",
    "GRU, units: 3, return_sequences: true",
    "SimpleRNN, units: 3",
    "Bidirectional, wraps: {layer: GRU, units: 3}",
]


@pytest.mark.parametrize("layer", SHARED)
@pytest.mark.parametrize("first", [True, False])
def test_a_shared_layer_is_called_with_a_mask_and_without(layer: str, first: bool) -> None:
    calls = (
        f"  c: {{call: s, from: {'a' if first else 'b'}}}\n  d: {{call: s, from: {'b' if first else 'a'}}}"
    )
    program = graphspec.compile(f"""{EMBEDDED}
shared: {{s: {{layer: {layer}}}}}
nodes:
  a: {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true, from: text}}
  b: {{layer: Embedding, input_dim: 7, output_dim: 3, from: other}}
{calls}
outputs: [c, d]
""")
    agrees(program)
    program.module().train()(*program.example_inputs().values())


def masked_chain(count: int) -> str:
    """Sums of masked tensors, each with a mask that is computed from the one before."""
    nodes = "  a: {layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true, from: text}\n"
    nodes += "  b: {layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true, from: other}\n"
    nodes += "  n0: {merge: add, from: [a, b]}\n"
    nodes += "".join(f"  n{i}: {{merge: add, from: [n{i - 1}, b]}}\n" for i in range(1, count))
    nodes += f"  pooled: {{layer: GlobalAveragePooling1D, from: n{count - 1}}}\n"
    return f"{EMBEDDED}nodes:\n{nodes}outputs: [pooled]\n"


def test_masks_may_come_from_far_back_and_take_linear_time() -> None:
    """Calls grow as nodes do: counted, not timed."""

    def work(count: int) -> int:
        spec, calls = masked_chain(count), 0

        def count_call(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count_call)
        try:
            graphspec.compile(spec)
        finally:
            sys.setprofile(None)
        return calls

    assert work(600) < 5 * work(150)


TAGS = f"""{HEADER}
nodes:
  vectors: {{layer: Embedding, input_dim: 7, output_dim: 3, mask_zero: true}}
  tags:    {{layer: Dense, units: 4, activation: softmax}}
outputs:
  tags: {{loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
"""


def test_losses_and_metrics_look_at_the_steps_that_a_mask_leaves() -> None:
    program = graphspec.compile(TAGS)
    module = program.module().eval()
    target = (TOKENS * 5) % 4
    objective = Objective(program.inputs, program.outputs, torch.device("cpu"))
    batch = Batch({"text": TOKENS, "tags": target})
    result, meter = objective(module, batch), objective.meter()
    meter.add(result, batch)

    embedding, kernel, bias = module.state_dict().values()
    text = keras.Input((None,), dtype="int64")
    model = keras.Model(text, keras.layers.Dense(4, activation="softmax")(embed(text)))
    model.set_weights([embedding.numpy(), kernel.T.numpy(), bias.numpy()])
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    loss, accuracy = model.evaluate(TOKENS.numpy(), target.numpy(), verbose=0)
    assert meter.result() == pytest.approx({"loss": float(loss), "accuracy": float(accuracy)}, rel=1e-5)


def test_a_batch_of_nothing_but_padding_has_no_loss() -> None:
    program = graphspec.compile(TAGS)
    objective = Objective(program.inputs, program.outputs, torch.device("cpu"))
    result = objective(program.module(), Batch({"text": TOKENS[3:], "tags": TOKENS[3:]}))
    result.loss.backward()
    assert result.value == 0


def test_a_masked_output_is_returned_as_ever() -> None:
    program = graphspec.compile(TAGS)
    module = program.module()
    plain, asked = module(TOKENS), module(TOKENS, logits=True)
    assert plain.shape == (4, 6, 4)
    torch.testing.assert_close(asked["tags"].softmax(-1), plain)
    assert torch.equal(asked["tags_mask"], TOKENS != 0)
    result = graphspec.compile(TAGS + "train: {epochs: 1, batch_size: 4}\n")
    assert "if logits:" in result.source
