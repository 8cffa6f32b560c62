"""Multi-block masks of joint-embedding predictive architectures: I-JEPA's for images, V-JEPA's for video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import _check, _jepa_rules, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.random import Generator, seed_tensor


class IJepaMasks(NamedTuple):
    """The patches of a batch's contexts and targets, as I-JEPA's collator returns them.

    Attributes:
        masks_enc: a list of ``nenc`` int64 (N, K): the patches of each row's context, in ascending order.
        masks_pred: a list of ``npred`` int64 (N, K'): the patches of each row's target block, in ascending order.
        sizes: int64 (2,), K and K'.
    """

    masks_enc: list[Tensor]
    masks_pred: list[Tensor]
    sizes: Tensor


class VJepaMasks(NamedTuple):
    """The patches of a batch's contexts and targets, as V-JEPA's collator returns them for one of its settings.

    Attributes:
        masks_enc: int64 (N, K), the patches of each row's context, in ascending order.
        masks_pred: int64 (N, K'), the patches of each row's targets, in ascending order.
        sizes: int64 (2,), K and K'.
    """

    masks_enc: Tensor
    masks_pred: Tensor
    sizes: Tensor


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
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    batch_number: int = 0,
    device: torch.device | str | None = None,
) -> IJepaMasks:
    """Draws I-JEPA's contexts and target blocks.

    Every row has ``npred`` target blocks and ``nenc`` contexts, each of which is one block without the patches of the
    targets. All blocks of a kind have one size in a batch, for rows have to agree: its share of the patches is uniform
    in ``enc_mask_scale`` or ``pred_mask_scale``, the height over the width of a target uniform in ``aspect_ratio``, a
    context is a square. A context that keeps fewer than ``min_keep`` patches is placed again; after 20 times it avoids
    one target less, the last first, so that it ends.

    This is a rule over a batch: the sizes depend on (seed, ``batch_number``) alone and the length of the contexts is
    the shortest of the batch. Places and the choice of what stays depend on (seed, number of the row) alone.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W). Default: (14, 14).
        enc_mask_scale: least and largest share of the patches that a context's block has. Default: (0.2, 0.8).
        pred_mask_scale: least and largest share of the patches that a target block has. Default: (0.2, 0.8).
        aspect_ratio: least and largest height over width of a target block. Default: (0.3, 3.0).
        nenc: contexts of a row, in [1, 16]. Default: 1.
        npred: target blocks of a row, in [1, 16]. Default: 2.
        min_keep: least patches of a context before rows are truncated, at most H * W; "compat" wants one more, as
            I-JEPA does. Where blocks cannot keep so many the last of the tries stands: a context always has a patch, in
            "compat" too. Default: 4.
        allow_overlap: leave the patches of targets in the contexts. Default: False.
        pad: do not truncate: contexts are as long as the longest of the batch, with -1 behind the shorter ones.
            Default: False.
        fixed_size: return lists of a size that the arguments alone decide, with -1 behind the patches, so that nothing
            waits for a GPU and shapes are static; ``sizes`` says where they end. Default: False.
        mode: "exact" or "compat", the distribution of I-JEPA's ``MaskCollator`` with its five defects: (a) the last
            line and column are never masked nor context, (b) a context is truncated to its first patches in row-major
            order, so that the lower part of an image is hardly ever context, (c) the larger the batch, the shorter its
            contexts (in both modes, for rows have to agree, but with ``pad=True``), (d) one draw decides a block's
            share and its aspect, (e) no block is as high or as wide as the grid. "exact" has none of (a), (b), (d) and
            (e): every patch can be reached, a context is truncated to a uniformly random subset, share and aspect are
            drawn by themselves. Default: "exact".
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        batch_number: number of the batch in the draws that rows share, in [0, 2^63). Default: 0, right where every
            batch has a seed of its own.
        device: where the result is made. Default: torch's default device.

    Returns:
        ``IJepaMasks(masks_enc, masks_pred, sizes)``. Without ``fixed_size`` the two sizes are read, which waits for a
            GPU.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size, a number or a range is out of range, or the generator is on another GPU.

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
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch_size, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    draws = (*rule.context, *rule.target, *rule.aspect, *rule.flags, *rule.capacity, row_offset, rule.batch_number)
    lists = ops.ijepa_mask(like, seed, sample_ids, batch_size, rule.height, rule.width, *draws)
    contexts, targets, sizes = lists
    sizes = sizes[rule.flags[0] - 1 :]
    if not rule.fixed_size:
        keep, block = sizes.tolist()
        contexts, targets = contexts[..., :keep], targets[..., :block]
    return IJepaMasks([c.contiguous() for c in contexts], [t.contiguous() for t in targets], sizes)


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
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    batch_number: int = 0,
    device: torch.device | str | None = None,
) -> VJepaMasks:
    """Draws V-JEPA's contexts and targets of a video.

    The targets of a row are the union of ``npred`` blocks in space and time, its context is the rest. All blocks of a
    batch have one size: the share of the frames is uniform in ``temporal_scale``, that of a frame's patches in
    ``spatial_scale``, the height over the width in ``aspect_ratio``. Blocks that leave no context are placed again;
    after 20 times there is one less, so that it ends.

    This is a rule over a batch: the sizes depend on (seed, ``batch_number``) alone and rows are truncated to the
    shortest of the batch. Places and the choice of what stays depend on (seed, number of the row) alone. V-JEPA masks
    every video by several settings at once, such as eight small blocks and two large ones: call this once for each,
    with other seeds.

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
        fixed_size: return lists of T * H * W numbers, with -1 behind the patches, so that nothing waits for a GPU and
            shapes are static; ``sizes`` says where they end. Default: False.
        mode: "exact" truncates lists to uniformly random subsets. "compat" truncates them to their first patches, as
            V-JEPA's ``_MaskGenerator`` does, so that the last frames are hardly ever context. Default: "exact".
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        batch_number: number of the batch in the draws that rows share, in [0, 2^63). Default: 0, right where every
            batch has a seed of its own.
        device: where the result is made. Default: torch's default device.

    Returns:
        ``VJepaMasks(masks_enc, masks_pred, sizes)``. Without ``fixed_size`` the two sizes are read, which waits for a
            GPU.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size, a number or a range is out of range, one block may leave no context, or the generator is on
            another GPU.

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
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch_size, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    draws = (*rule.temporal, *rule.spatial, *rule.aspect, *rule.flags, row_offset, rule.batch_number)
    lists, sizes = ops.vjepa_mask(like, seed, sample_ids, batch_size, *rule.sides, *draws)
    contexts, targets = lists
    if not rule.fixed_size:
        keep, block = sizes.tolist()
        contexts, targets = contexts[:, :keep].contiguous(), targets[:, :block].contiguous()
    return VJepaMasks(contexts, targets, sizes)
