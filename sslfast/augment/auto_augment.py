"""RandAugment and TrivialAugment: some operations out of a list, each image with draws of its own."""

from __future__ import annotations

from sslfast import _check
from sslfast._image_plan import Plan
from sslfast._image_steps import CHOICES, INTERPOLATIONS
from sslfast.augment._arguments import Fill, affine_fill_of, interpolation_name
from sslfast.augment._transform import Transform

__all__ = ["RandAugment", "TrivialAugmentWide"]

# Operation: magnitude of the first and of the last bin, and whether its sign is drawn. Shears are tangents,
# translations pixels (None: 150/331 of the view), rotations degrees.
_RAND_AUGMENT: dict[str, tuple[float, float | None, bool]] = {
    "identity": (0.0, 0.0, False),
    "shear_x": (0.0, 0.3, True),
    "shear_y": (0.0, 0.3, True),
    "translate_x": (0.0, None, True),
    "translate_y": (0.0, None, True),
    "rotate": (0.0, 30.0, True),
    "brightness": (0.0, 0.9, True),
    "color": (0.0, 0.9, True),
    "contrast": (0.0, 0.9, True),
    "sharpness": (0.0, 0.9, True),
    "posterize": (8.0, 4.0, False),
    "solarize": (1.0, 0.0, False),
    "autocontrast": (0.0, 0.0, False),
    "equalize": (0.0, 0.0, False),
}
_TRIVIAL_WIDE: dict[str, tuple[float, float | None, bool]] = {
    **_RAND_AUGMENT,
    **dict.fromkeys(("shear_x", "shear_y", "brightness", "color", "contrast", "sharpness"), (0.0, 0.99, True)),
    "translate_x": (0.0, 32.0, True),
    "translate_y": (0.0, 32.0, True),
    "rotate": (0.0, 135.0, True),
    "posterize": (8.0, 2.0, False),
}
_SHARE = 150.0 / 331.0  # of a side, that RandAugment translates by at most


class _Choices(Transform):
    """Operations of a table, each drawn with equal probability."""

    _table: dict[str, tuple[float, float | None, bool]]

    def __init__(self, count: int, bins: tuple[int, int], num_bins: int, interpolation: str, fill: Fill | None) -> None:
        super().__init__()
        name = type(self).__name__
        self._count, self._bins, self._num_bins = count, bins, num_bins
        self.interpolation, self.fill = interpolation_name(name, interpolation), affine_fill_of(name, fill)
        if self.interpolation == "bicubic":
            raise ValueError(f"{name}: interpolation must be nearest or bilinear, got 'bicubic'")

    def _add(self, plan: Plan) -> None:
        rules: list[float] = [*self._bins, self._num_bins, len(self._table)]
        for operation, (low, high, signed) in self._table.items():
            sign = 2.0 if high is None else float(signed)  # 2: a share of the view's side
            rules += [CHOICES.index(operation), low, _SHARE if high is None else high, sign]
        for _ in range(self._count):
            plan.step("choice", tuple(rules), (INTERPOLATIONS.index(self.interpolation),), self.fill)


class RandAugment(_Choices):
    """``num_ops`` operations out of torchvision's fourteen, all of one magnitude.

    Args:
        num_ops: operations for each image, at least 0. Default: 2.
        magnitude: bin of all magnitudes, from 0 to ``num_magnitude_bins`` - 1. Default: 9.
        num_magnitude_bins: at least 2. Default: 31.
        interpolation: "nearest" or "bilinear". Default: "nearest".
        fill: value of what comes from outside, in [0, 1], or one for each channel. Default: None, which is 0.0, but
            with "bilinear" a pixel at the border is blended with it once instead of twice.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range.

    Reference: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space", NeurIPS
    2020; torchvision.transforms.v2.RandAugment, in floats.
    """

    _table = _RAND_AUGMENT

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: str = "nearest",
        fill: Fill | None = None,
    ) -> None:
        name = type(self).__name__
        self_ops = _check.integer(name, "num_ops", num_ops, 0, 64)
        bins = _check.integer(name, "num_magnitude_bins", num_magnitude_bins, 2, 2**16)
        bin_ = _check.integer(name, "magnitude", magnitude, 0, bins - 1)
        super().__init__(self_ops, (bin_, bin_), bins, interpolation, fill)
        self.num_ops, self.magnitude, self.num_magnitude_bins = self_ops, bin_, bins

    def extra_repr(self) -> str:
        return f"num_ops={self.num_ops}, magnitude={self.magnitude}, num_magnitude_bins={self.num_magnitude_bins}"


class TrivialAugmentWide(_Choices):
    """One operation out of torchvision's fourteen, of any magnitude.

    Args:
        num_magnitude_bins: at least 2. Default: 31.
        interpolation: "nearest" or "bilinear". Default: "nearest".
        fill: value of what comes from outside, in [0, 1], or one for each channel. Default: None, which is 0.0, but
            with "bilinear" a pixel at the border is blended with it once instead of twice.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range.

    Reference: Müller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", ICCV 2021;
    torchvision.transforms.v2.TrivialAugmentWide, in floats.
    """

    _table = _TRIVIAL_WIDE

    def __init__(self, num_magnitude_bins: int = 31, interpolation: str = "nearest", fill: Fill | None = None) -> None:
        bins = _check.integer(type(self).__name__, "num_magnitude_bins", num_magnitude_bins, 2, 2**16)
        super().__init__(1, (0, bins - 1), bins, interpolation, fill)
        self.num_magnitude_bins = bins

    def extra_repr(self) -> str:
        return f"num_magnitude_bins={self.num_magnitude_bins}"
