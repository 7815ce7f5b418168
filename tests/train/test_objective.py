"""How batches are judged: weights, what counts, parts of a larger batch, and an epoch's means."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import graphspec
from graphspec.data.batches import Batch
from graphspec.diagnostics import SpecError
from graphspec.objectives.history import directions
from graphspec.train import meter as meters
from graphspec.train.batch_result import BatchResult, Reading, Term
from graphspec.train.config import OPTIMIZERS
from graphspec.train.meter import Meter, Units
from graphspec.train.objective import Objective
from graphspec.train.optimizers import Optimizer
from graphspec.train.penalties import Penalties
from tests import bundled

CPU = torch.device("cpu")
HEADS = """
inputs:
  x: {shape: [6]}
  text: {shape: [length], dtype: int64}
nodes:
  vectors: {layer: Embedding, from: text, input_dim: 9, output_dim: 5, mask_zero: true}
  tags: {layer: Dense, units: 4, activation: softmax}
  value: {layer: Dense, from: x, units: 2, activity_regularizer: l2, kernel_regularizer: l1}
  yes: {layer: Dense, from: x, units: 1, activation: sigmoid}
  kind: {layer: Dense, from: x, units: 3, activation: softmax}
outputs:
  value: {loss: mse, loss_weight: learned, metrics: [mae, r2_score]}
  yes: {loss: {name: binary_crossentropy, reduction: REDUCTION}, loss_weight: 3, metrics: [{name: auc, weighted: true}]}
  kind: {loss: {name: sparse_categorical_crossentropy, ignore_class: 1}, metrics: [accuracy]}
  tags: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
