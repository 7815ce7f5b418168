"""Names in emitted source."""

import ast
import builtins
import keyword
from typing import Any

import pytest
import torch

import graphspec
from graphspec.emit import code
from graphspec.weights.names import MODULE_ATTRIBUTES, RESERVED


def test_variables_around_a_wrapped_call_hide_no_shared_layer() -> None:
    spec = """
inputs: {a: {shape: [4]}, b: {shape: [steps, 4]}}
shared: {watched: {layer: Dense, units: 1, activation: tanh}, step: {layer: BatchNormalization}}
blocks:
  slope: {inputs: [x], nodes: {s: {layer: InputGradient, wraps: {call: watched}}}}
  rows: {inputs: [x], nodes: {r: {layer: TimeDistributed, wraps: {call: step}}}}
nodes:
  s: {block: slope, from: a}
  t: {call: watched, from: s}
  r: {block: rows, from: b}
  q: {call: step, from: s}
outputs: [t, r, q]
"""
    program = graphspec.compile(spec)
    assert "lambda watched: watched_(watched)" in program.source and "step_(step) for step" in program.source
    module, a, b = program.module(), torch.ones(3, 4), torch.ones(3, 2, 4)
    found = module(a, b)
    weight = module.get_parameter("watched.weight")
    slope = weight * (1 - torch.tanh(a @ weight.T).square())
    torch.testing.assert_close(found["t"], torch.tanh(slope @ weight.T))


INPUTS = """
inputs: {input: {shape: [4]}, id: {shape: [4]}, lambda: {shape: [4]}}
blocks:
  filter: {inputs: [set], nodes: {k: {compute: set + set}}}
nodes:
  both: {merge: add, from: [input, id, lambda]}
  open: {block: filter}
  last: {block: filter}
  sum:  {compute: open * last + open}
  y:    {layer: Dense, units: 1}
outputs: [open, y]
"""


def test_only_arguments_have_names_of_functions_that_no_forward_calls() -> None:
    source = graphspec.compile(INPUTS).source
    assert "def forward(self, input: Tensor, id: Tensor, lambda_: Tensor)" in source
    assert "def filter_(set: Tensor)" in source and "open_ = filter_(" in source, source


LOOPS = """
inputs: {x: {shape: [4]}}
blocks:
  step:
    inputs: {state: required, total: null}
    nodes:
      next: {layer: Dense, from: state, units: 4}
      sum:  {merge: add, from: [next, total]}
    outputs: {state: next, total: sum}
  rk4: {inputs: [h], nodes: {k: {compute: h * h}}}
nodes:
  pre:   {layer: Dense, units: 4, activation: tanh, repeat: 2}
  steps: {block: step, from: {state: pre}, repeat: 2}
  turn:  {block: rk4, from: steps.total}
  other: {layer: Dense, units: 4, activation: relu}
  y:     {layer: Dense, from: other, units: 1}
  z:     {layer: Dense, from: [other], units: 2}
outputs: [y, z]
"""


def test_variables_that_last_are_called_as_their_nodes() -> None:
    source = graphspec.compile(LOOPS).source
    assert "for layer in self.pre:\n            x = layer(x).tanh()" in source, source
    assert "steps, steps_total = step(steps, steps_total)" in source, source
    assert "def rk4(" in source and "y = self.y(other)" in source and "y2" not in source


IMAGES = """
inputs: {image: {shape: [h, w, 3]}}
nodes:
  conv:  {layer: Conv2D, filters: 4, kernel_size: 1}
  tones: {op: arange, from: conv, axis: -1}
  rows:  {op: arange, from: conv, axis: 1}
  place: {layer: Embedding, input_dim: 50, output_dim: 4}
  sum:   {compute: "conv + place[:, :, None]"}
  mask:  {layer: Conv2D, filters: 1, kernel_size: 1, activation: sigmoid}
  twice: {compute: mask * mask}
  level: {compute: "mean(square(conv), axis=[1, 2, 3])"}
outputs: {mask: {}, twice: {}, level: {}, tones: {}}
"""


def test_a_permuted_image_is_asked_for_nothing() -> None:
    """Its sizes and its device are those of the image as it is; what is chosen from two is permuted once."""
    source = graphspec.compile(IMAGES).source
    assert "torch.arange(conv.shape[2], device=conv.device)" in source, source
    assert "torch.arange(conv.shape[1], device=conv.device)" in source, source
    assert "conv.square().mean((1, 2, 3))" in source, source
    assert "(mask_logits if logits else mask).permute(0, 2, 3, 1)" in source, source


TURNS = [
    ("permute", 3, (1, 2, 0)),
    ("permute", 3, (-1, 0, -2)),
    *(("transpose", rank, axes) for rank in (3, 4) for axes in ((1, 2), (-1, -2), (1, -1))),
]


@pytest.mark.parametrize(("how", "rank", "axes"), TURNS)
def test_a_size_of_turned_axes_is_that_of_the_axis(how: str, rank: int, axes: tuple[int, ...]) -> None:
    x = torch.empty(*range(2, 2 + rank))
    turned = code.fill(f"{{x}}.{how}{axes}", {"x": code.name("x")})
    for axis in range(-rank, rank):
        size = ast.unparse(code.fill("{y}.shape[{axis}]", {"y": turned, "axis": code.literal(axis)}))
        assert eval(size) == getattr(x, how)(*axes).shape[axis], size
        assert how == "transpose" or how not in size


GATED = """
inputs: {x: {shape: [t, 8]}}
nodes:
  conv:  {layer: Conv1D, filters: 8, kernel_size: 1}
  gate:  {layer: Dense, from: x, units: 8, activation: sigmoid}
  gated: {merge: multiply, from: [gate, conv]}
  y:     {layer: Dense, units: 2}
outputs: [y]
"""


