"""Segments of steps, each one pass from images to views, as the kernels are asked for them.

csrc/include/sslfast/image_augment.h and csrc/shared/image_augment_sample.h hold the same lists of codes, columns and
rules; tests compare them. Torch tensors and NumPy arrays go through the same steps, so nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

CODES = {
    "resample": 0,
    "jitter": 1,
    "gray": 2,
    "solarize": 3,
    "posterize": 4,
    "invert": 5,
    "autocontrast": 6,
    "equalize": 7,
    "sharpness": 8,
    "blur": 9,
    "affine": 10,
    "choice": 11,
}
COLUMNS = {
    "resample": (
        *("top", "left", "height", "width", "target_height", "target_width", "offset_top", "offset_left"),
        *("hflip", "vflip"),
    ),
    "jitter": ("jitter", "order", "brightness", "contrast", "saturation", "hue"),
    "gray": ("gray",),
    "solarize": ("solarize", "threshold"),
    "posterize": ("posterize", "bits"),
    "invert": ("invert",),
    "autocontrast": ("autocontrast",),
    "equalize": ("equalize",),
    "sharpness": ("sharpness", "factor"),
    "blur": ("blur", "sigma"),
    "affine": ("affine", "angle", "translate_x", "translate_y", "scale", "shear_x", "shear_y", "corner"),
    "choice": ("choice", "magnitude"),
}
COLOUR = frozenset({"jitter", "gray", "autocontrast", "equalize", "sharpness", "choice"})  # of 1 or 3 channels alone
FLAT = frozenset({"posterize", "equalize", "choice"})  # their gradient is zero almost everywhere, or may be
CHOICES = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast"),
    *("sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)
FLAT_RANGE, SOLARIZE_SLACK = 2.0**-16, 2.0**-18  # what auto contrast and solarize take for rounding, as the kernels do
PADDINGS = ("constant", "edge", "reflect", "symmetric")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
CROP, RESIZE = 0, 1  # kinds of resampling
KEEP, SHORTER, EXACT = 0, 1, 2  # resize rules
CENTRE, ANYWHERE = 0, 1  # placements
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOST_STEPS, MOST_RULES = 8, 320  # of a segment: what the kernels take
SEGMENT = 2**16  # views that lie between the draws of two segments
MAX_SIDE, MAX_CHANNELS = 2**24, 32  # of images
ERASE_COLUMNS = ("erase_top", "erase_left", "erase_height", "erase_width", "erase_key_high", "erase_key_low")
MOST_ERASED = 64  # values of all boxes that the kernel of the views writes
MOST_ERASES = 16  # boxes erased in a view one after another; numbers of the seeds of a view's boxes
LISTED = 2.0  # a kernel's fill from here on is the place of a list of numbers, one a channel, behind its settings
NO_FILL = -1.0  # a kernel's fill that stands for None: black, and not blended with at a border
MOST_KERNEL = 2**16  # pixels that a blur's kernel can have


class Step(NamedTuple):
    """One step after the resampling: its name in ``CODES``, three settings of the call, the rules of its draws."""

    name: str
    settings: tuple[float, float, float]
    rules: tuple[float, ...]
    fill: tuple[float, ...] = ()  # of an affine map or a choice: one number a channel, instead of the second setting

    @property
    def without_contrast(self) -> bool:
        """Is this a jitter that never draws contrast? On a GPU it takes a launch less."""
        return self.name == "jitter" and self.rules[3:5] == (1.0, 1.0)


class Erase(NamedTuple):
    """Boxes erased in what comes out: the rules of their draws, and what is written."""

    p: float
    scale: tuple[float, float]
    ratio: tuple[float, float]
    values: tuple[float, ...]
    noise: bool


@dataclass
class Resample:
    """Where a view's pixels come from. ``size`` is None where the view keeps what the resize rule gives."""

    kind: int = RESIZE
    size: tuple[int, int] | None = None
    box: tuple[float, ...] = ()  # kind CROP: scale, ratio and log ratio, low and high
    rule: tuple[int, int, int] = (KEEP, 0, 0)  # kind RESIZE: and what the rest says
    placement: int = CENTRE
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, top, right, bottom
    hflip: float = 0.0
    vflip: float = 0.0
    interpolation: str = "bilinear"
    antialias: bool = True
    fill: float | tuple[float, ...] = 0.0  # of all channels, or of each
    padding_mode: str = "constant"
    smaller_images: bool = True  # may a window be larger than the padded image?

    def target(self, height: int, width: int) -> tuple[int, int]:
        """What the resize rule makes of an image: torchvision's sizes."""
        how, first, second = self.rule
        if how == KEEP:
            return height, width
        if how == EXACT:
            return first, second
        shorter, longer = min(height, width), max(height, width)
        a, b = first, int(first * longer / shorter)
        if second and b > second:
            a, b = int(second * a / b), second
        a = max(a, 1)
        return (b, a) if height > width else (a, b)

    def view(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the view of an image."""
        if self.size is not None:
            return self.size
        left, top, right, bottom = self.padding
        height, width = self.target(height, width)
        return height + top + bottom, width + left + right

    def rules(self, size: tuple[int, int]) -> list[float]:
        """The 13 numbers of the kernel, for views of ``size``."""
        if self.kind == CROP:
            numbers: tuple[float, ...] = (*self.box, 0, 0)
        else:
            numbers = (*self.rule, self.placement, *self.padding)
        return [self.kind, *size, self.hflip, self.vflip, *map(float, numbers)]

    def settings(self) -> list[float]:
        """The three settings of the kernel."""
        outside = LISTED if self.fill_list else self.outside
        return [INTERPOLATIONS.index(self.interpolation), float(self.antialias), outside]

    @property
    def fill_list(self) -> tuple[float, ...]:
        """What lies outside the image in each channel, if that is not one number or a padding."""
        return self.fill if isinstance(self.fill, tuple) and self.padding_mode == "constant" else ()

    @property
    def outside(self) -> float:
        """The kernel's setting of what lies outside a mask: a list of numbers is of the image's channels."""
        if self.padding_mode != "constant":
            return -float(PADDINGS.index(self.padding_mode))
        return 0.0 if isinstance(self.fill, tuple) else self.fill

    def check_room(self, name: str, height: int, width: int) -> None:
        """Raises ValueError where a window is larger than the padded image and may not be."""
        if self.smaller_images or self.size is None:
            return
        left, top, right, bottom = self.padding
        height, width = self.target(height, width)
        if height + top + bottom < self.size[0] or width + left + right < self.size[1]:
            raise ValueError(
                f"{name}: images must be at least {self.size} with their padding unless pad_if_needed, got "
                f"{(height + top + bottom, width + left + right)}"
            )


class Segment:
    """A resampling and the steps after it."""

    codes: list[int]
    settings: list[float]
    columns: list[str]
    fills: list[tuple[float, ...]]  # those of one number a channel
    without_contrast: list[int]  # where the columns of jitters begin that never draw it

    def __init__(self) -> None:
        self.resample = Resample()
        self.steps: list[Step] = []

    def complete(self) -> None:
        """Writes down what follows from the steps: a call of few images would notice the time."""
        self.codes = [CODES["resample"], *(CODES[step.name] for step in self.steps)]
        self.settings = self.resample.settings()
        self.fills = [self.resample.fill_list] if self.resample.fill_list else []
        for step in self.steps:
            first, second, third = step.settings
            if step.name == "jitter":
                first = float(step.without_contrast)
            self.settings += [first, LISTED + len(self.fills) if step.fill else second, third]
            self.fills += [step.fill] if step.fill else []
        self.settings += [number for fill in self.fills for number in fill]
        self.columns, self.without_contrast = [*COLUMNS["resample"]], []
        for step in self.steps:
            self.without_contrast += [len(self.columns)] if step.without_contrast else []
            self.columns += COLUMNS[step.name]
        self.step_rules = [number for step in self.steps for number in step.rules]
        self._known: tuple[tuple[int, int], list[float]] | None = None

    def rules(self, size: tuple[int, int]) -> list[float]:
        """The rules of every step, in order, for views of ``size``: a list that is kept, and not to be changed."""
        known = self._known
        if known is None or known[0] != size:
            self._known = known = (size, [*self.resample.rules(size), *self.step_rules])
        return known[1]

    def view_size(self, name: str, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """(height, width) of the views of images of ``sizes``. ValueError where it is not the same for all."""
        resample = self.resample
        if resample.size is not None and resample.smaller_images:
            return resample.size
        for size in sizes:
            resample.check_room(name, *size)
        if len(sizes) == 1:
            return resample.view(*sizes[0])
        found = {self.resample.view(*size) for size in sizes}
        if len(found) > 1:
            sizes_found = ", ".join(map(str, sorted(found)))
            raise ValueError(
                f"{name}: images of several sizes need a transform that gives views one size, got {sizes_found}"
            )
        return found.pop()