"""  # noqa: E501
COUNT = 23


def arrays(count: int = COUNT) -> Batch:
    source = torch.Generator().manual_seed(1)
    text = torch.randint(0, 9, (count, 7), generator=source)
    text[:, 3:] *= torch.randint(0, 2, (count, 4), generator=source)
    values = {
        "x": torch.randn(count, 6, generator=source, dtype=torch.float64),
        "text": text,
        "value": torch.randn(count, 2, generator=source, dtype=torch.float64),
        "yes": torch.randint(2, (count, 1), generator=source).double(),
        "kind": torch.randint(3, (count,), generator=source),
        "tags": text % 4,
    }
    weights = {name: torch.rand(count, generator=source) for name in ("value", "yes", "tags")}
    masks = {
        "value": torch.rand(count, generator=source) > 0.3,
        "kind": torch.rand(count, generator=source) > 0.3,
        "tags": torch.rand(count, 7, generator=source) > 0.3,
    }
    return Batch(values, weights, masks)


def cut(batch: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(batch), size):
        groups = (batch.arrays, batch.weights, batch.masks)
        yield Batch(*({name: a[start : start + size] for name, a in group.items()} for group in groups))


def judged(reduction: str = "mean") -> tuple[nn.Module, Objective]:
    program = graphspec.compile(HEADS.replace("REDUCTION", reduction))
    module = program.module().double()
    objective = Objective(program.inputs, program.outputs, CPU, Penalties(program.graph, module))
    return module, objective


def gradients(module: nn.Module, objective: Objective) -> list[Tensor]:
    found = [*module.parameters(), *objective.log_variances.values()]
    return [weight.grad.clone() for weight in found if weight.grad is not None]


@pytest.mark.parametrize("size", [1, 4, 10, 22])
@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight"])
def test_the_parts_of_a_batch_have_its_gradients_and_its_means(size: int, reduction: str) -> None:
    module, objective = judged(reduction)
    batch, totals = arrays(), objective.meter()
    result = objective(module, batch)
    result.loss.backward()
    totals.add(result, batch)
    expected = gradients(module, objective)
    assert len(expected) == 10

    module.zero_grad()
    for variance in objective.log_variances.values():
        variance.grad = None
    parts, meter = list(cut(batch, size)), objective.meter()
    common = objective.totals(module, parts)
    for part in parts:
        result = objective(module, part, common)
        result.loss.backward()
        meter.add(result, part)
    for found, wanted in zip(gradients(module, objective), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
    assert meter.result() == pytest.approx(totals.result(), rel=1e-6)


def test_an_epochs_means_are_those_of_all_that_counts() -> None:
    module, objective = judged()
    batch, meter, totals = arrays(), objective.meter(), objective.meter()
    totals.add(objective(module, batch), batch)
    for part in cut(batch, 6):
        meter.add(objective(module, part), part)
    found, wanted = meter.result("val_"), totals.result("val_")
    assert found.keys() == wanted.keys() and "val_yes_auc" in found
    for name in set(found) - {"val_loss"}:  # penalties on activities are means over batches, as in Keras
        assert found[name] == pytest.approx(wanted[name], rel=1e-6), name


def test_what_is_not_counted_changes_nothing() -> None:
    module, objective = judged()
    batch, meter, other = arrays(), objective.meter(), objective.meter()
    meter.add(objective(module, batch), batch)
    values = dict(batch.arrays)
    values["value"] = torch.where(batch.masks["value"].unsqueeze(1), values["value"], 99.0)
    values["kind"] = torch.where(batch.masks["kind"], values["kind"], 2)
    values["tags"] = torch.where(batch.masks["tags"], values["tags"], 3)
    changed = Batch(values, batch.weights, batch.masks)
    other.add(objective(module, changed), changed)
    assert meter.result() == other.result()


def test_nothing_that_counts_is_a_loss_of_zero() -> None:
    module, objective = judged()
    batch = arrays()
    none = {name: torch.zeros_like(mask) for name, mask in batch.masks.items()}
    result = objective(module, Batch(batch.arrays, batch.weights, none))
    result.loss.backward()
    assert [result.parts[name] for name in ("value", "kind", "tags")] == [0, 0, 0]
    assert all(gradient.isfinite().all() for gradient in gradients(module, objective))


@pytest.mark.parametrize("held", [1, 100, 2**20])
def test_an_epoch_goes_on_to_the_bit(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "HELD", held)
    module, objective = judged()
    parts = list(cut(arrays(), 3))
    unbroken, first = objective.meter(), objective.meter()
    for part in parts:
        unbroken.add(objective(module, part), part)
    for part in parts[:4]:
        first.add(objective(module, part), part)
    tensors, numbers = first.state_dict()
    second: Meter = objective.meter()
    second.load_state_dict({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(numbers)))
    for part in parts[4:]:
        second.add(objective(module, part), part)
    assert second.result() == unbroken.result()


def test_metrics_compare_in_the_targets_own_unit() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [3]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse, metrics: [mae]}}
""")
    module = program.module()
    batch = Batch({"x": torch.randn(8, 3), "y": torch.randn(8, 1)})
    found = []
    both: list[Units] = [{}, {"y": lambda values, _: values * 50 + 7}]
    for units in both:
        objective = Objective(program.inputs, program.outputs, CPU, units=units)
        meter = objective.meter()
        meter.add(objective(module, batch), batch)
        found.append(meter.result())
    scaled, own = found
    assert scaled["loss"] == own["loss"]
    assert own["mae"] == pytest.approx(50 * scaled["mae"], rel=1e-5)


def test_sequences_of_other_lengths_are_judged_together() -> None:
    module, objective = judged()
    batch, meter = arrays(), objective.meter()
    for length in (7, 5, 5, 6):
        cut_off = {"text": batch.arrays["text"][:, :length], "tags": batch.arrays["tags"][:, :length]}
        masks = {**batch.masks, "tags": batch.masks["tags"][:, :length]}
        part = Batch({**batch.arrays, **cut_off}, batch.weights, masks)
        meter.add(objective(module, part), part)
    assert meter.count == 4 * COUNT and meter.result()["tags_accuracy"] is not None


def test_metrics_of_a_kind_are_told_apart() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [3]}}
nodes: {y: {layer: Dense, units: 1, activation: sigmoid}}
outputs:
  y:
    loss: bce
    metrics: [auc, {name: auc, curve: PR}, {name: auc, curve: PR, as: pr}, {name: auc, weighted: true}]
