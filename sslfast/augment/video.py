"""Image transforms on videos: the same parameters for every frame of one."""

from __future__ import annotations

from torch import Tensor, nn

from sslfast.augment._transform import Transform
from sslfast.random import Generator

__all__ = ["VideoTransform"]


class VideoTransform(nn.Module):
    """An image transform whose parameters are drawn for each video, not for each frame.

    Frames are chosen before by ``sample_frames`` and ``take_frames``. Several views, such as those of a recipe, are one
    ``VideoTransform`` for each of its ``transforms``.

    Args:
        transform: an image transform or a ``Compose`` of them.

    Raises:
        TypeError: ``transform`` is something else.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        if not isinstance(transform, Transform):
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
    ) -> Tensor:
        """Transforms a batch of videos.

        Args:
            videos: shape (N, T, C, H, W), T at least 1, of the types that the transform takes. Copied unless dense.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
            row_offset: global index of video 0, for shards of a larger batch. Default: 0.
            sample_ids: int64, shape (N,), the numbers of the videos in the draws, instead of ``row_offset``.

        Returns:
            A tensor of shape (N, T, C, h, w), as the transform gives it.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a shape or a number is out of range.
        """
        self._check(videos)
        first = videos[:, 0]
        params = self.transform.sample_params(first, generator=generator, row_offset=row_offset, sample_ids=sample_ids)
        return self.apply_params(videos, params)

    def apply_params(self, videos: Tensor, params: Tensor) -> Tensor:
        """The views that ``params``, one row for each video, describe. Takes and raises what ``forward`` does.

        Args:
            videos: as in ``forward``.
            params: float32, shape (N, len(transform.columns)).
        """
        self._check(videos)
        frames = videos.shape[1]
        views = self.transform.apply_params(videos.flatten(0, 1), params.repeat_interleave(frames, 0))
        return views.unflatten(0, (-1, frames)) if len(views) else views.view(0, frames, *views.shape[1:])

    def _check(self, videos: Tensor) -> None:
        name = type(self).__name__
        if not isinstance(videos, Tensor):
            raise TypeError(f"{name}: videos must be a tensor, got {type(videos).__name__}")
        if videos.dim() != 5 or videos.shape[1] < 1:
            raise ValueError(f"{name}: videos must have shape (N, T, C, H, W), T >= 1, got {tuple(videos.shape)}")
