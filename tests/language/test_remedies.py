"""What is said where a spec is nearly right: which words, and how to mend it."""

from __future__ import annotations

import re

import pytest

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Layer
from graphspec.diagnostics import SpecError
from graphspec.settings import SettingError, validate
from tests import bundled

HEAD = "inputs: {x: {shape: [t, 8]}}\nnodes:\n  "


@bundled(
    16,
    ("node", "message", "help"),
    [
        ("{op: multiply, x2: [1, 2]}", "a list of shape [2] does not fit", "a number for each element"),
        ("{op: mean, axis: one}", "must be an integer or a list", "write a number, such as 3"),
        ("{op: mean, axis: [one]}", '`axis` of op `mean` is "one", but must be an integer', "such as 3"),
        ("{merge: dot, from: [x, x], axes: [1]}", "is [1], but must be a list of more than 1", None),
        ("{merge: dot, from: [x, x], axes: [1, 1, 1]}", "must be a list of at most 2", None),
        ("{op: mean, axis: '1'}", "must be an integer or a list", "a number is written without quotes: 1"),
        ("{layer: Dropout, rate: half}", "must be a number", "write a number, such as 0.5"),
        ("{op: where, from: [x, 1]}", "not 1", "a number is an argument: write `x1: 1` next to `from`"),
        ("{op: add, from: {x1: x, x2: 0.5}}", "not 0.5", "write `x2: 0.5` next to `from`"),
        ("{op: matmul, from: [x, 3]}", "not 3", '{compute: "matmul(x, 3)"}'),
        ("{merge: add, from: [x, 2]}", "not 2", "{compute: x + 1}"),
        ('{compute: "mean(x, axis: [1, 2])"}', "argument `axis` of a call", "write `axis=[1, 2]`"),
        ('{compute: "mean(x, keepdims: true) + x[0: 1]"}', "`keepdims` of a call", "write `keepdims=true`"),
        ("{op: matmul, k: 3}", "has no `k`", "it takes no arguments"),
        ("{layer: LSTM, units: 4, seed: 3}", "`seed` of `LSTM` is 3, but must be null", None),
        ("{layer: LSTM, units: 4, stateful: true}", "is true, but must be false", None),
        ("{layer: LSTM, units: 4, mask: true}", "has no `mask`", "from: {sequences: ..., mask: ...}"),
        ("{layer: LSTM, units: 4, from: [x, [x, x]]}", 'not ["x", "x"]', "from: {name: [a, b]}"),
        ("{op: cast, dtype: float}", "`dtype` of op `cast`", "did you mean `float32`?"),
        ("{layer: Dense, units: 4, name: hidden}", "has no `name`", "the key of a node is its name"),
        ("{call: d, weights: w.npz}", "takes no `weights`", "a layer there goes into a block"),
        ("{layer: Dense, units: 4, weights: w.npz}", "takes no `weights`", "put the layer into a block"),
        ("{layer: Dense, units: 4, input: x}", "has no `input`", "under `from`"),
        ("{layer: Add, from: [x, x]}", "unknown layer `Add`", "write {merge: add}"),
        (
            "{layer: Dense, units: 4, kernel_regularizer: 0.1}",
            "regularizer must be a name",
            "{name: l2, l2: 0.1}",
        ),
        (
            "{layer: Dense, units: 4, kernel_regularizer: {name: l2, factor: 0.1}}",
            "`kernel_regularizer` of `Dense` has no `factor`",
            "it takes: l2",
        ),
        (
            "{layer: Dense, units: 4, kernel_constraint: {name: unit_norm, axis: a}}",
            '`axis` of `kernel_constraint` of `Dense` is "a", but must be an integer or a list',
            "such as 3",
        ),
        (
            "{layer: Dense, units: 4, bias_constraint: {name: unit_norm, axis: 1}}",
            "`unit_norm` counts norms along axis 1, and this weight has 1 axis",
            "0 to 0",
        ),
        (
            "{layer: Conv1D, filters: 4, kernel_size: 3, kernel_constraint: {name: max_norm, axis: [0, -3]}}",
            "`max_norm` names an axis twice",
            "0 to 2",
        ),
        (
            "{layer: Bidirectional, "
            "wraps: {layer: GRU, units: 4, bias_constraint: {name: max_norm, axis: 2}}}",
            "along axis 2, and this weight has 2 axes",
            "0 to 1",
        ),
        (
            "{layer: Conv1D, filters: 4, kernel_size: 3, kernel_regularizer: orthogonal}",
            "takes a matrix, and this has 3 axes",
            None,
        ),
        (
            "{layer: Dense, units: 4, activity_regularizer: orthogonal}",
            "`activity_regularizer` of `y`: `orthogonal_regularizer` takes a matrix, and this has 3 axes",
            None,
        ),
        (
            "{layer: Bidirectional, wraps: {layer: GRU, units: 4}, return_sequences: true}",
            "`Bidirectional` has no `return_sequences`",
            "wraps: {layer: ..., return_sequences: ...}",
        ),
        (
            "{layer: TimeDistributed, wraps: {layer: Dense, units: 4}, activation: relu}",
            "`TimeDistributed` has no `activation`",
            "wraps: {layer: ..., activation: ...}",
        ),
        (
            "{op: relu, parallel: 2}",
            "takes no `parallel`",
            "put it into a block, and write `parallel` on that",
        ),
        (
            "{op: broadcast_to, shape: [1, t, 8]}",
            "starts with -1, the batch",
            "write [-1, t, 8]",
        ),
        ("{op: norm, axis: [1, 2], ord: 2}", "`ord` only along one axis", "the root of the sum of squares"),
        ("{layer: Permute, dims: [0, 2, 1]}", "not [0, 2, 1]", "leave out the batch: `dims: [2, 1]`"),
        ("{layer: AvgPooling1D, pool_size: 2}", "unknown layer", "did you mean `AveragePooling1D`?"),
        ("{layer: GlobalAvgPooling1D}", "unknown layer", "did you mean `GlobalAveragePooling1D`?"),
        ("{op: pixel_shuffle}", "unknown op `pixel_shuffle`", "write {op: depth_to_space, block_size: 2}"),
        ("{op: broadcast_to, shape: [t, 8]}", "not [t, 8]", "write [-1, t, 8]"),
        ("{op: broadcast_to, shape: [-1, -1, 8]}", "not [-1, -1, 8]", "write [-1, t, 8]"),
        (
            "{layer: DepthwiseConv1D, kernel_size: 4, padding: causal}",
            'is "causal", but',
            "pad before it: {layer: ZeroPadding1D, padding: [before, 0]}",
        ),
        (
            "{layer: DepthwiseConv1D, kernel_size: 4, padding: [[3, 0]]}",
            "is [[3, 0]], but",
            "put {layer: ZeroPadding1D, padding: [3, 0]} before it",
        ),
        (
            '{op: einsum, from: [x, x], subscripts: "btc,tc->btc"}',
            "`btc,tc->btc` has no letter for the batch of `x`",
            "write `btc,btc->btc`",
        ),
        ('{op: get_item, key: ":, :t"}', "and this is `:, :t`", "a param as `$name`"),
        ("{layer: Conv1D, filters: 4, kernel_size: '3'}", 'is "3", but', "written without quotes: 3"),
        ("{layer: Dense, units: 4, use_bias: 'false'}", 'is "false", but', "write `false`, without quotes"),
        ("{layer: Dense, units: $(2 + in 3)}", "`in` is an operator of expressions", "expressions have + -"),
        ("{compute: x + and x}", "`and` is an operator of expressions", "a formula has references"),
        ("{layer: Conv2D, filters: 4, kernel_size: 3}", "and gets 3", "`Conv1D` is for 3 axes"),
        ("{layer: GlobalMaxPooling3D}", "and gets 3", "`GlobalMaxPooling1D` is for 3 axes"),
        ("{compute: x * e}", "`e` is not a node", "write `2.718281828459045`"),
        ('{compute: "x * $(math.sqrt(2))"}', "`.sqrt` reads an attribute", "write `sqrt`"),
        (
            '{compute: "x[:, 0] @ x"}',
            "takes three axes or more",
            "a vector and a matrix: `einsum(x[:, 0], x, subscripts='bj,bij->bi')`",
        ),
        ('{compute: "x[:, 0] @ x[:, 1]"}', "takes three axes or more", "{loss: in_batch_softmax"),
        ('{compute: "transpose(x[:, 0])"}', "0 (the batch) first", "{loss: in_batch_softmax"),
        (
            "{compute: \"einsum([x[:, 0], x[:, 1]], subscripts='ia,ja->ij')\"}",
            "the same letter, the batch",
            "{loss: in_batch_softmax",
        ),
        ('{expr: "x + x"}', "has no `expr`", "did you mean `compute`?"),
        (
            '{compute: "x[:, 0, 0] * x"}',
            "the batch of `x[:, 0, 0]`",
            "axes of size 1: `expand_dims(x[:, 0, 0], axis=[1, 2])`",
        ),
    ],
)
def test_what_is_nearly_right(node: str, message: str, help: str | None) -> None:
    _refused(f"{HEAD}y: {node}\noutputs: [y]\n", message, help)


