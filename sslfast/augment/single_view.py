"""Recipes with one view of every image: masked image models, image-text pairs, supervised training, evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslfast._image_plan import IMAGENET_MEAN, IMAGENET_STD
from sslfast.augment._arguments import Size
from sslfast.augment._transform import Transform
from sslfast.augment._view import make_view
from sslfast.augment.auto_augment import RandAugment
from sslfast.augment.compose import Compose, MultiView
from sslfast.augment.geometry import CenterCrop, RandomHorizontalFlip, RandomResizedCrop, Resize
from sslfast.augment.output import Normalize, ToDtype
from sslfast.random import Generator

__all__ = ["CLIPAugment", "IJEPAAugment", "ImageNetAugment", "ImageNetEval", "MAEAugment"]

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class MAEAugment(MultiView):
    """MAE's one view: a bicubic crop and a flip.

    Args:
        size: side, or (height, width), of the view, in pixels. Default: 224.
        scale: (low, high) of the crop's share of the image's area, in (0, 1]. Default: (0.2, 1.0).
        hflip_prob: probability of a horizontal flip. Default: 0.5.
        mean, std, dtype, generator: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: tuple[float, float] = (0.2, 1.0),
        hflip_prob: float = 0.5,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        view = make_view(
            type(self).__name__,
            size,
            scale,
            interpolation="bicubic",
            hflip_prob=hflip_prob,
            gray_prob=0.0,
            mean=mean,
            std=std,
            dtype=dtype,
        )
        super().__init__([view], generator=generator)


class IJEPAAugment(MAEAugment):
    """I-JEPA's one view: a bicubic crop of at least three tenths, no flip.

    Args:
        as of ``MAEAugment``, with ``scale`` (0.3, 1.0) and ``hflip_prob`` 0.

    Reference: Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
    CVPR 2023.
    """

    def __init__(
        self, size: Size = 224, *, scale: tuple[float, float] = (0.3, 1.0), hflip_prob: float = 0.0, **others: object
    ) -> None:
        super().__init__(size, scale=scale, hflip_prob=hflip_prob, **others)  # type: ignore[arg-type]


class CLIPAugment(MAEAugment):
    """CLIP's one view: a bicubic crop of nearly the whole image, normalised by CLIP's own numbers.

    Args:
        as of ``MAEAugment``, with ``scale`` (0.9, 1.0) and ``hflip_prob`` 0.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021;
    open_clip's training transform.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: tuple[float, float] = (0.9, 1.0),
        mean: Sequence[float] | None = CLIP_MEAN,
        std: Sequence[float] | None = CLIP_STD,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        super().__init__(size, scale=scale, hflip_prob=0.0, mean=mean, std=std, dtype=dtype, generator=generator)


class ImageNetAugment(Compose):
    """The usual training view of supervised ImageNet: crop, flip, RandAugment if asked for.

    Args:
        size: side, or (height, width), of the view, in pixels. Default: 224.
        scale: (low, high) of the crop's share of the image's area, in (0, 1]. Default: (0.08, 1.0).
        hflip_prob: probability of a horizontal flip. Default: 0.5.
        rand_augment: operations of ``RandAugment``, 0 for none. Default: 0.
        mean, std, dtype: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        hflip_prob: float = 0.5,
        rand_augment: int = 0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        steps: list[Transform] = [RandomResizedCrop(size, scale), RandomHorizontalFlip(hflip_prob)]
        if rand_augment:
            steps.append(RandAugment(rand_augment))
        super().__init__([*steps, Normalize(mean, std), ToDtype(dtype)])


class ImageNetEval(Compose):
    """The usual view for evaluation: resized, then the middle; one pass.

    Args:
        size: side, or (height, width), of the view, in pixels. Default: 224.
        resize: the shorter side before the crop. Default: 256.
        interpolation: "bilinear" or "bicubic". Default: "bilinear".
        mean, std, dtype: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        resize: int = 256,
        interpolation: str = "bilinear",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__([Resize(resize, interpolation), CenterCrop(size), Normalize(mean, std), ToDtype(dtype)])
