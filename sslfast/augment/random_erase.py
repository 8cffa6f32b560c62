"""Boxes of images erased: where is drawn apart from its being done, or with it in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sslfast import _batch_rules, _check, ops
from sslfast._arguments import numbered_rows
from sslfast._autograd import traced_once
from sslfast._image_plan import Plan, Planned
from sslfast._image_steps import Erase
from sslfast.augment import _float_batch
from sslfast.augment._own_draws import DrawingModule
from sslfast.random import Generator, seed_tensor

# Columns of the parameters of a batch: the box, in pixels, 0 high where none is erased, and the key of its noise in two
# halves of 24 bits.
ERASE_PARAMS = ("top", "left", "height", "width", "key_high", "key_low")

Value: TypeAlias = "float | Sequence[float] | str"


def sample_erase(
    rows: int,
    image_size: tuple[int, int],
    *,
    p: float = 0.5,
    scale: Sequence[float] = (0.02, 0.33),
    ratio: Sequence[float] = (0.3, 3.3),
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draws which box of each image ``erase_boxes`` erases: the distribution of torchvision's ``RandomErasing``.

    A box of a random area and aspect ratio is tried ten times; where none is smaller than the image in both directions,
    nothing is erased. A draw depends on (seed, number of the row) alone: equal bits on the CPU and the GPU.

    Args:
        rows: number of images N, at least 0.
        image_size: (height, width), in pixels.
        p: probability that an image is erased at all. Default: 0.5.
        scale: (low, high) of the box's share of the image's area, in [0, 1]. Default: (0.02, 0.33).
        ratio: (low, high) of the box's height / width, positive. Default: (0.3, 3.3).
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: None, that of ``sample_ids``, else torch's default.

    Returns:
        float32 (N, 6), whose columns ``ERASE_PARAMS`` names.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, a (low, high) is the wrong way round, or the generator is on another GPU.

    Reference: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.
    """
    name = "sample_erase"
    rules = _batch_rules.erase_rules(name, p, scale, ratio)
    rows = _check.integer(name, "rows", rows, 0, 2**24)
    height, width = _float_batch.check_size(name, image_size)
    at = sample_ids.device if device is None and isinstance(sample_ids, Tensor) else device
    like = torch.empty((), device=at)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    return ops.random_erase_params(like, seed, sample_ids, rows, height, width, *rules, row_offset)


def erase_boxes(images: Tensor, params: Tensor, value: Value = 0.0, *, inplace: bool = False) -> Tensor:
    """Erases the box of each image that ``params`` says.

    One launch; in place the boxes alone are touched. What is erased is never read: NaN there is gone, and no gradient
    reaches it. No host synchronisation on a GPU.

    Args:
        images: float32, bfloat16, float16, float64 or uint8, shape (N, C, H, W), any strides.
        params: float32 (N, 6), on the device of ``images``: of ``sample_erase``, or by hand with the columns of
            ``ERASE_PARAMS``. Not read on the host: boxes are clipped to the image.
        value: a number; one number per channel, of at most 64; or "random", normal noise for every pixel and channel,
            drawn in float32 from (key of the row, channel, pixel), equal on every device. Of uint8 images numbers in
            [0, 255], rounded down. Default: 0.
        inplace: change ``images`` and return it. Default: False.

    Returns:
        ``images`` where ``inplace``, else a new tensor, in its memory format (channels last or contiguous).

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a shape, a device or the number of values is wrong; or, where ``inplace``, ``images`` is expanded,
            or has lines that are not contiguous.

    Reference: torchvision.transforms.v2.functional.erase.
    """
    name = "erase_boxes"
    _float_batch.check_batch(name, images, bytes_too=True)
    params = _float_batch.check_params(name, params, images, len(ERASE_PARAMS))
    values, noise = _values(name, value, images)
    inplace = _check.boolean(name, "inplace", inplace)
    if inplace:
        _float_batch.check_in_place(name, images)
    else:
        images = _float_batch.in_lines(images)
    if torch.is_grad_enabled() and images.requires_grad:
        return _EraseBoxes.apply(images, params, values, noise, inplace)
    if inplace:
        ops.erase_boxes_(images, params, values, noise)
        return images
    return ops.erase_boxes(images, params, values, noise)


def _values(name: str, value: Value, images: Tensor) -> tuple[list[float], bool]:
    """What is written into boxes of ``images``, and whether it is noise instead; TypeError or ValueError."""
    values, noise = _batch_rules.erase_values(name, value, images.shape[1])
    if images.dtype == torch.uint8:
        _batch_rules.check_byte_values(name, values, noise)
    return values, noise


