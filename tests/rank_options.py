"""The options that ranks which share a loss may not differ in."""

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
def info_nce(z: Tensor, **options: Any) -> Tensor:
    return losses.info_nce_loss(z, z, gather_distributed=True, **options)


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
            "gather_distributed": WAYS,
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


def alike(name: str, first: object, second: object) -> str:
    return f"{name} must be alike on every rank, got {first} on rank 0 and {second} on rank 1"


def _by_option() -> Iterator[tuple[str, tuple[Callable[[Tensor, bool], Any], str]]]:
    required = {"clip_loss": {"logit_scale": 2.0}, "siglip_loss": {"logit_scale": 2.0}}
    for loss, (call, options) in OPTIONS.items():
        for name, values in options.items():

            def differ(z: Tensor, odd: bool, call: Call = call, loss: str = loss, own: Any = (name, values)) -> Any:
                return call(z, **{**required.get(loss, {}), own[0]: own[1][odd]})

            yield f"{loss}, {name}", (differ, alike(f"{loss.split(',')[0]}: {name}", *map(repr, values)))


# The call with whether it is rank 1, and the error of both.
BY_OPTION = dict(_by_option())
