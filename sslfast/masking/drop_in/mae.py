"""The masking of facebookresearch/mae under its own name; Hugging Face's ViTMAE has the same as a method."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._patches import kept_rows, patch_order, patches_of


def random_masking(x: Tensor, mask_ratio: float, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """``MaskedAutoencoderViT.random_masking(x, mask_ratio)``, and with noise ViTMAE's.

    Like the peers it keeps ``int(L * (1 - mask_ratio))`` patches, computed in floats: of 10 patches at ratio 0.9 it
    keeps none and of 100 at 0.8 it keeps 19. :func:`sslfast.masking.mask_patches` counts exactly.

    Args:
        x: patches, shape (N, L, D), any strides, elements of at most 8 bytes.
        mask_ratio: share of the patches that is masked, in [0, 1].
        noise: floating point (N, L): the order instead of draws; the result is then that of the peers with the same
            noise, bit for bit. Default: None, a seed from torch's global generator.

    Returns:
        ``(x_masked, mask, ids_restore)``: (N, keep, D), the patches that stay; (N, L) in torch's default dtype, 0 where
        kept and 1 where removed; int64 (N, L).

    Raises:
        TypeError: ``x`` or ``noise`` is not a tensor of the right type, or the ratio is not a number.
        ValueError: a shape or device does not fit, or the ratio is outside [0, 1].

    Reference: facebookresearch/mae, ``models_mae.py``; transformers, ``ViTMAEEmbeddings.random_masking``.
    """
    name = "random_masking"
    patches_of(name, "x", x)
    rows, length = x.shape[:2]
    keep = int(length * (1 - _check.probability(name, "mask_ratio", mask_ratio)))
    ids_keep, ids_restore, mask = patch_order(name, x, rows, length, keep, noise=noise)
    return kept_rows(x, ids_keep, ids_restore), mask.to(torch.get_default_dtype()), ids_restore
