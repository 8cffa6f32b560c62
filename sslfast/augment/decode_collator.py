"""A collate function that decodes: images of their own sizes, labels, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from sslfast import _check
from sslfast.augment._transform import Transform
from sslfast.augment.compose import MultiView
from sslfast.augment.decode import Source, check_options, decode_images


@dataclass
class DecodedBatch:
    """What ``DecodeCollator`` makes.

    From a worker all images travel as one block of shared memory: a list of tensors would take a file descriptor each.

    Attributes:
        images: uint8 (C, H, W) each, of their own sizes; or what ``augment`` made of them.
        labels: of the images that are kept, collated; None where samples have none.
        kept: their places in the batch of samples.
        errors: (place, reason) of those that were left out.
    """

    images: Any
    labels: Any
    kept: list[int]
    errors: list[tuple[int, str]]

    @property
    def skipped(self) -> int:
        """How many samples were left out."""
        return len(self.errors)

    def __len__(self) -> int:
        return len(self.kept)

    def pin_memory(self) -> DecodedBatch:
        """The batch in page-locked memory, as ``DataLoader(pin_memory=True)`` asks for."""
        if _plain(self.images):
            block, shapes = _packed(self.images)
            images: Any = _unpacked(block.pin_memory(), shapes)
        else:
            images = _pinned(self.images)
        return DecodedBatch(images, _pinned(self.labels), self.kept, self.errors)

    def __reduce__(self) -> tuple[Any, ...]:
        rest = (self.labels, self.kept, self.errors)
        if not _plain(self.images):
            return DecodedBatch, (self.images, *rest)
        return _received, (*_packed(self.images), *rest)


class DecodeCollator:
    """``DataLoader(dataset, collate_fn=DecodeCollator(), num_workers=8)``: workers decode, a broken file ends nothing.

    The data set returns what is cheap: a path or the bytes of a file, and labels. Everything behind the first element
    of a sample is collated by ``torch.utils.data.default_collate``, of the kept samples alone.

    Args:
        mode: "RGB", "L", "RGBA" or "unchanged", as of ``decode_images``. Default: "RGB".
        decoder: "simplejpeg", "cv2" or "pillow". Default: None, the first of them that is installed.
        min_size: least smaller side that is needed: large JPEG files are decoded at a fraction. Default: None.
        exif: turn images upright. Default: True.
        on_error: "skip", or "raise". Default: "skip"; look at ``batch.errors``.
        augment: called in the worker with the list of images; the result takes their place. Default: None. Where every
            sample was left out, a transform or recipe of this package gives its views of no image, (0, C, h, w), for
            the C of ``mode`` (3 for "unchanged"); anything else is not called, and the images are ``[]``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: there is no such mode or decoder, or a number is out of range.
        ImportError: the decoder that is asked for is not installed.
    """

    def __init__(
        self,
        *,
        mode: str = "RGB",
        decoder: str | None = None,
        min_size: int | None = None,
        exif: bool = True,
        on_error: str = "skip",
        augment: Callable[[list[Tensor]], Any] | None = None,
    ) -> None:
        name = type(self).__name__
        check_options(name, mode, decoder, min_size, exif)
        _check.one_of(name, "on_error", on_error, ("raise", "skip"))
        if augment is not None and not callable(augment):
            raise TypeError(f"{name}: augment must be callable or None, got {type(augment).__name__}")
        self._options: dict[str, Any] = {"mode": mode, "decoder": decoder, "min_size": min_size, "exif": exif}
        self.on_error = on_error
        self.augment = augment

    def __call__(self, samples: Sequence[Source | tuple[Source, ...]]) -> DecodedBatch:
        """Decodes a batch.

        Args:
            samples: sources as of ``decode_images``, or tuples of a source and labels.

        Returns:
            A ``DecodedBatch``; without labels where every sample was left out.

        Raises:
            TypeError: a source is nothing that could be an image.
            ValueError: an image cannot be decoded, where ``on_error="raise"``, or samples have not as many labels.
        """
        labelled = [sample if isinstance(sample, (tuple, list)) else (sample,) for sample in samples]
        for place, sample in enumerate(labelled):
            if len(sample) != len(labelled[0]) or len(sample) == 0:
                raise ValueError(
                    f"{type(self).__name__}: samples must all be sources, or tuples of a source and as many labels, "
                    f"got tuples of {len(labelled[0])} and, at {place}, of {len(sample)}"
                )
        sources = [sample[0] for sample in labelled]
        errors: list[tuple[int, str]] = []
        if self.on_error == "raise":
            images, kept = decode_images(sources, **self._options), list(range(len(sources)))
        else:
            images, kept, errors = decode_images(sources, **self._options, on_error="skip")
        rest = [labelled[place][1:] for place in kept]
        labels = default_collate([row[0] if len(row) == 1 else row for row in rest]) if rest and rest[0] else None
        return DecodedBatch(self._augmented(images), labels, kept, errors)

    def _augmented(self, images: list[Tensor]) -> Any:
        if self.augment is None:
            return images
        if images:
            return self.augment(images)
        if not isinstance(self.augment, (Transform, MultiView)):
            return []
        channels = {"L": 1, "RGBA": 4}.get(self._options["mode"], 3)
        return self.augment(torch.empty(0, channels, 1, 1, dtype=torch.uint8))


def _plain(images: Any) -> bool:
    """Whether they are as they were decoded."""
    return isinstance(images, list) and all(
        isinstance(image, Tensor) and image.dtype == torch.uint8 and image.dim() == 3 and image.is_cpu
        for image in images
    )


def _packed(images: list[Tensor]) -> tuple[Tensor, list[tuple[int, ...]]]:
    """One after the other as (H, W, C), and their shapes."""
    block = torch.empty(sum(image.numel() for image in images), dtype=torch.uint8)
    shapes = [tuple(image.shape) for image in images]
    for image, place in zip(images, _unpacked(block, shapes), strict=True):
        place.copy_(image)
    return block, shapes


def _unpacked(block: Tensor, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    parts = block.split([c * h * w for c, h, w in shapes])
    return [part.view(h, w, c).permute(2, 0, 1) for part, (c, h, w) in zip(parts, shapes, strict=True)]


def _received(block: Tensor, shapes: list[tuple[int, ...]], *rest: Any) -> DecodedBatch:
    return DecodedBatch(_unpacked(block, shapes), *rest)


def _pinned(data: Any) -> Any:
    from torch.utils.data._utils.pin_memory import pin_memory

    return pin_memory(data)