""")
    objective = Objective(program.inputs, program.outputs, CPU)
    meter, batch = objective.meter(), Batch({"x": torch.randn(8, 3), "y": torch.randint(2, (8, 1)).float()})
    meter.add(objective(program.module(), batch), batch)
    found = meter.result()
    assert list(found) == list(directions(program.outputs)) == ["loss", "auc", "auc_1", "pr", "auc_2"]
    assert found["auc_1"] == found["pr"] and found["auc"] == found["auc_2"]


def test_a_weighted_metric_counts_what_has_a_target_as_its_example_weighs() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [5, 3]}}
nodes: {y: {layer: Dense, units: 4, activation: softmax}}
outputs: {y: {loss: sparse_categorical_crossentropy, metrics: [{name: accuracy, weighted: true}]}}
""")
    objective, module = Objective(program.inputs, program.outputs, CPU), program.module()
    x, target = torch.randn(6, 5, 3), torch.randint(4, (6, 5))
    weights, mask = torch.rand(6), torch.rand(6, 5) > 0.4
    meter, batch = objective.meter(), Batch({"x": x, "y": target}, {"y": weights}, {"y": mask})
    meter.add(objective(module, batch), batch)
    counts = weights[:, None] * mask
    hits = (module(x).argmax(-1) == target) * counts
    assert meter.result()["accuracy"] == pytest.approx((hits.sum() / counts.sum()).item(), rel=1e-6)


class Reads(TorchDispatchMode):
    """Counts what makes the host wait for a device: numbers read from it, and sizes that depend on values."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.__name__.split(".")[0]
        if name.startswith(self.WAITING):
            self.found.append(name)
        indices = args[1] if name == "index" else ()
        if any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append("index by booleans")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [COUNT, 7])
def test_a_step_reads_nothing_from_the_device(size: int) -> None:
    module, objective = judged()
    batch, meter = arrays(), objective.meter()
    parts = list(cut(batch, size))
    with Reads() as reads:
        common = objective.totals(module, parts)
        for part in parts:
            result = objective(module, part, common)
            result.loss.backward()
            meter.add(result, part)
        assert reads.found == []
        assert result.value > 0 and meter.loss() > 0
    assert reads.found  # which is what reading looks like


@bundled(16, "name", sorted({cls.names()[0] for cls in OPTIMIZERS.members.values()}))
@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0, "use_ema": True}, {"clipnorm": 0.1}])
def test_an_optimizer_reads_nothing_from_the_device(name: str, options: dict[str, Any]) -> None:
    weights = {"a": torch.randn(3, 4), "b": torch.randn(4)}
    optimizer = Optimizer(OPTIMIZERS.read({"name": name, **options}), weights)
    with Reads() as reads:
        for _ in range(3):
            for weight in weights.values():
                weight.grad = torch.randn_like(weight)
            optimizer.step()
    assert reads.found == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_judges_as_a_cpu_does() -> None:
    found = []
    for device in ("cpu", "cuda"):
        program = graphspec.compile(HEADS.replace("REDUCTION", "mean"))
        module = program.module().double().to(device)
        objective = Objective(
            program.inputs, program.outputs, torch.device(device), Penalties(program.graph, module)
        )
        batch = arrays()
        groups = (batch.arrays, batch.weights, batch.masks)
        moved = Batch(*({name: array.to(device) for name, array in group.items()} for group in groups))
        meter, result = objective.meter(), objective(module, moved)
        result.loss.backward()
        meter.add(result, moved)
        found.append({**meter.result(), "value": result.value})
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_a_program_tells_the_loss_that_its_training_minimises() -> None:
    program = graphspec.compile(
        """
inputs: {x: {shape: [4]}}
nodes:
  kind:  {layer: Dense, units: 3, activation: softmax, from: x}
  value: {layer: Dense, units: 1, from: x}
outputs:
  kind:  {loss: sparse_categorical_crossentropy, target: label}
  value: {loss: mse, loss_weight: 0.5}
"""
    )
    module, x = program.module(), torch.randn(6, 4)
    label, value = torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(6, 1)
    kind, mse = module.kind(x), F.mse_loss(module.value(x), value)  # type: ignore[operator]
    expected = F.cross_entropy(kind, label) + 0.5 * mse
    for logits in (False, True):
        found = program.loss(module(x, logits=logits), {"label": label, "value": value}, logits=logits)
        torch.testing.assert_close(found["loss"], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found["value_loss"], mse, check_stride=False)
    found["loss"].backward()
    assert module.kind.weight.grad is not None  # type: ignore[union-attr]
    with pytest.raises(SpecError, match="did you mean `labels`"):
        program.loss(module(x), {"labels": label, "value": value})


# --- a loop by hand


JUDGED = """
inputs: {x: {shape: [4]}}
nodes:
  kind: {layer: Dense, units: 3, activation: softmax}
outputs:
  kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy], SETTINGS}
