"""Parameters of views over NumPy arrays, replayed on masks, boxes and keypoints: the same geometry, no colours.

``sslfast.augment`` has the same over tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sslfast import _host
from sslfast._image_plan import Plan
from sslfast._image_steps import CHOICES, CODES, COLUMNS, Segment
from sslfast._moved_masks import check_sizes, fill_number, mask_settings
from sslfast.host import _arguments, _images

ImageSize: TypeAlias = "tuple[int, int] | Sequence[tuple[int, int]]"

_MOVING = frozenset({"affine", "choice"})
_MOVING_CHOICES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


class Replayed:
    """The geometry of a plan on masks, boxes and keypoints."""

    _name: str
    _plan: Plan

    def apply_masks(
        self,
        masks: NDArray[Any] | Sequence[NDArray[Any]],
        params: NDArray[np.float32],
        *,
        layout: str = "NHWC",
        fill: float = 0,
        threads: int = 1,
    ) -> NDArray[Any]:
        """The geometry of ``params`` on masks: crop, resize, flips, affine maps, of one pixel each.

        A resize takes the one that torch's "nearest" takes, floor(i * source / target), as torchvision does of masks.

        Args:
            masks: shape (N, H, W), or (N, H, W, C) or (N, C, H, W) as ``layout`` says, C up to 32; bool, uint8, another
                integer type with values below 2^24, or float32. Or a sequence of N arrays without the N that may
                differ in height and width.
            params: as of ``apply_params``.
            layout: "NHWC" or "NCHW", of masks with channels, before and after. Default: "NHWC".
            fill: what lies outside the image, a number of the masks' dtype, an ignored class say; what the transform
                fills images with does not count, a padding mode does. Default: 0.
            threads: OpenMP threads. Default: 1.

        Returns:
            Masks of the views, of the same dtype and layout.

        Raises:
            TypeError: a type is wrong.
            ValueError: a shape or a word is, the dtype has no such ``fill``, masks of several sizes meet transforms
                that keep them, or ``params`` are of images of another size, as far as they say so.
        """
        name = self._name
        last = _images.channels_are_last(name, "layout", layout)
        each = [masks] if isinstance(masks, np.ndarray) else list(masks)
        dims = 3 if isinstance(masks, np.ndarray) else 2
        for one in each:
            if not isinstance(one, np.ndarray) or one.dtype.kind not in "biuf" or one.dtype.itemsize * 8 > 64:
                got = one.dtype if isinstance(one, np.ndarray) else type(one).__name__
                raise TypeError(f"{name}: masks must be arrays of bool, integers or float32, got {got}")
            if one.dtype.kind == "f" and one.dtype != np.float32:
                raise TypeError(f"{name}: masks must be arrays of bool, integers or float32, got {one.dtype}")
        flat = bool(each) and each[0].ndim == dims
        kind = np.uint8 if each and each[0].dtype in (np.bool_, np.uint8) else np.float32
        axis = -1 if last else -3
        wide = [(np.expand_dims(one, axis) if flat else one).astype(kind) for one in each]
        batch = _images.read_images(name, wide[0] if isinstance(masks, np.ndarray) else wide, layout)
        checked = _arguments.image_params(name, params, batch.rows, len(self._plan.columns))
        check_sizes(name, "the size of masks", self._plan, checked[:, :4].tolist(), batch.sizes)
        number = fill_number(name, fill, each[0].dtype.name)
        moved = _move(name, self._plan, batch, checked, number, _arguments.threads(name, threads))
        moved = moved.astype(each[0].dtype)
        return moved.squeeze(axis) if flat else moved

    def apply_keypoints(
        self, points: NDArray[Any], params: NDArray[np.float32], image_size: ImageSize
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The geometry of ``params`` on points.

        Args:
            points: floats, shape (N, K, 2), (x, y) in pixels from the top left corner of the top left pixel.
            params: as of ``apply_params``.
            image_size: (height, width) of the images, or a sequence of N of them.

        Returns:
            ``points`` in the views, of the same shape and dtype, and bool (N, K): does the point lie in the view?

        Raises:
            TypeError: a type is wrong.
            ValueError: a shape or size is, or ``params`` are of images of another size, as far as they say so.
        """
        matrix, (height, width) = self._matrices("points", points, 2, params, image_size)
        moved = np.einsum("nij,nkj->nki", matrix[:, :, :2], points.astype(np.float64)) + matrix[:, None, :, 2]
        inside = ((moved >= 0) & (moved <= (width, height))).all(-1)
        return moved.astype(points.dtype), inside

    def apply_boxes(self, boxes: NDArray[Any], params: NDArray[np.float32], image_size: ImageSize) -> NDArray[Any]:
        """The geometry of ``params`` on boxes: what holds the four moved corners, clipped to the view.

        Args:
            boxes: floats, shape (N, K, 4), (x0, y0, x1, y1) in pixels.
            params: as of ``apply_params``.
            image_size: (height, width) of the images, or a sequence of N of them.

        Returns:
            Boxes of the same shape and dtype. One that lies outside the view has no area.

        Raises:
            TypeError: a type is wrong.
            ValueError: a shape or size is, or ``params`` are of images of another size, as far as they say so.
        """
        height, width = self._matrices("boxes", boxes, 4, params, image_size)[1]
        corners = boxes[..., [0, 1, 2, 1, 0, 3, 2, 3]].astype(np.float64).reshape(len(boxes), -1, 2)
        moved = self.apply_keypoints(corners, params, image_size)[0].reshape(len(boxes), -1, 4, 2)
        hull = np.concatenate([moved.min(2), moved.max(2)], -1)
        return np.minimum(hull.clip(min=0), (width, height, width, height)).astype(boxes.dtype)

    def _matrices(
        self, argument: str, points: NDArray[Any], last: int, params: NDArray[np.float32], image_size: ImageSize
    ) -> tuple[NDArray[np.float64], tuple[int, int]]:
        name = self._name
        if not isinstance(points, np.ndarray) or points.dtype.kind != "f":
            got = points.dtype if isinstance(points, np.ndarray) else type(points).__name__
            raise TypeError(f"{name}: {argument} must be an array of floats, got {got}")
        if points.ndim != 3 or points.shape[2] != last:
            raise ValueError(f"{name}: {argument} must have shape (N, K, {last}), got {points.shape}")
        checked = _arguments.image_params(name, params, len(points), len(self._plan.columns))
        several = isinstance(image_size, (tuple, list)) and any(isinstance(one, (tuple, list)) for one in image_size)
        if several and len(image_size) != len(points):
            raise ValueError(f"{name}: image_size must hold {len(points)} sizes, one per image, got {len(image_size)}")
        each = [_arguments.image_size(name, one) for one in (image_size if several else [image_size])]  # type: ignore[arg-type]
        found = _all_matrices(name, self._plan, each, checked)
        check_sizes(name, "image_size", self._plan, checked[:, :4].tolist(), each)
        return found


