"""Batched augmentation with parameters per sample: images in, views out, in one pass."""

from sslfast.augment.auto_augment import RandAugment, TrivialAugmentWide
from sslfast.augment.batch_mix import MIX_PARAMS, MixedLabels, mix_images, mix_labels, sample_mix
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
from sslfast.augment.geometry import (
    CenterCrop,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)
from sslfast.augment.mixup import CutMix, MixUp, RandomMix
from sslfast.augment.multi_crop import DINOAugment, DINOv2Augment, MSNAugment, SwAVAugment
from sslfast.augment.output import Normalize, ToDtype
from sslfast.augment.random_erase import ERASE_PARAMS, RandomErasing, erase_boxes, sample_erase
from sslfast.augment.recipes import (
    BYOLAugment,
    MoCoV1Augment,
    MoCoV2Augment,
    MoCoV3Augment,
    SimCLRAugment,
    SimSiamAugment,
)
from sslfast.augment.single_view import CLIPAugment, IJEPAAugment, ImageNetAugment, ImageNetEval, MAEAugment

__all__ = [
    "ERASE_PARAMS",
    "MIX_PARAMS",
    "BYOLAugment",
    "CLIPAugment",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CutMix",
    "DINOAugment",
    "DINOv2Augment",
    "DecodeCollator",
    "DecodedBatch",
    "DecodedImages",
    "GaussianBlur",
    "IJEPAAugment",
    "ImageNetAugment",
    "ImageNetEval",
    "MAEAugment",
    "MSNAugment",
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
    "Resize",
    "SimCLRAugment",
    "SimSiamAugment",
    "SwAVAugment",
    "ToDtype",
    "TrivialAugmentWide",
    "available_decoders",
    "decode_images",
    "decode_video",
    "erase_boxes",
    "mix_images",
    "mix_labels",
    "sample_erase",
    "sample_mix",
]
