"""The layer contract: every example of every layer, merge and op, compiled and run beside Keras in float64.

Shapes, weights, outputs, gradients and moving statistics agree; of random layers, the distributions.
"""

import importlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Example, Layer
from graphspec.diagnostics import SpecError
from graphspec.train.penalties import from_keras, to_keras
from tests import bundled, one_in, oracle
from tests.distributions import PAIRS, difference, outcomes, starts_differ
from tests.layer_contract import (
    Case,
    as_tuple,
    assert_equal,
    compiled,
    copy_weights,
    gradients,
    numbers,
    paired,
)
from tests.layers.examples import examples_of

UNEXERCISED: dict[tuple[str, str], str] = {
    ("BatchNormalization", "unbiased"): "PyTorch's statistics, not Keras'; compared with them below",
    **{
        (f"{kind}Pooling{rank}D", "ceil_mode"): "PyTorch's: tests/layers/test_pooling.py"
        for kind in ("Max", "Average")
        for rank in (1, 2, 3)
    },
    ("Resizing", "align_corners"): "PyTorch's: tests/layers/test_resizing.py",
    ("UpSampling2D", "align_corners"): "PyTorch's: tests/layers/test_resizing.py",
    ("Discretization", "num_bins"): "boundaries of training data: tests/custom/test_adapting.py",
    ("Discretization", "epsilon"): "boundaries of training data: tests/custom/test_adapting.py",
    ("arange", "stop"): "makes a tensor of nothing: tests/ops/test_constants.py",
    (
        "BatchNormalization",
        "synchronized",
    ): "TensorFlow alone has it in Keras; one process is compared "
    "with the plain layer below, several with one in test_parallel.py",
}
"""Fields that no example sets, and why."""


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with oracle.double_precision():
        yield


EXAMPLES = [
    pytest.param(cls, example, id=f"{kind}-{name}-{number}")
    for kind, classes in REGISTRY.items()
    for name, cls in sorted(classes.items())
    if not cls.reads_nothing(())  # tests/ops/test_constants.py
    for number, example in enumerate(examples_of(cls))
]


SOME = [
    pytest.param(
        *each.values, id=each.id, marks=() if str(each.id).endswith(("-0", "-3")) else pytest.mark.parity
    )
    for each in EXAMPLES
]
"""The first example of each class, and the fourth; `make parity` tries the others."""
ALIKE = re.compile("layer-(ConvLSTM.D|Bidirectional|LSTM|GRU|SimpleRNN|RNN|MultiHeadAttention)-")
"""They have many examples, of steps that are theirs alike; Keras runs each step by itself."""
EXACT = [some if ALIKE.match(str(some.id)) else every for every, some in zip(EXAMPLES, SOME, strict=True)]


@bundled(16, ("cls", "example"), EXACT)
def test_every_example_is_as_keras_has_it(cls: type[Layer], example: Example) -> None:
    case = Case(cls, example)
    for check in exact(case):
        check(case)


def draws(cls: Any) -> bool:
    """Whether it may draw values, or initial weights."""
    return bool(cls.random or cls.kind == "layer")


FIRST = [
    pytest.param(*each.values, id=each.id, marks=() if str(each.id).endswith("-0") else pytest.mark.parity)
    for each in EXAMPLES
]
DRAWN = [each for each in FIRST if draws(each.values[0])]


@bundled(16, ("cls", "example"), DRAWN)
def test_examples_draw_as_keras_does(cls: type[Layer], example: Example) -> None:
    case = Case(cls, example)
    for check in drawn(case):
        check(case)


@bundled(16, ("cls", "example"), FIRST)
def test_examples_are_the_same_elsewhere(cls: type[Layer], example: Example) -> None:
    """Where sizes are unknown, and behind a layer that leaves channels at axis 1."""
    case = Case(cls, example)
    if not cls.random:
        symbolic_sizes_agree_with_numbers(case)
    if cls.kind == "layer" and case.behind():
        channels_first_memory_changes_nothing(case)


def exact(case: Case) -> Iterator[Callable[[Case], None]]:
    """What is compared with Keras for a case, number by number."""
    yield shapes_and_weights_are_those_of_keras
    if case.cls.kind != "op":
        yield masks_are_handed_on_where_keras_hands_them_on
    if not case.cls.random:
        yield calls_are_those_of_keras


def drawn(case: Case) -> Iterator[Callable[[Case], None]]:
    """What is compared as a distribution, of many draws."""
    if case.cls.random:
        yield random_layers_have_the_distribution_of_keras
    elif case.weights:
        yield weights_start_as_keras_starts_them


