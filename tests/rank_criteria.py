"""Losses to compute over several ranks, each called alike, for test_distributed.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import losses
from sslfast.distributed import gather_rows, mean_over_ranks, world_size

# Uneven, with shards of 1; 2 and 4 have blocks that two ranks share. 4 is even where work and memory are counted.
OUT = 4  # width of the views

# What a criterion takes: views, labels, scale, bias, strategy.
Criterion = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, str], Tensor]


def clip(z0: Tensor, z1: Tensor, _: Tensor, scale: Tensor, bias: Tensor, strategy: str) -> Tensor:
    world = 1 if strategy == "local" else world_size()
    module = losses.CLIPLoss(world_size=world, strategy="all_gather" if strategy == "local" else strategy)
    return module(F.normalize(z0, dim=1), F.normalize(z1, dim=1), scale, bias)


def clip_options(z0: Tensor, z1: Tensor, y: Tensor, s: Tensor, t: Tensor, strategy: str, **options: Any) -> Tensor:
    """With ``hard`` for negatives of every image's own or of all, and ``ids`` for those of the labels."""
    kinds = {"": None, "each": torch.stack([z1 + 1, z1 - z0], dim=1), "all": torch.ones(2, OUT, dtype=z0.dtype)}
    ids = {"image_ids": y, "text_ids": (y + 1) % 3} if options.pop("ids", False) else {}
    options |= {"normalize": True, "negative_keys": kinds[options.pop("hard", "")], "gather_distributed": strategy}
    return losses.clip_loss(z0, z1, s, t, **ids, **options)


def siglip(z0: Tensor, z1: Tensor, _: Tensor, scale: Tensor, bias: Tensor, strategy: str) -> Tensor:
    world = 1 if strategy == "local" else world_size()
    module = losses.SigLIPLoss(world_size=world, dist_impl="bidir" if strategy == "ring" else None)
    return module(F.normalize(z0, dim=1), F.normalize(z1, dim=1), scale, bias)


def siglip_options(z0: Tensor, z1: Tensor, y: Tensor, s: Tensor, t: Tensor, strategy: str, **options: Any) -> Tensor:
    """With ``hard`` for negatives of every image's own, and ``ids`` for those of the labels."""
    hard = torch.stack([z1 + 1, z1 - z0], dim=1) if options.pop("hard", False) else None
    ids = {"image_ids": y, "text_ids": (y + 1) % 3} if options.pop("ids", False) else {}
    options |= {"normalize": True, "gather_distributed": strategy}
    return losses.siglip_loss(z0, z1, s, t, negative_keys=hard, **ids, **options)


def info_nce(z0: Tensor, z1: Tensor, _: Tensor, scale: Tensor, bias: Tensor, strategy: str, **options: Any) -> Tensor:
    """With a temperature that learns; ``hard`` for negatives of every query's own, ``detach`` for locked keys."""
    hard = torch.stack([z1 + 1, z1 - z0], dim=1) if options.pop("hard", False) else None
    z1 = z1.detach() if options.pop("detach", False) else z1
    return losses.info_nce_loss(z0, z1, hard, 1 / scale, gather_distributed=strategy, **options)


def info_nce_ids(z0: Tensor, z1: Tensor, labels: Tensor, scale: Tensor, bias: Tensor, strategy: str) -> Tensor:
    return info_nce(z0, z1, labels, scale, bias, strategy, query_ids=labels, key_ids=labels, symmetric=True)


def own_weights(z0: Tensor, z1: Tensor) -> Tensor:
    return 2 - (z0 * z1).sum(dim=1)  # with a gradient


def with_labels(make: Callable[[str], nn.Module], *, widths: bool = False) -> Criterion:
    """A loss with labels of both views, one after the other, with integers of several widths."""

    def loss(z0: Tensor, z1: Tensor, labels: Tensor, _: Tensor, __: Tensor, strategy: str) -> Tensor:
        criterion = make(strategy)
        narrow = widths and strategy != "local" and dist.get_rank() % 2 == 1
        return criterion(z0, labels) + criterion(z1, (labels + 1).to(torch.uint8 if narrow else torch.int64))

    return loss


def memory_of_some(z0: Tensor, z1: Tensor, labels: Tensor, _: Tensor, __: Tensor, strategy: str) -> Tensor:
    """Some rows enter, which ones a rank knows of its own alone, and the others are compared with them."""
    loss = losses.ContrastiveLoss(neg_margin=1.2)
    memory = losses.CrossBatchMemory(loss, OUT, 7, gather_distributed=strategy != "local")
    return memory(z0, labels, enqueue_mask=z0[:, 0] > 0) + memory(z1, labels, enqueue_mask=z1[:, 1] > 0)


def memory_bank(strategy: str) -> losses.NTXentLoss:
    torch.manual_seed(3)  # the same bank on every rank
    return losses.NTXentLoss(0.3, (20, OUT), strategy).double()


