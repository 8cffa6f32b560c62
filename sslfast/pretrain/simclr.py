"""SimCLR (Chen et al. 2020): two augmented views of an image attract each other, all others repel (NT-Xent)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.augment import SimCLRAugment
from sslfast.losses import NTXentLoss
from sslfast.masking import random_patch_mask
from sslfast.pretrain.config import PretrainConfig
from sslfast.pretrain.encoders import ImageEncoder
from sslfast.pretrain.pretraining import Pretraining, pixel_mask, projector


def augmentation(config: PretrainConfig, encoder: ImageEncoder, views: int) -> SimCLRAugment:
    """The augmentation of a run; the supervised baseline of ``sslfast evaluate`` uses the same with one view."""
    return SimCLRAugment(
        config.image_size,
        views,
        scale=(config.crop_scale, 1.0),
        hflip_prob=config.hflip,
        jitter=(config.jitter, config.jitter, config.jitter, config.jitter / 4),
        blur_prob=0.0,
        mean=tuple(encoder.mean.flatten().tolist()),
        std=tuple(encoder.std.flatten().tolist()),
    )


def erase_patches(views: Tensor, config: PretrainConfig, seed: int) -> Tensor:
    """Sets random patches of normalised views (N, C, H, W) to the mean; the share is ``erase_ratio``."""
    if config.erase_ratio == 0:
        return views
    patches = (config.image_size // config.patch_size) ** 2
    mask = random_patch_mask(len(views), patches, config.erase_ratio, generator=seed, device=views.device).mask
    return views.masked_fill(pixel_mask(mask, config.patch_size, config.image_size), 0.0)


class SimCLR(Pretraining):
    """NT-Xent between two views, through ``sslfast.augment`` and ``sslfast.losses``."""

    def __init__(self, config: PretrainConfig, encoder: ImageEncoder, steps_per_epoch: int) -> None:
        super().__init__(config, encoder, steps_per_epoch)
        self.augment = augmentation(config, encoder, views=2)
        self.projector = projector(encoder.dim, hidden=min(512, max(128, encoder.dim)), outputs=64)
        self.nt_xent = NTXentLoss(temperature=config.temperature)

    def views(self, images: Tensor, seed: int) -> Tensor:
        """Both views of uint8 images (N, C, H, W) as one normalised batch (2N, C, H, W)."""
        return erase_patches(torch.cat(self.augment(images, generator=seed)), self.config, seed)

    def loss(self, images: Tensor, seed: int) -> Tensor:
        """NT-Xent over the projections of the 2N views."""
        z0, z1 = self.projector(self.encoder.backbone(self.views(images, seed))).chunk(2)
        return self.nt_xent(z0, z1)
