"""Functions of keras.ops: constants beside tensors, what would mix examples, unknown sizes, noise."""

import re
from typing import Any

import keras
import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.activations import LINEAR
from graphspec.contract.layer import LayerError, Ref, Site
from graphspec.diagnostics import CODES
from graphspec.export import export
from graphspec.tensor import Tensor, symbol
from tests import bundled

BATCH, LENGTH = symbol("batch"), symbol("length")


def tensor(*shape, dtype="float32", batch=BATCH):
    return Tensor((batch, *shape), dtype)


def op(name, **arguments):
    return REGISTRY["op"][name].model_validate(arguments)


def refused(layer, *inputs):
    with pytest.raises(LayerError) as error:
        layer.infer(*inputs)
    return error.value


def run(layer, *arrays):
    """The op on real tensors, by the code that it emits, checked against what it infers."""
    types = tuple(
        Tensor((BATCH if a.shape[0] > 1 else 1, *a.shape[1:]), str(a.dtype).removeprefix("torch."))
        for a in arrays
    )
    output = layer.infer(*types)
    code = layer.code(Site(types, (output,)))
    assert code.activation == LINEAR
    names = {argument.name: f"inputs[{i}]" for i, argument in enumerate(layer.arguments)} | {"*": "*inputs"}
    names |= {str(i): f"inputs[{i}]" for i in range(len(arrays))}
    for name, value in code.constants.items():
        names[name] = value.text if isinstance(value, Ref) else repr(value)
    text = re.sub(r"\{([\w*]+)\}", lambda match: names[match[1]], code.call)
    result = eval(text, {"torch": torch, "inputs": list(arrays)})
    assert tuple(result.shape[1:]) == output.shape[1:]
    assert result.shape[0] == (arrays[0].shape[0] if output.shape[0] == 1 else max(len(a) for a in arrays))
    assert str(result.dtype) == f"torch.{output.dtype}"
    return result


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("add", lambda x: 3 + x),
        ("subtract", lambda x: 3 - x),
        ("multiply", lambda x: 3 * x),
        ("divide", lambda x: 3 / x),
        ("power", lambda x: 3**x),
        ("mod", lambda x: torch.remainder(torch.tensor(3.0), x)),
        ("maximum", lambda x: x.clamp(min=3)),
        ("minimum", lambda x: x.clamp(max=3)),
    ],
)
def test_tensors_fill_what_constants_leave(name, expected):
    x = torch.randn(4, 5, requires_grad=True)
    result = run(op(name, x1=3), x)
    torch.testing.assert_close(result, expected(x))
    result.sum().backward()
    tensors = tensor(5)
    assert op(name, x1=3.0).infer(None, tensors) == op(name, x1=3.0).infer(tensors, None) == tensors
    assert op(name, x1=3.0).code(Site((None, tensors), (tensors,))).call.count("{x2}") >= 1


def test_two_operands_are_needed():
    for layer, inputs in (
        (op("add"), (tensor(3), None)),
        (op("add", x1=1, x2=2), (None, None)),
        (op("add", x2=2), (tensor(3), tensor(3))),
    ):
        assert refused(layer, *inputs).code == "input-count"
    assert refused(op("divide", x2=0), tensor(3), None).argument == "x2"
    for constant in (True, float("nan"), float("inf"), "2"):
        with pytest.raises(ValidationError):
            op("add", x2=constant)


def test_dtypes_follow_keras():
    integers = tensor(3, dtype="int32")
    assert op("add", x2=2).infer(integers, None).dtype == "int32"
    assert op("add", x2=0.5).infer(integers, None).dtype == "float32"
    assert op("divide").infer(integers, integers).dtype == "float32"
    assert op("multiply").infer(integers, tensor(3, dtype="float16")).dtype == "float16"
    assert op("sum", axis=1).infer(tensor(3, dtype="int8")).dtype == "int32"
    assert op("mean", axis=1).infer(integers).dtype == "float32"
    assert refused(op("add", x2=1), tensor(3, dtype="bool"), None).code == "wrong-dtype"
    for name, dtype in (
        ("sum", torch.int8),
        ("sum", torch.int64),
        ("mean", torch.int64),
        ("mean", torch.int32),
    ):
        run(op(name, axis=1), torch.ones(2, 3, dtype=dtype))


