"""What a list of transforms asks of the kernels: segments of steps, and what becomes of the last one's views.

Torch tensors and NumPy arrays go through the same plans, so nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from sslfast._image_steps import (
    COLOUR,
    COLUMNS,
    CROP,
    ERASE_COLUMNS,
    MOST_ERASES,
    MOST_RULES,
    MOST_STEPS,
    NO_FILL,
    RESIZE,
    Erase,
    Resample,
    Segment,
    Step,
)


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
        fill: float | tuple[float, ...] | None = 0.0,
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
            second = NO_FILL if fill is None else fill or second
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
        self._known: dict[tuple[int, bool], tuple[list[float], list[float]]] = {}
        return self

    def normalisation(self, name: str, channels: int, of_bytes: bool) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel, for pixels in [0, 1]. ValueError where their number is another.

        The lists are kept for the next call, and not to be changed.
        """
        known = self._known.get((channels, of_bytes))
        if known is None:
            known = self._known[channels, of_bytes] = self._normalisation(name, channels, of_bytes)
        return known

    def _normalisation(self, name: str, channels: int, of_bytes: bool) -> tuple[list[float], list[float]]:
        mean, std = self.mean or (0.0,), self.std or (1.0,)
        if len(mean) not in (1, channels):
            raise ValueError(f"{name}: mean must have one number per channel ({channels}), got {len(mean)}")
        repeat = channels if len(mean) == 1 else 1
        unit = 255.0 if of_bytes and not self.scale else 1.0
        return [value / unit for value in mean] * repeat, [value / unit for value in std] * repeat

    def check_contrast(self, name: str, params: Any) -> None:
        """Raises ValueError where a row (N, columns), tensor or array, has a contrast that its jitter never draws."""
        start = 0
        for segment in self.segments:
            for place in segment.without_contrast:
                contrast = params[:, start + place + COLUMNS["jitter"].index("contrast")]
                refused = (params[:, start + place] != 0) & (contrast != 1)
                if bool(refused.any()):
                    got = float(contrast[refused][0])
                    raise ValueError(f"{name}: params must have contrast 1 for a ColorJitter without it, got {got:g}")
            start += len(segment.columns)

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
