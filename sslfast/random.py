"""Seeds and streams of random bits.

Every random operator draws from Philox4x32-10, a counter-based generator: a draw is a function of (seed, stream, row,
element) and of nothing else. The same seed therefore gives the same masks and augmentation parameters on the CPU, over
NumPy arrays and on the GPU, whatever the number of threads, and ``row_offset`` makes the shards of a batch equal to
the whole batch.

Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from sslfast import _check, ops

__all__ = ["STREAMS", "Generator", "philox_words", "seed_tensor", "step_seed"]

Generator: TypeAlias = "torch.Generator | int | Tensor | None"

# One number per independent use of random bits; csrc/include/sslfast/philox.h holds the same list.
STREAMS = {
    "words": 0,
    "token_select": 1,
    "token_replace": 2,
    "patch_order": 3,
    "image_augment": 4,
    "step": 5,
    "word_select": 10,
    "word_replace": 11,
    "span_corruption": 20,
    "text_span": 22,
    "text_span_replace": 23,
    "permutation_span": 24,
    "permutation_order": 25,
    "item_select": 26,
    "item_row": 27,
    "gumbel": 28,
    "item_negatives": 29,
    "batch_mix": 40,
    "mix_order": 41,
    "erase": 42,
    "erase_noise": 43,
    "grid_cells": 50,
    "tube_cells": 51,
    "frame_cells": 52,
    "block": 53,
    "block_rest": 54,
    "block_shift": 55,
    "inverse_block": 56,
    "dino_order": 57,
    "dino_ratio": 58,
    "jepa_size": 59,
    "jepa_place": 60,
    "jepa_keep": 61,
    "block_target": 62,
    "square": 63,
    "square_rest": 64,
    "time_span_length": 65,
    "v_jepa_size": 66,
    "v_jepa_place": 67,
    "v_jepa_keep": 68,
    "time_span_start": 70,
    "time_span_count": 71,
    "time_span_batch": 72,
    "time_span_trim": 73,
    "time_span_dropout": 74,
    "negatives": 75,
    "spec_augment": 76,
    "feature_select": 77,
    "feature_source": 78,
    "feature_order": 79,
    "node_order": 80,
    "edge_drop": 81,
    "augment_token": 110,
    "augment_place": 111,
    "augment_row": 112,
    "feature_noise": 113,
    "noise_select": 114,
    "audio_augment": 115,
    "audio_noise": 116,
    "frames": 117,
    "gan_interpolate": 130,
    "attack_start": 131,
    "triplet": 132,
}

_INT64 = (-(2**63), 2**63 - 1)


def seed_tensor(
    generator: Generator = None, *, function: str = "seed_tensor", device: torch.device | None = None
) -> Tensor:
    """The 64-bit seed that a ``generator=`` argument stands for, as an int64 tensor of one element.

    Args:
        generator: ``None`` draws a seed from torch's global CPU generator (one draw), a ``torch.Generator`` draws one
            from it (torch.compile cannot trace that), an int is the seed itself, and an int64 tensor of one element is
            used as it is: on a GPU it is read by the kernel when it runs, so a captured CUDA graph sees the value of
            the moment. Default: None.
        function: the name that errors begin with. Default: ``"seed_tensor"``.
        device: where the draws are made. Default: None, anywhere.

    Returns:
        An int64 tensor of one element, on the generator's or tensor's device, else on the CPU.

    Raises:
        TypeError: if ``generator`` is none of these, or a tensor that is not int64.
        ValueError: if an int does not fit in 64 signed bits, a tensor has not exactly one element, or a
            generator or tensor is neither on the CPU nor on ``device``.
    """
    if isinstance(generator, (Tensor, torch.Generator)):
        _check_device(generator, function, device)
    if generator is None:
        return torch.randint(_INT64[1], (), device="cpu")  # not random_(): torch.compile knows randint
    if isinstance(generator, Tensor):
        if generator.dtype != torch.int64:
            raise TypeError(f"{function}: a seed tensor must be int64, got {generator.dtype}")
        if generator.numel() != 1:
            raise ValueError(f"{function}: a seed tensor must have one element, got shape {tuple(generator.shape)}")
        return generator
    if isinstance(generator, torch.Generator):
        return torch.randint(_INT64[1], (), generator=generator, device=generator.device)
    # A symbolic int, as torch.compile makes of a seed that changes, is an int but cannot be asked for attributes.
    if isinstance(generator, bool) or not (isinstance(generator, int) or hasattr(generator, "__index__")):
        expected = "None, an int, a torch.Generator or an int64 tensor"
        raise TypeError(f"{function}: generator must be {expected}, got {type(generator).__name__}")
    seed = _check.integer(function, "generator", generator, *_INT64)
    return torch.tensor(seed, dtype=torch.int64, device="cpu")


def check_generator(generator: Generator, *, function: str, device: torch.device) -> None:
    """Raises what :func:`seed_tensor` raises, of a ``generator=`` that nothing is drawn from."""
    if isinstance(generator, torch.Generator):
        _check_device(generator, function, device)
    elif generator is not None:
        seed_tensor(generator, function=function, device=device)


def _check_device(generator: torch.Generator | Tensor, function: str, device: torch.device | None) -> None:
    at = generator.device
    if device is not None and at.type != "cpu" and at != device:
        expected = "the CPU" if device.type == "cpu" else f"the CPU or on {device}"
        raise ValueError(f"{function}: generator must be on {expected}, got {at}")


def philox_words(
    seed: int | Tensor,
    rows: int,
    elements: int,
    *,
    stream: int = 0,
    row_offset: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Raw Philox4x32-10 output: the bits from which all of sslfast's random operators draw.

    Word ``w`` at ``[r, e]`` is output word ``w`` for counter (e, row low, row high, stream) with
    ``row = row_offset + r``, and key (seed low, seed high).

    Args:
        seed: 64-bit seed, an int or an int64 tensor of one element.
        rows: number of rows, at least 0.
        elements: counters per row, at least 0.
        stream: 32-bit stream number. Default: 0, which no operator uses (``STREAMS`` lists theirs).
        row_offset: global index of row 0. Default: 0.
        device: where the result is made. Default: torch's default device.

    Returns:
        int64 tensor of shape (rows, elements, 4) with values in [0, 2^32).

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of range.

    Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    rows = _check.integer("philox_words", "rows", rows, 0)
    elements = _check.integer("philox_words", "elements", elements, 0, 2**32)
    stream = _check.integer("philox_words", "stream", stream, 0, 2**32 - 1)
    row_offset = _check.integer("philox_words", "row_offset", row_offset, 0)
    like = torch.empty((), device=device)
    words = ops.philox_words(
        like, seed_tensor(seed, function="philox_words", device=like.device), stream, rows, elements, row_offset
    )
    return words.to(torch.int64) & 0xFFFFFFFF


def step_seed(seed: int | Tensor, step: int) -> Tensor:
    """The seed of one step or epoch of a run, so that draws are keyed by (seed, step, sample).

    Seeds of different steps are as independent as different seeds; adding the step to the seed is not enough where
    two runs differ by one.

    Args:
        seed: 64-bit seed of the run, an int or an int64 tensor of one element.
        step: number of the step or epoch, at least 0.

    Returns:
        An int64 tensor of one element on the device of ``seed``, for ``generator=``; ``int(...)`` of it where an int
        is wanted. :func:`sslfast.host.step_seed` gives the same number.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """
    key = seed_tensor(seed, function="step_seed")
    step = _check.integer("step_seed", "step", step, 0)
    words = ops.philox_words(key, key, STREAMS["step"], 1, 1, step)
    return words.view(torch.int64)[0, 0, 0]
