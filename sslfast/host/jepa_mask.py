"""Multi-block masks of I-JEPA and V-JEPA over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host, _jepa_rules
from sslfast.host import _arguments


class IJepaMasks(NamedTuple):
    """:class:`sslfast.masking.IJepaMasks` in NumPy arrays."""

    masks_enc: list[NDArray[np.int64]]
    masks_pred: list[NDArray[np.int64]]
    sizes: NDArray[np.int64]


class VJepaMasks(NamedTuple):
    """:class:`sslfast.masking.VJepaMasks` in NumPy arrays."""

    masks_enc: NDArray[np.int64]
    masks_pred: NDArray[np.int64]
    sizes: NDArray[np.int64]


def ijepa_masks(
    batch_size: int,
    grid: Sequence[int] = (14, 14),
    *,
    enc_mask_scale: Sequence[float] = (0.2, 0.8),
    pred_mask_scale: Sequence[float] = (0.2, 0.8),
    aspect_ratio: Sequence[float] = (0.3, 3.0),
    nenc: int = 1,
    npred: int = 2,
    min_keep: int = 4,
    allow_overlap: bool = False,
    pad: bool = False,
    fixed_size: bool = False,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    batch_number: int = 0,
    threads: int = 1,
) -> IJepaMasks:
    """Draws I-JEPA's contexts and target blocks: :func:`sslfast.masking.ijepa_masks` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W). Default: (14, 14).
        enc_mask_scale: least and largest share of the patches that a context's block has. Default: (0.2, 0.8).
        pred_mask_scale: least and largest share of the patches that a target block has. Default: (0.2, 0.8).
        aspect_ratio: least and largest height over width of a target block. Default: (0.3, 3.0).
        nenc: contexts of a row, in [1, 16]. Default: 1.
        npred: target blocks of a row, in [1, 16]. Default: 2.
        min_keep: least patches of a context before rows are truncated, at most H * W. Default: 4.
        allow_overlap: leave the patches of targets in the contexts. Default: False.
        pad: do not truncate: contexts are as long as the longest of the batch, with -1 behind the shorter ones.
            Default: False.
        fixed_size: return lists of a size that the arguments alone decide, with -1 behind the patches.
            Default: False.
        mode: "exact" or "compat". Default: "exact".
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        batch_number: number of the batch in the draws that rows share, in [0, 2^63). Default: 0.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``IJepaMasks(masks_enc, masks_pred, sizes)``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size, a number or a range is out of range.

    Reference: Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
    CVPR 2023; facebookresearch/ijepa, ``src/masks/multiblock.py``.
    """
    name = "ijepa_masks"
    batch_size = _check.integer(name, "batch_size", batch_size, 0, 2**31 - 1)
    rule = _jepa_rules.ijepa_rule(
        name,
        grid,
        enc_mask_scale,
        pred_mask_scale,
        aspect_ratio,
        nenc,
        npred,
        min_keep,
        allow_overlap,
        pad,
        fixed_size,
        mode,
        batch_number,
    )
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    threads = _arguments.threads(name, threads)
    bits = _arguments.seed_bits(name, seed)
    draws = (rule.context, rule.target, rule.aspect, *rule.flags, *rule.capacity, row_offset, rule.batch_number)
    lists = _host.ijepa_mask(bits, sample_ids, batch_size, rule.height, rule.width, *draws, threads)
    contexts, targets, sizes = lists
    sizes = sizes[rule.flags[0] - 1 :]
    if not rule.fixed_size:
        keep, block = sizes.tolist()
        contexts, targets = contexts[..., :keep], targets[..., :block]
    arrays = np.ascontiguousarray
    return IJepaMasks([arrays(c) for c in contexts], [arrays(t) for t in targets], sizes)


def vjepa_masks(
    batch_size: int,
    grid: Sequence[int],
    *,
    spatial_scale: Sequence[float] = (0.2, 0.8),
    temporal_scale: Sequence[float] = (1.0, 1.0),
    aspect_ratio: Sequence[float] = (0.3, 3.0),
    npred: int = 1,
    max_context_frames_ratio: float = 1.0,
    max_keep: int | None = None,
    pad: bool = False,
    fixed_size: bool = False,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    batch_number: int = 0,
    threads: int = 1,
) -> VJepaMasks:
    """Draws V-JEPA's contexts and targets of a video: :func:`sslfast.masking.vjepa_masks` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along time, height and width, (T, H, W).
        spatial_scale: least and largest share of a frame's patches that a block has. Default: (0.2, 0.8).
        temporal_scale: least and largest share of the frames that a block has. Default: (1.0, 1.0).
        aspect_ratio: least and largest height over width of a block. Default: (0.3, 3.0).
        npred: blocks of a row, in [1, 16]. Default: 1.
        max_context_frames_ratio: share of the frames, from the first on, that a context may have; the patches of the
            others are targets. Default: 1.0.
        max_keep: most patches of a context. Default: None, no limit.
        pad: do not truncate: lists are as long as the longest of the batch, with -1 behind the shorter ones. Default:
            False.
        fixed_size: return lists of T * H * W numbers, with -1 behind the patches.
            Default: False.
        mode: "exact" or "compat". Default: "exact".
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        batch_number: number of the batch in the draws that rows share, in [0, 2^63). Default: 0.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``VJepaMasks(masks_enc, masks_pred, sizes)``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size, a number or a range is out of range, one block may leave no context.

    Reference: Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from Video", TMLR 2024;
    facebookresearch/jepa, ``src/masks/multiblock3d.py``.
    """
    name = "vjepa_masks"
    batch_size = _check.integer(name, "batch_size", batch_size, 0, 2**31 - 1)
    rule = _jepa_rules.vjepa_rule(
        name,
        grid,
        spatial_scale,
        temporal_scale,
        aspect_ratio,
        npred,
        max_context_frames_ratio,
        max_keep,
        pad,
        fixed_size,
        mode,
        batch_number,
    )
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    threads = _arguments.threads(name, threads)
    bits = _arguments.seed_bits(name, seed)
    draws = (rule.temporal, rule.spatial, rule.aspect, *rule.flags, row_offset, rule.batch_number)
    (contexts, targets), sizes = _host.vjepa_mask(bits, sample_ids, batch_size, rule.sides, *draws, threads)
    if not rule.fixed_size:
        keep, block = sizes.tolist()
        contexts, targets = np.ascontiguousarray(contexts[:, :keep]), np.ascontiguousarray(targets[:, :block])
    return VJepaMasks(contexts, targets, sizes)
