"""The masking operators, views of images, mixed and erased images over NumPy arrays: for DataLoader workers, tokenising
jobs and people without torch.

The same kernels as behind the torch functions: equal arguments and seed give equal bits. The GIL is released while
they run. Nothing here imports torch.
"""

from sslfast.host.audio_augment import AUDIO_PARAMS, apply_audio_params, sample_audio_params
from sslfast.host.batch_mix import mix_images, sample_mix
from sslfast.host.block_mask import block_mask, inverse_block_mask
from sslfast.host.cell_mask import grid_patch_mask
from sslfast.host.dino_mask import DinoMasks, dino_masks
from sslfast.host.feature_corruption import CountedFeatures, corrupt_features
from sslfast.host.feature_noise import add_feature_noise
from sslfast.host.frame_indices import sample_frames
from sslfast.host.graph_mask import CountedNodes, NodeMask, drop_edges, mask_nodes
from sslfast.host.gumbel_sample import electra_inputs, sample_replacements
from sslfast.host.image_augment import ImageAugment
from sslfast.host.image_views import ImageViews
from sslfast.host.item_mask import CountedItems, MaskedItems, mask_items
from sslfast.host.jepa_mask import IJepaMasks, VJepaMasks, ijepa_masks, vjepa_masks
from sslfast.host.mask_indices import CountedMask, MaskIndices, mask_indices
from sslfast.host.negative_indices import sample_negatives
from sslfast.host.pad_sequences import pad_sequences
from sslfast.host.patch_mask import CountedPatches, PatchMask, random_patch_mask
from sslfast.host.permutation_mask import CountedPermutation, PermutationMask, permutation_mask
from sslfast.host.philox_words import philox_words, step_seed
from sslfast.host.random_erase import erase_boxes, sample_erase
from sslfast.host.span_corruption import CorruptedSpans, CountedTargets, corrupt_spans, t5_lengths
from sslfast.host.spec_augment import spec_augment
from sslfast.host.square_mask import square_mask
from sslfast.host.text_augment import augment_text
from sslfast.host.text_span_mask import CountedSpans, MaskedSpans, mask_spans
from sslfast.host.time_span_mask import time_mask
from sslfast.host.token_augment import AugmentedTokens, SynonymTable, augment_tokens, synonym_table
from sslfast.host.token_mask import mask_tokens
from sslfast.host.token_rules import (
    CropTokens,
    DropTokens,
    InsertTokens,
    MaskTokens,
    ReorderTokens,
    RepeatTokens,
    ReplaceTokens,
    ShuffleSpans,
    ShuffleTokens,
    SwapTokens,
)
from sslfast.host.tube_mask import frame_mask, tube_mask
from sslfast.host.video_views import VideoViews
from sslfast.host.whole_word_mask import mask_words

__all__ = [
    "AUDIO_PARAMS",
    "AugmentedTokens",
    "CorruptedSpans",
    "CountedFeatures",
    "CountedItems",
    "CountedMask",
    "CountedNodes",
    "CountedPatches",
    "CountedPermutation",
    "CountedSpans",
    "CountedTargets",
    "CropTokens",
    "DinoMasks",
    "DropTokens",
    "IJepaMasks",
    "ImageAugment",
    "ImageViews",
    "InsertTokens",
    "MaskIndices",
    "MaskTokens",
    "MaskedItems",
    "MaskedSpans",
    "NodeMask",
    "PatchMask",
    "PermutationMask",
    "ReorderTokens",
    "RepeatTokens",
    "ReplaceTokens",
    "ShuffleSpans",
    "ShuffleTokens",
    "SwapTokens",
    "SynonymTable",
    "VJepaMasks",
    "VideoViews",
    "add_feature_noise",
    "apply_audio_params",
    "augment_text",
    "augment_tokens",
    "block_mask",
    "corrupt_features",
    "corrupt_spans",
    "dino_masks",
    "drop_edges",
    "electra_inputs",
    "erase_boxes",
    "frame_mask",
    "grid_patch_mask",
    "ijepa_masks",
    "inverse_block_mask",
    "mask_indices",
    "mask_items",
    "mask_nodes",
    "mask_spans",
    "mask_tokens",
    "mask_words",
    "mix_images",
    "pad_sequences",
    "permutation_mask",
    "philox_words",
    "random_patch_mask",
    "sample_audio_params",
    "sample_erase",
    "sample_frames",
    "sample_mix",
    "sample_negatives",
    "sample_replacements",
    "spec_augment",
    "square_mask",
    "step_seed",
    "synonym_table",
    "t5_lengths",
    "time_mask",
    "tube_mask",
    "vjepa_masks",
]
