"""Several sources in one training: its batches are those of loops by hand; a run that goes on is the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.data.batches import InMemory, Shuffle, generator
from graphspec.data.loading import load
from graphspec.data.mixture import Mixture, round_of, turns
from graphspec.data.streamed import Streamed
from graphspec.diagnostics import Diagnostics, SpecError
from graphspec.fixing.checking import check_spec
from graphspec.runs.audit import audit
from graphspec.runs.drift import drift
from graphspec.train import compiled
from graphspec.train.loop import Interrupted, train
from tests import one_in
from tests.train.test_phases import Stop, assert_same

SPEC = """
name: s
inputs: {x: {shape: [6]}}
nodes:
  body: {layer: Dense, units: 5, activation: tanh}
  label: {layer: Dense, units: 3, activation: softmax}
  size: {compute: "sum(square(body), axis=-1)"}
outputs:
  label: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
  size: {loss: mean, loss_weight: 0.5}
data: {train: {labelled: few.npz, plain: {path: plain.npz, weight: 3}}}
train:
  batch_size: 8
  epochs: 2
  optimizer: {name: sgd, learning_rate: 0.1}
"""
STEPS = f"""{SPEC}
  steps:
    - {{data: labelled, outputs: label, batch_size: 4}}
    - {{data: plain, outputs: size, optimizer: {{name: adam, learning_rate: 0.01}}}}
