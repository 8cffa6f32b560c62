"""lightly's masks under their own names: ``lightly.models.utils``."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._patches import patch_order
from sslfast.masking.drop_in._lightly_blocks import (
    random_block_mask,
    random_block_mask_image,
    random_grid_token_mask,
    random_inverse_block_mask,
)
from sslfast.masking.mask_token_apply import apply_mask_token
from sslfast.masking.patch_gather import gather_patches

__all__ = [
    "apply_masks",
    "get_at_index",
    "mask_at_index",
    "mask_bool",
    "random_block_mask",
    "random_block_mask_image",
    "random_grid_token_mask",
    "random_inverse_block_mask",
    "random_token_mask",
]


def random_token_mask(
    size: tuple[int, int],
    mask_ratio: float = 0.6,
    mask_class_token: bool = False,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Indices of random tokens to keep and of the others.

    Like lightly it keeps ``int((L - 1) * (1 - mask_ratio)) + 1`` tokens, the class token among them and first, or
    ``int(L * (1 - mask_ratio))``, which may be none, if the class token can be masked; both computed in floats.

    Args:
        size: (N, L), rows and tokens per row, the class token counted, L at least 1.
        mask_ratio: share of the tokens that is masked, in [0, 1]. Default: 0.6.
        mask_class_token: whether the class token, the first one, can be masked. Default: False.
        device: where the indices are made. Default: torch's default device.

    Returns:
        ``(idx_keep, idx_mask)``: int64 (N, keep) and (N, L - keep), in random order.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: a number is out of range.

    Reference: lightly, ``lightly.models.utils.random_token_mask``.
    """
    name = "random_token_mask"
    rows = _check.integer(name, "size[0]", size[0], 0)
    length = _check.integer(name, "size[1]", size[1], 1, 2**32 - 1)
    ratio = _check.probability(name, "mask_ratio", mask_ratio)
    prefix = 0 if mask_class_token else 1
    like = torch.empty((), device=device)
    keep = int((length - prefix) * (1 - ratio))
    if length == prefix:  # a class token alone
        order = torch.zeros((rows, 1), dtype=torch.int64, device=like.device)
    else:
        order, _, _ = patch_order(name, like, rows, length - prefix, length - prefix, num_prefix_tokens=prefix)
    return order[:, : prefix + keep], order[:, prefix + keep :]


def get_at_index(tokens: Tensor, index: Tensor) -> Tensor:
    """``lightly.models.utils.get_at_index``: :func:`sslfast.masking.gather_patches`.

    Args:
        tokens: (N, L, D).
        index: int64 (N, K) in [0, L).

    Returns:
        (N, K, D).
    """
    return gather_patches(tokens, index)


def apply_masks(x: Tensor, masks: Tensor | list[Tensor]) -> Tensor:
    """``lightly.models.utils.apply_masks``, from I-JEPA: :func:`sslfast.masking.gather_patches`.

    Args:
        x: (N, L, D).
        masks: int64 (N, K), or a list of such tensors.

    Returns:
        (N, K, D), or (len(masks) * N, K, D).
    """
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
    """
    tokens = tokens.to(torch.promote_types(tokens.dtype, mask_token.dtype))
    return apply_mask_token(tokens, mask.to(torch.bool), mask_token)


def mask_at_index(tokens: Tensor, index: Tensor, mask_token: Tensor) -> Tensor:
    """``lightly.models.utils.mask_at_index``: :func:`mask_bool` with the mask that is True at ``index``.

    Args:
        tokens: (N, L, D).
        index: int64 (N, K) in [0, L).
        mask_token: (1, 1, D).

    Returns:
        (N, L, D), in the dtype that tokens and mask token promote to.
    """
    mask = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return mask_bool(tokens, mask.scatter(1, index, True), mask_token)
