"""Small specs that mix features: outputs and gradients are those of the graph, run op by op; training moves
every weight.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.program import Program
from tests import interpreter
from tests.emit.test_emit import example, named, randomized

X, SOFT = "inputs: {x: {shape: [6]}}\n", "y: {layer: Dense, units: 3, activation: softmax}"
SEQ, IMG = "inputs: {x: {shape: [t, 6]}}\n", "inputs: {x: {shape: [8, 8, 3]}}\n"
MIXED = {
    "a shared layer in a repeated block, and outside of it": f"""{X}
shared: {{core: {{layer: Dense, units: 6, activation: tanh}}}}
blocks:
  step: {{inputs: [x], nodes: {{a: {{call: core, from: x}}, n: {{layer: LayerNormalization}},
      s: {{merge: add, from: [x, n]}}}}}}
nodes: {{first: {{call: core, from: x}}, deep: {{block: step, repeat: 3}}, {SOFT}}}
outputs: {{y: {{loss: sparse_categorical_crossentropy}}}}""",
    "a tied embedding that is called in reverse": """
inputs: {ids: {shape: [t], dtype: int32}}
shared: {table: {layer: ReversibleEmbedding, input_dim: 9, output_dim: 4}}
nodes:
  e: {call: table, from: ids}
  r: {layer: GRU, units: 4, return_sequences: true}
  y: {call: table, from: r, reverse: true}
outputs: [y]""",
    "an optional node that changes the width, in a list of instances": f"""{X}
blocks:
  b:
    inputs: [x]
    params: {{wide: false, units: 4}}
    nodes: {{up: {{layer: Dense, units: 8, activation: relu, when: $wide}}, d: {{layer: Dense,
        units: $units}}}}
nodes:
  stack: {{block: b, repeat: {{wide: [false, true, true], units: [4, 4, 5]}}}}
  {SOFT}
outputs: [y]""",
    "towers that are joined, each normalized": f"""{IMG}
blocks:
  tower:
    inputs: [x]
    params: {{size: 1}}
    nodes:
      c: {{layer: Conv2D, filters: 4, kernel_size: $size, padding: same}}
      n: {{layer: BatchNormalization}}
      a: {{layer: Activation, activation: relu}}
nodes:
  towers: {{block: tower, from: x, parallel: {{size: [1, 3, 5]}}}}
  all: {{merge: concatenate, from: towers.*}}
  p: {{layer: GlobalAveragePooling2D}}
  {SOFT}
outputs: [y]""",
    "a mask through a merge, and attention over it": """
inputs: {ids: {shape: [7], dtype: int32}}
nodes:
  e: {layer: Embedding, input_dim: 9, output_dim: 8, mask_zero: true}
  p: {layer: PositionEmbedding, sequence_length: 7}
  both: {merge: add, from: [e, p]}
  a: {layer: MultiHeadAttention, num_heads: 2, key_dim: 4, from: [both, both]}
  s: {merge: add, from: [both, a]}
  y: {layer: GlobalAveragePooling1D}
outputs: [y]""",
    "instances that read a parameter of the one before, beside a batch": f"""{X}
blocks:
  p: {{inputs: [x, z], nodes: {{w: {{parameter: [6]}}, s: {{merge: add, from: [x, z, w]}}}},
      outputs: {{x: w, s: s}}}}
nodes:
  a: {{block: p, repeat: 2, from: [x, x]}}
  y: {{merge: add, from: [a.s, a, x]}}
outputs: [y]""",
    "normalizations with a factor or an offset alone": f"""{SEQ}
nodes:
  n: {{layer: BatchNormalization, center: false, unbiased: true}}
  d: {{layer: Dense, units: 4}}
  m: {{layer: BatchNormalization, scale: false, unbiased: true}}
outputs: [m]""",
    "parallel instances of which each gives another output": f"""{X}
blocks:
  two: {{inputs: [x], nodes: {{a: {{layer: Dense, units: 4}}, b: {{layer: Dense, units: 5, from: x}}}},
      outputs: [a, b]}}
nodes:
  both: {{block: two, parallel: 2, from: x}}
  y: {{merge: concatenate, from: [both.0.a, both.1.b]}}
outputs: [y]""",
    "two outputs with their losses, one of a middle node": f"""{X}
