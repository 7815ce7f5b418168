"""Formulas: what `compute` may say, what it computes, where it is wrong, and that it runs nothing."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import graphspec
from graphspec.diagnostics import CODES, Diagnostic, SpecError
from graphspec.export import FORMATS, export
from graphspec.expressions.formula import MAX_OPERATIONS, parse_formula
from graphspec.graph import Graph
from graphspec.plot import plot
from tests import bundled, interpreter, one_in

X = "inputs: {x: {shape: [4]}}\n"
HEAD = """
params: {scale: 0.5, shift: -2, many: [1, 2, 3], flag: true}
inputs:
  x: {shape: [4, 3]}
  y: {shape: [4, 3]}
  n: {shape: [4, 3], dtype: int64}
  kept: {shape: [4, 3], dtype: bool}
nodes:
  tower: {layer: Dense, from: x, units: 3, repeat: 2}
"""
TAIL = "\noutputs: {f: {}, x: {}, y: {}, n: {}, kept: {}, tower: {}}\n"
TAIL += "train: {epochs: $(len(many) + 0 * shift + 0 * flag), batch_size: $(int(4 * scale))}\n"


def spec(formula: str) -> str:
    """A spec with one formula; JSON's strings are YAML's."""
    return f"{HEAD}  f: {{compute: {json.dumps(formula)}}}{TAIL}"


def found_in(text: str) -> list[Diagnostic]:
    with pytest.raises(SpecError) as error:
        graphspec.compile(text)
    return list(error.value.diagnostics)


def value(formula: str, **inputs: Tensor) -> Tensor:
    """What a formula gives, in float64, by the emitted module; the graph run op by op gives the same."""
    program = graphspec.compile(spec(formula))
    module = program.module().double().eval()
    given = {**TENSORS, **inputs}
    found: Tensor = module(*given.values())["f"]
    torch.testing.assert_close(interpreter.interpret(program, module, given)["f"], found, equal_nan=True)
    assert tuple(found.shape[1:]) == program.outputs["f"].tensors[0].shape[1:]
    return found


generator = torch.Generator().manual_seed(0)
TENSORS = {
    "x": torch.randn(2, 4, 3, generator=generator, dtype=torch.float64),
    "y": torch.randn(2, 4, 3, generator=generator, dtype=torch.float64),
    "n": torch.randint(1, 9, (2, 4, 3), generator=generator),
    "kept": torch.rand(2, 4, 3, generator=generator) < 0.5,
}
x, y, n, kept = TENSORS.values()
CASES: dict[str, Any] = {
    "x + y * 2 - 1 / (y * y + 1)": lambda: x + y * 2 - 1 / (y * y + 1),
    "-x ** 2": lambda: -(x**2),
    "(-x) ** 2": lambda: (-x) ** 2,
    "x - y - x": lambda: x - y - x,
    "x - (y - x)": lambda: x - (y - x),
    "2 ** -1 * x": lambda: 0.5 * x,
    "x ** $shift": lambda: x**-2,
    "$shift ** 2 * x": lambda: 4 * x,
    "$scale * x + $(scale * 2) * y": lambda: 0.5 * x + y,
    "[1, 2, 3] * x + $many": lambda: torch.tensor([1, 2, 3]) * x + torch.tensor([1, 2, 3]),
    "n // 2 + n % 3": lambda: n // 2 + n % 3,
    "7 // n": lambda: 7 // n,
    "where((x > 0) & ~(y <= 0.5) | kept, x, -1.5)": lambda: torch.where(
        (x > 0) & ~(y <= 0.5) | kept, x, -1.5
    ),
    "x @ transpose(y, axes=(0, 2, 1))": lambda: x @ y.mT,
    "x @ [[1, 0], [0, 1], [1, 1]]": lambda: x @ torch.tensor([[1.0, 0], [0, 1], [1, 1]]).double(),
    "sum(square(x), axis=-1)": lambda: x.square().sum(-1),
    "sum(x * y, axis=[1, 2])": lambda: (x * y).sum((1, 2)),
    "softmax(x / sqrt(16), axis=1)": lambda: (x / 4).softmax(1),
    "x[:, 1:, ::2]": lambda: x[:, 1:, ::2],
    "x[:, 0] + y[:, -1]": lambda: x[:, 0] + y[:, -1],
    "(x + y)[:, $(1 + 1):]": lambda: (x + y)[:, 2:],
    "x[:, 0, None] * y": lambda: x[:, 0, None] * y,
    "concatenate([x, y], axis=1)": lambda: torch.cat([x, y], 1),
    "concatenate(x, y)": lambda: torch.cat([x, y], -1),
    "stack([x, y, x])": lambda: torch.stack([x, y, x], 1),
    "where(kept, x1=x, x2=0)": lambda: torch.where(kept, x, 0),
    "cast(n, like=x) / 2": lambda: n / 2,
    "cast(kept, dtype='float64') * true_divide(x, 2)": lambda: kept * x / 2,
    "clip(x, x_min=-0.5, x_max=$scale)": lambda: x.clamp(-0.5, 0.5),
    "top_k(x, k=2) * 2": lambda: x.topk(2).values * 2,
    "+x * exp(0)": lambda: x,
    "1 - x": lambda: 1 - x,
    "max(x, axis=-1, keepdims=true) - x": lambda: x.amax(-1, keepdim=True) - x,
    "x\n + y": lambda: x + y,
    "logical_or(kept, x > 0)": lambda: kept | (x > 0),
    "x == y": lambda: x == y,
    "x != 0": lambda: x != 0,
}


@bundled(16, "formula", CASES)
def test_a_formula_computes_what_python_would(formula: str) -> None:
    expected = CASES[formula]()
    torch.testing.assert_close(value(formula), expected, check_dtype=False)


def test_references_reach_into_repeats_and_hold_expressions() -> None:
    program = graphspec.compile(spec("tower.0 * 2 + tower.$(2 - 1) - tower + sum(stack(tower.*), axis=1)"))
    module = program.module().double()
    first = module.get_submodule("tower.0")(x)
    last = module.get_submodule("tower.1")(first)
    torch.testing.assert_close(module(*TENSORS.values())["f"], first * 2 + first + last)


# --- random formulas beside Python's own arithmetic

leaves = st.sampled_from(["x", "y", "0.5", "2", "$scale", "$(shift + 3)"])
PLAIN = {"$scale": "0.5", "$(shift + 3)": "1"}


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from([" + ", " - ", "*", " * "]), inner).map("".join)
    return st.one_of(
        binary,
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"tanh(x * ({text}))"),
        inner.map(lambda text: f"maximum(y, {text})"),
        inner.map(lambda text: f"(y + {text})[:, 1:2]"),
        inner.map(lambda text: f"sum(x + {text}, axis=1, keepdims=true)"),
    )


random_formulas = st.recursive(leaves, grown, max_leaves=8)


def evaluated(formula: str) -> Tensor:
    """A formula by Python itself."""
    for written, meant in PLAIN.items():
        formula = formula.replace(written, meant)
    functions = {
        "tanh": torch.tanh,
        "maximum": lambda a, b: torch.maximum(a, torch.as_tensor(b, dtype=a.dtype)),
        "sum": lambda a, axis, keepdims: a.sum(axis, keepdim=keepdims),
    }
    found: Tensor = eval(formula, {**TENSORS, **functions, "true": True})
    return found


@given(random_formulas)
def test_random_formulas_compute_what_python_does(formula: str) -> None:
    formula = f"x + ({formula})"
    torch.testing.assert_close(value(formula), evaluated(formula))


# --- the same graph as the ops written out


def shown(graph: Graph) -> list[Any]:
    """A graph without its names."""
    numbers = {value: f"input {name}" for name, value in graph.inputs.items() if value is not None}
    found = []
    for op in graph.ops:
        found.append(
            (op.kind, op.layer, [numbers[v] for v in op.inputs], [v.tensor for v in op.outputs.values()])
        )
        numbers |= {v: f"value {len(numbers)}" for v in op.outputs.values()}
    return found


def test_a_formula_is_the_graph_of_its_ops_written_out() -> None:
    formula = graphspec.compile("""
