"""Losses and metrics, named and configured as in Keras 3. Nothing here imports torch.

    parse_loss("mse")                               MeanSquaredError(name="mse")
    parse_loss({"name": "huber", "delta": 2.0})     Huber(delta=2.0)
    parse_metric("accuracy")                        Accuracy()

A mistake raises `SettingError`, which carries `code` (unknown-loss, unknown-metric, unknown-key, wrong-type,
out-of-range, missing-key), `message`, `help` and the `key` at fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from graphspec.diagnostics import become, by_word, write
from graphspec.diagnostics.foreign_terms import bare
from graphspec.objectives.loss import Loss
from graphspec.objectives.metrics import Metric
from graphspec.settings import Problem, SettingError, Word, show, unfit
from graphspec.settings.families import Family, Members

__all__ = ["LOSSES", "METRICS", "Loss", "Metric", "Problem", "SettingError", "parse_loss", "parse_metric"]

LOSSES = Family(
    "loss",
    Members(Loss, __name__),
    by_word(
        sparse_categorical_crossentropy="sparse_crossentropy sparse_cross_entropy crossentropy ce "
        "cross_entropy CrossEntropyLoss nll_loss NLLLoss nll",
        categorical_crossentropy="softmax",
        binary_crossentropy="BCELoss BCEWithLogitsLoss binary_cross_entropy "
        "binary_cross_entropy_with_logits log_loss",
        mean_squared_error="MSELoss mse_loss l2",
        mean_absolute_error="L1Loss l1_loss l1",
        ctc="CTCLoss ctc_loss",
        dice="DiceLoss dice_loss",
        tversky="iou_loss jaccard",
        categorical_generalized_cross_entropy="generalized_cross_entropy gce",
        huber="SmoothL1Loss smooth_l1_loss smooth_l1 HuberLoss",
        kl_divergence="KLDivLoss kl_div kl",
        poisson="PoissonNLLLoss poisson_nll_loss",
        cosine_similarity="CosineEmbeddingLoss",
        hinge="HingeEmbeddingLoss",
        categorical_hinge="MultiMarginLoss",
        binary_focal_crossentropy="sigmoid_focal_loss",
        contrastive="ContrastiveLoss contrastive_loss",
        triplet="TripletMarginLoss triplet_margin_loss triplet_loss",
        in_batch_softmax="info_nce InfoNCE nt_xent clip multiple_negatives_ranking",
        cross_correlation="barlow barlow_twins BarlowTwinsLoss",
        vicreg="VICRegLoss",
        detection="detector FCOSLoss RetinaNetLoss yolo v8DetectionLoss DetrLoss SetCriterion",
    ),
    "unknown-loss",
    {"Loss": ("it is the base class of custom losses", "write {module: my_losses.Name}")},
)
METRICS = Family(
    "metric",
    Members(Metric, __name__, computed=f"{__name__}.loss_metrics"),
    by_word(
        top_k_categorical_accuracy="top_k_accuracy top_5",
        f1_score="f1 f1score",
        r2_score="r2",
        auc="roc_auc auroc",
        mean_absolute_error="l1",
        mean_squared_error="l2",
        binary_accuracy="BinaryAccuracy",
        iou="jaccard",
        mean_dice="dice dice_score DiceScore",
        mean_iou="JaccardIndex miou",
        pearson_correlation="pearson pearsonr PearsonCorrCoef",
        binary_crossentropy="log_loss",
        sparse_categorical_crossentropy="cross_entropy",
        accuracy="MulticlassAccuracy",
        recall_at_k="top_k_recall RetrievalRecall",
        hit_rate="hits hit_at_k RetrievalHitRate",
        ndcg="NDCGMetric RetrievalNormalizedDCG ndcg_at_k",
        mean_reciprocal_rank="reciprocal_rank RetrievalMRR",
        mean_average_precision="map mAP map50 MeanAveragePrecision coco_map BoxCOCOMetrics",
        mean_average_recall="mar",
    ),
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


_ENTROPY, _FOCAL = "crossentropy cross_entropy ce CrossEntropyLoss", "focal focal_loss FocalLoss"
BY_ENDING: Mapping[str, Mapping[str, str]] = {
    "sigmoid": by_word(binary_crossentropy=_ENTROPY, binary_focal_crossentropy=_FOCAL),
    "softmax": by_word(categorical_focal_crossentropy=_FOCAL),
}
"""Losses that other libraries call alike, by the activation that the output ends in."""
RANKED = {
    "recall": "recall_at_k",
    "hit": "hit_rate",
    "hit_rate": "hit_rate",
    "hits": "hit_rate",
    "ndcg": "ndcg",
}
AT_K = re.compile(rf"({'|'.join(RANKED)})(?:@|_at_)(\d{{1,6}})\Z")
"""Metrics of rankings with their `k` in the name, as `recall@10`."""
OF_LOGITS = by_word(
    sparse_categorical_crossentropy="CrossEntropyLoss cross_entropy",
    binary_crossentropy="BCEWithLogitsLoss binary_cross_entropy_with_logits",
)
"""Losses of PyTorch that read what has no activation."""


def parse_loss(value: object, ending: str = "") -> Loss:
    """Reads a spec's `loss:`, of an output that ends in this activation. Raises `SettingError`."""
    if isinstance(value, dict) and "module" in value:
        from graphspec.objectives.custom import custom_loss

        return custom_loss(value)
    written = value.get("name") if isinstance(value, dict) else value
    name = bare(written) if isinstance(written, str) else ""
    if ending == "linear" and name in OF_LOGITS:
        rest = {key: item for key, item in value.items() if key != "name"} if isinstance(value, dict) else {}
        meant = {"name": Word(OF_LOGITS[name]), "from_logits": True, **rest}
        words = f"write {show(meant)}"
        raise unfit("unknown-loss", f"unknown loss `{written}`", become(meant, words))
    if name in BY_ENDING.get(ending, {}):
        help = write(BY_ENDING[ending][name], old=str(written))
        raise unfit("unknown-loss", f"unknown loss `{written}`", help, "name")
    if isinstance(value, dict) and written is None:
        from graphspec.objectives.custom import no_name

        if (problem := no_name(value)) is not None:
            raise problem
    loss: Loss = LOSSES.read(value)
    return loss


def parse_metric(value: object) -> Metric:
    """Reads an entry of a spec's `metrics:`. Raises `SettingError`."""
    if isinstance(value, dict) and "module" in value:
        from graphspec.objectives.custom import custom_metric

        return custom_metric(value)
    found = AT_K.match(value) if isinstance(value, str) else None
    if found is not None:
        meant = {"name": Word(RANKED[found[1]]), "k": int(found[2])}
        raise unfit("unknown-metric", f"unknown metric `{value}`", become(meant, f"write {show(meant)}"))
    metric: Metric = METRICS.read(value)
    return metric
