"""lightly's selections of tokens: lightly 1.6, ``lightly.models.utils``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import _check
from sslfast._autograd import traced_once
from sslfast.masking._arguments import errors_of, in_range
from sslfast.masking.mask_token_apply import apply_mask_token, mask_token_gradient
from sslfast.masking.patch_gather import gather_patches

__all__ = ["apply_masks", "get_at_index", "mask_at_index", "mask_bool", "repeat_token", "set_at_index"]


def get_at_index(tokens: Tensor, index: Tensor) -> Tensor:
    """``lightly.models.utils.get_at_index``: :func:`sslfast.masking.gather_patches`.

    Args:
        tokens: (N, L, D).
        index: int64 (N, K) in [0, L).

    Returns:
        (N, K, D).

    Raises:
        TypeError, ValueError: as :func:`sslfast.masking.gather_patches`.
    """
    with errors_of("get_at_index", x="tokens", ids="index"):
        return gather_patches(tokens, index)


def apply_masks(x: Tensor, masks: Tensor | list[Tensor]) -> Tensor:
    """``lightly.models.utils.apply_masks``, from I-JEPA: :func:`sslfast.masking.gather_patches`.

    Args:
        x: (N, L, D).
        masks: int64 (N, K), or a list of such tensors.

    Returns:
        (N, K, D), or (len(masks) * N, K, D).

    Raises:
        TypeError, ValueError: as :func:`sslfast.masking.gather_patches`.
    """
    with errors_of("apply_masks", ids="masks"):
        return gather_patches(x, masks)


def mask_bool(tokens: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    """``lightly.models.utils.mask_bool``: :func:`sslfast.masking.apply_mask_token`.

    lightly multiplies by the mask, so that a NaN in a masked token reaches the result and every gradient; here it is
    never read.

    Args:
        tokens: (N, L, D).
        mask: (N, L), True where masked.
        mask_token: (1, 1, D).

    Returns:
        (N, L, D), in the dtype that tokens and mask token promote to.

    Raises:
        TypeError, ValueError: as :func:`sslfast.masking.apply_mask_token`.
    """
    for name, value in (("tokens", tokens), ("mask", mask), ("mask_token", mask_token)):
        _check_tensor("mask_bool", name, value)
    return _masked("mask_bool", tokens, mask.to(torch.bool), mask_token)


def _masked(function: str, tokens: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    tokens = tokens.to(torch.promote_types(tokens.dtype, mask_token.dtype))
    with errors_of(function, x="tokens"):
        return apply_mask_token(tokens, mask, mask_token)


def mask_at_index(tokens: Tensor, index: Tensor, mask_token: Tensor) -> Tensor:
    """``lightly.models.utils.mask_at_index``: :func:`mask_bool` with the mask that is True at ``index``.

    Args:
        tokens: (N, L, D).
        index: int64 (N, K) in [0, L).
        mask_token: (1, 1, D).

    Returns:
        (N, L, D), in the dtype that tokens and mask token promote to.

    Raises:
        TypeError: an argument is not a tensor of the right type.
        ValueError: a shape or device does not fit, or, on the CPU, an index is out of range. On a GPU such an index is
            torch's error, as in lightly.
    """
    name = "mask_at_index"
    _check_index(name, tokens, index)
    _check_tensor(name, "mask_token", mask_token)
    mask = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return _masked(name, tokens, mask.scatter(1, index, True), mask_token)


def repeat_token(token: Tensor, size: tuple[int, int]) -> Tensor:
    """``lightly.models.utils.repeat_token``, as a view: one token seen at every place.

    Nothing is copied, so that the result cannot be changed in place; ``clone()`` it for that. :func:`set_at_index`
    reads it once, and its gradient goes to ``token`` in one pass, without one for each place.

    Args:
        token: (1, 1, D).
        size: (N, L).

    Returns:
        (N, L, D).

    Raises:
        TypeError: ``token`` is not a tensor.
        ValueError: ``token`` is not one token, or ``size`` not (N, L).
    """
    name = "repeat_token"
    _check_tensor(name, "token", token)
    if token.dim() == 0 or token.numel() != token.shape[-1]:
        raise ValueError(f"{name}: token must have shape (1, 1, D), got {tuple(token.shape)}")
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"{name}: size must be (batch size, sequence length), got {size}")
    rows, length = (_check.integer(name, "size", side, 0) for side in size)
    if not torch.is_grad_enabled():
        token = token.detach()  # a view made here would go on requiring a gradient
    return token.reshape(1, 1, -1).expand(rows, length, -1)


def set_at_index(tokens: Tensor, index: Tensor, value: Tensor) -> Tensor:
    """``lightly.models.utils.set_at_index``: ``torch.scatter(tokens, 1, index[..., None].expand_as(value), value)``.

    Rows are copied, without an index for each element. Gradients are one pass each, that of ``tokens`` zero at
    ``index``, and twice differentiable. Where a place stands in ``index`` several times one of its values is taken, and
    the gradient of all of them is that of the place, as there.

    Args:
        tokens: (N, L, D), any strides; of a view by :func:`repeat_token` the token alone gets a gradient.
        index: int64 (N, K) in [0, L).
        value: (N, K, D), type of ``tokens``.

    Returns:
        (N, L, D), a new tensor.

    Raises:
        TypeError: an argument is not a tensor, ``index`` not int64, or ``value`` of another type than ``tokens``.
        ValueError: a shape or device does not fit, or, on the CPU, an index is out of range. On a GPU such an index is
            torch's error, as in lightly.
    """
    name = "set_at_index"
    _check_index(name, tokens, index)
    _check_tensor(name, "value", value)
    if value.dtype != tokens.dtype:
        raise TypeError(f"{name}: value must be {tokens.dtype}, like tokens, got {value.dtype}")
    if value.shape != (*index.shape, tokens.shape[2]):
        expected = (*index.shape, tokens.shape[2])
        raise ValueError(f"{name}: value must have shape {expected}, got {tuple(value.shape)}")
    if value.device != tokens.device:
        raise ValueError(f"{name}: value must be on {tokens.device}, like tokens, got {value.device}")
    token = _repeated(tokens)
    out: Tensor
    if token is None:
        out = _Set.apply(tokens, index, value)
    else:
        out = _SetAmongOne.apply(token.view(-1), index, value, tokens.shape[1])
    return out


def _repeated(tokens: Tensor) -> Tensor | None:
    """The token that :func:`repeat_token` made ``tokens`` of, or None.

    A gradient of the view would be a tensor of its size, which is only summed up again.
    """
    if torch.compiler.is_compiling() or tokens.stride() != (0, 0, 1) or not tokens.is_floating_point():
        return None
    token = tokens._base
    if token is None or token.numel() != tokens.shape[2] or not token.is_contiguous():
        return None
    detached = token.requires_grad and tokens.grad_fn is None
    return None if detached or token.data_ptr() != tokens.data_ptr() else token


def _set_rows(tokens: Tensor, index: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The result, and a mask that is True at ``index``."""
    rows, length, width = tokens.shape
    mask = torch.zeros((rows, length), dtype=torch.bool, device=index.device)
    mask.scatter_(1, index, True)  # which looks for what is out of range
    out = tokens.clone(memory_format=torch.contiguous_format)
    flat = (index + torch.arange(rows, device=index.device)[:, None] * length).flatten()
    out.view(rows * length, width).index_copy_(0, flat, value.reshape(index.numel(), width))
    return out, mask


