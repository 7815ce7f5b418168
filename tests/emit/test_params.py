"""Params of a file are arguments of the model's class: the one emitted file is right for any legal values."""

import inspect
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import graphspec
from graphspec.diagnostics import SpecError
from graphspec.program import Program
from tests import ROOT, bundled, one_in
from tests.emit.test_random import specs
from tests.emit.test_repeats import specs as repeating
from tests.random_specs import images, sequences

LARGEST = 300_000
"""So many weights may a module have that is made here."""


def with_params() -> list[Path]:
    """All specs with params that people run, that a test looks at, and whose speed is measured."""
    folders = ("specs", "tests/features", "tests/emit", "bench/specs")
    paths = sorted(path for folder in folders for path in (ROOT / folder).glob("*.yaml"))
    return [path for path in paths if "\nparams:" in f"\n{path.read_text()}"]


def others(params: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Other values of params, the same at each run."""
    drawn = random.Random(0)
    for _ in range(count):
        values: dict[str, Any] = {}
        for word, value in params.items():
            if drawn.random() < 0.4 or value is None or isinstance(value, str):
                continue
            if isinstance(value, bool):
                values[word] = not value
            elif isinstance(value, int):
                values[word] = max(1, drawn.choice([value + 1, 2 * value, value - 1, 3 * value, value // 2]))
            elif isinstance(value, float):
                values[word] = round(value * drawn.choice([0.5, 0.25, 1.5]), 6)
            elif value and all(type(item) is int for item in value):
                ways = [
                    [item + 1 for item in value],
                    [2 * item for item in value],
                    value[:-1],
                    [*value, value[-1]],
                ]
                values[word] = drawn.choice(ways)
        if values:
            yield values


def class_of(program: Program) -> type[nn.Module]:
    """The class in a program's source, run without this package."""
    names: dict[str, Any] = {}
    exec(compile(program.source, program.name, "exec"), names)
    found: type[nn.Module] = names[program.class_name]
    return found


def arguments(made: type[nn.Module]) -> set[str]:
    return set(inspect.signature(made.__init__).parameters) - {"self"}


def made_with(made: type[nn.Module], values: Mapping[str, Any]) -> nn.Module:
    torch.manual_seed(1)
    return made(**{word: tuple(v) if isinstance(v, list) else v for word, v in values.items()})


def assert_equal(program: Program, module: nn.Module) -> None:
    """Keys, shapes, initial weights and results are those of the program with its params."""
    wanted = program.module(seed=1)
    mine, theirs = module.state_dict(), wanted.state_dict()
    assert [*mine] == [*theirs]
    for key, tensor in theirs.items():
        assert mine[key].shape == tensor.shape, key
        torch.testing.assert_close(mine[key], tensor, rtol=0, atol=0, equal_nan=True)
    inputs = program.example_inputs(2)
    results = []
    for each in (module.eval(), wanted.eval()):
        torch.manual_seed(0)
        results.append(each(**inputs))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5, equal_nan=True)


@bundled(4, "path", one_in(4, with_params()), ids=lambda path: path.stem)
def test_the_file_is_right_with_other_params(path: Path) -> None:
    program = graphspec.compile(path)
    made = class_of(program)
    free = {word: value for word, value in program.params.items() if word in arguments(made)}
    for values in others(free, 3):
        try:
            other = graphspec.compile(path, params=values)
        except SpecError:
            continue  # with these values the spec is wrong
        if other.summary().total_params <= LARGEST:
            assert_equal(other, made_with(made, values))


def test_params_of_a_gpt_are_arguments() -> None:
    program = graphspec.compile(ROOT / "specs/gpt.yaml")
    made = class_of(program)
    assert arguments(made) >= {"vocabulary", "context", "width", "heads", "depth", "dropout"}
    assert "Layer(width, heads, dropout) for _ in range(depth)" in program.source
    longer = made_with(made, {"context": 256, "depth": 1})
    longer(torch.zeros(1, 256, dtype=torch.long))
    with pytest.raises(ValueError, match="at most 256"):
        longer(torch.zeros(1, 257, dtype=torch.long))