def test_what_is_read_with_channels_last_is_computed_so() -> None:
    source = graphspec.compile(GATED).source
    assert source.count("transpose(1, 2)") == 2, source  # before the convolution, and after it


SCALED = """
inputs: {x: {shape: [4]}}
nodes: {y: {compute: "x * linspace(0, 1, 4) + linspace(1, 2, 4) * x + linspace(2, 3, 4)"}}
outputs: [y]
"""


def test_a_constant_of_a_formula_is_called_as_what_makes_it() -> None:
    source = graphspec.compile(SCALED).source
    for name, start in (("y_linspace", 0), ("y_linspace_2", 1), ("y_linspace_3", 2)):
        assert f"self.{name} = nn.Buffer(torch.linspace({start}, {start + 1}, 4)" in source, source


WORDS = sorted(
    {*keyword.kwlist, *keyword.softkwlist, *RESERVED, *MODULE_ATTRIBUTES, "self"} - {"index", "logits"}
)


def _named(words: list[str], node: str) -> str:
    """A spec with a node of each name, whose sum is its output."""
    nodes = "\n".join(f"  '{word}': {node}" for word in words)
    parts = [" + ".join(words[start : start + 50]) for start in range(0, len(words), 50)]
    sums = "\n".join(f"  part_{number}: {{compute: {part} + x}}" for number, part in enumerate(parts))
    last = " + ".join(f"part_{number}" for number in range(len(parts)))
    block = "blocks: {own: {inputs: [for], nodes: {super: {parameter: [4]}, in: {compute: for * super}}}}"
    head = f"inputs: {{x: {{shape: [4]}}}}\n{block if 'block' in node else ''}\n"
    return f"{head}nodes:\n{nodes}\n{sums}\n  y_: {{compute: {last}}}\noutputs: [y_]\n"


@pytest.mark.parametrize(
    "node",
    ["{layer: Dense, units: 4, from: x}", "{parameter: [4]}", "{block: own, from: x}", "{op: tanh, from: x}"],
)
def test_nodes_may_have_any_name(node: str) -> None:
    """Names that Python keeps, of its functions, of nn.Module, and of what emitted source calls: formulas
    read them, they have weights, and are exported.
    """
    words = [word for word in WORDS if "block" not in node or word not in dir(builtins)]
    program = graphspec.compile(_named(words, node))
    module: Any = program.module()
    x = torch.linspace(-1, 1, 8).reshape(2, 4)
    parts = -(-len(words) // 50)
    state = module.state_dict()
    if "Dense" in node:
        wanted = sum(x @ state[key].T for key in state if key.endswith("weight")) + parts * x
    elif "op" in node:
        wanted = len(words) * x.tanh() + parts * x
    else:
        wanted = sum(state.values()) * (x if "block" in node else 1) + parts * x
    torch.testing.assert_close(module(x), wanted)
    if "op" not in node:
        assert len({key.partition(".")[0] for key in state}) == len(words)
        exported: Any = torch.export.export(module, (x,))
        torch.testing.assert_close(exported.module()(x), wanted)


INPUT_NAMES = """
params: {WORD: 3}
inputs: {x: {shape: [WORD, 4]}}
blocks:
  own:
    params: {WORD: 2}
    inputs: [in]
    nodes: {part: {layer: Dense, units: "$(WORD * channels(in) // channels(in) + 0 * WORD)"}}
    outputs: {WORD: part}
shared: {as: {layer: Dense, units: 3}}
nodes:
  first: {block: own, WORD: $WORD}
  WORD: {call: as, from: first.WORD}
  again: {compute: "WORD + first.WORD * $WORD", when: $(WORD > 2)}
  shaped: {layer: Reshape, target_shape: [WORD, 3, 1]}
outputs: {WORD: {from: shaped}}
"""


@pytest.mark.parametrize("word", ["for", "in", "lambda", "super", "min", "self"])
def test_params_sizes_and_outputs_may_have_any_name(word: str) -> None:
    program = graphspec.compile(INPUT_NAMES.replace("WORD", word))
    module: Any = program.module()
    x = torch.ones(2, 5, 4)
    first = module.first(x)
    wanted = module.as_(first) + first * 3
    found = module(x)
    torch.testing.assert_close(found if isinstance(found, torch.Tensor) else found[word], wanted[..., None])


ALIKE = (
    *("train", "train_", "train__", "requires_grad", "requires_grad_", "self", "self_", "lambda", "lambda_"),
    *("min", "min_", "torch", "torch_", "__x", "__x_", "__x__", "_", "__", "_x"),
)


def test_names_that_differ_by_underscores_are_different_nodes_inputs_and_params() -> None:
    nodes = "".join(f"  {word}: {{layer: Dense, units: 4, activation: relu}}\n" for word in ALIKE)
    program = graphspec.compile(f"inputs: {{x: {{shape: [4]}}}}\nnodes:\n{nodes}outputs: [_x]\n")
    module = program.module()
    assert len(module.state_dict()) == 2 * len(ALIKE) and module(torch.ones(2, 4)).shape == (2, 4)
    program = graphspec.compile("""
params: {lambda: 4, lambda_: 5}
inputs: {in: {shape: [4]}, in_: {shape: [4]}}
blocks:
  pair: {inputs: [if, if_], nodes: {c: {merge: subtract, from: [if, if_]}, d: {layer: Dense, units: $lambda}}}
nodes:
  h: {block: pair, from: [in, in_]}
  y: {layer: Dense, units: $lambda_}
outputs: [y]
""")
    found = program.module()(torch.ones(2, 4), torch.ones(2, 4))
    assert found.shape == (2, 5) and found.abs().max() == 0