train: {epochs: 1, batch_size: 16}
"""


@pytest.mark.parametrize("settings", ["sample_weight: w", "class_weight: {'1': 5, '2': 0.5}", "both"])
def test_a_loss_by_hand_is_weighted_as_in_training(settings: str, tmp_path: Path) -> None:
    """Against what `fit` reports for the same data in one batch."""
    both = "sample_weight: w, class_weight: {'1': 5, '2': 0.5}"
    program = graphspec.compile(JUDGED.replace("SETTINGS", both if settings == "both" else settings))
    rows = np.random.default_rng(0)
    data = {
        "x": rows.random((16, 4), np.float32),
        "kind": np.arange(16) % 3,
        "w": rows.random(16).astype(np.float32),
    }
    history = program.fit(data, device="cpu", run_dir=tmp_path).history
    module = program.module(seed=program.training.seed)
    x, kind, w = (torch.from_numpy(data[name]) for name in ("x", "kind", "w"))
    outputs, metrics = module(x, logits=True), program.metrics(logits=True)
    found = program.loss(outputs, {"kind": kind, "w": w}, logits=True)["loss"]
    assert found.item() == pytest.approx(history["loss"][0], rel=1e-5)
    metrics.update(outputs, {"kind": kind, "w": w})
    assert metrics.compute()["loss"] == pytest.approx(found.item(), rel=1e-5)
    by_hand = torch.where(kind == 1, 5.0, torch.where(kind == 2, 0.5, 1.0)) if "class" in both else w
    by_hand = {"sample_weight: w": w, "both": w * by_hand}.get(settings, by_hand)
    again = program.loss(outputs, kind, logits=True, weights=by_hand)["loss"]
    assert again.item() == pytest.approx(found.item(), rel=1e-6)
    plain = graphspec.compile(JUDGED.replace(", SETTINGS", "")).loss(outputs, kind, logits=True)["loss"]
    assert abs(plain.item() - found.item()) > 1e-3


WRONG = [
    ("sample_weight: w", {}, "weighted by `w`, which is not among the targets"),
    ("class_weight: balanced", {}, "balanced by the training data"),
    ("class_weight: {setosa: 2}", {}, "`setosa` is learned from the training data"),
    ("", {"weights": {"kinds": torch.ones(9)}}, "not an output with a loss"),
    ("", {"weights": torch.ones(9, 3)}, r"have the shape \[9, 3\]"),
    ("", {"logits": False}, "holds logits"),
    ("", {"probabilities": True}, "holds probabilities"),
]


@pytest.mark.parametrize(("settings", "given", "message"), WRONG)
def test_a_loss_by_hand_refuses_what_would_be_another(
    settings: str, given: dict[str, Any], message: str
) -> None:
    program = graphspec.compile(JUDGED.replace(", SETTINGS", f", {settings}" if settings else ""))
    options = {"logits": True, **given}
    outputs = program.module()(torch.randn(9, 4), logits=not options.pop("probabilities", False))
    with pytest.raises(SpecError, match=message):
        program.loss(outputs, torch.arange(9) % 3, **options)


def test_declared_classes_are_weighted_by_their_names() -> None:
    settings = "class_weight: {b: 7}}"
    text = JUDGED.replace("SETTINGS}", settings)
    text += "data: {train: kinds.csv, features: {kind: {encode: category, values: [a, b, c]}}}\n"
    program = graphspec.compile(text)
    outputs, kind = program.module()(torch.randn(9, 4)), torch.arange(9) % 3
    expected = program.loss(outputs, kind, weights=torch.where(kind == 1, 7.0, 1.0))
    torch.testing.assert_close(program.loss(outputs, kind), expected)
    with pytest.raises(SpecError, match="names `d`, which is not one of its classes"):
        graphspec.compile(text.replace("{b: 7}", "{d: 7}")).loss(outputs, kind)


PIXELS = """
inputs: {image: {shape: [4, 4, 1]}}
nodes: {mask: {layer: Conv2D, filters: UNITS, kernel_size: 1, activation: ACTIVATION}}
outputs: {mask: {loss: LOSS, class_weight: {'255': 7}}}
data:
  train: t.csv
  features: {image: {encode: image}, mask: {encode: image, values: [0, 255]}}
