"""What options add to a sigmoid loss beside the pairs of a batch: label smoothing and hard negatives of each row."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import _check
from sslfast.distributed import mean_gradient_over_ranks, mean_over_ranks, sum_over_ranks
from sslfast.losses._counted import counted_sums
from sslfast.losses._hard import own_similarities
from sslfast.losses._inputs import check_device, check_floating, check_kernel_dtype

Ids = tuple[Tensor, Tensor]


class Pairs(NamedTuple):
    """Rows and columns in the dtype of accumulation, normalised where that is asked for, and how they count.

    A scale and a bias of one number each, of that dtype; ids and limits of similarities, or None; and the strategy.
    """

    function: str
    rows: Tensor
    columns: Tensor
    scale: Tensor
    bias: Tensor
    ids: Ids | None
    limits: Tensor | None
    strategy: str


def check_hard(function: str, name: str, keys: Tensor, rows_name: str, rows: Tensor) -> None:
    """Negatives of one row each, (N, K, D) with K >= 1, of any floating dtype on the rows' device.

    Raises:
        TypeError: if they are not a floating-point tensor, or float64 on a GPU.
        ValueError: if they have another shape or device.
    """
    check_floating(function, name, keys)
    n, width = rows.shape
    shape = tuple(keys.shape)
    if len(shape) != 3 or shape[0] != n or shape[2] != width or 0 in shape:
        raise ValueError(f"{function}: {name} must have shape ({n}, K, {width}) with K >= 1, got {shape}")
    check_device(function, rows_name, rows, name, keys)
    check_kernel_dtype(function, keys)


def limits_of(similarities: Tensor, margin: float) -> Tensor:
    """What similarities of a row's negatives may be, from those of its positive; no gradient."""
    # They come from a product in another order: what equals the limit must not fall on either side by chance.
    slack = 16 * torch.finfo(similarities.dtype).eps
    return similarities.detach() + (margin + slack)


def check_margin(function: str, margin: float | None) -> float | None:
    """``margin`` as a float, or None; raises TypeError or ValueError where it is not finite."""
    return None if margin is None else _check.real(function, "margin", margin)


def smoothing_mean(pairs: Pairs, smoothing: float) -> Tensor:
    """What targets of 1 - e / 2 and e / 2 add to a mean over rows: e / 2 times the positive's logit less all others.

    ``-(1 - e / 2) logsigmoid(y l) - e / 2 logsigmoid(-y l) = softplus(-y l) + e / 2 y l``: the sums of logits are those
    of rows and of columns, in O(N D) work, but with limits, where the logits are made again.
    """
    positive = (pairs.rows * pairs.columns).sum(dim=1)
    if pairs.ids is None and pairs.limits is None:
        total = torch.cat([pairs.rows.sum(dim=0), pairs.columns.sum(dim=0), positive.sum().unsqueeze(0)])
        if pairs.strategy == "local":
            count = total.new_full((1,), len(positive))
        else:
            total, count = sum_over_ranks(torch.cat([total, total.new_full((1,), len(positive))])).tensor_split([-1])
        row, column, own = total.split([pairs.rows.shape[1], pairs.rows.shape[1], 1])
        difference = pairs.scale * (2 * own - (row * column).sum()) + pairs.bias * (2 * count - count.square())
        return (smoothing / 2 * difference / count).sum()
    at = torch.arange(len(positive), device=positive.device)
    one = torch.ones((), dtype=positive.dtype, device=positive.device)
    row_ids, col_ids = pairs.ids or (None, None)
    sums, counts = counted_sums(
        *(pairs.function, pairs.rows, pairs.columns, at, row_ids, col_ids, pairs.limits, one, pairs.strategy)
    )
    scale, bias = _of_all_ranks(pairs)
    difference = scale * (positive - sums) + bias * (1 - counts)
    return smoothing / 2 * _mean(pairs, difference)


def hard_mean(pairs: Pairs, keys: Tensor, smoothing: float, normalize: bool) -> Tensor:
    """What hard negatives of each row, (N, K, D), checked by the caller, add to a mean over rows."""
    similarities = own_similarities(pairs.function, pairs.rows, keys, normalize)
    scale, bias = _of_all_ranks(pairs)
    logits = scale * similarities + bias
    losses = F.softplus(logits, threshold=50.0)
    if smoothing > 0.0:
        losses = losses - smoothing / 2 * logits
    if pairs.limits is not None:
        losses = losses.masked_fill(similarities > pairs.limits.unsqueeze(1), 0.0)
    # An infinite similarity would count as a perfect negative, or be left out.
    losses = torch.add(losses, logits.detach(), alpha=0.0)
    return _mean(pairs, losses.sum(dim=1))


def _of_all_ranks(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Scale and bias, whose gradients come of what a rank makes of its own rows."""
    if pairs.strategy == "local":
        return pairs.scale, pairs.bias
    return mean_gradient_over_ranks(pairs.scale), mean_gradient_over_ranks(pairs.bias)


def _mean(pairs: Pairs, values: Tensor) -> Tensor:
    return values.mean() if pairs.strategy == "local" else mean_over_ranks(values)