def test_a_batch_meets_only_a_batch():
    error = refused(op("multiply"), tensor(8), tensor(4, 8))
    assert error.code == "wrong-rank"
    assert "batch of {input0}" in error.message
    assert "expand_dims, from: {input0}, axis: 1" in error.help
    assert op("multiply").infer(tensor(8, batch=1), tensor(4, 8)).shape == (BATCH, 4, 8)
    assert op("multiply").infer(tensor(LENGTH, 8), tensor(LENGTH, 1)).shape == (BATCH, LENGTH, 8)
    assert refused(op("multiply"), tensor(LENGTH), tensor(symbol("other"))).code == "shapes-differ"
    assert "Dense" in refused(op("add"), tensor(7), tensor(9)).help


sizes = st.integers(1, 2)


@given(st.tuples(sizes, sizes, sizes), st.tuples(sizes, sizes, sizes), st.integers(0, 3), st.booleans())
def test_inferred_shapes_are_those_of_numpy_broadcasting(first, second, axes, single):
    a, b = torch.randn(3, *first), torch.randn(1 if single else 3, *second[:axes])
    if not single and axes < 3:
        assert refused(op("add"), tensor(*first), tensor(*second[:axes])).code == "wrong-rank"
        return
    torch.testing.assert_close(run(op("add"), a, b), a + b)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reductions_spare_the_batch(name):
    assert refused(op(name), tensor(3, 4)).help.endswith("`axis: [1, 2]`")
    for axis in (0, -3, [0, 1], 3, [1, -2]):
        assert refused(op(name, axis=axis), tensor(3, 4)).argument == "axis"
    assert op(name, axis=[1, 2]).infer(tensor(LENGTH, 4)) == tensor()
    assert op(name, axis=-1, keepdims=True).infer(tensor(LENGTH, 4)) == tensor(LENGTH, 1)


def test_take_checks_what_it_can_know():
    assert op("take", indices=5, axis=1).infer(tensor(LENGTH, 4)) == tensor(4)
    assert op("take", indices=[0, -4], axis=2).infer(tensor(LENGTH, 4)) == tensor(LENGTH, 2)
    for index in (4, -5, [0, 4], []):
        assert refused(op("take", indices=index, axis=-1), tensor(LENGTH, 4)).argument == "indices"
    for axis in (None, 0):
        assert refused(op("take", indices=0, axis=axis), tensor(3)).argument == "axis"


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
@pytest.mark.parametrize("indices", [1, -1, [1, 0, 1]])
def test_take_along_every_axis(axis, indices):
    x = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    expected = x.index_select(axis, torch.tensor(indices).reshape(-1) % x.shape[axis])
    expected = expected.squeeze(axis) if isinstance(indices, int) else expected
    assert torch.equal(run(op("take", indices=indices, axis=axis), x), expected)


def test_reshape_keeps_examples_apart():
    assert op("reshape", newshape=[-1, 2, 6]).infer(tensor(3, 4)) == tensor(2, 6)
    for newshape in ([], [12], [-1, -1, 6], [2, 6], [-1, 0]):
        assert refused(op("reshape", newshape=newshape), tensor(3, 4)).argument == "newshape"
    assert refused(op("reshape", newshape=[-1, 5]), tensor(3, 4)).code == "shapes-differ"
    assert refused(op("reshape", newshape=[-1, 8]), tensor(LENGTH, 8)).code == "shapes-differ"


@pytest.mark.parametrize(
    ("newshape", "meant"),
    [
        ([-1, 4, 2], "[-1, length, 4, 2]"),
        ([-1, -1, 4, 2], "[-1, length, 4, 2]"),
        ([2, -1, 4], "[-1, 2, length, 4]"),
    ],
)
def test_a_shape_without_the_batch_is_told_with_it(newshape, meant):
    help = refused(op("reshape", newshape=newshape), tensor(LENGTH, 8)).help
    assert help is not None and help.startswith(f"write {meant}")


def test_segments_are_as_many_as_another_tensor_has():
    program = graphspec.compile("""
    inputs: {nodes: {shape: [count, 2]}, told: {shape: [edges, 2]}, goals: {shape: [edges], dtype: int64}}
    nodes:
      summed: {op: segment_sum, from: {data: told, segment_ids: goals, like: nodes}}
      most:   {compute: "segment_max(told, goals, like=nodes)"}
    outputs: [summed, most]
    """)
    nodes, told = torch.randn(2, 5, 2), torch.randn(2, 4, 2)
    goals = torch.tensor([[0, 4, 4, 1], [2, 2, 2, -1]])
    found = program.module()(nodes=nodes, told=told, goals=goals)
    for example in range(2):
        kept = goals[example] >= 0
        ids, rows = goals[example][kept], told[example][kept]
        expected = torch.zeros(5, 2).index_add(0, ids, rows)
        torch.testing.assert_close(found["summed"][example], expected)
        for node in range(5):
            mine = rows[ids == node]
            assert found["most"][example, node].tolist() == (
                mine.amax(0).tolist() if len(mine) else [-torch.inf] * 2
            )


