"""Small specs that go on step by step, and specs that cannot, each with the node that is to blame."""

from __future__ import annotations

_HEAD = "inputs: {x: {shape: [length, 8]}}\n"
_TOKENS = "inputs: {tokens: {shape: [length], dtype: int64}}\n"

_PRODUCTS = (
    _HEAD
    + """nodes:
  q: {layer: Dense, from: x, units: 8}
  k: {layer: Dense, from: x, units: 8}
  v: {layer: Dense, from: x, units: 8}
  scores: {op: einsum, from: [q, k], subscripts: 'bqd,bkd->bqk'}
"""
)
_PLACES = """
  at: {op: arange, from: x, axis: 1}
  rows: {op: expand_dims, from: at, axis: 2}
  columns: {op: expand_dims, from: at, axis: 1}
"""
_WEIGHED = "\n  y: {op: einsum, from: [w, v], subscripts: 'bqk,bkd->bqd'}"

_COMPARED = (
    _PRODUCTS
    + _PLACES
    + """
  past: {op: greater_equal, from: [rows, columns]}
  hidden: {op: where, from: [past, scores], x2: -1.0e+9}
  w: {op: softmax, axis: -1}
"""
    + _WEIGHED
)
_ADDED = (
    _PRODUCTS
    + """
  ones: {op: ones_like, from: scores}
  future: {op: triu, k: 1}
  mask: {op: multiply, from: future, x2: -1.0e+9}
  hidden: {merge: add, from: [scores, mask]}
  w: {layer: Softmax}
"""
    + _WEIGHED
)
_TRIANGLE = _PRODUCTS + "  w: {op: tril, from: scores}" + _WEIGHED

BY_HAND: dict[str, str] = {
    "attention by hand": _COMPARED,
    "attention of a triangle": _ADDED,
    "linear attention": _TRIANGLE,
    "attention of heads by hand": """
inputs: {x: {shape: [length, 8]}}
nodes:
  qh: {layer: Reshape, target_shape: [-1, 2, 4]}
  qt: {op: transpose, axes: [0, 2, 1, 3]}
  kt: {op: transpose, from: qh, axes: [0, 2, 3, 1]}
  vt: {op: transpose, from: qh, axes: [0, 2, 1, 3]}
  scores: {op: matmul, from: [qt, kt]}
  scaled: {op: divide, x2: 2.0}
  ones: {op: ones_like}
  low: {op: tril}
  mask: {op: cast, dtype: bool}
  hidden: {op: where, from: [mask, scaled], x2: -1.0e+30}
  w: {layer: Activation, activation: softmax}
  drop: {layer: Dropout, rate: 0.1}
  o: {op: matmul, from: [drop, vt]}
  ot: {op: transpose, axes: [0, 2, 1, 3]}
  y: {layer: Reshape, target_shape: [-1, 8]}
""",
    "distances within a window": _PRODUCTS
    + _PLACES
    + """
  gap: {merge: subtract, from: [rows, columns]}
  past: {op: greater_equal, from: gap, x2: 0}
  near: {op: less, from: gap, x2: 3}
  seen: {op: logical_and, from: [past, near]}
  far: {op: cast, from: gap, dtype: float32}
  bias: {op: multiply, from: far, x2: -0.5}
  biased: {merge: add, from: [scores, bias]}
  w: {layer: Softmax, from: [biased, seen]}
"""
    + _WEIGHED,
    "retention": _PRODUCTS
    + _PLACES
    + """
  gap: {op: subtract, from: [rows, columns]}
  far: {op: cast, from: gap, dtype: float32}
  decay: {op: power, x1: 0.9}
  past: {op: greater_equal, from: gap, x2: 0}
  kept: {op: where, from: [past, decay], x2: 0.0}
  w: {op: multiply, from: [scores, kept]}
"""
    + _WEIGHED,
    "a mask of operators": _PRODUCTS
    + """  at: {op: arange, from: x, axis: 1}
  seen: {compute: "(at[:, :, None] >= at[:, None, :]) & ((at[:, None, :] < 2) | ~(at[:, None, :] < 5))"}
  hidden: {compute: "where(~seen, -1.0e9, scores)"}
  w: {op: softmax}
"""
    + _WEIGHED,
    "softmax by hand": _PRODUCTS
    + _PLACES
    + """
  past: {op: less_equal, from: [columns, rows]}
  hidden: {op: where, from: [past, scores], x2: -1.0e+9}
  most: {op: max, from: hidden, axis: 2, keepdims: true}
  less: {op: subtract, from: [hidden, most]}
  e: {op: exp}
  sum: {op: sum, axis: 2, keepdims: true}
  w: {op: divide, from: [e, sum]}
"""
    + _WEIGHED,
    "a mask of places for layers": _HEAD
    + "nodes:"
    + _PLACES
    + """
  past: {op: greater_equal, from: [rows, columns]}
  a: {layer: MultiHeadAttention, from: {query: x, value: x, attention_mask: past}, num_heads: 2, key_dim: 3}
  h: {layer: Reshape, from: a, target_shape: [-1, 2, 4]}
  heads: {op: expand_dims, from: past, axis: 1}
  y: {op: dot_product_attention, from: {query: h, key: h, value: h, mask: heads}}
""",
    "a mask that blocks read": """
inputs: {x: {shape: [length, 8]}}
blocks:
  attend:
    inputs: [x, bias]
    nodes:
      q: {layer: Dense, from: x, units: 8}
      s: {merge: dot, from: [q, x], axes: 2}
      hidden: {merge: add, from: [s, bias]}
      w: {op: softmax}
      a: {op: matmul, from: [w, x]}
      out: {merge: add, from: [a, x]}
nodes:"""
    + _PLACES
    + """
  past: {op: greater_equal, from: [rows, columns]}
  seen: {op: cast, dtype: float32}
  ahead: {op: subtract, x1: 1.0}
  bias: {op: multiply, x2: -1.0e+9}
  y: {block: attend, from: [x, bias], repeat: 2}
""",
}

