"""The masking operators over NumPy arrays, for DataLoader workers, tokenising jobs and people without torch.

The same kernels as behind the torch functions: equal arguments and seed give equal bits. The GIL is released while
they run. Nothing here imports torch.
"""

from sslfast.host.feature_corruption import corrupt_features
from sslfast.host.graph_mask import NodeMask, drop_edges, mask_nodes
from sslfast.host.negative_indices import sample_negatives
from sslfast.host.patch_mask import PatchMask, random_patch_mask
from sslfast.host.philox_words import philox_words, step_seed
from sslfast.host.spec_augment import spec_augment
from sslfast.host.time_span_mask import time_mask
from sslfast.host.token_mask import mask_tokens

__all__ = [
    "NodeMask",
    "PatchMask",
    "corrupt_features",
    "drop_edges",
    "mask_nodes",
    "mask_tokens",
    "philox_words",
    "random_patch_mask",
    "sample_negatives",
    "spec_augment",
    "step_seed",
    "time_mask",
]
