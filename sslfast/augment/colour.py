"""Colours, blur and sharpness, each image with draws of its own: torchvision's float functionals."""

from __future__ import annotations

from sslfast import _check
from sslfast._image_plan import Plan
from sslfast._image_steps import MOST_KERNEL
from sslfast.augment._arguments import Factor, Size, factor, floats, pair
from sslfast.augment._happens import Happens
from sslfast.augment._transform import Transform

__all__ = [
    "ColorJitter",
    "GaussianBlur",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomEqualize",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPosterize",
    "RandomSolarize",
]

_INFINITY = float("inf")


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue by random factors, in an order drawn for every image.

    Hue goes through HSV, contrast around the mean of the image's own gray image, and every step is clamped to [0, 1].
    Of one channel saturation and hue do nothing. Without contrast, 0 or (1, 1), views on a GPU take a launch less, and
    ``apply_params`` takes no other contrast than 1.

    Args:
        brightness: v for factors in [max(0, 1 - v), 1 + v], or their (low, high), not negative. Default: 0.0, none.
        contrast: like ``brightness``.
        saturation: like ``brightness``.
        hue: v for shifts in [-v, v], or their (low, high), in [-0.5, 0.5] turns of the colour wheel. Default: 0.0.
        p: probability that colours are jittered at all, ``RandomApply`` around torchvision's. Default: 1.0.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: torchvision.transforms.v2.ColorJitter.
    """

    def __init__(
        self,
        brightness: Factor = 0.0,
        contrast: Factor = 0.0,
        saturation: Factor = 0.0,
        hue: Factor = 0.0,
        p: float = 1.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.brightness = factor(name, "brightness", brightness, centre=1.0, low=0.0, high=_INFINITY)
        self.contrast = factor(name, "contrast", contrast, centre=1.0, low=0.0, high=_INFINITY)
        self.saturation = factor(name, "saturation", saturation, centre=1.0, low=0.0, high=_INFINITY)
        self.hue = factor(name, "hue", hue, centre=0.0, low=-0.5, high=0.5)
        self.p = _check.probability(name, "p", p)

    def _add(self, plan: Plan) -> None:
        plan.step("jitter", (self.p, *self.brightness, *self.contrast, *self.saturation, *self.hue))

    def extra_repr(self) -> str:
        factors = f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}"
        return f"{factors}, hue={self.hue}, p={self.p}"


class RandomGrayscale(Happens):
    """All channels become 0.2989 R + 0.587 G + 0.114 B with probability ``p``.

    Args:
        p: probability. Default: 0.1.

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: it is outside [0, 1].

    Reference: torchvision.transforms.v2.RandomGrayscale.
    """

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def _add(self, plan: Plan) -> None:
        plan.step("gray", (self.p,))


class RandomInvert(Happens):
    """x becomes 1 - x with probability ``p``.

    That is every channel, whatever their number: an alpha channel too.

    Args:
        p: probability. Default: 0.5.

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: it is outside [0, 1].

    Reference: torchvision.transforms.v2.RandomInvert.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def _add(self, plan: Plan) -> None:
        plan.step("invert", (self.p,))


class RandomAutocontrast(Happens):
    """Every channel is stretched to [0, 1] with probability ``p``.

    One whose values span less than 2^-16, a 257th of a level of uint8, is of one colour but for rounding and stays.

    Args:
        p: probability. Default: 0.5.

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: it is outside [0, 1].

    Reference: torchvision.transforms.v2.RandomAutocontrast.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def _add(self, plan: Plan) -> None:
        plan.step("autocontrast", (self.p,))


class RandomEqualize(Happens):
    """The histogram of every channel, of 256 values, is made even with probability ``p``.

    Args:
        p: probability. Default: 0.5.

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: it is outside [0, 1].

    Reference: torchvision.transforms.v2.RandomEqualize.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def _add(self, plan: Plan) -> None:
        plan.step("equalize", (self.p,))


