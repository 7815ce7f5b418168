"""Modules of one's own: declared, never imported unasked, compared with what they give."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.compiler import check
from graphspec.diagnostics import Diagnostics, SpecError
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests import bundled, one_in, processes

LAYERS = '''
import torch
from torch import nn

from helpers_of_mine import WIDTH


class GatedMix(nn.Module):
    """Two tensors, mixed by a gate."""

    def __init__(self, dim: int, sizes: tuple = (1, 2), bias: bool = True):
        super().__init__()
        assert sizes == (1, 2)
        self.gate = nn.Linear(2 * dim, dim, bias=bias)
        nn.init.constant_(self.gate.weight, 0.125)

    def forward(self, a, b):
        gate = torch.sigmoid(self.gate(torch.cat([a, b], -1)))
        return gate * a + (1 - gate) * b


class Halves(nn.Module):
    def forward(self, x, scale=None):
        first, second = x.chunk(2, -1)
        return first, (second if scale is None else second * scale).sum(1)


class Blur(nn.Module):
    """A convolution of PyTorch's, on PyTorch's order of axes."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)

    def forward(self, x):
        assert x.shape[1] == 3, x.shape
        return self.conv(x)


class Wrong(nn.Module):
    def __init__(self, kind="shape"):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        if self.kind == "shape":
            return x[..., :-1]
        if self.kind == "dtype":
            return x.double()
        if self.kind == "dict":
            return {"a": x}
        if self.kind == "tuple":
            return (x,)
        raise KeyError("no such kind")


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise LookupError("I cannot be made")


def function(x):
    return x
