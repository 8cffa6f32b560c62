"""Image transforms on videos: the same parameters for every frame of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from torch import Tensor, nn

from sslfast.augment._transform import Transform
from sslfast.augment.compose import MultiView
from sslfast.random import Generator

__all__ = ["VideoTransform"]

Params: TypeAlias = "Tensor | Sequence[Tensor]"


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

    def forward(
        self,
        videos: Tensor,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor | list[Tensor]:
        """Transforms a batch of videos.

        Args:
            videos: shape (N, T, C, H, W), T at least 1, of the types that the transform takes. Copied unless dense.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, a ``MultiView``'s
                own, else torch's global generator.
            row_offset: global index of video 0, for shards of a larger batch. Default: 0.
            sample_ids: int64, shape (N,), the numbers of the videos in the draws, instead of ``row_offset``.

        Returns:
            A tensor of shape (N, T, C, h, w), as the transform gives it; of a ``MultiView`` a list of them, one a view,
            which differ as its views of one image do.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range.
        """
        params = self.sample_params(videos, generator=generator, row_offset=row_offset, sample_ids=sample_ids)
        return self.apply_params(videos, params)

    def sample_params(
        self,
        videos: Tensor,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor | list[Tensor]:
        """The parameters that ``forward`` would draw, a row for each video. Takes and raises what it does."""
        self._check(videos)
        first = videos[:, 0]
        return self.transform.sample_params(first, generator=generator, row_offset=row_offset, sample_ids=sample_ids)

    def apply_params(self, videos: Tensor, params: Params) -> Tensor | list[Tensor]:
        """The views that ``params``, one row for each video, describe. Takes and raises what ``forward`` does.

        Args:
            videos: as in ``forward``.
            params: float32, shape (N, len(transform.columns)); of a ``MultiView`` a list of them, one a view.
        """
        self._check(videos)
        return self._by_frame(self.transform.apply_params, videos, params)

    def apply_masks(self, masks: Tensor, params: Params, *, fill: float = 0) -> Tensor | list[Tensor]:
        """The geometry of ``params`` on masks of every frame: what the transform's ``apply_masks`` says.

        Args:
            masks: shape (N, T, H, W) or (N, T, C, H, W), of the types that the transform takes.
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
        self, points: Tensor, params: Params, image_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor] | list[tuple[Tensor, Tensor]]:
        """The geometry of ``params`` on points of every frame: what the transform's ``apply_keypoints`` says.

        Args:
            points: floats, shape (N, T, K, 2), (x, y) in pixels.
            params: as of ``apply_params``.
            image_size: (height, width) of the frames.

        Returns:
            ``points`` in the views and bool (N, T, K), whether they lie in them; of a ``MultiView`` a list, one a view.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range.
        """
        self._check_frames("points", points, (4,), "(N, T, K, 2)")
        return self._by_frame(self.transform.apply_keypoints, points, params, image_size)

    def apply_boxes(self, boxes: Tensor, params: Params, image_size: tuple[int, int]) -> Tensor | list[Tensor]:
        """The geometry of ``params`` on boxes of every frame: what the transform's ``apply_boxes`` says.

        Args:
            boxes: floats, shape (N, T, K, 4), (x0, y0, x1, y1) in pixels.
            params: as of ``apply_params``.
            image_size: (height, width) of the frames.

        Returns:
            Boxes of the same shape and dtype; of a ``MultiView`` a list of them, one a view.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range.
        """
        self._check_frames("boxes", boxes, (4,), "(N, T, K, 4)")
        return self._by_frame(self.transform.apply_boxes, boxes, params, image_size)

    def _by_frame(self, call: Callable[..., Any], given: Tensor, params: Params, *more: Any) -> Any:
        """``call`` on all frames with the parameters of their videos, and what it gives by video."""
        rows, frames = given.shape[:2]
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
        return by_video(call(given.flatten(0, 1), each, *more))

    def _check(self, videos: Tensor) -> None:
        self._check_frames("videos", videos, (5,), "(N, T, C, H, W)")

    def _check_frames(self, argument: str, given: Tensor, dims: tuple[int, ...], shape: str) -> None:
        name = type(self).__name__
        if not isinstance(given, Tensor):
            raise TypeError(f"{name}: {argument} must be a tensor, got {type(given).__name__}")
        if given.dim() not in dims or given.shape[1] < 1:
            raise ValueError(f"{name}: {argument} must have shape {shape}, T >= 1, got {tuple(given.shape)}")
