"""The input of a masked autoencoder's decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import traced_once
from sslfast.masking._patches import contiguous_rows, patches_of, prefix_tokens


def unshuffle_patches(
    tokens: Tensor,
    mask_token: Tensor,
    ids_restore: Tensor,
    positions: Tensor | None = None,
    *,
    num_prefix_tokens: int = 0,
) -> Tensor:
    """Puts kept tokens back to their places, mask tokens to the others, and adds positions: MAE's decoder input.

    Equals, in one pass and without the shuffled sequence or an index per element, ::

        masked = mask_token.expand(N, L - keep, D)
        x = torch.cat([tokens[:, P:], masked], dim=1).gather(1, ids_restore[..., None].expand(-1, -1, D))
        torch.cat([tokens[:, :P], x], dim=1) + positions

    with ``P = num_prefix_tokens``. The gradients come from one pass over the incoming one: of ``tokens`` a copy, of
    ``mask_token`` the sum over the masked places, of ``positions`` the sum over rows. Sums are made in float32 (float64
    in float64) in a fixed order, without atomics, and rounded once: equal in every run and for any number of threads.
    Twice differentiable.

    Args:
        tokens: what the encoder saw, shape (N, P + keep, D), floating point, any strides; the kept ones in the order of
            ``ids_restore``, as :func:`sslfast.masking.mask_patches` returns them.
        mask_token: (D,), or D numbers of a shape like MAE's (1, 1, D), floating point.
        ids_restore: int64 (N, L), in every row a permutation of 0 to L - 1: the place of each patch among the shuffled
            ones, below keep where its token is there.
        positions: position embeddings, (P + L, D) or (1, P + L, D), floating point. Default: None, nothing is added.
        num_prefix_tokens: tokens in front that ``ids_restore`` does not count, such as MAE's class token: they stay in
            front. 0 if the mask was made with ``num_prefix_tokens``, which counts them. Default: 0.

    Returns:
        (N, P + L, D), in the dtype that the three promote to: float32 for bfloat16 tokens beside float32 parameters,
        where autocast makes such, without a copy of the tokens.

    Raises:
        TypeError: an argument is not a tensor or has the wrong dtype, or ``num_prefix_tokens`` is not an integer.
        ValueError: a shape or device does not fit, ``num_prefix_tokens`` is negative, or, on the CPU, a row of
            ``ids_restore`` is no permutation. On a GPU, which would have to wait to say so, the result and the gradient
            of its tokens are then unspecified.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022; facebookresearch/mae,
    ``MaskedAutoencoderViT.forward_decoder``.
    """
    name = "unshuffle_patches"
    prefix = prefix_tokens(name, num_prefix_tokens)
    _check_floating(name, "tokens", tokens)
    patches_of(name, "tokens", tokens, least=0)
    rows, count, width = tokens.shape
    if not isinstance(ids_restore, Tensor) or ids_restore.dtype != torch.int64:
        got = ids_restore.dtype if isinstance(ids_restore, Tensor) else type(ids_restore).__name__
        raise TypeError(f"{name}: ids_restore must be an int64 tensor, got {got}")
    if ids_restore.dim() != 2 or ids_restore.shape[0] != rows or ids_restore.shape[1] < 1:
        expected = f"shape (N, L) with N = {rows} and L >= 1"
        raise ValueError(f"{name}: ids_restore must have {expected}, got {tuple(ids_restore.shape)}")
    patches = ids_restore.shape[1]
    if not prefix <= count <= prefix + patches:
        expected = f"{prefix} to {prefix + patches} tokens a row"
        raise ValueError(f"{name}: tokens must have {expected}, got {tuple(tokens.shape)}")
    _check_floating(name, "mask_token", mask_token)
    dtype = torch.promote_types(tokens.dtype, mask_token.dtype)
    if positions is not None:
        _check_floating(name, "positions", positions)
        dtype = torch.promote_types(dtype, positions.dtype)
    if mask_token.shape[-1:] != (width,) or mask_token.numel() != width:
        raise ValueError(f"{name}: mask_token must have shape ({width},), got {tuple(mask_token.shape)}")
    mask_token = mask_token.reshape(width).to(dtype)
    if positions is not None:
        shape = (prefix + patches, width)
        if positions.shape not in (shape, (1, *shape)):
            raise ValueError(f"{name}: positions must have shape {shape}, got {tuple(positions.shape)}")
        positions = positions.reshape(shape).to(dtype)
    for what, other in (("mask_token", mask_token), ("ids_restore", ids_restore), ("positions", positions)):
        if other is not None and other.device != tokens.device:
            raise ValueError(f"{name}: {what} must be on {tokens.device}, like tokens, got {other.device}")
    if dtype != tokens.dtype and (tokens.dtype == torch.float32 or dtype == torch.float64):
        tokens = tokens.to(dtype)  # float64 parameters: what the operator widens by itself are half types to float32
    return _Unshuffle.apply(tokens, mask_token, positions, ids_restore.contiguous(), prefix)


def _check_floating(function: str, name: str, x: Tensor) -> None:
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    if not isinstance(x, Tensor) or x.dtype not in kinds:
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        expected = "a tensor of float32, float64, bfloat16 or float16"
        raise TypeError(f"{function}: {name} must be {expected}, got {got}")


def _unshuffle(
    tokens: Tensor, mask_token: Tensor, positions: Tensor | None, ids_restore: Tensor, prefix: int
) -> Tensor:
    positions = None if positions is None else positions.contiguous()
    tokens = contiguous_rows(tokens)
    found: Tensor = ops.patch_unshuffle(
        tokens, mask_token.contiguous(), positions, ids_restore, prefix, mask_token.dtype
    )
    return found


class _Unshuffle(torch.autograd.Function):
    """Linear in its three inputs; its derivative is ``_Gradients``, whose derivative is this again."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        mask_token: Tensor,
        positions: Tensor | None,
        ids_restore: Tensor,
        prefix: int,
    ) -> Tensor:
        ctx.save_for_backward(ids_restore)
        ctx.sizes = tokens.shape[1] - prefix, prefix, tokens.dtype
        return _unshuffle(tokens, mask_token, positions, ids_restore, prefix)

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[:3]
        found = _Gradients.apply(grad, *ctx.saved_tensors, *ctx.sizes, *needs)
        return *(g if need else None for g, need in zip(found, needs, strict=True)), None, None


