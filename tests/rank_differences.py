"""What ranks that share a loss may not differ in: every option, and what is given beside the rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from sslfast import losses

Call = Callable[..., Any]
LABELS, IDS = torch.tensor([0, 1, 0]), torch.arange(3)
MASK = torch.ones(1, 3, dtype=torch.bool)
WAYS = ("all_gather", "ring")


def weight(z0: Tensor, z1: Tensor) -> Tensor:
    return z0[:, 0]


def patches(z: Tensor, teacher: Tensor | None = None, **options: Any) -> Tensor:
    teacher = z if teacher is None else teacher
    return losses.ibot_patch_loss(teacher, z, MASK, masks_weight=torch.ones(3), **options)


def balanced(z: Tensor, **options: Any) -> Tensor:
    return losses.dino_loss([z, z], [z, z], centering="sinkhorn_knopp", **options)


def with_queue(z: Tensor, size: int) -> Tensor:
    return losses.NTXentLoss(0.5, (size, 4) if size else 0, gather_distributed=True)(z, z)


def gathered(loss: Callable[..., Tensor], *others: Any, views: int = 2) -> Call:
    """A loss of views and of others, of all ranks unless an option says otherwise."""
    return lambda z, **options: loss(*[z] * views, *others, **{"gather_distributed": True, **options})


# Losses of rows and options, and for every option its value on rank 0 and on rank 1.
OPTIONS: dict[str, tuple[Call, dict[str, tuple[Any, Any]]]] = {
    "nt_xent_loss": (
        gathered(losses.nt_xent_loss),
        {"temperature": (0.5, 0.1), "tau_plus": (0.0, 0.1), "gather_distributed": WAYS},
    ),
    "dcl_loss": (gathered(losses.dcl_loss), {"temperature": (0.5, 0.1), "gather_distributed": WAYS}),
    "dclw_loss": (gathered(losses.dclw_loss), {"sigma": (0.5, 0.2), "gather_distributed": WAYS}),
    "negative_mises_fisher_weights": (gathered(losses.negative_mises_fisher_weights), {"sigma": (0.5, 0.2)}),
    "clip_loss": (
        gathered(losses.clip_loss),
        {
            "normalize": (True, False),
            "margin": (None, 0.1),
            "label_smoothing": (0.1, 0.0),
            "tau_plus": (0.1, 0.0),
            "logit_scale": (2.0, 3.0),
            "gather_distributed": WAYS,
        },
    ),
    "siglip_loss": (
        gathered(losses.siglip_loss),
        {
            "normalize": (True, False),
            "margin": (None, 0.1),
            "label_smoothing": (0.0, 0.1),
            "logit_scale": (2.0, 3.0),
            "logit_bias": (1.0, 0.0),
            "gather_distributed": WAYS,
        },
    ),
    "supcon_loss": (
        gathered(losses.supcon_loss, LABELS, views=1),
        {"temperature": (0.1, 0.2), "gather_distributed": WAYS},
    ),
    "info_nce_loss": (
        gathered(losses.info_nce_loss),
        {
            "reduction": ("mean", "none"),
            "query_negatives": (True, False),
            "key_negatives": (False, True),
            "key_to_query_negatives": (False, True),
            "symmetric": (False, True),
            "normalize": (True, False),
            "margin": (None, 0.1),
            "tau_plus": (0.1, 0.0),
            "label_smoothing": (0.0, 0.1),
            "temperature": (0.1, 0.5),
            "gather_distributed": WAYS,
        },
    ),
    "info_nce_loss, hardness": (
        lambda z, **options: info_nce(z, **{"hardness_mode": "all_negatives", "hardness_strength": 1.0, **options}),
        {"hardness_mode": ("all_negatives", "in_batch_negatives"), "hardness_strength": (1.0, 2.0)},
    ),
    "multi_positive_nt_xent_loss": (
        gathered(losses.multi_positive_nt_xent_loss, LABELS, views=1),
        {"temperature": (0.1, 0.2), "gather_distributed": WAYS},
    ),
    "triplet_loss": (
        gathered(losses.triplet_loss, LABELS, views=1),
        {
            "margin": (0.1, 0.2),
            "swap": (False, True),
            "smooth_loss": (False, True),
            "triplets_per_anchor": ("all", 2),
            "mining": ("batch_all", "batch_hard"),
            "distance": ("euclidean", "cosine"),
            "normalize": (True, False),
            "reduction": ("mean", "sum"),
        },
    ),
    "triplet_loss, hardest": (
        functools.partial(gathered(losses.triplet_loss, LABELS, views=1), mining="batch_hard"),
        {"gather_distributed": WAYS, "swap": (True, False)},
    ),
    "contrastive_loss": (
        gathered(losses.contrastive_loss, LABELS, views=1),
        {
            "pos_margin": (0.0, 0.1),
            "neg_margin": (1.0, 2.0),
            "squared": (False, True),
            "reduction": ("mean", "sum"),
            "gather_distributed": WAYS,
        },
    ),
    "barlow_twins_loss": (gathered(losses.barlow_twins_loss), {"lambda_param": (0.1, 0.2)}),
    "vicreg_loss": (
        gathered(losses.vicreg_loss),
        {"lambda_param": (25.0, 1.0), "mu_param": (25.0, 1.0), "nu_param": (1.0, 2.0), "eps": (0.1, 0.2)},
    ),
    "swav_loss": (
        lambda z, **options: losses.swav_loss([z, z], [z], sinkhorn_gather_distributed=True, **options),
        {"temperature": (0.1, 0.2), "sinkhorn_iterations": (3, 2), "sinkhorn_epsilon": (0.05, 0.1)},
    ),
    "sinkhorn_knopp": (gathered(losses.sinkhorn_knopp, views=1), {"iterations": (1, 2), "epsilon": (0.05, 0.1)}),
    "msn_loss": (
        gathered(losses.msn_loss, views=3),
        {
            "temperature": (0.1, 0.2),
            "target_sharpen_temperature": (0.25, 0.5),
            "sinkhorn_iterations": (2, 3),
            "regularization_weight": (0.0, 1.0),
        },
    ),
    "dino_loss": (
        lambda z, **options: losses.dino_loss([z, z], [z, z], **{"gather_distributed": True, **options}),
        {"centering": ("sinkhorn_knopp", "centering"), "student_temp": (0.1, 0.2), "teacher_temp": (0.04, 0.07)},
    ),
    "dino_loss, balanced": (
        balanced,
        {"gather_distributed": (True, False), "sinkhorn_iterations": (3, 2), "teacher_temp": (0.04, 0.07)},
    ),
    "ibot_patch_loss": (
        functools.partial(patches, centering="sinkhorn_knopp"),
        {"gather_distributed": (False, True), "sinkhorn_iterations": (1, 2)},
    ),
}

# The call with whether it is rank 1, and the error of both; none where they may differ.
TENSOR, GRADED = "a 2-d tensor", "a 2-d tensor that takes a gradient"


def alike(name: str, first: object, second: object) -> str:
    return f"{name} must be alike on every rank, got {first} on rank 0 and {second} on rank 1"


def info_nce(z: Tensor, **options: Any) -> Tensor:
    return losses.info_nce_loss(z, z, gather_distributed=True, **options)


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


def _by_option() -> Iterator[tuple[str, tuple[Callable[[Tensor, bool], Any], str]]]:
    required = {"clip_loss": {"logit_scale": 2.0}, "siglip_loss": {"logit_scale": 2.0}}
    for loss, (call, options) in OPTIONS.items():
        for name, values in options.items():

            def differ(z: Tensor, odd: bool, call: Call = call, loss: str = loss, own: Any = (name, values)) -> Any:
                return call(z, **{**required.get(loss, {}), own[0]: own[1][odd]})

            yield f"{loss}, {name}", (differ, alike(f"{loss.split(',')[0]}: {name}", *map(repr, values)))


DIFFERENT |= dict(_by_option())
