"""Recurrent layers: what they refuse, and what their emitted modules keep, drop and survive."""

import copy
import warnings
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Example, LayerError, Site
from graphspec.diagnostics import SpecError
from graphspec.tensor import Tensor, symbol
from tests import oracle
from tests.interpreter import library
from tests.layer_contract import Case, as_tuple, assert_equal, copy_weights

BATCH, LENGTH = symbol("batch"), symbol("length")
SEQUENCES = Tensor((BATCH, LENGTH, 3))


def layer(name, **arguments):
    return REGISTRY["layer"][name].model_validate(arguments)


def both(**wrapped):
    return layer("Bidirectional", wraps={"layer": "LSTM", "units": 4, **wrapped})


def module(kind, *arguments, **keywords):
    """A class of those that emitted files carry."""
    scope = library()
    return scope[kind](*(scope.get(a, a) for a in arguments), **keywords)


def refused(layer, *inputs):
    with pytest.raises(LayerError) as error:
        layer.infer(*inputs)
    return error.value


def test_outputs_keep_a_symbolic_length():
    assert layer("LSTM", units=4).infer(SEQUENCES) == Tensor((BATCH, 4))
    outputs = layer("LSTM", units=4, return_sequences=True, return_state=True).infer(SEQUENCES)
    assert outputs == (Tensor((BATCH, LENGTH, 4)), Tensor((BATCH, 4)), Tensor((BATCH, 4)))
    assert both(return_sequences=True).infer(SEQUENCES) == Tensor((BATCH, LENGTH, 8))


def test_outputs_are_named():
    assert layer("LSTM", units=4, return_state=True).output_names() == ("state_h", "state_c")
    states = ("forward_state_h", "forward_state_c", "backward_state_h", "backward_state_c")
    assert both(return_state=True).output_names() == states
    assert layer("GRU", units=4, return_state=True).output_names() == ("state",)
    gru = layer("Bidirectional", wraps={"layer": "GRU", "units": 4, "return_state": True})
    assert gru.output_names() == ("forward_state", "backward_state")
    parted = layer(
        "Bidirectional", wraps={"layer": "LSTM", "units": 4, "return_state": True}, merge_mode=None
    )
    assert parted.output_names() == ("backward", *states)
    assert len(parted.infer(SEQUENCES)) == 6


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ((Tensor((BATCH, 3)),), "wrong-rank"),
        ((Tensor((BATCH, LENGTH, 3), "int64"),), "wrong-dtype"),
        ((Tensor((BATCH, 3, LENGTH)),), "unknown-size"),
        ((SEQUENCES, (Tensor((BATCH, 4)),)), "input-count"),
        ((SEQUENCES, (Tensor((BATCH, 4)), Tensor((BATCH, 5)))), "shapes-differ"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, code):
    assert refused(layer("LSTM", units=4), *inputs).code == code


def test_the_state_at_fault_is_named():
    error = refused(layer("LSTM", units=4), SEQUENCES, (Tensor((BATCH, 4)), Tensor((BATCH, 5))))
    assert error.inputs == (2,)
    assert "{input2} is float32[batch, 5]" in error.message
    assert "units: 4" in error.help


@pytest.mark.parametrize(
    ("wrapped", "place", "kind"),
    [
        ({"layer": "LSTM", "units": 0}, ("wraps", "units"), "greater_than"),
        ({"layer": "LSTM", "units": 3, "unit": 3}, ("wraps", "unit"), "extra_forbidden"),
        ({"layer": "LSTM", "units": 3, "activation": "rely"}, ("wraps", "activation"), "unknown_name"),
        ({"layer": "LSTN", "units": 3}, ("wraps", "layer"), "unknown_name"),
        ({"layer": "Dense", "units": 3}, ("wraps", "layer"), "not_recurrent"),
        ({"units": 3}, ("wraps",), "wraps_type"),
        ("LSTM", ("wraps",), "wraps_type"),
    ],
)
def test_errors_keep_their_place_inside_wraps(wrapped, place, kind):
    with pytest.raises(ValidationError) as error:
        layer("Bidirectional", wraps=wrapped)
    (only,) = error.value.errors()
    assert (only["loc"], only["type"]) == (place, kind)


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (Tensor((BATCH, LENGTH), "float32"), "wrong-dtype"),
        (Tensor((BATCH, 7), "bool"), "shapes-differ"),
        (Tensor((BATCH, LENGTH, 3), "bool"), "shapes-differ"),
    ],
)
@pytest.mark.parametrize("cell", [layer("GRU", units=4), both()], ids=["GRU", "Bidirectional"])
def test_masks_that_do_not_fit_are_refused(cell, mask, code):
    assert refused(cell, SEQUENCES, None, mask).code == code
    states = (Tensor((BATCH, 4)),) * (4 if cell.spec_name == "Bidirectional" else 1)
    error = refused(cell, SEQUENCES, states, mask)
    assert error.inputs[-1] == 1 + len(states) and f"{{input{error.inputs[-1]}}}" in error.message


