"""Softmaxes over prototypes and codes: C++ on the CPU, Triton on the GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast.ops._library import triton_library

__all__ = [
    "gumbel_quantize",
    "gumbel_quantize_backward",
    "msn_gradient_",
    "msn_rows",
    "sinkhorn_assign",
    "sinkhorn_masses",
    "sinkhorn_peaks",
    "sinkhorn_potentials",
    "soft_cross_entropy",
]


def _accumulator(rows: Tensor) -> torch.dtype:
    return torch.float64 if rows.dtype == torch.float64 else torch.float32


# ---- soft_cross_entropy

soft_cross_entropy = torch.ops.sslfast.soft_cross_entropy.default


@torch.library.register_fake("sslfast::soft_cross_entropy")
def _(students: Sequence[Tensor], teachers: Sequence[Tensor], *args: object) -> tuple[Tensor, Tensor, Tensor]:
    *_, need_grad, need_sum = args
    first, views = students[0], len(students)
    size, width = first.shape
    losses = first.new_empty((views, size), dtype=_accumulator(first))
    return (
        losses,
        first.new_empty((views if need_grad else 0, size, width)),
        losses.new_empty((width * bool(need_sum),)),
    )


def _soft_cross_entropy_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.soft_cross_entropy import soft_cross_entropy

    return soft_cross_entropy(*args)


triton_library.impl("soft_cross_entropy", _soft_cross_entropy_triton)


# ---- msn

msn_rows = torch.ops.sslfast.msn_rows.default
msn_gradient_ = torch.ops.sslfast.msn_gradient_.default


@torch.library.register_fake("sslfast::msn_rows")
def _(logits: Tensor, targets: Tensor, scale: float, need_shares: bool) -> tuple[Tensor, Tensor, Tensor]:
    anchors, width = logits.shape
    return logits.new_empty((anchors,)), logits.new_empty((2, anchors)), logits.new_empty((width * bool(need_shares),))


@torch.library.register_fake("sslfast::msn_gradient_")
def _(logits: Tensor, *args: object) -> None:
    return None


def _msn_rows_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.msn import rows

    return rows(*args)


def _msn_gradient_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.msn import gradient_

    gradient_(*args)


triton_library.impl("msn_rows", _msn_rows_triton)
triton_library.impl("msn_gradient_", _msn_gradient_triton)


# ---- sinkhorn

sinkhorn_peaks = torch.ops.sslfast.sinkhorn_peaks.default
sinkhorn_masses = torch.ops.sslfast.sinkhorn_masses.default
sinkhorn_potentials = torch.ops.sslfast.sinkhorn_potentials.default
sinkhorn_assign = torch.ops.sslfast.sinkhorn_assign.default


@torch.library.register_fake("sslfast::sinkhorn_peaks")
def _(scores: Tensor, weights: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    tops = scores.new_empty((scores.shape[1],), dtype=_accumulator(scores))
    return tops, torch.empty_like(tops)


@torch.library.register_fake("sslfast::sinkhorn_masses")
def _(scores: Tensor, potentials: Tensor, weights: Tensor | None, scale: float) -> Tensor:
    return scores.new_empty((scores.shape[1],), dtype=_accumulator(scores))


@torch.library.register_fake("sslfast::sinkhorn_potentials")
def _(scores: Tensor, weights: Tensor | None, scale: float, iterations: int) -> Tensor:
    return scores.new_empty((scores.shape[1],), dtype=_accumulator(scores))


@torch.library.register_fake("sslfast::sinkhorn_assign")
def _(scores: Tensor, potentials: Tensor, scale: float, rows: int) -> Tensor:
    return scores.new_empty((rows, scores.shape[1]), dtype=_accumulator(scores))


def _sinkhorn_peaks_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.sinkhorn import peaks

    return peaks(*args)


def _sinkhorn_masses_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.sinkhorn import masses

    return masses(*args)


def _sinkhorn_potentials_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.sinkhorn import potentials

    return potentials(*args)


def _sinkhorn_assign_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.sinkhorn import assign

    return assign(*args)


triton_library.impl("sinkhorn_peaks", _sinkhorn_peaks_triton)
triton_library.impl("sinkhorn_masses", _sinkhorn_masses_triton)
triton_library.impl("sinkhorn_potentials", _sinkhorn_potentials_triton)
triton_library.impl("sinkhorn_assign", _sinkhorn_assign_triton)


# ---- gumbel_quantize

gumbel_quantize = torch.ops.sslfast.gumbel_quantize.default
gumbel_quantize_backward = torch.ops.sslfast.gumbel_quantize_backward.default


@torch.library.register_fake("sslfast::gumbel_quantize")
def _(logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    frames, groups, width = logits.shape
    best = logits.new_empty((frames, groups), dtype=torch.int64)
    probs = logits.new_empty(((frames + 31) // 32, groups, width), dtype=_accumulator(logits))
    return best, probs.new_empty((frames, groups)), probs, torch.empty_like(probs)


@torch.library.register_fake("sslfast::gumbel_quantize_backward")
def _(logits: Tensor, *args: object) -> Tensor:
    return torch.empty_like(logits)


def _gumbel_quantize_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.gumbel_quantize import forward

    return forward(*args)


def _gumbel_quantize_backward_triton(*args):  # type: ignore[no-untyped-def]
    from sslfast.kernels.gumbel_quantize import backward

    return backward(*args)


triton_library.impl("gumbel_quantize", _gumbel_quantize_triton)
triton_library.impl("gumbel_quantize_backward", _gumbel_quantize_backward_triton)
