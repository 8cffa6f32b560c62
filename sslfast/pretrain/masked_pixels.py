"""Masked pixels (SimMIM, Xie et al. 2022, with a residual network): hide patches of the image, predict their pixels."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from sslfast.losses import masked_patch_loss
from sslfast.masking import random_patch_mask
from sslfast.pretrain.config import PretrainConfig
from sslfast.pretrain.encoders import ImageEncoder, SmallResNet
from sslfast.pretrain.pretraining import Pretraining, pixel_mask


class MaskedPixels(Pretraining):
    """Mean squared error on the hidden pixels alone; the decoder is two convolutions and a pixel shuffle."""

    def __init__(self, config: PretrainConfig, encoder: ImageEncoder, steps_per_epoch: int) -> None:
        super().__init__(config, encoder, steps_per_epoch)
        self.decoder = nn.Sequential(
            nn.Conv2d(self.resnet.map_channels, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, encoder.mean.numel() * self.resnet.stride**2, 1),
            nn.PixelShuffle(self.resnet.stride),
        )

    @property
    def resnet(self) -> SmallResNet:
        """The encoder's network."""
        return cast(SmallResNet, self.encoder.backbone)

    def predict(self, images: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the normalised images, the predicted ones (N, C, H, W) and the hidden patches (N, L)."""
        size, patch = self.config.image_size, self.config.patch_size
        pixels = self.encoder.normalise(images)
        drawn = random_patch_mask(
            len(images), (size // patch) ** 2, self.config.mask_ratio, generator=seed, device=images.device
        )
        # Zero is the mean grey of the data after normalisation.
        features = self.resnet.feature_map(pixels.masked_fill(pixel_mask(drawn.mask, patch, size), 0.0))
        # The feature map of a side that the stride does not divide is rounded up: the surplus is cut off.
        return pixels, self.decoder(self.resnet.dropout(features))[..., :size, :size], drawn.mask

    def loss(self, images: Tensor, seed: int) -> Tensor:
        """Mean squared error over the hidden pixels, in units of the standard deviation of the data."""
        pixels, predicted, mask = self.predict(images, seed)
        return masked_patch_loss(predicted, pixels, mask, self.config.patch_size)

    def reconstruct(self, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Normalised images with patches hidden, and the same with the predicted pixels in their place."""
        pixels, predicted, drawn = self.predict(images, seed)
        mask = pixel_mask(drawn, self.config.patch_size, self.config.image_size)
        return pixels.masked_fill(mask, 0.0), pixels.where(~mask, predicted)
