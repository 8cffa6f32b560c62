"""The triplet loss, forward and backward, over all triplets, the semi-hard and the hardest, beside
pytorch-metric-learning's and the formulas in torch: triplets as an N x N x N tensor, the hardest from an N x N one.

Floor, N rows of D numbers: 6 N^2 D FLOPs over all triplets (the distances, and the product of their weights with the
embeddings on both sides); 2 N^2 D for the hardest, whose gradients are thin.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case, compiled
from benchmarks.memory import require_memory

MARGIN = 0.2
Inputs = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def make_inputs(device: torch.device, *, rows: int, width: int, per_label: int) -> Inputs:
    """Rows of a label lie together, as samples of a class do."""
    labels = torch.arange(rows).div(per_label, rounding_mode="floor")[torch.randperm(rows)]
    embeddings = torch.randn(int(labels.max()) + 1, width)[labels] + 1.5 * torch.randn(rows, width)
    return embeddings.to(device).requires_grad_(), labels.to(device)


def ours(mining: str) -> Loss:
    from sslfast.losses import TripletLoss

    return TripletLoss(MARGIN, mining=mining)


def eager_all(embeddings: Tensor, labels: Tensor) -> Tensor:
    require_memory(12 * len(labels) ** 3, "three N x N x N tensors")
    distances = torch.cdist(*[torch.nn.functional.normalize(embeddings, dim=1)] * 2)
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    terms = (distances[:, :, None] - distances[:, None, :] + MARGIN).clamp_min(0)
    terms = terms * (positive[:, :, None] & ~same[:, None, :])
    return terms.sum() / (terms > 0).sum()


def eager_semi_hard(embeddings: Tensor, labels: Tensor) -> Tensor:
    require_memory(12 * len(labels) ** 3, "three N x N x N tensors")
    distances = torch.cdist(*[torch.nn.functional.normalize(embeddings, dim=1)] * 2)
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    gap = distances[:, None, :] - distances[:, :, None]
    taken = positive[:, :, None] & ~same[:, None, :] & (gap > 0)
    terms = (MARGIN - gap).clamp_min(0) * taken
    return terms.sum() / (terms > 0).sum()


def eager_hard(embeddings: Tensor, labels: Tensor) -> Tensor:
    distances = torch.cdist(*[torch.nn.functional.normalize(embeddings, dim=1)] * 2)
    same = labels[:, None] == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    farthest = distances.masked_fill(~same | itself, float("-inf")).amax(dim=1)
    nearest = distances.masked_fill(same, float("inf")).amin(dim=1)
    terms = (farthest - nearest + MARGIN).clamp_min(0)
    return terms.sum() / (terms > 0).sum()


def their_all() -> Loss:
    criterion = peers.load("pytorch_metric_learning.losses").TripletMarginLoss(MARGIN)

    def loss(embeddings: Tensor, labels: Tensor) -> Tensor:
        same = torch.bincount(labels)[labels]
        triplets = int(((same - 1) * (len(labels) - same)).sum())
        require_memory(
            2 * 24 * triplets + len(labels) ** 2 * 16, f"the indices of {triplets / 1e6:.3g} million triplets"
        )
        return criterion(embeddings, labels)

    return loss


def their_hard() -> Loss:
    miner = peers.load("pytorch_metric_learning.miners").BatchHardMiner()
    criterion = peers.load("pytorch_metric_learning.losses").TripletMarginLoss(MARGIN)
    return lambda embeddings, labels: criterion(embeddings, labels, miner(embeddings, labels))


def their_semi_hard() -> Loss:
    miner = peers.load("pytorch_metric_learning.miners").TripletMarginMiner(MARGIN, type_of_triplets="semihard")
    criterion = peers.load("pytorch_metric_learning.losses").TripletMarginLoss(MARGIN)
    return lambda embeddings, labels: criterion(embeddings, labels, miner(embeddings, labels))


def call(find: Callable[[], Loss], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradient of the embeddings."""
    loss_function = find()

    def forward_and_backward() -> tuple[Tensor, Tensor]:
        loss = loss_function(*inputs)
        return loss.detach(), torch.autograd.grad(loss, inputs[0])[0]

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor]) -> None:
    """The same loss and the same gradient."""
    difference = abs(float(theirs[0]) - float(ours[0]))
    assert difference <= 1e-4 * abs(float(ours[0])), f"loss {float(theirs[0]):.6g}, ours {float(ours[0]):.6g}"
    relative = float((theirs[1] - ours[1]).abs().max() / ours[1].abs().max())
    assert relative <= 1e-3, f"the gradient differs by {relative:.1e} of its largest element"


PROVIDERS = {
    "batch_all": {
        "sslfast": partial(call, lambda: ours("batch_all")),
        "eager torch": partial(call, lambda: eager_all),
        "pytorch-metric-learning TripletMarginLoss": partial(call, their_all),
    },
    "semi_hard": {
        "sslfast": partial(call, lambda: ours("semi_hard")),
        "eager torch": partial(call, lambda: eager_semi_hard),
        "pytorch-metric-learning TripletMarginMiner": partial(call, their_semi_hard),
    },
    "batch_hard": {
        "sslfast": partial(call, lambda: ours("batch_hard")),
        "eager torch": partial(call, lambda: eager_hard),
        "torch.compile": partial(call, lambda: compiled(eager_hard)),
        "pytorch-metric-learning BatchHardMiner": partial(call, their_hard),
    },
}


def step(op: str, size: str, floor: tuple[int, str, int], **options: Any) -> Case:
    """Forward and backward in float32, with a floor of so many FLOPs for each of some product of sizes."""
    factor, product, number = floor
    return Case(
        op=op,
        size=size,
        dtype="fp32",
        mode="forward+backward",
        work=factor * number,
        unit="FLOP",
        formula=f"{factor} {product}",
        **options,
    )


def among_rows(op: str, factor: int, rows: int, width: int, per_label: int, **options: Any) -> Case:
    """A loss of rows against one another, with a floor of ``factor`` N^2 D FLOPs."""
    return step(
        op,
        f"{rows}x{width} of {per_label}",
        (factor, "N^2 D", rows**2 * width),
        make_inputs=partial(make_inputs, rows=rows, width=width, per_label=per_label),
        check=check,
        **options,
    )


def case(mining: str, rows: int, width: int, per_label: int, **options: Any) -> Case:
    providers = {name: find for name, find in PROVIDERS[mining].items() if rows >= 256 or name != "torch.compile"}
    factor = 2 if mining == "batch_hard" else 6
    return among_rows(f"triplet {mining}", factor, rows, width, per_label, providers=providers, **options)


def cases() -> list[Case]:
    return [
        *(case(mining, rows, 128, 4, devices=("cpu",)) for mining in PROVIDERS for rows in (32, 64)),
        case("batch_hard", 128, 128, 4, devices=("cpu",)),
        case("batch_all", 256, 128, 4, quick=True),
        case("semi_hard", 256, 128, 4, devices=("cpu",)),
        case("batch_all", 512, 128, 4, memory=True),
        case("batch_all", 4096, 128, 64, memory=True),
        case("batch_hard", 256, 128, 4, quick=True),
        case("batch_hard", 4096, 128, 4, memory=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
