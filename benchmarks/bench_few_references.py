"""Losses with labels of few rows against few references that take no gradient, as those of a small cross-batch memory,
forward and backward, beside pytorch-metric-learning's and the formulas in torch, from one N x M matrix.

Floor, N rows and M references of D numbers: 4 N M D FLOPs, the product and that of its gradient with the references;
2 N M D for the hardest triplets, whose gradients are thin.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_contrastive import NEG_MARGIN
from benchmarks.bench_multi_positive_nt_xent import TEMPERATURE
from benchmarks.bench_supcon_references import Inputs, Loss, call, check
from benchmarks.bench_triplet import MARGIN, step
from benchmarks.harness import Case

PER_LABEL = 4


def make_inputs(device: torch.device, *, rows: int, references: int, width: int) -> Inputs:
    """Every row has a positive among the references."""
    ref_labels = torch.arange(references).div(PER_LABEL, rounding_mode="floor")[torch.randperm(references)]
    labels = ref_labels[torch.randperm(references)[:rows]]
    centers = torch.randn(int(ref_labels.max()) + 1, width)
    embeddings, ref_emb = (centers[y] + 1.5 * torch.randn(len(y), width) for y in (labels, ref_labels))
    return embeddings.to(device).requires_grad_(), labels.to(device), ref_emb.to(device), ref_labels.to(device)


def of_references(loss: Callable[..., Tensor]) -> Loss:
    return lambda z, y, r, ry: loss(z, y, ref_emb=r, ref_labels=ry)


def ours(name: str, *options: float, **named: Any) -> Loss:
    from sslfast import losses

    return of_references(getattr(losses, name)(*options, **named))


def theirs(name: str, **options: Any) -> Loss:
    return of_references(getattr(peers.load("pytorch_metric_learning.losses"), name)(**options))


def their_hard() -> Loss:
    miner = peers.load("pytorch_metric_learning.miners").BatchHardMiner()
    criterion = peers.load("pytorch_metric_learning.losses").TripletMarginLoss(MARGIN)
    return lambda z, y, r, ry: criterion(z, y, miner(z, y, r, ry), r, ry)


def distances(z: Tensor, r: Tensor) -> Tensor:
    return torch.cdist(F.normalize(z, dim=1), F.normalize(r, dim=1))


def eager_hard(z: Tensor, y: Tensor, r: Tensor, ry: Tensor) -> Tensor:
    between, same = distances(z, r), y[:, None] == ry
    farthest = between.masked_fill(~same, float("-inf")).amax(dim=1)
    nearest = between.masked_fill(same, float("inf")).amin(dim=1)
    terms = (farthest - nearest + MARGIN).clamp_min(0)
    return terms.sum() / (terms > 0).sum()


def eager_pairs(z: Tensor, y: Tensor, r: Tensor, ry: Tensor) -> Tensor:
    between, same = distances(z, r), y[:, None] == ry
    near, far = between * same, (NEG_MARGIN - between).clamp_min(0) * ~same
    return near.sum() / (near > 0).sum().clamp_min(1) + far.sum() / (far > 0).sum().clamp_min(1)


def eager_softmax(z: Tensor, y: Tensor, r: Tensor, ry: Tensor) -> Tensor:
    logits, same = F.normalize(z, dim=1) @ F.normalize(r, dim=1).T / TEMPERATURE, y[:, None] == ry
    negatives = logits.masked_fill(same, float("-inf")).logsumexp(dim=1, keepdim=True)
    return (F.softplus(negatives - logits) * same).sum() / same.sum()


PROVIDERS: dict[str, dict[str, Callable[[Inputs], Any]]] = {
    "triplet batch_hard": {
        "sslfast": partial(call, partial(ours, "TripletLoss", MARGIN, mining="batch_hard")),
        "eager torch": partial(call, lambda: eager_hard),
        "pytorch-metric-learning BatchHardMiner": partial(call, their_hard),
    },
    "contrastive": {
        "sslfast": partial(call, partial(ours, "ContrastiveLoss", neg_margin=NEG_MARGIN)),
        "eager torch": partial(call, lambda: eager_pairs),
        "pytorch-metric-learning ContrastiveLoss": partial(
            call, partial(theirs, "ContrastiveLoss", neg_margin=NEG_MARGIN)
        ),
    },
    "multi_positive_nt_xent": {
        "sslfast": partial(call, partial(ours, "MultiPositiveNTXentLoss", TEMPERATURE)),
        "eager torch": partial(call, lambda: eager_softmax),
        "pytorch-metric-learning NTXentLoss": partial(call, partial(theirs, "NTXentLoss", temperature=TEMPERATURE)),
    },
}


def case(op: str, rows: int, references: int, width: int) -> Case:
    return step(
        f"{op} references",
        f"{rows}x{references}x{width} of {PER_LABEL}",
        (2 if op == "triplet batch_hard" else 4, "N M D", rows * references * width),
        make_inputs=partial(make_inputs, rows=rows, references=references, width=width),
        providers=PROVIDERS[op],
        check=check,
        devices=("cpu",),
    )


def cases() -> list[Case]:
    return [case(op, 32, references, 128) for op in PROVIDERS for references in (64, 1024)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
