"""Contrastive losses and their options as functions of two views (N, D): what has to run on a GPU without a wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sslfast import losses

Call = Callable[[Tensor, Tensor], Tensor]


def numbers(z: Tensor, most: int) -> Tensor:
    """Labels or ids of the rows, of which each is there several times."""
    return torch.arange(len(z), device=z.device) % most


def hard(z0: Tensor, z1: Tensor) -> Tensor:
    """Three hard negatives of each row of ``z0``, (N, 3, D)."""
    return torch.stack([z1.roll(k, 0) + 0.5 * z0 for k in (1, 2, 3)], dim=1)


def of_labels(loss: Callable[..., Tensor], **options: Any) -> Call:
    def call(z0: Tensor, z1: Tensor) -> Tensor:
        z = torch.cat([z0, z1])
        return loss(z, numbers(z, 7), **options)

    return call


def of_references(loss: Callable[..., Tensor]) -> Call:
    return lambda z0, z1: loss(z0, numbers(z0, 7), ref_emb=z1, ref_labels=numbers(z1, 5))


def info_nce(**options: Any) -> Call:
    return lambda z0, z1: losses.info_nce_loss(z0, z1, **options)


def siglip(**options: Any) -> Call:
    return lambda z0, z1: losses.siglip_loss(z0, z1, 10.0, -5.0, normalize=True, **options)


def info_nce_ids(z0: Tensor, z1: Tensor) -> Tensor:
    return losses.info_nce_loss(z0, z1, query_ids=numbers(z0, 11), key_ids=numbers(z1, 11))


def info_nce_queue(z0: Tensor, z1: Tensor) -> Tensor:
    return losses.info_nce_loss(z0, z1.detach(), queue=z1.detach().roll(1, 0)[:13])


def info_nce_all(z0: Tensor, z1: Tensor) -> Tensor:
    kinds = {"in_batch": True, "query_negatives": True, "key_negatives": True, "key_to_query_negatives": True}
    return losses.info_nce_loss(z0, z1, hard(z0, z1), **kinds, label_smoothing=0.1)


def info_nce_hard_hardness(z0: Tensor, z1: Tensor) -> Tensor:
    options = {"hardness_mode": "hard_negatives", "hardness_strength": 5.0}
    return losses.info_nce_loss(z0, z1, hard(z0, z1), in_batch=True, **options)


def all_options(loss: Callable[..., Tensor], *scales: float) -> Call:
    def call(z0: Tensor, z1: Tensor) -> Tensor:
        ids = {"image_ids": numbers(z0, 11), "text_ids": numbers(z1, 11)}
        options = {"margin": 0.2, "label_smoothing": 0.1, "negative_keys": hard(z0, z1)}
        return loss(z0, z1, *scales, normalize=True, **ids, **options)

    return call


CALLS: dict[str, Call] = {
    "nt_xent": lambda z0, z1: losses.nt_xent_loss(z0, z1, 0.1),
    "dcl": losses.dcl_loss,
    "clip": lambda z0, z1: losses.clip_loss(z0, z1, 10.0, normalize=True),
    "clip, all options": all_options(losses.clip_loss, 10.0),
    "supcon": of_labels(losses.supcon_loss),
    "supcon, references": of_references(losses.supcon_loss),
    "multi-positive": of_labels(losses.multi_positive_nt_xent_loss),
    "multi-positive, references": of_references(losses.multi_positive_nt_xent_loss),
    "triplet, all": of_labels(losses.triplet_loss, margin=0.3),
    "triplet, hard": of_labels(losses.triplet_loss, margin=0.3, mining="batch_hard"),
    "triplet, semi-hard": of_labels(losses.triplet_loss, margin=0.3, mining="semi_hard"),
    "contrastive": of_labels(losses.contrastive_loss),
    "contrastive, references": of_references(losses.contrastive_loss),
    "info_nce": info_nce(),
    "info_nce, queue": info_nce_queue,
    "info_nce, margin": info_nce(margin=0.1),
    "info_nce, ids": info_nce_ids,
    "info_nce, smooth": info_nce(label_smoothing=0.1),
    "info_nce, symmetric": info_nce(symmetric=True, tau_plus=0.05, temperature=0.5),
    "info_nce, hardness": info_nce(hardness_mode="in_batch_negatives", hardness_strength=5.0),
    "info_nce, hardness of hard negatives": info_nce_hard_hardness,
    "info_nce, all kinds": info_nce_all,
    "siglip": siglip(),
    "siglip, smooth": siglip(label_smoothing=0.1),
    "siglip, all options": all_options(losses.siglip_loss, 10.0, -5.0),
    "matryoshka": losses.MatryoshkaLoss(losses.NTXentLoss(0.1), dims=(4, 8)),
}