class _EraseBoxes(torch.autograd.Function):
    """Its own derivative, with zeros in the boxes."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, params: Tensor, values: list[float], noise: bool, inplace: bool) -> Tensor:
        ctx.save_for_backward(params)
        if not inplace:
            return ops.erase_boxes(images, params, values, noise)
        ops.erase_boxes_(images, params, values, noise)
        ctx.mark_dirty(images)
        return images

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (params,) = ctx.saved_tensors
        grad = _float_batch.in_lines(grad)
        if torch.is_grad_enabled() and grad.requires_grad:
            return _EraseBoxes.apply(grad, params, [0.0], False, False), None, None, None, None
        return ops.erase_boxes(grad, params, [0.0], False), None, None, None, None


class RandomErasing(DrawingModule, Planned):
    """Erases a random box of every image of a batch: ``torchvision.transforms.v2.RandomErasing``, per image.

    The same arguments and defaults; torchvision erases the same box of a whole batch. In a ``Compose`` it is a step
    like others, whose draws are the list's and whose parameters are the columns ``erase_top`` and on; views are erased
    as they are made, and masks, boxes and keypoints stay as they are.

    Args:
        p: probability that an image is erased at all. Default: 0.5.
        scale: (low, high) of the box's share of the image's area, in [0, 1]. Default: (0.02, 0.33).
        ratio: (low, high) of the box's height / width, positive. Default: (0.3, 3.3).
        value: a number, one number per channel, or "random", normal noise. Default: 0.
        inplace: change the images that are given. Default: False.
        generator: what calls draw from that are given none: None | torch.Generator | int seed | int64 seed tensor. An
            int seeds a torch.Generator, so that successive calls differ and a run repeats; a DataLoader's workers mix
            it with the loader's seed, so that they and their epochs differ too. A tensor is the seed itself, read at
            every call. Default: None, torch's global generator.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, a (low, high) is the wrong way round, or ``value`` another word.

    Reference: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Value = 0.0,
        inplace: bool = False,
        *,
        generator: Generator = None,
    ) -> None:
        super().__init__(generator)
        name = type(self).__name__
        self._rules = _batch_rules.erase_rules(name, p, scale, ratio)
        _batch_rules.erase_values(name, value, None)
        self.value = value
        self.inplace = _check.boolean(name, "inplace", inplace)

    def forward(
        self,
        images: Tensor,
        *,
        params: Tensor | None = None,
        return_params: bool = False,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Erases boxes of a batch.

        Args:
            images: float32, bfloat16, float16, float64 or uint8, shape (N, C, H, W), any strides.
            params: float32 (N, 6), of ``sample_params`` or ``sample_erase``, or by hand. Default: None, drawn.
            return_params: return the parameters too. Default: False.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, the constructor's.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.
            sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.

        Returns:
            The images, or ``(images, params)``.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape, a device or the number of values is wrong, or images cannot be changed where
                ``inplace``.
        """
        name = type(self).__name__
        if params is None and isinstance(images, Tensor) and not (torch.is_grad_enabled() and images.requires_grad):
            arguments = self._drawn(images, generator, row_offset, sample_ids)
            values, noise = _values(name, self.value, images)
            if self.inplace:
                _float_batch.check_in_place(name, images)
                out, params = images, ops.random_erase_(images, *arguments[:2], values, noise, *arguments[2:])
            else:
                lines = _float_batch.in_lines(images)
                out, params = ops.random_erase(lines, *arguments[:2], values, noise, *arguments[2:])
        else:
            if params is None:
                params = self.sample_params(images, generator=generator, row_offset=row_offset, sample_ids=sample_ids)
            out = erase_boxes(images, params, self.value, inplace=self.inplace)
        return (out, params) if return_params else out

    def sample_params(
        self,
        images: Tensor,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        """The parameters that ``forward`` would draw: (N, 6), of ``ERASE_PARAMS``. Takes and raises what it does."""
        seed, ids, *rules, offset = self._drawn(images, generator, row_offset, sample_ids)
        rows, _, height, width = images.shape
        return ops.random_erase_params(images.detach(), seed, ids, rows, height, width, *rules, offset)

    def _drawn(self, images: Tensor, generator: Generator, row_offset: int, sample_ids: Tensor | None) -> list[Any]:
        name = type(self).__name__
        _float_batch.check_batch(name, images, bytes_too=True)
        ids, offset = numbered_rows(name, sample_ids, row_offset, images.shape[0], images.device)
        chosen = self._chosen(generator)
        return [seed_tensor(chosen, function=name, device=images.device), ids, *self._rules, offset]

    def _add(self, plan: Plan) -> None:
        name = type(self).__name__
        if self.generator is not None:
            raise ValueError(f"{name}: generator must be None in a list of transforms, which draws for it, got one")
        (p, scale, ratio), (values, noise) = self._rules, _batch_rules.erase_values(name, self.value, None)
        plan.erase(Erase(p, (scale[0], scale[1]), (ratio[0], ratio[1]), tuple(values), noise))

    def extra_repr(self) -> str:
        p, scale, ratio = self._rules
        return f"p={p}, scale={tuple(scale)}, ratio={tuple(ratio)}, value={self.value!r}, inplace={self.inplace}"