nodes:
  h: {{layer: Dense, units: 5, activation: gelu}}
  side: {{layer: Dense, units: 1, activation: sigmoid, from: h}}
  j: {{merge: concatenate, from: [h, side]}}
  {SOFT}
outputs: {{y: {{loss: sparse_categorical_crossentropy}}, side: {{loss: binary_crossentropy}}}}""",
    "a gate in a formula, of a block with two outputs": f"""{X}
blocks:
  halves:
    inputs: [x]
    nodes: {{a: {{layer: Dense, units: 4, from: x}}, b: {{layer: Dense, units: 4, from: x}}}}
    outputs: [a, b]
nodes:
  h: {{block: halves}}
  g: {{compute: "h.a * sigmoid(h.b) + mean(h.a, axis=-1, keepdims=true)"}}
  {SOFT}
outputs: [y]""",
    "a parameter, broadcast over steps of open length": f"""{SEQ}
nodes:
  token: {{parameter: [1, 6]}}
  with: {{compute: x + token}}
  r: {{layer: LSTM, units: 5}}
  {SOFT}
outputs: [y]""",
    "a bidirectional layer around a repeated one": f"""{SEQ}
nodes:
  r: {{layer: Bidirectional, wraps: {{layer: LSTM, units: 3, return_sequences: true}}, repeat: 2}}
  p: {{layer: GlobalMaxPooling1D}}
  {SOFT}
outputs: [y]""",
    "a dense layer for each step, of a shared block": f"""{SEQ}
blocks: {{unit: {{inputs: [x], nodes: {{d: {{layer: Dense, units: 6, activation: relu}},
    n: {{layer: LayerNormalization}}}}}}}}
shared: {{u: {{block: unit}}}}
nodes:
  a: {{call: u, from: x}}
  b: {{call: u, from: a}}
  s: {{merge: average, from: [a, b]}}
  y: {{layer: TimeDistributed, wraps: {{layer: Dense, units: 2}}}}
outputs: [y]""",
    "channels first, then groups": """
inputs: {x: {shape: [4, 6, 6], data_format: channels_first}}
nodes:
  c: {layer: Conv2D, filters: 6, kernel_size: 3, groups: 2, activation: relu}
  n: {layer: GroupNormalization, groups: 3}
  d: {layer: DepthwiseConv2D, kernel_size: 2}
  f: {layer: Flatten}
  y: {layer: Dense, units: 2}
outputs: [y]""",
    "an encoder and a decoder with skips between": f"""{IMG}
blocks:
  conv:
    inputs: [x]
    params: {{filters: 4}}
    nodes: {{c: {{layer: Conv2D, filters: $filters, kernel_size: 3, padding: same, activation: relu}}}}
nodes:
  d1: {{block: conv, filters: 4}}
  p1: {{layer: MaxPooling2D}}
  d2: {{block: conv, filters: 6}}
  up: {{layer: Conv2DTranspose, filters: 4, kernel_size: 2, strides: 2}}
  j: {{merge: concatenate, from: [d1, up]}}
  u1: {{block: conv, filters: 4}}
  y: {{layer: Conv2D, filters: 2, kernel_size: 1, activation: softmax}}
outputs: [y]""",
    "numbers from params, presets and expressions": f"""
params: {{width: 4, depth: 2}}
presets: {{large: {{width: 8, depth: 3}}}}
{X}
blocks: {{mlp: {{inputs: [x], params: {{w: 4}}, nodes: {{u: {{layer: Dense, units: $(2 * w),
    activation: swish}}, d: {{layer: Dense, units: $w}}}}}}}}
nodes:
  first: {{layer: Dense, units: $width}}
  m: {{block: mlp, w: $width, repeat: $depth}}
  {SOFT}
outputs: [y]""",
    "blocks in blocks, each repeated by its index": f"""{X}
blocks:
  inner: {{inputs: [x], params: {{u: 2}}, nodes: {{d: {{layer: Dense, units: $u, activation: elu}}}}}}
  outer: {{inputs: [x], nodes: {{i: {{block: inner, repeat: {{u: [3, 5]}}}},
      n: {{layer: LayerNormalization}}}}}}
nodes: {{o: {{block: outer, repeat: 2}}, {SOFT}}}
outputs: [y]""",
    "ids and numbers, with a constant of an op": """
