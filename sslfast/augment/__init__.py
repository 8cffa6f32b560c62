"""Batched augmentation with parameters per sample: drawn apart from being applied, and applied in one pass."""

from sslfast.augment.audio import AudioAugment
from sslfast.augment.audio_augment import AUDIO_PARAMS, apply_audio_params, sample_audio_params
from sslfast.augment.frame_indices import sample_frames, take_frames
from sslfast.augment.image_augment import PARAMS, apply_params, sample_params
from sslfast.augment.resample import resample
from sslfast.augment.simclr import SimCLRAugment

__all__ = [
    "AUDIO_PARAMS",
    "PARAMS",
    "AudioAugment",
    "SimCLRAugment",
    "apply_audio_params",
    "apply_params",
    "resample",
    "sample_audio_params",
    "sample_frames",
    "sample_params",
    "take_frames",
]
