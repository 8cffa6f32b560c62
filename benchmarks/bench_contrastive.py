"""The contrastive loss with margins, forward and backward, beside pytorch-metric-learning's and the formula in torch,
from an N x N matrix of distances.

Floor, N rows of D numbers: 3 N^2 D FLOPs: half of the distances, which are symmetric, and the product of their weights
with the embeddings on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_triplet import among_rows, call
from benchmarks.harness import Case, compiled

NEG_MARGIN = 1.4  # many terms, so that those about 0 count for little
Loss = Callable[[Tensor, Tensor], Tensor]


def ours() -> Loss:
    from sslfast.losses import ContrastiveLoss

    return ContrastiveLoss(neg_margin=NEG_MARGIN)


def eager(embeddings: Tensor, labels: Tensor) -> Tensor:
    distances = torch.cdist(*[torch.nn.functional.normalize(embeddings, dim=1)] * 2)
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    near = distances * positive
    far = (NEG_MARGIN - distances).clamp_min(0) * ~same
    return near.sum() / (near > 0).sum().clamp_min(1) + far.sum() / (far > 0).sum().clamp_min(1)


def theirs() -> Loss:
    return peers.load("pytorch_metric_learning.losses").ContrastiveLoss(neg_margin=NEG_MARGIN)


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda: eager),
    "torch.compile": partial(call, lambda: compiled(eager)),
    "pytorch-metric-learning ContrastiveLoss": partial(call, theirs),
}


def case(rows: int, width: int, per_label: int, **options: Any) -> Case:
    providers = {name: find for name, find in PROVIDERS.items() if rows >= 256 or name != "torch.compile"}
    return among_rows("contrastive", 3, rows, width, per_label, providers=providers, **options)


def cases() -> list[Case]:
    return [
        *(case(rows, 128, 4, devices=("cpu",)) for rows in (32, 64, 128)),
        case(256, 128, 4, quick=True),
        case(4096, 128, 4, memory=True),
        case(4096, 128, 256, memory=True),
        case(4096, 512, 4),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
