"""Masking rules: token and patch masks from counter-based draws, equal on every device."""

from sslfast.masking.gumbel_sample import electra_inputs, sample_replacements
from sslfast.masking.item_collator import ItemCollator
from sslfast.masking.item_mask import MaskedItems, mask_items
from sslfast.masking.mask_indices import MaskIndices, mask_indices
from sslfast.masking.patch_mask import PatchMask, mask_patches, random_patch_mask
from sslfast.masking.permutation_mask import PermutationMask, permutation_mask
from sslfast.masking.span_corruption import CorruptedSpans, corrupt_spans, t5_lengths
from sslfast.masking.t5_collator import T5Collator
from sslfast.masking.text_span_mask import MaskedSpans, mask_spans
from sslfast.masking.token_mask import mask_tokens

__all__ = [
    "CorruptedSpans",
    "ItemCollator",
    "MaskIndices",
    "MaskedItems",
    "MaskedSpans",
    "PatchMask",
    "PermutationMask",
    "T5Collator",
    "corrupt_spans",
    "electra_inputs",
    "mask_indices",
    "mask_items",
    "mask_patches",
    "mask_spans",
    "mask_tokens",
    "permutation_mask",
    "random_patch_mask",
    "sample_replacements",
    "t5_lengths",
]
