"""In how many bits a training computes: what stays float32, and how far bfloat16 leads away."""

from pathlib import Path

import pytest
import torch

import graphspec
from graphspec.data.batches import Batch
from graphspec.data.fields import fields
from graphspec.data.synthetic import synthetic
from graphspec.train.config import Precision
from graphspec.train.loop import train
from graphspec.train.objective import Objective
from graphspec.train.penalties import Penalties
from graphspec.train.precision import products
from tests import ROOT

SPECS = ROOT / "specs"
CPU = torch.device("cpu")
NAMES = ("dense", "digits", "vae", "gpt", "posts", "siamese", "item_price", "unet", "transformer_classifier")


def batch_of(program: graphspec.Program, count: int) -> Batch:
    return next(synthetic(program, fields(program), count, 0).batches(count))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_in_bfloat16_is_near_one_in_float32(name: str) -> None:
    program = graphspec.compile(SPECS / f"{name}.yaml", settings={"train.batch_size": 2})
    batch = batch_of(program, 2)
    found = {}
    precisions: tuple[Precision, ...] = ("float32", "bf16")
    for precision in precisions:
        torch.manual_seed(0)
        module = program.module()
        objective = Objective(
            program.inputs, program.outputs, CPU, Penalties(program.graph, module), precision=precision
        )
        result = objective(module.train(), batch)
        result.loss.backward()
        assert result.loss.dtype == torch.float32
        assert all(value.dtype != torch.bfloat16 for value in result.outputs.values())
        assert all(weight.dtype == torch.float32 for weight in module.parameters())
        assert all(
            weight.grad is None or (weight.grad.dtype == torch.float32 and weight.grad.isfinite().all())
            for weight in module.parameters()
        )
        found[precision] = result.value
    assert found["bf16"] != found["float32"]
    assert found["bf16"] == pytest.approx(found["float32"], rel=0.05)


@pytest.mark.parametrize("norm", ["BatchNormalization, synchronized: true", "BatchNormalization"])
def test_statistics_of_all_and_of_what_masks_leave_are_float32(norm: str) -> None:
    text = f"""
inputs: {{x: {{shape: [length, 4]}}}}
nodes:
  known: {{layer: Masking}}
  norm: {{layer: {norm}}}
  y: {{layer: Dense, units: 1}}
outputs: {{y: {{loss: mse}}}}
"""
    program = graphspec.compile(text)
    x = torch.randn(8, 5, 4)
    x[:, 3:] = 0
    batch = Batch({"x": x, "y": torch.randn(8, 5, 1)})
    found = {}
    precisions: tuple[Precision, ...] = ("float32", "bf16")
    for precision in precisions:
        module = program.module(seed=0).train()
        result = Objective(program.inputs, program.outputs, CPU, precision=precision)(module, batch)
        result.loss.backward()
        found[precision] = result.value
        torch.testing.assert_close(module.get_buffer("norm.running_mean"), 0.01 * x[:, :3].mean((0, 1)))
    assert found["bf16"] == pytest.approx(found["float32"], rel=0.05)


@pytest.mark.parity
def test_bfloat16_learns(tmp_path: Path) -> None:
    spec = SPECS / "digits.yaml"
    program = graphspec.compile(spec, settings={"train.precision": "bf16"})
    result = train(program, root=spec.parent, epochs=4, run_dir=tmp_path / "run")
    assert result.metrics["val_accuracy"] >= 0.9  # type: ignore[operator]


@pytest.mark.parametrize(
    ("precision", "inside"), [("float32", "highest"), ("tf32", "high"), ("bf16", "high")]
)
def test_products_are_as_precise_as_asked_and_only_inside(precision: Precision, inside: str) -> None:
    before = torch.get_float32_matmul_precision()
    with products(precision):
        assert torch.get_float32_matmul_precision() == inside
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_tf32_is_less_exact_than_float32() -> None:
    a = torch.randn(512, 512, device="cuda")
    exact = a.double() @ a.double()
    errors = {}
    precisions: tuple[Precision, ...] = ("float32", "tf32")
    for precision in precisions:
        with products(precision):
            errors[precision] = ((a @ a).double() - exact).abs().max().item()
    assert errors["tf32"] > 5 * errors["float32"]