@pytest.mark.parametrize(
    ("layer", "output", "help"),
    [
        ("{layer: LSTM, units: 4}", "state_h", "write `return_state: true` on it"),
        ("{layer: GRU, units: 4}", "state", "write `return_state: true` on it"),
        (
            "{layer: Attention, from: [x, x]}",
            "attention_scores",
            "write `return_attention_scores: true` on it",
        ),
        ("{layer: Dense, units: 4}", "state", "write `a`: it has one output"),
        ("{layer: GRU, units: 4, return_state: true}", "state_h", "did you mean `state`?"),
    ],
)
def test_an_output_that_an_argument_gives(layer: str, output: str, help: str) -> None:
    text = f"{HEAD}a: {layer}\n  y: {{layer: Dense, units: 1, from: a.{output}}}\noutputs: [y]\n"
    _refused(text, f"`a` has no output `{output}`", help)


@pytest.mark.parametrize(
    ("node", "message", "help"),
    [
        ("{layer: Dense, units: 8, repeat: rate}", "`repeat` is a count", "write `$rate`"),
        ("{layer: Dense, units: 8, repeat: '3'}", "`repeat` is a count", "write 3"),
        ("{layer: Dense, units: $rate, when: rate > 1}", "`when` is true or false", "write `$(rate > 1)`"),
    ],
)
def test_expressions_without_a_dollar(node: str, message: str, help: str) -> None:
    text = f"params: {{rate: 2}}\n{HEAD}z: {{layer: Dense, units: $rate}}\n  y: {node}\noutputs: [y]\n"
    _refused(text, message, help)