def test_every_class_has_examples_and_every_field_is_exercised() -> None:
    for cls in (cls for classes in REGISTRY.values() for cls in classes.values()):
        assert examples_of(cls), cls
        exercised = {key for example in examples_of(cls) for key in (*example.arguments, *example.call)}
        excused = {field for name, field in UNEXERCISED if name == cls.spec_name}
        elsewhere = {  # tests/contract/test_penalties.py
            name for name in cls.model_fields if name.endswith(("_regularizer", "_constraint"))
        }
        assert set(cls.model_fields) - exercised - elsewhere == excused, cls


def shapes_and_weights_are_those_of_keras(case: Case) -> None:
    twin = case.twin
    if case.cls.random:  # those of others are looked at where their outputs are
        assert_shapes(case, as_tuple(twin(case.tensors(), training=False)))
    weights = case.weights
    for weight, variable in paired(weights, twin.variables):
        assert (weight.keras.rsplit("/")[-1], weight.trainable) == (variable.name, variable.trainable)
        assert weight.shape == tuple(from_keras(weight, variable.value).shape)
        if weight.trainable:  # constraints and penalties see it as Keras does
            value = variable.value if weight.row is None else variable.value[weight.row]
            assert torch.equal(to_keras(weight, from_keras(weight, variable.value)), value)
    assert sum(w.size for w in weights) == sum(v.value.numel() for v in twin.variables)
    state = case.own.state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        f"node.{w.name}": w.shape for w in weights
    }


def assert_shapes(case: Case, expected: tuple[Tensor, ...]) -> None:
    said = [numbers(value.tensor) for value in case.op().outputs.values()]
    assert said == [tuple(output.shape) for output in expected]


def calls_are_those_of_keras(case: Case) -> None:
    """In inference, which moves nothing, and then in training."""
    case.twin.randomize()
    held = copy_weights(case, case.twin.variables, case.own)
    for training in (True,) if has_one_mode(case) else (False, True):
        assert_calls_agree(case, held, training)


def has_one_mode(case: Case) -> bool:
    """Whether nothing could tell inference from training: a function in Keras, and code without a module."""
    alone = len([*case.own.modules()]) == 1 and "training" not in compiled(case.text).source
    return case.twin.layer is None and alone


def assert_calls_agree(case: Case, held: dict[str, Tensor], training: bool) -> None:
    """In outputs, gradients, and what becomes of moving statistics."""
    inputs, twin_inputs = case.tensors(), case.tensors()
    twin, module = case.twin, case.own.train(training)
    expected = as_tuple(twin(twin_inputs, training=training))
    assert_shapes(case, expected)
    actual = as_tuple(module(*inputs))
    assert len(actual) == len(expected)
    for position, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert theirs.dtype != torch.float32 or case.example.dtype != "float32"
        assert_equal(ours, theirs, f"output {position}")
    assert_equal_gradients(case, twin, (actual, inputs, held), (expected, twin_inputs))
    for weight, variable in paired(case.weights, twin.variables):
        assert_equal(held[weight.name], from_keras(weight, variable.value), f"{weight.name} after the call")


def assert_equal_gradients(case: Case, twin: oracle.Twin, ours: Any, theirs: Any) -> None:
    """With respect to floating inputs and to trainable weights."""
    actual, inputs, held = ours
    expected, twin_inputs = theirs
    trainable = [(w, v) for w, v in paired(case.weights, twin.variables) if w.trainable]
    floats = [x for x in inputs if x.requires_grad]
    twin_floats = [x for x in twin_inputs if x.requires_grad]
    found = gradients(actual, [*floats, *(held[w.name] for w, _ in trainable)])
    wanted = gradients(expected, [*twin_floats, *(v.value for _, v in trainable)])
    wanted[len(floats) :] = [
        from_keras(w, g) for (w, _), g in zip(trainable, wanted[len(floats) :], strict=True)
    ]
    for position, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert_equal(a, b, f"gradient {position}")


