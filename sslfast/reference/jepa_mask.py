"""I-JEPA's multi-block masks (Assran et al., 2023) and V-JEPA's (Bardes et al., 2024), by definition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast.reference.block_mask import below, uniform
from sslfast.reference.cell_mask import random_subset
from sslfast.reference.philox import philox, philox_rows

JEPA_SIZE, JEPA_PLACE, JEPA_KEEP = 59, 60, 61
V_JEPA_SIZE, V_JEPA_PLACE, V_JEPA_KEEP = 66, 67, 68
TRIES = 20  # before one target less keeps a context away


def _side(scale: float, aspect: float, height: int, width: int, inside: bool) -> tuple[int, int]:
    area = int(height * width * scale)
    h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return max(min(h, height - inside), 1), max(min(w, width - inside), 1)


def _lists(
    patches: list[list[Tensor]],
    together: bool,
    exact: bool,
    truncate: bool,
    most: int | None,
    capacity: int,
    total: int,
    keep_words: Tensor,
) -> tuple[Tensor, list[int]]:
    """(lists, rows, capacity) and the lists' sizes, from the patches of every list and row."""
    rows = len(patches[0])
    out = torch.full((len(patches), rows, capacity), -1)
    pick = min if truncate else max
    sizes = [pick((len(row) for row in rows_of), default=0) for rows_of in patches]
    if together:
        sizes = [pick(sizes)] * len(sizes)
    if most is not None:
        sizes[0] = min(sizes[0], most)
    for number, (rows_of, size) in enumerate(zip(patches, sizes, strict=True)):
        first = number * -(-total // 4)
        for row, found in enumerate(rows_of):
            wanted = min(len(found), size)
            if exact and wanted < len(found):
                words = keep_words[row, first:]
                found = found[random_subset(words, torch.ones(len(found), dtype=torch.bool), wanted)]
            out[number, row, :wanted] = found[:wanted]
    return out, sizes


def ijepa_masks(
    batch_size: int,
    grid: tuple[int, int] = (14, 14),
    *,
    enc_mask_scale: tuple[float, float] = (0.2, 0.8),
    pred_mask_scale: tuple[float, float] = (0.2, 0.8),
    aspect_ratio: tuple[float, float] = (0.3, 3.0),
    nenc: int = 1,
    npred: int = 2,
    min_keep: int = 4,
    allow_overlap: bool = False,
    pad: bool = False,
    exact: bool = True,
    capacities: tuple[int, int],
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    batch_number: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.ijepa_masks`` with fixed sizes and an int seed: (nenc, N, ...), (npred, N, ...), sizes."""
    height, width = grid
    sizes = philox(seed, JEPA_SIZE, torch.tensor([[batch_number]]), torch.arange(2)[None])[0]

    def size(words: Tensor, scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
        ratio = uniform(words[1 if exact else 0], *aspect)
        return _side(uniform(words[0], *scale), ratio, height, width, not exact)

    target_side, context_side = size(sizes[0], pred_mask_scale, aspect_ratio), size(sizes[1], enc_mask_scale, (1, 1))
    tries = 1 if allow_overlap else TRIES * npred + 1
    places = philox_rows(seed, JEPA_PLACE, batch_size, npred + nenc * tries, row_offset, sample_ids)

    def block(words: Tensor, side: tuple[int, int]) -> Tensor:
        top = below(words[0], max(1, height - side[0] + exact))
        left = below(words[1], max(1, width - side[1] + exact))
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[top : top + side[0], left : left + side[1]] = True
        return mask

    enough = max(min_keep, 1) if exact else min_keep + 1
    targets = torch.full((npred, batch_size, capacities[1]), -1)
    contexts: list[list[Tensor]] = [[] for _ in range(nenc)]
    for row in range(batch_size):
        masks = [block(places[row, j], target_side) for j in range(npred)]
        for j, mask in enumerate(masks):
            found = mask.flatten().nonzero().flatten()
            targets[j, row, : len(found)] = found
        for e in range(nenc):
            for attempt in range(tries):
                context = block(places[row, npred + e * tries + attempt], context_side)
                avoided = 0 if allow_overlap else npred - attempt // TRIES
                for mask in masks[:avoided]:
                    context &= ~mask
                if context.sum() >= enough:
                    break
            contexts[e].append(context.flatten().nonzero().flatten())
    total = height * width
    keep_words = philox_rows(seed, JEPA_KEEP, batch_size, nenc * -(-total // 4), row_offset, sample_ids)
    listed, context_sizes = _lists(contexts, True, exact, not pad, None, capacities[0], total, keep_words)
    return listed, targets, torch.tensor([*context_sizes, target_side[0] * target_side[1]])


def vjepa_masks(
    batch_size: int,
    grid: tuple[int, int, int],
    *,
    spatial_scale: tuple[float, float] = (0.2, 0.8),
    temporal_scale: tuple[float, float] = (1.0, 1.0),
    aspect_ratio: tuple[float, float] = (0.3, 3.0),
    npred: int = 1,
    max_context_frames_ratio: float = 1.0,
    max_keep: int | None = None,
    pad: bool = False,
    exact: bool = True,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    batch_number: int = 0,
) -> tuple[Tensor, Tensor]:
    """``sslfast.masking.vjepa_masks`` with fixed sizes and an int seed: (2, N, L), contexts and targets, and sizes."""
    frames, height, width = grid
    words = philox(seed, V_JEPA_SIZE, torch.tensor([[batch_number]]), torch.zeros(1, 1, dtype=torch.int64))[0, 0]
    t = max(1, int(frames * uniform(words[0], *temporal_scale)))
    h, w = _side(uniform(words[1], *spatial_scale), uniform(words[2], *aspect_ratio), height, width, False)
    context_frames = max(1, int(frames * max_context_frames_ratio))
    places = philox_rows(seed, V_JEPA_PLACE, batch_size, TRIES * npred * npred, row_offset, sample_ids)
    patches: list[list[Tensor]] = [[], []]
    for row in range(batch_size):
        for attempt in range(TRIES * npred):
            context = torch.ones(frames, height, width, dtype=torch.bool)
            context[context_frames:] = False
            for j in range(npred - attempt // TRIES):
                place = places[row, attempt * npred + j]
                top, left = below(place[0], height - h + 1), below(place[1], width - w + 1)
                start = below(place[2], frames - t + 1)
                context[start : start + t, top : top + h, left : left + w] = False
            if context.any():
                break
        patches[0].append(context.flatten().nonzero().flatten())
        patches[1].append((~context).flatten().nonzero().flatten())
    total = frames * height * width
    keep_words = philox_rows(seed, V_JEPA_KEEP, batch_size, 2 * -(-total // 4), row_offset, sample_ids)
    lists, sizes = _lists(patches, False, exact, not pad, max_keep, total, total, keep_words)
    return lists, torch.tensor(sizes)
