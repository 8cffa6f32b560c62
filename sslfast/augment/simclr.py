"""The augmentation of SimCLR for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast.augment.image_augment import (
    Factor,
    apply_params,
    check_dtype,
    check_images,
    check_normalisation,
    check_rules,
    check_size,
)
from sslfast.random import Generator, seed_tensor


class SimCLRAugment(nn.Module):
    """Random resized crop, flip, colour jitter and grayscale with parameters of its own for every sample and view.

    The defaults are SimCLR's at colour strength 1 for ImageNet. The same draws and numbers as ``sample_params``
    followed by ``apply_params``, in two operator calls for all views. Without Gaussian blur.

    Args:
        size: side, or (height, width), of the views, in pixels.
        views: views per image V, at least 1. Default: 2.
        scale: (low, high) of the crop's share of the image's area, in (0, 1]. Default: (0.08, 1.0).
        ratio: (low, high) of the crop's width / height. Default: (3/4, 4/3).
        hflip_prob: probability of a horizontal flip. Default: 0.5.
        jitter_prob: probability that colours are jittered at all. Default: 0.8.
        brightness: v for factors in [max(0, 1 - v), 1 + v], or their (low, high), not negative. Default: 0.8.
        contrast: like ``brightness``. Default: 0.8.
        saturation: like ``brightness``. Default: 0.8.
        hue: v for shifts in [-v, v], or their (low, high), in [-0.5, 0.5] turns of the colour wheel. Default: 0.2.
        gray_prob: probability of grayscale. Default: 0.2.
        mean: one number per channel, for pixels in [0, 1]. Default: None, ImageNet's for 3 channels, 0.5 for one.
        std: one positive number per channel. Default: None, ImageNet's for 3 channels, 0.5 for one.
        dtype: of the views, torch.float32 or torch.bfloat16. Default: torch.float32.
        generator: what calls draw from that are given none: None | torch.Generator | int seed | int64 seed tensor. An
            int seeds a torch.Generator, so that successive calls differ and a run repeats. A tensor is the seed
            itself, read at every call. Default: None, torch's global generator.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    appendix A.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        views: int = 2,
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        hflip_prob: float = 0.5,
        jitter_prob: float = 0.8,
        brightness: Factor = 0.8,
        contrast: Factor = 0.8,
        saturation: Factor = 0.8,
        hue: Factor = 0.2,
        gray_prob: float = 0.2,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
        generator: Generator = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.size = check_size(name, "size", size)
        self.views = _check.integer(name, "views", views, 1, 2**26)
        self._rules = check_rules(
            name,
            scale=scale,
            ratio=ratio,
            hflip_prob=hflip_prob,
            jitter_prob=jitter_prob,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            gray_prob=gray_prob,
        )
        for argument, values in (("mean", mean), ("std", std)):
            if values is not None and (not isinstance(values, (tuple, list)) or len(values) not in (1, 3)):
                raise ValueError(f"{name}: {argument} must be None or a tuple of 1 or 3 numbers, got {values}")
        given = mean if mean is not None else std
        if given is not None:
            check_normalisation(name, mean, std, len(given))
        check_dtype(name, dtype)
        self.mean, self.std, self.dtype = mean, std, dtype
        if generator is not None and not isinstance(generator, torch.Generator):
            seed = seed_tensor(generator, function=name)
            if not isinstance(generator, Tensor):
                generator = torch.Generator().manual_seed(int(seed))
        self.generator = generator

    def forward(self, images: Tensor, *, generator: Generator = None, row_offset: int = 0) -> list[Tensor]:
        """Augments a batch.

        Args:
            images: uint8, shape (N, C, H, W), C 1 or 3, any strides.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, the constructor's.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.

        Returns:
            A list of V contiguous tensors of shape (N, C, *size), normalised.

        Raises:
            TypeError: ``images`` is not a uint8 tensor, or ``generator`` or ``row_offset`` has the wrong type.
            ValueError: a shape or ``row_offset`` is out of range, ``mean`` or ``std`` does not fit the channels, or
                the generator is on another GPU.
        """
        params = self.sample_params(images, generator=generator, row_offset=row_offset)
        return self._views(images, params)

    def sample_params(self, images: Tensor, *, generator: Generator = None, row_offset: int = 0) -> Tensor:
        """The parameters that ``forward`` would draw: (N, V, 12) as of ``sslfast.augment.sample_params``.

        Takes and raises what ``forward`` does.
        """
        name = type(self).__name__
        check_images(name, images)
        seed = seed_tensor(self.generator if generator is None else generator, function=name, device=images.device)
        offset = _check.integer(name, "row_offset", row_offset, 0)
        rows, _, height, width = images.shape
        return ops.image_augment_params(images, seed, rows, self.views, height, width, *self._rules, offset)

    def apply_params(self, images: Tensor, params: Tensor) -> list[Tensor]:
        """``sslfast.augment.apply_params`` with this object's size, mean, std and dtype: replays ``params``.

        (``nn.Module.apply`` is something else.) Raises what the function does.
        """
        return apply_params(images, params, self.size, mean=self.mean, std=self.std, dtype=self.dtype)

    def _views(self, images: Tensor, params: Tensor) -> list[Tensor]:
        mean, std = check_normalisation(type(self).__name__, self.mean, self.std, images.shape[1])
        return list(ops.image_augment(images, params, *self.size, mean, std, self.dtype).unbind(0))

    def extra_repr(self) -> str:
        return f"size={self.size}, views={self.views}, dtype={self.dtype}"