def test_a_block_that_reads_a_node_outside_needs_an_input() -> None:
    block = "blocks: {b: {inputs: [h], nodes: {s: {merge: add, from: [h, a]}}}}\n"
    text = f"{block}{HEAD}a: {{layer: ReLU}}\n  y: {{block: b}}\noutputs: [y]\n"
    _refused(text, "`a` is not a node or an input here", "a block sees nothing outside: give it an input")


@pytest.mark.parametrize(
    ("node", "missing", "key"),
    [("Dropout, ratio2: 0.2", "rate", "ratio2"), ("Conv1D, filters: 3, extent: 3", "kernel_size", "extent")],
)
def test_an_unknown_key_may_be_the_one_that_is_missing(node: str, missing: str, key: str) -> None:
    _refused(f"{HEAD}y: {{layer: {node}}}\noutputs: y\n", f"has no `{key}`", f"did you mean `{missing}`")


@pytest.mark.parametrize("node", ["Dropout, blub: 20", "Dropout, blub: word", "Dense, blub: relu"])
def test_an_unknown_key_whose_value_does_not_fit_is_told_by_itself(node: str) -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(f"{HEAD}y: {{layer: {node}}}\noutputs: y\n")
    assert {each.code for each in caught.value.diagnostics} == {"missing-key", "unknown-key"}


