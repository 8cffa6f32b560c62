"""The masking operators over NumPy arrays, for DataLoader workers, tokenising jobs and people without torch.

The same kernels as behind the torch functions: equal arguments and seed give equal bits. The GIL is released while
they run. Nothing here imports torch.
"""

from sslfast.host.gumbel_sample import sample_replacements
from sslfast.host.item_mask import MaskedItems, mask_items
from sslfast.host.patch_mask import PatchMask, random_patch_mask
from sslfast.host.permutation_mask import PermutationMask, permutation_mask
from sslfast.host.philox_words import philox_words, step_seed
from sslfast.host.span_corruption import CorruptedSpans, corrupt_spans, t5_lengths
from sslfast.host.text_span_mask import MaskedSpans, mask_spans
from sslfast.host.token_mask import mask_tokens

__all__ = [
    "CorruptedSpans",
    "MaskedItems",
    "MaskedSpans",
    "PatchMask",
    "PermutationMask",
    "corrupt_spans",
    "mask_items",
    "mask_spans",
    "mask_tokens",
    "permutation_mask",
    "philox_words",
    "random_patch_mask",
    "sample_replacements",
    "step_seed",
    "t5_lengths",
]
