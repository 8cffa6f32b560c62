"""Which predictions of a loss over patches are for which places: checks, and the form that the operator reads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast._arguments import each_once, of_dtype


class Targets(NamedTuple):
    """What predictions are compared with: rows of places, each of so many numbers.

    Attributes:
        name, unit: in errors, the argument and what its places are.
        device: where they are.
        rows, places, numbers: (N, L, D).
        grid: another shape of a row's places that a mask may have, or (L,).
        shape: of predictions that lie as the targets do, or None.
    """

    name: str
    unit: str
    device: torch.device
    rows: int
    places: int
    numbers: int
    grid: tuple[int, ...]
    shape: tuple[int, ...] | None


def patches_as_targets(images: Tensor, patch: tuple[int, int, int]) -> Targets:
    """The patches of images, which divide them."""
    sides = (1, *images.shape[2:]) if images.dim() == 4 else tuple(images.shape[2:])
    grid = tuple(side // size for side, size in zip(sides, patch, strict=True))
    places, numbers = grid[0] * grid[1] * grid[2], images.shape[1] * patch[0] * patch[1] * patch[2]
    grid = grid if images.dim() == 5 else grid[1:]
    return Targets("images", "patches", images.device, images.shape[0], places, numbers, grid, tuple(images.shape))


class Places(NamedTuple):
    """Predictions, and the patches that they are for.

    Attributes:
        pred: (rows, items, D), or (N, C, T, H, W).
        mask: bool (N, L), or None.
        ids: int64 (rows, items), or None.
        flat: whether the ids count through all images.
        shape: of the losses of the patches.
        sound: bool scalar, whether every id names a place, where ids became a mask and nobody waits to look at them.
    """

    pred: Tensor
    mask: Tensor | None
    ids: Tensor | None
    flat: bool
    shape: tuple[int, ...]
    sound: Tensor | None = None


def check_places(function: str, pred: Tensor, targets: Targets, mask: Tensor | None, ids: Tensor | None) -> Places:
    """Which prediction is for which place.

    Raises:
        TypeError: if ``mask`` is no bool or ``ids`` no int64 tensor.
        ValueError: if a shape or a device does not fit, an id on the CPU is out of range or comes twice where its place
            has one prediction, or both or none are given.
    """
    if (mask is None) == (ids is None):
        raise ValueError(f"{function}: either mask or ids must be given, got {'neither' if mask is None else 'both'}")
    if pred.device != targets.device:
        raise ValueError(f"{function}: pred must be on {targets.device}, like {targets.name}, got {pred.device}")
    rows, numbers, whole = targets.rows, targets.numbers, (targets.rows, targets.places, targets.numbers)
    as_targets = targets.shape is not None and pred.shape == targets.shape
    sound = None
    lying = "" if targets.shape is None else f" or {targets.shape}"
    if ids is not None:
        _check_ids(function, ids, targets)
        if pred.shape == (*ids.shape, numbers):
            compact = pred if ids.dim() == 2 else pred[None]
            listed = (ids if ids.dim() == 2 else ids[None]).contiguous()
            return Places(with_rows(compact), None, listed, ids.dim() == 1, tuple(ids.shape))
        if not as_targets and pred.shape != whole:
            expected = f"{(*ids.shape, numbers)}, one row for each of ids, {whole}{lying}"
            raise ValueError(f"{function}: pred must have shape {expected}, got {tuple(pred.shape)}")
        flat = flat_ids(ids, targets.places) if ids.dim() == 2 else ids
        each_once(function, "ids", flat, rows * targets.places)
        mask, sound = _mask_of(flat, rows, targets.places)
    elif mask is not None:
        mask = _check_mask(function, mask, targets)
        if not as_targets and pred.shape != whole:
            raise ValueError(f"{function}: pred must have shape {whole}{lying}, got {tuple(pred.shape)}")
    if as_targets and pred.dim() == 4:
        pred = pred.unsqueeze(2)
    return Places(pred if as_targets else with_rows(pred), mask, None, False, (rows, targets.places), sound)


def with_rows(pred: Tensor) -> Tensor:
    """Predictions as the operator reads them: the numbers of a place side by side."""
    return pred if pred.stride(2) == 1 else pred.contiguous()


def _check_mask(function: str, mask: Tensor, targets: Targets) -> Tensor:
    of_dtype(function, "mask", mask, torch.bool)
    flat, gridded = (targets.rows, targets.places), (targets.rows, *targets.grid)
    if mask.shape not in (flat, gridded):
        expected = f"{flat}" if flat == gridded else f"{flat} or {gridded}"
        raise ValueError(f"{function}: mask must have shape {expected}, got {tuple(mask.shape)}")
    if mask.device != targets.device:
        raise ValueError(f"{function}: mask must be on {targets.device}, like {targets.name}, got {mask.device}")
    return mask if mask.dim() == 2 else mask.flatten(1)


def _check_ids(function: str, ids: Tensor, targets: Targets) -> None:
    of_dtype(function, "ids", ids, torch.int64)
    rows = targets.rows
    if ids.dim() not in (1, 2) or (ids.dim() == 2 and ids.shape[0] != rows):
        raise ValueError(f"{function}: ids must have shape ({rows}, R) or (R,), got {tuple(ids.shape)}")
    if ids.device != targets.device:
        raise ValueError(f"{function}: ids must be on {targets.device}, like {targets.name}, got {ids.device}")
    if ids.numel() and _looked_at(ids):
        size = targets.places * (1 if ids.dim() == 2 else rows)
        low, high = (int(end) for end in ids.aminmax())
        if low < -1 or high >= size:
            expected, worst = f"[-1, {size - 1}], {targets.unit} of {targets.name}", low if low < -1 else high
            raise ValueError(f"{function}: ids must be in {expected}, got {worst}")


def flat_ids(ids: Tensor, places: int) -> Tensor:
    """ids (rows, R) of places within their rows as positions among all rows; -2 for one that names no place."""
    first = torch.arange(ids.shape[0], device=ids.device).unsqueeze(1) * places
    flat = torch.where(ids < 0, -1, ids + first)
    return flat if _looked_at(ids) else torch.where(_strays(ids, places), -2, flat)


def _looked_at(ids: Tensor) -> bool:
    """Whether :func:`_check_ids` knows that each of them is a place, or -1."""
    return ids.is_cpu and not torch.compiler.is_compiling()


def _strays(ids: Tensor, size: int) -> Tensor:
    """Where an id is neither -1 nor below ``size``."""
    return (ids < -1) | (ids >= size)


def _mask_of(ids: Tensor, rows: int, places: int) -> tuple[Tensor, Tensor | None]:
    """bool (rows, places), True at the flat ids, and whether all of these are places, or None where that is known.

    One that is none makes the mask True everywhere, so that there are gradients to say it.
    """
    ids, size = ids.flatten(), rows * places
    mask = torch.zeros(size + 1, dtype=torch.bool, device=ids.device)
    known = _looked_at(ids)
    nowhere = ids < 0 if known else (ids < 0) | (ids >= size)
    mask = mask.scatter(0, torch.where(nowhere, size, ids), torch.ones_like(ids, dtype=torch.bool))
    mask = mask[:size].view(rows, places)
    if known:
        return mask, None
    stray = _strays(ids, size).any()
    return mask | stray, ~stray