inputs: {mean: {shape: [3]}, log_var: {shape: [3]}}
nodes:
  code: {compute: mean + exp(0.5 * log_var) * random_normal(like=mean)}
  kl:   {compute: "0.5 * sum(square(mean) + exp(log_var) - log_var - 1, axis=-1)"}
outputs: [code, kl]
""")
    ops = graphspec.compile("""
inputs: {mean: {shape: [3]}, log_var: {shape: [3]}}
nodes:
  half:     {op: multiply, from: log_var, x1: 0.5}
  scale:    {op: exp}
  noise:    {op: random_normal, like: mean}
  offset:   {op: multiply, from: [scale, noise]}
  code:     {op: add, from: [mean, offset]}
  square:   {op: square, from: mean}
  variance: {op: exp, from: log_var}
  both:     {op: add, from: [square, variance]}
  surplus:  {op: subtract, from: [both, log_var]}
  less:     {op: subtract, x2: 1}
  total:    {op: sum, axis: -1}
  kl:       {op: multiply, x1: 0.5}
outputs: [code, kl]
""")
    assert shown(formula.graph) == shown(ops.graph)
    assert formula.summary().total_params == 0
    for line in (
        '"code": mean + (0.5 * log_var).exp() * torch.randn_like(mean),',
        '"kl": 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(-1),',
    ):
        assert line in formula.source


def test_a_long_formula_is_one_statement() -> None:
    text = " + ".join(f"tanh(x * {i} - sigmoid(relu(y - {i})))" for i in range(9))
    source = graphspec.compile(spec(text)).source
    assert source.count("sigmoid()") == 9
    assert source[source.index("def forward") :].count("\n        f = ") + source.count('"f": ') <= 2
    torch.testing.assert_close(
        value(text), sum(((x * i - (y - i).relu().sigmoid()).tanh() for i in range(9)), torch.zeros(()))
    )


# --- in blocks


def test_formulas_of_a_block_take_its_params() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [3]}}
blocks:
  residual:
    params: {factor: 1, power: 2, deep: true}
    inputs: [x]
    nodes:
      hidden: {layer: Dense, units: 3}
      bent:   {compute: hidden ** $power, when: $deep}
      sum:    {compute: x + $factor * bent}
nodes:
  stack: {block: residual, repeat: {factor: [0.5, 0.25, 2], deep: [true, false, true]}}
  last:  {block: residual, factor: 3, power: 1}
outputs: [last]
""")
    module, given = program.module().double(), torch.randn(2, 3, dtype=torch.float64)
    expected = given
    blocks = [*(module.get_submodule(f"stack.{i}") for i in range(3)), module.get_submodule("last")]
    for block, (factor, power) in zip(blocks, [(0.5, 2), (0.25, 1), (2, 2), (3, 1)], strict=True):
        expected = expected + factor * block.get_submodule("hidden")(expected) ** power
    torch.testing.assert_close(module(given), expected)
    assert "self.factor * " in program.source


