"""Batched augmentation with parameters per sample: images in, views out, in one pass."""

from sslfast.augment.auto_augment import RandAugment, TrivialAugmentWide
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
from sslfast.augment.multi_crop import DINOAugment, DINOv2Augment, MSNAugment, SwAVAugment
from sslfast.augment.output import Normalize, ToDtype
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
    "BYOLAugment",
    "CLIPAugment",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "DINOAugment",
    "DINOv2Augment",
    "GaussianBlur",
    "IJEPAAugment",
    "ImageNetAugment",
    "ImageNetEval",
    "MAEAugment",
    "MSNAugment",
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
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
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
]