"""
FEW, PLAIN = 13, 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    x = generator.normal(0, 1, (FEW + PLAIN, 6)).astype(np.float32)
    np.savez(tmp_path / "few.npz", x=x[:FEW], label=generator.integers(0, 3, FEW))
    np.savez(tmp_path / "plain.npz", x=x[FEW:])
    return tmp_path


def fitted(folder: Path, spec: str = SPEC, run: str = "run", **options: Any) -> Any:
    file = folder / "spec.yaml"
    file.write_text(spec)
    return train(graphspec.compile(file), root=folder, run_dir=folder / run, device="cpu", **options)


def weights(folder: Path, run: str = "run") -> dict[str, Tensor]:
    return dict(graphspec.Run(folder / run, "last").module().state_dict())


def arrays(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    few, plain = np.load(folder / "few.npz"), np.load(folder / "plain.npz")
    return torch.from_numpy(few["x"]), torch.from_numpy(few["label"]), torch.from_numpy(plain["x"])


def rounds(shuffle: Shuffle, source: int, count: int) -> Iterator[int]:
    """The rows of a source, round after round."""
    for number in itertools.count():
        yield from round_of(shuffle, source, number).order(count).tolist()


# --- the order


@pytest.mark.parametrize(
    ("counts", "given"), [((13, 60), (1.0, 3.0)), ((5, 5), (1.0, 1.0)), ((4, 9, 100), (0.2, 0.5, 7.0))]
)
def test_each_source_has_its_share_of_the_first_rows(counts: list[int], given: list[float]) -> None:
    found = turns(counts, given)
    places = np.arange(1, len(found) + 1)
    for number, weight in enumerate(given):
        done = (found == number).cumsum(0).numpy()
        assert (np.abs(done - places * weight / sum(given)) < 1).all()
    longest = max(range(len(counts)), key=lambda n: counts[n] / given[n])
    assert (found == longest).sum() == counts[longest] and found[-1] == longest


def test_batches_are_exact_where_the_weights_divide_them() -> None:
    assert all((part == 0).sum() == 2 for part in turns((13, 60), (1.0, 3.0)).split(8) if len(part) == 8)


def sources(count: int, other: int) -> Mixture:
    rows = torch.arange(count + other)
    whole = InMemory({"x": rows}, {"x": torch.int64})
    return Mixture.of(whole, {"a": count, "b": other}, {"a": 1.0, "b": 3.0})


def test_the_shorter_source_goes_round_in_another_order() -> None:
    seen = [batch.arrays["x"] for batch in sources(5, 60).batches(8, Shuffle(3, 1))]
    few = [row for row in torch.cat(seen).tolist() if row < 5]
    begun = [few[first : first + 5] for first in range(0, 20, 5)]
    assert len(few) == 20 and all(sorted(part) == [0, 1, 2, 3, 4] for part in begun)
    assert len({tuple(part) for part in begun}) > 1
    others = [batch.arrays["x"] for batch in sources(5, 60).batches(8, Shuffle(3, 2))]
    assert not torch.equal(torch.cat(seen), torch.cat(others))


@pytest.mark.parametrize("start", [0, 8, 40, 72])
def test_an_epoch_goes_on_with_the_rest_of_its_batches(start: int) -> None:
    whole = [batch.arrays["x"] for batch in sources(13, 60).batches(8, Shuffle(0, 0))]
    rest = [batch.arrays["x"] for batch in sources(13, 60).batches(8, Shuffle(0, 0), start)]
    assert len(rest) == len(whole) - start // 8 and all(map(torch.equal, rest, whole[start // 8 :]))


# --- the updates


def test_a_mixture_is_that_of_a_loop_by_hand(folder: Path) -> None:
    """Twenty steps: each has two rows with a label and six without, whose label does not count."""
    result = fitted(folder)
    module = graphspec.compile(folder / "spec.yaml").module().train()
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    few, labels, plain = arrays(folder)
    losses = []
    for epoch in range(2):
        shuffle = Shuffle(0, epoch)
        first, second = rounds(shuffle, 0, FEW), rounds(shuffle, 1, PLAIN)
        left = list(turns((FEW, PLAIN), (1.0, 3.0)).split(8))
        for part in left:
            with_label = [next(first) for _ in range(int((part == 0).sum()))]
            without = [next(second) for _ in range(int((part == 1).sum()))]
            optimizer.zero_grad()
            said = nn.functional.cross_entropy(
                module(few[with_label], logits=True)["label"], labels[with_label]
            )
            size = module(torch.cat((few[with_label], plain[without])))["size"].mean()
            (said + 0.5 * size).backward()
            optimizer.step()
            losses.append(size.item() * len(part))
    assert result.steps == 20
    assert_same(weights(folder), module.state_dict())
    per_epoch = np.reshape(losses, (2, 10)).sum(1) / (len(turns((FEW, PLAIN), (1.0, 3.0))))
    np.testing.assert_allclose(result.history["size_loss"], per_epoch, rtol=1e-5)


def labelled_batches(epoch: int) -> list[Tensor]:
    """Two rounds of 13 rows in batches of 4."""
    again = Shuffle(generator(0, -3, 1).initial_seed(), epoch)
    return [part for each in (Shuffle(0, epoch), again) for part in each.order(FEW).split(4)]


def plain_batches(epoch: int) -> tuple[Tensor, ...]:
    """A round of 60 rows in batches of 8, in the order of the second source in the second stream."""
    stream = Shuffle(generator(0, -4, 0).initial_seed(), epoch)
    return round_of(stream, 1, 0).order(PLAIN).split(8)


def test_steps_over_sources_are_those_of_a_loop_by_hand(folder: Path) -> None:
    """An epoch has the eight batches of the longer source; the other one goes round again after four."""
    result = fitted(folder, STEPS, epochs=3)
    module = graphspec.compile(folder / "spec.yaml").module().train()
    slow = torch.optim.SGD(module.parameters(), 0.1)
    fast = torch.optim.Adam(module.parameters(), 0.01, eps=1e-7)
    few, labels, plain = arrays(folder)
    for epoch in range(3):
        for with_label, without in zip(labelled_batches(epoch), plain_batches(epoch), strict=True):
            slow.zero_grad()
            said = module(few[with_label], logits=True)["label"]
            nn.functional.cross_entropy(said, labels[with_label]).backward()
            slow.step()
            fast.zero_grad()
            (0.5 * module(plain[without])["size"].mean()).backward()
            fast.step()
    assert result.steps == 24
    assert_same(weights(folder), module.state_dict(), 1e-4)


@pytest.mark.parametrize("spec", one_in(2, [SPEC, STEPS]), ids=["mixture", "steps"])
@pytest.mark.parametrize("steps", [1, 6, 10])
def test_a_run_goes_on_at_any_step_to_the_bit(folder: Path, spec: str, steps: int) -> None:
    with pytest.raises(Interrupted):
        fitted(folder, spec, callbacks=[Stop(steps)])
    resumed = fitted(folder, spec, resume=True)
    whole = fitted(folder, spec, "whole")
    first, second = weights(folder), weights(folder, "whole")
    assert resumed.history == whole.history and resumed.steps == whole.steps
    assert all(torch.equal(first[key], second[key]) for key in second)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(torch.__version__ < compiled.WHOLE_STEPS, reason="this torch compiles no whole steps")
@pytest.mark.parametrize("spec", one_in(2, [SPEC, STEPS]), ids=["mixture", "steps"])
def test_compiled_steps_come_to_the_same(folder: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    torch._dynamo.reset()
    whole = fitted(folder, spec, "eager")
    found = fitted(folder, spec, compile="on")
    for name, values in whole.history.items():
        np.testing.assert_allclose(found.history[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


# --- tables

TABLES = """
inputs: {facts: {shape: [2]}}
nodes:
  body: {layer: Dense, units: 5, activation: tanh}
  kind: {layer: Dense, units: 2, activation: softmax}
  price: {layer: Dense, from: body, units: 1}