def masks_are_handed_on_where_keras_hands_them_on(case: Case) -> None:
    twin = case.twin.layer
    if case.cls.spec_name == "SpectralNormalization":
        twin = twin.layer  # which sets the mask of what it returns, and the wrapper returns the same
    xs = case.tensors()[: len(case.example.shapes)]
    if twin is None or {x.dim() for x in xs} != {3}:
        return  # functions of keras.ops drop masks, and a mask has an axis of steps
    op = case.op()
    layer = op.layer if op.wrapper is None else op.wrapper
    every = tuple(tuple("mask" for _ in a) if isinstance(a, tuple) else "mask" for a in op.arguments)
    steps = [torch.ones(x.shape[:2], dtype=torch.bool) for x in xs]
    listed = case.cls.variadic or case.cls.spec_name in ("Attention", "AdditiveAttention")
    expected = None
    if twin.supports_masking:
        masks = twin.compute_mask(xs if listed else xs[0], steps if listed else steps[0])
        expected = masks[0] if isinstance(masks, list | tuple) else masks
    assert layer is not None
    assert (layer.mask(op.arguments, every) is None) == (expected is None)


def symbolic(case: Case) -> dict[int, str]:
    """Names for as many sizes of the inputs as may be unknown: mostly all."""
    names: dict[int, str] = {}
    sizes = dict.fromkeys(size for shape in case.example.shapes for size in shape if size > 1)
    every = {size: f"n{size}" for size in sizes}
    with suppress(SpecError):
        case.op(every)
        return every
    for size in sizes:
        try:
            case.op({**names, size: f"n{size}"})
        except SpecError:
            continue
        names[size] = f"n{size}"
    return names


def symbolic_sizes_agree_with_numbers(case: Case) -> None:
    names = symbolic(case)
    op, sizes = case.op(names), {name: size for size, name in names.items()}
    known_shapes = [numbers(value.tensor) for value in case.op().outputs.values()]
    assert [numbers(value.tensor, sizes) for value in op.outputs.values()] == known_shapes
    assert op.weights() == case.weights
    if not names:
        return
    known, unknown = case.module().eval(), case.module(case.spec(names)).eval()
    unknown.load_state_dict(known.state_dict())
    for a, b in zip(as_tuple(unknown(*case.tensors())), as_tuple(known(*case.tensors())), strict=True):
        assert_equal(a, b, "with symbolic sizes")


def channels_first_memory_changes_nothing(case: Case) -> None:
    """After a layer that keeps channels at axis 1: elementwise layers stay there, others move it back."""
    plain, behind = case.module().eval(), case.module(case.behind()).eval()
    behind.load_state_dict(plain.state_dict())
    for a, b in zip(as_tuple(behind(*case.tensors())), as_tuple(plain(*case.tensors())), strict=True):
        assert_equal(a, b, "behind a pooling")


def random_layers_have_the_distribution_of_keras(case: Case) -> None:
    example = [x.detach() + 3 if x.requires_grad else x for x in case.tensors(1)]
    twin = oracle.build(case.cls, case.example, example)
    if case.cls.kind == "layer":
        assert_equal(case.module().eval()(*example), twin(example, training=False), "inference")
    shared = case.cls.spec_name == "RandomGaussianBlur"  # whose width is drawn once for a batch
    slow = hasattr(twin.layer, "transform_images") or case.cls.spec_name == "image_elastic_transform"
    pairs = 200 if slow else PAIRS  # Keras moves one image after another
    expected = outcomes(lambda xs: twin(xs, training=True), example, shared, pairs)
    for text, count in ((case.text, pairs), (case.behind(), 200)):  # which differ in memory alone
        if text is None:
            continue
        module = case.module(text).train()
        torch.manual_seed(1)  # not the inputs' seed, or the noise would equal them
        found = outcomes(lambda xs: module(*xs), example, shared, count)  # noqa: B023
        assert difference(found, expected) is None