def test_a_formula_that_is_left_out_hands_on_the_first_it_reads() -> None:
    text = spec("2 * y + x").replace('x"}', 'x", when: $(not flag)}')
    module = graphspec.compile(text).module().double()
    torch.testing.assert_close(module(*TENSORS.values())["f"], y)


def test_a_formula_may_read_what_stands_below_it_and_cycles_are_found() -> None:
    nodes = "  a: {compute: 2 * b}\n  b: {compute: x + 1}\n"
    text = f"inputs: {{x: {{shape: [3]}}}}\nnodes:\n{nodes}outputs: [a]\n"
    torch.testing.assert_close(graphspec.compile(text).module()(torch.ones(1, 3)), torch.full((1, 3), 4.0))
    assert [d.code for d in found_in(text.replace("x + 1", "x + a"))] == ["cycle"]


def test_what_a_formula_reads_stands_in_the_summary_and_in_the_picture() -> None:
    program = graphspec.compile(spec("$scale * sum(square(x) - y, axis=-1)"))
    row = next(row for row in program.summary().rows if row.name == "f")
    assert (row.type, row.connected_to, len(row.rows)) == ("Formula", ("x", "y"), 4)
    assert "$scale * sum(square(x) - y" in plot(program, ".svg")
    assert "f_1" not in plot(program, ".mmd")


