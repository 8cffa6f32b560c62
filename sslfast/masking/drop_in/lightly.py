"""lightly's masks and selections of tokens under their own names: ``lightly.models.utils``."""

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
from sslfast.masking.drop_in._lightly_tokens import (
    apply_masks,
    get_at_index,
    mask_at_index,
    mask_bool,
    repeat_token,
    set_at_index,
)

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
    "repeat_token",
    "set_at_index",
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
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"{name}: size must be (batch size, sequence length), got {size}")
    rows = _check.integer(name, "size[0]", size[0], 0)
    length = _check.integer(name, "size[1]", size[1], 1, 2**32 - 1)
    ratio = _check.probability(name, "mask_ratio", mask_ratio)
    prefix = 0 if _check.boolean(name, "mask_class_token", mask_class_token) else 1
    like = torch.empty((), device=device)
    keep = int((length - prefix) * (1 - ratio))
    if length == prefix:  # a class token alone
        order = torch.zeros((rows, 1), dtype=torch.int64, device=like.device)
    else:
        order, _, _ = patch_order(name, like, rows, length - prefix, length - prefix, num_prefix_tokens=prefix)
    return order[:, : prefix + keep], order[:, prefix + keep :]
