"""Patches at given places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import traced_once
from sslfast.masking._patches import contiguous_rows, patches_of


def gather_patches(x: Tensor, ids: Tensor | Sequence[Tensor]) -> Tensor:
    """The patches at ``ids``, or at each of several lists of them, one behind the other: I-JEPA's ``apply_masks``.

    Equals ``torch.cat([torch.gather(x, 1, i[..., None].expand(-1, -1, D)) for i in ids])``, in one copy: no index per
    element, and ``x`` is not repeated. The gradient of a place that stands in ``ids`` once is a copy; of one that
    stands there several times it is the sum, in float32 (float64 in float64), in their order and rounded once: no
    atomics, equal in every run. What is not in ``ids`` is never read and gets a zero gradient. Twice differentiable.

    Args:
        x: shape (N, L, D), any strides, elements of at most 8 bytes.
        ids: int64 (N, K) in [0, L), or -1 for none, as behind the shorter lists of
            :func:`sslfast.masking.ijepa_masks`; or a list of such tensors of one shape. ``ids_keep`` of
            :func:`sslfast.masking.random_patch_mask` is one.

    Returns:
        (N, K, D), or (len(ids) * N, K, D) for a list: row ``m * N + n`` is row ``n`` of ``x`` at ``ids[m][n]``,
        zero where that is -1.

    Raises:
        TypeError: ``x`` or an element of ``ids`` is not a tensor, ``ids`` are not int64, or elements of ``x`` are
            larger than 8 bytes.
        ValueError: ``x`` has no shape (N, L, D), the list is empty, ``ids`` have other shapes or are on another
            device, or, on the CPU, one is neither in [0, L) nor -1. On a GPU, which would have to wait to say so, its
            patch is zero.
        RuntimeError: the gradient of complex ``x``, which has none here.

    Reference: Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
    CVPR 2023; facebookresearch/ijepa, ``masks.utils.apply_masks``.
    """
    name = "gather_patches"
    patches_of(name, "x", x, least=0)
    if isinstance(ids, Tensor):
        _check_ids(name, "ids", ids, x)
        return _GatherAny.apply(x, ids.contiguous())
    if not isinstance(ids, Sequence) or isinstance(ids, str):
        raise TypeError(f"{name}: ids must be a tensor or a list of tensors, got {type(ids).__name__}")
    if len(ids) == 0:
        raise ValueError(f"{name}: ids must hold at least one tensor, got an empty list")
    for i, each in enumerate(ids):
        _check_ids(name, f"ids[{i}]", each, x)
        if each.shape != ids[0].shape:
            expected = f"shape {tuple(ids[0].shape)}, like ids[0]"
            raise ValueError(f"{name}: ids[{i}] must have {expected}, got {tuple(each.shape)}")
    return _GatherAny.apply(x, torch.cat(list(ids)))


def _check_ids(function: str, name: str, ids: Tensor, x: Tensor) -> None:
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64:
        got = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
        raise TypeError(f"{function}: {name} must be an int64 tensor, got {got}")
    if ids.dim() != 2 or ids.shape[0] != x.shape[0]:
        raise ValueError(f"{function}: {name} must have shape (N, K) with N = {x.shape[0]}, got {tuple(ids.shape)}")
    if ids.device != x.device:
        raise ValueError(f"{function}: {name} must be on {x.device}, got {ids.device}")


class _GatherAny(torch.autograd.Function):
    """(N, L, D) -> (M N, K, D); its derivative is ``_Sum``, whose derivative is this again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.sizes = x.shape[:2]
        return ops.patch_gather(x, ids)

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(grad, *ctx.saved_tensors, *ctx.sizes), None


class _Sum(torch.autograd.Function):
    """(M N, K, D) -> (N, L, D)."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, ids: Tensor, rows: int, patches: int) -> Tensor:
        ctx.save_for_backward(ids)
        return ops.patch_sum(contiguous_rows(grad), ids, rows, patches)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _GatherAny.apply(grad, *ctx.saved_tensors), None, None, None
