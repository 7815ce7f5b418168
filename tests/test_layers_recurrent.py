"""Recurrent layers: what they refuse, and what their emitted modules keep, drop and survive."""

import copy
import warnings

import pytest
import torch
from pydantic import ValidationError

from graphspec.layers import HELPERS, REGISTRY
from graphspec.layers.base import LayerError, Site
from graphspec.tensor import Tensor, symbol

BATCH, LENGTH = symbol("batch"), symbol("length")
SEQUENCES = Tensor((BATCH, LENGTH, 3))


def layer(name, **arguments):
    return REGISTRY["layer"][name].model_validate(arguments)


def both(**wrapped):
    return layer("Bidirectional", wraps={"layer": "LSTM", "units": 4, **wrapped})


def module(kind, *arguments, **keywords):
    """A helper class, made from the source that emitted files carry."""
    scope = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "Tensor": torch.Tensor}

    def define(name):
        for need in HELPERS[name].needs:
            define(need)
        exec(HELPERS[name].source, scope)

    for name in ("LSTM", "ScannedLSTM", "Bidirectional", kind):
        define(name)
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


def test_a_wrapped_layer_may_not_go_backwards():
    assert refused(both(go_backwards=True), SEQUENCES).argument == "wraps"


def test_dropout_is_drawn_once_for_all_steps():
    code = layer("LSTM", units=4, dropout=0.5).code(Site((SEQUENCES, None), (Tensor((BATCH, 4)),)))
    assert code.call == "{self}(dropout_steps({sequences}, {dropout}, {self}.training))"
    scope = {"torch": torch, "Tensor": torch.Tensor, "F": torch.nn.functional}
    exec(HELPERS["dropout_steps"].source, scope)
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


KINDS = [("LSTM", ""), ("BidirectionalLSTM", "_reverse")]


@pytest.mark.parametrize(("kind", "suffix"), KINDS)
def test_one_bias_is_trained_saved_and_initialised(kind, suffix):
    lstm = module(kind, 3, 4)
    keys = [
        f"{name}_l0{end}"
        for end in dict.fromkeys(("", suffix))
        for name in ("weight_ih", "weight_hh", "bias_ih")
    ]
    assert list(lstm.state_dict()) == [name for name, _ in lstm.named_parameters()] == keys
    weights = lstm.state_dict()
    assert weights["bias_ih_l0"].tolist() == [0] * 4 + [1] * 4 + [0] * 8
    assert weights["weight_ih_l0"].abs().max() <= (6 / (3 + 16)) ** 0.5
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
    with torch.device("meta"):
        other = module(kind, 3, 4)
    other.to_empty(device="cpu").reset_parameters()
    other.load_state_dict(lstm.state_dict())
    assert torch.equal(other(x), y)


def test_the_scan_and_the_kernel_agree_and_share_their_keys():
    x, state = torch.randn(2, 5, 3), [torch.randn(2, 4), torch.randn(2, 4)]
    fast = module("LSTM", 3, 4, return_sequences=True, return_state=True)
    scan = module("ScannedLSTM", 3, 4, return_sequences=True, return_state=True)
    scan.load_state_dict(fast.state_dict())
    for ours, theirs in zip(scan(x, state), fast(x, state), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_one_bidirectional_kernel_equals_two_layers():
    x = torch.randn(2, 5, 3)
    fused = module("BidirectionalLSTM", 3, 4, return_sequences=True, merge_mode="ave")
    parted = module("Bidirectional", "LSTM", 3, 4, return_sequences=True, merge_mode="ave")
    weights = {}
    for name, weight in fused.state_dict().items():
        back = name.endswith("_reverse")
        weights[("backward_layer." if back else "forward_layer.") + name.removesuffix("_reverse")] = weight
    parted.load_state_dict(weights)
    torch.testing.assert_close(fused(x), parted(x))


def test_a_state_with_a_batch_of_one_stretches():
    state = [torch.randn(1, 4), torch.randn(1, 4)]
    x = torch.randn(3, 5, 3)
    for kind in ("LSTM", "ScannedLSTM"):
        lstm = module(kind, 3, 4)
        torch.testing.assert_close(lstm(x, state), lstm(x, [s.expand(3, 4) for s in state]))