def test_presets_are_named() -> None:
    source = graphspec.compile(ROOT / "specs/resnet.yaml").source
    names: dict[str, Any] = {}
    exec(compile(source, "resnet", "exec"), names)
    with torch.device("meta"):
        module = names["Resnet"](**names["RESNET101"])
    count = sum(weight.numel() for weight in module.parameters())
    assert (
        count == graphspec.compile(ROOT / "specs/resnet.yaml", preset="resnet101").summary().trainable_params
    )
    assert "RESNET18" not in names  # its blocks are of another kind, which the head of the file names
    assert 'kind = "bottleneck"' in source.split('"""')[0]


COINCIDENCE = """
inputs: {{x: {{shape: [16, 16, 3]}}}}
blocks:
  conv:
    params: {{filters: required, kernel: 3}}
    inputs: [x]
    nodes: {{conv: {{layer: Conv2D, filters: $filters, kernel_size: $kernel, padding: same}}}}
nodes:
  one: {{block: conv, filters: 5, kernel: 3}}
  two: {{block: conv, filters: {filters}, kernel: 5}}
outputs: [two]
"""


def test_no_argument_stands_for_what_it_equals_by_chance() -> None:
    """Channels 3 with kernel 3, channels 5 with kernel 5."""
    source = graphspec.compile(COINCIDENCE.format(filters=7)).source
    assert 'nn.Conv2d(in_channels, filters, kernel, padding="same")' in source


def block_of(source: str) -> str:
    return source.split("class Conv(")[1].split("\n\n\n")[0]


def test_a_use_changes_nothing_of_a_blocks_class() -> None:
    two = COINCIDENCE.format(filters=7)
    one = two.replace("  two: {block: conv, filters: 7, kernel: 5}\n", "").replace("[two]", "[one]")
    more = two.replace("outputs", "  three: {block: conv, filters: 7, kernel: 1}\noutputs").replace(
        "[two]", "[three]"
    )
    signatures = {
        block_of(graphspec.compile(spec).source).split("def forward")[0] for spec in (one, two, more)
    }
    assert len(signatures) == 1


GROWING = """
params: {growth: 4, depth: 3}
inputs: {x: {shape: [8]}}
blocks:
  dense:
    inputs: [x]
    nodes:
      new: {layer: Dense, units: $growth, from: x}
      all: {merge: concatenate, from: [x, new]}
nodes:
  layers: {block: dense, repeat: $depth}
  out: {layer: Dense, units: 2}
outputs: [out]
"""


def test_what_grows_in_a_loop_is_written_over_its_index() -> None:
    source = graphspec.compile(GROWING).source
    assert "Dense(8 + index * growth, growth) for index in range(depth)" in source
    assert "nn.Linear(8 + depth * growth, 2)" in source


def test_a_shared_layer_of_the_file_keeps_its_params_in_blocks() -> None:
    """A param of the block has the name of one of the file, and another value."""
    spec = """
params: {width: 6}
inputs: {x: {shape: [6]}}
shared: {twice: {layer: Dense, units: $width}}
blocks:
  inner:
    params: {width: 3}
    inputs: [x]
    nodes:
      a: {call: twice, from: x}
      b: {layer: Dense, units: $width}
nodes: {used: {block: inner}, out: {layer: Dense, units: $width}}
outputs: [out]
"""
    made = class_of(graphspec.compile(spec))
    for width in (6, 9):
        other = graphspec.compile(spec.replace("width: 6", f"width: {width}"))
        assert_equal(other, made_with(made, {"width": width}) if width == 6 else other.module(seed=1))


def test_fixed_params_are_numbers() -> None:
    program = graphspec.compile(ROOT / "specs/gpt.yaml")
    fixed = program.emit(fixed=True).source
    assert "nn.Embedding(96, 64)" in fixed and "heads = 4" in fixed.split('"""')[0]


