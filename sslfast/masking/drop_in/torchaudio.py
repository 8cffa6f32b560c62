"""torchaudio's ``functional.mask_along_axis``, ``mask_along_axis_iid`` and ``transforms.SpecAugment``.

The distribution is torchaudio's in float32, with its defect: the last frame and the last bin are never masked. Its
positions are numbers of the spectrogram's type, which in bfloat16 go wrong beyond 256; here they are integers. Draws
come from torch's global CPU generator, for spectrograms on a GPU too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._arguments import errors_of
from sslfast.masking.spec_augment import spec_augment

__all__ = ["SpecAugment", "mask_along_axis", "mask_along_axis_iid"]


def mask_along_axis_iid(
    specgrams: Tensor, mask_param: int, mask_value: float | Tensor, axis: int, p: float = 1.0
) -> Tensor:
    """Masks one interval of bins or frames, another one in every spectrogram.

    Args:
        specgrams: shape (..., F, T) of at least three dimensions, float16, bfloat16, float32 or float64.
        mask_param: the interval is at most ``mask_param - 1`` wide.
        mask_value: what masked cells get, a number or a tensor of one element.
        axis: the last dimension but one (bins) or the last (frames), not negative.
        p: ``mask_param`` is at most this share of the axis. Default: 1.

    Returns:
        A new tensor; ``specgrams`` itself where ``mask_param`` is below 1.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the dimensions, ``axis`` or ``p`` are out of range.
    """
    return _along_axis("mask_along_axis_iid", specgrams, mask_param, mask_value, axis, p, 3)


def mask_along_axis(specgram: Tensor, mask_param: int, mask_value: float | Tensor, axis: int, p: float = 1.0) -> Tensor:
    """Masks one interval of bins or frames, the same in all spectrograms.

    Args:
        specgram: shape (..., F, T), float16, bfloat16, float32 or float64.
        mask_param: the interval is at most ``mask_param - 1`` wide.
        mask_value: what masked cells get, a number or a tensor of one element.
        axis: the last dimension but one (bins) or the last (frames), not negative.
        p: ``mask_param`` is at most this share of the axis. Default: 1.

    Returns:
        A new tensor; ``specgram`` itself where ``mask_param`` is below 1.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the dimensions, ``axis`` or ``p`` are out of range.
    """
    return _along_axis("mask_along_axis", specgram, mask_param, mask_value, axis, p, 2)


def _along_axis(
    function: str, spec: Tensor, mask_param: int, mask_value: float | Tensor, axis: int, p: float, least: int
) -> Tensor:
    name = "specgrams" if least == 3 else "specgram"
    if not isinstance(spec, Tensor):
        raise TypeError(f"{function}: {name} must be a tensor, got {type(spec).__name__}")
    dims = spec.dim()
    if dims < least:
        raise ValueError(f"{function}: {name} must have at least {least} dimensions, got {dims}")
    if axis not in (dims - 2, dims - 1):
        raise ValueError(f"{function}: axis must be {dims - 2} or {dims - 1}, got {axis}")
    p = _check.probability(function, "p", p)
    mask_param = _check.integer(function, "mask_param", mask_param, -(2**31), 2**31 - 1)
    mask_param = min(mask_param, int(spec.shape[axis] * p)) if p < 1 else mask_param
    if mask_param < 1:
        return spec
    of_bins = axis == dims - 2
    with errors_of(function, spec=name):
        return spec_augment(
            spec,
            n_freq_masks=int(of_bins),
            freq_mask_param=mask_param if of_bins else 0,
            n_time_masks=int(not of_bins),
            time_mask_param=0 if of_bins else mask_param,
            mask_value=mask_value,
            iid=least == 3,
            mode="compat",
        )


class SpecAugment(torch.nn.Module):
    """All masks of time and frequency in one pass, with torchaudio's arguments and defaults.

    Args:
        n_time_masks: intervals of frames, in [0, 32].
        time_mask_param: an interval is at most ``time_mask_param - 1`` wide.
        n_freq_masks: bands, in [0, 32].
        freq_mask_param: a band is at most ``freq_mask_param - 1`` wide.
        iid_masks: every spectrogram has its own masks, if it has more than two dimensions. Default: True.
        p: widths are at most this share of their axis. Default: 1.
        zero_masking: masked cells become 0 instead of the mean of the whole input. Default: False.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        n_time_masks: int,
        time_mask_param: int,
        n_freq_masks: int,
        freq_mask_param: int,
        iid_masks: bool = True,
        p: float = 1.0,
        zero_masking: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        numbers = (n_freq_masks, freq_mask_param, n_time_masks, time_mask_param, p)
        with errors_of(name, iid="iid_masks"):
            _check.spec_masks(name, 1, *numbers, iid_masks, "compat")
        zero_masking = _check.boolean(name, "zero_masking", zero_masking)
        self.n_time_masks, self.time_mask_param = n_time_masks, time_mask_param
        self.n_freq_masks, self.freq_mask_param = n_freq_masks, freq_mask_param
        self.iid_masks, self.p, self.zero_masking = iid_masks, p, zero_masking

    def forward(self, specgram: Tensor) -> Tensor:
        """Returns a masked copy of ``specgram``, shape (..., F, T)."""
        with errors_of(type(self).__name__, spec="specgram", iid="iid_masks"):
            return spec_augment(
                specgram,
                n_freq_masks=self.n_freq_masks,
                freq_mask_param=self.freq_mask_param,
                n_time_masks=self.n_time_masks,
                time_mask_param=self.time_mask_param,
                p=self.p,
                mask_value=0.0 if self.zero_masking else "mean",
                iid=self.iid_masks,
                mode="compat",
            )
