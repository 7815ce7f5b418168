"""Losses and metrics: what a spec may say of them, and their values beside Keras'."""

from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphspec.objectives import LOSSES, METRICS, Loss, Metric, SettingError, parse_loss, parse_metric
from graphspec.objectives.formulas import activate, aligned
from graphspec.reference.layers import find
from graphspec.tensor import Tensor, symbol
from tests import bundled, one_in

BATCH = symbol("batch")
WIDE = Tensor((BATCH, 5))
NARROW = Tensor((BATCH, 1))
GENERALIZED = "categorical_generalized_cross_entropy"
JOINT = {"quantile", "dice", "tversky"}
CLASSES = {cls.names()[0]: cls for cls in LOSSES.members.values() if issubclass(cls, Loss)}
FORMULAS = [name for name, loss in CLASSES.items() if loss.formula is not Loss.formula and name not in JOINT]
"""The losses of a value for each position or each value of the output."""
WITH_LOGITS = [name for name in FORMULAS if CLASSES[name].logits_formula is not Loss.logits_formula]

# --- reading


@bundled(
    16,
    ("value", "code", "key", "words"),
    [
        ("CrossEntropyLoss", "unknown-loss", "name", "sparse_categorical_crossentropy"),
        ("BCEWithLogitsLoss", "unknown-loss", "name", "binary_crossentropy"),
        ("nll_loss", "unknown-loss", "name", "sparse_categorical_crossentropy"),
        ("l1", "unknown-loss", "name", "mean_absolute_error"),
        ("smooth_l1", "unknown-loss", "name", "huber"),
        ("mean_squared_eror", "unknown-loss", "name", "mean_squared_error"),
        ("MeanSquaredError", "unknown-loss", "name", "mean_squared_error"),
        ("ms", "unknown-loss", "name", "mse"),
        ({"name": "huber", "delat": 2.0}, "unknown-key", "delat", "delta"),
        ({"name": "huber", "delta": "2"}, "wrong-type", "delta", "quotes"),
        ({"name": "huber", "delta": True}, "wrong-type", "delta", None),
        ({"name": "huber", "delta": -1}, "out-of-range", "delta", None),
        ({"name": "huber", "delta": float("nan")}, "out-of-range", "delta", None),
        ({"name": "binary_crossentropy", "label_smoothing": 2}, "out-of-range", "label_smoothing", None),
        ({"delta": 2.0}, "missing-key", None, None),
        ({"name": ["mse"]}, "wrong-type", "name", None),
        (["mse"], "wrong-type", None, None),
        (7, "wrong-type", None, None),
    ],
)
def test_a_wrong_loss_says_what_is_wrong(value: Any, code: str, key: str | None, words: str | None) -> None:
    with pytest.raises(SettingError) as caught:
        parse_loss(value)
    assert (caught.value.code, caught.value.key) == (code, key)
    assert words is None or words in (caught.value.help or "")