CAUSAL: dict[str, str] = {
    **BY_HAND,
    "lstm": _HEAD + "nodes: {y: {layer: LSTM, units: 5, return_sequences: true}}",
    "lstm with its states": _HEAD
    + "nodes: {y: {layer: LSTM, units: 5, return_sequences: true, return_state: true}}",
    "other activation": _HEAD
    + "nodes: {y: {layer: LSTM, units: 5, return_sequences: true, activation: relu, recurrent_dropout: 0.1}}",
    "gru": _HEAD + "nodes: {y: {layer: GRU, units: 5, return_sequences: true, reset_after: false}}",
    "simple rnn": _HEAD + "nodes: {y: {layer: SimpleRNN, units: 5, return_sequences: true}}",
    "cells": _HEAD
    + "nodes: {y: {layer: RNN, cell: [{layer: LSTMCell, units: 5}, {layer: GRUCell, units: 4}], "
    "return_sequences: true}}",
    "a cell that begins with a state": """
inputs: {x: {shape: [length, 8]}, source: {shape: [words, 8]}}
nodes:
  read: {layer: GRU, from: source, units: 6}
  y: {layer: RNN, from: {sequences: x, initial_state: [read]}, cell: {layer: GRUCell, units: 6, dropout: 0.2},
      return_sequences: true, return_state: true}
""",
    "lstm of images": """
inputs: {x: {shape: [length, 5, 4, 2]}}
nodes:
  a: {layer: ConvLSTM2D, filters: 3, kernel_size: 2, padding: same, return_sequences: true}
  y: {layer: ConvLSTM2D, filters: 2, kernel_size: 3, return_sequences: true, recurrent_dropout: 0.1}
""",
    "stack of lstms": _HEAD + "nodes: {y: {layer: LSTM, units: 8, return_sequences: true, repeat: 3}}",
    "blocks in blocks": """
inputs: {x: {shape: [length, 8]}}
blocks:
  inner:
    inputs: [x]
    nodes:
      rnn: {layer: GRU, units: 8, return_sequences: true}
      conv: {layer: Conv1D, filters: 8, kernel_size: 3, padding: causal}
      out: {merge: add, from: [x, conv]}
  outer: {inputs: [x], nodes: {first: {block: inner, repeat: 2}, sum: {op: cumsum, axis: 1}}}
nodes: {y: {block: outer, repeat: 2}}
""",
    "shared layer, two states": """
inputs: {x: {shape: [length, 8]}}
shared: {rnn: {layer: LSTM, units: 8, return_sequences: true}}
nodes: {a: {call: rnn}, b: {call: rnn}, y: {merge: concatenate, from: [a, b]}}
""",
    "shared block, states of each call": """
inputs: {x: {shape: [length, 8]}, source: {shape: [words, 8]}}
blocks:
  inner:
    inputs: [x, memory]
    nodes:
      attention: {layer: MultiHeadAttention, from: {query: x, value: x}, num_heads: 2, key_dim: 3,
                  use_causal_mask: true}
      read: {layer: MultiHeadAttention, from: {query: attention, value: memory}, num_heads: 2, key_dim: 3}
      conv: {layer: Conv1D, filters: 8, kernel_size: 3, padding: causal}
      sum: {op: cumsum, axis: 1}
  outer:
    inputs: [x, memory]
    shared: {twice: {block: inner}}
    nodes:
      a: {call: twice, from: [x, memory]}
      b: {layer: GRU, units: 8, return_sequences: true}
      c: {call: twice, from: [b, memory]}
      out: {layer: LayerNormalization}
shared: {layer: {block: outer}}
nodes:
  read: {layer: GRU, from: source, units: 8, return_sequences: true}
  a: {call: layer, from: [x, read], repeat: 2}
  b: {call: layer, from: [x, read]}
  y: {merge: add, from: [a, b]}
""",
    "encoder and decoder": """
inputs: {x: {shape: [length, 8]}, source: {shape: [words, 8]}}
nodes:
  read: {layer: LSTM, from: source, units: 6, return_state: true, return_sequences: true}
  y: {layer: LSTM, from: {sequences: x, initial_state: [read.state_h, read.state_c]}, units: 6,
      return_sequences: true}
  seen: {layer: MultiHeadAttention, from: {query: y, value: read}, num_heads: 2, key_dim: 3}
  out: {merge: add, from: [y, seen]}
""",
    "wavenet": """
inputs: {x: {shape: [length, 8]}}
nodes:
  a: {layer: Conv1D, filters: 6, kernel_size: 2, padding: causal, activation: relu}
  b: {layer: Conv1D, filters: 6, kernel_size: 3, padding: causal, dilation_rate: 4, groups: 2}
  c: {layer: Conv1D, filters: 4, kernel_size: 1}
""",
    "the past as zeros": """
inputs: {x: {shape: [length, 8]}}
nodes:
  padded: {layer: ZeroPadding1D, padding: [2, 0]}
  before: {layer: Cropping1D, cropping: [0, 2]}
  sum: {merge: add, from: [x, before]}
  wide: {layer: ZeroPadding1D, padding: [4, 0]}
  conv: {layer: Conv1D, filters: 8, kernel_size: 3, dilation_rate: 2}
  again: {layer: ZeroPadding1D, padding: [1, 0]}
  shifted: {op: get_item, key: ":, :-1"}
  y: {merge: concatenate, from: [conv, shifted]}
""",
    "zeros that many layers read": """
inputs: {x: {shape: [length, 8]}}
nodes:
  padded: {layer: ZeroPadding1D, padding: [5, 0]}
  a: {layer: Conv1D, filters: 8, kernel_size: 3, activation: relu}
  b: {layer: LayerNormalization}
  c: {layer: DepthwiseConv1D, kernel_size: 2}
  d: {layer: Cropping1D, from: b, cropping: [1, 0]}
  e: {merge: add, from: [c, d]}
  f: {layer: MaxPooling1D, pool_size: 2, strides: 1}
  g: {layer: SeparableConv1D, filters: 8, kernel_size: 2}
  h: {op: get_item, from: e, key: ":, 1:-1"}
  y: {merge: add, from: [x, g, h]}
""",
    "windows over steps and another axis": """
inputs: {x: {shape: [length, 6, 2]}}
nodes:
  a: {layer: ZeroPadding2D, padding: [[2, 0], [1, 1]]}
  b: {layer: Conv2D, filters: 3, kernel_size: 3, strides: [1, 2]}
  c: {op: pad, pad_width: [[0, 0], [1, 0], [0, 0], [0, 0]]}
  d: {op: average_pool, pool_size: 2, strides: 1}
  e: {layer: MaxPooling2D, pool_size: [1, 2]}
  f: {op: transpose, axes: [0, 2, 1, 3]}
  g: {layer: ZeroPadding2D, padding: [[0, 0], [1, 0]]}
  kernel: {parameter: [1, 2, 3, 4]}
  h: {op: conv, from: [g, kernel]}
  i: {layer: Conv2DTranspose, filters: 2, kernel_size: [2, 1], strides: [2, 1]}
  y: {op: transpose, axes: [0, 2, 1, 3]}
""",
    "tokens that are one step late": _TOKENS
    + """nodes:
  a: {op: pad, pad_width: [[0, 0], [2, 0]]}
  b: {op: get_item, key: ":, 1:-1"}
  c: {op: one_hot, num_classes: 9}
  y: {layer: GRU, units: 4, return_sequences: true}
""",
    "causal layers in a row": _HEAD
    + "nodes: {y: {layer: Conv1D, filters: 8, kernel_size: 3, padding: causal, repeat: 3}}",
    "cumulative": _HEAD + "nodes: {a: {op: cumsum, axis: 1}, b: {op: tanh}, y: {op: cumprod, axis: 1}}",
    "frames": """
inputs: {x: {shape: [length, 8]}}
nodes:
  a: {layer: Dense, units: 12, activation: softmax}
  b: {layer: Reshape, target_shape: [-1, 3, 4]}
  c: {op: transpose, axes: [0, 1, 3, 2]}
  d: {layer: LayerNormalization, axis: [2, 3]}
  e: {op: mean, axis: 2}
  f: {layer: BatchNormalization}
  g: {op: get_item, key: "..., 1:"}
  h: {op: concatenate, from: [g, f]}
  i: {layer: Dropout, rate: 0.5}
  j: {op: expand_dims, axis: 2}
  k: {op: swapaxes, axis1: 2, axis2: 3}
  m: {op: squeeze, axis: 3}
  n: {layer: TimeDistributed, wraps: {layer: Dense, units: 3}}
""",
    "functions of each step": """
inputs: {x: {shape: [length, 8]}}
nodes:
  read: {layer: GRU, units: 8, return_sequences: true}
  sorted: {op: sort}
  order: {op: argsort, from: read}
  along: {op: take_along_axis, from: [read, order], axis: 2}
  some: {op: take, from: read, indices: [3, 1, 0, 2, 7, 7, 5, 6], axis: 2}
  best: {op: top_k, from: read, k: 2}
  table: {parameter: [8, 8], initializer: random_normal}
  experts: {op: take, from: [table, best.indices], axis: 1}
  weighed: {compute: "sum(experts * best[..., None], axis=2)"}
  mean: {op: moments, from: read, axes: 2, keepdims: true}
  average: {op: average, from: read, axis: 2}
  gaps: {op: diff, from: read}
  all: {compute: "sorted + along + some + weighed + mean.variance + average[:, :, None]"}
  both: {merge: concatenate, from: [all, gaps]}
  y: {layer: TimeDistributed, wraps: {layer: Dense, units: 4}}
""",
    "positions": """
inputs: {x: {shape: [length, 8]}}
nodes:
  a: {layer: PositionEmbedding, sequence_length: 20}
  b: {layer: SinePositionEncoding, from: x}
  c: {merge: add, from: [a, b, x]}
  d: {layer: Reshape, target_shape: [-1, 2, 4]}
  e: {layer: RotaryEmbedding}
  f: {op: arange, from: x, axis: 1, dtype: float32, start: 3, step: 2}
  g: {op: expand_dims, axis: -1}
  h: {op: expand_dims, axis: -1}
  y: {merge: multiply, from: [e, h]}
""",
    "grouped queries": _HEAD
    + "nodes: {y: {layer: GroupQueryAttention, from: {query: x, value: x}, head_dim: 3, "
    "num_query_heads: 4, num_key_value_heads: 2, use_causal_mask: true}}",
    "sliding window": _HEAD
    + "nodes: {y: {layer: MultiHeadAttention, from: {query: x, value: x}, num_heads: 2, key_dim: 3, "
    "use_causal_mask: true, sliding_window: 3}}",
    "attention of scores": _HEAD
    + "nodes: {a: {layer: Dense, units: 8}, y: {layer: Attention, from: [x, a], use_causal_mask: true}, "
    "z: {layer: AdditiveAttention, from: [y, x], use_causal_mask: true}}",
    "attention of dot products": """
inputs: {x: {shape: [length, 8]}}
nodes:
  q: {layer: Reshape, target_shape: [-1, 4, 2]}
  k: {layer: Reshape, from: x, target_shape: [-1, 4, 2]}
  y: {op: dot_product_attention, from: [q, k, k], is_causal: true, scale: 0.7}
""",
    "recurrent layers that leave out padding": """
inputs: {h0: {shape: [6]}, tokens: {shape: [length], dtype: int64}}
blocks:
  cell:
    inputs: [x, h]
    nodes: {a: {layer: Dense, from: x, units: 6}, n: {compute: tanh(a + h)}}
    outputs: {y: n, h: n}
nodes:
  t: {layer: Embedding, from: tokens, input_dim: 3, output_dim: 6, mask_zero: true}
  m: {op: not_equal, from: tokens, x2: 0}
  a: {layer: LSTM, from: t, units: 6, return_sequences: true}
  b: {layer: GRU, units: 6, return_sequences: true, zero_output_for_mask: true}
  c: {layer: GRU, units: 6, return_sequences: true, from: {sequences: t, initial_state: h0, mask: m}}
  d: {layer: LSTM, units: 6, activation: relu, return_sequences: true,
      from: {sequences: t, initial_state: [h0, h0], mask: m}}
  e: {layer: RNN, cell: [{layer: LSTMCell, units: 5}, {layer: GRUCell, units: 4}], from: b,
      return_sequences: true}
  f: {layer: Scan, wraps: {block: cell}, from: {x: t, h: h0}}
  y: {op: concatenate, from: [a, b, c, d, e, f]}
""",
    "attention of queries with a mask": """
inputs:
  source: {shape: [words, 6]}
  kept: {shape: [words], dtype: bool}
  tokens: {shape: [length], dtype: int64}
nodes:
  t: {layer: Embedding, from: tokens, input_dim: 3, output_dim: 6, mask_zero: true}
  m: {op: not_equal, from: tokens, x2: 0}
  pairs: {compute: "m[:, :, None] & kept[:, None, :]"}
  own: {layer: Attention, from: {query: t, value: t}, use_causal_mask: true}
  a: {layer: MultiHeadAttention, num_heads: 2, key_dim: 3, from: [own, source, source, m, kept]}
  b: {layer: AdditiveAttention, from: {query: own, value: source, value_mask: kept}}
  c: {layer: MultiHeadAttention, num_heads: 2, key_dim: 3,
      from: {query: own, value: source, attention_mask: pairs}}
  q: {layer: Reshape, from: t, target_shape: [-1, 2, 3]}
  k: {layer: Reshape, from: source, target_shape: [-1, 2, 3]}
  d: {op: dot_product_attention, from: {query: q, key: k, value: k, mask: each}}
  each: {compute: "pairs[:, None]"}
  e: {layer: Reshape, from: d, target_shape: [-1, 6]}
  y: {op: concatenate, from: [a, b, c, e]}
""",
    "scores that nothing reads": _HEAD
    + "nodes: {a: {layer: MultiHeadAttention, num_heads: 2, key_dim: 3, use_causal_mask: true, "
    "return_attention_scores: true, from: {query: x, value: x}}, y: {layer: Attention, from: [a, x], "
    "use_causal_mask: true, return_attention_scores: true}}",
    "differences, and a vector at each step": """
inputs: {x: {shape: [length, 3]}, user: {shape: [4]}}
nodes:
  padded: {layer: ZeroPadding1D, from: x, padding: [2, 0]}
  bends: {op: diff, n: 2, axis: 1}
  who: {compute: "broadcast_to(user[:, None], like=x, shape=[-1, length, 4])"}
  y: {op: concatenate, from: [bends, who]}
""",
    "tokens, one hot": _TOKENS + "nodes: {a: {op: one_hot, num_classes: 9}, y: {layer: Dense, units: 4}}",
    "shared table": """
inputs: {tokens: {shape: [length], dtype: int64}}
shared: {table: {layer: ReversibleEmbedding, input_dim: 9, output_dim: 4}}
nodes: {a: {call: table}, b: {layer: GRU, units: 4, return_sequences: true}, y: {call: table, reverse: true}}
""",
}
"""By what each shows."""