BLOCKS = """
inputs: {x: {shape: [12, 8]}}
blocks:
  cut:
    params: {at: 2, wide: 3}
    inputs: [x]
    nodes:
      part:  {op: get_item, key: ":, $at:$(at + wide)"}
      scale: {parameter: [$wide, 8], initializer: {name: random_normal, stddev: $(0.5 / wide)}}
      sum:   {compute: part * scale}
  tower:
    params: {units: 8, depth: 2, gain: 0.1}
    inputs: [x]
    nodes:
      both:  {layer: Bidirectional, wraps: {layer: LSTM, units: $units, return_sequences: true}}
      again: {layer: Dense, units: $(2 * units), repeat: $depth}
      drop:  {layer: Dropout, rate: $gain}
      out:   {layer: Dense, units: $(channels(x)), kernel_initializer: {name: random_uniform, maxval: $gain}}
nodes:
  one: {block: tower, from: x}
  cut: {block: cut}
outputs: [cut]
"""
"""Blocks whose numbers stand in a count, in texts, in an initializer and in a wrapped layer."""


def class_lines(source: str, name: str) -> str:
    """A class of a source, without the types of values at the ends of its lines."""
    text = source.split(f"class {name}(")[1].split("\nclass ")[0]
    return "\n".join(line.split("  # ")[0] for line in text.splitlines())


CONDITIONS = """
inputs: {x: {shape: [12, 8]}, y: {shape: [12, 6]}}
blocks:
  unit:
    params: {units: 8, rate: 0.1, bias: true, activation: relu}
    inputs: [x]
    nodes:
      skip:  {layer: Dense, units: $units, when: $(units != channels(x))}
      inner: {layer: Dense, from: x, units: $units, use_bias: $bias, activation: $activation}
      drop:  {layer: Dropout, rate: $rate, when: $(rate > 0)}
      sum:   {merge: add, from: [skip, drop]}
nodes:
  one: {block: unit, from: x}
outputs: [one]
"""


@pytest.mark.parametrize("other", ["units: 5", "rate: 0", "bias: false, units: 3", "activation: gelu"])
def test_conditions_and_flags_of_a_block_are_in_its_class(other: str) -> None:
    """One more use, which turns one, changes no line of it."""
    use = f"  two: {{block: unit, from: y, {other}}}\noutputs: [one, two]"
    alone = CONDITIONS.replace(", y: {shape: [12, 6]}", "")
    more = CONDITIONS.replace("outputs: [one]", use)
    once, twice = (graphspec.compile(text).source for text in (alone, more))
    assert class_lines(once, "Unit") == class_lines(twice, "Unit")


def test_zeros_before_a_causal_convolution_follow_its_arguments() -> None:
    spec = """
inputs: {x: {shape: [12, 8]}}
blocks:
  past:
    params: {width: 3, every: 1}
    inputs: [x]
    nodes: {y: {layer: Conv1D, filters: 4, kernel_size: $width, dilation_rate: $every, padding: causal}}
nodes: {one: {block: past}}
outputs: [one]
"""
    names: dict[str, Any] = {}
    exec(graphspec.compile(spec).source, names)
    made = names["Past"](8, width=2, every=3).eval()
    other = graphspec.compile(spec.replace("{block: past}", "{block: past, width: 2, every: 3}")).module(
        seed=0
    )
    made.load_state_dict({key.removeprefix("one."): value for key, value in other.state_dict().items()})
    x = torch.randn(2, 8, 12)
    torch.testing.assert_close(made(x), other.eval()(x.transpose(1, 2)).transpose(1, 2))


HALVES = """
inputs: {words: {shape: [length, 16]}, more: {shape: [length, 8]}}
blocks:
  halves:
    inputs: [x]
    nodes:
      first:  {op: get_item, from: x, key: "..., :$(channels(x) // 2)"}
      second: {op: get_item, from: x, key: "..., $(channels(x) // 2):"}
      turned: {merge: concatenate, from: [second, first]}
nodes: {one: {block: halves, from: words}, two: {block: halves, from: more}}
outputs: [one, two]
"""
"""A block that cuts its input by its channels."""


