"""Shift, gain, polarity, mixing and noise of a batch of waveforms: parameters drawn apart from being applied."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast._arguments import numbered_rows, row_lengths
from sslfast._audio_rules import AUDIO_PARAMS, MOST_SAMPLES, Between, audio_rules, check_bank_is_used
from sslfast._autograd import traced_once
from sslfast.augment._audio_gradient import waves_gradient
from sslfast.random import Generator, seed_tensor

__all__ = ["AUDIO_PARAMS", "apply_audio_params", "check_bank", "check_waves", "sample_audio_params"]

_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def sample_audio_params(
    rows: int,
    length: int,
    *,
    shift: Between = None,
    shift_unit: str = "fraction",
    shift_p: float = 0.5,
    gain_db: Between = None,
    gain_p: float = 0.5,
    polarity_p: float = 0.0,
    noise_snr_db: Between = None,
    noise_p: float = 0.5,
    noise_bank_shape: tuple[int, int] | None = None,
    mix_snr_db: Between = None,
    mix_ratio: Between = None,
    mix_length: tuple[float, float] = (0.0, 0.5),
    mix_p: float = 0.5,
    lengths: Tensor | None = None,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draws what :func:`apply_audio_params` does to each waveform of a batch.

    Every transform is used with a probability of its own, and None leaves it out. Numbers are uniform in their ranges;
    positions are integers. The draws depend on (seed, number of the row, samples of the row) alone, and have words of
    their own: none changes when another transform is left out. Which row is mixed in also depends on N and on the row's
    place in the batch: it is one of the same call. No host synchronisation on a GPU.

    Args:
        rows: number of waveforms N, at least 0.
        length: samples T of each, in [0, 2^31).
        shift: (low, high) of the shift towards later. Default: None.
        shift_unit: "fraction" of the row's samples, in [-1, 1], or "samples". Default: "fraction".
        shift_p: probability of a shift. Default: 0.5.
        gain_db: (low, high) of the gain in dB. Default: None.
        gain_p: probability of a gain. Default: 0.5.
        polarity_p: probability that the sign changes. Default: 0.
        noise_snr_db: (low, high) of the power of the waveform over that of the noise, in dB. Default: None.
        noise_p: probability of noise. Default: 0.5.
        noise_bank_shape: (K, Tn) of the bank that :func:`apply_audio_params` gets: a row of it and a place in the row
            are drawn; a place where the whole waveform fits, if there is one. Default: None, white noise.
        mix_snr_db: (low, high) of the power of the waveform over that of another row, a piece of which is added, in
            dB. Default: None.
        mix_ratio: (low, high) of the waveform's weight in [0, 1], mixup with another row; not beside ``mix_snr_db``.
            Default: None.
        mix_length: (low, high) of the piece's share of the row's samples; at least one sample, and not more than the
            other row has. Not of ``mix_ratio``, which takes the whole row. Default: (0, 0.5).
        mix_p: probability that another row is mixed in; it is never where N is 1. Default: 0.5.
        lengths: integer (N,): the samples of each row before its padding, in [0, T]; on a GPU and under torch.compile,
            where they are not looked at, numbers outside count as the nearest of the two. Default: None, all T.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            changed alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: that of ``lengths`` or ``sample_ids``, else torch's default device.

    Returns:
        float64 tensor of shape (N, 13) whose columns are named by ``AUDIO_PARAMS``: ``shift`` in samples, ``gain_db``,
        ``polarity`` 1 or -1, ``noise_snr_db`` (infinite: none), ``noise_row`` (-1: white noise), ``noise_start``,
        ``noise_key`` of white noise, ``mix_row`` (-1: none), ``mix_snr_db`` (infinite: none), ``mix_ratio`` (1: none),
        ``mix_start`` in the other row, ``mix_at`` in this one, ``mix_length`` in samples.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number, shape or device is out of range, a (low, high) is the wrong way round, there is no such
            unit, both ways of mixing are given, ``noise_bank_shape`` is without ``noise_snr_db``, or the generator is
            on another GPU.

    Reference: torch-audiomentations ``Shift``, ``Gain``, ``PolarityInversion``, ``AddBackgroundNoise``; audiomentations
    ``AddGaussianSNR``; Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing",
    JSTSP 2022, algorithm 1 (mixing); Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    name = "sample_audio_params"
    rules = audio_rules(
        name,
        shift=shift,
        shift_unit=shift_unit,
        shift_p=shift_p,
        gain_db=gain_db,
        gain_p=gain_p,
        polarity_p=polarity_p,
        noise_snr_db=noise_snr_db,
        noise_p=noise_p,
        mix_snr_db=mix_snr_db,
        mix_ratio=mix_ratio,
        mix_length=mix_length,
        mix_p=mix_p,
    )
    rows = _check.integer(name, "rows", rows, 0)
    length = _check.integer(name, "length", length, 0, MOST_SAMPLES)
    bank = (0, 0)
    if noise_bank_shape is not None:
        bank = _check.grid(name, "noise_bank_shape", noise_bank_shape, "(K, Tn)", MOST_SAMPLES)  # type: ignore[assignment]
    check_bank_is_used(name, "noise_bank_shape", noise_bank_shape, noise_snr_db)
    if device is None:
        at = [t.device for t in (lengths, sample_ids) if isinstance(t, Tensor)]
        device = at[0] if at else None
    like = torch.empty((), device=device)
    lengths = row_lengths(name, lengths, rows, like.device, length)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    return ops.audio_augment_params(like, seed, sample_ids, lengths, rows, length, *rules, *bank, row_offset)


def apply_audio_params(
    waves: Tensor,
    params: Tensor,
    *,
    lengths: Tensor | None = None,
    noise_bank: Tensor | None = None,
    rollover: bool = True,
) -> Tensor:
    """Makes what ``params`` describes of a batch of waveforms, in one pass.

    With P(.) the mean square of a row's samples before its padding, as they come in, channel by channel, sample t is

        out[t] = polarity * 10^(gain_db / 20) * (mix_ratio * x[t - shift]
                 + (1 - mix_ratio + sqrt(P(x) / P(other)) * 10^(-mix_snr_db / 20)) * other[t - mix_at + mix_start]
                 + sqrt(P(x) / P(noise)) * 10^(-noise_snr_db / 20) * noise[t])

    where the other row counts for ``mix_length`` samples from ``mix_at`` on. White noise has P = 1, its expectation;
    noise from the bank is read from ``noise_start`` on, again from the front at the end of its row, and its P is that
    of the piece which is read, the same for all channels. Where P of an addition is zero, nothing is added; where P(x)
    is, nothing at a ratio of powers is. So the order is shift, mixing, noise, gain; both ratios refer to the waveform
    alone. Sums are in float32 (float64 in float64) and rounded once. NaN in a row's samples makes all of it NaN where
    its power counts. Twice differentiable in ``waves``, ratios of powers included; the gradient is plain PyTorch.

    Args:
        waves: shape (N, T) or (N, C, T), float32, float16, bfloat16 or float64, any strides; T below 2^31.
        params: float64 (N, 13), on the device of ``waves``: from :func:`sample_audio_params`, or by hand with the
            columns of ``AUDIO_PARAMS``. Not read on the host: places outside of a row are cut to what is there, a
            ``mix_row`` that does not exist is none, and a ``noise_row`` that does not exist is white noise.
        lengths: integer (N,): the samples of each row before its padding, which comes out as zero; in [0, T], looked
            at as by :func:`sample_audio_params`. Default: None, all T.
        noise_bank: contiguous (K, Tn) of the dtype of ``waves``. Default: None, noise is white.
        rollover: what is shifted out comes in at the other end of the row's samples; else zeros do. Default: True.

    Returns:
        A new contiguous tensor of the shape and dtype of ``waves``.

    Raises:
        TypeError: ``waves``, ``params``, ``lengths`` or ``noise_bank`` is not a tensor of a dtype above, or
            ``rollover`` is not a bool.
        ValueError: a shape, length or device is out of range, or ``noise_bank`` is empty, not contiguous or requires a
            gradient, which it has not.
    """
    name = "apply_audio_params"
    three = check_waves(name, waves)
    if not isinstance(params, Tensor) or params.dtype != torch.float64:
        got = params.dtype if isinstance(params, Tensor) else type(params).__name__
        raise TypeError(f"{name}: params must be a float64 tensor, got {got}")
    if params.shape != (three.shape[0], len(AUDIO_PARAMS)):
        expected = f"must have shape ({three.shape[0]}, {len(AUDIO_PARAMS)})"
        raise ValueError(f"{name}: params {expected}, got {tuple(params.shape)}")
    if params.device != waves.device:
        raise ValueError(f"{name}: params must be on {waves.device}, like waves, got {params.device}")
    lengths = row_lengths(name, lengths, three.shape[0], waves.device, three.shape[-1])
    check_bank(name, noise_bank, waves)
    rollover = _check.boolean(name, "rollover", rollover)
    return apply_checked(three, params.contiguous(), lengths, noise_bank, rollover, True).view(waves.shape)


def check_waves(name: str, waves: Tensor) -> Tensor:
    """Returns ``waves`` as (N, C, T).

    Raises:
        TypeError: if it is not a tensor of a floating-point dtype.
        ValueError: if it has neither two nor three dimensions, or 2^31 samples.
    """
    if not isinstance(waves, Tensor) or waves.dtype not in _TYPES:
        got = waves.dtype if isinstance(waves, Tensor) else type(waves).__name__
        raise TypeError(f"{name}: waves must be a float32, float16, bfloat16 or float64 tensor, got {got}")
    if waves.dim() not in (2, 3) or waves.shape[-1] > MOST_SAMPLES:
        raise ValueError(f"{name}: waves must have shape (N, T) or (N, C, T), T < 2^31, got {tuple(waves.shape)}")
    return waves[:, None] if waves.dim() == 2 else waves


def check_bank(name: str, bank: Tensor | None, waves: Tensor) -> None:
    """Raises TypeError or ValueError unless ``bank`` is None or what :func:`apply_audio_params` takes."""
    if bank is None:
        return
    if not isinstance(bank, Tensor) or bank.dtype != waves.dtype:
        got = bank.dtype if isinstance(bank, Tensor) else type(bank).__name__
        raise TypeError(f"{name}: noise_bank must be a {waves.dtype} tensor, like waves, got {got}")
    if bank.dim() != 2 or bank.numel() == 0 or bank.shape[1] > MOST_SAMPLES:
        raise ValueError(f"{name}: noise_bank must have shape (K, Tn), not empty, got {tuple(bank.shape)}")
    if not bank.is_contiguous():
        raise ValueError(f"{name}: noise_bank must be contiguous, got strides {bank.stride()}")
    if bank.device != waves.device:
        raise ValueError(f"{name}: noise_bank must be on {waves.device}, like waves, got {bank.device}")
    if bank.requires_grad:
        raise ValueError(f"{name}: noise_bank must not require a gradient, which it has not, got requires_grad=True")


def apply_checked(
    waves: Tensor, params: Tensor, lengths: Tensor | None, bank: Tensor | None, rollover: bool, powers: bool
) -> Tensor:
    """The operator, with its gradient where that is asked for. ``waves`` are (N, C, T), all arguments checked."""
    if torch.is_grad_enabled() and waves.requires_grad:
        out: Tensor = _AudioAugment.apply(waves, params, lengths, bank, rollover, powers)
        return out
    return ops.audio_augment(waves, params, lengths, bank, rollover, powers)


class _AudioAugment(torch.autograd.Function):
    """The backward pass is made of differentiable operators, so that it can be differentiated again."""

    @staticmethod
    def forward(
        ctx: Any, waves: Tensor, params: Tensor, lengths: Any, bank: Any, rollover: bool, powers: bool
    ) -> Tensor:
        ctx.save_for_backward(waves, params, lengths, bank)
        ctx.rollover, ctx.powers = rollover, powers
        return ops.audio_augment(waves, params, lengths, bank, rollover, powers)

    @staticmethod
    @traced_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        waves, params, lengths, bank = ctx.saved_tensors
        d_waves = waves_gradient(grad, waves, params, lengths, bank, ctx.rollover, ctx.powers)
        return d_waves, None, None, None, None, None