@pytest.mark.parametrize(
    ("inputs", "help"),
    [
        ("{a: {shape: [8]}, b: [8]}", "write inputs: [a, b]"),
        ("{a: {shape: [8]}, b: null}", "write inputs: {a: required, b: null}"),
    ],
)
def test_inputs_of_a_block_have_no_settings(inputs: str, help: str) -> None:
    written = help.removeprefix("write inputs: ")
    node = "{layer: MultiHeadAttention, num_heads: 1, key_dim: 4, from: {query: a, value: a, key: b}}"
    spec = f"blocks: {{two: {{inputs: {inputs}, nodes: {{h: {node}}}}}}}\n{HEAD}"
    spec += "y: {block: two, from: {a: x, b: x}}\noutputs: y\n"
    _refused(spec, "an input of a block has no settings", help)
    graphspec.compile(spec.replace(inputs, written))


def test_params_and_numbers_are_meant_in_formulas_alone() -> None:
    text = (
        f"params: {{drop: 4}}\n{HEAD}drops: {{layer: ReLU}}\n  y: {{layer: ReLU, from: drop}}\noutputs: [y]\n"
    )
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text)
    assert caught.value.diagnostics[0].help == "did you mean `drops`?"
    text = f"{HEAD}y: {{layer: ReLU, from: e}}\noutputs: [y]\n"
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text)
    assert "2.7" not in str(caught.value)


def test_a_param_without_its_dollar_in_a_formula() -> None:
    text = f"params: {{rate: 2}}\n{HEAD}y: {{compute: x * rate}}\noutputs: [y]\n"
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text)
    assert caught.value.diagnostics[0].help == "write `$rate`: it is a param"


@pytest.mark.parametrize(
    ("read", "help"),
    [
        ("a.*", "write `a.$index`: each instance reads its own"),
        ("[a.0, a.1]", "each instance reads its own by `parallel: {from: [a.0, a.1]}`"),
    ],
)
def test_parallel_readers_read_one_each(read: str, help: str) -> None:
    text = f"""{HEAD}a: {{layer: Dense, units: 4, from: x, parallel: 2}}
  y: {{layer: Dense, units: 4, from: {read}, parallel: 2}}
outputs: {{y: {{from: y.0}}}}
"""
    _refused(text, "takes one input, and `y` gives it 2", help)


@pytest.mark.parametrize(
    ("lists", "help"),
    [
        ("units: [1, 2]", "by `parallel: {from: [a, x], units: [1, 2]}`"),
        ("units: [1, 2, 3]", "merge them first"),
    ],
)
def test_parallel_readers_keep_their_lists(lists: str, help: str) -> None:
    text = (
        f"{HEAD}a: {{layer: Dense, units: 4}}\n  y: {{layer: Dense, from: [a, x], parallel: {{{lists}}}}}\n"
    )
    _refused(f"{text}outputs: {{y: {{from: y.0}}, z: {{from: y.1}}}}\n", "and `y` gives it 2", help)
    if lists in help:
        graphspec.compile(
            f"{HEAD}a: {{layer: Dense, units: 4}}\n  y: {{layer: Dense, {help[4:-1]}}}\n"
            "outputs: {y: {from: y.0}, z: {from: y.1}}\n"
        )