def test_a_wrapped_layer_may_not_go_backwards():
    assert refused(both(go_backwards=True), SEQUENCES).argument == "wraps"


def test_dropout_is_drawn_once_for_all_steps():
    code = layer("LSTM", units=4, dropout=0.5).code(Site((SEQUENCES, None), (Tensor((BATCH, 4)),)))
    assert code.call == "{self}(dropout_steps({sequences}, {dropout}, {self}.training))"
    scope = library()
    x = torch.ones(2000, 7, 3)
    y = scope["dropout_steps"](x, 0.25, True)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert y.mean() == pytest.approx(1, abs=0.03)
    assert scope["dropout_steps"](x, 0.25, False) is x


def test_dropout_of_the_state_is_drawn_once_for_all_steps_and_only_in_training():
    torch.manual_seed(0)
    lstm = module("ScannedLSTM", 3, 4, return_sequences=True, dropout=0.5, recurrent_dropout=0.5)
    x = torch.randn(2, 6, 3)
    plain = module("LSTM", 3, 4, return_sequences=True)
    plain.load_state_dict(lstm.state_dict())
    assert not torch.allclose(lstm(x), plain(x))
    torch.testing.assert_close(lstm.eval()(x), plain(x))
    kept = lstm.drop(torch.ones(500, 1, 3), 0.25)
    assert kept.shape == (4, 500, 1, 3)
    assert kept.mean() == pytest.approx(1, abs=0.05)


NAMES = ["LSTM", "GRU", "SimpleRNN"]
KINDS = [
    *(("LSTM", ""), ("BidirectionalLSTM", "_reverse"), ("GRU", ""), ("BidirectionalGRU", "_reverse")),
    *(("SimpleRNN", ""), ("BidirectionalSimpleRNN", "_reverse")),
]


@pytest.mark.parametrize(("kind", "suffix"), KINDS)
def test_biases_are_trained_saved_and_initialised(kind, suffix):
    rnn = module(kind, 3, 4)
    biases = ["bias_ih", "bias_hh"] if "GRU" in kind else ["bias_ih"]
    keys = [
        f"{name}_l0{end}"
        for end in dict.fromkeys(("", suffix))
        for name in ("weight_ih", "weight_hh", *biases)
    ]
    assert list(rnn.state_dict()) == [name for name, _ in rnn.named_parameters()] == keys
    weights = rnn.state_dict()
    gates = len(weights["bias_ih_l0"]) // 4
    assert weights["bias_ih_l0"].tolist() == [0] * 4 + [int("LSTM" in kind)] * 4 * (gates > 1) + [0] * 4 * (
        gates - 2
    )
    assert weights["weight_ih_l0"].abs().max() <= (6 / (3 + 4 * gates)) ** 0.5
    torch.testing.assert_close(weights["weight_hh_l0"].T @ weights["weight_hh_l0"], torch.eye(4))


@pytest.mark.parametrize(("kind", "suffix"), KINDS)
def test_modules_survive_copies_moves_and_loading(kind, suffix):
    warnings.simplefilter("error")
    lstm, x = module(kind, 3, 4), torch.randn(2, 5, 3)
    y = lstm(x)
    twin = copy.deepcopy(lstm)
    assert torch.equal(twin(x), y)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.add_(1)
    assert torch.equal(lstm(x), y) and not torch.allclose(twin(x), y)
    torch.testing.assert_close(copy.deepcopy(lstm).double()(x.double()).float(), y)
    for assign in (False, True):
        other = module(kind, 3, 4)
        other.load_state_dict(lstm.state_dict(), assign=assign)
        assert torch.equal(other(x), y)
        torch.testing.assert_close(other(x, mask=torch.ones(2, 5, dtype=torch.bool)), y)
    with torch.device("meta"):
        other = module(kind, 3, 4)
    other.to_empty(device="cpu").reset_parameters()
    other.load_state_dict(lstm.state_dict())
    assert torch.equal(other(x), y)


