"""Every op on any tensors: its code does what its shape rule says, or an error says why it may not be."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from graphspec.contract import REGISTRY
from graphspec.contract.layer import LayerError, Site
from graphspec.diagnostics import CODES
from graphspec.tensor import Tensor, symbol, value_of
from tests import bundled
from tests.interpreter import Interpreter, library
from tests.layers.examples import examples_of

INDICES = ("take_along_axis", "in_top_k")
BATCH, LENGTH = symbol("batch"), symbol("length")


def tensor(*shape, dtype="float32"):
    return Tensor((BATCH, *shape), dtype)


dims = st.one_of(st.integers(1, 4), st.sampled_from([LENGTH, LENGTH * 2, LENGTH + 1]))
types = st.builds(
    lambda shape, dtype, batch: Tensor((batch, *shape), dtype),
    st.lists(dims, max_size=4),
    st.sampled_from(("bool", "uint8", "int32", "int64", "float32", "float32", "float64")),
    st.sampled_from([BATCH, BATCH, BATCH, 1]),
)


@st.composite
def calls(draw, cls):
    """An op with an example's arguments, on tensors like the example's or on any."""
    example = draw(st.sampled_from(examples_of(cls)))
    arguments = dict(example.arguments)
    if "axis" in arguments and draw(st.booleans()):
        arguments["axis"] = draw(st.integers(-4, 4))
    if draw(st.booleans()):
        dtype = draw(st.sampled_from((example.dtype, "float32", "int32", "uint8", "bool")))
        dtypes = example.dtypes or (dtype,) * len(example.shapes)
        inputs = [tensor(*shape, dtype=d) for shape, d in zip(example.shapes, dtypes, strict=True)]
        return arguments, (*inputs, *[None] * (0 if cls.variadic else len(cls.arguments) - len(inputs)))
    count = draw(st.integers(1, 3)) if cls.variadic else len(cls.arguments)
    needed = [True] * count if cls.variadic else [argument.required for argument in cls.arguments]
    return arguments, tuple(draw(types) if need or draw(st.booleans()) else None for need in needed)


def outcome(layer, inputs, outputs):
    """What the code of an op gives for real tensors; integers are 1, or 0 where they are indices."""
    integers = torch.zeros if layer.spec_name in INDICES else torch.ones
    code = layer.code(Site(inputs, outputs))
    interpreter = Interpreter({}, library())
    values = []
    for x in inputs:
        shape = [value_of(size, {"batch": 3, "length": 9}) for size in x.shape] if x is not None else []
        filled = torch.rand if x is None or x.is_float else integers
        values.append(None if x is None else filled(shape, dtype=getattr(torch, x.dtype)))
        if layer.examples[0].definite:
            values[-1] = values[-1] @ values[-1].mT + torch.eye(shape[-1])
    holes = {name: interpreter.leaf(value) for name, value in code.constants.items()}
    if code.construct is not None:
        holes["self"] = interpreter.made(code.construct)
    if layer.variadic:
        holes |= {str(place): value for place, value in enumerate(values)} | {"list": values}
    else:
        holes |= dict(zip((argument.name for argument in layer.arguments), values, strict=False))
    result = interpreter.template(code.call.replace("{*}", "*{list}"), holes)
    return interpreter.template(code.activation.expression(), {"x": result})


@bundled(16, "name", sorted(REGISTRY["op"]))
@settings(max_examples=max(3, settings().max_examples // 5))
@given(st.data())
def test_any_tensors_are_taken_or_refused(name, data):
    """Whatever goes into an op: outputs of the shapes and types that it infers, or an error that says why."""
    cls = REGISTRY["op"][name]
    arguments, inputs = data.draw(calls(cls))
    try:
        layer = cls.model_validate(arguments)
        outputs = layer.infer(*inputs)
    except ValidationError:
        return
    except LayerError as error:
        assert error.code in CODES
        assert error.argument is None or error.argument in cls.model_fields
        assert all(position < len(inputs) for position in error.inputs)
        return
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert len(outputs) == 1 + len(layer.output_names())
    assert not any(size == 0 for output in outputs for size in output.shape)
    layer.flops(Site(inputs, outputs))
    if layer.memory(*inputs) == "first":
        return
    results = outcome(layer, inputs, outputs)
    results = (results,) if isinstance(results, torch.Tensor) else tuple(results)
    for result, output in zip(results, outputs, strict=True):
        assert [value_of(size, {"batch": 3, "length": 9}) for size in output.shape] == list(result.shape)
        assert f"torch.{output.dtype}" == str(result.dtype)
