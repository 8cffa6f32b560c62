"""Batched augmentation with parameters per sample: images in, views out, in one pass."""

from sslfast.augment.affine import RandomAffine, RandomRotation
from sslfast.augment.audio import AudioAugment
from sslfast.augment.audio_augment import AUDIO_PARAMS, apply_audio_params, sample_audio_params
from sslfast.augment.auto_augment import RandAugment, TrivialAugmentWide
from sslfast.augment.batch_mix import MIX_PARAMS, MixedLabels, mix_images, mix_labels, sample_mix
from sslfast.augment.byol import BYOLAugment, MoCoV3Augment
from sslfast.augment.colour import (
    ColorJitter,
    GaussianBlur,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from sslfast.augment.compose import Compose, MultiView
from sslfast.augment.decode import DecodedImages, available_decoders, decode_images
from sslfast.augment.decode_collator import DecodeCollator, DecodedBatch
from sslfast.augment.decode_video import decode_video
from sslfast.augment.feature_noise import add_feature_noise
from sslfast.augment.frame_indices import sample_frames, take_frames
from sslfast.augment.geometry import (
    CenterCrop,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from sslfast.augment.item_augment import CL4SRecAugment, crop_items, reorder_items
from sslfast.augment.mixup import CutMix, MixUp, RandomMix
from sslfast.augment.multi_crop import DINOAugment, DINOv2Augment
from sslfast.augment.output import Normalize, ToDtype
from sslfast.augment.random_erase import ERASE_PARAMS, RandomErasing, erase_boxes, sample_erase
from sslfast.augment.recipes import MoCoV1Augment, MoCoV2Augment, SimCLRAugment, SimSiamAugment
from sslfast.augment.resample import resample
from sslfast.augment.single_view import CLIPAugment, IJEPAAugment, ImageNetAugment, ImageNetEval, MAEAugment
from sslfast.augment.swav import MSNAugment, SwAVAugment
from sslfast.augment.text_augment import BackTranslation, augment_text
from sslfast.augment.token_augment import AugmentedTokens, SynonymTable, augment_tokens, synonym_table
from sslfast.augment.video import VideoTransform
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
    "AUDIO_PARAMS",
    "ERASE_PARAMS",
    "MIX_PARAMS",
    "AudioAugment",
    "AugmentedTokens",
    "BYOLAugment",
    "BackTranslation",
    "CL4SRecAugment",
    "CLIPAugment",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CropTokens",
    "CutMix",
    "DINOAugment",
    "DINOv2Augment",
    "DecodeCollator",
    "DecodedBatch",
    "DecodedImages",
    "DropTokens",
    "GaussianBlur",
    "IJEPAAugment",
    "ImageNetAugment",
    "ImageNetEval",
    "InsertTokens",
    "MAEAugment",
    "MSNAugment",
    "MaskTokens",
    "MixUp",
    "MixedLabels",
    "MoCoV1Augment",
    "MoCoV2Augment",
    "MoCoV3Augment",
    "MultiView",
    "Normalize",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomMix",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "ReorderTokens",
    "RepeatTokens",
    "ReplaceTokens",
    "Resize",
    "ShuffleSpans",
    "ShuffleTokens",
    "SimCLRAugment",
    "SimSiamAugment",
    "SwAVAugment",
    "SwapTokens",
    "SynonymTable",
    "ToDtype",
    "TrivialAugmentWide",
    "VideoTransform",
    "add_feature_noise",
    "apply_audio_params",
    "augment_text",
    "augment_tokens",
    "available_decoders",
    "crop_items",
    "decode_images",
    "decode_video",
    "erase_boxes",
    "mix_images",
    "mix_labels",
    "reorder_items",
    "resample",
    "sample_audio_params",
    "sample_erase",
    "sample_frames",
    "sample_mix",
    "synonym_table",
    "take_frames",
]
