"""Judging frozen features: labels drawn per class, a linear probe, nearest neighbours, effective rank, collapse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sslfast.pretrain.config import keyed_seed

ALL = 0  # "labels per class" when every label is used


def draw_labels(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Indices of ``per_class`` examples of each class (all of a smaller one), drawn by the seed; ``ALL`` = all."""
    if per_class == ALL:
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(keyed_seed(seed, "labels"))
    order = torch.randperm(len(labels), generator=generator)
    # One order for all counts: the five labelled examples of a class contain the one.
    picked = [order[labels[order] == label][:per_class] for label in labels.unique()]
    return torch.cat(picked)


def linear_probe(features: Tensor, labels: Tensor, test_features: Tensor) -> Tensor:
    """Predictions of a logistic regression on standardised features (scikit-learn, L2 with C = 1)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features.numpy(), labels.numpy())
    return torch.from_numpy(model.predict(test_features.numpy()))


def nearest_neighbours(features: Any, labels: Tensor, test_features: Any) -> Tensor:
    """Predictions by cosine similarity to the labelled examples: the nearest of one label per class, else the five.

    Features are tensors, or sparse matrices of SciPy.
    """
    neighbours = 5 if len(labels) >= 5 * len(labels.unique()) else 1
    model = KNeighborsClassifier(neighbours, metric="cosine", weights="distance")
    if isinstance(features, Tensor):
        features, test_features = features.numpy(), test_features.numpy()
    model.fit(features, labels.numpy())
    return torch.from_numpy(model.predict(test_features))


def scores(predicted: Tensor, labels: Tensor, classes: int) -> dict[str, Any]:
    """Accuracy, macro precision, macro recall and the confusion matrix (rows: true class) of predictions."""
    names = list(range(classes))
    precision, recall, _, _ = precision_recall_fscore_support(
        labels, predicted, labels=names, average="macro", zero_division=0
    )
    return {
        "accuracy": float((predicted == labels).float().mean()),
        "precision": float(precision),
        "recall": float(recall),
        "confusion": confusion_matrix(labels, predicted, labels=names).tolist(),
    }


def effective_rank(features: Tensor) -> float:
    """RankMe (Garrido et al. 2023): the exponential of the entropy of the normalised singular values.

    1 where all features are multiples of one vector, min(N, D) where they fill their space evenly.
    """
    singular = torch.linalg.svdvals(features.double())
    total = singular.sum()
    if total == 0:
        return 1.0
    share = singular / total
    share = share[share > 0]
    return math.exp(float(-(share * share.log()).sum()))


def spread(features: Tensor) -> float:
    """Standard deviation of the L2-normalised features times sqrt(D): 0 = one point, 1 = all over the sphere."""
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    return float(unit.std(dim=0).mean()) * math.sqrt(features.shape[1])


def judge_collapse(features: Tensor) -> dict[str, Any]:
    """Effective rank, spread, and in plain words whether the features have collapsed.

    Args:
        features: (N, D), of images or texts the encoder was not trained on.

    Returns:
        ``effective_rank``, ``dim``, ``spread``, ``state`` (``ok``, ``partial``, ``collapsed``) and ``verdict``.
    """
    features = features.float()
    dim = features.shape[1]
    if not bool(np.isfinite(features.numpy()).all()):
        return {
            "effective_rank": math.nan, "dim": dim, "spread": math.nan, "state": "collapsed",
            "verdict": "Broken: the features hold NaN or infinite values.",
        }  # fmt: skip
    rank, width = effective_rank(features), spread(features)
    numbers = f"effective rank {rank:.1f} of {min(features.shape)}, spread {width:.2f}"
    if width < 0.05 or rank < 1.5:
        state, verdict = "collapsed", f"Collapsed: all inputs get nearly the same feature ({numbers})."
    elif rank < 0.05 * min(features.shape) or rank < 3:
        state, verdict = "partial", f"Partly collapsed: the features use only a few directions ({numbers})."
    else:
        state, verdict = "ok", f"No collapse ({numbers})."
    return {"effective_rank": rank, "dim": dim, "spread": width, "state": state, "verdict": verdict}