"""


@pytest.mark.parametrize(
    ("loss", "units", "activation"),
    [
        ("sparse_categorical_crossentropy", 2, "softmax"),
        ("categorical_crossentropy", 2, "softmax"),
        ("binary_crossentropy", 1, "sigmoid"),
    ],
)
def test_pixels_of_masks_are_weighted_by_hand(loss: str, units: int, activation: str) -> None:
    text = PIXELS.replace("UNITS", str(units)).replace("ACTIVATION", activation).replace("LOSS", loss)
    program = graphspec.compile(text)
    classes = torch.arange(48).view(3, 4, 4) % 3 // 2
    target = {"sparse_categorical_crossentropy": classes, "binary_crossentropy": classes[..., None].float()}
    mask = target.get(loss, F.one_hot(classes, 2).float())
    outputs = program.module()(torch.rand(3, 4, 4, 1))
    found = program.loss(outputs, mask)["loss"]
    right = outputs[..., -1] if units == 1 else outputs.gather(-1, classes[..., None]).squeeze(-1)
    right = torch.where(classes == 1, right, 1 - right) if units == 1 else right
    by_hand = -(right.log() * torch.where(classes == 1, 7.0, 1.0)).mean()
    torch.testing.assert_close(found, by_hand)
    with pytest.raises(SpecError, match="names `7`, which is not one of its classes"):
        graphspec.compile(text.replace("'255': 7", "'7': 7")).loss(outputs, mask)


def test_padding_counts_in_no_loss_by_hand() -> None:
    program = graphspec.compile(
        """
inputs: {words: {shape: [5], dtype: int64}}
nodes:
  code: {layer: Embedding, input_dim: 9, output_dim: 4, mask_zero: true}
  tags: {layer: Dense, units: 3, activation: softmax}
outputs: {tags: {loss: sparse_categorical_crossentropy}}
"""
    )
    words, tags = torch.tensor([[1, 2, 0, 0, 0], [3, 4, 5, 6, 0]]), torch.ones(2, 5, dtype=torch.int64)
    module = program.module()
    found = program.loss(module(words, logits=True), tags, logits=True)["loss"]
    kept = module(words)[words > 0]
    torch.testing.assert_close(found, F.nll_loss(kept.log(), tags[words > 0]), rtol=1e-5, atol=1e-6)
    for called, told in ((False, False), (True, False), (False, True)):
        with pytest.raises(SpecError, match="call both with it"):
            program.loss(module(words, logits=called), tags, logits=told)


def test_a_process_without_a_share_judges_what_is_learned() -> None:
    """As in a last batch of validation with fewer rows than processes."""
    program = graphspec.compile(
        """
inputs: {x: {shape: [4]}}
nodes: {y: {layer: Dense, units: 1, kernel_regularizer: l2}}
outputs: {y: {loss: mse, loss_weight: learned}}
"""
    )
    module = program.module()
    objective = Objective(["x"], program.outputs, CPU, Penalties(program.graph, module))
    row = {"x": torch.ones(1, 4), "y": torch.ones(1, 1)}
    idle, meter = Batch(row, counts=(1,), idle=True), objective.meter()
    result = objective(module, idle)
    meter.add(result, idle)
    assert result.loss.item() == 0 and meter.count == 0
    meter.add(objective(module, Batch(row)), Batch(row))
    assert meter.loss() > 0


def test_what_counts_is_found_without_a_change_of_modes() -> None:
    program = graphspec.compile(MASKED)
    module = program.module().train()
    parts: Any = dict(module.named_children())
    parts["norm"].eval()
    batch = Batch({"x": torch.tensor([[1, 2, 0]]), "out": torch.ones(1, 3, 1)})
    objective = Objective(program.inputs, program.outputs, CPU)
    objective.totals(module, [batch, batch])
    assert parts["out"].training and not parts["norm"].training


MASKED = """
name: m
inputs: {x: {shape: [3], dtype: int64}}
nodes:
  words: {layer: Embedding, input_dim: 20, output_dim: 4, mask_zero: true}
  norm: {layer: BatchNormalization}
  out: {layer: Dense, units: 1}
