"""The augmentations of papers with their defaults, of two views alike or nearly: both of a batch in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslfast import _check
from sslfast.augment._arguments import Size, one_each
from sslfast.augment._view import Jitter, make_view
from sslfast.augment.compose import MultiView
from sslfast.random import Generator

__all__ = [
    "BYOLAugment",
    "MoCoV1Augment",
    "MoCoV2Augment",
    "MoCoV3Augment",
    "SimCLRAugment",
    "SimSiamAugment",
]

_STRONG: Jitter = (0.8, 0.8, 0.8, 0.2)
_MILD: Jitter = (0.4, 0.4, 0.4, 0.1)
_BYOL: Jitter = (0.4, 0.4, 0.2, 0.1)
_MOCO_V1: Jitter = (0.4, 0.4, 0.4, 0.4)


class SimCLRAugment(MultiView):
    """SimCLR's views at colour strength 1: crop, flip, jitter, gray, blur.

    Args:
        size: side, or (height, width), of the views, in pixels.
        views: views per image V, at least 1. Default: 2.
        scale: (low, high) of the crop's share of the image's area, in (0, 1]. Default: (0.08, 1.0).
        hflip_prob: probability of a horizontal flip. Default: 0.5.
        jitter: brightness, contrast, saturation and hue, as of ``ColorJitter``. Default: (0.8, 0.8, 0.8, 0.2).
        jitter_prob: probability that colours are jittered at all. Default: 0.8.
        gray_prob: probability of grayscale. Default: 0.2.
        blur_prob: probability of a Gaussian blur, with a kernel of a tenth of the side. Default: 0.5. The paper has
            none for images of 32 x 32.
        sigma: (low, high) of the blur's width, in pixels. Default: (0.1, 2.0).
        mean: one number per channel or for all, for pixels in [0, 1]. Default: None, ImageNet's.
        std: one positive number per channel or for all. Default: None, ImageNet's.
        dtype: of the views. Default: torch.float32.
        generator: as of ``MultiView``. Default: None.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, appendix
    A; lightly's ``SimCLRTransform``, with torchvision's Gaussian for Pillow's boxes.
    """

    def __init__(
        self,
        size: Size = 224,
        views: int = 2,
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        hflip_prob: float = 0.5,
        jitter: Jitter = _STRONG,
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: float = 0.5,
        sigma: tuple[float, float] = (0.1, 2.0),
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
            hflip_prob=hflip_prob,
            jitter=jitter,
            jitter_prob=jitter_prob,
            gray_prob=gray_prob,
            blur_prob=blur_prob,
            sigma=sigma,
            mean=mean,
            std=std,
            dtype=dtype,
        )
        super().__init__([view] * views, generator=generator)


class _Alike(SimCLRAugment):
    """A recipe of two equal views that differs from SimCLR's in its defaults."""

    _scale: tuple[float, float]
    _jitter: Jitter
    _jitter_prob, _blur_prob = 0.8, 0.5

    def __init__(
        self,
        size: Size = 224,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        super().__init__(
            size,
            scale=self._scale,
            jitter=self._jitter,
            jitter_prob=self._jitter_prob,
            blur_prob=self._blur_prob,
            mean=mean,
            std=std,
            dtype=dtype,
            generator=generator,
        )


class MoCoV1Augment(_Alike):
    """MoCo's first views: crops of at least a fifth, jitter of every image, gray, no blur.

    Args:
        size, mean, std, dtype, generator: as of ``SimCLRAugment``.

    Reference: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020.
    """

    _scale, _jitter, _jitter_prob, _blur_prob = (0.2, 1.0), _MOCO_V1, 1.0, 0.0


class MoCoV2Augment(_Alike):
    """MoCo's second views: SimCLR's with crops of at least a fifth and half the jitter.

    Args:
        size, mean, std, dtype, generator: as of ``SimCLRAugment``.

    Reference: Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020.
    """

    _scale, _jitter = (0.2, 1.0), _MILD


class SimSiamAugment(MoCoV2Augment):
    """SimSiam's views, which are MoCo v2's.

    Args:
        size, mean, std, dtype, generator: as of ``SimCLRAugment``.

    Reference: Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021.
    """


class BYOLAugment(MultiView):
    """BYOL's two views, which differ: the first is always blurred, the second sometimes blurred or solarized.

    Args:
        size: side, or (height, width), of the views, in pixels. Default: 224.
        scale: (low, high) of the crop's share of the image's area, in (0, 1]. Default: (0.08, 1.0).
        jitter: as of ``SimCLRAugment``. Default: (0.4, 0.4, 0.2, 0.1).
        jitter_prob: probability of it. Default: 0.8.
        gray_prob: probability of grayscale. Default: 0.2.
        blur_prob: of the two views. Default: (1.0, 0.1).
        sigma: (low, high) of the blur's width, in pixels. Default: (0.1, 2.0).
        solarize_prob: of the two views. Default: (0.0, 0.2).
        mean, std, dtype, generator: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: Grill et al., "Bootstrap your own latent", NeurIPS 2020, appendix B.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        jitter: Jitter = _BYOL,
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: tuple[float, float] = (1.0, 0.1),
        sigma: tuple[float, float] = (0.1, 2.0),
        solarize_prob: tuple[float, float] = (0.0, 0.2),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        name, both = type(self).__name__, ("first view", "second view")
        one_each(name, "blur_prob", blur_prob, both)
        one_each(name, "solarize_prob", solarize_prob, both)
        views = [
            make_view(
                name,
                size,
                scale,
                jitter=jitter,
                jitter_prob=jitter_prob,
                gray_prob=gray_prob,
                blur_prob=blur,
                sigma=sigma,
                solarize_prob=solarize,
                mean=mean,
                std=std,
                dtype=dtype,
            )
            for blur, solarize in zip(blur_prob, solarize_prob, strict=True)
        ]
        super().__init__(views, generator=generator)


class MoCoV3Augment(BYOLAugment):
    """MoCo v3's views, which are BYOL's.

    Args:
        as of ``BYOLAugment``.

    Reference: Chen et al., "An Empirical Study of Training Self-Supervised Vision Transformers", ICCV 2021.
    """
