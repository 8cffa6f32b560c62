"""Mask tokens in the place of masked tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import traced_once
from sslfast.masking._arguments import strided
from sslfast.masking._patches import contiguous_rows


def apply_mask_token(x: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    """Replaces masked tokens by the mask token, as BEiT, SimMIM, iBOT, DINOv2 and VideoMAE do.

    Equals ``torch.where(mask[..., None], mask_token.to(x.dtype), x)``. It selects where others multiply by the mask:
    what is masked is never read, so a NaN there reaches neither the result nor the gradient, which is 0 there. The
    gradients come from one pass over the incoming one; that of ``mask_token``, the sum over the masked places, is
    made in float32 (float64 in float64) in a fixed order, without atomics, and rounded once: equal in every run and
    for any number of threads. Twice differentiable.

    Args:
        x: tokens, shape (N, L, D), or (..., D) with any dimensions in front, such as (N, H, W, D); any strides,
            elements of at most 8 bytes. A feature map (N, C, H, W) goes in, and out again, by ``permute``.
        mask: bool, the shape of ``x`` without D, any strides, True where masked.
        mask_token: (D,), or D numbers of a shape like (1, 1, D).

    Returns:
        The shape and dtype of ``x``.

    Raises:
        TypeError: an argument is not a tensor, ``mask`` is not bool, or elements of ``x`` are larger than 8 bytes.
        ValueError: a shape or device does not fit.
        RuntimeError: the gradient of complex ``x``, which has none here.

    Reference: Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022; Xie et al., "SimMIM: A Simple
    Framework for Masked Image Modeling", CVPR 2022.
    """
    name = "apply_mask_token"
    for what, t in (("x", x), ("mask", mask), ("mask_token", mask_token)):
        strided(name, what, t)
    if x.dtype == torch.complex128:
        raise TypeError(f"{name}: x must have elements of at most 8 bytes, got {x.dtype}")
    if mask.dtype != torch.bool:
        raise TypeError(f"{name}: mask must be bool, True where masked, got {mask.dtype}")
    if x.dim() < 2:
        raise ValueError(f"{name}: x must have shape (..., L, D), got {tuple(x.shape)}")
    if mask.shape != x.shape[:-1]:
        raise ValueError(f"{name}: mask must have shape {tuple(x.shape[:-1])}, like x, got {tuple(mask.shape)}")
    width = x.shape[-1]
    if mask_token.shape[-1:] != (width,) or mask_token.numel() != width:
        raise ValueError(f"{name}: mask_token must have shape ({width},), got {tuple(mask_token.shape)}")
    for what, t in (("mask", mask), ("mask_token", mask_token)):
        if t.device != x.device:
            raise ValueError(f"{name}: {what} must be on {x.device}, like x, got {t.device}")
    token = mask_token.reshape(width)
    if x.dim() == 3:
        return _Apply.apply(x, mask, token)
    if x.dim() == 2:
        return _Apply.apply(x[None], mask[None], token)[0]
    return _Apply.apply(x.flatten(1, -2), mask.flatten(1), token).reshape(x.shape)


def mask_token_gradient(grad: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(D,): the sum of a gradient (N, L, D) over the places where ``mask`` is True, differentiable."""
    _, token = _Gradients.apply(grad, mask, False, True, dtype)
    return token


class _Apply(torch.autograd.Function):
    """Linear in x and the mask token; its derivative is ``_Gradients``, whose derivative is this again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.dtype = mask_token.dtype
        return ops.mask_token_apply(x, mask, mask_token.to(x.dtype).contiguous())

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        need_x, _, need_token = ctx.needs_input_grad
        x, token = _Gradients.apply(grad, *ctx.saved_tensors, need_x, need_token, ctx.dtype)
        return x if need_x else None, None, token if need_token else None


class _Gradients(torch.autograd.Function):
    """Of x and of the mask token, each empty where it is not needed."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, mask: Tensor, need_x: bool, need_token: bool, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(mask)
        ctx.needs, ctx.dtype = (need_x, need_token), grad.dtype
        x, token = ops.mask_token_apply_backward(contiguous_rows(grad), mask, need_x, need_token)
        return x, token.to(dtype)

    @staticmethod
    def backward(ctx: Any, x: Tensor, token: Tensor) -> tuple[Tensor | None, ...]:
        (mask,) = ctx.saved_tensors
        need_x, need_token = ctx.needs
        if not need_x:
            x = x.new_zeros((*mask.shape, x.shape[2]))
        if not need_token:
            token = token.new_zeros((x.shape[2],))
        return _Apply.apply(x, mask, token), None, None, None, None
