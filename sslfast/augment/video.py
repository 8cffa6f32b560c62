"""Image transforms on videos: the same parameters for every frame of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from sslfast.augment._transform import Transform
from sslfast.augment.compose import MultiView
from sslfast.host import VideoViews
from sslfast.random import Generator

__all__ = ["VideoTransform"]

Params: TypeAlias = "Tensor | Sequence[Tensor]"
Videos: TypeAlias = "Tensor | Sequence[Tensor]"
ImageSize: TypeAlias = "tuple[int, int] | Sequence[tuple[int, int]]"


class VideoTransform(nn.Module):
    """An image transform whose parameters are drawn for each video, not for each frame.

    Frames are chosen before by ``sample_frames`` and ``take_frames``.

    Args:
        transform: an image transform or a ``Compose`` of them, for one view; a recipe or a ``MultiView``, for several.

    Raises:
        TypeError: ``transform`` is something else.
    """

    def __init__(self, transform: Transform | MultiView) -> None:
        super().__init__()
        if not isinstance(transform, (Transform, MultiView)):
            name, got = type(self).__name__, type(transform).__name__
            raise TypeError(f"{name}: transform must be a transform of sslfast.augment, got {got}")
        self.transform = transform

    @property
    def columns(self) -> tuple[Any, ...]:
        """Names of the columns of the parameters: the transform's; of a ``MultiView`` those of every view."""
        if isinstance(self.transform, Transform):
            return self.transform.columns
        return tuple(one.columns for one in self.transform.transforms)

    def host(self) -> VideoViews:
        """The transform over NumPy arrays, for DataLoader workers and for loaders without torch: the same bits.

        Returns:
            A :class:`sslfast.host.VideoViews`, which holds no torch and is given a seed at every call.

        Raises:
            ValueError: a transform asks for bfloat16, which NumPy does not have.
        """
        return VideoViews(self.transform.host())

    def forward(
        self,
        videos: Videos,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
        out: Params | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Tensor | list[Tensor]:
        """Transforms a batch of videos.

        Args:
            videos: shape (N, T, C, H, W), T at least 1, of the types that the transform takes; copied unless dense. Or
                a sequence of N tensors (T, C, H, W) of one T that may differ in height and width.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, a ``MultiView``'s
                own, else torch's global generator.
            row_offset: global index of video 0, for shards of a larger batch. Default: 0.
            sample_ids: int64, shape (N,), the numbers of the videos in the draws, instead of ``row_offset``.
            out: where to write, of the shape and dtype that would be returned, dense, frames in either layout; of a
                ``MultiView`` a list, one a view. Default: None.
            memory_format: torch.contiguous_format or torch.channels_last, of the frames, unless ``out`` has one.
                Default: None, the channels last if the frames have them last; contiguous for a list.

        Returns:
            A tensor of shape (N, T, C, h, w), as the transform gives it; of a ``MultiView`` a list of them, one a view,
            which differ as its views of one image do.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range, or what the transform refuses of its frames.
        """
        params = self.sample_params(videos, generator=generator, row_offset=row_offset, sample_ids=sample_ids)
        return self.apply_params(videos, params, out=out, memory_format=memory_format)

    def sample_params(
        self,
        videos: Videos,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor | list[Tensor]:
        """The parameters that ``forward`` would draw, a row for each video. Takes and raises what it does."""
        self._check(videos)
        first: Any = videos[:, 0] if isinstance(videos, Tensor) else [video[0] for video in videos]
        return self.transform.sample_params(first, generator=generator, row_offset=row_offset, sample_ids=sample_ids)

    def apply_params(
        self,
        videos: Videos,
        params: Params,
        *,
        out: Params | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Tensor | list[Tensor]:
        """The views that ``params``, one row for each video, describe. Takes and raises what ``forward`` does.

        Args:
            videos: as in ``forward``.
            params: float32, shape (N, len(columns)); of a ``MultiView`` a list of them, one a view.
            out, memory_format: as in ``forward``.

        Raises:
            ValueError: also if ``params`` has a contrast that a ``ColorJitter`` never draws.
        """
        self._check(videos)
        call: Any = partial(self.transform.apply_params, memory_format=memory_format)
        if out is not None:
            counts = (len(videos), videos.shape[1] if isinstance(videos, Tensor) else len(videos[0]))
            given: Any = out
            several = isinstance(out, (tuple, list))
            each = [self._frames_of(one, counts) for one in (given if several else [given])]
            call = partial(call, out=each if several else each[0])
        made = self._by_frame(call, videos, params)
        return made if out is None else out  # type: ignore[return-value]

    def apply_masks(self, masks: Videos, params: Params, *, fill: float = 0) -> Tensor | list[Tensor]:
        """The geometry of ``params`` on masks of every frame: what the transform's ``apply_masks`` says.

        Args:
            masks: shape (N, T, H, W) or (N, T, C, H, W), of the types that the transform takes. Or a sequence of N
                tensors without the N, of one T.
            params: as of ``apply_params``.
            fill: what lies outside the frames, a number of the masks' dtype. Default: 0.

        Returns:
            Masks of the views, (N, T, h, w) or (N, T, C, h, w); of a ``MultiView`` a list of them, one a view.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range.
        """
        self._check_frames("masks", masks, (4, 5), "(N, T, H, W) or (N, T, C, H, W)")
        return self._by_frame(partial(self.transform.apply_masks, fill=fill), masks, params)

    def apply_keypoints(
        self, points: Tensor, params: Params, image_size: ImageSize
    ) -> tuple[Tensor, Tensor] | list[tuple[Tensor, Tensor]]:
        """The geometry of ``params`` on points of every frame: what the transform's ``apply_keypoints`` says.

        Args:
            points: floats, shape (N, T, K, 2), (x, y) in pixels.
            params: as of ``apply_params``.
            image_size: (height, width) of the frames, or a sequence of N of them, one a video.

        Returns:
            ``points`` in the views and bool (N, T, K), whether they lie in them; of a ``MultiView`` a list, one a view.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range.
        """
        self._check_frames("points", points, (4,), "(N, T, K, 2)")
        return self._by_frame(self.transform.apply_keypoints, points, params, by_frame(image_size, points.shape[1]))

    def apply_boxes(self, boxes: Tensor, params: Params, image_size: ImageSize) -> Tensor | list[Tensor]:
        """The geometry of ``params`` on boxes of every frame: what the transform's ``apply_boxes`` says.

        Args:
            boxes: floats, shape (N, T, K, 4), (x0, y0, x1, y1) in pixels.
            params: as of ``apply_params``.
            image_size: (height, width) of the frames, or a sequence of N of them, one a video.

        Returns:
            Boxes of the same shape and dtype; of a ``MultiView`` a list of them, one a view.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range.
        """
        self._check_frames("boxes", boxes, (4,), "(N, T, K, 4)")
        return self._by_frame(self.transform.apply_boxes, boxes, params, by_frame(image_size, boxes.shape[1]))

    def _by_frame(self, call: Callable[..., Any], given: Videos, params: Params, *more: Any) -> Any:
        """``call`` on all frames with the parameters of their videos, and what it gives by video."""
        rows, frames = len(given), given.shape[1] if isinstance(given, Tensor) else len(given[0])
        for one in params if isinstance(params, (tuple, list)) else [params]:
            if isinstance(one, Tensor) and (one.dim() != 2 or one.shape[0] != rows):
                name, got = type(self).__name__, tuple(one.shape)
                raise ValueError(f"{name}: params must have shape ({rows}, columns), a row a video, got {got}")

        def repeated(one: Tensor) -> Tensor:
            return one.repeat_interleave(frames, 0) if isinstance(one, Tensor) else one

        def by_video(made: Any) -> Any:
            if isinstance(made, (tuple, list)):
                return type(made)(by_video(one) for one in made)
            return made.unflatten(0, (-1, frames)) if len(made) else made.view(0, frames, *made.shape[1:])

        each = [repeated(one) for one in params] if isinstance(params, (tuple, list)) else repeated(params)  # type: ignore[arg-type]
        flat = given.flatten(0, 1) if isinstance(given, Tensor) else [frame for one in given for frame in one.unbind(0)]
        return by_video(call(flat, each, *more))

    def _frames_of(self, out: Tensor, counts: tuple[int, int]) -> Tensor:
        """The frames of ``out`` where they lie; TypeError or ValueError where they cannot be written by video."""
        name = type(self).__name__
        if not isinstance(out, Tensor):
            raise TypeError(
                f"{name}: out must be a tensor, or of several views a list of them, got {type(out).__name__}"
            )
        joined = out.dim() == 5 and tuple(out.shape[:2]) == counts
        if not joined or (out.numel() and out.stride(0) != out.shape[1] * out.stride(1)):
            raise ValueError(
                f"{name}: out must be dense, of shape {(*counts, 'C', 'h', 'w')}, got {tuple(out.shape)}, strides "
                f"{out.stride()}".replace("'", "")
            )
        return out.view(-1, *out.shape[2:]) if out.numel() else out.reshape(counts[0] * counts[1], *out.shape[2:])

    def _check(self, videos: Videos) -> None:
        self._check_frames("videos", videos, (5,), "(N, T, C, H, W)")

    def _check_frames(self, argument: str, given: Videos, dims: tuple[int, ...], shape: str) -> None:
        name = type(self).__name__
        listed = isinstance(given, (tuple, list)) and argument != "points" and argument != "boxes"
        each: Any = list(given) if listed else [given]
        if not each:
            raise ValueError(
                f"{name}: {argument} must be a batch or a sequence of at least one video, got {given!r:.40}"
            )
        for i, one in enumerate(each):
            what = f"{argument}[{i}]" if listed else argument
            if not isinstance(one, Tensor):
                raise TypeError(f"{name}: {what} must be a tensor, got {type(one).__name__}")
            if one.dim() + listed not in dims or one.shape[0 if listed else 1] < 1:
                wanted = shape.replace("(N, ", "(") if listed else shape
                raise ValueError(f"{name}: {what} must have shape {wanted}, T >= 1, got {tuple(one.shape)}")
            if listed and len(one) != len(each[0]):
                raise ValueError(
                    f"{name}: {argument} must have one number of frames, got {len(each[0])} and {len(one)}"
                )


def by_frame(image_size: ImageSize, frames: int) -> ImageSize:
    """The size of every frame where there is one of every video."""
    if not isinstance(image_size, (tuple, list)) or not any(isinstance(one, (tuple, list)) for one in image_size):
        return image_size
    return [one for one in image_size for _ in range(frames)]