def test_segments_need_a_number_or_a_tensor_as_long():
    data, ids = tensor(LENGTH, 2), tensor(LENGTH, dtype="int64")
    assert refused(op("segment_sum"), data, ids).code == "missing-key"
    assert refused(op("segment_sum", num_segments=3), data, ids, data).code == "input-count"
    assert refused(op("segment_sum"), data, ids, tensor()).code == "wrong-rank"


def test_axes_are_moved_made_and_taken_away():
    assert op("transpose", axes=[0, 2, 1]).infer(tensor(LENGTH, 4)) == tensor(4, LENGTH)
    for axes in (None, [1, 0, 2], [0, 1], [0, 1, 1], [0, 1, 3]):
        error = refused(op("transpose", axes=axes), tensor(LENGTH, 4))
        assert (error.argument, error.help) == ("axes", "for example `axes: [0, 2, 1]`")
    assert op("expand_dims", axis=[1, 3]).infer(tensor(LENGTH)) == tensor(1, LENGTH, 1)
    assert refused(op("expand_dims", axis=0), tensor(4)).argument == "axis"
    assert op("squeeze").infer(tensor(1, LENGTH, 1, batch=1)) == tensor(LENGTH, batch=1)
    assert op("squeeze", axis=-1).infer(tensor(1, LENGTH, 1)) == tensor(1, LENGTH)
    assert refused(op("squeeze", axis=1), tensor(LENGTH)).code == "shapes-differ"


def test_matmul_multiplies_matrices_of_each_example():
    assert op("matmul").infer(tensor(LENGTH, 4), tensor(4, 5)) == tensor(LENGTH, 5)
    assert op("matmul").infer(tensor(2, 3, 4), tensor(4, 5, batch=1)) == tensor(2, 3, 5)
    assert refused(op("matmul"), tensor(2, 3, 4), tensor(4, 5)).code == "wrong-rank"
    assert refused(op("matmul"), tensor(4), tensor(4, 5)).inputs == (0,)
    assert refused(op("matmul"), tensor(3, 4), tensor(3, 4)).help.startswith("turn one")
    assert refused(op("matmul"), tensor(3, 4), tensor(4, 5, dtype="int32")).code == "wrong-dtype"
    run(op("matmul"), torch.randn(5, 2, 3, 4), torch.randn(1, 4, 2))


def test_einsum_keeps_the_batch_first():
    assert op("einsum", subscripts="bij,bkj->bik").infer(tensor(LENGTH, 4), tensor(7, 4)) == tensor(LENGTH, 7)
    x, matrix = torch.randn(5, 2, 3), torch.randn(1, 3, 4)
    torch.testing.assert_close(run(op("einsum", subscripts="bij,bjk->bik"), x, matrix), x @ matrix)
    alone = run(op("einsum", subscripts="bij->bj"), matrix)
    torch.testing.assert_close(alone, matrix.sum(1))
    for subscripts in (
        "bij",
        "bij,bjk",
        "bij,bjk->ikb",
        "bij,jk->bik",
        "bij,bjk,bk->bi",
        "bii,bjk->bk",
        "b.i,bjk->b",
    ):
        error = refused(op("einsum", subscripts=subscripts), tensor(3, 4), tensor(4, 5))
        assert (error.code, error.argument) == ("out-of-range", "subscripts")
    assert (
        refused(op("einsum", subscripts="bij,bjk->bik"), tensor(3, 4), tensor(3, 4)).code == "shapes-differ"
    )


def test_a_softmax_along_the_last_axis_can_be_left_off_for_logits():
    assert op("softmax").output_activation() == "softmax"
    assert op("softmax", axis=1).output_activation() is None
    assert op("sigmoid").output_activation() == "sigmoid"
    assert op("add", x2=1).output_activation() is op("relu").output_activation() is None
    assert refused(op("softmax", axis=0), tensor(4)).argument == "axis"