@pytest.mark.parametrize("name", NAMES)
def test_the_scan_and_the_kernel_agree_and_share_their_keys(name):
    x, state = torch.randn(2, 5, 3), [torch.randn(2, 4)] * (2 if name == "LSTM" else 1)
    fast = module(name, 3, 4, return_sequences=True, return_state=True)
    scan = module(f"Scanned{name}", 3, 4, return_sequences=True, return_state=True)
    scan.load_state_dict(fast.state_dict())
    for ours, theirs in zip(scan(x, state), fast(x, state), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_one_bidirectional_kernel_equals_two_layers(name, masked):
    x = torch.randn(2, 5, 3)
    options = {"return_sequences": True, "merge_mode": "ave"}
    fused = module(f"Bidirectional{name}", 3, 4, **options)
    if masked:
        options["zero_output_for_mask"] = True
    parted = module("Bidirectional", name, 3, 4, **options)
    weights = {}
    for key, weight in fused.state_dict().items():
        back = key.endswith("_reverse")
        weights[("backward_layer." if back else "forward_layer.") + key.removesuffix("_reverse")] = weight
    parted.load_state_dict(weights)
    torch.testing.assert_close(fused(x), parted(x))
    if masked:
        mask = torch.tensor([[False, True, True, False, True], [True, False, False, False, False]])
        torch.testing.assert_close(fused(x, mask=mask), parted(x, mask=mask))


def test_a_state_with_a_batch_of_one_stretches():
    state = [torch.randn(1, 4), torch.randn(1, 4)]
    x = torch.randn(3, 5, 3)
    for kind in ("LSTM", "ScannedLSTM"):
        lstm = module(kind, 3, 4)
        for masks in ([], [torch.rand(3, 5) < 0.5]):
            whole = lstm(x, [s.expand(3, 4) for s in state], *masks)
            torch.testing.assert_close(lstm(x, state, *masks), whole)


WHOLE = {"units": 3, "return_sequences": True, "return_state": True}
MASKED = [
    ("LSTM", WHOLE, 2),
    ("LSTM", {**WHOLE, "go_backwards": True, "zero_output_for_mask": True}, 0),
    ("LSTM", {**WHOLE, "activation": "softsign"}, 2),
    ("LSTM", {"units": 3}, 2),
    ("GRU", WHOLE, 1),
    ("GRU", {**WHOLE, "reset_after": False, "go_backwards": True}, 1),
    ("SimpleRNN", {**WHOLE, "use_bias": False}, 1),
    ("SimpleRNN", {"units": 3, "activation": "relu", "zero_output_for_mask": True}, 0),
    ("Bidirectional", {"wraps": {"layer": "LSTM", **WHOLE}}, 4),
    ("Bidirectional", {"wraps": {"layer": "GRU", "units": 3, "return_state": True}}, 2),
    ("Bidirectional", {"wraps": {"layer": "SimpleRNN", **WHOLE, "activation": "softsign"}}, 2),
]


@cache
def twins(number):
    """A masked example, Keras' layer and our module, with the same weights."""
    name, arguments, states = MASKED[number]
    shapes = ((4, 2), *[(3,)] * states)
    case = Case(REGISTRY["layer"][name], Example(arguments, shapes, masks={"mask": (4,)}))
    twin, ours = oracle.build(case.cls, case.example, case.tensors()), case.module()
    twin.randomize()
    copy_weights(case, twin.variables, ours)
    return case, twin, ours


@pytest.mark.parametrize("number", range(len(MASKED)))
@settings(max_examples=settings().max_examples // 2)
@given(rows=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4))
def test_any_mask_gives_what_keras_gives(number, rows):
    with oracle.double_precision():
        case, twin, ours = twins(number)
        tensors = [*case.tensors(len(rows))[:-1], torch.tensor(rows)]
        expected = as_tuple(twin(tensors, training=False))
        for position, (a, b) in enumerate(zip(as_tuple(ours(*tensors)), expected, strict=True)):
            assert_equal(a, b, f"output {position}")


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "ScannedLSTM", "BidirectionalSimpleRNN"])
def test_masked_steps_are_not_read(kind):
    rnn = module(kind, 3, 4, return_sequences=True, return_state=True)
    mask = torch.tensor([[False, True, True, False, True], [True, False, False, False, False]])
    x = torch.randn(2, 5, 3)
    spoilt = x.masked_fill(~mask[..., None], float("nan"))
    for a, b in zip(rnn(x, mask=mask), rnn(spoilt, mask=mask), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False}), ("SimpleRNN", {})],
)
def test_dropout_of_the_state_acts_where_keras_applies_it(name, arguments, monkeypatch):
    """With the same masks on both sides, which are drawn apart."""
    rates = {"dropout": 0.4, "recurrent_dropout": 0.4}
    with oracle.double_precision():
        case = Case(
            REGISTRY["layer"][name], Example({"units": 3, **rates, **arguments, "use_bias": True}, ((5, 2),))
        )
        twin = oracle.build(case.cls, case.example, case.tensors())
        twin.randomize()
        ours = case.module().train()
        copy_weights(case, twin.variables, ours)
        cell, gates = twin.layer.cell, len(ours.node.weight_ih_l0) // 3
        kept = {width: (torch.rand(gates, 4, width) < 0.6).double() / 0.6 for width in (2, 3)}
        order = [1, 0, 2] if name == "GRU" else range(gates)  # PyTorch's gates among Keras'

        def keras_masks(x, rate):
            found = list(kept[x.shape[-1]])
            return found if getattr(cell, "dropout_mask_count", None) else found[0]

        def own_masks(x, rate):
            mask = kept[x.shape[-1]][list(order)]
            return x * (mask[:, :, None] if x.dim() == 3 else mask)

        monkeypatch.setattr(cell, "_create_dropout_mask", keras_masks)
        monkeypatch.setattr(ours.node, "drop", own_masks)
        (x,) = case.tensors()
        assert_equal(ours(x), twin([x], training=True), "output")