def weights_start_as_keras_starts_them(case: Case) -> None:
    twin = case.twin
    module = type(case.module())
    drawn = [v for v in twin.variables if not torch.equal(v.start(0), v.start(1))]
    draws = min(40, max(5, 4000 // min(v.value.numel() for v in drawn))) if drawn else 2
    states = []
    for seed in range(draws):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed asks every kind of device
        states.append(module().double().state_dict())
    for weight, variable in paired(case.weights, twin.variables):
        ours = torch.stack([state[f"node.{weight.name}"] for state in states])
        theirs = torch.stack([from_keras(weight, variable.start(seed)) for seed in range(draws)])
        assert starts_differ(ours, theirs) is None, weight.name


@pytest.mark.parametrize("batch", [1, 4])
def test_batch_normalization_trains_on_one_value_a_channel(batch: int) -> None:
    case = Case(REGISTRY["layer"]["BatchNormalization"], Example({}, ((3,),)))
    inputs, twin_inputs = case.tensors(batch), case.tensors(batch)
    twin = oracle.build(case.cls, case.example, twin_inputs)
    module = case.module().train()
    held = copy_weights(case, twin.variables, module)
    assert_equal(module(*inputs), twin(twin_inputs, training=True), "output")
    for weight, variable in paired(case.weights, twin.variables):
        assert_equal(held[weight.name], variable.value, weight.name)


def test_unbiased_batch_normalization_is_that_of_pytorch() -> None:
    case = Case(REGISTRY["layer"]["BatchNormalization"], Example({"unbiased": True}, ((4, 4, 3),)))
    module, twin = case.module().train().node, torch.nn.BatchNorm2d(3, eps=0.001, momentum=0.01).double()
    assert type(module) is torch.nn.BatchNorm2d
    (x,) = case.tensors()
    for each in (module, twin):
        each(x.movedim(-1, 1))
    assert all(torch.equal(value, twin.state_dict()[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("number", range(len(examples_of(REGISTRY["layer"]["BatchNormalization"]))))
def test_synchronized_batch_normalization_of_one_process_is_the_plain_one(number: int) -> None:
    layer = REGISTRY["layer"]["BatchNormalization"]
    plain = examples_of(layer)[number]
    arguments = {**plain.arguments, "synchronized": True}
    cases = [Case(layer, plain), Case(layer, replace(plain, arguments=arguments))]
    one, other = (case.module().train() for case in cases)
    assert "Synchronized" in type(other.node).__name__
    other.load_state_dict(one.state_dict())
    inputs = cases[0].tensors()
    assert_equal(other(*inputs), one(*inputs), "output")
    for key, value in one.state_dict().items():
        assert_equal(other.state_dict()[key], value, key)
    assert_equal(other.eval()(*inputs), one.eval()(*inputs), "inference")


def test_frozen_batch_normalization_stays_in_inference_mode() -> None:
    case = Case(REGISTRY["layer"]["BatchNormalization"], Example({}, ((4, 4, 3),)))
    inputs = case.tensors()
    twin = oracle.build(case.cls, case.example, inputs)
    twin.randomize()
    twin.layer.trainable = False
    module = case.module(case.spec(trainable=False)).train()
    copy_weights(case, twin.variables, module)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert_equal(module(*inputs), twin(inputs, training=True), "output")
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in module.parameters())


EXPORTED = [
    ("Conv1D", {"filters": 2, "kernel_size": 3, "padding": "same", "strides": 2}),
    ("Conv1D", {"filters": 2, "kernel_size": 2, "padding": "same", "strides": 3}),
    ("Conv1D", {"filters": 2, "kernel_size": 3, "padding": "causal"}),
    ("DepthwiseConv1D", {"kernel_size": 3, "padding": "same", "strides": 2, "depth_multiplier": 2}),
    ("SeparableConv1D", {"filters": 2, "kernel_size": 3, "padding": "same"}),
    ("SeparableConv1D", {"filters": 2, "kernel_size": 3, "padding": "same", "strides": 2}),
    ("MaxPooling1D", {"pool_size": 2}),
    ("MaxPooling1D", {"pool_size": 2, "padding": "same"}),
    ("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}),
    ("AveragePooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}),
    ("GlobalMaxPooling1D", {}),
    ("BatchNormalization", {}),
]


@pytest.mark.parametrize(("name", "arguments"), one_in(5, EXPORTED), ids=lambda value: json.dumps(value))
def test_unknown_lengths_can_be_exported(
    name: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the source for it, in a file: torch.export imports the module's definitions by name."""
    if name in ("MaxPooling1D", "AveragePooling1D") and torch.__version__ < "2.11":
        pytest.skip("torch 2.10 pools only lengths that are even, or odd, as that of the example")
    case = Case(REGISTRY["layer"][name], Example(arguments, ((10, 3),)))
    program = graphspec.compile(case.spec({10: "length"}))
    file = f"{tmp_path.name}_model"  # a name of its own: torch caches what it imports
    (tmp_path / f"{file}.py").write_text(program.emit(exporting=True).source)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = getattr(importlib.import_module(file), program.class_name)().double().eval()
    length = torch.export.Dim("length", min=4, max=100)
    example = torch.randn(2, 10, 3, dtype=torch.float64)
    exported = torch.export.export(module, (example,), dynamic_shapes=({1: length},), strict=True).module()
    for size in (10, 11, 12, 13):
        x = torch.randn(2, size, 3, dtype=torch.float64)
        assert_equal(exported(x), module(x), f"length {size}")
