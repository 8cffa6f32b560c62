"""Arguments of the losses that are a bool: one line where they are none, NumPy's are bools."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from sslfast import losses
from sslfast._check import shown

Z, Y = torch.eye(4), torch.arange(4) // 2
BANK = losses.NNMemoryBank((8, 4))
ROWS = [
    ("clip_loss", lambda **flag: losses.clip_loss(Z, Z, 1.0, **flag), ["normalize"]),
    ("CLIPLoss", losses.CLIPLoss, ["local_loss", "gather_with_grad", "cache_labels", "use_horovod", "normalize"]),
    ("CLIPLoss", lambda **flag: losses.CLIPLoss()(Z, Z, 1.0, **flag), ["output_dict"]),
    ("siglip_loss", lambda **flag: losses.siglip_loss(Z, Z, 1.0, **flag), ["normalize"]),
    ("SigLIPLoss", losses.SigLIPLoss, ["cache_labels", "normalize"]),
    ("SigLIPLoss", lambda **flag: losses.SigLIPLoss()(Z, Z, 1.0, 0.0, **flag), ["output_dict"]),
    (
        "info_nce_loss",
        lambda **flag: losses.info_nce_loss(Z, Z, Z, **({"in_batch": True} | flag)),
        ["in_batch", "symmetric", "query_negatives", "key_negatives", "key_to_query_negatives", "normalize"],
    ),
    (
        "InfoNCELoss",
        losses.InfoNCELoss,
        ["symmetric", "query_negatives", "key_negatives", "key_to_query_negatives", "normalize"],
    ),
    (
        "triplet_loss",
        lambda **flag: losses.triplet_loss(Z, Y, mining="batch_hard", **flag),
        ["swap", "smooth_loss", "normalize"],
    ),
    ("TripletLoss", losses.TripletLoss, ["swap", "smooth_loss", "normalize"]),
    (
        "contrastive_loss",
        lambda **flag: losses.contrastive_loss(Z, Y, **flag),
        ["squared", "normalize"],
    ),
    ("ContrastiveLoss", losses.ContrastiveLoss, ["squared", "normalize"]),
    ("MemoryBank", lambda **flag: losses.MemoryBank((4, 2), **flag), ["gather_distributed"]),
    ("NNMemoryBank", lambda **flag: BANK(Z, **flag), ["update"]),
    (
        "CrossBatchMemory",
        lambda **flag: losses.CrossBatchMemory(losses.SupConLoss(), 4, **flag),
        ["gather_distributed"],
    ),
    ("alignment_loss", lambda **flag: losses.alignment_loss(Z, Z, **flag), ["normalize"]),
    ("AlignmentLoss", losses.AlignmentLoss, ["normalize"]),
    ("uniformity_loss", lambda **flag: losses.uniformity_loss(Z, **flag), ["normalize"]),
    ("UniformityLoss", losses.UniformityLoss, ["normalize"]),
    ("barlow_twins_loss", lambda **flag: losses.barlow_twins_loss(Z, Z, **flag), ["gather_distributed"]),
    ("BarlowTwinsLoss", losses.BarlowTwinsLoss, ["gather_distributed"]),
    ("vicreg_loss", lambda **flag: losses.vicreg_loss(Z, Z, **flag), ["gather_distributed"]),
    ("VICRegLoss", losses.VICRegLoss, ["gather_distributed"]),
    ("swav_loss", lambda **flag: losses.swav_loss([Z, Z], [], **flag), ["sinkhorn_gather_distributed"]),
    ("SwAVLoss", losses.SwAVLoss, ["sinkhorn_gather_distributed"]),
    ("sinkhorn_knopp", lambda **flag: losses.sinkhorn_knopp(Z, **flag), ["gather_distributed"]),
]
FLAGS = [(name, call, flag) for name, call, flags in ROWS for flag in flags]


@pytest.mark.parametrize(("name", "call", "flag"), FLAGS, ids=[f"{name}-{flag}" for name, _, flag in FLAGS])
def test_flags_are_bools(name: str, call, flag: str) -> None:
    for value in (1, "yes", np.ones(2, dtype=bool), torch.tensor(True)):
        with pytest.raises(
            TypeError, match="^" + re.escape(f"{name}: {flag} must be a bool, got {shown(value)}") + "$"
        ):
            call(**{flag: value})
    call(**{flag: np.bool_(False)})
    if flag != "use_horovod":
        call(**{flag: np.bool_(True)})


def test_a_strategy_may_be_a_bool_of_numpy() -> None:
    assert losses.nt_xent_loss(Z, Z, gather_distributed=np.bool_(True)) == losses.nt_xent_loss(Z, Z)
