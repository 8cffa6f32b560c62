"""What ranks that share sums over prototypes may not differ in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sslfast import losses

# The call with whether it is rank 1, and the error of both.
SAME = "must be the same on every rank, got"
MASK = torch.ones(1, 3, dtype=torch.bool)
DIFFERENT: dict[str, tuple[Callable[[Tensor, bool], Any], str]] = {
    "msn, iterations": (
        lambda z, odd: losses.msn_loss(z, z, z, sinkhorn_iterations=2 + odd, gather_distributed=True),
        f"msn_loss: sinkhorn_iterations {SAME} [2, 3]",
    ),
    "msn, weight": (
        lambda z, odd: losses.msn_loss(z, z, z, regularization_weight=float(odd), gather_distributed=True),
        f"msn_loss: regularization_weight > 0 {SAME} [False, True]",
    ),
    "swav, crops": (
        lambda z, odd: losses.swav_loss([z] * (2 + odd), [], sinkhorn_gather_distributed=True),
        f"swav_loss: len(high_resolution_outputs) {SAME} [2, 3]",
    ),
    "swav, queue": (
        lambda z, odd: losses.swav_loss([z, z], [], [z, z.double() if odd else z], sinkhorn_gather_distributed=True),
        "swav_loss: sums must have the same dtype on every rank, got ['float32', 'float64']",
    ),
    "sinkhorn_knopp": (
        lambda z, odd: losses.sinkhorn_knopp(z, 1 + odd, gather_distributed=True),
        f"sinkhorn_knopp: iterations {SAME} [1, 2]",
    ),
    "dino, what is summed": (
        lambda z, odd: losses.dino_loss(
            [z, z], [z, z], centering="centering" if odd else "sinkhorn_knopp", gather_distributed=True
        ),
        f"dino_loss: centering == 'sinkhorn_knopp' {SAME} [True, False]",
    ),
    "dino, teacher": (
        lambda z, odd: losses.dino_loss(
            [z.double() if odd else z] * 2,
            [z.double()] * 2,
            centering="sinkhorn_knopp",
            gather_distributed=True,
        ),
        "dino_loss: sums must have the same dtype on every rank, got ['float32', 'float64']",
    ),
    "dino, student alone": (
        lambda z, odd: losses.dino_loss([z, z], [z.double() if odd else z] * 2, centering="sinkhorn_knopp"),
        "",
    ),
    "ibot, gather": (
        lambda z, odd: losses.ibot_patch_loss(
            z, z, MASK, masks_weight=torch.ones(3), centering="sinkhorn_knopp", gather_distributed=bool(odd)
        ),
        f"ibot_patch_loss: gather_distributed {SAME} [False, True]",
    ),
}