outputs: {out: {loss: mse}}
"""


def test_a_meter_that_goes_on_adds_losses_in_the_same_order() -> None:
    """Files of tensors have names in an order of their own; a sum in another order is another one."""
    losses = {"b": 1.0, "a": 2.0**-53, "c": 2.0**-53}
    heads = "".join(f"  {name}: {{layer: Dense, from: x, units: 1}}\n" for name in losses)
    told = "".join(f"  {name}: {{loss: mse}}\n" for name in losses)
    program = graphspec.compile(f"inputs: {{x: {{shape: [2]}}}}\nnodes:\n{heads}outputs:\n{told}")
    meter, other = (Meter(program.outputs) for _ in range(2))
    terms = {name: Term(torch.tensor(loss), 1, 1) for name, loss in losses.items()}
    loss = torch.zeros(())
    meter.add(BatchResult(loss, terms, {}, {}, {}, Reading(loss)), Batch({"x": torch.zeros(1, 2)}))
    tensors, numbers = meter.state_dict()
    other.load_state_dict(dict(sorted(tensors.items())), json.loads(json.dumps(numbers)))
    assert other.loss() == meter.loss() != sum(sorted(losses.values()))
    assert list(other.result()) == list(meter.result()) == ["loss", "b_loss", "a_loss", "c_loss"]


@pytest.mark.parametrize(
    "name", ["adam", "adamax", "ftrl", "lamb", "lion", "muon", "nadam", "schedule_free_adamw", "sgd"]
)
def test_a_learning_rate_of_zero_moves_nothing(name: str) -> None:
    """Where a warm-up begins, and where a decay ends."""
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = weight.detach().clone()
    optimizer = Optimizer(
        OPTIMIZERS.read({"name": name}), {"weight": weight}, schedule=lambda step: 0.1 * step
    )
    for _ in range(2):
        torch.testing.assert_close(weight.detach(), before)
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert weight.isfinite().all() and not torch.equal(weight, before)


def test_an_accuracy_is_that_of_probabilities() -> None:
    """It reads logits, as a softmax does not change which value is the largest."""
    sparse, wide = (
        f"inputs: {{x: {{shape: [4]}}}}\nnodes: {{y: {{layer: Dense, units: 4, activation: softmax}}}}\n"
        f"outputs: {{y: {{loss: {kind}categorical_crossentropy, metrics: [METRICS]}}}}"
        for kind in ("sparse_", "")
    )
    logits = torch.cat([10 * torch.randn(200, 4), torch.ones(3, 4), torch.randn(99, 4).round()])
    chosen = torch.randint(4, (len(logits),))
    for spec, target, other in ((sparse, chosen, 2), (wide, F.one_hot(chosen, 4).float(), 1)):
        found = []
        for metrics in ("accuracy", f"accuracy, {{name: top_k_categorical_accuracy, k: {other}}}"):
            kind = "sparse_" if spec is sparse else ""
            program = graphspec.compile(spec.replace("METRICS", metrics.replace("top_k", f"{kind}top_k")))
            meter, loss = Meter(program.outputs), torch.zeros(())
            terms = {"y": Term(loss, 1, len(logits))}
            result = BatchResult(loss, terms, {"y": logits}, {"y": target}, {}, Reading(loss))
            meter.add(result, Batch({"y": target}))
            found.append(meter.result()["accuracy"])
        right = (logits.softmax(-1).argmax(-1) == chosen).sum().item()
        assert found == [right / len(logits)] * 2


@pytest.mark.parametrize("beside", ["", ", mae"])
def test_an_accuracy_of_sigmoids_takes_the_first_of_several_that_are_one(beside: str) -> None:
    """As a prediction does, and whatever is measured beside it; two sigmoids from 17 on are 1."""
    program = graphspec.compile(
        "inputs: {x: {shape: [4]}}\nnodes: {y: {layer: Dense, units: 3, activation: sigmoid}}\n"
        f"outputs: {{y: {{loss: binary_crossentropy, metrics: [categorical_accuracy{beside}]}}}}"
    )
    logits = torch.tensor([[20.0, 30.0, 0.0], [1.0, 2.0, 3.0], [40.0, 20.0, 30.0]])
    target = F.one_hot(torch.tensor([1, 2, 0]), 3).float()
    terms, loss = {"y": Term(torch.zeros(()), 1, 3)}, torch.zeros(())
    meter = Meter(program.outputs)
    meter.add(BatchResult(loss, terms, {"y": logits}, {"y": target}, {}, Reading(loss)), Batch({"y": target}))
    assert meter.result()["categorical_accuracy"] == pytest.approx(2 / 3)
