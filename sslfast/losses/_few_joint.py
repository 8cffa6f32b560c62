"""InfoNCE of few pairs with hard negatives, or the queries of the keys, in one sum: all logits at once, on the CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast._autograd import unit_rows
from sslfast.losses._few_pairs import few, in_one_call, tensor_or_number
from sslfast.losses._inputs import widened, without_autocast
from sslfast.losses._negative_kinds import Hardness, Kinds

_BOUND = 64.0  # of logits: sums of 2**17 exponentials of these, and the least of them, are normal numbers of float32
_MOST = 2**16  # logits: two matrices of them, 512 KiB in float32, stay in the L2 cache


def joint_info_nce(
    function: str,
    query: Tensor,
    keys: Tensor,
    positives: Tensor | None,
    kinds: Kinds,
    hardness: Hardness,
    scale: float | Tensor,
    reduction: str,
    normalize: bool,
) -> Tensor | None:
    """The mean or the sum of the losses where negatives are the batch's keys, and perhaps the queries of these.

    What :mod:`._cross` and :mod:`._one_way` make of tiles, by some thirty operations on small matrices, the gradients
    with the loss: a small batch would wait for the calls around its products.

    Args:
        function: the name that errors begin with.
        query: (N, D), checked by the caller.
        keys: (M, D).
        positives: (N,) int64, the key of every query, or None for the one of the same number.
        kinds: of the negatives.
        hardness: of the negatives.
        scale: factor of the similarities, a number or a tensor of one.
        reduction: ``"mean"`` or ``"sum"``.
        normalize: divide queries and keys by their norms first.

    Returns:
        A scalar, float32, or float64 if a side is; None where there are others, or too many, or not on the CPU.
    """
    alone = kinds.in_batch and not kinds._replace(key_to_query_negatives=False).beside_keys
    if not (alone and few(query, keys) and query.shape[0] * keys.shape[0] <= _MOST):
        return None
    share = 1.0 / query.shape[0] if reduction == "mean" else 1.0
    options = positives, share, hardness.of("in_batch"), kinds.key_to_query_negatives, normalize
    return in_one_call(function, _joint, query, keys, (*tensor_or_number(scale), *options), (scale,))


def _joint(
    query: Tensor,
    keys: Tensor,
    given_scale: Tensor | None,
    known_scale: float,
    positives: Tensor | None,
    share: float,
    strength: float,
    key_to_query: bool,
    normalize: bool,
    *needs: bool,
) -> tuple[Tensor, ...]:
    """The loss, and the gradients that are needed of queries, keys and scale."""
    with without_autocast(query):
        wide = torch.float64 if torch.float64 in (query.dtype, keys.dtype) else torch.float32
        scale = known_scale if given_scale is None else given_scale.item()
        given = [z.double() if wide == torch.float64 else z for z in (query, keys)]
        sides, norms = zip(*map(unit_rows, given), strict=True) if normalize else (widened(query, keys), ())
        similar = sides[0] @ sides[1].T
        logits = similar * (scale + strength)
        # A small loss hangs on the positives' logits: row dots, finer than entries of the product.
        own = sides[1] if positives is None else sides[1].index_select(0, positives)
        positive = (sides[0].double() * own).sum(dim=1).mul_(scale).to(wide)
        if positives is None:
            of_keys = logits.fill_diagonal_(-torch.inf)
            if key_to_query and strength != 0.0:
                of_keys = (similar * scale).fill_diagonal_(-torch.inf)
        else:
            of_keys, at = similar, positives.unsqueeze(1)
            if key_to_query:
                of_keys = (similar.index_select(1, positives) * scale).fill_diagonal_(-torch.inf)
            logits.scatter_(1, at, -torch.inf)
        most: Tensor | None = None
        if not normalize or abs(scale) + strength > _BOUND:
            most = logits.amax(dim=1)
            if key_to_query:
                most = torch.maximum(most, of_keys.amax(dim=0))
            most.clamp_min_(torch.finfo(wide).min)  # of a query without a negative
        shares = logits.exp() if most is None else (logits - most.unsqueeze(1)).exp_()
        total = shares.sum(dim=1)
        if key_to_query:
            shares_of_keys = shares
            if most is not None or of_keys is not logits:
                shares_of_keys = (of_keys if most is None else of_keys - most).exp()
            total += shares_of_keys.sum(dim=0)
        margins = total.log().sub_(positive)
        if most is not None:
            margins += most
        # An infinite feature may make nothing infinite but its own pair's logit, which would count as a perfect pair.
        loss = F.softplus(margins, threshold=50.0).add_(positive, alpha=0.0).sum().mul_(share)
        if not any(needs):
            return (loss,)
        of_losses = margins.sigmoid_().mul_(share * scale)
        of_total = of_losses / total.clamp_min_(torch.finfo(wide).tiny)  # 0 where there is no negative
        weights = shares * of_total.unsqueeze(1)
        if positives is None:
            if key_to_query:
                weights.addcmul_(shares_of_keys, of_total)
            weights.diagonal().sub_(of_losses)
        else:
            if key_to_query:
                weights.index_add_(1, positives, shares_of_keys * of_total)
            weights.scatter_add_(1, at, of_losses.neg_().unsqueeze(1))
        products = weights @ sides[1] if needs[0] else None, weights.T @ sides[0] if needs[1] else None
        made = []
        for side, product in enumerate(products):
            if product is None:
                continue
            if normalize:
                z = given[side] if given[side].stride(1) == 1 else given[side].contiguous()
                product = ops.unit_rows_gradient(product, z, norms[side])
            made.append(product)
        if needs[2]:
            made.append((weights * similar).sum().div_(scale))
    return (loss, *made)