EINSUM = """
inputs: {x: {shape: [4]}, s: {shape: [3, 4]}, h: {shape: [2, 3, 4]}}
nodes:
  W: {parameter: [4, 5]}
  y: {op: einsum, from: [READ], subscripts: "SUBSCRIPTS"}
outputs: [y, x, s, h, W]
"""


@pytest.mark.parametrize(
    ("read", "subscripts", "remedy"),
    [
        ("x, W", "i,ij->j", "bi,bij->bj"),
        ("W, x", "ij,i->j", "bij,bi->bj"),
        ("s, W", "ti,ij->tj", "bti,bij->btj"),
        ("x, W", "b,bj->j", "ab,abj->aj"),
        ("s, W", "bti,ij->btj", "bti,bij->btj"),
        ("s, W", "ti,bij->btj", "bti,bij->btj"),
        ("h, h", "bij,bkj->bik", "abij,abkj->abik"),
        ("x, W", "bi,ij->j", None),
        ("s, W", "bti,tj->btj", None),  # 3 is not 4
        ("h, W", "i,ij->j", None),
        ("h, W", "bhtij,ij->j", None),
    ],
)
def test_an_einsum_without_the_batch_is_told_letters_that_fit(
    read: str, subscripts: str, remedy: str | None
) -> None:
    text = EINSUM.replace("READ", read)
    help = f"write `{remedy}`" if remedy else None
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text.replace("SUBSCRIPTS", subscripts))
    assert [each.help for each in caught.value.diagnostics] == [help]
    if remedy:
        graphspec.compile(text.replace("SUBSCRIPTS", remedy))


@pytest.mark.parametrize(
    ("product", "help"),
    [
        ("compute: x @ W", "`einsum(x, W, subscripts='bi,bij->bj')`"),
        (
            "compute: transpose(W, axes=[0, 2, 1]) @ x",
            "`einsum(transpose(W, axes=[0, 2, 1]), x, subscripts='bij,bj->bi')`",
        ),
        ("op: matmul, from: [x, W]", "{op: einsum, from: [x, W], subscripts: 'bi,bij->bj'}"),
    ],
)
def test_a_vector_times_a_matrix_is_told_an_einsum_that_compiles(product: str, help: str) -> None:
    head = EINSUM[: EINSUM.index("  y:")]
    end = "\noutputs: [y, s, h]\n"
    quoted = product.replace("compute: ", 'compute: "') + '"' if "compute" in product else product
    _refused(f"{head}  y: {{{quoted}}}{end}", "takes three axes or more", f"a vector and a matrix: {help}")
    node = f'{{compute: "{help[1:-1]}"}}' if "`" in help else help
    graphspec.compile(f"{head}  y: {node}{end}")


def test_a_monitor_of_validation_is_called_val() -> None:
    text = f"""{HEAD}y: {{layer: Dense, units: 1}}
outputs: {{y: {{loss: mse}}}}
train: {{callbacks: {{early_stopping: {{monitor: validation_loss}}}}}}
"""
    _refused(text, "no data are held out for validation", "write data: {validation: {split: 0.1}}")
    text += "data: {validation: {split: 0.1}}\n"
    _refused(text, "which an epoch does not have", "did you mean `val_loss`?")


def test_an_output_of_a_spec_is_told_by_its_keys() -> None:
    text = f"{HEAD}y: {{layer: Dense, units: 1}}\noutputs: {{y: {{weighting: 2}}}}\n"
    _refused(text, "has no `weighting`", "it takes: from, loss")


def _refused(text: str, message: str, help: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text)
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert help is None or help in (found.help or "")


ARGUMENTS = [
    (cls, name)
    for classes in REGISTRY.values()
    for cls in classes.values()
    for name, field in cls.model_fields.items()
    if field.alias is None
]