def test_elementwise_functions_take_any_layout():
    image = tensor(4, 5, 3)
    for layer, inputs in (
        (op("exp"), (image,)),
        (op("add"), (image, image)),
        (op("add", x2=1), (image, None)),
    ):
        assert layer.memory(*inputs) == "any"
    assert op("add").memory(image, tensor(3, batch=1)) == "spec"
    assert op("softmax").code(Site((image,), (image,), channels_first=True)).activation.axis == 1


def test_noise_has_the_shape_of_another_tensor():
    torch.manual_seed(0)
    x = torch.zeros(100, 200)
    normal = run(op("random_normal", mean=2.0, stddev=0.5), x)
    assert normal.mean() == pytest.approx(2, abs=0.02)
    assert normal.std() == pytest.approx(0.5, abs=0.02)
    uniform = run(op("random_uniform", minval=-1.0, maxval=3.0), x)
    assert -1 <= uniform.min() < -0.99 and 2.99 < uniform.max() <= 3
    for name in ("random_normal", "random_uniform"):
        assert run(op(name), x.long()).std() > 0.1
    assert refused(op("random_uniform", minval=2.0), tensor(3)).argument == "maxval"


BATCHED = [
    ("argmax", {}, (tensor(3),)),
    ("argmax", {"axis": 0}, (tensor(3),)),
    ("median", {}, (tensor(3),)),
    ("all", {}, (tensor(3),)),
    ("count_nonzero", {}, (tensor(3),)),
    ("norm", {"axis": [0, 1]}, (tensor(3),)),
    ("cumsum", {}, (tensor(3),)),
    ("cumprod", {"axis": -2}, (tensor(3),)),
    ("swapaxes", {"axis1": 0, "axis2": 1}, (tensor(3),)),
    ("moveaxis", {"source": 1, "destination": 0}, (tensor(3),)),
    ("flip", {"axis": [0, 1]}, (tensor(3),)),
    ("roll", {"shift": 1, "axis": 0}, (tensor(3),)),
    ("repeat", {"repeats": 2, "axis": 0}, (tensor(3),)),
    ("tile", {"repeats": [2, 1]}, (tensor(3),)),
    ("pad", {"pad_width": [[1, 0], [0, 0]]}, (tensor(3),)),
    ("broadcast_to", {"shape": [5, 3]}, (tensor(3),)),
    ("sort", {"axis": 0}, (tensor(3),)),
    ("argsort", {}, (tensor(),)),
    ("top_k", {"k": 1}, (tensor(),)),
    ("split", {"indices_or_sections": 2, "axis": 0}, (tensor(3),)),
    ("unstack", {"num": 3, "axis": 0}, (tensor(3),)),
    ("get_item", {"key": "0"}, (tensor(3),)),
    ("get_item", {"key": "None, :"}, (tensor(3),)),
    ("get_item", {"key": "..., 1:, :"}, (tensor(3),)),
    ("take_along_axis", {"axis": 0}, (tensor(3), tensor(3, dtype="int64"))),
    ("diagonal", {"axis1": 0, "axis2": 1}, (tensor(3),)),
    ("trace", {"axis1": 1, "axis2": 0}, (tensor(3),)),
    ("tril", {}, (tensor(3),)),
    ("inv", {}, (tensor(3),)),
    ("cross", {"axis": 0}, (tensor(3), tensor(3))),
    ("log_softmax", {"axis": 0}, (tensor(3),)),
    ("normalize", {"axis": 0}, (tensor(3),)),
    ("layer_normalization", {"axis": [0, 1]}, (tensor(3),)),
    ("random_shuffle", {"axis": 0}, (tensor(3),)),
]


@bundled(16, ("name", "arguments", "inputs"), BATCHED, ids=lambda value: str(value)[:20])
def test_what_would_mix_examples_is_refused(name, arguments, inputs):
    assert refused(op(name, **arguments), *inputs).code in CODES