'''
HELPERS = "WIDTH = 3\n"

MIX = """
inputs:
  a: {shape: [length, 8]}
  b: {shape: [length, 8]}
nodes:
  first: {layer: Dense, from: a, units: 8}
  mix:   {module: my_layers.GatedMix, from: [first, b], dim: 8, sizes: [1, 2], shape: [length, 8]}
  out:   {layer: Dense, units: 2}
outputs: {out: {loss: mse}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_layers.py").write_text(LAYERS)
    (tmp_path / "helpers_of_mine.py").write_text(HELPERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compiled(text: str, allow: Any = ("my_layers",)) -> graphspec.Program:
    Path("model.yaml").write_text(text)
    return graphspec.compile("model.yaml", allow=allow)


def node(line: str, more: str = "") -> str:
    return f"inputs:\n  x: {{shape: [length, 8]}}\nnodes:\n  own: {line}\n{more}outputs: [own]\n"


def losses(result: Any) -> list[float]:
    return list(result.history["loss"])


def codes(text: str) -> list[str]:
    diagnostics = Diagnostics()
    check(text, diagnostics, {})
    return [diagnostic.code for diagnostic in diagnostics.sorted()]


# --- what it computes


def test_it_is_called_with_its_inputs_in_order_and_its_constructor_with_the_arguments() -> None:
    program = compiled(MIX)
    module = program.module(seed=1)
    inputs = program.example_inputs(3, {"length": 5})
    state = module.state_dict()
    assert torch.equal(state["mix.gate.weight"], torch.full((8, 16), 0.125)), "its own initialisation stays"
    a = F.linear(inputs["a"], state["first.weight"], state["first.bias"])
    gate = torch.sigmoid(
        F.linear(torch.cat([a, inputs["b"]], -1), *[state[f"mix.gate.{k}"] for k in ("weight", "bias")])
    )
    mixed = gate * a + (1 - gate) * inputs["b"]
    wanted = F.linear(mixed, state["out.weight"], state["out.bias"])
    torch.testing.assert_close(module(**inputs), wanted)
    program.prove(module)


def test_the_emitted_file_runs_by_itself_beside_the_module(folder: Path) -> None:
    program = compiled(MIX)
    (folder / "emitted.py").write_text(program.source)
    code = (
        "import torch, emitted; print(tuple(emitted.Model()(torch.ones(2, 3, 8), torch.ones(2, 3, 8)).shape))"
    )
    done = processes.run(["-c", code])
    assert done.stdout == "(2, 3, 2)\n", done.stderr
    assert "from my_layers import GatedMix" in program.source
    assert "graphspec" not in program.source.split("\n", 2)[2]


def test_several_outputs_are_read_by_name_and_inputs_given_by_name() -> None:
    text = """
inputs: {x: {shape: [length, 8]}, s: {shape: [length, 4]}}
nodes:
  cut:
    module: my_layers.Halves
    from: {x: x, scale: s}
    outputs: {first: {shape: [length, 4]}, total: {shape: [4]}}
  left: {layer: GlobalAveragePooling1D, from: cut.first}
  both: {merge: add, from: [left, cut.total]}
outputs: [both]
"""
    program = compiled(text)
    inputs = program.example_inputs(2)
    first, second = inputs["x"].chunk(2, -1)
    wanted = first.mean(1) + (second * inputs["s"]).sum(1)
    module = program.module()
    torch.testing.assert_close(module(**inputs), wanted)
    program.prove(module)


def test_a_mapping_as_an_argument_arrives_as_a_dict(folder: Path) -> None:
    (folder / "my_layers.py").write_text(
        "from torch import nn\nclass Options(nn.Module):\n"
        "    def __init__(self, options):\n        super().__init__()\n        self.options = options\n"
        "    def forward(self, x):\n        return x * self.options['scale']\n"
    )
    written = "{scale: $scale, sizes: [1, 2], more: {deep: null, word: it's}}"
    program = compiled(f"params: {{scale: 3}}\n{node(f'{{module: my_layers.Options, options: {written}}}')}")
    module: Any = program.module()
    assert module.own.options == {"scale": 3, "sizes": (1, 2), "more": {"deep": None, "word": "it's"}}
    x = torch.ones(2, 4, 8)
    assert torch.equal(module(x), 3 * x)


def test_calls_of_a_shared_module_may_give_different_shapes() -> None:
    text = """
inputs: {x: {shape: [4, 8]}, y: {shape: [8]}}
shared:
  same: {module: my_layers.Same, shape: [4, 8]}
nodes:
  a: {call: same, from: x}
  b: {call: same, from: y, shape: [8]}
outputs: [a, b]
"""
    Path("my_layers.py").write_text(
        "from torch import nn\nclass Same(nn.Module):\n    def forward(self, x):\n        return x\n"
    )
    program = compiled(text)
    program.prove(program.module())
    assert program.source.count("Same(") == 1
    with pytest.raises(SpecError) as error:
        wrong = compiled(text.replace("from: y, shape: [8]", "from: y, shape: [7]"))
        wrong.prove(wrong.module())
    (found,) = error.value.diagnostics
    assert found.code == "module-differs" and found.span is not None and found.span.line == 7
    assert codes(text.replace("from: y, shape: [8]", "from: y, kind: a")) == ["unknown-key"]


def test_calls_of_a_shared_module_may_give_inputs_by_place_or_by_name_one_or_several() -> None:
    """Each call is as it is written, with one set of weights; a block that calls it, too."""
    text = """
inputs: {a: {shape: [8]}, b: {shape: [8]}}
shared:
  gate: {module: my_layers.Gate, width: 8, shape: [8]}
  cut: {module: my_layers.Cut, outputs: {low: {shape: [4]}, high: {shape: [4]}}}
blocks:
  either:
    inputs: {a: required, b: null}
    nodes:
      one: {call: gate, from: a, when: $(not given(b)), else: null}
      two: {call: gate, from: {b: b, a: a}, when: $(given(b)), else: one}
nodes:
  p: {call: gate, from: [a, b]}
  q: {call: gate, from: {a: b, b: p}}
  r: {call: gate, from: q, repeat: 2}
  s: {call: gate, from: {b: r, a: p}}
  t: {block: either, from: {a: s}}
  u: {block: either, from: {a: t, b: s}}
  c: {call: cut, from: u}
  d: {call: cut, from: {x: a}, outputs: {first: {shape: [4]}, second: {shape: [4]}}}
  y: {merge: add, from: [c.low, c.high, d.second]}
outputs: [y]
"""
    Path("my_layers.py").write_text(
        "from torch import nn\nclass Gate(nn.Module):\n    def __init__(self, width):\n"
        "        super().__init__()\n        self.map = nn.Linear(width, width)\n"
        "    def forward(self, a, b=None):\n        return self.map(a) if b is None else self.map(a) * b\n"
        "class Cut(nn.Module):\n    def forward(self, x):\n        return tuple(x.chunk(2, -1))\n"
    )
    program = compiled(text)
    module: Any = program.module()
    program.prove(module)
    inputs = program.example_inputs(3)
    a, b, gate = inputs["a"], inputs["b"], module.gate
    p = gate(a, b)
    r = gate(gate(gate(b, p)))
    s = gate(p, r)
    u = gate(gate(s), s)
    wanted = u[:, :4] + u[:, 4:] + a[:, 4:]
    torch.testing.assert_close(module(**inputs), wanted)
    assert sorted(module.state_dict()) == ["gate.map.bias", "gate.map.weight"]


def test_a_loss_with_parameters_is_refused(folder: Path) -> None:
    (folder / "my_layers.py").write_text(
        "import torch\nfrom torch import nn\nclass Scaled(nn.Module):\n"
        "    def __init__(self, learns=True):\n        super().__init__()\n"
        "        self.scale = nn.Parameter(torch.ones(1), requires_grad=learns)\n"
        "    def forward(self, y, target):\n        return (self.scale * (y - target)).square().mean()\n"
    )
    text = """
inputs: {x: {shape: [8]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: {module: my_layers.Scaled, learns: LEARNS}}}
train: {epochs: 1}
"""
    with pytest.raises(SpecError, match=r"`my_layers\.Scaled` has the parameter `scale`") as error:
        train(compiled(text.replace("LEARNS", "true")), run_dir=folder / "a")
    assert error.value.diagnostics[0].span is not None
    assert losses(train(compiled(text.replace("LEARNS", "false")), run_dir=folder / "b"))


def test_channels_first_hands_images_over_as_pytorch_has_them() -> None:
    text = """
inputs: {image: {shape: [height, width, 3]}}
nodes:
  blur:
    module: my_layers.Blur
    channels: 3
    data_format: channels_first
    shape: [(height + 1) // 2, (width + 1) // 2, 6]
  act:  {layer: Activation, activation: relu}
outputs: [act]
"""
    program = compiled(text)
    module: Any = program.module()
    image = program.example_inputs(2, {"height": 9, "width": 6})["image"]
    wanted = module.blur.conv(image.permute(0, 3, 1, 2)).relu().permute(0, 2, 3, 1)
    torch.testing.assert_close(module(image), wanted)
    program.prove(module)


def test_in_blocks_repeats_shared_entries_and_time_distributed() -> None:
    text = """
inputs: {x: {shape: [steps, 3, 8]}, y: {shape: [length, 8]}}
shared:
  mixer: {module: my_layers.GatedMix, dim: 8}
blocks:
  pair:
    params: {bias: true}
    inputs: [x]
    nodes:
      mix: {module: my_layers.GatedMix, from: [x, x], dim: $(channels(x)), bias: $bias}
nodes:
  pairs:  {block: pair, from: y, repeat: {bias: [true, false, true]}}
  chain:  {module: my_layers.GatedMix, from: {a: pairs, b: y}, dim: 8, repeat: 2}
  one:    {call: mixer, from: [chain, y]}
  two:    {call: mixer, from: [one, y]}
  turned: {layer: TimeDistributed, from: x, wraps: {block: pair}}
  flat:   {layer: TimeDistributed, wraps: {layer: GlobalAveragePooling1D}}
  means:  {layer: GlobalAveragePooling1D}
  last:   {layer: GlobalAveragePooling1D, from: two}
  sum:    {merge: add, from: [last, means]}
outputs: [sum]
"""
    program = compiled(text)
    module: Any = program.module()
    program.prove(module)
    keys = {key.rpartition(".gate")[0] for key in module.state_dict()}
    assert keys == {"mixer", "pairs.0.mix", "pairs.1.mix", "pairs.2.mix", "chain.0", "chain.1", "turned.mix"}
    assert module.pairs[1].mix.gate.bias is None and module.pairs[2].mix.gate.bias is not None


def test_what_is_frozen_does_not_train() -> None:
    frozen: Any = compiled(MIX.replace("dim: 8,", "dim: 8, trainable: false,")).module()
    assert not frozen.mix.gate.weight.requires_grad and frozen.out.weight.requires_grad


def test_names_that_the_file_has_already_get_another(folder: Path) -> None:
    (folder / "own_lstm.py").write_text("from torch import nn\nclass LSTM(nn.Identity): ...\n")
    (folder / "own_two.py").write_text("from torch import nn\nclass LSTM(nn.Identity): ...\n")
    text = """
inputs: {x: {shape: [length, 8]}}
nodes:
  a: {module: own_lstm.LSTM}
  b: {module: own_two.LSTM}
  c: {layer: LSTM, units: 4}
outputs: [c]
"""
    program = compiled(text, ["own_lstm", "own_two"])
    assert program.module()(torch.ones(2, 5, 8)).shape == (2, 4)
    assert "from own_lstm import LSTM as LSTM2\nfrom own_two import LSTM as LSTM3" in program.source


# --- permission


CANARY = "raise SystemExit('the canary was imported')\n"


@pytest.mark.parametrize(
    "command",
    [
        ["check", "model.yaml"],
        ["summary", "model.yaml", "--flops", "--memory", "--expand"],
        ["plot", "model.yaml", "-o", "model.svg"],
        ["plot", "model.yaml", "-o", "model.html"],
        ["build", "model.yaml", "-o", "m.py", "--no-check"],
        ["build", "model.yaml", "-o", "m.py"],
        ["build", "model.yaml", "-o", "m.pt2"],
        ["train", "model.yaml"],
        ["train", "model.yaml", "--allow", "my_layer", "--allow", "my_layersx"],
    ],
    ids=" ".join,
)
def test_nothing_is_imported_without_the_word(command: list[str], folder: Path) -> None:
    for name in ("my_layers", "helpers_of_mine", "json", "torch", "my_losses"):
        (folder / f"{name}.py").write_text(CANARY)
    text = MIX.replace("loss: mse", "loss: {module: my_losses.Dice}, metrics: [{module: my_losses.Iou}]")
    (folder / "model.yaml").write_text(text)
    result = CliRunner().invoke(app, command)
    fine = command[0] in ("check", "summary", "plot") or "--no-check" in command
    assert result.exit_code == (0 if fine else 1), result.output
    assert "canary" not in result.output
    assert fine or "--allow my_" in result.output
    assert "my_layers" not in sys.modules or "canary" not in str(sys.modules["my_layers"].__file__)


def test_permission_is_for_the_package_or_the_module(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "__init__.py").write_text("")
    (folder / "mine" / "parts.py").write_text("from torch import nn\nclass Same(nn.Identity): ...\n")
    text = node("{module: mine.parts.Same}")
    for allow in (["mine"], ["mine.parts"]):
        assert compiled(text, allow).module()(torch.ones(2, 3, 8)).shape == (2, 3, 8)
    for allow in (["min"], ["mine.part"], ["mine.parts.Same.x"], []):
        with pytest.raises(SpecError) as error:
            compiled(text, allow).module()
        assert error.value.diagnostics[0].code == "module-not-allowed"


def test_two_specs_have_modules_of_one_name(tmp_path: Path) -> None:
    made = []
    for word, number in (("one", 1.0), ("two", 2.0)):
        folder = tmp_path / word
        folder.mkdir()
        (folder / "plus.py").write_text(
            "from torch import nn\n"
            f"class Plus(nn.Module):\n    def forward(self, x):\n        return x + {number}\n"
        )
        (folder / "model.yaml").write_text(node("{module: plus.Plus}"))
        made.append(graphspec.compile(folder / "model.yaml", allow=["plus"]).module())
    x = torch.zeros(1, 2, 8)
    assert [module(x).mean().item() for module in made] == [1.0, 2.0]


def test_a_file_may_not_take_the_name_of_what_is_loaded(folder: Path) -> None:
    (folder / "json.py").write_text(CANARY)
    with pytest.raises(SpecError) as error:
        compiled(node("{module: json.Thing}"), ["json"]).module()
    assert error.value.diagnostics[0].code == "module-missing"
    assert json.dumps({}) == "{}"


# --- copied into the emitted file


BUNDLED = '''
from __future__ import annotations