@pytest.mark.parametrize("value", [{"a": 1}, "zz", [1] * 9, [], ["q"], True, 1.5, -7, None], ids=repr)
def test_arguments_of_wrong_types_are_told_in_the_words_of_a_spec(value: object) -> None:
    for cls, name in ARGUMENTS:
        for problem in _problems(cls, {name: value}):
            assert not re.search(r"\b(Input|should|tuple|constrained)\b", problem), problem


def _problems(cls: type[Layer], arguments: dict[str, object]) -> list[str]:
    try:
        validate(cls, arguments, f"`{cls.spec_name}`")
    except SettingError as error:
        return [problem.message for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("metric", "help"),
    [
        ("f1_score", "write `loss: categorical_crossentropy`"),
        ("categorical_accuracy", "write `sparse_categorical_accuracy`, or `accuracy`, which fits either; or"),
    ],
)
def test_metrics_of_one_hot_targets_name_the_loss_that_has_them(metric: str, help: str) -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(
            HEAD.replace("t, 8", "8")
            + "k: {layer: Dense, units: 4, activation: softmax}\n"
            + f"outputs: {{k: {{loss: sparse_categorical_crossentropy, metrics: [{metric}]}}}}"
        )
    (found,) = caught.value.diagnostics
    assert found.code == "loss-misfit" and (found.help or "").startswith(help)


IMAGES = "inputs: {x: {shape: [h, w, 8]}}\nnodes:\n"


@pytest.mark.parametrize(
    ("before", "formula"),
    [
        ("  m: {layer: GlobalAveragePooling2D}\n", "x + HELP"),
        ("  m: {op: mean, from: x, axis: 2}\n", "HELP * x"),
    ],
)
def test_the_axes_that_a_formula_is_told_to_add_are_enough(before: str, formula: str) -> None:
    text = IMAGES + before + '  y: {compute: "FORMULA"}\noutputs: [y]\n'
    with pytest.raises(SpecError) as error:
        graphspec.compile(text.replace("FORMULA", formula.replace("HELP", "m")))
    (diagnostic,) = error.value.diagnostics
    remedy = (diagnostic.help or "").split("`")[1]
    graphspec.compile(text.replace("FORMULA", formula.replace("HELP", remedy)))


def _told(text: str) -> tuple[str, str]:
    with pytest.raises(SpecError) as error:
        graphspec.compile(text)
    return error.value.diagnostics[0].message, error.value.diagnostics[0].help or ""


def test_rows_of_other_sizes_are_joined_along_these() -> None:
    text = "inputs: {x: {shape: [2 * t, 8]}}\nnodes:\n  a: {layer: MaxPooling1D, pool_size: 2}\n"
    text += "  y: {merge: concatenate, from: [x, a]AXIS}\noutputs: [y]\n"
    _, help = _told(text.replace("AXIS", ""))
    assert help == "join them along the axis where they differ: `axis: 1`"
    graphspec.compile(text.replace("AXIS", ", axis: 1"))


def test_all_instances_are_read_by_the_name_of_their_node() -> None:
    text = "blocks:\n  b:\n    inputs: [x]\n    nodes:\n      inner: {layer: Dense, units: 8}\n"
    text += "      outer: {layer: Dense, units: 8}\n    outputs: {x: outer, skip: inner}\n"
    text += HEAD[:-2] + "  tower: {block: b, repeat: 2}\n  y: {merge: add, from: READ}\noutputs: [y]\n"
    _, help = _told(text.replace("READ", "tower.skip.*"))
    assert help == "write `tower.*.skip`"
    graphspec.compile(text.replace("READ", "tower.*.skip"))


def test_a_shared_layer_is_called() -> None:
    text = "shared: {head: {layer: Dense, units: 3}}\n"
    text += "blocks: {heads: {inputs: [x], nodes: {a: {layer: Flatten}}}}\n"
    _, help = _told(text + HEAD + "y: {block: head}\noutputs: [y]\n")
    assert help == "`head` is a shared layer: write {call: head}"
