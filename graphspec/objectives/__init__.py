"""Losses and metrics, named and configured as in Keras 3. Nothing here imports torch.

    parse_loss("mse")                               MeanSquaredError(name="mse")
    parse_loss({"name": "huber", "delta": 2.0})     Huber(delta=2.0)
    parse_metric("accuracy")                        Accuracy()

A mistake raises `SettingError`, which carries `code` (unknown-loss, unknown-metric, unknown-key, wrong-type,
out-of-range, missing-key), `message`, `help` and the `key` at fault.
"""

from __future__ import annotations

from importlib import import_module

from graphspec.objectives.losses import Loss
from graphspec.objectives.metrics import Metric
from graphspec.objectives.settings import Family, Members, Problem, SettingError

__all__ = ["LOSSES", "METRICS", "Loss", "Metric", "Problem", "SettingError", "parse_loss", "parse_metric"]

_FURTHER_METRICS = ("rare_metrics", "confusion", "loss_metrics")

LOSSES = Family(
    "loss",
    Members(Loss, lambda: import_module(f"{__name__}.rare_losses")),
    {
        "crossentropy": "sparse_categorical_crossentropy",
        "ce": "sparse_categorical_crossentropy",
        "cross_entropy": "sparse_categorical_crossentropy",
        "CrossEntropyLoss": "sparse_categorical_crossentropy",
        "nll_loss": "sparse_categorical_crossentropy",
        "NLLLoss": "sparse_categorical_crossentropy",
        "nll": "sparse_categorical_crossentropy",
        "softmax": "categorical_crossentropy",
        "BCELoss": "binary_crossentropy",
        "BCEWithLogitsLoss": "binary_crossentropy",
        "binary_cross_entropy": "binary_crossentropy",
        "binary_cross_entropy_with_logits": "binary_crossentropy",
        "log_loss": "binary_crossentropy",
        "MSELoss": "mean_squared_error",
        "mse_loss": "mean_squared_error",
        "l2": "mean_squared_error",
        "L1Loss": "mean_absolute_error",
        "l1_loss": "mean_absolute_error",
        "l1": "mean_absolute_error",
        "CTCLoss": "ctc",
        "ctc_loss": "ctc",
        "DiceLoss": "dice",
        "dice_loss": "dice",
        "iou_loss": "tversky",
        "jaccard": "tversky",
        "generalized_cross_entropy": "categorical_generalized_cross_entropy",
        "gce": "categorical_generalized_cross_entropy",
        "SmoothL1Loss": "huber",
        "smooth_l1_loss": "huber",
        "smooth_l1": "huber",
        "HuberLoss": "huber",
        "KLDivLoss": "kl_divergence",
        "kl_div": "kl_divergence",
        "kl": "kl_divergence",
        "PoissonNLLLoss": "poisson",
        "poisson_nll_loss": "poisson",
        "CosineEmbeddingLoss": "cosine_similarity",
        "HingeEmbeddingLoss": "hinge",
        "MultiMarginLoss": "categorical_hinge",
        "focal": "categorical_focal_crossentropy",
        "focal_loss": "categorical_focal_crossentropy",
        "sigmoid_focal_loss": "binary_focal_crossentropy",
        "ContrastiveLoss": "contrastive",
        "contrastive_loss": "contrastive",
        "TripletMarginLoss": "triplet",
        "triplet_margin_loss": "triplet",
        "triplet_loss": "triplet",
        "info_nce": "in_batch_softmax",
        "InfoNCE": "in_batch_softmax",
        "nt_xent": "in_batch_softmax",
        "clip": "in_batch_softmax",
        "multiple_negatives_ranking": "in_batch_softmax",
    },
    "unknown-loss",
    {"Loss": ("it is the base class of custom losses", "write {module: my_losses.Name}")},
)
METRICS = Family(
    "metric",
    Members(Metric, lambda: [import_module(f"{__name__}.{file}") for file in _FURTHER_METRICS]),
    {
        "top_k_accuracy": "top_k_categorical_accuracy",
        "top_5": "top_k_categorical_accuracy",
        "f1": "f1_score",
        "f1score": "f1_score",
        "r2": "r2_score",
        "roc_auc": "auc",
        "auroc": "auc",
        "l1": "mean_absolute_error",
        "l2": "mean_squared_error",
        "BinaryAccuracy": "binary_accuracy",
        "jaccard": "iou",
        "JaccardIndex": "mean_iou",
        "miou": "mean_iou",
        "pearson": "pearson_correlation",
        "pearsonr": "pearson_correlation",
        "PearsonCorrCoef": "pearson_correlation",
        "log_loss": "binary_crossentropy",
        "cross_entropy": "sparse_categorical_crossentropy",
        "MulticlassAccuracy": "accuracy",
    },
    "unknown-metric",
    {
        **dict.fromkeys(
            ("Metric", "MeanMetricWrapper"),
            ("it is the base class of custom metrics", "write {module: my_metrics.Name}"),
        ),
        **dict.fromkeys(
            ("Mean", "Sum"),
            ("it compares nothing with a target", "an output with `loss: mean` reports its own mean"),
        ),
    },
)


def parse_loss(value: object) -> Loss:
    """Reads a spec's `loss:`. Raises `SettingError`."""
    if isinstance(value, dict) and "module" in value:
        from graphspec.objectives.own import own_loss

        return own_loss(value)
    found: Loss = LOSSES.read(value)
    return found


def parse_metric(value: object) -> Metric:
    """Reads an entry of a spec's `metrics:`. Raises `SettingError`."""
    if isinstance(value, dict) and "module" in value:
        from graphspec.objectives.own import own_metric

        return own_metric(value)
    found: Metric = METRICS.read(value)
    return found
