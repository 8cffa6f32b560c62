"""Temporal crops and frame sub-sampling of videos: which frames, and the frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast._arguments import in_range, numbered_rows, row_lengths
from sslfast._autograd import traced_once
from sslfast._frame_clips import frame_clips
from sslfast.random import Generator, seed_tensor

__all__ = ["sample_frames", "take_frames"]


def sample_frames(
    rows: int,
    num_frames: int,
    clip_length: int,
    *,
    stride: int = 1,
    clips: int = 1,
    mode: str = "clip",
    position: str = "random",
    out_of_range: str = "last",
    lengths: Tensor | None = None,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draws which frames of each video are taken, for :func:`take_frames` or for a decoder.

    With part(k, n, total) the integers from ``k * total // n`` up to ``(k + 1) * total // n``, L the frames of the
    video and span = (clip_length - 1) * stride + 1:

        ``mode="clip"``: clip c is ``start + stride * i``, start in part(c, clips, max(L - span + 1, 1)). One clip
        starts anywhere; several spread over the video, as in mmaction's ``SampleFrames``.

        ``mode="segments"``: frame i of every clip is in part(i, clip_length, L), each clip by itself: TSN's sampling.

    ``position="random"`` is uniform in the part, "centre" its middle, ``first + count // 2``; a part that is empty
    gives its first number. The draws depend on (seed, number of the row, L, clip, frame) alone, and are equal on the
    CPU, over NumPy arrays and on a GPU. No host synchronisation on a GPU.

    Args:
        rows: number of videos N, at least 0.
        num_frames: frames of each, in [0, 2^31).
        clip_length: frames to take, at least 1.
        stride: distance of the frames of a clip; 1 for "segments". Default: 1.
        clips: clips of each video, at least 1. Default: 1.
        mode: "clip" or "segments". Default: "clip".
        position: "random" or "centre". Default: "random".
        out_of_range: what a frame behind the end of a short video is: "last", its last frame, or "loop", frames from
            its start again. Default: "last".
        lengths: integer (N,), frames of each video, in [0, num_frames]; on a GPU and under torch.compile, where they
            are not looked at, numbers outside count as the nearest of the two. Default: None, all ``num_frames``.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        device: where the result is made. Default: that of ``lengths`` or ``sample_ids``, else torch's default device.

    Returns:
        int64 (N, clips, clip_length) in [0, L), or -1 for a video without frames.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number, length, shape or device is out of range, there is no such mode, position or out_of_range,
            ``stride`` is not 1 with "segments", or the generator is on another GPU.

    Reference: Wang et al., "Temporal Segment Networks", ECCV 2016; Tong et al., "VideoMAE", NeurIPS 2022; mmaction2
    ``SampleFrames``, ``UniformSampleFrames``.
    """
    name = "sample_frames"
    rows = _check.integer(name, "rows", rows, 0)
    sizes = frame_clips(name, num_frames, clip_length, stride, clips, mode, position, out_of_range)
    if device is None:
        at = [t.device for t in (lengths, sample_ids) if isinstance(t, Tensor)]
        device = at[0] if at else None
    like = torch.empty((), device=device)
    lengths = row_lengths(name, lengths, rows, like.device, sizes[0])
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    return ops.frame_indices(like, seed, sample_ids, lengths, rows, *sizes, row_offset)


def take_frames(video: Tensor, frames: Tensor, *, dim: int = 1) -> Tensor:
    """The frames of each video at ``frames``: ``video[n].index_select(dim - 1, frames[n])`` for every n, in one copy.

    Every frame is read where it is and written once. Twice differentiable; the gradient of a frame that is taken
    several times is the sum.

    Args:
        video: shape (N, T, ...) with ``dim=1`` or (N, C, T, ...) with ``dim=2``, elements of at most 8 bytes. Copied
            first where the dimensions behind T, or N and C, do not lie one behind the other.
        frames: int64 (N, L), or (N, clips, L), in [0, T), or -1 for none: from :func:`sample_frames`.
        dim: where T is. Default: 1.

    Returns:
        ``video`` with L in the place of T; with clips (N, clips, ...), of each clip such a video. A view of another
        order with ``dim=2`` and several clips. Zero where ``frames`` is -1.

    Raises:
        TypeError: ``video`` or ``frames`` is not a tensor, ``frames`` is not int64, or elements are too large.
        ValueError: a shape or device is out of range, ``dim`` is neither 1 nor 2, or, on the CPU, an index is neither
            in [0, T) nor -1. On a GPU, which would have to wait to say so, its frame is zero.
    """
    name = "take_frames"
    dim = _check.integer(name, "dim", dim, 1, 2)
    if not isinstance(video, Tensor) or not isinstance(frames, Tensor):
        wrong, got = ("video", video) if not isinstance(video, Tensor) else ("frames", frames)
        raise TypeError(f"{name}: {wrong} must be a tensor, got {type(got).__name__}")
    if video.element_size() > 8:
        raise TypeError(f"{name}: video must have elements of at most 8 bytes, got {video.dtype}")
    if frames.dtype != torch.int64:
        raise TypeError(f"{name}: frames must be int64, got {frames.dtype}")
    if video.dim() <= dim:
        raise ValueError(f"{name}: video must have more than {dim} dimensions, got {tuple(video.shape)}")
    if frames.dim() not in (2, 3) or frames.shape[0] != video.shape[0]:
        expected = f"shape ({video.shape[0]}, L) or ({video.shape[0]}, clips, L)"
        raise ValueError(f"{name}: frames must have {expected}, got {tuple(frames.shape)}")
    if frames.device != video.device:
        raise ValueError(f"{name}: frames must be on {video.device}, like video, got {frames.device}")
    rows, total = video.shape[0], video.shape[dim]
    in_range(name, "frames", frames, -1, total - 1)
    lead, inner = video.shape[1:dim], video.shape[dim + 1 :]
    groups, width = lead.numel(), inner.numel()
    ids = frames.reshape(rows, 1, -1).expand(-1, groups, -1).reshape(rows * groups, -1).contiguous()
    out = _Take.apply(video.reshape(rows * groups, total, width), ids)
    if frames.dim() == 2:
        return out.view(rows, *lead, *frames.shape[1:], *inner)
    out = out.view(rows, *lead, *frames.shape[1:], *inner)
    return out if dim == 1 else out.movedim(2, 1)


class _Take(torch.autograd.Function):
    """(N, T, D) at (N, K) -> (N, K, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.frames = x.shape[1]
        return ops.patch_gather(x, ids)

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _PutBack.apply(grad, ctx.saved_tensors[0], ctx.frames), None


class _PutBack(torch.autograd.Function):
    """The derivative of ``_Take``, whose derivative is that again."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, ids: Tensor, frames: int) -> Tensor:
        ctx.save_for_backward(ids)
        return ops.patch_sum(grad.contiguous(), ids, ids.shape[0], frames)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Take.apply(grad, ctx.saved_tensors[0]), None, None
