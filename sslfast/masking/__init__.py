"""Masking rules: token and patch masks from counter-based draws, equal on every device."""

from sslfast.masking.feature_corruption import corrupt_features
from sslfast.masking.graph_mask import NodeMask, drop_edges, mask_nodes
from sslfast.masking.mask_indices import MaskIndices, mask_indices
from sslfast.masking.negative_indices import sample_negatives
from sslfast.masking.patch_mask import PatchMask, mask_patches, random_patch_mask
from sslfast.masking.spec_augment import spec_augment
from sslfast.masking.speech_collator import SpeechCollator
from sslfast.masking.time_span_mask import time_mask
from sslfast.masking.token_mask import mask_tokens

__all__ = [
    "MaskIndices",
    "NodeMask",
    "PatchMask",
    "SpeechCollator",
    "corrupt_features",
    "drop_edges",
    "mask_indices",
    "mask_nodes",
    "mask_patches",
    "mask_tokens",
    "random_patch_mask",
    "sample_negatives",
    "spec_augment",
    "time_mask",
]
