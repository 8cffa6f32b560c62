"""Views of videos over NumPy arrays: the same parameters for every frame of one, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sslfast.host._replay import ImageSize
from sslfast.host.image_augment import ImageAugment
from sslfast.host.image_views import ImageViews

Videos: TypeAlias = "NDArray[Any] | Sequence[NDArray[Any]]"
Arrays: TypeAlias = "NDArray[Any] | list[NDArray[Any]]"


class VideoViews:
    """Image views whose parameters are drawn for each video: ``sslfast.augment.VideoTransform`` over NumPy arrays.

    ``VideoTransform.host()`` makes it. Equal seeds give the bits that the transform gives on the CPU.

    Args:
        transform: an ``ImageAugment`` for one view, or an ``ImageViews`` for several.

    Raises:
        TypeError: ``transform`` is something else.
    """

    def __init__(self, transform: ImageAugment | ImageViews) -> None:
        if not isinstance(transform, (ImageAugment, ImageViews)):
            got = type(transform).__name__
            raise TypeError(f"VideoViews: transform must be an ImageAugment or an ImageViews, got {got}")
        self.transform: Any = transform

    def __repr__(self) -> str:
        return f"VideoViews({self.transform!r})"

    @property
    def columns(self) -> tuple[Any, ...]:
        """Names of the columns of the parameters; of an ``ImageViews`` those of every view."""
        if isinstance(self.transform, ImageAugment):
            return self.transform.columns
        return tuple(one.columns for one in self.transform.transforms)

    def __call__(
        self,
        videos: Videos,
        *,
        seed: int,
        row_offset: int = 0,
        sample_ids: NDArray[np.int64] | None = None,
        layout: str = "NHWC",
        out_layout: str | None = None,
        out: Arrays | None = None,
        threads: int = 1,
    ) -> Arrays:
        """Transforms a batch of videos.

        Args:
            videos: shape (N, T, H, W, C) or (N, T, C, H, W) as ``layout`` says of frames, T at least 1, of the dtypes
                that images have. Or a sequence of N arrays without the N, of one T, that may differ in height and
                width.
            seed, sample_ids, row_offset: as of ``ImageAugment``, a number a video.
            layout, out_layout: "NHWC" or "NCHW", of frames. Default: "NHWC", and that of the videos.
            out: where to write, contiguous, of the shape and dtype that would be returned; of an ``ImageViews`` a list,
                one a view. Default: None.
            threads: OpenMP threads. Default: 1.

        Returns:
            (N, T, h, w, C) or (N, T, C, h, w); of an ``ImageViews`` a list of them, one a view. ``out`` if given.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range, or what ``ImageAugment`` refuses of the frames.
        """
        rows = {"seed": seed, "row_offset": row_offset, "sample_ids": sample_ids}
        params = self.sample_params(videos, layout=layout, threads=threads, **rows)  # type: ignore[arg-type]
        return self.apply_params(videos, params, layout=layout, out_layout=out_layout, out=out, threads=threads)

    def sample_params(
        self,
        videos: Videos,
        *,
        seed: int,
        row_offset: int = 0,
        sample_ids: NDArray[np.int64] | None = None,
        layout: str = "NHWC",
        threads: int = 1,
    ) -> Any:
        """The parameters that a call would draw, a row for each video. Takes and raises what it does."""
        _frames("videos", videos, (5,))
        first = videos[:, 0] if isinstance(videos, np.ndarray) else [video[0] for video in videos]
        rows = {"seed": seed, "row_offset": row_offset, "sample_ids": sample_ids}
        return self.transform.sample_params(first, layout=layout, threads=threads, **rows)

    def apply_params(
        self,
        videos: Videos,
        params: Any,
        *,
        layout: str = "NHWC",
        out_layout: str | None = None,
        out: Arrays | None = None,
        threads: int = 1,
    ) -> Arrays:
        """The views that ``params``, a row for each video, describe. Takes, returns and raises what a call does, and

        Raises:
            ValueError: ``params`` has a contrast that a ``ColorJitter`` never draws.
        """
        flat: Any = None
        if out is not None:
            counts = len(videos), _frames("videos", videos, (5,))
            each = [_joined(one, counts) for one in (out if isinstance(out, (tuple, list)) else [out])]
            flat = each if isinstance(out, (tuple, list)) else each[0]
        options = {"layout": layout, "out_layout": out_layout, "out": flat, "threads": threads}
        made = self._by_frame(self.transform.apply_params, "videos", videos, params, (5,), **options)
        return made if out is None else out

    def apply_masks(
        self, masks: Videos, params: Any, *, layout: str = "NHWC", fill: float = 0, threads: int = 1
    ) -> Arrays:
        """The geometry of ``params`` on masks (N, T, H, W), or with channels as ``layout`` says, or a list of them."""
        options = {"layout": layout, "fill": fill, "threads": threads}
        return self._by_frame(self.transform.apply_masks, "masks", masks, params, (4, 5), **options)

    def apply_keypoints(self, points: NDArray[Any], params: Any, image_size: ImageSize) -> Any:
        """The geometry of ``params`` on points (N, T, K, 2): ``ImageAugment.apply_keypoints``, frame by frame."""
        return self._by_frame(self.transform.apply_keypoints, "points", points, params, (4,), image_size)

    def apply_boxes(self, boxes: NDArray[Any], params: Any, image_size: ImageSize) -> Any:
        """The geometry of ``params`` on boxes (N, T, K, 4): ``ImageAugment.apply_boxes``, frame by frame."""
        return self._by_frame(self.transform.apply_boxes, "boxes", boxes, params, (4,), image_size)

    def _by_frame(
        self, call: Callable[..., Any], argument: str, given: Videos, params: Any, dims: tuple[int, ...], *more: Any,
        **options: Any,
    ) -> Any:  # fmt: skip
        """``call`` on all frames with the parameters of their videos, and what it gives by video."""
        frames, rows = _frames(argument, given, dims), len(given)
        several = isinstance(params, (tuple, list))
        for one in params if several else [params]:
            if isinstance(one, np.ndarray) and (one.ndim != 2 or len(one) != rows):
                raise ValueError(
                    f"VideoViews: params must have shape ({rows}, columns), a row a video, got {one.shape}"
                )
        each = [np.repeat(one, frames, 0) for one in params] if several else np.repeat(params, frames, 0)
        if more and any(isinstance(one, (tuple, list)) for one in more[0]):
            more = ([one for one in more[0] for _ in range(frames)],)
        if isinstance(given, np.ndarray):
            flat: Any = given.reshape(rows * frames, *given.shape[2:])
        else:
            flat = [frame for one in given for frame in one]

        def by_video(made: Any) -> Any:
            if isinstance(made, (tuple, list)):
                return type(made)(by_video(one) for one in made)
            return made.reshape(rows, frames, *made.shape[1:])

        return by_video(call(flat, each, *more, **options))


def _frames(argument: str, given: Videos, dims: tuple[int, ...]) -> int:
    """Frames of every video; TypeError or ValueError where there is not one number of them."""
    listed = isinstance(given, (tuple, list))
    for one in given if listed else [given]:
        if not isinstance(one, np.ndarray):
            raise TypeError(f"VideoViews: {argument} must be arrays, got {type(one).__name__}")
        if one.ndim + listed not in dims or one.shape[0 if listed else 1] < 1:
            what = " or ".join(str(n - listed) for n in dims)
            raise ValueError(f"VideoViews: {argument} must have {what} dimensions, T >= 1, got shape {one.shape}")
    counts = {len(one) for one in given} if listed else {given.shape[1]}  # type: ignore[union-attr]
    if len(counts) != 1:
        raise ValueError(f"VideoViews: {argument} must have one number of frames, got {sorted(counts)}")
    return int(counts.pop())


def _joined(out: NDArray[Any], counts: tuple[int, int]) -> NDArray[Any]:
    """The frames of ``out`` where they lie."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"VideoViews: out must be an array, or of several views a list, got {type(out).__name__}")
    if out.ndim != 5 or out.shape[:2] != counts or not out.flags.c_contiguous:
        raise ValueError(f"VideoViews: out must be contiguous, its shape {counts} and a frame's, got {out.shape}")
    return out.reshape(-1, *out.shape[2:])
