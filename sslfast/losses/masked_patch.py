"""Masked patches of images and videos, predicted pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslfast.losses._class_inputs import check_num_items
from sslfast.losses._inputs import check_floating
from sslfast.losses._patch_inputs import (
    PatchOptions,
    as_videos,
    check_held,
    check_options,
    patch_sides,
    target_scale,
)
from sslfast.losses._patch_places import check_places, patches_as_targets
from sslfast.losses._patches import patch_losses
from sslfast.losses._shown import shown_options


class MaskedPatchLoss(nn.Module):
    """:func:`masked_patch_loss` as a module.

    Args:
        patch_size: side of the square patches, (h, w), or (t, h, w) for videos. Default: 16.
        norm_pix: False, ``"patch"`` or True, or ``"channel"``. Default: False.
        kind: ``"mse"``, ``"l1"`` or ``"smooth_l1"``. Default: ``"mse"``.
        beta: where ``"smooth_l1"`` becomes linear. Default: 1.
        order: ``"pqc"`` or ``"cpq"``, how a predicted token lists its pixels. Default: ``"pqc"``.
        eps: keeps flat patches finite. Default: 1e-6.
        mean, std: of the channels, what images are normalised with. Default: None.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range, or a word is unknown.

    Example:
        >>> criterion = MaskedPatchLoss(16, norm_pix=True)
        >>> loss = criterion(decoder(latent, ids_restore), images, mask)
    """

    def __init__(
        self,
        patch_size: int | Sequence[int] = 16,
        norm_pix: bool | str = False,
        kind: str = "mse",
        beta: float = 1.0,
        *,
        order: str = "pqc",
        eps: float = 1e-6,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_options("MaskedPatchLoss", norm_pix, kind, beta, order, eps, reduction)
        check_held("MaskedPatchLoss", patch_size, mean, std)
        self.patch_size = patch_size
        self.norm_pix = norm_pix
        self.kind = kind
        self.beta = beta
        self.order = order
        self.eps = eps
        self.mean = mean
        self.std = std
        self.reduction = reduction

    def forward(
        self,
        pred: Tensor,
        images: Tensor,
        mask: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        num_items: float | Tensor | None = None,
    ) -> Tensor:
        return masked_patch_loss(
            pred,
            images,
            mask,
            self.patch_size,
            ids=ids,
            norm_pix=self.norm_pix,
            kind=self.kind,
            beta=self.beta,
            order=self.order,
            eps=self.eps,
            mean=self.mean,
            std=self.std,
            reduction=self.reduction,
            num_items=num_items,
        )

    def extra_repr(self) -> str:
        return shown_options(self, MaskedPatchLoss, "patch_size", "norm_pix", "kind")


def masked_patch_loss(
    pred: Tensor,
    images: Tensor,
    mask: Tensor | None = None,
    patch_size: int | Sequence[int] = 16,
    *,
    ids: Tensor | None = None,
    norm_pix: bool | str = False,
    kind: str = "mse",
    beta: float = 1.0,
    order: str = "pqc",
    eps: float = 1e-6,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    reduction: str = "mean",
    num_items: float | Tensor | None = None,
) -> Tensor:
    """Reconstruction loss of masked patches, whose targets are read from the images in place.

    For MAE (``norm_pix=True``), with ``target = patchify(images)`` of shape (N, L, P P C), ::

        mean, var = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        loss = ((pred - (target - mean) / (var + eps) ** 0.5) ** 2).mean(-1)
        (loss * mask).sum() / mask.sum()

    of which only masked patches are looked at, each once, without ``patchify`` and without their normalised copy; NaN
    in the others stays there. ``kind="l1"`` with a prediction in the shape of the images is SimMIM's
    ``(F.l1_loss(images, pred, reduction="none") * mask).sum() / mask.sum() / C`` with the mask of patches repeated over
    their pixels (SimMIM adds 1e-5 to a divisor that counts pixels). ``norm_pix="channel"`` with videos and
    ``patch_size=(2, 16, 16)`` is VideoMAE's.

    The gradient of a float32 or float64 prediction is written in the forward pass, from the same read. That of a half
    type is made in the backward pass from the inputs, so that it is rounded once, with any loss scale, and nothing but
    them is kept. Images are constants.

    Args:
        pred: one prediction per patch, (N, L, D) with D = C times the pixels of a patch, patches in row-major order;
            with ``ids`` also one per id; or (N, C, H, W), (N, C, T, H, W), pixels where the images have them.
        images: (N, C, H, W), or (N, C, T, H, W) for videos, floating point or uint8, any strides.
        mask: bool (N, L), or (N, H / P, W / P), True where the patch counts. Default: None, then ``ids``.
        patch_size: P for squares of an image, (h, w), or (t, h, w) for videos. Default: 16.
        ids: int64, which patches count, instead of a mask. (N, R): of every image; with ``pred`` (N, R, D) row r
            predicts patch ``ids[n, r]``, so also where R is L. (R,): flat positions n L + l, as
            :func:`sslfast.masking.mask_indices` gives them; with ``pred`` (R, D) row r predicts that patch. -1 is none.
            Otherwise ``pred`` has all patches, as with a mask, and each may be named once. Default: None, then
            ``mask``.
        norm_pix: False: targets are the pixels. True or ``"patch"``: less the mean of the patch, divided by
            sqrt(unbiased variance + eps) (MAE). ``"channel"``: less the mean of the patch's channel, divided by
            sqrt(unbiased variance) + eps (VideoMAE, which takes images with colours in [0, 1]). Default: False.
        kind: ``"mse"``, ``"l1"`` or ``"smooth_l1"``, torch's. Default: ``"mse"``.
        beta: where ``"smooth_l1"`` becomes linear, at least 0. Default: 1.
        order: how D lists the pixels of a patch: ``"pqc"``, channels side by side (MAE, VideoMAE); ``"cpq"``, a channel
            after the other (``F.unfold``, a convolution before ``F.pixel_shuffle``). Default: ``"pqc"``.
        eps: positive. Default: 1e-6.
        mean, std: a number, or one per channel: targets are made of (images - mean) / std, of uint8 images of
            (images / 255 - mean) / std. Default: None; uint8 images are divided by 255.
        reduction: ``"mean"`` over the patches that count, ``"sum"`` of their means over pixels, or ``"none"``, one mean
            a patch. Default: ``"mean"``.
        num_items: what ``"mean"`` is divided by instead of the number of patches that count, for gradient accumulation:
            those of all micro-batches. A number above 0, or a tensor of one, which is not waited for. Default: None.

    Returns:
        The loss, float32, or float64 if ``pred`` or ``images`` is: a scalar, or for ``"none"`` of the shape of ``ids``
        where ``pred`` has one row per id, else (N, L), 0 where the patch does not count. Where nothing is masked, mean
        and sum are 0 with gradients of 0 (MAE's is NaN).

    Raises:
        TypeError: if a tensor or a number has not the type that is said above.
        ValueError: if a shape, a device, a number or a word does not fit, patches do not divide the images, a group of
            pixels to normalise has fewer than 2, both or none of ``mask`` and ``ids`` are given, an id is out of range
            (on the CPU; on a GPU, which is not waited for, the loss and its gradients are then NaN) or comes twice
            where ``pred`` has all patches (on the CPU; on a GPU it counts once), ``images`` require a gradient, or
            ``num_items`` are given without ``"mean"``.
        RuntimeError: at a second derivative, which is not supported.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022; Tong et al., "VideoMAE",
    NeurIPS 2022; Xie et al., "SimMIM", CVPR 2022.
    """
    name = "masked_patch_loss"
    check_floating(name, "pred", pred)
    norm, beta, eps = check_options(name, norm_pix, kind, beta, order, eps, reduction)
    videos = as_videos(name, images)
    patch = patch_sides(name, patch_size, images)
    channels = images.shape[1]
    group = patch[0] * patch[1] * patch[2] * (channels if norm == 1 else 1)
    if norm and group < 2:
        raise ValueError(f"{name}: patch_size must leave at least 2 pixels to normalise, got {patch_size}")
    check_num_items(name, num_items, reduction, pred)
    places = check_places(name, pred, patches_as_targets(images, patch), mask, ids)
    scale, shift, videos = target_scale(name, videos, mean, std, pred.dtype)
    if videos.dtype == torch.float64 and places.pred.dtype != torch.float64:
        places = places._replace(pred=places.pred.double())
    kinds = ("mse", "l1", "smooth_l1")
    code = kinds.index("l1" if kind == "smooth_l1" and beta == 0.0 else kind)
    layout = 2 if places.pred.dim() == 5 else 1 if order == "pqc" else 0
    options = PatchOptions(patch, layout, places.flat, norm, code, beta, eps, scale, shift, reduction)
    return patch_losses(name, places, videos, options, num_items)