@pytest.mark.parametrize("format", one_in(2, FORMATS))
def test_formulas_export(format: str, tmp_path: Path) -> None:
    text = """
inputs: {x: {shape: [length, 3]}}
nodes:
  f: {compute: "softmax(x * [1, 2, 3] - max(x, axis=-1, keepdims=true), axis=1)[:, 1:] @ [[1], [2], [0.5]]"}
outputs: [f]
"""
    exported = export(graphspec.compile(text), format, tmp_path / f"model.{format}")
    assert {name: (span.least, span.most) for name, span in exported.free.items()} == {
        "batch": (1, None),
        "length": (3, None),
    }


# --- what is wrong with them

WRONG = {
    "x.shape": ("unknown-reference", "x.shape"),
    "x.mean()": ("unknown-function", "x.mean()"),
    "(x + y).mean": ("expression-attribute", "(x + y).mean"),
    "x + tower.__class__": ("unknown-reference", "tower.__class__"),
    "mean(x, axis=1) + z": ("unknown-reference", "z"),
    "softmaxx(x)": ("unknown-function", "softmaxx"),
    "Dense(x)": ("unknown-function", "Dense"),
    "softmax(x, 1)": ("call-arguments", "1"),
    "exp(x, axis=1)": ("unknown-key", "1"),
    "x + kept": ("wrong-dtype", "kept"),
    "2 * (x @ y)": ("shapes-differ", "y"),
    "x + (sum(y, axis=1) * 3)": ("wrong-rank", "sum(y, axis=1) * 3"),
    "sum(x)": ("missing-key", "sum(x)"),
    "x if y else x": ("expression-form", "x if y else x"),
    "x and y": ("expression-form", "x and y"),
    "not x": ("expression-form", "not x"),
    "x < y < 1": ("expression-form", "x < y < 1"),
    "x ^ 2": ("expression-form", "x ^ 2"),
    "x[y]": ("expression-form", "y"),
    "x[0]": ("out-of-range", "x[0]"),
    "x +": ("expression-syntax", None),
    "": ("expression-syntax", None),
    "x; y": ("expression-syntax", None),
    "x && y": ("expression-syntax", None),
    "x = y": ("expression-syntax", None),
    "3 + 4": ("expression-form", "3 + 4"),
    "x": ("expression-form", "x"),
    "[x, y]": ("expression-form", "[x, y]"),
    "$nope * x": ("unknown-name", "nope"),
    "x * $(scale +)": ("expression-syntax", None),
    "x * $": ("lone-dollar", None),
    "x * $(scale": ("unclosed-expression", None),
    "x * 'a'": ("wrong-type", "'a'"),
    "x + true": ("wrong-type", "true"),
    "matmul(x, 3)": ("call-arguments", "3"),
    "exp(*x)": ("expression-form", "*x"),
    "exp(**x)": ("call-arguments", "exp(**x)"),
    "exp(x, x=y)": ("call-arguments", "y"),
    "exp(z=x)": ("call-arguments", "x"),
    "exp()": ("call-arguments", "exp()"),
    "mean(x, axis=y)": ("call-arguments", "y"),
    "exp([x, y])": ("call-arguments", "[x, y]"),
    "concatenate([x, 3])": ("call-arguments", "3"),
    "1 / 0 * x": ("division-by-zero", "1 / 0"),
    "2 ** 99999 * x": ("number-too-large", "2 ** 99999"),
    "sqrt(-1) * x": ("number-too-large", "sqrt(-1)"),
    "x * 1e400": ("number-too-large", "1e400"),
    "x + [1, 2]": ("shapes-differ", "[1, 2]"),
    "x + [1, [2]]": ("out-of-range", "[1, [2]]"),
    "take(x, indices=9, axis=1)": ("out-of-range", "9"),
    "top_k(x, k=1).indices": ("expression-attribute", "top_k(x, k=1).indices"),
    "lambda: x": ("expression-form", "lambda: x"),
    "[i for i in x]": ("expression-form", "[i for i in x]"),
    "f'{x}'": ("expression-form", "f'{x}'"),
    "(x := y)": ("expression-form", "x := y"),
    "{x: y}": ("expression-form", "{x: y}"),
    "\N{GREEK SMALL LETTER ALPHA} * x": ("expression-syntax", "\N{GREEK SMALL LETTER ALPHA}"),
    "x # y": ("expression-syntax", "#"),
}


