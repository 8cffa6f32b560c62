"""Batched augmentation with draws per sample: images to normalised views, tokens and item sequences, text, features."""

from sslfast.augment.feature_noise import add_feature_noise
from sslfast.augment.image_augment import PARAMS, apply_params, sample_params
from sslfast.augment.item_augment import CL4SRecAugment, crop_items, reorder_items
from sslfast.augment.simclr import SimCLRAugment
from sslfast.augment.text_augment import BackTranslation, augment_text
from sslfast.augment.token_augment import AugmentedTokens, SynonymTable, augment_tokens, synonym_table
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

__all__ = [
    "PARAMS",
    "AugmentedTokens",
    "BackTranslation",
    "CL4SRecAugment",
    "CropTokens",
    "DropTokens",
    "InsertTokens",
    "MaskTokens",
    "ReorderTokens",
    "RepeatTokens",
    "ReplaceTokens",
    "ShuffleSpans",
    "ShuffleTokens",
    "SimCLRAugment",
    "SwapTokens",
    "SynonymTable",
    "add_feature_noise",
    "apply_params",
    "augment_text",
    "augment_tokens",
    "crop_items",
    "reorder_items",
    "sample_params",
    "synonym_table",
]
