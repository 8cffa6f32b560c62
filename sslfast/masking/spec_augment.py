"""SpecAugment: masked bands and masked intervals of spectrograms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast._autograd import traced_once
from sslfast.masking._arguments import numbered_rows, row_lengths
from sslfast.random import Generator, seed_tensor

_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def spec_augment(
    spec: Tensor,
    *,
    n_freq_masks: int,
    freq_mask_param: int,
    n_time_masks: int,
    time_mask_param: int,
    p: float = 1.0,
    lengths: Tensor | None = None,
    mask_value: float | str | Tensor = 0.0,
    inplace: bool = False,
    iid: bool = True,
    mode: str = "exact",
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """Masks random bands of frequencies and random intervals of frames of every spectrogram.

    All masks are written in one pass: every cell is read and written once, and in place the masked cells alone are
    written and nothing is read. Positions are integers, whatever the type of the spectrogram. NaN in a masked cell is
    gone, but with ``"mean"``, which is of all frames before the padding, masked or not, as torchaudio's is: NaN in one
    of them is in all masked cells. NaN in the padding reaches nothing. The gradient is zero in masked cells; with
    ``"mean"`` what they would get goes to the mean. The draws depend on (seed, number of the row, channel, mask, frames
    of the row) alone. No host synchronisation on a GPU; ``"mean"`` is two launches more, in compat mode
    three; its sum has a fixed order, so that every device and :mod:`sslfast.host` have the same bits, whatever the
    strides and the padding.

    Modes:
        ``"exact"``: a width is uniform over the integers [0, param], a start over all at which the mask fits. Masks
        keep to the row's own frames; so do bands.

        ``"compat"``: the distribution of torchaudio's ``mask_along_axis_iid``: a real width uniform in [0, param), a
        real start uniform in [0, size - width), both cut to integers. The greatest width is thus param - 1 and **the
        last frame and the last bin are never masked**. ``p`` holds for bands too, and ``"mean"`` is that of the whole
        batch: with ``lengths``, which torchaudio has not, of its frames before the padding.

    Args:
        spec: shape (..., F, T), float16, bfloat16, float32 or float64, any strides.
        n_freq_masks: bands, in [0, 32].
        freq_mask_param: greatest width of a band in bins; a wider one is cut to F.
        n_time_masks: intervals of frames, in [0, 32].
        time_mask_param: greatest width of an interval in frames.
        p: an interval is at most this share of the row's frames wide. Default: 1.
        lengths: integer (N,), N the first of at least three dimensions: the frames of each row before its padding,
            which is not changed, in [0, T]; on a GPU and under torch.compile, where they are not looked at, numbers
            outside count as the nearest of the two. Default: None, all T.
        mask_value: what masked cells get: a number, a floating-point tensor of one element, or "mean", the mean of the
            spectrogram's own frames. Default: 0.
        inplace: change ``spec`` and return it. Default: False.
        iid: every spectrogram draws its own masks; else all have the same. Default: True.
        mode: "exact" or "compat". Default: "exact".
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``spec`` where ``inplace``, else a new contiguous tensor of its shape and type.

    Raises:
        TypeError: ``spec`` is not a tensor of these types, or another argument has the wrong type.
        ValueError: a shape, device or number, or on the CPU one of ``lengths``, is out of range, there is no such mode,
            ``spec`` is expanded, is a leaf that requires a gradient, or its more than four dimensions cannot be viewed
            as four, where ``inplace``, or the generator is on another GPU.

    Reference: Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
    Interspeech 2019; Park et al., "SpecAugment on Large Scale Datasets", ICASSP 2020 (``p``).
    """
    name = "spec_augment"
    if not isinstance(spec, Tensor) or spec.dtype not in _TYPES:
        got = spec.dtype if isinstance(spec, Tensor) else type(spec).__name__
        raise TypeError(f"{name}: spec must be a float16, bfloat16, float32 or float64 tensor, got {got}")
    if spec.dim() < 2 or spec.shape[-1] >= 2**31 or spec.shape[-2] >= 2**31:
        raise ValueError(f"{name}: spec must have shape (..., F, T) below 2^31, got {tuple(spec.shape)}")
    sizes = _check.spec_masks(
        name, spec.shape[-2], n_freq_masks, freq_mask_param, n_time_masks, time_mask_param, p, iid, mode
    )
    inplace = _check.boolean(name, "inplace", inplace)
    if inplace and any(stride == 0 < size - 1 for size, stride in zip(spec.shape, spec.stride(), strict=True)):
        raise ValueError(f"{name}: spec must not be expanded where inplace, got strides {spec.stride()}")
    if inplace and spec.requires_grad and spec.is_leaf and torch.is_grad_enabled():
        raise ValueError(f"{name}: spec must be no leaf that requires a gradient where inplace, got one")
    four = _four_dimensions(name, spec, inplace)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, four.shape[0], spec.device)
    lengths = row_lengths(name, lengths, four.shape[0], spec.device, spec.shape[-1])
    values = _values(name, four, mask_value, lengths, mode)
    constant = 0.0 if values is not None else _check.real(name, "mask_value", mask_value)  # type: ignore[arg-type]
    seed = seed_tensor(generator, function=name, device=spec.device)
    arguments = (seed, sample_ids, lengths, values, constant, *sizes, row_offset)
    if torch.is_grad_enabled() and (spec.requires_grad or (values is not None and values.requires_grad)):
        out = _SpecAugment.apply(four, inplace, *arguments)
        return spec if inplace else out.view(spec.shape)
    if inplace:
        ops.spec_augment_(four, *arguments)
        return spec
    return ops.spec_augment(four, *arguments)[0].view(spec.shape)


def _four_dimensions(name: str, spec: Tensor, inplace: bool) -> Tensor:
    """``spec`` as (N, C, F, T)."""
    if spec.dim() == 4:
        return spec
    if spec.dim() < 4:
        return spec[None, None] if spec.dim() == 2 else spec[:, None]
    if not inplace:
        return spec.flatten(1, -3)
    try:
        return spec.view(spec.shape[0], -1, *spec.shape[-2:])
    except RuntimeError:
        got = f"strides {spec.stride()}"
        raise ValueError(f"{name}: spec must be viewable as (N, C, F, T) where inplace, got {got}") from None


def _values(
    name: str, spec: Tensor, mask_value: float | str | Tensor, lengths: Tensor | None, mode: str
) -> Tensor | None:
    """One value a row and channel, or None where it is a number."""
    rows = spec.shape[0] * spec.shape[1]
    if isinstance(mask_value, Tensor):
        if mask_value.numel() != 1 or not mask_value.is_floating_point():
            got = f"{mask_value.dtype} of shape {tuple(mask_value.shape)}"
            raise ValueError(f"{name}: mask_value must be a floating-point tensor of one element, got {got}")
        if mask_value.device != spec.device:
            raise ValueError(f"{name}: mask_value must be on {spec.device}, like spec, got {mask_value.device}")
        return mask_value.to(spec.dtype).reshape(1).expand(rows).contiguous()
    if not isinstance(mask_value, str):
        return None
    if mask_value != "mean":
        raise ValueError(f'{name}: mask_value must be a number, a tensor or "mean", got {_check.shown(mask_value)}')
    return _SpecMean.apply(spec, lengths, mode == "compat")


class _SpecMean(torch.autograd.Function):
    """(N, C, F, T) -> (N * C): what a mean gets goes in equal parts to the cells that it is of."""

    @staticmethod
    def forward(ctx: Any, spec: Tensor, lengths: Tensor | None, whole_batch: bool) -> Tensor:
        ctx.save_for_backward(lengths)
        ctx.shape, ctx.whole_batch = spec.shape, whole_batch
        return ops.spec_mean(spec, lengths, whole_batch)

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (lengths,) = ctx.saved_tensors
        rows, channels, bins, frames = ctx.shape
        own = torch.full((rows,), frames, device=grad.device) if lengths is None else lengths.clamp(0, frames)
        parts = grad.view(rows, channels).to(torch.float64 if grad.dtype == torch.float64 else torch.float32)
        counts = own[:, None] * bins
        if ctx.whole_batch:
            parts, counts = parts.sum().expand(rows, channels), counts.sum() * channels
        parts = (parts / counts.clamp(min=1)).to(grad.dtype)[..., None, None]
        if lengths is None:
            return parts.expand(ctx.shape), None, None
        before = (torch.arange(frames, device=grad.device) < own[:, None])[:, None, None]
        return torch.where(before, parts, 0).expand(ctx.shape), None, None


class _SpecAugment(torch.autograd.Function):
    """The values of masked cells come from ``values``, the others from ``spec``."""

    @staticmethod
    def forward(ctx: Any, spec: Tensor, inplace: bool, *arguments: Any) -> Tensor:
        if inplace:
            out, intervals = spec, ops.spec_augment_(spec, *arguments)
            ctx.mark_dirty(spec)
        else:
            out, intervals = ops.spec_augment(spec, *arguments)
        ctx.save_for_backward(intervals)
        ctx.bin_masks, ctx.others = arguments[5], len(arguments) - 4
        return out

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (intervals,) = ctx.saved_tensors
        d_spec = _SpecZero.apply(grad, intervals, ctx.bin_masks)
        d_values = None
        if ctx.needs_input_grad[5]:
            masked = ops.spec_zero(torch.ones_like(grad), intervals, ctx.bin_masks) == 0
            d_values = torch.where(masked, grad, 0).sum((-2, -1)).flatten()
        return d_spec, None, None, None, None, d_values, *[None] * ctx.others


class _SpecZero(torch.autograd.Function):
    """Zero where masked; its own derivative."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, intervals: Tensor, bin_masks: int) -> Tensor:
        ctx.save_for_backward(intervals)
        ctx.bin_masks = bin_masks
        return ops.spec_zero(grad, intervals, bin_masks)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _SpecZero.apply(grad, ctx.saved_tensors[0], ctx.bin_masks), None, None
