"""Masking rules: token and patch masks from counter-based draws, equal on every device."""

from sslfast.masking.block_mask import block_mask, inverse_block_mask
from sslfast.masking.cell_mask import grid_patch_mask
from sslfast.masking.dino_mask import DinoMasks, dino_masks
from sslfast.masking.feature_corruption import CountedFeatures, corrupt_features
from sslfast.masking.graph_mask import CountedNodes, NodeMask, drop_edges, mask_nodes
from sslfast.masking.gumbel_sample import electra_inputs, sample_replacements
from sslfast.masking.ijepa_collator import IJEPACollator
from sslfast.masking.item_collator import ItemCollator
from sslfast.masking.item_mask import CountedItems, MaskedItems, mask_items
from sslfast.masking.jepa_mask import IJepaMasks, VJepaMasks, ijepa_masks, vjepa_masks
from sslfast.masking.mask_indices import CountedMask, MaskIndices, mask_indices
from sslfast.masking.mask_token_apply import apply_mask_token
from sslfast.masking.masked_patch_collator import MaskedPatchCollator
from sslfast.masking.mlm_collator import MLMCollator
from sslfast.masking.negative_indices import sample_negatives
from sslfast.masking.patch_gather import gather_patches
from sslfast.masking.patch_mask import CountedPatches, PatchMask, mask_patches, random_patch_mask
from sslfast.masking.patch_unshuffle import unshuffle_patches
from sslfast.masking.permutation_mask import CountedPermutation, PermutationMask, permutation_mask
from sslfast.masking.span_corruption import CorruptedSpans, CountedTargets, corrupt_spans, t5_lengths
from sslfast.masking.spec_augment import spec_augment
from sslfast.masking.speech_collator import SpeechCollator
from sslfast.masking.square_mask import square_mask
from sslfast.masking.t5_collator import T5Collator
from sslfast.masking.text_span_mask import CountedSpans, MaskedSpans, mask_spans
from sslfast.masking.time_span_mask import time_mask
from sslfast.masking.token_mask import mask_tokens
from sslfast.masking.tube_mask import frame_mask, tube_mask
from sslfast.masking.whole_word_collator import WholeWordCollator
from sslfast.masking.whole_word_mask import mask_words

__all__ = [
    "CorruptedSpans",
    "CountedFeatures",
    "CountedItems",
    "CountedMask",
    "CountedNodes",
    "CountedPatches",
    "CountedPermutation",
    "CountedSpans",
    "CountedTargets",
    "DinoMasks",
    "IJEPACollator",
    "IJepaMasks",
    "ItemCollator",
    "MLMCollator",
    "MaskIndices",
    "MaskedItems",
    "MaskedPatchCollator",
    "MaskedSpans",
    "NodeMask",
    "PatchMask",
    "PermutationMask",
    "SpeechCollator",
    "T5Collator",
    "VJepaMasks",
    "WholeWordCollator",
    "apply_mask_token",
    "block_mask",
    "corrupt_features",
    "corrupt_spans",
    "dino_masks",
    "drop_edges",
    "electra_inputs",
    "frame_mask",
    "gather_patches",
    "grid_patch_mask",
    "ijepa_masks",
    "inverse_block_mask",
    "mask_indices",
    "mask_items",
    "mask_nodes",
    "mask_patches",
    "mask_spans",
    "mask_tokens",
    "mask_words",
    "permutation_mask",
    "random_patch_mask",
    "sample_negatives",
    "sample_replacements",
    "spec_augment",
    "square_mask",
    "t5_lengths",
    "time_mask",
    "tube_mask",
    "unshuffle_patches",
    "vjepa_masks",
]