_ATTEND = "{layer: MultiHeadAttention, from: {query: x, value: x}, num_heads: 2, key_dim: 3"

LOOKS_AHEAD: dict[str, tuple[str, str]] = {
    "attention": (_HEAD + f"nodes: {{y: {_ATTEND}}}}}", "y"),
    "bidirectional": (
        _HEAD + "nodes: {y: {layer: Bidirectional, wraps: {layer: GRU, units: 3, return_sequences: true}}}",
        "y",
    ),
    "same padding": (_HEAD + "nodes: {y: {layer: Conv1D, filters: 4, kernel_size: 3, padding: same}}", "y"),
    "softmax over steps": (_HEAD + "nodes: {a: {op: softmax, axis: 1}, y: {layer: Dense, units: 4}}", "a"),
    "flip": (_HEAD + "nodes: {a: {op: flip, axis: 1}, y: {layer: Dense, units: 4}}", "a"),
    "normalized over steps": (_HEAD + "nodes: {y: {layer: UnitNormalization, axis: 1}}", "y"),
    "sorted steps": (_HEAD + "nodes: {a: {op: sort, axis: 1}, y: {layer: Dense, units: 4}}", "a"),
    "a mask of operators that shows the first steps": (
        _PRODUCTS
        + """  at: {op: arange, from: x, axis: 1}
  seen: {compute: "(at[:, :, None] >= at[:, None, :]) | (at[:, None, :] < 3)"}
  hidden: {compute: "where(seen, scores, -1.0e9)"}
  w: {op: softmax}
"""
        + _WEIGHED,
        "w",
    ),
    "mean of steps": (
        _HEAD + "nodes: {a: {op: mean, axis: 1, keepdims: true}, y: {merge: add, from: [x, a]}}",
        "a",
    ),
    "group normalization": (_HEAD + "nodes: {y: {layer: GroupNormalization, groups: 2}}", "y"),
    "last step": (_HEAD + "nodes: {a: {layer: LSTM, units: 8}, y: {merge: add, from: [x, a]}}", "a"),
    "states that are read": (
        _HEAD + "nodes: {a: {layer: LSTM, units: 8, return_sequences: true, return_state: true}, "
        "y: {merge: add, from: [a, a.state_h]}}",
        "y",
    ),
    "later steps": (_HEAD + 'nodes: {a: {op: get_item, key: ":, 1:"}, y: {layer: Dense, units: 4}}', "a"),
    "joined steps": (
        _HEAD + "nodes: {a: {op: roll, shift: 1, axis: 1}, y: {layer: Dense, units: 4}}",
        "a",
    ),
    "in a block": (
        "inputs: {x: {shape: [length, 8]}}\n"
        "blocks: {mix: {inputs: [x], nodes: {turned: {op: flip, axis: 1}, out: {layer: Dense, units: 8}}}}\n"
        "nodes: {y: {block: mix, repeat: 2}}",
        "turned",
    ),
    "backwards": (
        _HEAD + "nodes: {y: {layer: GRU, units: 3, return_sequences: true, go_backwards: true}}",
        "y",
    ),
    "scores without a mask": (_PRODUCTS + "  w: {op: softmax}" + _WEIGHED, "w"),
    "a mask of the wrong side": (_COMPARED.replace("greater_equal", "less_equal"), "w"),
    "a first step that sees nothing": (_COMPARED.replace("greater_equal", "greater"), "w"),
    "a triangle that is one step ahead": (_ADDED.replace("k: 1", "k: 2"), "w"),
    "a mask of small numbers": (_ADDED.replace("-1.0e+9", "-5.0"), "w"),
    "products one step ahead": (_TRIANGLE.replace("from: scores", "from: scores, k: 1"), "y"),
    "zeros in a softmax": (
        _PRODUCTS + "  low: {op: tril}\n  w: {op: softmax}" + _WEIGHED,
        "w",
    ),
    "differences without zeros before": (
        _HEAD + "nodes: {a: {op: diff, axis: 1}, y: {layer: Dense, units: 4}}",
        "a",
    ),
    "scores that are read": (
        _HEAD + "nodes: {a: {layer: Attention, from: [x, x], use_causal_mask: true, "
        "return_attention_scores: true}, y: {op: sum, from: a.attention_scores, axis: 2}}",
        "y",
    ),
    "a causal mask over what does not go on": (
        "inputs: {x: {shape: [length, 8]}, other: {shape: [words, 8]}}\n"
        "nodes: {y: {layer: Attention, from: [x, other], use_causal_mask: true}}",
        "y",
    ),
    "the sum of all products": (
        _HEAD + "nodes:\n  all: {op: einsum, from: [x, x], subscripts: 'bkd,bke->bde'}\n"
        "  y: {op: matmul, from: [x, all]}",
        "all",
    ),
    "a layer that counts the zeros before": (
        _HEAD + "nodes: {a: {layer: ZeroPadding1D, padding: [1, 0]}, "
        "b: {layer: GRU, units: 8, return_sequences: true}, "
        "c: {layer: Cropping1D, cropping: [0, 1]}, y: {merge: add, from: [x, c]}}",
        "b",
    ),
    "the last steps of those that are padded": (
        _HEAD + "nodes: {a: {layer: ZeroPadding1D, padding: [1, 0]}, "
        'b: {op: get_item, key: ":, -3:"}, y: {layer: Dense, units: 4}}',
        "b",
    ),
    "two steps for one": (_HEAD + "nodes: {a: {layer: UpSampling1D}, y: {layer: Dense, units: 4}}", "a"),
    "windows that reach ahead": (
        _HEAD + "nodes: {y: {layer: MaxPooling1D, pool_size: 3, strides: 1, padding: same}}",
        "y",
    ),
    "a transposed convolution": (
        _HEAD
        + "nodes: {a: {layer: Conv1DTranspose, filters: 4, kernel_size: 3}, y: {layer: Dense, units: 4}}",
        "a",
    ),
    "less padding than the window has": (
        _HEAD + "nodes: {a: {layer: ZeroPadding1D, padding: [1, 0]}, "
        "y: {layer: Conv1D, filters: 8, kernel_size: 3}}",
        "y",
    ),
    "padding at the end": (
        _HEAD
        + "nodes: {a: {layer: ZeroPadding1D, padding: [0, 1]}, y: {layer: Cropping1D, cropping: [1, 0]}}",
        "a",
    ),
    "the first steps left out": (
        _HEAD + "nodes: {a: {layer: Cropping1D, cropping: [1, 0]}, y: {layer: Dense, units: 8}}",
        "a",
    ),
    "a step for two": (
        _HEAD + "nodes: {y: {layer: Conv1D, filters: 4, kernel_size: 2, strides: 2, padding: causal}}",
        "y",
    ),
    "a mean for two": (_HEAD + "nodes: {y: {layer: AveragePooling1D, pool_size: 2}}", "y"),
    "what is not known": (_HEAD + "nodes: {y: {op: rfft}}", "y"),
}
"""With the node that is refused."""
