"""What the rules about patches share: the order of a row's patches, and the copies with their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast._autograd import traced_once
from sslfast.masking._arguments import numbered_rows, strided
from sslfast.random import Generator, seed_tensor

Order = tuple[Tensor, Tensor, Tensor]


def patch_order(
    function: str,
    like: Tensor,
    rows: int,
    patches: int,
    keep: int,
    *,
    noise: Tensor | None = None,
    num_prefix_tokens: int = 0,
    order: str = "random",
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Order:
    """``(ids_keep, ids_restore, mask)`` on the device of ``like``; what the public functions check is taken as right.

    Raises:
        TypeError: ``noise``, the generator or a number has the wrong type.
        ValueError: ``order`` is unknown, ``noise`` has another shape or device or stands beside a source of draws, a
            number is out of range, or the generator is on another GPU.
    """
    _check.one_of(function, "order", order, ("random", "sorted"))
    numbers, row_offset = numbered_rows(function, sample_ids, row_offset, rows, like.device)
    if noise is None:
        seed = seed_tensor(generator, function=function, device=like.device)
    else:
        noise = checked_noise(function, noise, (rows, patches), like.device)
        if generator is not None or sample_ids is not None or row_offset != 0:
            raise ValueError(f"{function}: generator, sample_ids and row_offset must not be given beside noise")
        seed = seed_tensor(0)
    arguments = (rows, patches, keep, row_offset, num_prefix_tokens, order == "sorted", noise)
    results: Order = ops.patch_mask(like.detach(), seed, numbers, *arguments)
    return results


def checked_noise(function: str, noise: Tensor, shape: tuple[int, int], device: torch.device) -> Tensor:
    """The noise in a type that the operator takes.

    Raises:
        TypeError: if it is no floating-point tensor.
        ValueError: if it has another shape or is on another device.
    """
    if not isinstance(noise, Tensor) or not noise.is_floating_point():
        got = noise.dtype if isinstance(noise, Tensor) else type(noise).__name__
        raise TypeError(f"{function}: noise must be a floating-point tensor, got {got}")
    if noise.shape != shape:
        raise ValueError(f"{function}: noise must have shape {shape}, one number a patch, got {tuple(noise.shape)}")
    if noise.device != device:
        raise ValueError(f"{function}: noise must be on {device}, got {noise.device}")
    return noise.detach() if noise.dtype in (torch.float32, torch.float64) else noise.detach().float()


def prefix_tokens(function: str, num_prefix_tokens: int) -> int:
    """Returns the number of tokens that always stay.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is negative.
    """
    return _check.integer(function, "num_prefix_tokens", num_prefix_tokens, 0)


def patches_of(function: str, name: str, x: Tensor, least: int = 1) -> None:
    """Checks a tensor of patches.

    Raises:
        TypeError: if it is no plain tensor, or its elements are larger than 8 bytes.
        ValueError: if it has no shape (N, L, D) with L >= ``least``.
    """
    strided(function, name, x)
    if x.dtype == torch.complex128:
        raise TypeError(f"{function}: {name} must have elements of at most 8 bytes, got {x.dtype}")
    if x.dim() != 3 or x.shape[1] < least:
        at_least = f" with L >= {least}" if least else ""
        raise ValueError(f"{function}: {name} must have shape (N, L, D){at_least}, got {tuple(x.shape)}")


def contiguous_rows(grad: Tensor) -> Tensor:
    """The gradient as the operators take it: the elements of a row side by side."""
    return grad if grad.stride(2) == 1 else grad.contiguous()


def kept_rows(x: Tensor, ids_keep: Tensor, ids_restore: Tensor) -> Tensor:
    """``x`` at ``ids_keep``, the first places of the order whose inverse is ``ids_restore``."""
    kept: Tensor = _Gather.apply(x, ids_keep, ids_restore)
    return kept


class _Gather(torch.autograd.Function):
    """(N, L, D) -> (N, keep, D); its derivative is ``_Scatter``, whose derivative is this again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ids_keep: Tensor, ids_restore: Tensor) -> Tensor:
        ctx.save_for_backward(ids_keep, ids_restore)
        return ops.patch_gather(x, ids_keep)

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Scatter.apply(grad, *ctx.saved_tensors), None, None


class _Scatter(torch.autograd.Function):
    """(N, keep, D) -> (N, L, D), zero where the patch was dropped."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, ids_keep: Tensor, ids_restore: Tensor) -> Tensor:
        ctx.save_for_backward(ids_keep, ids_restore)
        return ops.patch_scatter(grad, ids_restore)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(grad, *ctx.saved_tensors), None, None