@pytest.mark.parametrize(
    ("key", "size"),
    [
        ("1:", LENGTH - 1),
        (":-2", LENGTH - 2),
        ("1:-1", LENGTH - 2),
        ("-1:", 1),
        ("::2", (LENGTH + 1) // 2),
        (":1", 1),
        ("0", None),
        (":3", 3),
        ("-2:", 2),
        ("1:3", 2),
        ("4::-2", 3),
        ("-2:3", LayerError),
    ],
)
def test_slices_of_unknown_lengths(key, size):
    layer, x = op("get_item", key=f":, {key}"), tensor(LENGTH, 3)
    if size is LayerError:
        assert refused(layer, x).code == "unknown-size"
    else:
        assert layer.infer(x) == (tensor(3) if size is None else tensor(size, 3))


@pytest.mark.parametrize(
    ("key", "least"),
    [(":3", 3), ("-2:", 2), ("1:8:3", 8), ("-5:-2", 5), ("3", 4), ("-3", 3), ("4::-2", 5), ("2:", 3)],
)
def test_slices_need_the_elements_that_they_count(key, least, tmp_path):
    """Shorter inputs are refused by name, by the module and by the exported file's range."""
    node = f"{{op: get_item, key: ':, {key}'}}"
    program = graphspec.compile(
        f"inputs: {{x: {{shape: [length, 2]}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n"
    )
    assert program.minimum_sizes == {"length": least}
    module = program.module()
    for length in (least, least + 3):
        x = torch.arange(2 * length * 2).reshape(2, length, 2).float()
        taken = x.numpy()[:, eval(f"np.s_[{key}]", {"np": numpy})]
        assert module(x).numpy().tolist() == taken.tolist()
    with pytest.raises(ValueError, match="`length` must be at least"):
        module(torch.zeros(2, least - 1, 2))
    assert export(program, "pt2", tmp_path / "m.pt2").free["length"].least == least


@pytest.mark.parametrize("key", ["", ":, x", ":, 1.5", ":, ::0", "..., ...", ":, 0, 0, 0", ":, 3", ":, 3:"])
def test_keys_are_checked(key):
    assert refused(op("get_item", key=key), tensor(3, 4)).argument == "key"


def test_floats_are_divided_and_rounded_down():
    x = torch.tensor([[3.5, -3.5]], requires_grad=True)
    for layer, expected in (
        (op("floor_divide", x2=2), [[1.0, -2.0]]),
        (op("floor_divide", x1=7), [[2.0, -2.0]]),
    ):
        result = run(layer, x)
        assert result.tolist() == expected
        result.sum().backward()


def test_parts_are_named():
    halves = op("split", indices_or_sections=2, axis=1)
    assert halves.output_names() == ("part1",)
    assert halves.infer(tensor(LENGTH * 2, 3)) == (tensor(LENGTH, 3),) * 2
    assert refused(halves, tensor(LENGTH, 3)).code == "shapes-differ"
    cut = op("split", indices_or_sections=[1, 4], axis=-1)
    assert cut.output_names() == ("part1", "part2")
    assert cut.infer(tensor(2, LENGTH)) == (tensor(2, 1), tensor(2, 3), tensor(2, LENGTH - 4))
    assert op("top_k", k=2).output_names() == ("indices",)


def test_where_takes_tensors_and_constants():
    condition = tensor(3, dtype="bool")
    integers = tensor(3, dtype="int32")
    assert op("where", x1=1).infer(condition, integers) == integers
    assert op("where", x1=0.5).infer(condition, integers) == tensor(3)
    for layer, inputs in (
        (op("where"), (condition, integers)),
        (op("where", x1=1), (condition,)),
        (op("where", x1=1, x2=2), (condition, integers)),
    ):
        assert refused(layer, *inputs).code == "input-count"


def test_attention_looks_where_the_mask_holds():
    spec = """
        inputs:
          query: {shape: [queries, 2, 4]}
          memory: {shape: [keys, 2, 4]}
          mask: {shape: [1, 1, keys], dtype: bool}
        nodes:
          attended: {op: dot_product_attention, from: {query: query, key: memory, value: memory, mask: mask}}
        outputs: [attended]
    """
    module = graphspec.compile(spec).module()
    query, memory = torch.randn(3, 5, 2, 4), torch.randn(3, 6, 2, 4)
    mask = torch.tensor([True, True, False, True, False, False]).expand(3, 1, 1, 6)
    scores = torch.einsum("bqhd,bkhd->bhqk", query, memory) / 2
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    expected = torch.einsum("bhqk,bkhd->bqhd", weights, memory)
    torch.testing.assert_close(module(query, memory, mask), expected)


@pytest.mark.parametrize("added", ["bias", "mask"])
def test_attention_sees_no_later_key_beside_what_is_added_or_hidden(added, tmp_path):
    """Of each head one row for all queries, as ALiBi and padding have."""
    program = graphspec.compile(f"""
        inputs:
          query: {{shape: [queries, 2, 4]}}
          memory: {{shape: [keys, 2, 4]}}
          added: {{shape: [2, 1, keys], dtype: {"float32" if added == "bias" else "bool"}}}
        nodes:
          attended:
            op: dot_product_attention
            from: {{query: query, key: memory, value: memory, {added}: added}}
            is_causal: true
        outputs: [attended]
    """)
    query, memory, values = torch.randn(3, 5, 2, 4), torch.randn(3, 6, 2, 4), torch.randn(3, 2, 1, 6)
    scores = torch.einsum("bqhd,bkhd->bhqk", query, memory) / 2
    if added == "bias":
        scores = scores + values
    else:
        values = (values > -1).index_fill(3, torch.tensor([0]), True)
        scores = scores.masked_fill(~values, -torch.inf)
    scores = scores + torch.full((5, 6), -torch.inf).triu(1)
    expected = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), memory)
    torch.testing.assert_close(program.module()(query, memory, values), expected)
    if added == "bias":  # random masks leave queries without a key, where each engine gives something else
        assert export(program, "onnx", tmp_path / "attended.onnx").fixed == {}