inputs: {kind: {shape: [1], dtype: int32}, x: {shape: [3]}}
nodes:
  hot: {op: one_hot, from: kind, num_classes: 4}
  flat: {layer: Flatten}
  lg: {op: log1p, from: {x: pos}}
  pos: {op: abs, from: x}
  all: {merge: concatenate, from: [flat, lg]}
  y: {layer: Dense, units: 2}
outputs: [y]""",
    "a softmax that is read, and returned": f"""{X}
nodes:
  {SOFT}
  top: {{op: max, from: y, axis: -1, keepdims: true}}
  z: {{compute: y / top}}
outputs: [y, z]""",
    "residuals of convolutions over steps, dilated": f"""{SEQ}
blocks:
  tcn:
    inputs: [x]
    params: {{dilation: 1}}
    nodes:
      c: {{layer: Conv1D, filters: 6, kernel_size: 2, padding: causal, dilation_rate: $dilation,
          activation: relu}}
      d: {{layer: Dropout, rate: 0.2}}
      s: {{merge: add, from: [x, d]}}
nodes: {{t: {{block: tcn, repeat: {{dilation: [1, 2, 4]}}}}, p: {{layer: GlobalAveragePooling1D}}, {SOFT}}}
outputs: [y]""",
    "states of a recurrent layer that another begins with": f"""{SEQ}
nodes:
  enc: {{layer: LSTM, units: 4, return_state: true}}
  dec: {{layer: LSTM, units: 4, return_sequences: true, from: {{sequences: x, initial_state: [enc.state_h,
      enc.state_c]}}}}
  y: {{layer: Dense, units: 2}}
outputs: [y]""",
    "names that Python keeps, in formulas": f"""{X}
nodes:
  for: {{layer: Dense, units: 3, activation: relu, from: x}}
  lambda: {{layer: Dense, units: 3, from: x}}
  y: {{compute: for * lambda - not}}
  not: {{layer: Dense, units: 3, from: x}}
outputs: [y]""",
    "a regularized and constrained stack with a learned slope": f"""{X}
nodes:
  a: {{layer: Dense, units: 5, kernel_regularizer: {{name: l2, l2: 0.01}}, kernel_constraint: non_neg,
      activation: relu}}
  b: {{layer: Dense, units: 4, use_bias: false}}
  c: {{layer: PReLU}}
  {SOFT}
outputs: {{y: {{loss: sparse_categorical_crossentropy, metrics: [accuracy]}}}}""",
}


def loss_of(program: Program, module: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """The sum of the squares of all outputs, as the graph computes them."""
    found = interpreter.interpret(program, module, inputs)
    return torch.stack([value.square().sum() for value in found.values()]).sum()


@pytest.mark.parametrize("name", MIXED)
def test_outputs_and_gradients_are_those_of_the_graph(name: str) -> None:
    program = graphspec.compile(MIXED[name])
    module, inputs = randomized(program), example(program, 3)
    wanted = interpreter.interpret(program, module, inputs)
    found = named(program, module(*inputs.values()))
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9)
    torch.stack([value.square().sum() for value in found.values()]).sum().backward()
    kept = {key: value for key, value in module.state_dict().items() if "num_batches_tracked" not in key}
    assert program.summary().total_params == sum(value.numel() for value in kept.values())
    step, generator = 1e-6, torch.Generator().manual_seed(2)
    along = {
        key: torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        for key, weight in module.named_parameters()
    }
    gradients = {key: weight.grad for key, weight in module.named_parameters()}
    slope = sum(float((each * along[key]).sum()) for key, each in gradients.items() if each is not None)
    sides = []
    with torch.no_grad():
        for sign in (1, -2):
            for key, weight in module.named_parameters():
                weight.add_(along[key], alpha=sign * step)
            sides.append(float(loss_of(program, module, inputs)))
    assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", MIXED)
def test_an_example_alone_is_as_among_others_and_training_moves_each_weight(name: str) -> None:
    program = graphspec.compile(MIXED[name])
    module, inputs = randomized(program), example(program, 3)
    with torch.no_grad():
        together = named(program, module(*inputs.values()))
        alone = named(program, module(*(x[1:2] for x in inputs.values())))
    for key, value in alone.items():
        torch.testing.assert_close(together[key][1:2], value, rtol=1e-9, atol=1e-9)
    outputs = named(program, module.train()(*inputs.values()))
    torch.stack([value.square().sum() for value in outputs.values()]).sum().backward()
    still = [key for key, weight in module.named_parameters() if weight.grad is None]
    assert still == []
