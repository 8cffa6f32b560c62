"""The form in which views come out: normalised, and of which dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from sslfast import _check
from sslfast._image_plan import Plan
from sslfast._image_steps import IMAGENET_MEAN, IMAGENET_STD
from sslfast.augment._arguments import floats
from sslfast.augment._images import DTYPES
from sslfast.augment._transform import Transform

__all__ = ["Normalize", "ToDtype"]

Numbers: TypeAlias = "Sequence[float] | Tensor | NDArray[Any]"


class Normalize(Transform):
    """(x - mean) / std per channel, x in [0, 1], as the last step of a list; of several, one after the other.

    Args:
        mean: one number per channel, or one for all: a tuple, a list, a tensor or an array. Default: ImageNet's.
        std: one positive number per channel, or one for all. Default: ImageNet's.

    Raises:
        TypeError: an argument is none of these, or holds something else than numbers.
        ValueError: ``std`` is not positive, or the two differ in length.
    """

    def __init__(self, mean: Numbers = IMAGENET_MEAN, std: Numbers = IMAGENET_STD) -> None:
        super().__init__()
        name = type(self).__name__
        mean, std = (one.tolist() if hasattr(one, "tolist") else one for one in (mean, std))
        self.mean, self.std = floats(name, "mean", mean), floats(name, "std", std)
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"{name}: mean and std must have one number per channel each, got {mean} and {std}")
        if min(self.std) <= 0:
            raise ValueError(f"{name}: std must be positive, got {std}")

    def _add(self, plan: Plan) -> None:
        plan.normalise(self.mean, self.std)

    def extra_repr(self) -> str:
        return f"mean={self.mean}, std={self.std}"


class ToDtype(Transform):
    """The dtype of what comes out: floats for pixels in [0, 1], or normalised; uint8 for [0, 255], rounded.

    Args:
        dtype: torch.float32, torch.bfloat16, torch.float16 or torch.uint8. Computed in float32, rounded at the end.
            Default: torch.float32.
        scale: bring the bytes of uint8 images to [0, 1]. False: floats in [0, 255], or those normalised. After another
            ``ToDtype`` to floats that one's counts. Default: True (torchvision's is False).

    Raises:
        TypeError: ``dtype`` is another, or ``scale`` is no bool.
        ValueError: ``scale`` is False for uint8.

    Reference: torchvision.transforms.v2.ToDtype.
    """

    def __init__(self, dtype: torch.dtype = torch.float32, scale: bool = True) -> None:
        super().__init__()
        self.scale = _check.boolean(type(self).__name__, "scale", scale)
        if not isinstance(dtype, torch.dtype) or dtype not in DTYPES:
            raise TypeError(
                f"{type(self).__name__}: dtype must be float32, bfloat16, float16 or uint8, got {_check.shown(dtype)}"
            )
        if dtype == torch.uint8 and not self.scale:
            raise ValueError(f"{type(self).__name__}: scale must be True for torch.uint8, got False")
        self.dtype = dtype

    def _add(self, plan: Plan) -> None:
        plan.convert(str(self.dtype).removeprefix("torch."), self.scale)

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, scale={self.scale}"