outputs:
  kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
  price: {loss: mse, sample_weight: worth}
data:
  train: {one: one.csv, two: two.csv}
  validation: {split: 0.25, data: one}
  features:
    facts: {columns: [a, b], encode: number, scale: standard}
    kind: {encode: category}
    price: {encode: number, scale: standard}
train: {batch_size: 4, epochs: 2}
"""


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    ones = [f"{a:.3f},{b:.3f},{'xy'[n % 2]}" for n, (a, b) in enumerate(generator.normal(size=(12, 2)))]
    twos = [f"{a:.3f},{b:.3f},{p:.3f},2" for a, b, p in generator.normal(5, 1, size=(20, 3))]
    (tmp_path / "one.csv").write_text("\n".join(["a,b,kind", *ones]))
    (tmp_path / "two.csv").write_text("\n".join(["a,b,price,worth", *twos]))
    return tmp_path


def loaded(folder: Path, spec: str, **options: Any) -> Any:
    file = folder / "tables.yaml"
    file.write_text(spec)
    return load(graphspec.compile(file), None, folder, torch.device("cpu"), **options)


def test_encoders_learn_from_the_training_rows_of_all(tables: Path) -> None:
    data = loaded(tables, TABLES)
    assert dict(data.counts) == {"one": 9, "two": 20} and len(data.validation) == 3
    (batch,) = data.training.batches(29)
    facts = batch.arrays["facts"]
    np.testing.assert_allclose(facts.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(facts.std(0, correction=0), 1, atol=1e-5)
    price = batch.arrays["price"][9:]
    np.testing.assert_allclose((price.mean(), price.std(correction=0)), (0, 1), atol=1e-5)


def test_rows_of_a_source_do_not_count_for_targets_that_it_lacks(tables: Path) -> None:
    (batch,) = loaded(tables, TABLES).training.batches(29)
    assert batch.masks["kind"].tolist() == [True] * 9 + [False] * 20
    assert batch.masks["price"].tolist() == [False] * 9 + [True] * 20
    assert batch.weights["price"].tolist() == [1.0] * 9 + [2.0] * 20
    assert all(bool(array.isfinite().all()) for array in batch.arrays.values())


def test_a_cell_that_is_missing_is_an_error_all_the_same(tables: Path) -> None:
    text = (tables / "one.csv").read_text()
    (tables / "one.csv").write_text(text.replace(",y", ",", 1))
    with pytest.raises(SpecError, match="the value is missing"):
        loaded(tables, TABLES)


def test_sources_in_files_are_mixed_as_those_in_memory(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches have the same shares; an epoch shows the same rows of the source that lasts longest."""

    def batches(data: Any, shuffle: Shuffle | None = None, start: int = 0) -> list[Any]:
        return list(data.training.batches(4, shuffle, start))

    def prices(data: Any, shuffle: Shuffle | None = None) -> list[Tensor]:
        return [batch.arrays["price"][batch.masks["price"]] for batch in batches(data, shuffle)]

    shuffle = Shuffle(0, 0)
    held = loaded(tables, TABLES)
    monkeypatch.setattr("graphspec.data.loader.memory_limit", lambda: 0)
    streamed = loaded(tables, TABLES)
    assert isinstance(streamed.training.whole, Streamed)
    assert streamed.training.epoch == held.training.epoch == 40
    first, second = prices(held, shuffle), prices(streamed, shuffle)
    assert [len(part) for part in first] == [len(part) for part in second] == [2] * 10
    assert torch.equal(torch.cat(first).sort(0).values, torch.cat(second).sort(0).values)
    assert torch.equal(torch.cat(prices(held)), torch.cat(prices(streamed)))
    whole = batches(streamed, shuffle)
    for start in (4, 20, 36):
        for batch, same in zip(batches(streamed, shuffle, start), whole[start // 4 :], strict=True):
            assert all(torch.equal(batch.arrays[name], same.arrays[name]) for name in same.arrays)


TAGS = """
inputs: {words: {shape: [length], dtype: int64}}
nodes:
  vectors: {layer: Embedding, input_dim: 10, output_dim: 4, mask_zero: MASKED}
  tag: {layer: Dense, units: 2, activation: softmax}
outputs: {tag: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
data: {train: {tagged: tagged.jsonl, plain: {path: plain.jsonl, weight: 2}}}
train: {batch_size: 6, optimizer: {name: sgd, learning_rate: 1.0e-30}}
"""


@pytest.mark.parametrize("masked", ["true", "false"])
def test_lists_that_a_source_lacks_count_for_nothing(tmp_path: Path, masked: str) -> None:
    """The loss of an epoch is that of the tagged rows alone, which all are as often in it."""
    rows = [[n % 9 + 1] * (n % 4 + 1) for n in range(18)]
    tagged = [{"words": row, "tag": [word % 2 for word in row]} for row in rows[:6]]
    (tmp_path / "tagged.jsonl").write_text("\n".join(map(json.dumps, tagged)))
    (tmp_path / "plain.jsonl").write_text("\n".join(json.dumps({"words": row}) for row in rows[6:]))
    (tmp_path / "spec.yaml").write_text(TAGS.replace("MASKED", masked))
    program = graphspec.compile(tmp_path / "spec.yaml")
    result = train(program, root=tmp_path, run_dir=tmp_path / "run", device="cpu")
    module = program.module()
    said = [module(torch.tensor([row["words"]]), logits=True) for row in tagged]
    scores = [each["tag"] if isinstance(each, dict) else each for each in said]
    loss = nn.functional.cross_entropy(
        torch.cat([each[0] for each in scores]), torch.tensor([tag for row in tagged for tag in row["tag"]])
    )
    assert result.history["loss"][0] == pytest.approx(loss.item(), rel=1e-5)


# --- texts

TEXTS = """
inputs: {tokens: {shape: [length], dtype: int64}}
nodes:
  words: {layer: Embedding, input_dim: $(vocabulary(tokens)), output_dim: 4}
  next: {layer: Dense, units: $(vocabulary(tokens)), activation: softmax}
outputs: {next: {loss: sparse_categorical_crossentropy}}
data:
  train: {lower: {path: lower.txt, weight: 3}, upper: upper.txt}
  features:
    tokens: {column: text, encode: text, tokenizer: characters, vocabulary: 60, pack: 5, end: "<|end|>"}
    next: {of: tokens, shift: 1}
train: {batch_size: 8}
"""


@pytest.mark.parametrize("held", ["", "validation: {split: 0.2, data: lower}, "], ids=["whole", "divided"])
@pytest.mark.parametrize("memory", [2**30, 0], ids=["memory", "files"])
def test_texts_are_mixed_by_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str, memory: int
) -> None:
    """A row is of one text; of each batch six rows are of the first. Both give letters to one vocabulary."""
    (tmp_path / "lower.txt").write_text("abcdefghijklmnopqrstuvwxyz" * 20)
    (tmp_path / "upper.txt").write_text("ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 5)
    monkeypatch.setattr("graphspec.data.loader.memory_limit", lambda: memory)
    data = loaded(tmp_path, TEXTS.replace("  train: {lower", f"  {held.rstrip(', ')}\n  train: {{lower"))
    (rows,) = data.training.batches(len(data.training))
    lower = set(rows.arrays["tokens"][: data.counts["lower"], :2].flatten().tolist())
    batches = list(data.training.batches(8, Shuffle(0, 0)))
    shares = [sum(row[0] in lower for row in batch.arrays["tokens"].tolist()) for batch in batches]
    assert len(shares) > 10 and set(shares[:-1]) == {6}
    assert (data.validation is not None) == bool(held)
    first = batches[0]
    assert torch.equal(first.arrays["next"][:, :-1], first.arrays["tokens"][:, 1:])


# --- mistakes

ONE = "{labelled: few.npz, plain: {path: plain.npz, weight: 3}}"
MISTAKES = [
    (ONE, "{labelled: few.npz, plain: {path: plain.npz, weight: 0}}", "out-of-range", "`weight` of `plain`"),
    (ONE, "{labelled: few.npz, plain: {path: plain.npz, weight: -1}}", "out-of-range", "must be more than 0"),
    (ONE, "{labelled: few.npz, plain: {path: plain.npz, weight: .inf}}", "out-of-range", "finite"),
    (ONE, "{labelled: few.npz, plain: {path: plain.npz, weigth: 2}}", "unknown-key", "no `weigth`"),
    (ONE, "{labelled: few.npz, plain: {weight: 3}}", "missing-key", "`path`"),
    (ONE, "{labelled: few.npz, plain: 3}", "wrong-type", "source `plain` is a path"),
    (ONE, "{labelled: few.npz, pl-ain: plain.npz}", "bad-name", "pl-ain"),
    (ONE, "{labelled: few.npz, plain: absent.npz}", "data-missing", "absent.npz"),
    (ONE, "{labelled: few.npz, plain: empty.npz}", "data-empty", "empty.npz"),
    (ONE, "{labelled: few.npz, plain: other.npz}", "data-column", "`x`"),
    (ONE, "{labelled: plain.npz, plain: plain.npz}", "data-column", "`label`"),
    (ONE, "{}", "missing-key", "needs `path`"),
    (ONE, f"{ONE}, validation: {{split: 0.2, data: few}}", "unknown-reference", "no source `few`"),
    (ONE, f"{ONE}, validation: {{split: 0.2, stratify: label}}", "data-column", "label"),
    ("data: labelled,", "data: labeled,", "unknown-reference", "no source `labeled`"),
    ("data: labelled,", "data: [plain, plain],", "duplicate-name", "twice"),
    ("data: labelled,", "data: [],", "wrong-type", "`data`"),
    ("data: labelled,", "data: plain,", "data-column", "no column `label`"),
    ("outputs: size, ", "", "data-column", "no column `label`"),
    ("batch_size: 4", "batch_size: 0", "out-of-range", "`batch_size`"),
    (ONE, "few.npz", "unknown-reference", "no source `labelled`"),
]


@pytest.mark.parametrize(
    ("right", "wrong", "code", "words"), MISTAKES, ids=[each[1][-40:] for each in MISTAKES]
)
def test_mistakes_are_found_before_the_training(
    folder: Path, right: str, wrong: str, code: str, words: str
) -> None:
    np.savez(folder / "empty.npz", x=np.zeros((0, 6), np.float32))
    np.savez(folder / "other.npz", y=np.zeros((4, 6), np.float32))
    assert right in STEPS
    (folder / "wrong.yaml").write_text(STEPS.replace(right, wrong, 1))
    diagnostics = Diagnostics()
    check_spec(folder / "wrong.yaml", diagnostics, {})
    found = list(diagnostics)
    assert any(code == each.code and words in each.message for each in found), found
    assert all(each.span is not None for each in found)


@pytest.mark.parametrize("plain", ["empty.npz", "other.npz", "nan.npz"])
def test_mistakes_in_rows_stop_a_training(folder: Path, plain: str) -> None:
    np.savez(folder / "empty.npz", x=np.zeros((0, 6), np.float32))
    np.savez(folder / "other.npz", y=np.zeros((4, 6), np.float32))
    np.savez(folder / "nan.npz", x=np.full((4, 6), np.nan, np.float32))
    with pytest.raises(SpecError) as caught:
        fitted(folder, SPEC.replace("plain.npz", plain))
    assert caught.value.diagnostics[0].code.startswith("data-")


def test_other_data_do_not_replace_several_files(folder: Path) -> None:
    with pytest.raises(SpecError, match="several files: labelled, plain") as caught:
        fitted(folder, data=folder / "few.npz")
    assert "--set data.train.labelled.path=FILE" in (caught.value.diagnostics[0].help or "")


def test_a_run_is_evaluated_and_predicts(folder: Path) -> None:
    result = fitted(folder, SPEC.replace("weight: 3}}}", "weight: 3}}, test: few.npz}"), epochs=1)
    run = graphspec.Run(folder / "run", "last")
    found = run.evaluate(folder / "few.npz", device="cpu")
    assert found["label_accuracy"] == result.metrics["test_label_accuracy"]
    assert sum(table.num_rows for table in run.predictions(folder / "plain.npz", device="cpu")) == PLAIN
    assert not [finding for finding in audit(run) if finding.verdict == "wrong"]


def test_drift_compares_with_the_rows_of_all(tables: Path) -> None:
    (tables / "tables.yaml").write_text(TABLES)
    run_dir = tables / "run"
    train(graphspec.compile(tables / "tables.yaml"), root=tables, run_dir=run_dir, device="cpu")
    found = drift(graphspec.Run(run_dir, "last"), tables / "two.csv", "cpu")
    assert (found.before, found.rows) == (32, 20)
    assert {"a", "b", "price"} <= {each.column for each in found.columns}
