"""NT-Xent with many positives, forward and backward, beside pytorch-metric-learning's NTXentLoss, which compares all
positive pairs with all negative ones, and the formula with one product and masks.

Floor, N rows of D numbers: 4 N^2 D FLOPs where S is not kept (half of the symmetric S forward and again backward, and
the full product of its gradient with the embeddings); positive pairs are few.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_triplet import Inputs, Loss, among_rows, call
from benchmarks.harness import Case, compiled
from benchmarks.memory import require_memory

TEMPERATURE = 0.2


def ours() -> Loss:
    from sslfast.losses import MultiPositiveNTXentLoss

    return MultiPositiveNTXentLoss(TEMPERATURE)


def eager(embeddings: Tensor, labels: Tensor) -> Tensor:
    z = F.normalize(embeddings, dim=1)
    logits = z @ z.T / TEMPERATURE
    same = labels[:, None] == labels
    negatives = logits.masked_fill(same, float("-inf")).logsumexp(dim=1, keepdim=True)
    positive = same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    return (F.softplus(negatives - logits) * positive).sum() / positive.sum()


def theirs() -> Loss:
    criterion = peers.load("pytorch_metric_learning.losses").NTXentLoss(TEMPERATURE)

    def loss(embeddings: Tensor, labels: Tensor) -> Tensor:
        same = torch.bincount(labels)[labels]
        positive, negative = int((same - 1).sum()), int((len(labels) - same).sum())
        require_memory(6 * 4 * positive * negative, f"{positive} positive by {negative} negative pairs, six times")
        return criterion(embeddings, labels)

    return loss


PROVIDERS: dict[str, Callable[[Inputs], Any]] = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda: eager),
    "torch.compile": partial(call, lambda: compiled(eager)),
    "pytorch-metric-learning NTXentLoss": partial(call, theirs),
}


def case(rows: int, width: int, per_label: int, **options: Any) -> Case:
    providers = {name: find for name, find in PROVIDERS.items() if rows >= 128 or name != "torch.compile"}
    return among_rows("multi_positive_nt_xent", 4, rows, width, per_label, providers=providers, **options)


def cases() -> list[Case]:
    return [
        case(32, 128, 4, devices=("cpu",)),
        case(64, 128, 4, devices=("cpu",)),
        case(128, 128, 4, quick=True, memory=True),
        case(256, 128, 4),
        case(4096, 128, 4, memory=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
