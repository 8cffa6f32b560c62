"""What ranks that share a loss may not differ in: every option, and what is given beside the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from rank_options import BY_OPTION, IDS, LABELS, alike, balanced, gathered, info_nce, weight, with_queue
from torch import Tensor

from sslfast import losses

# The call with whether it is rank 1, and the error of both; none where they may differ.
TENSOR, GRADED = "a 2-d tensor", "a 2-d tensor that takes a gradient"


def clip(z: Tensor, **options: Any) -> Tensor:
    return losses.clip_loss(z, z, 2.0, gather_distributed=True, **options)


def siglip(z: Tensor, **options: Any) -> Tensor:
    return losses.siglip_loss(z, z, 2.0, gather_distributed=True, **options)


def of_scales(z: Tensor, shaped: Callable[[Tensor], Tensor]) -> None:
    """Losses with learned numbers, forward and backward; the gradient is that of numbers in no dimension."""
    scale = torch.tensor(2.0, requires_grad=True)
    for loss in (
        lambda by: losses.clip_loss(z, -z, by, gather_distributed=True),
        lambda by: losses.siglip_loss(z, -z, by, by - 1.0, gather_distributed="ring"),
        lambda by: info_nce(z, temperature=by),
    ):
        found, expected = (torch.autograd.grad(loss(by), scale) for by in (shaped(scale), scale))
        torch.testing.assert_close(found, expected)


def ids(given: bool) -> dict[str, Tensor | None]:
    return dict.fromkeys(("query_ids", "key_ids"), IDS if given else None)


def weighted_on_one(z: Tensor, odd: bool) -> None:
    own = torch.ones(3) if odd else LABELS + 1.0
    for reduction in ("mean", "sum"):
        some, every = (info_nce(z, weights=w, reduction=reduction) for w in (None if odd else own, own))
        torch.testing.assert_close(some, every)


def prefixes(z: Tensor, *dims: tuple[int, ...]) -> Tensor:
    """NT-Xent of prefixes of prefixes, the outermost last."""
    loss: Any = losses.NTXentLoss(gather_distributed=True)
    for each in dims:
        loss = losses.MatryoshkaLoss(loss, each)
    found: Tensor = loss(z, z)
    return found


def memory(z: Tensor, size: int = 8, loss: Any = None, mask: Tensor | None = None, times: int = 1) -> Tensor:
    criterion = losses.CrossBatchMemory(loss or losses.SupConLoss(), 4, size, gather_distributed=True)
    return [criterion(z, LABELS, enqueue_mask=mask) for _ in range(times)][-1]


DIFFERENT: dict[str, tuple[Callable[[Tensor, bool], Any], str]] = {
    "another loss": (
        lambda z, odd: gathered(losses.dcl_loss if odd else losses.nt_xent_loss)(z),
        alike("nt_xent_loss: the loss", "nt_xent_loss", "dcl_loss"),
    ),
    "a memory bank or none": (
        lambda z, odd: with_queue(z, 8 * odd),
        alike("nt_xent_loss: memory_bank_size", "nothing", "(8, 4)"),
    ),
    "memory banks of two sizes in a loss": (
        lambda z, odd: with_queue(z, 8 + odd),
        alike("info_nce_loss: memory_bank_size", "(8, 4)", "(9, 4)"),
    ),
    "memory banks of two sizes": (
        lambda z, odd: losses.MemoryBank((8 + odd, 4), True).enqueue(z),
        alike("MemoryBank: size", "(8, 4)", "(9, 4)"),
    ),
    "a gradient on one rank": (
        lambda z, odd: gathered(losses.nt_xent_loss)(z.clone().requires_grad_(odd)),
        alike("nt_xent_loss: z0", TENSOR, GRADED),
    ),
    "no_grad on one rank": (
        lambda z, odd: torch.set_grad_enabled(not odd)(gathered(losses.clip_loss, 2.0))(z.clone().requires_grad_()),
        alike("clip_loss: image_features", GRADED, TENSOR),
    ),
    "a gradient on one rank, made in forward": (
        lambda z, odd: gathered(losses.multi_positive_nt_xent_loss, LABELS, views=1)(z.clone().requires_grad_(odd)),
        alike("multi_positive_nt_xent_loss: embeddings", TENSOR, GRADED),
    ),
    "no_grad on one rank, a gradient made in forward": (
        lambda z, odd: torch.set_grad_enabled(not odd)(gathered(losses.contrastive_loss, LABELS, views=1))(
            z.clone().requires_grad_()
        ),
        alike("contrastive_loss: embeddings", GRADED, TENSOR),
    ),
    "a gradient on one rank, sent home": (
        lambda z, odd: losses.triplet_loss(
            z.clone().requires_grad_(odd), LABELS, mining="batch_hard", gather_distributed="ring"
        ),
        alike("triplet_loss: embeddings", TENSOR, GRADED),
    ),
    "a scale that is learned": (
        lambda z, odd: losses.clip_loss(
            z, z, torch.tensor(2.0, requires_grad=True) if odd else 2.0, gather_distributed="ring"
        ),
        alike("clip_loss: logit_scale", 2.0, "a tensor that takes a gradient"),
    ),
    "scales of other shapes": (lambda z, odd: of_scales(z, lambda scale: scale if odd else scale.reshape(1)), ""),
    "a scale that is learned on one rank": (
        lambda z, odd: of_scales(z, lambda scale: scale.detach() if odd else scale),
        alike("clip_loss: logit_scale", "a tensor that takes a gradient", "a tensor"),
    ),
    "zeros of both signs": (
        lambda z, odd: losses.siglip_loss(z, z, 2.0, -0.0 if odd else 0.0, gather_distributed=True),
        "",
    ),
    "weights of prefixes, zeros of both signs": (
        lambda z, odd: losses.MatryoshkaLoss(losses.DCLLoss(gather_distributed=True), (2, 4), (1, -0.0 if odd else 0))(
            z, z
        ),
        "",
    ),
    "weight_fn or none": (
        lambda z, odd: losses.dcl_loss(z, z, 0.1, weight if odd else None, gather_distributed=True),
        alike("dcl_loss: weight_fn", "None", "a function"),
    ),
    "in_batch": (
        lambda z, odd: info_nce(z, queue=z, in_batch=odd),
        alike("info_nce_loss: in_batch", False, True),
    ),
    "queue": (
        lambda z, odd: info_nce(z, queue=None if odd else z, in_batch=True),
        alike("info_nce_loss: queue", TENSOR, None),
    ),
    "negative_keys": (
        lambda z, odd: info_nce(z, negative_keys=z.unsqueeze(1) if odd else z),
        alike("info_nce_loss: negative_keys", TENSOR, "a 3-d tensor"),
    ),
    "positives": (
        lambda z, odd: info_nce(z, positives=IDS if odd else None),
        alike("info_nce_loss: positives", None, "a 1-d tensor"),
    ),
    "query_ids": (
        lambda z, odd: info_nce(z, **ids(odd)),
        alike("info_nce_loss: query_ids", None, "a 1-d tensor"),
    ),
    "image_ids": (
        lambda z, odd: siglip(z, **dict.fromkeys(("image_ids", "text_ids"), IDS if odd else None)),
        alike("siglip_loss: image_ids", None, "a 1-d tensor"),
    ),
    "ids of CLIP": (
        lambda z, odd: clip(z, **dict.fromkeys(("image_ids", "text_ids"), IDS if odd else None)),
        alike("clip_loss: image_ids", None, "a 1-d tensor"),
    ),
    "negatives of CLIP": (
        lambda z, odd: clip(z, negative_keys=z.unsqueeze(1) if odd else z),
        alike("clip_loss: negative_keys", TENSOR, "a 3-d tensor"),
    ),
    "hard negatives of CLIP on one rank": (
        lambda z, odd: clip(z, negative_keys=z.unsqueeze(1) if odd else None),
        alike("clip_loss: negative_keys", None, "a 3-d tensor"),
    ),
    "hard negatives of CLIP of other numbers": (lambda z, odd: clip(z, negative_keys=z[: 1 + odd]), ""),
    "hard negatives of SigLIP": (
        lambda z, odd: siglip(z, negative_keys=z.unsqueeze(1) if odd else None),
        alike("siglip_loss: negative_keys", None, "a 3-d tensor"),
    ),
    "hard negatives of SigLIP of other numbers": (
        lambda z, odd: siglip(z, negative_keys=z.unsqueeze(1).repeat(1, 1 + odd, 1)),
        "",
    ),
    "weights, 1 where not given": (lambda z, odd: weighted_on_one(z, odd), ""),
    "a temperature that is a tensor": (
        lambda z, odd: info_nce(z, temperature=0.5 if odd else torch.tensor([0.5])),
        alike("info_nce_loss: temperature", "a tensor", 0.5),
    ),
    "hard negatives of other numbers": (lambda z, odd: info_nce(z, negative_keys=z[: 1 + odd]), ""),
    "memory budgets": (lambda z, odd: info_nce(z, memory_budget=int(odd)), ""),
    "CrossBatchMemory, enqueue_mask": (
        lambda z, odd: memory(z, mask=LABELS > 0 if odd else None),
        alike("CrossBatchMemory: enqueue_mask", None, "a 1-d tensor"),
    ),
    "CrossBatchMemory, size": (
        lambda z, odd: memory(z, 8 + odd),
        alike("CrossBatchMemory: memory_size", 8, 9),
    ),
    "CrossBatchMemory, loss": (
        lambda z, odd: memory(z, loss=losses.TripletLoss() if odd else losses.SupConLoss()),
        alike("CrossBatchMemory: loss", "SupConLoss", "TripletLoss"),
    ),
    "MatryoshkaLoss, dims": (
        lambda z, odd: losses.MatryoshkaLoss(losses.DCLLoss(gather_distributed="ring"), (2, 4)[: 2 - odd])(z, z),
        alike("dcl_loss: MatryoshkaLoss's dims", (2, 4), (2,)),
    ),
    "MatryoshkaLoss around another, dims": (
        lambda z, odd: prefixes(z, (1, 2), (2, 4)[: 2 - odd]),
        alike("nt_xent_loss: MatryoshkaLoss's dims", "(2, 4) around (1, 2)", "(2,) around (1, 2)"),
    ),
    "MatryoshkaLoss on one rank": (
        lambda z, odd: (
            losses.MatryoshkaLoss(losses.CLIPLoss(world_size=2), (4,)) if odd else losses.CLIPLoss(world_size=2)
        )(z, z, 2.0),
        alike("clip_loss: MatryoshkaLoss's dims", "nothing", (4,)),
    ),
    "swav, crops": (
        lambda z, odd: losses.swav_loss([z] * (2 + odd), [], sinkhorn_gather_distributed=True),
        alike("swav_loss: len(high_resolution_outputs)", 2, 3),
    ),
    "swav, queue": (
        lambda z, odd: losses.swav_loss([z, z], [], [z, z.double() if odd else z], sinkhorn_gather_distributed=True),
        alike("swav_loss: the dtypes of sums", ["float32"] * 3, ["float32", "float32", "float64"]),
    ),
    "dino, teacher": (
        lambda z, odd: losses.dino_loss(
            [z.double() if odd else z] * 2,
            [z.double()] * 2,
            centering="sinkhorn_knopp",
            gather_distributed=True,
        ),
        alike("dino_loss: the dtypes of sums", ["float64", "float32"], ["float64"] * 2),
    ),
    "dino, center": (
        lambda z, odd: losses.dino_loss([z, z], [z, z], z[0] if odd else None, gather_distributed=True),
        alike("dino_loss: whether there is a center", False, True),
    ),
    "dino, student alone": (
        lambda z, odd: losses.dino_loss([z, z], [z.double() if odd else z] * 2, centering="sinkhorn_knopp"),
        "",
    ),
    "dino, student's temperature alone": (lambda z, odd: balanced(z, student_temp=0.2 if odd else 0.1), ""),
}

DIFFERENT |= BY_OPTION