class _Gradients(torch.autograd.Function):
    """Of tokens, mask token and positions, each empty where it is not needed."""

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        ids_restore: Tensor,
        keep: int,
        prefix: int,
        dtype: torch.dtype,
        need_tokens: bool,
        need_mask_token: bool,
        need_positions: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(ids_restore)
        ctx.sizes = keep, prefix
        ctx.needs = need_tokens, need_mask_token, need_positions
        tokens, mask_token, positions = ops.patch_unshuffle_backward(
            contiguous_rows(grad), ids_restore, keep, prefix, dtype, *ctx.needs
        )
        return tokens, mask_token.to(grad.dtype), positions.to(grad.dtype)

    @staticmethod
    def backward(ctx: Any, tokens: Tensor, mask_token: Tensor, positions: Tensor) -> tuple[Tensor | None, ...]:
        (ids_restore,) = ctx.saved_tensors
        keep, prefix = ctx.sizes
        need_tokens, need_mask_token, need_positions = ctx.needs
        width = tokens.shape[2]
        if not need_tokens:
            tokens = tokens.new_zeros((ids_restore.shape[0], prefix + keep, width))
        if not need_mask_token:
            mask_token = mask_token.new_zeros((width,))
        grad = _Unshuffle.apply(tokens, mask_token, positions if need_positions else None, ids_restore, prefix)
        return grad, *[None] * 7
