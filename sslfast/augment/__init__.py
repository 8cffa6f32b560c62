"""Batched augmentation with parameters per sample: views of uint8 images, mixed batches, erased boxes; decoding."""

from sslfast.augment.batch_mix import MIX_PARAMS, MixedLabels, mix_images, mix_labels, sample_mix
from sslfast.augment.decode import DecodedImages, available_decoders, decode_images
from sslfast.augment.decode_collator import DecodeCollator, DecodedBatch
from sslfast.augment.decode_video import decode_video
from sslfast.augment.image_augment import PARAMS, apply_params, sample_params
from sslfast.augment.mixup import CutMix, MixUp, RandomMix
from sslfast.augment.random_erase import ERASE_PARAMS, RandomErasing, erase_boxes, sample_erase
from sslfast.augment.simclr import SimCLRAugment

__all__ = [
    "ERASE_PARAMS",
    "MIX_PARAMS",
    "PARAMS",
    "CutMix",
    "DecodeCollator",
    "DecodedBatch",
    "DecodedImages",
    "MixUp",
    "MixedLabels",
    "RandomErasing",
    "RandomMix",
    "SimCLRAugment",
    "apply_params",
    "available_decoders",
    "decode_images",
    "decode_video",
    "erase_boxes",
    "mix_images",
    "mix_labels",
    "sample_erase",
    "sample_mix",
    "sample_params",
]