def test_example_indices_are_places_of_an_axis_with_a_named_size():
    for name, shape in (("take", "[steps]"), ("take_along_axis", "[steps, 1]")):
        program = graphspec.compile(f"""
            inputs:
              points: {{shape: [length, 2]}}
              order: {{shape: {shape}, dtype: int64}}
            nodes: {{picked: {{op: {name}, from: [points, order], axis: 1}}}}
            outputs: [picked]
        """)
        for length in (1, 4, 8):
            inputs = program.example_inputs(sizes={"length": length, "steps": 30})
            assert sorted(inputs["order"].unique().tolist()) == list(range(length)), name
            assert program.module()(**inputs).shape == (2, 30, 2)


def test_attention_refuses_what_does_not_fit():
    query, key = tensor(5, 2, 4), tensor(3, 2, 4)
    for layer, inputs, code in (
        (op("dot_product_attention"), (query, key, tensor(4, 2, 4)), "shapes-differ"),
        (op("dot_product_attention"), (query, tensor(3, 1, 4), tensor(3, 1, 4)), "shapes-differ"),
        (op("dot_product_attention"), (query, tensor(3, 4), key), "wrong-rank"),
        (
            op("dot_product_attention"),
            (query, key, key, tensor(1, 5, 3), tensor(1, 5, 3, dtype="bool")),
            "input-count",
        ),
        (op("dot_product_attention"), (query, key, key, tensor(1, 5, 2)), "shapes-differ"),
        (op("dot_product_attention"), (query, key, key, None, tensor(1, 5, 3)), "wrong-dtype"),
    ):
        assert refused(layer, *inputs).code == code


PARTS = """
inputs: {x: {shape: [4, 6]}}
nodes:
  parts: {op: split, from: x, indices_or_sections: 3, axis: -1}
  rows:  {op: unstack, from: x, num: 4, axis: 1}
  first: {merge: add, from: [parts.part0, parts.part2]}
  all:   {merge: concatenate, from: parts.*}
  f:     {compute: "sum(stack(rows.*), axis=1) - rows.part0 - rows"}
outputs: [first, all, f]
"""


def test_parts_are_numbered_from_0_and_all_of_them_are_a_star():
    x = torch.randn(2, 4, 6)
    found = graphspec.compile(PARTS).module()(x)
    torch.testing.assert_close(found["first"], x[..., :2] + x[..., 4:])
    torch.testing.assert_close(found["all"], x)
    torch.testing.assert_close(found["f"], x.sum(1) - 2 * x[:, 0])


@given(
    st.integers(1, 7),
    st.tuples(*[st.none() | st.integers(-9, 9)] * 2, st.integers(-3, 3).filter(bool)),
)
def test_slices_with_any_step_are_those_of_numpy(size, ends):
    expected = torch.arange(size).numpy()[slice(*ends)]
    key = ":".join("" if end is None else str(end) for end in ends)
    layer = op("get_item", key=f":, {key}")
    x = torch.arange(2 * size).reshape(2, size)
    if not len(expected):
        assert refused(layer, tensor(size)).code == "out-of-range"
        return
    types = (tensor(size, dtype="int64"),)
    code = layer.code(Site(types, (layer.infer(*types),)))
    text = re.sub(r"\{(\w+)\}", lambda match: str(code.constants.get(match[1], match[1])), code.call)
    assert eval(text, {"x": x})[0].tolist() == expected.tolist()
    unknown = REGISTRY["op"]["get_item"].model_validate({"key": f":, {key}"})
    try:
        left = unknown.infer(tensor(LENGTH)).shape[1]
    except LayerError as error:
        assert error.code == "unknown-size"
    else:
        if all(count <= size for _, count in unknown.shortest(tensor(LENGTH))):
            assert (left if isinstance(left, int) else left.evaluate({"length": size})) == len(expected)


