"""The masking operators over NumPy arrays, for DataLoader workers, tokenising jobs and people without torch.

The same kernels as behind the torch functions: equal arguments and seed give equal bits. The GIL is released while
they run. Nothing here imports torch.
"""

from sslfast.host.cell_mask import frame_mask, grid_patch_mask, tube_mask
from sslfast.host.negative_indices import sample_negatives
from sslfast.host.pad_sequences import pad_sequences
from sslfast.host.patch_mask import PatchMask, random_patch_mask
from sslfast.host.philox_words import philox_words, step_seed
from sslfast.host.span_corruption import CorruptedSpans, corrupt_spans, t5_lengths
from sslfast.host.time_span_mask import time_mask
from sslfast.host.token_mask import mask_tokens
from sslfast.host.whole_word_mask import mask_words

__all__ = [
    "CorruptedSpans",
    "PatchMask",
    "corrupt_spans",
    "frame_mask",
    "grid_patch_mask",
    "mask_tokens",
    "mask_words",
    "pad_sequences",
    "philox_words",
    "random_patch_mask",
    "sample_negatives",
    "step_seed",
    "t5_lengths",
    "time_mask",
    "tube_mask",
]