class RandomSolarize(Transform):
    """x becomes 1 - x from ``threshold`` on, with probability ``p``.

    A value less than 2^-18 below counts as on it, so that a level stays one through the rounding of a resize.

    That is every channel, whatever their number: an alpha channel too.

    Args:
        threshold: in [0, 1], also for uint8 images. Default: 0.5.
        p: probability. Default: 0.5.

    Raises:
        TypeError: an argument is not a number.
        ValueError: an argument is out of range.

    Reference: torchvision.transforms.v2.RandomSolarize, whose threshold for uint8 images is 255 times as large.
    """

    def __init__(self, threshold: float = 0.5, p: float = 0.5) -> None:
        super().__init__()
        name = type(self).__name__
        self.threshold = _check.real(name, "threshold", threshold)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"{name}: threshold must be in [0, 1], got {threshold}")
        self.p = _check.probability(name, "p", p)

    def _add(self, plan: Plan) -> None:
        plan.step("solarize", (self.p, self.threshold))

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, p={self.p}"


class RandomPosterize(Transform):
    """Values are rounded down to ``2 ** bits`` levels with probability ``p``.

    That is every channel, whatever their number: an alpha channel too.

    Args:
        bits: from 0 to 8.
        p: probability. Default: 0.5.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.

    Reference: torchvision.transforms.v2.RandomPosterize.
    """

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__()
        name = type(self).__name__
        self.bits, self.p = _check.integer(name, "bits", bits, 0, 8), _check.probability(name, "p", p)

    def _add(self, plan: Plan) -> None:
        plan.step("posterize", (self.p, self.bits))

    def extra_repr(self) -> str:
        return f"bits={self.bits}, p={self.p}"


class RandomAdjustSharpness(Transform):
    """Blended with its average over 3 x 3 pixels, with probability ``p``: 0 is that average, 1 the image, 2 sharper.

    Args:
        sharpness_factor: at least 0, or (low, high) of it.
        p: probability. Default: 0.5.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.

    Reference: torchvision.transforms.v2.RandomAdjustSharpness.
    """

    def __init__(self, sharpness_factor: Factor, p: float = 0.5) -> None:
        super().__init__()
        name, given = type(self).__name__, sharpness_factor
        both = given if isinstance(given, (tuple, list)) else (given, given)
        self.sharpness_factor = pair(name, "sharpness_factor", both, 0.0, _INFINITY)
        self.p = _check.probability(name, "p", p)

    def _add(self, plan: Plan) -> None:
        plan.step("sharpness", (self.p, *self.sharpness_factor))

    def extra_repr(self) -> str:
        return f"sharpness_factor={self.sharpness_factor}, p={self.p}"


class GaussianBlur(Transform):
    """A Gaussian of random width, with probability ``p``; at the border the image is reflected.

    Args:
        kernel_size: odd, in pixels, or two such, (width, height) as torchvision has them: how far the Gaussian reaches
            at most. What lies beyond 4.5 sigma, 7e-6 of it, is left out. An image smaller than half of it is reflected
            more than once.
        sigma: its standard deviation in pixels, positive, or (low, high) of it. Default: (0.1, 2.0).
        p: probability, ``RandomApply`` around torchvision's. Default: 1.0.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``kernel_size`` is even or not two numbers, or a number is out of range.

    Reference: torchvision.transforms.v2.GaussianBlur.
    """

    def __init__(self, kernel_size: Size, sigma: Factor = (0.1, 2.0), p: float = 1.0) -> None:
        super().__init__()
        name = type(self).__name__
        sides = kernel_size if isinstance(kernel_size, (tuple, list)) else (kernel_size,)
        if len(sides) not in (1, 2):
            raise ValueError(f"{name}: kernel_size must be an int or (width, height), got {kernel_size}")
        checked = tuple(_check.integer(name, "kernel_size", side, 1, MOST_KERNEL) for side in sides)
        if any(side % 2 == 0 for side in checked):
            raise ValueError(f"{name}: kernel_size must be odd, got {kernel_size}")
        self._kernel = (checked[0], checked[-1])
        self.kernel_size = checked[0] if checked[0] == checked[-1] else checked
        both = floats(name, "sigma", sigma if isinstance(sigma, (tuple, list)) else (sigma, sigma), 2)
        if not 0 < both[0] <= both[1]:
            raise ValueError(f"{name}: sigma must be positive, or (low, high), ascending and positive, got {sigma}")
        self.sigma, self.p = both, _check.probability(name, "p", p)

    def _add(self, plan: Plan) -> None:
        plan.step("blur", (self.p, *self.sigma), self._kernel)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, sigma={self.sigma}, p={self.p}"