class _SetAmongOne(torch.autograd.Function):
    """Linear in the one token (D,) and in value."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, index: Tensor, value: Tensor, length: int) -> Tensor:
        out, mask = _set_rows(token.expand(len(index), length, -1), index, value)
        ctx.save_for_backward(index, ~mask)
        ctx.dtype = token.dtype
        return out

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        index, elsewhere = ctx.saved_tensors
        of_token, _, of_value, _ = ctx.needs_input_grad
        return (
            mask_token_gradient(grad, elsewhere, ctx.dtype) if of_token else None,
            None,
            gather_patches(grad, index) if of_value else None,
            None,
        )


class _Set(torch.autograd.Function):
    """Linear in tokens and value."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, index: Tensor, value: Tensor) -> Tensor:
        out, mask = _set_rows(tokens, index, value)
        ctx.save_for_backward(index, mask)
        return out

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        index, mask = ctx.saved_tensors
        of_tokens, _, of_value = ctx.needs_input_grad
        return (
            apply_mask_token(grad, mask, grad.new_zeros(grad.shape[2])) if of_tokens else None,
            None,
            gather_patches(grad, index) if of_value else None,
        )


def _check_tensor(function: str, name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: {name} must be a tensor, got {type(value).__name__}")


def _check_index(function: str, tokens: Any, index: Any) -> None:
    _check_tensor(function, "tokens", tokens)
    if tokens.dim() != 3:
        raise ValueError(f"{function}: tokens must have shape (N, L, D), got {tuple(tokens.shape)}")
    if not isinstance(index, Tensor) or index.dtype != torch.int64:
        got = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise TypeError(f"{function}: index must be an int64 tensor, got {got}")
    if index.dim() != 2 or index.shape[0] != tokens.shape[0]:
        rows = tokens.shape[0]
        raise ValueError(f"{function}: index must have shape (N, K) with N = {rows}, got {tuple(index.shape)}")
    if index.device != tokens.device:
        raise ValueError(f"{function}: index must be on {tokens.device}, like tokens, got {index.device}")
    in_range(function, "index", index, 0, tokens.shape[1] - 1)
