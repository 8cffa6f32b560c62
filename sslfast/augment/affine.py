"""Rotations and other affine maps of images, each image with draws of its own."""

from __future__ import annotations

from sslfast import _check
from sslfast._image_plan import Plan
from sslfast._image_steps import INTERPOLATIONS
from sslfast.augment._arguments import Factor, Fill, affine_fill_of, factor, floats, interpolation_name, pair
from sslfast.augment._transform import Transform

__all__ = ["RandomAffine", "RandomRotation"]

_INFINITY = float("inf")


class RandomAffine(Transform):
    """A random rotation, translation, scale and shear about the centre.

    Args:
        degrees: v for angles in [-v, v], or (low, high); clockwise.
        translate: the most that the image moves, as shares of (width, height), in [0, 1]; whole pixels. Default: None.
        scale: (low, high) of the factor. Default: None, 1.
        shear: v for [-v, v] along x; (low, high) along x; or (low x, high x, low y, high y), in degrees. Default: None.
        interpolation: "nearest" or "bilinear". Default: "nearest".
        fill: value of what comes from outside, in [0, 1], or one for each channel; or None, which is 0.0, but with
            "bilinear" a pixel at the border is blended with it once instead of twice. Default: 0.0.
        center: (x, y) of the point that turns, grows and shears in place, in pixels from the top left corner. Default:
            None, the middle of the image.
        p: probability of the transform. Default: 1.0.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: torchvision.transforms.v2.RandomAffine.
    """

    def __init__(
        self,
        degrees: Factor,
        translate: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        shear: Factor | tuple[float, float, float, float] | None = None,
        interpolation: str = "nearest",
        fill: Fill | None = 0.0,
        center: tuple[float, float] | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.center = None if center is None else floats(name, "center", center, 2)
        self.degrees = factor(name, "degrees", degrees, centre=0.0, low=-_INFINITY, high=_INFINITY)
        move = (0.0, 0.0) if translate is None else floats(name, "translate", translate, 2)
        if not all(0 <= share <= 1 for share in move):
            raise ValueError(f"{name}: translate must be two shares in [0, 1], got {translate}")
        self.translate = move
        self.scale = (1.0, 1.0) if scale is None else pair(name, "scale", scale, 1e-6, _INFINITY)
        self.shear = self._shears(name, shear)
        self.interpolation, self.fill = interpolation_name(name, interpolation), affine_fill_of(name, fill)
        if self.interpolation == "bicubic":
            raise ValueError(f"{name}: interpolation must be nearest or bilinear, got 'bicubic'")
        self.p = _check.probability(name, "p", p)

    @staticmethod
    def _shears(name: str, shear: object) -> tuple[float, float, float, float]:
        if shear is None:
            return 0.0, 0.0, 0.0, 0.0
        if isinstance(shear, (tuple, list)):
            if len(shear) not in (2, 4):
                raise ValueError(f"{name}: shear must be a number, or 2 or 4 of them, got {shear}")
            x = pair(name, "shear", shear[:2], -90.0, 90.0)
            y = pair(name, "shear", shear[2:], -90.0, 90.0) if len(shear) == 4 else (0.0, 0.0)
            if max(map(abs, (*x, *y))) == 90:
                raise ValueError(f"{name}: shear must be between -90 and 90, without these two, got {shear}")
            return (*x, *y)
        most = _check.real(name, "shear", shear)  # type: ignore[arg-type]
        if not 0 <= most < 90:
            raise ValueError(f"{name}: shear must be in [0, 90), or (low, high), got {shear}")
        return -most, most, 0.0, 0.0

    def _add(self, plan: Plan) -> None:
        x, y = self.translate
        pivot = (0.0, 0.0, 0.0) if self.center is None else (2.0, *self.center)
        rules = (self.p, *self.degrees, -x, x, -y, y, *self.scale, *self.shear, *pivot)
        plan.step("affine", rules, (INTERPOLATIONS.index(self.interpolation),), self.fill)

    def extra_repr(self) -> str:
        about = f"scale={self.scale}, shear={self.shear}, center={self.center}"
        return f"degrees={self.degrees}, translate={self.translate}, {about}, p={self.p}"


class RandomRotation(RandomAffine):
    """A random rotation about the centre, counterclockwise, without growing the image.

    Args:
        degrees: v for angles in [-v, v], or (low, high).
        interpolation: "nearest" or "bilinear". Default: "nearest".
        expand: must be False: an image that grows with its angle has a size of its own, and views, also those of a list
            of images, are one tensor. Default: False.
        center: (x, y) of the point that turns in place, in pixels from the top left corner. Default: None, the middle.
        fill: value of what comes from outside, in [0, 1], or one for each channel; or None, which is 0.0, but with
            "bilinear" a pixel at the border is blended with it once instead of twice. Default: 0.0.
        p: probability of the transform. Default: 1.0.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, a (low, high) is the wrong way round, or ``expand`` is True.

    Reference: torchvision.transforms.v2.RandomRotation.
    """

    def __init__(
        self,
        degrees: Factor,
        interpolation: str = "nearest",
        expand: bool = False,
        center: tuple[float, float] | None = None,
        fill: Fill | None = 0.0,
        p: float = 1.0,
    ) -> None:
        name = type(self).__name__
        low, high = factor(name, "degrees", degrees, centre=0.0, low=-_INFINITY, high=_INFINITY)
        turned = -high, -low  # affine turns the other way
        super().__init__(turned, interpolation=interpolation, fill=fill, center=center, p=p)
        if _check.boolean(name, "expand", expand):
            raise ValueError(f"{name}: expand must be False, as views of a batch have one size, got True")
