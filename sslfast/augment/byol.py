"""BYOL's augmentation and MoCo v3's, with their papers' defaults: two views that differ, in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslfast.augment._arguments import Size, one_each
from sslfast.augment._view import RATIO, SIGMA, Jitter, Range, make_view
from sslfast.augment.compose import MultiView
from sslfast.random import Generator

__all__ = ["BYOLAugment", "MoCoV3Augment"]


class BYOLAugment(MultiView):
    """BYOL's two views, which differ: the first is always blurred, the second sometimes blurred or solarized; bicubic.

    Args:
        size: side, or (height, width), of the views, in pixels. Default: 224.
        jitter: as of ``SimCLRAugment``. Default: (0.4, 0.4, 0.2, 0.1).
        blur_prob: of the two views. Default: (1.0, 0.1).
        solarize_prob: of the two views. Default: (0.0, 0.2).
        solarize_threshold: in [0, 1], from which on a pixel x becomes 1 - x. Default: 0.5.
        scale, ratio, hflip_prob, jitter_prob, gray_prob, sigma, kernel_size, mean, std, dtype, generator: as of
            ``SimCLRAugment``.
        interpolation: "nearest", "bilinear" or "bicubic". Default: "bicubic".

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: Grill et al., "Bootstrap your own latent", NeurIPS 2020, appendix B. lightly's ``BYOLTransform`` is
    ``interpolation="bilinear"``.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: Range = (0.08, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bicubic",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.4, 0.4, 0.2, 0.1),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: tuple[float, float] = (1.0, 0.1),
        sigma: Range = SIGMA,
        kernel_size: int | None = None,
        solarize_prob: tuple[float, float] = (0.0, 0.2),
        solarize_threshold: float = 0.5,
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
                ratio=ratio,
                interpolation=interpolation,
                hflip_prob=hflip_prob,
                jitter=jitter,
                jitter_prob=jitter_prob,
                gray_prob=gray_prob,
                blur_prob=blur,
                sigma=sigma,
                kernel_size=kernel_size,
                solarize_prob=solarize,
                solarize_threshold=solarize_threshold,
                mean=mean,
                std=std,
                dtype=dtype,
            )
            for blur, solarize in zip(blur_prob, solarize_prob, strict=True)
        ]
        super().__init__(views, generator=generator)


class MoCoV3Augment(BYOLAugment):
    """MoCo v3's views, which are BYOL's, but bilinear.

    Args:
        as of ``BYOLAugment``, with ``interpolation`` "bilinear". The code's ResNet-50 has ``scale`` (0.2, 1.0).

    Raises:
        TypeError, ValueError: as of ``BYOLAugment``.

    Reference: Chen et al., "An Empirical Study of Training Self-Supervised Vision Transformers", ICCV 2021; its code.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: Range = (0.08, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bilinear",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.4, 0.4, 0.2, 0.1),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: tuple[float, float] = (1.0, 0.1),
        sigma: Range = SIGMA,
        kernel_size: int | None = None,
        solarize_prob: tuple[float, float] = (0.0, 0.2),
        solarize_threshold: float = 0.5,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        super().__init__(
            size,
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
            solarize_prob=solarize_prob,
            solarize_threshold=solarize_threshold,
            mean=mean,
            std=std,
            dtype=dtype,
            generator=generator,
        )