import math
import torch.nn.functional as F
from collections import OrderedDict
from torch import Tensor, nn

SCALE = math.sqrt(2.0)
unused = nn.Linear(1, 1)


def scaled(x: Tensor) -> Tensor:
    return F.relu(x) * SCALE


class Base(nn.Module):
    """What it derives from."""

    def forward(self, x: Tensor) -> Later:
        return scaled(self.layers(x))


class Deep(Base):
    # a comment stays
    def __init__(self, width: int):
        super().__init__()
        parts = [(str(index), nn.Linear(width, width)) for index in range(2)]
        self.layers = nn.Sequential(OrderedDict(parts))


class Later(Tensor): ...
'''


def test_bundle_copies_what_the_class_needs(folder: Path) -> None:
    (folder / "deep.py").write_text(BUNDLED)
    text = node("{module: deep.Deep, width: 8}", "  act: {layer: Dense, units: 8, activation: relu}\n")
    Path("model.yaml").write_text(text.replace("[own]", "[act]"))
    command = ["build", "model.yaml", "-o", "emitted.py", "--bundle"]
    assert CliRunner().invoke(app, command).exit_code == 1, "it is run, and so must be allowed"
    result = CliRunner().invoke(app, [*command, "--allow", "deep"])
    assert result.exit_code == 0, result.output
    source = (folder / "emitted.py").read_text()
    assert "unused" not in source and "# a comment stays" in source and "from deep" not in source
    module = graphspec.compile("model.yaml", allow=["deep"]).module(seed=3)
    torch.save(module.state_dict(), "state.pt")
    (folder / "deep.py").unlink()
    code = """
import sys, torch
loaded = [name for name in sys.modules if name.partition(".")[0] == "graphspec"]
sys.modules.update(dict.fromkeys(["graphspec", *loaded]))
import emitted
module = emitted.Model()
module.load_state_dict(torch.load("state.pt"))
torch.save(module(torch.ones(2, 3, 8)), "found.pt")
"""
    done = processes.run(["-c", code])
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.load("found.pt"), module(torch.ones(2, 3, 8)))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import numpy as np\nclass A(nn.Module):\n    x = np.zeros(2)\n", "needs `numpy`"),
        ("from helpers_of_mine import WIDTH\nclass A(nn.Module):\n    x = WIDTH\n", "helpers_of_mine.WIDTH"),
        ("from . import x\nclass A(nn.Module):\n    y = x\n", "needs"),
        ("class Model: ...\nclass A(nn.Module):\n    x = Model\n", "another `Model`"),
        ("if True:\n    class A(nn.Module): ...\n", "defines no `A`"),
        ("try:\n    y = 1\nexcept ValueError: ...\nclass A(nn.Module):\n    x = y\n", "cannot be copied"),
        ("F = 1\nclass A(nn.Module):\n    x = F\n", "another `F`"),
        ("def super(): ...\nclass A(nn.Module):\n    x = super\n", "another `super`"),
        ("from torch import float32 as super\nclass A(nn.Module):\n    x = super\n", "another `super`"),
    ],
)
def test_bundle_refuses_what_it_cannot_copy(code: str, says: str, folder: Path) -> None:
    (folder / "deep.py").write_text(f"from torch import nn\n{code}")
    text = node("{module: deep.A}", "  act: {layer: Activation, activation: relu}\n").replace(
        "[own]", "[act]"
    )
    with pytest.raises(SpecError) as error:
        compiled(text, ["deep"]).bundle(prove=False)
    assert error.value.diagnostics[0].code == "bundle-misfit" and says in str(error.value)


BUILTINS_USED = """
from torch import nn

class Pick(nn.Module):
    def forward(self, x):
        return x * len(set([1, 2]))

class max(nn.Module):
    def forward(self, x):
        return x * 3
"""


def test_what_is_bundled_calls_what_it_called(folder: Path) -> None:
    """Functions of the file hide nothing of Python, and a class that the file calls otherwise is found."""
    (folder / "deep.py").write_text(BUILTINS_USED)
    text = """
inputs: {x: {shape: [4]}}
blocks: {set: {inputs: [h], nodes: {k: {compute: h + h}}}}
nodes:
  a: {block: set}
  b: {block: set}
  p: {module: deep.Pick, shape: [4]}
  q: {module: deep.max, shape: [4]}
outputs: [q]
"""
    program = compiled(text, ["deep"])
    space: dict[str, Any] = {}
    exec(program.bundle(prove=False), space)
    x = torch.ones(1, 4)
    assert program.module()(x).tolist() == space["Model"]()(x).tolist() == [[24.0] * 4]


def test_bundle_refuses_a_name_that_another_file_takes_from_python(folder: Path) -> None:
    (folder / "deep.py").write_text(BUILTINS_USED)
    (folder / "own.py").write_text("class set: ...\nfrom torch import nn\nclass A(nn.Module):\n    x = set\n")
    nodes = ["{module: deep.Pick, shape: [4]}", "{module: own.A, shape: [4]}"]
    for first, second in (nodes, nodes[::-1]):
        text = f"inputs: {{x: {{shape: [4]}}}}\nnodes: {{p: {first}, q: {second}}}\noutputs: [q]\n"
        with pytest.raises(SpecError, match="another `set`"):
            compiled(text, ["deep", "own"]).bundle(prove=False)


# --- what is wrong with it


@bundled(
    16,
    ("line", "code"),
    [
        ("{module: my_layers}", "wrong-type"),
        ("{module: my_layers.__class__.x}", "wrong-type"),
        ("{module: 'my_layers.GatedMix()'}", "wrong-type"),
        ("{module: 'os; import sys.x'}", "wrong-type"),
        ("{module: ../my_layers.GatedMix}", "wrong-type"),
        ("{module: [a, b]}", "wrong-type"),
        ("{module: my_layers.GatedMix, __class__: 1}", "bad-name"),
        ("{module: my_layers.GatedMix, 'a b': 1}", "bad-name"),
        ("{module: my_layers.GatedMix, arguments: {from: 1, dim: [1]}, dim: 2}", "duplicate-key"),
        ("{module: my_layers.GatedMix, shape: [lenght, 8]}", "unknown-reference"),
        ("{module: my_layers.GatedMix, shape: [length / 2]}", "wrong-type"),
        ("{module: my_layers.GatedMix, shape: ['__import__(\"os\")']}", "wrong-type"),
        ("{module: my_layers.GatedMix, shape: ['" + "length + " * 10_000 + "1']}", "wrong-type"),
        ("{module: my_layers.GatedMix, shape: [0]}", "out-of-range"),
        ("{module: my_layers.GatedMix, shape: 8}", "wrong-type"),
        ("{module: my_layers.GatedMix, dtype: float}", "out-of-range"),
        ("{module: my_layers.GatedMix, outputs: {a: {shap: [8]}}}", "unknown-key"),
        ("{module: my_layers.GatedMix, outputs: {}}", "wrong-type"),
        ("{module: my_layers.GatedMix, outputs: {a: {}}, shape: [8]}", "unknown-key"),
        ("{module: my_layers.GatedMix, data_format: first}", "out-of-range"),
        ("{module: my_layers.GatedMix, layer: Dense}", "two-forms"),
    ],
)
def test_what_is_written_wrong(line: str, code: str) -> None:
    assert codes(node(line)) == [code]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("shape", "declares float32[batch, length, 8], and `Wrong` gives float32[2, 8, 7]"),
        ("dtype", "gives float64[2, 8, 8]"),
        ("dict", "gives a dict"),
        ("tuple", "gives a tuple of 1: float32[2, 8, 8]"),
    ],
)
def test_what_it_gives_is_compared_with_what_is_declared(kind: str, says: str) -> None:
    Path("model.yaml").write_text(node(f"{{module: my_layers.Wrong, kind: {kind}}}"))
    result = CliRunner().invoke(app, ["build", "model.yaml", "-o", "-", "--allow", "my_layers", "--json"])
    (found,) = json.loads(result.output)["diagnostics"]
    assert found["code"] == "module-differs" and says in found["message"] and found["line"] == 4


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("{module: my_layers.Wrong, kind: key}", "build-failed", "KeyError: 'no such kind'"),
        ("{module: my_layers.Broken}", "build-failed", "I cannot be made"),
        ("{module: my_layers.Blur}", "build-failed", "channels"),
        ("{module: my_layers.GatedMixs}", "module-missing", "did you mean `my_layers.GatedMix`?"),
        ("{module: my_layer.GatedMix}", "module-missing", "did you mean `my_layers`?"),
        ("{module: my_layers.function}", "module-missing", "a subclass of nn.Module"),
        ("{module: syntax.Error}", "module-missing", "syntax.py:2"),
        ("{module: leaves.Now}", "module-missing", "SystemExit"),
    ],
)
def test_code_that_fails_ends_in_a_diagnostic(line: str, code: str, says: str, folder: Path) -> None:
    (folder / "syntax.py").write_text("x = 1\ny = = 2\n")
    (folder / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "model.yaml").write_text(node(line))
    allow = [word for name in ("my_layers", "my_layer", "syntax", "leaves") for word in ("--allow", name)]
    result = CliRunner().invoke(app, ["build", "model.yaml", "-o", "-", *allow])
    assert result.exit_code == 1 and f"error[{code}]" in result.output and says in result.output
    if code == "build-failed" and "Blur" not in line:
        assert "raised at" in result.output and "my_layers.py" in result.output


# --- what is known of it


def test_its_params_are_unknown_and_the_totals_say_so() -> None:
    program = compiled(MIX, ())
    summary = program.summary()
    known = 8 * 8 + 8 + 8 * 2 + 2
    found = summary.to_json(flops=True)
    assert summary.total_params == found["total_params"] == known and found["unknown_params"] == ["mix"]
    (row,) = [row for row in found["layers"] if row["name"] == "mix"]
    assert row["type"] == "GatedMix" and row["params"] is row["flops"] is None
    assert row["output_shape"] == [None, None, 8]
    text = str(summary)
    assert "│       ? │ first, b" in text and "Not counted: the params of mix" in text


# --- runs


def test_a_run_carries_the_files_and_uses_them(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    arrays: dict[str, Any] = {
        name: np.random.default_rng(0).normal(size=(64, 5, 8)).astype("float32") for name in "ab"
    }
    np.savez("data.npz", **arrays, out=arrays["a"][..., :2] - arrays["b"][..., 2:4])
    program = compiled(MIX)
    result = program.fit("data.npz", run_dir="run", epochs=2)
    first, second = map(float, losses(result))
    assert second < first
    assert {"my_layers.py", "helpers_of_mine.py"} <= {path.name for path in Path("run").iterdir()}
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "run"
    (folder / "run").rename(elsewhere)
    for name in ("my_layers.py", "helpers_of_mine.py"):
        (folder / name).unlink()
    run = Run(elsewhere, allow=["my_layers"])
    assert np.isfinite(run.evaluate("data.npz")["loss"])
    assert run.predict("data.npz").num_rows == 64
    again = ["train", str(elsewhere), "--resume", "--set", "train.epochs=3", "--data", "data.npz", "--json"]
    refused = CliRunner().invoke(app, again)
    assert refused.exit_code == 1 and "module-not-allowed" in refused.output
    resumed = CliRunner().invoke(app, [*again, "--allow", "my_layers", "--progress", "none"])
    assert json.loads(resumed.stdout).get("epochs") == 3, resumed.output
    (elsewhere / "my_layers.py").write_text(LAYERS + "\n# edited\n")
    other = CliRunner().invoke(app, [*again, "--set", "train.epochs=4", "--allow", "my_layers"])
    assert other.exit_code == 1 and "resume-failed" in other.output


# --- exports


@pytest.mark.parametrize("format", one_in(2, ["pt2", "onnx"]))
def test_exports_hold_what_it_computes(format: str, folder: Path) -> None:
    (folder / "model.yaml").write_text(MIX)
    command = [
        "build",
        "model.yaml",
        "--format",
        format,
        "-o",
        f"m.{format}",
        "--allow",
        "my_layers",
        "--json",
    ]
    result = CliRunner().invoke(app, command)
    found = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert found["comparisons"] and all(each["difference"] < 1e-5 for each in found["comparisons"])


def test_it_folds_and_is_left_alone() -> None:
    text = MIX.replace("  out:", "  norm: {layer: BatchNormalization}\n  out:")
    program = compiled(text)
    inputs = program.example_inputs(2)
    module, folded = program.module(seed=2).eval(), program.fold().module(seed=2).eval()
    torch.testing.assert_close(folded(**inputs), module(**inputs), rtol=1e-4, atol=1e-5)


# --- losses and metrics


LOSSES = """
import torch
from torch import nn


class Dice(nn.Module):
    def __init__(self, smooth: float = 1.0):
        super().__init__()
        self.register_buffer("smooth", torch.tensor(smooth))

    def forward(self, outputs, targets):
        both = (outputs * targets).sum(-1)
        return 1 - (2 * both + self.smooth) / (outputs.sum(-1) + targets.sum(-1) + self.smooth)


def squared(outputs, targets, factor=1.0):
    return factor * ((outputs - targets) ** 2).mean()


def named(outputs, targets):
    return torch.nn.functional.nll_loss(outputs.log(), targets, reduction="none")


class Nothing:
    def __call__(self, outputs, targets):
        return "a text"
"""

JUDGED = """
inputs: {x: {shape: [6]}}
nodes: {y: {layer: Dense, units: 3, activation: ACTIVATION}}
outputs: {y: {loss: LOSS, metrics: METRICS}}
train: {optimizer: {name: sgd, learning_rate: 0.1}, batch_size: 16, seed: 3}
"""


def judged(loss: str, metrics: str = "[]", activation: str = "linear") -> graphspec.Program:
    Path("my_losses.py").write_text(LOSSES)
    text = JUDGED.replace("LOSS", loss).replace("METRICS", metrics).replace("ACTIVATION", activation)
    return compiled(text, ["my_losses", "torch"])


def data(kind: str = "float") -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 6)).astype("float32")
    y = x[:, :3].argmax(1) if kind == "classes" else x[:, :3] * 2
    return {"x": x, "y": y if kind != "binary" else (y > 0).astype("float32")}


@pytest.mark.parametrize(
    ("own", "known", "activation", "kind"),
    [
        ("{module: my_losses.squared}", "mse", "linear", "float"),
        ("{module: torch.nn.MSELoss}", "mse", "linear", "float"),
        ("{module: torch.nn.HuberLoss, delta: 0.5}", "{name: huber, delta: 0.5}", "linear", "float"),
        ("{module: torch.nn.L1Loss, reduction: none}", "mae", "linear", "float"),
        (
            "{module: my_losses.named, shape: [], dtype: int64}",
            "sparse_categorical_crossentropy",
            "softmax",
            "classes",
        ),
    ],
)
def test_a_loss_of_ones_own_trains_as_the_one_that_keras_has(
    own: str, known: str, activation: str, kind: str
) -> None:
    if "reduction" in own:
        own = "{module: torch.nn.L1Loss, arguments: {reduction: none}}"
    found = [
        judged(loss, activation=activation).fit(data(kind), run_dir=f"run{index}", epochs=3).history["loss"]
        for index, loss in enumerate((own, known))
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_dice_is_smaller_after_training_and_reported_as_a_metric() -> None:
    metrics = "[{module: my_losses.Dice, smooth: 1, as: dice, direction: down}, {module: my_losses.squared}]"
    program = judged("{module: my_losses.Dice, smooth: 1}", metrics, "sigmoid")
    result = program.fit(data("binary"), run_dir="run", epochs=4)
    history: dict[str, Any] = result.history
    assert history["loss"][-1] < history["loss"][0]
    np.testing.assert_allclose(history["dice"], history["loss"], rtol=1e-5)
    assert set(history) == {"loss", "dice", "squared"}
    module = Run("run", "last", allow=["my_losses"]).module()
    given = data("binary")
    outputs, targets = module(torch.tensor(given["x"])), torch.tensor(given["y"])
    wanted = (1 - (2 * (outputs * targets).sum(-1) + 1) / (outputs.sum(-1) + targets.sum(-1) + 1)).mean()
    found = Run("run", "last", allow=["my_losses"]).evaluate(given)
    np.testing.assert_allclose(found["loss"], wanted.item(), rtol=1e-5)
    np.testing.assert_allclose(found["squared"], ((outputs - targets) ** 2).mean().item(), rtol=1e-5)


def test_a_loss_is_given_what_the_model_returns_with_logits_or_without() -> None:
    program = judged("{module: my_losses.Dice}", "[]", "sigmoid")
    given = {name: torch.tensor(value) for name, value in data("binary").items()}
    module = program.module()
    found = program.loss(module(given["x"]), given["y"])["loss"]
    assert found.requires_grad and 0 < found.item() < 1
    with pytest.raises(SpecError, match="runs only with permission"):
        compiled(Path("model.yaml").read_text(), ()).loss(module(given["x"]), given["y"])


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        ("{module: my_losses.Dice, name: mse}", "two-forms"),
        ("{module: my_losses}", "wrong-type"),
        ("{module: my_losses.Dice, dtype: flot32}", "out-of-range"),
        ("{module: my_losses.Dice, shape: 3}", "wrong-type"),
        ("{module: my_losses.Dice, __init__: 3}", "bad-name"),
        ("{module: my_losses.Dice, reduction: none}", "out-of-range"),
    ],
)
def test_a_loss_that_is_written_wrong(loss: str, code: str) -> None:
    with pytest.raises(SpecError) as error:
        judged(loss)
    assert [diagnostic.code for diagnostic in error.value.diagnostics] == [code]


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        ("{module: my_losses.Nothing}", "loss-misfit"),
        ("{module: my_losses.Absent}", "module-missing"),
        ("{module: my_losses.Dice, smoth: 1}", "build-failed"),
        ("{module: my_losses.squared, smoth: 1}", "build-failed"),
    ],
)
def test_a_loss_that_fails(loss: str, code: str) -> None:
    with pytest.raises(SpecError) as error:
        judged(loss).fit(data(), run_dir="run", epochs=1)
    assert error.value.diagnostics[0].code == code


def test_a_wrong_key_of_a_function_is_found_at_its_place_before_the_training() -> None:
    with pytest.raises(SpecError) as error:
        judged("mse", "[{module: my_losses.squared, smoth: 1}]").fit(data(), run_dir="run", epochs=1)
    (found,) = error.value.diagnostics
    assert found.span is not None and "smoth" in found.message and not Path("run").exists()
    assert found.help == "its arguments are: outputs, targets, factor"


def test_one_number_for_a_batch_cannot_be_weighted() -> None:
    text = JUDGED.replace(
        "loss: LOSS, metrics: METRICS", "loss: {module: my_losses.squared}, sample_weight: w"
    )
    Path("my_losses.py").write_text(LOSSES)
    program = compiled(text.replace("ACTIVATION", "linear"), ["my_losses"])
    with pytest.raises(SpecError, match="they have different weights"):
        program.fit(data() | {"w": np.ones(40, "float32")}, run_dir="run", epochs=1)


def test_synthetic_data_are_made_for_them() -> None:
    program = judged("{module: my_losses.Dice}", "[{module: my_losses.squared}]", "sigmoid")
    assert losses(program.fit(run_dir="run", epochs=1))[0] > 0
    classes = judged("{module: my_losses.named, shape: [], dtype: int64}", "[]", "softmax")
    assert losses(classes.fit(run_dir="run2", epochs=1))[0] > 0


def test_the_units_of_an_output_with_a_loss_of_ones_own_need_not_be_classes(folder: Path) -> None:
    """Ordinal regression: a probability for each step between two classes."""
    (folder / "ordinal.py").write_text("""
import torch

def steps(outputs, targets):
    above = (targets.unsqueeze(-1) > torch.arange(outputs.shape[-1])).float()
    return torch.nn.functional.binary_cross_entropy(outputs, above, reduction="none").mean(-1)
""")
    rows = "\n".join(f"{n / 9},{'abc'[n // 3 % 3]}" for n in range(90))
    (folder / "t.csv").write_text(f"x,grade\n{rows}\n")
    program = compiled(
        """
inputs: {x: {shape: [1]}}
nodes: {grade: {layer: Dense, units: 2, activation: sigmoid}}
outputs:
  grade: {loss: {module: ordinal.steps, shape: [], dtype: int64}, class_weight: balanced}
data:
  train: t.csv
  features: {grade: {encode: category, values: [a, b, c]}}
""",
        ["ordinal"],
    )
    program.fit(run_dir="run", epochs=1)
    found = graphspec.Run("run", allow=["ordinal"]).predict("t.csv")
    assert found.column_names == ["grade"] and {len(row) for row in found["grade"].to_pylist()} == {2}


@pytest.mark.parametrize("scale", ["none", "standard"])
def test_a_loss_of_ones_own_compares_one_output_with_several_columns(folder: Path, scale: str) -> None:
    """Survival analysis: a risk, compared with a time and whether the event was seen."""
    (folder / "survival.py").write_text("""
def partial(outputs, targets):
    time, seen = targets[:, 0], targets[:, 1] > 0
    order = time.argsort(descending=True)
    risk = outputs[order, 0]
    return -((risk - risk.logcumsumexp(0)) * seen[order]).mean()

def longest(outputs, targets):
    return targets[:, 0].max()
""")
    rows = "\n".join(f"{n % 7},{n + 1},{n % 2}" for n in range(60))
    (folder / "t.csv").write_text(f"x,time,seen\n{rows}\n")
    program = compiled(
        f"""
inputs: {{x: {{shape: [1]}}}}
nodes: {{risk: {{layer: Dense, units: 1}}}}
outputs:
  risk:
    target: survival
    loss: {{module: survival.partial, shape: [2]}}
    metrics: [{{module: survival.longest, shape: [2]}}]
data:
  train: t.csv
  features: {{survival: {{columns: [time, seen], encode: number, scale: {scale}}}}}
train: {{batch_size: 60}}
""",
        ["survival"],
    )
    history = program.fit(run_dir="run", epochs=1, device="cpu").history
    assert history["longest"] == [pytest.approx(60)]
    found = graphspec.Run("run", allow=["survival"]).predict("t.csv", device="cpu")
    assert found.column_names == ["risk"] and len(set(found["risk"].to_pylist())) == 7


@pytest.mark.parametrize("given", ["{'a': x}", "None", "x[:, :2]", "x.double()", "x.numpy()"])
def test_a_module_that_returns_something_else_is_told_at_its_node_when_it_is_made(given: str) -> None:
    """What reads it would fail in PyTorch's words."""
    text = """
inputs: {x: {shape: [4]}}
nodes:
  odd: {module: my_layers.Odd, shape: [4]}
  y: {layer: Dense, units: 3}
outputs: [y]
"""
    Path("my_layers.py").write_text(
        f"from torch import nn\nclass Odd(nn.Module):\n    def forward(self, x):\n        return {given}\n"
    )
    with pytest.raises(SpecError) as error:
        compiled(text).module()
    (found,) = error.value.diagnostics
    assert found.code == "module-differs" and found.span is not None and found.span.line == 4


def test_a_module_that_fails_for_random_inputs_is_made() -> None:
    """It may be right for what it is given, and says itself what is not."""
    Path("my_layers.py").write_text(
        "from torch import nn\nclass Sorted(nn.Module):\n    def forward(self, x):\n"
        "        if not (x[:, 1:] >= x[:, :-1]).all():\n            raise ValueError('not sorted')\n"
        "        return x\n"
    )
    program = compiled(
        "inputs: {x: {shape: [40]}}\nnodes: {y: {module: my_layers.Sorted, shape: [40]}}\noutputs: [y]\n"
    )
    state = torch.get_rng_state()
    module = program.module()
    assert torch.equal(torch.get_rng_state(), state)
    assert module(torch.arange(40.0)[None]).shape == (1, 40)
    with pytest.raises(ValueError, match="not sorted"):
        program.prove(module)
