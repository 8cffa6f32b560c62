"""The encoders of images: a small residual network and a small vision transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sslfast.pretrain.config import PretrainConfig


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(min(8, channels // 4), channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016), optionally halving the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            _norm(norm, outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            _norm(norm, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


class SmallResNet(nn.Module):
    """A residual network of one block per stage; each stage doubles the channels and, after the first, halves the side.

    Images below 16 pixels keep their resolution in the first convolution, larger ones are halved there, and those of
    128 pixels or more are quartered; images above 32 pixels get a fourth stage.

    Args:
        channels: Channels of the input.
        image_size: Side of the input in pixels.
        width: Channels of the first stage.
        norm: ``batch`` or ``group``.
        pool_grid: The last feature map is averaged to pool_grid x pool_grid cells.
        dropout: Probability on the features.
    """

    def __init__(
        self, channels: int, image_size: int, width: int = 32, norm: str = "batch", pool_grid: int = 2,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        stem_stride = 1 if image_size < 16 else 2 if image_size < 128 else 4
        stages = 3 if image_size <= 32 else 4
        layers: list[nn.Module] = [
            nn.Conv2d(
                channels, width, 3 if stem_stride < 4 else 7, stem_stride, 1 if stem_stride < 4 else 3, bias=False
            ),
            _norm(norm, width),
            nn.ReLU(inplace=True),
        ]
        inputs = width
        for stage in range(stages):
            layers.append(ResidualBlock(inputs, width * 2**stage, 1 if stage == 0 else 2, norm))
            inputs = width * 2**stage
        self.stages = nn.Sequential(*layers)
        self.stride = stem_stride * 2 ** (stages - 1)
        self.map_channels = inputs
        self.pool = nn.AdaptiveAvgPool2d(pool_grid)
        self.dropout = nn.Dropout(dropout)
        self.dim = inputs * pool_grid**2
        # Channels last: a quarter faster on CPUs at these sizes, and what tensor cores want.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def feature_map(self, images: Tensor) -> Tensor:
        """The last feature map (N, map_channels, ceil(H / stride), ceil(W / stride))."""
        return self.stages(images)

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, dim) of normalised images (N, C, H, W)."""
        return self.dropout(self.pool(self.feature_map(images)).flatten(1))


class SmallViT(nn.Module):
    """A pre-norm vision transformer without a class token: the features are the mean of the output tokens.

    Args:
        channels: Channels of the input.
        image_size: Side of the input in pixels.
        patch_size: Side of a patch in pixels; must divide image_size.
        dim: Dimension of the tokens.
        depth: Transformer blocks.
        heads: Attention heads.
        dropout: Probability inside the blocks.
    """

    def __init__(
        self, channels: int, image_size: int, patch_size: int, dim: int = 64, depth: int = 3, heads: int = 4,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch_size, self.dim = patch_size, dim
        self.num_patches = (image_size // patch_size) ** 2
        self.embed = nn.Linear(channels * patch_size**2, dim)
        self.position = nn.Parameter(torch.randn(1, self.num_patches, dim) * 0.02)
        self.blocks = transformer(dim, depth, heads, dropout)

    def tokens(self, images: Tensor) -> Tensor:
        """Patch embeddings with their positions (N, L, dim) of normalised images (N, C, H, W)."""
        return self.embed(patchify(images, self.patch_size)) + self.position

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, dim) of normalised images (N, C, H, W)."""
        return self.blocks(self.tokens(images)).mean(dim=1)


def transformer(dim: int, depth: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    """Pre-norm transformer blocks with a final layer normalisation over tokens (N, L, dim)."""
    block = nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout, "gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(block, depth, nn.LayerNorm(dim), enable_nested_tensor=False)


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cuts images (N, C, H, W) into patches (N, L, C * patch_size**2), row by row."""
    return nn.functional.unfold(images, patch_size, stride=patch_size).transpose(1, 2)


def unpatchify(patches: Tensor, patch_size: int, image_size: int) -> Tensor:
    """Puts patches (N, L, C * patch_size**2) together to images (N, C, image_size, image_size)."""
    return nn.functional.fold(patches.transpose(1, 2), image_size, patch_size, stride=patch_size)


class ImageEncoder(nn.Module):
    """An encoder with the normalisation of its run: uint8 images in, features out.

    Args:
        settings: Keyword arguments of ``build_backbone``.
        mean: Mean of each channel in units of full scale.
        std: Standard deviation of each channel.
    """

    backbone: SmallResNet | SmallViT
    mean: Tensor
    std: Tensor

    def __init__(self, settings: dict[str, Any], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = build_backbone(**settings)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    @property
    def dim(self) -> int:
        """Dimension of the features."""
        return self.backbone.dim

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) to floats of zero mean and unit variance."""
        return (images.float().div(255) - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, dim) of uint8 images (N, C, H, W)."""
        return self.backbone(self.normalise(images))

    def saved(self) -> dict[str, Any]:
        """What ``encoder.pt`` holds beside the weights."""
        return {"settings": self.settings, "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}

    def untrained(self) -> ImageEncoder:
        """The same network with freshly drawn weights."""
        return ImageEncoder(self.settings, self.mean.flatten().tolist(), self.std.flatten().tolist()).eval()

    @torch.no_grad()
    def embed(self, images: Tensor, batch_size: int = 512) -> Tensor:
        """Features (N, dim) of uint8 images in evaluation mode, batch by batch, on the CPU."""
        self.eval()
        device = self.mean.device
        return torch.cat([self(batch.to(device)).float().cpu() for batch in images.split(batch_size)])


def build_backbone(kind: str, **settings: Any) -> SmallResNet | SmallViT:
    """The network ``kind`` (``resnet`` or ``vit``) with freshly drawn weights."""
    return SmallResNet(**settings) if kind == "resnet" else SmallViT(**settings)


def encoder_settings(config: PretrainConfig, channels: int) -> dict[str, Any]:
    """The arguments of ``build_backbone`` for a run: a vision transformer for mae, else a residual network."""
    settings = {"channels": channels, "image_size": config.image_size, "dropout": config.dropout}
    if config.method == "mae":
        return {**settings, "kind": "vit", "patch_size": config.patch_size, "dim": 2 * config.width}
    return {**settings, "kind": "resnet", "width": config.width, "norm": config.norm, "pool_grid": config.pool_grid}
