"""masked_patch_loss has the numbers of its peers, whose formulas stand here as they write them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import with_grads
from masked_patch_cases import make
from torch import Tensor

from sslfast.losses import masked_patch_loss


def mae(pred: Tensor, imgs: Tensor, mask: Tensor, p: int, norm_pix_loss: bool) -> Tensor:
    """MaskedAutoencoderViT.patchify and forward_loss."""
    h = imgs.shape[2] // p
    x = imgs.reshape(imgs.shape[0], imgs.shape[1], h, p, h, p)
    target = torch.einsum("nchpwq->nhwpqc", x).reshape(imgs.shape[0], h * h, -1)
    if norm_pix_loss:
        mean, var = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
        target = (target - mean) / (var + 1.0e-6) ** 0.5
    loss = ((pred - target) ** 2).mean(dim=-1)
    return (loss * mask).sum() / mask.sum()


def video_mae(pred: Tensor, videos: Tensor, mask: Tensor, patch: tuple[int, int, int], normalise: bool) -> Tensor:
    """The targets of train_one_epoch, of videos in [0, 1], and MSELoss of the masked rows."""
    (t, p, q), (b, c, frames, height, width) = patch, videos.shape
    x = videos.reshape(b, c, frames // t, t, height // p, p, width // q, q)
    x = x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(1, 3).flatten(2, 4)  # b (t h w) (p0 p1 p2) c
    if normalise:
        x = (x - x.mean(dim=-2, keepdim=True)) / (x.var(dim=-2, unbiased=True, keepdim=True).sqrt() + 1e-6)
    labels = x.flatten(2)[mask].reshape(b, -1, c * t * p * q)
    return torch.nn.MSELoss()(pred, labels)


def simmim(x_rec: Tensor, x: Tensor, mask: Tensor, patch_size: int, in_chans: int) -> Tensor:
    """SimMIM.forward's last lines."""
    mask = mask.repeat_interleave(patch_size, 1).repeat_interleave(patch_size, 2).unsqueeze(1).contiguous()
    loss_recon = F.l1_loss(x, x_rec, reduction="none")
    return (loss_recon * mask).sum() / (mask.sum() + 1e-5) / in_chans


@pytest.mark.parametrize("norm", [False, True])
def test_numbers_of_mae(norm):
    pred, images, mask = make((3, 3, 24, 24), (8, 8), torch.float64)
    expected = with_grads(lambda p: mae(p, images, mask.double(), 8, norm), pred)
    found = with_grads(lambda p: masked_patch_loss(p, images, mask, 8, norm_pix=norm), pred)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("norm", [False, "channel"])
def test_numbers_of_videomae(norm):
    _, videos, _ = make((2, 3, 4, 16, 16), (2, 8, 8), torch.float64)
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[0, [1, 2, 5, 7]] = True
    mask[1, [0, 3, 4, 6]] = True
    pred = torch.randn(2, 4, 384, dtype=torch.float64)
    ids = mask.nonzero()[:, 1].view(2, 4)
    expected = with_grads(lambda p: video_mae(p, videos, mask, (2, 8, 8), bool(norm)), pred)
    found = with_grads(lambda p: masked_patch_loss(p, videos, ids=ids, patch_size=(2, 8, 8), norm_pix=norm), pred)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layout", ["pixels", "tokens", "channels_last", "cut off"])
def test_numbers_of_simmim(layout):
    _, images, mask = make((2, 3, 16, 24), (4, 4), torch.float64)
    mask = mask.view(2, 4, 6)
    decoded = torch.randn(2, 48, 4, 6, dtype=torch.float64)  # what the decoder's convolution gives PixelShuffle
    expected = with_grads(lambda d: simmim(F.pixel_shuffle(d, 4), images, mask.long(), 4, 3), decoded)

    def ours(d):
        if layout == "tokens":
            return masked_patch_loss(d.flatten(2).mT, images, mask, 4, kind="l1", order="cpq")
        pixels = F.pixel_shuffle(d, 4)
        if layout == "channels_last":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        if layout == "cut off":
            pixels = F.pad(pixels, (0, 3, 0, 2))[..., :16, :24]
        return masked_patch_loss(pixels, images, mask, 4, kind="l1")

    for f, e in zip(with_grads(ours, decoded), expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-5 / 16, atol=1e-14)  # its divisor is 1e-5 larger