@pytest.mark.parametrize("style", ["double", "single", "block", "folded"])
@bundled(16, "formula", WRONG)
def test_a_mistake_is_underlined_inside_the_formula(formula: str, style: str) -> None:
    code, marked = WRONG[formula]
    written = {
        "double": json.dumps(formula, ensure_ascii=False),
        "single": "'" + formula.replace("'", "''") + "'",
        "block": f"|\n      {formula}",
        "folded": f">\n      {formula}",
    }[style]
    if style in ("block", "folded") and not formula.strip():
        return
    text = f"{HEAD}  f:\n    compute: {written}{TAIL}"
    (found,) = found_in(text)
    assert found.code == code
    assert found.code in CODES
    if marked is not None:
        assert found.span is not None
        line = text.splitlines()[found.span.line - 1]
        assert line[found.span.column - 1 : found.span.end_column - 1] == marked.replace(
            "'", "''" if style == "single" else "'"
        )


def test_a_mistake_in_a_formula_of_several_lines_is_on_its_line() -> None:
    text = f"{HEAD}  f:\n    compute: >\n      x * 2\n      + exp(z) *\n      y{TAIL}"
    (found,) = found_in(text)
    assert found.span is not None
    line = text.splitlines()[found.span.line - 1]
    assert (line.strip(), line[found.span.column - 1 : found.span.end_column - 1]) == ("+ exp(z) *", "z")


@pytest.mark.parametrize(
    ("node", "code"),
    [
        ("{compute: 3}", "wrong-type"),
        ("{compute: [x, y]}", "wrong-type"),
        ("{compute: null}", "wrong-type"),
        ("{compute: x + y, from: x}", "input-count"),
        ("{compute: x + y, dtype: float32}", "unknown-key"),
        ("{compute: x + y, repeat: 2}", "unknown-key"),
        ("{compute: x + y, op: add}", "two-forms"),
    ],
)
def test_what_stands_beside_a_formula_is_checked(node: str, code: str) -> None:
    assert [d.code for d in found_in(f"{HEAD}  f: {node}{TAIL}")] == [code]


HOSTILE = [
    '__import__("canary")',
    "__import__('canary').run()",
    "x.__class__.__base__.__subclasses__()",
    "().__class__.__bases__[0].__subclasses__()",
    "eval('1')",
    "exec('import canary')",
    "open('/etc/passwd')",
    "getattr(x, 'shape')",
    "globals()['x']",
    "x.__init__.__globals__",
    "(lambda: __import__('canary'))()",
    "[__import__('canary') for i in [1]]",
    "import canary",
    "x; import canary",
    "print(x)",
    "breakpoint()",
    "torch.load('x')",
    "canary",
    "canary.run(x)",
    "f'{__import__(\"canary\")}'",
    " + ".join(["x"] * 10_000),
    " + ".join(["x"] * (MAX_OPERATIONS + 2)),
    "(" * 5_000 + "x" + ")" * 5_000,
    "(" * 60 + "x" + ")" * 60 + " + 1",
    "-" * 1_500 + "x",
    "~" * 60 + "n",
    "exp(" * 60 + "x" + ")" * 60,
    "x" + "[:, :]" * 150,
    "[" * 45 + "1" + "]" * 45 + " * x",
    "x ** 9 ** 9 ** 9 ** 9",
    "9 ** 9 ** 9 ** 9 * x",
    "x * " + "9" * 400,
    "x" * 3_000,
    "x\x00y",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_formula_ends_in_a_diagnostic_and_imports_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "canary.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    found = found_in(spec(HOSTILE[number]))
    assert found
    assert all(each.code in CODES for each in found)
    assert "canary" not in sys.modules
    assert not {name for name in set(sys.modules) - before if not name.startswith(("graphspec", "encodings"))}


WORDS = [*"xynf.*()[],:+-@<~&$='\" 1", "tower", "**", "$scale", "$(", "exp", "sum", "axis"]
WORDS += ["0.5", "if", "lambda", "None", "..."]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=14).map("".join)))
def test_any_text_is_a_formula_or_a_diagnostic(text: str) -> None:
    try:
        graphspec.compile(spec(text))
    except SpecError as error:
        assert all(each.code in CODES for each in error.diagnostics)


