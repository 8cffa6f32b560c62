"""DINO's recipes, with the papers' defaults: two large and several small crops of every image."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslfast import _check
from sslfast.augment._arguments import one_each
from sslfast.augment._transform import Transform
from sslfast.augment._view import RATIO, SIGMA, Jitter, Range, make_view
from sslfast.augment.compose import MultiView
from sslfast.random import Generator

__all__ = ["DINOAugment", "DINOv2Augment"]


class DINOAugment(MultiView):
    """DINO's multi-crop: two global views, blurred and solarized differently, and small local ones; bicubic.

    Args:
        global_size: side of the global views, in pixels. Default: 224.
        global_scale: (low, high) of their share of the image's area, in (0, 1]. Default: (0.4, 1.0).
        local_size: side of the local views, in pixels. Default: 96.
        local_scale: (low, high) of their share. Default: (0.05, 0.4).
        local_views: number of local views. Default: 8.
        interpolation: "nearest", "bilinear" or "bicubic". Default: "bicubic".
        jitter: brightness, contrast, saturation and hue, as of ``ColorJitter``. Default: (0.4, 0.4, 0.2, 0.1).
        blur_prob: of the first global, the second global and the local views. Default: (1.0, 0.1, 0.5).
        kernel_size: odd, of the blur, in pixels. Default: None, a tenth of each view's height, made odd.
        solarize_prob: of the second global view. Default: 0.2.
        solarize_threshold: in [0, 1], from which on a pixel x becomes 1 - x. Default: 0.5.
        ratio, hflip_prob, jitter_prob, gray_prob, sigma, mean, std, dtype, generator: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021. lightly's
    ``DINOTransform`` has six local views.
    """

    def __init__(
        self,
        global_size: int = 224,
        global_scale: Range = (0.4, 1.0),
        local_size: int = 96,
        local_scale: Range = (0.05, 0.4),
        local_views: int = 8,
        *,
        ratio: Range = RATIO,
        interpolation: str = "bicubic",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.4, 0.4, 0.2, 0.1),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: tuple[float, float, float] = (1.0, 0.1, 0.5),
        sigma: Range = SIGMA,
        kernel_size: int | None = None,
        solarize_prob: float = 0.2,
        solarize_threshold: float = 0.5,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        name = type(self).__name__
        local_views = _check.integer(name, "local_views", local_views, 0, 2**10)
        one_each(name, "blur_prob", blur_prob, ("first global view", "second global view", "local views"))

        def view(kind: str, size: int, scale: Range, blur: float, solarize: float) -> Transform:
            return make_view(
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
                kind=kind,
            )

        first = view("global_", global_size, global_scale, blur_prob[0], 0.0)
        second = view("global_", global_size, global_scale, blur_prob[1], solarize_prob)
        local = view("local_", local_size, local_scale, blur_prob[2], 0.0)
        super().__init__([first, second, *[local] * local_views], generator=generator)


class DINOv2Augment(DINOAugment):
    """DINOv2's multi-crop: DINO's with other shares of the image and one kernel for all views.

    Args:
        as of ``DINOAugment``, with ``global_scale`` (0.32, 1.0), ``local_size`` 98, ``local_scale`` (0.05, 0.32) and
            ``kernel_size`` 9; ``kernel_size=None`` has a tenth of each view's height, as ``DINOAugment`` has.

    Raises:
        TypeError, ValueError: as of ``DINOAugment``.

    Reference: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; its code, which
    names DINO's ``blur_prob`` but gives torchvision 1 - p: ``blur_prob=(0.0, 0.9, 0.5)`` is what it does.
    """

    def __init__(
        self,
        global_size: int = 224,
        global_scale: Range = (0.32, 1.0),
        local_size: int = 98,
        local_scale: Range = (0.05, 0.32),
        local_views: int = 8,
        *,
        ratio: Range = RATIO,
        interpolation: str = "bicubic",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.4, 0.4, 0.2, 0.1),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: tuple[float, float, float] = (1.0, 0.1, 0.5),
        sigma: Range = SIGMA,
        kernel_size: int | None = 9,
        solarize_prob: float = 0.2,
        solarize_threshold: float = 0.5,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        super().__init__(
            global_size,
            global_scale,
            local_size,
            local_scale,
            local_views,
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