def test_a_size_of_an_input_in_a_text_is_no_number() -> None:
    """One more use, with other channels, changes no line."""
    alone = HALVES.replace(", two: {block: halves, from: more}", "").replace("[one, two]", "[one, more]")
    once, twice = (graphspec.compile(text).source for text in (alone, HALVES))
    assert class_lines(once, "Halves") == class_lines(twice, "Halves")


@pytest.mark.parametrize("fixed", [False, True])
def test_a_class_is_what_its_block_says_however_it_is_used(fixed: bool) -> None:
    """One more use, with other values of all params, changes no line of it."""
    more = BLOCKS.replace(
        "  cut: {block: cut}\noutputs",
        "  two: {block: tower, units: 3, depth: 1, gain: 0.2}\n"
        "  cut: {block: cut}\n  end: {block: cut, from: two, at: 1, wide: 2}\noutputs",
    ).replace("outputs: [cut]", "outputs: [cut, end]")
    once, twice = (graphspec.compile(text).emit(fixed=fixed).source for text in (BLOCKS, more))
    for name in ("Cut", "Tower"):
        assert class_lines(once, name) == class_lines(twice, name)
    assert "def __init__(self, at: int = 2, wide: int = 3) -> None:" in once
    assert "for _ in range(depth)" in once


def test_the_state_of_a_model_of_images_can_be_saved(tmp_path: Path) -> None:
    """Its weights are as PyTorch makes them: who wants another memory format asks for it."""
    program = graphspec.compile(ROOT / "specs/digits.yaml")
    save_file(class_of(program)().state_dict(), tmp_path / "weights.safetensors")


def test_sizes_of_inputs_follow_params() -> None:
    """A U-Net of another depth asks for multiples of another power of two, and halves as often."""
    made = class_of(graphspec.compile(ROOT / "specs/unet.yaml"))
    assert made(depth=1, width=4).eval()(torch.zeros(1, 6, 6, 3)).shape == (1, 6, 6, 1)
    with pytest.raises(ValueError, match="multiples of 4"):
        made(depth=2, width=4)(torch.zeros(1, 6, 6, 3))


def test_what_all_even_sizes_share_is_no_rule_for_odd_ones() -> None:
    """Half of a size, twice: what convolutions and pools leave of an odd one is more than half of it."""
    text = """
    params: {size: 64, width: 64}
    inputs: {x: {shape: [$size, $size, 3]}}
    nodes:
      small: {layer: Conv2D, filters: $(width // 2), kernel_size: 3, strides: 2, padding: same}
      smaller: {layer: Conv2D, filters: $(width // 2), kernel_size: 3, strides: 2, padding: same}
      flat: {layer: Flatten}
      one: {layer: Dense, units: $(width // 2)}
      two: {layer: Dense, units: 2}
    outputs: [two]
    """
    made = class_of(graphspec.compile(text))
    for size, width in ((63, 63), (50, 9), (33, 6), (32, 7)):
        values = {"size": size, "width": width}
        assert_equal(graphspec.compile(text, params=values), made_with(made, values))


NUMBERS = {"units", "filters", "rate", "kernel_size", "repeat", "parallel", "strides", "width", "n", "shift"}
"""Keys whose numbers become params."""


def with_more_params(spec: dict[str, Any], drawn: random.Random) -> dict[str, Any]:
    """A spec with params for some of its numbers; they are added to it."""
    made: dict[str, Any] = {}

    def changed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {word: changed(item, word) for word, item in value.items()}
        if key in NUMBERS and type(value) in (int, float) and drawn.random() < 0.7 and len(made) < 5:
            made[f"q{len(made)}"] = value
            return f"$q{len(made) - 1}"
        return value

    spec["nodes"] = changed(spec["nodes"])
    for block in spec.get("blocks", {}).values():
        block["nodes"] = changed(block["nodes"])
    spec["params"] = {**spec.get("params", {}), **made}
    return made


