"""Masked autoencoder (He et al. 2022): a transformer sees the kept patches, a light decoder predicts the others."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from sslfast.losses import masked_patch_loss
from sslfast.masking import mask_patches, unshuffle_patches
from sslfast.pretrain.config import PretrainConfig
from sslfast.pretrain.encoders import ImageEncoder, SmallViT, patchify, transformer, unpatchify
from sslfast.pretrain.pretraining import Pretraining

_NORM_PIX_EPS = 1e-6


class MAE(Pretraining):
    """Mean squared error on the masked patches, each normalised by its own mean and variance (norm-pix loss)."""

    def __init__(self, config: PretrainConfig, encoder: ImageEncoder, steps_per_epoch: int) -> None:
        super().__init__(config, encoder, steps_per_epoch)
        dim = max(32, encoder.dim // 2)
        self.decoder_embed = nn.Linear(encoder.dim, dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.decoder_position = nn.Parameter(torch.randn(1, self.vit.num_patches, dim) * 0.02)
        self.decoder_blocks = transformer(dim, depth=1, heads=2, dropout=0.0)
        self.decoder_pixels = nn.Linear(dim, encoder.mean.numel() * config.patch_size**2)

    @property
    def vit(self) -> SmallViT:
        """The encoder's network."""
        return cast(SmallViT, self.encoder.backbone)

    def predict(self, images: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the normalised images, the masked patches as predicted (N, R, P), each normalised, and which they
        are, (N, R).
        """
        pixels = self.encoder.normalise(images)
        tokens = self.vit.tokens(pixels)
        kept, _, ids_restore = mask_patches(tokens, self.config.mask_ratio, generator=seed)
        encoded = self.decoder_embed(self.vit.blocks(kept))
        decoded = self.decoder_blocks(unshuffle_patches(encoded, self.mask_token, ids_restore, self.decoder_position))
        ids = ids_restore.argsort(dim=1)[:, kept.shape[1] :]  # behind the kept ones, which make no pixels
        rows = ids.unsqueeze(-1).expand(-1, -1, decoded.shape[2])
        return pixels, self.decoder_pixels(decoded.gather(1, rows)), ids

    def loss(self, images: Tensor, seed: int) -> Tensor:
        """Norm-pix mean squared error over the masked patches, whose pixels are read from the images in place."""
        pixels, predicted, ids = self.predict(images, seed)
        return masked_patch_loss(
            predicted,
            pixels,
            ids=ids,
            patch_size=self.config.patch_size,
            norm_pix=True,
            order="cpq",
            eps=_NORM_PIX_EPS,
        )

    def reconstruct(self, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Normalised images with patches hidden, and the same with the predicted patches in their place.

        The prediction lacks the mean and contrast of a patch, so these are taken from the original, as the authors do.
        """
        pixels, predicted, ids = self.predict(images, seed)
        patches = patchify(pixels, self.config.patch_size)
        rows = ids.unsqueeze(-1).expand_as(predicted)
        mean, std = _patch_statistics(patches.gather(1, rows))
        hidden = patches.scatter(1, rows, 0.0)
        filled = patches.scatter(1, rows, predicted.to(patches.dtype) * std + mean)
        size, patch = self.config.image_size, self.config.patch_size
        return unpatchify(hidden, patch, size), unpatchify(filled, patch, size)


def _patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch (N, L, 1)."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return mean, (variance + _NORM_PIX_EPS).sqrt()