SHARED = """
inputs:
  text: {shape: [length], dtype: int64}
  sound: {shape: [steps, 4]}
shared:
  encoder: {layer: LSTM, units: 3}
nodes:
  vectors: {layer: Embedding, from: text, input_dim: 10, output_dim: 4, mask_zero: true}
  heard: {call: encoder, from: sound}
  read:  {call: encoder, from: vectors}
outputs: [heard, read]
"""


def test_a_shared_layer_takes_masks_where_one_of_its_calls_has_one():
    program = graphspec.compile(SHARED)
    assert "self.encoder = LSTM(4, 3)" in program.source
    found = program.module()(torch.tensor([[3, 0, 4]]), torch.randn(1, 5, 4))
    assert {name: value.shape for name, value in found.items()} == {"heard": (1, 3), "read": (1, 3)}


@pytest.mark.parametrize(
    "wrapped",
    [
        "{layer: GRU, units: 3, return_state: true}",
    ],
)
def test_what_a_wrapper_cannot_hand_on_is_refused(wrapped):
    nodes = f"nodes: {{node: {{layer: TimeDistributed, wraps: {wrapped}}}}}"
    with pytest.raises(SpecError, match="not-supported"):
        graphspec.compile(f"inputs: {{x: {{shape: [4, 5, 3]}}}}\n{nodes}\noutputs: [node]")


@pytest.mark.parametrize("wrapped", ["GRU", "SimpleRNN", "LSTM"])
def test_a_recurrent_layer_is_distributed_over_time(wrapped):
    with oracle.double_precision():
        example = Example({"wraps": {"layer": wrapped, "units": 3}}, ((2, 5, 3),))
        case = Case(REGISTRY["layer"]["TimeDistributed"], example)
        twin, ours = oracle.build(case.cls, case.example, case.tensors()), case.module()
        copy_weights(case, twin.variables, ours)
        assert_equal(ours(*case.tensors()), twin(case.tensors(), training=False), "output")