@given(sequences() | images() | specs() | repeating(), st.randoms(use_true_random=False))
def test_random_files_are_right_with_other_params(text: str, drawn: random.Random) -> None:
    spec = yaml.safe_load(text)
    with_more_params(spec, drawn)
    try:
        program = graphspec.compile(yaml.safe_dump(spec, sort_keys=False))
    except SpecError:
        assume(False)
    made = class_of(program)
    free = {word: value for word, value in program.params.items() if word in arguments(made)}
    values = {
        # what is 1 would broadcast: then its size is that of another operand
        word: value + drawn.choice([1, 2, value]) if type(value) is int else value / 2
        for word, value in free.items()
        if type(value) in (int, float) and drawn.random() < 0.6
    }
    try:
        other = graphspec.compile(yaml.safe_dump(spec, sort_keys=False), params=values)
    except SpecError:
        assume(False)
    if other.summary().total_params <= LARGEST:
        assert_equal(other, made_with(made, values))


WAVES = """
params: {freqs: 3, width: 5}
inputs: {point: {shape: [3]}}
nodes:
  waves: {layer: Dense, from: point, units: $width, parallel: $freqs}
  coded: {merge: MERGE, from: [point, waves.*]}
  rgb:   {layer: Dense, units: 2}
outputs: [rgb]
"""


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (WAVES.replace("MERGE", "concatenate"), "self.rgb = nn.Linear(3 + width * freqs, 2)"),
        (WAVES.replace("MERGE, from: [point, waves.*]", "stack, from: waves.*"), "for _ in range(freqs)"),
    ],
)
def test_sizes_follow_how_many_instances_are_merged(text: str, written: str) -> None:
    program = graphspec.compile(text)
    assert written in program.source
    for values in ({"freqs": 5}, {"width": 2}, {"freqs": 2, "width": 7}):
        assert_equal(graphspec.compile(text, params=values), made_with(class_of(program), values))


def test_a_loop_of_one_instance_iterates_as_one_of_several() -> None:
    text = """
params: {levels: 2, width: 4}
inputs: {x: {shape: [6, 6, 1]}}
blocks:
  down:
    params: {filters: required}
    inputs: [x]
    nodes:
      skip: {layer: Conv2D, filters: $filters, kernel_size: 1}
      pool: {layer: MaxPooling2D, pool_size: 3, strides: 1, padding: same}
    outputs: {x: pool, skip: skip}
  up:
    inputs: [x, skip]
    nodes:
      conv: {layer: Conv2D, from: x, filters: $(channels(skip)), kernel_size: 1}
      sum:  {merge: add, from: [conv, skip]}
nodes:
  downs: {block: down, repeat: $levels, filters: $(width * 2 ** index)}
  ups: {block: up, repeat: $levels, from: {x: downs.x, skip: downs.$(levels - 1 - index).skip}}
outputs: [ups]
"""
    program = graphspec.compile(text)
    assert (
        "levels: int = 2" in program.source
        and "zip(self.ups, reversed(skips), strict=True)" in program.source
    )
    for levels in (1, 3, 4):
        values = {"levels": levels}
        assert_equal(graphspec.compile(text, params=values), made_with(class_of(program), values))


def test_lists_of_equal_length_are_not_confused() -> None:
    text = """
params: {bottom: [6, 4], top: [5, 3]}
inputs: {x: {shape: [3]}}
nodes:
  low:  {layer: Dense, repeat: {units: $bottom}}
  high: {layer: Dense, repeat: {units: $top}}
outputs: [high]
"""
    program = graphspec.compile(text)
    lines = [line.strip() for line in program.source.splitlines()]
    assert "nn.Linear(3 if index == 0 else bottom[index - 1], bottom[index])" in lines
    assert lines.count("for index in range(len(bottom))") == lines.count("for index in range(len(top))") == 1
    values = {"bottom": [6, 4, 2], "top": [5, 3, 2, 1]}
    assert_equal(graphspec.compile(text, params=values), made_with(class_of(program), values))


