"""Masking rules: token and patch masks from counter-based draws, equal on every device."""

from sslfast.masking.mask_indices import MaskIndices, mask_indices
from sslfast.masking.mask_token_apply import apply_mask_token
from sslfast.masking.patch_gather import gather_patches
from sslfast.masking.patch_mask import PatchMask, mask_patches, random_patch_mask
from sslfast.masking.patch_unshuffle import unshuffle_patches
from sslfast.masking.token_mask import mask_tokens

__all__ = [
    "MaskIndices",
    "PatchMask",
    "apply_mask_token",
    "gather_patches",
    "mask_indices",
    "mask_patches",
    "mask_tokens",
    "random_patch_mask",
    "unshuffle_patches",
]
