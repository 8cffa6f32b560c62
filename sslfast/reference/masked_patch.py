"""Losses of predicted patches, by definition (He et al., 2022; Tong et al., 2022; Xie et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def patchify(images: Tensor, patch: Sequence[int], order: str = "pqc") -> Tensor:
    """(N, L, pixels of a patch) of images (N, C, H, W) or videos (N, C, T, H, W); patches (h, w) or (t, h, w)."""
    if images.dim() == 4:
        images, patch = images.unsqueeze(2), (1, *patch)
    (rows, channels, *sides), (t, p, q) = images.shape, patch
    frames, height, width = (side // size for side, size in zip(sides, patch, strict=True))
    cut = images.reshape(rows, channels, frames, t, height, p, width, q)
    axes = (0, 2, 4, 6, 3, 5, 7, 1) if order == "pqc" else (0, 2, 4, 6, 1, 3, 5, 7)
    return cut.permute(axes).reshape(rows, frames * height * width, t * p * q * channels)


def normalised(patches: Tensor, norm_pix: str | None, channels: int, order: str = "pqc", eps: float = 1e-6) -> Tensor:
    """Patches (..., pixels): ``"patch"``, mae's norm_pix_loss; ``"channel"``, VideoMAE's; None, as they are."""
    if norm_pix is None:
        return patches
    if norm_pix == "patch":
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return (patches - mean) / (variance + eps) ** 0.5
    sides = (-1, channels) if order == "pqc" else (channels, -1)
    planes, axis = patches.unflatten(-1, sides), -2 if order == "pqc" else -1
    variance, mean = torch.var_mean(planes, dim=axis, keepdim=True)
    return ((planes - mean) / (variance.sqrt() + eps)).flatten(-2)


def pixel_losses(pred: Tensor, target: Tensor, kind: str = "mse", beta: float = 1.0) -> Tensor:
    """The loss of every pixel."""
    if kind == "mse":
        return F.mse_loss(pred, target, reduction="none")
    if kind == "l1":
        return F.l1_loss(pred, target, reduction="none")
    return F.smooth_l1_loss(pred, target, reduction="none", beta=beta)


def masked_patch_loss(
    pred: Tensor,
    images: Tensor,
    mask: Tensor,
    patch: Sequence[int],
    *,
    norm_pix: str | None = None,
    kind: str = "mse",
    beta: float = 1.0,
    order: str = "pqc",
    eps: float = 1e-6,
) -> Tensor:
    """The mean loss of the masked patches, ``mask`` (N, L); ``pred`` (N, L, pixels), or in the shape of ``images``."""
    if pred.shape == images.shape:
        pred = patchify(pred, patch, order)
    target = normalised(patchify(images, patch, order).to(pred), norm_pix, images.shape[1], order, eps)
    losses = pixel_losses(pred, target, kind, beta).mean(dim=-1)
    return losses[mask].sum() / mask.sum().clamp_min(1)