def test_a_list_that_is_merged_in_both_memory_orders_may_have_any_length() -> None:
    text = """
params: {radix: 2}
inputs: {image: {shape: [4, 4, 3]}}
blocks:
  split:
    inputs: [x]
    nodes:
      parts: {layer: Conv2D, from: x, filters: 3, kernel_size: 3, padding: same, parallel: $radix}
      all:   {merge: add, from: parts.*}
      mean:  {layer: GlobalAveragePooling2D}
      stack: {merge: stack, from: parts.*, axis: 1}
      most:  {op: max, axis: [1, 2, 3]}
      out:   {merge: add, from: [mean, most]}
nodes: {y: {block: split}}
outputs: [y]
"""
    program = graphspec.compile(text)
    assert "parts = [part.permute(0, 2, 3, 1) for part in parts]" in program.source
    for values in ({"radix": 3}, {"radix": 5}):
        assert_equal(graphspec.compile(text, params=values), made_with(class_of(program), values))


NERF = """
params: {depth: 4, skip: 2, width: 5}
inputs: {point: {shape: [3]}}
nodes:
  first:  {layer: Dense, from: point, units: $width, repeat: $skip}
  joined: {merge: concatenate, from: [first, point]}
  second: {layer: Dense, units: $width, repeat: $(depth - skip)}
  rgb:    {layer: Dense, units: 3}
outputs: [rgb]
"""
RESIDUAL = """
params: {depth: 4, width: 5}
inputs: {point: {shape: [3]}}
blocks:
  residual:
    inputs: [x]
    nodes: {inner: {layer: Dense, from: x, units: $(channels(x))}, sum: {merge: add, from: [x, inner]}}
nodes:
  wide: {layer: Dense, from: point, units: $width}
  deep: {block: residual, repeat: $depth}
  end:  {layer: Dense, from: deep, units: $width, repeat: $depth}
outputs: [end]
"""


FITS_ONCE = """
params: {depth: 4, width: 5}
inputs: {point: {shape: [3]}}
nodes:
  deep: {layer: Dense, from: point, units: $width, repeat: $depth}
  four: {layer: Dense, units: 4}
  end:  {layer: Dense, units: $width, repeat: $(abs(depth - 1))}
outputs: [end]
"""


@pytest.mark.parametrize(
    ("text", "values", "refused"),
    [
        (NERF, {"skip": 0}, "skip must be more than 0"),
        (NERF, {"depth": 2}, "depth must be more than skip"),
        (NERF, {"depth": 3}, None),
        (NERF.replace("$(depth - skip)", "$(depth - 1)"), {"depth": 1}, "depth must be more than 1"),
        (RESIDUAL, {"depth": 0}, None),
        (FITS_ONCE, {"depth": 0}, "depth must be more than 0"),
        (FITS_ONCE, {"depth": 1}, None),
        (RESIDUAL.replace("units: $width, repeat", "units: 4, repeat"), {"depth": 0}, None),
    ],
)
def test_a_loop_has_no_instance_only_where_the_class_is_right_then(
    text: str, values: dict[str, int], refused: str | None
) -> None:
    made = class_of(graphspec.compile(text))
    other = graphspec.compile(text, params=values)  # which the spec allows
    if refused is None:
        assert_equal(other, made_with(made, values))
    else:
        with pytest.raises(AssertionError, match=f"^{refused}$"):
            made_with(made, values)


STAGES = """
params: {widths: [4, 5, 6], depths: [1, 2, 1]}
inputs: {point: {shape: [3]}}
blocks:
  stage:
    params: {width: required, depth: required}
    inputs: [x]
    nodes:
      first: {layer: Dense, from: x, units: $width}
      rest:  {layer: Dense, from: first, units: $width, repeat: $depth}
nodes:
  stages: {block: stage, from: point, repeat: {width: $widths, depth: $depths}}
outputs: [stages]
"""


def test_lists_of_a_loop_are_equally_long() -> None:
    made = class_of(graphspec.compile(STAGES))
    for values in ({"widths": [4]}, {"depths": [1, 1, 1, 1]}):
        with pytest.raises(SpecError):
            graphspec.compile(STAGES, params=values)
        with pytest.raises(
            AssertionError, match=r"^(widths and depths|depths and widths) must be equally long$"
        ):
            made_with(made, values)
    longer = {"widths": [4, 5, 6, 7], "depths": [1, 2, 0, 1]}
    assert_equal(graphspec.compile(STAGES, params=longer), made_with(made, longer))
