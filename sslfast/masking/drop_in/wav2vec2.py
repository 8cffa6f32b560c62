"""transformers' masks and negatives of wav2vec 2.0, under their own names: ``transformers.models.wav2vec2
.modeling_wav2vec2._compute_mask_indices`` and ``_sample_negative_indices``, which the other speech models copy.

The draws come from torch's global generator (``torch.manual_seed``), which a DataLoader seeds in each worker, instead
of NumPy's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import _check, host
from sslfast.masking._arguments import errors_of
from sslfast.random import seed_tensor

__all__ = ["_compute_mask_indices", "_sample_negative_indices"]


def _compute_mask_indices(
    shape: tuple[int, int],
    mask_prob: float,
    mask_length: int,
    attention_mask: Tensor | None = None,
    min_masks: int = 0,
) -> Any:
    """``time_mask(mode="hf")`` as a NumPy array: the distribution of transformers, with its defects.

    All rows of a batch round their number of spans together, and a row that is too short for a span masks the last
    frame of the batch, in its padding: see :func:`sslfast.masking.time_mask`. An empty batch gives an empty mask.

    Args:
        shape: (N, T), rows and frames.
        mask_prob: masked frames per frame if spans did not overlap, in [0, 1].
        mask_length: frames per span, at least 1 and at most T.
        attention_mask: (N, T), one where a frame is no padding, padded on the right. Default: None, no padding.
        min_masks: least number of spans of a row. Default: 0.

    Returns:
        NumPy bool array (N, T), True where masked.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range.
    """
    name = "_compute_mask_indices"
    batch_size, length = _frames(name, "shape", shape)
    mask_length = _check.integer(name, "mask_length", mask_length, 1, length)
    if attention_mask is not None and not isinstance(attention_mask, Tensor):
        raise TypeError(f"{name}: attention_mask must be a tensor, got {type(attention_mask).__name__}")
    if attention_mask is not None and attention_mask.shape != (batch_size, length):
        got = tuple(attention_mask.shape)
        raise ValueError(f"{name}: attention_mask must have shape {(batch_size, length)}, got {got}")
    lengths = None if attention_mask is None else attention_mask.detach().sum(-1).long().cpu().numpy()
    with errors_of(name, length="shape", lengths="attention_mask"):
        return host.time_mask(
            batch_size,
            length,
            mask_prob=mask_prob,
            mask_length=mask_length,
            lengths=lengths,
            min_masks=min_masks,
            mode="hf",
            seed=int(seed_tensor()),
        )


def _sample_negative_indices(
    features_shape: tuple[int, int], num_negatives: int, mask_time_indices: Any | None = None
) -> Any:
    """``sample_negatives`` as a NumPy array, equal in distribution to transformers'.

    Args:
        features_shape: (N, T), rows and frames.
        num_negatives: negatives per frame K.
        mask_time_indices: NumPy array (N, T), true where a frame is masked. Default: None, every frame.

    Returns:
        NumPy int32 array (N, T, K) of ``row * T + frame``; ``row * T`` where nothing is masked.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a row has exactly one masked frame, from which no other can be drawn.
    """
    name = "_sample_negative_indices"
    rows, length = _frames(name, "features_shape", features_shape)
    if mask_time_indices is None:
        mask = torch.ones((rows, length), dtype=torch.bool).numpy()
    else:
        if getattr(mask_time_indices, "shape", None) != (rows, length):
            got = getattr(mask_time_indices, "shape", type(mask_time_indices).__name__)
            raise ValueError(f"{name}: mask_time_indices must be an array of shape {(rows, length)}, got {got}")
        mask = mask_time_indices.astype(bool)
    counts = mask.sum(1)
    if (counts == 1).any():
        row = int((counts == 1).argmax())
        raise ValueError(f"{name}: mask_time_indices must mask no frame of a row, or two and more, got 1 in row {row}")
    with errors_of(name):
        return host.sample_negatives(mask, num_negatives, seed=int(seed_tensor()))


def _frames(function: str, name: str, shape: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"{function}: {name} must be (N, T), got {shape}")
    rows, length = (_check.integer(function, name, size, 0) for size in shape)
    return rows, length
