"""Modules of emitted source as Python objects: pickled, shown, cast, hooked."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.emit import TORCH
from tests import ROOT, one_in, processes
from tests.processes import ENDLESS
from tests.programs import program_of

SPECS = sorted((ROOT / "specs").glob("*.yaml"))
LOAD = """
import inspect, pickle, sys, torch
module, saved = pickle.load(open("module.pkl", "rb")), torch.load("module.pt", weights_only=False)
example = torch.load("example.pt")
for each in (module, saved):
    assert type(each) is type(module) and "class Unet(nn.Module):" in inspect.getsource(type(each))
    torch.testing.assert_close(each(example["image"]), example["mask"])
"""


@pytest.fixture(scope="module")
def unet() -> tuple[nn.Module, Tensor]:
    program = graphspec.compile(ROOT / "specs/unet.yaml", params={}, settings={})
    return program.module().eval(), program.example_inputs(1)["image"]


def test_a_module_is_itself_in_another_process(
    unet: tuple[nn.Module, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, image = unet
    (tmp_path / "module.pkl").write_bytes(pickle.dumps(module))
    torch.save(module, tmp_path / "module.pt")
    torch.save({"image": image, "mask": module(image).detach()}, tmp_path / "example.pt")
    monkeypatch.chdir(tmp_path)
    done = processes.run(["-c", LOAD])
    assert done.returncode == 0, done.stderr


def test_a_copy_has_the_same_class(unet: tuple[nn.Module, Tensor]) -> None:
    module, _ = unet
    assert type(pickle.loads(pickle.dumps(module))) is type(module) is type(copy.deepcopy(module))

    class Mine(type(module)):  # type: ignore[misc]
        """A class of a user's, which pickle finds by its name, or not."""

    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(Mine())


def test_inspect_shows_the_class(unet: tuple[nn.Module, Tensor]) -> None:
    module, _ = unet
    assert inspect.getsource(type(module)).startswith("class Unet(nn.Module):")


def _run(module: nn.Module, image: Tensor, queue: Any) -> None:
    queue.put(tuple(module(image).shape))


@pytest.mark.parity
def test_another_process_takes_a_module() -> None:
    program = graphspec.compile(ROOT / "specs/dense.yaml")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_run, args=(program.module(), torch.randn(3, 64), queue))
    process.start()
    assert queue.get(timeout=ENDLESS) == (3, 10)
    process.join()


@pytest.mark.parametrize("path", one_in(5, SPECS), ids=lambda path: path.stem)
def test_a_module_runs_in_every_type(path: Path) -> None:
    """Casts follow the weights."""
    program = program_of(path)
    module, inputs = program.module().eval(), program.example_inputs(1)
    large = max((x.numel() for x in inputs.values()), default=0) > 100_000
    for dtype in (torch.bfloat16,) if large else (torch.bfloat16, torch.half, torch.double):
        given = [x.to(dtype) if x.is_floating_point() else x for x in inputs.values()]
        with torch.no_grad():
            outputs = module.to(dtype)(*given)
        values = outputs.values() if isinstance(outputs, dict) else [outputs]
        assert all(value.dtype == dtype for value in values)


def test_without_overwriting_full_backward_hooks_work() -> None:
    """As Grad-CAM needs them: an activation that overwrites what a hooked module gave is refused."""
    program = graphspec.compile(ROOT / "specs/unet.yaml")
    image, seen = program.example_inputs(1)["image"], list[Tensor]()
    modules = [program.module(), program.module(inplace=False)]
    torch.testing.assert_close(modules[0](image), modules[1](image))
    for module in modules:
        conv = module.bottom.convs[0]  # type: ignore[union-attr,index]
        conv.register_full_backward_hook(lambda *given: seen.append(given[2][0]))  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="inplace"):
        modules[0](image).sum().backward()
    modules[1](image).sum().backward()
    assert len(seen) == 1 and "inplace" not in program.emit(inplace=False).source


def test_a_file_says_where_it_comes_from() -> None:
    program = graphspec.compile(ROOT / "specs/resnet.yaml", preset="resnet18")
    head = program.source.split('"""')[0].replace("\n# ", " ")
    assert head.startswith(f"# Made by graphspec {graphspec.__version__} from the spec resnet with kind = ")
    assert "depths" not in head and f"It needs torch {TORCH} or later." in head
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"torch>={TORCH}" in dependencies


def test_weights_are_drawn_without_a_change_of_any_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(ROOT / "specs/dense.yaml")
    state, asked = torch.get_rng_state(), list[int]()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", asked.append)
    drawn = [program.module(seed=seed).state_dict() for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state) and not asked
    same = [all(torch.equal(drawn[0][key], other[key]) for key in other) for other in drawn[1:]]
    assert same == [True, False]