NAN, INF = float("nan"), float("inf")
SIGNED = [[7, -7, 7, -7, 0, 6]], [[3, 3, -3, -3, 5, -2]]
TIES = [[1.0, 1.0, 1.0], [2.0, 2.0, 1.0], [NAN, 0.0, 1.0], [INF, 1.0, INF], [NAN, NAN, NAN]]
EDGES = [
    *(("floor_divide", {}, pair) for pair in (SIGNED, [[[7.5, -7.5, 0.0]], [[2.0, 2.0, -3.0]]])),
    *(("mod", {}, pair) for pair in (SIGNED, [[[7.5, -7.5, -0.5]], [[2.0, 2.0, -3.0]]])),
    ("floor_divide", {"x2": -3}, [[[7, -7, 0]]]),
    ("mod", {"x2": -3}, [[[7, -7, 0]]]),
    *(("in_top_k", {"k": k}, [[2, 0, 1, 2, 0], TIES]) for k in (1, 2, 3)),
    *(("cholesky", {"upper": upper}, [[[[4.0, 2.0], [2.0, 3.0]]]]) for upper in (False, True)),
]


@pytest.mark.parametrize(("name", "arguments", "values"), EDGES, ids=lambda value: str(value)[:24])
def test_signs_ties_and_numbers_without_end_are_those_of_keras(name, arguments, values):
    inputs = [torch.tensor(value) for value in values]
    found = run(op(name, **arguments), *inputs)
    expected = getattr(keras.ops, name)(*inputs, **arguments)
    torch.testing.assert_close(found, expected, equal_nan=True, check_dtype=inputs[0].dtype != torch.int64)


@pytest.mark.parametrize(
    "node",
    [
        "op: one_hot, num_classes: 4",
        "op: one_hot, num_classes: 4, axis: 1",
        "op: multi_hot, num_classes: 4",
        "layer: CategoryEncoding, num_tokens: 4, output_mode: one_hot",
        "layer: CategoryEncoding, num_tokens: 4, output_mode: multi_hot",
        "layer: CategoryEncoding, num_tokens: 4, output_mode: count",
    ],
)
def test_an_integer_below_0_is_no_class(node: str) -> None:
    x = torch.tensor([[0, -1, 3], [-1, -1, -1]])
    settings = dict(pair.split(": ") for pair in node.split(", "))
    numbers = {key: int(value) for key, value in settings.items() if value.isdecimal()}
    if "op" in settings:
        expected = getattr(keras.ops, settings["op"])(x, **numbers)
    else:
        expected = keras.layers.CategoryEncoding(**numbers, output_mode=settings["output_mode"])(x)
    text = f"inputs: {{x: {{shape: [3], dtype: int64}}}}\nnodes: {{y: {{{node}}}}}\noutputs: [y]\n"
    found = graphspec.compile(text).module()(x)
    assert torch.equal(found, expected.float())


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
@bundled(16, "name", ["nansum", "nanmean", "floor", "ceil", "round", "sum", "mean"])
def test_functions_of_integers_give_what_keras_gives(name: str, dtype: str) -> None:
    axis = {} if name in ("floor", "ceil", "round") else {"axis": 1}
    x = torch.tensor([[1, 2, 4]], dtype=getattr(torch, dtype))
    expected = getattr(keras.ops, name)(x, **axis)
    more = ", axis: 1" if axis else ""
    text = (
        f"inputs: {{x: {{shape: [3], dtype: {dtype}}}}}\nnodes: {{y: {{op: {name}{more}}}}}\noutputs: [y]\n"
    )
    torch.testing.assert_close(graphspec.compile(text).module()(x), expected)


