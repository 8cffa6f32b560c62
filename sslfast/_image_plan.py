"""What a list of transforms asks of the kernels: segments of steps, each one pass from images to views.

csrc/include/sslfast/image_augment.h and csrc/shared/image_augment_sample.h hold the same lists of codes, columns and
rules; tests compare them. Torch tensors and NumPy arrays go through the same plans, so nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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
MOST_ERASES = 16  # boxes erased in a view one after another; numbers of the seeds of a view's boxes
LISTED = 2.0  # a kernel's fill from here on is the place of a list of numbers, one a channel, behind its settings
MOST_KERNEL = 2**16  # pixels that a blur's kernel can have


class Step(NamedTuple):
    """One step after the resampling: its name in ``CODES``, three settings of the call, the rules of its draws."""

    name: str
    settings: tuple[float, float, float]
    rules: tuple[float, ...]
    fill: tuple[float, ...] = ()  # of an affine map or a choice: one number a channel, instead of the second setting


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

    def needs_image_size(self) -> bool:
        """Whether the view's size depends on the image's."""
        return self.size is None and self.rule[0] != EXACT

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
            self.settings += [first, LISTED + len(self.fills) if step.fill else second, third]
            self.fills += [step.fill] if step.fill else []
        self.settings += [number for fill in self.fills for number in fill]
        self.columns = [*COLUMNS["resample"], *(name for step in self.steps for name in COLUMNS[step.name])]
        self.step_rules = [number for step in self.steps for number in step.rules]

    def rules(self, size: tuple[int, int]) -> list[float]:
        """The rules of every step, in order, for views of ``size``."""
        return [*self.resample.rules(size), *self.step_rules]

    def view_size(self, name: str, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """(height, width) of the views of images of ``sizes``. ValueError where it is not the same for all."""
        for size in sizes:
            self.resample.check_room(name, *size)
        if len(sizes) == 1:
            return self.resample.view(*sizes[0])
        found = {self.resample.view(*size) for size in sizes}
        if len(found) > 1:
            sizes_found = ", ".join(map(str, sorted(found)))
            raise ValueError(
                f"{name}: images of several sizes need a transform that gives views one size, got {sizes_found}"
            )
        return found.pop()


class Plan:
    """The segments of a list of transforms. Transforms call the methods below in their order, then ``complete``."""

    columns: tuple[str, ...]  # names of a row of parameters; a name that comes again has its count behind it

    def __init__(self) -> None:
        self.segments = [Segment()]
        self.mean: tuple[float, ...] | None = None
        self.std: tuple[float, ...] | None = None
        self.dtype: str | None = None  # its name in torch and NumPy
        self.scale = True  # are the bytes of uint8 images divided by 255, where floats come out?
        self.erases: list[Erase] = []
        self._resampled = False  # has the last segment's resampling been said?

    def _check_open(self) -> None:
        """Raises ValueError where pixels would still change after some of them were erased."""
        if self.erases:
            raise ValueError("Compose: transforms after RandomErasing must be Normalize, ToDtype or RandomErasing")

    def crop(self, size: tuple[int, int], box: tuple[float, ...], interpolation: str, antialias: bool) -> None:
        """A random box, resized to ``size``."""
        self._begin()
        self.segments[-1].resample = Resample(CROP, size, box, interpolation=interpolation, antialias=antialias)

    def resize(self, rule: tuple[int, int, int], interpolation: str, antialias: bool) -> None:
        """The whole image, resized."""
        self._begin()
        self.segments[-1].resample = Resample(rule=rule, interpolation=interpolation, antialias=antialias)

    def window(
        self,
        size: tuple[int, int],
        placement: int,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        fill: float | tuple[float, ...] = 0.0,
        padding_mode: str = "constant",
        smaller_images: bool = True,
    ) -> None:
        """A part of the padded image, of a resized one without a detour."""
        self._check_open()
        last = self.segments[-1]
        open_ = self._resampled and last.resample.kind == RESIZE and last.resample.size is None
        if not open_ or last.steps or last.resample.hflip or last.resample.vflip:
            self._begin()
        resample = self.segments[-1].resample
        resample.size, resample.placement, resample.padding, resample.fill = size, placement, padding, fill
        resample.padding_mode, resample.smaller_images = padding_mode, smaller_images
        self._resampled = True

    def flip(self, hflip: float, vflip: float) -> None:
        """Flips. Steps that stand before do not mind, except affine maps."""
        self._check_open()
        resample = self.segments[-1].resample
        moved = any(step.name in ("affine", "choice") for step in self.segments[-1].steps)
        if moved or (hflip and resample.hflip) or (vflip and resample.vflip):
            self._begin()
            resample = self.segments[-1].resample
        resample.hflip, resample.vflip = resample.hflip or hflip, resample.vflip or vflip
        self._resampled = True

    def step(
        self,
        name: str,
        rules: tuple[float, ...],
        settings: tuple[float, ...] = (),
        fill: float | tuple[float, ...] = 0.0,
    ) -> None:
        """Any other step; ``fill`` is what an affine map or a choice has for its second setting."""
        self._check_open()
        last = self.segments[-1]
        numbers = 13 + sum(len(step.rules) for step in last.steps) + len(rules)
        if len(last.steps) == MOST_STEPS or numbers > MOST_RULES:
            self._begin()
        first, second, third = (*settings, 0.0, 0.0, 0.0)[:3]
        listed = fill if isinstance(fill, tuple) else ()
        if not isinstance(fill, tuple):
            second = fill or second
        self.segments[-1].steps.append(Step(name, (first, second, third), rules, listed))

    def normalise(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """(x - mean) / std at the end, of what an earlier one gave: one map."""
        if self.mean is not None and self.std is not None:
            channels = max(len(self.mean), len(mean))
            if min(len(self.mean), len(mean)) not in (1, channels):
                raise ValueError(
                    f"Compose: transforms must normalise one number of channels, got {len(self.mean)} and {len(mean)}"
                )
            first, by = ((one * channels)[:channels] for one in (self.mean, self.std))
            second, again = ((one * channels)[:channels] for one in (mean, std))
            mean = tuple(m + s * n for m, s, n in zip(first, by, second, strict=True))
            std = tuple(s * t for s, t in zip(by, again, strict=True))
        self.mean, self.std = mean, std

    def convert(self, dtype: str, scale: bool) -> None:
        """The dtype of what comes out. What are floats already stay in their range, whatever ``scale`` says."""
        if dtype == "uint8" and not self.scale:
            raise ValueError("Compose: transforms must not have ToDtype(torch.uint8) after ToDtype(scale=False)")
        if self.dtype in (None, "uint8"):
            self.scale = scale
        self.dtype = dtype

    def erase(self, erase: Erase) -> None:
        """A box erased at the end, after any normalisation."""
        if len(self.erases) == MOST_ERASES:
            raise ValueError(f"Compose: transforms must have at most {MOST_ERASES} RandomErasing, got more")
        self.erases.append(erase)

    def complete(self) -> Plan:
        """To be called after the last transform; returns the plan."""
        if self.dtype == "uint8" and (set(self.mean or ()) - {0.0} or set(self.std or ()) - {1.0}):
            raise ValueError("Compose: transforms must end in floats after Normalize, got ToDtype(torch.uint8)")
        seen: dict[str, int] = {}
        names = []
        for segment in self.segments:
            segment.complete()
        for name in [*(name for one in self.segments for name in one.columns), *len(self.erases) * ERASE_COLUMNS]:
            seen[name] = seen.get(name, 0) + 1
            names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
        self.columns = tuple(names)
        return self

    def normalisation(self, name: str, channels: int, of_bytes: bool) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel, for pixels in [0, 1]. ValueError where their number is another."""
        mean, std = self.mean or (0.0,), self.std or (1.0,)
        if len(mean) not in (1, channels):
            raise ValueError(f"{name}: mean must have one number per channel ({channels}), got {len(mean)}")
        repeat = channels if len(mean) == 1 else 1
        unit = 255.0 if of_bytes and not self.scale else 1.0
        return [value / unit for value in mean] * repeat, [value / unit for value in std] * repeat

    def check_channels(self, name: str, channels: int) -> None:
        """Raises ValueError where a colour transform meets other than 1 or 3 channels, or a fill another number."""
        for segment in self.segments:
            for fill in segment.fills:
                if len(fill) != channels:
                    raise ValueError(f"{name}: fill must have one number per channel ({channels}), got {len(fill)}")
        if channels in (1, 3):
            return
        for segment in self.segments:
            for step in segment.steps:
                if step.name in COLOUR:
                    raise ValueError(f"{name}: {step.name} needs images of 1 or 3 channels, got {channels}")

    def _begin(self) -> None:
        self._check_open()
        if self._resampled or self.segments[-1].steps:
            self.segments.append(Segment())
        self._resampled = True


class Planned(ABC):
    """What can stand in a list of transforms."""

    @abstractmethod
    def _add(self, plan: Plan) -> None:
        """Tells the plan what to do, by its methods."""
