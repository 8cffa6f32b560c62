"""What transforms can do with parameters and something else than pixels: masks, boxes and keypoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from sslfast._image_plan import Plan
from sslfast._moved_masks import check_sizes, fill_number
from sslfast.augment._arguments import view_size
from sslfast.augment._images import check_images, check_params, sizes_of
from sslfast.augment._replay import matrices, move_masks

Masks: TypeAlias = "Tensor | Sequence[Tensor]"
ImageSize: TypeAlias = "tuple[int, int] | Sequence[tuple[int, int]]"


class Replayed(ABC):
    """The geometry of a plan on masks, boxes and keypoints."""

    @property
    @abstractmethod
    def _plan(self) -> Plan:
        """What the transform does."""

    def apply_masks(self, masks: Masks, params: Tensor, *, fill: float = 0) -> Tensor:
        """The geometry of ``params`` on masks: crop, resize, flips, affine maps, of one pixel each.

        A resize takes the one that torch's "nearest" takes, floor(i * source / target), as torchvision does of masks.

        Args:
            masks: shape (N, H, W) or (N, C, H, W), C up to 32; bool, uint8, another integer type with values below
                2^24, or float32. Or a sequence of N tensors (H, W) or (C, H, W) that may differ in height and width.
            params: as of ``apply_params``.
            fill: what lies outside the image, a number of the masks' dtype, an ignored class say; what the transform
                fills images with does not count, a padding mode does. Default: 0.

        Returns:
            Masks of the views, of the same dtype, (N, h, w) or (N, C, h, w).

        Raises:
            TypeError: a type is wrong.
            ValueError: a shape or device is, the dtype has no such ``fill``, masks of several sizes meet transforms
                that keep them, or ``params`` are of images of another size, as far as they say so on a CPU.
        """
        name = type(self).__name__
        listed = isinstance(masks, Sequence) and not isinstance(masks, (str, bytes))
        each: list[Tensor] = list(masks) if listed else [masks]  # type: ignore[list-item]
        if not each:
            raise ValueError(f"{name}: masks must be a batch or a sequence of at least one mask, got {masks!r:.40}")
        shapes = "(H, W) or (C, H, W)" if listed else "(N, H, W) or (N, C, H, W)"
        planes = 2 if listed else 3
        for i, mask in enumerate(each):
            if not isinstance(mask, Tensor):
                what = f"masks[{i}]" if listed else "masks"
                raise TypeError(f"{name}: {what} must be a tensor, got {type(mask).__name__}")
            if mask.dim() not in (planes, planes + 1) or mask.dim() != each[0].dim():
                raise ValueError(f"{name}: masks must have shape {shapes}, got {tuple(mask.shape)}")
            if mask.dtype.is_complex or (mask.dtype.is_floating_point and mask.dtype != torch.float32):
                raise TypeError(f"{name}: masks must be bool, integers or float32, got {mask.dtype}")
        dtype, flat = each[0].dtype, each[0].dim() == planes
        kind = torch.uint8 if dtype in (torch.bool, torch.uint8) else torch.float32
        images = [(mask.unsqueeze(-3) if flat else mask).to(kind) for mask in each]
        given = images if listed else images[0]
        check_images(name, given)
        check_params(name, params, given, len(self._plan.columns))
        self._check_sizes("the size of masks", params, sizes_of(given))
        number = fill_number(name, fill, str(dtype).removeprefix("torch."))
        moved = move_masks(name, self._plan, images, params, number).to(dtype)
        return moved.squeeze(1) if flat else moved

    def apply_keypoints(self, points: Tensor, params: Tensor, image_size: ImageSize) -> tuple[Tensor, Tensor]:
        """The geometry of ``params`` on points.

        Args:
            points: floats, shape (N, K, 2), (x, y) in pixels from the top left corner of the top left pixel.
            params: as of ``apply_params``.
            image_size: (height, width) of the images, or a sequence of N of them.

        Returns:
            ``points`` in the views, of the same shape and dtype, and bool (N, K): does the point lie in the view?

        Raises:
            TypeError: a type is wrong.
            ValueError: a shape, size or device is, or ``params`` are of images of another size, as far as they say so
                on a CPU.
        """
        matrix, (height, width) = self._matrices("points", points, 2, params, image_size)
        moved = torch.einsum("nij,nkj->nki", matrix[:, :, :2], points.double()) + matrix[:, None, :, 2]
        x, y = moved.unbind(-1)  # compared with numbers: a tensor of them would wait for a GPU
        return moved.to(points.dtype), (x >= 0) & (x <= width) & (y >= 0) & (y <= height)

    def apply_boxes(self, boxes: Tensor, params: Tensor, image_size: ImageSize) -> Tensor:
        """The geometry of ``params`` on boxes: what holds the four moved corners, clipped to the view.

        Args:
            boxes: floats, shape (N, K, 4), (x0, y0, x1, y1) in pixels.
            params: as of ``apply_params``.
            image_size: (height, width) of the images, or a sequence of N of them.

        Returns:
            Boxes of the same shape and dtype. One that lies outside the view has no area.

        Raises:
            TypeError: a type is wrong.
            ValueError: a shape, size or device is, or ``params`` are of images of another size, as far as they say so
                on a CPU.
        """
        height, width = self._matrices("boxes", boxes, 4, params, image_size)[1]
        corners = boxes[..., [0, 1, 2, 1, 0, 3, 2, 3]].flatten(1).unflatten(1, (-1, 2))
        moved, _ = self.apply_keypoints(corners.double(), params, image_size)
        moved = moved.unflatten(1, (-1, 4))
        (left, top), (right, bottom) = moved.amin(2).unbind(-1), moved.amax(2).unbind(-1)
        sides = ((left, width), (top, height), (right, width), (bottom, height))
        return torch.stack([side.clamp(0, most) for side, most in sides], -1).to(boxes.dtype)

    def _matrices(
        self, argument: str, points: Tensor, last: int, params: Tensor, image_size: ImageSize
    ) -> tuple[Tensor, tuple[int, int]]:
        name = type(self).__name__
        if not isinstance(points, Tensor) or not points.is_floating_point():
            got = points.dtype if isinstance(points, Tensor) else type(points).__name__
            raise TypeError(f"{name}: {argument} must be a tensor of floats, got {got}")
        if points.dim() != 3 or points.shape[2] != last:
            raise ValueError(f"{name}: {argument} must have shape (N, K, {last}), got {tuple(points.shape)}")
        check_params(name, params, points, len(self._plan.columns))
        sizes = image_sizes(name, image_size, len(points))
        found = matrices(name, self._plan, sizes, params)
        self._check_sizes("image_size", params, sizes)
        return found

    def _check_sizes(self, argument: str, params: Tensor, sizes: list[tuple[int, int]]) -> None:
        if params.is_cpu and not torch.compiler.is_compiling():  # elsewhere reading them would wait
            check_sizes(type(self).__name__, argument, self._plan, params[:, :4].tolist(), sizes)


def image_sizes(name: str, image_size: ImageSize, rows: int) -> list[tuple[int, int]]:
    """(height, width) of each of ``rows`` images, or of all of them once; TypeError or ValueError."""
    if isinstance(image_size, (tuple, list)) and any(isinstance(one, (tuple, list)) for one in image_size):
        if len(image_size) != rows:
            raise ValueError(f"{name}: image_size must hold {rows} sizes, one per image, got {len(image_size)}")
        return [view_size(name, "image_size", one) for one in image_size]
    return [view_size(name, "image_size", image_size)]  # type: ignore[arg-type]