@pytest.mark.parametrize(
    ("value", "code", "key"),
    [
        ("acuracy", "unknown-metric", "name"),
        ({"name": "precision", "thresholds": [0.5, 2.0]}, "out-of-range", 1),
        ({"name": "precision", "thresholds": []}, "out-of-range", "thresholds"),
        ({"name": "f1_score", "average": "mean"}, "out-of-range", "average"),
        ({"name": "auc", "num_thresholds": 1}, "out-of-range", "num_thresholds"),
        ({"name": "top_k_categorical_accuracy", "k": 5.0}, "wrong-type", "k"),
    ],
)
def test_a_wrong_metric_says_what_is_wrong(value: Any, code: str, key: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_metric(value)
    assert (caught.value.code, caught.value.key) == (code, key)


def test_several_mistakes_are_several_problems() -> None:
    with pytest.raises(SettingError) as caught:
        parse_loss({"name": "binary_crossentropy", "label_smoothing": 2, "from_logits": 1, "gamma": 2})
    assert [problem.code for problem in caught.value.problems] == [
        "wrong-type",
        "out-of-range",
        "unknown-key",
    ]


def test_names_are_kept_as_written_and_known_by_one() -> None:
    assert parse_loss("mse").name == "mse"
    assert parse_loss("mse").canonical == parse_loss("MSE").canonical == "mean_squared_error"
    assert parse_metric("acc").canonical == "accuracy"


@given(
    st.one_of(
        st.text(max_size=20),
        st.integers(),
        st.dictionaries(
            st.sampled_from(["name", "delta", "from_logits", "reduction", "thresholds", "k", "x"]),
            st.one_of(
                st.sampled_from(["mse", "huber", "auc", "precision"]), st.floats(), st.booleans(), st.none()
            ),
        ),
    )
)
def test_any_value_is_read_or_refused(value: Any) -> None:
    for parse in (parse_loss, parse_metric):
        try:
            assert parse(value).canonical
        except SettingError as error:
            assert error.problems and all(problem.message for problem in error.problems)


def test_every_objective_is_computed_and_documented() -> None:
    formulas = ("formula", "values", "compare", "overlap")
    for loss in CLASSES.values():
        assert any(getattr(loss, word, None) not in (None, getattr(Loss, word, None)) for word in formulas)
    for metric in set(METRICS.members.values()) - {METRICS.members["accuracy"]}:
        assert issubclass(metric, Metric)
        assert metric.each is not Metric.each or metric.sums is not Metric.sums
    assert set(WITH_LOGITS) == {n for n in FORMULAS if "crossentropy" in n or n == GENERALIZED}
    assert all(cls.__doc__ for family in (LOSSES, METRICS) for cls in family.members.values())


# --- targets and fit


def test_targets_follow_the_output() -> None:
    assert parse_loss("sparse_categorical_crossentropy").target(WIDE) == Tensor((BATCH,), "int64")
    assert parse_loss("categorical_crossentropy").target(WIDE) == WIDE
    assert parse_loss("mean").target(WIDE) is None
    sequence = Tensor((BATCH, symbol("length"), 9))
    assert parse_loss("sparse_categorical_crossentropy").target(sequence) == Tensor(
        sequence.shape[:-1], "int64"
    )


@bundled(
    16,
    ("loss", "output", "activation", "words"),
    [
        ("categorical_crossentropy", NARROW, "softmax", "at least 2 classes"),
        ("sparse_categorical_crossentropy", WIDE, "sigmoid", "one class among several"),
        ("sparse_categorical_crossentropy", WIDE, "linear", "from_logits"),
        ("binary_crossentropy", WIDE, "softmax", "softmax"),
        ("binary_crossentropy", NARROW, None, "sigmoid"),
        ({"name": "binary_crossentropy", "from_logits": True}, NARROW, "sigmoid", "from_logits"),
        ("kl_divergence", NARROW, "softmax", "classes"),
        ("mse", WIDE.with_dtype("int64"), None, "float"),
        ({"name": "cosine_similarity", "axis": 2}, WIDE, None, "axis 2"),
        ({"name": "cosine_similarity", "axis": 0}, WIDE, None, "axis 0"),
        ("mse", WIDE, "softmax", None),
        ("categorical_crossentropy", WIDE, None, "from_logits"),
        ("categorical_crossentropy", WIDE, "unknown", None),
        ("binary_crossentropy", WIDE, "sigmoid", None),
        ("binary_crossentropy", NARROW, "unknown", None),
        ({"name": "binary_crossentropy", "from_logits": True}, NARROW, None, None),
        ({"name": "categorical_crossentropy", "from_logits": True}, WIDE, "linear", None),
    ],
)
def test_a_loss_fits_its_output_or_says_why_not(
    loss: Any, output: Tensor, activation: str | None, words: str | None
) -> None:
    found = parse_loss(loss).misfit(output, activation)
    assert (found is None) == (words is None)
    assert found is None or words is None or words in " ".join(found)


@pytest.mark.parametrize(
    ("metric", "output", "loss", "words"),
    [
        ("categorical_accuracy", WIDE, "sparse_categorical_crossentropy", "sparse_categorical_accuracy"),
        ("sparse_categorical_accuracy", WIDE, "categorical_crossentropy", "categorical_accuracy"),
        ("precision", WIDE, "sparse_categorical_crossentropy", "class numbers"),
        ({"name": "precision", "class_id": 5}, WIDE, "categorical_crossentropy", "class 5"),
        ("r2_score", Tensor((BATCH, 4, 5)), "mse", "[batch, classes]"),
        ("accuracy", WIDE, "sparse_categorical_crossentropy", None),
        ("accuracy", WIDE, "categorical_crossentropy", None),
        ("accuracy", NARROW, "binary_crossentropy", None),
    ],
)
def test_a_metric_fits_its_output_or_says_why_not(
    metric: Any, output: Tensor, loss: str, words: str | None
) -> None:
    found = parse_metric(metric).misfit(output, None, parse_loss(loss))
    assert (found is None) == (words is None)
    assert found is None or words is None or words in " ".join(found)


def test_accuracy_is_what_the_output_asks_for() -> None:
    accuracy = parse_metric("accuracy")
    for loss, output, name in (
        ("sparse_categorical_crossentropy", WIDE, "sparse_categorical_accuracy"),
        ("categorical_crossentropy", WIDE, "categorical_accuracy"),
        ("binary_crossentropy", WIDE, "binary_accuracy"),
        ("mse", NARROW, "binary_accuracy"),
    ):
        assert accuracy.resolve(output, parse_loss(loss)).canonical == name


# --- values beside Keras'


def _numbers(name: str, seed: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, str | None]:
    """What the model gives before its activation, legal targets, and the activation."""
    source = torch.Generator().manual_seed(seed)
    raw = torch.randn(shape, generator=source) * 3
    values = torch.randn(shape, generator=source)
    kinds = torch.randint(shape[-1], shape[:-1], generator=source)
    one_hot = torch.nn.functional.one_hot(kinds, shape[-1]).float()
    if name in ("sparse_categorical_crossentropy", GENERALIZED):
        return raw, kinds, "softmax"
    if name in ("categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence"):
        return raw, one_hot if "kl" not in name else values.softmax(-1), "softmax"
    if name.startswith("binary"):
        return raw, (values > 0).float(), "sigmoid"
    if name == "categorical_hinge":
        return raw, one_hot, None
    if "hinge" in name:
        return raw, (values > 0).float(), None
    return (
        (raw.abs(), values.abs(), None)
        if name in ("poisson", "mean_squared_logarithmic_error")
        else (raw, values, None)
    )


ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "huber": [{"delta": 0.7}],
    "cosine_similarity": [{"axis": 1}],
    "categorical_crossentropy": [{"label_smoothing": 0.1}],
    "sparse_categorical_crossentropy": [{"ignore_class": 2}],
    "binary_crossentropy": [{"label_smoothing": 0.2}],
    "categorical_generalized_cross_entropy": [{"q": 0.8}],
    "binary_focal_crossentropy": [{"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}],
    "categorical_focal_crossentropy": [{"alpha": 0.4, "gamma": 3.0, "label_smoothing": 0.1}],
}
CASES = [
    (name, arguments, shape)
    for name in FORMULAS
    for arguments in [{}, *ARGUMENTS.get(name, []), {"reduction": "sum"}]
    for shape in ((6, 5), (4, 3, 5))
]


@bundled(16, ("name", "arguments", "shape"), CASES)
def test_losses_are_those_of_keras(name: str, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    raw, target, activation = _numbers(name, len(shape), shape)
    loss = parse_loss({"name": name, **arguments})
    theirs = _keras_loss(name, arguments)
    expected = theirs(target, activate(raw, activation))
    torch.testing.assert_close(loss.evaluate(raw, target, activation), expected, rtol=1e-5, atol=1e-6)
    values = activate(raw, activation)
    torch.testing.assert_close(loss.evaluate(values, target, None), expected, rtol=1e-5, atol=1e-6)
    if name in WITH_LOGITS and name != GENERALIZED:  # of which Keras takes no logits
        from_logits = parse_loss({"name": name, **arguments, "from_logits": True})
        expected = _keras_loss(name, {**arguments, "from_logits": True})(target, raw)
        torch.testing.assert_close(from_logits.evaluate(raw, target, None), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", one_in(5, [*FORMULAS, *WITH_LOGITS]))
def test_losses_compile_as_one_graph(name: str) -> None:
    raw, target, activation = _numbers(name, 0, (6, 5))
    loss, weight = parse_loss(name), torch.rand(6)
    torch._dynamo.reset()
    compiled = torch.compile(loss.evaluate, backend="eager", fullgraph=True)
    expected = loss.evaluate(raw, target, activation, weight)
    assert torch.equal(compiled(raw, target, activation, weight), expected)


def _keras_loss(name: str, arguments: dict[str, Any]) -> Any:
    special = {"kl_divergence": "KLDivergence", "ctc": "CTC"}
    class_name = special.get(name, "".join(part.title() for part in name.split("_")))
    return getattr(keras.losses, class_name)(**arguments)


def _distances(name: str) -> Any:
    return {
        "euclidean": lambda a, b: (a - b).norm(dim=-1),
        "squared_euclidean": lambda a, b: (a - b).square().sum(-1),
        "cosine": lambda a, b: 1 - torch.nn.functional.cosine_similarity(a, b),
    }[name]


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
def test_triplets_are_those_of_torch(distance: str) -> None:
    outputs = torch.randn(3, 7, 5)
    loss = parse_loss({"name": "triplet", "margin": 0.4, "distance": distance})
    expected = torch.nn.functional.triplet_margin_with_distance_loss(
        *outputs, distance_function=_distances(distance), margin=0.4
    )
    torch.testing.assert_close(loss.evaluate(list(outputs), None, None), expected)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
def test_pairs_come_close_or_stay_apart(distance: str) -> None:
    left, right = torch.randn(2, 9, 5)
    target, weight = torch.randint(2, (9,)), torch.rand(9)
    loss = parse_loss({"name": "contrastive", "margin": 1.5, "distance": distance})
    expected = 0.0
    for a, b, same, w in zip(left, right, target, weight, strict=True):
        d = _distances(distance)(a[None], b[None]).item()
        expected += w.item() * (d**2 if same else max(1.5 - d, 0) ** 2) / 9
    found = loss.evaluate([left, right], target, None, weight)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_query_picks_its_key_among_all(similarity: str, symmetric: bool) -> None:
    query, key = torch.randn(2, 6, 4)
    settings = {"temperature": 0.3, "similarity": similarity, "symmetric": symmetric}
    loss = parse_loss({"name": "in_batch_softmax", **settings})
    found = loss.evaluate([query, key], None, None)
    if similarity == "cosine":
        query, key = (v / v.norm(dim=1, keepdim=True) for v in (query, key))
    chances = [((query @ key.T) / 0.3).softmax(1)]
    if symmetric:
        chances.append(((key @ query.T) / 0.3).softmax(1))
    expected = torch.stack([-chance.diagonal().log().mean() for chance in chances]).mean()
    torch.testing.assert_close(found, expected)


def test_features_of_one_view_tell_those_of_the_other() -> None:
    one, two = np.random.default_rng(0).normal(size=(2, 9, 4))
    a, b = ((each - each.mean(0)) / each.std(0) for each in (one, two))
    correlations, same = a.T @ b / 9, np.eye(4, dtype=bool)
    expected = ((1 - correlations[same]) ** 2).sum() + 0.1 * (correlations[~same] ** 2).sum()
    loss = parse_loss({"name": "cross_correlation", "off_diagonal": 0.1})
    found = loss.evaluate([torch.from_numpy(one), torch.from_numpy(two)], None, None)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_features_of_two_views_are_alike_spread_and_without_covariance() -> None:
    one, two = np.random.default_rng(0).normal(0, 0.7, size=(2, 9, 4))
    expected = 3 * ((one - two) ** 2).mean()
    for view in (one, two):
        expected += 5 * np.maximum(1 - np.sqrt(view.var(0, ddof=1) + 1e-4), 0).mean() / 2
        expected += 2 * (np.cov(view.T)[~np.eye(4, dtype=bool)] ** 2).sum() / 4
    loss = parse_loss({"name": "vicreg", "invariance": 3, "variance": 5, "covariance": 2})
    found = loss.evaluate([torch.from_numpy(one), torch.from_numpy(two)], None, None)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_correlation", "vicreg"])
def test_views_of_a_single_example_have_a_gradient(name: str) -> None:
    one = torch.ones(1, 3, requires_grad=True)
    parse_loss(name).evaluate([one, torch.zeros(1, 3)], None, None).backward()
    assert one.grad is not None and one.grad.isfinite().all()


def test_a_pair_at_one_point_has_a_gradient() -> None:
    left = torch.ones(2, 3, requires_grad=True)
    outputs = [left, torch.ones(2, 3)]
    parse_loss("contrastive").evaluate(outputs, torch.tensor([0, 1]), None).backward()
    assert left.grad is not None and left.grad.isfinite().all()


def test_a_loss_from_logits_stays_finite_where_probabilities_round_to_zero() -> None:
    raw = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = parse_loss("sparse_categorical_crossentropy").evaluate(raw, torch.tensor([1]), "softmax")
    loss.backward()
    assert loss.item() == 400.0
    assert raw.grad is not None and raw.grad.tolist() == [[1.0, -1.0]]


def test_nothing_counted_is_a_loss_of_zero() -> None:
    loss = parse_loss({"name": "sparse_categorical_crossentropy", "ignore_class": 0})
    assert loss.evaluate(torch.randn(3, 4), torch.zeros(3, dtype=torch.int64), "softmax").item() == 0.0


METRIC_CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("binary_accuracy", "BinaryAccuracy", {}),
    ("binary_accuracy", "BinaryAccuracy", {"threshold": 0.3}),
    ("categorical_accuracy", "CategoricalAccuracy", {}),
    ("sparse_categorical_accuracy", "SparseCategoricalAccuracy", {}),
    ("top_k_categorical_accuracy", "TopKCategoricalAccuracy", {"k": 2}),
    ("sparse_top_k_categorical_accuracy", "SparseTopKCategoricalAccuracy", {"k": 3}),
    ("mean_squared_error", "MeanSquaredError", {}),
    ("root_mean_squared_error", "RootMeanSquaredError", {}),
    ("mean_absolute_error", "MeanAbsoluteError", {}),
    ("mean_absolute_percentage_error", "MeanAbsolutePercentageError", {}),
    ("mean_squared_logarithmic_error", "MeanSquaredLogarithmicError", {}),
    ("cosine_similarity", "CosineSimilarity", {}),
    ("r2_score", "R2Score", {}),
    ("r2_score", "R2Score", {"class_aggregation": "variance_weighted_average"}),
    ("r2_score", "R2Score", {"class_aggregation": None}),
    ("f1_score", "F1Score", {}),
    ("f1_score", "F1Score", {"average": "macro", "threshold": 0.4}),
    ("f_beta_score", "FBetaScore", {"average": "weighted", "beta": 2.0}),
    ("f_beta_score", "FBetaScore", {"average": "micro"}),
    ("auc", "AUC", {"num_thresholds": 200}),
    ("auc", "AUC", {"curve": "PR", "num_thresholds": 200}),
    ("auc", "AUC", {"curve": "PR", "summation_method": "minoring", "num_thresholds": 50}),
    ("auc", "AUC", {"summation_method": "majoring", "num_thresholds": 200}),
    ("auc", "AUC", {"thresholds": [0.3, 0.1, 0.6]}),
    ("auc", "AUC", {"num_thresholds": 50, "multi_label": True}),
    ("auc", "AUC", {"num_thresholds": 50, "label_weights": [1.0, 2.0, 0.5, 0.0, 1.0]}),
    ("auc", "AUC", {"num_thresholds": 50, "from_logits": True}),
    ("auc", "AUC", {"num_thresholds": 50, "multi_label": True, "num_labels": 5}),
    ("auc", "AUC", {"num_thresholds": 50, "multi_label": True, "label_weights": [1.0, 2.0, 0.5, 0.0, 1.0]}),
    ("precision", "Precision", {}),
    ("precision", "Precision", {"thresholds": [0.2, 0.7]}),
    ("precision", "Precision", {"class_id": 1}),
    ("precision", "Precision", {"top_k": 2}),
    ("recall", "Recall", {}),
    ("recall", "Recall", {"top_k": 3, "class_id": 1}),
    ("recall", "Recall", {"top_k": 2, "thresholds": [0.2, 0.6]}),
    ("recall", "Recall", {"class_id": 0, "thresholds": 0.3}),
    ("true_positives", "TruePositives", {}),
    ("true_negatives", "TrueNegatives", {}),
    ("false_positives", "FalsePositives", {}),
    ("false_negatives", "FalseNegatives", {"thresholds": [0.1, 0.9]}),
    ("sensitivity_at_specificity", "SensitivityAtSpecificity", {"specificity": 0.8, "num_thresholds": 200}),
    ("specificity_at_sensitivity", "SpecificityAtSensitivity", {"sensitivity": 0.3, "num_thresholds": 50}),
    ("precision_at_recall", "PrecisionAtRecall", {"recall": 0.4, "num_thresholds": 200}),
    ("recall_at_precision", "RecallAtPrecision", {"precision": 0.3, "num_thresholds": 200}),
    ("recall_at_precision", "RecallAtPrecision", {"precision": 0.2, "num_thresholds": 90, "class_id": 2}),
    ("recall_at_precision", "RecallAtPrecision", {"precision": 1.0, "num_thresholds": 20}),
    ("binary_crossentropy", "BinaryCrossentropy", {"label_smoothing": 0.1}),
    ("binary_crossentropy", "BinaryCrossentropy", {"from_logits": True}),
    ("categorical_crossentropy", "CategoricalCrossentropy", {}),
    ("categorical_crossentropy", "CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.2}),
    ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy", {}),
    ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy", {"from_logits": True}),
    ("hinge", "Hinge", {}),
    ("squared_hinge", "SquaredHinge", {}),
    ("categorical_hinge", "CategoricalHinge", {}),
    ("kl_divergence", "KLDivergence", {}),
    ("log_cosh", "LogCoshError", {}),
    ("poisson", "Poisson", {}),
    ("pearson_correlation", "PearsonCorrelation", {}),
    ("concordance_correlation", "ConcordanceCorrelation", {}),
    ("binary_iou", "BinaryIoU", {"target_class_ids": [1], "threshold": 0.3, "dtype": "float32"}),
    ("binary_iou", "BinaryIoU", {"dtype": "float32"}),
    ("one_hot_iou", "OneHotIoU", {"num_classes": 5, "target_class_ids": [0, 3], "dtype": "float32"}),
    ("one_hot_mean_iou", "OneHotMeanIoU", {"num_classes": 5, "ignore_class": 2, "dtype": "float32"}),
    ("mean_iou", "MeanIoU", {"num_classes": 5, "sparse_y_pred": False, "dtype": "float32"}),
    ("iou", "IoU", {"num_classes": 5, "sparse_y_pred": False, "target_class_ids": [4], "dtype": "float32"}),
]


@pytest.mark.parametrize("weighted", [False, True])
@bundled(16, ("name", "class_name", "arguments"), METRIC_CASES)
def test_metrics_are_those_of_keras(
    name: str, class_name: str, arguments: dict[str, Any], weighted: bool
) -> None:
    metric, theirs = _metric(name, arguments), getattr(keras.metrics, class_name)(**arguments)
    source = torch.Generator().manual_seed(3)
    sums: torch.Tensor | None = None
    for count in (40, 25, 7):
        output, target = _judged(metric, name, count, source)
        weight = torch.rand(count, generator=source) if weighted else None
        theirs.update_state(target, output, sample_weight=_as_keras_takes(name, weight, target))
        found = metric.statistics(output, target, weight)
        sums = found if sums is None else metric.joined(sums, found)
    assert sums is not None
    expected = torch.as_tensor(theirs.result(), dtype=torch.float64)
    torch.testing.assert_close(
        torch.tensor(metric.result(sums), dtype=torch.float64), expected, rtol=1e-5, atol=1e-6
    )


RANKINGS: dict[str, Any] = {
    "recall_at_k": lambda relevant, k: (relevant[:k] > 0).sum() / (relevant > 0).sum(),
    "hit_rate": lambda relevant, k: float((relevant[:k] > 0).any()),
    "ndcg": lambda relevant, k: _gain(relevant[:k]) / _gain(np.sort(relevant)[::-1][:k]),
    "mean_reciprocal_rank": lambda relevant, k: max(
        [1 / (rank + 1) for rank, each in enumerate(relevant[:k]) if each > 0], default=0.0
    ),
}


def _gain(relevant: Any) -> float:
    return float(sum(each / np.log2(rank + 2) for rank, each in enumerate(relevant)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [3, 10, 50])
def test_rankings_are_those_of_sorted_candidates(k: int, weighted: bool) -> None:
    """Relevance of several degrees; an example without a relevant candidate does not count."""
    source = np.random.default_rng(0)
    scores = source.permuted(np.tile(np.arange(20.0), (30, 1)), axis=1).astype(np.float32)
    relevant = source.integers(0, 4, (30, 20)) * (source.random((30, 20)) < 0.15)
    relevant[4] = 0
    weight = source.random(30) if weighted else np.ones(30)
    for name, formula in RANKINGS.items():
        metric = parse_metric({"name": name, "k": k})
        parts = [
            metric.statistics(
                torch.from_numpy(scores[rows]),
                torch.from_numpy(relevant[rows]).float(),
                torch.from_numpy(weight[rows]) if weighted else None,
            )
            for rows in (slice(0, 17), slice(17, 30))
        ]
        counted = [row for row in range(30) if relevant[row].any()]
        values = [formula(relevant[row][np.argsort(-scores[row])], k) for row in counted]
        expected = np.average(values, weights=weight[counted])
        assert metric.result(metric.joined(*parts)) == pytest.approx(expected), name
    assert len(counted) < 30


@pytest.mark.parametrize("name", RANKINGS)
def test_a_class_number_is_the_one_relevant_candidate(name: str) -> None:
    scores, number = torch.randn(9, 6), torch.arange(9) % 6
    metric = parse_metric({"name": name, "k": 2})
    assert metric.misfit(WIDE, "softmax", parse_loss("sparse_categorical_crossentropy")) is None
    assert metric.misfit(WIDE, "sigmoid", parse_loss("binary_crossentropy")) is None
    assert metric.misfit(NARROW, None) is not None
    hot = torch.nn.functional.one_hot(number, 6)
    assert torch.equal(metric.statistics(scores, number), metric.statistics(scores, hot))


def _metric(name: str, arguments: dict[str, Any]) -> Any:
    ours = {key: value for key, value in arguments.items() if key != "dtype"}
    return parse_metric({"name": name, **ours}).resolve(WIDE, None)


def _judged(metric: Any, name: str, count: int, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs between 0 and 1, some of them at the ends, and targets of the kind that a metric reads."""
    output = torch.rand(count, 5, generator=source).softmax(-1) * 2 - 0.2
    kinds = torch.randint(5, (count,), generator=source)
    target = torch.nn.functional.one_hot(kinds, 5).float()
    if metric.target(WIDE).rank == 1:
        target = kinds
    elif name.startswith(("mean_s", "mean_a", "root", "cosine", "r2", "pearson", "conc", "log", "poisson")):
        target = torch.rand(count, 5, generator=source)
    return output.clamp(0, 1), target


def _as_keras_takes(name: str, weight: torch.Tensor | None, target: torch.Tensor) -> torch.Tensor | None:
    """Weights of examples; where Keras wants one for each value, for each value."""
    return weight if weight is None or name != "binary_iou" else weight[:, None].expand_as(target)


@pytest.mark.parametrize("from_logits", [False, True])
def test_perplexity_is_of_all_that_counts(from_logits: bool) -> None:
    metric = parse_metric({"name": "perplexity", "from_logits": from_logits, "ignore_class": 4})
    source = torch.Generator().manual_seed(3)
    parts = [
        (torch.randn(n, 7, 5, generator=source), torch.randint(5, (n, 7), generator=source)) for n in (3, 2)
    ]
    there = [torch.rand(target.shape, generator=source) < 0.7 for _, target in parts]
    sums = [
        metric.statistics(raw if from_logits else raw.softmax(-1), target, mask)
        for (raw, target), mask in zip(parts, there, strict=True)
    ]
    counted = torch.cat(there) & (torch.cat([target for _, target in parts]) != 4)
    logs = torch.cat([raw.log_softmax(-1).gather(-1, target[..., None])[..., 0] for raw, target in parts])
    found = metric.result(metric.joined(*sums))
    assert found == pytest.approx(float(logs[counted].double().mean().neg().exp()), rel=1e-5)


@bundled(16, ("name", "class_name", "arguments"), METRIC_CASES)
def test_what_does_not_count_is_as_if_it_were_not_there(
    name: str, class_name: str, arguments: dict[str, Any]
) -> None:
    metric, source = _metric(name, arguments), torch.Generator().manual_seed(4)
    output, target = _judged(metric, name, 30, source)
    mask = torch.rand(30, generator=source) > 0.4
    found = metric.result(metric.statistics(output, target, mask))
    there = metric.result(metric.statistics(output[mask], target[mask]))
    assert found == pytest.approx(there, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("curve", ["ROC", "PR"])
@pytest.mark.parametrize("method", ["interpolation", "minoring", "majoring"])
def test_an_exact_area_is_that_of_keras_with_a_threshold_between_all_values(
    curve: str, method: str, weighted: bool
) -> None:
    source = torch.Generator().manual_seed(5)
    output = (torch.rand(200, 1, generator=source) * 40).round() / 40  # with ties
    target = (torch.rand(200, 1, generator=source) < 0.1 + 0.5 * output).float()
    weight = torch.rand(200, generator=source) if weighted else None
    metric = parse_metric({"name": "auc", "curve": curve, "summation_method": method})
    values = output.unique()
    between = ((values[1:] + values[:-1]) / 2).tolist()
    theirs = keras.metrics.AUC(curve=curve, summation_method=method, thresholds=between)
    theirs.update_state(target, output, sample_weight=weight)
    sums = [
        metric.statistics(output[part], target[part], None if weight is None else weight[part])
        for part in (slice(0, 70), slice(70, 200))
    ]
    found = metric.result(metric.joined(*sums))
    assert found == pytest.approx(float(theirs.result()), rel=1e-5)


@bundled(16, ("name", "arguments", "shape"), CASES)
@pytest.mark.parametrize("kind", ["weight", "mask", "both", "steps"])
def test_weighted_losses_are_those_of_keras(
    name: str, arguments: dict[str, Any], shape: tuple[int, ...], kind: str
) -> None:
    raw, target, activation = _numbers(name, len(shape), shape)
    loss, theirs = parse_loss({"name": name, **arguments}), _keras_loss(name, arguments)
    source = torch.Generator().manual_seed(6)
    weight = torch.rand(shape[0], generator=source) if kind in ("weight", "both") else None
    mask = None
    values = activate(raw, activation)
    per_position = theirs.call(target, values)  # without reduction
    if kind != "weight":
        size = per_position.shape if kind == "steps" else shape[:1]
        mask = torch.rand(size, generator=source) > 0.3
    if loss.reduction == "sum" or arguments.get("ignore_class") is not None:
        mask = None if weight is not None else mask
    found = loss.evaluate(raw, target, activation, weight, mask)
    factor = torch.ones_like(per_position) if weight is None else aligned(weight, per_position)
    there = torch.ones_like(per_position, dtype=torch.bool)
    if mask is not None:
        there = aligned(mask, there).expand_as(there)
    if (ignored := arguments.get("ignore_class")) is not None:
        there = there & (target != ignored)
    expected = (per_position * factor)[there].sum()
    if loss.reduction != "sum":
        expected = expected / there.sum()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    if mask is None:
        spread = None  # as Keras wants it
        if weight is not None:
            spread = aligned(weight, per_position).expand_as(per_position).clone()
        theirs_reduced = theirs(target, values, sample_weight=spread)
        torch.testing.assert_close(found, theirs_reduced, rtol=1e-5, atol=1e-6)


def test_a_mean_with_sample_weights_divides_by_them() -> None:
    raw, target, activation = _numbers("mean_squared_error", 2, (6, 5))
    weight = torch.rand(6)
    loss = parse_loss({"name": "mse", "reduction": "mean_with_sample_weight"})
    theirs = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    expected = theirs(target, activate(raw, activation), sample_weight=weight)
    torch.testing.assert_close(loss.evaluate(raw, target, activation, weight), expected)


def test_metrics_are_named_as_keras_names_them() -> None:
    for word in ("accuracy", "mse", "mae", "auc", "precision", "f1_score"):
        assert parse_metric(word).name == word


# --- losses that read several positions together


def _same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Keras divides by counts in float32."""
    torch.testing.assert_close(found, expected, check_dtype=False, rtol=1e-5, atol=1e-6)


def _regions(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    raw = torch.randn(4, 6, 5, 3, generator=source, dtype=torch.float64)
    return raw, (torch.rand(4, 6, 5, 3, generator=source, dtype=torch.float64) > 0.6).double()


REGIONS = [
    (name, {**arguments, **({"axis": axis} if axis else {})}, reduction)
    for name, arguments in [("dice", {}), ("tversky", {}), ("tversky", {"alpha": 0.3, "beta": 0.9})]
    for axis in (None, [1, 2, 3], [1, 2], [-1], [0, 1, 2])
    for reduction in ("sum_over_batch_size", "sum")
]


@bundled(16, ("name", "arguments", "reduction"), REGIONS)
def test_overlaps_are_those_of_keras(name: str, arguments: dict[str, Any], reduction: str) -> None:
    raw, target = _regions()
    raw.requires_grad_()
    theirs = _keras_loss(name, {**arguments, "reduction": reduction, "dtype": "float64"})
    loss = parse_loss({"name": name, **arguments, "reduction": reduction})
    found, expected = loss.evaluate(raw, target, "sigmoid"), theirs(target, raw.sigmoid())
    _same(found, expected)
    (ours,), (other,) = torch.autograd.grad(found, raw), torch.autograd.grad(expected, raw)
    _same(ours, other)


def test_alpha_weighs_what_is_left_out() -> None:
    """Against the sentence of the reference, which says of each weight what it counts."""
    target, output = torch.tensor([[1.0, 1, 1, 0]]), torch.tensor([[1.0, 0, 0, 1]])
    left_out, added = 2, 1  # false negatives, false positives
    weights = {"alpha": 0.25, "beta": 0.75}
    loss = parse_loss({"name": "tversky", **weights})
    sentences = {entry.name: entry.meaning for entry in find("tversky")[0].parameters}
    counts = {name: left_out if "false negatives" in sentences[name] else added for name in weights}
    expected = 1 - 1 / (1 + sum(weights[name] * counts[name] for name in weights))
    assert loss.evaluate(output, target, None).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["dice", "tversky"])
@pytest.mark.parametrize("axis", [None, [1, 2, 3], [0, 1, 2]])
def test_what_does_not_count_is_no_part_of_a_region(name: str, axis: Any) -> None:
    raw, target = _regions(1)
    loss = parse_loss({"name": name, "axis": axis})
    mask = torch.tensor([True, False, True, True])
    there = loss.evaluate(raw[mask], target[mask], "sigmoid")
    torch.testing.assert_close(loss.evaluate(raw, target, "sigmoid", mask=mask), there)
    weight = mask.double()
    if axis != [1, 2, 3]:  # where weights are in the sums, an example of weight 2 is there twice
        weight[0] = 2
        twice = [0, 0, 2, 3]
        there = loss.evaluate(raw[twice], target[twice], "sigmoid")
        torch.testing.assert_close(loss.evaluate(raw, target, "sigmoid", weight), there)
    rows = torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) > 0.3
    expected = [_dice_by_hand(loss, raw[[i]].sigmoid(), target[[i]], rows[i]) for i in range(4)]
    if axis == [1, 2, 3]:
        found = loss.evaluate(raw, target, "sigmoid", mask=rows)
        torch.testing.assert_close(found, torch.stack(expected).mean())


def _dice_by_hand(loss: Any, output: torch.Tensor, target: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    y, t = output[:, rows], target[:, rows]
    return 1 - 2 * (y * t).sum() / ((y + t).sum() + (1 if loss.canonical == "dice" else 2) * 1e-7)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_sequences_are_aligned_as_in_keras(activation: str | None) -> None:
    source = torch.Generator().manual_seed(0)
    raw = torch.randn(5, 9, 6, generator=source, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[1, 2, 3, 0], [5, 5, 0, 0], [0, 0, 0, 0], [1, 2, 1, 2], [4, 0, 0, 0]])
    loss = parse_loss("ctc")
    assert loss.misfit(Tensor((BATCH, 9, 6)), activation) is None
    found = loss.evaluate(raw, target, activation)
    expected = keras.losses.CTC(dtype="float64")(target, raw)
    _same(found, expected)
    (ours,), (theirs,) = torch.autograd.grad(found, raw), torch.autograd.grad(expected, raw)
    _same(ours, theirs)


def test_steps_without_a_place_in_a_sequence_are_not_there() -> None:
    source = torch.Generator().manual_seed(1)
    raw = torch.randn(3, 8, 5, generator=source, dtype=torch.float64)
    target = torch.tensor([[1, 2, 0], [3, 3, 4], [2, 0, 0]])
    mask = torch.rand(3, 8, generator=source) > 0.3
    mask[2] = False
    loss = parse_loss("ctc")
    expected = [loss.evaluate(raw[i : i + 1, mask[i]], target[i : i + 1], None) for i in (0, 1)]
    found = loss.evaluate(raw, target, None, mask=mask)
    torch.testing.assert_close(found, torch.stack(expected).mean())


@pytest.mark.parametrize("arguments", [{}, {"gamma": 20.0, "margin": 0.2}, {"remove_diagonal": False}])
def test_circles_are_those_of_keras(arguments: dict[str, Any]) -> None:
    source = torch.Generator().manual_seed(2)
    raw = torch.randn(12, 6, generator=source, dtype=torch.float64)
    output = torch.nn.functional.normalize(raw, dim=1).requires_grad_()
    target = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 0, 4, 5, 5])  # 2 and 4 are alone
    loss = parse_loss({"name": "circle", **arguments})
    found = loss.evaluate(output, target, None)
    expected = keras.losses.Circle(**arguments, dtype="float64")(target, output)
    _same(found, expected)
    (gradient,) = torch.autograd.grad(found, output)
    assert gradient.isfinite().all()
    if arguments.get("remove_diagonal", True) is False:
        (theirs,) = torch.autograd.grad(expected, output)  # of a loss in float32
        largest = float(theirs.abs().max())
        torch.testing.assert_close(gradient, theirs, rtol=1e-5, atol=2e-6 * largest)
    mask = torch.arange(12) < 8
    there = loss.evaluate(output[:8], target[:8], None)
    found = loss.evaluate(output, target, None, mask=mask)
    torch.testing.assert_close(found, there)


@pytest.mark.parametrize(
    ("loss", "output", "activation", "words"),
    [
        ("dice", WIDE, None, "sigmoid"),
        ({"name": "dice", "axis": [2]}, WIDE, "sigmoid", "axes [2]"),
        ({"name": "tversky", "axis": [1, -1]}, WIDE, "sigmoid", "twice"),
        ("ctc", WIDE, "softmax", "[batch, steps, classes]"),
        ("ctc", Tensor((BATCH, 9, 6)), "sigmoid", "ends in sigmoid"),
        ("circle", Tensor((BATCH, 9, 6)), None, "flatten"),
        (GENERALIZED, WIDE, "sigmoid", "one class among several"),
    ],
)
def test_losses_of_regions_and_sequences_say_what_they_need(
    loss: Any, output: Tensor, activation: str | None, words: str
) -> None:
    misfit = parse_loss(loss).misfit(output, activation)
    assert misfit is not None and words in " ".join(misfit)


@pytest.mark.parametrize(
    ("metric", "output", "loss", "activation", "words"),
    [
        ("pearson_correlation", NARROW, "mse", None, "axis: 0"),
        ({"name": "precision", "top_k": 9}, WIDE, "binary_crossentropy", "sigmoid", "at most 5"),
        ("mean_iou", NARROW, "binary_crossentropy", "sigmoid", "binary_iou"),
        ({"name": "mean_iou", "num_classes": 4}, WIDE, "mse", "softmax", "leave it out"),
        ({"name": "iou", "target_class_ids": [5]}, WIDE, "mse", "softmax", "class 5"),
        (
            {"name": "mean_iou", "sparse_y_true": True},
            WIDE,
            "categorical_crossentropy",
            "softmax",
            "class num",
        ),
        ("categorical_crossentropy", WIDE, "sparse_categorical_crossentropy", "softmax", "`sparse_cat"),
        ("binary_crossentropy", WIDE, {"name": "bce", "from_logits": True}, None, "from_logits: true"),
        ({"name": "auc", "multi_label": True, "num_labels": 3}, WIDE, "bce", "sigmoid", "5 labels"),
        ({"name": "auc", "from_logits": True}, WIDE, "bce", "sigmoid", "leave"),
        ({"name": "precision", "top_k": 2}, WIDE, {"name": "bce", "from_logits": True}, None, None),
        ({"name": "auc", "from_logits": True}, WIDE, {"name": "bce", "from_logits": True}, None, None),
        ("mean_iou", WIDE, "sparse_categorical_crossentropy", "softmax", None),
        ("mean_iou", WIDE, "categorical_crossentropy", "softmax", None),
    ],
)
def test_metrics_say_what_they_need(
    metric: Any, output: Tensor, loss: Any, activation: str | None, words: str | None
) -> None:
    misfit = parse_metric(metric).misfit(output, activation, parse_loss(loss))
    assert (misfit is None) == (words is None), misfit
    assert words is None or misfit is None or words in " ".join(misfit)


def test_a_correlation_over_an_epoch_is_that_of_numpy() -> None:
    output, target = torch.randn(2, 60, 3, generator=torch.Generator().manual_seed(3)) + 5
    metric = parse_metric({"name": "pearson_correlation", "axis": 0})
    parts = [metric.statistics(output[s], target[s]) for s in (slice(0, 25), slice(25, 60))]
    found = metric.result(metric.joined(*parts))
    expected = [np.corrcoef(output[:, i], target[:, i])[0, 1] for i in range(3)]
    assert found == pytest.approx(np.mean(expected), rel=1e-6)
    metric = parse_metric({"name": "concordance_correlation", "axis": 0})
    whole = metric.statistics(output, target)
    y, t = output.double(), target.double()
    together = ((y - y.mean(0)) * (t - t.mean(0))).mean(0)
    spread = y.var(0, correction=0) + t.var(0, correction=0) + (y.mean(0) - t.mean(0)).square()
    assert metric.result(whole) == pytest.approx((2 * together / spread).mean().item(), rel=1e-6)


@pytest.mark.parametrize("aggregation", ["uniform_average", "variance_weighted_average", None])
def test_r2_adjusts_for_predictors_by_examples(aggregation: str | None) -> None:
    """Keras counts values for examples; for one column they are the same."""
    source = torch.Generator().manual_seed(4)
    target = torch.randn(40, 3, generator=source)
    output = target + torch.randn(40, 3, generator=source) / 2
    arguments = {"class_aggregation": aggregation, "num_regressors": 4}
    metric = parse_metric({"name": "r2_score", **arguments})
    unadjusted = parse_metric({"name": "r2_score", "class_aggregation": aggregation})
    plain = unadjusted.result(metric.statistics(output, target))
    found = metric.result(metric.statistics(output, target))
    assert found == pytest.approx((1 - (1 - np.array(plain)) * 39 / 35).tolist())
    theirs = keras.metrics.R2Score(**arguments)
    theirs.update_state(target[:, :1], output[:, :1])
    one = metric.result(metric.statistics(output[:, :1], target[:, :1]))
    assert one == pytest.approx(float(theirs.result()), rel=1e-5)


EDGES = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.0])
"""The ends, and the thresholds that the cases name."""


@bundled(16, ("name", "class_name", "arguments"), METRIC_CASES)
def test_metrics_at_their_thresholds_and_with_ties_are_those_of_keras(
    name: str, class_name: str, arguments: dict[str, Any]
) -> None:
    metric, source = _metric(name, arguments), torch.Generator().manual_seed(6)
    _, target = _judged(metric, name, 40, source)
    many = EDGES[torch.randint(len(EDGES), (40, 5), generator=source)]
    for output in (many, torch.full((40, 5), 0.3), torch.full((40, 5), 0.5), torch.zeros(40, 5)):
        theirs = getattr(keras.metrics, class_name)(**arguments)
        theirs.update_state(target, output)
        expected = torch.as_tensor(theirs.result(), dtype=torch.float64)
        found = metric.result(metric.statistics(output, target))
        torch.testing.assert_close(
            torch.tensor(found, dtype=torch.float64), expected, rtol=1e-4, atol=1e-5, equal_nan=True
        )


@bundled(16, ("name", "arguments", "shape"), CASES)
def test_losses_at_the_ends_are_those_of_keras(
    name: str, arguments: dict[str, Any], shape: tuple[int, ...]
) -> None:
    raw, target, _ = _numbers(name, len(shape), shape)
    output = (raw > 0).float()
    output[..., -1] = 1  # probabilities do not sum to 0
    expected = _keras_loss(name, arguments)(target, output)
    output.requires_grad_()
    found = parse_loss({"name": name, **arguments}).evaluate(output, target, None)
    torch.testing.assert_close(found.detach(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.autograd.grad(found, output)[0].isnan().any()


def test_the_pinball_loss_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import mean_pinball_loss

    levels = [0.1, 0.5, 0.8]
    output, target = torch.randn(40, 5, 3), torch.randn(40, 5)
    found = parse_loss({"name": "quantile", "levels": levels}).evaluate(output, target, None)
    expected = [
        mean_pinball_loss(target.flatten(), output[..., i].flatten(), alpha=level)
        for i, level in enumerate(levels)
    ]
    assert float(found) == pytest.approx(sum(expected) / 3, rel=1e-5)