def test_indices_of_all_examples_take_from_each_and_indices_of_each_from_one_table() -> None:
    spec = """
    inputs: {x: {shape: [5, 3]}, own: {shape: [2], dtype: int64}}
    nodes:
      table: {parameter: [5, 4]}
      same:  {constant: [[0, 2], [1, 1]]}
      all:   {op: take, from: [x, same], axis: 1}
      last:  {op: take, from: [x, same], axis: -1}
      rows:  {op: take, from: [table, own], axis: 1}
      whole: {op: take, from: [table, same], axis: 1}
      each:  {op: take, from: [x, own], axis: 1}
    outputs: [all, last, rows, whole, each]
    """
    program = graphspec.compile(spec)
    module: Any = program.module(seed=0)
    x, own, same = torch.randn(3, 5, 3), torch.randint(0, 3, (3, 2)), torch.tensor([[0, 2], [1, 1]])
    found, (table,) = module(x, own), module.table.detach()
    expected = {
        "all": x[:, same],
        "last": x[:, :, same],
        "rows": table[own],
        "whole": table[same][None],
        "each": torch.stack([row[indices] for row, indices in zip(x, own, strict=True)]),
    }
    assert program.source.count("take_each(") == 2  # its definition, and the only case that needs it
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(("size", "dilation", "strides"), [(3, 1, 1), (4, 3, 1), (5, 1, 2), (4, 1, 2)])
def test_a_convolution_with_a_computed_kernel_keeps_an_open_size(
    size: int, dilation: int, strides: int
) -> None:
    """`same` depends on no size where the stride is 1, nor where it divides all sizes."""
    spec = f"""
    inputs: {{x: {{shape: [2 * length, 3]}}}}
    nodes:
      kernel: {{parameter: [{size}, 3, 4]}}
      y: {{op: conv, from: [x, kernel], padding: same, dilation_rate: {dilation}, strides: {strides}}}
    outputs: [y]
    """
    module: Any = graphspec.compile(spec).module(seed=0)
    for length in (2, 5, 8):
        x = torch.randn(3, 2 * length, 3)
        expected = keras.ops.conv(
            x, module.kernel.detach()[0], strides=strides, padding="same", dilation_rate=dilation
        )
        torch.testing.assert_close(module(x).detach(), torch.as_tensor(expected))


def test_equal_convolutions_of_other_windows_share_a_class() -> None:
    """A standardized kernel of any size, dilated or not."""
    spec = """
    inputs: {x: {shape: [length, 4]}}
    blocks:
      unit:
        params: {size: required, rate: 1}
        inputs: [x]
        nodes:
          kernel: {parameter: [$size, 4, 4]}
          scaled: {compute: "kernel / std(kernel, axis=[1, 2], keepdims=true)"}
          conv:   {op: conv, from: [x, scaled], padding: same, dilation_rate: $rate}
    nodes:
      a: {block: unit, size: 1}
      b: {block: unit, size: 3}
      c: {block: unit, size: 3, rate: 2}
    outputs: [c]
    """
    source = graphspec.compile(spec).source
    assert "class Unit(" in source and "class Unit2(" not in source and "stride=" not in source


def test_a_shape_that_forgets_the_batch_is_told_whole() -> None:
    spec = """
    inputs: {x: {shape: [4 * height, width, 16]}}
    nodes: {y: {op: reshape, newshape: [-1, 16]}}
    outputs: [y]
    """
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(spec)
    (found,) = error.value.diagnostics
    remedy = "[-1, 4 * height * width, 16]"
    assert found.code == "shapes-differ" and remedy in (found.help or "")
    mended = spec.replace("[-1, 16]", remedy)
    (tensor,) = graphspec.compile(mended).outputs["y"].tensors
    assert str(tensor) == "float32[batch, 4 * height * width, 16]"


def test_pixels_become_an_image_of_the_sizes_of_another() -> None:
    """The message of the layer that cannot know the sizes names the op."""
    spec = """
    inputs: {image: {shape: [height, width, 3]}}
    nodes:
      pixels: {layer: Reshape, target_shape: [-1, 3]}
      tripled: {compute: 3 * pixels}
      again: {layer: Reshape, target_shape: [height, width, -1]}
    outputs: [again]
    """
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(spec)
    (found,) = error.value.diagnostics
    remedy = "{op: reshape, from: tripled, like: node, newshape: [-1, height, width, 3]}"
    assert found.code == "unknown-size" and remedy in (found.help or "")
    mended = spec.replace(
        "{layer: Reshape, target_shape: [height, width, -1]}", remedy.replace("node", "image")
    )
    module, image = graphspec.compile(mended).module(), torch.randn(2, 4, 5, 3)
    assert torch.equal(module(image), 3 * image)