def _steps(segment: Segment, params: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
    """Name and (N, columns) of each step."""
    names = ["resample", *(step.name for step in segment.steps)]
    ends = np.cumsum([len(COLUMNS[name]) for name in names])[:-1]
    return list(zip(names, np.split(params, ends, -1), strict=True))


def _move(
    name: str, plan: Plan, batch: _images.Batch, params: NDArray[np.float32], fill: float, threads: int
) -> NDArray[Any]:
    """Masks through the geometry of a plan, by the nearest pixel."""
    start, channels = 0, batch.channels
    for segment in plan.segments:
        end = start + len(segment.columns)
        steps = _steps(segment, params[:, start:end])
        start = end
        codes, kept = [CODES["resample"]], [steps[0][1]]
        moving_steps = [step.name in _MOVING for step in segment.steps]
        for step_name, values in (step for step, moves in zip(steps[1:], moving_steps, strict=True) if moves):
            if step_name == "choice":
                values = np.where(_is_choice(values[:, :1], *_MOVING_CHOICES), values, np.float32(0))
            codes.append(CODES[step_name])
            kept.append(values)
        height, width = segment.view_size(name, batch.sizes)
        shape = (height, width, channels) if batch.last else (channels, height, width)
        done = np.empty((1, batch.rows, *shape), batch.arrays[0].dtype)
        part = np.ascontiguousarray(np.concatenate(kept, -1)[:, None])
        zeros, ones = [0.0] * channels, [1.0] * channels
        settings = mask_settings(segment, moving_steps, fill, channels)
        _host.image_augment(
            *(batch.arrays, batch.whole, batch.last, part, codes, settings, zeros, ones, done, batch.last, threads)
        )
        batch = _images.Batch([done[0]], True, batch.last)
    return batch.arrays[0]


def _is_choice(code: NDArray[Any], *names: str) -> NDArray[np.bool_]:
    return np.isin(code, [CHOICES.index(name) for name in names])


def _all_matrices(
    name: str, plan: Plan, sizes: list[tuple[int, int]], params: NDArray[np.float32]
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """(N, 2, 3) from points (x, y) of images of ``sizes`` to points of their views, and the size of these."""
    total = np.broadcast_to(np.eye(3), (len(params), 3, 3))
    start = 0
    for segment in plan.segments:
        end = start + len(segment.columns)
        view = segment.view_size(name, sizes)
        for step, values in _steps(segment, params[:, start:end].astype(np.float64)):
            if step == "resample":
                total = _resample(values, view) @ total
            elif step in _MOVING:
                total = _affine(_affine_columns(step, values), view) @ total
        start, sizes = end, [view]
    return total[:, :2], sizes[0]


def _matrix(*rows: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 3, 3) from the six numbers of an affine map."""
    zero, one = np.zeros_like(rows[0]), np.ones_like(rows[0])
    return np.stack([*rows, zero, zero, one], -1).reshape(-1, 3, 3)


def _resample(columns: NDArray[Any], view: tuple[int, int]) -> NDArray[np.float64]:
    """Of box, resize, place and flips."""
    top, left, height, width, target_height, target_width, offset_top, offset_left, hflip, vflip = columns.T
    x, y, zero = target_width / width, target_height / height, np.zeros_like(top)
    turn_x, turn_y = 1.0 - 2.0 * (hflip != 0), 1.0 - 2.0 * (vflip != 0)
    move_x = turn_x * (-left * x - offset_left) + (1 - turn_x) / 2 * view[1]
    move_y = turn_y * (-top * y - offset_top) + (1 - turn_y) / 2 * view[0]
    return _matrix(turn_x * x, zero, move_x, zero, turn_y * y, move_y)


def _affine_columns(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """(N, 8) as of an affine step, also of the operations of RandAugment that move pixels."""
    if name == "affine":
        return values
    code, magnitude = values.T
    zero, one = np.zeros_like(magnitude), np.ones_like(magnitude)

    def of(operation: str, value: NDArray[Any]) -> NDArray[Any]:
        return np.where(_is_choice(code, operation), value, zero)

    shear, corner = np.rad2deg(np.arctan(magnitude)), 1.0 * _is_choice(code, "shear_x", "shear_y")
    moves = [of("translate_x", magnitude), of("translate_y", magnitude)]
    return np.stack(
        [one, of("rotate", -magnitude), *moves, one, of("shear_x", shear), of("shear_y", shear), corner], -1
    )


def _affine(columns: NDArray[Any], view: tuple[int, int]) -> NDArray[np.float64]:
    """Of rotation, scale and shear about a centre, then a translation; the identity where not applied."""
    applied, angle, move_x, move_y, scale, shear_x, shear_y, corner = columns.T
    turn, x, y = np.deg2rad(angle), np.deg2rad(shear_x), np.deg2rad(shear_y)
    a, c = np.cos(turn - y) / np.cos(y), np.sin(turn - y) / np.cos(y)
    b, d = -a * np.tan(x) - np.sin(turn), np.cos(turn) - c * np.tan(x)
    a, b, c, d = scale * a, scale * b, scale * c, scale * d
    centre_x, centre_y = (np.where(corner != 0, 0.0, side / 2) for side in (view[1], view[0]))
    to_x = centre_x + move_x - a * centre_x - b * centre_y
    to_y = centre_y + move_y - c * centre_x - d * centre_y
    return np.where((applied != 0)[:, None, None], _matrix(a, b, to_x, c, d, to_y), np.eye(3))
