"""Recipes with a few large and several small crops of every image."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslfast import _check
from sslfast.augment._arguments import one_each
from sslfast.augment._transform import Transform
from sslfast.augment._view import Jitter, make_view
from sslfast.augment.compose import MultiView
from sslfast.random import Generator

__all__ = ["DINOAugment", "DINOv2Augment", "MSNAugment", "SwAVAugment"]


class DINOAugment(MultiView):
    """DINO's multi-crop: two global views, blurred and solarized differently, and small local ones; bicubic.

    Args:
        global_size: side of the global views, in pixels. Default: 224.
        global_scale: (low, high) of their share of the image's area, in (0, 1]. Default: (0.4, 1.0).
        local_size: side of the local views, in pixels. Default: 96.
        local_scale: (low, high) of their share. Default: (0.05, 0.4).
        local_views: number of local views. Default: 8.
        jitter: brightness, contrast, saturation and hue, as of ``ColorJitter``. Default: (0.4, 0.4, 0.2, 0.1).
        jitter_prob: probability of it. Default: 0.8.
        gray_prob: probability of grayscale. Default: 0.2.
        blur_prob: of the first global, the second global and the local views. Default: (1.0, 0.1, 0.5).
        sigma: (low, high) of the blur's width, in pixels. Default: (0.1, 2.0).
        solarize_prob: of the second global view. Default: 0.2.
        mean, std, dtype, generator: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021. lightly's
    ``DINOTransform`` has six local views.
    """

    def __init__(
        self,
        global_size: int = 224,
        global_scale: tuple[float, float] = (0.4, 1.0),
        local_size: int = 96,
        local_scale: tuple[float, float] = (0.05, 0.4),
        local_views: int = 8,
        *,
        jitter: Jitter = (0.4, 0.4, 0.2, 0.1),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: tuple[float, float, float] = (1.0, 0.1, 0.5),
        sigma: tuple[float, float] = (0.1, 2.0),
        solarize_prob: float = 0.2,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        name = type(self).__name__
        local_views = _check.integer(name, "local_views", local_views, 0, 2**10)
        one_each(name, "blur_prob", blur_prob, ("first global view", "second global view", "local views"))

        def view(size: int, scale: tuple[float, float], blur: float, solarize: float) -> Transform:
            return make_view(
                name,
                size,
                scale,
                interpolation="bicubic",
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

        first = view(global_size, global_scale, blur_prob[0], 0.0)
        second = view(global_size, global_scale, blur_prob[1], solarize_prob)
        local = view(local_size, local_scale, blur_prob[2], 0.0)
        super().__init__([first, second, *[local] * local_views], generator=generator)


class DINOv2Augment(DINOAugment):
    """DINOv2's multi-crop: DINO's with other shares of the image.

    Args:
        as of ``DINOAugment``, with ``global_scale`` (0.32, 1.0), ``local_size`` 98 and ``local_scale`` (0.05, 0.32).

    Reference: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024.
    """

    def __init__(
        self,
        global_size: int = 224,
        global_scale: tuple[float, float] = (0.32, 1.0),
        local_size: int = 98,
        local_scale: tuple[float, float] = (0.05, 0.32),
        local_views: int = 8,
        **others: object,
    ) -> None:
        super().__init__(
            global_size,
            global_scale,
            local_size,
            local_scale,
            local_views,
            **others,  # type: ignore[arg-type]
        )


class SwAVAugment(MultiView):
    """SwAV's multi-crop: two large and six small views, with SimCLR's colours.

    Args:
        sizes: sides of the large and small views, in pixels. Default: (224, 96).
        views: how many of each. Default: (2, 6).
        scales: (low, high) of their shares of the image's area. Default: ((0.14, 1.0), (0.05, 0.14)).
        jitter: as of ``SimCLRAugment``. Default: (0.8, 0.8, 0.8, 0.2).
        jitter_prob: probability of it. Default: 0.8.
        gray_prob: probability of grayscale. Default: 0.2.
        blur_prob: probability of a blur. Default: 0.5.
        sigma: (low, high) of the blur's width, in pixels. Default: (0.1, 2.0).
        mean, std, dtype, generator: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, the lists differ in length, or a (low, high) is the wrong way round.

    Reference: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS
    2020.
    """

    def __init__(
        self,
        sizes: Sequence[int] = (224, 96),
        views: Sequence[int] = (2, 6),
        scales: Sequence[tuple[float, float]] = ((0.14, 1.0), (0.05, 0.14)),
        *,
        jitter: Jitter = (0.8, 0.8, 0.8, 0.2),
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
        kinds = tuple(f"kind {k}" for k in range(len(sizes))) if isinstance(sizes, (tuple, list)) else ("kind 0",)
        for argument, values in (("sizes", sizes), ("views", views), ("scales", scales)):
            one_each(name, argument, values, kinds)
        crops: list[Transform] = []
        for size, count, scale in zip(sizes, views, scales, strict=True):
            crop = make_view(
                name,
                size,
                scale,
                jitter=jitter,
                jitter_prob=jitter_prob,
                gray_prob=gray_prob,
                blur_prob=blur_prob,
                sigma=sigma,
                mean=mean,
                std=std,
                dtype=dtype,
            )
            crops += [crop] * _check.integer(name, "views", count, 0, 2**10)
        super().__init__(crops, generator=generator)


class MSNAugment(SwAVAugment):
    """MSN's views: two of the whole image and ten focal ones, with SimCLR's colours.

    Args:
        as of ``SwAVAugment``, with ``views`` (2, 10) and ``scales`` ((0.3, 1.0), (0.05, 0.3)).

    Reference: Assran et al., "Masked Siamese Networks for Label-Efficient Learning", ECCV 2022.
    """

    def __init__(
        self,
        sizes: Sequence[int] = (224, 96),
        views: Sequence[int] = (2, 10),
        scales: Sequence[tuple[float, float]] = ((0.3, 1.0), (0.05, 0.3)),
        **others: object,
    ) -> None:
        super().__init__(sizes, views, scales, **others)  # type: ignore[arg-type]