def test_as_many_operations_as_there_may_be_are_emitted() -> None:
    text = " + ".join(["x"] * (MAX_OPERATIONS + 1))
    assert len(list(parse_formula(text).references())) == MAX_OPERATIONS + 1
    torch.testing.assert_close(value(text), (MAX_OPERATIONS + 1) * x)


def test_a_mistake_in_a_formula_hides_no_other() -> None:
    with pytest.raises(SpecError) as error:
        graphspec.compile("""
inputs: {x: {shape: [8]}}
nodes:
  bad: {layer: Dense, from: x, units: eight}
  a:   {layer: Dense, from: x, units: 8}
  y:   {compute: "bad + nope * a + exq(a) + sum(missing, axis=-1)"}
  z:   {compute: "concatenate([bad, other, a], axis=1)", axis: 1}
outputs: [y, z]
""")
    told = [each.message.split("`")[1] for each in error.value.diagnostics]
    assert told == ["units", "nope", "exq", "missing", "other", "axis"]


@pytest.mark.parametrize(
    ("formula", "made"),
    [
        ("x * arange(3)", lambda x: x * torch.arange(3)),
        ("x * arange(1, 4)", lambda x: x * torch.arange(1, 4)),
        ("x * arange(6, 0, -2)", lambda x: x * torch.arange(6, 0, -2)),
        ("x * arange(0.5, 2, 0.5, dtype=float32)", lambda x: x * torch.arange(0.5, 2, 0.5)),
        ("x * arange(3, dtype=torch.float32)", lambda x: x * torch.arange(3)),
        ("x * arange(4)[:, :, None]", lambda x: x * torch.arange(4)[None, :, None]),
        ("x * linspace(0, 1, 3)", lambda x: x * torch.linspace(0, 1, 3)),
        ("x * linspace(0, 1, num=3, endpoint=false)", lambda x: x * torch.tensor([0, 1 / 3, 2 / 3])),
        ("x + zeros([4, 3]) + ones([3])", lambda x: x + 1),
        ("x * full([3], 2.5)", lambda x: x * 2.5),
        ("x @ eye(3)", lambda x: x),
        ("x @ eye(3, 2)", lambda x: x[..., :2]),
        ("x @ eye(3, k=1)", lambda x: x @ torch.eye(3).roll(1, 1).triu().to(x.dtype)),
        ("x * arange($(len(many)))", lambda x: x * torch.arange(3)),
        ("x - exp(arange(3) / 3)", lambda x: x - (torch.arange(3) / 3).exp()),
    ],
)
def test_a_formula_makes_constants(formula: str, made: Any) -> None:
    torch.testing.assert_close(value(formula).float(), made(TENSORS["x"]).float())


