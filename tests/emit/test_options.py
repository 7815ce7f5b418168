"""Library code in an emitted file has the options that the file uses, and no others."""

from pathlib import Path

import graphspec

MASKED = """
inputs: {left: {shape: [a], dtype: int64}, right: {shape: [b], dtype: int64}}
shared:
  words: {layer: Embedding, input_dim: 50, output_dim: 8, mask_zero: true}
  code: {layer: Bidirectional, wraps: {layer: LSTM, units: 6}}
nodes:
  left_words: {call: words, from: left}
  left_code: {call: code}
  right_words: {call: words, from: right}
  right_code: {call: code}
  both: {merge: concatenate, from: [left_code, right_code]}
outputs: [both]
"""

IMAGES = """
inputs: {image: {shape: [8, 8, 3]}}
nodes:
  turned: {layer: RandomRotation, factor: 0.1}
  zoomed: {layer: RandomZoom, height_factor: 0.2}
outputs: [zoomed]
"""


def test_a_shared_masked_layer_has_no_options_that_nothing_sets() -> None:
    source = graphspec.compile(MASKED).source
    assert not [
        word for word in ("return_state", "return_sequences", "merge_mode", "mode ==") if word in source
    ]


def test_a_class_below_another_gives_it_no_options_that_no_call_gives() -> None:
    source = graphspec.compile(Path(__file__).with_name("attention_kinds.yaml")).source
    general = source.partition("class GeneralAttention")[2].partition("\nclass ")[0]
    assert "super().__init__(in_features, num_heads, key_dim)" in general
    assert "def split" in general and "def forward" not in general


def test_what_is_outside_of_images_has_the_functions_that_are_read() -> None:
    source = graphspec.compile(IMAGES).source
    assert "def reflected" in source and not [word for word in ("circular", "border") if word in source]
    source = graphspec.compile(IMAGES.replace("factor: 0.1", "factor: 0.1, fill_mode: nearest")).source
    assert "def reflected" in source and "def nearest" in source and "circular" not in source


CAUSAL = """
inputs: {x: {shape: [length, 4]}}
nodes:
  deep: {layer: Conv1D, filters: 4, kernel_size: 2, padding: causal, repeat: {dilation_rate: [1, 2, 4]}}
outputs: [deep]
"""


def test_convolutions_that_are_all_causal_have_no_other_padding() -> None:
    source = graphspec.compile(CAUSAL).source
    assert "F.pad(x, (before, 0))" in source
    assert not [word for word in ("causal", "same_padding", "valid") if word in source]


ATTENTION = """
inputs: {x: {shape: [length, 8]}}
blocks:
  unit:
    params: {width: required}
    inputs: [x]
    nodes:
      a: {layer: MultiHeadAttention, num_heads: 2, key_dim: 4, output_shape: $width, from: [x, x]}
      b: {layer: Dense, units: $width}
nodes:
  one: {block: unit, width: 6}
  two: {block: unit, width: 6}
outputs: [two]
"""


def test_what_one_instance_needs_all_give_from_the_params_of_the_block() -> None:
    source = graphspec.compile(ATTENTION).source
    assert (
        "out_features=" in source
        and "attention_out_features" not in source
        and "a_out_features" not in source
    )


WIDTHS = """
inputs: {x: {shape: [n, 32]}, m: {shape: [k, 24]}}
nodes:
  a: {layer: MultiHeadAttention, num_heads: 4, key_dim: 8, from: {query: x, value: m}}
outputs: [a]
"""


def test_what_a_file_does_not_use_leaves_no_trace() -> None:
    """No value that nothing reads, second name of another, or argument that PyTorch has by itself."""
    source = graphspec.compile(WIDTHS).source
    assert "class MultiHeadAttention" in source
    assert "F.scaled_dot_product_attention(q, k, v)\n" in source
    other = WIDTHS.replace("key_dim: 8", "key_dim: 8, output_shape: 40")
    for text in (source, graphspec.compile(other).source):
        assert not [word for word in ("_, _", "enable_gqa", "keys", "num_kv_heads") if word in text]
