"""The loss of CLIP in tiles, of one rank or of all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._verdict import Options
from sslfast.distributed import count_rows, mean_gradient_over_ranks, mean_over_ranks
from sslfast.losses._cross import cross_softmax, two_way_mean
from sslfast.losses._cross_ranks import cross_softmax_over_ranks
from sslfast.losses._debias import debiased


def clip_in_tiles(
    function: str,
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor,
    tau_plus: float,
    normalize: bool,
    strategy: str,
    budget: int | None,
    options: Options,
) -> Tensor:
    """The loss of all N texts and images, arguments as checked by :func:`clip_loss`."""
    if isinstance(logit_scale, Tensor):  # one of a wider type would widen the loss
        wide = torch.float64 if torch.float64 in (image_features.dtype, text_features.dtype) else torch.float32
        logit_scale = logit_scale.to(wide).reshape(())
        if strategy != "local":
            logit_scale = mean_gradient_over_ranks(logit_scale)
    sides = (function, image_features, text_features, logit_scale)
    if tau_plus == 0.0 and strategy == "local":
        return two_way_mean(*sides, normalize=normalize, memory_budget=budget)
    operands = (*sides, torch.arange(len(image_features), device=image_features.device))
    if strategy == "local":
        row_lse, col_lse, positive = cross_softmax(*operands, two_way=True, normalize=normalize, memory_budget=budget)
    else:
        row_lse, col_lse, positive = cross_softmax_over_ranks(
            *operands, two_way=True, normalize=normalize, strategy=strategy, options=options
        )
    if tau_plus > 0.0:
        others = count_rows(text_features, strategy) - 1
        row_lse, col_lse = (debiased(lse, positive, others, tau_plus, logit_scale) for lse in (row_lse, col_lse))
    by_image, by_text = (F.softplus(lse - positive, threshold=50.0) for lse in (row_lse, col_lse))
    # An infinite feature may make nothing infinite but its own pair's logit, which would then count as a perfect pair.
    losses = torch.add(by_image + by_text, positive.detach(), alpha=0.0)
    return (losses.mean() if strategy == "local" else mean_over_ranks(losses)) / 2
