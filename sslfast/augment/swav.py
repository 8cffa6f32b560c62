"""SwAV's and MSN's recipes, with the papers' defaults: crops of several kinds of every image."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslfast import _check
from sslfast.augment._arguments import one_each
from sslfast.augment._transform import Transform
from sslfast.augment._view import RATIO, SIGMA, Jitter, Range, make_view
from sslfast.augment.compose import MultiView
from sslfast.random import Generator

__all__ = ["MSNAugment", "SwAVAugment"]


class SwAVAugment(MultiView):
    """SwAV's multi-crop: two large and six small views, with SimCLR's colours.

    Args:
        sizes: sides of the large and small views, in pixels. Default: (224, 96).
        views: how many of each. Default: (2, 6).
        scales: (low, high) of their shares of the image's area. Default: ((0.14, 1.0), (0.05, 0.14)).
        kernel_size: odd, of the blur, in pixels, or None for a tenth of each view's height, made odd. Default: 23.
        ratio, interpolation, hflip_prob, jitter, jitter_prob, gray_prob, blur_prob, sigma, mean, std, dtype,
            generator: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, the lists differ in length, or a (low, high) is the wrong way round.

    Reference: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS
    2020; its code, whose views of 96 pixels have the kernel of those of 224.
    """

    def __init__(
        self,
        sizes: Sequence[int] = (224, 96),
        views: Sequence[int] = (2, 6),
        scales: Sequence[Range] = ((0.14, 1.0), (0.05, 0.14)),
        *,
        ratio: Range = RATIO,
        interpolation: str = "bilinear",
        hflip_prob: float = 0.5,
        jitter: Jitter = (0.8, 0.8, 0.8, 0.2),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: float = 0.5,
        sigma: Range = SIGMA,
        kernel_size: int | None = 23,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        name = type(self).__name__
        kinds = tuple(f"kind {k}" for k in range(len(sizes))) if isinstance(sizes, (tuple, list)) else ("kind 0",)
        for argument, values in (("sizes", sizes), ("views", views), ("scales", scales)):
            one_each(name, argument, values, kinds)
        crops: list[Transform] = []
        for size, count, scale in zip(sizes, views, scales, strict=True):
            crop = make_view(
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
            crops += [crop] * _check.integer(name, "views", count, 0, 2**10)
        super().__init__(crops, generator=generator)


class MSNAugment(SwAVAugment):
    """MSN's views: two of the whole image and ten focal ones, with half of SimCLR's jitter.

    Args:
        as of ``SwAVAugment``, with ``views`` (2, 10), ``scales`` ((0.3, 1.0), (0.05, 0.3)), ``jitter``
            (0.4, 0.4, 0.4, 0.1) and ``kernel_size`` None.

    Raises:
        TypeError, ValueError: as of ``SwAVAugment``.

    Reference: Assran et al., "Masked Siamese Networks for Label-Efficient Learning", ECCV 2022; the settings of its
    code, of colour strength 0.5. lightly's ``MSNTransform`` is ``jitter=(0.8, 0.8, 0.8, 0.2)``.
    """

    def __init__(
        self,
        sizes: Sequence[int] = (224, 96),
        views: Sequence[int] = (2, 10),
        scales: Sequence[Range] = ((0.3, 1.0), (0.05, 0.3)),
        *,
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
            sizes,
            views,
            scales,
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