@bundled(
    16,
    ("formula", "code", "help"),
    [
        ("x[:, newaxis]", "expression-form", "write `None`"),
        ("x[:, np.newaxis, 0]", "expression-form", "write `None`"),
        ("x * np.arange(3)", "unknown-function", "functions have no prefix: write `arange(3)`"),
        ("x * arange(4)", "shapes-differ", "`[:, :, None]` after it in a formula"),
        ("x * arange(x)", "missing-key", "`axis=1` counts along an axis of the tensor, `stop=8` from 0 to 7"),
        ("x.view(-1)", "unknown-function", "`reshape(x, newshape=[-1])`"),
        ("torch.cat([x, y])", "unknown-function", "write `concatenate([x, y])`"),
        ("x.cuda()", "unknown-function", "leave it out"),
        ("x + rand(3)", "unknown-function", "did you mean `random_uniform`?"),
        ("x / len(x)", "unknown-function", "write the number, or a param, `$width`"),
        ("x / x.shape[1]", "unknown-reference", "write the number, or a param, `$width`"),
        ("x.T", "unknown-reference", "transpose(x, axes=[0, 2, 1])"),
        ("relu(x", "expression-syntax", "its end is `)`"),
        ("relu(x))", "expression-syntax", "remove it"),
        ("x + zeros(3)", "wrong-type", "write [3]"),
        ("x + zeros()", "missing-key", "write `shape=...`"),
        ("max(x, y)", "call-arguments", "write `maximum(x, y)`"),
        ("clip(x, 0, 1)", "call-arguments", "write `x_min=0, x_max=1`"),
        (
            "einsum('bij,bkj->bik', x, y)",
            "call-arguments",
            "write `einsum([x, y], subscripts='bij,bkj->bik')`",
        ),
    ],
)
def test_what_numpy_or_torch_would_take_is_answered(formula: str, code: str, help: str) -> None:
    (mistake,) = found_in(spec(formula))
    assert mistake.code == code and help in (mistake.help or "")


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("x * sin($t)", math.sin(0.5)),
        ("x * (cos(2 * pi * $t) + sqrt($t * 2))", math.cos(math.pi) + 1),
        ("x * $(cos((t + 0.008) / 1.008 * pi / 2) ** 2)", math.cos(0.508 / 1.008 * math.pi / 2) ** 2),
        ("x * maximum(square($t), log2(8) - tanh(0))", 3.0),
        ("x * exp($(log(t)))", 0.5),
        ("x * (floor($t * 5) + ceil($t) - round($t * 3.1))", 1.0),
        ("x * (max(1, $t, 3) + min($t, 2))", 3.5),
    ],
)
def test_functions_of_numbers_are_computed_before_there_is_a_tensor(formula: str, value: float) -> None:
    program = graphspec.compile(
        f'params: {{t: 0.5}}\n{X}nodes: {{y: {{compute: "{formula}"}}}}\noutputs: [y]'
    )
    x = torch.ones(2, 4)
    torch.testing.assert_close(program.module()(x), x * value)
    assert "sin(" not in program.source and "exp(" not in program.source


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("x * sin($t, 2)", "`sin` takes one number, and has 2"),
        ("x * maximum($t)", "`maximum` takes 2 numbers, and has 1"),
        ("x * round($t, 0.5)", "`0.5` is not a whole number"),
    ],
)
def test_a_function_of_numbers_says_how_many_it_takes(formula: str, message: str) -> None:
    (mistake,) = found_in(f'params: {{t: 0.5}}\n{X}nodes: {{y: {{compute: "{formula}"}}}}\noutputs: [y]')
    assert mistake.message == message


@pytest.mark.parametrize("formula", ["x * sqrt($(-t))", "x * log(t - t)", "x + exp(5000 * $t)"])
def test_a_number_that_has_no_value_is_told(formula: str) -> None:
    formula = formula.replace("t - t", "$t - $t")
    with pytest.raises(SpecError, match="is not a number, or is too large"):
        graphspec.compile(f'params: {{t: 0.5}}\n{X}nodes: {{y: {{compute: "{formula}"}}}}\noutputs: [y]')


def test_names_of_values_are_nodes_where_nodes_are_called_so() -> None:
    nodes = "nodes: {pi: {compute: 2 * x}, None: {compute: pi + 1}, y: {compute: 'None * pi'}}"
    x = torch.ones(2, 4)
    assert torch.equal(graphspec.compile(f"{X}{nodes}\noutputs: [y]").module()(x), 6 * x)
    params = "params: {pi: 3}\nnodes: {y: {compute: '$pi * x * $(pi + 1)'}}"
    assert torch.equal(graphspec.compile(f"{X}{params}\noutputs: [y]").module()(x), 12 * x)
