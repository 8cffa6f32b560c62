"""Similarities and their softmax: C++ on the CPU, Triton on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops._library import triton_library

__all__ = [
    "cross_softmax_backward",
    "cross_softmax_forward",
    "limited_softmax_backward",
    "limited_softmax_forward",
    "nt_xent_backward",
    "nt_xent_forward",
    "one_way_softmax",
    "queue_softmax",
    "sigmoid_pairs",
    "similarity_softmax_backward",
    "similarity_softmax_forward",
]


def accumulator(rows: Tensor) -> torch.dtype:
    return torch.float64 if rows.dtype == torch.float64 else torch.float32


def _pair_gradients(rows: Tensor, columns: Tensor, need_rows: object, need_columns: object) -> tuple[Tensor, Tensor]:
    """Of rows and columns, without rows where none is needed."""
    d_rows, d_columns = (
        x.new_empty((x.shape[0] if need else 0, x.shape[1]), dtype=accumulator(rows))
        for x, need in ((rows, need_rows), (columns, need_columns))
    )
    return d_rows, d_columns


# ---- similarity_softmax

similarity_softmax_forward = torch.ops.sslfast.similarity_softmax_forward.default
similarity_softmax_backward = torch.ops.sslfast.similarity_softmax_backward.default


def _kept(like: Tensor, keep: int, packed: bool) -> Tensor:
    return like.new_empty((keep,), dtype=torch.int16 if packed else like.dtype)


@torch.library.register_fake("sslfast::similarity_softmax_forward")
def _(
    rows: Tensor,
    positives: Tensor,
    scale: float,
    max_norm: float,
    keep: int,
    factors: Tensor | None = None,
    packed: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    vector = rows.new_empty((rows.shape[0],), dtype=accumulator(rows))
    return vector, torch.empty_like(vector), _kept(vector, keep, packed)


@torch.library.register_fake("sslfast::similarity_softmax_backward")
def _(rows: Tensor, *args: object) -> Tensor:
    return rows.new_empty(rows.shape, dtype=accumulator(rows))


def _similarity_softmax_forward_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.similarity_softmax import forward

    return forward(*args)


def _similarity_softmax_backward_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.similarity_softmax_backward import backward

    return backward(*args)


triton_library.impl("similarity_softmax_forward", _similarity_softmax_forward_triton)
triton_library.impl("similarity_softmax_backward", _similarity_softmax_backward_triton)


# ---- nt_xent: Triton on the GPU; losses/nt_xent.py composes it of similarity_softmax elsewhere

nt_xent_forward = torch.ops.sslfast.nt_xent_forward.default
nt_xent_backward = torch.ops.sslfast.nt_xent_backward.default


@torch.library.register_fake("sslfast::nt_xent_forward")
def _(z0: Tensor, z1: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    size = 2 * z0.shape[0]
    unit = z0.new_empty((size, z0.shape[1]), dtype=torch.promote_types(z0.dtype, z1.dtype))
    inverse_norm, lse, share = (z0.new_empty((size,), dtype=torch.float32) for _ in range(3))
    loss, peak = (z0.new_empty((), dtype=torch.float32) for _ in range(2))
    return loss, unit, inverse_norm, lse, share, peak


@torch.library.register_fake("sslfast::nt_xent_backward")
def _(z0: Tensor, z1: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    *_, need_z0, need_z1 = args
    grad_z0, grad_z1 = (
        z.new_empty((z.shape[0] if need else 0, z.shape[1])) for z, need in ((z0, need_z0), (z1, need_z1))
    )
    return grad_z0, grad_z1


def _nt_xent_forward_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.nt_xent import forward

    return forward(*args)


def _nt_xent_backward_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.nt_xent_backward import backward

    return backward(*args)


triton_library.impl("nt_xent_forward", _nt_xent_forward_triton)
triton_library.impl("nt_xent_backward", _nt_xent_backward_triton)


# ---- cross_softmax

cross_softmax_forward = torch.ops.sslfast.cross_softmax_forward.default
cross_softmax_backward = torch.ops.sslfast.cross_softmax_backward.default


@torch.library.register_fake("sslfast::cross_softmax_forward")
def _(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    row_limits: Tensor | None,
    max_similarity: float,
    two_way: bool,
    keep: int,
    row_factors: Tensor | None = None,
    col_factors: Tensor | None = None,
    packed: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    row_lse = rows.new_empty((rows.shape[0],), dtype=accumulator(rows))
    col_lse = row_lse.new_empty((columns.shape[0] if two_way else 0,))
    return row_lse, col_lse, torch.empty_like(row_lse), _kept(row_lse, keep, packed)


@torch.library.register_fake("sslfast::cross_softmax_backward")
def _(rows: Tensor, columns: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    return _pair_gradients(rows, columns, *args[11:13])


def _cross_softmax_forward_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.cross_softmax import forward

    return forward(*args)


def _cross_softmax_backward_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.cross_softmax_backward import backward

    return backward(*args)


triton_library.impl("cross_softmax_forward", _cross_softmax_forward_triton)
triton_library.impl("cross_softmax_backward", _cross_softmax_backward_triton)


# ---- queue_softmax

queue_softmax = torch.ops.sslfast.queue_softmax.default


@torch.library.register_fake("sslfast::queue_softmax")
def _(rows: Tensor, queue: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    need_mean = args[5]
    size, dim = rows.shape
    lse = rows.new_empty((size,), dtype=accumulator(rows))
    return lse, lse.new_empty((size if need_mean else 0, dim))


def _queue_softmax_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.queue_softmax import queue_softmax

    return queue_softmax(*args)


triton_library.impl("queue_softmax", _queue_softmax_triton)


# ---- sigmoid_pairs

sigmoid_pairs = torch.ops.sslfast.sigmoid_pairs.default


@torch.library.register_fake("sslfast::sigmoid_pairs")
def _(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: Tensor,
    bias: Tensor,
    share: float,
    need_rows: bool,
    need_columns: bool,
    *others: object,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    d_rows, d_columns = _pair_gradients(rows, columns, need_rows, need_columns)
    loss, d_scale, d_bias = (d_rows.new_empty(()) for _ in range(3))
    return loss, d_rows, d_columns, d_scale, d_bias


def _sigmoid_pairs_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs

    return sigmoid_pairs(*args)


triton_library.impl("sigmoid_pairs", _sigmoid_pairs_triton)


# ---- limited_softmax: the CPU's alone; a GPU takes cross_softmax twice

limited_softmax_forward = torch.ops.sslfast.limited_softmax_forward.default
limited_softmax_backward = torch.ops.sslfast.limited_softmax_backward.default


@torch.library.register_fake("sslfast::limited_softmax_forward")
def _(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    row_limits: Tensor,
    col_limits: Tensor | None,
    keep: int,
    row_factors: Tensor | None = None,
    col_factors: Tensor | None = None,
) -> tuple[Tensor, ...]:
    sizes = rows.shape[0], 0 if col_limits is None else columns.shape[0]
    of_rows, of_columns = (rows.new_empty((size,), dtype=accumulator(rows)) for size in sizes)
    totals = torch.empty_like(of_rows), torch.empty_like(of_columns)
    counts = (torch.empty_like(x, dtype=torch.int64) for x in totals)
    return of_rows, of_columns, torch.empty_like(of_rows), _kept(of_rows, keep, False), *totals, *counts


@torch.library.register_fake("sslfast::limited_softmax_backward")
def _(rows: Tensor, columns: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    return _pair_gradients(rows, columns, *args[14:16])


# ---- one_way_softmax: C++ on the CPU, Triton on the GPU

one_way_softmax = torch.ops.sslfast.one_way_softmax.default


@torch.library.register_fake("sslfast::one_way_softmax")
def _(rows: Tensor, columns: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    needs = args[8:10]
    d_rows, d_columns = (
        x.new_empty((x.shape[0] if need else 0, x.shape[1]), dtype=accumulator(rows))
        for x, need in zip((rows, columns), needs, strict=True)
    )
    losses, lse, shares = (d_rows.new_empty((rows.shape[0],)) for _ in range(3))
    return losses, lse, shares, d_rows, d_columns


def _one_way_softmax_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.one_way_softmax import one_way_softmax

    return one_way_softmax(*args)


triton_library.impl("one_way_softmax", _one_way_softmax_triton)
