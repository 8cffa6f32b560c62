"""Labels, cosines and neighbours of rows: C++ on the CPU; a GPU takes torch, as the losses that call them say."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast.ops._similarity import accumulator

__all__ = [
    "koleo",
    "label_distances",
    "label_means",
    "label_softmax",
    "nearest_rows",
    "negative_cosine_similarity",
    "own_similarities",
    "own_similarities_backward",
]


# ---- label_means: torch on the GPU, in losses/_label_means.py

label_means = torch.ops.sslfast.label_means.default


@torch.library.register_fake("sslfast::label_means")
def _(rows: Tensor, columns: Tensor, labels: Tensor, ref_labels: Tensor, *args: object) -> tuple[Tensor, ...]:
    mean, counts = rows.new_empty((rows.shape[0],)), torch.empty_like(labels)
    classes = [torch.empty_like(numbers, dtype=torch.int32) for numbers in (labels, ref_labels)]
    shares = torch.empty_like(mean), torch.empty_like(mean)
    return mean, counts, torch.empty_like(counts), *classes, *shares, rows.new_empty(())


# ---- label_softmax, label_distances: small batches on the CPU, losses/_few_rows.py; a GPU takes what larger ones take

label_softmax = torch.ops.sslfast.label_softmax.default
label_distances = torch.ops.sslfast.label_distances.default


def _loss_and_gradient(
    z: Tensor,
    need_grad: bool,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    copies: Tensor | None = None,
    need_ref_grad: bool = False,
) -> tuple[Tensor, Tensor]:
    """The gradient is that of the rows, and below it that of the references."""
    learning = z.shape[0] if need_grad else 0
    if ref_emb is not None and need_ref_grad:
        learning = learning + ref_emb.shape[0]
    wide = accumulator(z)
    return z.new_empty((), dtype=wide), z.new_empty((learning, z.shape[1]), dtype=wide)


@torch.library.register_fake("sslfast::label_softmax")
def _(z: Tensor, labels: Tensor, scale: float, each_positive: bool, *rest: Any) -> tuple[Tensor, Tensor]:
    return _loss_and_gradient(z, *rest)


@torch.library.register_fake("sslfast::label_distances")
def _(
    z: Tensor,
    labels: Tensor,
    terms: int,
    distance: int,
    reduction: int,
    normalize: bool,
    margin: float,
    neg_margin: float,
    squared: bool,
    swap: bool,
    smooth: bool,
    *rest: Any,
) -> tuple[Tensor, Tensor]:
    return _loss_and_gradient(z, *rest)


# ---- negative_cosine_similarity: torch on the GPU, in losses/negative_cosine_similarity.py

negative_cosine_similarity = torch.ops.sslfast.negative_cosine_similarity.default


@torch.library.register_fake("sslfast::negative_cosine_similarity")
def _(x0: Tensor, x1: Tensor, eps: float, need_x0: bool, need_x1: bool) -> tuple[Tensor, Tensor, Tensor]:
    grad0, grad1 = (x0.new_empty((x0.shape[0] if need else 0, x0.shape[1])) for need in (need_x0, need_x1))
    return x0.new_empty(()), grad0, grad1


# ---- koleo: torch on the GPU, in losses/koleo.py

koleo = torch.ops.sslfast.koleo.default


@torch.library.register_fake("sslfast::koleo")
def _(x: Tensor, eps: float, need_grad: bool) -> tuple[Tensor, Tensor, Tensor]:
    neighbours = x.new_empty((x.shape[0],), dtype=torch.int64)
    return x.new_empty(()), neighbours, x.new_empty((x.shape[0] if need_grad else 0, x.shape[1]))


# ---- nearest_rows: torch on the GPU, in losses/nn_memory_bank.py

nearest_rows = torch.ops.sslfast.nearest_rows.default


@torch.library.register_fake("sslfast::nearest_rows")
def _(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    wide = torch.float64 if torch.float64 in (rows.dtype, columns.dtype) else torch.float32
    return rows.new_empty((rows.shape[0],), dtype=torch.int64), rows.new_empty((rows.shape[0],), dtype=wide)


# ---- own_similarities: torch on the GPU, in losses/_hard.py

own_similarities = torch.ops.sslfast.own_similarities.default
own_similarities_backward = torch.ops.sslfast.own_similarities_backward.default


@torch.library.register_fake("sslfast::own_similarities")
def _(query: Tensor, keys: Tensor, normalize: bool) -> tuple[Tensor, Tensor]:
    rows, count, _ = keys.shape
    return query.new_empty((rows, count)), query.new_empty((rows if normalize else 0, count))


@torch.library.register_fake("sslfast::own_similarities_backward")
def _(grad: Tensor, query: Tensor, keys: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    *_, need_query, need_keys = args
    grad_query, grad_keys = (
        z.new_empty((z.shape[0] if need else 0, *z.shape[1:])) for z, need in ((query, need_query), (keys, need_keys))
    )
    return grad_query, grad_keys
