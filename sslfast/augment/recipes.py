"""SimCLR's augmentations and MoCo's, with the papers' defaults: views alike, all of a batch in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslfast import _check
from sslfast.augment._arguments import Size
from sslfast.augment._view import RATIO, SIGMA, Jitter, Range, make_view
from sslfast.augment.compose import MultiView
from sslfast.random import Generator

__all__ = ["MoCoV1Augment", "MoCoV2Augment", "SimCLRAugment", "SimSiamAugment"]


class SimCLRAugment(MultiView):
    """SimCLR's views at colour strength 1: crop, flip, jitter, gray, blur.

    Args:
        size: side, or (height, width), of the views, in pixels. Default: 224.
        views: views per image V, at least 1. Default: 2.
        scale: (low, high) of the crop's share of the image's area, in (0, 1]. Default: (0.08, 1.0).
        ratio: (low, high) of the crop's width / height. Default: (3/4, 4/3).
        interpolation: "nearest", "bilinear" or "bicubic". Default: "bilinear".
        hflip_prob: probability of a horizontal flip. Default: 0.5.
        jitter: brightness, contrast, saturation and hue, as of ``ColorJitter``. Default: (0.8, 0.8, 0.8, 0.2).
        jitter_prob: probability that colours are jittered at all. Default: 0.8.
        gray_prob: probability of grayscale. Default: 0.2.
        blur_prob: probability of a Gaussian blur. Default: 0.5. The paper has none for images of 32 x 32.
        sigma: (low, high) of the blur's width, in pixels. Default: (0.1, 2.0).
        kernel_size: odd, of the blur, in pixels. Default: None, a tenth of the view's height, made odd.
        mean: one number per channel or for all, for pixels in [0, 1]. Default: None, ImageNet's.
        std: one positive number per channel or for all. Default: None, ImageNet's.
        dtype: of the views. Default: torch.float32.
        generator: as of ``MultiView``. Default: None.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, appendix
    A; lightly's ``SimCLRTransform``, with torchvision's Gaussian for Pillow's boxes. The authors' TensorFlow code
    resizes bicubically, which the paper does not say: ``interpolation="bicubic"``.
    """

    def __init__(
        self,
        size: Size = 224,
        views: int = 2,
        *,
        scale: Range = (0.08, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bilinear",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.8, 0.8, 0.8, 0.2),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: float = 0.5,
        sigma: Range = SIGMA,
        kernel_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        name = type(self).__name__
        views = _check.integer(name, "views", views, 1, 2**10)
        view = make_view(
            name,
            size,
            scale,
            ratio=ratio,
            interpolation=interpolation,
            hflip_prob=hflip_prob,
            jitter=jitter,
            jitter_prob=jitter_prob,
            gray_prob=gray_prob,
            blur_prob=blur_prob,
            sigma=sigma,
            kernel_size=kernel_size,
            mean=mean,
            std=std,
            dtype=dtype,
        )
        super().__init__([view] * views, generator=generator)


class MoCoV1Augment(MultiView):
    """MoCo's first views: crops of at least a fifth, gray, jitter of every image, no blur.

    Args:
        gray_first: gray before the jitter, not after it. Default: True.
        all others: as of ``SimCLRAugment``, with ``scale`` (0.2, 1.0), ``jitter`` (0.4, 0.4, 0.4, 0.4), ``jitter_prob``
            1 and ``blur_prob`` 0.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020; its code.
    lightly's ``MoCoV1Transform`` is ``gray_first=False, jitter_prob=0.8``.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        views: int = 2,
        scale: Range = (0.2, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bilinear",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.4, 0.4, 0.4, 0.4),
        jitter_prob: float = 1.0,
        gray_prob: float = 0.2,
        gray_first: bool = True,
        blur_prob: float = 0.0,
        sigma: Range = SIGMA,
        kernel_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        name = type(self).__name__
        views = _check.integer(name, "views", views, 1, 2**10)
        view = make_view(
            name,
            size,
            scale,
            ratio=ratio,
            interpolation=interpolation,
            hflip_prob=hflip_prob,
            jitter=jitter,
            jitter_prob=jitter_prob,
            gray_prob=gray_prob,
            gray_first=gray_first,
            blur_prob=blur_prob,
            sigma=sigma,
            kernel_size=kernel_size,
            mean=mean,
            std=std,
            dtype=dtype,
        )
        super().__init__([view] * views, generator=generator)


class MoCoV2Augment(SimCLRAugment):
    """MoCo's second views: SimCLR's with crops of at least a fifth and half the jitter.

    Args:
        as of ``SimCLRAugment``, with ``scale`` (0.2, 1.0) and ``jitter`` (0.4, 0.4, 0.4, 0.1).

    Raises:
        TypeError, ValueError: as of ``SimCLRAugment``.

    Reference: Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020; its code.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        views: int = 2,
        scale: Range = (0.2, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bilinear",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.4, 0.4, 0.4, 0.1),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: float = 0.5,
        sigma: Range = SIGMA,
        kernel_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        super().__init__(
            size,
            views=views,
            scale=scale,
            ratio=ratio,
            interpolation=interpolation,
            hflip_prob=hflip_prob,
            jitter=jitter,
            jitter_prob=jitter_prob,
            gray_prob=gray_prob,
            blur_prob=blur_prob,
            sigma=sigma,
            kernel_size=kernel_size,
            mean=mean,
            std=std,
            dtype=dtype,
            generator=generator,
        )


class SimSiamAugment(MoCoV2Augment):
    """SimSiam's views, which are MoCo v2's.

    Args:
        as of ``MoCoV2Augment``.

    Raises:
        TypeError, ValueError: as of ``SimCLRAugment``.

    Reference: Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        views: int = 2,
        scale: Range = (0.2, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bilinear",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.4, 0.4, 0.4, 0.1),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: float = 0.5,
        sigma: Range = SIGMA,
        kernel_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        super().__init__(
            size,
            views=views,
            scale=scale,
            ratio=ratio,
            interpolation=interpolation,
            hflip_prob=hflip_prob,
            jitter=jitter,
            jitter_prob=jitter_prob,
            gray_prob=gray_prob,
            blur_prob=blur_prob,
            sigma=sigma,
            kernel_size=kernel_size,
            mean=mean,
            std=std,
            dtype=dtype,
            generator=generator,
        )
