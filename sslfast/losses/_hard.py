"""Hard negatives: similarities of every query with keys of its own, and sums of what may all be left out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, traced_once
from sslfast.losses._inputs import check_device, check_floating, check_kernel_dtype

_EPS = 1e-12  # of F.normalize
_NUMBERS = 2**24  # of the keys that a GPU widens at once
_PARTS = 32  # and at most so many parts, which a graph unrolls


def check_negative_keys(function: str, keys: Tensor, rows_name: str, rows: Tensor, *, of_all: bool) -> None:
    """Negatives of any floating dtype on the rows' device, with K >= 1: (N, K, D), of one row each, or if ``of_all``
    also (K, D), of all rows.

    Raises:
        TypeError: if they are not a floating-point tensor, or float64 on a GPU.
        ValueError: if they have another shape or device.
    """
    check_floating(function, "negative_keys", keys)
    n, width = rows.shape
    shape = tuple(keys.shape)
    fits = (len(shape) == 3 and shape[0] == n) or (of_all and len(shape) == 2)
    if not fits or shape[-1] != width or 0 in shape:
        expected = f"(K, {width}) or " * of_all + f"({n}, K, {width})"
        raise ValueError(f"{function}: negative_keys must have shape {expected} with K >= 1, got {shape}")
    check_device(function, rows_name, rows, "negative_keys", keys)
    check_kernel_dtype(function, keys)


def own_similarities(function: str, query: Tensor, keys: Tensor, normalize: bool) -> Tensor:
    """``(query.unsqueeze(1) * F.normalize(keys, dim=2)).sum(2)``, without a copy of the keys in the query's dtype.

    Thin and bound by memory: no matrix product. On the CPU one operator reads the keys once in forward and once in
    backward; on a GPU they are widened some rows at once in either.

    Args:
        function: the name that errors begin with.
        query: (N, D), in the dtype of accumulation.
        keys: (N, K, D), floating point, any strides. On the CPU they are copied where the last dimension is not
            contiguous, or where only one of query and keys is float64.
        normalize: divide keys by their norms.

    Returns:
        (N, K), of the query's dtype.
    """
    if keys.is_cpu:
        if torch.float64 in (query.dtype, keys.dtype):
            keys = keys.to(query.dtype)
        query, keys = (z if z.stride(-1) == 1 else z.contiguous() for z in (query, keys))
    similarities: Tensor = _OwnSimilarities.apply(function, query, keys, normalize)
    return similarities


def logsumexp(logits: Tensor, dim: int) -> Tensor:
    """``torch.logsumexp``, whose gradient is 0, not NaN, where all that is summed is -inf."""
    lse: Tensor = _LogSumExp.apply(logits, dim)
    return lse


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, dim):  # type: ignore[no-untyped-def]
        lse = torch.logsumexp(logits, dim=dim)
        ctx.save_for_backward(logits, lse)
        ctx.dim = dim
        return lse

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        logits, lse = ctx.saved_tensors
        shares = torch.exp(logits - lse.clamp_min(torch.finfo(lse.dtype).min).unsqueeze(ctx.dim))
        return shares * grad.unsqueeze(ctx.dim), None


class _OwnSimilarities(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, query, keys, normalize):  # type: ignore[no-untyped-def]
        forward = ops.own_similarities if keys.is_cpu else _in_torch
        similarities, inverse_norms = forward(query, keys, normalize)
        ctx.save_for_backward(query, keys, *((similarities, inverse_norms) if normalize else (None, None)))
        ctx.function = function
        return similarities

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        query, keys, similarities, inverse_norms = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:3]
        backward = ops.own_similarities_backward if keys.is_cpu else _backward_in_torch
        with torch.no_grad():
            grads = backward(grad.contiguous(), query, keys, similarities, inverse_norms, *needs)
        found = (
            first_order_only(ctx.function, g, query, keys, grad) if needed else None
            for g, needed in zip(grads, needs, strict=True)
        )
        return None, *found, None


# ---- what a GPU runs


def _parts(keys: Tensor) -> Iterator[slice]:
    count = len(keys)
    step = max(1, _NUMBERS * count // keys.numel(), -(-count // _PARTS))
    return (slice(start, start + step) for start in range(0, count, step))


def _in_torch(query: Tensor, keys: Tensor, normalize: bool) -> tuple[Tensor, Tensor]:
    """``ops.own_similarities`` in plain torch."""
    similarities = query.new_empty(keys.shape[:2])
    inverse_norms = query.new_empty((len(keys) if normalize else 0, keys.shape[1]))
    for part in _parts(keys):
        wide = keys[part].to(query.dtype)
        if normalize:
            inverse_norms[part] = torch.linalg.vector_norm(wide, dim=2).clamp_min_(_EPS).reciprocal_()
        similarities[part] = (wide * query[part].unsqueeze(1)).sum(dim=2)
    if normalize:
        similarities *= inverse_norms
    return similarities, inverse_norms


def _backward_in_torch(
    grad: Tensor,
    query: Tensor,
    keys: Tensor,
    similarities: Tensor | None,
    inverse_norms: Tensor | None,
    need_query: bool,
    need_keys: bool,
) -> tuple[Tensor, Tensor]:
    """``ops.own_similarities_backward`` in plain torch."""
    weights, along = grad, None
    if similarities is not None and inverse_norms is not None:
        weights = grad * inverse_norms
        along = (weights * similarities * inverse_norms).masked_fill_(inverse_norms >= 1 / _EPS, 0.0)
    grad_query = query.new_empty((len(query) if need_query else 0, query.shape[1]))
    grad_keys = keys.new_empty((len(keys) if need_keys else 0, *keys.shape[1:]))
    for part in _parts(keys):
        wide = keys[part].to(query.dtype)
        weight = weights[part].unsqueeze(2)
        if need_query:
            grad_query[part] = (weight * wide).sum(dim=1)
        if need_keys:
            product = weight * query[part].unsqueeze(1)
            grad_keys[part] = product if along is None else product.addcmul_(along[part].unsqueeze(2), wide, value=-1)
    return grad_query, grad_keys