def info_nce_rows(z0: Tensor, z1: Tensor, labels: Tensor, scale: Tensor, bias: Tensor, strategy: str) -> Tensor:
    """The rank's own rows, to be reduced over the ranks by whoever asks for them, and the sum of all."""
    losses_of = partial(info_nce, z0, z1, labels, scale, bias, strategy)
    rows = losses_of(reduction="none").square()
    return (rows.mean() if strategy == "local" else mean_over_ranks(rows)) + losses_of(reduction="sum")


SMOOTH: dict[str, Any] = {
    **dict.fromkeys(("in_batch", "query_negatives", "key_negatives", "symmetric"), True),
    "label_smoothing": 0.2,
}
CRITERIA: dict[str, Criterion] = {
    "nt_xent": lambda a, b, y, s, t, how: losses.NTXentLoss(0.3, gather_distributed=how)(a, b),
    "nt_xent, tiny": lambda a, b, y, s, t, how: losses.nt_xent_loss(a, a + 0.1 * b, 0.02, gather_distributed=how),
    "nt_xent, debiased": lambda a, b, y, s, t, how: losses.nt_xent_loss(
        a, b, 0.5, tau_plus=0.01, gather_distributed=how
    ),
    "memory bank": lambda a, b, y, s, t, how: memory_bank(how)(a, b),
    "dcl": lambda a, b, y, s, t, how: losses.DCLLoss(0.3, gather_distributed=how)(a, b),
    "dcl, weights": lambda a, b, y, s, t, how: losses.DCLLoss(0.3, own_weights, how)(a, b),
    "dclw": lambda a, b, y, s, t, how: losses.DCLWLoss(0.3, gather_distributed=how)(a, b),
    "supcon": lambda a, b, y, s, t, how: losses.SupConLoss(0.3, how)(torch.cat([a, b]), y.repeat(2)),
    "supcon, rows": lambda a, b, y, s, t, how: losses.SupConLoss(0.3, how)(a, y.int()),
    "supcon, nothing": lambda a, b, y, s, t, how: losses.SupConLoss(0.3, how)(a, (1e6 * a[:, 0]).long()),
    "multi-positive": with_labels(lambda how: losses.MultiPositiveNTXentLoss(0.3, how), widths=True),
    # A third of the rows are alone.
    "multi-positive, few": lambda a, b, y, s, t, how: losses.multi_positive_nt_xent_loss(
        torch.cat([a, b, a + b]), torch.cat([y, y, (1e6 * a[:, 0]).long()]), -0.4, gather_distributed=how
    ),
    "multi-positive, nothing": lambda a, b, y, s, t, how: losses.multi_positive_nt_xent_loss(
        a, (1e6 * a[:, 0]).long(), gather_distributed=how
    ),
    "multi-positive, no negative": lambda a, b, y, s, t, how: losses.multi_positive_nt_xent_loss(
        a, torch.zeros_like(y), gather_distributed=how
    ),
    "triplet": with_labels(lambda how: losses.TripletLoss(0.3, gather_distributed=how), widths=True),
    "triplet, mean": with_labels(
        lambda how: losses.TripletLoss(0.3, distance="squared_euclidean", reduction="mean", gather_distributed=how)
    ),
    "triplet, hardest": with_labels(
        lambda how: losses.TripletLoss(0.3, mining="batch_hard", gather_distributed=how), widths=True
    ),
    "triplet, hardest, all options": with_labels(
        lambda how: losses.TripletLoss(
            *(0.3, True, True),
            mining="batch_hard",
            distance="squared_euclidean",
            normalize=False,
            reduction="sum",
            gather_distributed=how,
        )
    ),
    "triplet, hardest, cosine": with_labels(
        lambda how: losses.TripletLoss(
            0.3, mining="batch_hard", distance="cosine", reduction="mean", gather_distributed=how
        )
    ),
    "triplet, semi-hard": with_labels(
        lambda how: losses.TripletLoss(0.6, mining="semi_hard", reduction="sum", gather_distributed=how)
    ),
    "triplet, swap": with_labels(
        lambda how: losses.TripletLoss(0.3, swap=True, normalize=False, gather_distributed=how)
    ),
    "triplet, smooth": with_labels(
        lambda how: losses.TripletLoss(0.3, smooth_loss=True, distance="cosine", gather_distributed=how)
    ),
    # Of the first rank's seed.
    "triplet, drawn": lambda a, b, y, s, t, how: losses.TripletLoss(0.6, triplets_per_anchor=3, gather_distributed=how)(
        a + b, y, generator=5 if how == "local" else 5 + dist.get_rank()
    ),
    "triplet, no positive": lambda a, b, y, s, t, how: losses.triplet_loss(
        a, (1e6 * a[:, 0]).long(), mining="batch_hard", gather_distributed=how
    ),
    "contrastive": with_labels(lambda how: losses.ContrastiveLoss(neg_margin=1.2, gather_distributed=how), widths=True),
    "contrastive, sum": lambda a, b, y, s, t, how: losses.contrastive_loss(
        torch.cat([a, b, a + b]),
        torch.cat([y, y, (1e6 * a[:, 0]).long()]),  # a third of the rows are alone
        pos_margin=0.2,
        squared=True,
        normalize=False,
        reduction="sum",
        gather_distributed=how,
    ),
    "contrastive, mean": lambda a, b, y, s, t, how: losses.contrastive_loss(
        *(torch.cat([a, b]), y.repeat(2)),
        pos_margin=1.0,
        neg_margin=0.1,
        distance="cosine",
        reduction="mean",
        gather_distributed=how,
    ),
    "contrastive, no positive": lambda a, b, y, s, t, how: losses.contrastive_loss(
        a, (1e6 * a[:, 0]).long(), distance="squared_euclidean", gather_distributed=how
    ),
    "memory": with_labels(
        lambda how: losses.CrossBatchMemory(losses.SupConLoss(0.3), OUT, 7, gather_distributed=how != "local"),
        widths=True,
    ),
    "memory of triplets": with_labels(
        lambda how: losses.CrossBatchMemory(losses.TripletLoss(0.6), OUT, 20, gather_distributed=how != "local")
    ),
    "memory, some enter": memory_of_some,
    "matryoshka": lambda a, b, y, s, t, how: losses.MatryoshkaLoss(
        losses.NTXentLoss(0.3, gather_distributed=how), (2, OUT), (0.5, 2.0)
    )(a, b),
    "koleo": lambda a, b, y, s, t, how: losses.koleo_loss(gather_rows(a)) + losses.koleo_loss(gather_rows(b)),
    "clip": clip,
    "clip, smooth": lambda a, b, y, s, t, how: losses.clip_loss(
        a, b, s, t, normalize=True, label_smoothing=0.2, tau_plus=0.3, gather_distributed=how
    ),  # the bound of some rows depends on the scale
    "clip, ids": partial(clip_options, ids=True),
    "clip, margin, hard of all": partial(clip_options, margin=-0.1, hard="all"),
    "clip, smooth, ids": partial(clip_options, label_smoothing=0.2, ids=True),
    "clip, everything": partial(clip_options, label_smoothing=0.2, tau_plus=0.01, ids=True, margin=-0.1, hard="each"),
    "siglip": siglip,
    "siglip, normalize": lambda a, b, y, s, t, how: losses.siglip_loss(
        a, b, s, t, normalize=True, gather_distributed=how
    ),
    "siglip, ids and margin": partial(siglip_options, ids=True, margin=-0.1),
    "siglip, smooth, hard": partial(siglip_options, label_smoothing=0.2, hard=True),
    "siglip, smooth, ids": partial(siglip_options, label_smoothing=0.2, ids=True),
    "siglip, all options": partial(siglip_options, label_smoothing=0.2, ids=True, margin=-0.1, hard=True),
    "info_nce": info_nce,
    "info_nce, locked": partial(info_nce, detach=True),
    "info_nce, symmetric": partial(info_nce, symmetric=True, tau_plus=0.01),
    "info_nce, ids": info_nce_ids,
    "info_nce, weights": lambda a, b, y, s, t, how: info_nce(a, b, y, s, t, how, weights=1.0 + y, symmetric=True),
    "info_nce, rows": info_nce_rows,
    "info_nce, smooth": partial(info_nce, label_smoothing=0.2),
    "info_nce, smooth, all kinds": partial(info_nce, hard=True, **SMOOTH, tau_plus=0.01),
    "info_nce, smooth, ids": lambda a, b, y, s, t, how: info_nce(
        *(a, b, y, s, t, how), **SMOOTH, query_ids=y, key_ids=(y + 1) % 3
    ),
    "info_nce, smooth, margin": lambda a, b, y, s, t, how: info_nce(
        *(a, b, y, s, t, how), **SMOOTH, query_ids=y, key_ids=y, margin=-0.1
    ),
    "info_nce, hard": lambda a, b, y, s, t, how: info_nce(
        *(a, b, y, s, t, how), symmetric=True, hardness_mode="in_batch_negatives", hardness_strength=2.0
    ),
    "info_nce, hard, all kinds": partial(
        info_nce,
        hard=True,
        **SMOOTH,
        key_to_query_negatives=True,
        hardness_mode="all_negatives",
        hardness_strength=2.0,
    ),
    "info_nce, queries of keys": partial(info_nce, key_to_query_negatives=True, tau_plus=0.01),
    "info_nce, queries of keys, margin": lambda a, b, y, s, t, how: info_nce(
        *(a, b, y, s, t, how), key_to_query_negatives=True, query_ids=y, key_ids=(y + 1) % 3, margin=-0.1
    ),
    "info_nce, all kinds": partial(
        info_nce, hard=True, in_batch=True, query_negatives=True, key_negatives=True, margin=0.2, symmetric=True
    ),
}
