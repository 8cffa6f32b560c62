"""Masking rules: token and patch masks from counter-based draws, equal on every device."""

from sslfast.masking.mask_indices import MaskIndices, mask_indices
from sslfast.masking.mlm_collator import MLMCollator
from sslfast.masking.patch_mask import PatchMask, mask_patches, random_patch_mask
from sslfast.masking.token_mask import mask_tokens
from sslfast.masking.whole_word_collator import WholeWordCollator
from sslfast.masking.whole_word_mask import mask_words

__all__ = [
    "MLMCollator",
    "MaskIndices",
    "PatchMask",
    "WholeWordCollator",
    "mask_indices",
    "mask_patches",
    "mask_tokens",
    "mask_words",
    "random_patch_mask",
]
