"""Recipes with one view of every image: masked image models, image-text pairs, supervised training, evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast import _check
from sslfast._image_steps import IMAGENET_MEAN, IMAGENET_STD
from sslfast.augment._arguments import Size
from sslfast.augment._images import Images
from sslfast.augment._own_draws import DrawingModule
from sslfast.augment._transform import Transform
from sslfast.augment._view import RATIO, Range, errors_of, make_view
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
        ratio: (low, high) of the crop's width / height. Default: (3/4, 4/3).
        interpolation: "nearest", "bilinear" or "bicubic". Default: "bicubic".
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
        scale: Range = (0.2, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bicubic",
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
            ratio=ratio,
            interpolation=interpolation,
            hflip_prob=hflip_prob,
            gray_prob=0.0,
            mean=mean,
            std=std,
            dtype=dtype,
        )
        super().__init__([view], generator=generator)


class IJEPAAugment(MAEAugment):
    """I-JEPA's one view: a bilinear crop of at least three tenths, no flip.

    Args:
        as of ``MAEAugment``, with ``scale`` (0.3, 1.0), ``interpolation`` "bilinear" and ``hflip_prob`` 0.

    Raises:
        TypeError, ValueError: as of ``MAEAugment``.

    Reference: Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
    CVPR 2023; its code. lightly's ``IJEPATransform`` is ``MAEAugment``.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: Range = (0.3, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bilinear",
        hflip_prob: float = 0.0,
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
            mean=mean,
            std=std,
            dtype=dtype,
            generator=generator,
        )


class CLIPAugment(MAEAugment):
    """CLIP's one view: a bicubic crop of nearly the whole image, normalised by CLIP's own numbers.

    Args:
        as of ``MAEAugment``, with ``scale`` (0.9, 1.0), ``hflip_prob`` 0 and CLIP's ``mean`` and ``std``.

    Raises:
        TypeError, ValueError: as of ``MAEAugment``.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021;
    open_clip's training transform.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: Range = (0.9, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bicubic",
        hflip_prob: float = 0.0,
        mean: Sequence[float] | None = CLIP_MEAN,
        std: Sequence[float] | None = CLIP_STD,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        super().__init__(
            size,
            scale=scale,
            ratio=ratio,
            interpolation=interpolation,
            hflip_prob=hflip_prob,
            mean=mean,
            std=std,
            dtype=dtype,
            generator=generator,
        )


class ImageNetAugment(Compose):
    """The usual training view of supervised ImageNet: crop, flip, RandAugment if asked for.

    Args:
        size: side, or (height, width), of the view, in pixels. Default: 224.
        scale: (low, high) of the crop's share of the image's area, in (0, 1]. Default: (0.08, 1.0).
        ratio: (low, high) of the crop's width / height. Default: (3/4, 4/3).
        interpolation: "nearest", "bilinear" or "bicubic". Default: "bilinear".
        hflip_prob: probability of a horizontal flip. Default: 0.5.
        rand_augment: operations of ``RandAugment``, 0 for none. Default: 0.
        magnitude: of ``RandAugment``, from 0 to 30. Default: 9.
        mean, std, dtype, generator: as of ``SimCLRAugment``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.
    """

    def __init__(
        self,
        size: Size = 224,
        *,
        scale: Range = (0.08, 1.0),
        ratio: Range = RATIO,
        interpolation: str = "bilinear",
        hflip_prob: float = 0.5,
        rand_augment: int = 0,
        magnitude: int = 9,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        name = type(self).__name__
        hflip_prob = _check.probability(name, "hflip_prob", hflip_prob)
        rand_augment = _check.integer(name, "rand_augment", rand_augment, 0, 64)
        with errors_of(name):
            steps: list[Transform] = [
                RandomResizedCrop(size, scale, ratio, interpolation),
                RandomHorizontalFlip(hflip_prob),
            ]
            operations = RandAugment(max(rand_augment, 1), magnitude)
            steps += [operations] if rand_augment else []
            steps += [_normalised(mean, std), ToDtype(dtype)]
        super().__init__(steps)
        with errors_of(name):
            self._draws = DrawingModule(generator)

    def sample_params(
        self,
        images: Images,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        """As of every transform, but drawn from the constructor's generator where none is given."""
        chosen = self._draws._chosen(generator)
        return super().sample_params(images, generator=chosen, row_offset=row_offset, sample_ids=sample_ids)


class ImageNetEval(Compose):
    """The usual view for evaluation: resized, then the middle; one pass.

    Args:
        size: side, or (height, width), of the view, in pixels. Default: 224.
        resize: the shorter side before the crop. Default: 256.
        interpolation: "nearest", "bilinear" or "bicubic". Default: "bilinear".
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
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        name = type(self).__name__
        with errors_of(name):
            steps: list[Transform] = [CenterCrop(size), _normalised(mean, std), ToDtype(dtype)]
            steps.insert(0, Resize(_check.integer(name, "resize", resize, 1, 2**24), interpolation))
        super().__init__(steps)


def _normalised(mean: Sequence[float] | None, std: Sequence[float] | None) -> Normalize:
    """``Normalize`` with ImageNet's numbers for those that are None."""
    return Normalize(IMAGENET_MEAN if mean is None else mean, IMAGENET_STD if std is None else std)
