"""Similarities of every query with keys of its own, hard negatives, and sums of what may all be left out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sslfast._autograd import first_order_only

_EPS = 1e-12  # of F.normalize
_NUMBERS = 2**18  # of the keys that are widened at once; more on a GPU
_NUMBERS_GPU = 2**24
_PARTS = 32  # and at most so many parts, which a graph unrolls


def own_similarities(function: str, query: Tensor, keys: Tensor, normalize: bool) -> Tensor:
    """``(query.unsqueeze(1) * F.normalize(keys, dim=2)).sum(2)``, without a copy of the keys in the query's dtype.

    Thin and bound by memory: no matrix product. Keys are widened some rows at once, in forward and in backward.

    Args:
        function: the name that errors begin with.
        query: (N, D), in the dtype of accumulation.
        keys: (N, K, D), floating point, any strides.
        normalize: divide keys by their norms.

    Returns:
        (N, K), of the query's dtype.
    """
    similarities: Tensor = _OwnSimilarities.apply(function, query, keys, normalize)
    return similarities


def logsumexp(logits: Tensor, dim: int) -> Tensor:
    """``torch.logsumexp``, whose gradient is 0, not NaN, where all that is summed is -inf."""
    lse: Tensor = _LogSumExp.apply(logits, dim)
    return lse


def _parts(keys: Tensor) -> Iterator[slice]:
    count = len(keys)
    numbers = _NUMBERS_GPU if keys.is_cuda else _NUMBERS
    step = max(1, numbers * count // keys.numel(), -(-count // _PARTS))
    return (slice(start, start + step) for start in range(0, count, step))


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, dim):  # type: ignore[no-untyped-def]
        lse = torch.logsumexp(logits, dim=dim)
        ctx.save_for_backward(logits, lse)
        ctx.dim = dim
        return lse

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        logits, lse = ctx.saved_tensors
        shares = torch.exp(logits - lse.clamp_min(torch.finfo(lse.dtype).min).unsqueeze(ctx.dim))
        return shares * grad.unsqueeze(ctx.dim), None


class _OwnSimilarities(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, query, keys, normalize):  # type: ignore[no-untyped-def]
        similarities, inverse_norm = (query.new_empty(keys.shape[:2]) for _ in range(2))
        for part in _parts(keys):
            wide = keys[part].to(query.dtype)
            if normalize:
                inverse_norm[part] = torch.linalg.vector_norm(wide, dim=2).clamp_min_(_EPS).reciprocal_()
            similarities[part] = (wide * query[part].unsqueeze(1)).sum(dim=2)
        if normalize:
            similarities *= inverse_norm
        ctx.save_for_backward(query, keys, *((similarities, inverse_norm) if normalize else (None, None)))
        ctx.function = function
        return similarities

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        query, keys, similarities, inverse_norm = ctx.saved_tensors
        _, need_query, need_keys, _ = ctx.needs_input_grad
        with torch.no_grad():
            weights, along = grad, None
            if similarities is not None:
                weights = grad * inverse_norm
                along = (weights * similarities * inverse_norm).masked_fill_(inverse_norm >= 1 / _EPS, 0.0)
            grad_query = torch.empty_like(query) if need_query else None
            grad_keys = torch.empty_like(keys) if need_keys else None
            for part in _parts(keys):
                wide = keys[part].to(query.dtype)
                weight = weights[part].unsqueeze(2)
                if grad_query is not None:
                    grad_query[part] = (weight * wide).sum(dim=1)
                if grad_keys is not None:
                    product = weight * query[part].unsqueeze(1)
                    grad_keys[part] = (
                        product if along is None else product.addcmul_(along[part].unsqueeze(2), wide, value=-1)
                    )
        found = (
            None if g is None else first_order_only(ctx.function, g, query, keys, grad) for g in (grad_query, grad_keys)
        )
        return None, *found, None
