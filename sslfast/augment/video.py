"""Image transforms on videos: the same parameters for every frame of one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sslfast.augment._transform import Transform
from sslfast.augment.compose import MultiView
from sslfast.random import Generator

__all__ = ["VideoTransform"]


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
        self._check(videos)
        first = videos[:, 0]
        params = self.transform.sample_params(first, generator=generator, row_offset=row_offset, sample_ids=sample_ids)
        return self.apply_params(videos, params)

    def apply_params(self, videos: Tensor, params: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
        """The views that ``params``, one row for each video, describe. Takes and raises what ``forward`` does.

        Args:
            videos: as in ``forward``.
            params: float32, shape (N, len(transform.columns)); of a ``MultiView`` a list of them, one a view.
        """
        self._check(videos)
        rows, frames = videos.shape[:2]
        for one in params if isinstance(params, (tuple, list)) else [params]:
            if isinstance(one, Tensor) and (one.dim() != 2 or one.shape[0] != rows):
                name, got = type(self).__name__, tuple(one.shape)
                raise ValueError(f"{name}: params must have shape ({rows}, columns), a row a video, got {got}")

        def by_frame(one: Tensor) -> Tensor:
            return one.repeat_interleave(frames, 0) if isinstance(one, Tensor) else one

        def by_video(views: Tensor) -> Tensor:
            return views.unflatten(0, (-1, frames)) if len(views) else views.view(0, frames, *views.shape[1:])

        images = videos.flatten(0, 1)
        if isinstance(self.transform, MultiView):
            each = [by_frame(one) for one in params] if isinstance(params, (tuple, list)) else params
            return [by_video(views) for views in self.transform.apply_params(images, each)]  # type: ignore[arg-type]
        return by_video(self.transform.apply_params(images, by_frame(params)))  # type: ignore[arg-type]

    def _check(self, videos: Tensor) -> None:
        name = type(self).__name__
        if not isinstance(videos, Tensor):
            raise TypeError(f"{name}: videos must be a tensor, got {type(videos).__name__}")
        if videos.dim() != 5 or videos.shape[1] < 1:
            raise ValueError(f"{name}: videos must have shape (N, T, C, H, W), T >= 1, got {tuple(videos.shape)}")
