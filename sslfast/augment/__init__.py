"""Batched augmentation with parameters per sample: uint8 images in, normalised views out, in one pass."""

from sslfast.augment.image_augment import PARAMS, apply_params, sample_params
from sslfast.augment.simclr import SimCLRAugment

__all__ = ["PARAMS", "SimCLRAugment", "apply_params", "sample_params"]
